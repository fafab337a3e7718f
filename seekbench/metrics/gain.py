"""Measures of graded gain: DCG and nDCG."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seekbench.metrics.judged import Floats, Ints, Judged, divide, weighted_count
from seekbench.metrics.measure import register

#: linear: the grade (trec_eval); exp: 2^grade - 1 (Burges)
Gain = Literal["linear", "exp"]


def _gain(grade: Ints, gain: Gain) -> Floats:
    positive = np.maximum(grade, 0).astype(np.float64)
    return positive if gain == "linear" else np.exp2(positive) - 1.0


def _discounted(query: Ints, rank: Ints, grade: Ints, queries: int, k: int | None, gain: Gain) -> Floats:
    inside = grade > 0 if k is None else (grade > 0) & (rank < k)
    values = _gain(grade[inside], gain) / np.log2(rank[inside] + 2.0)
    return weighted_count(query[inside], values, queries)


@register
def dcg(judged: Judged, *, k: int | None = None, gain: Gain = "linear") -> Floats:
    """Discounted cumulative gain: sum of gain / log2(rank + 1), ranks from 1; grades below 1 gain nothing.

    Source: Järvelin & Kekäläinen 2002 with the log2(rank+1) discount of trec_eval's m_ndcg.c.
    """
    return _discounted(judged.query, judged.rank, judged.grade, judged.num_queries, k, gain)


@register
def ndcg(judged: Judged, *, k: int | None = None, gain: Gain = "linear") -> Floats:
    """DCG divided by that of the ideal ranking of all judged documents, both cut at k; 0 without a positive grade.

    Linear gain is trec_eval's ndcg / ndcg_cut, BEIR's and MTEB's; gain=exp is Burges' 2^grade - 1 (ranx's
    ndcg_burges), a different number on graded judgments. Judged documents missing from the corpus count in the
    ideal. Source: trec_eval m_ndcg.c, m_ndcg_cut.c.
    """
    best = _discounted(*judged.ideal, judged.num_queries, k, gain)
    return divide(dcg(judged, k=k, gain=gain), best)
