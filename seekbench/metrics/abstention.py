"""Whether a system's scores tell which queries it answers badly: MTEB's nAUC."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seekbench.metrics.judged import Floats, Judged
from seekbench.metrics.measure import MeasureName, parse, register

#: What is taken as confidence: the highest score, the standard deviation, the first score less the second
By = Literal["max", "std", "diff1"]
_RATES = np.arange(10) / 10


@register(aggregate="run")
def nauc(judged: Judged, *, k: None = None, of: MeasureName, by: By, depth: int = 1000) -> float:
    """Abstention: how much a measure's mean gains when the queries of least confidence are left out, 1 at best.

    The area under the mean at abstention rates 0, 0.1, ... 0.9, less that of no gain, divided by the same for an
    oracle that leaves out the worst queries. Confidence is made from the scores of the first `depth` hits (MTEB's
    depth; by=std hangs on it): by=max, std or diff1; 0 for a query without hits. Queries of equal confidence count
    with their mean (MTEB since 2.26). NaN where the measure is the same for all queries. Not bounded below.
    Source: Gisserot-Boukhlef et al. 2024; MTEB's retrieval_metrics.py.
    """
    values = np.asarray(parse(of).compute(judged), dtype=np.float64)
    defined = ~np.isnan(values)
    values, trust = values[defined], _confidence(judged, by, depth)[defined]
    if not len(values) or not np.isfinite(trust).all():  # infinite scores have no spread
        return float("nan")
    ours, best = _curve(trust, values), _curve(values, values)
    flat = best[0] * (_RATES[-1] - _RATES[0])
    reach = np.trapezoid(best, _RATES) - flat
    # MTEB compares with 0 exactly and divides rounding errors by each other where values are all equal.
    if abs(reach) <= 1e-12 * max(1.0, abs(flat)):
        return float("nan")
    return float((np.trapezoid(ours, _RATES) - flat) / reach)


def _confidence(judged: Judged, by: By, depth: int) -> Floats:
    scores = judged.hits.top_scores(depth).astype(np.float64)
    if not scores.shape[1]:
        return np.zeros(judged.num_queries)
    hit = np.arange(scores.shape[1]) < judged.retrieved[:, None]
    scores = np.where(hit, scores, 0.0)
    if np.isinf(scores).any():
        return np.full(judged.num_queries, np.nan)
    if by == "max":
        return np.asarray(scores[:, 0])
    if by == "diff1":
        if scores.shape[1] < 2:
            return np.zeros(len(scores))
        return np.where(hit[:, 1], scores[:, 0] - scores[:, 1], 0.0)
    have = np.maximum(hit.sum(axis=1), 1)
    mean = scores.sum(axis=1) / have
    return np.asarray(np.sqrt((np.where(hit, scores - mean[:, None], 0.0) ** 2).sum(axis=1) / have))


def _curve(trust: Floats, values: Floats) -> Floats:
    """float64 [rates]: mean of the values that are kept when the share with the least trust is left out."""
    by = np.argsort(trust, kind="stable")
    trust, values = trust[by], values[by]
    new = np.flatnonzero(np.concatenate([[True], trust[1:] != trust[:-1]]))
    size = np.diff(np.concatenate([new, [len(trust)]]))
    values = np.repeat(np.add.reduceat(values, new) / size, size)
    # Python's round: halves to the even number, as MTEB's.
    left_out = [min(round(float(rate) * len(values)), len(values) - 1) for rate in _RATES]
    return np.array([values[n:].mean() for n in left_out])
