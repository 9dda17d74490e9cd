"""The pages of the app with a real store and workspace, before a quick stand-in for the engine process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SESSION = "0" * 32
"""Whose browser the tests are."""

Open = Callable[..., Any]
"""`open_page("gallery") -> AppTest`."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What all pages share, in a new folder."""
    from anygen.app.engine.client import EngineClient
    from anygen.app.engine.types import Limits
    from anygen.app.engine.workspace import Workspace
    from anygen.app.store import Store
    from anygen.app.ui import services
    from anygen.app.ui.chat_runs import Runs

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    services.close_services()
    workspace = Workspace(tmp_path / "media")
    store = Store(tmp_path / "chats.sqlite", workspace)
    engine = EngineClient("toybox-tiny", workspace, Limits(spare_after=-1), worker="pages_worker")
    runs = Runs(engine, store)
    shared = services.Services(
        engine=engine, workspace=workspace, store=store, runs=runs, model="toybox-tiny"
    )
    services._services.append(shared)
    yield shared
    services.close_services()


@pytest.fixture
def open_page(shared: Any) -> Open:
    """Run a page: `open_page(name, **state)` gives an AppTest that has run once."""
    from streamlit.testing.v1 import AppTest

    assert shared.engine.wait_ready(120)

    def begin(name: str, **state: Any) -> AppTest:
        script = f"from anygen.app.ui import {name}\n{name}.page()"
        test = AppTest.from_string(script, default_timeout=240)
        test.session_state["workspace_id"] = SESSION
        for key, value in state.items():
            test.session_state[key] = value
        test.run()
        assert not test.exception, test.exception
        return test

    return begin
