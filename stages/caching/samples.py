"""What a cache keeps of one training sample, and how many of them become the tensors of a shard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from anygen.errors import NonFinite
from anygen.modality import Modality
from anygen.prompting import Placed, Prompt

HALF_MOST = 65504.0
"""Largest number that 16 bits hold."""


@dataclass(frozen=True, eq=False)
class StoredMedium:
    """A medium in a slot, by what the encoder says of it alone."""

    vector: Tensor
    """(dim,) of unit norm, or patch tokens (L, dim), as the shard has them."""


@dataclass(frozen=True, eq=False)
class StoredSignal:
    """A signal, by what the language model said there and what it was to mean."""

    caption: str
    """What the signal means."""
    state: Tensor
    """(K, D) hidden states at its tokens."""
    target: Tensor
    """(tokens, width) the decoder's own embedding of the caption."""
    latents: Tensor | None = None
    """Latents of the medium that the answer shows; None where there is none."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What a toybox scene must show; empty for one's own data."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample on its way into a shard: its prompt, and a stored item for each slot or each signal."""

    prompt: Prompt
    """Ids, labels and places; the items in it are not read."""
    media: tuple[StoredMedium, ...] = ()
    """One for each slot, or none at all."""
    signals: tuple[StoredSignal, ...] = ()
    """One for each signal group, or none at all."""


class _Rows:
    """Rows of one tensor of a shard, equal ones (by their key) once."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Tensor]] = {}
        self._known: dict[tuple[str, Any], int] = {}

    def add(self, name: str, row: Tensor, key: Any = None) -> int:
        if key is not None and (name, key) in self._known:
            return self._known[name, key]
        rows = self.rows.setdefault(name, [])
        rows.append(row)
        if key is not None:
            self._known[name, key] = len(rows) - 1
        return len(rows) - 1


def pack(samples: Sequence[Sample], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a shard.

    Args:
        samples: Its samples, in order.
        dtype: What vectors, states, targets and latents are kept in.

    Returns:
        `ids`, `labels` (T,) int32 of all samples, `offsets` (n + 1,), `records` (bytes of JSON), and rows of
        `vectors` (`vectors.L` for media of L patch tokens), `states.M`, `targets.M`, `latents.M` that the
        records point to.

    Raises:
        NonFinite: A value is not finite, or too large for `dtype`.
    """
    table, records, offsets = _Rows(), [], [0]
    for sample in samples:
        offsets.append(offsets[-1] + len(sample.prompt))
        slots = [
            [str(p.modality), p.start, p.length, table.add(name := _vectors(m.vector), m.vector), name]
            for p, m in zip(sample.prompt.slots, sample.media, strict=False)
        ]
        signals = [
            _signal_record(p, s, table) for p, s in zip(sample.prompt.signals, sample.signals, strict=False)
        ]
        records.append({"slots": slots, "signals": signals})
    tensors = {name: _stacked(name, rows, dtype) for name, rows in table.rows.items()}
    text = json.dumps(records, ensure_ascii=True, separators=(",", ":")).encode()
    return tensors | {
        "ids": torch.tensor([i for s in samples for i in s.prompt.input_ids], dtype=torch.int32),
        "labels": torch.tensor([i for s in samples for i in s.prompt.labels], dtype=torch.int32),
        "offsets": torch.tensor(offsets, dtype=torch.int64),
        "records": torch.frombuffer(bytearray(text), dtype=torch.uint8),
    }


def _vectors(vector: Tensor) -> str:
    """Which tensor of a shard a medium's vector, or its patch tokens, is a row of."""
    return "vectors" if vector.ndim == 1 else f"vectors.{len(vector)}"


def _signal_record(placed: Placed, signal: StoredSignal, table: _Rows) -> dict[str, Any]:
    name = str(placed.modality)
    latents = signal.latents
    return {
        "at": [name, placed.start, placed.length],
        "state": table.add(f"states.{name}", signal.state),
        "target": table.add(f"targets.{name}", signal.target, signal.caption),
        "latents": None if latents is None else table.add(f"latents.{name}", latents, id(latents)),
        "caption": signal.caption,
        "attributes": dict(signal.attributes),
    }


def _stacked(name: str, rows: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    stacked = torch.stack(list(rows)).float().cpu()
    largest = float(stacked.abs().max())
    if not largest < (HALF_MOST if dtype is torch.float16 else float("inf")):
        raise NonFinite(f"found {largest:.3g} among {name}, expected what {dtype} holds; cache in float32")
    return stacked.to(dtype).contiguous()


class Unpacked:
    """The samples of a shard as prompts; their tensors stay where they lie.

    Args:
        tensors: What `pack` made, in memory or mapped from a file.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._offsets = tensors["offsets"].tolist()
        self._records: list[dict[str, Any]] = json.loads(tensors["records"].numpy().tobytes())

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._records)

    def prompt(self, index: int) -> Prompt:
        """A sample whose slots hold `StoredMedium`s and whose signals hold `StoredSignal`s."""
        where = slice(self._offsets[index], self._offsets[index + 1])
        record = self._records[index]
        return Prompt(
            input_ids=tuple(self._tensors["ids"][where].tolist()),
            labels=tuple(self._tensors["labels"][where].tolist()),
            slots=tuple(
                _placed(at, StoredMedium(self._tensors[name][row])) for *at, row, name in record["slots"]
            ),
            signals=tuple(_placed(s["at"], self._signal(s)) for s in record["signals"]),
        )

    def _signal(self, record: Mapping[str, Any]) -> StoredSignal:
        name, row = record["at"][0], record["latents"]
        return StoredSignal(
            caption=record["caption"],
            state=self._tensors[f"states.{name}"][record["state"]],
            target=self._tensors[f"targets.{name}"][record["target"]],
            latents=None if row is None else self._tensors[f"latents.{name}"][row],
            attributes=record["attributes"],
        )


def _placed(at: Sequence[Any], item: Any) -> Placed:
    return Placed(modality=Modality(at[0]), start=at[1], length=at[2], item=item)
