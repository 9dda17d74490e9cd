"""What all decoders share: sampling latents, and the autoencoder around them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..errors import BadArgument, NonFinite, OutOfMemory
from .options import Request, check_request
from .parts import DecoderParts
from .sampler import Preview, denoise, starting_noise
from .scaling import to_autoencoder, to_denoiser
from .schedulers import choose

DECODE_PIXELS = 1024 * 1024
"""Pixels that the autoencoder decodes at once: bounds the memory of long clips and large batches."""


def sample_latents(
    parts: DecoderParts,
    shape: Sequence[int],
    prompt_embeds: Tensor,
    request: Request,
    *,
    seeds: Sequence[int],
    preview: Preview,
) -> Tensor:
    """Check a request, draw its noise and denoise it.

    Args:
        parts: The decoder.
        shape: Latent shape of one sample.
        prompt_embeds: (B, tokens, width).
        request: What to do; its sizes are those of `shape`.
        seeds: One for each sample.
        preview: Latents to previews.

    Returns:
        (B, *shape) clean float32 latents on the decoder's device.

    Raises:
        BadArgument: A value is of the wrong type, shape or range.
        Cancelled: `should_stop` said so.
        NonFinite: A NaN or infinity appeared.
        OutOfMemory: The device's memory ran out.
    """
    steps, scale = request.num_inference_steps, request.guidance_scale
    check_request(num_inference_steps=steps, guidance_scale=scale, seeds=seeds, batch_size=len(prompt_embeds))
    noise, generators = starting_noise(shape, seeds, parts.defaults.shared_noise)
    if request.latents is not None:
        if request.latents.shape != noise.shape:
            raise BadArgument(
                f"latents: found shape {tuple(request.latents.shape)}, expected {tuple(noise.shape)}; leave "
                "them out to draw them"
            )
        noise = request.latents
    unet, make = parts.unet, parts.layout.conditioner
    with memory_errors(), _evaluating(unet):
        return denoise(
            unet,
            choose(parts.scheduler, request.scheduler),
            noise.to(parts.device),
            prompt_embeds.to(parts.device),
            parts.spec,
            num_inference_steps=steps,
            guidance_scale=float(scale),
            guidance_rescale=parts.defaults.guidance_rescale,
            negative_prompt_embeds=parts.negative_prompt_embeds.to(parts.device) if scale > 1 else None,
            generators=generators,
            on_step=request.on_step,
            should_stop=request.should_stop,
            preview=preview,
            conditioner=None if make is None else make(parts, generators, request.audio_length_in_s),
            cache_interval=request.cache_interval,
        )


def encode(parts: DecoderParts, data: Tensor, generator: torch.Generator | None) -> Tensor:
    """Data (B, C, ...) to latents on the denoiser's scale: the mode, or a sample with a generator."""
    posterior = parts.vae.encode(data).latent_dist
    return to_denoiser(
        parts.vae, posterior.mode() if generator is None else posterior.sample(generator=generator)
    )


def decode(parts: DecoderParts, latents: Tensor) -> Tensor:
    """Latents (N, C, ...) of the denoiser to data (N, C, ...) float32, a bounded number at a time."""
    vae = parts.vae
    positions = math.prod(latents.shape[2:]) * parts.vae_factor**2 * parts.frame_factor
    chunk = 1 if parts.slicing else max(1, DECODE_PIXELS // positions)
    scaled = to_autoencoder(vae, latents).to(next(vae.parameters()).dtype)
    with memory_errors():
        return torch.cat([vae.decode(piece, return_dict=False)[0].float() for piece in scaled.split(chunk)])


def check_finite(data: Tensor, what: str) -> Tensor:
    """Give the data back, or raise NonFinite: a NaN would otherwise become a silent black picture."""
    if not torch.isfinite(data).all():
        raise NonFinite(
            f"{what}: found NaN or infinity after decoding, expected finite values; use dtype float32"
        )
    return data


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
