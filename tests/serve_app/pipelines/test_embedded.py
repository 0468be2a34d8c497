"""Parity of the embedded model: a row in any mixed batch equals the reference, and no row changes another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from serve_app import embedded
from serve_app.contract import Failed, GenerateRequest, Image, Prompt, Turn
from serve_app.delivery import Delivery
from serve_app.embedded.reference import EmbeddedModel
from serve_app.pipelines.embedded import LATENT, EmbeddedPipeline, EmbeddedRow
from serve_app.pipelines.pipeline import RowSpec
from serve_app.storage.directory import DirectoryStore
from serve_app.work import Work
from tests.serve_app.harmless import Harmless

ROOT = Path(str(embedded.__path__[0]))
MIXED = [
    ("a red apple", 0, 12, 2.0),
    ("a dog", 7, 4, 1.0),
    ("rocket", 2, 20, 3.5),
    ("", 3, 8, 1.0),
    ("a cat", 4, 50, 2.0),
]


@pytest.fixture(scope="module")
def pipeline() -> EmbeddedPipeline:
    made = EmbeddedPipeline("m", threads=1)  # threads that wait for each other crawl on a busy machine
    made.enter_thread()
    return made


def spec(prompt: str, seed: int, steps: int, guidance: float, negative: str = "") -> RowSpec:
    return RowSpec(prompt, negative, seed, steps, guidance, 64, 64)


def finish(pipeline: EmbeddedPipeline, rows: list[EmbeddedRow]) -> None:
    while live := [row for row in rows if row.step_index < row.steps]:
        pipeline.step(live)


def distance(latent: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference, of the reference's largest magnitude."""
    return ((latent - reference).abs().max() / reference.abs().max()).item()


def test_rows_that_join_and_leave_a_mixed_batch_equal_the_reference(pipeline: EmbeddedPipeline):
    rows: list[EmbeddedRow] = []
    for case in MIXED:
        rows += pipeline.start([spec(*case)])
        pipeline.step([row for row in rows if row.step_index < row.steps])
    finish(pipeline, rows)
    reference = EmbeddedModel()
    for row, case in zip(rows, MIXED, strict=True):
        assert distance(row.latent, reference.sample(*case)[0]) <= 1e-5


def test_the_stored_reference_latents_are_reached_on_another_processor(pipeline: EmbeddedPipeline):
    cases = json.loads((ROOT / "reference_cases.json").read_text())
    stored = load_file(ROOT / "reference_latents.safetensors")
    rows = pipeline.start([spec(c["prompt"], c["seed"], c["steps"], c["guidance"]) for c in cases])
    finish(pipeline, rows)
    for number, row in enumerate(rows):
        assert distance(row.latent, stored[f"case{number}"][0]) <= 1e-3


@pytest.mark.parametrize("poison", [float("nan"), 0.0, 1e30])
def test_no_row_changes_another(pipeline: EmbeddedPipeline, poison: float):
    alone = pipeline.start([spec("a red apple", 1, 6, 2.0)])
    finish(pipeline, alone)
    together = pipeline.start([spec("a red apple", 1, 6, 2.0), spec("a dog", 2, 6, 3.0)])
    together[1].latent = torch.full_like(together[1].latent, poison)
    finish(pipeline, together)
    assert distance(together[0].latent, alone[0].latent) <= 1e-5


async def test_a_request_whose_numbers_are_none_fails_alone(pipeline: EmbeddedPipeline, tmp_path: Path):
    delivery = Delivery(pipeline, DirectoryStore(tmp_path), b"", Harmless())
    good, bad, other = (Work(request(seed), pipeline.batch_key) for seed in (1, 2, 3))
    for work in (good, bad, other):
        work.rows[0] = pipeline.start(work.specs)[0]
    bad.rows[0] = replace(bad.rows[0], latent=torch.full(LATENT, float("nan")))
    await delivery.images([(good, 0), (bad, 0), (other, 0)])
    delivery.close()
    first, failed, last = [await work.outbox.next() for work in (good, bad, other)]
    assert isinstance(first, Image)
    assert failed == Failed("engine_failed", "the model's numbers are no picture")
    assert isinstance(last, Image)


def request(seed: int) -> GenerateRequest:
    return GenerateRequest(
        job_id=f"gen_{seed}",
        model="m",
        policy_digest="",
        prompt=Prompt("a dog"),
        n=1,
        width_px=64,
        height_px=64,
        steps=4,
        guidance=1.0,
        seed=seed,
        turn=Turn("anonymous", "t", 1.0, 60.0),
        inline=True,
    )


def test_a_prompt_longer_than_the_encoder_is_reported(pipeline: EmbeddedPipeline):
    short, long = pipeline.start([spec("a dog", 0, 4, 1.0), spec("word " * 40, 0, 4, 1.0)])
    assert (short.truncated, long.truncated) == (False, True)


def test_a_long_negative_prompt_counts_as_cut_only_where_it_is_used(pipeline: EmbeddedPipeline):
    guided, unguided = pipeline.start([spec("a dog", 0, 4, g, "word " * 40) for g in (2.0, 1.0)])
    assert (guided.truncated, unguided.truncated) == (True, False)


def test_a_row_shows_no_tensor(pipeline: EmbeddedPipeline):
    assert "tensor" not in repr(pipeline.start([spec("a dog", 0, 4, 2.0)]))


def test_a_negative_prompt_makes_another_picture(pipeline: EmbeddedPipeline):
    plain, avoiding = pipeline.start([spec("a dog", 0, 6, 3.0), spec("a dog", 0, 6, 3.0, "brown")])
    finish(pipeline, [plain, avoiding])
    assert distance(avoiding.latent, plain.latent) > 0.01


def test_pictures_and_previews_are_native_size(pipeline: EmbeddedPipeline):
    rows = pipeline.start([spec("a dog", 0, 4, 1.0)])
    pipeline.step(rows)
    assert pipeline.preview(rows)[0].shape == (64, 64, 3)
    finish(pipeline, rows)
    assert pipeline.decode(rows)[0].dtype == "uint8"


def test_how_the_weights_were_made_lies_beside_them():
    steps = sorted(file.name for file in (ROOT / "recipe").glob("*.py"))
    told = (ROOT / "recipe" / "README.md").read_text("utf-8")
    assert steps
    for step in steps:
        assert step in told
        compile((ROOT / "recipe" / step).read_text("utf-8"), step, "exec")
