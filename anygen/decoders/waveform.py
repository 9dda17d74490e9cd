"""From log-mels to a waveform: the vocoder, and a refinement that makes its sound have the mels asked for."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .mel import FFT_SIZE, HOP, hann_window, mel_filters
from .phase import with_phase

INVERSION_STEPS = 60
"""Multiplicative updates from mel magnitudes to linear ones."""
MOMENTUM = 0.99
"""Of the refinement (Perraudin et al. 2013, section 4: values near 1 work best)."""
PAD = (FFT_SIZE - HOP) // 2
"""Samples that the front end reflects at each end."""
SILENT = 1e-8


def vocode(vocoder: Any, mel: Tensor) -> Tensor:
    """Run a vocoder as its configuration says.

    `takes_phase` (the mels' three highest bands carry phase and noise, see `with_phase`) and `refine_steps`
    (rounds of `refine_waveform`) are ours; published vocoders have neither and run plainly.

    Args:
        vocoder: A `SpeechT5HifiGan`.
        mel: (B, T, bins) log-mels.

    Returns:
        (B, n) float32 waveforms.
    """
    given = with_phase(mel) if getattr(vocoder.config, "takes_phase", False) else mel
    wave: Tensor = vocoder(given.to(next(vocoder.parameters()).dtype)).float().view(len(mel), -1)
    steps = getattr(vocoder.config, "refine_steps", 0)
    return refine_waveform(wave, mel.float(), steps) if steps else wave


def linear_magnitudes(mel: Tensor) -> Tensor:
    """Magnitudes (B, 513, T) whose mels are the given ones, by the updates of Lee and Seung (2001).

    Args:
        mel: (B, T, 64) log-mels.
    """
    filters = mel_filters(mel.device)
    wanted = mel.exp()
    linear = (wanted @ torch.linalg.pinv(filters)).clamp(min=1e-4)
    numerator, gram = wanted @ filters.T, filters @ filters.T
    for _ in range(INVERSION_STEPS):
        linear = linear * (numerator / (linear @ gram + SILENT))
    return linear.transpose(1, 2)


def refine_waveform(wave: Tensor, mel: Tensor, steps: int) -> Tensor:
    """Move a waveform towards given log-mels, keeping its phases where they fit (fast Griffin-Lim).

    Griffin and Lim (1984), with the momentum of Perraudin et al. (2013, algorithm 2). A small vocoder gets
    timbre and phase about right and loudness less so; the mels know the loudness of every band.

    Args:
        wave: (B, 160 T) to start from.
        mel: (B, T, 64) log-mels that the result shall have.
        steps: Rounds; each costs an STFT and its inverse.

    Returns:
        (B, 160 T), at most 1 in magnitude.
    """
    magnitudes = linear_magnitudes(mel)
    spectrum = magnitudes * _direction(_analyse(wave))
    before = spectrum
    for _ in range(steps):
        consistent = _analyse(_synthesise(magnitudes * _direction(spectrum)))
        spectrum = consistent + MOMENTUM * (consistent - before)
        before = consistent
    return _synthesise(magnitudes * _direction(spectrum)).clamp(-1, 1)


def _direction(spectrum: Tensor) -> Tensor:
    return spectrum / spectrum.abs().clamp(min=SILENT)


def _analyse(wave: Tensor) -> Tensor:
    """Spectra (B, 513, T), framed as `log_mel` frames."""
    padded = F.pad(wave[:, None], (PAD, PAD), mode="reflect")[:, 0]
    window = hann_window(wave.device)
    return torch.stft(padded, FFT_SIZE, HOP, window=window, center=False, return_complex=True)


def _synthesise(spectrum: Tensor) -> Tensor:
    """Waveforms (B, 160 T) by weighted overlap-add: the least-squares inverse of `_analyse`."""
    window, frames = hann_window(spectrum.device), spectrum.shape[-1]
    length = HOP * (frames - 1) + FFT_SIZE
    pieces = torch.fft.irfft(spectrum, FFT_SIZE, dim=1) * window[:, None]
    weights = (window**2)[:, None].expand(1, FFT_SIZE, frames)
    summed, weight = (
        F.fold(x, (1, length), (1, FFT_SIZE), stride=(1, HOP))[:, 0, 0] for x in (pieces, weights)
    )
    return (summed / weight.clamp(min=1e-3))[:, PAD : length - PAD]
