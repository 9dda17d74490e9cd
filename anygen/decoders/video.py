"""Video: Zeroscope's layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from anygen.media import Video

from ..errors import BadArgument
from ..modality import Modality
from .base import OnStep
from .folder import FolderDecoder
from .latents import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_VIDEO_PIXELS,
    check_finite,
    check_limit,
    check_size,
    decode,
    encode,
    sample_latents,
)
from .preview import draw_pixels


class VideoDecoder(FolderDecoder):
    """From (B, tokens, width) conditioning to video clips.

    Args:
        parts: Its modules, in memory or on disk.
    """

    modality = Modality.VIDEO

    def encode(self, pixels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Pixels (B, F, 3, H, W) in [-1, 1] to scaled latents (B, C, F, h, w), the mode or drawn."""
        latents = encode(self.parts, pixels.flatten(0, 1), generator)
        return latents.unflatten(0, pixels.shape[:2]).transpose(1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, F, h, w) to pixels (B, F, 3, H, W) in [0, 1]; differentiable."""
        frames = latents.transpose(1, 2)
        return (decode(self.parts, frames.flatten(0, 1)) / 2 + 0.5).clamp(0, 1).unflatten(0, frames.shape[:2])

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
        num_frames: int | None = None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Like a call, as pixels (B, F, 3, H, W) in [0, 1]; `latents` (B, C, F, h, w) replace the noise."""
        factor, defaults = self.parts.vae_factor, self.parts.defaults
        height = check_size(defaults.height if height is None else height, "height", multiple=factor)
        width = check_size(defaults.width if width is None else width, "width", multiple=factor)
        frames = check_size(defaults.num_frames if num_frames is None else num_frames, "num_frames")
        check_limit(height * width, MAX_PIXELS, "pixels of a frame (height x width)")
        check_limit(frames, MAX_FRAMES, "num_frames")
        check_limit(
            height * width * frames, MAX_VIDEO_PIXELS, "pixels of a video (height x width x num_frames)"
        )
        clean = sample_latents(
            self.parts,
            (self.parts.unet.config.in_channels, frames, height // factor, width // factor),
            prompt_embeds,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seeds=seeds,
            on_step=on_step,
            should_stop=should_stop,
            preview=lambda x: draw_pixels(x, self.parts.preview),
            latents=latents,
        )
        return check_finite(self.decode(clean), "video")

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
        num_frames: int | None = None,
        fps: float | None = None,
    ) -> list[Video]:
        """Generate one clip for each row of the conditioning.

        Args:
            prompt_embeds: (B, tokens, width), from an output projection or `encode_text`.
            num_inference_steps: Denoising steps, 1 to 1000; None: the decoder's default, as below.
            guidance_scale: Weight of classifier-free guidance; 1 turns it off.
            seeds: One for each row: sample i is the same in any batch up to rounding.
            on_step: Called after every step; what it raises ends the run and reaches the caller.
            should_stop: Asked before every step.
            height: Pixels, a multiple of the autoencoder's factor.
            width: Pixels, likewise.
            num_frames: Frames.
            fps: Frames a second at which the clip is to be shown; changes nothing in the frames.

        Returns:
            Clips.

        Raises:
            BadArgument: A value is of the wrong type, shape or range.
            LimitExceeded: The clip would be too large.
            MissingPart: The decoder lacks a part.
            Cancelled: `should_stop` said so.
            NonFinite: A NaN or infinity appeared.
            OutOfMemory: The device's memory ran out.
        """
        rate = self.parts.defaults.fps if fps is None else fps
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise BadArgument(f"fps: found {rate!r}, expected a positive number; 8 is usual")
        pixels = self.sample(
            prompt_embeds,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seeds=seeds,
            on_step=on_step,
            should_stop=should_stop,
            height=height,
            width=width,
            num_frames=num_frames,
        )
        array = (pixels.permute(0, 1, 3, 4, 2) * 255).round().to(torch.uint8).cpu().numpy()
        return [Video(frames=clip, fps=float(rate)) for clip in array]
