"""What the three decoders share: sampling latents, and the autoencoder around them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..errors import BadArgument, LimitExceeded, NonFinite, OutOfMemory
from .base import OnStep
from .parts import DecoderParts
from .sampler import Preview, check_request, denoise, starting_noise

MAX_PIXELS = 2048 * 2048
"""Most pixels of one image or frame."""
MAX_VIDEO_PIXELS = 512 * 576 * 320
"""Most pixels of one clip, all frames together."""
MAX_FRAMES = 512
"""Most frames of one clip."""
MAX_SECONDS = 60.0
"""Longest sound."""
DECODE_PIXELS = 1024 * 1024
"""Pixels that the autoencoder decodes at once: bounds the memory of long clips and large batches."""


def sample_latents(
    parts: DecoderParts,
    shape: Sequence[int],
    prompt_embeds: Tensor,
    *,
    num_inference_steps: int | None,
    guidance_scale: float | None,
    seeds: Sequence[int],
    on_step: OnStep | None,
    should_stop: Callable[[], bool] | None,
    preview: Preview,
    latents: Tensor | None,
) -> Tensor:
    """Check a request, draw its noise and denoise it.

    Args:
        parts: The decoder.
        shape: Latent shape of one sample.
        prompt_embeds: (B, tokens, width).
        num_inference_steps: Denoising steps; None takes the decoder's default.
        guidance_scale: Weight of guidance; None takes the decoder's default.
        seeds: One for each sample.
        on_step: Progress callback.
        should_stop: Asked before every step.
        preview: Latents to previews.
        latents: (B, *shape) noise to start from instead of the seeds' own.

    Returns:
        (B, *shape) clean float32 latents on the decoder's device.

    Raises:
        BadArgument: A value is of the wrong type, shape or range.
        Cancelled: `should_stop` said so.
        NonFinite: A NaN or infinity appeared.
        OutOfMemory: The device's memory ran out.
    """
    defaults = parts.defaults
    steps = defaults.num_inference_steps if num_inference_steps is None else num_inference_steps
    scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
    check_request(num_inference_steps=steps, guidance_scale=scale, seeds=seeds, batch_size=len(prompt_embeds))
    noise, generators = starting_noise(shape, seeds, defaults.shared_noise)
    if latents is not None:
        if latents.shape != noise.shape:
            raise BadArgument(
                f"latents: found shape {tuple(latents.shape)}, expected {tuple(noise.shape)}; leave them "
                "out to draw them"
            )
        noise = latents
    unet = parts.unet
    with memory_errors(), _evaluating(unet):
        return denoise(
            unet,
            parts.scheduler,
            noise.to(parts.device),
            prompt_embeds.to(parts.device),
            parts.spec,
            num_inference_steps=steps,
            guidance_scale=float(scale),
            guidance_rescale=defaults.guidance_rescale,
            negative_prompt_embeds=parts.negative_prompt_embeds.to(parts.device) if scale > 1 else None,
            generators=generators,
            on_step=on_step,
            should_stop=should_stop,
            preview=preview,
        )


def encode(parts: DecoderParts, data: Tensor, generator: torch.Generator | None) -> Tensor:
    """Data (B, C, H, W) to latents times the scaling factor: the mode, or a sample with a generator."""
    posterior = parts.vae.encode(data).latent_dist
    latents = posterior.mode() if generator is None else posterior.sample(generator=generator)
    return latents * parts.vae.config.scaling_factor


def decode(parts: DecoderParts, latents: Tensor) -> Tensor:
    """Scaled latents (N, C, h, w) to data (N, C, H, W) float32, a bounded number at a time."""
    vae = parts.vae
    chunk = max(1, DECODE_PIXELS // (latents.shape[-1] * latents.shape[-2] * parts.vae_factor**2))
    scaled = (latents / vae.config.scaling_factor).to(next(vae.parameters()).dtype)
    with memory_errors():
        return torch.cat([vae.decode(piece, return_dict=False)[0].float() for piece in scaled.split(chunk)])


def check_finite(data: Tensor, what: str) -> Tensor:
    """Give the data back, or raise NonFinite: a NaN would otherwise become a silent black picture."""
    if not torch.isfinite(data).all():
        raise NonFinite(
            f"{what}: found NaN or infinity after decoding, expected finite values; use dtype float32"
        )
    return data


def check_size(value: object, name: str, *, multiple: int = 1) -> int:
    """A positive whole number that the autoencoder can divide, or BadArgument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadArgument(f"{name}: found {value!r}, expected a whole number; pass a multiple of {multiple}")
    if value < 1 or value % multiple:
        raise BadArgument(f"{name}: found {value}, expected a positive multiple of {multiple}; round it")
    return value


def check_limit(value: float, most: float, name: str) -> None:
    """LimitExceeded where a request is larger than anyone should compute."""
    if value > most:
        raise LimitExceeded(f"{name}: found {value:g}, expected at most {most:g}; ask for less")


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn torch's out-of-memory errors, on any device, into OutOfMemory."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if (
            type(error) is RuntimeError
            and "out of memory" not in text
            and "can't allocate memory" not in text
        ):
            raise
        raise OutOfMemory(
            "generation: found too little memory, expected room for the whole batch; ask for fewer or "
            "smaller outputs"
        ) from None


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Eval mode for a while: a UNet in training has dropout."""
    if not module.training:
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train()
