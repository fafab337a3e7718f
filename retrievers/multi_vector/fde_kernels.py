"""Compiled loops of fixed dimensional encodings (`fde`).

Whatever belongs to a token or a passage is summed in one order, wherever it stands in a block and however many threads
there are, so an encoding is a function of its own text alone.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

#: Multiply-adds may be fused; sums keep their order.
_FAST = {"contract"}
#: Tokens whose products with one row of a matrix are made while it is in registers.
_TILE = 4
#: Tokens side by side in vector lanes.
_LANES = 16


@nb.njit(cache=True, nogil=True, fastmath=_FAST, inline="never")
def _products(vectors: Any, first: int, matrix: Any, out: Any) -> None:  # pragma: no cover (compiled)
    """out float32 [4, columns]: rows first..first + 3 of `vectors` times `matrix` float32 [dim, columns].

    A row beyond the last is the last one again: there is one loop, and so one order of sums, for all.
    """
    last = len(vectors) - 1
    x0, x1 = vectors[first], vectors[min(first + 1, last)]
    x2, x3 = vectors[min(first + 2, last)], vectors[min(first + 3, last)]
    dim, columns = matrix.shape
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    out[:] = np.float32(0)
    j = 0
    while j + 4 <= dim:
        m0, m1, m2, m3 = matrix[j], matrix[j + 1], matrix[j + 2], matrix[j + 3]
        a0, a1, a2, a3 = x0[j], x0[j + 1], x0[j + 2], x0[j + 3]
        b0, b1, b2, b3 = x1[j], x1[j + 1], x1[j + 2], x1[j + 3]
        c0, c1, c2, c3 = x2[j], x2[j + 1], x2[j + 2], x2[j + 3]
        d0, d1, d2, d3 = x3[j], x3[j + 1], x3[j + 2], x3[j + 3]
        for c in range(columns):
            y0, y1, y2, y3 = m0[c], m1[c], m2[c], m3[c]
            o0[c] = o0[c] + a0 * y0 + a1 * y1 + a2 * y2 + a3 * y3
            o1[c] = o1[c] + b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
            o2[c] = o2[c] + c0 * y0 + c1 * y1 + c2 * y2 + c3 * y3
            o3[c] = o3[c] + d0 * y0 + d1 * y1 + d2 * y2 + d3 * y3
        j += 4
    while j < dim:
        for c in range(columns):
            y = matrix[j, c]
            o0[c] += x0[j] * y
            o1[c] += x1[j] * y
            o2[c] += x2[j] * y
            o3[c] += x3[j] * y
        j += 1


@nb.njit(cache=True, nogil=True, parallel=True)
def partitions(vectors: Any, normals: Any, bits: int, out: Any) -> None:  # pragma: no cover (compiled)
    """out int32 [tokens, repetitions]: the partition of each token.

    vectors: float32 [tokens, dim]; normals: float32 [dim, >= repetitions x bits], those of a repetition side by side.
    The signs (1 where positive) are read as a Gray code, the first one being the highest.
    """
    tokens, repetitions = out.shape
    for tile in nb.prange((tokens + _TILE - 1) // _TILE):
        made = np.empty((_TILE, normals.shape[1]), dtype=np.float32)
        first = tile * _TILE
        _products(vectors, first, normals, made)
        for i in range(min(_TILE, tokens - first)):
            for r in range(repetitions):
                number = 0
                for b in range(bits):
                    sign = 1 if made[i, r * bits + b] > 0 else 0
                    number = (number << 1) | (sign ^ (number & 1))
                out[first + i, r] = number


@nb.njit(cache=True, nogil=True, parallel=True)
def project_dense(vectors: Any, matrix: Any, out: Any) -> None:  # pragma: no cover (compiled)
    """out float32 [tokens, columns]: vectors [tokens, dim] times matrix [dim, columns], both float32."""
    tokens = len(vectors)
    for tile in nb.prange((tokens + _TILE - 1) // _TILE):
        made = np.empty((_TILE, matrix.shape[1]), dtype=np.float32)
        first = tile * _TILE
        _products(vectors, first, matrix, made)
        for i in range(min(_TILE, tokens - first)):
            out[first + i] = made[i]


@nb.njit(cache=True, nogil=True, parallel=True)
def project_sparse(
    vectors: Any, place: Any, sign: Any, width: int, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [tokens, repetitions x width]: coordinate j of a token is added, with its sign, to place[r, j].

    place: int32 [repetitions, dim]; sign: float32 of the same shape.
    """
    tokens, dim = vectors.shape
    repetitions = len(place)
    for tile in nb.prange((tokens + _LANES - 1) // _LANES):
        first = tile * _LANES
        count = min(_LANES, tokens - first)
        turned = np.zeros((dim, _LANES), dtype=np.float32)
        for i in range(count):
            for j in range(dim):
                turned[j, i] = vectors[first + i, j]
        sums = np.empty((width, _LANES), dtype=np.float32)
        for r in range(repetitions):
            sums[:] = np.float32(0)
            for j in range(dim):
                into, by = sums[place[r, j]], sign[r, j]
                for i in range(_LANES):
                    into[i] += by * turned[j, i]
            for i in range(count):
                for w in range(width):
                    out[first + i, r * width + w] = sums[w, i]


@nb.njit(cache=True, nogil=True, parallel=True)
def assemble(
    part: Any, projected: Any, width: int, stride: int, bits: int, average: bool, fill: bool, indptr: Any,
    place: Any, sign: Any, out: Any,
) -> None:  # pragma: no cover (compiled)  # fmt: skip
    """out float32 [passages, dim]: the encodings of passages of tokens indptr[p]..indptr[p + 1] - 1.

    part: int32 [tokens, repetitions]; projected: float32 [tokens, ...], those of repetition r from r x stride on.
    average: sums become means; fill: an empty partition gets its nearest token. place: int32 [repetitions x
    partitions x width], sign: float32 of that length: the Count-Sketch, or empty for none. A passage without tokens
    is zero.
    """
    repetitions = part.shape[1]
    partitions_ = 1 << bits
    block = partitions_ * width
    nobody = np.int64(1) << 62
    for p in nb.prange(len(indptr) - 1):
        start, stop = indptr[p], indptr[p + 1]
        out[p] = np.float32(0)
        if start == stop:
            continue
        count = np.empty(partitions_, dtype=np.int64)
        nearest = np.empty(partitions_, dtype=np.int64)
        made = np.empty(block, dtype=np.float32)
        for r in range(repetitions):
            made[:] = np.float32(0)
            count[:] = 0
            for t in range(start, stop):
                at = part[t, r] * width
                for w in range(width):
                    made[at + w] += projected[t, r * stride + w]
                count[part[t, r]] += 1
            if average:
                for g in range(partitions_):
                    if count[g] > 1:
                        size = np.float32(count[g])
                        for w in range(width):
                            made[g * width + w] /= size
            if average and fill:
                # By sign bits: (distance << 32) + token, lowest first. The Hamming distance is a sum over bits, so
                # one pass a bit finds the minimum over all tokens, and of equally near ones the first.
                nearest[:] = nobody
                for t in range(stop - 1, start - 1, -1):
                    nearest[part[t, r] ^ (part[t, r] >> 1)] = t - start
                for b in range(bits):
                    step = 1 << b
                    for x in range(partitions_):
                        if x & step == 0:
                            low, high = nearest[x], nearest[x | step]
                            nearest[x] = min(low, high + (np.int64(1) << 32))
                            nearest[x | step] = min(high, low + (np.int64(1) << 32))
                for g in range(partitions_):
                    if count[g] == 0:
                        t = start + (nearest[g ^ (g >> 1)] & np.int64(0xFFFFFFFF))
                        for w in range(width):
                            made[g * width + w] = projected[t, r * stride + w]
            if len(place):
                for i in range(block):
                    out[p, place[r * block + i]] += sign[r * block + i] * made[i]
            else:
                out[p, r * block : (r + 1) * block] = made
