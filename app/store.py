"""Chats, media records and settings in one SQLite file, which survives reloads and restarts.

Every method takes the session (the browser's workspace) and sees nothing of others. All are safe from any
thread; a write is on disk when the method returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine.types import Part
from .engine.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One chat."""

    id: str
    """Random."""
    title: str
    """What the list shows."""
    head: str | None
    """Last turn of the branch that is shown; None when it is empty."""
    created: float
    """Seconds since 1970."""
    changed: float
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a chat; turns form a tree, a branch is a path from its root."""

    id: str
    """Random."""
    parent: str | None
    """Turn before it; None for a first one."""
    role: str
    """user or assistant."""
    parts: list[Part]
    """What was said and shown."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What shaped it: outputs, seed, options."""
    state: str = "done"
    """done, running (then `settings["ticket"]` may tell which), stopped or failed."""
    created: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class MediaRecord:
    """One medium, for the gallery."""

    id: str
    """As in the workspace."""
    modality: str
    """image, audio, video, depth, thermal or imu."""
    mime: str
    """For the browser."""
    path: str
    """File."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What made it; empty for uploads."""
    origin: str = "made"
    """made (by the model) or given (uploaded, drawn)."""
    created: float = 0.0
    """Seconds since 1970."""


class Store:
    """All that lasts.

    Args:
        path: the SQLite file, made when it does not exist.
        workspace: where the media lie.
    """

    def __init__(self, path: str | Path, workspace: Workspace) -> None:
        raise NotImplementedError

    def new_chat(self, session: str, title: str = "") -> Chat:
        """Begin a chat."""
        raise NotImplementedError

    def chats(self, session: str) -> list[Chat]:
        """All chats, the last changed first."""
        raise NotImplementedError

    def chat(self, session: str, chat: str) -> Chat:
        """One chat.

        Raises:
            BadArgument: this session has no such chat.
        """
        raise NotImplementedError

    def rename_chat(self, session: str, chat: str, title: str) -> None:
        """Give a chat another title."""
        raise NotImplementedError

    def delete_chat(self, session: str, chat: str) -> None:
        """Remove a chat and its turns; its media stay in the gallery."""
        raise NotImplementedError

    def add_turn(
        self,
        session: str,
        chat: str,
        role: str,
        parts: list[Part],
        *,
        parent: str | None = "head",
        settings: dict[str, Any] | None = None,
        state: str = "done",
    ) -> Turn:
        """Add a turn and make it the head; a parent that has children already begins a branch.

        Args:
            session: whose chat.
            chat: which.
            role: user or assistant.
            parts: what is said and shown.
            parent: the turn it follows, None for a first one, "head" for the chat's head.
            settings: what shapes it.
            state: see `Turn`.

        Returns:
            The turn.
        """
        raise NotImplementedError

    def update_turn(
        self,
        session: str,
        turn: str,
        *,
        parts: list[Part] | None = None,
        settings: dict[str, Any] | None = None,
        state: str | None = None,
    ) -> Turn:
        """Change a turn (an answer that grows); None keeps what is there."""
        raise NotImplementedError

    def turns(self, session: str, chat: str) -> list[Turn]:
        """The branch that is shown, from its first turn to the head."""
        raise NotImplementedError

    def branches(self, session: str, turn: str) -> list[str]:
        """Ids of a turn and its siblings (same parent), the oldest first."""
        raise NotImplementedError

    def switch(self, session: str, turn: str) -> Chat:
        """Show the branch through a turn: the head becomes its youngest descendant."""
        raise NotImplementedError

    def undo(self, session: str, chat: str) -> Chat:
        """Take back the last question and its answer: the head moves before it; `redo` brings it back."""
        raise NotImplementedError

    def redo(self, session: str, chat: str) -> Chat:
        """Bring back what the last `undo` took."""
        raise NotImplementedError

    def conversation(self, session: str, chat: str, *, until: str | None = None) -> list[dict[str, Any]]:
        """The branch as `GenerateRequest.conversation`, up to and with a turn (the head by default)."""
        raise NotImplementedError

    def add_media(
        self, session: str, media_id: str, *, settings: dict[str, Any] | None = None, origin: str = "made"
    ) -> MediaRecord:
        """Record a medium of the workspace; a second time changes nothing."""
        raise NotImplementedError

    def media(
        self, session: str, *, modality: str | None = None, origin: str | None = None, limit: int = 1000
    ) -> list[MediaRecord]:
        """Records, the newest first."""
        raise NotImplementedError

    def media_record(self, session: str, media_id: str) -> MediaRecord:
        """One record.

        Raises:
            BadArgument: this session has no such medium.
        """
        raise NotImplementedError

    def delete_media(self, session: str, media_id: str) -> None:
        """Remove a record and its file."""
        raise NotImplementedError

    def get_setting(self, session: str, name: str, default: Any = None) -> Any:
        """A value kept for the session."""
        raise NotImplementedError

    def set_setting(self, session: str, name: str, value: Any) -> None:
        """Keep a value that JSON can hold."""
        raise NotImplementedError

    def save_chat(self, session: str, chat: str) -> bytes:
        """A chat with all its branches and media as one zip file."""
        raise NotImplementedError

    def load_chat(self, session: str, data: bytes) -> Chat:
        """Read what `save_chat` wrote, as a new chat of this session.

        Raises:
            BadMedia: it is no saved chat, or a medium in it cannot be read.
            LimitExceeded: it is too large.
        """
        raise NotImplementedError
