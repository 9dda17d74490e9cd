"""Images: Stable Diffusion's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from ..modality import Modality
from .base import OnStep
from .folder import FolderDecoder
from .latents import MAX_PIXELS, check_finite, check_limit, check_size, decode, encode, sample_latents
from .preview import draw_pixels


class ImageDecoder(FolderDecoder):
    """From (B, tokens, width) conditioning to PIL images.

    Args:
        parts: Its modules, in memory or on disk.
    """

    modality = Modality.IMAGE

    def encode(self, pixels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to scaled latents (B, C, h, w): the mode or drawn."""
        return encode(self.parts, pixels, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) to pixels (B, 3, H, W) in [0, 1]; differentiable."""
        return (decode(self.parts, latents) / 2 + 0.5).clamp(0, 1)

    @torch.inference_mode()
    def sample(
        self,
        prompt_embeds: Tensor,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        should_stop: Callable[[], bool] | None = None,
        height: int | None = None,
        width: int | None = None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Like a call, as pixels (B, 3, H, W) in [0, 1]; `latents` (B, C, h, w) replaces the seeds' noise."""
        factor, defaults = self.parts.vae_factor, self.parts.defaults
        height = check_size(defaults.height if height is None else height, "height", multiple=factor)
        width = check_size(defaults.width if width is None else width, "width", multiple=factor)
        check_limit(height * width, MAX_PIXELS, "pixels of an image (height x width)")
        clean = sample_latents(
            self.parts,
            (self.parts.unet.config.in_channels, height // factor, width // factor),
            prompt_embeds,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seeds=seeds,
            on_step=on_step,
            should_stop=should_stop,
            preview=lambda x: draw_pixels(x, self.parts.preview),
            latents=latents,
        )
        return check_finite(self.decode(clean), "image")

    def __call__(
        self,
        prompt_embeds: Tensor,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        should_stop: Callable[[], bool] | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> list[Image.Image]:
        """Generate one image for each row of the conditioning.

        Args:
            prompt_embeds: (B, tokens, width), from an output projection or `encode_text`.
            num_inference_steps: Denoising steps, 1 to 1000; None: the decoder's default, as below.
            guidance_scale: Weight of classifier-free guidance; 1 turns it off.
            seeds: One for each row: sample i is the same in any batch up to rounding.
            on_step: Called after every step; what it raises ends the run and reaches the caller.
            should_stop: Asked before every step.
            height: Pixels, a multiple of the autoencoder's factor.
            width: Pixels, likewise.

        Returns:
            RGB images.

        Raises:
            BadArgument: A value is of the wrong type, shape or range.
            LimitExceeded: The image would be too large.
            MissingPart: The decoder lacks a part.
            Cancelled: `should_stop` said so.
            NonFinite: A NaN or infinity appeared.
            OutOfMemory: The device's memory ran out.
        """
        pixels = self.sample(
            prompt_embeds,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seeds=seeds,
            on_step=on_step,
            should_stop=should_stop,
            height=height,
            width=width,
        )
        array = (pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
        return [Image.fromarray(picture) for picture in array]
