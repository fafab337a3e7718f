"""How alike two orders of the same things are: of systems under two conditions, of documents in two rankings."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def kendall_tau(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Kendall's tau-b of two arrays float64 [n], which allows for ties (Kendall 1945; as scipy.stats.kendalltau).

    (concordant - discordant pairs) / √(pairs that a tells apart · pairs that b tells apart). Pairs with a NaN are left
    out. NaN where fewer than two are left, or one of the arrays is constant. Takes n² memory.
    """
    left, right = _pairs(a, b)
    upper = np.triu_indices(len(left), 1)
    signs = np.sign(left[upper[1]] - left[upper[0]]), np.sign(right[upper[1]] - right[upper[0]])
    apart = math.sqrt(float((signs[0] != 0).sum()) * float((signs[1] != 0).sum()))
    return float((signs[0] * signs[1]).sum()) / apart if apart else math.nan


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two arrays float64 [n]: Pearson's of their ranks, ties sharing the mean rank (as
    scipy.stats.spearmanr). NaN as `kendall_tau`."""
    left, right = _pairs(a, b)
    return pearson(_ranks(left), _ranks(right))


def pearson(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Pearson's correlation of two arrays float64 [n]; NaN as `kendall_tau`."""
    left, right = _pairs(a, b)
    if len(left) < 2:
        return math.nan
    left, right = left - left.mean(), right - right.mean()
    scale = math.sqrt(float((left**2).sum()) * float((right**2).sum()))
    return float((left * right).sum()) / scale if scale else math.nan


def swapped(a: npt.ArrayLike, b: npt.ArrayLike) -> int:
    """Pairs that the two arrays, float64 [n], put in opposite order; a tie in one of them is no swap."""
    left, right = _pairs(a, b)
    upper = np.triu_indices(len(left), 1)
    product = (left[upper[1]] - left[upper[0]]) * (right[upper[1]] - right[upper[0]])
    return int((product < 0).sum())


def _pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Floats, Floats]:
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"two arrays [n] are needed, not of shapes {left.shape} and {right.shape}")
    known = ~(np.isnan(left) | np.isnan(right))
    return left[known], right[known]


def _ranks(values: Floats) -> Floats:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks
