"""The phase that log-mels lack: what lets a convolutional vocoder hold and bend a tone.

A convolutional vocoder gives equal frames equal sound, so a steady tone can only come out at multiples of the
frame rate, and a glide has no phase to follow. As in neural source-filter models (Wang et al. 2019, section
II), the pitch is read off the frames and its running phase is handed in; the vocoder shapes it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .mel import FFT_SIZE, HOP, MEL_BINS, SAMPLE_RATE, hann_window, mel_filters

LOWEST_HZ, OCTAVES, STEPS = 90.0, 4.5, 96
"""Pitches that are looked for: where they start, how far they go, and how many there are in an octave."""
CENTRE, SWING = -7.0, 3.5
"""Mean and amplitude of what is written into the bands: those of log-mels."""
HANDS = 3
"""Bands that are given up, from the highest down: noise, sine, cosine."""


@lru_cache(maxsize=4)
def _templates(device: torch.device) -> tuple[Tensor, Tensor]:
    """Pitches in Hz (P,) and the unit mel magnitudes (P, 64) of a sine at each."""
    octaves = torch.arange(int(OCTAVES * STEPS), device=device) / STEPS
    pitch = LOWEST_HZ * torch.exp2(octaves)
    with torch.inference_mode(False):
        time = torch.arange(FFT_SIZE, device=device) / SAMPLE_RATE
        sines = torch.exp(2j * math.pi * pitch[:, None] * time) * hann_window(device)
        magnitudes = torch.fft.fft(sines)[:, : FFT_SIZE // 2 + 1].abs() @ mel_filters(device)
        return pitch, torch.nn.functional.normalize(magnitudes, dim=-1)


def find_pitch(mel: Tensor) -> Tensor:
    """The pitch of the sine that is most like each frame.

    Args:
        mel: (B, T, 64) log-mels.

    Returns:
        (B, T) in Hz: the best of a grid of 96 an octave, refined by a parabola through its neighbours.
    """
    pitch, templates = _templates(mel.device)
    scores = mel.float().exp() @ templates.T
    best = scores.argmax(dim=-1).clamp(1, len(pitch) - 2)
    before, here, after = (scores.gather(-1, (best + k)[..., None])[..., 0] for k in (-1, 0, 1))
    bend = (before - 2 * here + after).clamp(max=-1e-12)
    offset = (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
    return LOWEST_HZ * torch.exp2((best + offset) / STEPS)


def with_phase(mel: Tensor) -> Tensor:
    """Write the running phase of the pitch, as cosine and sine, and noise into the three highest bands.

    Args:
        mel: (B, T, 64) log-mels that begin with the sound.

    Returns:
        (B, T, 64); the noise is the same in every call.
    """
    turns = find_pitch(mel).double() * (HOP / SAMPLE_RATE)
    steps = torch.cat([torch.zeros_like(turns[:, :1]), 0.5 * (turns[:, 1:] + turns[:, :-1])], dim=1)
    angle = 2 * math.pi * steps.cumsum(dim=1).frac()
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(mel.shape[1], generator=draw).clamp(-2, 2).to(mel.device).expand(mel.shape[:2])
    hands = torch.stack([angle.cos().float(), angle.sin().float(), 0.5 * noise], dim=-1)
    return torch.cat([mel[..., : MEL_BINS - HANDS], (CENTRE + SWING * hands).to(mel)], dim=-1)
