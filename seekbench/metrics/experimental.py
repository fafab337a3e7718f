"""Measures that trec_eval prints and calls experimental: averages of nDCG, G."""

from __future__ import annotations

import numpy as np

from seekbench.metrics import prefix
from seekbench.metrics.gain import best_order, discounted, gain_of
from seekbench.metrics.judged import Floats, Judged, divide, weighted_count
from seekbench.metrics.measure import register


@register
def ndcg_rel(judged: Judged, *, k: None = None) -> Floats:
    """nDCG at the rank of each relevant document, averaged; that of the whole ranking for those not retrieved.

    Relevant is what has a grade above 0. Source: trec_eval m_ndcg_rel.c (experimental there).
    """
    queries = judged.num_queries
    query, rank, value = best_order(judged)
    steps = prefix.running(query, value / np.log2(rank + 2.0))
    start = judged.qrels.indptr
    positive = judged.relevant(1)
    hit = judged.relevant_hits(None, 1)
    at, own = judged.query[hit], judged.rank[hit]
    reached = prefix.running(at, gain_of(judged.grade[hit]) / np.log2(own + 2.0))
    # The ideal stops growing after the last positive grade.
    ideal = steps[start[at] + np.minimum(own, positive[at].astype(np.int64) - 1)]
    total = discounted(judged.query, judged.rank, gain_of(judged.grade), queries, None)
    whole = divide(total, discounted(query, rank, value, queries, None))
    missed = positive - judged.count(hit)
    return divide(weighted_count(at, reached / ideal, queries) + missed * whole, positive)


@register
def rndcg(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """nDCG averaged over the ranks where the ideal ranking's grade changes, and over the whole ranking.

    0 without a document of grade >= rel; gains are the grades. Source: trec_eval m_Rndcg.c (experimental there).
    """
    queries = judged.num_queries
    query, rank, value = best_order(judged)
    gains = gain_of(judged.grade)
    # Grades fall along the ideal; the last place of each positive grade is a rank to measure at.
    last = np.ones(len(query), dtype=np.bool_)
    last[:-1] = (query[1:] != query[:-1]) | (value[1:] != value[:-1])
    last &= value > 0
    cutoffs = prefix.table(query[last], rank[last] + 1, queries, fill=0.0).astype(np.int64)
    total, points = np.zeros(queries), np.zeros(queries)
    for cutoff in cutoffs.T:
        found = discounted(judged.query, judged.rank, gains, queries, cutoff)
        total += divide(found, discounted(query, rank, value, queries, cutoff))
        points += cutoff > 0
    # trec_eval looks at the whole ranking only where it goes on for two more ranks.
    longer = judged.retrieved > judged.relevant(1) + 1
    found = discounted(judged.query, judged.rank, gains, queries, None)
    total += np.where(longer, divide(found, discounted(query, rank, value, queries, None)), 0.0)
    return np.where(judged.relevant(rel) > 0, divide(total, points + longer), 0.0)


@register(by_grade=False)
def g(judged: Judged, *, k: None = None) -> Floats:
    """Gain discounted by what was missed above: gain / log2(2 + ideal gain so far - gain so far), over all gain.

    Each rank costs the ideal's grade there, at least 1. Source: trec_eval m_G.c (experimental there).
    """
    query, _, value = best_order(judged)
    steps = prefix.running(query, value)
    positive = judged.relevant(1).astype(np.int64)
    hit = judged.relevant_hits(None, 1)
    at, own, gain = judged.query[hit], judged.rank[hit], judged.grade[hit].astype(np.float64)
    place = np.minimum(own, positive[at] - 1)
    cost = steps[judged.qrels.indptr[at] + place] + (own - place)
    worth = gain / np.log2(2.0 + cost - prefix.running(at, gain))
    total = weighted_count(query, value, judged.num_queries)
    return divide(weighted_count(at, worth, judged.num_queries), total)


@register
def bin_g(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Mean over relevant documents of 1 / log2(2 + non-relevant documents above), 0 for those not retrieved.

    Source: trec_eval m_binG.c (experimental there).
    """
    hit = judged.relevant_hits(None, rel)
    query, rank = judged.query[hit], judged.rank[hit]
    worth = 1.0 / np.log2(2.0 + rank - prefix.place(query))
    return divide(weighted_count(query, worth, judged.num_queries), judged.relevant(rel))
