"""Answers in the making: a thread follows each request's events and writes the answer down.

A page that is reloaded, or opened twice, finds the answer here by its turn. Nothing here imports streamlit.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anygen.app.engine.types import (
    Busy,
    Cancelled,
    Done,
    Event,
    Failed,
    GenerateRequest,
    MediaFinished,
    MediaProgress,
    MediaStarted,
    Part,
    Queued,
    Started,
    TextDelta,
    Ticket,
)
from anygen.errors import AnyGenError

from .chat_requests import is_too_long, request_settings, too_long, without_oldest

if TYPE_CHECKING:
    from anygen.app.engine.client import EngineClient
    from anygen.app.store import Store, Turn

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Piece:
    """One part of an answer that grows."""

    modality: str
    """text, image, audio or video."""
    text: str = ""
    """What was said so far."""
    step: int = 0
    """Denoising steps done."""
    total: int = 0
    """Steps there will be; 0 before the first."""
    seconds_left: float | None = None
    """Estimate."""
    preview: str | None = None
    """Path of a picture of its present state."""
    media_id: str | None = None
    """Id, once it is ready."""
    path: str | None = None
    """File, once it is ready."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What made it, once it is ready."""

    def part(self) -> Part | None:
        """As the store keeps it; None for what is not ready."""
        if self.modality == "text":
            return {"type": "text", "text": self.text} if self.text.strip() else None
        if self.media_id is None:
            return None
        return {"type": self.modality, "media_id": self.media_id, "settings": self.settings}


@dataclass(frozen=True, kw_only=True)
class View:
    """How an answer stands now."""

    position: int | None
    """Requests that go first; None once it is worked on."""
    variations: dict[int, dict[int, Piece]]
    """Per variation its parts by their places in the answer, in order; one that begins later has none yet."""
    seconds: float
    """Time since it was asked for."""
    stopping: bool
    """Whether it was asked to stop."""


class Run:
    """One request and what came of it so far.

    Args:
        turn: the assistant's turn that it fills.
        request: what was asked.
    """

    def __init__(self, turn: Turn, request: GenerateRequest) -> None:
        self.turn, self.request = turn, request
        self.ticket: Ticket | None = None
        self.length = len(request.conversation)
        self.stopping = False
        self._lock = threading.Lock()
        self._position: int | None = 0
        self._pieces: dict[int, dict[int, Piece]] = {}
        self._began = time.monotonic()

    def take(self, event: Event) -> None:
        """Let an event change the answer.

        Args:
            event: from the engine.
        """
        with self._lock:
            if isinstance(event, Queued):
                self._position = event.position
            elif isinstance(event, Started):
                self._position = None
            elif isinstance(event, TextDelta):
                self._piece(event.variation, event.index, "text").text += event.text
            elif isinstance(event, MediaStarted):
                self._piece(event.variation, event.index, event.modality)
            elif isinstance(event, MediaProgress):
                piece = self._piece(event.variation, event.index, event.modality)
                piece.step, piece.total = event.step, event.total
                piece.seconds_left = event.seconds_left
                piece.preview = event.preview or piece.preview
            elif isinstance(event, MediaFinished):
                piece = self._piece(event.variation, event.index, event.modality)
                piece.media_id, piece.path, piece.settings = event.media_id, event.path, event.settings

    def _piece(self, variation: int, index: int, modality: str) -> Piece:
        self._position = None
        return self._pieces.setdefault(variation, {}).setdefault(index, Piece(modality=modality))

    def view(self) -> View:
        """How it stands now, unchanged by what comes."""
        with self._lock:
            return View(
                position=self._position,
                variations={
                    v: {i: copy(pieces[i]) for i in sorted(pieces)}
                    for v, pieces in sorted(self._pieces.items())
                },
                seconds=time.monotonic() - self._began,
                stopping=self.stopping,
            )

    def answers(self) -> list[list[Part]]:
        """What is ready, for each variation."""
        found = [[p.part() for p in pieces.values()] for pieces in self.view().variations.values()]
        return [[part for part in parts if part is not None] for parts in found]


