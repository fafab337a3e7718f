"""Bitext mining: each sentence has one translation, and only its first hit counts."""

from __future__ import annotations

import numpy as np

from seekbench.errors import InputError
from seekbench.metrics.judged import Floats, Judged, weighted_count
from seekbench.metrics.measure import register


@register(needs=("doc_rows",), by_grade=False)
def bitext_f1(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """F1 of first hits as classes: of a query's relevant document, how often it is the first hit, and rightly.

    2 * right / (queries whose first hit it is + queries that it is relevant for); the mean over queries is sklearn's
    f1_score(average="weighted"), MTEB's main score of bitext mining, where each query has one relevant document (with
    several, a query's value is their mean). A document that many queries find first is worth less than in recall@1.
    Source: MTEB's BitextMining; Artetxe and Schwenk 2019 for the task.
    """
    first = judged.hits.top_rows(1)
    if first is None:
        raise InputError("bitext_f1 needs the documents' places in the corpus, which a run file lacks")
    rows = np.asarray(first, dtype=np.int64).reshape(judged.num_queries, -1)
    found = rows[:, 0] if rows.shape[1] else np.full(judged.num_queries, -1, dtype=np.int64)
    relevant = judged.qrels.grades >= rel
    query, doc = judged.qrels.query_rows()[relevant], judged.qrels.doc_rows[relevant]
    size = int(max(found.max(initial=0), doc.max(initial=0))) + 1
    named = np.bincount(found[found >= 0], minlength=size) + np.bincount(doc, minlength=size)
    right = np.bincount(doc[found[query] == doc], minlength=size)
    value = 2.0 * right[doc] / np.maximum(named[doc], 1)
    several = np.maximum(np.bincount(query, minlength=judged.num_queries), 1)
    return weighted_count(query, value, judged.num_queries) / several
