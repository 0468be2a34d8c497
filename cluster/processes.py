"""Whether a process that left something behind still lives."""

import os


def is_dead(pid: str) -> bool:
    """Of a process that was named by `pid`; what is no number names none."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return True
    except PermissionError:
        return False
    return False
