"""A chat with all its branches and media as one zip file, and back, whoever wrote it.

`chat.json` has the turns, `media/ID.SUFFIX` the files. Nothing is unpacked to a path that the file names.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anygen.errors import AnyGenError, BadMedia, LimitExceeded
from anygen.modality import MEDIA_INPUTS

from .engine.types import Part
from .records import MOST_TITLE, ORIGINS, ROLES, STATES, Turn

FORMAT, VERSION = "anygen-chat", 1
CHAT = "chat.json"
MOST_BYTES = 512 * 2**20
"""Unpacked size of all files."""
MOST_JSON = 8 * 2**20
"""Unpacked size of `chat.json`."""
MOST_FILES = 1000
MOST_TURNS = 5000
MOST_PARTS = 200
MOST_TEXT = 32_768
MOST_SETTINGS = 64 * 1024
"""Characters of one settings object as JSON."""

_NAME = re.compile(rf"media/(({'|'.join(MEDIA_INPUTS)})-[0-9a-f]{{20}})\.(png|wav|mp4|npy)")
_ID = re.compile(r"[0-9a-f]{20}")
_ADVICE = "choose a file that this app saved"


@dataclass(frozen=True, kw_only=True)
class SavedMedium:
    """One medium of a saved chat."""

    modality: str
    """What it is."""
    content: bytes
    """Its file."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What made it."""
    origin: str = "given"
    """made or given."""
    suffix: str = ""
    """Of its file."""


@dataclass(frozen=True, kw_only=True)
class SavedChat:
    """A chat as it was read from a file: checked, with the ids of whoever saved it."""

    title: str
    """Of the chat."""
    head: str | None
    """Last turn of the branch that was shown."""
    turns: list[Turn]
    """Parents before children."""
    media: dict[str, SavedMedium]
    """By id."""


def pack(chat: SavedChat) -> bytes:
    """Write a chat.

    Args:
        chat: what to save.

    Returns:
        A zip file.
    """
    buffer = io.BytesIO()
    media = {name: {"settings": m.settings, "origin": m.origin} for name, m in chat.media.items()}
    record = {
        "format": FORMAT,
        "version": VERSION,
        "title": chat.title,
        "head": chat.head,
        "turns": [asdict(turn) for turn in chat.turns],
        "media": media,
    }
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CHAT, json.dumps(record, indent=1))
        for name, medium in chat.media.items():
            # pictures, sounds and films are compressed as they are
            archive.writestr(f"media/{name}{medium.suffix}", medium.content, zipfile.ZIP_STORED)
    return buffer.getvalue()


def unpack(data: bytes) -> SavedChat:
    """Read a chat that a stranger may have written; its media are not decoded here.

    Args:
        data: content of the file.

    Returns:
        The chat.

    Raises:
        BadMedia: it is no saved chat.
        LimitExceeded: it is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _files(archive)
            record = json.loads(files.pop(CHAT).decode("utf-8"), parse_constant=_refuse)
        return _chat(record, files)
    except AnyGenError:
        raise
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, RecursionError, OSError, EOFError,
            AttributeError, NotImplementedError, RuntimeError):  # fmt: skip
        raise BadMedia(f"the file is no saved chat, or it is damaged; {_ADVICE}") from None


def _refuse(name: str) -> Any:
    """Stands where JSON would let NaN and infinity in."""
    raise ValueError(name)


def _files(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """All files, by names that are as they must be."""
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise LimitExceeded(f"the saved chat has {len(entries)} files, expected at most {MOST_FILES}")
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise LimitExceeded(
            f"the saved chat is larger than {MOST_BYTES >> 20} MiB unpacked; save a smaller one"
        )
    files: dict[str, bytes] = {}
    for entry in entries:
        if entry.filename in files or (entry.filename != CHAT and not _NAME.fullmatch(entry.filename)):
            raise BadMedia(f"the saved chat holds a file that does not belong there; {_ADVICE}")
        with archive.open(entry) as file:
            most = MOST_JSON if entry.filename == CHAT else MOST_BYTES
            # a header may promise less than what comes
            content = file.read(min(entry.file_size, most) + 1)
        if len(content) > entry.file_size or len(content) > most:
            raise LimitExceeded(f"a file of the saved chat is larger than it may be; {_ADVICE}")
        files[entry.filename] = content
    return files


def _chat(record: Mapping[str, Any], files: Mapping[str, bytes]) -> SavedChat:
    if record["format"] != FORMAT or record["version"] != VERSION:
        found = f"found version {str(record['version'])[:10]} of a saved chat, expected {VERSION}"
        raise BadMedia(f"{found}; save it again with this release")
    described = record["media"]
    media = {}
    for name, content in files.items():
        match = _NAME.fullmatch(name)
        if match is None or match[1] not in described:
            raise BadMedia(f"the saved chat holds a medium that it does not describe; {_ADVICE}")
        about = described[match[1]]
        media[match[1]] = SavedMedium(
            modality=match[2],
            content=content,
            settings=_settings(about["settings"]),
            origin=_word(about["origin"], ORIGINS),
            suffix=f".{match[3]}",
        )
    turns = _turns(record["turns"], media)
    head = record["head"]
    if head is not None and head not in {turn.id for turn in turns}:
        raise ValueError("head")
    return SavedChat(title=_text(record["title"], MOST_TITLE), head=head, turns=turns, media=media)


def _turns(records: list[Mapping[str, Any]], media: Mapping[str, SavedMedium]) -> list[Turn]:
    if len(records) > MOST_TURNS:
        raise LimitExceeded(f"the saved chat has {len(records)} turns, expected at most {MOST_TURNS}")
    turns: dict[str, Turn] = {}
    for item in records:
        name, parent = item["id"], item["parent"]
        if not _ID.fullmatch(name) or name in turns or (parent is not None and parent not in turns):
            raise ValueError("turn")
        state = _word(item["state"], STATES)
        turns[name] = Turn(
            id=name,
            parent=parent,
            role=_word(item["role"], ROLES),
            parts=_parts(item["parts"], media),
            settings=_settings(item["settings"]),
            state="stopped" if state == "running" else state,
            created=float(item["created"]),
        )
    return list(turns.values())


def _parts(records: Iterable[Mapping[str, Any]], media: Mapping[str, SavedMedium]) -> list[Part]:
    """Parts with the keys that the app writes; those whose medium was deleted before saving are left out."""
    parts: list[Part] = []
    for item in records:
        if len(parts) >= MOST_PARTS:
            raise LimitExceeded(f"a turn of the saved chat has more than {MOST_PARTS} parts")
        if item["type"] == "text":
            parts.append({"type": "text", "text": _text(item["text"], MOST_TEXT)})
        elif item["media_id"] in media:
            medium = media[item["media_id"]]
            part = {"type": medium.modality, "media_id": item["media_id"], "settings": medium.settings}
            parts.append(part)
    return parts


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("text")
    value.encode("utf-8")
    return value[:most]


def _word(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError("word")
    return str(value)


def _settings(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(json.dumps(value)) > MOST_SETTINGS:
        raise ValueError("settings")
    return value
