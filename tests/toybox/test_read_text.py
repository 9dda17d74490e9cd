from __future__ import annotations

import itertools

import numpy as np
import pytest

from anygen.toybox.captions import caption
from anygen.toybox.read_text import read_text
from anygen.toybox.scene import ATTRIBUTES, sample_scene


def named(text):
    return {name: value for name, value in read_text(text).items() if value is not None}


def subsets():
    return [names for k in range(1, 6) for names in itertools.combinations(ATTRIBUTES, k)]


def test_every_canonical_caption_reads_back():
    for names in subsets():
        for values in itertools.product(*(ATTRIBUTES[name] for name in names)):
            attributes = dict(zip(names, values, strict=True))
            assert named(caption(attributes)) == attributes


def test_paraphrases_read_back():
    rng = np.random.default_rng(11)
    wrong = []
    for i in range(4000):
        scene = sample_scene(rng, held_out=i % 5 == 0).attributes()
        names = subsets()[int(rng.integers(31))]
        attributes = {name: scene[name] for name in names}
        text = caption(attributes, rng)
        if named(text) != attributes:
            wrong.append((text, named(text)))
    assert len(wrong) <= 8, wrong[:10]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a tiny scarlet star.", {"size": "small", "color": "red", "shape": "star"}),
        (
            "A red star on a dark blue background drifting slowly to the left",
            {"color": "red", "shape": "star", "background": "navy", "motion": "left"},
        ),
        ("dark blue star on black", {"color": "blue", "shape": "star", "background": "black"}),
        ("a blue star on a blue background", {"color": "blue", "shape": "star", "background": "navy"}),
        (
            "a star, big, violet, background: charcoal",
            {"shape": "star", "size": "large", "color": "purple", "background": "gray"},
        ),
        (
            "The background is brown and the round object is white.",
            {"background": "brown", "shape": "circle", "color": "white"},
        ),
        ("It is not red, it is blue.", {"color": "blue"}),
        ("No, it is moving down.", {"motion": "down"}),
        ("It doesn't move.", {"motion": "still"}),
        ("nothing moves", {"motion": "still"}),
        ("the red ring is still moving up", {"color": "red", "shape": "ring", "motion": "up"}),
        ("It goes in the upward direction", {"motion": "up"}),
        (
            "cyan circle, right, gray background",
            {"color": "cyan", "shape": "circle", "motion": "right", "background": "gray"},
        ),
        ("It is gray.", {"background": "gray"}),
        ("changed from red to blue", {"color": "blue"}),
        ("a blue ring instead of a star", {"color": "blue", "shape": "ring"}),
        ("a red star plus a sound", {"color": "red", "shape": "star"}),
        ("a round doughnut", {"shape": "ring"}),
        ("two green squares", {"color": "green", "shape": "square"}),
    ],
)
def test_free_answers(text, expected):
    assert named(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot tell the color from a sound.",
        "That is outside my small world.",
        "You are all right, and there is nothing left.",
        "I know red and blue, circles and squares, small and large ones, black and gray.",
    ],
)
def test_what_names_nothing_single_is_none(text):
    assert read_text(text) == dict.fromkeys(ATTRIBUTES)


def test_case_does_not_matter():
    text = "A SMALL RED STAR MOVING LEFT ON A BLACK BACKGROUND"
    assert read_text(text) == read_text(text.lower())
