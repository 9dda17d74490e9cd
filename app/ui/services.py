"""The one engine, workspace and store of a server, and whose browser is asking.

All pages go through these functions; nothing here loads torch.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import streamlit as st

from anygen.app.command_app import environment_settings
from anygen.app.engine.client import EngineClient
from anygen.app.engine.workspace import Workspace
from anygen.app.store import Store

from .chat_runs import Runs
from .workspace import COOKIE, is_workspace_id, new_workspace_id


@dataclass(frozen=True, kw_only=True)
class Services:
    """What all sessions share."""

    engine: EngineClient
    """The model's process."""
    workspace: Workspace
    """Media files."""
    store: Store
    """Chats and records."""
    runs: Runs
    """Answers that are being made."""
    model: str
    """Name of the model."""


_lock = threading.Lock()
_services: list[Services] = []


def services() -> Services:
    """Start what all sessions share, once a server.

    Returns:
        The same object for all sessions and threads.
    """
    with _lock:
        if not _services:
            model, folder = environment_settings()
            folder.mkdir(parents=True, exist_ok=True)
            workspace = Workspace(folder / "media")
            store = Store(folder / "chats.sqlite", workspace)
            engine = EngineClient(model, workspace)
            runs = Runs(engine, store)
            _services.append(
                Services(engine=engine, workspace=workspace, store=store, runs=runs, model=model)
            )
        return _services[0]


def warm_up() -> None:
    """Begin to load the model before the first visitor asks."""
    services()


def visit() -> None:
    """Note that this page is open; when its connection ends, the engine hears of it."""
    _begin_visit(session())


def _end_visit(begun: tuple[EngineClient, str]) -> None:
    client, visitor = begun
    client.leave(visitor)


@st.cache_resource(scope="session", on_release=_end_visit, show_spinner=False)
def _begin_visit(visitor: str) -> tuple[EngineClient, str]:
    client = engine()
    client.arrive(visitor)
    return client, visitor


def close_services() -> None:
    """End the engine's process; the next call of `services` starts anew."""
    with _lock:
        while _services:
            _services.pop().engine.close()


def engine() -> EngineClient:
    """The model's process.

    Returns:
        The client that all sessions share.
    """
    return services().engine


def workspace() -> Workspace:
    """Where media lie.

    Returns:
        The workspace that all sessions share; its methods take the session.
    """
    return services().workspace


def store() -> Store:
    """Chats and records.

    Returns:
        The store that all sessions share; its methods take the session.
    """
    return services().store


def runs() -> Runs:
    """Answers that are being made.

    Returns:
        The table that all sessions share.
    """
    return services().runs


def session() -> str:
    """Whose browser is asking: the id of its cookie, which chats and media belong to.

    Returns:
        32 hexadecimal digits; without a cookie an id that lasts as long as the page.
    """
    cookie = st.context.cookies.get(COOKIE)
    if is_workspace_id(cookie):
        return str(cookie)
    return str(st.session_state.setdefault("workspace_id", new_workspace_id()))
