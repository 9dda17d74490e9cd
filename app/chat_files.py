"""Chats on their way out of the store: as a request's conversation, and as a file to load elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from anygen.errors import BadArgument

from .engine.types import Part
from .engine.workspace import Workspace
from .records import Chat, MediaRecord, Turn
from .saved_chats import SavedChat, SavedMedium, pack, unpack


def conversation(
    workspace: Workspace, session: str, turns: Iterable[Turn], *, until: str | None = None
) -> list[dict[str, Any]]:
    """Write a branch as `GenerateRequest.conversation`.

    Empty turns, questions that got no answer and media that were deleted are left out.

    Args:
        workspace: where the media are.
        session: whose.
        turns: the branch.
        until: last turn that counts; None takes all.

    Returns:
        Messages.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        content = [_bare(part) for part in turn.parts if _is_there(workspace, session, part)]
        if content:
            if messages and messages[-1]["role"] == turn.role == "user":
                messages.pop()
            messages.append({"role": turn.role, "content": content})
        if turn.id == until:
            break
    return messages


def _is_there(workspace: Workspace, session: str, part: Part) -> bool:
    if part["type"] == "text":
        return bool(part["text"].strip())
    try:
        workspace.find(session, part["media_id"])
    except BadArgument:
        return False
    return True


def _bare(part: Part) -> Part:
    """A part as a request has it."""
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    return {"type": part["type"], "media_id": part["media_id"]}


def save_chat(
    workspace: Workspace, session: str, chat: Chat, turns: list[Turn], records: Iterable[MediaRecord]
) -> bytes:
    """Write a chat with all its branches and media as one zip file.

    Args:
        workspace: where its media are.
        session: whose.
        chat: which.
        turns: of all branches.
        records: of the session's media.

    Returns:
        The file.
    """
    known = {record.id: record for record in records}
    media: dict[str, SavedMedium] = {}
    for part in (part for turn in turns for part in turn.parts):
        if part["type"] == "text" or part["media_id"] in media or not _is_there(workspace, session, part):
            continue
        stored = workspace.find(session, part["media_id"])
        record = known.get(stored.id)
        media[stored.id] = SavedMedium(
            modality=stored.modality,
            content=stored.path.read_bytes(),
            settings=record.settings if record else part.get("settings", {}),
            origin=record.origin if record else "given",
            suffix=stored.path.suffix,
        )
    return pack(SavedChat(title=chat.title, head=chat.head, turns=turns, media=media))


def read_chat(workspace: Workspace, session: str, data: bytes) -> SavedChat:
    """Read what `save_chat` wrote; its media are in the workspace then, or nothing of it is.

    Args:
        workspace: where its media go.
        session: whose it becomes.
        data: content of the file.

    Returns:
        The chat with new ids.

    Raises:
        BadMedia: it is no saved chat, or a medium in it cannot be read.
        LimitExceeded: it is too large.
    """
    saved = unpack(data)
    names: dict[str, str] = {}
    try:
        for name, medium in saved.media.items():
            names[name] = workspace.take_over(session, medium.content, medium.modality).id
    except BaseException:
        for media_id in names.values():
            workspace.delete(session, media_id)
        raise
    ids = {turn.id: secrets.token_hex(10) for turn in saved.turns}
    return SavedChat(
        title=saved.title,
        head=None if saved.head is None else ids[saved.head],
        turns=[_renamed(turn, ids, names) for turn in saved.turns],
        media={names[name]: medium for name, medium in saved.media.items()},
    )


def _renamed(turn: Turn, ids: dict[str, str], names: dict[str, str]) -> Turn:
    parts = [p if p["type"] == "text" else {**p, "media_id": names[p["media_id"]]} for p in turn.parts]
    parent = None if turn.parent is None else ids[turn.parent]
    return replace(turn, id=ids[turn.id], parent=parent, parts=parts)
