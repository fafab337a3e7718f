"""Paired tests of two systems on the same queries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def paired_t(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of Student's paired t-test of per-query scores; 1.0 where all differences are equal to 0.

    NaN-free by rule: a constant non-zero difference has p 0, a single query p 1. Source: scipy.stats.ttest_rel.
    """
    from scipy.special import stdtr  # scipy.stats costs half a second to import

    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n = len(difference)
    if n < 2 or not difference.any():
        return 1.0
    deviation = difference.std(ddof=1)
    if deviation == 0:
        return 0.0
    t = difference.mean() / (deviation / math.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, highest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        out[i] = highest
    return out
