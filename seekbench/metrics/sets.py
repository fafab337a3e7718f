"""Measures of the set of all retrieved documents, and counts."""

from __future__ import annotations

import numpy as np

from seekbench.metrics.judged import Floats, Judged, divide
from seekbench.metrics.measure import register


def _counts(judged: Judged, rel: int) -> tuple[Floats, Floats, Floats]:
    """(relevant and retrieved, retrieved, relevant), float64 [queries]."""
    return (
        judged.count(judged.relevant_hits(None, rel)),
        judged.retrieved.astype(np.float64),
        judged.relevant(rel),
    )


@register
def set_p(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Precision of all retrieved documents; 0 where none is. Source: trec_eval m_set_P.c."""
    both, retrieved, _ = _counts(judged, rel)
    return divide(both, retrieved)


@register
def set_recall(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Recall of all retrieved documents; 0 without relevant ones. Source: trec_eval m_set_recall.c."""
    both, _, relevant = _counts(judged, rel)
    return divide(both, relevant)


@register
def set_relative_p(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Relevant retrieved documents divided by the most possible, min(retrieved, relevant).

    Source: trec_eval m_set_rel_P.c.
    """
    both, retrieved, relevant = _counts(judged, rel)
    return divide(both, np.minimum(retrieved, relevant))


@register
def set_map(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Set precision times set recall. Source: trec_eval m_set_map.c."""
    both, retrieved, relevant = _counts(judged, rel)
    return divide(both * both, retrieved * relevant)


@register
def set_f(judged: Judged, *, k: None = None, x: float = 1.0, rel: int = 1) -> Floats:
    """F measure of all retrieved documents: (x + 1) P R / (x P + R), 0 where nothing relevant is retrieved.

    x is trec_eval's parameter, the square of the usual beta; ir_measures' SetF(beta=2) passes its beta as x.
    Source: trec_eval m_set_F.c.
    """
    both, retrieved, relevant = _counts(judged, rel)
    precision, found = divide(both, retrieved), divide(both, relevant)
    return divide((x + 1.0) * precision * found, x * precision + found)


@register
def utility(
    judged: Judged, *, k: None = None, a: float = 1.0, b: float = -1.0, c: float = 0.0, rel: int = 1
) -> Floats:
    """a times retrieved relevant, b times retrieved non-relevant, c times missed relevant documents, added up.

    Not within 0..1. trec_eval's fourth weight (documents neither relevant nor retrieved) is not here.
    Source: trec_eval m_utility.c.
    """
    both, retrieved, relevant = _counts(judged, rel)
    return a * both + b * (retrieved - both) + c * (relevant - both)


@register(aggregate="sum")
def num_q(judged: Judged, *, k: None = None) -> Floats:
    """Number of queries that count. Source: trec_eval m_num_q.c."""
    return np.ones(judged.num_queries)


@register(aggregate="sum")
def num_ret(judged: Judged, *, k: None = None) -> Floats:
    """Number of retrieved documents, summed over queries. Source: trec_eval m_num_ret.c."""
    return judged.retrieved.astype(np.float64)


@register(aggregate="sum")
def num_rel(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Number of relevant documents, retrieved or not, summed over queries. Source: trec_eval m_num_rel.c."""
    return judged.relevant(rel)


@register(aggregate="sum")
def num_rel_ret(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Number of retrieved relevant documents, summed over queries. Source: trec_eval m_num_rel_ret.c."""
    return _counts(judged, rel)[0]


@register(aggregate="sum")
def num_nonrel_judged_ret(judged: Judged, *, k: None = None, rel: int = 1) -> Floats:
    """Number of retrieved documents judged not relevant, summed over queries.

    Source: trec_eval m_num_nonrel_judged_ret.c.
    """
    return judged.count((judged.grade >= 0) & (judged.grade < rel))
