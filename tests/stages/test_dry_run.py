"""A dry run says what would happen, and does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from anygen.app.cli import main
from anygen.errors import BadArgument
from anygen.presets import toybox_tiny
from anygen.stages.dry_run import VOCABULARY, dry_run, preset_table
from anygen.stages.flops import decoder_alignment_flops
from anygen.stages.run import read_config

RECIPES = Path(__file__).parents[2] / "stages" / "recipes" / "nextgpt-7b"
TEXT = {
    "kind": "clip",
    "modality": "video",
    "width": 16,
    "layers": 1,
    "vocab_size": 300,
    "corpus_size": 50,
    "length": 8,
}


def run_file(folder: Path) -> Path:
    trainer = {"steps": 100, "batch_size": 4, "learning_rate": 0.001, "ema_decay": 0.9}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"run_folder": str(folder / "run"), "trainer": trainer, "stage": TEXT}))
    return path


def test_the_command_prints_table_memory_steps_and_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    rows = [{"step": s, "seconds": s / 2.0, "loss": 1.0} for s in (10, 20)]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    command = [
        "train",
        "text-encoder",
        "--config",
        str(run_file(tmp_path)),
        "--dry-run",
        "--set",
        "trainer.steps=50",
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "50 steps of 4 samples, 200 in all" in said
    assert (
        "part" in said and "100.00 %" in said and "moving average" in said and "activations (measured" in said
    )
    assert "samples/s: 8.0" in said
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]


def test_without_metrics_the_speed_is_not_known(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    assert any(
        "not known yet" in line for line in dry_run("text-encoder", read_config(path), where="run.yaml")
    )
    assert not (tmp_path / "run").exists()


def test_a_model_of_unknown_layers_has_no_count() -> None:
    with pytest.raises(BadArgument, match="expected one whose layers are known"):
        decoder_alignment_flops(toybox_tiny(), 8)


@pytest.mark.slow
def test_the_full_size_shares_are_the_corrected_and_the_published_ones() -> None:
    shares = {}
    for kind in ("corrected", "published"):
        table = preset_table("instruction-tuning", read_config(RECIPES / f"{kind}-instruction-tuning.yaml"))
        trained = sum(row["trainable"] for row in table.values())
        shares[kind] = trained / sum(row["parameters"] for row in table.values())
        assert (VOCABULARY in table) is (kind == "published")
    assert 0.010 <= shares["corrected"] <= 0.015
    assert shares["published"] == pytest.approx(396_045_568 / 11_949_691_977, abs=1e-9)


@pytest.mark.slow
def test_the_predicted_ratio_is_printed() -> None:
    config = read_config(RECIPES / "corrected-decoder-alignment.yaml")
    lines = dry_run("decoder-alignment", config, where="x.yaml")
    (line,) = [line for line in lines if "cache over none" in line]
    assert 100 < int(line.split(":")[1].split()[0]) < 200
