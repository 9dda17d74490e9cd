"""What the reports of all suites share: protocol, counts, seed, versions, and rows with intervals."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .statistics import wilson_interval

LIBRARIES = ("anygen-multimodal", "torch", "transformers", "diffusers", "numpy")
"""Whose versions every report names."""

Floats = NDArray[np.floating[Any]]


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python and of the libraries that took part.

    Args:
        more: Distributions besides `LIBRARIES`.
    """
    found = {"python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def share_row(
    what: str, metric: str, hits: Sequence[bool] | NDArray[np.bool_], **more: Any
) -> dict[str, Any]:
    """A share of successes with Wilson's interval at 95%.

    Args:
        what: What was asked, such as "audio-to-text".
        metric: Name of the figure.
        hits: One trial each.
        **more: Further figures, such as `chance`.
    """
    right, count = int(np.sum(hits)), len(hits)
    low, high = wilson_interval(right, count)
    value = right / count if count else math.nan
    return _row(what, metric, value, low, high, count, more)


def mean_row(what: str, metric: str, values: Sequence[float] | Floats, **more: Any) -> dict[str, Any]:
    """A mean with its interval at 95% by the normal approximation (mean -+ 1.96 s / sqrt(n)).

    Args:
        what: What was asked.
        metric: Name of the figure.
        values: One for each item.
        **more: Further figures.
    """
    array = np.asarray(values, np.float64)
    value = float(array.mean())
    spread = 1.959964 * float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else math.inf
    return _row(what, metric, value, value - spread, value + spread, len(array), more)


def value_row(
    what: str, metric: str, value: float, interval: tuple[float, float] | None, count: int, **more: Any
) -> dict[str, Any]:
    """A figure whose interval, if it has one, was found by other means.

    Args:
        what: What was asked.
        metric: Name of the figure.
        value: The figure.
        interval: Its 95% interval.
        count: Items behind it.
        **more: Further figures.
    """
    low, high = interval or (math.nan, math.nan)
    return _row(what, metric, value, low, high, count, more)


def _row(
    what: str, metric: str, value: float, low: float, high: float, count: int, more: Mapping[str, Any]
) -> dict[str, Any]:
    figures = {"value": _number(value), "low": _number(low), "high": _number(high), "count": count}
    return {"what": what, "metric": metric, **figures, **more}


def _number(value: float) -> float | None:
    """For JSON, which has no NaN and no infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def make_report(
    suite: str,
    protocol: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    model: str,
    data: str,
    seed: int,
    started: float,
    libraries: Iterable[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """A suite's report for JSON.

    Args:
        suite: Its name.
        protocol: How the figures come about.
        rows: From `share_row`, `mean_row` and `value_row`.
        model: Name of what was graded.
        data: Where the items come from.
        seed: What drew them.
        started: `time.monotonic()` at the beginning.
        libraries: Further distributions that took part.
        **more: Suite-specific facts.
    """
    return {
        "suite": suite,
        "model": model,
        "data": data,
        "protocol": protocol,
        "seed": seed,
        "versions": versions(libraries),
        "seconds": round(time.monotonic() - started, 1),
        **more,
        "rows": [dict(row) for row in rows],
    }


def bootstrap_interval(
    values: Floats, *, seed: int, resamples: int = 1000, statistic: Any = np.mean
) -> tuple[float, float]:
    """95% percentile bootstrap interval of a statistic over items.

    Args:
        values: (n, ...) one row for each item.
        seed: Draws the resamples.
        resamples: How many.
        statistic: Of one resample.
    """
    rng = np.random.default_rng(seed)
    found = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(resamples)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def format_rows(report: Mapping[str, Any]) -> str:
    """The report as a table for a terminal."""
    lines = [
        f"{report['suite']} suite, model {report['model']}, data {report['data']}, seed {report['seed']}",
        f"{'what':<42}{'metric':<30}{'value':>10}  {'95% interval':<22}{'n':>6}",
    ]
    for row in report["rows"]:
        interval = "" if row["low"] is None else f"[{row['low']:.4g}, {_high(row)}]"
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        notes = "  ".join(f"{k} {v}" for k, v in row.items() if k not in _SHOWN and v is not None)
        lines.append(
            f"{row['what']:<42}{row['metric']:<30}{value:>10}  {interval:<22}{row['count']:>6}  "
            f"{notes}".rstrip()
        )
    for note in report.get("notes", ()):
        lines.append(f"note: {note}")
    lines.append(f"{report['seconds']:.0f} s")
    return "\n".join(lines)


_SHOWN = ("what", "metric", "value", "low", "high", "count")


def _high(row: Mapping[str, Any]) -> str:
    return "inf" if row["high"] is None else f"{row['high']:.4g}"
