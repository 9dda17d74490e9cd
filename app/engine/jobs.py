"""What the parent knows of one request: its events, and the answer as far as it is there."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from .types import (
    FINAL,
    Cancelled,
    Event,
    Failed,
    MediaFinished,
    Part,
    Request,
    TextDelta,
    Ticket,
    media_part,
    to_json,
)

DEADLINE = "deadline"
USER = "user"
FORGOTTEN = "forgotten"


class Job:
    """One request. All methods are called with the client's lock held.

    Args:
        ticket: its ticket.
        request: what to do.
        lock: the client's.
    """

    def __init__(self, ticket: Ticket, request: Request, lock: threading.RLock) -> None:
        self.ticket, self.request = ticket, request
        self.events: list[Event] = []
        self.changed = threading.Condition(lock)
        self.submitted = time.monotonic()
        self.started: float | None = None
        self.finished: float | None = None
        self.stopping: float | None = None
        self.reason = USER
        self.position: int | None = None
        self.wire = to_json(request)
        self._pieces: dict[tuple[int, int], Part] = {}

    def add(self, event: Event) -> Event | None:
        """Take an event and wake whoever follows.

        Args:
            event: what happened; one that ends the request unanswered gets what was ready of the answer.

        Returns:
            The event as it is kept; None when the request is finished already.
        """
        if self.finished is not None:
            return None
        if isinstance(event, TextDelta):
            piece = self._pieces.setdefault((event.variation, event.index), {"type": "text", "text": ""})
            piece["text"] += event.text
        elif isinstance(event, MediaFinished):
            self._pieces[event.variation, event.index] = media_part(event)
        elif isinstance(event, Cancelled | Failed):
            event = self._closing(event)
        self.events.append(event)
        if isinstance(event, FINAL):
            self.finished = time.monotonic()
        self.changed.notify_all()
        return event

    def wait_finished(self, timeout: float) -> bool:
        """Wait until nothing follows.

        Args:
            timeout: seconds.

        Returns:
            Whether it is so.
        """
        return self.changed.wait_for(lambda: self.finished is not None, timeout)

    def _closing(self, event: Cancelled | Failed) -> Cancelled | Failed:
        parts = [dict(self._pieces[key]) for key in sorted(self._pieces)]
        if isinstance(event, Cancelled) and self.reason == DEADLINE:
            return Failed(sentence=TOO_LONG, code=DEADLINE, parts=parts)
        return replace(event, parts=parts)


TOO_LONG = "The request took longer than this app allows and was stopped; ask for less or for fewer steps."
DIED = "The engine stopped while it worked on this and is starting again; ask once more in a moment."
WAITED = "The request waited longer than this app allows; ask again when fewer people are asking."
CLOSED = "The app is shutting down; start it again and ask once more."
UNKNOWN = "This request is not known any more; ask again."
