"""Measures of graded gain: DCG and nDCG."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError
from seekbench.metrics.judged import Floats, Ints, Judged, divide, weighted_count
from seekbench.metrics.measure import Gains, register, split_gains

#: linear: the grade (trec_eval); exp: 2^grade - 1 (Burges)
Gain = Literal["linear", "exp"]
#: 2^grade is exact in float64 up to here, and no collection has more grades
_HIGHEST = 50
#: each grade gains itself
GRADES = Gains("")


def gain_of(grade: Ints, gain: Gain = "linear", gains: Gains = GRADES) -> Floats:
    """float64 of int64 grades. gains replaces the gain of single grades; pooled but unjudged documents gain nothing."""
    values = np.maximum(grade, 0).astype(np.float64)
    for level, value in split_gains(gains):
        values[grade == level] = value
    if gain == "linear":
        return values
    if values.max(initial=0.0) > _HIGHEST:
        raise InputError(
            f"gain=exp is 2^grade - 1, and there is a grade {values.max():.0f}", remedy="gain=linear"
        )
    return np.exp2(values) - 1.0


def discounted(
    query: Ints, rank: Ints, value: Floats, queries: int, k: int | npt.NDArray[np.int64] | None
) -> Floats:
    """float64 [queries]: sum of value / log2(rank + 2), ranks from 0. k: one cutoff, one a query, or None."""
    inside = value != 0
    if k is not None:
        inside &= rank < (k if isinstance(k, int) else k[query])
    return weighted_count(query[inside], value[inside] / np.log2(rank[inside] + 2.0), queries)


def best_order(judged: Judged, gain: Gain = "linear", gains: Gains = GRADES) -> tuple[Ints, Ints, Floats]:
    """(query, rank, gain) of each query's judgments from the highest gain down, negative gains taken as 0."""
    query, rank, grade = judged.ideal
    value = np.maximum(gain_of(grade, gain, gains), 0.0)
    if gains:
        # The ranks stay those of 0, 1, 2, ... in each query: the arrays are sorted by query.
        value = value[np.lexsort((-value, query))]
    return query, rank, value


@register
def dcg(judged: Judged, *, k: int | None = None, gain: Gain = "linear", gains: Gains = GRADES) -> Floats:
    """Discounted cumulative gain: sum of gain / log2(rank + 1), ranks from 1; grades below 1 gain nothing.

    gain=exp is 2^grade - 1. gains=1:3;2:9 gives single grades another gain. Not within 0..1.
    Source: Järvelin & Kekäläinen 2002; trec_eval m_ndcg.c.
    """
    value = gain_of(judged.grade, gain, gains)
    return discounted(judged.query, judged.rank, value, judged.num_queries, k)


@register
def ndcg(judged: Judged, *, k: int | None = None, gain: Gain = "linear", gains: Gains = GRADES) -> Floats:
    """DCG divided by that of the ideal ranking of all judged documents, both cut at k; 0 without a positive grade.

    Linear gain is trec_eval's ndcg / ndcg_cut, BEIR's and MTEB's; gain=exp is Burges' 2^grade - 1 (ranx's
    ndcg_burges), a different number on graded judgments. gains=1:3;2:9 gives single grades another gain
    (trec_eval -m ndcg.1=3,2=9). Judged documents missing from the corpus count in the ideal.
    Source: trec_eval m_ndcg.c, m_ndcg_cut.c.
    """
    best = discounted(*best_order(judged, gain, gains), judged.num_queries, k)
    return divide(dcg(judged, k=k, gain=gain, gains=gains), best)
