"""Multinomial logistic regression on frozen features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

SCALE = 10.0
"""Unit-norm features are multiplied by it, so that small weights can tell them apart."""


def fit_probe(
    vectors: NDArray[np.float32],
    classes: NDArray[np.int64],
    num_classes: int,
    *,
    penalty: float = 0.01,
    iterations: int = 100,
) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Fit by L-BFGS, from zero weights, to the sum of cross-entropy and an L2 penalty on the weights.

    Args:
        vectors: (n, d) of unit norm.
        classes: (n,) in 0..num_classes - 1.
        num_classes: How many there are; one without items is never predicted.
        penalty: Weight of half the sum of squares, beside the mean cross-entropy.
        iterations: Most iterations.

    Returns:
        A function from (m, d) vectors to (m,) classes.
    """
    x, y = torch.from_numpy(vectors).double() * SCALE, torch.from_numpy(classes)
    weight = torch.zeros(num_classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + penalty / 2 * (weight**2).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    there = torch.zeros(num_classes, dtype=torch.bool)
    there[y] = True

    def predict(queries: NDArray[np.float32]) -> NDArray[np.int64]:
        with torch.no_grad():
            logits = F.linear(torch.from_numpy(queries).double() * SCALE, weight, bias)
            found: NDArray[np.int64] = logits.masked_fill(~there, -torch.inf).argmax(dim=1).numpy()
        return found

    return predict
