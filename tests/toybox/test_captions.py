from __future__ import annotations

import itertools

import numpy as np
import pytest

from anygen.errors import BadArgument
from anygen.toybox.captions import background_phrase, caption, noun_phrase, paraphrase
from anygen.toybox.lexicon import (
    BACKGROUND_WORDS,
    COLOR_WORDS,
    SHAPE_NOUNS,
    SIZE_WORDS,
    pick_word,
    with_article,
)
from anygen.toybox.scene import ATTRIBUTES, sample_scene


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"shape": "star", "color": "red", "size": "small", "background": "black", "motion": "left"},
            "a small red star moving left on a black background",
        ),
        ({"motion": "still", "background": "navy"}, "a shape standing still on a navy background"),
        ({"size": "small", "color": "red"}, "a small red shape"),
        ({"color": "orange", "shape": "ring"}, "an orange ring"),
        ({"shape": "cross"}, "a cross"),
        ({"size": "large", "motion": "up"}, "a large shape moving up"),
    ],
)
def test_canonical_wording(attributes, expected):
    assert caption(attributes) == expected


def test_canonical_wording_ignores_the_order_of_the_mapping():
    scene = sample_scene(np.random.default_rng(0)).attributes()
    assert caption(scene) == caption(dict(reversed(scene.items())))


def test_canonical_captions_are_distinct():
    names = list(ATTRIBUTES)
    captions = {
        caption(dict(zip(names, values, strict=True))) for values in itertools.product(*ATTRIBUTES.values())
    }
    assert len(captions) == 1920


def test_paraphrases_are_many_and_follow_the_generator():
    scene = sample_scene(np.random.default_rng(3)).attributes()
    texts = {caption(scene, np.random.default_rng(i)) for i in range(1000)}
    assert len(texts) > 900
    assert caption(scene, np.random.default_rng(7)) == caption(scene, np.random.default_rng(7))


@pytest.mark.parametrize("say", [paraphrase, noun_phrase])
def test_phrases_fit_inside_a_sentence(say):
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = say(sample_scene(rng).attributes(), rng)
        assert text == text.lower()
        assert not text.endswith(".")


def test_paraphrase_leaves_its_argument_alone():
    scene = sample_scene(np.random.default_rng(0)).attributes()
    before = dict(scene)
    for i in range(50):
        paraphrase(scene, np.random.default_rng(i))
    assert scene == before


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "Found no attributes to describe; expected at least one of shape, color"),
        ({"weight": "heavy"}, "Found attribute 'weight'; expected one of shape"),
        ({"color": "pink"}, "Found color='pink'; expected one of red, orange"),
    ],
)
def test_bad_attributes(attributes, message):
    with pytest.raises(BadArgument, match=message):
        caption(attributes)


@pytest.mark.parametrize("table", [SHAPE_NOUNS, COLOR_WORDS, SIZE_WORDS, BACKGROUND_WORDS])
def test_no_synonym_names_two_values(table):
    words = [word for values in table.values() for word in values]
    assert len(words) == len(set(words))


def test_background_words_name_no_object_color():
    backgrounds = {word for words in BACKGROUND_WORDS.values() for word in words}
    assert not backgrounds & {word for words in COLOR_WORDS.values() for word in words}


def test_helpers():
    assert with_article("orange star") == "an orange star"
    assert with_article("red star") == "a red star"
    assert pick_word(np.random.default_rng(0), ("only",)) == "only"
    assert background_phrase("navy") == "on a navy background"
