"""User models that read from the top and stop: expected reciprocal rank, rank-biased precision."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seekbench.errors import InputError
from seekbench.metrics import prefix
from seekbench.metrics.judged import Floats, Judged, divide
from seekbench.metrics.measure import register

#: binary: 1; grade: the grade; share: the grade divided by the query's highest
Worth = Literal["binary", "grade", "share"]


@register
def err(judged: Judged, *, k: int | None = None, max: int = 4) -> Floats:
    """Expected reciprocal rank: a reader stops at a document of grade g with probability (2^g - 1) / 2^max.

    max is the highest grade of the scale (4 in TREC's web track, gdeval and ir_measures), not of the data: it changes
    the figure. Source: Chapelle et al. 2009; gdeval.pl.
    """
    highest = int(judged.qrels.grades.max(initial=0))
    if highest > max:
        raise InputError(
            f"err has a scale up to grade {max}, and there is a grade {highest}", remedy=f"err(max={highest})"
        )
    hit = judged.relevant_hits(k, 1)
    query = judged.query[hit]
    stops = (np.exp2(judged.grade[hit].astype(np.float64)) - 1.0) / 2.0**max
    values = prefix.product_before(query, 1.0 - stops) * stops / (judged.rank[hit] + 1.0)
    return judged.sum(_spread(values, hit), hit)


def _spread(values: Floats, chosen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    out = np.zeros(len(chosen))
    out[chosen] = values
    return out


@register
def rbp(judged: Judged, *, k: int | None = None, p: float, gain: Worth = "binary", rel: int = 1) -> Floats:
    """Rank-biased precision: (1 - p) times the sum of p^(rank - 1) over relevant documents, ranks from 1.

    p is the probability to read on. gain=grade weighs by the grade (ranx; not within 0..1), gain=share by the grade
    divided by the query's highest (trec_eval's rbp, where p is 0.9). Source: Moffat & Zobel 2008; trec_eval m_rbp.c.
    """
    hit = judged.relevant_hits(k, rel)
    values = p ** judged.rank.astype(np.float64)
    if gain != "binary":
        values *= judged.grade
    total = (1.0 - p) * judged.sum(values, hit)
    if gain != "share":
        return total
    best = np.zeros(judged.num_queries)
    np.maximum.at(best, judged.qrels.query_rows(), judged.qrels.grades)
    return divide(total, best)


@register(lower=True, by_grade=False)
def rbp_resid(judged: Judged, *, k: None = None, p: float) -> Floats:
    """What rank-biased precision could gain at most if all unjudged documents were relevant, those not retrieved too.

    0 where every retrieved document is judged, though the tail is not (trec_eval). Source: Moffat & Zobel 2008;
    trec_eval m_rbp_resid.c.
    """
    known = judged.grade >= 0
    retrieved = judged.retrieved.astype(np.float64)
    tail = p**retrieved
    seen = (1.0 - p) * judged.sum(p ** judged.rank.astype(np.float64), known)
    rest = (1.0 - tail) - seen + tail
    return np.where(judged.count(known) < retrieved, rest, 0.0)
