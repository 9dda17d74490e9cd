"""Chats on their way out of the store: as a request's conversation, and as a file to load elsewhere."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anygen.errors import BadArgument

from .engine.types import Part
from .engine.workspace import Workspace
from .records import Chat, Turn
from .saved_chats import SavedChat, SavedMedium, pack, unpack

if TYPE_CHECKING:
    from .store import Store


def conversation(
    store: Store, workspace: Workspace, session: str, chat: str, *, until: str | None = None
) -> list[dict[str, Any]]:
    """Write the branch that is shown as `GenerateRequest.conversation`.

    Empty turns, questions that got no answer and media that were deleted are left out.

    Args:
        store: where the chat is.
        workspace: where its media are.
        session: whose.
        chat: which.
        until: last turn that counts; None takes the head.

    Returns:
        Messages.

    Raises:
        BadArgument: this session has no such chat.
    """
    messages: list[dict[str, Any]] = []
    for turn in store.turns(session, chat):
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


def save_chat(store: Store, workspace: Workspace, session: str, chat: str) -> bytes:
    """Write a chat with all its branches and media as one zip file.

    Args:
        store: where the chat is.
        workspace: where its media are.
        session: whose.
        chat: which.

    Returns:
        The file.

    Raises:
        BadArgument: this session has no such chat.
    """
    found, turns = store.chat(session, chat), store.all_turns(session, chat)
    records = {record.id: record for record in store.media(session)}
    media: dict[str, SavedMedium] = {}
    for part in (part for turn in turns for part in turn.parts):
        if part["type"] == "text" or part["media_id"] in media or not _is_there(workspace, session, part):
            continue
        stored = workspace.find(session, part["media_id"])
        record = records.get(stored.id)
        media[stored.id] = SavedMedium(
            modality=stored.modality,
            content=stored.path.read_bytes(),
            settings=record.settings if record else part.get("settings", {}),
            origin=record.origin if record else "given",
            suffix=stored.path.suffix,
        )
    return pack(SavedChat(title=found.title, head=found.head, turns=turns, media=media))


def load_chat(store: Store, workspace: Workspace, session: str, data: bytes) -> Chat:
    """Read what `save_chat` wrote, as a new chat with new ids; nothing stays when any of it is refused.

    Args:
        store: where the chat goes.
        workspace: where its media go.
        session: whose it becomes.
        data: content of the file.

    Returns:
        The chat.

    Raises:
        BadMedia: it is no saved chat, or a medium in it cannot be read.
        LimitExceeded: it is too large.
    """
    saved = unpack(data)
    media: dict[str, str] = {}
    try:
        for name, medium in saved.media.items():
            media[name] = workspace.take_over(session, medium.content, medium.modality).id
            store.add_media(session, media[name], settings=medium.settings, origin=medium.origin)
        ids = {turn.id: secrets.token_hex(10) for turn in saved.turns}
        turns = [_renamed(turn, ids, media) for turn in saved.turns]
        return store.insert_chat(session, saved.title, turns, None if saved.head is None else ids[saved.head])
    except BaseException:
        for media_id in media.values():
            store.delete_media(session, media_id)
        raise


def _renamed(turn: Turn, ids: dict[str, str], media: dict[str, str]) -> Turn:
    parts = [
        part if part["type"] == "text" else {**part, "media_id": media[part["media_id"]]}
        for part in turn.parts
    ]
    return replace(
        turn, id=ids[turn.id], parent=None if turn.parent is None else ids[turn.parent], parts=parts
    )
