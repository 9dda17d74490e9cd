from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anygen.errors import BadArgument, BadMedia, LimitExceeded
from anygen.media import MediaLimits, Video, load_media, save_media

Encode = Callable[..., bytes]


def levels(video: Video) -> list[int]:
    """Which frames of `gray_steps` these are."""
    means = video.frames.astype(np.float64).mean(axis=(1, 2, 3))
    return [round((mean - 10) / 14) for mean in means]


@settings(max_examples=8, deadline=None)
@given(
    count=st.integers(1, 12),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    fps=st.sampled_from([1, 7.5, 8.0, 24.0, 29.97, 60]),
)
def test_mp4_round_trip_keeps_times_and_colors(
    tmp_path_factory: pytest.TempPathFactory, count: int, height: int, width: int, fps: float
) -> None:
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    frames = np.zeros((count, 2 * height, 2 * width, 3), np.uint8)
    frames[..., 0] = np.linspace(20, 220, count).astype(np.uint8)[:, None, None]
    frames[..., 2] = np.linspace(200, 50, 2 * width).astype(np.uint8)
    save_media(Video(frames, fps), path)
    loaded = load_media("video", path)
    assert loaded.frames.shape == frames.shape
    assert loaded.fps == pytest.approx(fps, rel=1e-3)
    assert np.abs(loaded.frames.astype(int) - frames).mean() < 8


def test_pure_colors_survive(tmp_path: Path) -> None:
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)):
        frames = np.broadcast_to(np.array(color, np.uint8), (3, 32, 32, 3))
        save_media(Video(frames, 8), tmp_path / "color.mp4")
        found = load_media("video", tmp_path / "color.mp4").frames[1, 16, 16]
        np.testing.assert_allclose(found, color, atol=6)


def test_same_frames_same_bytes(tmp_path: Path, gray_steps: np.ndarray) -> None:
    for name in ("one.mp4", "two.mp4"):
        save_media(Video(gray_steps, 8), tmp_path / name, metadata={"seed": "1"})
    data = (tmp_path / "one.mp4").read_bytes()
    assert data == (tmp_path / "two.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_get_one_more_pixel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_media(Video(np.full((2, 9, 11, 3), 99, np.uint8), 8), tmp_path / "odd.mp4")
    assert load_media("video", tmp_path / "odd.mp4").frames.shape == (2, 10, 12, 3)
    assert "odd sides get one more pixel" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")],
)
def test_common_containers(encode_video: Encode, gray_steps: np.ndarray, suffix: str, codec: str) -> None:
    video = load_media("video", encode_video(gray_steps, suffix, codec=codec))
    assert levels(video) == list(range(16))
    assert video.fps == pytest.approx(8, rel=1e-3)


