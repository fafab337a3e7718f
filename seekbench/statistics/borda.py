"""Borda count: systems ranked by how many others they beat, over several tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Borda:
    """points: float64 [systems]; ranks: int64 [systems], 1 for the most points, equal points share the best rank;
    missing: int64 [systems], tasks without a score, which earn no points."""

    points: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int64]
    missing: npt.NDArray[np.int64]


def borda(scores: npt.ArrayLike, *, lower: bool = False) -> Borda:
    """MMTEB's Borda count (Enevoldsen et al. 2025, https://arxiv.org/abs/2502.13595; mteb/benchmarks/_create_table.py).

    scores: float64 [systems, tasks], NaN where a system has none; lower: whether a lower score is better. For each task
    the n systems get n - rank points; equal scores share the mean of their ranks. A missing score earns nothing, as
    there, and so can't raise a system: whoever shows the ranks states what is missing.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"scores must be [systems, tasks], not of {table.ndim} dimensions")
    values = table if lower else -table
    points = np.zeros(len(table))
    for column in values.T:
        there = ~np.isnan(column)
        _, place, counts = np.unique(column[there], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        points[there] += len(table) - (last - (counts - 1) / 2)[place]
    order = np.sort(points)
    ranks = 1 + len(points) - np.searchsorted(order, points, side="right")
    return Borda(points, ranks.astype(np.int64), np.isnan(table).sum(axis=1))
