"""How well prompts are judged: precision and recall by category against labels, with intervals.

Pure arithmetic and one file format; what judges is passed in.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import msgspec
from msgspec import Struct

HARMLESS = "harmless"  # the label of what may be made
Z_95 = 1.959964  # of 95 % of a normal distribution


class Labelled(Struct, frozen=True):
    """`label`: a category of `moderation.toml`, or `harmless`."""

    text: str
    label: str

    def __repr__(self) -> str:
        return f"<labelled: {self.label}>"


class LabelledFileError(Exception):
    """Names the line and the field; quotes neither."""


class Share(Struct, frozen=True):
    """So many of so many."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %, by Wilson (1927): it holds for few and for shares near 0 and 1 as well."""
        if not self.of:
            return 0.0, 1.0
        share, spread = self.count / self.of, Z_95**2 / self.of
        middle = (share + spread / 2) / (1 + spread)
        half = Z_95 * sqrt(share * (1 - share) / self.of + spread / (4 * self.of)) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}] ({self.count} of {self.of})"


class Score(Struct, frozen=True):
    """`precision`: of those that were found to be of it, how many are. `recall`: of those that are, how many were."""

    precision: Share
    recall: Share


def scored(labels: Sequence[str], found: Sequence[str]) -> dict[str, Score]:
    """By label; `found` is what was judged of each, in the same order and the same words."""
    pairs = Counter(zip(labels, found, strict=True))
    are, were = Counter(labels), Counter(found)
    return {
        name: Score(Share(pairs[name, name], were[name]), Share(pairs[name, name], are[name]))
        for name in sorted({*labels, *found})
    }


def read_labelled(file: Path, categories: Sequence[str]) -> list[Labelled]:
    """JSON, one a line. Raises LabelledFileError."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise LabelledFileError(f"{file} cannot be read: {error.strerror}") from error
    read = [_read(line, number, categories) for number, line in enumerate(lines, 1) if line.strip()]
    if not read:
        raise LabelledFileError(f"{file} has no line")
    return read


def _read(line: bytes, number: int, categories: Sequence[str]) -> Labelled:
    try:
        labelled = msgspec.json.decode(line, type=Labelled)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LabelledFileError(f"line {number}: {error}") from error
    if labelled.label not in (HARMLESS, *categories):
        known = ", ".join([HARMLESS, *categories])
        raise LabelledFileError(f"line {number}: `label` is none of {known}")
    return labelled