def test_long_clips_are_sampled_evenly(
    encode_video: Encode, gray_steps: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    data = encode_video(gray_steps, "mp4")
    video = load_media("video", data, MediaLimits(max_video_frames=4))
    assert levels(video) == [2, 6, 10, 14]
    assert video.fps == 2
    assert "has 16 frames: 4 of them, even in time, are used" in caplog.text
    again = load_media("video", Video(gray_steps, 8.0), MediaLimits(max_video_frames=4))
    assert levels(again) == [2, 6, 10, 14]
    assert again.fps == 2


def test_variable_rate_is_sampled_by_time(encode_video: Encode, gray_steps: np.ndarray) -> None:
    # Frames 0 to 3 take a second, frame 4 alone nearly four.
    pts = [0, 250, 500, 750, 1000, 4750]
    video = load_media("video", encode_video(gray_steps[:6], "mkv", pts=pts), MediaLimits(max_video_frames=5))
    assert levels(video) == [1, 4, 4, 4, 4]


def test_rotation_is_undone(encode_video: Encode, gray_steps: np.ndarray) -> None:
    frames = np.zeros((4, 32, 64, 3), np.uint8)
    frames[:, :, :32] = 255  # bright on the left
    data = bytearray(encode_video(frames, "mp4"))
    # The matrix of the track header, 16.16 fixed point, turned to a quarter turn clockwise.
    start = data.index(b"tkhd") + 4 + 40
    matrix = [0, 0x10000, 0, -0x10000, 0, 0, 32 << 16, 0, 0x40000000]
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    video = load_media("video", bytes(data))
    assert video.frames.shape == (4, 64, 32, 3)
    assert video.frames[1, :28].min() > 200  # what was left is up after a clockwise turn
    assert video.frames[1, 36:].max() < 60


def test_large_frames_are_scaled_to_the_cap(encode_video: Encode, gray_steps: np.ndarray) -> None:
    limits = MediaLimits(max_video_pixels=16 * 32 * 32)
    video = load_media("video", encode_video(gray_steps, "mp4"), limits)
    assert video.frames.shape == (16, 32, 32, 3)
    assert levels(video) == list(range(16))


def test_frames_and_arrays(gray_steps: np.ndarray) -> None:
    pictures = [Image.fromarray(frame) for frame in gray_steps]
    assert levels(load_media("video", pictures, rate=8)) == list(range(16))
    assert load_media("video", gray_steps, rate=8).duration == 2
    video = Video(gray_steps, 8)
    assert load_media("video", video) is video


@pytest.mark.parametrize(
    ("source", "rate", "error", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), None, BadMedia, "expected frames a second; give fps"),
        (np.zeros((2, 8, 8, 3), np.float32), 8, BadMedia, "found float32, expected uint8"),
        ([np.zeros((8, 8), np.uint8), np.zeros((9, 9), np.uint8)], 8, BadMedia, "found 2 sizes in 2 frames"),
        ([], 8, BadMedia, "found 0 sizes in 0 frames"),
        (np.zeros((2, 4, 8, 3), np.uint8), 8, BadMedia, "found 8 x 4 pixels"),
        (np.zeros((100, 8, 8, 3), np.uint8), 1, LimitExceeded, "found 100.0 s, the limit is 60 s"),
        (Video(np.zeros((2, 8, 8, 3), np.uint8), 8), 8, BadArgument, "found a rate for video"),
        (3, None, BadMedia, "found int, expected a path, bytes, frames"),
    ],
)  # fmt: skip
def test_what_is_no_clip(source: object, rate: float | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_media("video", source, rate=rate)


def test_memory_objects_have_a_pixel_cap(gray_steps: np.ndarray) -> None:
    with pytest.raises(LimitExceeded, match="found 16 frames of 64 x 64, the limit is 0 megapixels"):
        load_media("video", Video(gray_steps, 8), MediaLimits(max_video_pixels=1000))


def test_audio_only_is_said(encode_audio: Encode) -> None:
    data = encode_audio(np.zeros((1, 16_000), np.float32), 16_000, "mp4", "aac", "fltp")
    with pytest.raises(BadMedia, match="found no video track, expected MP4, MOV.*; is it audio only?"):
        load_media("video", data)


def test_video_only_is_said(encode_video: Encode, gray_steps: np.ndarray) -> None:
    with pytest.raises(BadMedia, match="found no audio track, expected WAV, FLAC.*; is it video only?"):
        load_media("audio", encode_video(gray_steps, "mp4"))


@pytest.mark.parametrize(
    ("suffix", "options"), [("mp4", {}), ("mp4", {"movflags": "faststart"}), ("mkv", {}), ("avi", {})]
)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_cut_files_are_refused(
    encode_video: Encode, suffix: str, options: dict[str, str], part: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    codec = "mpeg4" if suffix == "avi" else "libx264"
    data = encode_video(noise, suffix, codec=codec, options=options)
    with pytest.raises(BadMedia, match="expected (a complete video|MP4, MOV)"):
        load_media("video", data[: int(len(data) * part)])


def test_moov_cut_by_200_bytes_is_refused(encode_video: Encode, gray_steps: np.ndarray) -> None:
    with pytest.raises(BadMedia, match="or a file cut short"):
        load_media("video", encode_video(gray_steps, "mp4")[:-200])


def test_damaged_middle_is_refused(encode_video: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    data = bytearray(encode_video(noise, "mp4", options={"movflags": "faststart"}))
    start = data.index(b"mdat") + 4
    middle = start + (len(data) - start) // 2
    data[middle : middle + 2_000] = np.random.default_rng(1).bytes(2_000)
    with pytest.raises(BadMedia, match="expected a complete video"):
        load_media("video", bytes(data))


def test_large_declared_frames_are_refused_small(encode_video: Encode) -> None:
    data = encode_video(np.zeros((1, 4096, 4096, 3), np.uint8), "mp4")
    tracemalloc.start()
    with pytest.raises(
        LimitExceeded, match=r"found 4096 x 4096 pixels \(16.8 megapixels\), the limit is 9.4"
    ):
        load_media("video", data)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (MediaLimits(max_video_seconds=1), "found 2.0 s, the limit is 1 s; cut the video"),
        (
            MediaLimits(max_decoded_pixels=1000),
            r"found 16 frames of 64 x 64 \(0 megapixels\), the limit is 0",
        ),
        (MediaLimits(max_file_bytes=100), "found 0 MiB, the limit is 0 MiB; make it smaller"),
    ],
)
def test_limits_of_files(
    encode_video: Encode, gray_steps: np.ndarray, limits: MediaLimits, message: str
) -> None:
    with pytest.raises(LimitExceeded, match=message):
        load_media("video", encode_video(gray_steps, "mp4"), limits)


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
)
def test_playlists_are_never_followed(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(BadMedia, match="'clip.mp4': found .*, expected MP4, MOV"):
        load_media("video", path)


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4")])
def test_mutations_give_a_clip_or_a_typed_error(
    encode_video: Encode, gray_steps: np.ndarray, suffix: str, codec: str, position: int, value: int
) -> None:
    data = bytearray(_cached(encode_video, gray_steps, suffix, codec))
    data[position % len(data)] = value
    try:
        assert load_media("video", bytes(data)).frames.ndim == 4
    except (BadMedia, LimitExceeded) as error:
        assert "0x" not in str(error)
        assert "\n" not in str(error)


_FILES: dict[str, bytes] = {}


def _cached(encode_video: Encode, frames: np.ndarray, suffix: str, codec: str) -> bytes:
    if suffix not in _FILES:
        _FILES[suffix] = encode_video(frames[:4, :32, :32], suffix, codec=codec)
    return _FILES[suffix]
