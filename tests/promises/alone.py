"""The inside of `test_no_route_out.py`: `python -m tests.promises.alone DIRECTORY PORT`, where only loopback exists.

Starts everything, makes and fetches a picture, reads the pages, stops, and prints what it saw as one line of JSON.
"""

import fcntl
import json
import re
import socket
import struct
import sys
import urllib.request
from pathlib import Path

from tests.promises.running import Running, environment

SIOCSIFFLAGS = 0x8914  # linux/sockios.h
IFF_UP = 0x1
PAGES = ("/", "/privacy", "/privacy/status", "/your-data", "/schema/openapi.json")
LINKED = re.compile(r'(?:src|href|action)="([^"#]+)"')


def main(directory: Path, port: int) -> None:
    raise_loopback()
    up = Running(directory, environment(SFUMATO_SERVE_PORT=str(port + 1)), port)
    try:
        pages = {page: fetch(up.base + page).decode() for page in PAGES}
        made = json.loads(fetch(f"{up.base}/v1/images/generations", b'{"prompt": "a red apple"}'))
        seen = {
            "interfaces": [name for _, name in socket.if_nameindex()],
            "routes": len(Path("/proc/net/route").read_text().splitlines()) - 1,
            "picture": list(fetch(made["data"][0]["url"])[:4]),
            "pages": sorted(pages),
            "kept in home": sorted(file.name for file in up.home.iterdir()),
            "linked": sorted({link for text in pages.values() for link in LINKED.findall(text)}),
        }
    finally:
        left = up.stop()
    print(json.dumps(seen | {"left": len(left), "tried to leave": packets_without_a_route()}))  # noqa: T201


def raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def fetch(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read()


def packets_without_a_route() -> int:
    """Since this namespace was made, by the kernel's counts for IPv4 and for IPv6."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines()[:2])
    newer = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(newer["Ip6OutNoRoutes"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
