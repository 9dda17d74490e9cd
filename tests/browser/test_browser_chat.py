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
from app_driver import DIALOG, EIGHT_STEPS, MOVED, PATIENCE, SAID, WATCH, visiting
from playwright.sync_api import expect

from anygen.media import load_media
from anygen.modality import Modality

pytestmark = [pytest.mark.browser, pytest.mark.timeout(3600)]


def pixels(chat: Any, answer: Any) -> str:
    """Fingerprint of the first image of an answer as the browser has it."""
    source = answer.locator('[data-testid="stImage"] img').first.get_attribute("src")
    with urllib.request.urlopen(f"{chat.url}{source}" if source.startswith("/") else source) as file:
        image = load_media(Modality.IMAGE, file.read())
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_mixed_inputs_give_an_image_a_sound_and_a_video(chat: Any, inputs: dict[str, Path]) -> None:
    page = chat.page
    chat.shot("chat-empty")
    chat.choose_outputs("Image", "Sound", "Video")
    chat.attach(inputs["image"], inputs["audio"])
    page.evaluate(WATCH, SAID)
    chat.ask("Draw the sound in the color of the picture")
    page.wait_for_function(MOVED, timeout=3 * PATIENCE)
    chat.shot("chat-answering")
    answer = chat.wait_answers(1)
    _check_growth(page, answer)
    chat.wait_drawn(answer.locator('[data-testid="stImage"] img'))
    assert 1.9 < chat.wait_playable(answer.locator("audio").first) < 2.3
    assert chat.wait_playable(answer.locator("video").first) >= 1.0
    chat.shot("chat-finished")
    archive = zipfile.ZipFile(io.BytesIO(chat.save(answer.get_by_role("button", name="All files"))))
    assert archive.testzip() is None
    kinds = {"png": Modality.IMAGE, "wav": Modality.AUDIO, "mp4": Modality.VIDEO}
    found = {kinds[name.rsplit(".", 1)[1]] for name in archive.namelist()}
    assert found == set(kinds.values())
    for name in archive.namelist():
        load_media(kinds[name.rsplit(".", 1)[1]], archive.read(name))


def _check_growth(page: Any, answer: Any) -> None:
    """What was seen live: words that the answer begins with, and steps that went on."""
    final = " ".join(text.strip() for text in answer.locator(SAID).all_inner_texts())
    grown = [words for words in page.evaluate("window.words") if final.startswith(words)]
    assert grown, (page.evaluate("window.words"), final)
    assert [len(words) for words in grown] == sorted(len(words) for words in grown), grown
    steps: dict[str, list[int]] = {}
    for medium, step in (told.split() for told in page.evaluate("window.steps")):
        steps.setdefault(medium, []).append(int(step))
    assert all(told == sorted(told) for told in steps.values()), steps


def test_stop_keeps_what_is_there_and_the_next_request_works(chat: Any) -> None:
    page = chat.page
    chat.choose_outputs("Video")
    chat.ask("Make a video of a large green square moving left")
    page.get_by_test_id("stProgress").get_by_text(re.compile(r"Video: step")).first.wait_for(
        timeout=3 * PATIENCE
    )
    chat.stop_button.click()
    stopped = chat.wait_answers(1)
    expect(stopped).to_contain_text("Stopped. What was ready is kept.")
    assert stopped.locator("video").count() == 0
    chat.choose_outputs("Video")
    chat.ask("What is a small red star?")
    expect(chat.wait_answers(2).locator(SAID).first).to_have_text(re.compile(r"\w+"))


