"""What a model will take of memory, read from its configurations and the headers of its files alone."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anygen.config import unknown_name
from anygen.errors import BadArgument, LimitExceeded, MissingPart

from .residency import MIB, Cost, Ledger
from .sizes import BYTES, QUANTIZED, Sizes

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """One step of an answer."""

    name: str
    """What happens: encode image, answer, decode video."""
    part: str
    """The part that computes."""
    gives_up: tuple[str, ...]
    """Parts that leave memory first."""
    peak: int
    """Bytes in all at the worst moment."""


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """How a model will use memory."""

    device: str
    """Where it computes."""
    dtype: str
    """What it computes in."""
    quantization: str | None
    """Of the language model: "8bit", "4bit" or None."""
    slicing: bool
    """Whether decoders make one sample at a time, in tiles where they can."""
    budget: int | None
    """Bytes that may be used; None for no limit."""
    fixed: int
    """Bytes of the program and of the projections, which stay."""
    costs: Mapping[str, Cost]
    """Every other part."""
    phases: tuple[PhasePlan, ...] = field(default=())
    """A request that uses everything, step by step."""

    @property
    def peak(self) -> int:
        """Bytes at the worst moment of all."""
        return max(phase.peak for phase in self.phases)

    @property
    def resident(self) -> bool:
        """Whether all parts stay in memory once they are there."""
        return not any(phase.gives_up for phase in self.phases)

    def ledger(self) -> Ledger:
        """A fresh account of this plan."""
        return Ledger(self.costs, fixed=self.fixed, budget=self.budget)

    def lines(self) -> list[str]:
        """The plan for people to read."""
        limit = "no budget" if self.budget is None else f"budget {size(self.budget)}"
        how = "all parts stay" if self.resident else "parts come and go"
        extras = [self.dtype, *([f"language model in {self.quantization}"] if self.quantization else [])]
        extras += ["sliced decoding"] if self.slicing else []
        table = [f"{limit} on {self.device}: {', '.join(extras)}, {how}, peak {size(self.peak)}"]
        table += [f"{'program and projections':<24} {size(self.fixed):>10}"]
        for name, cost in self.costs.items():
            table.append(f"{name:<24} {size(cost.weights):>10}  and {size(cost.extra)} at work")
        for phase in self.phases:
            gone = f"  without {', '.join(phase.gives_up)}" if phase.gives_up else ""
            table.append(f"{phase.name:<24} {size(phase.peak):>10}{gone}")
        return table


def size(count: int) -> str:
    """Bytes for people: 512 MiB, 12.5 GiB."""
    return f"{count / MIB:.0f} MiB" if count < 4 * 2**30 else f"{count / 2**30:.1f} GiB"


def parse_budget(value: int | str) -> int:
    """Read a budget.

    Args:
        value: bytes, or a text such as "12GiB", "900M", "1.5 GB" (all units are powers of 1024).

    Returns:
        Bytes.

    Raises:
        BadArgument: it is no positive size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", str(value).upper())
    count = 0 if found is None or isinstance(value, bool) else int(float(found[1]) * _UNITS[found[2]])
    if count < 1:
        raise BadArgument(
            f"The memory budget is {str(value)[:40]!r}, expected a size such as 12GiB or 900MiB."
        )
    return count


def plan(
    model: str | Path,
    budget: int | str | None = None,
    device: str = "cpu",
    *,
    dtype: str | None = None,
    quantization: str | None = None,
    batch_size: int = 1,
) -> MemoryPlan:
    """Plan the memory of a model without loading it.

    Args:
        model: bundled name, preset, folder or hub id.
        budget: most bytes to use, the program's own included; None for no limit.
        device: where it will compute.
        dtype: type to compute in; None chooses.
        quantization: "8bit" or "4bit" for the language model, on CUDA alone.
        batch_size: requests that are answered together.

    Returns:
        The first of these that fits: the wider type before the narrower, all resident before parts that
        come and go, decoding whole before decoding in slices.

    Raises:
        BadArgument: an argument makes no sense; MissingPart: no such model, or bitsandbytes is missing.
        LimitExceeded: nothing fits; says what would.
    """
    place = str(device).partition(":")[0]
    _check(place, dtype, quantization)
    limit = None if budget is None else parse_budget(budget)
    sizes = Sizes(model, place=place, quantization=quantization, batch_size=batch_size)
    best: MemoryPlan | None = None
    for kind in [dtype] if dtype else _dtypes(place):
        for slicing in (False, True):
            free = _simulate(sizes, kind, slicing, None)
            if limit is None or free.peak <= limit:
                return _simulate(sizes, kind, slicing, limit)
            try:
                return _simulate(sizes, kind, slicing, limit)
            except LimitExceeded:
                least = _simulate(sizes, kind, slicing, _least(free))
                best = least if best is None or least.peak < best.peak else best
    assert best is not None
    how = f"{size(best.peak)} would do with dtype {best.dtype}"
    more = "; on CUDA a 4-bit language model needs less" if quantization is None else ""
    raise LimitExceeded(f"Found a memory budget of {size(limit or 0)}, too little for {model}: {how}{more}.")


def _check(place: str, dtype: str | None, quantization: str | None) -> None:
    if dtype is not None and dtype not in BYTES:
        raise BadArgument(unknown_name(str(dtype), BYTES, "a dtype"))
    if quantization is None:
        return
    if quantization not in QUANTIZED:
        raise BadArgument(unknown_name(quantization, QUANTIZED, "a quantization"))
    if place != "cuda":
        raise BadArgument(f"`quantization` is {quantization!r} on {place}, expected CUDA; leave it out here.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPart("Quantization needs bitsandbytes, which is missing; `pip install bitsandbytes`.")


def _dtypes(place: str) -> list[str]:
    """Types to try, the preferred first: bfloat16 on a CPU only leads where it has instructions for it."""
    if place != "cpu":
        return ["bfloat16"]
    info = Path("/proc/cpuinfo")
    fast = info.is_file() and "amx_bf16" in info.read_text(encoding="utf-8", errors="replace")
    return ["bfloat16"] if fast else ["float32", "bfloat16"]


def _least(free: MemoryPlan) -> int:
    """Bytes under which the hungriest part would not fit alone."""
    return free.fixed + max(cost.weights + cost.extra for cost in free.costs.values())


def _simulate(sizes: Sizes, dtype: str, slicing: bool, limit: int | None) -> MemoryPlan:
    """Account for a request that uses everything: the model is read first, then each part computes."""
    costs, fixed = sizes.costs(dtype, slicing), sizes.fixed()
    ledger = Ledger(costs, fixed=fixed, budget=limit)
    order = ["llm", *[n for n in costs if n.startswith("encoder")], "llm"]
    order += [n for n in costs if n.startswith("decoders/")]
    phases = []
    for step, name in enumerate(order):
        gone = tuple(ledger.admit(name))
        verb, _, what = name.partition("/")
        text = {"encoder": "encode", "decoders": "decode", "llm": "answer" if step else "load"}[verb]
        phases.append(
            PhasePlan(name=f"{text} {what}".strip(), part=name, gives_up=gone, peak=ledger.peak(name))
        )
    return MemoryPlan(
        device=sizes.place, dtype=dtype, quantization=sizes.quantization, slicing=slicing, budget=limit,
        fixed=fixed, costs=costs, phases=tuple(phases),
    )  # fmt: skip
