"""The arithmetic of one denoising step, for many rows at once: each row has its own scalars, shaped (B, 1, 1, 1).

Pure functions of tensors; latents are (B, C, H, W). Schedules are made elsewhere, when a row starts.
"""

import torch
from torch import Tensor


def per_row(values: list[float], like: Tensor) -> Tensor:
    """Scalars, one a row, ready to multiply latents: (B, 1, 1, 1) in the dtype and on the device of `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)


def guide(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598)."""
    return unconditional + scale * (conditional - unconditional)


def flow_step(x: Tensor, velocity: Tensor, now: Tensor, then: Tensor) -> tuple[Tensor, Tensor]:
    """Rectified flow, x_t = (1 - t) data + t noise: one Euler step, and the data that it points at."""
    return x + (then - now) * velocity, x - now * velocity


def denoised_from_epsilon(x: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
    return x - sigma * epsilon


def denoised_from_v(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """v prediction (Salimans & Ho 2022, arXiv 2202.00512) in the sigma parametrisation of Karras et al. 2022."""
    return v * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


def euler_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Karras et al. 2022 (arXiv 2206.00364), algorithm 2 without churn."""
    return x + (sigma_next - sigma) * ((x - denoised) / sigma)


def euler_ancestral_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Tensor) -> Tensor:
    """Euler down to a lower sigma, then fresh noise back up to `sigma_next`; `noise` is standard normal."""
    up = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    down = (sigma_next**2 - up**2) ** 0.5
    return x + (down - sigma) * ((x - denoised) / sigma) + noise * up
