"""Parity of the UNet family: a row in any mixed batch equals StableDiffusionPipeline alone; no row changes another."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from policies.load import load_policies
from policies.schema import Batching, Guidance, Model, Steps
from policies.size import Size
from serve_app.compose import build_engine
from serve_app.contract import GenerateRequest, Image, Preview, Prompt, Succeeded, Turn
from serve_app.pipelines.pipeline import NotFinite, OutOfMemory, RowSpec
from serve_app.pipelines.registry import load_pipeline
from serve_app.pipelines.unet import Sampler, UnetPipeline, UnetRow
from serve_app.pipelines.weights import ModelLoadError
from serve_app.settings import Settings
from tests.serve_app.pipelines.tiny_sd import SIZE_PX, TEXT_WIDTH, TOKENS, save_tiny_sd

pytestmark = [
    # numpy 2 asks for a `copy` keyword that torch tensors lack where diffusers makes its sigmas
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

SCHEDULERS = {"euler": EulerDiscreteScheduler, "euler_ancestral": EulerAncestralDiscreteScheduler}
GUIDED, PLAIN = 5.5, 1.0
MIXED = [(0, 12, GUIDED), (7, 4, PLAIN), (2, 20, PLAIN), (3, 5, 2.0), (2**53 - 1, 9, GUIDED), (4, 6, 0.0)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sd(tmp_path_factory.mktemp("sd"), prediction_type=request.param)


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sd(tmp_path_factory.mktemp("turbo"), timestep_spacing="trailing")


@pytest.fixture(scope="module")
def pipeline(turbo: Path) -> UnetPipeline:
    return make(turbo)


def make(weights: Path, sampler: Sampler = "euler") -> UnetPipeline:
    return UnetPipeline("m", weights, sampler=sampler, threads=1, device="cpu")


def make_reference(weights: Path, sampler: Sampler = "euler") -> StableDiffusionPipeline:
    reference = StableDiffusionPipeline.from_pretrained(
        weights, local_files_only=True, low_cpu_mem_usage=False, safety_checker=None, requires_safety_checker=False
    )
    reference.scheduler = SCHEDULERS[sampler].from_config(reference.scheduler.config)
    reference.set_progress_bar_config(disable=True)
    return reference


def spec(seed: int, steps: int, guidance: float = PLAIN, prompt: str = "", negative: str = "") -> RowSpec:
    return RowSpec(prompt, negative, seed, steps, guidance, SIZE_PX, SIZE_PX)


def text(number: int) -> torch.Tensor:
    return torch.randn(TOKENS, TEXT_WIDTH, generator=torch.Generator().manual_seed(1000 + number))


def finish(pipeline: UnetPipeline, rows: list[UnetRow]) -> None:
    while live := [row for row in rows if row.step_index < row.steps]:
        pipeline.step(live)


def alone(reference: StableDiffusionPipeline, row: RowSpec, number: int) -> torch.Tensor:
    return reference(
        prompt_embeds=text(number)[None],
        negative_prompt_embeds=text(-number - 1)[None],
        num_inference_steps=row.steps,
        guidance_scale=row.guidance,
        width=row.width_px,
        height=row.height_px,
        generator=torch.Generator().manual_seed(row.seed),
        output_type="latent",
    ).images[0]


def distance(latent: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference, of the reference's largest magnitude."""
    return ((latent - reference).abs().max() / reference.abs().max()).item()


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_rows_that_join_and_leave_a_mixed_batch_equal_diffusers(weights: Path, sampler: Sampler):
    pipeline, reference = make(weights, sampler), make_reference(weights, sampler)
    specs = [spec(*one) for one in MIXED]
    rows: list[UnetRow] = []
    for number, one in enumerate(specs):
        rows += pipeline.start_encoded([one], [text(number)], [text(-number - 1)])
        pipeline.step([row for row in rows if row.step_index < row.steps])
    finish(pipeline, rows)
    for number, (row, one) in enumerate(zip(rows, specs, strict=True)):
        assert distance(row.latent, alone(reference, one, number)) <= 1e-5


@pytest.mark.parametrize("settings", [{"timestep_spacing": "trailing"}, {"timestep_spacing": "leading"}])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_turbo_schedules_equal_diffusers(tmp_path: Path, settings: dict[str, str], steps: int):
    weights = save_tiny_sd(tmp_path, **settings)
    pipeline, reference = make(weights, "euler_ancestral"), make_reference(weights, "euler_ancestral")
    rows = pipeline.start_encoded([spec(3, steps)], [text(0)], [None])
    finish(pipeline, rows)
    assert distance(rows[0].latent, alone(reference, spec(3, steps), 0)) <= 1e-5


def test_a_row_has_the_steps_that_were_asked_for(pipeline: UnetPipeline):
    rows = pipeline.start([spec(0, steps) for steps in range(1, 151)])
    assert [row.steps for row in rows] == list(range(1, 151))
    assert all(row.sigmas[-1] == 0 and len(row.sigmas) == row.steps + 1 for row in rows)


