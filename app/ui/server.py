"""The server that `anygen app` becomes: Streamlit's, with a workspace cookie and an engine that starts along.

Streamlit runs this file as a script, so imports are absolute.
"""

from __future__ import annotations

import gc
import importlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from anygen.app.ui.services import close_services, warm_up
from anygen.app.ui.upload_replies import keep_upload_replies
from anygen.app.ui.workspace import WorkspaceCookie

LASTING = ("altair", *(f"anygen.app.ui.{page}" for page in ("gallery", "mixer", "model_page", "toybox_page")))
"""What pages load sooner or later, and never let go."""


def set_apart() -> None:
    """Load what lasts and let the collector pass over it.

    Streamlit collects after every run, and a page that follows an answer runs three times a second: among
    300,000 objects that stay, each collection held all other visitors up for 140 ms.
    """
    for name in LASTING:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def lifespan(server: st.App) -> AsyncIterator[dict[str, Any]]:
    """Start the engine with the server and end it with the server.

    Args:
        server: the app that starts.

    Yields:
        Nothing to remember.
    """
    warm_up()
    threading.Thread(target=set_apart, name="anygen-set-apart", daemon=True).start()
    try:
        yield {}
    finally:
        close_services()


keep_upload_replies()
app = st.App(Path(__file__).with_name("main.py"), lifespan=lifespan, middleware=[Middleware(WorkspaceCookie)])
