"""The chat page."""

from __future__ import annotations

import html

import streamlit as st

from anygen.errors import AnyGenError

from . import chat_actions as actions
from .chat_composer import composer
from .chat_examples import examples
from .chat_turns import show_turns
from .services import runs, session, store
from .style import follow_end


def chat_page() -> None:
    """Draw the chat that is shown, or examples when it has not begun."""
    chat = actions.current_chat()
    turns = store().turns(session(), chat.id) if chat is not None else []
    chosen = None
    if chat is not None:
        _toolbar(chat.id, chat.title)
    if chat is not None and turns:
        show_turns(chat.id, turns)
        follow_end(turns[-1].id)
    else:
        chosen = examples()
    answering = bool(turns) and turns[-1].state == "running" and runs().get(turns[-1].id) is not None
    sent = composer(answering=answering)
    parts = sent or chosen
    if parts:
        try:
            actions.ask(parts)
        except AnyGenError as error:
            actions.notice(str(error))
        st.rerun()
    if st.session_state.get(actions.NOTICES):
        st.rerun()


def _toolbar(chat: str, title: str) -> None:
    with st.container(horizontal=True, key="chat_toolbar", vertical_alignment="center", gap="xsmall"):
        st.html(f'<h1 class="ag-title">{html.escape(title or "Chat")}</h1>')
        st.button(
            "Undo",
            icon=":material/undo:",
            type="tertiary",
            key="undo",
            help="Take back the last message and its answer",
            on_click=_undo,
            args=(chat,),
        )
        st.button(
            "Redo",
            icon=":material/redo:",
            type="tertiary",
            key="redo",
            help="Bring back what was undone",
            on_click=_redo,
            args=(chat,),
        )


def _redo(chat: str) -> None:
    store().redo(session(), chat)


def _undo(chat: str) -> None:
    turns = store().turns(session(), chat)
    if turns and turns[-1].state == "running":
        actions.stop(turns[-1].id)
    store().undo(session(), chat)
