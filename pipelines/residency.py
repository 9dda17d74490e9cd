"""Which parts are in memory: loaded when they are needed, given up least recently used, under a budget."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anygen.errors import LimitExceeded
from anygen.modality import Modality

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a part takes, in bytes."""

    weights: int
    """While it is in memory."""
    loading: int = 0
    """Beside its weights while it is read: the file, where its type on disk is another."""
    working: int = 0
    """Beside its weights while it computes: activations, and the language model's key-value cache."""

    @property
    def extra(self) -> int:
        """The most that it takes beside its weights; reading and computing follow one another."""
        return max(self.loading, self.working)


class Ledger:
    """Keeps account of parts in memory; loads and frees nothing itself, so that plans can be simulated.

    Args:
        costs: of every part that can be given up, by name.
        fixed: bytes that are always taken: the program itself and the parts that stay.
        budget: bytes in all; None for no limit.
    """

    def __init__(self, costs: Mapping[str, Cost], *, fixed: int, budget: int | None) -> None:
        self._costs, self._fixed, self._budget = dict(costs), fixed, budget
        self._present: list[str] = []

    @property
    def present(self) -> tuple[str, ...]:
        """Parts in memory, the least recently used first."""
        return tuple(self._present)

    @property
    def taken(self) -> int:
        """Bytes of all that is in memory, between two computations."""
        return self._fixed + sum(self._costs[name].weights for name in self._present)

    def admit(self, name: str) -> list[str]:
        """Make room for a part that is about to be read or used, and mark it as used.

        Args:
            name: the part.

        Returns:
            Parts to give up, the least recently used first.

        Raises:
            LimitExceeded: the part does not fit even alone.
        """
        cost, new = self._costs[name], name not in self._present
        if not new:
            self._present.remove(name)
        need = cost.weights + (cost.extra if new else cost.working)
        gone: list[str] = []
        while self._budget is not None and self.taken + need > self._budget:
            if not self._present:
                raise LimitExceeded(
                    f"{name} needs {(self._fixed + need) / MIB:.0f} MiB with what must stay, the budget is "
                    f"{self._budget / MIB:.0f} MiB; raise the memory budget or choose a smaller dtype."
                )
            gone.append(self._present.pop(0))
        self._present.append(name)
        return gone

    def peak(self, name: str) -> int:
        """Bytes while a part that was just admitted is read and used."""
        return self.taken + self._costs[name].extra


class Residency:
    """Lets parts into memory one after another; whoever uses one holds it until the computation has ended.

    Args:
        ledger: the account.
        load: per part what brings it into memory; parts that load themselves at first use are left out.
        evict: per part what frees it.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        load: Mapping[str, Callable[[], None]],
        evict: Mapping[str, Callable[[], None]],
    ) -> None:
        self._ledger, self._load, self._evict = ledger, dict(load), dict(evict)
        self._lock = threading.RLock()
        self.evictions = 0

    @property
    def present(self) -> tuple[str, ...]:
        """Parts in memory, the least recently used first."""
        return self._ledger.present

    @contextlib.contextmanager
    def use(self, name: str) -> Iterator[None]:
        """Hold a part in memory for a computation; calls of other threads wait.

        Args:
            name: the part.
        """
        with self._lock:
            new = name not in self._ledger.present
            gone = self._ledger.admit(name)
            for other in gone:
                self._evict[other]()
            if gone:
                self.evictions += len(gone)
                free_memory()
            if new and name in self._load:
                with torch.inference_mode(False):
                    self._load[name]()
            yield


class BudgetedEncoder:
    """An encoder whose towers come and go with the budget.

    Args:
        encoder: the lazy encoder of a model folder.
        residency: who lets towers in.
    """

    def __init__(self, encoder: Any, residency: Residency) -> None:
        self._encoder, self._residency = encoder, residency

    def prepare(self, modality: Modality, items: list[Any]) -> Tensor:
        """Turn media into the inputs of their tower; as `LazyEncoder.prepare`."""
        inputs: Tensor = self._encoder.prepare(modality, items)
        return inputs

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared inputs to (N, embed_dim); as `LazyEncoder.encode`."""
        with self._present(modality):
            vectors: Tensor = self._encoder.encode(modality, inputs)
            return vectors

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared media to patch tokens (N, L, embed_dim); as `LazyEncoder.encode_tokens`."""
        with self._present(modality):
            tokens: Tensor = self._encoder.encode_tokens(modality, inputs)
            return tokens

    @contextlib.contextmanager
    def _present(self, modality: Modality) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for piece in self._encoder.pieces(modality):
                stack.enter_context(self._residency.use(f"encoder/{piece}"))
            yield


def free_memory() -> None:
    """Give freed memory back: to the system where the C library can, and to the device."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # other C libraries than GNU's have no such call
            ctypes.CDLL(None).malloc_trim(0)
