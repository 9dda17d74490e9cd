"""The UNet call and the training loss of latent diffusion, for pretraining and decoder alignment.

Loss: Ho et al. 2020 (epsilon), Salimans and Ho 2022 (v), with the min-SNR weighting of Hang et al. 2023. Zero
terminal SNR (Lin et al. 2023) is a property of the scheduler (`rescale_betas_zero_snr=True`) and needs v or
sample prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadArgument
from .base import ConditioningSpec

ADDED = ("text_embeds", "time_ids")
"""Conditioning that diffusers' UNets take in `added_cond_kwargs`."""


def predict(
    unet: nn.Module,
    sample: Tensor,
    timesteps: Tensor,
    prompt_embeds: Tensor,
    spec: ConditioningSpec,
    places: Tensor | None = None,
) -> Tensor:
    """Call the UNet with the conditioning where its spec says it enters.

    Args:
        unet: A UNet or transformer of diffusers whose conditioning the spec says whole.
        sample: (B, C, H, W) or, for a 3-D UNet, (B, C, F, H, W) noisy latents.
        timesteps: (B,) or scalar.
        prompt_embeds: (B, tokens, width), or (B, width) where tokens is 1.
        spec: The decoder's conditioning.
        places: (B, n) of single frames; see `ConditioningSpec.network_input`.

    Returns:
        The prediction (epsilon, v or sample), shaped like `sample`; differentiable in everything.

    Raises:
        BadArgument: `prompt_embeds` does not match the spec.
    """
    embeds = spec.fit(prompt_embeds, like=sample)
    return call_network(unet, spec.network_input(sample, places), timesteps, spec.arguments(embeds, sample))


def call_network(network: Any, sample: Tensor, timesteps: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Call a denoiser with named conditioning.

    Args:
        network: A UNet or transformer of diffusers.
        sample: (B, C, ...) noisy latents.
        timesteps: (B,) or scalar.
        arguments: Its keyword arguments; what diffusers wants in `added_cond_kwargs` is put there.

    Returns:
        The prediction, shaped like `sample`.
    """
    given: dict[str, Any] = {"encoder_hidden_states": None, "return_dict": False}
    given |= {name: value for name, value in arguments.items() if name not in ADDED}
    if added := {name: arguments[name] for name in ADDED if name in arguments}:
        given["added_cond_kwargs"] = added
    prediction: Tensor = network(sample, timesteps, **given)[0]
    return prediction


def diffusion_target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the UNet should have said: noise, velocity or clean latents, by the prediction type.

    Args:
        scheduler: A diffusers scheduler.
        latents: (B, C, ...) clean latents.
        noise: Like `latents`.
        timesteps: (B,).

    Returns:
        Like `latents`.

    Raises:
        BadArgument: The prediction type is unknown.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return latents
    if kind == "v_prediction":
        signal, spread = _signal_and_noise(scheduler, timesteps, latents)
        return signal * noise - spread * latents  # Salimans and Ho 2022, appendix D
    raise BadArgument(
        f"prediction_type: found {kind!r}, expected 'epsilon', 'v_prediction' or 'sample'; "
        "fix the scheduler config"
    )


def denoising_loss(
    unet: nn.Module,
    scheduler: Any,
    latents: Tensor,
    prompt_embeds: Tensor,
    spec: ConditioningSpec,
    *,
    generator: torch.Generator | None,
    weights: Tensor | None = None,
    snr_gamma: float | None = None,
    timesteps: Tensor | None = None,
    noise: Tensor | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """Mean squared error of one denoising step at random timesteps.

    Args:
        unet: `UNet2DConditionModel` or `UNet3DConditionModel`.
        scheduler: A diffusers scheduler with `alphas_cumprod` (only read, never changed).
        latents: (B, C, H, W) or (B, C, F, H, W) clean latents, scaled by the VAE's scaling factor.
        prompt_embeds: (B, tokens, width); for guidance, replace some by the unconditional one before.
        spec: The decoder's conditioning.
        generator: CPU generator of timesteps (drawn first) and noise; None only where both are given.
        weights: Importance of each position, broadcastable to `latents`, for example (B, 1, H, W); scaled
            here to mean 1 within each sample, so it moves attention and not the size of the loss.
        snr_gamma: Clip of the min-SNR weighting (5.0 in the paper); None weighs all timesteps alike.
        timesteps: (B,) instead of random ones.
        noise: Like `latents`, instead of random noise.
        places: (B, n) of single frames; see `ConditioningSpec.network_input`.

    Returns:
        Scalar float32, differentiable in the UNet and in `prompt_embeds`.

    Raises:
        BadArgument: A shape does not match, or randomness is needed and there is no generator.
    """
    timesteps, noise = _draw(scheduler, latents, generator, timesteps, noise)
    signal, spread = _signal_and_noise(scheduler, timesteps, latents)
    target = diffusion_target(scheduler, latents, noise, timesteps)
    noisy = signal * latents + spread * noise
    prediction = predict(unet, noisy, timesteps, prompt_embeds, spec, places)
    error = (prediction.float() - target.float()).square()
    if weights is not None:
        full = weights.to(error).expand_as(error)
        error = error * (full / full.flatten(1).mean(1).view(-1, *[1] * (error.ndim - 1)).clamp(min=1e-8))
    per_sample = error.flatten(1).mean(1)
    if snr_gamma is not None:
        per_sample = per_sample * min_snr_weights(scheduler, timesteps, snr_gamma)
    return per_sample.mean()


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Loss weights of Hang et al. 2023: min(SNR, gamma) over SNR (epsilon), SNR + 1 (v) or 1 (sample).

    Args:
        scheduler: A diffusers scheduler with `alphas_cumprod`.
        timesteps: (B,) int64.
        gamma: Clip, 5.0 in the paper.

    Returns:
        (B,) float32 on the device of `timesteps`.
    """
    power = scheduler.alphas_cumprod.to(device=timesteps.device, dtype=torch.float32)[timesteps]
    snr = power / (1 - power).clamp(min=1e-12)
    clipped = snr.clamp(max=gamma)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return torch.where(snr > 0, clipped / snr.clamp(min=1e-12), torch.ones_like(snr))
    return clipped / (snr + 1) if kind == "v_prediction" else clipped


def _draw(
    scheduler: Any,
    latents: Tensor,
    generator: torch.Generator | None,
    timesteps: Tensor | None,
    noise: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Timesteps (B,) and noise, drawn on the CPU where they are not given."""
    if generator is None and (timesteps is None or noise is None):
        raise BadArgument(
            "generator: found None, expected a torch.Generator; pass one, or both timesteps and noise"
        )
    if timesteps is None:
        timesteps = torch.randint(
            0, scheduler.config.num_train_timesteps, (latents.shape[0],), generator=generator
        )
    if noise is None:
        noise = torch.randn(latents.shape, generator=generator)
    return timesteps.to(latents.device), noise.to(latents)


def _signal_and_noise(scheduler: Any, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar) at the timesteps, shaped to multiply `like` (B, C, ...)."""
    power = scheduler.alphas_cumprod.to(device=like.device, dtype=torch.float32)[timesteps]
    power = power.view(-1, *[1] * (like.ndim - 1))
    return power.sqrt().to(like.dtype), (1 - power).sqrt().to(like.dtype)
