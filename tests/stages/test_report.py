"""The report: one page that holds everything and asks nothing of any network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.app.cli import main
from anygen.errors import BadArgument
from anygen.media.types import Audio, Video
from anygen.modality import Modality
from anygen.stages.report import write_report
from anygen.stages.report.media import heat, levels
from anygen.stages.report.page import unique
from anygen.stages.report.runs import MAX_POINTS, read_run, thin
from anygen.stages.samples import KEPT_PER_GROUP, SampleFolder, read_samples

HOSTILE = "</script><script>alert('x')</script>"


def make_run(folder: Path, *, steps: int = 40, text: str = "a small red star") -> Path:
    folder.mkdir(parents=True)
    rows = [
        {"step": s, "seconds": s / 10, "lr": 0.1, "loss": 1 / s, "grad_norm": 0.5, "memory_mb": 300.0}
        for s in range(1, steps + 1)
    ]
    rows += [{"step": s, "eval/held_out/shape": s / steps} for s in (20, 40)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines + '{"step": 41, "lo')
    parts = {"unet": {"parameters": 10, "trainable": 10}, "vae": {"parameters": 30, "trainable": 0}}
    config = {"steps": steps, "batch_size": 4, "stage": "image-diffusion", "parts": parts}
    (folder / "config.json").write_text(json.dumps(config))
    show(folder / "samples" / "step-00000040", text)
    return folder


def show(folder: Path, text: str) -> None:
    rng = np.random.default_rng(0)
    with SampleFolder(folder) as samples:
        for _ in range(KEPT_PER_GROUP + 1):
            picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            samples.add("seen", Modality.IMAGE, picture, text)
        tone = np.sin(np.arange(8000) / 16000 * 2 * np.pi * 440).astype(np.float32)[None] / 2
        samples.add("held_out", Modality.AUDIO, Audio(tone, 16000), text)
        film = rng.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
        samples.add_all("held_out", Modality.VIDEO, [Video(film, 4.0)], [text])


def test_a_page_holds_everything(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", text=HOSTILE), make_run(tmp_path / "b" / "a")]
    out = tmp_path / "report.html"
    write_report(runs, out)
    page = out.read_text()
    assert (
        "a (2)" in page and "image-diffusion" in page and "10 (25.00 %)" in page and "held_out/shape" in page
    )
    assert page.count("<audio") == 2 and page.count("class='film'") == 2 and page.count("class='sound'") == 2
    assert page.count("<figure class='image'") == 2 * KEPT_PER_GROUP
    sources = re.findall(r"(?:src|href)=['\"]([^'\"]*)", page)
    assert sources and all(source.startswith("data:") for source in sources)
    assert "http://www.w3.org/2000/svg" in page  # the name of a namespace, never fetched
    assert page.replace("http://www.w3.org/2000/svg", "").count("http") == 1  # http-equiv
    assert page.count("<script") == 2 and HOSTILE not in page


def test_charts_have_what_was_logged(tmp_path: Path) -> None:
    found = read_run(make_run(tmp_path / "a"))
    assert found.step == 40 and found.scores == {"held_out/shape": 1.0}
    assert found.curves["samples_per_second"][-1][2] == pytest.approx(40.0)
    assert found.curves["loss"][0] == (1, pytest.approx(0.1 / 3600), 1.0)
    assert list(found.samples) == [40]


def test_long_curves_are_thinned() -> None:
    points = [(i, i / 10, float(i)) for i in range(10 * MAX_POINTS + 3)]
    thinned = thin(points)
    assert len(thinned) <= MAX_POINTS + 1 and thinned[-1] == points[-1]
    assert thinned[0][2] == pytest.approx(np.mean([p[2] for p in points[:11]]))


def test_a_tone_is_a_line_at_its_pitch() -> None:
    tone = np.sin(np.arange(16000) / 16000 * 2 * np.pi * 4000).astype(np.float32)
    found = levels(tone)
    brightest = found.shape[0] - 1 - found.mean(1).argmax()
    assert brightest == pytest.approx(4000 / 16000 * 512, abs=1)
    assert heat(np.array([0.0, 1.0])).tolist() == [[0, 0, 4], [252, 253, 191]]


def test_samples_of_a_failed_evaluation_do_not_appear(tmp_path: Path) -> None:
    place = tmp_path / "samples" / "step-00000001"
    with pytest.raises(RuntimeError), SampleFolder(place) as samples:
        samples.add("seen", Modality.IMAGE, Image.new("RGB", (8, 8)), "x")
        raise RuntimeError
    assert read_samples(tmp_path) == {}
    (tmp_path / "samples" / "step-00000002").mkdir(parents=True)
    (tmp_path / "samples" / "step-x").mkdir()
    assert read_samples(tmp_path) == {}


def test_a_damaged_sample_is_said_to_be_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    for path in (folder / "samples").rglob("*.wav"):
        path.write_bytes(b"no sound")
    write_report([folder], tmp_path / "report.html")
    assert "class='lost'" in (tmp_path / "report.html").read_text()


def test_names_are_told_apart() -> None:
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


def test_bad_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="Found no run"):
        write_report([], tmp_path / "x.html")
    with pytest.raises(BadArgument, match="Found no metrics.jsonl with rows"):
        write_report([tmp_path], tmp_path / "x.html")
    with pytest.raises(BadArgument, match="expected one that exists"):
        write_report([make_run(tmp_path / "a")], tmp_path / "none" / "x.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadArgument, match="Found no way to write folder"):
        write_report([tmp_path / "a"], tmp_path / "folder")


def test_the_command_writes_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["report", str(make_run(tmp_path / "a")), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out) and out.exists()


@pytest.mark.browser
def test_a_browser_draws_every_chart(tmp_path: Path, browser: Any) -> None:
    write_report([make_run(tmp_path / "a"), make_run(tmp_path / "b")], tmp_path / "report.html")
    page, asked, said = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri(), timeout=120_000)
    page.wait_for_selector("#charts svg path", state="attached")
    loss = page.locator(".chart").first
    assert loss.locator("h4").inner_text() == "loss"
    assert loss.locator("path:not(.raw)").count() == 2
    page.locator("[data-run='1']").uncheck()
    assert loss.locator("path:not(.raw)").count() == 1
    page.select_option("#axis", "hours")
    page.check("#log")
    loss.locator("svg").hover()
    assert loss.locator(".tip").inner_text().count("\n") == 1
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == [] and said == []
    page.close()
