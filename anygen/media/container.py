"""FFmpeg containers from strangers: opened with allow-lists, and measured before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, NoReturn

from anygen.errors import BadMedia, LimitExceeded

from .limits import MediaLimits
from .source import decoding, describe_bytes

_DEMUXERS = (
    *("mov", "matroska", "avi", "mpegts", "flv"),
    *("ogg", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac"),
)
_DECODERS = (
    *("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "libvpx", "libvpx-vp9"),
    *("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "theora", "prores", "ffv1", "flv"),
    *("aac", "mp3", "mp3float", "flac", "vorbis", "opus", "libopus", "alac", "ac3", "eac3"),
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
    *("adpcm_ms", "adpcm_ima_wav"),
)
_EXPECTED = {
    "audio": "WAV, FLAC, MP3, OGG, M4A or another common audio file",
    "video": "MP4, MOV, WebM, MKV, AVI or another common video file",
}
# Containers that state their length; the others estimate it from the bit rate, which may be far off.
_STATE_LENGTH = frozenset({"mov", "matroska", "avi", "wav", "w64", "aiff", "caf", "flac"})
# By default FFmpeg's FLAC decoder plays damaged blocks as noise.
_ERROR_CHECKS = {"flac": {"err_detect": "crccheck+explode"}}
_MAX_STREAMS = 16
_MAX_PACKETS = 2_000_000


@contextmanager
def open_container(file: BinaryIO, label: str, kind: str, limits: MediaLimits) -> Iterator[Any]:
    """Open an audio or video file with PyAV so that it can reach nothing but its own bytes.

    The content decides the container, among allow-listed ones without playlists; only allow-listed decoders
    run, and none allocates a frame above the pixel limit, not even while the streams are probed.

    Yields:
        The `av.container.InputContainer`.

    Raises:
        BadMedia: no known container.
    """
    import av

    options = {
        "format_whitelist": ",".join(_DEMUXERS),
        "codec_whitelist": ",".join(_DECODERS),
        "protocol_whitelist": "none",
        "max_streams": str(_MAX_STREAMS),
        "max_pixels": str(limits.max_frame_pixels),
    }
    file.seek(0)
    try:
        container = av.open(file, options=options, metadata_errors="replace", io_open=_refuse_to_open)
    except Exception:
        found = f"{label}: found {describe_bytes(file)} or a file cut short"
        raise BadMedia(f"{found}, expected {_EXPECTED[kind]}; convert or export it again") from None
    with container:
        for stream in container.streams:
            if stream.codec_context is not None:
                checks = _ERROR_CHECKS.get(stream.codec_context.name, {})
                stream.codec_context.options = {"max_pixels": options["max_pixels"], **checks}
        yield container


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """Stands where FFmpeg would open a second file that the first one names."""
    raise PermissionError


def pick_stream(container: Any, label: str, kind: str) -> Any:
    """The first stream of a kind, cover pictures apart. Raises BadMedia when there is none we decode."""
    from av.stream import Disposition

    streams = [
        stream
        for stream in (container.streams.video if kind == "video" else container.streams.audio)
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        other = "audio" if kind == "video" else "video"
        raise BadMedia(f"{label}: found no {kind} track, expected {_EXPECTED[kind]}; is it {other} only?")
    context = streams[0].codec_context
    if context is None or context.name not in _DECODERS:
        codec = "an unknown codec" if context is None else f"the codec {context.name}"
        raise BadMedia(
            f"{label}: found {codec}, expected a common {kind} codec such as H.264 or AAC; convert it"
        )
    return streams[0]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What the packets of one stream say about time, in seconds."""

    times: tuple[Fraction, ...]
    """Presentation times, sorted."""
    end: Fraction
    """Where the last packet ends."""

    @property
    def span(self) -> Fraction:
        """Seconds from the first start to the last end."""
        return self.end - self.times[0]


def scan(container: Any, stream: Any, label: str, kind: str, max_seconds: float) -> Timeline:
    """Walk through all packets without decoding: how long, when the frames are, whether it is all there.

    Args:
        container: From `open_container`; it is at its end afterwards, so open it anew to decode.
        stream: The stream to measure.
        label: How messages name the source.
        kind: "audio" or "video".
        max_seconds: The longest that is allowed; the walk stops there.

    Raises:
        BadMedia: empty, damaged or cut off.
        LimitExceeded: longer than `max_seconds`.
    """
    stated = _stated_seconds(container)
    if stated is not None:
        _check_seconds(stated, max_seconds, label, kind)
    times: list[Fraction] = []
    end = all_end = Fraction(0)
    packets = 0
    with decoding(label, kind):
        for packet in container.demux():
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.is_corrupt and container.format.name != "wav":
                raise EOFError
            packets += 1
            if stamp is None or packet.size == 0 or packet.is_discard:
                continue
            start = stamp * packet.time_base
            stop = start + (packet.duration or 0) * packet.time_base
            all_end = max(all_end, stop)
            if packet.stream_index == stream.index:
                times.append(start)
                end = max(end, stop)
                _check_seconds(stop - times[0], max_seconds, label, kind)
            if packets > _MAX_PACKETS:
                raise LimitExceeded(f"{label}: found over {_MAX_PACKETS} packets; make the {kind} shorter")
    if not times:
        raise BadMedia(f"{label}: found nothing in its {kind} track, expected {kind}; export it again")
    _check_complete(container, stated, all_end, label, kind)
    times.sort()
    return Timeline(times=tuple(times), end=end)


def _stated_seconds(container: Any) -> Fraction | None:
    """The length that the header states, or None when the format does not state one."""
    if container.duration is None or not _STATE_LENGTH & set(container.format.name.split(",")):
        return None
    return Fraction(container.duration, 1_000_000)


def _check_seconds(seconds: Fraction, most: float, label: str, kind: str) -> None:
    """Raise LimitExceeded when `seconds` is above `most` by more than rounding."""
    if seconds > most + 0.05:
        raise LimitExceeded(f"{label}: found {float(seconds):.1f} s, the limit is {most:g} s; cut the {kind}")


def _check_complete(container: Any, stated: Fraction | None, end: Fraction, label: str, kind: str) -> None:
    """Raise BadMedia when the packets end well before the header says they do."""
    if stated is None:
        return
    found = end - Fraction(container.start_time or 0, 1_000_000)
    if found < stated - max(Fraction(1, 10), stated / 50):
        part = f"found {float(found):.2f} of {float(stated):.2f} s"
        raise BadMedia(f"{label}: {part}, expected a complete {kind}; export or download it again")
