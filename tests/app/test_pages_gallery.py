from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.app.media_tags import InputTag, MediaTags
from anygen.app.records import MediaRecord
from anygen.app.ui.page_records import age, differences, file_name, rows_of, tags_of, zip_of
from anygen.config import to_json
from anygen.media import Audio
from anygen.modality import Modality

SESSION = "0" * 32


def settings(seed: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": "toybox-tiny",
        "modality": Modality.IMAGE,
        "seed": seed,
        "options": {"num_inference_steps": 25, "guidance_scale": 3.0},
    }
    found: dict[str, Any] = to_json(MediaTags(**{**values, **changes}))
    return found


@pytest.fixture
def made(shared: Any) -> list[str]:
    """Two pictures and a sound that the model made, and a picture that was attached."""
    ids = []
    for seed, gray in ((1, 40), (2, 90), (3, 200)):
        media: Any = Image.fromarray(np.full((16, 16, 3), gray, np.uint8))
        if seed == 3:
            media = Audio(np.sin(np.arange(1600, dtype=np.float32))[None] * 0.5, 16000)
        stored = shared.workspace.add(SESSION, media)
        kind = {"modality": Modality.AUDIO, "options": {}} if seed == 3 else {}
        shared.store.add_media(SESSION, stored.id, settings=settings(seed, **kind))
        ids.append(stored.id)
    given = shared.workspace.add(SESSION, Image.fromarray(np.zeros((16, 16, 3), np.uint8)))
    shared.store.add_media(SESSION, given.id, origin="given")
    return [*ids, given.id]


def cards(page: Any) -> list[str]:
    return [box.key.removeprefix("pick_") for box in page.checkbox]


def test_empty_gallery_says_what_to_do(open_page: Any) -> None:
    page = open_page("gallery")
    assert "kept here" in page.markdown[0].value
    page.button(key="gallery_ask").click().run()
    assert page.session_state["draft"] == "Show me a large yellow star on a navy background."


def test_filters(open_page: Any, made: list[str]) -> None:
    page = open_page("gallery")
    assert cards(page) == [made[2], made[1], made[0]]
    page.pills(key="gallery_kind").set_value("image").run()
    assert cards(page) == [made[1], made[0]]
    page.segmented_control(key="gallery_order").set_value("Oldest").run()
    assert cards(page) == [made[0], made[1]]
    page.segmented_control(key="gallery_origin").set_value("given").run()
    assert cards(page) == [made[3]]
    other = open_page("gallery", workspace_id="f" * 32)
    assert not other.checkbox and not other.exception


def test_selecting_comparing_and_deleting(open_page: Any, shared: Any, made: list[str]) -> None:
    page = open_page("gallery")
    assert page.button(key="gallery_compare").disabled
    page.checkbox(key=f"pick_{made[0]}").check().run()
    page.checkbox(key=f"pick_{made[1]}").check().run()
    assert page.download_button(key="gallery_zip").label == "Download 2"
    page.button(key="gallery_compare").click().run()
    assert not page.exception
    assert any("Seed" in str(table.value) for table in page.table)
    page.button(key="gallery_delete").click().run()
    assert any("cannot be undone" in text.value for text in page.markdown)
    page.button(key="confirm_delete").click().run()
    assert not page.exception
    assert [record.id for record in shared.store.media(SESSION, origin="made")] == [made[2]]
    assert cards(page) == [made[2]]


def test_opening_and_using(open_page: Any, shared: Any, made: list[str]) -> None:
    page = open_page("gallery")
    page.button(key=f"chat_{made[0]}").click().run()
    assert page.session_state["staged"] == [made[0]]
    page.button(key=f"open_{made[1]}").click().run()
    assert not page.exception and "25" in str(page.table[0].value)
    page.button(key=f"dialog_settings_{made[1]}").click().run()
    kept = shared.store.get_setting(SESSION, "chat")
    assert kept["seed"] == 2 and kept["locked"] and kept["image"]["num_inference_steps"] == 25


def test_settings_of_strangers_are_shown_as_text(open_page: Any, shared: Any) -> None:
    stored = shared.workspace.add(SESSION, Image.fromarray(np.zeros((16, 16, 3), np.uint8)))
    trap = "![x](https://example.org/x.png) - <b>bold</b>"
    shared.store.add_media(SESSION, stored.id, settings=settings(1, prompt=trap))
    page = open_page("gallery")
    page.button(key=f"open_{stored.id}").click().run()
    shown = page.table[0].value["Value"].iloc[-1]
    assert not page.exception
    assert shown.startswith("\\!\\[x\\]\\(https") and "\\<b" in shown


def test_pages_of_a_full_gallery(open_page: Any, shared: Any) -> None:
    for seed in range(15):
        stored = shared.workspace.add(SESSION, Image.fromarray(np.full((16, 16, 3), seed, np.uint8)))
        shared.store.add_media(SESSION, stored.id, settings=settings(seed))
    page = open_page("gallery", gallery_page=2)
    assert len(cards(page)) == 3
    Path(shared.store.media(SESSION)[-1].path).unlink()
    page.run()
    assert not page.exception


def test_zip_holds_files_and_what_made_them(shared: Any, made: list[str]) -> None:
    records = shared.store.media(SESSION, origin="made")
    Path(records[0].path).unlink()
    with zipfile.ZipFile(io.BytesIO(zip_of(records))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["002-image-seed2.png", "003-image-seed1.png", "settings.json"]
        listed = json.loads(archive.read("settings.json"))
        Image.open(io.BytesIO(archive.read("002-image-seed2.png"))).load()
    assert [entry["settings"]["seed"] for entry in listed] == [2, 1]


def record(**changes: Any) -> MediaRecord:
    values: dict[str, Any] = {
        "id": "image-0f3a9c",
        "modality": "image",
        "mime": "image/png",
        "path": "none",
        "settings": settings(5),
    }
    return MediaRecord(**{**values, **changes})


def test_words_for_settings() -> None:
    rows = rows_of(record())
    assert rows == {"Model": "toybox-tiny", "Seed": "5", "Steps": "25", "Guidance": "3"}
    inputs = (
        InputTag(modality=Modality.DEPTH, weight=-0.5),
        InputTag(modality=Modality.TEXT, text="blue"),
    )
    mixed = settings(5, inputs=inputs, blended=True, prompt="why")
    assert rows_of(record(settings=mixed))["Made from"] == "-0.5 depth map, +1 \u201cblue\u201d"
    assert rows_of(record(settings=mixed))["Prompt"] == "why"
    assert rows_of(record(settings={})) == {} and tags_of(record(settings={"seed": "x"})) is None
    assert differences([record(), record(settings=settings(6))]) == {"Seed": ["5", "6"]}
    assert differences([record(), record(settings={})])["Steps"] == ["25", "\u2013"]
    assert file_name(record()) == "anygen-image-seed5-0f3a9c.png"
    assert file_name(record(modality="depth", settings={}), 7) == "007-depth-map.npy"
    assert [age(0, now) for now in (-5, 59, 61, 7300, 200_000)] == [
        "just now", "just now", "1 min ago", "2 h ago", "2 d ago",
    ]  # fmt: skip
