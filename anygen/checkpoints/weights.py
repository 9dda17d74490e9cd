"""Weights of one module as one safetensors file: strict keys, half the bytes on disk, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
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
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    tensors |= _narrowed({n: t for n, t in tensors.items() if t.is_floating_point()}, dtype)
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


def read_shapes(folder: Path) -> dict[str, Tensor]:
    """Read names and shapes of all weights of a folder.

    Args:
        folder: holds one or several safetensors files.

    Returns:
        Empty tensors on the meta device, by name.

    Raises:
        CheckpointCorrupt: when a file cannot be read.
    """
    shapes: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                names = file.keys()
                shapes |= {n: torch.empty(file.get_slice(n).get_shape(), device="meta") for n in names}
        except SafetensorError:
            raise CheckpointCorrupt(f"{path.name} is no safetensors file; fetch or build it again.") from None
    return shapes


def halve_weights(folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Rewrite the float32 tensors of all safetensors files below a folder in a smaller type.

    Single numbers (learned scales) stay as they are.

    Args:
        folder: where to look.
        dtype: type on disk.

    Raises:
        WeightsMismatch: when a weight is too large for `dtype`, naming every such weight.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        wide = [name for name, t in tensors.items() if t.dtype == torch.float32 and t.ndim]
        if not wide:
            continue
        tensors |= _narrowed({name: tensors[name] for name in wide}, dtype)
        write_atomic(path, save(tensors, metadata=metadata))


def _narrowed(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors in another type; masks may hold infinities, but none may be new."""
    narrowed = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.isnan().any() or not torch.equal(tensor.isinf(), narrowed[name].isinf())
    ]
    if bad:
        raise WeightsMismatch(f"Found weights that {dtype} cannot hold: {_listed(bad)}; train again.")
    return narrowed


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
