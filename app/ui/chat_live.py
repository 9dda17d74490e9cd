"""An answer while it is made: words as they come, a bar and a preview for every medium, and Stop."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import streamlit as st

from .chat_runs import Piece, View
from .components import ICONS, NAMES, show_media
from .services import engine, runs
from .texts import model_markdown

POLL_SECONDS = 0.3
"""Time between two looks at an answer that is being made."""

WAITING_SECONDS = 1.5
"""The same while it waits for its turn: many may wait, and each look costs the server time."""

_INLINE_BYTES = 400_000


def live_answer(turn: str) -> None:
    """Draw an answer that is being made, again and again, until it is finished.

    Args:
        turn: the assistant's turn that it fills.
    """
    run = runs().get(turn)
    waits = run is not None and bool(run.view().position)
    st.fragment(_live, run_every=WAITING_SECONDS if waits else POLL_SECONDS)(turn, waits)


def _live(turn: str, waited: bool) -> None:
    """One look; draws the whole page anew when the pace must change."""
    run = runs().get(turn)
    if run is None:
        st.rerun()
    view = run.view()
    if waited and not view.position:
        st.rerun()
    with st.container(key=f"live_{turn}", gap="small"):
        with st.container(key=f"growing_{turn}", gap="small"):  # so that Stop keeps its place, and its click
            _growing(turn, view, run.request.variations)
        st.button(
            "Stopping" if view.stopping else "Stop",
            icon=":material/stop_circle:",
            key=f"stop_{turn}",
            disabled=view.stopping,
            help="Stop now; what is ready is kept",
            shortcut="Ctrl+Shift+X",
            on_click=runs().cancel,
            args=(turn,),
        )


def _growing(turn: str, view: View, asked: int) -> None:
    if not view.variations:
        _waiting(view)
    if asked > 1:
        st.caption(f"Variation {len(view.variations) or 1} of {asked}")
    for number, pieces in view.variations.items():
        with st.container(key=f"live_{turn}_{number}", gap="small"):
            for place in range(max(pieces) + 1):
                if place in pieces:
                    _piece(pieces[place])
                else:
                    st.empty()  # keeps the place of what begins later: nothing that is there moves or blinks


def _waiting(view: View) -> None:
    status = engine().status()
    if status.state in ("loading", "restarting"):
        st.progress(min(1.0, max(0.0, status.progress)), text=status.message)
    elif view.position:
        ahead = "1 request goes" if view.position == 1 else f"{view.position} requests go"
        st.caption(f":material/hourglass_top: Waiting: {ahead} first.")
    elif view.stopping:
        st.caption("Stopping")
    else:
        st.markdown(":shimmer[Thinking]" if view.position is None else ":shimmer[Starting]")


def _piece(piece: Piece) -> None:
    if piece.modality == "text":
        st.markdown(model_markdown(piece.text))
        return
    with st.container(border=True, key=None, gap="xsmall", width=460 if piece.modality == "audio" else 360):
        if piece.path is not None:
            show_media(piece.modality, piece.path, alt=NAMES[piece.modality].capitalize())
            st.caption(f"{ICONS[piece.modality]} {NAMES[piece.modality]}, ready")
            return
        preview = _inline(piece)
        if preview:
            st.html(preview)
        else:
            st.empty()
        st.progress(_share(piece), text=progress_words(piece))


def _share(piece: Piece) -> float:
    return min(1.0, piece.step / piece.total) if piece.total else 0.0


def progress_words(piece: Piece) -> str:
    """How far a medium is, in words.

    Args:
        piece: that is being made.

    Returns:
        Such as "Video: step 5 of 25, about 3 s left".
    """
    name = NAMES[piece.modality].capitalize()
    if not piece.total:
        return f"{name}: getting ready"
    if piece.step >= piece.total:
        return f"{name}: finishing"
    words = f"{name}: step {piece.step} of {piece.total}"
    if piece.seconds_left is None:
        return words
    left = piece.seconds_left
    shown = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
    return f"{words}, {'less than 1 s' if left < 1 else f'about {shown}'} left"


def _inline(piece: Piece) -> str:
    """The preview as an `<img>` that carries its own bytes, so that nothing of it is kept by the server."""
    if piece.preview is None:
        return ""
    data = b""
    with contextlib.suppress(OSError):
        data = Path(piece.preview).read_bytes()
    if not 0 < len(data) <= _INLINE_BYTES:
        return ""
    text = base64.b64encode(data).decode()
    alt = f"Preview of the {NAMES[piece.modality]} at step {piece.step}"
    return f'<img class="ag-preview" alt="{alt}" src="data:image/png;base64,{text}">'
