"""Stable Diffusion 1, 2 and Turbo: the UNets of diffusers, moved row by row as `StableDiffusionPipeline` would alone.

Half precision on a GPU, float32 on a CPU; latents stay float32 between steps. Text to image; reading the directory is
left to `weights.py`, the arithmetic of a step to `sampling.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

from serve_app.pipelines.pictures import finished_pictures, pictures
from serve_app.pipelines.pipeline import BatchKey, OutOfMemory, Picture, RowSpec
from serve_app.pipelines.sampling import (
    denoised_from_epsilon,
    denoised_from_v,
    euler_ancestral_step,
    euler_step,
    guide,
    per_row,
)
from serve_app.pipelines.weights import load_stable_diffusion

Sampler = Literal["euler", "euler_ancestral"]
SCHEDULERS = {"euler": EulerDiscreteScheduler, "euler_ancestral": EulerAncestralDiscreteScheduler}
COLOURS = 64  # plain latents decoded at load time to learn what colour a latent has
COLOUR_CELLS = 4  # the side of each


@dataclass(slots=True, eq=False, repr=False)
class UnetRow:
    """A picture on its way. `latent`, `denoised`: (C, h, w) float32; `text`: (T, D).

    `noise` is that of the coming ancestral step, drawn ahead: a pass that did not fit is made again with the same.
    """

    latent: Tensor
    denoised: Tensor
    text: Tensor
    negative_text: Tensor | None
    timesteps: list[float]
    sigmas: list[float]  # one more than timesteps
    guidance: float
    generator: torch.Generator
    noise: Tensor | None
    truncated: bool
    step_index: int = 0

    @property
    def steps(self) -> int:
        return len(self.timesteps)


class UnetPipeline:
    """Implements `Pipeline`. Raises ModelLoadError where the directory is not what it should be."""

    def __init__(
        self,
        name: str,
        weights: Path,
        *,
        sampler: Sampler = "euler",
        threads: int | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._name = name
        self._sampler: Sampler = sampler
        self._threads = threads or torch.get_num_threads()
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = dtype or (torch.float16 if self._device.type == "cuda" else torch.float32)
        parts = load_stable_diffusion(weights, self._device, self._dtype)
        self._unet, self._vae, self._text_encoder = parts.unet, parts.vae, parts.text_encoder
        self._tokenizer, self._scheduler = parts.tokenizer, parts.scheduler
        self._is_v = parts.scheduler.get("prediction_type") == "v_prediction"
        self._tokens = min(self._tokenizer.model_max_length, self._text_encoder.config.max_position_embeddings)
        self._cell_px = 2 ** (len(self._vae.config.block_out_channels) - 1)  # one latent cell covers so many pixels
        self._empty_text = self._encode([""])[0]  # an operator constant: the only encoding that callers share
        self._colours = self._learn_colours()

    def enter_thread(self) -> None:
        torch.set_num_threads(self._threads)  # OpenMP keeps this per thread; a new thread computes with one

    def batch_key(self, spec: RowSpec) -> BatchKey:
        return BatchKey(self._name, self._latent_shape(spec), self._tokens)

    def start(self, specs: Sequence[RowSpec]) -> list[UnetRow]:
        avoided = [spec.negative_prompt if spec.guidance > 1 else "" for spec in specs]
        try:
            texts = self._encode([spec.prompt for spec in specs])
            encoded = iter(self._encode(used) if (used := [text for text in avoided if text]) else ())
            rows = self.start_encoded(specs, list(texts), [next(encoded) if text else None for text in avoided])
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"{len(specs)} prompts did not fit on {self._device}") from error
        for row, spec, text in zip(rows, specs, avoided, strict=True):
            row.truncated = self._is_cut(spec.prompt) or self._is_cut(text)
        return rows

    @torch.inference_mode()
    def start_encoded(
        self, specs: Sequence[RowSpec], texts: Sequence[Tensor], negatives: Sequence[Tensor | None]
    ) -> list[UnetRow]:
        """From text embeddings, each (T, D); without a negative one a guided row is guided away from the empty text."""
        return [self._row(*given) for given in zip(specs, texts, negatives, strict=True)]

    @torch.inference_mode()
    def step(self, rows: Sequence[UnetRow]) -> None:
        try:
            moved, denoised = self._move(rows)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"{len(rows)} rows did not fit on {self._device}") from error
        for row, latent, estimate in zip(rows, moved, denoised, strict=True):
            row.latent, row.denoised = latent, estimate
            row.step_index += 1
            if row.noise is not None:
                row.noise = self._draw(row.generator, row.latent.shape)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # so that whoever times a step times its work

    @torch.inference_mode()
    def preview(self, rows: Sequence[UnetRow]) -> list[Picture]:
        """The colour of each latent cell of the denoised estimate, enlarged: far cheaper than a decode."""
        latents = torch.stack([row.denoised for row in rows])
        colours = torch.einsum("nchw,cd->ndhw", F.pad(latents, (0, 0, 0, 0, 0, 1), value=1), self._colours)
        return pictures(F.interpolate(colours, scale_factor=self._cell_px, mode="bilinear"))

    @torch.inference_mode()
    def decode(self, rows: Sequence[UnetRow]) -> list[Picture]:
        return finished_pictures(self._decoded(torch.stack([row.latent for row in rows])))

    def _row(self, spec: RowSpec, text: Tensor, negative: Tensor | None) -> UnetRow:
        timesteps, sigmas, noise_sigma = _schedule(self._scheduler, self._sampler, spec.steps)
        generator = torch.Generator().manual_seed(spec.seed)
        shape = torch.Size(self._latent_shape(spec))
        latent = (self._draw(generator, shape) * noise_sigma).to(self._device)
        return UnetRow(
            latent=latent,
            denoised=latent,
            text=text,
            negative_text=(self._empty_text if negative is None else negative) if spec.guidance > 1 else None,
            timesteps=timesteps,
            sigmas=sigmas,
            guidance=spec.guidance,
            generator=generator,
            noise=self._draw(generator, shape) if self._sampler == "euler_ancestral" else None,
            truncated=False,
        )

    def _draw(self, generator: torch.Generator, shape: torch.Size) -> Tensor:
        """Standard normal, on the CPU and in the model's dtype as diffusers draws it: a seed is the same picture on any
        device."""
        return torch.randn((1, *shape), generator=generator, dtype=self._dtype)[0].float()

    def _move(self, rows: Sequence[UnetRow]) -> tuple[Tensor, Tensor]:
        """The latents one step on and what they will become; changes no row."""
        x = torch.stack([row.latent for row in rows])  # (B, C, h, w)
        sigma = per_row([row.sigmas[row.step_index] for row in rows], x)
        sigma_next = per_row([row.sigmas[row.step_index + 1] for row in rows], x)
        output = self._guided(rows, x / (sigma**2 + 1) ** 0.5)
        denoised = (denoised_from_v if self._is_v else denoised_from_epsilon)(x, output, sigma)
        noise = [noise for row in rows if (noise := row.noise) is not None]
        if not noise:
            return euler_step(x, denoised, sigma, sigma_next), denoised
        drawn = torch.stack(noise).to(self._device)
        return euler_ancestral_step(x, denoised, sigma, sigma_next, drawn), denoised

    def _guided(self, rows: Sequence[UnetRow], x: Tensor) -> Tensor:
        """The model's output for every row, in one forward pass of B rows and one more for each guided one."""
        guided = [number for number, row in enumerate(rows) if row.negative_text is not None]
        times = torch.tensor([row.timesteps[row.step_index] for row in rows], device=self._device)
        texts = [row.text for row in rows] + [text for row in rows if (text := row.negative_text) is not None]
        output = self._predict(torch.cat([x, x[guided]]), torch.cat([times, times[guided]]), torch.stack(texts))
        conditional = output[: len(rows)]
        if guided:
            scale = per_row([rows[number].guidance for number in guided], x)
            conditional[guided] = guide(conditional[guided], output[len(rows) :], scale)
        return conditional

    def _predict(self, x: Tensor, times: Tensor, texts: Tensor) -> Tensor:
        """x: (F, C, h, w), times: (F,), texts: (F, T, D) -> (F, C, h, w) float32."""
        x = x.to(self._dtype).contiguous(memory_format=torch.channels_last)
        return self._unet(x, times, texts, return_dict=False)[0].float()

    @torch.inference_mode()
    def _encode(self, prompts: list[str]) -> Tensor:
        """N strings -> (N, T, D); "" is the unconditional prompt."""
        tokens = self._tokenizer(
            prompts, padding="max_length", max_length=self._tokens, truncation=True, return_tensors="pt"
        ).to(self._device)
        masked = getattr(self._text_encoder.config, "use_attention_mask", False)
        return self._text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask if masked else None)[0]

    def _is_cut(self, prompt: str) -> bool:
        return len(self._tokenizer(prompt, verbose=False)["input_ids"]) > self._tokens

    def _latent_shape(self, spec: RowSpec) -> tuple[int, int, int]:
        """Whole cells that cover the size asked for."""
        return self._unet.config.in_channels, -(-spec.height_px // self._cell_px), -(-spec.width_px // self._cell_px)

    def _decoded(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, H, W) float32 in -1..1 and somewhat beyond."""
        scaled = (latents / self._vae.config.scaling_factor).to(self._dtype)
        return self._vae.decode(scaled.contiguous(memory_format=torch.channels_last), return_dict=False)[0].float()

    @torch.inference_mode()
    def _learn_colours(self) -> Tensor:
        """(C + 1, 3): least squares from plain latents and 1 to the mean colours that the decoder gives them."""
        channels = self._unet.config.in_channels
        plain = torch.randn((COLOURS, channels, 1, 1), generator=torch.Generator().manual_seed(0))
        decoded = [
            self._decoded(part.expand(-1, -1, COLOUR_CELLS, COLOUR_CELLS).to(self._device)).mean((2, 3)).cpu()
            for part in plain.split(8)
        ]
        known = F.pad(plain.flatten(1), (0, 1), value=1)
        return torch.linalg.lstsq(known, torch.cat(decoded)).solution.to(self._device)


def _schedule(config: Mapping[str, Any], sampler: Sampler, steps: int) -> tuple[list[float], list[float], float]:
    """Timesteps, sigmas (one more) and the scale of the first noise, as diffusers makes them."""
    # StableDiffusionPipeline corrects outdated configurations to this offset
    scheduler: Any = SCHEDULERS[sampler].from_config(dict(config), steps_offset=1)
    scheduler.set_timesteps(steps)
    timesteps, sigmas = scheduler.timesteps.tolist(), scheduler.sigmas.tolist()
    # trailing spacing rounds to one step too many at 61, 103, 121 and 122
    return timesteps[:steps], [*sigmas[:steps], sigmas[-1]], float(scheduler.init_noise_sigma)
