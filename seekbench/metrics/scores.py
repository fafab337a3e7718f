"""Measures of the scores' order over all documents: ROC-AUC."""

from __future__ import annotations

import numpy as np

from seekbench.metrics.judged import Floats, Judged, weighted_count
from seekbench.metrics.measure import register


@register(by_grade=False)
def roc_auc(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Probability that a relevant document scores above a non-relevant one, equal scores counting one half.

    Over the documents that are retrieved or judged: those not retrieved tie at the bottom, unjudged ones are not
    relevant. Equal to sklearn's roc_auc_score where every document is retrieved. Not defined (left out of the mean) for
    a query without a relevant or without a non-relevant document. Source: Lbl2Vec (Schopf et al. 2021); Fawcett 2006.
    """
    relevant = judged.grade >= rel
    query, rank = judged.query[relevant], judged.rank[relevant]
    found = judged.count(relevant)
    wanted = judged.relevant(rel)
    judged_hits = judged.count(np.ones(len(relevant), dtype=np.bool_))
    judgments = np.diff(judged.qrels.indptr).astype(np.float64)
    wrong_found = judged.retrieved - found
    wrong = wrong_found + (judgments - judged_hits) - (wanted - found)
    # Each hit's stretch of equal scores; hits that stand alone are a stretch of their own.
    of, first, last = judged.hits.ties()
    low, high = rank.astype(np.int64), rank.astype(np.int64)
    if len(of):
        width = int(max(last.max(initial=0), rank.max(initial=0))) + 1
        at = np.searchsorted(of * width + first, query * width + rank, side="right") - 1
        safe = np.maximum(at, 0)
        tied = (at >= 0) & (of[safe] == query) & (rank <= last[safe])
        low, high = np.where(tied, first[safe], low), np.where(tied, last[safe], high)
    # Relevant hits above the stretch, and in it.
    size = int(max(high.max(initial=0), rank.max(initial=0))) + 2
    keys = query * size + rank
    start = np.searchsorted(query, query, side="left")
    above = np.searchsorted(keys, query * size + low) - start
    inside = np.searchsorted(keys, query * size + high, side="right") - start - above
    wrong_tied = (high - low + 1) - inside
    wrong_above = low - above
    below = wrong[query] - wrong_above - wrong_tied
    won = weighted_count(query, below + 0.5 * wrong_tied, judged.num_queries)
    won += 0.5 * (wanted - found) * (wrong - wrong_found)
    defined = (wanted > 0) & (wrong > 0)
    return np.where(defined, won / np.where(defined, wanted * wrong, 1.0), np.nan)
