"""Scores as Anserini reports them: rounded, with ties spread so that the score order is the rank order.

Anserini's searchers order hits by score, equal scores by document id, and then pass the scores through
`io.anserini.rerank.lib.ScoreTiesAdjusterReranker`: round to 4 decimals; where a score is not more than 1e-4
below the (adjusted) one before it, subtract 1e-6 for each such predecessor in a row. Published figures were
computed from these scores. Rounding is in float64, the rest in float32, as there (Anserini 1.7).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]

_NEAR = np.float32(1e-4)
_STEP = np.float32(1e-6)


def adjusted(scores: Scores) -> Scores:
    """Anserini's scores for Lucene's: float32 [queries, k] in rank order, padded with -inf at the end."""
    with np.errstate(invalid="ignore"):
        # Math.round(double) is floor(x + 1/2).
        grid = (np.floor(scores.astype(np.float64) * 1e4 + 0.5) / 1e4).astype(np.float32)
        # One row a rank: the rule runs down the ranks, all queries at once.
        columns = np.ascontiguousarray(grid.T)
        ties = np.zeros(columns.shape[1], dtype=np.int32)
        for rank in range(1, len(columns)):
            near = ~(columns[rank - 1] - columns[rank] > _NEAR)
            if near.any():
                ties = np.where(near, ties + 1, 0)
                columns[rank] -= _STEP * ties.astype(np.float32)
            else:
                ties[:] = 0
    return np.where(np.isneginf(scores), scores, columns.T)
