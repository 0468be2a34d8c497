"""What a benchmark has to say: one figure from several rounds, with its spread, and the machine it was measured on.

Pure arithmetic and two formats (JSON, a Markdown table). What is measured, and how, is left to the rows.
"""

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

RESULTS = Path(__file__).parent / "results"
HEAD = """# Measured figures

Written by `sfumato bench`; each file beside this one holds a row's rounds and sides. Median of the rounds, lowest and
highest in brackets. What each row means, and how it is measured, stands in the row's own `what` and `notes`.

| row | figure | measured | reach | on |
|---|---|---|---|---|
"""


class Device(Struct, frozen=True, kw_only=True):
    """`load` is the one-minute load average when the row ended: much above `cores`, others were at work here too."""

    cpu: str
    cores: int
    measured_at: str
    load: float


class Figure(Struct, frozen=True, kw_only=True):
    """`sides`: what each side showed in each round, in the unit its name ends with."""

    row: str
    what: str
    reach: str
    rounds: list[float]
    sides: dict[str, list[float]]
    notes: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


class Measured(Struct, frozen=True, kw_only=True):
    """A file of `results/`."""

    figure: Figure
    median: float
    low: float
    high: float
    device: Device


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of all values do not exceed. Raises ValueError on none."""
    if not values:
        raise ValueError("no values")
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round. Raises ValueError when a side showed nothing, or another number of rounds."""
    if not all(below):
        raise ValueError("a side finished nothing in a round: measure longer, or on a machine that is free")
    return [a / b for a, b in zip(above, below, strict=True)]


def this_device() -> Device:
    return Device(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        load=round(os.getloadavg()[0], 1),
    )


def save(figure: Figure, device: Device, directory: Path = RESULTS) -> None:
    measured = Measured(
        figure=figure, median=figure.median, low=min(figure.rounds), high=max(figure.rounds), device=device
    )
    directory.mkdir(exist_ok=True)
    body = msgspec.json.format(msgspec.json.encode(_rounded(measured)), indent=2)
    (directory / f"{figure.row}.json").write_bytes(body + b"\n")
    (directory / "README.md").write_text(HEAD + table(_read_all(directory)))


def table(measured: Sequence[Measured]) -> str:
    return "".join(
        f"| {m.figure.row} | {m.figure.what} | {m.median:.3g} [{m.low:.3g}, {m.high:.3g}] | {m.figure.reach} "
        f"| {m.device.cpu}, {m.device.cores} cores, load {m.device.load:g} |\n"
        for m in measured
    )


def _read_all(directory: Path) -> list[Measured]:
    files = sorted(directory.glob("*.json"))
    return [msgspec.json.decode(file.read_bytes(), type=Measured) for file in files]


def _rounded(measured: Measured) -> object:
    """Four significant digits: more would be noise in a diff."""
    return _round(msgspec.to_builtins(measured))


def _round(value: object) -> object:
    match value:
        case float():
            return float(f"{value:.4g}")
        case Mapping():
            return {str(key): _round(item) for key, item in value.items()}
        case list():
            return [_round(item) for item in value]
        case _:
            return value


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
