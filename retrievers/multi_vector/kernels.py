"""Compiled loops of late interaction.

A score is a function of one query and one document alone: every inner product is summed in the same order wherever
the pair stands, so a re-ranked document has bit for bit the score that exhaustive search gives it.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

#: Sums may be split over vector lanes, and multiply-adds fused; infinities keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}
#: Queries that a document stays in cache for.
_QUERIES = 64


@nb.njit(fastmath=_FAST, cache=True, nogil=True, inline="never")
def _maxsim(queries: Any, first: int, last: int, vectors: Any, start: int, stop: int) -> Any:
    """Sum over query vectors first..last (a multiple of 4) of the highest inner product with vectors start..stop."""
    dim = queries.shape[1]
    total = np.float32(0)
    lowest = np.float32(-np.inf)
    for i in range(first, last, 4):
        m0 = m1 = m2 = m3 = lowest
        j = start
        # 16 sums in registers: each loaded number takes part in four products.
        while j + 4 <= stop:
            a00 = a01 = a02 = a03 = np.float32(0)
            a10 = a11 = a12 = a13 = np.float32(0)
            a20 = a21 = a22 = a23 = np.float32(0)
            a30 = a31 = a32 = a33 = np.float32(0)
            for k in range(dim):
                x0, x1 = queries[i, k], queries[i + 1, k]
                x2, x3 = queries[i + 2, k], queries[i + 3, k]
                y0, y1, y2, y3 = vectors[j, k], vectors[j + 1, k], vectors[j + 2, k], vectors[j + 3, k]
                a00 += x0 * y0
                a01 += x0 * y1
                a02 += x0 * y2
                a03 += x0 * y3
                a10 += x1 * y0
                a11 += x1 * y1
                a12 += x1 * y2
                a13 += x1 * y3
                a20 += x2 * y0
                a21 += x2 * y1
                a22 += x2 * y2
                a23 += x2 * y3
                a30 += x3 * y0
                a31 += x3 * y1
                a32 += x3 * y2
                a33 += x3 * y3
            m0 = max(m0, a00, a01, a02, a03)
            m1 = max(m1, a10, a11, a12, a13)
            m2 = max(m2, a20, a21, a22, a23)
            m3 = max(m3, a30, a31, a32, a33)
            j += 4
        while j < stop:
            b0 = b1 = b2 = b3 = np.float32(0)
            for k in range(dim):
                y = vectors[j, k]
                b0 += queries[i, k] * y
                b1 += queries[i + 1, k] * y
                b2 += queries[i + 2, k] * y
                b3 += queries[i + 3, k] * y
            m0, m1, m2, m3 = max(m0, b0), max(m1, b1), max(m2, b2), max(m3, b3)
            j += 1
        total += (m0 + m1) + (m2 + m3)
    return total


@nb.njit(cache=True, nogil=True, parallel=True)
def score_block(
    queries: Any, of_query: Any, vectors: Any, of_document: Any, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [queries, documents]: all scores; -inf for a document without vectors.

    queries, vectors: float32 [tokens, dim]; of_query, of_document: int64 indptr. A query's vectors are a multiple of 4.
    """
    count = len(of_query) - 1
    for d in nb.prange(len(of_document) - 1):
        start, stop = of_document[d], of_document[d + 1]
        for q in range(count):
            if start == stop:
                out[q, d] = -np.inf
            else:
                out[q, d] = _maxsim(queries, of_query[q], of_query[q + 1], vectors, start, stop)


@nb.njit(cache=True, nogil=True, parallel=True)
def score_pairs(
    queries: Any, of_query: Any, vectors: Any, of_document: Any, who: Any, where: Any, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [pairs]: scores of (query who[i], document where[i])."""
    for i in nb.prange(len(who)):
        start, stop = of_document[where[i]], of_document[where[i] + 1]
        if start == stop:
            out[i] = -np.inf
        else:
            out[i] = _maxsim(queries, of_query[who[i]], of_query[who[i] + 1], vectors, start, stop)
