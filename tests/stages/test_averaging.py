"""The mean of results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anygen.errors import WeightsMismatch
from anygen.stages.averaging import mean_result


def result(folder: Path, value: float, width: int = 2) -> Path:
    (folder / "adapter").mkdir(parents=True)
    save_file({"weight": torch.full((width,), value)}, folder / "adapter" / "a.safetensors")
    (folder / "adapter" / "config.json").write_text(str(value))
    return folder


def test_a_mean_is_of_every_tensor_and_the_first_ones_other_files(tmp_path: Path) -> None:
    folders = [result(tmp_path / str(value), value) for value in (1.0, 2.0, 6.0)]
    mean_result(folders, tmp_path / "mean")
    found = load_file(tmp_path / "mean" / "adapter" / "a.safetensors")["weight"]
    assert torch.equal(found, torch.full((2,), 3.0))
    assert (tmp_path / "mean" / "adapter" / "config.json").read_text() == "1.0"
    assert float(load_file(folders[0] / "adapter" / "a.safetensors")["weight"][0]) == 1.0


def test_results_of_other_shapes_have_no_mean(tmp_path: Path) -> None:
    folders = [result(tmp_path / "one", 1.0), result(tmp_path / "two", 1.0, width=3)]
    with pytest.raises(WeightsMismatch, match="expected the same names and shapes"):
        mean_result(folders, tmp_path / "mean")
