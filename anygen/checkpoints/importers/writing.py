"""Writing what was imported: safetensors tensor by tensor, so that memory holds one of them at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anygen.errors import BadArgument, WeightsMismatch

from ..folder import replacing
from .safe import Source

RECORD = "import.json"
"""File that says what an imported folder was made of."""
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""What the safetensors format calls the types."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A tensor that is computed when its turn to be written comes."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: torch.dtype
    """Its type."""
    make: Callable[[], Tensor]
    """Computes it."""


@contextmanager
def importing(destination: Path, kind: str, *sources: Source) -> Iterator[Path]:
    """Give a draft folder that appears at the destination whole or not at all, with hashes of all in it.

    Args:
        destination: a folder that does not exist, is empty or is a model folder.
        kind: name of the importer.
        sources: files that the folder is made of; their hashes go into `import.json`.

    Yields:
        The draft.

    Raises:
        BadArgument: when something else lies at the destination.
    """
    if any(source.path.resolve().is_relative_to(destination.resolve()) for source in sources):
        raise BadArgument("found the source inside the destination, expected two places; name another folder")
    with replacing(destination) as draft:
        yield draft
        record = {
            "kind": kind,
            "sources": [{"file": source.path.name, "sha256": source.sha256} for source in sources],
        }
        (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor | Planned]) -> None:
    """Write a safetensors file, one tensor after the other.

    Args:
        path: where to; its folder is made.
        tensors: by name.

    Raises:
        WeightsMismatch: for a weight that is not a number, or infinite outside of a mask.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, tensor in ordered:
        begin, end = end, end + tensor.dtype.itemsize * _count(tuple(tensor.shape))
        entry = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        header[name] = entry
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in ordered:
            made = tensor if isinstance(tensor, Tensor) else tensor.make()
            _check_finite(name, made)
            file.write(made.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, values: object) -> None:
    """Write a JSON file.

    Args:
        path: where to; its folder is made.
        values: what to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _check_finite(name: str, tensor: Tensor) -> None:
    """A bit that flipped in an exponent shows as a value that no training leaves behind."""
    if not tensor.is_floating_point():
        return
    for part in tensor.contiguous().reshape(-1).split(1 << 24):  # whole embeddings would double the memory
        if part.isnan().any() or (not name.endswith("mask") and part.isinf().any()):
            raise WeightsMismatch(f"{name} has a value that is no finite number; fetch the checkpoint again")
