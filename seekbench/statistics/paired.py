"""Tests whether systems differ, by their scores on the same queries. All are two-sided.

Arguments `a` and `b` are float64 [queries], in the same order of queries; pairs with a NaN are left out. Every test
gives the same p-value with a and b swapped and with the queries in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seekbench.statistics.resampling import SEED, resampled_sums
from seekbench.statistics.studentized import studentized_range_sf

Floats = npt.NDArray[np.float64]

#: Rounding of sums over queries is far below this share of their terms, a real difference of p-values far above.
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Outcome:
    """p: two-sided p-value in [0, 1]. statistic: what the test says it is, for a minus b; may be infinite."""

    p: float
    statistic: float


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> Outcome:
    """Student's paired t-test of per-query scores; statistic t.

    All differences 0, one query or none: p 1, t 0. A constant non-zero difference: p 0, t ±inf. Source:
    scipy.stats.ttest_rel.
    """
    from scipy.special import stdtr  # scipy.stats costs half a second to import

    difference = differences(a, b)
    n = len(difference)
    if n < 2 or not difference.any():
        return Outcome(1.0, 0.0)
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation == 0:
        return Outcome(0.0, math.copysign(math.inf, mean))
    t = mean / (deviation / math.sqrt(n))
    return Outcome(float(2 * stdtr(n - 1, -abs(t))), t)


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> Outcome:
    """Wilcoxon's signed-rank test; statistic: the smaller of the two rank sums.

    As scipy.stats.wilcoxon does by default: zero differences are dropped; exact for up to 50 queries without zeros
    and ties, and for up to 13 with them; else normal with correction for ties and none for continuity.
    Differences are equal if they are to within 1e-12 of the largest: 0.3 - 0.2 and 0.4 - 0.3 are a tie, which
    scipy leaves to the caller. Without a non-zero difference: p 1, statistic 0. A constant difference: all one tie.
    """
    difference = differences(a, b)
    queries = len(difference)
    difference = _snapped(difference)
    difference = difference[difference != 0]
    n = len(difference)
    if n == 0:
        return Outcome(1.0, 0.0)
    _, place, ties = np.unique(np.abs(difference), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    positive = float(ranks[difference > 0].sum())
    total = n * (n + 1) / 2
    statistic = min(positive, total - positive)
    plain = n == queries and len(ties) == n
    if queries <= (50 if plain else 13):
        return Outcome(_exact_signed_rank(ranks, statistic), statistic)
    from scipy.special import ndtr

    variance = (n * (n + 1) * (2 * n + 1) - float((ties.astype(np.float64) ** 3 - ties).sum()) / 2) / 24
    return Outcome(float(min(1.0, 2 * ndtr((statistic - total / 2) / math.sqrt(variance)))), statistic)


def randomization(
    a: npt.ArrayLike, b: npt.ArrayLike, *, permutations: int = 100_000, seed: int = SEED
) -> Outcome:
    """Fisher's paired randomization test of the mean difference; statistic: that mean (Smucker et al. 2007).

    Under the null hypothesis each difference may have either sign. If the signs of the n non-zero differences have
    no more than `permutations` combinations, all are counted and p is exact; else as many are drawn and
    p = (1 + extreme) / (1 + permutations), which counts the observed one and can't be 0 (Davison & Hinkley 1997).
    All differences 0 or no query: p 1; one query: p 1; a constant difference of n queries: 2 / 2^n, if exact.
    """
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, not {permutations}")
    difference = differences(a, b)
    queries = len(difference)
    # Only magnitudes matter once signs are random; sorted, so that queries' order and the systems' don't.
    sizes = np.sort(np.abs(difference[difference != 0]))
    if len(sizes) == 0:
        return Outcome(1.0, 0.0)
    observed = math.fsum(difference)
    # Sums that are equal but were added in another order must count as extreme: with few values they are many.
    least = abs(observed) - TOLERANCE * math.fsum(sizes)
    if len(sizes) <= math.log2(permutations):
        sums = _signed_sums(sizes)
        return Outcome(float((np.abs(sums) >= least).mean()), observed / queries)
    rng = np.random.Generator(np.random.PCG64(seed))
    sums = np.zeros(permutations)
    # A byte holds the signs of 8 queries, and a table their sum: 8 times fewer additions, and memory that doesn't
    # grow with the queries.
    for start in range(0, len(sizes), 8):
        table = _signed_sums(sizes[start : start + 8])
        sums += table[rng.integers(0, len(table), size=permutations, dtype=np.uint8)]
    extreme = int((np.abs(sums) >= least).sum())
    return Outcome((1 + extreme) / (1 + permutations), observed / queries)


def bootstrap_test(a: npt.ArrayLike, b: npt.ArrayLike, *, samples: int = 10_000, seed: int = SEED) -> Outcome:
    """Paired bootstrap test of the mean difference, shifted and studentised; statistic t (Sakai 2006).

    The differences are shifted to mean 0, which makes the null hypothesis true of them, and resampled (Efron &
    Tibshirani 1993, algorithm 16.2); p = (1 + |t*| >= |t|) / (1 + samples). A resample of equal values, which small
    query sets give, has an infinite t* and counts as extreme. All differences 0, one query or none: p 1, t 0. A
    constant non-zero difference: the smallest p, 1 / (1 + samples), t ±inf.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    difference = differences(a, b)
    n = len(difference)
    total = math.fsum(difference)
    if n < 2 or not difference.any():
        return Outcome(1.0, 0.0)
    # Resamples are drawn of one orientation and order, so that a, b and the queries can be swapped.
    mean = abs(total) / n
    shifted = np.sort(np.copysign(1.0, total) * difference) - mean
    squares = shifted**2
    error = math.sqrt(math.fsum(squares) / (n - 1) / n)
    if error <= TOLERANCE * mean:
        return Outcome(1 / (1 + samples), math.copysign(math.inf, total))
    sums = resampled_sums(np.column_stack([shifted, squares]), samples=samples, seed=seed)
    variance = sums[:, 1] - sums[:, 0] ** 2 / n
    # Equal values leave rounding here instead of 0.
    variance[variance <= TOLERANCE * sums[:, 1]] = 0
    t = mean / error
    # |t*| >= |t| without a division by the error, which may be 0.
    extreme = int((np.abs(sums[:, 0]) / n >= t * (1 - TOLERANCE) * np.sqrt(variance / (n - 1) / n)).sum())
    return Outcome((1 + extreme) / (1 + samples), math.copysign(t, total))


