"""Other encoders and patch tokens through the whole pipeline, by the model's config.json alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_towers as tiny
import torch
from PIL import Image

from anygen.checkpoints.inspection import inspect_model
from anygen.checkpoints.swapping import swap_encoder
from anygen.errors import BadArgument, MissingPart
from anygen.media import Audio
from anygen.modality import Modality
from anygen.parts import EncoderConfig
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.embedding import EmbeddingPipeline
from anygen.pipelines.encoded import EncodedMedia, content_key
from anygen.pipelines.planning import plan

RNG = np.random.default_rng(0)
PICTURES = [Image.new("RGB", (40, 40), color) for color in ("white", "navy")]
SOUND = Audio(samples=(0.3 * RNG.standard_normal((1, 8000))).clip(-1, 1).astype(np.float32), sample_rate=8000)
KINDS = [("languagebind", True), ("clip-clap", False), ("imagebind", True)]


def ask(picture: Image.Image) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": picture}, {"type": "audio", "audio": SOUND}]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "a small red star"}]}]


@pytest.fixture(scope="module", params=KINDS, ids=["languagebind grouped", "clip-clap", "imagebind grouped"])
def folder(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    encoder, grouping = request.param
    path = tmp_path_factory.mktemp(encoder) / "model"
    return tiny.with_encoder(tiny_folder, path, encoder, grouping=grouping)


def test_a_folder_answers_and_comes_back(folder: Path, tmp_path: Path) -> None:
    pipe = AnyGenPipeline.from_pretrained(folder)
    settings: dict[str, Any] = {"outputs": ["text"], "seed": 1, "max_new_tokens": 8, "do_sample": True}

    def said(by: AnyGenPipeline, picture: Image.Image) -> list[str]:
        return [reply.text for reply in by([ask(picture)] * 4, **settings)]

    first = said(pipe, PICTURES[0])
    assert first != said(pipe, PICTURES[1])  # what is seen changes what is said
    pipe.save_pretrained(tmp_path / "again")
    again = AnyGenPipeline.from_pretrained(tmp_path / "again")
    assert said(again, PICTURES[0]) == first
    whole = plan(folder, dtype="float32")
    needed = max(cost.weights + cost.extra for cost in whole.costs.values())
    tight = AnyGenPipeline.from_pretrained(folder, memory_budget=whole.fixed + needed + 1)
    assert said(tight, PICTURES[0]) == first


def test_the_projection_gets_what_its_kind_reads(folder: Path) -> None:
    model = AnyGenPipeline.from_pretrained(folder).model
    encoder: Any = model.encoder
    inputs = encoder.prepare(Modality.IMAGE, PICTURES)
    features = model.encode_media([Modality.IMAGE] * 2, {Modality.IMAGE: inputs})
    projected = model.project_media(features)
    if model.takes_tokens:
        tokens = encoder.encode_tokens(Modality.IMAGE, inputs)
        assert isinstance(features, list) and tokens.shape[1] > 1
        expected = model.input_projection(tokens)
    else:
        assert isinstance(features, torch.Tensor)
        expected = model.input_projection(encoder.encode(Modality.IMAGE, inputs))
    assert torch.allclose(projected, expected, atol=1e-6)
    assert projected.shape == (2, 2, 32)


def test_media_of_different_lengths_share_a_prompt(tiny_folder: Path, tmp_path: Path) -> None:
    path = tiny.with_encoder(tiny_folder, tmp_path / "model", "languagebind", grouping=True)
    model = AnyGenPipeline.from_pretrained(path).model
    short, long = torch.randn(4, tiny.CLIP_WIDTH), torch.randn(9, tiny.CLIP_WIDTH)
    together = model.project_media([short, long, short])
    assert torch.allclose(together[0], together[2]) and torch.allclose(
        together[1:2], model.project_media([long]), atol=1e-6
    )
    (alone,) = model.collect([torch.randn(tiny.CLIP_WIDTH)])
    assert alone.shape == (1, tiny.CLIP_WIDTH)
    with pytest.raises(BadArgument, match="give the encoder's patch tokens"):
        model.project_media(torch.randn(2, tiny.CLIP_WIDTH))


def test_what_was_seen_is_not_encoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = AnyGenPipeline.from_pretrained(folder)
    settings: dict[str, Any] = {"outputs": ["text"], "seed": 1, "max_new_tokens": 4}
    first = pipe(ask(PICTURES[0]), **settings)
    encoded = pipe._answering.encoded
    assert encoded.hits == 0
    pipe.model.encoder = None  # nothing could be encoded now
    assert pipe(ask(PICTURES[0].copy()), **settings).text == first.text and encoded.hits == 2
    with pytest.raises(MissingPart, match="The model has no encoder"):
        pipe(ask(PICTURES[1]), **settings)


def test_reports_name_every_tower(tiny_folder: Path, tmp_path: Path) -> None:
    path = tiny.with_encoder(tiny_folder, tmp_path / "model", "clip-clap")
    parts = {part.name: part for part in inspect_model(str(path))}
    assert parts["encoder/clip"].licence == "Apache-2.0" and not parts["encoder/clip"].trainable
    assert set(parts["encoder/clap"].components) == {"clap", "clap_text"}
    assert {"encoder/clip", "encoder/clip_text", "encoder/clap"} <= set(plan(path).costs)
    embedder = EmbeddingPipeline.from_pretrained(path)
    assert embedder.dim == tiny.CLIP_WIDTH + tiny.CLAP_WIDTH
    vectors = embedder.embed(image=PICTURES, audio=SOUND, text=["a star"])
    assert not (vectors["image"] @ vectors["audio"].T).any()
    assert (vectors["text"] @ vectors["image"].T).any() and (vectors["text"] @ vectors["audio"].T).any()
    with pytest.raises(MissingPart, match="Found no tower for depth"):
        embedder.embed(depth=np.ones((8, 8), np.float32))


def test_a_swap_wants_a_folder_for_every_tower(tiny_folder: Path, tmp_path: Path) -> None:
    config = tiny.clip_clap_config()
    for towers, message in (({"clip": tmp_path}, "no folder for the tower clap"), ({"x": tmp_path}, "for x")):
        with pytest.raises(BadArgument, match=message):
            swap_encoder(tiny_folder, tmp_path / "no", encoder=config, towers=towers)
    with pytest.raises(BadArgument, match="found an ImageBind, expected towers"):
        swap_encoder(tiny_folder, tmp_path / "no", encoder=EncoderConfig(embed_dim=8))
    assert not (tmp_path / "no").exists()


def test_keys_are_of_the_content() -> None:
    one, other = (content_key(Modality.IMAGE, picture) for picture in PICTURES)
    assert one == content_key(Modality.IMAGE, PICTURES[0].copy()) != other
    assert content_key(Modality.THERMAL, PICTURES[0]) != one
    faster = Audio(samples=SOUND.samples, sample_rate=16000)
    assert content_key(Modality.AUDIO, SOUND) != content_key(Modality.AUDIO, faster)
    assert content_key(Modality.IMAGE, torch.zeros(3)) is None
    small = EncodedMedia(most_bytes=64)
    for name in "abc":
        small.keep(name, torch.zeros(8))
    assert small.find("a") is None and small.find("c") is not None and small.find(None) is None
