"""Exact search over sparse vectors: an inverted file of memory-mapped columns, scored a block of documents at a time.

The score of a query and a document is the float32 sum of query weight x document weight over their common terms, in
ascending order of the terms: the same number in any block, thread or batch. The factor of integer weights is taken into
the query weights. With rounded queries (`Integers`) over integer weights a score is the sum of integers, not divided.

Documents come in blocks of BLOCK. In a block the postings of a term are its documents, as 16-bit places in the block,
and their weights: float32, float16, or integers (weight ~ integer / factor). Files are written in one pass, with a
block of documents in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.sparse.vectors import Floats, Integers, Ints, SparseVectors
from seekbench.runs import Run
from seekbench.store import atomic_file, write_atomic

_FORMAT = 1
_FACTS = "columns.json"
_STARTS = "starts.bin"
_DOCUMENTS = "documents.bin"
_WEIGHTS = "weights.bin"
_UNROUNDED = "unrounded"

#: Documents of a block: at 4 bytes each their sums fill a first-level cache. A multiple of 16, at most 65,536.
BLOCK = 8192
#: Queries of one pass over the blocks.
QUERY_BLOCK = 2048
#: Queries that are worth a thread; where there are fewer, blocks that are.
_CHUNK = 16
_PART = 32

#: Kind of weight -> how it is stored. Compiled code reads float16 as int16.
KINDS = {"float32": "<f4", "float16": "<f2", "uint8": "u1", "uint16": "<u2"}

Queries = SparseVectors | Integers


def build(
    parts: Iterable[SparseVectors],
    folder: Path,
    *,
    width: int,
    kind: str = "float32",
    factor: float | str | None = None,
    advance: Callable[[int], None] | None = None,
) -> Columns:
    """Writes the vectors of all documents, given in the order of rows, and opens them.

    width: size of the vocabulary; kind: float32, float16, uint8 or uint16; factor, of integers: a weight is stored as
    weight x factor, rounded half to even, and dropped where that is 0; `auto` (the default): the highest weight becomes
    the highest integer. advance: called with the number of documents that were written. What an earlier call left
    unfinished in the folder is overwritten. Raises SeekbenchError for a weight that the kind can't hold.
    """
    if kind not in KINDS:
        raise SeekbenchError(f"weights are stored as {', '.join(KINDS)}, not as {kind!r}")
    whole = kind.startswith("uint")
    if not whole and factor is not None:
        raise SeekbenchError(f"a factor belongs to integer weights, not to {kind}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FACTS).unlink(missing_ok=True)
    if not whole:
        return _write(_inverted(parts, width, advance), folder, width, kind, None)
    if factor is None or factor == "auto":
        # The factor is known when all weights were seen: they are written as they are, then rounded block by block.
        unrounded = build(parts, folder / _UNROUNDED, width=width, advance=advance)
        highest = unrounded.facts["highest"]
        factor = np.iinfo(np.dtype(KINDS[kind])).max / highest if highest else 1.0
        _write(unrounded.blocks(), folder, width, kind, float(factor))
        for name in (_FACTS, _STARTS, _DOCUMENTS, _WEIGHTS):
            (folder / _UNROUNDED / name).unlink()
        (folder / _UNROUNDED).rmdir()
        return Columns(folder)  # whose bytes are without those
    if isinstance(factor, str) or not (np.isfinite(factor) and factor > 0):
        raise SeekbenchError(f"the factor of integer weights is 'auto' or a number above 0, not {factor!r}")
    return _write(_inverted(parts, width, advance), folder, width, kind, float(factor))


#: A block: documents in it, int64 [width + 1] where each term's postings begin, their documents, their weights.
_Block = tuple[int, Ints, npt.NDArray[np.uint16], Floats]


def _inverted(
    parts: Iterable[SparseVectors], width: int, advance: Callable[[int], None] | None
) -> Iterator[_Block]:
    from seekbench.retrievers.sparse.columns_kernels import invert

    for rows in _of_size(parts, BLOCK, width):
        starts = np.zeros(width + 1, dtype=np.int64)
        documents = np.empty(rows.count, dtype=np.uint16)
        where = np.empty(rows.count, dtype=np.int64)
        invert(rows.indptr, rows.terms, starts, documents, where)
        yield len(rows), starts, documents, rows.weights[where]
        if advance:
            advance(len(rows))


def _of_size(parts: Iterable[SparseVectors], size: int, width: int) -> Iterator[SparseVectors]:
    """The same rows in parts of `size`, the last one smaller."""
    waiting: list[SparseVectors] = []
    count = 0
    for part in parts:
        if part.width != width:
            raise SeekbenchError(f"a vocabulary of {part.width} terms where {width} were expected")
        at = 0
        while at < len(part):
            taken = part.take(at, at + size - count)
            waiting.append(taken)
            at += len(taken)
            count += len(taken)
            if count == size:
                yield SparseVectors.stacked(waiting)
                waiting, count = [], 0
    if count:
        yield SparseVectors.stacked(waiting)


def _write(blocks: Iterable[_Block], folder: Path, width: int, kind: str, factor: float | None) -> Columns:
    stored = np.dtype(KINDS[kind])
    rows = postings = 0
    highest = 0.0
    with ExitStack() as stack:
        out: dict[str, IO[bytes]] = {}
        for name in (_STARTS, _DOCUMENTS, _WEIGHTS):
            # Closed, then renamed.
            part = stack.enter_context(atomic_file(folder / name))
            out[name] = stack.enter_context(part.open("wb"))
        for count, starts, documents, weights in blocks:
            starts, documents, values = _stored(starts, documents, weights, stored, factor)
            if starts[-1] > np.iinfo(np.uint32).max:
                raise SeekbenchError(f"{starts[-1]} weights in a block of {count} documents are too many")
            out[_STARTS].write(starts.astype("<u4").tobytes())
            out[_DOCUMENTS].write(documents.astype("<u2").tobytes())
            out[_WEIGHTS].write(values.tobytes())
            rows += count
            postings += len(documents)
            highest = max(highest, float(weights.max(initial=0)))
    facts = {
        "format": _FORMAT, "documents": rows, "width": width, "block": BLOCK, "non_zeros": postings,
        "mean_non_zeros": postings / rows if rows else 0.0, "weights": kind, "factor": factor, "highest": highest,
    }  # fmt: skip
    write_atomic(folder / _FACTS, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return Columns(folder)


def _stored(
    starts: Ints, documents: npt.NDArray[np.uint16], weights: Floats, stored: Any, factor: float | None
) -> tuple[Ints, npt.NDArray[np.uint16], npt.NDArray[Any]]:
    """Rounded weights, without those that became zero."""
    scaled = weights if factor is None else np.rint(weights.astype(np.float64) * factor)
    limit = np.iinfo(stored).max if stored.kind == "u" else np.finfo(stored).max
    if scaled.max(initial=0) > limit:
        by = "" if factor is None else f" x {factor:g}"
        most = float(limit) / float(weights.max())
        raise InputError(
            f"a weight of {weights.max():g}{by} does not fit in {stored.name}",
            remedy="weights: float32"
            if factor is None
            else f"a factor of at most {np.floor(most * 100) / 100:g}, `auto`, or a wider type",
        )
    values = scaled.astype(stored)
    keep = values > 0
    if keep.all():
        return starts, documents, values
    before = np.zeros(len(keep) + 1, dtype=np.int64)
    np.cumsum(keep, out=before[1:])
    return before[starts], documents[keep], values[keep]


class Columns:
    """An opened inverted file; safe to share between threads.

    width: size of the vocabulary; kind, factor: of the weights; facts: documents, non_zeros, mean_non_zeros, weights,
    factor, highest (weight before it was rounded), block, bytes.
    """

    def __init__(self, folder: Path) -> None:
        if not self.complete(folder):
            raise SeekbenchError(f"no finished columns of sparse vectors in {folder}")
        facts = orjson.loads((folder / _FACTS).read_bytes())
        if facts["format"] != _FORMAT:
            raise SeekbenchError(
                f"{folder}: columns of format {facts['format']}, this version reads {_FORMAT}"
            )
        self.folder = folder
        self.width, self.kind, self.factor = int(facts["width"]), str(facts["weights"]), facts["factor"]
        self._documents, self._block = int(facts["documents"]), int(facts["block"])
        blocks = -(-self._documents // self._block)
        self._starts = _mapped(folder / _STARTS, "<u4", (blocks, self.width + 1))
        bases = np.concatenate([[0], np.cumsum(self._starts[:, -1], dtype=np.int64)])
        self._bases: Ints = bases.astype(np.int64)
        postings = int(self._bases[-1])
        self._places = _mapped(folder / _DOCUMENTS, "<u2", (postings,))
        self._weights = _mapped(folder / _WEIGHTS, KINDS[self.kind], (postings,))
        self._half = self.kind == "float16"
        self._ranked: tuple[Ints, Ints, npt.NDArray[np.int32]] | None = None
        self.facts: dict[str, Any] = {**facts, "bytes": self.bytes}

    @staticmethod
    def complete(folder: Path) -> bool:
        return (folder / _FACTS).exists()

    def __len__(self) -> int:
        """Documents, those without a term included."""
        return self._documents

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def blocks(self) -> Iterator[_Block]:
        """Documents, starts, places and weights (decoded) of each block."""
        for b in range(len(self._starts)):
            span = slice(int(self._bases[b]), int(self._bases[b + 1]))
            weights = self._weights[span].astype(np.float32)
            if self.factor is not None:
                weights /= np.float32(self.factor)
            count = min(self._block, self._documents - b * self._block)
            yield count, self._starts[b].astype(np.int64), np.array(self._places[span]), weights

    def search(
        self,
        queries: Queries,
        order: npt.NDArray[Any],
        k: int,
        *,
        threads: int = 0,
        advance: Callable[[int], None] | None = None,
    ) -> Run:
        """The top k documents of every query by the ranking rule; a hit has a score above 0.

        order: int [documents], rank of each id in byte order. threads: 0 for as many as there are cores. advance:
        called with the number of queries that were done. Memory: at most 2k + 512 keys of 8 bytes for each of 2,048
        queries.
        """
        order = np.asarray(order, dtype=np.int64)
        if len(order) != self._documents:
            raise SeekbenchError(f"an order of {len(order)} documents for columns of {self._documents}")
        k = min(k, self._documents)
        rows = np.full((len(queries), max(k, 0)), -1, dtype=np.int32)
        scores = np.full(rows.shape, -np.inf, dtype=np.float32)
        if not rows.size:
            return Run(rows, scores)
        asked = self._asked(queries)
        row_of, padded = self._ranks(order)
        threads = threads or len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(threads, thread_name_prefix="columns") as pool:
            for at in range(0, len(queries), QUERY_BLOCK):
                stop = min(at + QUERY_BLOCK, len(queries))
                keys = self._best(queries, asked, at, stop, padded, k, threads, pool)
                hit = keys >= 0
                rows[at:stop, : keys.shape[1]][hit] = row_of[keys[hit] & (2**31 - 1)]
                scores[at:stop, : keys.shape[1]][hit] = (keys[hit] >> 31).astype(np.int32).view(np.float32)
                if advance:
                    advance(stop - at)
        return Run(rows, scores)

    def _ranks(self, order: Ints) -> tuple[Ints, npt.NDArray[np.int32]]:
        """(row of each rank, rank of each row up to the end of the last block); kept for the next search."""
        ranked = self._ranked
        if ranked is None or not np.array_equal(ranked[0], order):
            row_of = np.empty(len(order), dtype=np.int64)
            row_of[order] = np.arange(len(order))
            padded = np.zeros(len(self._starts) * self._block, dtype=np.int32)
            padded[: len(order)] = order
            # Threads with other orders may set it meanwhile.
            self._ranked = ranked = order.copy(), row_of, padded
        return ranked[1:]

    def _best(
        self,
        queries: Queries,
        asked: npt.NDArray[Any],
        at: int,
        stop: int,
        order: npt.NDArray[np.int32],
        k: int,
        threads: int,
        pool: ThreadPoolExecutor,
    ) -> Ints:
        """int64 [queries, <= k]: the highest keys of queries at..stop - 1, highest first, then -1."""
        from seekbench.retrievers.sparse import columns_kernels as kernels

        count, blocks = stop - at, len(self._starts)
        # Each task has some of the queries and, where those are few, some of the blocks.
        chunks = max(1, min(threads, count // _CHUNK))
        parts = max(1, min(threads // chunks, blocks // _PART))
        keys = np.empty((parts, count, k + max(k, 512)), dtype=np.int64)
        found = np.zeros((parts, count), dtype=np.int64)
        indptr = queries.indptr[at : stop + 1]

        def task(chunk: int, part: int) -> None:
            first, last = count * chunk // chunks, count * (chunk + 1) // chunks
            sums = np.zeros(self._block, dtype=asked.dtype)
            kernels.search(
                self._bases, self._starts, self._places, self._raw, self._half, self._block,
                blocks * part // parts, blocks * (part + 1) // parts, indptr, queries.terms, asked, first, last,
                order, k, sums, keys[part], found[part], asked.dtype.kind == "i",
            )  # fmt: skip

        if chunks * parts == 1:
            task(0, 0)
        else:
            for one in [pool.submit(task, c, p) for c in range(chunks) for p in range(parts)]:
                one.result()
        used = np.arange(k) < found[:, :, None]
        best = np.concatenate(list(np.where(used, keys[:, :, :k], np.int64(-1))), axis=1)
        best = np.sort(best, axis=1)[:, ::-1]
        return np.ascontiguousarray(best[:, :k])

    def score_pairs(
        self, queries: Queries, who: npt.NDArray[Any], where: npt.NDArray[Any], *, threads: int = 0
    ) -> Floats:
        """float32 [pairs]: the score of query who[i] and document where[i], bit for bit that of `search`; 0 without a
        common term."""
        from seekbench.retrievers.sparse import columns_kernels as kernels

        who, where = np.asarray(who, dtype=np.int64), np.asarray(where, dtype=np.int64)
        if who.shape != where.shape or who.ndim != 1:
            raise SeekbenchError(f"pairs of {who.shape} queries and {where.shape} documents")
        if len(who) and not (
            who.min() >= 0 and who.max() < len(queries) and where.min() >= 0 and where.max() < len(self)
        ):
            raise SeekbenchError("a pair of a query or a document that there is not")
        asked = self._asked(queries)
        out = np.zeros(len(who), dtype=asked.dtype)
        threads = threads or len(os.sched_getaffinity(0))

        def task(first: int, last: int) -> None:
            kernels.score_pairs(
                self._bases, self._starts, self._places, self._raw, self._half, self._block, queries.indptr,
                queries.terms, asked, who, where, first, last, out,
            )  # fmt: skip

        with ThreadPoolExecutor(threads, thread_name_prefix="columns") as pool:
            edges = [len(who) * t // threads for t in range(threads + 1)]
            for one in [pool.submit(task, *edge) for edge in pairwise(edges)]:
                one.result()
        return out.astype(np.float32)

    @property
    def _raw(self) -> npt.NDArray[Any]:
        """Weights as compiled code reads them."""
        return self._weights.view(np.int16) if self._half else self._weights

    def _asked(self, queries: Queries) -> npt.NDArray[Any]:
        """Query weights, float32 or int32. The factor of stored integers goes into float32 ones."""
        if queries.width != self.width:
            raise SeekbenchError(f"queries of a vocabulary of {queries.width}, columns of {self.width}")
        if isinstance(queries, SparseVectors):
            if self.factor is None:
                return queries.weights
            return queries.weights / np.float32(self.factor)
        if self.factor is None:
            raise SeekbenchError(f"integer queries need integer weights, not {self.kind}")
        before = np.concatenate([[0], np.cumsum(queries.values, dtype=np.int64)])
        most = int((before[queries.indptr[1:]] - before[queries.indptr[:-1]]).max(initial=0))
        # The highest weight, rounded.
        if most * round(self.facts["highest"] * self.factor) > np.iinfo(np.int32).max:
            raise SeekbenchError("integer queries whose scores might not fit in 32 bits; take a lower factor")
        return queries.values


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A read-only array; a mapping of no bytes is not possible."""
    kind, count = np.dtype(dtype), int(np.prod(shape))
    size = path.stat().st_size if path.exists() else -1
    if size != count * kind.itemsize:
        raise SeekbenchError(f"{path} has {size} bytes, not {count * kind.itemsize}")
    found = np.memmap(path, dtype=kind, mode="r", shape=shape) if count else np.empty(shape, kind)
    plain = np.asarray(found)
    plain.flags.writeable = False
    return plain
