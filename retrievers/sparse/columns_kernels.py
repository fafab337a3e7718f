"""Compiled loops of the inverted file (`columns`).

All documents of a block have a place in an accumulator that fits in a core's first cache. A query's terms are taken in
ascending order, and each adds query weight x weight to the places of its documents, one rounding for the product and
one for the sum; so a score is the same number whatever else is searched at the same time, and wherever it is made.

Weights are float32, uint8, uint16, or float16 as int16 bits (compiled code has no float16). A sum is float32, or int32
where query weights are integers. Sort keys: bits of the float32 score x 2^31 + order; scores are never negative, so
their bits sort as they do.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

#: Documents that are looked at together when hits are picked, `block / _GROUP` apart.
_GROUP = 16
#: Of numbers, to find where the highest begin.
_BINS = 1024

# An int16's bits, 13 places up, are those of the float16's value in float32, 2^112 times too low.
_HALF = np.float32(2.0**112)


@nb.njit(cache=True, nogil=True)
def invert(
    indptr: Any, terms: Any, starts: Any, documents: Any, where: Any
) -> None:  # pragma: no cover (compiled)
    """Columns of a block of rows. indptr: int64 [rows + 1]; terms: int32. Fills starts: int64 [width + 1] (zeros
    before), documents: uint16, ascending within a term, and where: int64, the non-zero that stands there."""
    for t in terms:
        starts[t + 1] += 1
    for t in range(1, len(starts)):
        starts[t] += starts[t - 1]
    at = starts[:-1].copy()
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            place = at[terms[i]]
            at[terms[i]] += 1
            documents[place] = row
            where[place] = i


@nb.njit(cache=True, nogil=True)
def _select(keys: Any, count: int) -> None:  # pragma: no cover (compiled)
    """Brings the `count` largest numbers to the front, in no order (Hoare's selection)."""
    low, high = 0, len(keys) - 1
    while low < high:
        # The median of three is the pivot.
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if count - 1 <= j:
            high = j
        elif count - 1 >= i:
            low = i
        else:
            break


@nb.njit(cache=True, nogil=True)
def _shift(distance: int) -> int:  # pragma: no cover (compiled)
    """Bits to drop, so that numbers up to `distance` fall into _BINS bins."""
    shift = 0
    while distance >> shift >= _BINS:
        shift += 1
    return shift


@nb.njit(cache=True, nogil=True)
def _bin_of(counts: Any, wanted: int) -> int:  # pragma: no cover (compiled)
    """The highest bin that has, with those above it, `wanted` numbers; 0 where there are not so many."""
    b = len(counts) - 1
    while b > 0:
        wanted -= counts[b]
        if wanted <= 0:
            break
        b -= 1
    return b


@nb.njit(cache=True, nogil=True)
def _largest(keys: Any, count: int, counts: Any, spare: Any) -> Any:  # pragma: no cover (compiled)
    """Brings the `count` largest numbers to the front, in no order; the lowest of them. 0 < count <= len(keys).

    Numbers are counted by bins; those of bins above that of the lowest one are taken without a branch. counts: int64
    [_BINS]; spare: int64 [len(keys)].
    """
    least = most = keys[0]
    for key in keys:
        least = min(least, key)
        most = max(most, key)
    shift = _shift(most - least)
    counts[:] = 0
    for key in keys:
        counts[(key - least) >> shift] += 1
    edge = _bin_of(counts, count)
    taken = equal = 0
    for i in range(len(keys)):
        key = keys[i]
        place = (key - least) >> shift
        keys[taken] = key
        spare[equal] = key
        taken += place > edge
        equal += place == edge
    missing = count - taken
    _select(spare[:equal], missing)
    lowest = spare[0]
    for i in range(missing):
        lowest = min(lowest, spare[i])
        keys[taken + i] = spare[i]
    return lowest


@nb.njit(cache=True, nogil=True)
def _decoded(
    weights: Any, first: int, last: int, bits: Any, values: Any
) -> None:  # pragma: no cover (compiled)
    """values: float32 of the float16s first..last; bits: int32 of the same memory."""
    for i in range(last - first):
        bits[i] = np.int32(weights[first + i]) << 13
    for i in range(last - first):
        values[i] *= _HALF


def _as(numbers: Any, number: Any) -> Any:  # pragma: no cover (replaced when compiled)
    """A number in the type of an array's numbers."""
    return numbers.dtype.type(number)


@nb.extending.overload(_as, inline="always")
def _compiled_as(numbers: Any, number: Any) -> Any:
    kind = numbers.dtype

    # numba wants the very signature.
    def cast(numbers: Any, number: Any) -> Any:  # pragma: no cover (compiled)
        return kind(number)

    return cast


@nb.njit(cache=True, nogil=True)
def _add(documents: Any, weights: Any, weight: Any, sums: Any) -> None:  # pragma: no cover (compiled)
    for j in range(len(documents)):
        sums[documents[j]] += _as(sums, weight * _as(sums, weights[j]))


@nb.njit(cache=True, nogil=True)
def _pick(
    bits: Any, order: Any, k: int, keys: Any, state: Any, tops: Any, counts: Any, spare: Any
) -> None:  # pragma: no cover (compiled)
    """Takes the hits of a block into `keys`.

    bits: int32 [block], those of the scores; order: int32 [block]; keys: int64 [> k + _GROUP], the first state[0] of
    them in use; state[1]: only higher keys matter.
    """
    # Side by side in memory are documents of different groups: so this is done in vector registers.
    apart = len(tops)
    for g in range(apart):
        most = bits[g]
        for i in range(1, _GROUP):
            most = max(most, bits[i * apart + g])
        tops[g] = most
    found, above = state[0], state[1]
    if above < 0:
        # At least k documents, each of a group of its own where there are groups enough, have such a score.
        some = tops if 2 * k <= apart else bits
        highest = np.int32(0)
        for x in tops:
            highest = max(highest, x)
        shift = _shift(int(highest))
        counts[:] = 0
        for x in some:
            counts[x >> shift] += 1
        above = max(((np.int64(_bin_of(counts, k)) << shift) << 31) - 1, np.int64(2**31 - 1))
    least = np.int32(above >> 31)
    for g in range(apart):
        if tops[g] < least:
            continue
        if found + _GROUP > len(keys):
            above = _largest(keys[:found], k, counts, spare)
            found = k
            least = np.int32(above >> 31)
        for i in range(g, g + _GROUP * apart, apart):
            if bits[i] >= least:
                keys[found] = (np.int64(bits[i]) << 31) | np.int64(order[i])
                found += keys[found] > above
    state[0], state[1] = found, above


@nb.njit(cache=True, nogil=True)
def search(
    bases: Any, starts: Any, documents: Any, weights: Any, half: bool, block: int, first_block: int, last_block: int,
    indptr: Any, terms: Any, asked: Any, first: int, last: int, order: Any, k: int, sums: Any, keys: Any,
    found: Any, whole: bool,
) -> None:  # pragma: no cover (compiled)  # fmt: skip
    """The highest keys of queries first..last in blocks first_block..last_block.

    bases: int64 [blocks + 1] and starts: uint32 [blocks, width + 1], where postings begin; documents, weights: the
    postings; indptr, terms, asked: the queries; order: int32 [blocks x block]; sums: zeros [block], float32 or int32;
    whole: the latter. Fills keys: int64 [queries, > k] and found: int64 [queries], how many of them.
    """
    # An integer sum becomes a float32 score here.
    scores = np.empty(block if whole else 0, dtype=np.float32)
    bits = scores.view(np.int32) if whole else sums.view(np.int32)
    tops = np.empty(block // _GROUP, dtype=np.int32)
    counts = np.empty(_BINS, dtype=np.int64)
    spare = np.empty(keys.shape[1], dtype=np.int64)
    values = np.empty(block if half else 1, dtype=np.float32)
    value_bits = values.view(np.int32)
    state = np.empty((last - first, 2), dtype=np.int64)
    state[:, 0] = 0
    state[:, 1] = -1
    for b in range(first_block, last_block):
        base = bases[b]
        for q in range(first, last):
            some = False
            for i in range(indptr[q], indptr[q + 1]):
                t, weight = terms[i], asked[i]
                begin, end = base + np.int64(starts[b, t]), base + np.int64(starts[b, t + 1])
                if begin == end:
                    continue
                some = True
                if half:
                    _decoded(weights, begin, end, value_bits, values)
                    _add(documents[begin:end], values[: end - begin], weight, sums)
                else:
                    _add(documents[begin:end], weights[begin:end], weight, sums)
            if some:
                if whole:
                    for d in range(block):
                        scores[d] = sums[d]
                _pick(
                    bits,
                    order[b * block : (b + 1) * block],
                    k,
                    keys[q],
                    state[q - first],
                    tops,
                    counts,
                    spare,
                )
                sums[:] = 0
    for q in range(first, last):
        count = state[q - first, 0]
        if count > k:
            _largest(keys[q, :count], k, counts, spare)
            count = k
        found[q] = count


@nb.njit(cache=True, nogil=True)
def score_pairs(
    bases: Any, starts: Any, documents: Any, weights: Any, half: bool, block: int, indptr: Any, terms: Any, asked: Any,
    who: Any, where: Any, first: int, last: int, out: Any,
) -> None:  # pragma: no cover (compiled)  # fmt: skip
    """out float32 or int32 [pairs]: the sum of query who[i] and document where[i], of pairs first..last; 0 without a
    common term."""
    values = np.empty(1, dtype=np.float32)
    bits = values.view(np.int32)
    for p in range(first, last):
        b, row = where[p] // block, where[p] % block
        total = _as(out, 0)
        for i in range(indptr[who[p]], indptr[who[p] + 1]):
            low = bases[b] + np.int64(starts[b, terms[i]])
            end = bases[b] + np.int64(starts[b, terms[i] + 1])
            high = end
            while low < high:
                middle = (low + high) // 2
                if documents[middle] < row:
                    low = middle + 1
                else:
                    high = middle
            if low < end and documents[low] == row:
                if half:
                    _decoded(weights, low, low + 1, bits, values)
                    total = _as(out, total + _as(out, asked[i] * _as(out, values[0])))
                else:
                    total = _as(out, total + _as(out, asked[i] * _as(out, weights[low])))
        out[p] = total
