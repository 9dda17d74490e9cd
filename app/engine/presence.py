"""Which sessions are there: their open pages, and when they were last heard of."""

from __future__ import annotations

import threading
import time
from collections import Counter


class Presence:
    """Tells which sessions have ended; safe from any thread.

    A session has ended when its last page was closed a while ago (a page that only lost its connection comes
    back before that), or, when it never had a page, when nothing was heard of it for long.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: Counter[str] = Counter()
        self._seen: dict[str, float] = {}
        self._left: dict[str, float] = {}

    def touch(self, session: str) -> None:
        """Hear of a session.

        Args:
            session: which.
        """
        with self._lock:
            self._seen[session] = time.monotonic()

    def arrive(self, session: str) -> None:
        """A page of a session was opened.

        Args:
            session: whose.
        """
        with self._lock:
            self._pages[session] += 1
            self._left.pop(session, None)

    def leave(self, session: str) -> None:
        """A page of a session was closed.

        Args:
            session: whose; has as many pages as arrived.
        """
        with self._lock:
            self._pages[session] -= 1
            if self._pages[session] <= 0:
                del self._pages[session]
                self._left[session] = time.monotonic()

    def ended(self, now: float, *, away: float, idle: float) -> list[str]:
        """Which sessions have ended.

        Args:
            now: of `time.monotonic`.
            away: seconds since the last page was closed and the last sign of the session.
            idle: seconds since a session without pages was heard of.

        Returns:
            Their names, until they are forgotten.
        """
        with self._lock:
            left = [
                session
                for session, since in self._left.items()
                if now - max(since, self._seen.get(session, since)) > away
            ]
            silent = [
                session
                for session, since in self._seen.items()
                if now - since > idle and session not in self._pages and session not in self._left
            ]
        return left + silent

    def forget(self, session: str) -> None:
        """Remove what is known of a session but for its open pages.

        Args:
            session: which.
        """
        with self._lock:
            self._seen.pop(session, None)
            self._left.pop(session, None)
