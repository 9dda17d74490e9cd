"""The suites, on an encoder and an answerer made of the toybox's own oracles, and on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.app.cli import main
from anygen.errors import BadArgument, MissingPart, OutOfMemory
from anygen.modality import GENERATED, MEDIA_INPUTS, Modality
from anygen.stages.evaluation.extractors import EXTRACTORS, Spectra, Thumbnails
from anygen.stages.evaluation.items import CAPTION, embed_items, own_items, toybox_items
from anygen.stages.evaluation.options import Subject, SuiteOptions
from anygen.stages.evaluation.report import format_rows
from anygen.stages.evaluation.suites import SUITES, run_suite
from anygen.stages.evaluation.toybox_requests import build_request
from anygen.toybox.dialogue_followups import complete_scene
from anygen.toybox.oracles import read
from anygen.toybox.render import render
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene

SEED = 5


class OracleEmbedder:
    """Unit vectors with a one for every attribute that the analytic oracles read."""

    def embed(self, **items: Any) -> dict[str, np.ndarray]:
        return {name: np.stack([self._one(Modality(name), x) for x in xs]) for name, xs in items.items()}

    def _one(self, modality: Modality, item: Any) -> np.ndarray:
        found = read(modality, item)
        vector = np.array(
            [found.get(name) == v for name, values in ATTRIBUTES.items() for v in values], np.float32
        )
        return vector / max(float(np.linalg.norm(vector)), 1e-6)


class Answerer:
    """Answers the requests of a suite: rightly, or without media where told to be silent."""

    def __init__(self, directions: list[str], count: int, *, silent: tuple[int, ...] = ()) -> None:
        self.known = {}
        for direction in directions:
            for index in range(count):
                request = build_request(direction, index, seed=SEED)
                self.known[request.seed] = (request, index in silent)

    def __call__(self, conversations: list[Any], *, seed: list[int], **more: Any) -> list[Any]:
        if len(seed) > 1 and any(self.known[s][1] for s in seed):
            raise OutOfMemory("Found no memory.")
        return [self._answer(*self.known[s]) for s in seed]

    def _answer(self, request: Any, silent: bool) -> Any:
        if silent:
            raise OutOfMemory("Found no memory.")
        media: dict[Modality, list[Any]] = {m: [] for m in GENERATED}
        asked: dict[str, str] = {}
        for attributes in request.asked.values():
            asked |= attributes
        for m in request.outputs:
            scene = complete_scene(asked, np.random.default_rng(1))
            media[m].append(render(scene, m, rng=np.random.default_rng(2)))
        images, audios, videos = (media[m] for m in GENERATED)
        return SimpleNamespace(text=request.answer, images=images, audios=audios, videos=videos)


def subject(directions: list[str], count: int, **options: Any) -> Subject:
    answerer = Answerer(directions, count, **options)
    return Subject(name="oracles", load_pipe=lambda: answerer, load_embedder=OracleEmbedder)


def rows_of(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    assert {"suite", "model", "data", "protocol", "seed", "versions", "seconds", "count"} <= set(report)
    json.dumps(report, allow_nan=False)
    assert report["model"] == "oracles" and format_rows(report)
    return {(row["what"], row["metric"]): row for row in report["rows"]}


def test_items_show_what_their_captions_say() -> None:
    items = toybox_items([Modality.THERMAL, Modality.IMU], 12, seed=0)
    assert all(set(item.labels) == {"size"} and len(item.captions) == 5 for item in items)
    again = toybox_items([Modality.THERMAL, Modality.IMU], 3, seed=0)
    first, second = items[2].media[Modality.THERMAL](), again[2].media[Modality.THERMAL]()
    assert np.array_equal(first.values, second.values)
    depth = toybox_items([Modality.DEPTH], 8, seed=0)
    vectors = embed_items(OracleEmbedder(), Modality.DEPTH, depth)
    texts = embed_items(OracleEmbedder(), Modality.TEXT, depth)
    assert np.allclose((vectors * texts).sum(axis=1), 1, atol=1e-5)
    other = toybox_items([Modality.DEPTH], 8, seed=0, stream=1)
    assert [i.captions for i in other] != [i.captions for i in depth]


def test_retrieval_of_a_perfect_encoder() -> None:
    options = SuiteOptions(count=10, seed=SEED, modalities=(Modality.TEXT, Modality.DEPTH, Modality.THERMAL))
    rows = rows_of(run_suite("retrieval", subject([], 0), options))
    assert {what for what, _ in rows} == {
        f"{a}-to-{b}" for a in ("text", "depth", "thermal") for b in ("text", "depth", "thermal") if a != b
    }
    assert all(row["value"] == 1 for row in rows.values())
    assert rows["text-to-thermal", "R@1"]["chance"] < 0.5 and rows["text-to-thermal", "R@1"]["low"] < 0.8


def test_zero_shot_of_a_perfect_encoder() -> None:
    options = SuiteOptions(count=8, seed=SEED, modalities=(Modality.DEPTH, Modality.IMU))
    rows = rows_of(run_suite("zero-shot", subject([], 0), options))
    assert rows["depth", "shape top-1"]["value"] == rows["imu", "motion top-1"]["value"] == 1
    assert rows["depth", "shape top-5"]["chance"] == pytest.approx(5 / 6, abs=1e-4)
    assert rows["imu", "size top-1"]["count"] < 8  # an IMU at rest does not show the size


def test_few_shots_of_a_perfect_encoder() -> None:
    options = SuiteOptions(count=10, seed=SEED, modalities=(Modality.DEPTH,), shots=(1, 2), trials=3)
    rows = rows_of(run_suite("few-shot", subject([], 0), options))
    assert {metric for _, metric in rows} == {
        f"{name} {shots}" for name in ("shape", "size") for shots in ("0-shot (text)", "1-shot", "2-shot")
    }
    assert rows["depth", "shape 2-shot"]["value"] > 0.9 and rows["depth", "shape 2-shot"]["count"] == 3
    assert rows["depth", "shape 0-shot (text)"]["value"] == 1


def test_captions_of_a_right_answerer() -> None:
    options = SuiteOptions(count=3, seed=SEED, modalities=(Modality.IMU,), batch_size=2)
    report = run_suite("captioning", subject(["imu-to-text"], 3, silent=(1,)), options)
    rows = rows_of(report)
    assert report["errors"] == {"imu": 1}
    assert rows["imu-to-text", "ROUGE-L"]["value"] == pytest.approx(2 / 3, abs=1e-5)
    assert rows["imu-to-text", "BLEU-4"]["low"] is None
    assert "pycocoevalcap" in report["versions"]


def test_distances_of_right_media() -> None:
    options = SuiteOptions(
        count=8, seed=SEED, modalities=(Modality.IMAGE,), extractors=("thumbnails", "encoder", "spectra")
    )
    report = run_suite("distance", subject(["text-to-image"], 8), options)
    rows = rows_of(report)
    assert {what for what, _ in rows} == {"image", "image by 8x8 thumbnails", "image by oracles encoder"}
    row = rows["image by oracles encoder", "Frechet distance"]
    assert 0 <= row["value"] < row["floor"]  # the answerer and the real media complete requests differently
    assert any("wants several times as many" in note for note in report["notes"])


def test_distances_want_extractors_and_media() -> None:
    options = SuiteOptions(count=8, seed=SEED, modalities=(Modality.IMAGE,), extractors=("fid",))
    with pytest.raises(MissingPart, match="Found extractor fid, which stands for a network whose weights do"):
        run_suite("distance", subject([], 0), options)
    with pytest.raises(BadArgument, match="thumbnail"):
        run_suite("distance", subject([], 0), SuiteOptions(extractors=("thumbnail",)))
    with pytest.raises(BadArgument, match="Found no extractor for these modalities"):
        options = SuiteOptions(modalities=(Modality.IMAGE,), extractors=("spectra",))
        run_suite("distance", subject([], 0), options)
    with pytest.raises(BadArgument, match="Found 2 media of image; expected four"):
        options = SuiteOptions(count=2, seed=SEED, modalities=(Modality.IMAGE,))
        run_suite("distance", subject(["text-to-image"], 2), options)


def test_likeness_of_right_images() -> None:
    options = SuiteOptions(count=4, seed=SEED, modalities=(Modality.IMAGE,))
    rows = rows_of(run_suite("similarity", subject(["text-to-image"], 4, silent=(3,)), options))
    assert rows["image", "present"]["value"] == 0.75
    what = "image by oracles encoder"
    assert rows[what, "similarity"]["count"] == 3
    assert rows[what, "similarity"]["value"] == pytest.approx(rows[what, "similarity, real"]["value"], abs=1)
    assert rows[what, "similarity"]["value"] > rows[what, "similarity, shuffled"]["value"] + 10


def test_coherence_of_right_answers() -> None:
    options = SuiteOptions(count=4, seed=SEED, modalities=(Modality.IMAGE, Modality.VIDEO))
    rows = rows_of(run_suite("coherence", subject(["text-to-all"], 4), options))
    row = rows["image-to-video by oracles encoder", "rank score"]
    assert row["value"] > 80 and row["count"] == 4
    with pytest.raises(BadArgument, match="Found modality image alone; expected two for coherence"):
        options = SuiteOptions(modalities=(Modality.IMAGE,))
        run_suite("coherence", subject([], 0), options)
    with pytest.raises(BadArgument, match="Found 1 answers with all media; expected two"):
        options = SuiteOptions(count=2, seed=SEED)
        run_suite("coherence", subject(["text-to-all"], 2, silent=(0,)), options)


def test_extractors_tell_media_apart() -> None:
    scenes = [Scene("star", "red", "small", "black", m) for m in ("still", "left")]
    rng = np.random.default_rng(0)
    for modality, extractor in ((Modality.VIDEO, Thumbnails()), (Modality.AUDIO, Spectra())):
        media = [render(scene, modality, rng=rng) for scene in scenes]
        features = extractor(modality, media)
        assert features.ndim == 2 and len(features) == 2 and np.isfinite(features).all()
        assert not np.allclose(features[0], features[1])
        assert np.array_equal(features, extractor(modality, media))
    assert set(EXTRACTORS) == {"encoder", "thumbnails", "spectra"}


def test_options_and_names_are_checked() -> None:
    with pytest.raises(BadArgument, match="Found count=0, batch_size=8, trials=5"):
        SuiteOptions(count=0)
    with pytest.raises(BadArgument, match=r"Found shots \(0,\)"):
        SuiteOptions(shots=(0,))
    with pytest.raises(BadArgument, match="retrieval"):
        run_suite("retrival", subject([], 0))
    with pytest.raises(MissingPart, match="Found modality text; expected one of image, audio"):
        run_suite("zero-shot", subject([], 0), SuiteOptions(modalities=(Modality.TEXT,)))
    assert set(REVEALS) == {Modality.TEXT, *MEDIA_INPUTS} and len(SUITES) == 7


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = []
    for number, color in enumerate(["red", "green", "blue", "red"]):
        Image.new("RGB", (16, 16), color).save(tmp_path / f"{number}.png")
        lines.append({"image": f"{number}.png", "caption": f"something {color}"})
    lines.append({"image": "0.png", "caption": "a red thing"})
    path = tmp_path / "pictures.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_own_data(manifest: Path) -> None:
    items = own_items(manifest, [Modality.IMAGE])
    assert [item.captions for item in items][:2] == [("something red", "a red thing"), ("something green",)]
    assert items[1].labels == {CAPTION: "something green"}
    assert items[2].media[Modality.IMAGE]().size == (16, 16)
    assert len(own_items(manifest, [Modality.IMAGE], 2)) == 2
    with pytest.raises(BadArgument, match="Found no entry of pictures.jsonl with a caption and audio"):
        own_items(manifest, [Modality.AUDIO])


def test_the_command_grades_a_real_model_on_own_data(
    manifest: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = manifest.with_name("report.json")
    common = ["--model", str(tiny_folder), "--data", str(manifest), "--quiet", "--json", str(report)]
    assert main(["eval", "retrieval", "--modalities", "text,image", *common]) == 0
    found = json.loads(report.read_text())
    assert found["data"] == "pictures.jsonl" and len(found["rows"]) == 8
    assert "text-to-image" in capsys.readouterr().out
    assert main(["eval", "similarity", "--modalities", "image", "--count", "2", *common]) == 0
    found = json.loads(report.read_text())
    assert found["rows"][0]["metric"] == "present" and found["rows"][0]["value"] == 1
