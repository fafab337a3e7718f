"""Measures of binary relevance (grade >= rel, 1 unless told): AP, RR, P, recall, success."""

from __future__ import annotations

import numpy as np

from seekbench.metrics.judged import Floats, Judged, divide, weighted_count
from seekbench.metrics.measure import register


@register
def ap(judged: Judged, *, k: int | None = None, rel: int = 1) -> Floats:
    """Average precision: mean over all relevant documents of the precision at their rank, 0 beyond k.

    Divides by the number of relevant documents, not by min(k, that). The mean over queries is MAP.
    Source: trec_eval m_map.c, m_map_cut.c.
    """
    hit = judged.hits(k, rel)
    query, rank = judged.query[hit], judged.rank[hit]
    first = np.searchsorted(query, query, side="left")
    found = np.arange(len(query)) - first + 1.0
    total = weighted_count(query, found / (rank + 1.0), judged.num_queries)
    return divide(total, judged.relevant(rel))


@register
def rr(judged: Judged, *, k: int | None = None, rel: int = 1) -> Floats:
    """Reciprocal rank of the first relevant document, 0 where none is within k. Its mean is MRR.

    Ranks are those of the toolkit's one rule; MS MARCO's script and ir_measures' RR@k break ties otherwise.
    Source: trec_eval m_recip_rank.c.
    """
    hit = judged.hits(k, rel)
    out = np.zeros(judged.num_queries)
    # Hits are sorted by query and rank, so written backwards the first one stays.
    out[judged.query[hit][::-1]] = 1.0 / (judged.rank[hit][::-1] + 1.0)
    return out


@register
def p(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Precision: relevant documents within k, divided by k even where fewer were retrieved. Source: trec_eval m_P.c."""
    return judged.count(judged.hits(k, rel)) / k


@register
def recall(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Relevant documents within k divided by all relevant ones (not capped by k). Source: trec_eval m_recall.c."""
    return divide(judged.count(judged.hits(k, rel)), judged.relevant(rel))


@register
def success(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """1 where a relevant document is within k. MTEB's hit_rate, BEIR's Accuracy@k. Source: trec_eval m_success.c."""
    return (judged.count(judged.hits(k, rel)) > 0).astype(np.float64)


@register
def r_cap(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Capped recall: relevant documents within k divided by the most that k could hold, min(k, relevant).

    Another number than recall@k where a query has more than k relevant documents. Source: BEIR's custom_metrics.py.
    """
    return divide(judged.count(judged.hits(k, rel)), np.minimum(judged.relevant(rel), k))
