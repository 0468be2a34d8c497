"""What the check of a picture adds to a replica: processor time, and the wait of an image or a preview."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np

from cluster.bench.figures import Figure
from policies.load import load_policies
from serve_app.hash_list import HashList
from serve_app.pipelines.pipeline import Picture
from serve_app.safety import Classifier, PictureSafety

SIZES_PX = (64, 256, 1024)
PICTURES = 20  # of each size in a round
LISTED = 10_000  # hashes on the operator's list; as shipped there are none, and no picture is hashed


def measure_checking(rounds: int, directory: Path) -> list[Figure]:
    """`directory` is for the list. Three figures a list: one a size."""
    policy, classifier = load_policies().moderation.images, Classifier()
    chance = np.random.default_rng(1)
    listed = directory / "image-hashes.txt"
    listed.write_text("".join(f"{chance.bytes(32).hex()}\n" for _ in range(LISTED)))
    figures: list[Figure] = []
    for list_name, path in (("", directory / "none"), ("-listed", listed)):
        safety = PictureSafety(policy, HashList(path), classifier)
        figures += [_figure(f"{size_px}{list_name}", safety, size_px, rounds, chance) for size_px in SIZES_PX]
    return figures


def _figure(name: str, safety: PictureSafety, size_px: int, rounds: int, chance: np.random.Generator) -> Figure:
    wall_ms: list[float] = []
    cpu_ms: list[float] = []
    for _ in range(rounds + 1):  # the first warms up
        pictures = [chance.integers(0, 256, (size_px, size_px, 3), np.uint8) for _ in range(PICTURES)]
        wall_ms.append(_each_ms(perf_counter, safety, pictures))
        cpu_ms.append(_each_ms(thread_time, safety, pictures))
    return Figure(
        row=f"M-image-{name}",
        what=f"ms that the check adds to a picture of {size_px} × {size_px} pixels",
        reach="no bound is set",
        rounds=wall_ms[1:],
        sides={"wall_ms": wall_ms[1:], "cpu_ms": cpu_ms[1:]},
        notes=f"{PICTURES} pictures a round, one after another, on one core; the operator's list "
        + (f"has {LISTED} hashes" if name.endswith("-listed") else "is empty"),
    )


def _each_ms(clock: Callable[[], float], safety: PictureSafety, pictures: list[Picture]) -> float:
    began_s = clock()
    for picture in pictures:
        safety.check(picture, adult=False)
    return (clock() - began_s) / len(pictures) * 1e3
