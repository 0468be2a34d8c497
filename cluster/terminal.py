"""How commands speak to an operator: mistakes in one line, and strangers' words without their power."""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def one_line(*mistakes: type[Exception]) -> Generator[None]:
    """What an operator can put right ends the process with its message and status 2, not with a traceback."""
    try:
        yield
    except mistakes as error:
        sys.stderr.write(f"sfumato: {error}\n")
        sys.exit(2)


def harmless(text: str) -> str:
    """A stranger wrote it: nothing in it may steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
