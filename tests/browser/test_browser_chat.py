"""The chat page in Chromium, with the bundled model: what a visitor does, step by step."""

from __future__ import annotations

import hashlib
import io
import re
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from app_driver import PATIENCE, ChatPage

from anygen.media import load_media
from anygen.modality import Modality

pytestmark = [pytest.mark.browser, pytest.mark.timeout(3600)]

PLAYING = "e => e.readyState === 4 && e.duration > 0"


def pixels(chat: Any, answer: Any) -> str:
    """Fingerprint of the first image of an answer as the browser has it."""
    source = answer.locator('[data-testid="stImage"] img').first.get_attribute("src")
    with urllib.request.urlopen(f"{chat.url}{source}" if source.startswith("/") else source) as file:
        image = load_media(Modality.IMAGE, file.read())
    return hashlib.sha256(image.tobytes()).hexdigest()


def wait_playable(page: Any, player: Any) -> float:
    """Wait until a player has its whole file; its duration."""
    player.wait_for()
    player.scroll_into_view_if_needed()
    page.wait_for_function(PLAYING, arg=player.element_handle(), timeout=PATIENCE)
    return float(player.evaluate("e => e.duration"))


def test_mixed_inputs_give_an_image_a_sound_and_a_video(chat: Any, inputs: dict[str, Path]) -> None:
    page = chat.page
    chat.shot("chat-empty")
    chat.quick()
    chat.choose_outputs("Image", "Sound", "Video")
    chat.attach(inputs["image"], inputs["audio"])
    chat.ask("Draw the sound in the color of the picture")
    live = page.locator('[class*="st-key-live_"]').first
    live.wait_for(timeout=PATIENCE)
    bar = page.get_by_test_id("stProgress").get_by_text(re.compile(r"step \d+ of \d+")).first
    bar.wait_for(timeout=3 * PATIENCE)
    chat.shot("chat-answering")
    before = bar.inner_text()
    page.wait_for_function(
        "([e, t]) => !e.isConnected || e.innerText !== t",
        arg=[bar.element_handle(), before],
        timeout=PATIENCE,
    )
    answer = chat.wait_answers(1)
    assert answer.inner_text().strip()
    assert answer.locator('[data-testid="stImage"] img').evaluate("e => e.complete && e.naturalWidth > 0")
    assert 1.9 < wait_playable(page, answer.locator("audio").first) < 2.3
    assert wait_playable(page, answer.locator("video").first) >= 1.0
    chat.shot("chat-finished")
    with page.expect_download() as waiting:
        answer.get_by_role("button", name="All files").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert archive.testzip() is None
    kinds = {"png": Modality.IMAGE, "wav": Modality.AUDIO, "mp4": Modality.VIDEO}
    found = {kinds[name.rsplit(".", 1)[1]] for name in archive.namelist()}
    assert found == set(kinds.values())
    for name in archive.namelist():
        load_media(kinds[name.rsplit(".", 1)[1]], archive.read(name))


def test_stop_keeps_what_is_there_and_the_next_request_works(chat: Any) -> None:
    page = chat.page
    chat.choose_outputs("Video")
    chat.ask("Make a video of a large green square moving left")
    page.get_by_test_id("stProgress").get_by_text(re.compile(r"Video: step")).first.wait_for(
        timeout=3 * PATIENCE
    )
    chat.stop_button.click()
    stopped = chat.wait_answers(1)
    assert "Stopped. What was ready is kept." in stopped.inner_text()
    assert stopped.locator("video").count() == 0
    chat.choose_outputs("Video")
    chat.ask("What is a small red star?")
    assert chat.wait_answers(2).inner_text().strip()


def test_seeds_branches_editing_and_use_this(chat: Any) -> None:
    page = chat.page
    chat.quick()
    chat.choose_outputs("Image")
    chat.ask("Show me a large blue ring")
    first = pixels(chat, chat.wait_answers(1))
    page.get_by_role("button", name="Same seed").click()
    page.get_by_text("2/2").wait_for(timeout=3 * PATIENCE)
    assert pixels(chat, chat.wait_answers(1)) == first
    page.get_by_role("button", name="New seed").click()
    page.get_by_text("3/3").wait_for(timeout=3 * PATIENCE)
    assert pixels(chat, chat.wait_answers(1)) != first
    page.get_by_role("button", name="Previous").click()
    page.get_by_text("2/3").wait_for()
    chat.settle()
    assert pixels(chat, chat.answers.first) == first

    page.get_by_role("button", name="Use this").first.click()
    page.locator(".st-key-tray").wait_for()
    chat.choose_outputs("Image")
    chat.ask("What is this?")
    chat.wait_answers(2)
    assert page.locator('[class*="st-key-input_image_"] img').count() == 1

    page.get_by_role("button", name="Edit").first.click()
    page.get_by_role("textbox", name="Message").fill("Show me a small red star")
    page.get_by_role("button", name="Ask this").click()
    page.get_by_text("Show me a small red star").first.wait_for()
    chat.wait_answers(1)
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("What shall we make?").or_(
        page.get_by_text("Show me a large blue ring")
    ).first.wait_for()


def test_a_chat_survives_reload_saving_and_loading(chat: Any, tmp_path: Path) -> None:
    page = chat.page
    chat.ask("Tell me what you can do")
    chat.wait_answers(1)
    page.reload()
    chat.wait_answers(1)
    page.get_by_text("Save and load").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save this chat").click()
    saved = tmp_path / "chat.zip"
    waiting.value.save_as(saved)
    page.get_by_role("button", name="New chat").click()
    page.get_by_text("What shall we make?").wait_for()
    page.get_by_test_id("stSidebar").locator("input[type=file]").set_input_files(str(saved))
    chat.wait_answers(1)
    assert page.locator('[class*="st-key-open_"]').count() == 2


def test_others_see_nothing_of_it(chat: Any, browser: Any) -> None:
    chat.ask("Tell me what you can do")
    chat.wait_answers(1)
    address = chat.page.url
    context = browser.new_context()
    stranger = context.new_page()
    stranger.goto(address)
    stranger.get_by_text("What shall we make?").wait_for(timeout=PATIENCE)
    assert stranger.locator('[class*="st-key-open_"]').count() == 0
    context.close()


def test_a_broken_file_is_a_sentence(chat: Any, tmp_path: Path) -> None:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"<html>no picture</html>")
    chat.attach(bad)
    chat.ask("What is this?")
    alert = chat.page.get_by_test_id("stAlert").first
    alert.wait_for()
    assert "broken.png" in alert.inner_text() and "Traceback" not in alert.inner_text()
    chat.shot("chat-error")
    assert chat.page.get_by_test_id("stChatInputTextArea").input_value() == "What is this?"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_cuts_nothing_off(server: Any, browser: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    chat = ChatPage(page, server.url)
    chat.open()
    page.get_by_text("What shall we make?").wait_for()
    chat.shot(f"phone-empty-{scheme}")
    chat.quick()
    chat.ask("Show me a small red star and play its sound")
    chat.wait_answers(1)
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('[data-testid=stMain] :is(button, img, audio, video)')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []
    chat.shot(f"phone-finished-{scheme}")
    background = page.evaluate(
        "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
    )
    shades = [int(x) for x in re.findall(r"\d+", background)[:3]]
    assert (sum(shades) > 3 * 128) == (scheme == "light")
    context.close()
