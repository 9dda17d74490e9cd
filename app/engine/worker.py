"""The engine process: holds the model and works on one request at a time.

Orders in: import (get ready to load), load, run, cancel. Said back: beat, loading, ready, fatal, event.
"""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anygen.errors import AnyGenError

from ..common import quiet_libraries, without_collection
from .child import channel
from .types import Failed, from_json, to_json

Say = Callable[[Mapping[str, Any]], None]
"""Sends a message to the parent."""

BEAT_SECONDS = 1.0
IDLE_SECONDS = 1.0
"""Quiet time after which parts that no request has needed yet are read from disk."""


class Stop:
    """Tells the request that runs whether it should stop; set from the thread that reads orders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: str | None = None
        self._asked: set[str] = set()

    def begin(self, ticket: str) -> None:
        """A request starts."""
        with self._lock:
            self._running = ticket

    def ask(self, ticket: str) -> None:
        """Ask a request to stop, or not to start."""
        with self._lock:
            self._asked.add(ticket)

    def end(self) -> None:
        """The request is over."""
        with self._lock:
            self._asked.discard(self._running or "")
            self._running = None

    def __call__(self) -> bool:
        """Whether the running request should stop."""
        return self._running in self._asked


def main() -> None:
    """Work until the parent is gone."""
    orders, say = channel()
    stop, work = Stop(), queue.SimpleQueue[dict[str, Any]]()
    threading.Thread(target=_read, args=(orders, stop, work), name="anygen-orders", daemon=True).start()
    threading.Thread(target=_beat, args=(say,), name="anygen-beat", daemon=True).start()
    load = work.get()
    while load["do"] == "import":
        _import(lambda message, share: None)
        load = work.get()
    engine = _load(load, say)
    if engine is None:
        return
    later: list[Callable[[], None]] = engine.warm_ups(lambda: not work.empty())
    while True:
        try:
            order = work.get(timeout=IDLE_SECONDS) if later else work.get()
        except queue.Empty:
            _quietly(later.pop(0))
            continue
        _run(engine, order, stop, say)


def _read(orders: Iterator[dict[str, Any]], stop: Stop, work: queue.SimpleQueue[dict[str, Any]]) -> None:
    try:
        for order in orders:
            if order["do"] == "cancel":
                stop.ask(order["ticket"])
            else:
                work.put(order)
    finally:
        os._exit(0)  # the parent is gone; whatever runs is nobody's


def _beat(say: Say) -> None:
    while True:
        say({"say": "beat", "rss": resident_bytes()})
        time.sleep(BEAT_SECONDS)


def resident_bytes() -> int:
    """Memory of this process that is in RAM, 0 where it cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _import(progress: Callable[[str, float], None]) -> None:
    """Import what takes long, piece by piece so that the wait can be shown."""
    quiet_libraries()
    with without_collection():
        for module, share in _PIECES.items():
            progress("Starting the engine", share)
            importlib.import_module(module)


def _load(order: dict[str, Any], say: Say) -> Any:
    """Load the model. Returns None when it cannot be; the parent knows then."""

    def progress(message: str, share: float) -> None:
        say({"say": "loading", "message": message, "progress": share})

    try:
        _import(progress)
        from .work import Engine

        progress(f"Loading {order['model']}", 0.7)
        engine = Engine.load(order)
    except AnyGenError as error:
        say({"say": "fatal", "sentence": str(error), "details": error.code})
        return None
    except Exception as error:
        say({"say": "fatal", "sentence": _UNEXPECTED_LOAD, "details": _details(error)})
        return None
    say({"say": "ready", "facts": engine.facts()})
    return engine


def _run(engine: Any, order: dict[str, Any], stop: Stop, say: Say) -> None:
    ticket = order["ticket"]

    def report(event: Any) -> None:
        say({"say": "event", "ticket": ticket, "event": to_json(event)})

    stop.begin(ticket)
    try:
        engine.run(ticket, from_json(order["request"]), report, stop)
    except AnyGenError as error:
        report(Failed(sentence=str(error), code=error.code))
    except Exception as error:
        report(Failed(sentence=_UNEXPECTED, code="internal", details=_details(error)))
    finally:
        stop.end()


def _details(error: Exception) -> str:
    """Kind of an error and the functions it came through, without messages and folders."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
    return " < ".join(
        [type(error).__name__, *(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))]
    )


def _quietly(step: Callable[[], None]) -> None:
    """Do what no request waits for; a request that needs it will say what is wrong."""
    try:
        step()
    except Exception as error:
        _details(error)


_PIECES = {"torch": 0.05, "anygen.llm": 0.2, "anygen.decoders": 0.4, "anygen.app.engine.work": 0.6}
"""What is imported, and how far it is by then."""

_UNEXPECTED = (
    "The engine met an error that it does not know. Ask again, or ask for something else; "
    "the details help whoever runs this app."
)
_UNEXPECTED_LOAD = "The model could not be loaded. The details help whoever runs this app."

if __name__ == "__main__":
    main()
