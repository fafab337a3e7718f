"""How large a difference is, and how large one must be for so many queries to show it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seekbench.statistics.paired import TOLERANCE, differences, residual_variance

Floats = npt.NDArray[np.float64]

#: Above this many degrees of freedom the normal distribution gives a power to within 2e-6 of the noncentral t's,
#: which was not checked further up.
NORMAL_FROM = 1_000_000


class WinTieLoss(NamedTuple):
    """On how many queries a scores higher than b, the same, lower."""

    wins: int
    ties: int
    losses: int


def win_tie_loss(a: npt.ArrayLike, b: npt.ArrayLike, *, tolerance: float = 0.0) -> WinTieLoss:
    """Counts of a - b > tolerance, within it, and below; a, b float64 [queries], pairs with a NaN left out."""
    difference = differences(a, b)
    wins, losses = int((difference > tolerance).sum()), int((difference < -tolerance).sum())
    return WinTieLoss(wins, len(difference) - wins - losses, losses)


def cohen_d(a: npt.ArrayLike, b: npt.ArrayLike, *, corrected: bool = False) -> float:
    """Standardised mean of the paired differences (Cohen's d_z): their mean over their deviation; t / √queries.

    The effect size that Sakai reports beside a paired t-test. `corrected` multiplies by Hedges' exact factor
    against the bias of few queries. All differences 0, one query or none: 0. A constant non-zero difference: ±inf.
    """
    difference = differences(a, b)
    n = len(difference)
    if n < 2 or not difference.any():
        return 0.0
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation <= TOLERANCE * abs(mean):
        return math.copysign(math.inf, mean)
    return mean / deviation * (_hedges(n - 1) if corrected else 1.0)


def anova_effects(scores: npt.ArrayLike) -> Floats:
    """float64 [systems, systems]: (mean_i - mean_j) / √MS, MS the residual variance of a two-way ANOVA.

    scores [queries, systems], queries with a NaN left out. One yardstick for all pairs, which belongs to
    `tukey_hsd` as `cohen_d` does to the t-test (Sakai 2018, "Laboratory Experiments in Information Retrieval").
    Fewer than two queries or systems: zeros. Without residual variance: ±inf where means differ.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"scores must be [queries, systems], not of shape {table.shape}")
    table = table[~np.isnan(table).any(axis=1)]
    queries, systems = table.shape
    if queries < 2 or systems < 2:
        return np.zeros((systems, systems))
    means = table.mean(axis=0)
    difference: Floats = means[:, None] - means[None, :]
    deviation = math.sqrt(residual_variance(table, blocks=True)[0])
    slack = TOLERANCE * float(np.abs(table).max())
    if deviation <= slack:
        return np.where(np.abs(difference) > slack, np.copysign(math.inf, difference), 0.0)
    return difference / deviation


def cliffs_delta(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """P(a > b) - P(a < b) over all pairs of a value of a and one of b; -1 to 1 (Cliff 1993).

    It ignores that queries are paired: an effect on the two distributions of scores. NaNs are left out; 0 if
    either is empty.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    left, right = left[~np.isnan(left)], np.sort(right[~np.isnan(right)])
    if not len(left) or not len(right):
        return 0.0
    below = int(np.searchsorted(right, left, side="left").sum())
    above = len(left) * len(right) - int(np.searchsorted(right, left, side="right").sum())
    return (below - above) / (len(left) * len(right))


def t_test_power(effect: float, queries: int, *, alpha: float = 0.05) -> float:
    """Chance that a two-sided paired t-test of `queries` >= 2 finds a true effect (Cohen's d_z).

    From the noncentral t distribution, both tails; as statsmodels' TTestPower.
    """
    from scipy.special import nctdtr, ndtr, ndtri, stdtrit

    freedom, shift = queries - 1, abs(effect) * math.sqrt(queries)
    if freedom > NORMAL_FROM:
        critical = float(-ndtri(alpha / 2))
        return float(ndtr(shift - critical) + ndtr(-critical - shift))
    critical = float(-stdtrit(freedom, alpha / 2))
    if shift > critical + 40:
        return 1.0  # where the series of the noncentral t no longer converge
    # P(T < -c | shift) is P(T > c | -shift), and precise there.
    power = 1 - float(nctdtr(freedom, shift, critical)) + 1 - float(nctdtr(freedom, -shift, critical))
    return min(1.0, max(0.0, power))


def minimum_detectable_difference(
    differences: npt.ArrayLike, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest true mean difference that a paired t-test would find with the chance `power`.

    differences: float64 [queries] of two systems' scores, of which only number and deviation count; NaN left out.
    In the measure's unit. Fewer than two queries: inf. Equal differences: 0.
    """
    _check_rates(alpha, power)
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return math.inf
    low, high = 0.0, 1.0
    while t_test_power(high, n, alpha=alpha) < power:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_test_power(middle, n, alpha=alpha) < power else (low, middle)
    return high * float(values.std(ddof=1))


def queries_needed(effect: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Fewest queries (at least 2) with which a paired t-test finds an effect (Cohen's d_z) with the chance `power`.

    None for an effect of 0, which no number of queries shows.
    """
    _check_rates(alpha, power)
    if math.isnan(effect):
        raise ValueError("effect is NaN")
    if effect == 0:
        return None
    low, high = 1, 2
    while t_test_power(effect, high, alpha=alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if t_test_power(effect, middle, alpha=alpha) < power else (low, middle)
    return high


def _hedges(freedom: int) -> float:
    """Γ(f/2) / (√(f/2) Γ((f - 1)/2)), Hedges 1981; 0 for one degree of freedom, where no unbiased estimate is."""
    if freedom < 2:
        return 0.0
    return math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def _check_rates(alpha: float, power: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"needed: 0 < alpha < power < 1, not alpha {alpha} and power {power}")
