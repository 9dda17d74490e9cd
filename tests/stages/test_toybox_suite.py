from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from anygen.errors import BadArgument, OutOfMemory
from anygen.modality import Modality
from anygen.stages.evaluation.emergent import format_emergent, run_emergent
from anygen.stages.evaluation.grade import grade
from anygen.stages.evaluation.statistics import Tally, wilson_interval
from anygen.stages.evaluation.toybox_bars import BARS, HELD_OUT_COUNTED, check_bars
from anygen.stages.evaluation.toybox_requests import build_request
from anygen.stages.evaluation.toybox_suite import SUITE_DIRECTIONS, format_report, run_toybox_suite
from anygen.toybox.dialogue_followups import complete_scene
from anygen.toybox.dialogues import DIRECTIONS
from anygen.toybox.oracles import read
from anygen.toybox.render import render
from anygen.toybox.scene import ATTRIBUTES, Scene, is_held_out, sample_scene

GROUPS = {Modality.IMAGE: "images", Modality.AUDIO: "audios", Modality.VIDEO: "videos"}


def scene_with(attributes):
    """Complete attributes that may name a held-out pair, too."""
    if is_held_out(attributes):
        return Scene(**{**sample_scene(np.random.default_rng(0)).attributes(), **attributes})
    return complete_scene(attributes, np.random.default_rng(0))


class Answerer:
    """Answers requests that it was told of before: rightly, save for the seeds listed."""

    def __init__(self, directions, count, *, silent=(), failing=()):
        self.known = {}
        self.silent, self.failing, self.batches = silent, failing, []
        for direction in directions:
            for held_out in (False, True) if direction in HELD_OUT_COUNTED else (False,):
                for index in range(count):
                    request = build_request(direction, index, seed=5, held_out=held_out)
                    self.known[request.seed] = request
        self.order = list(self.known)

    def __call__(self, conversations, *, seed):
        self.batches.append(len(conversations))
        if any(self.order.index(s) in self.failing for s in seed):
            raise OutOfMemory("Found no memory.")
        return [self.answer(self.known[s], self.order.index(s) in self.silent) for s in seed]

    def answer(self, request, silent):
        media = {name: [] for name in GROUPS.values()}
        for modality in request.outputs if not silent else ():
            shown = render(scene_with(request.asked[modality]), modality, rng=np.random.default_rng(1))
            media[GROUPS[modality]].append(shown)
        return SimpleNamespace(text=request.answer, model="answerer", **media)


def suite(pipe, directions, count=4, **options):
    return run_toybox_suite(pipe, directions=directions, count=count, seed=5, batch_size=3, **options)


def test_right_answers_pass_every_bar():
    directions = ["text-to-image", "image-to-text", "text-to-all", "imu-to-text", "outside"]
    told = []
    report = suite(Answerer(directions, 4), directions, progress=told.append)
    assert report["passed"]
    assert {row["direction"] for row in report["bars"]} == set(directions) - {"outside"}
    assert all(row["share"] == 1.0 for row in report["bars"])
    image = report["directions"]["text-to-image"]
    assert image["held_out"]["media"]["image"]["pair"]["count"] == 2
    assert image["seen"]["same_words"]["share"] == image["seen"]["nothing_else"]["share"] == 1.0
    assert report["directions"]["outside"]["seen"]["nothing_else"]["share"] == 1.0
    assert told[0] == "text-to-image seen 0/4"
    assert json.loads(json.dumps(report)) == report
    assert "MISS" not in format_report(report)


def test_missing_media_count_as_wrong():
    report = suite(Answerer(["text-to-all"], 4, silent={1}), ["text-to-all"])
    scores = report["directions"]["text-to-all"]["seen"]
    assert scores["present"]["right"] == 3
    assert scores["presence"]["video"]["right"] == 3
    assert (report["presence"]["right"], report["presence"]["count"]) == (9, 12)
    assert scores["media"]["image"]["all"]["right"] == 3
    assert not report["passed"]
    assert scores["failures"][0]["found"]["image"] != scores["failures"][0]["asked"]["image"]
    assert "MISS  text-to-all" in format_report(report)


