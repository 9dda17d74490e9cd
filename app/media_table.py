"""The table of media records: what the gallery shows."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from anygen.errors import BadArgument

from .database import Database
from .engine.workspace import Workspace
from .records import ORIGINS, MediaRecord, check_word


class MediaTable:
    """Records of media whose files lie in the workspace.

    Args:
        db: where the records are.
        workspace: where the files are.
    """

    def __init__(self, db: Database, workspace: Workspace) -> None:
        self._db, self._workspace = db, workspace

    def add(
        self, session: str, media_id: str, *, settings: dict[str, Any] | None = None, origin: str = "made"
    ) -> MediaRecord:
        """Record a medium of the workspace, made lasting by this; a second time changes nothing.

        Args:
            session: whose.
            media_id: which.
            settings: what made it.
            origin: made or given.

        Returns:
            The record.

        Raises:
            BadArgument: no such medium or origin.
        """
        check_word("origin", origin, ORIGINS)
        self._workspace.keep(session, media_id)
        with self._db.writing():
            self._db.run(
                "INSERT INTO media (id, session, settings, origin, created) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (session, id) DO NOTHING",
                media_id, session, json.dumps(settings or {}), origin, time.time(),
            )  # fmt: skip
        return self.record(session, media_id)

    def newest(
        self, session: str, *, modality: str | None = None, origin: str | None = None, limit: int = 1000
    ) -> list[MediaRecord]:
        """Records of what is in the workspace, the newest first.

        Args:
            session: whose.
            modality: of this one only.
            origin: of this one only.
            limit: most records.

        Returns:
            The records.
        """
        rows = self._db.rows("SELECT * FROM media WHERE session = ? ORDER BY number DESC", session)
        records: list[MediaRecord] = []
        for row in rows:
            if origin not in (None, row["origin"]) or len(records) >= limit:
                continue
            record = self._record(session, row)
            if record is not None and modality in (None, record.modality):
                records.append(record)
        return records

    def _record(self, session: str, row: sqlite3.Row) -> MediaRecord | None:
        try:
            stored = self._workspace.find(session, row["id"])
        except BadArgument:
            return None
        return MediaRecord(
            id=stored.id,
            modality=stored.modality,
            mime=stored.mime,
            path=str(stored.path),
            settings=json.loads(row["settings"]),
            origin=row["origin"],
            created=row["created"],
        )

    def record(self, session: str, media_id: str) -> MediaRecord:
        """One record.

        Raises:
            BadArgument: this session has no such medium.
        """
        rows = self._db.rows("SELECT * FROM media WHERE session = ? AND id = ?", session, media_id)
        record = self._record(session, rows[0]) if rows else None
        if record is None:
            raise BadArgument("this medium is not (or no longer) here; choose another one")
        return record

    def delete(self, session: str, media_id: str) -> None:
        """Remove a record and its file; chats that show it go on without."""
        with self._db.writing():
            self._db.run("DELETE FROM media WHERE session = ? AND id = ?", session, media_id)
        self._workspace.delete(session, media_id)
