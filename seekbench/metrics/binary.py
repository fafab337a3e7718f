"""Measures of binary relevance (grade >= rel, 1 unless told): AP, RR, P, recall, success, F, R-precision."""

from __future__ import annotations

import numpy as np

from seekbench.metrics import prefix
from seekbench.metrics.judged import Floats, Judged, divide, weighted_count
from seekbench.metrics.measure import register


@register
def ap(judged: Judged, *, k: int | None = None, rel: int = 1) -> Floats:
    """Average precision: mean over all relevant documents of the precision at their rank, 0 beyond k.

    Divides by the number of relevant documents, not by min(k, that). The mean over queries is MAP.
    Source: trec_eval m_map.c, m_map_cut.c.
    """
    hit = judged.relevant_hits(k, rel)
    query, rank = judged.query[hit], judged.rank[hit]
    total = weighted_count(query, (prefix.place(query) + 1.0) / (rank + 1.0), judged.num_queries)
    return divide(total, judged.relevant(rel))


@register(aggregate="geometric")
def gmap(judged: Judged, *, k: int | None = None, rel: int = 1) -> Floats:
    """Geometric mean of AP over queries, with 0.00001 for what is smaller: one bad query weighs much.

    A query's own value is its AP. Source: trec_eval m_gm_map.c.
    """
    return ap(judged, k=k, rel=rel)  # type: ignore[no-any-return]


@register
def rr(judged: Judged, *, k: int | None = None, rel: int = 1) -> Floats:
    """Reciprocal rank of the first relevant document, 0 where none is within k. Its mean is MRR.

    Ranks are those of the toolkit's one rule; MS MARCO's script and ir_measures' RR@k break ties otherwise.
    Source: trec_eval m_recip_rank.c.
    """
    hit = judged.relevant_hits(k, rel)
    out = np.zeros(judged.num_queries)
    # Hits are sorted by query and rank, so written backwards the first one stays.
    out[judged.query[hit][::-1]] = 1.0 / (judged.rank[hit][::-1] + 1.0)
    return out


@register
def p(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Precision: relevant documents within k, divided by k even where fewer were retrieved. Source: trec_eval m_P.c."""
    return judged.count(judged.relevant_hits(k, rel)) / k


@register
def recall(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Relevant documents within k divided by all relevant ones (not capped by k). Source: trec_eval m_recall.c."""
    return divide(judged.count(judged.relevant_hits(k, rel)), judged.relevant(rel))


@register
def f(judged: Judged, *, k: int, beta: float = 1.0, rel: int = 1) -> Floats:
    """F measure of p@k and recall@k: (1 + beta^2) P R / (beta^2 P + R), 0 where both are 0.

    ranx's f1@k. `set_f` is that of all retrieved documents, with trec_eval's parameter.
    Source: van Rijsbergen, Information Retrieval, 1979, ch. 7.
    """
    precision, found = p(judged, k=k, rel=rel), recall(judged, k=k, rel=rel)
    return divide((1 + beta**2) * precision * found, beta**2 * precision + found)


@register
def success(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """1 where a relevant document is within k. MTEB's hit_rate, BEIR's Accuracy@k. Source: trec_eval m_success.c."""
    return (judged.count(judged.relevant_hits(k, rel)) > 0).astype(np.float64)


@register
def hits(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Number of relevant documents within k; the mean over queries. Not within 0..1. Source: ranx's hits."""
    return judged.count(judged.relevant_hits(k, rel))


@register
def r_cap(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Capped recall: relevant documents within k divided by the most that k could hold, min(k, relevant).

    Another number than recall@k where a query has more than k relevant documents. 0 without relevant documents,
    where BEIR divides by 0. trec_eval's relative_P. Source: BEIR's custom_metrics.py; trec_eval m_rel_P.c.
    """
    return divide(judged.count(judged.relevant_hits(k, rel)), np.minimum(judged.relevant(rel), k))


@register
def rprec(judged: Judged, *, k: None = None, mult: float = 1.0, rel: int = 1) -> Floats:
    """R-precision: precision at rank R, the query's number of relevant documents; 0 without any.

    mult=0.2 is that at a fifth of R, rounded as trec_eval's Rprec_mult does (0.2 * R + 0.9, cut to a whole number).
    Source: trec_eval m_Rprec.c, m_Rprec_mult.c.
    """
    cutoff = (mult * judged.relevant(rel) + 0.9).astype(np.int64)
    found = judged.count((judged.grade >= rel) & (judged.rank < cutoff[judged.query]))
    return divide(found, cutoff.astype(np.float64))
