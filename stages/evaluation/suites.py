"""The table of suites, and how to run one: `run_suite("retrieval", Subject(...))`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anygen.config import unknown_name
from anygen.errors import BadArgument

from .captioning import run_captioning
from .generation import run_coherence, run_distance, run_similarity
from .options import Graded, SuiteOptions
from .understanding import run_few_shot, run_retrieval, run_zero_shot

SUITES: dict[str, Callable[[Graded, SuiteOptions], dict[str, Any]]] = {
    "captioning": run_captioning,
    "retrieval": run_retrieval,
    "zero-shot": run_zero_shot,
    "few-shot": run_few_shot,
    "distance": run_distance,
    "similarity": run_similarity,
    "coherence": run_coherence,
}
"""Every suite that makes a report of rows."""


def run_suite(name: str, model: Graded, options: SuiteOptions | None = None) -> dict[str, Any]:
    """Grade a model.

    Args:
        name: One of `SUITES`.
        model: A `Subject`, or anything like it.
        options: Counts, seed, modalities, data.

    Returns:
        A report for JSON: suite, model, data, protocol, seed, count, versions, and `rows` with what, metric,
        value, low, high (the 95% interval) and count.

    Raises:
        BadArgument: there is no such suite, or an option does not fit it.
        MissingPart: the model or the installation lacks something.
    """
    if name not in SUITES:
        raise BadArgument(unknown_name(name, SUITES, "a suite"))
    return SUITES[name](model, options or SuiteOptions())
