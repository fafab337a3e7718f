"""Running counts and sums within each query, over arrays that are sorted by query."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.metrics.judged import Floats, Ints


def place(query: Ints) -> Ints:
    """int64: how many entries of the same query stand before each."""
    return np.arange(len(query)) - np.searchsorted(query, query, side="left")


def before(query: Ints, chosen: npt.NDArray[np.bool_]) -> Ints:
    """int64: how many chosen entries of the same query stand before each. Exact: whole numbers are added."""
    total = np.concatenate([[0], np.cumsum(chosen, dtype=np.int64)])
    return np.asarray(total[:-1] - total[np.searchsorted(query, query, side="left")])


def running(query: Ints, values: npt.NDArray[Any]) -> Floats:
    """float64: sum of the values of the same query up to and including each."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.asarray(total[1:] - total[np.searchsorted(query, query, side="left")])


def table(query: Ints, values: npt.NDArray[Any], queries: int, *, fill: float) -> Floats:
    """float64 [queries, most entries of a query]: the values of each query side by side, then `fill`."""
    at = place(query)
    out = np.full((queries, int(at.max(initial=-1)) + 1), fill)
    out[query, at] = values
    return out
