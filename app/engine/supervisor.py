"""Keeps one engine process alive and hands it one request at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .child import Child
from .jobs import DEADLINE, DIED, WAITED, Job
from .turns import FairQueue
from .types import FINAL, Cancelled, EngineStatus, Event, Failed, Limits, Queued, from_json

WORKER = "anygen.app.engine.worker"
TICK_SECONDS = 0.5

STARTING = "The engine is starting."
READY = "The engine is ready."
RESTARTING = "The engine stopped and is starting again; this takes a few seconds."
GIVEN_UP = (
    "The engine stopped again and again while it loaded the model; look at engine.log in the workspace."
)
CLOSED = "The engine was ended with the app."


class Supervisor:
    """Owns the queue, the engine process and a spare that has its libraries loaded but no model.

    Args:
        order: what loads the model.
        limits: bounds of patience.
        worker: module that is the engine process.
        log: file that takes what the engine prints.
        on_event: called with the lock for every event that a job took.
        on_tick: called without the lock, again and again, with the time.
    """

    def __init__(
        self,
        order: dict[str, Any],
        limits: Limits,
        *,
        worker: str,
        log: Path,
        on_event: Callable[[Job, Event], None],
        on_tick: Callable[[float], None],
    ) -> None:
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.waiting: FairQueue[Job] = FairQueue()
        self.running: Job | None = None
        self._order, self._limits, self._worker, self._log = order, limits, worker, log
        self._on_event, self._on_tick = on_event, on_tick
        log.unlink(missing_ok=True)
        self._wake = threading.Condition(self.lock)
        self._engine: Child | None = None
        self._spare: Child | None = None
        self._state, self._message, self._progress = "loading", STARTING, 0.0
        self._facts: dict[str, Any] = {}
        self._rss = self._restarts = self._deaths = 0
        self._beat = self._since = time.monotonic()
        self._thread = threading.Thread(target=self._supervise, name="anygen-supervisor", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Let a job wait for its turn. Called with the lock.

        Args:
            job: new.
        """
        self.jobs[job.ticket.id] = job
        if self._state in ("failed", "closed"):
            self._emit(job, Failed(sentence=self._message, code=f"engine_{self._state}"))
            return
        self.waiting.put(job.ticket.session, job)
        self._positions()
        self._wake.notify_all()

    def stop(self, job: Job, reason: str) -> None:
        """End a job that waits, ask one that runs to end. Called with the lock.

        Args:
            job: which.
            reason: USER, DEADLINE or FORGOTTEN of `anygen.app.engine.jobs`.
        """
        if self.waiting.remove(job.ticket.session, job):
            self._emit(job, Cancelled())
            self._positions()
        elif job is self.running and self._engine is not None and job.stopping is None:
            job.stopping, job.reason = time.monotonic(), reason
            self._engine.send({"do": "cancel", "ticket": job.ticket.id})

    def status(self) -> EngineStatus:
        """How the engine is."""
        with self.lock:
            running = self.running.ticket if self.running is not None else None
            sessions = {*self.waiting.sessions, *([running.session] if running is not None else [])}
            return EngineStatus(
                state=self._state,
                message=self._message,
                progress=self._progress,
                queued=len(self.waiting),
                running=running.id if running is not None else None,
                sessions=len(sessions),
                rss_bytes=self._rss,
                restarts=self._restarts,
                pid=self._engine.pid if self._engine is not None else None,
                facts=self._facts,
            )

    def wait_ready(self, timeout: float) -> bool:
        """Wait until the model is loaded, or cannot be.

        Args:
            timeout: seconds.

        Returns:
            Whether it is loaded.
        """
        with self.lock:
            self._wake.wait_for(lambda: self._state in ("ready", "failed", "closed"), timeout)
            return self._state == "ready"

    def restart(self) -> None:
        """End the engine process; another starts at once."""
        with self.lock:
            if self._engine is not None:
                self._engine.kill()
            elif self._state == "failed":
                self._deaths = 0
                self._set("restarting", RESTARTING)

    def close(self, failure: Failed) -> None:
        """End everything.

        Args:
            failure: what jobs that are not finished get.
        """
        with self.lock:
            if self._state == "closed":
                return
            self._set("closed", CLOSED)
            children = [child for child in (self._engine, self._spare) if child is not None]
            self._engine = self._spare = None
            self._fail_all(failure)
        for child in children:
            child.close(patience=1.0)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _supervise(self) -> None:
        while True:
            with self.lock:
                if self._state == "closed":
                    return
                if self._engine is None and self._state != "failed":
                    self._start()
                self._dispatch()
                self._watch(time.monotonic())
                self._wake.wait(TICK_SECONDS)
            self._on_tick(time.monotonic())

    def _start(self) -> None:
        self._engine, self._spare = self._spare or self._child(), None
        self._beat = self._since = time.monotonic()
        self._progress = 0.0
        self._engine.send(self._order)

    def _child(self) -> Child:
        child = Child(self._worker, log=self._log)
        threading.Thread(target=self._listen, args=(child,), name="anygen-listen", daemon=True).start()
        return child

    def _listen(self, child: Child) -> None:
        while (message := child.read()) is not None:
            with self.lock:
                if child is self._engine:
                    self._take(message)
        code = child.kill()
        with self.lock:
            if child is self._engine:
                self._died(code)
            elif child is self._spare:
                self._spare = None

    def _take(self, message: dict[str, Any]) -> None:
        """Handle a message of the engine."""
        said = message["say"]
        self._beat = time.monotonic()
        if said == "beat":
            self._rss = message["rss"]
        elif said == "loading":
            self._message, self._progress = message["message"], message["progress"]
        elif said == "ready":
            self._facts, self._deaths, self._progress = message["facts"], 0, 1.0
            self._since = self._beat
            self._set("ready", READY)
        elif said == "fatal":
            self._engine = None
            self._give_up(message["sentence"], message["details"])
        elif said == "event" and self.running is not None and self.running.ticket.id == message["ticket"]:
            event = from_json(message["event"])
            job = self.running
            if isinstance(event, FINAL):
                self.running = None
            self._emit(job, event)
            if isinstance(event, FINAL):
                self._since = self._beat
                self._dispatch()

    def _died(self, code: int) -> None:
        self._engine, job, self.running = None, self.running, None
        if job is not None and job.stopping is not None:
            self._emit(job, Cancelled())
        elif job is not None:
            self._emit(job, Failed(sentence=DIED, code="engine_died", details=f"exit code {code}"))
        self._restarts += 1
        self._deaths += self._state != "ready"
        self._rss = 0
        if self._deaths >= self._limits.deaths:
            self._give_up(GIVEN_UP, f"exit code {code}")
        else:
            self._set("restarting", RESTARTING)

    def _give_up(self, sentence: str, details: str) -> None:
        self._set("failed", sentence)
        self._fail_all(Failed(sentence=sentence, code="engine_failed", details=details))

    def _fail_all(self, failure: Failed) -> None:
        running, self.running = self.running, None
        if running is not None:
            self._emit(running, failure)
        while (job := self.waiting.take()) is not None:
            self._emit(job, failure)

    def _set(self, state: str, message: str) -> None:
        self._state, self._message = state, message
        self._wake.notify_all()

    def _dispatch(self) -> None:
        if self._state != "ready" or self.running is not None or self._engine is None:
            return
        job = self.waiting.take()
        if job is None:
            return
        self.running, job.started = job, time.monotonic()
        self._engine.send({"do": "run", "ticket": job.ticket.id, "request": job.wire})
        self._positions()

    def _positions(self) -> None:
        """Tell waiting jobs where they stand."""
        for place, job in enumerate(self.waiting.order(), start=self.running is not None):
            if job.position != place:
                job.position = place
                self._emit(job, Queued(position=place))

    def _watch(self, now: float) -> None:
        """Lose patience where it is due, and keep a spare."""
        limits, job = self._limits, self.running
        if job is not None and job.started is not None and now - job.started > limits.deadline_seconds:
            self.stop(job, DEADLINE)
        late = [j for j in self.waiting.order() if now - j.submitted > limits.wait_seconds]
        for waiting in late:
            self.waiting.remove(waiting.ticket.session, waiting)
            self._emit(waiting, Failed(sentence=WAITED, code="waited_too_long"))
        if self._engine is None:
            return
        stuck = job is not None and job.stopping is not None and now - job.stopping > limits.stop_seconds
        loading = self._state != "ready" and now - self._since > limits.load_seconds
        silent = self._state == "ready" and now - self._beat > limits.heartbeat_seconds
        if stuck or loading or silent:
            self._engine.kill()
        elif self._wants_spare(now):
            self._spare = self._child()
            self._spare.send({"do": "import"})

    def _wants_spare(self, now: float) -> bool:
        quiet = self._state == "ready" and self.running is None
        patience = self._limits.spare_after
        return quiet and self._spare is None and 0 <= patience < now - self._since

    def _emit(self, job: Job, event: Event) -> None:
        kept = job.add(event)
        if kept is not None:
            self._on_event(job, kept)
