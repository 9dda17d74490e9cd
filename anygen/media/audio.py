"""Sounds: files and arrays to `Audio`, resampling, downmixing, and 16-bit WAV files."""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from anygen.errors import BadArgument, BadMedia, LimitExceeded

from .container import open_container, pick_stream, scan
from .limits import MediaLimits
from .source import decoding, is_file_source, label_of, open_source
from .types import Audio

logger = logging.getLogger(__name__)

PCM_SCALE = 32768.0
"""Full scale of 16-bit PCM; reading divides by it, so writing multiplies by it and a round trip is exact."""

_MAX_OVERSHOOT = 8.0
_LOSSLESS = frozenset({"flac", "alac"})
# Sizes from here on are what programs put that write into a pipe and cannot know better.
_WAV_UNKNOWN_SIZE = 0x7FFF0000
_MAX_WAV_CHUNKS = 64
_INT_SCALES = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31, np.dtype(np.int64): 2.0**63}


def read_audio(source: object, limits: MediaLimits, rate: float | None = None) -> Audio:
    """Read a sound at its own rate with all its channels.

    Args:
        source: A path or file content as `bytes` (any common container; of a video file, its sound track), an
            array (n,) or (channels, n) of floats in [-1, 1] or int16, or an `Audio`.
        limits: Enforced on the header, then on packets, then on decoded samples.
        rate: Samples a second of an array; must be None for anything else.

    Raises:
        BadMedia: not a sound, damaged, cut off, too short, or with values that make no sense.
        LimitExceeded: too long, too many channels or samples.
    """
    if isinstance(source, Audio):
        audio, label = source, "audio"
    elif isinstance(source, np.ndarray):
        label = "audio array"
        audio = _from_array(source, rate, label)
    elif is_file_source(source):
        label = label_of(source, "audio")
        audio = _from_file(source, label, limits)
    else:
        kind = type(source).__name__
        raise BadMedia(f"audio: found {kind}, expected a path, bytes, a numpy array or anygen.Audio")
    _check_shape(audio.samples.shape[0], audio.samples.shape[1], audio.sample_rate, limits, label)
    if audio.duration > limits.max_audio_seconds:
        most = limits.max_audio_seconds
        raise LimitExceeded(f"{label}: found {audio.duration:.1f} s, the limit is {most:g} s; cut the audio")
    if audio.duration < limits.min_audio_seconds:
        least = limits.min_audio_seconds * 1000
        found = f"{audio.duration * 1000:.3g} ms"
        raise BadMedia(f"{label}: found {found} of sound, expected at least {least:g} ms; use a longer sound")
    if np.ptp(audio.samples) == 0.0:
        logger.warning("%s is silent", label)
    return audio


def _check_shape(channels: int, samples: int, sample_rate: int, limits: MediaLimits, label: str) -> None:
    """Refuse odd rates and too many channels or samples. Raises BadMedia or LimitExceeded."""
    if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        expected = f"expected {limits.min_sample_rate} to {limits.max_sample_rate} Hz"
        raise BadMedia(f"{label}: found a sample rate of {sample_rate} Hz, {expected}; resample it")
    if channels > limits.max_audio_channels:
        found = f"{label}: found {channels} channels, the limit is {limits.max_audio_channels}"
        raise LimitExceeded(f"{found}; mix them down (an array is (channels, n))")
    if channels * samples > limits.max_audio_samples:
        found = f"{label}: found more than {limits.max_audio_samples} samples over all channels"
        raise LimitExceeded(f"{found}; cut the sound or lower its rate")


def _from_array(array: np.ndarray, rate: float | None, label: str) -> Audio:
    """An `Audio` of an array (n,) or (channels, n). Raises BadMedia."""
    if rate is None or rate != int(rate):
        raise BadMedia(
            f"{label}: found sample rate {rate}, expected a whole number of Hz; give sampling_rate"
        )
    if array.dtype == np.int16:
        array = array.astype(np.float32) / np.float32(PCM_SCALE)
    elif not np.issubdtype(array.dtype, np.floating):
        raise BadMedia(f"{label}: found {array.dtype}, expected floats in -1 to 1 or int16; convert it")
    samples = array[None] if array.ndim == 1 else array
    return Audio(samples.astype(np.float32), int(rate))


def _from_file(source: object, label: str, limits: MediaLimits) -> Audio:
    """Decode the first sound track of a file. Raises BadMedia or LimitExceeded."""
    with open_source(source, "audio", limits) as file:
        with open_container(file, label, "audio", limits) as container:
            stream = pick_stream(container, label, "audio")
            context = stream.codec_context
            _check_shape(context.channels, 0, context.sample_rate, limits, label)
            is_wav = container.format.name == "wav"
            if is_wav:
                _check_wav_size(file, label)
            timeline = scan(container, stream, label, "audio", limits.max_audio_seconds)
        with open_container(file, label, "audio", limits) as container:
            stream = pick_stream(container, label, "audio")
            blocks = list(_decode(container, stream, limits, label))
            sample_rate, codec = stream.codec_context.sample_rate, stream.codec_context.name
    if not blocks:
        raise BadMedia(f"{label}: found a sound track with no samples, expected a sound; export it again")
    samples = np.concatenate(blocks, axis=1)
    audio = Audio(_tame(samples, label), int(sample_rate))
    if not is_wav:
        _check_complete(audio.duration, float(timeline.span), codec in _LOSSLESS, label)
    return audio


