"""Conversations: typed messages, and the chat dictionaries of `transformers` they come from and go to.

A conversation in dictionaries follows the any-to-any convention: `[{"role": "user", "content": [{"type":
"image", "image": "photo.png"}, {"type": "text", "text": "What is it?"}]}]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from anygen.errors import AnyGenError, BadArgument, BadText, LimitExceeded
from anygen.media import MediaLimits, load_media, modality_of
from anygen.modality import MEDIA_INPUTS, Modality

Role = Literal["system", "user", "assistant"]
"""Who speaks."""

MAX_TEXT_CHARACTERS = 32_768
"""Most characters of all texts of a conversation, checked before a tokenizer spends seconds on millions."""

MAX_MEDIA_PARTS = 32
"""Most media of a conversation."""

_RATE_KEYS: dict[Modality, str] = {
    Modality.AUDIO: "sampling_rate",
    Modality.VIDEO: "fps",
    Modality.IMU: "sampling_rate",
}
_REMOTE_KEYS = frozenset({"url", "base64", "image_url", "audio_url", "video_url", "input_audio"})


@dataclass(frozen=True)
class TextPart:
    """A piece of text. Raises BadText when it is not valid text."""

    text: str
    """What is said."""

    def __post_init__(self) -> None:
        _check_text(self.text)


@dataclass(frozen=True)
class MediaPart:
    """One media item. Raises BadArgument when `media` is not of `modality`."""

    modality: Modality
    """Anything but TEXT."""
    media: Any
    """A `PIL.Image.Image`, `Audio`, `Video`, `Depth`, `Thermal` or `IMU`."""

    def __post_init__(self) -> None:
        found = modality_of(self.media)
        if found != self.modality:
            raise BadArgument(
                f"found {found} media for a part of modality {self.modality!s}; name it by its kind"
            )
        object.__setattr__(self, "modality", found)


Part: TypeAlias = TextPart | MediaPart
"""What a message is made of."""


@dataclass(frozen=True)
class Message:
    """One turn. Raises BadArgument for an unknown role or other things than parts."""

    role: Role
    """Who speaks."""
    parts: tuple[Part, ...]
    """What is said and shown, in order."""

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise BadArgument(f"found role {_short(self.role)}, expected one of {', '.join(get_args(Role))}")
        if not isinstance(self.parts, tuple) or not all(
            isinstance(part, TextPart | MediaPart) for part in self.parts
        ):
            raise BadArgument(
                "message parts are not a tuple of TextPart and MediaPart; build them or use dictionaries"
            )

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


def is_batch(value: object) -> bool:
    """Whether `value` is a list of conversations rather than one.

    A list of strings, or of lists, is a batch; a list of messages is one conversation.

    Raises:
        BadArgument: a list with both.
    """
    if not isinstance(value, list | tuple) or not value:
        return False
    conversations = [isinstance(item, str | list | tuple) for item in value]
    if any(conversations) and not all(conversations):
        raise BadArgument(
            "found conversations and messages in one list, expected either; wrap each conversation"
        )
    return conversations[0]


def parse_conversation(value: object, limits: MediaLimits | None = None) -> list[Message]:
    """Read and check one conversation, and load its media.

    Args:
        value: A text (one user turn), a `Message`, or a list of `Message` and chat dictionaries. The content
            of a dictionary is a text or a list of parts: `{"type": "text", "text": ...}`, or for each media
            modality, say image, `{"type": "image", "image": path, array, PIL image or media object}` or
            `{"type": "image", "path": ...}`. An audio array needs `"sampling_rate"`, a video array `"fps"`;
            for IMU `"sampling_rate"` is welcome.
        limits: What the media may be at most.

    Returns:
        The messages with every medium in memory.

    Raises:
        BadArgument: unknown roles, types, keys, or URLs.
        BadText: nothing said or shown, too much text, or text that is not valid Unicode.
        BadMedia: see `load_media`.
        LimitExceeded: see `load_media`; also for too many media.
    """
    limits = limits or MediaLimits()
    if isinstance(value, str):
        value = [Message("user", (TextPart(value),))]
    if isinstance(value, Message):
        value = [value]
    if not isinstance(value, list | tuple):
        found = type(value).__name__
        raise BadArgument(
            f"conversation is {found}, expected a text or a list of messages; wrap one message in a list"
        )
    if not value:
        raise BadText("conversation is empty, expected at least one user message")
    _check_amount(value)
    messages = [
        _parse_message(item, f"message {number}", limits) for number, item in enumerate(value, start=1)
    ]
    _check_messages(messages)
    return messages


def _check_amount(value: Sequence[object]) -> None:
    """Raise before any media is loaded when there are too many media or too much text."""
    characters = media = 0
    for item in value:
        content = item.get("content") if isinstance(item, Mapping) else getattr(item, "parts", None)
        for part in content if isinstance(content, list | tuple) else (content,):
            text = part.get("text") if isinstance(part, Mapping) else getattr(part, "text", part)
            if isinstance(text, str):
                characters += len(text)
            else:
                media += 1
    if characters > MAX_TEXT_CHARACTERS:
        raise BadText(
            f"conversation has {characters} characters, the limit is {MAX_TEXT_CHARACTERS}; shorten it"
        )
    if media > MAX_MEDIA_PARTS:
        raise LimitExceeded(f"conversation has {media} media, the limit is {MAX_MEDIA_PARTS}; leave some out")


def _check_messages(messages: Sequence[Message]) -> None:
    """Raise for turns that say and show nothing, and for system messages in the middle."""
    for number, message in enumerate(messages, start=1):
        if not message.text.strip() and not any(isinstance(part, MediaPart) for part in message.parts):
            raise BadText(f"message {number} is empty, expected some text or media; write something")
        if message.role == "system" and number > 1:
            raise BadArgument(f"message {number} has role system, expected it first only; move it to the top")
    if all(message.role == "system" for message in messages):
        raise BadText("conversation has only a system message, expected at least one user message")


def _parse_message(item: object, where: str, limits: MediaLimits) -> Message:
    """One message from a `Message` or a dictionary. Raises as `parse_conversation`."""
    if isinstance(item, Message):
        return Message(item.role, _parse_parts(item.parts, where, limits))
    if not isinstance(item, Mapping):
        raise BadArgument(f"{where} is {type(item).__name__}, expected a dictionary with role and content")
    _check_keys(item, ("role", "content"), where)
    for key in ("role", "content"):
        if item.get(key) is None:
            raise BadArgument(f"{where} has no {key}, expected role and content; add it")
    content = item["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list | tuple):
        found = type(content).__name__
        raise BadArgument(
            f"{where}: content is {found}, expected a text or a list of parts; wrap one part in a list"
        )
    with _located(where):
        return Message(item["role"], _parse_parts(content, where, limits))


def _parse_parts(parts: Iterable[object], where: str, limits: MediaLimits) -> tuple[Part, ...]:
    """All parts of a message. Raises as `parse_conversation`."""
    return tuple(
        _parse_part(part, f"{where}, part {number}", limits) for number, part in enumerate(parts, start=1)
    )


def _parse_part(part: object, where: str, limits: MediaLimits) -> Part:
    """One part from a dictionary or a part object. Raises as `parse_conversation`."""
    if isinstance(part, TextPart):
        return part
    if isinstance(part, MediaPart):
        with _located(where):
            return MediaPart(part.modality, load_media(part.modality, part.media, limits))
    if not isinstance(part, Mapping):
        raise BadArgument(
            f"{where} is {type(part).__name__}, expected a dictionary with type, such as text or image"
        )
    given = {key: value for key, value in part.items() if value is not None}
    remote = sorted(str(key) for key in given if key in _REMOTE_KEYS)
    kind = given.get("type")
    if remote or kind in _REMOTE_KEYS:
        named = remote[0] if remote else kind
        raise BadArgument(f"{where} has {named}, which is never fetched; download the file and give its path")
    if kind == Modality.TEXT:
        _check_keys(given, ("type", "text"), where)
        with _located(where):
            return TextPart(given.get("text"))  # type: ignore[arg-type]
    if kind not in MEDIA_INPUTS:
        expected = ", ".join(Modality)
        raise BadArgument(f"{where} has type {_short(kind)}, expected one of {expected}")
    return _parse_media(Modality(kind), given, where, limits)


def _parse_media(modality: Modality, given: Mapping[str, Any], where: str, limits: MediaLimits) -> MediaPart:
    """A media part from a dictionary without None values. Raises as `parse_conversation`."""
    rate_key = _RATE_KEYS.get(modality)
    _check_keys(given, ("type", str(modality), "path", *([rate_key] if rate_key else [])), where)
    sources = [given[key] for key in (str(modality), "path") if key in given]
    if len(sources) != 1:
        raise BadArgument(f"{where} has {len(sources)} sources, expected one of the keys {modality} and path")
    if "path" in given and not isinstance(sources[0], str | os.PathLike):
        raise BadArgument(
            f"{where}: path is {type(sources[0]).__name__}, expected a path; use the key {modality}"
        )
    with _located(where):
        return MediaPart(modality, load_media(modality, sources[0], limits, rate=given.get(rate_key or "")))


def _check_keys(given: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    """Raise BadArgument, naming what is allowed, when there are other keys."""
    unknown = [key for key in given if key not in allowed]
    if unknown:
        raise BadArgument(f"{where} has the key {_short(unknown[0])}, expected only {', '.join(allowed)}")


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put the place in the conversation in front of an error's message, keeping its type."""
    try:
        yield
    except AnyGenError as error:
        if str(error).startswith("message "):
            raise
        raise type(error)(f"{where}: {error}") from None


