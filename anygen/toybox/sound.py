"""Sounds of the toybox: timbre says the shape, pitch the size, glide or fade the motion.

Everything is synthesised from the definition in the world's data card, in closed form and band-limited, so a
sound can be made at any sample rate and length without aliasing. The random source only moves what a listener
would not name: the phase, the pitch by at most one percent, the moment of the first bell strike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument
from anygen.media import Audio

from .scene import Scene

PITCH: dict[str, float] = {"large": 220.0, "small": 880.0}
"""Fundamental in Hz at the start of the clip, by size."""

PEAK = 0.8
"""Largest absolute sample of every clip."""

BELL_PARTIALS: tuple[float, ...] = (1.0, 2.76, 5.40, 8.93)
"""Frequencies of the bell's partials as multiples of its pitch."""

BELL_LEVELS: tuple[float, ...] = (1.0, 0.6, 0.4, 0.25)
"""Amplitude of each bell partial at the strike."""

BELL_DECAYS: tuple[float, ...] = (0.12, 0.10, 0.08, 0.06)
"""Seconds in which each bell partial falls to 1/e."""

STRIKES_PER_SECOND = 4.0
"""How often the bell is struck."""

TREMOLO_HZ = 12.0
"""Rate of the ring's full-depth tremolo."""

NOISE_WIDTH = 0.24
"""Full width of the cross's noise band as a share of its pitch."""

FADE_FLOOR = 0.1
"""Loudness at the quiet end of a fade."""

PITCH_JITTER = 0.01
"""Largest relative deviation of the pitch from its nominal value."""

EDGE_SECONDS = 0.004
"""Ramp at both ends of a clip, so that it starts and stops without a click."""

Samples = NDArray[np.float64]


def play_sound(
    scene: Scene, *, rng: np.random.Generator, seconds: float = 2.0, sample_rate: int = 16000
) -> Audio:
    """Synthesise the sound of a scene.

    Args:
        scene: What to play; color and background make no sound.
        rng: Source of phase, pitch jitter and onset.
        seconds: Length of the clip.
        sample_rate: Samples per second.

    Returns:
        Mono audio, float32 (1, n), peak 0.8.

    Raises:
        BadArgument: The length or the rate is too small to carry the sound.
    """
    samples = sound_batch([scene], rng=rng, seconds=seconds, sample_rate=sample_rate)[0]
    return Audio(samples=samples[None], sample_rate=sample_rate)


def sound_batch(
    scenes: Sequence[Scene], *, rng: np.random.Generator, seconds: float = 2.0, sample_rate: int = 16000
) -> NDArray[np.float32]:
    """Synthesise many scenes at once.

    Args:
        scenes: What to play.
        rng: Source of phase, pitch jitter and onset, drawn scene by scene.
        seconds: Length of each clip.
        sample_rate: Samples per second.

    Returns:
        (len(scenes), round(seconds * sample_rate)) float32, each row with peak 0.8.

    Raises:
        BadArgument: The length or the rate is too small to carry the sound.
    """
    if not seconds >= 0.5:
        raise BadArgument(f"Found a clip of {seconds} s; expected at least 0.5 s, two bell strikes.")
    if not sample_rate >= 4000:
        raise BadArgument(
            f"Found a sample rate of {sample_rate} Hz; expected at least 4000 for the small pitch."
        )
    length = round(seconds * sample_rate)
    out = np.empty((len(scenes), length), np.float32)
    for row, scene in zip(out, scenes, strict=True):
        row[:] = _synthesise(scene, rng, length, float(sample_rate))
    return out


def _synthesise(scene: Scene, rng: np.random.Generator, length: int, rate: float) -> Samples:
    """One clip of `length` samples."""
    time = np.arange(length) / rate
    progress = np.linspace(0.0, 1.0, length)
    octaves = {"up": progress, "down": -progress}.get(scene.motion, np.zeros(1))
    start = PITCH[scene.size] * (1.0 + rng.uniform(-PITCH_JITTER, PITCH_JITTER))
    pitch = start * np.exp2(octaves)
    if pitch.size == 1:
        cycles = pitch[0] * time
    else:
        cycles = np.concatenate([[0.0], np.cumsum(0.5 * (pitch[1:] + pitch[:-1]))]) / rate
    sound = _TIMBRES[scene.shape](time, cycles, pitch, rate, rng) * _envelope(scene.motion, progress)
    ramp = max(2, round(EDGE_SECONDS * rate))
    edge = np.sin(np.linspace(0.0, np.pi / 2, ramp)) ** 2
    sound[:ramp] *= edge
    sound[-ramp:] *= edge[::-1]
    return sound * (PEAK / max(float(np.abs(sound).max()), 1e-9))


