"""The embedding pipeline on a tiny encoder: every modality, lazily, and errors in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anygen.encoders.imagebind import ImageBindConfig, ImageBindModel, TextTokenizer, save_encoder
from anygen.encoders.imagebind.config import (
    AudioTowerConfig,
    DepthTowerConfig,
    ImuTowerConfig,
    TextTowerConfig,
    ThermalTowerConfig,
    VisionTowerConfig,
)
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.errors import BadArgument, BadMedia, MissingPart
from anygen.media import IMU, Audio, Depth, Thermal, Video
from anygen.modality import Modality
from anygen.pipelines.embedding import EmbeddingPipeline

SIZES: dict[str, Any] = {"width": 8, "num_blocks": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["a red star"], vocab_size=260)
    text = TextTowerConfig(**SIZES, context_length=8, **special_ids(tokenizer))
    config = ImageBindConfig(
        embed_dim=8,
        text=text,
        vision=VisionTowerConfig(**SIZES, image_size=16, patch_size=8, num_clips=2),
        audio=AudioTowerConfig(**SIZES, kernel_size=(128, 12), stride=(128, 12)),
        depth=DepthTowerConfig(**SIZES, image_size=16, patch_size=8),
        thermal=ThermalTowerConfig(**SIZES, image_size=16, patch_size=8),
        imu=ImuTowerConfig(**SIZES, kernel_size=80),
    )
    torch.manual_seed(0)
    save_encoder(path / "encoder", ImageBindModel(config), TextTokenizer(tokenizer, text))
    return path


def media() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "text": ["a red star", "a blue ring"],
        "image": [Image.new("RGB", (20, 30), "red"), rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)],
        "audio": [Audio(rng.uniform(-1, 1, (1, 8000)).astype(np.float32), 8000)],
        "video": [Video(rng.integers(0, 255, (8, 16, 20, 3), dtype=np.uint8), 4.0)],
        "depth": [Depth(rng.uniform(1, 4, (16, 16)).astype(np.float32))],
        "thermal": [Thermal(rng.uniform(0, 1, (16, 16)).astype(np.float32))],
        "imu": [IMU(rng.normal(size=(6, 1000)).astype(np.float32))],
    }


def test_every_modality_gives_unit_vectors(folder: Path) -> None:
    pipeline = EmbeddingPipeline.from_pretrained(folder)
    assert set(pipeline.modalities) == set(Modality)
    vectors = pipeline.embed(**media())
    assert list(vectors) == list(media())
    for name, values in vectors.items():
        assert values.shape == (len(media()[name]), pipeline.dim) and values.dtype == np.float32
        assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)


def test_towers_are_loaded_when_asked_for(folder: Path) -> None:
    pipeline = EmbeddingPipeline.from_pretrained(folder)
    assert not pipeline._encoder._loaded
    pipeline.embed(text="a red star")
    pipeline.embed(video=media()["video"], image=media()["image"])
    assert list(pipeline._encoder._loaded) == [("text",), ("vision",)]


def test_chunks_and_single_items_change_nothing(folder: Path, tmp_path: Path) -> None:
    images = [Image.new("RGB", (16, 16), (i * 40, 0, 0)) for i in range(5)]
    whole = EmbeddingPipeline.from_pretrained(folder).embed(image=images)["image"]
    parts = EmbeddingPipeline.from_pretrained(folder, batch_size=2).embed(image=images)["image"]
    assert np.allclose(whole, parts, atol=1e-6)
    images[3].save(tmp_path / "three.png")
    one = EmbeddingPipeline.from_pretrained(folder).embed(image=tmp_path / "three.png")["image"]
    assert np.allclose(one, whole[3:4], atol=1e-6)


def test_errors_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    pipeline = EmbeddingPipeline.from_pretrained(folder)
    with pytest.raises(BadArgument, match="`images` is not a modality; did you mean `image`"):
        pipeline.embed(images=[])
    with pytest.raises(BadArgument, match="Found nothing to embed; expected one or more of text, image"):
        pipeline.embed()
    with pytest.raises(BadArgument, match="Found an empty list for `image`; expected at least one item"):
        pipeline.embed(image=[])
    with pytest.raises(BadMedia):
        pipeline.embed(image=tmp_path / "nothing.png")
    with pytest.raises(BadArgument, match="Found batch_size=0; expected at least 1"):
        EmbeddingPipeline.from_pretrained(folder, batch_size=0)
    with pytest.raises(MissingPart, match="Found no model 'no-such-model'"):
        EmbeddingPipeline.from_pretrained("no-such-model")


def test_a_missing_tower_is_named_before_anything_is_computed(tmp_path: Path) -> None:
    config = ImageBindConfig(embed_dim=8, imu=ImuTowerConfig(**SIZES, kernel_size=80))
    save_encoder(tmp_path / "encoder", ImageBindModel(config))
    pipeline = EmbeddingPipeline.from_pretrained(tmp_path)
    with pytest.raises(MissingPart, match="Found no vision tower in this encoder; it has imu"):
        pipeline.embed(imu=media()["imu"], image=["not there.png"])
