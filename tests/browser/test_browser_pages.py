"""The pages beside the chat, the themes and the phone, in Chromium with the bundled model."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from app_driver import DIALOG, PATIENCE, ChatPage, visiting
from hostile_files import hostile_files
from playwright.sync_api import expect

from anygen.app.ui.workspace import COOKIE
from anygen.media import load_media
from anygen.modality import Modality

pytestmark = [pytest.mark.browser, pytest.mark.timeout(3600)]

PAGES = ("chat", "gallery", "mixer", "model", "toybox")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def test_the_gallery_filters_compares_downloads_uses_and_deletes(maker: ChatPage) -> None:
    page = maker.page
    maker.visit("Gallery")
    cards = page.locator('[class*="st-key-gallery_card_"]')
    expect(cards).to_have_count(4)
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop === 0")
    _wait_even(page, '[class*="st-key-gallery_card_"]')
    maker.shot("gallery", whole=True)
    page.locator(".st-key-gallery_kind").get_by_text("Image 2").click()
    expect(cards).to_have_count(2)

    toolbar = page.locator(".st-key-gallery_toolbar")
    for number in range(2):
        cards.nth(number).get_by_text("Select", exact=True).click()
        expect(toolbar).to_contain_text(f"{number + 1} selected")
    page.get_by_role("button", name="Compare").click()
    dialog = page.locator(DIALOG)
    dialog.locator("img").nth(1).wait_for()
    expect(dialog.locator("table")).to_contain_text("Seed")
    maker.shot("gallery-compare")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")

    archive = zipfile.ZipFile(io.BytesIO(maker.save(page.get_by_role("button", name="Download 2"))))
    settings = json.loads(archive.read("settings.json"))
    assert archive.testzip() is None and len(settings) == 2
    assert len({entry["settings"]["seed"] for entry in settings}) == 2
    for entry in settings:
        assert load_media(Modality.IMAGE, archive.read(entry["file"])).width >= 32
    page.get_by_role("button", name="Select none").click()
    expect(toolbar).not_to_contain_text("selected")
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(0)
    page.locator(".st-key-gallery_kind").get_by_text("Image 2").click()
    expect(cards).to_have_count(4)
    archive = zipfile.ZipFile(io.BytesIO(maker.save(page.get_by_role("button", name="Download all 4"))))
    assert sorted(name.rsplit(".", 1)[1] for name in archive.namelist()) == [
        "json",
        "png",
        "png",
        "wav",
        "wav",
    ]

    page.get_by_role("button", name="Open").first.click()
    dialog.locator("table").wait_for()
    maker.shot("gallery-open")
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_test_id("stPopoverBody").get_by_role("button", name="Delete").click()
    dialog.wait_for(state="hidden")
    expect(cards).to_have_count(3)
    cards.first.get_by_role("button", name="Use").click()
    page.locator(".st-key-tray").wait_for()


def test_an_image_and_a_sound_are_mixed(maker: ChatPage, inputs: dict[str, Path]) -> None:
    page = maker.page
    maker.visit("Mixer")
    maker.shot("mixer-empty")
    page.get_by_role("button", name="Add files").click()
    uploader = page.get_by_test_id("stPopoverBody").locator("input[type=file]")
    uploader.set_input_files([str(inputs["image"]), str(inputs["audio"])])
    cards = page.locator('[class*="st-key-mix_card_"]')
    cards.nth(1).wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Nearest in the toybox").wait_for(timeout=3 * PATIENCE)
    page.locator('[class*="st-key-near_scene_"] img').nth(3).wait_for(timeout=3 * PATIENCE)
    expect(page.locator(".st-key-mixer_similarity").get_by_test_id("stVegaLiteChart")).to_be_visible()
    _wait_even(page, '[class*="st-key-mix_card_"]')
    cards.first.get_by_role("slider").press("ArrowRight")
    page.get_by_text("The blend: 1.1 \u00d7 image + sound").wait_for()

    page.locator(".st-key-mixer_go button").click()
    result = page.locator(".st-key-mixer_result_card")
    result.locator("img").wait_for(timeout=3 * PATIENCE)
    maker.wait_drawn(result.locator("img"))
    expect(result).to_contain_text("+1.1 image, +1 sound")
    page.locator('[class*="st-key-near_scene_"] img').nth(3).wait_for(timeout=3 * PATIENCE)
    maker.shot("mixer", whole=True)
    result.get_by_role("button", name="Use in chat").click()
    page.locator('[class*="st-key-staged_image-"] img').first.wait_for()


def test_the_model_page_tells_what_is_loaded(maker: ChatPage) -> None:
    page = maker.page
    maker.visit("Model")
    page.get_by_test_id("stVegaLiteChart").locator("canvas, svg").first.wait_for()
    told = page.get_by_test_id("stMain")
    for word in ("toybox-tiny", "Parameters", "Trained share", "CPU", "float32", "bfloat16", "Apache-2.0"):
        expect(told).to_contain_text(word)
    expect(told).to_contain_text(re.compile(r"Engine memory\D*[1-9]\d* MB"))
    maker.shot("model", whole=True)


def test_a_toybox_scene_is_drawn_and_asked_with(maker: ChatPage) -> None:
    page = maker.page
    maker.visit("Toybox")
    page.locator(".st-key-toy_shape").get_by_text("ring", exact=False).click()
    page.locator(".st-key-toy_color").get_by_text("green", exact=False).click()
    page.locator("h3").filter(has_text="A large green ring moving right").wait_for()
    expect(page.locator('[class*="st-key-toy_card_"]')).to_have_count(7)
    # the words are drawn last: once they are the new scene's, no player of the old one is left
    expect(page.locator(".st-key-toy_card_text")).to_contain_text("shape: ring", timeout=PATIENCE)
    for kind in ("image", "depth", "thermal"):
        maker.wait_drawn(page.locator(f".st-key-toy_card_{kind} img").first)
    assert 1.9 < maker.wait_playable(page.locator(".st-key-toy_card_audio audio")) < 2.3
    assert maker.wait_playable(page.locator(".st-key-toy_card_video video")) >= 1.0
    page.get_by_test_id("stMain").evaluate("e => e.scrollTo(0, 0)")
    maker.shot("toybox", whole=True)
    page.locator(".st-key-toy_card_imu").get_by_role("button", name="Ask with this").click()
    page.locator('[class*="st-key-staged_imu-"] img').wait_for()
    expect(page.get_by_test_id("stChatInputTextArea")).to_have_value("How does it move?")


def test_the_theme_is_switched_and_remembered(chat: ChatPage) -> None:
    chat.wait_scheme("light")
    chat.scheme("Dark")
    chat.wait_scheme("dark")
    chat.page.reload()
    chat.page.get_by_text("What shall we make?").wait_for()
    chat.wait_scheme("dark")
    chat.scheme("Light")
    chat.wait_scheme("light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_on_a_phone_and_in_both_themes(
    maker: ChatPage, server: Any, browser: Any, scheme: str
) -> None:
    state = maker.page.context.storage_state()
    with visiting(server, browser, state=state, color_scheme=scheme, **PHONE) as phone:
        for name in PAGES:
            phone.goto(name)
            if name == "mixer":
                phone.page.get_by_role("button", name="A red ring").click()
                phone.page.locator('[class*="st-key-near_scene_"] img').nth(3).wait_for(timeout=3 * PATIENCE)
            phone.wait_scheme(scheme)
            assert phone.cut_off() == [], name
            phone.shot(f"phone-{name}-{scheme}", whole=True)
            if scheme == "dark":
                phone.page.set_viewport_size({"width": 1280, "height": 900})
                phone.shot(f"{name}-dark", whole=True)
                phone.page.set_viewport_size(PHONE["viewport"])


def test_hostile_files_are_sentences_and_leave_nothing(server: Any, browser: Any, tmp_path: Path) -> None:
    endings = (".png", ".jpg", ".gif", ".wav", ".mp3", ".mp4", ".mkv")
    files = [f for f in hostile_files() if f.refused and f.kind is None and f.name.endswith(endings)]
    chosen = list({file.name: file for file in files if 0 < len(file.data) < 100_000}.values())[::4]
    for file in chosen:
        (tmp_path / file.name).write_bytes(file.data)
    with visiting(server, browser) as visitor:
        visitor.open()
        visitor.attach(*(tmp_path / file.name for file in chosen))
        visitor.ask("What are these?")
        told = visitor.page.locator(".st-key-composer").get_by_test_id("stAlert").locator("li")
        told.nth(len(chosen) - 1).wait_for(timeout=3 * PATIENCE)
        for file, sentence in zip(chosen, told.all_inner_texts(), strict=True):
            assert sentence.startswith(f"{file.name}: ") and len(sentence) < 300, sentence
            assert not re.search(r"0x[0-9a-f]{4}|Traceback|/tmp|/home|site-packages", sentence), sentence
        visitor.attach(_good(tmp_path))
        visitor.ask("What is this?")
        visitor.wait_answers(1)
        visitor.attach(_good(tmp_path), tmp_path / chosen[0].name)
        visitor.ask("And this?")  # the good file is kept for the next message
        visitor.page.locator(".st-key-tray img").wait_for()
        cookies = {cookie["name"]: cookie["value"] for cookie in visitor.page.context.cookies()}
        place = server.folder / "workspace" / "media" / cookies[COOKIE]
        assert _temporary(place)
    end = time.monotonic() + PATIENCE / 1000
    while _temporary(place) and time.monotonic() < end:
        time.sleep(0.5)
    assert _temporary(place) == []


def _wait_even(page: Any, cards: str) -> None:
    """Wait until cards are drawn and all as high as their neighbours."""
    page.wait_for_function(
        """cards => {
          const heights = [...document.querySelectorAll(cards)].map(e => e.getBoundingClientRect().height);
          return Math.min(...heights) > 100 && Math.max(...heights) - Math.min(...heights) <= 2;
        }""",
        arg=cards,
    )


def _good(folder: Path) -> Path:
    from PIL import Image

    path = folder / "good.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def _temporary(place: Path) -> list[str]:
    """Files of a visitor that wait for a message."""
    return [path.name for path in (place / "temporary").rglob("*") if path.is_file()]


def test_chats_outlive_the_server(maker: ChatPage, server: Any) -> None:
    maker.goto("chat")
    maker.page.get_by_text("Show me a large blue ring").first.click()
    maker.wait_answers(1)
    server.stop()
    server.start()
    maker.page.reload()
    answer = maker.wait_answers(1)
    maker.wait_drawn(answer.locator('[data-testid="stImage"] img'))
    maker.page.get_by_text("The engine is ready").wait_for(timeout=3 * PATIENCE)
