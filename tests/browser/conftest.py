"""A server of the app on a free port, and Chromium to drive it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_driver import PATIENCE, ChatPage, Server, free_port

from anygen.media import save_media
from anygen.modality import Modality
from anygen.toybox import Scene, render


@pytest.fixture(autouse=True)
def _no_network() -> None:
    """Takes the place of the fixture that forbids connections: these tests talk to a server of their own."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("streamlit")
    running = Server(folder=tmp_path_factory.mktemp("app"), port=free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    if chromium is None:
        pytest.fail("found no Chromium on the PATH; install it, for example `apt-get install chromium`")
    with playwright.sync_playwright() as p:
        options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        options += ["--autoplay-policy=no-user-gesture-required"]
        running = p.chromium.launch(executable_path=chromium, args=options)
        yield running
        running.close()


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
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.grant_permissions(["microphone", "camera"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    visitor = ChatPage(page, server.url)
    visitor.open()
    yield visitor
    context.close()
