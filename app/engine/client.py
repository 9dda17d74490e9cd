"""The pages' side of the engine: one process with the model, a bounded fair queue, and events to follow.

Neither this module nor what it imports loads torch. One `EngineClient` serves all sessions and threads of a
server (`st.cache_resource`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .types import Busy, EngineStatus, Event, Limits, Request, Ticket
from .workspace import Workspace


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
    ) -> None:
        raise NotImplementedError

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
        raise NotImplementedError

    def events(self, ticket: Ticket | str, after: int = 0) -> list[Event]:
        """Read what happened since; returns at once.

        Args:
            ticket: whose events.
            after: number of events that were read before.

        Returns:
            The new events. A ticket that is not known (any more) gives one `Failed` with code "unknown".
        """
        raise NotImplementedError

    def follow(self, ticket: Ticket | str, after: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Read what happened and what happens, until the request is finished.

        Args:
            ticket: whose events.
            after: number of events that were read before.
            timeout: end after so many seconds without an event; None waits.

        Yields:
            The events; `MediaProgress` that nobody read in time is left out.
        """
        raise NotImplementedError

    def cancel(self, ticket: Ticket | str) -> bool:
        """Stop a request, whether it waits or runs; `Cancelled` follows at the next step of the engine.

        Args:
            ticket: which.

        Returns:
            Whether it was still waiting or running.
        """
        raise NotImplementedError

    def forget_session(self, session: str, *, media: bool = False) -> None:
        """Stop all requests of a session and remove its uploads, previews and events.

        Args:
            session: whose.
            media: remove the media that it made or used, too.
        """
        raise NotImplementedError

    def status(self) -> EngineStatus:
        """How the engine is, at once."""
        raise NotImplementedError

    def wait_ready(self, timeout: float = 120.0) -> bool:
        """Wait until the model is loaded.

        Args:
            timeout: seconds.

        Returns:
            Whether it is.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the engine process; waiting requests fail. Further calls are harmless."""
        raise NotImplementedError

    def __enter__(self) -> EngineClient:
        """The client."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Close."""
        self.close()
