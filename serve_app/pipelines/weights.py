"""A Stable Diffusion directory as diffusers saves it, read whole and offline: safetensors only, nothing missing.

Pickled weights run code when they are opened, so none is ever opened. What is done with the modules is for `unet.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors import SafetensorError
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

WEIGHTS = ("unet", "vae", "text_encoder")
PARTS = (*WEIGHTS, "tokenizer", "scheduler")
UNSAFE = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


class ModelLoadError(Exception):
    """The weights are missing, unsafe or of another family; the message names the directory and what to do."""


@dataclass(frozen=True, slots=True)
class StableDiffusion:
    """The parts, on their device, in eval mode; `scheduler` is the saved sampler's configuration."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Mapping[str, Any]


def load_stable_diffusion(root: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """Raises ModelLoadError."""
    _check_directory(root)
    disable_progress_bar()
    try:
        unet = _load(UNet2DConditionModel, root / "unet", dtype, low_cpu_mem_usage=False)
        vae = _load(AutoencoderKL, root / "vae", dtype, low_cpu_mem_usage=False)
        text_encoder = _load(CLIPTextModel, root / "text_encoder", dtype)
        tokenizer = CLIPTokenizer.from_pretrained(root / "tokenizer", local_files_only=True)
        scheduler: Any = EulerDiscreteScheduler.load_config(str(root / "scheduler"), local_files_only=True)
    except UNREADABLE as error:
        raise ModelLoadError(f"{root} cannot be read as a Stable Diffusion directory: {error}") from error
    _check_family(root, unet.config, scheduler)
    return StableDiffusion(
        unet=unet.to(device=device, memory_format=torch.channels_last),
        vae=vae.to(device=device, memory_format=torch.channels_last),
        text_encoder=text_encoder.to(device=device),
        tokenizer=tokenizer,
        scheduler=scheduler,
    )


def _check_directory(root: Path) -> None:
    for part in PARTS:
        if not (root / part).is_dir():
            raise ModelLoadError(f"{root / part} is missing; a Stable Diffusion directory has {', '.join(PARTS)}")
    for part in WEIGHTS:
        if any((root / part).glob("*.safetensors")):
            continue
        unsafe = sorted(file for file in (root / part).iterdir() if file.suffix in UNSAFE)
        found = f"{unsafe[0]} is refused" if unsafe else f"{root / part} has no weights"
        raise ModelLoadError(f"{found}: safetensors only")


def _load(model: Any, path: Path, dtype: torch.dtype, **options: bool) -> Any:
    """Both libraries fill what a file lacks with random numbers; here that is an error."""
    module, info = model.from_pretrained(
        path, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
    )
    if info["missing_keys"]:
        raise ModelLoadError(f"{path} lacks weights, {min(info['missing_keys'])} among them; copy the model again")
    return module.eval().requires_grad_(False)


def _check_family(root: Path, unet: Any, scheduler: Mapping[str, Any]) -> None:
    """Stable Diffusion 1, 2 and Turbo: text to image, conditioned on one text and the time alone."""
    if unet.in_channels != unet.out_channels or unet.addition_embed_type or unet.time_cond_proj_dim:
        raise ModelLoadError(f"{root / 'unet'} is no text-to-image UNet of Stable Diffusion 1 or 2")
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise ModelLoadError(f"{root / 'scheduler'}: prediction type {prediction} is neither epsilon nor v_prediction")