def tukey_hsd(scores: npt.ArrayLike, *, blocks: bool = True) -> Floats:
    """float64 [systems, systems]: p-values of Tukey's HSD test of all pairs; scores are [queries, systems].

    They are adjusted already: the chance that any of all pairs differs as much. q = |mean_i - mean_j| / √(MS / n).
    With `blocks`, queries are blocks of a two-way analysis of variance, so MS is the residual variance after the
    systems' and queries' means, with (queries - 1)(systems - 1) degrees of freedom (Carterette 2012, Sakai 2018).
    Without, it is the variance within systems, as of independent samples (scipy.stats.tukey_hsd, statsmodels,
    ranx): as queries differ far more than systems do, that finds much less and is offered for comparison only.
    Two systems in blocks get the p of `paired_t`.

    Queries with a NaN are left out. The diagonal is 1, and everything with fewer than two queries. Without any
    residual variance, p is 0 where means differ and 1 elsewhere.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"scores must be [queries, systems], not of shape {table.shape}")
    table = table[~np.isnan(table).any(axis=1)]
    queries, systems = table.shape
    out = np.ones((systems, systems))
    if queries < 2 or systems < 2:
        return out
    means = table.mean(axis=0)
    variance, freedom = residual_variance(table, blocks=blocks)
    difference = np.abs(means[:, None] - means[None, :])
    upper = np.triu_indices(systems, 1)
    # Rounding of means, beside which no variance counts.
    slack = TOLERANCE * float(np.abs(table).max())
    if math.sqrt(variance) <= slack:
        out[difference > slack] = 0
        return out
    q = difference[upper] / math.sqrt(variance / queries)
    p = studentized_range_sf(q, systems, freedom)
    out[upper] = p
    out.T[upper] = p
    return out


def residual_variance(table: Floats, *, blocks: bool) -> tuple[float, int]:
    """(mean square, degrees of freedom) of scores [queries >= 2, systems] around systems' means.

    With `blocks` around systems' and queries' means: a two-way analysis of variance without replication, which
    needs two systems.
    """
    queries, systems = table.shape
    rest = table - table.mean(axis=0)
    freedom = systems * (queries - 1)
    if blocks:
        rest = rest - rest.mean(axis=1, keepdims=True)
        freedom = (systems - 1) * (queries - 1)
    return float((rest**2).sum()) / freedom, freedom


def differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """float64 [pairs]: a - b without the pairs in which either is NaN; 0 where they differ by rounding alone."""
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"scores must be two arrays [queries], not of shapes {left.shape} and {right.shape}")
    difference = left - right
    # One last bit is no difference: sums of the same terms in another order have it, and tests would count it.
    scale = np.maximum(np.abs(left), np.abs(right))
    difference[np.abs(difference) <= TOLERANCE * scale] = 0.0
    return difference[~np.isnan(difference)]


def _snapped(difference: Floats) -> Floats:
    """Differences as integers of 1e-12 of the power of ten above the largest."""
    largest = float(np.abs(difference).max(initial=0))
    if largest == 0:
        return difference
    snapped: Floats = np.rint(difference / 10 ** math.ceil(math.log10(largest)) * 1e12)
    return snapped


def _signed_sums(sizes: Floats) -> Floats:
    """float64 [2^n]: sums of n sizes with every combination of signs."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _exact_signed_rank(ranks: Floats, statistic: float) -> float:
    """P(either rank sum <= statistic) when each rank is positive with probability 1/2, by counting."""
    doubled = np.rint(2 * ranks).astype(np.int64)  # ties have half ranks
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    return float(min(1.0, 2 * ways[: round(2 * statistic) + 1].sum() / 2.0 ** len(ranks)))


#: The tests by the name a user gives. Tukey's compares all systems at once: `tukey_hsd`.
TESTS: Mapping[str, Callable[[npt.ArrayLike, npt.ArrayLike], Outcome]] = {
    "t": paired_t,
    "wilcoxon": wilcoxon,
    "randomization": randomization,
    "bootstrap": bootstrap_test,
}