def _envelope(motion: str, progress: Samples) -> Samples | float:
    """Loudness over the clip: a linear fade in for right, out for left, steady otherwise."""
    if motion == "right":
        return FADE_FLOOR + (1.0 - FADE_FLOOR) * progress
    if motion == "left":
        return 1.0 - (1.0 - FADE_FLOOR) * progress
    return 1.0


def _audible(frequency: Samples, rate: float) -> Samples:
    """Gain of a partial at `frequency`: 1, falling to 0 just below half the sample rate."""
    return np.clip((0.98 - frequency / (0.5 * rate)) / 0.04, 0.0, 1.0)


def _sine(time: Samples, cycles: Samples, pitch: Samples, rate: float, rng: np.random.Generator) -> Samples:
    """One partial."""
    return np.sin(2 * np.pi * (cycles + rng.uniform()))


def _harmonics(step: int) -> Callable[..., Samples]:
    """All harmonics with amplitude 1/n (step 1, sawtooth) or the odd ones alone (step 2, square)."""

    def play(
        time: Samples, cycles: Samples, pitch: Samples, rate: float, rng: np.random.Generator
    ) -> Samples:
        angle = 2 * np.pi * (cycles + rng.uniform())
        twice_cosine = 2 * np.cos(step * angle)
        before, now = np.sin((1 - step) * angle), np.sin(angle)
        total = np.zeros_like(angle)
        order = 1
        while order * pitch.min() < 0.5 * rate:
            total += now * (_audible(order * pitch, rate) / order)
            before, now = now, twice_cosine * now - before
            order += step
        return total

    return play


def _bell(time: Samples, cycles: Samples, pitch: Samples, rate: float, rng: np.random.Generator) -> Samples:
    """Inharmonic partials that decay after each strike."""
    age = np.mod(time - rng.uniform(0.0, 0.05), 1.0 / STRIKES_PER_SECOND)
    attack = np.minimum(age / 0.002, 1.0)
    total = np.zeros_like(cycles)
    for ratio, level, decay in zip(BELL_PARTIALS, BELL_LEVELS, BELL_DECAYS, strict=True):
        partial = np.sin(2 * np.pi * (ratio * cycles + rng.uniform()))
        total += partial * np.exp(-age / decay) * (level * _audible(ratio * pitch, rate))
    return total * attack


def _tremolo(
    time: Samples, cycles: Samples, pitch: Samples, rate: float, rng: np.random.Generator
) -> Samples:
    """One partial whose loudness swings fully, twelve times a second."""
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * (TREMOLO_HZ * time + rng.uniform()))
    return swing * np.sin(2 * np.pi * (cycles + rng.uniform()))


def _noise(time: Samples, cycles: Samples, pitch: Samples, rate: float, rng: np.random.Generator) -> Samples:
    """Gaussian noise in a band centred on the pitch, made as a slow complex envelope of the carrier.

    The envelope is drawn on a grid of quarter cycles of the pitch, so the band follows a glide.
    """
    count = int(4 * cycles[-1]) + 8
    spectrum = rng.standard_normal(count) + 1j * rng.standard_normal(count)
    spectrum[np.abs(np.fft.fftfreq(count, 0.25)) > 0.5 * NOISE_WIDTH] = 0.0
    grid = 0.25 * np.arange(count)
    slow = np.fft.ifft(spectrum)
    angle = 2 * np.pi * cycles
    real, imaginary = np.interp(cycles, grid, slow.real), np.interp(cycles, grid, slow.imag)
    return real * np.cos(angle) - imaginary * np.sin(angle)


_TIMBRES: dict[str, Callable[..., Samples]] = {
    "circle": _sine,
    "square": _harmonics(2),
    "triangle": _harmonics(1),
    "star": _bell,
    "ring": _tremolo,
    "cross": _noise,
}
