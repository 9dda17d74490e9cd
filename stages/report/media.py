"""Samples as a page can hold them: pictures, film strips and spectrograms as data addresses."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygen.media.registry import load_media
from anygen.media.types import Audio, Video
from anygen.modality import Modality

PICTURE, FRAME, FRAMES = 192, 96, 8
"""Largest side of a picture and of a film's frame in pixels, and frames of a strip."""
HEAT = np.array(
    [(0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)], np.float64
)
"""Colours from silence to full scale."""


def data_address(kind: str, content: bytes) -> str:
    """A `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _png(picture: Image.Image, side: int) -> str:
    shown = picture.convert("RGB")
    shown.thumbnail((side, side * 4), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "PNG", optimize=True)
    return data_address("image/png", buffer.getvalue())


def picture(path: Path) -> str:
    """An image file as a picture."""
    with Image.open(path) as image:
        return _png(image, PICTURE)


def film_strip(path: Path) -> str:
    """Frames of a film side by side."""
    video = load_media(Modality.VIDEO, path)
    assert isinstance(video, Video)
    chosen = np.linspace(0, len(video.frames) - 1, min(FRAMES, len(video.frames))).round().astype(int)
    frames = []
    for index in chosen:
        frame = Image.fromarray(video.frames[index])
        frame.thumbnail((FRAME, FRAME), Image.Resampling.LANCZOS)
        frames.append(frame)
    gap = 2
    strip = Image.new("RGB", (sum(f.width + gap for f in frames) - gap, frames[0].height), (128, 128, 128))
    left = 0
    for frame in frames:
        strip.paste(frame, (left, 0))
        left += frame.width + gap
    return _png(strip, strip.width)


def spectrogram(path: Path) -> str:
    """A sound's spectrogram: 80 dB from dark to light, low pitches at the bottom."""
    audio = load_media(Modality.AUDIO, path)
    assert isinstance(audio, Audio)
    return _png(Image.fromarray(heat(levels(audio.samples.mean(0)))), 4 * PICTURE)


def levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Loudness (frequencies, frames) from 0 (80 dB below the peak or less) to 1 (the peak)."""
    size, hop = 512, 128
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)).T[::-1] ** 2
    decibels = 10 * np.log10(power + 1e-12)
    return np.clip((decibels - decibels.max()) / 80 + 1, 0, 1)


def heat(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values from 0 to 1 as colours (..., 3)."""
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(values, stops, HEAT[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def sound(path: Path) -> str:
    """A WAV file for a player."""
    return data_address("audio/wav", path.read_bytes())
