"""A server of the app on a free port, for the Chromium of all tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_driver import (
    PATIENCE,
    ChatPage,
    Server,
    free_port,
    shot_failed,
    visiting,
)

from anygen.media import save_media
from anygen.modality import Modality
from anygen.toybox import Scene, render


@pytest.fixture(autouse=True)
def _no_network() -> None:
    """Takes the place of the fixture that forbids connections: these tests talk to a server of their own."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep pictures of what a failed test saw."""
    report = yield
    if report.failed:
        shot_failed()
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(folder=tmp_path_factory.mktemp("app"), port=free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A PNG of a red star and a WAV of a rising ring."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    star = Scene(shape="star", color="red", size="small", background="gray", motion="still")
    ring = Scene(shape="ring", color="blue", size="large", background="black", motion="up")
    files = {"image": folder / "star.png", "audio": folder / "ring.wav"}
    save_media(render(star, Modality.IMAGE, rng=rng), files["image"])
    save_media(render(ring, Modality.AUDIO, rng=rng), files["audio"])
    return files


@pytest.fixture
def chat(server: Server, browser: Any) -> Iterator[ChatPage]:
    """A new visitor on the chat page."""
    with visiting(server, browser) as visitor:
        visitor.open()
        yield visitor


@pytest.fixture(scope="session")
def maker(server: Server, browser: Any) -> Iterator[ChatPage]:
    """A visitor who has made two pictures and two sounds."""
    with visiting(server, browser) as visitor:
        visitor.open()
        visitor.quick()
        visitor.choose_outputs("Image", "Sound")
        visitor.ask("Show me a large blue ring and play its sound")
        visitor.wait_answers(1)
        visitor.page.get_by_role("button", name="Again, new seed").click()
        visitor.page.get_by_text("2/2").wait_for(timeout=3 * PATIENCE)
        visitor.wait_answers(1)
        yield visitor
