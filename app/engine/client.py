"""The pages' side of the engine: one process with the model, a bounded fair queue, and events to follow.

Neither this module nor what it imports loads torch. One `EngineClient` serves all sessions and threads of a
server (`st.cache_resource`).
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .checks import check_request, named_media
from .jobs import CLOSED, FORGOTTEN, UNKNOWN, USER, Job
from .presence import Presence
from .supervisor import WORKER, Supervisor
from .types import (
    FINAL,
    Busy,
    EngineStatus,
    Event,
    Failed,
    Limits,
    MediaProgress,
    Request,
    TextDelta,
    Ticket,
)
from .workspace import Workspace

logger = logging.getLogger(__name__)

READ_SECONDS = 1.0
"""Time in which whoever follows a request reads how it ended, although its session has ended."""


class EngineClient:
    """Runs the engine process and takes turns over sessions; all methods are safe from any thread.

    Args:
        model: bundled name, folder or hub id.
        workspace: folder that holds the media of all sessions; or a `Workspace`.
        limits: bounds of the queue and of patience.
        device: where to compute; the CPU by default.
        dtype: type to compute in; float32 by default.
        on_event: called with every event of every ticket but `TextDelta` and `MediaProgress`, from another
            thread, so that what was made is recorded although its page is gone.
        worker: module that is the engine process.
    """

    def __init__(
        self,
        model: str = "toybox-tiny",
        workspace: str | Path | Workspace = "workspace",
        limits: Limits | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        on_event: Callable[[Ticket, Event], None] | None = None,
        worker: str = WORKER,
    ) -> None:
        self.workspace = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
        self.limits = limits or Limits()
        self.workspace.clear_temporary()
        self._presence = Presence()
        self._records: queue.SimpleQueue[tuple[Ticket, Event] | None] = queue.SimpleQueue()
        self._on_event = on_event
        if on_event is not None:
            threading.Thread(target=self._record, name="anygen-record", daemon=True).start()
        order = {
            "do": "load",
            "model": model,
            "device": device,
            "dtype": dtype,
            "workspace": str(self.workspace.root),
            "preview_seconds": self.limits.preview_seconds,
        }
        self._supervisor = Supervisor(
            order,
            self.limits,
            worker=worker,
            log=self.workspace.root / "engine.log",
            on_event=self._put_record,
            on_tick=self._expire,
        )
        self._lock = self._supervisor.lock

    def submit(self, request: Request) -> Ticket | Busy:
        """Put a request into the queue; returns at once.

        Args:
            request: what to do.

        Returns:
            A ticket, or how busy it is when the queue is full.

        Raises:
            BadArgument: a session name, media id, count or weight that cannot be; text that is none. What the
                model itself refuses comes as `Failed`.
        """
        check_request(request)
        for media_id in named_media(request):
            self.workspace.keep(request.session, media_id)
        with self._lock:
            self._presence.touch(request.session)
            busy = self._busy(request.session)
            if busy is not None:
                return busy
            jobs = self._supervisor
            ahead = len(jobs.waiting) + (jobs.running is not None)
            ticket = Ticket(id=secrets.token_hex(10), session=request.session, ahead=ahead)
            jobs.put(Job(ticket, request, self._lock))
            return ticket

    def _busy(self, session: str) -> Busy | None:
        """Why a session cannot ask now. Called with the lock."""
        jobs = self._supervisor
        running = jobs.running.ticket.session if jobs.running is not None else None
        own = jobs.waiting.count(session) + (running == session)
        ahead = len(jobs.waiting) + (running is not None)
        if own >= self.limits.requests:
            sentence = f"You have {own} requests under way; wait for one or stop one, and ask again."
            return Busy(ahead=own, sentence=sentence)
        sessions = {*jobs.waiting.sessions, *([running] if running is not None else [])}
        if session not in sessions and len(sessions) >= self.limits.sessions:
            sentence = f"The engine is busy, {ahead} requests are ahead of yours; ask again in a moment."
            return Busy(ahead=ahead, sentence=sentence)
        return None

    def events(self, ticket: Ticket | str, after: int = 0) -> list[Event]:
        """Read what happened since; returns at once.

        Args:
            ticket: whose events.
            after: number of events that were read before.

        Returns:
            The new events. A ticket that is not known (any more) gives one `Failed` with code "unknown".
        """
        with self._lock:
            job = self._supervisor.jobs.get(_id(ticket))
            if job is None:
                return [Failed(sentence=UNKNOWN, code="unknown")]
            self._presence.touch(job.ticket.session)
            return job.events[after:]

    def follow(self, ticket: Ticket | str, after: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Read what happened and what happens, until the request is finished.

        Args:
            ticket: whose events.
            after: number of events that were read before.
            timeout: end after so many seconds without an event; None waits.

        Yields:
            The events; `MediaProgress` that nobody read in time is left out.
        """
        while True:
            new = self._await(ticket, after, timeout)
            after += len(new)
            for place, event in enumerate(new):
                if not (isinstance(event, MediaProgress) and _outdated(event, new[place + 1 :])):
                    yield event
            if not new or isinstance(new[-1], FINAL):
                return

    def _await(self, ticket: Ticket | str, after: int, timeout: float | None) -> list[Event]:
        """New events, as soon as there are some; none after the timeout."""
        with self._lock:
            job = self._supervisor.jobs.get(_id(ticket))
            if job is not None and job.finished is None:
                job.changed.wait_for(lambda: len(job.events) > after or job.finished is not None, timeout)
            if job is not None:
                self._presence.touch(job.ticket.session)
                return job.events[after:]
            return self.events(ticket)

    def cancel(self, ticket: Ticket | str) -> bool:
        """Stop a request, whether it waits or runs; `Cancelled` follows at the next step of the engine.

        Args:
            ticket: which.

        Returns:
            Whether it was still waiting or running.
        """
        with self._lock:
            job = self._supervisor.jobs.get(_id(ticket))
            if job is None or job.finished is not None:
                return False
            self._supervisor.stop(job, USER)
            return True

    def forget_session(self, session: str, *, media: bool = False) -> None:
        """Stop all requests of a session and remove its uploads, previews and events.

        Args:
            session: whose.
            media: remove the media that it made or used, too.
        """
        with self._lock:
            mine = [job for job in self._supervisor.jobs.values() if job.ticket.session == session]
            for job in mine:
                if job.finished is None:
                    self._supervisor.stop(job, FORGOTTEN)
        deadline = time.monotonic() + self.limits.stop_seconds
        for job in mine:
            with self._lock:
                job.wait_finished(deadline - time.monotonic())
                self._supervisor.jobs.pop(job.ticket.id, None)
        self._presence.forget(session)
        self.workspace.clear(session, media=media)

    def arrive(self, session: str) -> None:
        """Note that a page of a session was opened: its uploads stay as long as one is.

        Args:
            session: whose.
        """
        self._presence.arrive(session)

    def leave(self, session: str) -> None:
        """Note that a page was closed; soon after the last one uploads that were not sent and previews go.

        Args:
            session: whose.
        """
        self._presence.leave(session)

    def status(self) -> EngineStatus:
        """How the engine is, at once."""
        return self._supervisor.status()

    def wait_ready(self, timeout: float = 120.0) -> bool:
        """Wait until the model is loaded.

        Args:
            timeout: seconds.

        Returns:
            Whether it is; False at once when it cannot be.
        """
        return self._supervisor.wait_ready(timeout)

    def restart(self) -> None:
        """Start the engine again, also one that failed for good; a request that runs fails."""
        self._supervisor.restart()

    def close(self) -> None:
        """End the engine process; waiting requests fail. Further calls are harmless."""
        self._supervisor.close(Failed(sentence=CLOSED, code="closed"))
        self.workspace.close()
        self._records.put(None)

    def __enter__(self) -> EngineClient:
        """The client."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Close."""
        self.close()

    def _expire(self, now: float) -> None:
        """Forget finished tickets and sessions that ended; called every second or so without the lock."""
        with self._lock:
            jobs = self._supervisor.jobs
            old = [
                job.ticket
                for job in jobs.values()
                if job.finished is not None and now - job.finished > self.limits.keep_seconds
            ]
            for ticket in old:
                del jobs[ticket.id]
            active = {
                job.ticket.session
                for job in jobs.values()
                if job.finished is None or now - job.finished < READ_SECONDS
            }
        limits = self.limits
        ended = self._presence.ended(now, away=limits.away_seconds, idle=limits.idle_seconds)
        for ticket in old:
            self.workspace.clear_previews(ticket.session, ticket.id)
        for session in set(ended) - active:
            self.forget_session(session)

    def _put_record(self, job: Job, event: Event) -> None:
        if self._on_event is not None and not isinstance(event, TextDelta | MediaProgress):
            self._records.put((job.ticket, event))

    def _record(self) -> None:
        while (item := self._records.get()) is not None:
            try:
                if self._on_event is not None:
                    self._on_event(*item)
            except Exception:  # a recorder's fault must not end recording
                logger.exception("an event could not be recorded")


def _id(ticket: Ticket | str) -> str:
    return ticket.id if isinstance(ticket, Ticket) else ticket


def _outdated(event: MediaProgress, later: list[Event]) -> bool:
    return any(
        isinstance(other, MediaProgress) and (other.index, other.variation) == (event.index, event.variation)
        for other in later
    )
