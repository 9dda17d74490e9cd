"""Tiny files of every kind, made here so that each byte is known."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

EncodeVideo = Callable[..., bytes]
EncodeAudio = Callable[..., bytes]
EncodeImage = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode_image() -> EncodeImage:
    """Encode a PIL image: `encode_image(image, "PNG", **options) -> bytes`."""

    def encode(image: Image.Image, format: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def encode_audio(tmp_path_factory: pytest.TempPathFactory) -> EncodeAudio:
    """Encode samples (channels, n) with PyAV: `encode_audio(samples, 16000, "flac", codec=...) -> bytes`."""
    import av

    folder = tmp_path_factory.mktemp("audio")

    def encode(samples: np.ndarray, rate: int, suffix: str, codec: str, format: str = "s16p") -> bytes:
        path = folder / f"sound.{suffix}"
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[0]]
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=rate, layout=layout)
            block = 4096
            for start in range(0, samples.shape[1], block):
                piece = np.ascontiguousarray(samples[:, start : start + block])
                frame = av.AudioFrame.from_ndarray(piece, format=format, layout=layout)
                frame.sample_rate = rate
                frame.pts = start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()

    return encode


@pytest.fixture(scope="session")
def encode_video(tmp_path_factory: pytest.TempPathFactory) -> EncodeVideo:
    """Encode frames (t, h, w, 3) with PyAV: `encode_video(frames, "mp4", pts=[milliseconds]) -> bytes`."""
    import av

    folder = tmp_path_factory.mktemp("video")

    def encode(
        frames: np.ndarray,
        suffix: str,
        *,
        codec: str = "libx264",
        fps: int = 8,
        pts: list[int] | None = None,
        sound_seconds: float = 0.0,
        options: dict[str, str] | None = None,
    ) -> bytes:
        path = folder / f"clip.{suffix}"
        with av.open(str(path), "w", container_options=options or {}) as container:
            stream: Any = container.add_stream(codec, rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            sound: Any = container.add_stream("aac", rate=16000, layout="mono") if sound_seconds else None
            if pts is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for index, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
                if pts is not None:
                    frame.pts, frame.time_base = pts[index], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            for start in range(0, int(sound_seconds * 16000), 1024):
                block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                block.sample_rate, block.pts = 16000, start
                container.mux(sound.encode(block))
            if sound is not None:
                container.mux(sound.encode(None))
        return path.read_bytes()

    return encode


@pytest.fixture(scope="session")
def gray_steps() -> np.ndarray:
    """uint8 (16, 64, 64, 3): frame i is all of gray 10 + 14 i, so a frame says which one it is."""
    levels = (10 + 14 * np.arange(16)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (16, 64, 64, 3)))