def _check_complete(seconds: float, span: float, lossless: bool, label: str) -> None:
    """Raise BadMedia when less was decoded than the packets promised; lossy codecs may drop a little."""
    if seconds < (span - 0.02 if lossless else 0.98 * span - 0.3):
        part = f"found {seconds:.2f} of {span:.2f} s undamaged"
        raise BadMedia(f"{label}: {part}, expected a complete sound; export or download it again")


def _check_wav_size(file: BinaryIO, label: str) -> None:
    """Raise BadMedia when a WAV file holds less than its header says: FFmpeg plays what is there."""
    end = file.seek(0, os.SEEK_END)
    position = 12
    for _ in range(_MAX_WAV_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            if end - position - 8 < size < _WAV_UNKNOWN_SIZE:
                part = f"found {end - position - 8} of {size} bytes of samples"
                raise BadMedia(f"{label}: {part}, expected a complete audio; export or download it again")
            return
        position += 8 + size + size % 2


def _decode(container: Any, stream: Any, limits: MediaLimits, label: str) -> Iterator[np.ndarray]:
    """Yield float32 (channels, n) blocks; LimitExceeded as soon as there are too many samples."""
    layout: tuple[int, int] | None = None
    total = 0
    with decoding(label, "sound"):
        for frame in container.decode(stream):
            found = (frame.layout.nb_channels, frame.sample_rate)
            layout = layout or found
            if found != layout:
                raise BadMedia(
                    f"{label}: the sound changes its channels or rate midway, expected one; convert it"
                )
            total += frame.samples
            _check_shape(found[0], total, found[1], limits, label)
            if total > (limits.max_audio_seconds + 0.1) * found[1]:
                most = limits.max_audio_seconds
                raise LimitExceeded(
                    f"{label}: found over {most:g} s of sound, the limit is {most:g} s; cut the audio"
                )
            yield _to_float(frame, found[0])


def _to_float(frame: Any, channels: int) -> np.ndarray:
    """The samples of a PyAV audio frame as float32 (channels, n), full scale at 1."""
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, channels).T
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128.0) / 128.0
    scale = _INT_SCALES.get(array.dtype)
    return array.astype(np.float32) if scale is None else (array / scale).astype(np.float32)


def _tame(samples: np.ndarray, label: str) -> np.ndarray:
    """Clip the overshoot that lossy codecs leave, and say so. Raises BadMedia for NaN and absurd peaks."""
    peak = float(np.abs(samples).max())
    if not peak <= _MAX_OVERSHOOT:
        found = f"{label}: found NaN, infinity or samples beyond {_MAX_OVERSHOOT:g} times full scale"
        raise BadMedia(f"{found}, expected -1 to 1; normalise the sound first")
    if peak > 1.0:
        logger.warning("%s peaks at %.2f of full scale: clipped to 1", label, peak)
        np.clip(samples, -1.0, 1.0, out=samples)
    return samples


def resample(audio: Audio, sample_rate: int) -> Audio:
    """The same sound at another rate, by FFmpeg's polyphase resampler, each channel on its own.

    Args:
        audio: Any number of channels.
        sample_rate: Hz wanted.

    Returns:
        `round(n * sample_rate / audio.sample_rate)` samples (at least 1) for each channel, clipped to [-1,
        1].

    Raises:
        BadArgument: the rate is not a whole number above 0.
    """
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | np.integer) or sample_rate <= 0:
        raise BadArgument(f"sample_rate is {sample_rate!r}, expected a whole number of Hz above 0")
    if sample_rate == audio.sample_rate:
        return audio
    channels, count = audio.samples.shape
    wanted = max(1, round(count * sample_rate / audio.sample_rate))
    out = np.zeros((channels, wanted), np.float32)
    for row, channel in zip(out, audio.samples, strict=True):
        resampled = _resample_mono(channel, audio.sample_rate, int(sample_rate))[:wanted]
        row[: resampled.size] = resampled
    return Audio(np.clip(out, -1.0, 1.0), int(sample_rate))


def _resample_mono(channel: np.ndarray, old: int, new: int) -> np.ndarray:
    """float32 (n,) at `old` Hz to float32 (about n * new / old,) at `new` Hz."""
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channel[None]), format="fltp", layout="mono")
    frame.sample_rate = old
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=new)
    blocks = [block.to_ndarray()[0] for step in (frame, None) for block in resampler.resample(step)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def to_mono(audio: Audio) -> Audio:
    """The mean of all channels as one."""
    if audio.samples.shape[0] == 1:
        return audio
    return Audio(
        audio.samples.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32), audio.sample_rate
    )


def write_wav(audio: Audio, path: str | os.PathLike[str], tags: Mapping[str, str]) -> None:
    """Write a 16-bit PCM WAV file; tags go as one JSON object into the comment of its INFO list.

    The layout is RIFF (fmt, data, LIST INFO ICMT), as in Microsoft's "Multimedia Programming Interface and
    Data Specifications 1.0".
    """
    channels = audio.samples.shape[0]
    pcm = np.clip(np.rint(audio.samples.T * PCM_SCALE), -PCM_SCALE, PCM_SCALE - 1).astype("<i2").tobytes()
    rate = audio.sample_rate
    chunks = _chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16))
    chunks += _chunk(b"data", pcm)
    if tags:
        chunks += _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", json.dumps(dict(tags)).encode() + b"\0"))
    with open(path, "wb") as file:
        file.write(_chunk(b"RIFF", b"WAVE" + chunks))


def _chunk(name: bytes, data: bytes) -> bytes:
    """One RIFF chunk, padded to an even length."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
