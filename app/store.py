"""Chats, media records and settings in one SQLite file, which survives reloads and restarts.

Every method takes the session (the browser's workspace) and sees nothing of others. All are safe from any
thread; a write is on disk when the method returns.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from anygen.errors import BadArgument

from . import chat_files
from .database import Database
from .engine.types import Part
from .engine.workspace import Workspace
from .media_table import MediaTable
from .records import MOST_TITLE, ROLES, STATES, Chat, MediaRecord, Turn, check_word

__all__ = ["Chat", "MediaRecord", "Store", "Turn"]


class Store:
    """All that lasts.

    Args:
        path: the SQLite file, made when it does not exist.
        workspace: where the media lie.

    Raises:
        BadArgument: the file cannot be opened, or is of a later release.
    """

    def __init__(self, path: str | Path, workspace: Workspace) -> None:
        self._db, self._workspace = Database(path), workspace
        self._media = MediaTable(self._db, workspace)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def new_chat(self, session: str, title: str = "") -> Chat:
        """Begin a chat.

        Args:
            session: whose.
            title: what the list shows.

        Returns:
            The chat, empty.
        """
        now = time.time()
        chat = Chat(id=secrets.token_hex(10), title=title[:MOST_TITLE], head=None, created=now, changed=now)
        with self._db.writing():
            self._db.run(
                "INSERT INTO chats (id, session, title, created, changed) VALUES (?, ?, ?, ?, ?)",
                chat.id, session, chat.title, now, now,
            )  # fmt: skip
        return chat

    def chats(self, session: str) -> list[Chat]:
        """All chats of a session, the last changed first."""
        rows = self._db.rows(
            "SELECT * FROM chats WHERE session = ? ORDER BY changed DESC, rowid DESC", session
        )
        return [_chat(row) for row in rows]

    def chat(self, session: str, chat: str) -> Chat:
        """One chat.

        Raises:
            BadArgument: this session has no such chat.
        """
        rows = self._db.rows("SELECT * FROM chats WHERE session = ? AND id = ?", session, chat)
        if not rows:
            raise BadArgument("this chat is not (or no longer) here; open another one")
        return _chat(rows[0])

    def rename_chat(self, session: str, chat: str, title: str) -> None:
        """Give a chat another title; nothing happens when there is no such chat."""
        values = (title[:MOST_TITLE], session, chat)
        with self._db.writing():
            self._db.run("UPDATE chats SET title = ? WHERE session = ? AND id = ?", *values)

    def delete_chat(self, session: str, chat: str) -> None:
        """Remove a chat and its turns; its media stay in the gallery."""
        with self._db.writing():
            self._db.run("DELETE FROM chats WHERE session = ? AND id = ?", session, chat)

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

        Raises:
            BadArgument: no such chat, parent, role or state.
        """
        check_word("role", role, ROLES)
        check_word("state", state, STATES)
        with self._db.writing():
            found = self.chat(session, chat)
            before = found.head if parent == "head" else parent
            if before is not None and self._turn(session, before)[1] != chat:
                raise BadArgument("found a parent of another chat, expected a turn of this one")
            turn = Turn(
                id=secrets.token_hex(10),
                parent=before,
                role=role,
                parts=parts,
                settings=settings or {},
                state=state,
                created=time.time(),
            )
            self._insert(chat, turn)
            self._point(chat, turn.id)
        return turn

    def _insert(self, chat: str, turn: Turn) -> None:
        self._db.run(
            "INSERT INTO turns (id, chat, parent, role, parts, settings, state, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            turn.id, chat, turn.parent, turn.role, json.dumps(turn.parts), json.dumps(turn.settings),
            turn.state, turn.created,
        )  # fmt: skip

    def _point(self, chat: str, head: str | None, undone: list[str] | None = None) -> None:
        """Move the head; what could be redone is kept only when it is given."""
        self._db.run(
            "UPDATE chats SET head = ?, undone = ?, changed = ? WHERE id = ?",
            head, json.dumps(undone or []), time.time(), chat,
        )  # fmt: skip

    def _turn(self, session: str, turn: str) -> tuple[Turn, str]:
        """A turn and the id of its chat. Raises BadArgument when this session has none."""
        rows = self._db.rows(
            "SELECT turns.* FROM turns JOIN chats ON chats.id = turns.chat "
            "WHERE chats.session = ? AND turns.id = ?",
            session, turn,
        )  # fmt: skip
        if not rows:
            raise BadArgument("this turn is not (or no longer) here; reload the page")
        return _turn_of(rows[0]), rows[0]["chat"]

    def turn(self, session: str, turn: str) -> Turn:
        """One turn.

        Raises:
            BadArgument: this session has no such turn.
        """
        return self._turn(session, turn)[0]

    def update_turn(
        self,
        session: str,
        turn: str,
        *,
        parts: list[Part] | None = None,
        settings: dict[str, Any] | None = None,
        state: str | None = None,
    ) -> Turn:
        """Change a turn (an answer that grows).

        Args:
            session: whose.
            turn: which.
            parts: new ones; None keeps what is there, like the next two.
            settings: see above.
            state: see above.

        Returns:
            The turn as it is now.

        Raises:
            BadArgument: no such turn or state.
        """
        if state is not None:
            check_word("state", state, STATES)
        with self._db.writing():
            old, chat = self._turn(session, turn)
            new = replace(
                old,
                parts=old.parts if parts is None else parts,
                settings=old.settings if settings is None else settings,
                state=state or old.state,
            )
            self._db.run(
                "UPDATE turns SET parts = ?, settings = ?, state = ? WHERE id = ?",
                json.dumps(new.parts), json.dumps(new.settings), new.state, turn,
            )  # fmt: skip
            self._db.run("UPDATE chats SET changed = ? WHERE id = ?", time.time(), chat)
        return new

    def turns(self, session: str, chat: str) -> list[Turn]:
        """The branch that is shown, from its first turn to the head.

        Raises:
            BadArgument: this session has no such chat.
        """
        with self._db.lock:
            head = self.chat(session, chat).head
            turns = {turn.id: turn for turn in self.all_turns(session, chat)}
        branch: list[Turn] = []
        while head is not None and head in turns and len(branch) < len(turns):
            branch.append(turns[head])
            head = turns[head].parent
        return branch[::-1]

    def all_turns(self, session: str, chat: str) -> list[Turn]:
        """The turns of all branches, the oldest first.

        Raises:
            BadArgument: this session has no such chat.
        """
        with self._db.lock:
            self.chat(session, chat)
            return [
                _turn_of(r) for r in self._db.rows("SELECT * FROM turns WHERE chat = ? ORDER BY number", chat)
            ]

    def branches(self, session: str, turn: str) -> list[str]:
        """Ids of a turn and its siblings (same parent), the oldest first.

        Raises:
            BadArgument: this session has no such turn.
        """
        with self._db.lock:
            found, chat = self._turn(session, turn)
            rows = self._db.rows(
                "SELECT id FROM turns WHERE chat = ? AND parent IS ? ORDER BY number", chat, found.parent
            )
        return [row["id"] for row in rows]

    def switch(self, session: str, turn: str) -> Chat:
        """Show the branch through a turn: the head becomes its youngest descendant.

        Raises:
            BadArgument: this session has no such turn.
        """
        with self._db.writing():
            _, chat = self._turn(session, turn)
            head = turn
            while children := self._db.rows(
                "SELECT id FROM turns WHERE parent = ? ORDER BY number DESC", head
            ):
                head = children[0]["id"]
            self._point(chat, head)
        return self.chat(session, chat)

    def undo(self, session: str, chat: str) -> Chat:
        """Take back the last question and its answer: the head moves before it; `redo` brings it back.

        Raises:
            BadArgument: this session has no such chat.
        """
        with self._db.writing():
            found, undone = self.chat(session, chat), self._undone(chat)
            head = found.head
            while head is not None:
                turn = self._turn(session, head)[0]
                head = turn.parent
                if turn.role == "user":
                    break
            if found.head is not None:
                self._point(chat, head, [*undone, found.head])
        return self.chat(session, chat)

    def redo(self, session: str, chat: str) -> Chat:
        """Bring back what the last `undo` took; a new turn in between makes that impossible.

        Raises:
            BadArgument: this session has no such chat.
        """
        with self._db.writing():
            self.chat(session, chat)
            undone = self._undone(chat)
            if undone:
                self._point(chat, undone[-1], undone[:-1])
        return self.chat(session, chat)

    def _undone(self, chat: str) -> list[str]:
        undone: list[str] = json.loads(
            self._db.rows("SELECT undone FROM chats WHERE id = ?", chat)[0]["undone"]
        )
        return undone

    def conversation(self, session: str, chat: str, *, until: str | None = None) -> list[dict[str, Any]]:
        """The branch that is shown, until a turn, as a request has it; see `chat_files.conversation`."""
        return chat_files.conversation(self._workspace, session, self.turns(session, chat), until=until)

    def add_media(
        self, session: str, media_id: str, *, settings: dict[str, Any] | None = None, origin: str = "made"
    ) -> MediaRecord:
        """Record a medium of the workspace, see `MediaTable.add`."""
        return self._media.add(session, media_id, settings=settings, origin=origin)

    def media(
        self, session: str, *, modality: str | None = None, origin: str | None = None, limit: int = 1000
    ) -> list[MediaRecord]:
        """Records of what is in the workspace, the newest first, see `MediaTable.newest`."""
        return self._media.newest(session, modality=modality, origin=origin, limit=limit)

    def media_record(self, session: str, media_id: str) -> MediaRecord:
        """One record.

        Raises:
            BadArgument: this session has no such medium.
        """
        return self._media.record(session, media_id)

    def delete_media(self, session: str, media_id: str) -> None:
        """Remove a record and its file; chats that show it go on without."""
        self._media.delete(session, media_id)

    def get_setting(self, session: str, name: str, default: Any = None) -> Any:
        """A value kept for the session, or the default."""
        rows = self._db.rows("SELECT value FROM settings WHERE session = ? AND name = ?", session, name)
        return json.loads(rows[0]["value"]) if rows else default

    def set_setting(self, session: str, name: str, value: Any) -> None:
        """Keep a value that JSON can hold."""
        with self._db.writing():
            self._db.run(
                "INSERT INTO settings (session, name, value) VALUES (?, ?, ?) "
                "ON CONFLICT (session, name) DO UPDATE SET value = excluded.value",
                session, name, json.dumps(value),
            )  # fmt: skip

    def save_chat(self, session: str, chat: str) -> bytes:
        """Give a chat with all its branches and media as one zip file.

        Raises:
            BadArgument: this session has no such chat.
        """
        found, turns = self.chat(session, chat), self.all_turns(session, chat)
        return chat_files.save_chat(self._workspace, session, found, turns, self.media(session))

    def load_chat(self, session: str, data: bytes) -> Chat:
        """Read what `save_chat` wrote, as a new chat of this session with new ids.

        Raises:
            BadMedia: it is no saved chat, or a medium in it cannot be read.
            LimitExceeded: it is too large.
        """
        saved = chat_files.read_chat(self._workspace, session, data)
        with self._db.writing():
            for media_id, medium in saved.media.items():
                self.add_media(session, media_id, settings=medium.settings, origin=medium.origin)
            chat = self.new_chat(session, saved.title)
            for turn in saved.turns:
                self._insert(chat.id, turn)
            self._point(chat.id, saved.head)
            return self.chat(session, chat.id)


def _chat(row: sqlite3.Row) -> Chat:
    return Chat(**{name: row[name] for name in ("id", "title", "head", "created", "changed")})


def _turn_of(row: sqlite3.Row) -> Turn:
    return Turn(
        id=row["id"],
        parent=row["parent"],
        role=row["role"],
        parts=json.loads(row["parts"]),
        settings=json.loads(row["settings"]),
        state=row["state"],
        created=row["created"],
    )
