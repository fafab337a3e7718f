"""Measures over subtopics (intents) of a query: alpha-nDCG, ERR-IA, subtopic recall. Grades count as binary."""

from __future__ import annotations

import numpy as np

from seekbench.errors import InputError
from seekbench.metrics.judged import Floats, Ints, Judged, Subtopics, divide, weighted_count
from seekbench.metrics.measure import register


def _subtopics(judged: Judged) -> Subtopics:
    if judged.subtopics is None:
        raise InputError(
            "alpha_ndcg, err_ia and st_recall need judgments with subtopics",
            remedy="in TREC's form: `query subtopic document grade`, more than one subtopic",
        )
    return judged.subtopics


def _represented(judged: Judged, rel: int) -> Floats:
    """float64 [queries]: subtopics that have a relevant document."""
    topics = _subtopics(judged)
    relevant = topics.grade >= rel
    width = int(topics.topic.max(initial=0)) + 1
    seen = np.unique(topics.query[relevant] * width + topics.topic[relevant])
    return np.bincount(seen // width, minlength=judged.num_queries).astype(np.float64)


def _met(judged: Judged, rel: int, k: int | None) -> tuple[Ints, Ints, Ints]:
    """(query, rank, earlier hits on that subtopic) of each relevant subtopic of a hit within k, by query and rank."""
    topics = _subtopics(judged)
    width = int(max(topics.doc.max(initial=0), judged.qrels.doc_rows.max(initial=0))) + 1
    keys = judged.query * width + judged.doc
    by = np.argsort(keys)
    keys = keys[by]
    wanted = topics.query * width + topics.doc
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    found = (keys[at] == wanted) if len(keys) else np.zeros(len(wanted), dtype=np.bool_)
    found &= topics.grade >= rel
    hit = by[at[found]] if len(keys) else np.empty(0, np.int64)
    query, topic, rank = topics.query[found], topics.topic[found], judged.rank[hit]
    if k is not None:
        inside = rank < k
        query, topic, rank = query[inside], topic[inside], rank[inside]
    by = np.lexsort((rank, topic, query))
    query, topic, rank = query[by], topic[by], rank[by]
    both = query * (int(topic.max(initial=0)) + 1) + topic
    earlier = np.arange(len(both)) - np.searchsorted(both, both, side="left")
    by = np.lexsort((rank, query))
    return query[by], rank[by], earlier[by]


def _ideal_gains(judged: Judged, rel: int, alpha: float, k: int | None) -> Floats:
    """float64 [queries]: DCG of the greedy ideal: always the document that adds most, the highest id among equals."""
    topics = _subtopics(judged)
    out = np.zeros(judged.num_queries)
    relevant = topics.grade >= rel
    query, topic, doc = topics.query[relevant], topics.topic[relevant], topics.doc[relevant]
    order = (topics.doc if topics.order is None else topics.order)[relevant]
    ends = np.searchsorted(query, np.arange(judged.num_queries + 1))
    for q in np.unique(query).tolist():
        part = slice(ends[q], ends[q + 1])
        docs, first, own = np.unique(doc[part], return_index=True, return_inverse=True)
        rows = np.argsort(-order[part][first])  # argmax takes the first of equals
        table = np.zeros((len(docs), int(topic[part].max()) + 1))
        table[own, topic[part]] = 1.0
        table = table[rows]
        worth = np.ones(table.shape[1])
        for rank in range(len(docs) if k is None else min(k, len(docs))):
            # Added one after the other, as ndeval does: ties must be its ties.
            gain = np.cumsum(table * worth, axis=1)[:, -1]
            best = int(np.argmax(gain))
            out[q] += gain[best] / np.log2(rank + 2.0)
            if not gain[best]:
                break
            worth[table[best] > 0] *= 1.0 - alpha
            table[best] = 0.0
    return out


@register(needs=("subtopics",), by_grade=False)
def alpha_ndcg(judged: Judged, *, k: int | None = None, alpha: float = 0.5, rel: int = 1) -> Floats:
    """nDCG over subtopics: a document's gain is (1 - alpha)^(earlier hits on the subtopic), over its subtopics.

    Divided by a greedy ideal (the best one is NP-hard); 0 without a relevant document.
    Source: Clarke et al. 2008; TREC's ndeval (alpha-nDCG).
    """
    query, rank, earlier = _met(judged, rel, k)
    gain = (1.0 - alpha) ** earlier.astype(np.float64) / np.log2(rank + 2.0)
    return divide(weighted_count(query, gain, judged.num_queries), _ideal_gains(judged, rel, alpha, k))


@register(needs=("subtopics",), by_grade=False)
def err_ia(judged: Judged, *, k: int, alpha: float = 0.5, rel: int = 1) -> Floats:
    """Intent-aware expected reciprocal rank: gain (1 - alpha)^(earlier hits on the subtopic) / rank, over subtopics.

    Divided by that of a ranking where every document is relevant for each subtopic that has a relevant one. ndeval
    leaves that division out at k=1. Source: Chapelle et al. 2009, 2011; TREC's ndeval (ERR-IA).
    """
    query, rank, earlier = _met(judged, rel, k)
    gain = (1.0 - alpha) ** earlier.astype(np.float64) / (rank + 1.0)
    depth = np.arange(min(k, 5000))  # what lies deeper adds less than float64 holds, or k is smaller
    best = ((1.0 - alpha) ** depth / (depth + 1.0)).sum()
    if alpha < 0.01 and k > len(depth):
        raise InputError("err_ia with alpha below 0.01 needs k of at most 5000")
    return divide(weighted_count(query, gain, judged.num_queries), best * _represented(judged, rel))


@register(needs=("subtopics",), by_grade=False)
def st_recall(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Subtopic recall: share of the subtopics with a relevant document of which one is within k.

    Source: Zhai et al. 2003; TREC's ndeval (strec).
    """
    query, _, earlier = _met(judged, rel, k)
    met = np.bincount(query[earlier == 0], minlength=judged.num_queries).astype(np.float64)
    return divide(met, _represented(judged, rel))
