"""Running counts and sums within each query, over arrays that are sorted by query."""

from __future__ import annotations

from collections.abc import Iterator
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
    """float64: sum of the values of the same query up to and including each, added in their order. A query's sums have
    nothing of other queries' in them, not even their rounding."""
    total = np.array(values, dtype=np.float64)
    for at in _steps(query):
        total[at] += total[at - 1]
    return total


def product_before(query: Ints, values: npt.NDArray[Any]) -> Floats:
    """float64: product of the values of the same query before each."""
    total = np.ones(len(query))
    for at in _steps(query):
        total[at] = total[at - 1] * values[at - 1]
    return total


def _steps(query: Ints) -> Iterator[Ints]:
    """The places of all second entries of queries, of all third ones, and so on."""
    first = np.flatnonzero(np.concatenate([[True], query[1:] != query[:-1]])) if len(query) else query
    size = np.diff(np.concatenate([first, [len(query)]]))
    by = np.argsort(-size, kind="stable")
    first, size = first[by], -size[by]
    for depth in range(1, -int(size[0]) if len(size) else 0):
        # Sizes fall, so those that are long enough stand in front.
        yield first[: int(np.searchsorted(size, -depth))] + depth


def table(query: Ints, values: npt.NDArray[Any], queries: int, *, fill: float) -> Floats:
    """float64 [queries, most entries of a query]: the values of each query side by side, then `fill`."""
    at = place(query)
    out = np.full((queries, int(at.max(initial=-1)) + 1), fill)
    out[query, at] = values
    return out
