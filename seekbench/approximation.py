"""What an approximate search loses: beside the same system's exact search, how many of its best documents are found,
and what that costs in each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.metrics.evaluate import Scores

#: Depths at which the overlap with the exact search is stated.
DEPTHS = (1, 10, 100, 1000)


def recall(run: Run, exact: Run, depth: int) -> float:
    """Mean over queries: the share of the exact search's first `depth` documents among the run's first `depth`.

    A query without exact hits is left out; nan where all are. Ties at the cutoff are broken by the ranking rule in
    both runs.
    """
    wanted, found = np.asarray(exact.doc_rows[:, :depth]), np.asarray(run.doc_rows[:, :depth])
    hits = (wanted >= 0).sum(axis=1)
    n = int(max(wanted.max(initial=0), found.max(initial=0))) + 1
    owner = np.arange(len(wanted), dtype=np.int64)[:, None] * n
    same = (np.isin(owner + wanted, (owner + found)[found >= 0]) & (wanted >= 0)).sum(axis=1)
    return float((same[hits > 0] / hits[hits > 0]).mean()) if (hits > 0).any() else math.nan


def compared(run: Run, scores: Scores, exact: Run, exact_scores: Scores) -> dict[str, Any]:
    """JSON: `recall` by depth, and by metric its `exact` mean and what is `lost` of it."""
    depths = [d for d in DEPTHS if d < exact.k] + [exact.k]
    found = {str(d): recall(run, exact, d) for d in depths}
    metrics: Mapping[str, float] = exact_scores.mean
    return {
        "recall": {d: value if math.isfinite(value) else None for d, value in found.items()},
        "metrics": {
            name: {"exact": mean, "lost": mean - scores.mean[name]}
            for name, mean in metrics.items()
            if math.isfinite(mean) and math.isfinite(scores.mean[name])
        },
    }
