"""Weights of one module as one safetensors file: strict keys, half the bytes on disk, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from anygen.errors import CheckpointCorrupt, MissingPart, WeightsMismatch

from .manifest import write_atomic

WEIGHTS = "model.safetensors"
"""File name of a part's weights."""
_MOST_NAMES = 100


def save_weights(module: nn.Module, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a module's weights as `model.safetensors`.

    Args:
        module: what to save.
        folder: where to; made when missing.
        dtype: type on disk of the floating-point tensors; others keep theirs.

    Raises:
        WeightsMismatch: when a weight is too large for `dtype` or not finite, naming every such weight.
    """
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in module.state_dict().items()
    }
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise WeightsMismatch(f"Found weights that are not finite as {dtype}: {_listed(bad)}; train again.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))


def load_weights(
    module: nn.Module, folder: Path, name: str, *, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Fill a module with the weights of a folder; every name and shape must be right.

    Args:
        module: freshly built; may be on the meta device.
        folder: part folder with `model.safetensors`.
        name: the part's name for messages.
        dtype: type that floating-point tensors get in memory.

    Returns:
        The module, in evaluation mode and without gradients.

    Raises:
        MissingPart: when the file is missing.
        CheckpointCorrupt: when it is no safetensors file.
        WeightsMismatch: listing every missing, unexpected and misshapen weight.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise MissingPart(f"{name} has no {WEIGHTS}, expected the part's weights; train or fetch that part.")
    try:
        tensors = load(path.read_bytes())
    except SafetensorError:
        raise CheckpointCorrupt(
            f"{name}/{WEIGHTS} is no safetensors file; fetch or build the model again."
        ) from None
    check_keys(module.state_dict(), tensors, name)
    converted = {key: t.to(dtype if t.is_floating_point() else t.dtype) for key, t in tensors.items()}
    module.load_state_dict(converted, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def check_keys(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> None:
    """Compare the weights that a module has with those that a file has.

    Args:
        expected: state dict of the module.
        found: tensors of the file.
        name: the part's name for the message.

    Raises:
        WeightsMismatch: listing every missing, unexpected and misshapen weight.
    """
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    shapes = [
        f"{key} is {tuple(found[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in sorted(expected.items())
        if key in found and found[key].shape != tensor.shape
    ]
    problems = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("other shape", shapes))
        if names
    ]
    if problems:
        raise WeightsMismatch(f"{name}: {'; '.join(problems)}. Use weights made for this configuration.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
