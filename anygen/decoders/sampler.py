"""The one sampling loop of all decoders: classifier-free guidance over a diffusers scheduler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BadArgument, Cancelled, NonFinite
from .base import ConditioningSpec, OnStep, StepEvent
from .conditioning import Conditioner, guidance_embedding
from .deep_cache import DeepCache
from .denoising import call_network
from .schedulers import fresh

Preview = Callable[[Tensor], list[np.ndarray]]
"""Latents to one small uint8 picture (or clip) a sample."""


def share_noise(noise: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Give the frames of a film a part of their noise in common (mixed noise, Ge et al. 2023, section 4.2).

    A UNet that knows pictures then starts with frames that agree, and only has to learn what moves.

    Args:
        noise: (..., C, F, h, w) standard normal, each frame for itself.
        share: Share of the variance that all frames have in common; 0 changes nothing.
        generator: Draws the common part.

    Returns:
        Like `noise`, standard normal in every frame.
    """
    if not share:
        return noise
    common = torch.randn(noise[..., :1, :, :].shape, generator=generator)
    return share**0.5 * common + (1 - share) ** 0.5 * noise


def starting_noise(
    shape: Sequence[int], seeds: Sequence[int], share: float = 0.0
) -> tuple[Tensor, list[torch.Generator]]:
    """Standard normal noise on the CPU, each sample from its own generator: the same alone as in a batch.

    Args:
        shape: Of one sample, without the batch.
        seeds: One for each sample.
        share: What the frames of a film have in common (see `share_noise`).

    Returns:
        (len(seeds), *shape) float32, and the generators, to be used on for schedulers that draw noise between
        steps.
    """
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    drawn = [share_noise(torch.randn(tuple(shape), generator=g), share, g) for g in generators]
    return torch.stack(drawn), generators


def denoise(
    unet: nn.Module,
    scheduler: Any,
    latents: Tensor,
    prompt_embeds: Tensor,
    spec: ConditioningSpec,
    *,
    num_inference_steps: int,
    guidance_scale: float = 1.0,
    guidance_rescale: float = 0.0,
    negative_prompt_embeds: Tensor | None = None,
    generators: list[torch.Generator] | None = None,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] | None = None,
    preview: Preview | None = None,
    conditioner: Conditioner | None = None,
    cache_interval: int = 1,
) -> Tensor:
    """From noise to clean latents.

    The scheduler that is passed in is a description: every call runs a fresh copy, since schedulers keep
    state and a shared one silently mixes up concurrent calls. Gradients flow unless the caller disables them.

    Args:
        unet: A UNet or transformer of diffusers, in eval mode.
        scheduler: A diffusers scheduler; not changed.
        latents: (B, C, H, W), (B, C, F, H, W) or (B, C, T) standard normal noise.
        prompt_embeds: (B, tokens, width), or (B, width) where tokens is 1.
        spec: The decoder's conditioning.
        num_inference_steps: Denoising steps asked for; PNDM and Heun make more calls than that.
        guidance_scale: w of Ho and Salimans 2022 as written in Saharia et al. 2022, eq. 2; 1 or less turns
            guidance off. A UNet that was distilled with guidance is told it and runs once.
        guidance_rescale: phi of Lin et al. 2023, eq. 16, against overexposure under strong guidance; 0 turns
            it off.
        negative_prompt_embeds: (1 or B, tokens, width) unconditional embedding; needed where guidance is on.
        generators: One for each sample, for schedulers that draw noise between steps.
        on_step: Called after every step.
        should_stop: Asked before every step.
        preview: What turns latents into the preview of a `StepEvent`; without it previews are empty.
        conditioner: What makes network arguments of the embeddings; None does as the spec says.
        cache_interval: Steps from one computation of a UNet's deep layers to the next; 1 computes all.

    Returns:
        Clean latents, float32, shaped like the noise.

    Raises:
        BadArgument: Shapes do not match, or guidance is asked for without an unconditional embedding.
        Cancelled: `should_stop` said so.
        NonFinite: A NaN or infinity appeared.
    """
    told = getattr(getattr(unet, "config", None), "time_cond_proj_dim", None)
    guided = guidance_scale > 1.0 and told is None
    dtype = next(unet.parameters()).dtype
    embeds = _conditioning(
        spec, prompt_embeds, negative_prompt_embeds if guided else None, latents.shape[0], guided
    )
    embeds = spec.fit(embeds, like=latents.to(dtype))
    if conditioner is None:
        arguments: dict[str, Any] = dict(spec.arguments(embeds, latents))
    else:
        arguments = conditioner(embeds, latents.shape[0] if guided else 0)
    if told is not None:
        arguments["timestep_cond"] = (
            guidance_embedding(guidance_scale, told).to(embeds).expand(len(embeds), -1)
        )
    network = DeepCache(unet, cache_interval) if cache_interval > 1 else unet
    run = fresh(scheduler, num_inference_steps, latents.device)
    noisy = generators and "generator" in inspect.signature(run.step).parameters
    extra = {"generator": generators} if noisy else {}
    total = len(run.timesteps)
    latents = latents.float() * getattr(run, "init_noise_sigma", 1.0)
    for step, timestep in enumerate(run.timesteps, start=1):
        if should_stop is not None and should_stop():
            raise Cancelled(
                f"generation: stopped by the caller before step {step} of {total}; start it again "
                "for a result"
            )
        model_input = torch.cat([latents] * 2) if guided else latents
        if hasattr(run, "scale_model_input"):  # flow matching has none
            model_input = run.scale_model_input(model_input, timestep)
        rows = timestep.expand(len(model_input))
        output = call_network(network, spec.network_input(model_input.to(dtype)), rows, arguments).float()
        if guided:
            output = _guide(output, guidance_scale, guidance_rescale)
        stepped = run.step(output, timestep, latents, **extra)
        latents = stepped.prev_sample
        if not torch.isfinite(latents).all():
            raise NonFinite(
                f"denoising step {step} of {total}: found NaN or infinity, expected finite latents; "
                "use float32 or a lower guidance_scale"
            )
        if on_step is not None:
            clean = getattr(stepped, "pred_original_sample", None)
            look = _previewer(preview, latents if clean is None else clean)
            on_step(StepEvent(step=step, total=total, preview=look))
    return latents


