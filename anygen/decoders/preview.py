"""Cheap pictures of latents: a linear map from latent channels to colors, fitted to the autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MEL_RANGE = (-11.5, 2.5)
"""Log-mel values drawn as black and as white."""


@torch.no_grad()
def fit_preview(vae: Any, *, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Least-squares map from latent channels (and 1) to the mean data value under each latent position.

    The autoencoder itself encodes blurred random patches, so nothing has to be stored or trained and any
    autoencoder works.

    Args:
        vae: `AutoencoderKL` over 1 or 3 channels.
        low: Smallest data value.
        high: Largest data value.

    Returns:
        (latent channels + 1, data channels) float32 on the CPU, for latents multiplied by the scaling factor.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    parameter = next(vae.parameters())
    coarse = torch.rand(8, vae.config.in_channels, 8, 8, generator=generator)
    data = low + (high - low) * F.interpolate(coarse, size=64, mode="nearest")
    latents = vae.encode(data.to(parameter)).latent_dist.mode().float().cpu() * vae.config.scaling_factor
    pooled = F.adaptive_avg_pool2d(data, latents.shape[-2:])
    rows = latents.movedim(1, -1).flatten(0, -2)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    return torch.linalg.lstsq(rows, pooled.movedim(1, -1).flatten(0, -2), driver="gelsd").solution


def draw_pixels(latents: Tensor, matrix: Tensor) -> list[np.ndarray]:
    """Previews of image or video latents.

    Args:
        latents: (B, C, h, w) or (B, C, F, h, w).
        matrix: (C + 1, 3) of `fit_preview`.

    Returns:
        One uint8 (h, w, 3) or (F, h, w, 3) a sample.
    """
    pixels = _apply(latents, matrix) * 0.5 + 0.5
    return list((pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def draw_mel(latents: Tensor, matrix: Tensor) -> list[np.ndarray]:
    """Previews of audio latents: gray spectrograms, time to the right, low pitch at the bottom.

    Args:
        latents: (B, C, t, m).
        matrix: (C + 1, 1) of `fit_preview`.

    Returns:
        One uint8 (m, t, 3) a sample.
    """
    low, high = MEL_RANGE
    gray = ((_apply(latents, matrix)[..., 0] - low) / (high - low)).clamp(0, 1).transpose(1, 2).flip(1)
    return list((gray * 255).round().to(torch.uint8).unsqueeze(-1).expand(-1, -1, -1, 3).numpy())


def _apply(latents: Tensor, matrix: Tensor) -> Tensor:
    """(B, C, ...) latents to (B, ..., data channels)."""
    return latents.float().cpu().movedim(1, -1) @ matrix[:-1] + matrix[-1]
