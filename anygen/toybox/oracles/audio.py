"""Reads a sound: glide and fade for the motion, the start pitch for the size, the spectrum for the shape."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from anygen.media import Audio

from ..sound import BELL_PARTIALS, PITCH, STRIKES_PER_SECOND, TREMOLO_HZ
from .pitch import RATE, find_glide, straighten

Array = NDArray[np.float64]
Reading = dict[str, str | None]

NAMES = ("shape", "size", "motion")
"""What a sound reveals."""

SILENCE = 1e-3
"""Peak below which there is no sound."""

LEAST_SECONDS = 0.4
"""Shorter sounds are not read."""

LONGEST_SECONDS = 12.0
"""Only the start of a longer sound is read."""

GLIDE_SPLIT = 0.5
"""Octaves over the clip that make a glide; half of what the world defines."""

FADE_SPLIT = 2.0
"""Loudness of the last quarter over the first that makes a fade; a full fade has 4.2."""

PITCH_TOLERANCE = 0.25
"""Octaves between the start pitch and its nominal value."""

LEAST_MATCH = 0.55
"""Cosine between the sound's lines and the best timbre's below which the sound is none of the world's."""

LINE_STEPS = 48
"""Steps per octave of the line spectrum."""

COMPRESSION = 0.6
"""Power of the amplitude that is compared, so that weak overtones count as well."""

LEAST_FUNDAMENTAL = 0.15
"""Amplitude of the fundamental as a share of the strongest line's."""

LEAST_OVERTONE = 0.12
"""Amplitude of a second or third harmonic, as a share of the fundamental's, that no sine wave has."""

LEAST_TONE = 0.15
"""Share of the power that stands above the noise floor in anything but noise."""

FLOOR_FACTOR = 10.0
"""Multiple of the lower quartile of power that is taken for noise: three times white noise's mean."""

LINE_LOWEST = 90.0
"""Hz at which the line spectrum starts."""


def read_audio(audio: Audio) -> Reading:
    """Read shape, size and motion; None for what cannot be read.

    Args:
        audio: Any number of channels, any rate from 4 kHz.
    """
    nothing: Reading = dict.fromkeys(NAMES)
    sound = _trim(_mono(audio))
    if sound is None or len(sound) < LEAST_SECONDS * RATE:
        return nothing
    glide = find_glide(sound)
    straight = straighten(sound, glide)
    lines = _line_spectrum(straight, 0.5 * min(RATE, audio.sample_rate))
    if lines is None:
        return nothing
    family, pitch, match = _best_family(lines)
    if match < LEAST_MATCH:
        return nothing
    shape = _shape(family, pitch, lines, sound, straight)
    return {"shape": shape, "size": _size(pitch), "motion": _motion(glide.octaves, sound)}