def test_a_failing_request_does_not_fail_its_batch():
    pipe = Answerer(["text-to-audio"], 4, failing={1})
    scores = suite(pipe, ["text-to-audio"])["directions"]["text-to-audio"]["seen"]
    assert pipe.batches == [3, 1, 1, 1, 1]
    assert scores["errors"] == {"out_of_memory": 1}
    assert scores["present"]["right"] == 3
    assert scores["failures"][0]["error"] == "out_of_memory: Found no memory."


def test_requests_are_fixed():
    one, two = (build_request("audio-to-image", 3, seed=5) for _ in range(2))
    assert (one.seed, one.asked, one.answer, one.text) == (two.seed, two.asked, two.answer, two.text)
    samples = [
        next(part["audio"] for part in r.conversation[0]["content"] if part["type"] == "audio").samples
        for r in (one, two)
    ]
    np.testing.assert_array_equal(*samples)
    assert build_request("audio-to-image", 4, seed=5).seed != one.seed


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_direction_makes_requests(direction):
    for index in range(3):
        request = build_request(direction, index, seed=1)
        assert request.conversation[-1]["role"] == "user"
        assert set(request.outputs) == set(request.asked) - {Modality.TEXT}
        for message in request.conversation:
            assert all(part["type"] in part for part in message["content"])


def test_bars_are_about_directions_of_the_suite():
    assert {bar.direction for bar in BARS} <= set(SUITE_DIRECTIONS)
    assert {"text-to-image", "text-to-video", "image-to-text", "video-to-text"} == HELD_OUT_COUNTED


def test_bars_compare_with_the_share():
    tally = Tally(right=17, count=20).as_dict()
    figures = {"text-to-image": {"held_out": {"media": {"image": {"pair": tally}}}}}
    (row,) = check_bars(figures)
    assert row["passed"]
    assert (row["least"], row["share"]) == (0.85, 0.85)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: suite(None, ["text-to-imagee"]), "text-to-imagee"),
        (lambda: suite(None, ["chat"], count=0), "Found count=0, batch_size=3; expected at least 1"),
        (lambda: wilson_interval(3, 2), "Found 3 right of 2"),
        (lambda: grade(Modality.TEXT, ["a"], []), "Found 1 items and 0 expectations"),
        (lambda: run_emergent(None, count=0), "Found count=0"),
        (lambda: run_emergent(None, modalities=[Modality.TEXT]), "Found text among the modalities"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadArgument, match=message):
        call()


def test_wilson_interval():
    low, high = wilson_interval(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)


def test_grade_counts_per_attribute():
    scene = Scene(shape="star", color="red", size="large", background="black", motion="still")
    image = render(scene, Modality.IMAGE, rng=np.random.default_rng(0))
    expected = [{"shape": "star", "color": "red"}, {"shape": "star", "color": "blue"}, {"shape": "star"}]
    assert grade(Modality.IMAGE, [image, image, None], expected) == {
        "shape": (2, 3),
        "color": (1, 2),
        "all": (1, 3),
    }
    assert grade(Modality.TEXT, ["a red star"], [{"color": "red"}]) == {"color": (1, 1), "all": (1, 1)}
    assert grade(Modality.IMAGE, [], []) == {}


class Reader:
    """Embeds what the oracles read: one axis for every value."""

    def embed(self, **items):
        return {
            name: np.stack([self.vector(Modality(name), item) for item in listed])
            for name, listed in items.items()
        }

    def vector(self, modality, item):
        reading = read(modality, item)
        axes = [float(reading.get(name) == value) for name, values in ATTRIBUTES.items() for value in values]
        vector = np.array([*axes, 0.1], np.float32)
        return vector / np.linalg.norm(vector)


def test_emergent_alignment_of_a_perfect_embedder():
    report = run_emergent(Reader(), count=8)
    assert report["passed"]
    assert set(report["modalities"]) == {"audio", "depth", "thermal", "imu"}
    audio = report["modalities"]["audio"]["seen"]
    assert audio["shape"]["share"] == audio["shape"]["bound"] == 1.0
    assert audio["shape"]["chance"] == round(1 / 6, 4)
    assert audio["motion"]["bound"] is None
    assert report["modalities"]["imu"]["held_out"]["size"]["count"] <= 8
    assert json.loads(json.dumps(report)) == report
    assert "pass  depth-text, mean 100.0%" in format_emergent(report)
