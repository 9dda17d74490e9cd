"""Distances between two sets of feature vectors: Frechet's and the kernel distance.

Neither is "FID" or "KID" unless the features are those of the Inception network that the names stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument

Matrix = NDArray[np.float64]
Kernel = Callable[[Matrix, Matrix], Matrix]


def frechet_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Squared Frechet (2-Wasserstein) distance of the normal distributions fitted to two sets.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Dowson and Landau 1982, "The Frechet distance between
    multivariate normal distributions"). With S = R'R from the QR decomposition of the centred features, the
    trace of the root is the sum of the singular values of R1 R2', which loses no digits where S is singular.

    Args:
        first: (n, d).
        second: (m, d).

    Raises:
        BadArgument: not two matrices of one width with two rows at least, or not finite.
    """
    a, b = _checked(first, second)
    shift = a.mean(axis=0) - b.mean(axis=0)
    r1, r2 = (_root(x) for x in (a, b))
    cross = np.linalg.svd(r1 @ r2.T, compute_uv=False).sum()
    return float(shift @ shift + (r1**2).sum() + (r2**2).sum() - 2 * cross)


def _root(x: Matrix) -> Matrix:
    """R of the covariance R'R of the rows of x."""
    root: Matrix = np.asarray(np.linalg.qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1), mode="r"))
    return root


def polynomial_kernel(a: Matrix, b: Matrix) -> Matrix:
    """(x.y / d + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401, section 4)."""
    kernel: Matrix = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def linear_kernel(a: Matrix, b: Matrix) -> Matrix:
    """x.y; the distance is then that of the means."""
    kernel: Matrix = a @ b.T
    return kernel


KERNELS: dict[str, Kernel] = {"polynomial": polynomial_kernel, "linear": linear_kernel}
"""Kernels by name."""


def kernel_distance(
    first: NDArray[Any], second: NDArray[Any], *, kernel: Kernel = polynomial_kernel
) -> float:
    """Squared maximum mean discrepancy, unbiased (Gretton et al. 2012, equation 3); may come out below 0.

    Args:
        first: (n, d).
        second: (m, d).
        kernel: Takes (n, d) and (m, d) to (n, m).

    Raises:
        BadArgument: as `frechet_distance`.
    """
    a, b = _checked(first, second)
    n, m = len(a), len(b)
    within_a, within_b = kernel(a, a), kernel(b, b)
    return float(
        (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
        + (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
        - 2 * kernel(a, b).mean()
    )


def jackknife_interval(
    first: NDArray[Any],
    second: NDArray[Any],
    distance: Callable[[NDArray[Any], NDArray[Any]], float],
    *,
    folds: int = 10,
) -> tuple[float, float]:
    """95% interval of a distance, by leaving out one fold of both sets after another.

    Standard error sqrt((g - 1) / g sum (d_i - mean)^2) of the grouped jackknife (Efron and Tibshirani 1993,
    chapter 11). A bootstrap would not do: repeated items shrink covariances.

    Args:
        first: (n, d).
        second: (m, d).
        distance: Of two sets.
        folds: g, fewer where a set is small.
    """
    folds = min(folds, len(first) // 2, len(second) // 2)
    if folds < 2:
        return -np.inf, np.inf
    left = [
        distance(np.delete(first, np.s_[fold::folds], axis=0), np.delete(second, np.s_[fold::folds], axis=0))
        for fold in range(folds)
    ]
    error = np.sqrt((folds - 1) * np.mean((np.array(left) - np.mean(left)) ** 2))
    value = distance(first, second)
    return float(value - 1.959964 * error), float(value + 1.959964 * error)


def _checked(first: NDArray[Any], second: NDArray[Any]) -> tuple[Matrix, Matrix]:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise BadArgument(
            f"Found features of shapes {a.shape} and {b.shape}; expected (n, d) and (m, d) with two rows at "
            "least."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadArgument("Found a NaN or infinity among the features; expected finite numbers.")
    return a, b
