"""Log-mel spectrograms as Kaldi computes them, resampling, and where the clips of a recording start.

Kaldi's filter bank with `htk_compat`, a Hann window of 25 ms every 10 ms, pre-emphasis 0.97, no dither and no
energy; written over torch so that a batch of waveforms is one call.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.errors import BadMedia

FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010
PREEMPHASIS = 0.97
LOW_HERTZ = 20.0
MEL_FLOOR = 1.1920928955078125e-07
"""Kaldi's floor below the logarithm: float32 epsilon."""


def log_mel(waveforms: Tensor, *, sample_rate: int = 16000, num_mel_bins: int = 128) -> Tensor:
    """Kaldi log-mel filter bank.

    Args:
        waveforms: (..., n) float32 in [-1, 1].
        sample_rate: Samples per second.
        num_mel_bins: Number of triangles, equally spaced on the mel scale from 20 Hz to half the rate.

    Returns:
        (..., num_mel_bins, frames) with one frame per 10 ms, only whole windows (2 s give 198).

    Raises:
        BadMedia: The waveforms are shorter than one window.
    """
    window, hop = int(sample_rate * FRAME_SECONDS), int(sample_rate * HOP_SECONDS)
    if waveforms.shape[-1] < window:
        raise BadMedia(
            f"Found audio of {waveforms.shape[-1]} samples; expected at least {window} "
            f"({FRAME_SECONDS * 1000:g} ms at {sample_rate} Hz). Use a longer clip."
        )
    frames = waveforms.unfold(-1, window, hop)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - PREEMPHASIS * previous) * torch.hann_window(
        window, periodic=False, device=frames.device
    )
    padded = 1 << (window - 1).bit_length()
    spectrum = torch.fft.rfft(frames, n=padded)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = _mel_bank(sample_rate, padded, num_mel_bins).to(power.device)
    return F.linear(power, bank).clamp(min=MEL_FLOOR).log().transpose(-1, -2)


@functools.lru_cache(maxsize=8)
def _mel_bank(sample_rate: int, fft_size: int, num_mel_bins: int) -> Tensor:
    """Triangles (num_mel_bins, fft_size // 2 + 1), even on Kaldi's scale 1127 ln(1 + f / 700)."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log(1.0 + hertz / 700.0)

    low, high = mel(torch.tensor([LOW_HERTZ, sample_rate / 2], dtype=torch.float64))
    step = (high - low) / (num_mel_bins + 1)
    left = low + step * torch.arange(num_mel_bins, dtype=torch.float64)[:, None]
    position = mel(torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size)[None]
    rising, falling = (position - left) / step, (left + 2 * step - position) / step
    return F.pad(torch.minimum(rising, falling).clamp(min=0.0), (0, 1)).float()


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample by windowed-sinc interpolation (Hann, 6 zero crossings, roll-off 0.99), torchaudio's default.

    Args:
        waveform: (channels, n).
        source_rate: Its samples per second.
        target_rate: Samples per second that are wanted.

    Returns:
        (channels, ceil(n * target / source)).
    """
    if source_rate == target_rate:
        return waveform
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    kernel, reach = _sinc_kernel(source, target)
    length = math.ceil(target * waveform.shape[-1] / source)
    padded = F.pad(waveform[:, None], (reach, reach + source))
    phases = F.conv1d(padded, kernel.to(waveform), stride=source)
    return phases.transpose(1, 2).flatten(1)[:, :length]


@functools.lru_cache(maxsize=8)
def _sinc_kernel(
    source: int, target: int, *, crossings: int = 6, rolloff: float = 0.99
) -> tuple[Tensor, int]:
    """One filter (target, 1, taps) per output phase, and the samples it reaches to the left."""
    cutoff = min(source, target) * rolloff
    reach = math.ceil(crossings * source / cutoff)
    offset = torch.arange(-reach, reach + source, dtype=torch.float64)[None, None] / source
    time = offset - torch.arange(target, dtype=torch.float64)[:, None, None] / target
    time = (time * cutoff).clamp(-crossings, crossings)
    window = torch.cos(time * math.pi / crossings / 2).square()
    return torch.sinc(time) * window * cutoff / source, reach


def clip_starts(duration: float, *, clip_seconds: float, num_clips: int) -> list[float]:
    """Starts in seconds of `num_clips` clips spread evenly over a recording of `duration` seconds.

    The first starts at 0 and the last ends with the recording; clips of a shorter recording all start at 0.
    """
    last = max(duration - clip_seconds, 0.0)
    return [last * i / max(num_clips - 1, 1) for i in range(num_clips)]


def spectrogram_clips(
    waveforms: Tensor,
    *,
    sample_rate: int,
    num_mel_bins: int,
    target_frames: int,
    num_clips: int,
    clip_seconds: float,
    mean: float,
    std: float,
) -> Tensor:
    """Normalised spectrograms of the clips of some recordings of equal length.

    Args:
        waveforms: (N, channels, n) float32; the mean that is subtracted is over all channels, the rest uses
            the first.
        sample_rate: Samples per second.
        num_mel_bins: Height of a spectrogram.
        target_frames: Width of a spectrogram; cut, or padded with 0 before normalising.
        num_clips: Clips per recording.
        clip_seconds: Length of a clip.
        mean: Subtracted from the log-mel values.
        std: They are divided by it.

    Returns:
        (N, num_clips, 1, num_mel_bins, target_frames).
    """
    starts = clip_starts(waveforms.shape[-1] / sample_rate, clip_seconds=clip_seconds, num_clips=num_clips)
    clips = []
    for start in starts:
        clip = waveforms[..., int(start * sample_rate) : int((start + clip_seconds) * sample_rate)]
        clip = clip[:, 0] - clip.mean(dim=(1, 2))[:, None]
        mel = log_mel(clip, sample_rate=sample_rate, num_mel_bins=num_mel_bins)[..., :target_frames]
        clips.append(F.pad(mel, (0, target_frames - mel.shape[-1])))
    return (torch.stack(clips, dim=1)[:, :, None] - mean) / std
