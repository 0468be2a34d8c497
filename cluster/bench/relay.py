"""`python -m cluster.bench.relay PORT TARGET_PORT WAY_S`: passes TCP on, each way `WAY_S` later, as a network would.

A process of its own, so that it costs the measured one nothing; threads, since asyncio's timers know no part of a
millisecond.
"""

import socket
import sys
from threading import Thread
from time import sleep

CHUNK_BYTES = 1 << 16


def relay(port: int, target_port: int, way_s: float) -> None:
    """For ever."""
    with socket.create_server(("127.0.0.1", port), backlog=256) as server:
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", target_port))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Thread(target=_pass_on, args=(one, other, way_s), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket, way_s: float) -> None:
    try:
        while chunk := one.recv(CHUNK_BYTES):
            sleep(way_s)
            other.sendall(chunk)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


if __name__ == "__main__":
    relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
