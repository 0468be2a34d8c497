"""A process of its own, whose loop is as busy as a thousand callers who leave at once make it."""

import subprocess
import sys

BUSY = """
import asyncio, os, signal, threading, time
from cluster.edge_server import set_when_told_to_leave

def crowd(loop):
    for _ in range(5_000):
        loop.call_soon_threadsafe(lambda: None)
    os.kill(os.getpid(), signal.SIGTERM)

async def main():
    leave = asyncio.Event()
    set_when_told_to_leave(leave)
    crowding = threading.Thread(target=crowd, args=(asyncio.get_running_loop(),))
    crowding.start()
    crowding.join()  # the loop hears nothing meanwhile
    await asyncio.wait_for(leave.wait(), 5)

asyncio.run(main())
"""


def test_an_edge_that_is_very_busy_hears_that_it_is_to_leave() -> None:
    ended = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
