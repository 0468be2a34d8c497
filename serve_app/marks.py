"""The mark that says a machine made this: an XMP packet with IPTC's digital source type. Never the prompt."""

from xml.sax.saxutils import quoteattr

# IPTC NewsCodes, digital source types
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    " Iptc4xmpExt:DigitalSourceType={source} Iptc4xmpExt:AISystemUsed={system}"
    " Iptc4xmpExt:AISystemVersionUsed={version}/>"
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def xmp_packet(system: str, version: str) -> bytes:
    """UTF-8 XMP: source type, and which system in which version made the picture (IPTC Photo Metadata 2025.1)."""
    packet = _PACKET.format(source=quoteattr(SOURCE_TYPE), system=quoteattr(system), version=quoteattr(version))
    return packet.encode()
