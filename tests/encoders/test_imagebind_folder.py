"""Encoder folders: what is written comes back, tower by tower, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anygen.encoders.imagebind import (
    ImageBindConfig,
    ImageBindModel,
    TextTokenizer,
    load_config,
    load_encoder,
    load_processor,
    save_encoder,
)
from anygen.encoders.imagebind.config import ImuTowerConfig, TextTowerConfig, ThermalTowerConfig
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from anygen.modality import Modality

SIZES = {"width": 8, "num_blocks": 1, "num_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer(["a red star"], vocab_size=260)
    text = TextTowerConfig(**SIZES, context_length=8, **special_ids(tokenizer))
    config = ImageBindConfig(
        embed_dim=8,
        text=text,
        thermal=ThermalTowerConfig(**SIZES, image_size=16, patch_size=8),
        imu=ImuTowerConfig(**SIZES, num_samples=40),
    )
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", ImageBindModel(config), TextTokenizer(tokenizer, text))
    return tmp_path / "encoder"


def test_everything_comes_back(folder: Path) -> None:
    model = load_encoder(folder)
    assert not model.training
    assert model.state_dict().keys() == load_file(folder / "model.safetensors").keys()
    ids = load_processor(folder)(Modality.TEXT, ["a red star"])
    assert model.encode(Modality.TEXT, ids).shape == (1, 8)


def test_only_the_towers_asked_for_are_loaded(folder: Path) -> None:
    model = load_encoder(folder, [Modality.IMU])
    assert model.modalities == {Modality.IMU}
    assert all(".imu." in key for key in model.state_dict())
    inputs = torch.randn(2, 6, 40)
    assert torch.equal(model.encode(Modality.IMU, inputs), load_encoder(folder).encode(Modality.IMU, inputs))
    with pytest.raises(MissingPart, match="Found no audio tower in this encoder; it has text, thermal, imu"):
        load_encoder(folder, [Modality.AUDIO])


def test_half_precision_files_load_as_asked(folder: Path) -> None:
    model = load_encoder(folder)
    save_encoder(folder, model, dtype=torch.float16)
    stored = load_file(folder / "model.safetensors")
    assert stored["modality_heads.imu.3.weight"].dtype == torch.float16
    assert stored["modality_postprocessors.imu.1.log_logit_scale"].dtype == torch.float32
    again = load_encoder(folder)
    inputs = torch.rand(1, 1, 16, 16)
    assert torch.allclose(
        again.encode(Modality.THERMAL, inputs), model.encode(Modality.THERMAL, inputs), atol=2e-3
    )
    assert load_encoder(folder, dtype=torch.bfloat16).modality_heads["imu"][3].weight.dtype == torch.bfloat16


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    key = "modality_heads.imu.3.weight"
    save_file({k: v for k, v in weights.items() if k != key}, path)
    with pytest.raises(
        WeightsMismatch, match=r"Found no modality_heads.imu.3.weight \(1 missing, 0 unknown keys\)"
    ):
        load_encoder(folder)
    save_file(weights | {"modality_heads.imu.9.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsMismatch, match="Found the unknown modality_heads.imu.9.weight"):
        load_encoder(folder)
    save_file(weights | {key: torch.zeros(8, 9)}, path)
    with pytest.raises(WeightsMismatch, match=r"of shape \(8, 9\); expected \(8, 8\)"):
        load_encoder(folder)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointCorrupt, match="model.safetensors that cannot be read"):
        load_encoder(folder)
    path.unlink()
    with pytest.raises(MissingPart, match="Found no model.safetensors in encoder"):
        load_encoder(folder)


def test_configurations_that_do_not_fit_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"embed_dims": 3}))
    with pytest.raises(BadArgument, match="did you mean `embed_dim`"):
        load_config(folder)
    path.write_text("{")
    with pytest.raises(CheckpointCorrupt, match="that is not JSON"):
        load_config(folder)
    path.unlink()
    with pytest.raises(MissingPart, match="Found no config.json in encoder"):
        load_config(folder)
