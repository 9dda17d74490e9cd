"""Retrieval: ranks of right items, what R@k a random order has, and figures of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument

from .report import bootstrap_interval, share_row, value_row

CUTS = (1, 5, 10)
"""k of R@k."""


def first_right(
    query: NDArray[np.floating[Any]], gallery: NDArray[np.floating[Any]], right: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Rank (from 1) of the first right item of each query by inner product; ties count against it.

    Args:
        query: (n, d).
        gallery: (m, d).
        right: (n, m), which items are right; at least one for every query.

    Raises:
        BadArgument: the shapes do not fit, or a query has no right item.
    """
    if right.shape != (len(query), len(gallery)):
        raise BadArgument(f"Found right items of shape {right.shape}; expected {(len(query), len(gallery))}.")
    if not right.any(axis=1).all():
        raise BadArgument("Found a query without a right item; expected one at least. Leave it out.")
    cosines = query @ gallery.T
    best = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)
    ranks: NDArray[np.int64] = 1 + ((cosines >= best) & ~right).sum(axis=1)
    return ranks


def chance_recall(right: NDArray[np.bool_], k: int) -> float:
    """Expected R@k of a random order: 1 - C(n - m, k) / C(n, k), averaged over queries with m right items.

    Args:
        right: (queries, n).
        k: Cut.
    """
    count = right.shape[1]
    wrong = count - right.sum(axis=1).astype(np.float64)
    missed = np.ones(len(right))
    for i in range(min(k, count)):
        missed *= np.clip(wrong - i, 0, None) / (count - i)
    return float(1 - missed.mean())


def retrieval_rows(
    what: str, ranks: NDArray[np.int64], right: NDArray[np.bool_], *, seed: int, cuts: Sequence[int] = CUTS
) -> list[dict[str, Any]]:
    """R@k and the median rank.

    Args:
        what: Name of the direction.
        ranks: Of `first_right`.
        right: Which items were right, for the level of chance.
        seed: Of the bootstrap of the median.
        cuts: The k of R@k.
    """
    rows = [share_row(what, f"R@{k}", ranks <= k, chance=round(chance_recall(right, k), 4)) for k in cuts]
    interval = bootstrap_interval(ranks.astype(np.float64), seed=seed, statistic=np.median)
    return [*rows, value_row(what, "median rank", float(np.median(ranks)), interval, len(ranks))]
