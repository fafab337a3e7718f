"""Systems compared on the same queries: differences, tests, effect sizes, groups, slices, the queries that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seekbench.statistics.corrections import CORRECTIONS
from seekbench.statistics.effect import cohen_d, minimum_detectable_difference, win_tie_loss
from seekbench.statistics.groups import letters
from seekbench.statistics.intervals import bootstrap_interval
from seekbench.statistics.paired import TESTS, differences, tukey_hsd
from seekbench.statistics.slices import Slice

Floats = npt.NDArray[np.float64]
Test = Literal["t", "wilcoxon", "randomization", "bootstrap", "tukey"]
Correction = Literal["none", "holm", "bonferroni", "bh"]


@dataclass(frozen=True)
class Pair:
    """System b against system a (places). delta: mean of b - a; interval: of that mean; p: of the test; adjusted:
    after the correction over the pairs that are compared; effect: Cohen's d of the paired differences; detectable:
    the smallest difference that a paired t-test of these queries finds with 80% chance at alpha; wins, ties,
    losses: queries on which b is better, equal, worse."""

    a: int
    b: int
    queries: int
    delta: float
    interval: tuple[float, float]
    p: float
    adjusted: float
    effect: float
    detectable: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Comparison:
    """One measure. means, intervals: of each system; pairs: each other system against the baseline; groups: letters
    of systems that can't be told apart, by the same test and correction over all pairs; None for two systems."""

    measure: str
    systems: tuple[str, ...]
    means: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    pairs: tuple[Pair, ...]
    groups: tuple[str, ...] | None
    test: Test
    correction: Correction
    alpha: float
    lower: bool = False


def compare(
    measure: str,
    systems: Sequence[str],
    scores: Floats,
    *,
    baseline: int = 0,
    test: Test = "t",
    correction: Correction = "holm",
    alpha: float = 0.05,
    level: float = 0.95,
    lower: bool = False,
) -> Comparison:
    """Compares systems by a measure, of which the lower figure is better if `lower`.

    scores: float64 [queries, systems]; a query for which a system has NaN is left out of that system's comparisons.
    Tukey's test is its own correction.
    """
    count = scores.shape[1]
    means = [_mean(column) for column in scores.T]
    against = [(baseline, b) for b in range(count) if b != baseline]
    every = [(a, b) for a in range(count) for b in range(a + 1, count)]
    raw = _p_values(scores, every if count > 2 else against, test)
    own = [raw[min(pair), max(pair)] if count > 2 else raw[pair] for pair in against]
    adjust = CORRECTIONS["none" if test == "tukey" else correction]
    groups = None
    if count > 2:
        different = np.zeros((count, count), dtype=np.bool_)
        for (a, b), p in zip(every, adjust([raw[pair] for pair in every]), strict=True):
            different[a, b] = different[b, a] = p < alpha
        groups = tuple(letters(np.nan_to_num(means, nan=-np.inf) * (-1 if lower else 1), different))
    pairs = [
        _pair(scores, a, b, p, adjusted, alpha, level, lower)
        for (a, b), p, adjusted in zip(against, own, adjust(own), strict=True)
    ]
    intervals = tuple((float(low), float(high)) for low, high in bootstrap_interval(scores, level=level))
    return Comparison(
        measure, tuple(systems), tuple(means), intervals, tuple(pairs), groups, test, correction, alpha, lower
    )


def _p_values(scores: Floats, pairs: Sequence[tuple[int, int]], test: Test) -> dict[tuple[int, int], float]:
    if test == "tukey":
        table = tukey_hsd(scores)
        return {pair: float(table[pair]) for pair in pairs}
    return {(a, b): TESTS[test](scores[:, b], scores[:, a]).p for a, b in pairs}


def _mean(values: Floats) -> float:
    """NaN where no query has a value."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _pair(
    scores: Floats, a: int, b: int, p: float, adjusted: float, alpha: float, level: float, lower: bool
) -> Pair:  # fmt: skip
    one, other = scores[:, a], scores[:, b]
    difference = differences(other, one)
    low, high = bootstrap_interval(difference, level=level)
    wins, ties, losses = win_tie_loss(*((one, other) if lower else (other, one)), tolerance=1e-12)
    return Pair(
        a,
        b,
        len(difference),
        _mean(difference),
        (float(low), float(high)),
        p,
        adjusted,
        cohen_d(other, one),
        minimum_detectable_difference(difference, alpha=alpha),
        wins,
        ties,
        losses,
    )


def most_changed(a: Floats, b: Floats, most: int) -> npt.NDArray[np.int64]:
    """int64: queries with the largest difference between two systems (float64 [queries] each), the largest first,
    in the order of the queries where equal; those without a difference are left out."""
    difference = np.abs(np.nan_to_num(b - a))
    by = np.argsort(-difference, kind="stable")[:most]
    return by[difference[by] > 1e-12]


@dataclass(frozen=True)
class SliceFigure:
    """means, intervals: of each system over the queries of the slice (None where no query has a value)."""

    slice: Slice
    means: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]


def by_slice(scores: Floats, slices: Sequence[Slice], *, level: float = 0.95) -> list[SliceFigure]:
    """Each slice's means with their own intervals. scores: float64 [queries, systems]."""
    out = []
    for part in slices:
        values = scores[part.rows]
        bounds = bootstrap_interval(values, level=level)
        counts = (~np.isnan(values)).sum(axis=0)
        out.append(
            SliceFigure(
                part,
                tuple(float(np.nanmean(v)) if n else None for v, n in zip(values.T, counts, strict=True)),
                tuple(
                    (float(low), float(high)) if n > 1 else None
                    for (low, high), n in zip(bounds, counts, strict=True)
                ),
            )
        )
    return out