def _mono(audio: Audio) -> Array:
    """One channel at 16 kHz without offset; the loudest channel when the mean cancels."""
    samples = audio.samples[:, : int(LONGEST_SECONDS * audio.sample_rate)].astype(np.float64)
    mono = samples.mean(0)
    powers = (samples**2).mean(1)
    if (mono**2).mean() < 0.2 * powers.max():
        mono = samples[int(np.argmax(powers))]
    if audio.sample_rate != RATE:
        divisor = gcd(audio.sample_rate, RATE)
        mono = signal.resample_poly(mono, RATE // divisor, audio.sample_rate // divisor)
    return mono - mono.mean()


def _trim(sound: Array) -> Array | None:
    """Cut silence off both ends; None when all is silence."""
    block = RATE // 100
    count = len(sound) // block
    if count < 4:
        return None
    loud = np.sqrt((sound[: count * block].reshape(count, block) ** 2).mean(1))
    if loud.max() < SILENCE:
        return None
    heard = np.flatnonzero(loud > 0.01 * loud.max())
    return sound[heard[0] * block : (heard[-1] + 1) * block]


def _loudness(sound: Array, windows: int) -> Array:
    """Root-mean-square level of equal parts of the clip."""
    return np.array([np.sqrt((part**2).mean()) for part in np.array_split(sound, windows)])


def _levelled(sound: Array) -> Array:
    """The sound with a slow trend of its loudness divided out, so that a fade hides no part of the clip."""
    level = _loudness(sound, 4)
    middles = (np.arange(4) + 0.5) * len(sound) / 4
    slope, start = np.polyfit(middles, level, 1)
    trend = np.maximum(start + slope * np.arange(len(sound)), 0.25 * level.max())
    return sound / trend


def _motion(octaves: float, sound: Array) -> str:
    """Glide first, then fade, else still."""
    if abs(octaves) >= GLIDE_SPLIT:
        return "up" if octaves > 0 else "down"
    level = _loudness(sound, 4)
    ratio = level[3] / max(level[0], 1e-9)
    if ratio > FADE_SPLIT:
        return "right"
    return "left" if ratio < 1 / FADE_SPLIT else "still"


def _size(pitch: float) -> str | None:
    for size, nominal in PITCH.items():
        if abs(np.log2(pitch / nominal)) <= PITCH_TOLERANCE:
            return size
    return None


def _line_spectrum(straight: Array, ceiling: float) -> Array | None:
    """Power per step of log frequency above the noise floor; zero above `ceiling`, None for mere noise.

    The floor is a low quantile of the power in each octave: lines and bands are narrower, so it is the ground
    between.
    """
    count = fft.next_fast_len(len(straight))
    power = np.abs(fft.rfft(straight * signal.windows.hann(len(straight)), count)) ** 2
    frequency = np.arange(len(power)) * RATE / count
    octaves = np.log2(np.maximum(frequency, 1.0) / LINE_LOWEST)
    band = np.floor(octaves).astype(int)
    edges = np.searchsorted(band, np.arange(band[-1] + 2))
    floors = np.array([np.quantile(power[a:b], 0.25) if b > a else 0.0 for a, b in pairwise(edges)])
    step = np.floor(octaves * LINE_STEPS + 0.5).astype(int)
    total = _line_count()
    valid = (step >= 0) & (step < total) & (frequency < ceiling) & (band >= 0)
    summed = np.bincount(step[valid], power[valid], total)
    floor = np.bincount(step[valid], floors[band[valid]], total)
    lines = np.maximum(summed - FLOOR_FACTOR * floor, 0.0)
    return lines if lines.sum() > LEAST_TONE * max(float(summed.sum()), 1e-12) else None


def _pitch_step(pitch: Array) -> NDArray[np.int64]:
    return np.rint(np.log2(pitch / LINE_LOWEST) * LINE_STEPS).astype(np.int64)


def _line_count() -> int:
    return int(np.log2(0.5 * RATE / LINE_LOWEST) * LINE_STEPS)


@lru_cache(maxsize=1)
def _templates() -> tuple[Array, tuple[str, ...], Array]:
    """Unit line spectra (n, steps) of every timbre at every pitch, their families and their pitches in Hz."""
    total = _line_count()
    axis = np.arange(total)
    odd, every = np.arange(1, 81, 2), np.arange(1, 81)
    one = np.array([1.0])
    kinds: list[tuple[str, Array, Array, float]] = [
        *(("single", one, one, width) for width in (1.0, 3.0, 6.0)),
        ("odd", odd.astype(float), 1.0 / odd, 1.0),
        ("every", every.astype(float), 1.0 / every, 1.0),
        ("bell", np.array(BELL_PARTIALS), np.array([1.0, 0.55, 0.33, 0.18]), 1.5),
    ]
    rows, families, pitches = [], [], []
    for start in range(int(np.log2(1900.0 / LINE_LOWEST) * LINE_STEPS)):
        pitch = LINE_LOWEST * 2.0 ** (start / LINE_STEPS)
        side = TREMOLO_HZ / pitch
        swinging = ("single", np.array([1 - side, 1.0, 1 + side]), np.array([0.5, 1.0, 0.5]), 1.0)
        for family, ratios, levels, width in (*kinds, swinging):
            heard = ratios * pitch < 0.48 * RATE
            places = start + np.log2(ratios[heard]) * LINE_STEPS
            bumps = np.exp(-0.5 * ((axis[:, None] - places[None, :]) / width) ** 2)
            rows.append((bumps * levels[heard] ** COMPRESSION).max(1))
            families.append(family)
            pitches.append(pitch)
    bank = np.array(rows)
    return bank / np.linalg.norm(bank, axis=1, keepdims=True), tuple(families), np.array(pitches)


def _best_family(lines: Array) -> tuple[str, float, float]:
    """Family, pitch in Hz and cosine of the template that fits the line spectrum best."""
    bank, families, pitches = _templates()
    lines = ndimage.gaussian_filter1d(lines ** (0.5 * COMPRESSION), 1.0)
    scores = bank @ lines / max(float(np.linalg.norm(lines)), 1e-9)
    peak = ndimage.maximum_filter1d(lines, 5)
    weak = peak < LEAST_FUNDAMENTAL**COMPRESSION * peak.max()
    scores[weak[_pitch_step(pitches)]] = 0.0
    best = int(np.argmax(scores))
    return families[best], float(pitches[best]), float(scores[best])


def _shape(family: str, pitch: float, lines: Array, sound: Array, straight: Array) -> str:
    """Shape from the family of lines and from how the loudness swings.

    One line is a sine, a tremolo or a noise band; strikes at 4 Hz make a bell even when only its lowest
    partial is left. What has a third harmonic is a square wave without and a sawtooth with a second one.
    """
    if family in ("single", "bell"):
        swing, strikes, tremolo = _swing(_levelled(sound))
        if swing > 0.3 and tremolo > 0.4:
            return "ring"
        if (family == "bell" and swing > 0.1 and strikes > 0.5) or (swing > 0.3 and strikes > 0.75):
            return "star"
        if _unrest(straight, pitch) > 0.3:
            return "cross"
    first, second, third = (_level(lines, pitch * order) for order in (1, 2, 3))
    if family in ("single", "bell") and max(second, third) < LEAST_OVERTONE * first:
        return "circle"
    return "triangle" if second > 0.6 * third else "square"


def _level(lines: Array, frequency: float) -> float:
    """Amplitude of the line within three percent of a frequency."""
    middle = int(_pitch_step(np.array(frequency)))
    return float(np.sqrt(lines[max(middle - 2, 0) : middle + 3].sum()))


def _unrest(straight: Array, pitch: float) -> float:
    """Relative swing of the envelope within a fifth of the pitch: 0 for a steady line, 0.5 for noise."""
    spectrum = fft.fft(_levelled(straight))
    frequency = fft.fftfreq(len(straight), 1 / RATE)
    spectrum[(frequency < 0.8 * pitch) | (frequency > 1.25 * pitch)] = 0.0
    envelope = np.abs(fft.ifft(spectrum))[len(straight) // 20 : -len(straight) // 20]
    return float(envelope.std() / max(envelope.mean(), 1e-12))


def _swing(sound: Array) -> tuple[float, float, float]:
    """Relative swing of the loudness, and its shares that come from strikes at 4 Hz and from 12 Hz alone.

    The envelope is sampled at 200 Hz and swings slower than 2.5 Hz do not count. A strike is sharp, so it
    swings at the multiples of 4 Hz too; without a good part at 4 Hz itself it is none.
    """
    block = RATE // 200
    count = len(sound) // block
    power = (sound[: count * block].reshape(count, block) ** 2).mean(1)
    level = np.sqrt(np.convolve(power, np.ones(3) / 3, "same"))[2:-2]
    window = signal.windows.hann(len(level))
    spectrum = np.abs(fft.rfft((level - level.mean()) * window)) ** 2
    rate = np.arange(len(spectrum)) * 200.0 / len(level)
    moving = spectrum[rate > 2.5].sum() + 1e-12
    swing = np.sqrt(2 * moving / (len(level) * (window**2).sum())) / max(level.mean(), 1e-9)
    near = [spectrum[np.abs(rate - STRIKES_PER_SECOND * n) < 1.0].sum() / moving for n in range(1, 6)]
    strikes = sum(near) if near[0] > 0.25 else 0.0
    return float(swing), float(strikes), float(spectrum[np.abs(rate - TREMOLO_HZ) < 1.2].sum() / moving)
