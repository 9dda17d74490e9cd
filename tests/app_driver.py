"""A server of the app, and what a visitor does on its pages, for tests in a browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 1000 * int(os.environ.get("ANYGEN_TEST_PATIENCE", "90"))
"""Milliseconds that one thing may take; the environment's seconds, for a machine that is busy."""

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
        end = time.monotonic() + 2 * PATIENCE / 1000
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        self.page.wait_for_function(
            """count => document.querySelectorAll('[class*="st-key-answer_"]').length === count
              && !document.querySelector('[class*="st-key-live_"]')""",
            arg=count,
            timeout=3 * PATIENCE,
        )
        self.settle()
        return self.answers.nth(count - 1)

    def settle(self) -> None:
        """Wait until the page runs nothing; on a busy machine what polls may never pause, so not forever."""
        self.page.evaluate(
            """async () => {
              const idle = () =>
                document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning';
              await new Promise(r => setTimeout(r, 400));
              for (let i = 0; i < 600 && !idle(); i++) await new Promise(r => setTimeout(r, 25));
            }"""
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
