"""The step functions equal diffusers' schedulers, many rows of different sigmas at a time."""

import pytest
import torch
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

from serve_app.pipelines import sampling

# diffusers converts tensors by NumPy's older protocol
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

Scheduler = EulerDiscreteScheduler | EulerAncestralDiscreteScheduler
SHAPE = (4, 8, 8)
AT = [(4, 0), (4, 3), (20, 7), (50, 49), (50, 1)]  # rows: steps, and the step to make
DENOISED = {"epsilon": sampling.denoised_from_epsilon, "v_prediction": sampling.denoised_from_v}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def schedulers(kind: type[Scheduler], prediction: str) -> list[Scheduler]:
    """One a row, set to its step."""
    made: list[Scheduler] = []
    for steps, index in AT:
        scheduler = kind(beta_schedule="scaled_linear", prediction_type=prediction)
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(index)
        scheduler.scale_model_input(normal(0, 1, *SHAPE), scheduler.timesteps[index])
        made.append(scheduler)
    return made


def sigmas(made: list[Scheduler], offset: int, like: Tensor) -> Tensor:
    return sampling.per_row([float(s.sigmas[index + offset]) for s, (_, index) in zip(made, AT, strict=True)], like)


def theirs(made: list[Scheduler], output: Tensor, x: Tensor, seeded: bool) -> tuple[Tensor, Tensor]:
    """Each row alone: where it goes, and its denoised estimate."""
    moved: list[Tensor] = []
    denoised: list[Tensor] = []
    for row, (scheduler, (_, index)) in enumerate(zip(made, AT, strict=True)):
        generator = torch.Generator().manual_seed(row) if seeded else None
        step = scheduler.step(
            output[row : row + 1], scheduler.timesteps[index], x[row : row + 1], generator=generator, return_dict=False
        )
        moved.append(step[0])
        denoised.append(step[1])
    return torch.cat(moved), torch.cat(denoised)


def assert_rows_equal(ours: Tensor, reference: Tensor) -> None:
    difference = (ours - reference).abs().amax((1, 2, 3)) / reference.abs().amax((1, 2, 3))
    assert difference.max() <= 1e-6


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_batched_euler_step_is_each_rows_own(prediction: str):
    made = schedulers(EulerDiscreteScheduler, prediction)
    x, output = normal(1, len(AT), *SHAPE) * 10, normal(2, len(AT), *SHAPE)
    now, then = sigmas(made, 0, x), sigmas(made, 1, x)
    denoised = DENOISED[prediction](x, output, now)
    moved, their_denoised = theirs(made, output, x, seeded=False)
    assert_rows_equal(denoised, their_denoised)
    assert_rows_equal(sampling.euler_step(x, denoised, now, then), moved)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_batched_ancestral_step_is_each_rows_own_with_its_own_noise(prediction: str):
    made = schedulers(EulerAncestralDiscreteScheduler, prediction)
    x, output = normal(1, len(AT), *SHAPE) * 10, normal(2, len(AT), *SHAPE)
    now, then = sigmas(made, 0, x), sigmas(made, 1, x)
    noise = torch.cat([normal(row, 1, *SHAPE) for row in range(len(AT))])
    moved, _ = theirs(made, output, x, seeded=True)
    ours = sampling.euler_ancestral_step(x, DENOISED[prediction](x, output, now), now, then, noise)
    assert_rows_equal(ours, moved)


def test_a_flow_row_arrives_where_its_velocity_points():
    data, noise = normal(1, 3, *SHAPE), normal(2, 3, *SHAPE)
    now = sampling.per_row([1.0, 0.5, 0.25], data)
    x = (1 - now) * data + now * noise
    moved, denoised = sampling.flow_step(x, noise - data, now, torch.zeros_like(now))
    assert_rows_equal(moved, data)
    assert_rows_equal(denoised, data)


def test_guidance_is_each_rows_own():
    conditional, unconditional = normal(1, 3, *SHAPE), normal(2, 3, *SHAPE)
    guided = sampling.guide(conditional, unconditional, sampling.per_row([0.0, 1.0, 2.0], conditional))
    expected = torch.stack([unconditional[0], conditional[1], 2 * conditional[2] - unconditional[2]])
    assert_rows_equal(guided, expected)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 0.0, 1e30])
def test_a_poisoned_row_leaves_the_arithmetic_of_the_others_exact(poison: float):
    x, output, noise = (normal(seed, 2, *SHAPE) for seed in (1, 2, 3))
    now, then = sampling.per_row([5.0, 3.0], x), sampling.per_row([2.0, 0.0], x)
    clean = sampling.euler_ancestral_step(x, sampling.denoised_from_v(x, output, now), now, then, noise)
    x[1] = poison
    mixed = sampling.euler_ancestral_step(x, sampling.denoised_from_v(x, output, now), now, then, noise)
    assert torch.equal(mixed[0], clean[0])
