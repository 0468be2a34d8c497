"""From a model's policy entry to its pipeline, by family."""

from pathlib import Path

import torch

from policies.schema import Model
from serve_app.pipelines.embedded import EmbeddedPipeline
from serve_app.pipelines.pipeline import AnyPipeline
from serve_app.pipelines.unet import UnetPipeline
from serve_app.pipelines.weights import ModelLoadError


def load_pipeline(name: str, model: Model, *, threads: int | None = None) -> AnyPipeline:
    """Reads the weights: seconds to minutes. Raises ModelLoadError."""
    if model.gpus and not torch.cuda.is_available():
        raise ModelLoadError(f"models.toml gives {name} a GPU, and there is none here; `gpus = 0` does without")
    match model.family:
        case "embedded":
            return EmbeddedPipeline(name, threads=threads)
        case "unet":
            if model.weights is None:
                raise ModelLoadError(f"{name} names no weights in models.toml; set `weights` to a local directory")
            return UnetPipeline(name, Path(model.weights), sampler=model.sampler, threads=threads)
