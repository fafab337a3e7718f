"""Measures for incomplete judgments, and how much of a ranking was judged.

A document is unjudged if the judgments lack it or give it a negative grade (pooled, not judged: trec_eval).
"""

from __future__ import annotations

import numpy as np

from seekbench.metrics import prefix
from seekbench.metrics.judged import Floats, Judged, divide, weighted_count
from seekbench.metrics.measure import register


@register
def bpref(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Binary preference: mean over relevant documents of the share of judged non-relevant ones ranked below them.

    Only as many non-relevant documents count as there are relevant ones. Unjudged documents play no part.
    ranx 0.3 gives other numbers (and NaN). Source: Buckley & Voorhees 2004; trec_eval m_bpref.c.
    """
    relevant, not_relevant = judged.grade >= rel, (judged.grade >= 0) & (judged.grade < rel)
    wanted = judged.relevant(rel)
    grades = judged.qrels.grades
    known = np.bincount(
        judged.qrels.query_rows()[(grades >= 0) & (grades < rel)], minlength=judged.num_queries
    )
    above = prefix.before(judged.query, not_relevant)[relevant]
    query = judged.query[relevant]
    kept = 1.0 - divide(np.minimum(above, wanted[query]).astype(np.float64), np.minimum(known, wanted)[query])
    return divide(weighted_count(query, kept, judged.num_queries), wanted)


@register(aggregate="geometric")
def gm_bpref(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Geometric mean of bpref over queries, with 0.00001 for what is smaller. Source: trec_eval m_gm_bpref.c."""
    return bpref(judged, rel=rel)  # type: ignore[no-any-return]


@register(by_grade=False)
def infap(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Inferred AP: AP where only a sample of the pool was judged; a grade below 0 marks what was not.

    The precision above a relevant document is estimated from the judged documents above it; those that were never
    pooled count as not relevant. Slightly smaller than AP where all is judged. Source: Yilmaz & Aslam 2006;
    trec_eval m_infap.c.
    """
    relevant = judged.grade >= rel
    query, rank = judged.query[relevant], judged.rank[relevant].astype(np.float64)
    found = prefix.before(judged.query, relevant)[relevant]
    wrong = prefix.before(judged.query, (judged.grade >= 0) & (judged.grade < rel))[relevant]
    pooled = prefix.before(judged.query, judged.grade < 0)[relevant]
    small = 1e-5  # trec_eval's INFAP_EPSILON
    share = (found + small) / (found + wrong + 2 * small)
    precision = 1.0 / (rank + 1.0) + (found + wrong + pooled) / (rank + 1.0) * share
    precision[rank == 0] = 1.0
    return divide(weighted_count(query, precision, judged.num_queries), judged.relevant(rel))


@register(by_grade=False)
def judged(judged: Judged, *, k: int | None = None) -> Floats:
    """Share of the first k hits that have a judgment for the query; of fewer hits where fewer are retrieved.

    A negative grade is a judgment here. 0 for a query without hits. Source: ir_measures' Judged.
    """
    have = judged.retrieved if k is None else np.minimum(judged.retrieved, k)
    inside = np.ones(len(judged.rank), dtype=np.bool_) if k is None else judged.rank < k
    return divide(judged.count(inside), have.astype(np.float64))


@register(lower=True, by_grade=False)
def unj(judged: Judged, *, k: int) -> Floats:
    """Share of unjudged documents within k, divided by k even where fewer were retrieved.

    Not 1 - judged@k, which divides by the documents retrieved. Source: trec_eval m_unj.c (10).
    """
    known = judged.count((judged.rank < k) & (judged.grade >= 0))
    return (np.minimum(judged.retrieved, k) - known) / k


@register(lower=True, by_grade=False)
def hole(judged: Judged, *, k: int) -> Floats:
    """Hole rate: share of documents within k that were judged for no query at all, divided by k.

    A document judged for another query is no hole here, unlike in unj@k. Source: BEIR's custom_metrics.py, MTEB.
    """
    return judged.hits.holes(k, judged.qrels) / k
