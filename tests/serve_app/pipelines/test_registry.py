"""From a model's policy entry to its pipeline."""

import pytest
import torch
from msgspec.structs import replace

from policies.load import load_policies
from serve_app.pipelines.registry import load_pipeline
from serve_app.pipelines.weights import ModelLoadError


def test_a_model_that_is_given_a_gpu_does_not_settle_for_less(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = replace(load_policies().models.models["sfumato-embedded"], gpus=1)
    with pytest.raises(ModelLoadError, match=r"a GPU, and there is none here; `gpus = 0` does without"):
        load_pipeline("sfumato-embedded", model)
