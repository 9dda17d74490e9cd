"""The log-mel front end of the audio decoder: what its autoencoder and its vocoder speak.

Settings are AudioLDM's (Liu et al. 2023, section 4, the 16 kHz models): STFT of 1024 with a hop of 160 and a
Hann window, 64 Slaney mel bands from 0 to 8000 Hz on the magnitude (not the power), natural logarithm floored
at 1e-5.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from ..errors import BadArgument

SAMPLE_RATE = 16_000
"""Samples per second that the front end expects."""
FFT_SIZE = 1024
"""Samples per analysis window."""
HOP = 160
"""Samples per frame: 10 ms."""
MEL_BINS = 64
"""Bands per frame."""
MAX_HZ = 8_000.0
"""Upper edge of the last band."""
FLOOR = 1e-5
"""Smallest band magnitude before the logarithm, so silence is log(1e-5) = -11.51."""


@lru_cache(maxsize=8)
def _tables(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The Hann window (1024,) and the mel filters (513, 64), once per device and type."""
    filters = mel_filter_bank(
        num_frequency_bins=FFT_SIZE // 2 + 1,
        num_mel_filters=MEL_BINS,
        min_frequency=0.0,
        max_frequency=MAX_HZ,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    with torch.inference_mode(False):  # a cached inference tensor could not take part in a later backward
        window = torch.hann_window(FFT_SIZE, device=device, dtype=dtype)
        return window, torch.from_numpy(filters).to(device=device, dtype=dtype)


def hann_window(device: torch.device) -> Tensor:
    """The analysis window (1024,) in float32."""
    return _tables(device, torch.float32)[0]


def mel_filters(device: torch.device) -> Tensor:
    """The mel filters (513, 64) in float32."""
    return _tables(device, torch.float32)[1]


def log_mel(waveform: Tensor, *, center: bool = False) -> Tensor:
    """Log-mel frames of a mono waveform; differentiable, so it also serves as a vocoder's training loss.

    Args:
        waveform: (B, n) float samples in [-1, 1] at 16 kHz, n > 512.
        center: False (default) pads (1024 - 160) / 2 samples by reflection on both sides, HiFi-GAN's
            alignment (Kong et al. 2020): frame t is centred on the samples 160 t .. 160 t + 159 that the
            vocoder makes from it, and n = 160 T gives exactly T frames. True pads 512, AudioLDM's own
            training alignment: T + 1 frames, frame t centred on sample 160 t.

    Returns:
        (B, T, 64) natural logarithms, never below log(1e-5).

    Raises:
        BadArgument: The waveform is not (B, n) floating point, or too short to be padded by reflection.
    """
    pad = FFT_SIZE // 2 if center else (FFT_SIZE - HOP) // 2
    if waveform.ndim != 2 or not waveform.is_floating_point():
        raise BadArgument(
            f"waveform: found shape {tuple(waveform.shape)} of {waveform.dtype}, expected "
            "(batch, samples) floating point; add a batch dimension or mix the channels down"
        )
    if waveform.shape[1] <= max(pad, FFT_SIZE - 2 * pad):
        raise BadArgument(
            f"waveform: found {waveform.shape[1]} samples, expected more than "
            f"{max(pad, FFT_SIZE - 2 * pad)}; pad the sound with silence"
        )
    window, filters = _tables(waveform.device, waveform.dtype)
    padded = F.pad(waveform.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
    spectrum = torch.stft(padded, FFT_SIZE, HOP, window=window, center=False, return_complex=True)
    return torch.log((spectrum.abs().transpose(1, 2) @ filters).clamp(min=FLOOR))
