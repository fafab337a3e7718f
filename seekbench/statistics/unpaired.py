"""Whether the mean of one set of queries differs from that of another, disjoint set. Two-sided."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seekbench.statistics.stratified import moments


@dataclass(frozen=True)
class Difference:
    """delta: mean of a minus mean of b; interval: of it; p: two-sided, in [0, 1]."""

    delta: float
    interval: tuple[float, float]
    p: float


def welch(a: npt.ArrayLike, b: npt.ArrayLike, *, level: float = 0.95) -> Difference:
    """Welch's t-test of two independent samples, float64 [n] and [m], of unequal variances, and its interval.

    As scipy.stats.ttest_ind(equal_var=False). NaNs are left out. A sample of fewer than two: p 1, interval (-inf,
    inf), delta 0 if one is empty. Both constant: p 0 where they differ, 1 elsewhere, an interval of width 0.
    """
    from scipy.special import stdtr, stdtrit  # scipy.stats costs half a second to import

    parts = [np.asarray(values, dtype=np.float64) for values in (a, b)]
    left, right = (values[~np.isnan(values)] for values in parts)
    if not len(left) or not len(right):
        return Difference(0.0, (-math.inf, math.inf), 1.0)
    if min(len(left), len(right)) < 2:
        return Difference(float(left.mean()) - float(right.mean()), (-math.inf, math.inf), 1.0)
    delta, error, freedom = moments([left, right], np.array([1.0, -1.0]))
    if error == 0:
        return Difference(delta, (delta, delta), 1.0 if delta == 0 else 0.0)
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return Difference(delta, (delta - half, delta + half), float(2 * stdtr(freedom, -abs(delta / error))))
