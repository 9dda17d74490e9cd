from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.app.ui.page_mix_near import cosines, nearest, similarity_chart

SESSION = "0" * 32


def weights(page: Any) -> list[float]:
    return [slider.value for slider in page.slider]


def until_made(page: Any, what: str) -> None:
    end = time.monotonic() + 60
    while what not in page.session_state and time.monotonic() < end:
        time.sleep(0.2)
        page.run()
    assert not page.exception, page.exception


def words(page: Any) -> str:
    return " ".join(str(e.value) for e in [*page.markdown, *page.caption, *page.info, *page.error])


def test_the_blend_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from anygen.app.ui import mixer, page_mix_items

    parts = [
        ({"type": "audio", "media_id": "a"}, "1 sound"),
        ({"type": "text", "text": "red"}, "2 \u201cred\u201d"),
    ]
    items = [page_mix_items.Item(key=k, part=part, label=label) for k, (part, label) in enumerate(parts)]
    monkeypatch.setattr(page_mix_items, "weight_of", lambda item: (1.1, -1.0)[item.key])
    assert mixer.formula(items) == "**The blend:** 1.1 \u00d7 sound \u2212 \u201cred\u201d"


def test_an_example_is_mixed(open_page: Any, shared: Any) -> None:
    page = open_page("mixer")
    assert "begin with one of these" in words(page)
    page.button(key="mixer_recipe_1").click().run()
    assert not page.exception
    assert weights(page) == [1.0, -1.0, 1.0]
    assert page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")
    assert "a large" in words(page) or "a small" in words(page)
    page.number_input(key="mixer_seed").set_value(7).run()
    page.number_input(key="mixer_image_num_inference_steps").set_value(4).run()
    page.slider(key="mix_weight_2").set_value(0.5).run()
    page.button(key="mixer_go").click().run()
    until_made(page, "mixer_result")
    (record,) = shared.store.media(SESSION, origin="made")
    assert page.session_state["mixer_result"] == record.id
    assert record.settings["seed"] == 7 and record.settings["options"] == {"num_inference_steps": 4}
    assert [item["weight"] for item in record.settings["inputs"]] == [1.0, -1.0, 0.5]
    page.button(key="mixer_again").click().run()
    assert weights(page) == [1.0, -1.0, 0.5, 1.0]
    page.button(key="mixer_use").click().run()
    assert page.session_state["staged"] == [record.id]
    assert not page.exception


def test_inputs_come_and_go(open_page: Any, shared: Any) -> None:
    stored = shared.workspace.add(SESSION, Image.fromarray(np.full((16, 16, 3), 9, np.uint8)))
    shared.store.add_media(SESSION, stored.id, origin="given")
    page = open_page("mixer")
    page.text_input(key="mixer_words").set_value("  a   <b>star</b> ").run()
    page.button(key=f"mixer_gallery_{stored.id}").click().run()
    assert [slider.label.split("] ")[-1].split(": ")[-1] for slider in page.slider][1].endswith("2 image")
    page.button(key="mix_out_0").click().run()
    assert len(page.slider) == 1 and page.slider[0].label.endswith("1 image")
    shared.store.delete_media(SESSION, stored.id)
    page.run()
    assert not page.slider and not page.exception
    page.text_input(key="mixer_words").set_value("   ").run()
    assert not page.slider
    for number in range(14):
        page.text_input(key="mixer_words").set_value(f"word {number}").run()
    assert len(page.slider) == 12
    assert "at most 12 inputs" in words(page)
    page.button(key="mixer_clear").click().run()
    assert not page.slider


def test_uploads(open_page: Any) -> None:
    page = open_page("mixer")
    page.file_uploader[0].set_value(("evil/../x.png", b"not an image", "image/png")).run()
    assert not page.exception
    assert "x\\.png" in words(page) and not page.slider


@pytest.mark.parametrize(
    ("text", "sentence"), [("break", "The blend broke; change a weight."), ("wait", "Stopped.")]
)
def test_endings(open_page: Any, text: str, sentence: str) -> None:
    page = open_page("mixer")
    page.text_input(key="mixer_words").set_value(text).run()
    page.button(key="mixer_go").click().run()
    assert not page.exception
    if text == "wait":
        (stop,) = [button for button in page.button if button.label == "Stop"]
        stop.click().run()
    end = time.monotonic() + 30
    while sentence not in words(page) and time.monotonic() < end:
        time.sleep(0.1)
        page.run()
    assert sentence in words(page) and not page.button(key="mixer_go").disabled


def test_inputs_that_cancel_out(open_page: Any) -> None:
    page = open_page("mixer")
    page.text_input(key="mixer_words").set_value("blue").run()
    page.slider[0].set_value(0.0).run()
    assert "cancel each other out" in words(page)


def test_arithmetic() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 0]]
    np.testing.assert_array_equal(cosines(2 * vectors)[0], [1, 0, 1])
    assert nearest(vectors[0], vectors, 2) == [(0, 1.0), (2, 1.0)]
    chart = similarity_chart(["1 a", "2 b", "3 c"], vectors, vectors.sum(0)).to_dict()
    rows = chart.get("data", chart["layer"][0].get("data"))["values"]
    assert len(rows) == 16 and {row["one"] for row in rows} == {"1 a", "2 b", "3 c", "the blend"}
    alone = similarity_chart(["1 a", "2 b"], vectors[:2], 0 * vectors[0]).to_dict()
    assert len(alone.get("data", alone["layer"][0].get("data"))["values"]) == 4
