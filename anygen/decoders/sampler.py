"""The one sampling loop of all decoders: classifier-free guidance over a diffusers scheduler."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BadArgument, Cancelled, NonFinite
from .base import ConditioningSpec, OnStep, StepEvent
from .denoising import predict

MAX_STEPS = 1000
"""Most denoising steps of one call."""
MAX_SEED = 2**63 - 1
"""Largest seed."""

Preview = Callable[[Tensor], list[np.ndarray]]
"""Latents to one small uint8 picture (or clip) a sample."""


def check_request(
    *, num_inference_steps: int, guidance_scale: float, seeds: Sequence[int], batch_size: int
) -> None:
    """Refuse what cannot be sampled before anything is computed.

    Args:
        num_inference_steps: Denoising steps asked for.
        guidance_scale: Weight of classifier-free guidance.
        seeds: One for each sample.
        batch_size: Rows of `prompt_embeds`.

    Raises:
        BadArgument: A number is of the wrong type or out of range.
    """
    if isinstance(num_inference_steps, bool) or not isinstance(num_inference_steps, int):
        raise BadArgument(
            f"num_inference_steps: found {num_inference_steps!r}, expected a whole number; pass 1 to "
            f"{MAX_STEPS}"
        )
    if not 1 <= num_inference_steps <= MAX_STEPS:
        raise BadArgument(
            f"num_inference_steps: found {num_inference_steps}, expected 1 to {MAX_STEPS}; 20 to 50 is usual"
        )
    if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, int | float):
        raise BadArgument(
            f"guidance_scale: found {guidance_scale!r}, expected a number; 1 turns guidance off"
        )
    if not math.isfinite(guidance_scale) or guidance_scale < 0:
        raise BadArgument(
            f"guidance_scale: found {guidance_scale}, expected a finite number from 0; 1 turns guidance off"
        )
    if len(seeds) != batch_size:
        raise BadArgument(
            f"seeds: found {len(seeds)}, expected {batch_size}; pass one seed for each row of prompt_embeds"
        )
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise BadArgument(
                f"seed: found {seed!r}, expected a whole number from 0 to 2**63 - 1; pick another seed"
            )


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
) -> Tensor:
    """From noise to clean latents.

    The scheduler that is passed in is a description: every call runs a fresh copy, since schedulers keep
    state and a shared one silently mixes up concurrent calls. Gradients flow unless the caller disables them.

    Args:
        unet: `UNet2DConditionModel` or `UNet3DConditionModel` in eval mode.
        scheduler: A diffusers scheduler; not changed.
        latents: (B, C, H, W) or (B, C, F, H, W) standard normal noise.
        prompt_embeds: (B, tokens, width), or (B, width) where tokens is 1.
        spec: The decoder's conditioning.
        num_inference_steps: Denoising steps asked for; PNDM and Heun make more calls than that.
        guidance_scale: w of Ho and Salimans 2022 as written in Saharia et al. 2022, eq. 2; 1 or less turns
            guidance off.
        guidance_rescale: phi of Lin et al. 2023, eq. 16, against overexposure under strong guidance; 0 turns
            it off.
        negative_prompt_embeds: (1 or B, tokens, width) unconditional embedding; needed where guidance is on.
        generators: One for each sample, for schedulers that draw noise between steps.
        on_step: Called after every step.
        should_stop: Asked before every step.
        preview: What turns latents into the preview of a `StepEvent`; without it previews are empty.

    Returns:
        Clean latents, float32, shaped like the noise.

    Raises:
        BadArgument: Shapes do not match, or guidance is asked for without an unconditional embedding.
        Cancelled: `should_stop` said so.
        NonFinite: A NaN or infinity appeared.
    """
    guided = guidance_scale > 1.0
    embeds = _conditioning(
        spec, prompt_embeds, negative_prompt_embeds if guided else None, latents.shape[0], guided
    )
    run = fresh(scheduler, num_inference_steps, latents.device)
    noisy = generators and "generator" in inspect.signature(run.step).parameters
    extra = {"generator": generators} if noisy else {}
    dtype, total = next(unet.parameters()).dtype, len(run.timesteps)
    latents = latents.float() * run.init_noise_sigma
    for step, timestep in enumerate(run.timesteps, start=1):
        if should_stop is not None and should_stop():
            raise Cancelled(
                f"generation: stopped by the caller before step {step} of {total}; start it again "
                "for a result"
            )
        model_input = run.scale_model_input(torch.cat([latents] * 2) if guided else latents, timestep)
        output = predict(unet, model_input.to(dtype), timestep, embeds, spec).float()
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


def fresh(scheduler: Any, num_inference_steps: int, device: torch.device | str) -> Any:
    """A new scheduler of the same kind and configuration, set to that many steps.

    Args:
        scheduler: A diffusers scheduler; not changed.
        num_inference_steps: Denoising steps.
        device: Where its timesteps live.

    Returns:
        The new scheduler.

    Raises:
        BadArgument: This kind of scheduler cannot make that many steps.
    """
    run = type(scheduler).from_config(scheduler.config)
    try:
        run.set_timesteps(num_inference_steps, device=device)
    except ValueError:
        raise BadArgument(
            f"num_inference_steps: found {num_inference_steps}, more than {type(scheduler).__name__} can "
            f"make of its {scheduler.config.num_train_timesteps} training timesteps; ask for fewer"
        ) from None
    return run


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
