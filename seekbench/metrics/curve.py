"""The interpolated precision-recall curve: its points and its mean."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seekbench.metrics import prefix
from seekbench.metrics.judged import Floats, Judged
from seekbench.metrics.measure import Levels, register, split_levels

#: How recall * R becomes a number of documents. up: + 0.9, then cut (trec_eval 9, pytrec_eval, ranx); nearest:
#: halves up (trec_eval 10)
Rounding = Literal["up", "nearest"]
#: 0, 0.1, ... 1
ELEVEN = Levels("")


def _interpolated(judged: Judged, recall: float, rel: int, rounding: Rounding) -> Floats:
    wanted = np.floor(recall * judged.relevant(rel) + (0.9 if rounding == "up" else 0.5)).astype(np.int64)
    hit = judged.grade >= rel
    query = judged.query[hit]
    found = prefix.place(query) + 1
    inside = found >= wanted[query]
    out = np.zeros(judged.num_queries)
    np.maximum.at(out, query[inside], (found / (judged.rank[hit] + 1.0))[inside])
    return out


@register
def iprec(
    judged: Judged, *, k: None = None, recall: float, rounding: Rounding = "up", rel: int = 1
) -> Floats:
    """Interpolated precision: the highest precision at any rank where at least that recall is reached; 0 where never.

    recall=0.1 of R relevant documents is a whole number of them: 0.1 * R + 0.9, cut (trec_eval 9, pytrec_eval,
    ir_measures, ranx); rounding=nearest is trec_eval 10's, another number. Source: trec_eval m_iprec_at_recall.c.
    """
    return _interpolated(judged, recall, rel, rounding)


@register
def ip_auc(
    judged: Judged, *, k: None = None, levels: Levels = ELEVEN, rounding: Rounding = "up", rel: int = 1
) -> Floats:
    """Area under the interpolated precision-recall curve, as the mean of iprec at 11 levels of recall, 0, 0.1, ... 1.

    levels=0.25;0.5;0.75 takes others. trec_eval's 11pt_avg. Source: trec_eval m_11pt_avg.c.
    """
    chosen = split_levels(levels) or tuple(i / 10 for i in range(11))
    return np.asarray(sum(_interpolated(judged, r, rel, rounding) for r in chosen) / len(chosen))
