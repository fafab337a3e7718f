"""Whether a retriever follows a changed instruction: FollowIR's p-MRR."""

from __future__ import annotations

import numpy as np

from seekbench.errors import InputError
from seekbench.metrics.judged import Floats, Judged, weighted_count
from seekbench.metrics.measure import register


@register(needs=("query_ids",), by_grade=False)
def p_mrr(judged: Judged, *, k: None = None) -> Floats:
    """Change of rank of documents that a changed instruction makes non-relevant, -1 to 1; 0 if it is ignored.

    Queries come in pairs `X-og` and `X-changed`; a document counts if it is relevant for the first and judged not
    relevant for the second. With its ranks o and c: c / o - 1 where it did not sink, 1 - o / c where it did; documents
    that are not retrieved stand after the last. A pair's mean stands at X-og, the figure is the mean of pairs. Pairs
    without such a document, or with a query without hits, do not count.
    Source: Weller et al. 2024 (FollowIR); MTEB's evaluate_p_mrr_change.
    """
    first, second = _pairs(judged)
    pairs = len(first)
    rank = judged.retrieved[judged.qrels.query_rows()] + 1
    rank[judged.judgment] = judged.rank + 1
    width = int(judged.qrels.doc_rows.max(initial=0)) + 1
    pair = np.full((2, judged.num_queries), -1, dtype=np.int64)
    pair[0, first] = pair[1, second] = np.arange(pairs)
    owner, doc, grade = judged.qrels.query_rows(), judged.qrels.doc_rows, judged.qrels.grades
    before = np.flatnonzero((pair[0, owner] >= 0) & (grade >= 1))
    after = np.flatnonzero(pair[1, owner] >= 0)
    key = pair[0, owner[before]] * width + doc[before]
    _, left, right = np.intersect1d(key, pair[1, owner[after]] * width + doc[after], return_indices=True)
    if len(left) < len(before):
        raise InputError(
            f"p_mrr: {len(before) - len(left)} documents relevant under the original instruction have no judgment "
            "under the changed one",
            remedy="judge them, with 0 where they are no longer relevant",
        )
    left, right = before[left], after[right]
    changed = grade[right] < 1
    left, right = left[changed], right[changed]
    old, new = rank[left].astype(np.float64), rank[right].astype(np.float64)
    value = np.where(old >= new, new / old - 1.0, 1.0 - old / new)
    of = pair[0, owner[left]]
    count = np.bincount(of, minlength=pairs)
    defined = (count > 0) & (judged.retrieved[first] > 0) & (judged.retrieved[second] > 0)
    out = np.full(judged.num_queries, np.nan)
    out[first[defined]] = (weighted_count(of, value, pairs) / np.maximum(count, 1))[defined]
    return out


def _pairs(judged: Judged) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], ...]:
    """Rows of the queries X-og and of their X-changed, in the same order."""
    if judged.query_ids is None:
        raise InputError("p_mrr needs the queries' ids, which tell the original from the changed instruction")
    ids = [str(q) for q in judged.query_ids]
    at = {q: i for i, q in enumerate(ids)}
    found = [
        (i, at[q.removesuffix("-og") + "-changed"])
        for i, q in enumerate(ids)
        if q.endswith("-og") and q.removesuffix("-og") + "-changed" in at
    ]
    if not found:
        raise InputError("p_mrr needs pairs of judged queries named X-og and X-changed, and there are none")
    first, second = np.array(found, dtype=np.int64).T
    return first, second
