"""The mean of several runs' results, weight by weight (model soups, Wortsman et al. 2022, arXiv 2203.05482).

A run that goes on long enough grows better at what it is shown and worse at what it is not; the mean of its
start and its end keeps most of either.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from anygen.errors import WeightsMismatch


def mean_result(folders: Sequence[Path], target: Path) -> None:
    """Write the mean of like results.

    Args:
        folders: Results of stages, each with the same safetensors files; of others the first one's count.
        target: Folder that is made.

    Raises:
        WeightsMismatch: A tensor is missing or has another shape somewhere.
    """
    shutil.copytree(folders[0], target)
    for path in sorted(target.rglob("*.safetensors")):
        name = path.relative_to(target)
        all_tensors = [load_file(folder / name) for folder in folders]
        first = all_tensors[0]
        for folder, tensors in zip(folders, all_tensors, strict=True):
            found = {key: value.shape for key, value in tensors.items()}
            if found != {key: value.shape for key, value in first.items()}:
                raise WeightsMismatch(
                    f"{folder / name}: found other tensors than in {folders[0]}, expected the same names and "
                    "shapes; average runs of one configuration"
                )
        means = {
            key: torch.stack([t[key].float() for t in all_tensors]).mean(0).to(value.dtype).contiguous()
            for key, value in first.items()
        }
        save_file(means, path)
