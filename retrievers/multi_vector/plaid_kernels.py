"""Compiled loops of residual codes and of PLAID's stages."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True, parallel=True)
def pack(
    vectors: Any, centroids: Any, codes: Any, cutoffs: Any, bits: int, out: Any
) -> None:  # pragma: no cover (compiled)
    """out uint8 [tokens, bytes]: the bucket of each number's residual, lowest bits first."""
    per_byte = 8 // bits
    for t in nb.prange(len(vectors)):
        c = codes[t]
        for b in range(out.shape[1]):
            byte = np.uint8(0)
            for i in range(per_byte):
                d = b * per_byte + i
                if d < vectors.shape[1]:
                    bucket = np.searchsorted(cutoffs, vectors[t, d] - centroids[c, d])
                    byte |= np.uint8(bucket << (i * bits))
            out[t, b] = byte


@nb.njit(cache=True, nogil=True, parallel=True, fastmath={"reassoc", "contract", "nsz"})
def unpack(
    packed: Any, centroids: Any, codes: Any, weights: Any, bits: int, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [tokens, dim]: centroid and bucket weights added, at unit length; zero stays zero."""
    per_byte = 8 // bits
    mask = (1 << bits) - 1
    dim = out.shape[1]
    for t in nb.prange(len(packed)):
        c = codes[t]
        total = np.float32(0)
        for d in range(dim):
            bucket = (packed[t, d // per_byte] >> ((d % per_byte) * bits)) & mask
            value = centroids[c, d] + weights[bucket]
            out[t, d] = value
            total += value * value
        if total > 0:
            scale = np.float32(1) / np.sqrt(total)
            for d in range(dim):
                out[t, d] *= scale


@nb.njit(cache=True, nogil=True)
def _interaction(
    scores: Any, first: int, last: int, codes: Any, kept: Any, all_: bool, best: Any
) -> Any:  # pragma: no cover (compiled)
    """Late interaction with a passage's centroids in place of its vectors; -inf where none is kept."""
    best[:] = -np.inf
    some = False
    for j in range(len(codes)):
        code = codes[j]
        if all_ or kept[code]:
            some = True
            for i in range(last - first):
                best[i] = max(best[i], scores[code, first + i])
    if not some:
        return -np.inf
    total = 0.0
    for i in range(last - first):
        total += best[i]
    return total


@nb.njit(cache=True, nogil=True)
def _interactions(
    scores: Any, first: int, last: int, passages: Any, of_passage: Any, codes: Any, kept: Any, all_: bool
) -> Any:  # pragma: no cover (compiled)
    """float64 [passages]: of each, the sum over query tokens first..last."""
    best = np.empty(last - first, dtype=np.float32)
    out = np.empty(len(passages), dtype=np.float64)
    for n in range(len(passages)):
        p = passages[n]
        out[n] = _interaction(scores, first, last, codes[of_passage[p] : of_passage[p + 1]], kept, all_, best)
    return out


@nb.njit(cache=True, nogil=True)
def _first(scores: Any, count: int) -> Any:  # pragma: no cover (compiled)
    """Places of the highest scores, highest first; of equals the earlier place first."""
    return np.argsort(-scores, kind="mergesort")[:count]


@nb.njit(cache=True, nogil=True, parallel=True)
def stages(
    scores: Any,
    of_query: Any,
    cells: Any,
    lists: Any,
    members: Any,
    of_passage: Any,
    codes: Any,
    threshold: float,
    ndocs: int,
    out: Any,
    counted: Any,
) -> None:  # pragma: no cover (compiled)
    """PLAID's first three stages for a block of queries.

    scores: float32 [centroids, query tokens]; of_query: int64 indptr over query tokens; cells: int64 [query tokens,
    ncells], nearest centroids; lists, members: CSR of passages by centroid; of_passage, codes: CSR of centroids by
    passage. out: int64 [queries, n], filled with -1 before; counted: int64 [queries, 3], passages of stages 1 to 3.
    """
    passages = len(of_passage) - 1
    for q in nb.prange(len(of_query) - 1):
        first, last = of_query[q], of_query[q + 1]
        if first == last:
            continue
        seen = np.zeros(passages, dtype=np.bool_)
        for i in range(first, last):
            for cell in cells[i]:
                for at in range(lists[cell], lists[cell + 1]):
                    seen[members[at]] = True
        found = np.flatnonzero(seen)
        counted[q, 0] = len(found)
        kept = np.zeros(len(scores), dtype=np.bool_)
        if len(found) > ndocs:
            for c in range(len(scores)):
                for i in range(first, last):
                    if scores[c, i] >= threshold:
                        kept[c] = True
                        break
            rough = _interactions(scores, first, last, found, of_passage, codes, kept, False)
            counted[q, 1] = len(found)
            # In the order of rows again, so that equals are told apart by their row in the next stage too.
            found = np.sort(found[_first(rough, ndocs)])
        whole = _interactions(scores, first, last, found, of_passage, codes, kept, True)
        counted[q, 2] = len(found)
        chosen = found[_first(whole, min(out.shape[1], max(1, ndocs // 4)))]
        out[q, : len(chosen)] = chosen
