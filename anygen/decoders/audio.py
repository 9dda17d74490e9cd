"""Audio: the layouts of AudioLDM (latents of log-mels, and a vocoder) and Stable Audio (of waveforms)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from anygen.media import Audio

from ..errors import BadArgument
from ..modality import Modality
from .folder import FolderDecoder
from .latents import check_finite, decode, encode, memory_errors, sample_latents
from .options import MAX_SECONDS, AudioOptions, check_limit, read_options
from .preview import draw_channels, draw_mel
from .waveform import vocode


class AudioDecoder(FolderDecoder):
    """From (B, tokens, width) conditioning to sounds.

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

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return int((self.parts.vae if self._of_waves else self.vocoder).config.sampling_rate)

    @property
    def _of_waves(self) -> bool:
        return self.parts.layout.latents == "wave"

    def encode(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Log-mels (B, T, bins), or waveforms (B, channels, n), to scaled latents: the mode or drawn."""
        return encode(self.parts, mel if self._of_waves else mel.unsqueeze(1), generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to waveforms (B, n), or (B, channels, n) of Stable Audio; differentiable."""
        if self._of_waves:
            return decode(self.parts, latents)
        mel = decode(self.parts, latents)[:, 0]
        with memory_errors():
            return vocode(self.vocoder, mel)

    @torch.inference_mode()
    def sample(
        self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Unpack[AudioOptions]
    ) -> Tensor:
        """Like a call, as waveforms of `decode`, float32."""
        request = read_options(AudioOptions, options, self.parts.defaults)
        channels, of_waves = self.parts.latent_channels, self._of_waves
        if of_waves:
            samples, shape = self._wave_length(request.audio_length_in_s)
        else:
            samples, frames = self._length(request.audio_length_in_s)
            factor, bins = self.parts.vae_factor, self.vocoder.config.model_in_dim
            shape = (channels, frames // factor, bins // factor)
        clean = sample_latents(
            self.parts,
            shape,
            prompt_embeds,
            request,
            seeds=seeds,
            preview=lambda x: draw_channels(x) if of_waves else draw_mel(x, self.parts.preview),
        )
        return check_finite(self.decode(clean)[..., :samples], "audio")

    def __call__(
        self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Unpack[AudioOptions]
    ) -> list[Audio]:
        """Generate one sound for each row of the conditioning.

        Args:
            prompt_embeds: (B, tokens, width), or (B, width) where tokens is 1, from an output projection or
                `encode_text`.
            seeds: One for each row: sample i is the same in any batch up to rounding.
            **options: As in `AudioOptions`.

        Returns:
            Sounds at the decoder's rate, mono or stereo; what exceeds full scale is clipped.

        Raises:
            AnyGenError: As `FolderDecoder` says.
        """
        waves = self.sample(prompt_embeds, seeds=seeds, **options).cpu()
        if self._of_waves:  # a vocoder ends in a tanh, an autoencoder of waveforms does not
            waves = waves.clamp(-1, 1)
        arrays = [wave.reshape(-1, wave.shape[-1]).numpy().copy() for wave in waves]
        return [Audio(samples=array, sample_rate=self.sample_rate) for array in arrays]

    def _length(self, audio_length_in_s: float | None) -> tuple[int, int]:
        """Samples to keep, and log-mel frames to make: a multiple of the autoencoder's factor."""
        step = self.hop * self.parts.vae_factor
        samples = round(self._seconds(audio_length_in_s, step) * self.sample_rate)
        return samples, -(-samples // step) * self.parts.vae_factor

    def _wave_length(self, audio_length_in_s: float | None) -> tuple[int, tuple[int, ...]]:
        """Samples to keep, and the latents to make: always all that the denoiser was trained on."""
        config, step = self.parts.unet.config, self.parts.frame_factor
        seconds = self._seconds(audio_length_in_s, step)
        check_limit(seconds, config.sample_size * step / self.sample_rate, "audio_length_in_s")
        return int(seconds * self.sample_rate), (config.in_channels, config.sample_size)

    def _seconds(self, seconds: object, step: int) -> float:
        """A length of at least `step` samples that anyone should compute."""
        shortest = step / self.sample_rate
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not shortest <= seconds < math.inf
        ):
            raise BadArgument(
                f"audio_length_in_s: found {seconds!r}, expected at least {shortest:g} seconds; ask for more"
            )
        check_limit(seconds, MAX_SECONDS, "audio_length_in_s")
        return seconds
