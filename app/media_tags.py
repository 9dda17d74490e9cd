"""What shaped an output, inside its own file: model, seed, options, inputs; the prompt only on request.

One JSON object under one key: a text entry of a PNG, the comment of a WAV or MP4 (`anygen.media.save_media`
lays them out). Pixels and samples are not touched. What is read back may come from a stranger: sizes, types
and ranges are checked, and nothing in it is ever run or opened.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anygen.config import from_json, to_json
from anygen.errors import AnyGenError, BadArgument, BadMedia
from anygen.media import MediaLimits, load_tags
from anygen.modality import GENERATED, Modality
from anygen.pipelines.options import LARGEST_SEED, MEDIA_OPTIONS, TEXT_OPTIONS, Range

KEY = "anygen"
"""Name of the entry."""

FORMAT = 1
"""Version of what the entry holds."""

MAX_BYTES = 64 * 1024
"""Longest entry that is written or read."""

MAX_PROMPT = 8_000
"""Characters of a prompt."""

MAX_INPUTS = 32
"""Inputs that are named."""

_PNG, _RIFF, _WAVE, _FTYP = b"\x89PNG\r\n\x1a\n", b"RIFF", b"WAVE", b"ftyp"
_LIMITS = MediaLimits()


@dataclass(frozen=True, kw_only=True)
class InputTag:
    """One thing that was attached; its content and its file name are not kept."""

    modality: Modality
    """What it was."""
    weight: float = 1.0
    """Its weight in a blend; 1 elsewhere."""
    text: str | None = None
    """The words of a text in a blend, when the user wants the prompt in the file."""


@dataclass(frozen=True, kw_only=True)
class MediaTags:
    """How one image, sound or clip was made. Raises BadArgument for values that no request can have."""

    model: str
    """Name of the model."""
    modality: Modality
    """What the file is."""
    seed: int
    """Seed of the request."""
    format: int = FORMAT
    """Version of this record."""
    variation: int = 0
    """Which of several answers to the same request, from 0."""
    outputs: tuple[Modality, ...] = ()
    """Modalities that the answer had to have; empty when the model chose."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of this medium's decoder, as in `image_options`."""
    text_options: dict[str, Any] = field(default_factory=dict)
    """Options of the text: temperature, top_p, do_sample, max_new_tokens."""
    inputs: tuple[InputTag, ...] = ()
    """What was attached or blended."""
    blended: bool = False
    """Whether it was made from a blend of its inputs and not by the language model."""
    prompt: str | None = None
    """What was asked; None unless the user wants it in the file."""

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadArgument(f"format is {self.format}, expected {FORMAT}; the file is of another release")
        if self.modality not in GENERATED:
            raise BadArgument(f"modality is {self.modality}, expected one of {', '.join(GENERATED)}")
        _bounded("model", len(self.model), 200)
        _bounded("prompt", len(self.prompt or ""), MAX_PROMPT)
        _bounded("inputs", len(self.inputs), MAX_INPUTS)
        _bounded("outputs", len(self.outputs), len(Modality))
        Range(kind=int, low=0, high=LARGEST_SEED).check("seed", self.seed)
        Range(kind=int, low=0, high=999).check("variation", self.variation)
        _check_options(self.options, MEDIA_OPTIONS[self.modality])
        _check_options(self.text_options, TEXT_OPTIONS)
        for item in self.inputs:
            Range(kind=float, low=-10, high=10).check("weight", item.weight)
            _bounded("text", len(item.text or ""), MAX_PROMPT)

    def without_prompt(self) -> MediaTags:
        """The same without anything that the user wrote."""
        return replace(self, prompt=None, inputs=tuple(replace(item, text=None) for item in self.inputs))

    def metadata(self) -> dict[str, str]:
        """The entry, for the `metadata` of `save_media`.

        Raises:
            BadArgument: It would be longer than `MAX_BYTES`.
        """
        text = json.dumps(to_json(self), ensure_ascii=True, separators=(",", ":"))
        _bounded("tags", len(text), MAX_BYTES)
        return {KEY: text}


def _bounded(name: str, found: int, most: int) -> None:
    """Raise BadArgument when something is longer than allowed."""
    if found > most:
        raise BadArgument(f"{name} has a length of {found}, expected at most {most}; shorten it")


