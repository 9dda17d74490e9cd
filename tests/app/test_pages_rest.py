from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.app.ui.model_page import amount, megabytes, own_memory, parts_chart, parts_table
from anygen.app.ui.page_pictures import COLD_AND_HOT, color_map, motion_chart, scale_bar, wave_picture
from anygen.app.ui.toybox_page import reading_chips, renderings
from anygen.checkpoints.inspection import inspect_model
from anygen.modality import Modality

SESSION = "0" * 32
SCENE = {"shape": "ring", "color": "orange", "size": "small", "background": "brown", "motion": "up"}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_model_page_tells_what_inspect_tells(open_page: Any) -> None:
    page = open_page("model_page")
    parts = inspect_model("toybox-tiny")
    values = {metric.label: metric.value for metric in page.metric}
    total, trained = (sum(getattr(p, name) for p in parts) for name in ("parameters", "trainable"))
    assert values["Parameters"] == amount(total)
    assert values["Trained share"] == f"{trained / total:.1%}"
    assert values["Device"] == "CPU" and values["Number type"] == "float32" and values["Waiting"] == "0"
    assert values["bfloat16"] == megabytes(2 * total)
    assert "Apache-2.0" in " ".join(text.value for text in page.markdown)
    assert list(page.dataframe[0].value["Part"]) == [part.name for part in parts]
    assert parts_table(parts)["Memory"][0] == pytest.approx(parts[0].parameters * 4 / 2**20)
    json.dumps(parts_chart(parts).to_dict())


def test_sizes_in_words() -> None:
    assert [amount(n) for n in (12, 1500, 29_600_000, 7_000_000_000)] == ["12", "1.5 K", "29.6 M", "7 B"]
    assert [megabytes(n) for n in (0, 5 * 2**20, 3 * 2**30)] == ["-", "5 MB", "3.0 GB"]
    assert own_memory() >= 0


def test_a_scene_is_picked_and_asked_with(open_page: Any, shared: Any) -> None:
    page = open_page("toybox_page")
    assert page.subheader[0].value == "A large yellow star moving right on a navy background"
    for name, value in SCENE.items():
        page.pills(key=f"toy_{name}").set_value(value)
    page.number_input(key="toy_seed").set_value(5).run()
    assert not page.exception
    assert page.subheader[0].value == "A small orange ring moving up on a brown background"
    assert "never shown in training" in " ".join(text.value for text in page.markdown)
    page.button(key="ask_imu").click().run()
    (media_id,) = page.session_state["staged"]
    assert page.session_state["draft"] == "How does it move?"
    record = shared.store.media_record(SESSION, media_id)
    assert record.modality == "imu" and record.origin == "given"
    page.button(key="ask_text").click().run()
    assert page.session_state["draft"].startswith("Show me ")
    page.button(key="toy_draw").click().run()
    assert not page.exception


def test_oracles_read_all_renderings() -> None:
    drawn = renderings(SCENE, 5)
    assert list(drawn) == [m.value for m in Modality]
    for name, rendering in drawn.items():
        assert rendering.reading, name
        assert all(SCENE[key] == value for key, value in rendering.reading.items()), name
    assert drawn["video"].shown[4:8] == b"ftyp"
    assert pixels(drawn["depth"].shown).shape == (256, 256, 3)


def test_chips_say_what_was_misread() -> None:
    chips = reading_chips({"shape": "star", "size": None, "color": "orange"}, SCENE)
    assert "shape: star, is ring" in chips and "size: not read, is small" in chips
    assert chips.count("&#10003;") == 1 and chips.count("&#10007;") == 2
    assert "&lt;b&gt;" in reading_chips({"shape": "<b>"}, SCENE)


def test_maps_have_fixed_scales() -> None:
    values = np.array([[-1.0, 0.0], [1.0, 9.0]])
    picture = pixels(color_map(values, low=0.0, high=1.0, ramp=COLD_AND_HOT, side=2))
    cold, hot = COLD_AND_HOT[0], COLD_AND_HOT[-1]
    assert [tuple(p) for p in picture.reshape(-1, 3).tolist()] == [cold, cold, hot, hot]
    bar = scale_bar(low="<0>", high="4 m", ramp=COLD_AND_HOT)
    assert "&lt;0&gt;" in bar and "4 m" in bar


def test_waves_and_traces() -> None:
    wave = pixels(wave_picture(np.concatenate([np.zeros(800), np.ones(800)])))
    assert wave[10, :300, 3].max() == 0 and wave[10, 330:, 3].max() == 255
    assert pixels(wave_picture(np.zeros((2, 1)))).shape == (120, 640, 4)
    chart = motion_chart(np.ones((6, 2000), np.float32), 400.0).to_dict()
    assert len(chart["vconcat"]) == 2 and len(json.dumps(chart)) < 400_000
