"""Images: the layouts of Stable Diffusion 1 and 2, SDXL and StableUnCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from ..modality import Modality
from .folder import FolderDecoder
from .latents import check_finite, decode, encode, sample_latents
from .options import MAX_PIXELS, ImageOptions, check_limit, check_size, read_options
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
        self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Unpack[ImageOptions]
    ) -> Tensor:
        """Like a call, as pixels (B, 3, H, W) in [0, 1]."""
        request = read_options(ImageOptions, options, self.parts.defaults)
        factor = self.parts.vae_factor
        height = check_size(request.height, "height", multiple=factor * self.parts.layout.patch)
        width = check_size(request.width, "width", multiple=factor * self.parts.layout.patch)
        check_limit(height * width, MAX_PIXELS, "pixels of an image (height x width)")
        clean = sample_latents(
            self.parts,
            (self.parts.latent_channels, height // factor, width // factor),
            prompt_embeds,
            request,
            seeds=seeds,
            preview=lambda x: draw_pixels(x, self.parts.preview),
        )
        return check_finite(self.decode(clean), "image")

    def __call__(
        self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Unpack[ImageOptions]
    ) -> list[Image.Image]:
        """Generate one image for each row of the conditioning.

        Args:
            prompt_embeds: (B, tokens, width), from an output projection or `encode_text`.
            seeds: One for each row: sample i is the same in any batch up to rounding.
            **options: As in `ImageOptions`.

        Returns:
            RGB images.

        Raises:
            AnyGenError: As `FolderDecoder` says.
        """
        pixels = self.sample(prompt_embeds, seeds=seeds, **options)
        array = (pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
        return [Image.fromarray(picture) for picture in array]
