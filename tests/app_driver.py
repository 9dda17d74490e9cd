"""A server of the app, and what a visitor does on its pages, for tests in a browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 1000 * int(os.environ.get("ANYGEN_TEST_PATIENCE", "90"))
"""Milliseconds that one thing may take; the environment's seconds, for a machine that is busy."""

NEXT_RUN = """patience => new Promise((done, failed) => {
  const app = document.querySelector("[data-testid=stApp]");
  const watching = new MutationObserver(() => { watching.disconnect(); done(); });
  watching.observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]});
  setTimeout(() => failed(new Error("the page did not run again")), patience);
})"""
"""Waits in the browser until an idle page runs: a run may be over before it could be asked from outside."""

SHOTS = Path(os.environ.get("ANYGEN_SCREENSHOTS", "build/screenshots"))

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
PLAYING = "e => e.readyState === 4 && e.duration > 0"

SAID = "[data-testid=stMarkdown]:not(:has([data-testid=stCaptionContainer]))"
"""The words of an answer, without captions."""

WATCH = """said => {
  window.words = []; window.steps = [];
  const note = (list, value) => { if (value && list[list.length - 1] !== value) list.push(value); };
  new MutationObserver(() => {
    const live = document.querySelector('[class*="st-key-growing_"]');
    if (!live) return;
    note(window.words, [...live.querySelectorAll(said)].map(e => e.innerText.trim()).join(' ').trim());
    for (const bar of live.querySelectorAll('[data-testid=stProgress]')) {
      const found = bar.innerText.match(/^(\\w+): step (\\d+) of/);
      if (found) note(window.steps, found[1] + ' ' + found[2]);
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
"""Notes what the live answer says and which steps its bars tell, as the page changes."""

DIALOG = "[role=dialog]:not([data-testid=stPopoverBody])"
"""A dialog over the page; popovers have the same role."""

MOVED = """() => {
  const medium = told => told && told.split(' ')[0];
  return window.steps.some((told, place) => medium(told) === medium(window.steps[place - 1]));
}"""
"""Whether a bar was seen to move from one step to another."""

LAST = {
    "chat": "[data-testid=stChatInput]",
    "gallery": '[class*="st-key-gallery_card_"]',
    "mixer": ".st-key-mixer_recipe_2",
    "model": "h3:has-text('Licences')",
    "toybox": ".st-key-toy_card_text",
}
"""What a page draws last when it is opened, but for more of the same."""

BRIGHTNESS = """getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor
  .match(/\\d+/g).slice(0, 3).reduce((sum, x) => sum + Number(x), 0) / 3"""
"""Of the page's background, 0 to 255."""

TALLEST = 4000
"""Pixels of a picture of a whole page."""

PAGE_HEIGHT = """innerHeight - document.querySelector('[data-testid=stMain]').clientHeight
  + document.querySelector('[data-testid=stMain]').scrollHeight"""
"""Of a window that shows the whole page without scrolling."""

EIGHT_STEPS = '[class*="st-key-image_num_inference_steps"] input[value="8"]'
"""The field in the settings, once it has what the preset Draft puts there."""

CUT_OFF = """() => {
  const wide = [], seen = e => e.offsetParent && e.getClientRects().length;
  if (document.documentElement.scrollWidth > innerWidth) wide.push('the page scrolls sideways');
  const main = '[data-testid=stMain]';
  const solid = 'button, img, audio, video, input:not([type=range]), textarea, svg';
  for (const e of document.querySelectorAll(`${main} :is(${solid})`)) {
    const { left, right, width } = e.getBoundingClientRect();
    if (seen(e) && width > 1 && (right > innerWidth + 1 || left < -1)) wide.push(e.outerHTML.slice(0, 160));
  }
  for (const e of document.querySelectorAll(main + ' :is(button, h1, h2, h3, label, p)')) {
    const hidden = getComputedStyle(e).overflowX === 'hidden';
    const cut = e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 2;
    if (seen(e) && hidden && cut) wide.push('cut: ' + e.innerText.slice(0, 80));
  }
  return wide;
}"""
"""What of the page reaches over the edge of the window or is cut where it stands."""


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


