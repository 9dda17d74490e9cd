"""What a report says of a run, read from its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.errors import BadArgument

from ..metrics import METRICS, read_metrics
from ..samples import read_samples

MAX_POINTS = 1500
"""Points of one curve; longer ones are thinned."""
CLOCK = frozenset({"step", "seconds"})


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run."""

    name: str
    """Name of its folder."""
    config: Mapping[str, Any]
    """Its `config.json`: the trainer's settings, the stage, the trainable table."""
    summary: Mapping[str, Any]
    """Its `summary.json`; empty while it trains."""
    curves: Mapping[str, list[tuple[int, float, float]]]
    """Figure to points of (step, hours, value)."""
    scores: Mapping[str, float]
    """The newest evaluation."""
    samples: Mapping[int, list[dict[str, str]]]
    """Step to the samples of its evaluation."""

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return max((points[-1][0] for points in self.curves.values() if points), default=0)


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        BadArgument: the folder has no metrics.
    """
    rows = read_metrics(folder)
    if not rows:
        raise BadArgument(f"Found no {METRICS} with rows in {folder}; expected the folder of a run.")
    config = _read(folder / "config.json")
    curves = _curves(rows, int(config.get("batch_size", 0)))
    scores = {name.removeprefix("eval/"): points[-1][2] for name, points in curves.items() if _scores(name)}
    return Run(
        name=folder.resolve().name,
        config=config,
        summary=_read(folder / "summary.json"),
        curves={name: thin(points) for name, points in curves.items()},
        scores=scores,
        samples=read_samples(folder),
    )


def _scores(name: str) -> bool:
    return name.startswith("eval/")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _curves(rows: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, list[tuple[int, float, float]]]:
    curves: dict[str, list[tuple[int, float, float]]] = {}
    clock, before = 0.0, (0, 0.0)
    for row in rows:
        clock = float(row.get("seconds", clock))
        figures = {k: v for k, v in row.items() if k not in CLOCK and isinstance(v, (int, float))}
        timed = "seconds" in row
        if timed and "samples_per_second" not in figures and batch_size and clock > before[1]:
            figures["samples_per_second"] = (row["step"] - before[0]) * batch_size / (clock - before[1])
        before = (row["step"], clock) if timed else before
        for name, value in figures.items():
            if math.isfinite(value):
                curves.setdefault(name, []).append((row["step"], clock / 3600, float(value)))
    return curves


def thin(points: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """At most `MAX_POINTS` points: means of neighbours, the last one kept as it is."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points) - 1, size)]
    means = [(g[-1][0], g[-1][1], sum(p[2] for p in g) / len(g)) for g in groups]
    return [*means, points[-1]]
