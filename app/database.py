"""The SQLite file behind the store: its tables, transactions and version."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anygen.errors import BadArgument

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS chats (
    id TEXT PRIMARY KEY, session TEXT NOT NULL, title TEXT NOT NULL, head TEXT,
    undone TEXT NOT NULL DEFAULT '[]', created REAL NOT NULL, changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS chats_of ON chats (session, changed);
CREATE TABLE IF NOT EXISTS turns (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    chat TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE, parent TEXT, role TEXT NOT NULL,
    parts TEXT NOT NULL, settings TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS turns_of ON turns (chat, parent);
CREATE TABLE IF NOT EXISTS media (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, session TEXT NOT NULL,
    settings TEXT NOT NULL, origin TEXT NOT NULL, created REAL NOT NULL, UNIQUE (session, id)
);
CREATE TABLE IF NOT EXISTS settings (
    session TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (session, name)
);
"""


class Database:
    """One connection for all threads, used by one at a time.

    Args:
        path: the file, made when it does not exist.

    Raises:
        BadArgument: it cannot be opened, or is of a later release.
    """

    def __init__(self, path: str | Path) -> None:
        self.lock = threading.RLock()
        self._depth = 0
        try:
            self._connection = sqlite3.connect(
                path, check_same_thread=False, timeout=30, isolation_level=None
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version <= _VERSION:
                self._connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;")
        except sqlite3.Error:
            found = f"cannot open {os.path.basename(path)!r} as a store of chats"
            raise BadArgument(f"{found}; move it away or name another folder") from None
        if version > _VERSION:
            self._connection.close()
            found = f"found a store of version {version}, expected at most {_VERSION}"
            raise BadArgument(f"{found}; use a later release")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all of it is kept or nothing; one inside another is part of it."""
        with self.lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def run(self, statement: str, *values: Any) -> None:
        """Run a statement, in `writing`.

        Args:
            statement: SQL with question marks.
            *values: what stands for them.
        """
        self._connection.execute(statement, values)

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Read.

        Args:
            statement: SQL with question marks.
            *values: what stands for them.

        Returns:
            All rows.
        """
        with self.lock:
            return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._connection.close()
