"""What the binding stage sees: toybox scenes, perturbed so that strangers' media work too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anygen.encoders.imagebind import ImageBindConfig
from anygen.modality import Modality
from anygen.toybox.captions import caption
from anygen.toybox.scene import ATTRIBUTES, HELD_OUT, REVEALS, Scene, is_held_out, sample_scene
from anygen.toybox.sensors import imu_batch
from anygen.toybox.sound import sound_batch
from anygen.toybox.visual import depth_batch, image_batch, thermal_batch, video_batch

CODES: dict[str, dict[str, int]] = {
    n: {v: i for i, v in enumerate(values)} for n, values in ATTRIBUTES.items()
}
"""Attribute name to value to number."""
HELD_OUT_TABLE: NDArray[np.bool_] = np.array(
    [[(shape, color) in HELD_OUT for color in ATTRIBUTES["color"]] for shape in ATTRIBUTES["shape"]]
)
"""(shapes, colors), true where the pair is held out."""
UNNAMED = -1
"""Code of an attribute that is not revealed."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """How far training media are from clean renders. All of it is drawn per sample."""

    jitter: float = 0.25
    """Largest offset of the object's centre, as a fraction of the side."""
    zoom: float = 0.1
    """Largest relative change of scale, and half of it of the aspect."""
    degrees: float = 4.0
    """Standard deviation of the rotation."""
    noise: float = 0.03
    """Largest standard deviation of the noise, where 1 is the full scale of the medium."""
    tint: float = 0.015
    """Standard deviation of a constant offset per channel."""
    gain_decibels: float = 12.0
    """Largest attenuation of a sound."""


def draw_scenes(count: int, rng: np.random.Generator, *, group: int = 8) -> list[Scene]:
    """Seen scenes in groups whose members share some attributes, so that every batch has hard negatives.

    Drawn independently, two scenes that differ in their shape alone are too rare in a batch to teach the
    shape. A group keeps each of color, size and background of its first scene with probability one half;
    shape and motion are always drawn anew.

    Args:
        count: Number of scenes.
        rng: Source of all randomness.
        group: Members of a group.
    """
    scenes: list[Scene] = []
    while len(scenes) < count:
        first = sample_scene(rng)
        kept = {n: getattr(first, n) for n in ("color", "size", "background") if rng.random() < 0.5}
        for _ in range(min(group, count - len(scenes))):
            attributes = sample_scene(rng).attributes() | kept
            while is_held_out(attributes):
                attributes = sample_scene(rng).attributes() | kept
            scenes.append(Scene(**attributes))
    return scenes


def revealed_codes(named: Sequence[Mapping[str, str]]) -> NDArray[np.int64]:
    """Codes (n, 5) of the named attributes, `UNNAMED` elsewhere."""
    return np.array([[CODES[a].get(x.get(a, ""), UNNAMED) for a in ATTRIBUTES] for x in named], np.int64)


