"""Weights of parts of an encoder: no others are read, and all of them must be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from anygen.errors import CheckpointCorrupt, MissingPart, WeightsMismatch


def read_tensors(folder: Path, wanted: Callable[[str], bool], dtype: torch.dtype) -> dict[str, Tensor]:
    """Read some tensors of a folder's safetensors files.

    Args:
        folder: holds one file, or shards.
        wanted: says of a key whether to read it.
        dtype: type of the floating-point tensors, whatever they are stored as.

    Returns:
        The tensors by key.

    Raises:
        MissingPart: there is no such file.
        CheckpointCorrupt: a file cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise MissingPart(
            f"Found no model.safetensors in {folder.name}; expected the encoder's weights. Fetch it."
        )
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(str(path), "pt") as file:
                tensors |= {key: file.get_tensor(key) for key in list(file.keys()) if wanted(key)}
        except (SafetensorError, IndexError):
            raise CheckpointCorrupt(
                f"Found a {path.name} that cannot be read; expected safetensors. Fetch it again."
            ) from None
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}


def check_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Compare tensors with a module's.

    Args:
        found: what a file has.
        expected: the module's state dict.
        where: the folder's name, for the message.

    Raises:
        WeightsMismatch: keys or shapes differ.
    """
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        what = f"no {missing[0]}" if missing else f"the unknown {unknown[0]}"
        raise WeightsMismatch(
            f"Found {what} ({len(missing)} missing, {len(unknown)} unknown keys); "
            f"expected the {len(expected)} keys of the configuration. "
            f"Check that the weights in {where} belong to its config.json."
        )
    for key, value in expected.items():
        if found[key].shape != value.shape:
            raise WeightsMismatch(
                f"Found {key} of shape {tuple(found[key].shape)}; expected {tuple(value.shape)}. "
                f"Check that the weights in {where} belong to its config.json."
            )
