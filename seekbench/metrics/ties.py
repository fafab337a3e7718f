"""What the order of tied documents is worth: the best and the worst value that a run's ties allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seekbench.metrics.judged import Ints, Judged
from seekbench.metrics.measure import Measure


@dataclass(frozen=True)
class TieReport:
    """Of one measure. across: queries with equal scores on both sides of the cutoff; affected: queries whose value
    hangs on the order of tied documents; worst, best: the run's figure with tied documents in the order of their
    grade, lowest or highest first."""

    across: int
    affected: int
    worst: float
    best: float


def report(
    judged: Judged, measures: Sequence[Measure], values: npt.NDArray[np.float64], means: Sequence[float]
) -> list[TieReport | None]:
    """One entry a measure; None where the grades do not tell which order is best, as of figures of the whole run.

    values: float64 [queries, measures] as ranked.
    """
    query, first, last = judged.hits.ties()
    best = worst = judged
    if len(query):
        best = judged.reranked(_regrouped(judged, query, first, last, best=True))
        worst = judged.reranked(_regrouped(judged, query, first, last, best=False))
    out: list[TieReport | None] = []
    for i, measure in enumerate(measures):
        if not measure.has_tie_band:
            out.append(None)
            continue
        across = 0
        if measure.k is not None:
            across = len(np.unique(query[(first < measure.k) & (last >= measure.k)]))
        if not len(query):
            out.append(TieReport(across, 0, means[i], means[i]))
            continue
        high, low = measure.compute(best), measure.compute(worst)
        # Sums in another order differ in their last bits.
        moved = ~np.isclose(high, low, rtol=1e-12, atol=1e-15, equal_nan=True)
        out.append(
            TieReport(across, int(moved.sum()), measure.aggregate(low), measure.aggregate(high))
            if moved.any()
            else TieReport(across, 0, means[i], means[i])
        )
    return out


def _regrouped(judged: Judged, query: Ints, first: Ints, last: Ints, *, best: bool) -> Ints:
    """int64 [judged hits]: ranks where each stretch of ties has its relevant documents first (or last), by grade,
    and those judged not relevant at the other end; the unjudged lie between."""
    width = int(max(last.max(initial=0), judged.rank.max(initial=0))) + 1
    at = np.searchsorted(query * width + first, judged.query * width + judged.rank, side="right") - 1
    at_safe = np.maximum(at, 0)
    inside = (at >= 0) & (query[at_safe] == judged.query) & (judged.rank <= last[at_safe])
    rank = judged.rank.copy()
    chosen = np.flatnonzero(inside)
    group, grade = at[chosen], judged.grade[chosen]
    for relevant in (True, False):
        part = np.flatnonzero((grade > 0) == relevant)
        part = part[np.lexsort((-grade[part] if relevant else grade[part], group[part]))]
        g = group[part]
        place = np.arange(len(g)) - np.searchsorted(g, g, side="left")
        # Relevant ones stand in front in the best case, those judged not relevant in the worst.
        rank[chosen[part]] = first[g] + place if relevant == best else last[g] - place
    return rank
