"""Run: the top-k documents of every query as arrays, ordered by the ranking rule; TREC files in and out.

The ranking rule (docs/metrics.md): score as IEEE float32 descending, then docid bytes descending, as
trec_eval 9. It is applied here, once; every metric and every file uses the order that this module made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from seekbench.collection import Candidates, Corpus, Exclusion, Pairs, Qrels, Queries

Rows = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """doc_rows: int32 or int64 [queries, k], padded with -1; scores: float32 [queries, k], padded with -inf."""

    doc_rows: npt.NDArray[Any]
    scores: Scores

    def __post_init__(self) -> None:
        if self.doc_rows.shape != self.scores.shape or self.doc_rows.ndim != 2:
            raise ValueError(
                f"doc_rows {self.doc_rows.shape} and scores {self.scores.shape} must be [queries, k]"
            )

    @property
    def num_queries(self) -> int:
        return int(self.doc_rows.shape[0])

    @property
    def k(self) -> int:
        return int(self.doc_rows.shape[1])

    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [queries]: hits of each query."""
        return np.asarray((self.doc_rows >= 0).sum(axis=1), dtype=np.int64)

    def top_scores(self, k: int | None = None) -> Scores:
        """float32 [queries, width <= k]: scores of the first k hits, padded with -inf."""
        return self.scores[:, :k]

    def top_rows(self, k: int) -> npt.NDArray[Any]:
        """int [queries, width <= k]: document rows of the first k hits, padded with -1."""
        return self.doc_rows[:, :k]

    def holes(self, k: int, qrels: Qrels) -> npt.NDArray[np.int64]:
        """int64 [queries]: hits within k of which no query has a judgment."""
        rows = np.asarray(self.doc_rows[:, :k])
        return np.asarray(((rows >= 0) & ~np.isin(rows, qrels.doc_rows)).sum(axis=1), dtype=np.int64)

    def ties(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """(query, first rank, last rank): int64, each stretch of hits of a query with one score."""
        found = []
        # Blocks bound the memory of the comparison.
        step = max(1, 4_000_000 // max(1, self.k))
        for at in range(0, self.num_queries, step):
            scores = np.asarray(self.scores[at : at + step])
            equal = np.zeros(scores.shape, dtype=np.bool_)
            if self.k > 1:
                hit = np.asarray(self.doc_rows[at : at + step, 1:]) >= 0
                equal[:, :-1] = (scores[:, 1:] == scores[:, :-1]) & hit
            first, last = stretches(np.flatnonzero(equal.ravel()))
            found.append((first // max(1, self.k) + at, first % max(1, self.k), last % max(1, self.k)))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
        query, first, last = (np.concatenate(column) for column in zip(*found, strict=True))
        return query, first, last

    @classmethod
    def empty(cls, queries: int, k: int) -> Run:
        return cls(np.full((queries, k), -1, np.int32), np.full((queries, k), -np.inf, np.float32))

    @classmethod
    def stacked(cls, runs: Sequence[Run]) -> Run:
        """The runs of consecutive blocks of queries as one, as wide as the widest. Raises ValueError for none."""
        width = max(run.k for run in runs)

        def wide(array: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
            missing = width - array.shape[1]
            return array if not missing else np.pad(array, ((0, 0), (0, missing)), constant_values=fill)

        return cls(
            np.concatenate([wide(run.doc_rows, -1) for run in runs]),
            np.concatenate([wide(run.scores, -np.inf) for run in runs]),
        )

    @classmethod
    def ranked(cls, doc_rows: npt.NDArray[Any], scores: npt.NDArray[Any], order: npt.NDArray[Any]) -> Run:
        """Sorts each query's hits by the ranking rule.

        doc_rows: int [queries, k], -1 where there is no hit; scores: [queries, k], cast to float32;
        order: int [documents], each document's rank by id bytes (`Records.order`).
        Raises ValueError for a NaN score of a hit.
        """
        scores32 = np.asarray(scores, dtype=np.float32)
        hit = doc_rows >= 0
        if np.isnan(scores32[hit]).any():
            raise ValueError("a retriever returned NaN as a score")
        scores32 = np.where(hit, scores32, np.float32(-np.inf))
        out_rows = np.empty_like(doc_rows)
        out_scores = np.empty_like(scores32)
        # Blocks bound the memory of the three sort keys.
        step = max(1, 4_000_000 // max(1, doc_rows.shape[1]))
        for at in range(0, len(doc_rows), step):
            rows, values = doc_rows[at : at + step], scores32[at : at + step]
            if _is_sorted(rows, values, order):
                out_rows[at : at + step], out_scores[at : at + step] = rows, values
                continue
            tie = np.where(rows >= 0, order[np.maximum(rows, 0)], -1)
            by = np.lexsort((-tie, -values, rows < 0), axis=1)
            out_rows[at : at + step] = np.take_along_axis(rows, by, axis=1)
            out_scores[at : at + step] = np.take_along_axis(values, by, axis=1)
        return cls(out_rows, out_scores)

    def without(self, exclusion: Exclusion, k: int) -> Run:
        """Drops excluded documents and cuts to k hits. Order is kept."""
        if not len(exclusion):
            return self.cut(k)
        return self._filtered((self.doc_rows >= 0) & ~self._among(exclusion), k)

    def only(self, candidates: Candidates, k: int) -> Run:
        """Keeps the candidates of each query and cuts to k hits. Order is kept."""
        return self._filtered((self.doc_rows >= 0) & self._among(candidates), k)

    def _among(self, pairs: Pairs) -> npt.NDArray[np.bool_]:
        """bool [queries, k]: whether a hit is one of the pairs."""
        n = int(max(self.doc_rows.max(initial=0), pairs.doc_rows.max(initial=0))) + 1
        keys = np.arange(self.num_queries, dtype=np.int64)[:, None] * n + self.doc_rows
        return np.isin(keys, pairs.query_rows * n + pairs.doc_rows)

    def _filtered(self, keep: npt.NDArray[np.bool_], k: int) -> Run:
        by = np.argsort(~keep, axis=1, kind="stable")
        kept = np.take_along_axis(keep, by, axis=1)
        rows = np.where(kept, np.take_along_axis(self.doc_rows, by, axis=1), -1)
        scores = np.where(kept, np.take_along_axis(self.scores, by, axis=1), np.float32(-np.inf))
        return Run(rows.astype(self.doc_rows.dtype), scores).cut(k)

    def cut(self, k: int) -> Run:
        """The first k hits of each query (a contiguous copy where it shortens)."""
        if k >= self.k:
            return self
        return Run(np.ascontiguousarray(self.doc_rows[:, :k]), np.ascontiguousarray(self.scores[:, :k]))

    def save(self, folder: Path) -> None:
        np.save(folder / "doc_rows.npy", self.doc_rows)
        np.save(folder / "scores.npy", self.scores)

    @classmethod
    def load(cls, folder: Path) -> Run:
        return cls(
            np.load(folder / "doc_rows.npy", mmap_mode="r"), np.load(folder / "scores.npy", mmap_mode="r")
        )


def stretches(
    tied: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(first, last): int64 places of each stretch of equals; tied: ascending places that are like the next."""
    if not len(tied):
        return tied, tied
    new = np.flatnonzero(np.diff(tied) > 1) + 1
    return tied[np.concatenate([[0], new])], tied[np.concatenate([new - 1, [len(tied) - 1]])] + 1


def _is_sorted(rows: npt.NDArray[Any], scores: Scores, order: npt.NDArray[Any]) -> bool:
    """Whether hits already stand in the order of the rule, padding last."""
    if rows.shape[1] < 2:
        return True
    left, right = rows[:, :-1], rows[:, 1:]
    padded = right < 0
    if ((left < 0) & ~padded).any():
        return False
    higher = scores[:, :-1] > scores[:, 1:]
    equal = scores[:, :-1] == scores[:, 1:]
    ids = order[np.maximum(left, 0)] > order[np.maximum(right, 0)]
    return bool((padded | higher | (equal & ids)).all())


def write_trec(run: Run, corpus: Corpus, queries: Queries, path: Path, tag: str) -> None:
    """Writes `qid Q0 docid rank score tag` lines, gzipped where the name ends in .gz; atomically.

    Scores have 9 significant digits, which bring every float32 back exactly. White space in the tag becomes `_`.
    """
    import gzip

    from seekbench.store import atomic_file

    clean = "_".join(tag.split()) or "seekbench"
    with atomic_file(path) as part, part.open("wb") as raw:
        if path.name.endswith(".gz"):
            # mtime 0: the same run gives the same bytes.
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=3, mtime=0) as out:
                for block in _trec_blocks(run, corpus, queries, clean):
                    out.write(block)
        else:
            for block in _trec_blocks(run, corpus, queries, clean):
                raw.write(block)


def _trec_blocks(run: Run, corpus: Corpus, queries: Queries, tag: str) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.compute as pc

    def text(value: str) -> pa.Scalar:
        return pa.scalar(value, pa.large_string())

    step = max(1, 500_000 // max(1, run.k))
    for at in range(0, run.num_queries, step):
        rows = np.asarray(run.doc_rows[at : at + step])
        hit = rows >= 0
        counts = hit.sum(axis=1)
        if not counts.sum():
            continue
        query = np.repeat(np.arange(at, at + len(rows)), counts)
        ranks = np.broadcast_to(np.arange(1, run.k + 1), rows.shape)[hit]
        scores = nine_digits(np.asarray(run.scores[at : at + step])[hit])
        lines = pc.binary_join_element_wise(
            queries.ids(query),
            text("Q0"),
            corpus.ids(rows[hit]),
            pa.array(ranks).cast(pa.large_string()),
            pa.array(scores).cast(pa.large_string()),
            text(tag + "\n"),
            text(" "),
        )
        # The lines lie end to end in the array's data, each with its line feed.
        yield lines.buffers()[2].to_pybytes()


def nine_digits(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """float64 values of 9 significant digits that cast back to the same float32."""
    wide = np.asarray(scores, dtype=np.float64)
    finite = np.isfinite(wide) & (wide != 0)
    exponent = np.zeros(wide.shape)
    exponent[finite] = np.floor(np.log10(np.abs(wide[finite])))
    digits = 8 - exponent
    # Two factors, so that subnormals overflow neither. Up to 10^22 a power of ten is exact in float64, so with
    # one factor the division rounds once and the value prints with its nine digits.
    first = np.clip(digits, -22, 22)
    rest = digits - first
    scaled = np.rint(_times_ten_to(_times_ten_to(wide, rest), first))
    out = _times_ten_to(_times_ten_to(scaled, -first), -rest)
    return np.where(finite, out, wide)


def _times_ten_to(values: npt.NDArray[np.float64], power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """values * 10^power by one multiplication or division by an exact power where |power| <= 22."""
    up = np.power(10.0, np.maximum(power, 0))
    down = np.power(10.0, np.maximum(-power, 0))
    return np.asarray(values * up / down)
