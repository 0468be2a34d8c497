"""The mark is well-formed XMP and says three things only."""

from xml.etree import ElementTree

import pytest

from serve_app.marks import SOURCE_TYPE, xmp_packet

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def attributes_of(packet: bytes) -> dict[str, str]:
    description = ElementTree.fromstring(packet).find(f".//{RDF}Description")
    assert description is not None
    return dict(description.attrib)


def test_the_mark_says_that_a_machine_made_it_and_which():
    assert attributes_of(xmp_packet("Sfumato embedded", "7f3a")) == {
        f"{RDF}about": "",
        f"{IPTC}DigitalSourceType": SOURCE_TYPE,
        f"{IPTC}AISystemUsed": "Sfumato embedded",
        f"{IPTC}AISystemVersionUsed": "7f3a",
    }


@pytest.mark.parametrize("name", ['Über "Modell"', "a & b < c", "it's", "{braces}"])
def test_a_name_with_marks_of_its_own_stays_whole(name: str):
    assert attributes_of(xmp_packet(name, "1"))[f"{IPTC}AISystemUsed"] == name


def test_the_packet_is_wrapped_as_xmp_asks():
    packet = xmp_packet("a", "1").decode()
    assert packet.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet.endswith('<?xpacket end="r"?>')
