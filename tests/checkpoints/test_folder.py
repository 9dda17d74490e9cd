"""Model folders: found by name, assembled strictly, damaged ones refused with every reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from anygen.checkpoints import manifest
from anygen.checkpoints.folder import load_model, replacing
from anygen.checkpoints.lazy import Decoders
from anygen.checkpoints.resolve import bundled_names, download, read_config, resolve
from anygen.checkpoints.weights import halve_weights, load_weights, save_weights
from anygen.config import Reference
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from anygen.modality import Modality


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def test_names_folders_and_hub_ids(tiny_folder: Path, tmp_path: Path) -> None:
    assert resolve(tiny_folder) == resolve(str(tiny_folder)) == tiny_folder
    for name in bundled_names():
        assert (resolve(name) / "config.json").is_file()
    with pytest.raises(
        MissingPart, match="Found no model 'nothing', expected a bundled name, a folder or owner/"
    ):
        resolve("nothing")
    with pytest.raises(MissingPart, match="nextgpt-7b is a configuration whose projections are not trained"):
        resolve("nextgpt-7b")
    with pytest.raises(MissingPart, match="Found no model ''"):
        resolve("")
    with pytest.raises(MissingPart, match="has no config.json, expected a model folder; check the path"):
        resolve(tmp_path)
    with pytest.raises(MissingPart, match="Cannot fetch some/model at main from the hub .* not in the cache"):
        resolve("some/model")
    with pytest.raises(MissingPart, match="Cannot fetch a/b at v1"):
        download(Reference(repo_id="a/b", revision="v1", subfolder="llm"))


def test_weights_are_halved_on_disk_and_whole_in_memory(tiny_folder: Path) -> None:
    for path in tiny_folder.rglob("*.safetensors"):
        assert path.stat().st_mode & 0o777 == 0o644
        for name, tensor in load_file(path).items():
            assert tensor.dtype != torch.float32 or tensor.ndim == 0, (path, name)
    loaded = load_model(tiny_folder)
    parameters = dict(loaded.model.named_parameters())
    assert {p.dtype for p in parameters.values()} == {torch.float32}
    assert not any(p.requires_grad for p in parameters.values()) and not loaded.model.training
    assert not any(name.startswith(("encoder", "decoder")) for name in parameters)


def test_towers_on_demand(tiny_folder: Path) -> None:
    assert load_model(tiny_folder, modalities=()).model.encoder is None
    model = load_model(tiny_folder, modalities=[Modality.AUDIO]).model
    assert model.encoder.modalities == {Modality.AUDIO}
    lazy = load_model(tiny_folder).model.encoder
    inputs = lazy.prepare(Modality.TEXT, ["a red star"])
    assert lazy.encode(Modality.TEXT, inputs).shape == (1, 16)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        ("config.json", CheckpointCorrupt, "config.json .*manifest.json says"),
        ("llm/model.safetensors", CheckpointCorrupt, "llm/model.safetensors does not have the SHA-256"),
        ("adapter/signal_rows.safetensors", CheckpointCorrupt, "adapter/signal_rows.safetensors does not"),
    ],
)
def test_damaged_files(copy: Path, damage: str, error: type, message: str) -> None:
    data = bytearray((copy / damage).read_bytes())
    data[-2] ^= 4
    (copy / damage).write_bytes(data + (b" " if damage.endswith("json") else b""))
    with pytest.raises(error, match=message):
        load_model(copy)


def test_a_damaged_decoder_or_encoder_is_found_at_first_use(copy: Path) -> None:
    for name in ("decoders/audio/unet/diffusion_pytorch_model.safetensors", "encoder/model.safetensors"):
        (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    loaded = load_model(copy)
    decoders = Decoders(loaded.config, copy)
    assert decoders[Modality.IMAGE] is decoders[Modality.IMAGE]
    with pytest.raises(
        CheckpointCorrupt, match="decoders/audio/unet/diffusion_pytorch_model.safetensors has"
    ):
        decoders[Modality.AUDIO]
    with pytest.raises(CheckpointCorrupt, match="encoder/model.safetensors has"):
        loaded.model.encoder.prepare(Modality.TEXT, ["x"])


def test_missing_parts_are_named(copy: Path) -> None:
    for name in ("output_projections/video", "decoders/video", "tokenizer"):
        shutil.move(copy / name, copy.parent / "aside")
        with pytest.raises(MissingPart, match=f"The model has no folder {name}"):
            loaded = load_model(copy, verify=False)
            Decoders(loaded.config, copy, verify=False)[Modality.VIDEO]
        shutil.move(copy.parent / "aside", copy / name)
    with pytest.raises(MissingPart, match="The model has no depth decoder; ask for other outputs"):
        Decoders(read_config(copy), copy)[Modality.DEPTH]
    (copy / "config.json").unlink()
    with pytest.raises(MissingPart, match="has no config.json, expected a model folder"):
        read_config(copy)


def test_every_mismatch_is_listed(copy: Path) -> None:
    path = copy / "llm" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.norm.weight")
    tensors["model.extra"] = torch.zeros(1)
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsMismatch) as caught:
        load_model(copy, verify=False)
    message = str(caught.value)
    assert message.startswith(
        "llm: missing: model.norm.weight; unexpected: model.extra; other shape: lm_head.weight is"
    )
    assert "\n" not in message


def test_a_configuration_that_does_not_fit(copy: Path) -> None:
    data = json.loads((copy / "config.json").read_text())
    data["llm"]["hidden_dim"] = 48
    (copy / "config.json").write_text(json.dumps(data))
    with pytest.raises(BadArgument, match="the llm has width 32, config.json says 48; correct it"):
        load_model(copy, verify=False)
    data["llms"] = {}
    (copy / "config.json").write_text(json.dumps(data))
    with pytest.raises(
        CheckpointCorrupt, match="config.json: `llms` is not a field here; did you mean `llm`"
    ):
        read_config(copy)


def test_strict_weights_of_one_module(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    save_weights(module, tmp_path / "part")
    assert load_file(tmp_path / "part" / "model.safetensors")["weight"].dtype == torch.float16
    loaded = load_weights(nn.Linear(3, 2), tmp_path / "part", "part")
    assert torch.equal(loaded.weight, module.weight.half().float()) and not loaded.weight.requires_grad
    with pytest.raises(
        WeightsMismatch, match=r"part: other shape: bias is \(2,\), expected \(4,\), weight is"
    ):
        load_weights(nn.Linear(3, 4), tmp_path / "part", "part")
    with pytest.raises(MissingPart, match="part has no model.safetensors"):
        load_weights(module, tmp_path, "part")
    (tmp_path / "model.safetensors").write_bytes(b"pickle?")
    with pytest.raises(CheckpointCorrupt, match="part/model.safetensors is no safetensors file"):
        load_weights(module, tmp_path, "part")
    with torch.no_grad():
        module.weight[0, 0] = 1e6
    with pytest.raises(
        WeightsMismatch, match="Found weights that torch.float16 cannot hold: weight; train again"
    ):
        save_weights(module, tmp_path / "part")
    save_file({"mask": torch.tensor([[0.0, float("-inf")]])}, tmp_path / "model.safetensors")
    halve_weights(tmp_path)
    assert load_file(tmp_path / "model.safetensors")["mask"].dtype == torch.float16


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with replacing(folder) as draft:
        (draft / "config.json").write_text("{}")
        assert not folder.exists()
    manifest.verify(folder)
    with pytest.raises(RuntimeError), replacing(folder) as draft:
        (draft / "config.json").write_text("[]")
        raise RuntimeError
    assert (folder / "config.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BadArgument, match="is a file, expected a folder"), replacing(tmp_path / "file"):
        pass
