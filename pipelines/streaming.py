"""Turn a function that reports events through a callback into an iterator of these events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from anygen.errors import Cancelled

E = TypeVar("E")


class Stop:
    """A request to stop that work asks for between its steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the work to stop at its next step."""
        self._event.set()

    def __call__(self) -> bool:
        """Whether the work should stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Stop here if asked to.

        Raises:
            Cancelled: when asked to stop.
        """
        if self._event.is_set():
            raise Cancelled("The request was stopped by its caller; ask again to get an answer.")


class _Handover(Generic[E]):
    """Passes events from a worker to a reader one at a time: the worker waits until the reader is back."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._event: list[E] = []
        self._wanted = False
        self._finished = False

    def put(self, event: E) -> None:
        """Worker: hand over an event and wait until the reader wants the next one."""
        with self._condition:
            self._event.append(event)
            self._wanted = False
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._wanted)

    def finish(self) -> None:
        """Worker: there will be no more events."""
        with self._condition:
            self._finished = True
            self._condition.notify_all()

    def get(self) -> E | None:
        """Reader: let the worker go on, and wait for its next event; None after the last."""
        with self._condition:
            self._wanted = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._event or self._finished)
            return self._event.pop(0) if self._event else None


def iterate(work: Callable[[Callable[[E], None], Stop], Any]) -> Iterator[E]:
    """Run work in a thread and yield what it reports.

    The work stands still while the reader handles an event, so what an event refers to is still as it was.
    Leaving the iterator early (`break`, `close()`) stops the work at its next step and waits for that.

    Args:
        work: takes a function to report events with and a `Stop` to ask between steps.

    Yields:
        The events.

    Raises:
        Exception: whatever the work raises, after its last event.
    """
    handover: _Handover[E] = _Handover()
    stop = Stop()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work(handover.put, stop)
        except BaseException as error:  # carried over to the reader's thread
            failure.append(error)
        finally:
            handover.finish()

    thread = threading.Thread(target=run, name="anygen-stream", daemon=True)
    thread.start()
    try:
        while (event := handover.get()) is not None:
            yield event
        thread.join()
        if failure:
            raise failure[0]
    finally:
        stop.set()
        while handover.get() is not None:
            pass
        thread.join()
