"""A picture's size, `WIDTHxHEIGHT` in pixels, as policies, API and replies write it."""

import re
from typing import Annotated, NamedTuple

from msgspec import Meta

SIZE_PATTERN = r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
Size = Annotated[str, Meta(pattern=SIZE_PATTERN)]


class Pixels(NamedTuple):
    """A size taken apart."""

    width_px: int
    height_px: int

    @property
    def area_px(self) -> int:
        return self.width_px * self.height_px

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}"


def parse_size(text: str) -> Pixels:
    """`256x128` -> Pixels(256, 128); ValueError for anything else."""
    if not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError(f"{text!r} is not WIDTHxHEIGHT")
    width, height = text.split("x")
    return Pixels(int(width), int(height))