def _check_text(text: object) -> None:
    """Raise BadText for anything but text that every tokenizer and file can hold."""
    if not isinstance(text, str):
        raise BadText(f"text is {type(text).__name__}, expected str")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise BadText(f"text has {len(text)} characters, the limit is {MAX_TEXT_CHARACTERS}; shorten it")
    if "\0" in text:
        raise BadText("text has a NUL character, expected readable text; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadText(
            "text has half a surrogate pair, expected valid Unicode; decode it as UTF-8 again"
        ) from None


def _short(value: object) -> str:
    """A value for a message: text as it is, anything else by its type, so that nothing leaks."""
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


_TO_VALUES: dict[Modality, Callable[[Any], dict[str, Any]]] = {
    Modality.IMAGE: lambda media: {"image": media},
    Modality.AUDIO: lambda media: {"audio": media.samples, "sampling_rate": media.sample_rate},
    Modality.VIDEO: lambda media: {"video": media.frames, "fps": media.fps},
    Modality.DEPTH: lambda media: {"depth": media.meters},
    Modality.THERMAL: lambda media: {"thermal": media.values},
    Modality.IMU: lambda media: {"imu": media.samples, "sampling_rate": media.sample_rate},
}


def to_dicts(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as chat dictionaries that `parse_conversation` reads back: media as PIL images and arrays.

    Args:
        messages: From `parse_conversation`, or a reply's.

    Returns:
        One `{"role": ..., "content": [part, ...]}` for each message.
    """
    return [
        {"role": message.role, "content": [_to_dict(part) for part in message.parts]} for message in messages
    ]


def _to_dict(part: Part) -> dict[str, Any]:
    """One part as a chat dictionary."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": str(part.modality), **_TO_VALUES[part.modality](part.media)}