def find_chromium() -> str:
    """Path of the system's Chromium.

    Raises:
        AssertionError: there is none; the tests fail then, they are not left out.
    """
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    assert found, "found no Chromium on the PATH; install it, for example `apt-get install chromium`"
    return found


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

    def visit(self, name: str) -> None:
        """Go to a page by its link."""
        self.page.get_by_role("link", name=name).first.click()
        self.page.locator("h1").filter(has_text=name).wait_for()
        self.page.locator(LAST[name.lower()]).first.wait_for()

    def goto(self, path: str) -> None:
        """Open a page by its address; the chat's is the root."""
        self.page.goto(f"{self.url}/{'' if path == 'chat' else path}")
        self.page.locator(LAST[path]).first.wait_for()

    def wait_idle(self) -> None:
        """Wait until nothing is drawn; the model's page, which looks twice as often, may never be idle."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()

    def wait_look(self) -> None:
        """Wait until the idle page has asked how the engine is, which it does again and again."""
        self.wait_idle()
        self.page.evaluate(NEXT_RUN, PATIENCE)
        self.wait_idle()

    def scheme(self, name: str) -> None:
        """Choose the theme System, Light or Dark."""
        self.page.get_by_test_id("stMainMenu").get_by_role("button").first.click()
        self.page.get_by_test_id(f"stMainMenuItem-theme-{name}").click()
        self.page.keyboard.press("Escape")

    def wait_scheme(self, name: str) -> None:
        """Wait until the page is light or dark."""
        self.page.wait_for_function(BRIGHTNESS + (" > 200" if name == "light" else " < 60"))

    def cut_off(self) -> list[str]:
        """What of the whole page is cut off, once it is painted."""
        self.wait_painted()
        found: list[str] = self.page.evaluate(CUT_OFF)
        return found

    def wait_painted(self) -> None:
        """Wait until all pictures, tables and letters are there and the browser has painted twice."""
        self.page.wait_for_function(
            """[...document.images].every(image => image.complete)
              && !document.querySelector('[data-testid=stSkeleton]')"""
        )
        self.page.evaluate(
            """() => document.fonts.ready.then(() => new Promise(done =>
              requestAnimationFrame(() => requestAnimationFrame(() => done()))))"""
        )

    def wait_drawn(self, picture: Any) -> None:
        """Wait until a picture has its pixels."""
        picture.wait_for()
        drawn = "e => e.complete && e.naturalWidth > 0"
        self.page.wait_for_function(drawn, arg=picture.element_handle(), timeout=PATIENCE)

    def wait_playable(self, player: Any) -> float:
        """Wait until a player has its whole file; its duration in seconds."""
        player.wait_for()
        player.scroll_into_view_if_needed()
        self.page.wait_for_function(PLAYING, arg=player.element_handle(), timeout=PATIENCE)
        return float(player.evaluate("e => e.duration"))

    def save(self, button: Any) -> bytes:
        """Press a download button; what came down."""
        with self.page.expect_download() as waiting:
            button.click()
        return Path(waiting.value.path()).read_bytes()

    def attach(self, *files: Path) -> None:
        chat_input = self.page.get_by_test_id("stChatInput")
        chat_input.locator("input[type=file]").first.set_input_files([str(f) for f in files])
        for file in files:
            chat_input.get_by_text(file.name, exact=True).first.wait_for(timeout=PATIENCE)

    def ask(self, text: str) -> None:
        """Write a message and send it as soon as it can be: not while a file is still on its way."""
        from playwright.sync_api import expect

        box = self.page.get_by_test_id("stChatInputTextArea")
        box.fill(text)
        expect(self.page.get_by_test_id("stChatInputSubmitButton")).to_be_enabled()
        box.press("Enter")

    @property
    def answers(self) -> Any:
        return self.page.locator('[class*="st-key-answer_"]')

    @property
    def stop_button(self) -> Any:
        """The one that ends an answer; a redraw may show its forerunner beside it for a moment."""
        return self.page.locator('[class*="st-key-stop_"] button').first

    def wait_answers(self, count: int) -> Any:
        """Wait until so many answers are finished; the last one."""
        self.page.wait_for_function(
            """count => document.querySelectorAll('[class*="st-key-answer_"]').length === count
              && !document.querySelector('[class*="st-key-live_"]')""",
            arg=count,
            timeout=3 * PATIENCE,
        )
        self.wait_idle()
        self.wait_painted()
        return self.answers.nth(count - 1)

    def choose_outputs(self, *names: str) -> None:
        """Press pills of what the answer must have; a second time takes them back."""
        from playwright.sync_api import expect

        bar = self.page.locator(".st-key-composer_bar")
        for name in names:
            self.wait_idle()
            pill = bar.get_by_role("button", name=name)
            wanted = "false" if pill.get_attribute("aria-pressed") == "true" else "true"
            pill.click()
            expect(pill).to_have_attribute("aria-pressed", wanted)

    def open_settings(self) -> Any:
        """Open the settings; their popover."""
        self.wait_idle()
        self.page.locator(".st-key-settings_popover button").click()
        settings = self.page.get_by_test_id("stPopoverBody")
        settings.wait_for()
        return settings

    def close_settings(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.get_by_test_id("stPopoverBody").wait_for(state="detached")

    def quick(self) -> None:
        """Few steps for everything."""
        settings = self.open_settings()
        settings.get_by_role("radio", name="Draft").click()
        settings.locator(EIGHT_STEPS).first.wait_for()
        self.close_settings()

    def shot(self, name: str, *, whole: bool = False) -> None:
        """Keep a picture of the window, or of the whole page, with all its images."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        window = self.page.viewport_size
        if whole:
            self.wait_painted()
            height = max(window["height"], self.page.evaluate(PAGE_HEIGHT))
            self.page.set_viewport_size({**window, "height": min(height, TALLEST)})
        self.wait_painted()
        self.page.screenshot(path=str(SHOTS / f"{name}.png"))
        self.page.set_viewport_size(window)


VISITORS: list[ChatPage] = []
"""Whose pages are open."""


@contextmanager
def visiting(server: Server, browser: Any, *, state: Any = None, **options: Any) -> Iterator[ChatPage]:
    """A visitor with a browser profile of their own, or with the cookies of another's `state`."""
    window = {
        "viewport": {"width": 1280, "height": 900},
        "accept_downloads": True,
        "reduced_motion": "reduce",
        **options,
    }
    context = browser.new_context(storage_state=state, **window)
    context.grant_permissions(["microphone", "camera"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    visitor = ChatPage(page, server.url)
    VISITORS.append(visitor)
    try:
        yield visitor
    except Exception:
        shot_failed()
        raise
    finally:
        VISITORS.remove(visitor)
        context.close()  # or its pages go on asking the server


def shot_failed() -> None:
    """Keep pictures of all open pages when a test fails."""
    test = re.sub(r"\W+", "-", os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].split(" ")[0])
    SHOTS.mkdir(parents=True, exist_ok=True)
    for number, visitor in enumerate(VISITORS):
        visitor.page.screenshot(path=str(SHOTS / f"failed-{test}-{number}.png"))
