"""From a model's numbers to bytes: what every family does last."""

import torch
from torch import Tensor

from serve_app.pipelines.pipeline import NotFinite, Picture


def pictures(pixels: Tensor) -> list[Picture]:
    """(N, 3, H, W) in -1..1 and somewhat beyond -> each (H, W, 3) uint8."""
    bytes_ = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(bytes_.permute(0, 2, 3, 1).cpu().numpy())


def finished_pictures(pixels: Tensor) -> list[Picture]:
    """As `pictures`. Raises NotFinite: nobody shall be given, and charged for, a black picture without a reason."""
    if not pixels.isfinite().all():
        raise NotFinite
    return pictures(pixels)
