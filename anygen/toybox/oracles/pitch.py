"""Finds how a sound's pitch glides, without knowing its timbre, and straightens the glide out.

A glide shifts the whole spectrum along a logarithmic frequency axis. The glide for which the shifted-back
spectra of all moments agree best is the sound's own; resampling time by it then leaves a sound of constant
pitch, whose spectrum over the whole clip has sharp lines that tell timbres apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

Array = NDArray[np.float64]

RATE = 16000
"""Hz at which sounds are read."""

WINDOW = 1024
HOP = 512
STEPS = 24
"""Steps per octave of the log-frequency axis used for tracking."""

LOWEST = 80.0
"""Hz at which the log-frequency axis starts."""

LEAST_MOMENTS = 4
"""Windows that must be loud enough for a glide to be told."""

GLIDES = np.linspace(-1.5, 1.5, 13)
"""Octaves over the clip that are tried."""


@dataclass(frozen=True)
class Glide:
    """How the pitch moves over the clip."""

    octaves: float
    """Pitch change from start to end; positive is up."""
    course: Array
    """(n,) octaves relative to the start at every sample."""


@lru_cache(maxsize=1)
def _axis() -> tuple[Array, Array]:
    """Interpolation matrix from FFT bins to log-frequency (steps, bins), and the frequencies (steps,)."""
    count = int(np.log2(0.5 * RATE / LOWEST) * STEPS)
    frequencies = LOWEST * 2.0 ** (np.arange(count) / STEPS)
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    width = np.maximum(RATE / WINDOW, frequencies * (2 ** (1 / STEPS) - 1))[:, None]
    weights = np.clip(1.0 - np.abs(bins[None, :] - frequencies[:, None]) / width, 0.0, None)
    return weights / weights.sum(1, keepdims=True), frequencies


def find_glide(sound: Array) -> Glide:
    """Estimate the glide of a mono sound at 16 kHz.

    Args:
        sound: (n,) at least 2048 samples.

    Returns:
        The glide; 0 octaves for a sound of constant pitch and for one without any pitch.
    """
    picture, moments = _log_spectrogram(sound)
    if len(moments) < LEAST_MOMENTS:
        return Glide(octaves=0.0, course=np.zeros(len(sound)))
    progress = moments / len(sound)
    scores = np.array([_agreement(picture, progress * glide * STEPS) for glide in GLIDES])
    best = int(np.argmax(scores))
    if scores[best] < 1.1 * scores[len(GLIDES) // 2]:
        best = len(GLIDES) // 2
    coarse = GLIDES[best] * progress
    fine = _refine(picture, coarse, progress)
    course = np.interp(np.arange(len(sound)), moments, fine)
    start, slope = np.polynomial.polynomial.polyfit(progress, fine, 1)
    return Glide(octaves=float(slope), course=course - start)


def straighten(sound: Array, glide: Glide) -> Array:
    """Resample time so that the pitch stays where it started; the rate stays 16 kHz."""
    speed = np.exp2(glide.course)
    clock = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]))])
    return np.interp(np.arange(int(clock[-1]) + 1), clock, sound)


def _log_spectrogram(sound: Array) -> tuple[Array, Array]:
    """Magnitudes (frames, log-frequency steps), each frame of unit power, and the middles in samples."""
    starts = np.arange(0, len(sound) - WINDOW + 1, HOP)
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[starts] * signal.windows.hann(WINDOW)
    weights, _ = _axis()
    power = np.abs(fft.rfft(frames, axis=1)) ** 2 @ weights.T
    loud = power.sum(1)
    keep = loud > 1e-3 * loud.max()
    power = power[keep] / loud[keep, None]
    return power, starts[keep] + WINDOW / 2


def _shifted(picture: Array, steps: Array) -> Array:
    """Every row moved down by its own number of steps, with linear interpolation; zeros come in."""
    columns = np.arange(picture.shape[1])[None, :] + steps[:, None]
    low = np.floor(columns).astype(int)
    part = columns - low
    padded = np.pad(picture, ((0, 0), (1, 2)))
    low = np.clip(low + 1, 0, padded.shape[1] - 2)
    rows = np.arange(len(picture))[:, None]
    return padded[rows, low] * (1 - part) + padded[rows, low + 1] * part


def _agreement(picture: Array, steps: Array) -> float:
    """How well all moments agree once shifted back: the power of the mean spectrum."""
    return float((_shifted(picture, steps).mean(0) ** 2).sum())


def _refine(picture: Array, coarse: Array, progress: Array) -> Array:
    """Correct the glide by a smooth curve through each moment's own offset from the mean spectrum."""
    straight = _shifted(picture, coarse * STEPS)
    mean = ndimage.gaussian_filter1d(straight.mean(0), 0.7)
    offsets = np.arange(-4, 5)
    scores = np.stack([np.sum(straight * np.roll(mean, offset), axis=1) for offset in offsets], axis=1)
    peak = np.clip(np.argmax(scores, axis=1), 1, len(offsets) - 2)
    rows = np.arange(len(straight))
    left, middle, right = scores[rows, peak - 1], scores[rows, peak], scores[rows, peak + 1]
    curve = left - 2 * middle + right
    peaked = curve < -1e-12
    delta = np.where(peaked, 0.5 * (left - right) / np.where(peaked, curve, -1.0), 0.0)
    offset = (offsets[peak] + np.clip(delta, -1, 1)) / STEPS
    degree = 2 if len(rows) >= 16 else 1
    curve_fit = np.polynomial.polynomial.polyfit(progress, offset, degree)
    return coarse + np.polynomial.polynomial.polyval(progress, curve_fit)
