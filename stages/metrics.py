"""The figures of a run: `metrics.jsonl`, and TensorBoard's event files where tensorboard is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"


def read_metrics(run_folder: Path) -> list[dict[str, Any]]:
    """Rows of `metrics.jsonl`, oldest first; a last line that a crash cut off is left out."""
    path = run_folder / METRICS
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def samples_per_second(rows: list[dict[str, Any]], batch_size: int) -> float | None:
    """Samples per second of training over a run's last rows; None where too few rows have the clock."""
    timed = [(r["step"], r["seconds"]) for r in rows if "seconds" in r][-20:]
    if len(timed) < 2 or timed[-1][1] <= timed[0][1]:
        return None
    (first, began), (last, ended) = timed[0], timed[-1]
    return float((last - first) * batch_size / (ended - began))


def memory_mb() -> float:
    """Megabytes in use: of this process, or of its device where one computes."""
    torch = sys.modules.get("torch")  # reading metrics alone should not load it
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class MetricsLog:
    """Appends rows; opened at a step, it forgets what an interrupted run logged after it."""

    def __init__(self, run_folder: Path, *, step: int, last_step: int, tensorboard: bool) -> None:
        """Open the log of a run.

        Args:
            run_folder: the run's folder, which exists.
            step: step that training goes on from; later rows are dropped.
            last_step: the run's last step, whose evaluation is always made anew.
            tensorboard: write event files where the library is installed.
        """
        self._path = run_folder / METRICS
        rows = read_metrics(run_folder)
        kept = [r for r in rows if r["step"] <= step and not (r["step"] == last_step and _is_evaluation(r))]
        if self._path.exists():
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text("".join(json.dumps(row) + "\n" for row in kept))
            fresh.replace(self._path)
        self._writer: Any = None
        if tensorboard and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run_folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one row."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name if "/" in name else f"train/{name}", value, step)

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        if self._writer is not None:
            self._writer.close()


def means(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every figure over the rows that have it."""
    if len(figures) == 1:
        return figures[0]
    names = dict.fromkeys(name for row in figures for name in row)
    having = {name: [row[name] for row in figures if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in having.items()}


def _is_evaluation(row: Mapping[str, Any]) -> bool:
    return any(name.startswith("eval/") for name in row)