def fits(anchors: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether what item j reveals is true of anchor i, as (n, m); such a pair is no negative."""
    return np.all((others[None] == UNNAMED) | (others[None] == anchors[:, None]), axis=-1)


def unseen(anchors: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the shape of one and the color of the other make a held-out pair, as (n, m).

    Such an entry is no negative either. It could only ever be a negative, since no sample shows the pair, and
    a model that is unsure of a shape would learn to rule it out by the color: right on all that is seen, and
    wrong on every held-out pair.
    """
    shape, color = (list(ATTRIBUTES).index(name) for name in ("shape", "color"))
    # Codes of what is not revealed are -1, which picks the last row or column: all false.
    table = np.pad(HELD_OUT_TABLE, ((0, 1), (0, 1)))
    there = table[anchors[:, None, shape], others[None, :, color]]
    return there | table[others[None, :, shape], anchors[:, None, color]]


def image_caption(scene: Scene, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A caption of an image, and which of the image's attributes it names (all, or two at least).

    One caption in four also tells the motion, which no image shows: the text tower learns to pass over it.
    """
    shown = scene.revealed(Modality.IMAGE)
    named = shown
    if rng.random() < 0.5:
        names = sorted(rng.permutation(list(shown))[: rng.integers(2, len(shown))], key=list(shown).index)
        named = {n: shown[n] for n in names}
    spoken = named | ({"motion": scene.motion} if rng.random() < 0.25 else {})
    return caption(spoken, None if rng.random() < 0.3 else rng), named


def scene_of(index: int, seed: int, stream: int, *, group: int = 8) -> Scene:
    """The seen scene of one sample, from its number alone; `draw_scenes` has the reason for the groups.

    Args:
        index: Number of the sample.
        seed: Of the run.
        stream: Which of several scenes of a sample.
        group: Samples that follow one another and share some attributes.
    """
    shared = np.random.default_rng((seed, 1, stream, index // group))
    first = sample_scene(shared)
    kept = {n: getattr(first, n) for n in ("color", "size", "background") if shared.random() < 0.5}
    rng = np.random.default_rng((seed, 2, stream, index))
    attributes = sample_scene(rng).attributes() | kept
    while is_held_out(attributes):
        attributes = sample_scene(rng).attributes() | kept
    return Scene(**attributes)


def caption_of(scene: Scene, modality: Modality, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A caption of a medium, and which of the attributes that it shows are named: all, or two at least."""
    shown = scene.revealed(modality)
    if len(shown) > 2 and rng.random() < 0.5:
        names = sorted(rng.permutation(list(shown))[: rng.integers(2, len(shown))], key=list(shown).index)
        shown = {n: shown[n] for n in names}
    return caption(shown, None if rng.random() < 0.3 else rng), shown


def render_batch(
    modality: Modality,
    scenes: Sequence[Scene],
    config: ImageBindConfig,
    *,
    rng: np.random.Generator,
    perturbation: Perturbation | None,
) -> NDArray[Any]:
    """Render scenes as a numpy batch that `ImageBindProcessor` takes.

    Args:
        modality: Any but text.
        scenes: What to render.
        config: Sizes of the towers.
        rng: Source of all randomness.
        perturbation: None gives clean renders.
    """
    jitter = 0.1 if perturbation is None else perturbation.jitter
    if modality is Modality.AUDIO:
        assert config.audio is not None
        waves = sound_batch(scenes, rng=rng, sample_rate=config.audio.sample_rate)
        return waves if perturbation is None else _perturb_sound(waves, rng, perturbation)
    if modality is Modality.IMU:
        traces = imu_batch(scenes, rng=rng)
        return traces if perturbation is None else _perturb_traces(traces, rng)
    if modality is Modality.VIDEO:
        assert config.vision is not None
        # Towers see the first and last frame of a clip, so a film of two frames is all there is to draw.
        frames = video_batch(
            scenes, size=config.vision.image_size, num_frames=config.vision.num_frames, rng=rng, jitter=jitter
        )
        return frames if perturbation is None else _perturb_frames(frames, rng, perturbation)
    tower = getattr(config, "vision" if modality is Modality.IMAGE else modality.value)
    if modality is Modality.IMAGE:
        pictures = image_batch(scenes, size=tower.image_size, rng=rng, jitter=jitter)
        return (
            pictures if perturbation is None else _perturb_frames(pictures[:, None], rng, perturbation)[:, 0]
        )
    draw, top = (depth_batch, 4.0) if modality is Modality.DEPTH else (thermal_batch, 1.0)
    maps = draw(scenes, size=tower.image_size, rng=rng, jitter=jitter)
    return maps if perturbation is None else _perturb_maps(maps, rng, perturbation, top)


def _warp(pictures: Tensor, rng: np.random.Generator, p: Perturbation) -> Tensor:
    """A small zoom, squeeze and turn of pictures (n, c, h, w), the edge repeated outwards."""
    n = len(pictures)
    zoom = 1 + rng.uniform(-p.zoom, p.zoom, (n, 1)) + rng.uniform(-p.zoom / 2, p.zoom / 2, (n, 2))
    angle = np.deg2rad(rng.normal(0, p.degrees, n))
    cos, sin, nought = np.cos(angle), np.sin(angle), np.zeros(n)
    rows = [[cos * zoom[:, 0], -sin * zoom[:, 1], nought], [sin * zoom[:, 0], cos * zoom[:, 1], nought]]
    theta = torch.from_numpy(np.moveaxis(np.array(rows), -1, 0).astype(np.float32))
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    warped = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    blur = torch.from_numpy(rng.uniform(-1, 1, (n, 1, 1, 1)).clip(0).astype(np.float32))
    soft = F.avg_pool2d(F.pad(warped, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return warped + blur * (soft - warped)


def _noise(shape: tuple[int, ...], rng: np.random.Generator, p: Perturbation) -> NDArray[np.float32]:
    """Noise of full scale 1 whose strength is drawn per sample; half of the samples have none."""
    noise = np.zeros(shape, np.float32)
    noisy = rng.random(shape[0]) < 0.5
    strength = p.noise * rng.random((int(noisy.sum()),) + (1,) * (len(shape) - 1), dtype=np.float32)
    noise[noisy] = rng.standard_normal((int(noisy.sum()), *shape[1:]), dtype=np.float32) * strength
    return noise


def _perturb_frames(
    frames: NDArray[np.uint8], rng: np.random.Generator, p: Perturbation
) -> NDArray[np.uint8]:
    n, t, h, w, c = frames.shape
    stacked = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).reshape(n, t * c, h, w).float()
    warped = _warp(stacked, rng, p).reshape(n, t, c, h, w).permute(0, 1, 3, 4, 2).numpy()
    tint = rng.normal(0, p.tint, (n, 1, 1, 1, c))
    return np.rint(warped + 255 * (_noise(frames.shape, rng, p) + tint)).clip(0, 255).astype(np.uint8)


def _perturb_maps(
    maps: NDArray[np.float32], rng: np.random.Generator, p: Perturbation, top: float
) -> NDArray[np.float32]:
    warped = _warp(torch.from_numpy(maps)[:, None], rng, p)[:, 0].numpy()
    offset = rng.normal(0, p.tint, (len(maps), 1, 1)) * (top > 1)  # a thermal value tells the color: leave it
    noisy = warped + top * (0.5 * _noise(maps.shape, rng, p) + offset)
    return noisy.clip(0.01 if top > 1 else 0.0, 2 * top if top > 1 else top).astype(np.float32)


def _perturb_sound(
    waves: NDArray[np.float32], rng: np.random.Generator, p: Perturbation
) -> NDArray[np.float32]:
    gain = 10 ** (-rng.uniform(0, p.gain_decibels, (len(waves), 1)) / 20)
    return ((waves + 0.3 * _noise(waves.shape, rng, p)) * gain).clip(-1, 1).astype(np.float32)


def _perturb_traces(traces: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift in time by up to a quarter of a second, scale by 5 %."""
    shifts = rng.integers(-100, 101, len(traces))
    rolled = np.stack([np.roll(t, s, axis=-1) for t, s in zip(traces, shifts, strict=True)])
    gravity = np.array([0, 0, 9.81, 0, 0, 0], np.float32)[:, None]
    scale = rng.uniform(0.95, 1.05, (len(traces), 1, 1)).astype(np.float32)
    return (rolled - gravity) * scale + gravity


def target_classes(scenes: Sequence[Scene], modality: Modality) -> dict[str, NDArray[np.int64]]:
    """Attribute name to codes (n,) of what the modality reveals, `UNNAMED` where a scene hides it."""
    codes = revealed_codes([s.revealed(modality) for s in scenes])
    return {a: codes[:, list(ATTRIBUTES).index(a)] for a in REVEALS[modality]}
