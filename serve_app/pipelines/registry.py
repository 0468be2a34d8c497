"""From a model's policy entry to its pipeline, by family."""

from policies.schema import Model
from serve_app.pipelines.embedded import EmbeddedPipeline
from serve_app.pipelines.pipeline import AnyPipeline


class ModelLoadError(Exception):
    """The weights are missing, unsafe or of another family; the message names the directory and what to do."""


def load_pipeline(name: str, model: Model, *, threads: int | None = None) -> AnyPipeline:
    """Reads the weights: seconds to minutes. Raises ModelLoadError."""
    match model.family:
        case "embedded":
            return EmbeddedPipeline(name, threads=threads)
        case "unet":
            raise ModelLoadError("the unet family is not here yet")
