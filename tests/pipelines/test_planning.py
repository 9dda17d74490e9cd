"""Plans are read from headers, hold what they promise, and parts come and go under them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anygen.checkpoints.inspection import count_parameters
from anygen.errors import BadArgument, LimitExceeded
from anygen.modality import Modality
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.planning import parse_budget, plan
from anygen.pipelines.residency import Cost, Ledger, Residency
from anygen.pipelines.sizes import RUNTIME


def test_budgets_are_read() -> None:
    assert parse_budget("12GiB") == parse_budget("12 gb") == 12 * 2**30
    assert parse_budget("1.5M") == 3 * 2**19
    assert parse_budget(4096) == 4096
    for bad in ("", "lots", "-1", "0", "12 parsecs"):
        with pytest.raises(BadArgument, match="expected a size such as 12GiB"):
            parse_budget(bad)


def test_the_least_recently_used_goes_first() -> None:
    costs = {name: Cost(weights=10, working=2) for name in "abc"}
    ledger = Ledger(costs, fixed=5, budget=28)
    assert ledger.admit("a") == [] and ledger.admit("b") == []
    assert ledger.admit("a") == []
    assert ledger.admit("c") == ["b"]
    assert ledger.present == ("a", "c") and ledger.taken == 25 and ledger.peak("c") == 27
    with pytest.raises(LimitExceeded, match="a needs 0 MiB with what must stay"):
        Ledger(costs, fixed=17, budget=28).admit("a")


def test_residency_frees_before_it_loads() -> None:
    done: list[str] = []
    ledger = Ledger({name: Cost(weights=10) for name in "ab"}, fixed=0, budget=15)
    residency = Residency(
        ledger,
        load={name: lambda name=name: done.append(f"load {name}") for name in "ab"},  # type: ignore[misc]
        evict={name: lambda name=name: done.append(f"free {name}") for name in "ab"},  # type: ignore[misc]
    )
    for name in "aab":
        with residency.use(name):
            done.append(f"use {name}")
    assert done == ["load a", "use a", "use a", "free a", "load b", "use b"]


def test_without_a_budget_it_is_the_sum(tiny_folder: Path) -> None:
    whole = plan(tiny_folder, dtype="float32")
    assert whole.resident and whole.budget is None
    projections = count_parameters(tiny_folder / "input_projection") + count_parameters(
        tiny_folder / "output_projections"
    )
    assert whole.fixed == RUNTIME["cpu"] + 4 * projections
    last = whole.phases[-1].part
    weights = sum(cost.weights for cost in whole.costs.values())
    assert whole.phases[-1].peak == whole.fixed + weights + whole.costs[last].extra
    llm = count_parameters(tiny_folder / "llm") + count_parameters(tiny_folder / "adapter")
    assert whole.costs["llm"].weights == 4 * llm


def test_a_small_budget_lets_parts_go_and_a_tiny_one_is_refused(tiny_folder: Path) -> None:
    whole = plan(tiny_folder, dtype="float32")
    tight = plan(tiny_folder, whole.peak - 1, dtype="float32")
    assert not tight.resident and tight.peak < whole.peak
    assert any("without" in line for line in tight.lines())
    with pytest.raises(LimitExceeded, match="would do with dtype"):
        plan(tiny_folder, "1MiB")


def test_arguments_are_checked(tiny_folder: Path) -> None:
    with pytest.raises(BadArgument, match="a dtype"):
        plan(tiny_folder, dtype="float8")
    with pytest.raises(BadArgument, match="a quantization"):
        plan(tiny_folder, quantization="2bit")
    with pytest.raises(BadArgument, match="expected CUDA"):
        plan(tiny_folder, quantization="4bit")


def test_answers_are_the_same_when_parts_come_and_go(tiny_folder: Path) -> None:
    pipe = AnyGenPipeline.from_pretrained(tiny_folder)
    whole = pipe.plan()
    tight = AnyGenPipeline.from_pretrained(
        tiny_folder, memory_budget=whole.fixed + max(c.weights + c.extra for c in whole.costs.values()) + 1
    )
    assert tight.memory_plan is not None and not tight.memory_plan.resident
    wanted = [Modality.IMAGE, Modality.AUDIO]
    for _ in range(2):
        one = pipe("a small red circle", outputs=wanted, seed=1)
        other = tight("a small red circle", outputs=wanted, seed=1)
        assert one.text == other.text
        assert [p.modality for p in one.parts if hasattr(p, "media")] == wanted
        assert one.images[0].tobytes() == other.images[0].tobytes()
    assert tight.model.device == torch.device("cpu")