def test_seeds_branches_editing_and_use_this(chat: Any) -> None:
    page = chat.page
    chat.quick()
    chat.choose_outputs("Image")
    chat.ask("Show me a large blue ring")
    first = pixels(chat, chat.wait_answers(1))
    page.get_by_role("button", name="Again, same seed").click()
    page.get_by_text("2/2").wait_for(timeout=3 * PATIENCE)
    assert pixels(chat, chat.wait_answers(1)) == first
    page.get_by_role("button", name="Again, new seed").click()
    page.get_by_text("3/3").wait_for(timeout=3 * PATIENCE)
    assert pixels(chat, chat.wait_answers(1)) != first
    page.get_by_role("button", name="Previous").click()
    page.get_by_text("2/3").wait_for()
    assert pixels(chat, chat.answers.first) == first

    page.get_by_role("button", name="Use this").first.click()
    page.locator(".st-key-tray").wait_for()
    chat.choose_outputs("Image")
    chat.ask("What is this?")
    chat.wait_answers(2)
    expect(page.locator('[class*="st-key-input_image_"] img')).to_have_count(1)

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
    chats = page.locator('[class*="st-key-open_"]')
    expect(chats).to_have_count(2)

    loaded = page.url
    chats.last.get_by_role("button").click()
    page.wait_for_url(lambda address: "?chat=" in address and address != loaded)
    chat.wait_answers(1)
    chat.wait_look()  # in which the server hears that the browser has the new address
    page.go_back()
    expect(page.locator(f".st-key-chat_shown_{loaded.split('=')[1]}")).to_be_visible()
    chat.wait_answers(1)
    assert page.url == loaded


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
    expect(alert).to_contain_text("broken.png: Image: found text or markup")
    expect(alert).not_to_contain_text("Traceback")
    expect(chat.page.get_by_test_id("stChatInputTextArea")).to_have_value("What is this?")
    chat.shot("chat-error")


def test_seeds_are_locked_and_come_back_with_a_file(chat: Any, tmp_path: Path) -> None:
    page = chat.page
    chat.quick()
    chat.choose_outputs("Image")
    chat.ask("Show me a small red star")
    answer = chat.wait_answers(1)
    seed = re.search(r"seed (\d+)", answer.inner_text())
    assert seed is not None
    lock = page.get_by_role("button", name=f"Seed {seed[1]}")
    expect(lock).to_contain_text("lock_open")  # the sign is a letter of a font with this name
    lock.click()
    expect(lock).not_to_contain_text("lock_open")
    chat.ask("Show me a small blue star")
    expect(chat.wait_answers(2)).to_contain_text(f"seed {seed[1]}")
    lock.last.click()
    expect(lock.last).to_contain_text("lock_open")
    made = tmp_path / "made.png"
    made.write_bytes(chat.save(answer.get_by_role("button", name="Download")))
    page.get_by_role("button", name="New chat").click()
    page.get_by_text("What shall we make?").wait_for()
    page.get_by_role("button", name="Attach as").click()
    dialog = page.locator(DIALOG)
    dialog.locator("input[type=file]").set_input_files(str(made))
    dialog.get_by_role("button", name="Attach", exact=True).click()
    page.get_by_role("button", name="Restore its settings").click()
    page.locator(".st-key-offer").wait_for(state="detached")
    settings = chat.open_settings()
    settings.locator(f'[class*="st-key-seed_"] input[value="{seed[1]}"]').wait_for()
    settings.locator(EIGHT_STEPS).wait_for()
    expect(page.locator(".st-key-offer")).to_have_count(0)
    chat.shot("chat-settings")


def test_variations_stand_side_by_side(chat: Any) -> None:
    page = chat.page
    chat.quick()
    settings = chat.open_settings()
    settings.get_by_role("slider").first.press("ArrowRight")
    settings.get_by_text("Your next message gets 2 answers").wait_for()
    chat.close_settings()
    chat.choose_outputs("Image")
    chat.ask("Show me a large yellow cross")
    first = pixels(chat, chat.wait_answers(1))
    expect(page.locator('[class*="st-key-variation_"] img')).to_have_count(2)
    chat.shot("chat-variations")
    page.get_by_role("button", name="Show 2").click()
    page.get_by_text("2/2").wait_for()
    assert pixels(chat, chat.answers.first) != first


def test_a_phone_answers_and_cuts_nothing_off(server: Any, browser: Any) -> None:
    size = {"width": 390, "height": 844}
    with visiting(server, browser, viewport=size, has_touch=True) as phone:
        phone.open()
        phone.page.get_by_text("What shall we make?").wait_for()
        assert phone.cut_off() == []
        phone.shot("phone-empty")
        phone.quick()
        phone.ask("Show me a small red star and play its sound")
        phone.wait_answers(1)
        assert phone.cut_off() == []
        phone.shot("phone-finished")
