"""Where in the network a caller comes from. An address is cut to its prefixes here and goes no further."""

from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

Address = IPv4Address | IPv6Address

IPV6_LEVELS = (("ipv6_64", 64), ("ipv6_56", 56), ("ipv6_48", 48))


class Network(Struct, frozen=True):
    """`level` is its name in `plans.toml`. Its text shows nothing: prefixes are in no log."""

    level: str
    prefix: bytes

    def __repr__(self) -> str:
        return f"<network: {self.level}>"

    @property
    def subject(self) -> str:
        return f"{self.level}:{self.prefix.hex()}"


def networks_of(address: Address | None) -> tuple[Network, ...]:
    """From the narrowest to the widest. Callers whose address nobody knows are one network."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return tuple(Network(level, address.packed[: bits // 8]) for level, bits in IPV6_LEVELS)
        address = address.ipv4_mapped
    return (Network("ipv4_32", address.packed if address else b""),)
