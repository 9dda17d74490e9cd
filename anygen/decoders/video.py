"""Video: the layouts of Zeroscope and Wan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from anygen.media import Video

from ..errors import BadArgument
from ..modality import Modality
from .folder import FolderDecoder
from .latents import check_finite, decode, encode, sample_latents
from .options import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_VIDEO_PIXELS,
    VideoOptions,
    check_limit,
    check_size,
    read_options,
)
from .preview import draw_pixels


class VideoDecoder(FolderDecoder):
    """From (B, tokens, width) conditioning to video clips.

    Args:
        parts: Its modules, in memory or on disk.
    """

    modality = Modality.VIDEO

    def encode(self, pixels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Pixels (B, F, 3, H, W) in [-1, 1] to scaled latents (B, C, f, h, w), the mode or drawn."""
        if self.parts.layout.latents == "clip":
            return encode(self.parts, pixels.transpose(1, 2), generator)
        latents = encode(self.parts, pixels.flatten(0, 1), generator)
        return latents.unflatten(0, pixels.shape[:2]).transpose(1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, f, h, w) to pixels (B, F, 3, H, W) in [0, 1]; differentiable."""
        if self.parts.layout.latents == "clip":
            return (decode(self.parts, latents) / 2 + 0.5).clamp(0, 1).transpose(1, 2)
        frames = latents.transpose(1, 2)
        return (decode(self.parts, frames.flatten(0, 1)) / 2 + 0.5).clamp(0, 1).unflatten(0, frames.shape[:2])

    @torch.inference_mode()
    def sample(
        self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Unpack[VideoOptions]
    ) -> Tensor:
        """Like a call, as pixels (B, F, 3, H, W) in [0, 1]."""
        request = read_options(VideoOptions, options, self.parts.defaults)
        factor, patch = self.parts.vae_factor, self.parts.layout.patch
        height = check_size(request.height, "height", multiple=factor * patch)
        width = check_size(request.width, "width", multiple=factor * patch)
        frames = check_size(request.num_frames, "num_frames")
        check_limit(height * width, MAX_PIXELS, "pixels of a frame (height x width)")
        check_limit(frames, MAX_FRAMES, "num_frames")
        check_limit(
            height * width * frames, MAX_VIDEO_PIXELS, "pixels of a video (height x width x num_frames)"
        )
        clean = sample_latents(
            self.parts,
            (
                self.parts.latent_channels,
                self._latent_frames(frames),
                height // factor,
                width // factor,
            ),
            prompt_embeds,
            request,
            seeds=seeds,
            preview=lambda x: draw_pixels(x, self.parts.preview),
        )
        return check_finite(self.decode(clean), "video")

    def __call__(
        self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Unpack[VideoOptions]
    ) -> list[Video]:
        """Generate one clip for each row of the conditioning.

        Args:
            prompt_embeds: (B, tokens, width), from an output projection or `encode_text`.
            seeds: One for each row: sample i is the same in any batch up to rounding.
            **options: As in `VideoOptions`.

        Returns:
            Clips.

        Raises:
            AnyGenError: As `FolderDecoder` says.
        """
        rate = read_options(VideoOptions, options, self.parts.defaults).fps
        assert rate is not None  # read_options has checked it
        pixels = self.sample(prompt_embeds, seeds=seeds, **options)
        array = (pixels.permute(0, 1, 3, 4, 2) * 255).round().to(torch.uint8).cpu().numpy()
        return [Video(frames=clip, fps=float(rate)) for clip in array]

    def _latent_frames(self, frames: int) -> int:
        """Latent frames of a clip: an autoencoder over time makes one of the first, then one of several."""
        step = self.parts.frame_factor
        if (frames - 1) % step:
            raise BadArgument(
                f"num_frames: found {frames}, expected 1 more than a multiple of {step}; ask for "
                f"{(frames - 1) // step * step + 1} or {-(-(frames - 1) // step) * step + 1}"
            )
        return (frames - 1) // step + 1
