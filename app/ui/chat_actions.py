"""What a visitor can do to a chat: ask, ask again, edit, stop, go back. Changes the store, draws nothing."""

from __future__ import annotations

import secrets
from pathlib import Path
from textwrap import shorten
from typing import Any

import streamlit as st

from anygen.app.store import Chat, Turn
from anygen.errors import AnyGenError

from .chat_requests import answerable
from .chat_settings import keep, make_request, settings
from .components import NAMES, STAGED, records_of
from .services import runs, session, store

CHAT, EDITING, NOTICES = "chat", "editing", "notices"
"""Names in the session's state: the chat that is shown, the turn that is edited, problems to tell once."""

_ADDRESS, _KNOWN, _ON_CHAT = "chat_address", "chat_address_known", "on_chat"

STOP_SECONDS = 10.0
TITLE_LENGTH = 42


def current_chat() -> Chat | None:
    """The chat that is shown.

    Returns:
        None for one that has not begun, or that is gone.
    """
    wanted = st.session_state.get(CHAT) or st.query_params.get(CHAT)
    if not wanted:
        return None
    try:
        chat = store().chat(session(), str(wanted))
    except AnyGenError:
        show_chat(None)
        return None
    show_chat(chat.id)
    return chat


def follow_address(*, on_chat: bool) -> None:
    """Show the chat that the address names, when the visitor changed it: with Back, Forward or by hand.

    Args:
        on_chat: whether the chat page is shown.
    """
    state = st.session_state
    before, state[_ON_CHAT] = state.get(_ON_CHAT, False), on_chat
    address, mine = st.query_params.get(CHAT), state.get(_ADDRESS)
    if not on_chat or CHAT not in state:
        return
    arrived = before or address is not None  # links from other pages carry no chat: it stays
    if state.get(_KNOWN) and address != mine and arrived:
        state[CHAT] = state[_ADDRESS] = address
        state.pop(EDITING, None)


def confirm_address() -> None:
    """Note that the browser has the address that it was given: from now on another one is the visitor's.

    For runs that the browser began by itself; all others know the address from this side alone.
    """
    if st.query_params.get(CHAT) == st.session_state.get(_ADDRESS):
        st.session_state[_KNOWN] = True


def show_chat(chat: str | None) -> None:
    """Change the chat that is shown, also in the address so that a reload finds it.

    Args:
        chat: id; None begins a new one.
    """
    if st.session_state.get(CHAT) != chat:
        st.session_state.pop(EDITING, None)
    st.session_state[CHAT] = st.session_state[_ADDRESS] = chat
    if st.query_params.get(CHAT) == chat:
        return
    st.session_state[_KNOWN] = False
    if chat is None:
        st.query_params.pop(CHAT, None)
    else:
        st.query_params[CHAT] = chat


def notice(sentence: str, *, name: str = "") -> None:
    """Tell something above the message box at the next draw.

    Args:
        sentence: what.
        name: of the file that it is about.
    """
    st.session_state.setdefault(NOTICES, []).append((name, sentence))


def ask(parts: list[dict[str, Any]]) -> None:
    """Send a message; a chat begins with the first one.

    Args:
        parts: media, then text.
    """
    chat = current_chat()
    if chat is None:
        chat = store().new_chat(session(), title_of(parts))
        show_chat(chat.id)
    turns = store().turns(session(), chat.id)
    if turns and turns[-1].state == "running":
        stop(turns[-1].id)
    question = store().add_turn(session(), chat.id, "user", parts)
    answer(chat.id, question)


def answer(chat: str, question: Turn, *, seed: int | None = None) -> None:
    """Answer a question of the chat, beside the answers that it has.

    Args:
        chat: which.
        question: the user's turn.
        seed: None takes what the settings say.
    """
    branch = store().turns(session(), chat)
    ids = [turn.id for turn in branch]
    if question.id not in ids:
        store().switch(session(), question.id)
        branch = store().turns(session(), chat)
        ids = [turn.id for turn in branch]
    branch = branch[: ids.index(question.id) + 1]
    named = [part["media_id"] for turn in branch for part in turn.parts if "media_id" in part]
    gone = set(named) - {record.id for record in records_of(named) if Path(record.path).is_file()}
    runs().start(chat, question.id, make_request(answerable(branch, gone=gone), seed=seed))


def ask_again(chat: str, turn: Turn, *, seed: int | None) -> None:
    """Answer a turn's question once more, on a branch of its own.

    Args:
        chat: which.
        turn: an answer.
        seed: the same seed gives the same answer; None draws a new one, although it may be locked.
    """
    branch = store().turns(session(), chat)
    question = next((t for t in branch if t.id == turn.parent), None)
    if question is None:
        return
    if turn.state == "running":
        stop(turn.id)
    if seed is None:
        seed = secrets.randbits(31)
    answer(chat, question, seed=seed)


def edit(chat: str, turn: Turn, text: str) -> None:
    """Put a question differently, on a branch of its own, and answer it.

    Args:
        chat: which.
        turn: the question.
        text: its new words.
    """
    media = [part for part in turn.parts if part["type"] != "text"]
    parts = [*media, *([{"type": "text", "text": text}] if text.strip() else [])]
    st.session_state.pop(EDITING, None)
    if not parts:
        return
    changed = store().add_turn(session(), chat, "user", parts, parent=turn.parent)
    answer(chat, changed)


def stop(turn: str) -> None:
    """Stop an answer; what is ready stays.

    Args:
        turn: the answer.
    """
    runs().cancel(turn)
    runs().wait(turn, STOP_SECONDS)


def lock_seed(seed: int, locked: bool) -> None:
    """Give all further answers the same seed, or let each draw its own again.

    Args:
        seed: which.
        locked: whether to.
    """
    keep({"seed": seed, "locked": locked}, redraw=True)
    if locked:
        st.toast(f"Seed {seed} is locked for the next answers.")


def is_locked(seed: int) -> bool:
    """Whether further answers take a seed.

    Args:
        seed: which.

    Returns:
        True while it is locked.
    """
    now = settings()
    return bool(now["locked"]) and now["seed"] == seed


def take_staged() -> list[dict[str, Any]]:
    """The inputs that wait for the next message; they wait no longer.

    Returns:
        Parts.
    """
    staged = st.session_state.pop(STAGED, [])
    names = st.session_state.get("staged_names", {})
    return [
        {"type": media_id.split("-")[0], "media_id": media_id, "name": names.get(media_id, "")}
        for media_id in staged
    ]


def title_of(parts: list[dict[str, Any]]) -> str:
    """A chat's title from its first message.

    Args:
        parts: of the message.

    Returns:
        Its words, or what was attached.
    """
    text = " ".join(" ".join(p["text"] for p in parts if p["type"] == "text").split())
    if not text:
        kinds = [NAMES[p["type"]] for p in parts]
        text = f"About {', '.join(dict.fromkeys(kinds))}"
    return shorten(text, TITLE_LENGTH, placeholder="...") if " " in text else text[:TITLE_LENGTH]
