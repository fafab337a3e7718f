"""Exact late interaction: S(q, d) = sum over query vectors of the highest inner product with a vector of d
(Khattab & Zaharia 2020, https://doi.org/10.1145/3397271.3401075), over all documents or over given pairs.

Token vectors lie end to end, without padding. On the CPU products and maxima are one compiled loop, so the products
are never in memory; a block of documents is decoded once for a block of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.multi_vector.ragged import Floats, Ints
from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.passages import Passages
    from seekbench.retrievers.multi_vector.tokens import Tokens

#: Document tokens of a block: what is decoded to float32 at once.
BLOCK_TOKENS = {"cpu": 65_536, "cuda": 262_144}
#: Queries of one pass over the documents.
QUERY_BLOCK = 1024
#: Query vectors from which rounding the documents for a first scan pays.
_SCAN_FROM = 128


@dataclass(frozen=True)
class Packed:
    """Queries, their vectors end to end. vectors: float32 [tokens, dim]; indptr: int64 [queries + 1]."""

    vectors: Floats
    indptr: Ints

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @classmethod
    def of(cls, parts: Sequence[Floats]) -> Packed:
        """parts: float32 [tokens, dim] of each query."""
        dim = parts[0].shape[1] if parts else 0
        vectors = np.concatenate(parts) if parts else np.empty((0, dim), np.float32)
        lengths = [len(part) for part in parts]
        return cls(
            np.ascontiguousarray(vectors, np.float32),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )

    def lengths(self) -> Ints:
        lengths: Ints = np.diff(self.indptr)
        return lengths

    def take(self, start: int, stop: int) -> Packed:
        """Queries start..stop - 1."""
        first, last = int(self.indptr[start]), int(self.indptr[min(stop, len(self))])
        return Packed(self.vectors[first:last], self.indptr[start : stop + 1] - first)

    def some(self, rows: Sequence[int] | Ints) -> Packed:
        """Those of given numbers."""
        return Packed.of([self.vectors[self.indptr[q] : self.indptr[q + 1]] for q in rows])


def search(
    queries: Packed,
    tokens: Tokens,
    passages: Passages,
    order: npt.NDArray[Any],
    k: int,
    *,
    device: str = "cpu",
    threads: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Run:
    """The top k documents of every query by exact MaxSim and the ranking rule.

    order: int [documents], rank of each id in byte order. A document without vectors is never a hit. advance: called
    with the number of queries that were done. Memory: one decoded block of documents, its scores for up to 1,024
    queries, and k keys of 8 bytes a query.
    """
    k = min(k, len(order))
    rows = np.full((len(queries), k), -1, dtype=np.int32)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    if not k or not len(queries):
        return Run(rows, scores)
    order = np.asarray(order)
    for at in range(0, len(queries), QUERY_BLOCK):
        part = queries.take(at, at + QUERY_BLOCK)
        run = _documents(_best(part, tokens, passages, order, k, device, threads), passages, order, k)
        rows[at : at + len(part), : run.k], scores[at : at + len(part), : run.k] = run.doc_rows, run.scores
        if advance:
            advance(len(part))
    return Run(rows, scores)


def _best(
    queries: Packed,
    tokens: Tokens,
    passages: Passages,
    order: npt.NDArray[Any],
    k: int,
    device: str,
    threads: int,
) -> Ints:
    """int64 [queries, <= k]: keys of the best passages.

    Scores of rounded vectors find candidates in half the time. Those are scored in float32, and a bound on the
    rounding proves, query by query, that no other passage is among the best. Queries without that proof (ties or near
    ties at the cutoff) are scored in float32 over all passages.
    """
    best_order = passages.best(np.asarray(order, dtype=np.int64))
    wanted = k + 16 + k // 16
    if _on_gpu(device) or len(queries.vectors) < _SCAN_FROM or 4 * wanted >= len(tokens):
        return _scan(queries, tokens, best_order, k, _scorer(queries, device, threads), device)
    from seekbench.retrievers.multi_vector.lanes import Rounded

    use_threads(threads)
    rough = Rounded(queries)
    found = _scan(queries, tokens, best_order, wanted, rough, device)
    row_of = np.empty(len(order), dtype=np.int64)
    row_of[order] = np.arange(len(order))
    hit = found > _LOWEST
    where = np.where(hit, passages.of[row_of[np.where(hit, found & (2**31 - 1), 0)]], -1)
    who, place = np.nonzero(hit)
    keys = np.full(where.shape, _NOTHING, dtype=np.int64)
    exact = score_pairs(queries, tokens, who, where[who, place].astype(np.int64), threads=threads)
    keys[who, place] = _keys(exact, best_order[where[who, place]])
    # A passage that is no candidate has a rough score of at most the last candidate's.
    ceiling = _scores_of(found.min(axis=1)).astype(np.float64) + rough.slack()
    last = _scores_of(np.partition(keys, -k, axis=1)[:, -k])
    unsure = np.flatnonzero(hit.all(axis=1) & (last <= ceiling))
    if len(unsure):
        some = queries.some(unsure)
        keys[unsure] = _NOTHING
        keys[unsure, :k] = _scan(some, tokens, best_order, k, _scorer(some, device, threads), device)
    return _highest(None, keys, k)


def _scan(
    queries: Packed,
    tokens: Tokens,
    best_order: Ints,
    count: int,
    score: Callable[[Floats, Ints], Floats],
    device: str,
) -> Ints:
    """int64 [queries, count or as many as there are passages]: the highest keys over all passages."""
    count = min(count, len(tokens))
    keys = np.empty((len(queries), 0), dtype=np.int64)
    for start, stop, vectors in tokens.blocks(BLOCK_TOKENS["cuda" if _on_gpu(device) else "cpu"]):
        found = score(vectors, tokens.indptr[start : stop + 1] - tokens.indptr[start])
        keys = _highest(keys, _keys(found, best_order[start:stop]), count)
    return keys


def score_pairs(
    queries: Packed, tokens: Tokens, who: Ints, where: Ints, *, device: str = "cpu", threads: int = 0
) -> Floats:
    """float32 [pairs]: exact MaxSim of query who[i] and passage where[i]; -inf for a passage without vectors.

    On the CPU the same numbers as in `search`. Each passage is decoded once, in blocks of bounded size.
    """
    out = np.empty(len(who), dtype=np.float32)
    if not len(who):
        return out
    score = _pair_scorer(queries, device, threads)
    by = np.argsort(where, kind="stable")
    rows, first = np.unique(where[by], return_index=True)
    ends = np.append(first[1:], len(by))
    sizes = np.cumsum(tokens.indptr[rows + 1] - tokens.indptr[rows])
    at = 0
    while at < len(rows):
        base = int(sizes[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(sizes, base + BLOCK_TOKENS["cpu"], side="right")))
        vectors, indptr = tokens.gather(rows[at:stop])
        pairs = by[first[at] : ends[stop - 1]]
        local = np.repeat(np.arange(stop - at), ends[at:stop] - first[at:stop])
        out[pairs] = score(vectors, indptr, who[pairs], local)
        at = stop
    return out


def rank(scores: Floats, where: Ints, passages: Passages, order: npt.NDArray[Any], k: int) -> Run:
    """The top k documents of scored passages. scores: float32 [queries, candidates]; where: int64, passages or -1."""
    best = passages.best(np.asarray(order, dtype=np.int64))
    known = (where >= 0) & (scores > -np.inf)
    keys = _keys(np.where(known, scores, np.float32(0)), best[np.where(known, where, 0)])
    return _documents(np.where(known, keys, _NOTHING), passages, np.asarray(order), k)


_NOTHING = np.int64(np.iinfo(np.int64).min)
_LOWEST = np.int64((np.int64(-(2**31)) - np.float32(-np.inf).view(np.int32).astype(np.int64) - 1) << 31) + (
    2**31 - 1
)


def _keys(scores: Floats, order: Ints) -> Ints:
    """int64: numbers that sort as the ranking rule does, score first, then `order`, each below 2^31.

    A float32 and its bits sort alike when the bits of negative ones are turned over.
    """
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # minus zero is zero
    return (np.where(bits < 0, -(2**31) - bits - 1, bits) << 31) | order


def _scores_of(keys: Ints) -> Floats:
    high = keys >> 31
    bits = np.where(high < 0, -(2**31) - high - 1, high)
    return bits.astype(np.int32).view(np.float32)


def _highest(known: Ints | None, new: Ints, count: int) -> Ints:
    """int64 [queries, <= count]: the highest keys of both, in no order."""
    keys = new if known is None else np.concatenate([known, new], axis=1)
    if keys.shape[1] <= count:
        return keys
    return np.ascontiguousarray(np.partition(keys, keys.shape[1] - count, axis=1)[:, -count:])


def _documents(keys: Ints, passages: Passages, order: npt.NDArray[Any], k: int) -> Run:
    """Documents of the passages of the highest keys, ranked. The k best documents are among those of the k best
    passages by (score, best document), since each passage before theirs has a document before them."""
    hit = keys > _LOWEST
    row_of = np.empty(len(order), dtype=np.int64)
    row_of[order] = np.arange(len(order))
    rows = np.where(hit, row_of[np.where(hit, keys & (2**31 - 1), 0)], -1)
    scores = np.where(hit, _scores_of(keys), np.float32(-np.inf)).astype(np.float32)
    if passages.repeated:
        rows, scores = passages.spread(rows, scores)
    return Run.ranked(rows.astype(np.int32), scores, order).cut(k)


def _scorer(queries: Packed, device: str, threads: int) -> Callable[[Floats, Ints], Floats]:
    """(vectors [tokens, dim], indptr) -> float32 [queries, documents]."""
    if _on_gpu(device):
        return _torch_scorer(queries, device)
    from seekbench.retrievers.multi_vector import kernels
    from seekbench.retrievers.multi_vector.lanes import side_by_side

    use_threads(threads)
    lanes, of_query = side_by_side(queries)

    def on_cpu(vectors: Floats, indptr: Ints) -> Floats:
        out = np.empty((len(queries), len(indptr) - 1), dtype=np.float32)
        kernels.score_block(lanes, of_query, vectors, indptr, out)
        return out

    return on_cpu


def _pair_scorer(queries: Packed, device: str, threads: int) -> Callable[[Floats, Ints, Ints, Ints], Floats]:
    """(vectors [tokens, dim], indptr, query and document of each pair) -> float32 [pairs]."""
    if _on_gpu(device):

        def on_gpu(vectors: Floats, indptr: Ints, who: Ints, where: Ints) -> Floats:
            # All queries against the block: an accelerator multiplies faster than it gathers.
            asked, place = np.unique(who, return_inverse=True)
            return _torch_scorer(queries.some(asked), device)(vectors, indptr)[place, where]

        return on_gpu
    from seekbench.retrievers.multi_vector import kernels
    from seekbench.retrievers.multi_vector.lanes import side_by_side

    use_threads(threads)
    lanes, of_query = side_by_side(queries, apart=True)

    def on_cpu(vectors: Floats, indptr: Ints, who: Ints, where: Ints) -> Floats:
        out = np.empty(len(who), dtype=np.float32)
        kernels.score_pairs(lanes, of_query, vectors, indptr, who, where, out)
        return out

    return on_cpu


def _torch_scorer(queries: Packed, device: str) -> Callable[[Floats, Ints], Floats]:
    import torch

    from seekbench.retrievers.dense.exact import full_precision

    left = torch.from_numpy(queries.vectors).to(device)
    lengths = torch.from_numpy(queries.lengths()).to(device)

    # Products of a part of the queries and a block, float32, within about 1 GiB.
    def scores(vectors: Floats, indptr: Ints) -> Floats:
        count = np.diff(indptr)
        out = np.full((len(queries), len(count)), -np.inf, dtype=np.float32)
        some = np.flatnonzero(count)
        if not len(some):
            return out
        step = max(1, int((1 << 28) // max(1, len(vectors)) // max(1, int(queries.lengths().max(initial=1)))))
        with full_precision(), torch.inference_mode():
            right = torch.from_numpy(vectors).to(device)
            of_document = torch.from_numpy(count[some]).to(device)
            for at in range(0, len(queries), step):
                one = slice(at, min(at + step, len(queries)))
                first, last = int(queries.indptr[one.start]), int(queries.indptr[one.stop])
                products = right @ left[first:last].T
                highest = torch.segment_reduce(products, "max", lengths=of_document, axis=0)
                sums = torch.segment_reduce(
                    highest.T.contiguous(), "sum", lengths=lengths[one], axis=0, initial=0
                )
                out[one, some] = sums.cpu().numpy()
        return out

    return scores


def _on_gpu(device: str) -> bool:
    """Whether products are made there; elsewhere (mps) they are made on the CPU."""
    return device.startswith("cuda")


def use_threads(threads: int) -> None:
    """Compiled loops take so many threads, at most as many as there are cores; 0 changes nothing."""
    import numba

    if threads:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
