"""Media objects to the tensors that the ImageBind towers take.

A list of media objects is prepared item by item, to the letter of the published preprocessing. A numpy batch
of the right size (uint8 images, clips of frames, waveforms, maps, traces) takes a vectorised path without
Pillow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from anygen.errors import BadMedia, MissingPart
from anygen.media import IMU, Audio, Depth, Thermal, Video
from anygen.modality import Modality

from .audio import resample, spectrogram_clips
from .config import (
    AudioTowerConfig,
    DepthTowerConfig,
    ImageBindConfig,
    ImuTowerConfig,
    ThermalTowerConfig,
    VisionTowerConfig,
)
from .text import TextTokenizer
from .vision import (
    clip_frames,
    map_to_square,
    normalize_pixels,
    resize_and_crop,
    scale_short_side,
    spatial_crops,
)

Items = Sequence[Any] | np.ndarray


class ImageBindProcessor:
    """Prepares N media of one modality as one tensor.

    Args:
        config: The encoder's configuration.
        tokenizer: For texts; None when no text will come.
    """

    def __init__(self, config: ImageBindConfig, tokenizer: TextTokenizer | None = None) -> None:
        self.config = config
        self.tokenizer = tokenizer

    def __call__(self, modality: Modality, items: Items) -> Tensor:
        """Prepare a batch.

        Args:
            modality: What the items are.
            items: N media objects (`PIL.Image`, `Audio`, `Video`, `Depth`, `Thermal`, `IMU`, `str`), or one
                numpy batch: images uint8 (N, h, w, 3), videos uint8 (N, t, h, w, 3) that are one clip each,
                mono waveforms float32 (N, n) at the tower's rate, depth in metres or thermal maps float32 (N,
                h, w), IMU traces float32 (N, 6, n) at the tower's rate.

        Returns:
            The tensor that `ImageBindModel.encode` takes for this modality.

        Raises:
            MissingPart: The encoder has no such tower, or no tokenizer was given.
            BadMedia: No items, or an item of a wrong type or size.
        """
        (name,) = self.config.tower_names([modality])
        if len(items) == 0:
            raise BadMedia(f"Found no {modality} items; expected at least one.")
        if isinstance(items, np.ndarray):
            _check_batch(modality, items)
        if modality is Modality.TEXT:
            if self.tokenizer is None:
                raise MissingPart("Found no tokenizer; texts need one. Give it when the processor is made.")
            return self.tokenizer(list(items))
        return _PREPARE[modality](items, getattr(self.config, name))


def _images(items: Items, tower: VisionTowerConfig) -> Tensor:
    size = tower.image_size
    if not isinstance(items, np.ndarray) or items.shape[1:] != (size, size, 3):
        pictures = [Image.fromarray(i) if isinstance(i, np.ndarray) else i for i in items]
        _check_types(pictures, Image.Image)
        items = np.stack([np.asarray(resize_and_crop(p.convert("RGB"), size)) for p in pictures])
    pixels = normalize_pixels(torch.from_numpy(np.ascontiguousarray(items)), tower.mean, tower.std)
    return pixels.permute(0, 3, 1, 2)


def _videos(items: Items, tower: VisionTowerConfig) -> Tensor:
    if isinstance(items, np.ndarray):
        picked = np.linspace(0, items.shape[1] - 1, tower.num_frames).astype(np.int64)
        clips = _crops_of_clip(torch.from_numpy(np.ascontiguousarray(items[:, picked])), tower)
        return clips.repeat(1, tower.num_clips, 1, 1, 1, 1)
    _check_types(items, Video)
    return torch.cat([_video(item, tower) for item in items])


def _video(item: Video, tower: VisionTowerConfig) -> Tensor:
    indices = clip_frames(
        len(item.frames),
        item.fps,
        num_clips=tower.num_clips,
        clip_seconds=tower.clip_seconds,
        frames_per_clip=tower.num_frames,
    )
    clips = _crops_of_clip(torch.from_numpy(item.frames[indices]), tower)
    return clips.flatten(0, 1)[None]


def _crops_of_clip(frames: Tensor, tower: VisionTowerConfig) -> Tensor:
    """Prepare clips uint8 (B, T, h, w, 3); returns (B, crops, 3, T, H, W)."""
    scaled = frames.float().permute(0, 1, 4, 2, 3) / 255.0
    resized = scale_short_side(scaled.flatten(0, 1), tower.image_size).unflatten(0, scaled.shape[:2])
    mean, std = (torch.tensor(values)[:, None, None] for values in (tower.mean, tower.std))
    crops = spatial_crops((resized - mean) / std, tower.image_size, tower.num_crops)
    return torch.stack(crops, dim=1).transpose(2, 3)


def _audios(items: Items, tower: AudioTowerConfig) -> Tensor:
    options: dict[str, Any] = {
        "sample_rate": tower.sample_rate,
        "num_mel_bins": tower.num_mel_bins,
        "target_frames": tower.target_frames,
        "num_clips": tower.num_clips,
        "clip_seconds": tower.clip_seconds,
        "mean": tower.mean,
        "std": tower.std,
    }
    if isinstance(items, np.ndarray):
        return spectrogram_clips(torch.from_numpy(np.ascontiguousarray(items))[:, None], **options)
    _check_types(items, Audio)
    waves = [
        resample(torch.from_numpy(np.ascontiguousarray(item.samples)), item.sample_rate, tower.sample_rate)
        for item in items
    ]
    return torch.cat([spectrogram_clips(wave[None], **options) for wave in waves])


def _depths(items: Items, tower: DepthTowerConfig) -> Tensor:
    if not isinstance(items, np.ndarray):
        _check_types(items, Depth)
        maps = [map_to_square(_disparity(i.meters, tower), tower.image_size) for i in items]
    elif items.shape[1:] == (tower.image_size, tower.image_size):
        maps = [_disparity(items, tower)]
    else:
        maps = [map_to_square(_disparity(i, tower), tower.image_size) for i in items]
    scaled = np.concatenate([m.reshape(-1, 1, tower.image_size, tower.image_size) for m in maps])
    return torch.from_numpy((scaled - np.float32(tower.mean)) / np.float32(tower.std))


def _disparity(meters: np.ndarray, tower: DepthTowerConfig) -> np.ndarray:
    """Disparity in 0..1 from metres clipped to 0.01..50; the smallest where there is no depth (0)."""
    disparity = tower.baseline * tower.focal_length / np.clip(meters, 0.01, 50.0)
    disparity = np.where(meters > 0, disparity, 0.01)
    return (np.clip(disparity, 0.01, tower.max_disparity) / tower.max_disparity).astype(np.float32)


def _thermals(items: Items, tower: ThermalTowerConfig) -> Tensor:
    size = tower.image_size
    if not isinstance(items, np.ndarray):
        _check_types(items, Thermal)
        items = [item.values for item in items]
    if isinstance(items, np.ndarray) and items.shape[1:] == (size, size):
        maps = items
    else:
        maps = np.stack([map_to_square(values, size) for values in items]).clip(0.0, 1.0)
    return torch.from_numpy((maps[:, None] - np.float32(tower.mean)) / np.float32(tower.std))


def _imus(items: Items, tower: ImuTowerConfig) -> Tensor:
    if isinstance(items, np.ndarray):
        traces = _fit(torch.from_numpy(np.ascontiguousarray(items)), tower.num_samples)
    else:
        _check_types(items, IMU)
        traces = torch.cat([_imu(item, tower) for item in items])
    mean, std = (torch.tensor(values)[:, None] for values in (tower.mean, tower.std))
    return (traces - mean) / std


def _imu(item: IMU, tower: ImuTowerConfig) -> Tensor:
    samples = torch.from_numpy(np.ascontiguousarray(item.samples))[None]
    if item.sample_rate != tower.sample_rate:
        length = max(round(samples.shape[-1] * tower.sample_rate / item.sample_rate), 1)
        samples = F.interpolate(samples, size=length, mode="linear", align_corners=False)
    return _fit(samples, tower.num_samples)


def _fit(samples: Tensor, length: int) -> Tensor:
    """The middle of traces (N, 6, n) that are too long; shorter ones hold their end values."""
    excess = samples.shape[-1] - length
    if excess >= 0:
        return samples[..., excess // 2 : excess // 2 + length]
    return F.pad(samples, (-excess // 2, -excess - -excess // 2), mode="replicate")


def _check_batch(modality: Modality, items: np.ndarray) -> None:
    dtype, axes = _BATCHES.get(modality, ("object", ("n",)))
    if items.ndim != len(axes) or items.dtype != dtype:
        raise BadMedia(
            f"Found a {modality} batch of {items.dtype} {items.shape}; expected {dtype} ({', '.join(axes)}), "
            "or a list of media objects."
        )


def _check_types(items: Items, expected: type) -> None:
    for item in items:
        if not isinstance(item, expected):
            raise BadMedia(f"Found an item of type {type(item).__name__}; expected {expected.__name__}.")


_PREPARE: dict[Modality, Callable[[Items, Any], Tensor]] = {
    Modality.IMAGE: _images,
    Modality.VIDEO: _videos,
    Modality.AUDIO: _audios,
    Modality.DEPTH: _depths,
    Modality.THERMAL: _thermals,
    Modality.IMU: _imus,
}

_BATCHES: dict[Modality, tuple[str, tuple[str, ...]]] = {
    Modality.IMAGE: ("uint8", ("n", "h", "w", "3")),
    Modality.VIDEO: ("uint8", ("n", "t", "h", "w", "3")),
    Modality.AUDIO: ("float32", ("n", "samples")),
    Modality.DEPTH: ("float32", ("n", "h", "w")),
    Modality.THERMAL: ("float32", ("n", "h", "w")),
    Modality.IMU: ("float32", ("n", "6", "samples")),
}
