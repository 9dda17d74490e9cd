"""Between the scale of an autoencoder's latents and that of the denoiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_denoiser(vae: Any, latents: Tensor) -> Tensor:
    """Latents (B, C, ...) of an autoencoder as the denoiser has them: about unit spread."""
    factor, channels = _scale(vae, latents)
    if channels is None:
        return latents * factor
    mean, std = channels
    return (latents - mean) * (factor / std)


def to_autoencoder(vae: Any, latents: Tensor) -> Tensor:
    """The inverse of `to_denoiser`."""
    factor, channels = _scale(vae, latents)
    if channels is None:
        return latents / factor
    mean, std = channels
    return latents * (std / factor) + mean


def _scale(vae: Any, like: Tensor) -> tuple[float, tuple[Tensor, Tensor] | None]:
    """The factor and, where its config has them, mean and standard deviation of each channel."""
    config = vae.config
    factor = float(config.get("scaling_factor") or 1.0)
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None or std is None:
        return factor, None
    shape = (1, -1, *[1] * (like.ndim - 2))
    return factor, (torch.tensor(mean).to(like).view(shape), torch.tensor(std).to(like).view(shape))
