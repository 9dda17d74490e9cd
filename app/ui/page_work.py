"""Requests that a page hands to the engine itself: followed by a fragment, stopped by a button."""

from __future__ import annotations

import base64
import contextlib
import html
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from anygen.app.engine.client import EngineClient
from anygen.app.engine.types import (
    MOST_ITEMS,
    BlendRequest,
    Busy,
    Cancelled,
    Done,
    EmbedRequest,
    Failed,
    MediaFinished,
    MediaProgress,
    Queued,
    Ticket,
)
from anygen.app.store import Store
from anygen.errors import AnyGenError

from .components import NAMES, show_error
from .services import engine, session, store

POLL_SECONDS = 0.3
"""Time between two looks at a running request."""

EMBED_SECONDS = 120.0
"""Patience with a request for vectors."""

MOST_VECTORS = 512
"""Vectors that one browser session keeps."""

_VECTORS = "page_vectors"
_INLINE_BYTES = 400_000


@dataclass(kw_only=True)
class Work:
    """A request that runs, as its page knows it."""

    ticket: Ticket
    """What to ask with."""
    output: str
    """What is made."""
    seen: int = 0
    """Events that were read."""
    position: int | None = None
    """Requests that go first; None once it has begun."""
    progress: MediaProgress | None = None
    """The last step."""
    made: list[str] = field(default_factory=list)
    """Media that are ready."""
    final: Done | Failed | Cancelled | None = None
    """How it ended."""


def start_blend(request: BlendRequest) -> Work | Busy:
    """Hand a blend to the engine; what it makes is recorded even if its page is gone.

    Args:
        request: what to do.

    Returns:
        The work, or how busy the engine is.

    Raises:
        BadArgument: as `EngineClient.submit`.
    """
    ticket = engine().submit(request)
    if isinstance(ticket, Busy):
        return ticket
    arguments = (engine(), store(), ticket)
    threading.Thread(target=_record, args=arguments, name="record-blend", daemon=True).start()
    return Work(ticket=ticket, output=request.output, position=ticket.ahead)


def _record(client: EngineClient, records: Store, ticket: Ticket) -> None:
    """Follow a request to its end and record what it makes."""
    for event in client.follow(ticket):
        if isinstance(event, MediaFinished):
            with contextlib.suppress(AnyGenError):
                records.add_media(ticket.session, event.media_id, settings=event.settings)


def _stop(ticket: Ticket) -> None:
    engine().cancel(ticket)


def advance(work: Work) -> None:
    """Take in what happened since the last look.

    Args:
        work: is changed.
    """
    for event in engine().events(work.ticket, after=work.seen):
        work.seen += 1
        if isinstance(event, Queued):
            work.position = event.position
        elif isinstance(event, MediaProgress):
            work.progress, work.position = event, None
        elif isinstance(event, MediaFinished):
            with contextlib.suppress(AnyGenError):
                store().add_media(session(), event.media_id, settings=event.settings)
            work.made.append(event.media_id)
        elif isinstance(event, Done | Failed | Cancelled):
            work.final = event


@st.fragment(run_every=POLL_SECONDS)
def show_work(work: Work) -> None:
    """Draw a running request until it ends; then the whole page is drawn anew.

    Args:
        work: is changed.
    """
    advance(work)
    if work.final is not None:
        st.rerun()
    status, step = engine().status(), work.progress
    name = NAMES[work.output].capitalize()
    if status.state in ("loading", "restarting"):
        st.progress(min(1.0, max(0.0, status.progress)), text=status.message)
    elif step is not None:
        if preview := _inline(step):
            st.html(preview)
        left = "" if step.seconds_left is None else f", about {step.seconds_left:.0f} s left"
        st.progress(
            min(1.0, step.step / max(1, step.total)), f"{name}: step {step.step} of {step.total}{left}"
        )
    else:
        ahead = work.position or 0
        words = f"Waiting: {ahead} ahead of you." if ahead else f"{name}: getting ready"
        st.progress(0.0, text=words)
    st.button(
        "Stop", icon=":material/stop_circle:", key=f"stop_{work.ticket.id}", on_click=_stop,
        args=(work.ticket,),
    )  # fmt: skip


def show_ending(work: Work) -> None:
    """Say how a finished request ended when it did not end well.

    Args:
        work: whose `final` is set.
    """
    if isinstance(work.final, Failed):
        show_error(work.final.sentence, details=work.final.details, code=work.final.code)
    elif isinstance(work.final, Cancelled):
        st.info("Stopped.", icon=":material/stop_circle:")


def _inline(step: MediaProgress) -> str:
    """The preview as an `<img>` that carries its own bytes."""
    data = b""
    with contextlib.suppress(OSError):
        data = Path(step.preview).read_bytes() if step.preview else b""
    if not 0 < len(data) <= _INLINE_BYTES:
        return ""
    alt = html.escape(f"Preview at step {step.step}", quote=True)
    source = base64.b64encode(data).decode()
    return f'<img class="ag-preview" alt="{alt}" src="data:image/png;base64,{source}">'


def vector_key(part: dict[str, Any]) -> str:
    """What a part is called among the vectors.

    Args:
        part: text or medium, as in an `EmbedRequest`.
    """
    return str(part.get("media_id") or f"text:{part['text']}")


def vectors_of(parts: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """Unit vectors of texts and media; only new ones go to the engine.

    Args:
        parts: as in an `EmbedRequest`.

    Returns:
        (n, dim) float32; None when it did not work, which is said on the page.
    """
    known: dict[str, np.ndarray] = st.session_state.setdefault(_VECTORS, {})
    missing = {vector_key(part): part for part in parts if vector_key(part) not in known}
    names = list(missing)
    for start in range(0, len(names), MOST_ITEMS):
        chunk = names[start : start + MOST_ITEMS]
        found = embed([missing[name] for name in chunk])
        if found is None:
            return None
        known.update(zip(chunk, found, strict=True))
    result = np.stack([known[vector_key(part)] for part in parts]) if parts else np.zeros((0, 1), np.float32)
    while len(known) > MOST_VECTORS:
        known.pop(next(iter(known)))
    return result


def embed(parts: list[dict[str, Any]]) -> np.ndarray | None:
    """Ask the engine for vectors and wait for them.

    Args:
        parts: at most `MOST_ITEMS`.

    Returns:
        (n, dim) float32; None when it did not work, which is said on the page.
    """
    client = engine()
    try:
        ticket = client.submit(EmbedRequest(session=session(), items=parts))
    except AnyGenError as error:
        show_error(error)
        return None
    if isinstance(ticket, Busy):
        st.info(ticket.sentence, icon=":material/hourglass_top:")
        return None
    final = None
    try:
        for event in client.follow(ticket, timeout=EMBED_SECONDS):
            final = event
    finally:
        if not isinstance(final, Done | Failed | Cancelled):
            client.cancel(ticket)
    if isinstance(final, Done):
        return np.asarray(final.vectors, np.float32)
    if isinstance(final, Failed):
        show_error(final.sentence, details=final.details, code=final.code)
    else:
        show_error("The model took too long to compare the inputs; try again in a moment")
    return None
