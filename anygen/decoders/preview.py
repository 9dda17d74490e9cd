"""Cheap pictures of latents: a linear map from latent channels to colors, fitted to the autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .scaling import to_denoiser

MEL_RANGE = (-11.5, 2.5)
"""Log-mel values drawn as black and as white."""
MEL_FIT_RANGE = (-11.5, 1.0)
"""Log-mel values that the map of latents is fitted to."""


@torch.no_grad()
def fit_preview(vae: Any, kind: str = "picture") -> Tensor:
    """Least-squares map from latent channels (and 1) to the mean data value under each latent position.

    The autoencoder itself encodes blurred random patches, so nothing has to be stored or trained and any
    autoencoder works.

    Args:
        vae: An autoencoder over 1 or 3 channels.
        kind: What its latents are, as `Layout.latents`.

    Returns:
        (latent channels + 1, data channels) float32 on the CPU, for latents as the denoiser has them; (0, 0)
        for waveforms, which have no pictures to fit to.
    """
    if kind == "wave":
        return torch.zeros(0, 0)
    low, high = MEL_FIT_RANGE if kind == "mel" else (-1.0, 1.0)
    generator = torch.Generator("cpu").manual_seed(0)
    parameter = next(vae.parameters())
    coarse = torch.rand(8, vae.config.in_channels, 8, 8, generator=generator)
    data = low + (high - low) * F.interpolate(coarse, size=64, mode="nearest")
    given = data.to(parameter)
    modes = vae.encode(given[:, :, None] if kind == "clip" else given).latent_dist.mode()
    latents = to_denoiser(vae, modes).float().cpu()
    latents = latents[:, :, 0] if kind == "clip" else latents
    pooled = F.adaptive_avg_pool2d(data, (latents.shape[-2], latents.shape[-1]))
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


def draw_channels(latents: Tensor) -> list[np.ndarray]:
    """Previews of waveform latents: gray, time to the right, a row for each channel.

    Args:
        latents: (B, C, t).

    Returns:
        One uint8 (C, t, 3) a sample.
    """
    gray = (latents.float().cpu() / 6 + 0.5).clamp(0, 1)  # latents have a spread of about 1
    return list((gray * 255).round().to(torch.uint8).unsqueeze(-1).expand(-1, -1, -1, 3).numpy())


def _apply(latents: Tensor, matrix: Tensor) -> Tensor:
    """(B, C, ...) latents to (B, ..., data channels)."""
    return latents.float().cpu().movedim(1, -1) @ matrix[:-1] + matrix[-1]
