from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from anygen.app.media_tags import KEY, MAX_BYTES, InputTag, MediaTags, embed_tags, read_tags
from anygen.errors import AnyGenError, BadArgument, BadMedia
from anygen.media import Audio, Video, load_media, load_tags, save_media
from anygen.modality import Modality

SUFFIX = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}


def medium(modality: Modality) -> Any:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    if modality is Modality.IMAGE:
        return Image.fromarray(frames[0])
    if modality is Modality.VIDEO:
        return Video(frames, 8.0)
    return Audio(rng.uniform(-0.5, 0.5, (1, 1601)).astype(np.float32), 16000)


def tags_for(modality: Modality, /, **changes: Any) -> MediaTags:
    values: dict[str, Any] = {
        "model": "toybox-tiny",
        "modality": modality,
        "seed": 2**62 + 1,
        "options": {"num_inference_steps": 8, "guidance_scale": 2.5},
        "text_options": {"temperature": 0.7, "do_sample": True},
        "outputs": (Modality.TEXT, modality),
        "inputs": (InputTag(modality=Modality.DEPTH, weight=-0.5), InputTag(modality=Modality.TEXT)),
    }
    return MediaTags(**{**values, **changes})


def as_array(modality: Modality, source: object) -> np.ndarray:
    loaded = load_media(modality, source)
    if modality is Modality.IMAGE:
        return np.asarray(loaded)
    return loaded.frames if modality is Modality.VIDEO else loaded.samples


@pytest.fixture(params=list(SUFFIX), ids=str)
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Modality, bytes]:
    path = tmp_path / f"plain{SUFFIX[request.param]}"
    save_media(medium(request.param), path, metadata={"Software": "anygen", "Model": "toybox-tiny"})
    return request.param, path.read_bytes()


def test_save_media_takes_them(tmp_path: Path) -> None:
    for modality, suffix in SUFFIX.items():
        path = tmp_path / f"tagged{suffix}"
        tags = tags_for(modality, prompt='a "star" \u2605\nwith a ring')
        save_media(medium(modality), path, metadata={"Software": "anygen", **tags.metadata()})
        assert read_tags(path) == tags
        assert read_tags(path.read_bytes()) == tags
        assert load_tags(path)["Software"] == "anygen"


def test_embedding_copies_the_streams(plain: tuple[Modality, bytes]) -> None:
    modality, content = plain
    assert read_tags(content) is None
    tags = tags_for(modality, prompt="secret")
    tagged = embed_tags(content, tags)
    assert read_tags(tagged) == tags
    np.testing.assert_array_equal(as_array(modality, tagged), as_array(modality, content))
    assert load_tags(tagged)["Model"] == "toybox-tiny"
    bare = embed_tags(tagged, tags.without_prompt())
    assert b"secret" in tagged and b"secret" not in bare
    assert read_tags(bare) == tags.without_prompt()
    assert embed_tags(bare, tags) == tagged
    assert len(tagged) < len(content) + 2500


def test_what_the_user_wrote_goes() -> None:
    words = (InputTag(modality=Modality.TEXT, weight=0.3, text="private"),)
    tags = tags_for(Modality.IMAGE, inputs=words, prompt="private").without_prompt()
    assert "private" not in tags.metadata()[KEY] and tags.inputs[0].weight == 0.3


def test_other_files_have_none(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    medium(Modality.IMAGE).save(buffer, format="JPEG")
    assert read_tags(buffer.getvalue()) is None
    assert read_tags(b"") is None
    assert read_tags(b"%PDF-1.7 and more") is None
    with pytest.raises(BadMedia, match="cannot be opened"):
        read_tags(tmp_path / "none.png")
    with pytest.raises(BadMedia, match="expected PNG, WAV or MP4"):
        embed_tags(buffer.getvalue(), tags_for(Modality.IMAGE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "`seed` is -1"),
        ({"variation": 1000}, "`variation` is 1000"),
        ({"modality": Modality.DEPTH}, "modality is depth, expected one of image, audio, video"),
        ({"options": {"num_frames": 8}}, "found the option 'num_frames'"),
        ({"options": {"height": 63}}, "divisible by 8"),
        ({"options": {"guidance_scale": float("nan")}}, "`guidance_scale` is nan"),
        ({"text_options": {"top_p": 2}}, "`top_p` is 2"),
        ({"inputs": (InputTag(modality=Modality.TEXT),) * 33}, "inputs has a length of 33"),
        ({"inputs": (InputTag(modality=Modality.TEXT, weight=11.0),)}, "`weight` is 11.0"),
        ({"prompt": "x" * 8001}, "prompt has a length of 8001"),
        ({"model": "x" * 201}, "model has a length of 201"),
        ({"format": 2}, "format is 2, expected 1"),
    ],
)
def test_values_no_request_can_have(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        tags_for(Modality.IMAGE, **change)


def png_with(text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, text)
    buffer = io.BytesIO()
    medium(Modality.IMAGE).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


GOOD = json.loads(tags_for(Modality.IMAGE).metadata()[KEY])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "broken JSON"),
        ("not json", "broken JSON"),
        ("[" * 60_000, "broken JSON"),
        ("9" * 10_000, "broken JSON"),
        ("[]", "found a list, expected an object"),
        ("x" * (MAX_BYTES + 1), "expected at most 65536"),
        (json.dumps({**GOOD, "seed": "1"}), "seed: found a text, expected a whole number"),
        (json.dumps({**GOOD, "seed": float("nan")}), "broken JSON"),
        (json.dumps({**GOOD, "modality": "smell"}), "`smell` is not a modality"),
        (json.dumps({**GOOD, "options": {"__class__": 1}}), "found the option '__class__'"),
        (json.dumps({**GOOD, "options": {"height": {"a": 1}}}), "`height` is dict"),
        (json.dumps({**GOOD, "surprise": 1}), "`surprise` is not a field here"),
        (json.dumps({"seed": 1}), "missing"),
        (json.dumps({**GOOD, "format": 7}), "format is 7"),
    ],
)
def test_hostile_entries(text: str, message: str) -> None:
    with pytest.raises(BadMedia, match=message) as caught:
        read_tags(png_with(text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_bomb_of_text_is_refused() -> None:
    packed = KEY.encode() + b"\0\0" + zlib.compress(b"a" * 20_000_000)
    chunk = (
        struct.pack(">I", len(packed)) + b"zTXt" + packed + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    )
    content = png_with("x")
    with pytest.raises(AnyGenError):
        read_tags(content[:33] + chunk + content[33:])


def test_comments_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    save_media(medium(Modality.AUDIO), path)
    content = path.read_bytes()
    for comment in (b"made by hand", b"[" * 50_000, b"[1]", b'{"anygen": 5}', b"\xff\xfe\0"):
        info = b"INFOICMT" + struct.pack("<I", len(comment)) + comment + b"\0" * (len(comment) % 2)
        chunk = b"LIST" + struct.pack("<I", len(info)) + info
        body = content[8:] + chunk
        file = b"RIFF" + struct.pack("<I", len(body)) + body
        try:
            assert read_tags(file) is None
        except BadMedia as error:
            assert "settings in the file" in str(error)
        assert read_tags(embed_tags(file, tags_for(Modality.AUDIO))) == tags_for(Modality.AUDIO)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_broken_bytes_give_plain_errors(data: st.DataObject) -> None:
    content = bytearray(embed_tags(png_with("{}"), tags_for(Modality.IMAGE)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    for step in (read_tags, lambda broken: embed_tags(broken, tags_for(Modality.IMAGE))):
        try:
            step(cut)
        except AnyGenError as error:
            assert "\n" not in str(error)
