"""Measures over documents that are segments of one text, in order: Backtracing's distance."""

from __future__ import annotations

import numpy as np

from seekbench.errors import InputError
from seekbench.metrics.judged import Floats, Judged
from seekbench.metrics.measure import register


@register(needs=("doc_rows",), lower=True, by_grade=False)
def min_distance(judged: Judged, *, k: int, rel: int = 1) -> Floats:
    """Fewest segments between one of the first k hits and a target: the smallest |place - place of a target|.

    Places are rows of the corpus, which must hold the segments of each text in their order. 0 is a hit. Smaller is
    better. Not defined (left out of the mean) for a query without hits or targets.
    Source: Wang et al. 2024 (Backtracing).
    """
    rows = judged.hits.top_rows(k)
    if rows is None:
        raise InputError("min_distance@k needs the documents' places in the corpus, which a run file lacks")
    rows = np.asarray(rows, dtype=np.int64)
    out = np.full(judged.num_queries, np.nan)
    targets = (judged.qrels.grades >= rel) & (judged.qrels.doc_rows < judged.qrels.corpus_size)
    owner, place = judged.qrels.query_rows()[targets], judged.qrels.doc_rows[targets]
    query, column = np.nonzero(rows >= 0)
    if not len(owner) or not len(query):
        return out
    hit = rows[query, column]
    size = int(max(place.max(), hit.max())) + 1
    keys = np.sort(owner * size + place)
    nearest = np.full(len(hit), np.inf)
    after = np.searchsorted(keys, query * size + hit)
    for at in (after - 1, after):  # the targets on both sides, if they are the same query's
        key = keys[np.clip(at, 0, len(keys) - 1)]
        same = (at >= 0) & (at < len(keys)) & (key // size == query)
        nearest[same] = np.minimum(nearest[same], np.abs(key % size - hit)[same])
    least = np.full(judged.num_queries, np.inf)
    np.minimum.at(least, query, nearest)
    return np.where(np.isfinite(least), least, np.nan)