def _check_options(given: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Raise BadArgument for options that do not exist or are out of range."""
    for name, value in given.items():
        if name not in ranges:
            raise BadArgument(f"found the option {name[:40]!r}, expected one of {', '.join(ranges)}")
        ranges[name].check(name, value)


def read_tags(source: str | os.PathLike[str] | bytes) -> MediaTags | None:
    """Read how a file was made.

    Args:
        source: The path or the content of any file.

    Returns:
        The tags; None for a file without any, whatever it is.

    Raises:
        BadMedia: The file is damaged, or its tags are not what this program writes.
        LimitExceeded: The file is too large.
    """
    if _kind(source) is None:
        return None
    text = load_tags(source, _LIMITS).get(KEY)
    if text is None:
        return None
    if len(text) > MAX_BYTES:
        raise BadMedia(f"settings in the file: found {len(text)} characters, expected at most {MAX_BYTES}")
    try:
        return from_json(MediaTags, json.loads(text, parse_constant=_refuse), where="settings in the file")
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, AnyGenError) else "settings in the file: found broken JSON"
        raise BadMedia(f"{reason}; use a file as anygen wrote it") from None


def _refuse(name: str) -> Any:
    """Stands where JSON would let NaN and infinity in."""
    raise ValueError(name)


def embed_tags(content: bytes, tags: MediaTags) -> bytes:
    """Put tags into a PNG, WAV or MP4 file that is made already; streams are copied, not encoded again.

    Args:
        content: A file that `save_media` wrote.
        tags: Replace those that are there; other entries stay.

    Returns:
        The new file.

    Raises:
        BadMedia: Not a PNG, WAV or MP4 file, or damaged.
        BadArgument: The tags are too long.
    """
    entry = tags.metadata()[KEY]
    embed = _EMBEDDERS.get(_kind(content) or "")
    if embed is None:
        raise BadMedia("file: found another type, expected PNG, WAV or MP4; save it as one of these")
    try:
        return embed(content, entry)
    except (struct.error, ValueError, OSError) as error:
        if isinstance(error, AnyGenError):
            raise
        raise BadMedia("file: found damaged data, expected PNG, WAV or MP4; make it again") from None


def _kind(source: str | os.PathLike[str] | bytes) -> str | None:
    """One of png, wav and mp4 by the first bytes, None for anything else."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        try:
            with open(source, "rb") as file:
                head = file.read(12)
        except (OSError, ValueError):
            raise BadMedia("file: cannot be opened, expected a media file; choose it again") from None
    if head.startswith(_PNG):
        return "png"
    if head[:4] == _RIFF and head[8:12] == _WAVE:
        return "wav"
    return "mp4" if head[4:8] == _FTYP else None


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, data) of every chunk; ValueError when one is cut off."""
    position = len(_PNG)
    while position < len(content):
        size, name = struct.unpack_from(">I4s", content, position)
        end = position + 12 + size
        if end > len(content):
            raise ValueError
        yield name, content[position + 8 : end - 4]
        position = end


def _embed_png(content: bytes, entry: str) -> bytes:
    """An iTXt chunk ahead of the pixels, as in the PNG specification, 11.3.3.4."""
    head = KEY.encode() + b"\0"
    ours = head + b"\0\0\0\0" + entry.encode()
    parts, placed = [_PNG], False
    for name, data in _png_chunks(content):
        if name in (b"iTXt", b"tEXt", b"zTXt") and data.startswith(head):
            continue
        if name == b"IDAT" and not placed:
            parts.append(_png_chunk(b"iTXt", ours))
            placed = True
        parts.append(_png_chunk(name, data))
    return b"".join(parts)


def _png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _embed_wav(content: bytes, entry: str) -> bytes:
    """The comment of a LIST INFO chunk behind the samples; an older one goes."""
    comment = json.dumps({**load_tags(content, _LIMITS), KEY: entry}).encode() + b"\0"
    parts, position = [_WAVE], 12
    while position < len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        end = position + 8 + size
        if end > len(content):
            raise ValueError
        if not (name == b"LIST" and content[position + 8 : position + 12] == b"INFO"):
            parts.append(_riff_chunk(name, content[position + 8 : end]))
        position = end + size % 2
    parts.append(_riff_chunk(b"LIST", b"INFO" + _riff_chunk(b"ICMT", comment)))
    return _riff_chunk(_RIFF, b"".join(parts))


def _riff_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk with its length, padded to an even one."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _embed_mp4(content: bytes, entry: str) -> bytes:
    """The comment of the container; packets are copied."""
    import io

    import av

    tags = {**load_tags(content, _LIMITS), KEY: entry}
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tagged.mp4"
        with (
            av.open(io.BytesIO(content), "r", format="mp4") as old,
            av.open(str(path), "w", format="mp4", container_options=options) as new,
        ):
            new.metadata["comment"] = json.dumps(tags)
            streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
            for packet in old.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    new.mux(packet)
        return path.read_bytes()


_EMBEDDERS: dict[str, Callable[[bytes, str], bytes]] = {
    "png": _embed_png,
    "wav": _embed_wav,
    "mp4": _embed_mp4,
}
