from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox import lexicon as lex
from anygen.toybox.captions import caption
from anygen.toybox.dialogue_answers import ONE_AT_A_TIME, OUTSIDE, UNKNOWN
from anygen.toybox.dialogue_types import user
from anygen.toybox.dialogues import (
    DIRECTIONS,
    EVAL_DIRECTIONS,
    HELD_OUT_DIRECTIONS,
    InputMedia,
    Signal,
    make_dialogue,
    sample_dialogue,
)
from anygen.toybox.read_text import read_text
from anygen.toybox.scene import HELD_OUT, REVEALS, Scene, is_held_out, sample_scene

SCENE = Scene(shape="star", color="red", size="small", background="black", motion="left")
GAP = r"(-colored)?( (small|large|big|tiny|little|huge|rising|falling|still))? "
PAIRS = re.compile(
    "|".join(
        rf"\b({'|'.join(lex.COLOR_WORDS[color])}){GAP}({'|'.join(lex.SHAPE_NOUNS[shape])})(s|es)?\b"
        for shape, color in sorted(HELD_OUT)
    )
)


def dialogues(direction, count=60, **options):
    return [make_dialogue(direction, np.random.default_rng(i), **options) for i in range(count)]


def test_training_never_shows_or_names_a_held_out_pair():
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        dialogue = sample_dialogue(rng)
        for turn in dialogue:
            assert not any(is_held_out(medium.scene.attributes()) for medium in turn.media)
            assert not any(is_held_out(signal.attributes) for signal in turn.signals)
            assert not PAIRS.search(turn.text.lower()), turn.text
        assert not any(is_held_out(attributes) for attributes in dialogue.asked.values())


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("split", ["train", "eval"])
def test_dialogues_are_well_formed(direction, split):
    for dialogue in dialogues(direction, split=split):
        assert dialogue.direction == direction
        roles = [turn.role for turn in dialogue.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(turn.parts for turn in dialogue.turns)
        assert all("{" not in turn.text and "  " not in turn.text for turn in dialogue.turns)
        answer = dialogue.turns[-1]
        assert not answer.media
        for turn in dialogue.turns:
            assert turn.role == "assistant" or not turn.signals
        shown = {signal.modality: signal.attributes for signal in answer.signals}
        assert len(shown) == len(answer.signals)
        assert {m: a for m, a in dialogue.asked.items() if m is not Modality.TEXT} == shown
        for modality, attributes in dialogue.asked.items():
            assert set(attributes) <= set(REVEALS[modality])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_signal_follows_its_own_canonical_caption(direction):
    for dialogue in dialogues(direction):
        for turn in dialogue.turns:
            for before, part in pairwise((None, *turn.parts)):
                if isinstance(part, Signal):
                    assert before is not None
                    assert before.endswith(f" of {caption(part.attributes)}.")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_dialogues_follow_the_generator(direction):
    assert dialogues(direction, 20) == dialogues(direction, 20)
    assert sample_dialogue(np.random.default_rng(4)) == sample_dialogue(np.random.default_rng(4))


@pytest.mark.parametrize("direction", sorted(HELD_OUT_DIRECTIONS))
def test_held_out_dialogues_are_about_a_held_out_pair(direction):
    for dialogue in dialogues(direction, held_out=True):
        assert any(is_held_out(attributes) for attributes in dialogue.asked.values())


@pytest.mark.parametrize("direction", EVAL_DIRECTIONS)
def test_reported_directions_answer_what_they_are_named_for(direction):
    source, _, output = (
        direction.replace("-edit-to-", "-to-").replace("image-edit", "image-to-image").partition("-to-")
    )
    wanted = {"image", "audio", "video"} if output == "all" else {output}
    for dialogue in dialogues(direction):
        assert {str(m) for m in dialogue.asked} == wanted
        assert [str(m.modality) for m in dialogue.turns[0].media] == ([] if source == "text" else [source])


@pytest.mark.parametrize(
    "direction", ["image-to-text", "video-to-text", "audio-to-text", "imu-to-text", "thermal-to-text"]
)
def test_descriptions_tell_all_that_the_medium_reveals(direction):
    for dialogue in dialogues(direction):
        medium = dialogue.turns[0].media[0]
        revealed = medium.scene.revealed(medium.modality)
        assert dialogue.asked == {Modality.TEXT: revealed}
        read = read_text(dialogue.turns[-1].text)
        assert {n: v for n, v in read.items() if v} == revealed


def test_requests_in_words_name_what_they_ask_for():
    for direction in ("text-to-image", "text-to-video", "text-to-audio"):
        read_back = 0
        for dialogue in dialogues(direction, 300, split="eval"):
            read = read_text(dialogue.turns[0].text)
            (asked,) = dialogue.asked.values()
            read_back += all(read[name] == value for name, value in asked.items())
        assert read_back >= 297


def test_edits_change_something_and_keep_the_rest():
    for dialogue in dialogues("image-edit"):
        before = dialogue.turns[0].media[0].scene.revealed(Modality.IMAGE)
        after = dialogue.asked[Modality.IMAGE]
        assert before.keys() == after.keys()
        assert 1 <= sum(before[name] != after[name] for name in before) <= 2


def test_wording_is_wide():
    for direction in (
        "image-to-audio",
        "audio-to-image",
        "image-edit",
        "image-to-text",
        "text-to-all",
        "outside",
    ):
        texts = {dialogue.turns[0].text.lower().strip(".?!") for dialogue in dialogues(direction, 300)}
        assert len(texts) > 150, direction


def test_reserved_wordings_are_for_evaluation_only():
    trained = {d.turns[0].text.lower().strip(".?!") for d in dialogues("image-to-text", 3000)}
    evaluated = {d.turns[0].text.lower().strip(".?!") for d in dialogues("image-to-text", 3000, split="eval")}
    assert "what is in this photo" in evaluated - trained


def test_what_is_outside_is_refused_in_words():
    answers = {OUTSIDE, ONE_AT_A_TIME, *UNKNOWN.values()}
    for dialogue in dialogues("outside", 200):
        assert dialogue.turns[-1].parts[0] in answers
        assert dialogue.asked == {}


def test_histories_bring_media_in_the_place_of_signals():
    kinds = {
        type(part) for d in dialogues("follow-up", 100) for turn in d.turns[1:-1:2] for part in turn.parts
    }
    assert kinds == {str, InputMedia, Signal}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_dialogue("text-to-smell", np.random.default_rng(0)), "Found direction 'text-to-smell'"),
        (
            lambda: make_dialogue("chat", np.random.default_rng(0), split="test"),
            "Found split 'test'; expected 'train'",
        ),
        (
            lambda: make_dialogue("chat", np.random.default_rng(0), held_out=True),
            "Found held_out=True for chat",
        ),
        (lambda: InputMedia(modality=Modality.TEXT, scene=SCENE), "Found input medium text"),
        (lambda: Signal(modality=Modality.DEPTH, attributes={"shape": "star"}), "Found signal for depth"),
        (lambda: Signal(modality=Modality.AUDIO, attributes={"color": "red"}), "Found color for audio"),
        (lambda: Signal(modality=Modality.IMAGE, attributes={}), "Found no attributes for image"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadArgument, match=message):
        call()


def test_turns():
    medium = InputMedia(modality=Modality.IMAGE, scene=sample_scene(np.random.default_rng(0)))
    turn = user(medium, "what is this?", "")
    assert turn.parts == (medium, "what is this?")
    assert turn.text == "what is this?"
    assert turn.media == (medium,)
