"""Which request is next: sessions take turns, within a session the first comes first."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue over sessions. A session that was served goes behind all others; not safe for threads."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(line) for line in self._waiting.values())

    @property
    def sessions(self) -> list[str]:
        """Sessions that wait, in the order of their turns."""
        return list(self._waiting)

    def count(self, session: str) -> int:
        """How many of one session wait."""
        return len(self._waiting.get(session, ()))

    def put(self, session: str, item: T) -> None:
        """Put one behind what waits of its session.

        Args:
            session: whose.
            item: what.
        """
        self._waiting.setdefault(session, deque()).append(item)

    def take(self) -> T | None:
        """Take the next. Returns None when nothing waits."""
        if not self._waiting:
            return None
        session, line = self._waiting.popitem(last=False)
        item = line.popleft()
        if line:
            self._waiting[session] = line
        return item

    def remove(self, session: str, item: T) -> bool:
        """Take one out of its place.

        Args:
            session: whose.
            item: what.

        Returns:
            Whether it was there.
        """
        line = self._waiting.get(session, deque())
        if item not in line:
            return False
        line.remove(item)
        if not line:
            del self._waiting[session]
        return True

    def order(self) -> list[T]:
        """All that wait, in the order in which they will be taken if nothing else comes."""
        lines = [list(line) for line in self._waiting.values()]
        longest = max(map(len, lines), default=0)
        return [line[turn] for turn in range(longest) for line in lines if turn < len(line)]
