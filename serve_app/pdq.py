"""PDQ: 256 bits of a picture that stay nearly the same when it is scaled, compressed or slightly changed.

After Meta's description ("The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm", 2019): brightness,
smoothed twice, 64 × 64 samples, the 16 × 16 lowest frequencies but the mean, each bit one above the median.
"""

import numpy as np
from numpy.typing import NDArray

BITS = 256
SAMPLES = 64
FREQUENCIES = 16
PASSES = 2
BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)
Floats = NDArray[np.float32]

_WAVES = np.sqrt(2 / SAMPLES) * np.cos(
    np.pi / 2 / SAMPLES * np.outer(np.arange(1, FREQUENCIES + 1), 2 * np.arange(SAMPLES) + 1)
)  # (16, 64)


def pdq_hash(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`picture`: (H, W, 3) -> 32 bytes, as the 64 hex digits of a list have them."""
    brightness = picture.astype(np.float32) @ BRIGHTNESS  # (H, W)
    for _ in range(PASSES):
        brightness = _smooth(_smooth(brightness).T).T
    waves = _WAVES @ _sampled(brightness) @ _WAVES.T  # (16, 16)
    median = np.partition(waves, BITS // 2 - 1, axis=None)[BITS // 2 - 1]
    return np.packbits((waves > median).ravel()[::-1])


def _smooth(values: Floats) -> Floats:
    """Along rows: the mean of a window that is cut at the edges; two passes of it leave nothing finer than a sample."""
    length = values.shape[1]
    window = -(-length // (2 * SAMPLES))
    sums = np.zeros((values.shape[0], length + 1))
    np.cumsum(values, axis=1, dtype=np.float64, out=sums[:, 1:])
    places = np.arange(length)
    first = np.maximum(places - (window - 1) // 2, 0)
    end = np.minimum(places + window // 2 + 1, length)
    return ((sums[:, end] - sums[:, first]) / (end - first)).astype(np.float32)


def _sampled(values: Floats) -> Floats:
    rows, columns = (((np.arange(SAMPLES) + 0.5) * length / SAMPLES).astype(int) for length in values.shape)
    return values[np.ix_(rows, columns)]
