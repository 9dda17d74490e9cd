"""Audio: AudioLDM's layout, a log-mel latent diffusion model and a vocoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anygen.media import Audio

from ..errors import BadArgument
from ..modality import Modality
from .base import OnStep
from .folder import FolderDecoder
from .latents import MAX_SECONDS, check_finite, check_limit, decode, encode, memory_errors, sample_latents
from .preview import draw_mel
from .waveform import vocode


class AudioDecoder(FolderDecoder):
    """From (B, 1, width) unit-norm conditioning to mono sounds.

    Args:
        parts: Its modules, in memory or on disk.
    """

    modality = Modality.AUDIO

    @property
    def vocoder(self) -> Any:
        """The `SpeechT5HifiGan` from log-mels to waveform."""
        return self.parts.get("vocoder")

    @property
    def hop(self) -> int:
        """Samples per log-mel frame."""
        return math.prod(self.vocoder.config.upsample_rates)

    def encode(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Log-mels (B, T, bins) to scaled latents (B, C, t, b): the mode, or a sample with a generator."""
        return encode(self.parts, mel.unsqueeze(1), generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, t, b) to waveforms (B, n) at the vocoder's rate; differentiable."""
        mel = decode(self.parts, latents)[:, 0]
        with memory_errors():
            return vocode(self.vocoder, mel)

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
        audio_length_in_s: float | None = None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Like a call, as waveforms (B, n) float32; `latents` (B, C, t, b) replaces the seeds' noise."""
        samples, frames = self._length(audio_length_in_s)
        factor, bins = self.parts.vae_factor, self.vocoder.config.model_in_dim
        clean = sample_latents(
            self.parts,
            (self.parts.unet.config.in_channels, frames // factor, bins // factor),
            prompt_embeds,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seeds=seeds,
            on_step=on_step,
            should_stop=should_stop,
            preview=lambda x: draw_mel(x, self.parts.preview),
            latents=latents,
        )
        return check_finite(self.decode(clean)[:, :samples], "audio")

    def __call__(
        self,
        prompt_embeds: Tensor,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        should_stop: Callable[[], bool] | None = None,
        audio_length_in_s: float | None = None,
    ) -> list[Audio]:
        """Generate one sound for each row of the conditioning.

        Args:
            prompt_embeds: (B, 1, width) or (B, width), from an output projection or `encode_text`.
            num_inference_steps: Denoising steps, 1 to 1000; None: the decoder's default, as below.
            guidance_scale: Weight of classifier-free guidance; 1 turns it off.
            seeds: One for each row: sample i is the same in any batch up to rounding.
            on_step: Called after every step; what it raises ends the run and reaches the caller.
            should_stop: Asked before every step.
            audio_length_in_s: Seconds; what the autoencoder's factor adds is cut off.

        Returns:
            Mono sounds at the vocoder's rate.

        Raises:
            BadArgument: A value is of the wrong type, shape or range.
            LimitExceeded: The sound would be too long.
            MissingPart: The decoder lacks a part.
            Cancelled: `should_stop` said so.
            NonFinite: A NaN or infinity appeared.
            OutOfMemory: The device's memory ran out.
        """
        waves = self.sample(
            prompt_embeds,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seeds=seeds,
            on_step=on_step,
            should_stop=should_stop,
            audio_length_in_s=audio_length_in_s,
        )
        rate = int(self.vocoder.config.sampling_rate)
        return [Audio(samples=wave[None].cpu().numpy().copy(), sample_rate=rate) for wave in waves]

    def _length(self, audio_length_in_s: float | None) -> tuple[int, int]:
        """Samples to keep, and log-mel frames to make: a multiple of the autoencoder's factor."""
        seconds = self.parts.defaults.audio_length_in_s if audio_length_in_s is None else audio_length_in_s
        shortest = self.hop * self.parts.vae_factor / self.vocoder.config.sampling_rate
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not shortest <= seconds < math.inf
        ):
            raise BadArgument(
                f"audio_length_in_s: found {seconds!r}, expected at least {shortest:g} seconds; ask for more"
            )
        check_limit(seconds, MAX_SECONDS, "audio_length_in_s")
        samples = round(seconds * self.vocoder.config.sampling_rate)
        step = self.hop * self.parts.vae_factor
        return samples, -(-samples // step) * self.parts.vae_factor
