"""Training under SIGKILL, damaged files and a full disk; `benchmarks/crashes.py` has the full counts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from line_stage import CONFIG, LineStage

from anygen.errors import SaveFailed
from anygen.stages import checkpointing


@pytest.fixture(scope="module")
def crashes() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "crashes.py"
    spec = importlib.util.spec_from_file_location("crashes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crashes"] = module
    spec.loader.exec_module(module)
    return module


def test_killed_runs_are_the_undisturbed_run(crashes: Any, tmp_path: Path) -> None:
    config = crashes.CONFIG
    count = crashes.crash(LineStage, tmp_path, None, kills=4, seed=0, config=config)
    assert (count.kills, count.differing) == (4, 0)
    assert count.lives >= 1 and count.in_save >= 1


def checkpoints(folder: Path) -> checkpointing.Checkpoint:
    tensors = {"x": torch.arange(4096.0), "y": torch.ones(3)}
    for step in (1, 2):
        made = checkpointing.Checkpoint(step, tensors, {"config": {"steps": 3}, "stage": "line"})
        checkpointing.save(folder, made)
    return made


def test_damaged_checkpoints_are_noticed(crashes: Any, tmp_path: Path) -> None:
    checkpoints(tmp_path)
    assert crashes.spoil([tmp_path], count=60, seed=0) == (60, 60)


def test_a_full_disk_leaves_the_checkpoint_before(crashes: Any, tmp_path: Path) -> None:
    made = checkpoints(tmp_path / "checkpoints")
    size = sum(p.stat().st_size for p in (tmp_path / "checkpoints" / "step-00000002").iterdir())
    assert all(crashes.limit_files(made, tmp_path, size * i // 10) for i in range(10))


def test_a_place_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed, match="make room"):
        checkpointing.save(tmp_path / "file" / "checkpoints", checkpointing.Checkpoint(1, {}, {}))


def test_litter_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints(tmp_path)
    for name in (".tmp-3-1", "step-x", "step-", "step-7.tmp"):
        (tmp_path / name).mkdir()
    assert [p.name for p in checkpointing.step_folders(tmp_path)] == ["step-00000002", "step-00000001"]
    assert CONFIG.keep == 2
