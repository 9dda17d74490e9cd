"""A server of the app on a free port, and Chromium to drive it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anygen.media import save_media
from anygen.modality import Modality
from anygen.toybox import Scene, render

PATIENCE = 90_000
"""Milliseconds: the machine may be busy."""

SHOTS = Path(os.environ.get("ANYGEN_SCREENSHOTS", "build/screenshots"))


@dataclass
class Server:
    """A running app."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "anygen.app.cli", "app", "--no-browser", "--quiet"]
        command += ["--port", str(self.port), "--workspace", str(self.folder / "workspace")]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.3)
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(autouse=True)
def _no_network() -> None:
    """Takes the place of the fixture that forbids connections: these tests talk to a server of their own."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        pytest.skip("Chromium is not installed")
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


class ChatPage:
    """What a visitor does on the chat page."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url

    def open(self, path: str = "") -> None:
        self.page.goto(f"{self.url}{path}")
        self.page.get_by_test_id("stChatInput").wait_for(timeout=PATIENCE)

    def attach(self, *files: Path) -> None:
        chat_input = self.page.get_by_test_id("stChatInput")
        chat_input.locator("input[type=file]").first.set_input_files([str(f) for f in files])
        for file in files:
            chat_input.get_by_text(file.name).wait_for(timeout=PATIENCE)

    def ask(self, text: str) -> None:
        box = self.page.get_by_test_id("stChatInputTextArea")
        box.fill(text)
        box.press("Enter")

    @property
    def answers(self) -> Any:
        return self.page.locator('[class*="st-key-answer_"]')

    @property
    def stop_button(self) -> Any:
        return self.page.get_by_role("button", name="Stop", exact=False)

    def wait_answers(self, count: int) -> Any:
        """Wait until so many answers are finished; the last one."""
        self.answers.nth(count - 1).wait_for(timeout=3 * PATIENCE)
        assert self.answers.count() == count
        self.settle()
        return self.answers.nth(count - 1)

    def settle(self) -> None:
        """Wait until the page runs nothing."""
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'",
            timeout=PATIENCE,
        )

    def choose_outputs(self, *names: str) -> None:
        bar = self.page.locator(".st-key-composer_bar")
        for name in names:
            bar.get_by_role("button", name=name).click()
            self.settle()

    def quick(self) -> None:
        """Few steps for everything."""
        self.page.get_by_role("button", name="Settings").click()
        self.page.get_by_role("radio", name="Draft").or_(
            self.page.get_by_test_id("stPopoverBody").get_by_role("button", name="Draft")
        ).first.click()
        self.settle()
        self.page.keyboard.press("Escape")

    def shot(self, name: str, *, full: bool = False) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=full)


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
