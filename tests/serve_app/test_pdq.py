"""PDQ beside its reference implementation, whose hashes of these pictures (pdqhash 0.2.8) stand here."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve_app.pdq import BITS, pdq_hash

OF_THE_REFERENCE = {
    (64, 64): "c0b5000f200f200f3d4fc2b1c2b5204fc2b53d4fc2f73d4f3f4fc2b1cabadff0",
    (100, 180): "42aa400e42ba408e4aba17de4aba1fdeeaba3fdebffeea8eea824054ea994023",
    (512, 512): "11560217010502a5012d044a515aaa95512ac67f38ffc37f0edff97fc6df797f",
}


def waves(height_px: int, width_px: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height_px, :width_px].astype(float)
    red = 127 + 60 * np.sin(x / 9 + y / 23) + 60 * np.cos(y / 7 - x / 31)
    green = 127 + 120 * np.sin(np.sqrt(x * y) / 11)
    blue = 255 * ((x // 13 + y // 17) % 2)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def differing(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(one ^ other).sum())


@pytest.mark.parametrize("size", OF_THE_REFERENCE)
def test_a_hash_is_the_reference_s_bit_for_bit(size: tuple[int, int]):
    assert pdq_hash(waves(*size)).tobytes().hex() == OF_THE_REFERENCE[size]


def test_a_picture_keeps_its_hash_when_it_is_scaled():
    picture = waves(512, 512)
    half = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.LANCZOS))
    assert differing(pdq_hash(picture), pdq_hash(half)) <= 31


def test_another_picture_has_another_hash():
    assert differing(pdq_hash(waves(512, 512)), pdq_hash(waves(512, 512)[::-1])) > BITS / 4


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 64)])
def test_what_has_no_features_has_a_hash_too(shape: tuple[int, int]):
    assert pdq_hash(np.full((*shape, 3), 200, np.uint8)).nbytes == BITS // 8
