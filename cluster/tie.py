"""Ties a child to whoever started it, on any Unix: its standard input closes when the starter ends, however it ends."""

import os
import signal
import sys
import threading


def end_with_starter() -> None:
    """Sends this process SIGTERM once its standard input closes; the starter holds the other end and never writes."""
    threading.Thread(target=_wait_and_end, name="tie", daemon=True).start()


def _wait_and_end() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
