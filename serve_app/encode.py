"""Pixels to a file: resample, encode, and nothing in it but pixels and the mark."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve_app.contract import OutputFormat

PNG_LEVEL = 1  # four times cheaper than Pillow's default for a few per cent of size
PNG_STRATEGY = 3  # Z_RLE: of filtered smooth pictures both quicker and smaller than zlib's default strategy
DEFAULT_QUALITY = 90


def encode(
    picture: NDArray[np.uint8],
    *,
    width_px: int,
    height_px: int,
    output_format: OutputFormat,
    compression: int | None,
    mark: bytes,
) -> bytes:
    """`picture`: (H, W, 3) uint8; Lanczos where the size differs. `compression` is the quality, 0-100, of WebP and
    JPEG; PNG has none. `mark` is an XMP packet."""
    image = Image.fromarray(picture)
    if image.size != (width_px, height_px):
        image = image.resize((width_px, height_px), Image.Resampling.LANCZOS)
    quality = DEFAULT_QUALITY if compression is None else compression
    file = BytesIO()
    match output_format:
        case "png":
            info = PngInfo()
            info.add_itxt("XML:com.adobe.xmp", mark.decode())
            image.save(file, "PNG", compress_level=PNG_LEVEL, compress_type=PNG_STRATEGY, pnginfo=info)
        case "webp":
            image.save(file, "WEBP", quality=quality, method=2, xmp=mark)
        case "jpeg":
            image.save(file, "JPEG", quality=quality, xmp=mark)
    return file.getvalue()
