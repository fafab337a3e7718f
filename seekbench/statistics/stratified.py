"""Figures over several datasets: a weighted mean of their means, its interval, and the test of a difference of systems.

Queries are drawn within their datasets, which are fixed: what is found holds for other queries of these datasets, not
for other datasets. With one dataset everything equals Student's t of its queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seekbench.statistics.paired import Outcome, differences

Floats = npt.NDArray[np.float64]


def mean_interval(
    strata: Sequence[npt.ArrayLike], weights: npt.ArrayLike | None = None, *, level: float = 0.95
) -> tuple[float, float] | None:
    """(lower, upper) of the mean over datasets of the means over queries; None where a dataset has less than two.

    strata: per dataset float64 [queries], NaN where a query has no score; weights: float64 [datasets], of sum 1, by
    default equal. Student's t with the degrees of freedom of Welch and Satterthwaite.
    """
    values = [_known(s) for s in strata]
    if not values or any(len(v) < 2 for v in values):
        return None
    mean, error, degrees = moments(values, _weights(weights, len(values)))
    if error == 0:
        return mean, mean
    from scipy.special import stdtrit  # scipy.stats costs half a second to import

    width = float(stdtrit(degrees, 0.5 + level / 2)) * error
    return mean - width, mean + width


def stratified_t(
    a: Sequence[npt.ArrayLike], b: Sequence[npt.ArrayLike], weights: npt.ArrayLike | None = None
) -> Outcome:
    """Two-sided test of whether the mean over datasets of two systems' mean scores differs; statistic t of a minus b.

    a, b: per dataset float64 [queries], in the same order of datasets and of queries; pairs with a NaN are left out.
    weights: as of `mean_interval`. The variance of the mean is the sum of w_d^2 s_d^2 / n_d (Cochran, Sampling
    Techniques, 5.9), its degrees of freedom those of Welch and Satterthwaite. A dataset with less than two queries:
    p 1. All differences 0: p 1; constant ones: p 0.
    """
    found = [differences(one, other) for one, other in zip(a, b, strict=True)]
    if not found or any(len(d) < 2 for d in found):
        return Outcome(1.0, 0.0)
    mean, error, degrees = moments(found, _weights(weights, len(found)))
    if error == 0:
        return Outcome(1.0, 0.0) if mean == 0 else Outcome(0.0, math.copysign(math.inf, mean))
    from scipy.special import stdtr

    t = mean / error
    return Outcome(float(2 * stdtr(degrees, -abs(t))), t)


def _known(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def _weights(weights: npt.ArrayLike | None, strata: int) -> Floats:
    found = np.full(strata, 1 / strata) if weights is None else np.asarray(weights, dtype=np.float64)
    if found.shape != (strata,):
        raise ValueError(f"{strata} datasets need as many weights, not {found.shape}")
    return found


def moments(strata: Sequence[Floats], weights: Floats) -> tuple[float, float, float]:
    """(weighted mean of means, its standard error, degrees of freedom of Welch and Satterthwaite); each stratum has two
    values and more. Of two strata with the weights 1 and -1 it is their difference."""
    mean = math.fsum(w * float(s.mean()) for w, s in zip(weights, strata, strict=True))
    parts = [w * w * float(s.var(ddof=1)) / len(s) for w, s in zip(weights, strata, strict=True)]
    variance = math.fsum(parts)
    if variance == 0:
        return mean, 0.0, 1.0
    # Shares of the variance, so that tiny ones don't vanish when they are squared.
    spread = math.fsum((p / variance) ** 2 / (len(s) - 1) for p, s in zip(parts, strata, strict=True))
    return mean, math.sqrt(variance), 1 / spread
