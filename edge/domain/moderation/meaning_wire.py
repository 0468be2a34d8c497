"""What the edge and its meaning worker say to each other: frames on a pipe, 4 bytes big-endian length, then msgpack.

Texts travel only here. The repr of a message tells how many there are, so that no log can hold one.
"""

from msgspec import Struct

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 8 * 1024 * 1024


class Exemplars(Struct, frozen=True):
    """The first message to a worker: the texts of each category. It answers with the number of categories."""

    categories: list[list[str]]

    def __repr__(self) -> str:
        return f"<exemplars:{len(self.categories)}>"


class Question(Struct, frozen=True):
    number: int
    texts: list[str]

    def __repr__(self) -> str:
        return f"<question:{self.number}, {len(self.texts)} texts>"


class Answer(Struct, frozen=True):
    """`scores`: for each text, in order, the cosine to the nearest exemplar of each category, 0 to 1."""

    number: int
    scores: list[list[float]]


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
