from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anygen.errors import BadArgument, BadMedia, BadText, LimitExceeded
from anygen.media import IMU, Audio, Depth, MediaLimits, Thermal, Video, save_media
from anygen.messages import (
    MAX_MEDIA_PARTS,
    MAX_TEXT_CHARACTERS,
    MediaPart,
    Message,
    TextPart,
    is_batch,
    parse_conversation,
    to_dicts,
)
from anygen.modality import Modality

IMAGE = Image.new("RGB", (8, 8), "red")
AUDIO = Audio(np.linspace(-1, 1, 800, dtype=np.float32)[None], 8_000)
VIDEO = Video(np.zeros((2, 8, 8, 3), np.uint8), 8.0)
MAP = np.zeros((8, 8), np.float32)
TRACE = IMU(np.ones((6, 8), np.float32), 100.0)

OBJECTS = {
    Modality.IMAGE: IMAGE,
    Modality.AUDIO: AUDIO,
    Modality.VIDEO: VIDEO,
    Modality.DEPTH: Depth(MAP),
    Modality.THERMAL: Thermal(MAP),
    Modality.IMU: TRACE,
}

valid_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def arrays(part: MediaPart) -> np.ndarray:
    """The numbers of a part, for comparison."""
    names = {"audio": "samples", "video": "frames", "depth": "meters", "thermal": "values", "imu": "samples"}
    return np.asarray(part.media if part.modality == "image" else getattr(part.media, names[part.modality]))


def test_a_text_is_a_user_turn() -> None:
    expected = [Message("user", (TextPart("hello"),))]
    assert parse_conversation("hello") == expected
    assert parse_conversation(expected) == expected
    assert parse_conversation(expected[0]) == expected
    assert parse_conversation([{"role": "user", "content": "hello"}]) == expected
    assert parse_conversation(user({"type": "text", "text": "hello"})) == expected
    assert parse_conversation(({"role": "user", "content": (TextPart("hello"),)},)) == expected
    assert expected[0].text == "hello"


@given(
    turns=st.lists(
        st.tuples(
            st.sampled_from(["user", "assistant"]),
            st.lists(st.one_of(valid_text, st.sampled_from(list(OBJECTS))), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_dictionaries_round_trip(turns: list[tuple[Any, list[Any]]]) -> None:
    messages = [
        Message(
            role,
            tuple(
                MediaPart(part, OBJECTS[part]) if isinstance(part, Modality) else TextPart(part)
                for part in [*parts, "."]
            ),
        )
        for role, parts in turns
    ]
    again = parse_conversation(to_dicts(messages))
    assert [message.role for message in again] == [message.role for message in messages]
    for one, two in zip(messages, again, strict=True):
        assert one.text == two.text
        for before, after in zip(one.parts, two.parts, strict=True):
            if isinstance(before, MediaPart):
                assert isinstance(after, MediaPart)
                assert after.modality is before.modality
                np.testing.assert_array_equal(arrays(before), arrays(after))


def test_rates_survive_the_round_trip() -> None:
    messages = [Message("user", tuple(MediaPart(modality, media) for modality, media in OBJECTS.items()))]
    parts = {part.modality: part.media for part in parse_conversation(to_dicts(messages))[0].parts}  # type: ignore[union-attr]
    assert parts[Modality.AUDIO].sample_rate == 8_000
    assert parts[Modality.VIDEO].fps == 8.0
    assert parts[Modality.IMU].sample_rate == 100.0


def test_media_by_path_and_object(tmp_path: Path) -> None:
    save_media(IMAGE, tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    for part in (
        {"type": "image", "image": path},
        {"type": "image", "path": path},
        {"type": "image", "path": tmp_path / "a.png", "image": None, "url": None},
        {"type": "image", "image": IMAGE},
        {"type": "image", "image": np.asarray(IMAGE)},
    ):
        (found,) = parse_conversation(user(part))[0].parts
        assert isinstance(found, MediaPart)
        np.testing.assert_array_equal(np.asarray(found.media), np.asarray(IMAGE))
    for modality, media in OBJECTS.items():
        (found,) = parse_conversation(user({"type": modality, str(modality): media}))[0].parts
        assert isinstance(found, MediaPart)
        assert found.modality is modality


def test_a_system_message_comes_first() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert [message.role for message in parse_conversation(turns)] == ["system", "user"]
    with pytest.raises(BadArgument, match="message 2 has role system, expected it first only"):
        parse_conversation(turns[::-1])
    with pytest.raises(BadText, match="only a system message, expected at least one user message"):
        parse_conversation(turns[:1])


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("", BadText, "message 1 is empty, expected some text or media"),
        (" \n\t", BadText, "message 1 is empty, expected some text or media"),
        ([], BadText, "conversation is empty, expected at least one user message"),
        (user(), BadText, "message 1 is empty"),
        (None, BadArgument, "conversation is NoneType, expected a text or a list of messages"),
        ({"role": "user", "content": "x"}, BadArgument, "conversation is dict, expected .* wrap one message"),
        ([3], BadArgument, "message 1 is int, expected a dictionary with role and content"),
        ([{"content": "x"}], BadArgument, "message 1 has no role, expected role and content"),
        ([{"role": "user"}], BadArgument, "message 1 has no content, expected role and content"),
        ([{"role": "robot", "content": "x"}], BadArgument, "message 1: found role 'robot', expected one of"),
        ([{"role": 3, "content": "x"}], BadArgument, "message 1: found role int, expected one of system"),
        ([{"role": "user", "content": 3}], BadArgument, "message 1: content is int, expected a text or a"),
        ([{"role": "user", "content": "x", "name": "Al"}], BadArgument, "has the key 'name', expected only"),
        (user("x"), BadArgument, "message 1, part 1 is str, expected a dictionary with type"),
        (user({"text": "x"}), BadArgument, "part 1 has type NoneType, expected one of text, image, audio,"),
        (user({"type": "smell"}), BadArgument, "has type 'smell', expected one of text, image, audio,"),
        (user({"type": "text"}), BadText, "message 1, part 1: text is NoneType, expected str"),
        (user({"type": "text", "text": 3}), BadText, "message 1, part 1: text is int, expected str"),
        (user({"type": "text", "text": "x", "image": 3}), BadArgument, "has the key 'image', expected only"),
        (user({"type": "image"}), BadArgument, "has 0 sources, expected one of the keys image and path"),
        (user({"type": "image", "image": MAP, "path": "x"}), BadArgument, "has 2 sources, expected one of"),
        (user({"type": "image", "path": MAP}), BadArgument, "path is ndarray, expected a path; use the key"),
        (user({"type": "image", "audio": MAP}), BadArgument, "has the key 'audio', expected only type,"),
        (user({"type": "image", "image": MAP, "fps": 3}), BadArgument, "has the key 'fps', expected only"),
        (user({"type": "image", "image": "none.png"}), BadMedia, "message 1, part 1: 'none.png': found no"),
        (user({"type": "audio", "audio": AUDIO.samples}), BadMedia, "part 1: audio array: .* give"),
        (user({"type": "audio", "audio": AUDIO.samples, "fps": 3}), BadArgument, "expected only .*,"),
        (user({"type": "audio", "audio": "a.wav", "sampling_rate": 9}), BadArgument, "found a rate for"),
        (user({"type": "video", "video": VIDEO.frames}), BadMedia, "expected frames a second; give fps"),
        (user({"type": "imu", "imu": MAP}), BadMedia, "expected numbers, 6 x n or n x 6"),
    ],
)  # fmt: skip
def test_what_is_refused(value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        parse_conversation(value)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "url": "http://127.0.0.1/a.png"},
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}},
        {"type": "audio", "base64": "AAAA"},
        {"type": "input_audio", "input_audio": {}},
    ],
)
def test_nothing_is_fetched(part: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match="which is never fetched; download the file and give its path"):
        parse_conversation(user(part))
    with pytest.raises(BadMedia, match="found a URL, expected a local file"):
        parse_conversation(user({"type": "image", "image": "https://127.0.0.1/a.png"}))