def test_prompts_and_pictures_equal_diffusers(turbo: Path, pipeline: UnetPipeline):
    rows = pipeline.start([spec(5, 6, GUIDED, "cat", "dog"), spec(6, 4, GUIDED, "a dog in a hat", "")])
    finish(pipeline, rows)
    reference = make_reference(turbo)
    for row, (seed, steps, prompt, negative) in zip(
        rows, [(5, 6, "cat", "dog"), (6, 4, "a dog in a hat", "")], strict=True
    ):
        expected = reference(
            prompt,
            negative_prompt=negative,
            num_inference_steps=steps,
            guidance_scale=GUIDED,
            width=SIZE_PX,
            height=SIZE_PX,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).images[0]
        assert np.abs(pipeline.decode([row])[0] / 255 - expected).max() <= 0.51 / 255


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
@pytest.mark.parametrize("poison", [float("nan"), 0.0, 1e30])
def test_no_row_changes_another(turbo: Path, sampler: Sampler, poison: float):
    pipeline = make(turbo, sampler)
    lonely = pipeline.start([spec(1, 6, GUIDED, "cat")])
    finish(pipeline, lonely)
    together = pipeline.start([spec(1, 6, GUIDED, "cat"), spec(2, 6, GUIDED, "dog"), spec(3, 9, PLAIN, "dog")])
    for row in together[1:]:
        row.latent = torch.full_like(row.latent, poison)
    finish(pipeline, together)
    assert distance(together[0].latent, lonely[0].latent) <= 1e-5


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_row_that_is_no_number_is_no_black_picture(pipeline: UnetPipeline, poison: float):
    good, bad = pipeline.start([spec(1, 2, GUIDED, "cat"), spec(2, 2, GUIDED, "dog")])
    bad.latent = torch.full_like(bad.latent, poison)
    finish(pipeline, [good, bad])
    with pytest.raises(NotFinite):
        pipeline.decode([good, bad])
    assert pipeline.decode([good])[0].any()


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_a_pass_that_did_not_fit_is_made_again_with_the_same_result(turbo: Path, sampler: Sampler):
    pipeline = make(turbo, sampler)
    smooth, rough = pipeline.start([spec(1, 4, GUIDED, "cat"), spec(1, 4, GUIDED, "cat")])
    finish(pipeline, [smooth])
    pipeline.step([rough])
    refusal = pipeline._unet.register_forward_hook(run_out_of_memory)
    with pytest.raises(OutOfMemory):
        pipeline.step([rough])
    refusal.remove()
    assert rough.step_index == 1
    finish(pipeline, [rough])
    assert torch.equal(rough.latent, smooth.latent)


def test_prompts_that_did_not_fit_are_said_not_to(turbo: Path):
    pipeline = make(turbo)
    pipeline._text_encoder.register_forward_hook(run_out_of_memory)
    with pytest.raises(OutOfMemory):
        pipeline.start([spec(1, 4, prompt="cat")])


def run_out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("a pass of this size does not fit")


def test_a_prompt_longer_than_the_encoder_is_reported(pipeline: UnetPipeline):
    rows = pipeline.start([spec(0, 4), spec(0, 4, prompt="word " * 9), spec(0, 4, GUIDED, negative="word " * 9)])
    assert [row.truncated for row in rows] == [False, True, True]


def test_a_long_negative_prompt_counts_as_cut_only_where_it_is_used(pipeline: UnetPipeline):
    guided, unguided = pipeline.start([spec(0, 4, guidance, negative="word " * 9) for guidance in (GUIDED, PLAIN)])
    assert (guided.truncated, unguided.truncated) == (True, False)


def test_pictures_and_previews_have_the_size_asked_in_whole_cells(pipeline: UnetPipeline):
    asked = RowSpec("cat", "", 0, 4, PLAIN, 41, 24)
    rows = pipeline.start([asked])
    assert pipeline.batch_key(asked).latent_shape == rows[0].latent.shape == (4, 12, 21)
    pipeline.step(rows)
    assert pipeline.preview(rows)[0].shape == (24, 42, 3)
    finish(pipeline, rows)
    picture = pipeline.decode(rows)[0]
    assert (picture.shape, picture.dtype) == ((24, 42, 3), np.uint8)


def test_a_preview_shows_the_colours_of_the_picture_to_be(pipeline: UnetPipeline):
    rows = pipeline.start([spec(seed, 1) for seed in range(16)])
    for row in rows:
        row.latent = row.denoised = row.latent[:, :1, :1].div(row.sigmas[0]).expand(4, 16, 16)
    previews, pictures = (np.stack(made).mean((1, 2)) for made in (pipeline.preview(rows), pipeline.decode(rows)))
    assert np.square(previews - pictures).mean() < 0.5 * np.square(pictures.mean(0) - pictures).mean()


def test_the_registry_reads_the_directory_that_the_policy_names(turbo: Path):
    assert isinstance(load_pipeline("m", model(str(turbo)), threads=1), UnetPipeline)
    with pytest.raises(ModelLoadError, match="weights"):
        load_pipeline("m", model(None))


