"""Files are read back with Pillow: pixels and the mark, nothing else."""

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve_app.contract import OutputFormat
from serve_app.encode import encode
from serve_app.marks import xmp_packet

FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
MARK = xmp_packet("Sfumato embedded", "1")
OF_THE_FORMAT = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background", "timestamp", "duration"}


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """(48, 64, 3): a colour gradient with some noise in it."""
    y, x = np.mgrid[0:48, 0:64]
    noise = np.random.default_rng(7).integers(0, 30, (48, 64))
    return np.stack([x * 3, y * 4, x + y + noise], axis=-1).astype(np.uint8)


def made(
    picture: NDArray[np.uint8],
    output_format: OutputFormat,
    *,
    size: tuple[int, int] = (64, 48),
    compression: int | None = None,
) -> bytes:
    width_px, height_px = size
    return encode(
        picture,
        width_px=width_px,
        height_px=height_px,
        output_format=output_format,
        compression=compression,
        mark=MARK,
    )


def read(file: bytes) -> Image.Image:
    image = Image.open(BytesIO(file))
    image.load()
    return image


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_file_is_of_the_format_and_size_asked_for(picture: NDArray[np.uint8], output_format: OutputFormat):
    image = read(made(picture, output_format))
    assert (image.format, image.size, image.mode) == (output_format.upper(), (64, 48), "RGB")


def test_a_png_holds_every_pixel_unchanged(picture: NDArray[np.uint8]):
    assert np.array_equal(np.asarray(read(made(picture, "png"))), picture)


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_file_carries_the_mark_and_nothing_else(picture: NDArray[np.uint8], output_format: OutputFormat):
    file = made(picture, output_format)
    image = read(file)
    xmp = image.info.get("xmp")
    assert (xmp.encode() if isinstance(xmp, str) else xmp) == MARK
    assert dict(image.getexif()) == {}
    assert getattr(image, "text", {}).keys() <= {"XML:com.adobe.xmp"}
    assert image.info.keys() - OF_THE_FORMAT <= {"xmp", "XML:com.adobe.xmp"}
    assert file.count(b"trainedAlgorithmicMedia") == 1


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("size", [(128, 96), (32, 24), (100, 30)])
def test_another_size_is_resampled(picture: NDArray[np.uint8], output_format: OutputFormat, size: tuple[int, int]):
    image = read(made(picture, output_format, size=size))
    assert image.size == size
    difference = np.asarray(image, np.float32).mean(axis=(0, 1)) - picture.mean(axis=(0, 1))
    assert np.abs(difference).max() < 4


@pytest.mark.parametrize("output_format", ["webp", "jpeg"])
def test_more_compression_quality_is_a_larger_file(picture: NDArray[np.uint8], output_format: OutputFormat):
    sizes = [len(made(picture, output_format, compression=quality)) for quality in (0, 30, 60, 90, 100)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("output_format", ["webp", "jpeg"])
def test_quality_is_ninety_unless_told(picture: NDArray[np.uint8], output_format: OutputFormat):
    assert made(picture, output_format) == made(picture, output_format, compression=90)


def test_a_png_has_no_quality(picture: NDArray[np.uint8]):
    assert made(picture, "png", compression=5) == made(picture, "png")


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_picture_makes_the_same_file(picture: NDArray[np.uint8], output_format: OutputFormat):
    assert made(picture, output_format) == made(picture, output_format)
