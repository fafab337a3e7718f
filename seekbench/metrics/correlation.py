"""Correlation of scores with gold values over all judged pairs: semantic textual similarity.

A pair is a query and a document with a gold value as its grade. Correlations do not change when all gold values are
multiplied by one number, so whole grades (`scale` of a table's judgments) lose nothing.
"""

from __future__ import annotations

import numpy as np

from seekbench.metrics.judged import Floats, Judged
from seekbench.metrics.measure import register
from seekbench.statistics import correlation

#: The measures that are made from all judged pairs at once.
OF_PAIRS = ("spearman", "pearson")


@register(aggregate="run")
def spearman(judged: Judged, *, k: None = None) -> float:
    """Spearman's rank correlation of the scores of all judged pairs with their grades; ties share the mean rank.

    A pair whose document is not retrieved counts with score 0. NaN with fewer than two pairs, or where all scores or
    all grades are equal. Equal to scipy.stats.spearmanr. Source: Spearman 1904; the main score of STS in MTEB.
    """
    return correlation.spearman(*_pairs(judged))


@register(aggregate="run")
def pearson(judged: Judged, *, k: None = None) -> float:
    """Pearson's correlation of the scores of all judged pairs with their grades.

    A pair whose document is not retrieved counts with score 0; NaN as `spearman`. Equal to scipy.stats.pearsonr.
    Source: Pearson 1895; SemEval's STS tasks.
    """
    return correlation.pearson(*_pairs(judged))


def pairs_without_hit(judged: Judged) -> int:
    """Judged pairs whose document is not retrieved for the query."""
    return len(judged.qrels) - len(judged.judgment)


def _pairs(judged: Judged) -> tuple[Floats, Floats]:
    """(score, grade) of every judged pair, in an order of their own: sums then do not hang on that of the files."""
    scores = np.zeros(len(judged.qrels))
    scores[judged.judgment] = judged.hits.top_scores()[judged.query, judged.rank]
    grades = judged.qrels.grades.astype(np.float64)
    by = np.lexsort((grades, scores))
    return scores[by], grades[by]