def model(weights: str | None) -> Model:
    return Model(
        title="Tiny",
        family="unet",
        licence="none",
        created=date(2026, 11, 24),
        sizes=[Size("32x32")],
        auto_size=Size("32x32"),
        max_prompt_tokens=TOKENS,
        steps=Steps(default=4, minimum=1, maximum=8, low=1, medium=4, high=8),
        guidance=Guidance(default=1.0, minimum=0.0, maximum=8.0),
        batching=Batching(max_forward_rows=8, max_step_s=1.0),
        weights=weights,
    )


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_pickled_weights_are_refused_by_name(tmp_path: Path, name: str):
    save_tiny_sd(tmp_path)
    (tmp_path / "text_encoder" / "model.safetensors").rename(tmp_path / "text_encoder" / name)
    with pytest.raises(ModelLoadError, match=rf"text_encoder/{name} is refused: safetensors only"):
        make(tmp_path)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(tmp_path: Path, part: str):
    save_tiny_sd(tmp_path)
    (tmp_path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelLoadError, match=f"{part} is missing"):
        make(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path):
    with pytest.raises(ModelLoadError, match="nowhere"):
        make(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_a_file_that_lacks_a_weight_is_refused(tmp_path: Path, file: str):
    path = save_tiny_sd(tmp_path) / f"{file}.safetensors"
    tensors = load_file(path)
    del tensors[min(tensors)]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match="lacks weights"):
        make(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path: Path):
    path = save_tiny_sd(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelLoadError, match="cannot be read"):
        make(tmp_path)


def test_another_prediction_type_is_refused(tmp_path: Path):
    with pytest.raises(ModelLoadError, match="prediction type sample"):
        make(save_tiny_sd(tmp_path, prediction_type="sample"))


def test_text_encoders_saved_under_their_old_names_are_read(tmp_path: Path, turbo: Path):
    path = save_tiny_sd(tmp_path, timestep_spacing="trailing") / "text_encoder" / "model.safetensors"
    names = {name.removeprefix("text_model."): tensor for name, tensor in load_file(path).items()}
    save_file({f"text_model.{name}": tensor for name, tensor in names.items()}, path, metadata={"format": "pt"})
    assert torch.equal(
        make(tmp_path).start([spec(0, 1, prompt="cat")])[0].text, make(turbo).start([spec(0, 1, prompt="cat")])[0].text
    )


def test_tokenizers_saved_as_vocabulary_and_merges_are_read(tmp_path: Path, pipeline: UnetPipeline):
    tokenizer = save_tiny_sd(tmp_path, timestep_spacing="trailing") / "tokenizer"
    saved = json.loads((tokenizer / "tokenizer.json").read_text())
    for file in tokenizer.iterdir():
        file.unlink()
    (tokenizer / "vocab.json").write_text(json.dumps(saved["model"]["vocab"]))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"model_max_length": TOKENS}))
    prompts = [spec(0, 1, prompt="cat"), spec(0, 1, prompt="word " * 9)]
    for old, new in zip(make(tmp_path).start(prompts), pipeline.start(prompts), strict=True):
        assert torch.equal(old.text, new.text)
        assert old.truncated == new.truncated


def test_half_precision_keeps_latents_in_float32(turbo: Path):
    pipeline = UnetPipeline("m", turbo, sampler="euler_ancestral", threads=1, device="cpu", dtype=torch.bfloat16)
    rows = pipeline.start([spec(1, 4, GUIDED, "cat", "dog"), spec(2, 2, PLAIN)])
    finish(pipeline, rows)
    assert all(row.latent.dtype == torch.float32 and row.latent.isfinite().all() for row in rows)
    assert pipeline.decode(rows)[0].shape == pipeline.preview(rows)[0].shape


async def test_a_request_goes_through_the_engine_with_previews(turbo: Path, tmp_path: Path):
    policies = load_policies()
    policies = replace(policies, models=replace(policies.models, models={"tiny": model(str(turbo))}))
    settings = Settings.from_env(
        {"SFUMATO_HOME": str(tmp_path), "SFUMATO_MODELS": "tiny", "SFUMATO_TORCH_THREADS": "1"}
    )
    engine = build_engine("tiny", settings, policies)
    request = GenerateRequest(
        job_id="j",
        model="tiny",
        policy_digest="",
        prompt=Prompt("cat", "dog"),
        n=2,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        steps=4,
        guidance=GUIDED,
        seed=5,
        turn=Turn("anonymous", "t", 1.0, 60.0),
        previews=1,
        inline=True,
    )
    events = [event async for event in engine.generate(request)]
    await engine.close()
    assert isinstance(events[-1], Succeeded)
    assert {(event.index, event.seed) for event in events if isinstance(event, Image)} == {(0, 5), (1, 6)}
    assert {event.index for event in events if isinstance(event, Preview)} == {0, 1}
