"""Confidence intervals of a mean over queries."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from seekbench.statistics.resampling import SEED, resampled_sums

Floats = npt.NDArray[np.float64]
Method = Literal["bca", "percentile"]

#: Monte-Carlo error of a 95% bound is then about 2% of the interval's width.
SAMPLES = 10_000


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = SEED,
    method: Method = "bca",
) -> Floats:
    """float64 [2] or [measures, 2]: lower and upper bound of the mean of values [queries] or [queries, measures].

    The queries are resampled. "bca" (bias-corrected and accelerated, Efron 1987; as scipy.stats.bootstrap) is the
    default: per-query scores are skewed, many are 0 or 1, and unlike the percentile interval it corrects for that
    to second order; for a mean its acceleration has a closed form, so it costs nothing more.

    A NaN (the measure isn't defined for that query) is left out of its column. A column's interval depends on that
    column's values alone, not on their order or the columns beside it. Equal values give an interval of width 0;
    fewer than two values (-inf, inf), since nothing is known of their spread.
    """
    columns = _columns(values)
    _check_level(level)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    out = np.tile(np.array([-math.inf, math.inf]), (columns.shape[1], 1))
    # Sorted, since the order of queries is no information; NaN sorts last.
    ordered = np.sort(columns, axis=0)
    valid = (~np.isnan(columns)).sum(axis=0)
    for n in np.unique(valid[valid >= 2]):
        chosen = np.flatnonzero(valid == n)
        part = ordered[:n, chosen]
        means = resampled_sums(part, samples=samples, seed=seed) / n
        for place, column in enumerate(chosen):
            out[column] = _bounds(part[:, place], means[:, place], level, method)
    return out if np.ndim(values) == 2 else out[0]


def t_interval(values: npt.ArrayLike, *, level: float = 0.95) -> Floats:
    """float64 [2] or [measures, 2]: Student's interval of the mean of values [queries] or [queries, measures].

    mean ± t(queries - 1) · deviation / √queries. It may leave the measure's range. NaN, equal values and fewer than
    two values are treated as by `bootstrap_interval`.
    """
    from scipy.special import stdtrit

    columns = _columns(values)
    _check_level(level)
    out = np.tile(np.array([-math.inf, math.inf]), (columns.shape[1], 1))
    for i in range(columns.shape[1]):
        column = columns[~np.isnan(columns[:, i]), i]
        n = len(column)
        if n < 2:
            continue
        half = float(stdtrit(n - 1, (1 + level) / 2)) * float(column.std(ddof=1)) / math.sqrt(n)
        out[i] = column.mean() - half, column.mean() + half
    return out if np.ndim(values) == 2 else out[0]


def _columns(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"values must be [queries] or [queries, measures], not of shape {array.shape}")
    return array if array.ndim == 2 else array[:, None]


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")


def _bounds(values: Floats, means: Floats, level: float, method: Method) -> Floats:
    """Quantiles of the resampled means of one column."""
    normal = NormalDist()  # not scipy's: loading that takes longer than `seekbench eval` of a small file
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    deviations = values - values.mean()
    # Rounding leaves equal values with deviations of the last bit, of which no skewness may be made.
    if np.abs(deviations).max() <= 1e-14 * np.abs(values).max():
        return np.full(2, values.mean())
    if method == "bca":
        # Resamples whose mean is the mean itself count half, as in scipy; a tolerance, because their sum was
        # rounded otherwise. Measures of few values (success, precision) have many of them.
        slack = 1e-12 * float(np.abs(values).max())
        below = float((means < values.mean() - slack).mean() + (means <= values.mean() + slack).mean()) / 2
        bias = normal.inv_cdf(min(max(below, 0.5 / len(means)), 1 - 0.5 / len(means)))
        # Of a mean, the jackknife's influences are the deviations.
        acceleration = float((deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5))
        z = bias + np.array([normal.inv_cdf(float(tail)) for tail in tails])
        room = 1 - acceleration * z
        # Beyond the pole (a few extreme values at a level near 1) the bound is the furthest resample.
        with np.errstate(divide="ignore"):
            ends = np.where(room > 0, bias + z / room, np.copysign(math.inf, z))
        tails = np.array([normal.cdf(float(end)) for end in ends])
    elif method != "percentile":
        raise ValueError(f"method must be 'bca' or 'percentile', not {method!r}")
    return np.asarray(np.quantile(means, tails), dtype=np.float64)
