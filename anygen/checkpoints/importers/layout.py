"""Which tensors a checkpoint must have: names, shapes and types, compared at once, nothing half-loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anygen.errors import WeightsMismatch

HALF = (torch.float16,)
FULL = (torch.float32,)
ANY_FLOAT = (torch.float16, torch.bfloat16, torch.float32)
"""Types that a trainer may have saved in; all of a file must then be of one."""
_MOST_NAMES = 100


@dataclass(frozen=True)
class Entry:
    """What one tensor must be."""

    shape: tuple[int, ...]
    """Its shape."""
    dtypes: tuple[torch.dtype, ...] = FULL
    """Types it may have."""


Layout = dict[str, Entry]
"""Every tensor of a checkpoint by its name."""


def layout_of(module: nn.Module, prefix: str = "", dtypes: tuple[torch.dtype, ...] | None = None) -> Layout:
    """Read the layout off a module, which may be on the meta device.

    Args:
        module: what the tensors fill.
        prefix: put before every name.
        dtypes: allowed for floating-point tensors; None takes the module's own.

    Returns:
        Names, shapes and types of its state dict.
    """
    return {
        prefix + name: Entry(
            tuple(t.shape), dtypes if dtypes is not None and t.is_floating_point() else (t.dtype,)
        )
        for name, t in module.state_dict().items()
    }


def check_layout(
    found: Mapping[str, Tensor], layout: Layout, name: str, *, ignored: Iterable[str] = ()
) -> dict[str, Tensor]:
    """Compare a checkpoint with a layout.

    Args:
        found: its tensors.
        layout: what it must have, exactly.
        name: what the checkpoint is, for the message.
        ignored: beginnings of names that may be there and are left out.

    Returns:
        The tensors of the layout.

    Raises:
        WeightsMismatch: listing every missing, unexpected and misshapen tensor and every wrong type.
    """
    prefixes = tuple(ignored)
    unexpected = [k for k in found if k not in layout and not (prefixes and k.startswith(prefixes))]
    problems = {
        "missing": [key for key in layout if key not in found],
        "unexpected": unexpected,
        "other shape": [
            f"{key} is {tuple(found[key].shape)}, expected {entry.shape}{_hint(found[key], entry)}"
            for key, entry in layout.items()
            if key in found and tuple(found[key].shape) != entry.shape
        ],
        "other type": [
            f"{key} is {_short(found[key].dtype)}, expected {' or '.join(map(_short, entry.dtypes))}"
            for key, entry in layout.items()
            if key in found and found[key].dtype not in entry.dtypes
        ],
    }
    listed = [f"{len(names)} {what}: {_listed(sorted(names))}" for what, names in problems.items() if names]
    if listed:
        raise WeightsMismatch(
            f"{name}: {'; '.join(listed)}. Nothing was imported; give a checkpoint of exactly this kind."
        )
    return {key: found[key] for key in layout}


def check_one_type(tensors: Mapping[str, Tensor], name: str) -> torch.dtype:
    """Make sure that all tensors have one type.

    Args:
        tensors: by name.
        name: what they are, for the message.

    Returns:
        The type.

    Raises:
        WeightsMismatch: when they differ.
    """
    kinds = sorted({_short(tensor.dtype) for tensor in tensors.values()})
    if len(kinds) != 1:
        raise WeightsMismatch(f"{name}: found types {', '.join(kinds)}, expected one for all; fetch it again")
    return next(iter(tensors.values())).dtype


def _hint(tensor: Tensor, entry: Entry) -> str:
    return " (transposed)" if tensor.ndim > 1 and tuple(tensor.shape[::-1]) == entry.shape else ""


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
