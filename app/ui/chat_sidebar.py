"""Beside every page: the chats of this browser, saving and loading them, and how the engine is."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from anygen.app.store import Chat
from anygen.errors import AnyGenError

from . import chat_actions as actions
from .components import CHAT_PAGE, sentence_of
from .services import engine, services, session, store
from .texts import literal

MOST_LISTED = 30
_STATES = {
    "ready": ":green[:material/check_circle:]",
    "loading": ":orange[:material/hourglass_top:]",
    "restarting": ":orange[:material/restart_alt:]",
    "failed": ":red[:material/error:]",
    "closed": ":gray[:material/power_off:]",
}


def sidebar() -> None:
    """Draw it."""
    with st.sidebar:
        if st.button(
            "New chat",
            icon=":material/add_comment:",
            key="new_chat",
            width="stretch",
            type="primary",
            shortcut="Ctrl+Shift+O",
        ):
            actions.show_chat(None)
            _go_to_chat()
        chats = store().chats(session())
        present = st.session_state.get(actions.CHAT) or st.query_params.get(actions.CHAT)
        with st.container(key="chats", gap=None):
            for chat in chats[:MOST_LISTED]:
                _entry(chat, shown=chat.id == present)
        if not chats:
            st.caption("Your chats will be listed here. They outlast reloads and restarts.")
        _files(next((chat for chat in chats if chat.id == present), None))
        _engine({"drawn": False})


def _go_to_chat() -> None:
    pages = st.session_state.get("pages", {})
    if CHAT_PAGE in pages:
        chat = st.session_state.get(actions.CHAT)
        st.switch_page(pages[CHAT_PAGE], query_params={actions.CHAT: chat} if chat else None)


def _entry(chat: Chat, *, shown: bool) -> None:
    with st.container(
        horizontal=True, key=f"chat_{'shown' if shown else 'other'}_{chat.id}", gap=None, wrap=False
    ):
        if st.button(
            literal(chat.title or "Chat"),
            key=f"open_{chat.id}",
            type="tertiary",
            width="stretch",
            wrap=False,
        ):
            actions.show_chat(chat.id)
            _go_to_chat()
        with st.popover(
            "", icon=":material/more_horiz:", type="tertiary", help="Rename or delete", key=f"menu_{chat.id}"
        ):
            title = st.text_input("Title", value=chat.title, max_chars=80, key=f"title_{chat.id}")
            if title.strip() and title != chat.title:
                store().rename_chat(session(), chat.id, title.strip())
                st.rerun()
            if st.button(
                "Delete this chat",
                icon=":material/delete:",
                key=f"delete_{chat.id}",
                help="What was made in it stays in the gallery",
            ):
                store().delete_chat(session(), chat.id)
                if shown:
                    actions.show_chat(None)
                st.rerun()


def _files(chat: Chat | None) -> None:
    with st.expander("Save and load", icon=":material/save:"):
        if chat is not None:
            mine, wanted = session(), chat.id
            st.download_button(
                "Save this chat",
                data=lambda: store().save_chat(mine, wanted),
                file_name="anygen-chat.zip",
                mime="application/zip",
                icon=":material/download:",
                key="save_chat",
                on_click="ignore",
                width="stretch",
                help="One file with all branches and media",
            )
        else:
            st.caption("Open a chat to save it.")
        given = st.file_uploader(
            "Load a saved chat", type=["zip"], key=f"load_chat_{st.session_state.get('loads', 0)}"
        )
        if given is not None:
            _load(given.getvalue())


def _load(data: bytes) -> None:
    try:
        with st.spinner("Loading the chat"):
            chat = store().load_chat(session(), data)
    except AnyGenError as error:
        st.error(sentence_of(error), icon=":material/error:")
        return
    st.session_state["loads"] = st.session_state.get("loads", 0) + 1
    actions.show_chat(chat.id)
    st.toast("The chat is loaded.")
    _go_to_chat()


@st.fragment(run_every=3.0)
def _engine(page: dict[str, bool]) -> None:
    """Draw how the engine is.

    Args:
        page: `drawn` tells the looks that the browser asks for from the first one, with the whole page.
    """
    if page["drawn"]:
        actions.confirm_address()
    page["drawn"] = True
    status = engine().status()
    with st.container(key="engine_status", gap="xxsmall"):
        name = literal(Path(services().model).name)
        st.caption(f"{_STATES.get(status.state, '')} **{name}**: {sentence_of(status.message)}")
        if status.state in ("loading", "restarting"):
            st.progress(min(1.0, max(0.0, status.progress)))
        if status.queued:
            st.caption(f":material/groups: {status.queued} waiting")