def test_texts_that_no_tokenizer_takes() -> None:
    for text, message in (
        ("a\0b", "text has a NUL character"),
        ("\ud800", "text has half a surrogate pair"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), "text has 32769 characters, the limit is 32768"),
    ):
        with pytest.raises(BadText, match=message):
            parse_conversation(text)
    assert parse_conversation("x" * MAX_TEXT_CHARACTERS)[0].text == "x" * MAX_TEXT_CHARACTERS


def test_amounts_are_counted_before_media_are_read() -> None:
    half = "x" * (MAX_TEXT_CHARACTERS // 2 + 1)
    turns = [{"role": "user", "content": half}, {"role": "assistant", "content": half}]
    with pytest.raises(BadText, match="conversation has 32770 characters, the limit is 32768; shorten it"):
        parse_conversation(turns)
    many = user(*[{"type": "image", "image": "none.png"}] * (MAX_MEDIA_PARTS + 1))
    with pytest.raises(LimitExceeded, match="conversation has 33 media, the limit is 32; leave some out"):
        parse_conversation(many)


def test_limits_reach_the_readers() -> None:
    limits = MediaLimits(max_pixels=10)
    for value in (
        user({"type": "image", "image": IMAGE}),
        [Message("user", (MediaPart(Modality.IMAGE, IMAGE),))],
    ):
        with pytest.raises(LimitExceeded, match="message 1, part 1: image: found 8 x 8 pixels"):
            parse_conversation(value, limits)


def test_parts_and_messages_check_themselves() -> None:
    with pytest.raises(BadArgument, match="found image media for a part of modality audio"):
        MediaPart(Modality.AUDIO, IMAGE)
    with pytest.raises(BadArgument, match="found str, expected a PIL image or an anygen"):
        MediaPart(Modality.IMAGE, "a.png")
    with pytest.raises(BadArgument, match="message parts are not a tuple"):
        Message("user", [TextPart("x")])  # type: ignore[arg-type]
    with pytest.raises(BadArgument, match="found role 'bot', expected one of system, user, assistant"):
        Message("bot", ())  # type: ignore[arg-type]


def test_batches() -> None:
    one = [{"role": "user", "content": "x"}]
    assert is_batch([one, one])
    assert is_batch([one])
    assert is_batch(["a", "b"])
    assert is_batch((one, "b"))
    for single in (one, "a", [], None, [Message("user", (TextPart("x"),))], {"role": "user"}):
        assert not is_batch(single)
    with pytest.raises(BadArgument, match="found conversations and messages in one list"):
        is_batch([one, one[0]])
