"""Clips: files, frames and arrays to `Video`, and H.264 MP4 files."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from anygen.errors import BadMedia, LimitExceeded

from .container import Timeline, open_container, pick_stream, scan
from .image import read_image
from .limits import MediaLimits, check_size
from .source import decoding, is_file_source, label_of, open_source
from .types import Video

logger = logging.getLogger(__name__)


def read_video(source: object, limits: MediaLimits, rate: float | None = None) -> Video:
    """Read a clip without its sound: upright, RGB, at most `limits.max_video_frames` frames, even in time.

    Args:
        source: A path or file content as `bytes`, a list of frames (PIL images or arrays) of one size, a
            uint8 array (t, h, w, 3), or a `Video`.
        limits: Enforced on the header, then on packets, then on decoded frames.
        rate: Frames a second of an array or a list of frames; must be None for anything else.

    Raises:
        BadMedia: not a clip, damaged, cut off, or without pictures.
        LimitExceeded: too long, or frames too large.
    """
    if isinstance(source, Video):
        return _thin(source, limits, "video")
    if isinstance(source, np.ndarray | list | tuple):
        frames = source if isinstance(source, np.ndarray) else _stack(source, limits)
        if rate is None:
            raise BadMedia("video array: found no frame rate, expected frames a second; give fps")
        return _thin(Video(frames, rate), limits, "video array")
    if not is_file_source(source):
        kind = type(source).__name__
        raise BadMedia(f"video: found {kind}, expected a path, bytes, frames, a numpy array or anygen.Video")
    label = label_of(source, "video")
    with open_source(source, "video", limits) as file:
        with open_container(file, label, "video", limits) as container:
            stream = pick_stream(container, label, "video")
            size = (stream.codec_context.width, stream.codec_context.height)
            check_size(label, *size, limits, max_pixels=limits.max_frame_pixels)
            timeline = scan(container, stream, label, "video", limits.max_video_seconds)
            average = stream.average_rate
        _check_work(len(timeline.times), size, limits, label)
        with open_container(file, label, "video", limits) as container, decoding(label, "video"):
            stream = pick_stream(container, label, "video")
            return _pick_frames(container.decode(stream), timeline, average, limits, label)


def _check_work(count: int, size: tuple[int, int], limits: MediaLimits, label: str) -> None:
    """Raise LimitExceeded when decoding all frames would be too much work."""
    pixels = count * size[0] * size[1]
    if pixels > limits.max_decoded_pixels:
        found = f"{label}: found {count} frames of {size[0]} x {size[1]} ({pixels / 1e6:.0f} megapixels)"
        most = f"the limit is {limits.max_decoded_pixels / 1e6:.0f} megapixels"
        raise LimitExceeded(f"{found}, {most}; make the video shorter or smaller")


def _pick_frames(
    decoded: Iterator[Any], timeline: Timeline, average: Fraction | None, limits: MediaLimits, label: str
) -> Video:
    """Keep the frame on show at the middle of each of n equal spans of time, n at most the frame cap."""
    start, duration = timeline.times[0], _duration(timeline)
    available = len(timeline.times)
    count = min(available, limits.max_video_frames)
    fps = count / duration
    if count < available:
        logger.warning("%s has %d frames: %d of them, even in time, are used", label, available, count)
    elif average and abs(fps / average - 1) < 0.01:
        # Matroska rounds its times to milliseconds, which would turn 30 frames a second into 29.99.
        fps = average
    targets = [start + (index + Fraction(1, 2)) * duration / count for index in range(count)]
    kept: list[np.ndarray] = []
    shown: Any = None
    size: tuple[int, int] | None = None
    last = start
    for index, frame in enumerate(decoded):
        size = size or _frame_size(frame, limits, label)
        if frame.is_corrupt:
            raise BadMedia(
                f"{label}: found a damaged frame, expected a complete video; export or download it again"
            )
        if (frame.width, frame.height) != size:
            raise BadMedia(f"{label}: the frame size changes midway, expected one size; convert the video")
        last = timeline.times[min(index, available - 1)] if frame.pts is None else frame.pts * frame.time_base
        while shown is not None and len(kept) < count and last > targets[len(kept)]:
            kept.append(_to_rgb(shown, count, limits, label))
        shown = frame
    if shown is None:
        raise BadMedia(f"{label}: found a video track with no frames, expected pictures; export it again")
    if timeline.times[-1] - last > max(Fraction(1, 4), duration / 20):
        part = f"found pictures for {float(last - start):.2f} of {float(duration):.2f} s"
        raise BadMedia(f"{label}: {part}, expected a complete video; export or download it again")
    while len(kept) < count:
        kept.append(_to_rgb(shown, count, limits, label))
    return Video(np.stack(kept), float(fps))


def _duration(timeline: Timeline) -> Fraction:
    """Seconds from the first frame to the end of the last one."""
    times = timeline.times
    last = timeline.end - times[-1]
    if times[0] == times[-1]:
        return last if last > 0 else Fraction(1, 25)
    typical = (times[-1] - times[0]) / (len(times) - 1)
    return times[-1] - times[0] + (last if 0 < last <= 10 * typical else typical)


def _frame_size(frame: Any, limits: MediaLimits, label: str) -> tuple[int, int]:
    """Width and height of a decoded frame, checked: a stream need not keep what its container promises."""
    check_size(label, frame.width, frame.height, limits, max_pixels=limits.max_frame_pixels)
    return frame.width, frame.height


def _to_rgb(frame: Any, count: int, limits: MediaLimits, label: str) -> np.ndarray:
    """uint8 (h, w, 3) of a PyAV frame, upright, scaled down when `count` frames exceed the pixel cap."""
    width, height = frame.width, frame.height
    scale = min(1.0, (limits.max_video_pixels / (count * width * height)) ** 0.5)
    if scale < 1.0:
        width, height = max(1, int(width * scale)), max(1, int(height * scale))
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    turns, rest = divmod(frame.rotation, 90)
    if rest:
        logger.warning("%s is rotated by %s degrees: only quarter turns are undone", label, frame.rotation)
    return np.rot90(rgb, turns)


def _stack(frames: Iterable[object], limits: MediaLimits) -> np.ndarray:
    """uint8 (t, h, w, 3) of frames of one size. Raises BadMedia."""
    images = [np.asarray(read_image(frame, limits)) for frame in frames]
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        raise BadMedia(
            f"video frames: found {len(sizes)} sizes in {len(images)} frames, expected one; resize them"
        )
    return np.stack(images)


def _thin(video: Video, limits: MediaLimits, label: str) -> Video:
    """Check a clip that is in memory already, and sample it evenly down to the frame cap."""
    total, height, width = video.frames.shape[:3]
    check_size(label, width, height, limits, max_pixels=limits.max_frame_pixels)
    if video.duration > limits.max_video_seconds:
        most = limits.max_video_seconds
        raise LimitExceeded(f"{label}: found {video.duration:.1f} s, the limit is {most:g} s; cut the video")
    count = min(total, limits.max_video_frames)
    if count * height * width > limits.max_video_pixels:
        found = f"{label}: found {count} frames of {width} x {height}"
        raise LimitExceeded(
            f"{found}, the limit is {limits.max_video_pixels / 1e6:.0f} megapixels; make it smaller"
        )
    if count == total:
        return video
    logger.warning("%s has %d frames: %d of them, even in time, are used", label, total, count)
    middles = ((np.arange(count) + 0.5) * total / count).astype(np.int64)
    return Video(video.frames[middles], video.fps * count / total)


def write_mp4(video: Video, path: str | os.PathLike[str], tags: Mapping[str, str]) -> None:
    """Write an H.264 MP4 (yuv420p, index first); tags go as one JSON object into its comment.

    The same frames give the same bytes: one encoder thread, no date, no tool name. H.264 in 4:2:0 wants even
    sides, so an odd one gets its last row or column twice.
    """
    import av

    frames = video.frames
    odd = (frames.shape[1] % 2, frames.shape[2] % 2)
    if any(odd):
        logger.warning(
            "video of %d x %d: odd sides get one more pixel for H.264", frames.shape[2], frames.shape[1]
        )
        frames = np.pad(frames, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
    rate = Fraction(video.fps).limit_denominator(1001)
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(os.fspath(path), "w", format="mp4", container_options=options) as container:
        if tags:
            container.metadata["comment"] = json.dumps(dict(tags))
        # Macroblock-tree rate control now and then spends its bits otherwise: the same film, other bytes.
        codec = {"crf": "18", "preset": "medium", "x264-params": "mbtree=0"}
        stream: Any = container.add_stream("libx264", rate=rate, options=codec)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for array in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
