"""Resizing and cropping of images, maps and video frames, to the letter of the published preprocessing."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .audio import clip_starts


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Bicubic resize of the shorter side to `size`, then a centre crop of `size` x `size`.

    The crop starts at round((side - size) / 2) with ties to even, as torchvision does and transformers does
    not.
    """
    width, height = image.size
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    if (new_width, new_height) != (width, height):
        image = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    if (left, top, new_width, new_height) == (0, 0, size, size):
        return image
    return image.crop((left, top, left + size, top + size))


def map_to_square(values: np.ndarray, size: int) -> np.ndarray:
    """`resize_and_crop` of a float32 map (h, w); returns (size, size)."""
    if values.shape == (size, size):
        return values
    return np.asarray(resize_and_crop(Image.fromarray(np.ascontiguousarray(values, np.float32)), size))


def normalize_pixels(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(pixels / 255 - mean) / std over the channels, which are the last dimension; returns float32."""
    scaled = pixels.float() / 255.0
    return (scaled - torch.tensor(mean)) / torch.tensor(std)


def clip_frames(
    num_frames: int, fps: float, *, num_clips: int, clip_seconds: float, frames_per_clip: int
) -> np.ndarray:
    """Indices (num_clips, frames_per_clip) of the frames that stand for a video.

    Clips are spread evenly over the video; a clip holds the frames whose time is in [start, start +
    clip_seconds), and is represented by frames spread evenly from its first to its last.
    """
    starts = clip_starts(num_frames / fps, clip_seconds=clip_seconds, num_clips=num_clips)
    indices = np.empty((num_clips, frames_per_clip), np.int64)
    for row, start in zip(indices, starts, strict=True):
        # The small slack keeps a frame that starts exactly at a boundary on its side of it.
        first = min(math.ceil(start * fps - 1e-6), num_frames - 1)
        end = max(min(math.ceil((start + clip_seconds) * fps - 1e-6), num_frames), first + 1)
        row[:] = first + np.linspace(0, end - 1 - first, frames_per_clip).astype(np.int64)
    return indices


def scale_short_side(frames: Tensor, size: int) -> Tensor:
    """Bilinear resize (no antialiasing) of frames (T, C, H, W) so that the shorter side is `size`."""
    height, width = frames.shape[-2:]
    if min(height, width) == size:
        return frames
    if width < height:
        new_size = (math.floor(height / width * size), size)
    else:
        new_size = (size, math.floor(width / height * size))
    return F.interpolate(frames, size=new_size, mode="bilinear", align_corners=False)


def spatial_crops(frames: Tensor, size: int, num_crops: int) -> list[Tensor]:
    """Square crops of frames (..., H, W) along the longer side: both ends and centre, or the centre."""
    height, width = frames.shape[-2:]
    top, left = math.ceil((height - size) / 2), math.ceil((width - size) / 2)
    if num_crops == 1:
        corners = [(top, left)]
    elif height > width:
        corners = [(0, left), (top, left), (height - size, left)]
    else:
        corners = [(top, 0), (top, left), (top, width - size)]
    return [frames[..., y : y + size, x : x + size] for y, x in corners]
