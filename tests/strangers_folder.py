"""A stranger's folder: pictures and sounds that are not of the toybox's world, captioned in free words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from anygen.media import Audio, save_media

SIDE, RATE, SECONDS = 64, 16_000, 2.0

COLORS = {
    "teal": (0, 128, 128),
    "mustard": (225, 173, 1),
    "crimson": (220, 20, 60),
    "olive": (107, 142, 35),
    "lilac": (200, 162, 200),
    "charcoal": (54, 69, 79),
    "cream": (255, 253, 208),
}


def stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0.6, 0.9)
    return np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(20, 26)) > 0


def gradient(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (y + 1) / 2


def rings(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(np.hypot(x, y) * rng.uniform(22, 28)) > 0


def checks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = rng.uniform(5, 6)
    return (np.floor(x * step) + np.floor(y * step)) % 2


def speckle(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(x.shape) > 0.5


PICTURES: dict[str, tuple[Callable[..., np.ndarray], tuple[str, ...]]] = {
    "stripes": (stripes, ("slanted stripes of {} and {}", "{} cloth striped with {}")),
    "gradient": (gradient, ("an evening sky that fades from {} to {}", "{} melting softly into {}")),
    "rings": (rings, ("ripples of {} on {} water", "{} rings spreading over {}")),
    "checks": (checks, ("a tablecloth checked in {} and {}", "{} tiles laid between {} ones")),
    "speckle": (speckle, ("gravel, {} grains among {}", "static of {} and {}")),
}


def chirp(t: np.ndarray, start: float, end: float) -> np.ndarray:
    return np.sin(2 * np.pi * np.cumsum(np.linspace(start, end, t.size)) / RATE)


def clicks(t: np.ndarray, per_second: float) -> np.ndarray:
    return np.exp(-40 * ((t * per_second) % 1.0)) * np.sin(2 * np.pi * 1500 * t)


SOUNDS: dict[str, tuple[Callable[[np.ndarray, np.random.Generator], np.ndarray], tuple[str, ...]]] = {
    "hum": (lambda t, r: chirp(t, *[r.uniform(90, 130)] * 2), ("a low hum of a fridge", "something humming")),
    "whistle": (lambda t, r: chirp(t, 700, r.uniform(2200, 2600)), ("kettle whistling up", "rising whistle")),
    "siren": (lambda t, r: chirp(t, r.uniform(2200, 2600), 400), ("a siren sinking away", "a falling wail")),
    "rain": (lambda t, r: 0.5 * r.standard_normal(t.size), ("rain hissing on a roof", "steady hissing")),
    "clicks": (lambda t, r: clicks(t, r.uniform(7, 9)), ("a bicycle freewheel clicking", "quick clicks")),
    "bell": (
        lambda t, r: np.exp(-3 * t) * chirp(t, *[r.uniform(800, 1000)] * 2),
        ("a bell that rings out", "one stroke of a bell"),
    ),
}  # fmt: skip


def picture(rng: np.random.Generator, kind: str, colors: tuple[str, str]) -> Image.Image:
    """A texture of two colors, a little noisy, with its phase drawn."""
    shift = rng.uniform(-0.2, 0.2, 2)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    mix = PICTURES[kind][0](x + shift[0], y + shift[1], rng).astype(float)[..., None].clip(0, 1)
    pixels = mix * np.array(COLORS[colors[0]]) + (1 - mix) * np.array(COLORS[colors[1]])
    return Image.fromarray((pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8))


def sound(rng: np.random.Generator, kind: str) -> Audio:
    """A waveform with its pitch, pace and loudness drawn."""
    t = np.arange(int(SECONDS * RATE)) / RATE
    wave = rng.uniform(0.3, 0.6) * SOUNDS[kind][0](t, rng) + rng.normal(0, 0.003, t.size)
    return Audio(wave.clip(-1, 1).astype(np.float32)[None], RATE)


def make_folder(folder: Path, *, pictures: int = 150, sounds: int = 90, seed: int = 0) -> Path:
    """Write media and `captions.jsonl` beside them; returns the folder."""
    rng = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True)
    (folder / "recordings").mkdir()
    rows = []
    for number in range(pictures):
        kind = str(rng.choice(list(PICTURES)))
        first, second = (str(name) for name in rng.choice(list(COLORS), 2, replace=False))
        name = f"photos/{number:04d}.png"
        save_media(picture(rng, kind, (first, second)), folder / name)
        wording = PICTURES[kind][1][rng.integers(2)]
        rows.append({"image": name, "text": wording.format(first, second)})
    for number in range(sounds):
        kind = str(rng.choice(list(SOUNDS)))
        name = f"recordings/{number:04d}.wav"
        save_media(sound(rng, kind), folder / name)
        rows.append({"audio": name, "text": str(rng.choice(SOUNDS[kind][1]))})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(lines, encoding="utf-8")
    return folder