def _conditioning(
    spec: ConditioningSpec, prompt_embeds: Tensor, negative: Tensor | None, batch_size: int, guided: bool
) -> Tensor:
    """The embeddings of one UNet call: (B, L, D), or (2 B, L, D) with the unconditional ones first."""
    embeds = spec.fit(prompt_embeds)
    if embeds.shape[0] != batch_size:
        raise BadArgument(
            f"prompt_embeds: found {embeds.shape[0]} rows, expected {batch_size}; pass one row for each "
            "sample"
        )
    if not torch.isfinite(embeds).all():
        raise NonFinite(
            "prompt_embeds: found NaN or infinity, expected finite numbers; check the model that made them"
        )
    if not guided:
        return embeds
    if negative is None:
        raise BadArgument(
            "negative_prompt_embeds: found None, expected the unconditional embedding; pass it or set "
            "guidance_scale to 1"
        )
    unconditional = spec.fit(negative, like=embeds)
    if unconditional.shape[0] not in (1, batch_size):
        raise BadArgument(
            f"negative_prompt_embeds: found {unconditional.shape[0]} rows, expected 1 or {batch_size}; "
            "pass one for all"
        )
    return torch.cat([unconditional.expand_as(embeds), embeds])


def _guide(output: Tensor, scale: float, rescale: float) -> Tensor:
    """Classifier-free guidance of a (2 B, ...) prediction, unconditional half first."""
    unconditional, conditional = output.chunk(2)
    guided = unconditional + scale * (conditional - unconditional)
    if rescale > 0:
        dims = tuple(range(1, output.ndim))
        factor = conditional.std(dims, keepdim=True) / guided.std(dims, keepdim=True).clamp(min=1e-8)
        guided = guided * (1 + rescale * (factor - 1))
    return guided


def _previewer(preview: Preview | None, latents: Tensor) -> Callable[[], list[np.ndarray]]:
    return lambda: [] if preview is None else preview(latents.detach())