class Runs:
    """All answers in the making of a server, by their turns; safe from any thread.

    Args:
        engine: makes them.
        store: keeps them.
    """

    def __init__(self, engine: EngineClient, store: Store) -> None:
        self._engine, self._store = engine, store
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}

    def start(self, chat: str, question: str, request: GenerateRequest) -> str:
        """Ask the engine, and begin the turn that its answer fills.

        Args:
            chat: which chat.
            question: the user's turn that is answered.
            request: what to ask.

        Returns:
            Id of the assistant's turn; when the request was not taken, it says why.
        """
        settings = {"request": request_settings(request)}
        turn = self._store.add_turn(
            request.session, chat, "assistant", [], parent=question, settings=settings, state="running"
        )
        run = Run(turn, request)
        with self._lock:
            self._runs[turn.id] = run
        if self._submit(run):
            self._record_inputs(request)
            threading.Thread(target=self._follow, args=(chat, run), daemon=True).start()
        else:
            self._forget(run)
        return turn.id

    def _record_inputs(self, request: GenerateRequest) -> None:
        """Note what was attached in the gallery; submitting made it lasting."""
        for part in request.conversation[-1]["content"]:
            if "media_id" in part:
                with suppress(AnyGenError):
                    self._store.add_media(request.session, part["media_id"], origin="given")

    def get(self, turn: str) -> Run | None:
        """The run that fills a turn.

        Args:
            turn: id.

        Returns:
            None when it is finished, or began in a server that has ended.
        """
        with self._lock:
            return self._runs.get(turn)

    def cancel(self, turn: str) -> None:
        """Stop the run of a turn; what is ready stays.

        Args:
            turn: id; nothing happens when it has none.
        """
        run = self.get(turn)
        if run is not None:
            run.stopping = True
            if run.ticket is not None:
                self._engine.cancel(run.ticket)

    def wait(self, turn: str, seconds: float) -> bool:
        """Wait until the run of a turn is over.

        Args:
            turn: id.
            seconds: patience.

        Returns:
            Whether it is over.
        """
        end = time.monotonic() + seconds
        while self.get(turn) is not None:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def _submit(self, run: Run) -> bool:
        """Hand the request over; a refusal fills the turn."""
        try:
            taken = self._engine.submit(run.request)
        except AnyGenError as error:
            self._fail(run, Failed(sentence=str(error), code=error.code))
            return False
        if isinstance(taken, Busy):
            self._fail(run, Failed(sentence=taken.sentence, code="busy"))
            return False
        run.ticket = taken
        if run.stopping:
            self._engine.cancel(taken)
        return True

    def _follow(self, chat: str, run: Run) -> None:
        try:
            again = True
            while again:
                again = self._follow_once(chat, run)
        except AnyGenError:
            _log.info("an answer came for a chat that is gone")
        except Exception:
            _log.exception("an answer could not be written down")
            self._fail(run, Failed(sentence="The answer could not be kept; ask again", code="internal"))
        finally:
            self._forget(run)

    def _follow_once(self, chat: str, run: Run) -> bool:
        """Follow one request to its end. Returns whether a shorter one was submitted in its place."""
        assert run.ticket is not None
        final: Event | None = None
        for event in self._engine.follow(run.ticket):
            run.take(event)
            if isinstance(event, MediaFinished):
                self._store.add_media(run.request.session, event.media_id, settings=event.settings)
            final = event
        if isinstance(final, Failed) and is_too_long(final) and len(run.request.conversation) > 1:
            run.request = replace(run.request, conversation=without_oldest(run.request.conversation))
            return self._submit(run)
        if isinstance(final, Done):
            self._finish(chat, run, final)
        elif isinstance(final, Cancelled):
            self._stop(chat, run)
        else:
            failed = final if isinstance(final, Failed) else Failed(sentence="The engine went away")
            self._fail(run, too_long(failed) if is_too_long(failed) else failed)
        return False

    def _finish(self, chat: str, run: Run, done: Done) -> None:
        left_out = run.length - len(run.request.conversation) + done.left_out
        timing: dict[str, Any] = {
            "seconds": round(done.seconds, 2),
            "times": done.times,
            "left_out": left_out,
        }
        answers: list[tuple[list[Part], dict[str, Any]]] = [
            (answer.parts, {**timing, "seed": answer.seed}) for answer in done.answers
        ]
        self._keep(chat, run, answers or [([], timing)], "done")

    def _stop(self, chat: str, run: Run) -> None:
        seed = run.request.seed
        answers = [
            (parts, {"seed": None if seed is None else seed + number})
            for number, parts in enumerate(run.answers() or [[]])
        ]
        self._keep(chat, run, answers, "stopped")

    def _keep(
        self, chat: str, run: Run, answers: list[tuple[list[Part], dict[str, Any]]], state: str
    ) -> None:
        """Write variations: the first into the turn that waits for it, others as branches beside it."""
        session, turns = run.request.session, [run.turn.id]
        for parts, _ in answers[1:]:
            beside = self._store.add_turn(
                session, chat, "assistant", parts, parent=run.turn.parent, state=state
            )
            turns.append(beside.id)
        group = [
            {"turn": turn, "media_id": next((p["media_id"] for p in parts if "media_id" in p), None)}
            for turn, (parts, _) in zip(turns, answers, strict=True)
        ]
        for turn, (parts, settings) in zip(turns, answers, strict=True):
            settings = {**self._settings(run), **settings, "group": group}
            self._store.update_turn(session, turn, parts=parts, settings=settings, state=state)
        if len(turns) > 1:
            self._store.switch(session, run.turn.id)

    def _fail(self, run: Run, failed: Failed) -> None:
        answers = run.answers()
        settings = {
            **self._settings(run),
            "error": {"sentence": failed.sentence, "code": failed.code, "details": failed.details},
        }
        try:
            self._store.update_turn(
                run.request.session,
                run.turn.id,
                parts=answers[0] if answers else [],
                settings=settings,
                state="failed",
            )
        except AnyGenError:
            _log.info("an answer failed for a chat that is gone")

    def _settings(self, run: Run) -> dict[str, Any]:
        left_out = run.length - len(run.request.conversation)
        return {"request": request_settings(run.request), "left_out": left_out}

    def _forget(self, run: Run) -> None:
        with self._lock:
            self._runs.pop(run.turn.id, None)
