"""`config.json`: round trips, and a message that helps for whatever is wrong."""

from __future__ import annotations

import dataclasses
import json

import pytest

from anygen.config import AnyGenConfig, DecoderConfig, dumps, from_json, read_json, to_json, unknown_name
from anygen.errors import BadArgument, CheckpointCorrupt
from anygen.modality import Modality
from anygen.presets import PRESETS, nextgpt_7b, toybox_tiny


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_the_round_trip(name: str) -> None:
    config = PRESETS[name]()
    assert config.name == name
    assert from_json(AnyGenConfig, json.loads(dumps(config))) == config


def changed(**updates: object) -> dict[str, object]:
    return {**to_json(toybox_tiny()), **updates}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(encodr={}), "config.json: `encodr` is not a field here; did you mean `encoder`?"),
        (changed(encoder={"embed_dim": 8, "licences": "x"}), "encoder: `licences` is not a field here; did"),
        (changed(encoder={}), "config.json: encoder: the field.s. embed_dim are missing"),
        (changed(encoder={"embed_dim": "8"}), "encoder: embed_dim: found a text, expected a whole number"),
        (changed(encoder={"embed_dim": True}), "embed_dim: found true or false, expected a whole number"),
        (changed(encoder={"embed_dim": 0}), "encoder: `embed_dim` is 0, expected at least 1"),
        (changed(encoder=[]), "config.json: encoder: found a list, expected an object"),
        (changed(signal_tokens={"imag": 4}), "signal_tokens: `imag` is not a modality; did you mean `image`"),
        (changed(signal_tokens={"imu": 4}), "`signal_tokens` has imu, expected only image"),
        (changed(signal_tokens={"image": 4}), "has audio, image, video but `signal_tokens` has image"),
        (changed(format_version=2), "format version 2, this anygen reads 1; install"),
        (changed(name=""), "`name` is empty"),
        (changed(encoder={"embed_dim": 8, "modalities": "image"}), "modalities: found a text, expected a"),
        (changed(generation={"temperature": float("nan")}), "temperature: found nan, expected a finite"),
        (changed(generation={"max_new_tokens": 0}), "`max_new_tokens` is 0"),
        (changed(decoders=3), "decoders: found a whole number, expected an object"),
        ("x", "config.json: found a text, expected an object with the fields of AnyGenConfig"),
    ],
)
def test_what_is_wrong_is_named(data: object, message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        from_json(AnyGenConfig, data, where="config.json")


def test_signal_counts_are_positive() -> None:
    counts = {Modality.IMAGE: 0, Modality.AUDIO: 4, Modality.VIDEO: 8}
    with pytest.raises(BadArgument, match="`signal_tokens.image` is 0, expected at least 1"):
        dataclasses.replace(toybox_tiny(), signal_tokens=counts)


def test_guidance_is_finite() -> None:
    with pytest.raises(BadArgument, match="`guidance_scale` is -1, expected 0 or more"):
        DecoderConfig(guidance_scale=-1)


def test_whole_numbers_serve_as_numbers() -> None:
    assert from_json(DecoderConfig, {"guidance_scale": 3}).guidance_scale == 3.0


def test_parts_are_the_folders() -> None:
    assert list(nextgpt_7b().parts()) == [
        "encoder", "input_projection", "llm", "adapter",
        "output_projections/image", "output_projections/audio", "output_projections/video",
        "decoders/image", "decoders/audio", "decoders/video",
    ]  # fmt: skip


def test_unknown_names_without_a_near_one() -> None:
    assert unknown_name("q" * 99, ["a"], "a thing") == f"`{'q' * 57}...` is not a thing; Valid: a."
    assert unknown_name("q", [], "a thing") == "`q` is not a thing; Valid: none."


def test_broken_json_names_the_file_alone(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"{\xff")
    with pytest.raises(CheckpointCorrupt, match="^config.json is not valid JSON"):
        read_json(path)
