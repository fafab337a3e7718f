"""Exact inner-product search over a memory-mapped matrix, with the ranking rule decided exactly.

A matrix product finds candidates fast, but the last bits of its sums depend on the kernel, and so on the
number of queries, the block and the device. Each candidate is therefore scored again by one function of
(query, document) alone, `faiss.fvec_inner_products_by_idx` (float32), and a bound on the rounding of both
sums proves, query by query, that no document outside the candidates can belong to the top k. Queries without
that proof (ties or near ties at the cutoff) get a second pass that keeps every document within the bound.
So scores and the set at the boundary do not depend on blocks, on how many queries are asked at once, or on
the device that multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.runs import Run

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: Queries of one pass over the corpus; their candidates are what memory is needed for.
QUERY_BLOCK = 2048
#: Documents of a block of the second pass, and of a product on an accelerator.
DOCUMENT_BLOCK = 16_384
#: float32 pairs gathered at once when single pairs are scored again.
_PAIRS = 8192
_UNIT = 2.0**-24


@dataclass(frozen=True)
class Exact:
    """vectors: float32 [documents, dim], mapped or in memory; order: each row's rank by id bytes."""

    vectors: Floats
    order: npt.NDArray[Any]
    largest_norm: float
    device: str = "cpu"
    threads: int = 0

    def search(self, queries: Floats, k: int, advance: Callable[[int], None] | None = None) -> Run:
        """The top k by the ranking rule. queries: float32 [queries, dim]; scores are float32 inner products.

        Memory beyond the mapped matrix: about 12 bytes x min(queries, 2048) x 1.06 k, whatever the corpus.
        """
        documents = len(self.vectors)
        k = min(k, documents)
        rows = np.full((len(queries), k), -1, dtype=np.int32 if documents < 2**31 else np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if not k:
            return Run(rows, scores)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        for at in range(0, len(queries), QUERY_BLOCK):
            part = slice(at, min(at + QUERY_BLOCK, len(queries)))
            rows[part], scores[part] = self._block(queries[part], k)
            if advance:
                advance(part.stop - part.start)
        return Run(rows, scores)

    def _block(self, queries: Floats, k: int) -> tuple[npt.NDArray[Any], Floats]:
        documents = len(self.vectors)
        wanted = min(documents, k + 16 + k // 16)
        found, rough = self._candidates(queries, wanted)
        exact = self._rescore(queries, found)
        run = Run.ranked(found, exact, self.order).cut(k)
        rows, scores = run.doc_rows.copy(), run.scores.copy()
        if wanted < documents:
            slack = self._slack(queries)
            # A document outside the candidates has a rough score of at most the last candidate's.
            ceiling = rough.min(axis=1) + slack
            unsure = np.flatnonzero(scores[:, -1] <= ceiling)
            if len(unsure):
                rows[unsure], scores[unsure] = self._boundary(
                    queries[unsure], k, rows[unsure], scores[unsure], slack[unsure]
                )
        return rows, scores

    def _slack(self, queries: Floats) -> npt.NDArray[np.float64]:
        """float64 [queries]: how far two float32 sums of the same inner product can lie apart.

        Each errs by at most dim x 2^-24 x sum |q_i d_i| (Higham 2002, eq. 3.5), and the sum by Cauchy-Schwarz
        is at most |q| |d|.
        """
        dim = self.vectors.shape[1]
        norms = np.linalg.norm(queries.astype(np.float64), axis=1)
        slack: npt.NDArray[np.float64] = 2.02 * (dim + 4) * _UNIT * norms * self.largest_norm
        return slack

    def _candidates(self, queries: Floats, count: int) -> tuple[Ints, Floats]:
        """Rows and rough scores of `count` documents a query, unordered."""
        if self.device == "cpu":
            return self._faiss(queries, count)
        return self._torch(queries, count)

    def _faiss(self, queries: Floats, count: int) -> tuple[Ints, Floats]:
        import faiss

        if self.threads:
            faiss.omp_set_num_threads(self.threads)
        # A call can't be interrupted, so one does at most some 10^13 multiplications (about a minute on 2
        # cores).
        step = max(count, int(1e13 / (len(queries) * self.vectors.shape[1])))
        best: tuple[Ints, Floats] | None = None
        for at in range(0, len(self.vectors), step):
            block = self.vectors[at : at + step]
            # faiss takes the buffer of a mapped array as it is; it blocks the product itself (1,024
            # documents).
            values, rows = faiss.knn(
                queries, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT
            )
            best = _merged(best, (rows + at, values), count)
        assert best is not None
        return best

    def _torch(self, queries: Floats, count: int) -> tuple[Ints, Floats]:
        import torch

        with full_precision(), torch.inference_mode():
            left = torch.from_numpy(queries).to(self.device)
            best_values: Any = None
            best_rows: Any = None
            # Blocks of at least `count` documents keep the merge small beside the product.
            step = max(DOCUMENT_BLOCK, count)
            for at in range(0, len(self.vectors), step):
                block = torch.from_numpy(np.array(self.vectors[at : at + step])).to(self.device)
                values, rows = (left @ block.T).topk(min(count, len(block)), dim=1, sorted=False)
                rows += at
                if best_values is None:
                    best_values, best_rows = values, rows
                    continue
                values, rows = torch.cat([best_values, values], dim=1), torch.cat([best_rows, rows], dim=1)
                best_values, keep = values.topk(min(count, values.shape[1]), dim=1, sorted=False)
                best_rows = rows.gather(1, keep)
            return best_rows.cpu().numpy(), best_values.cpu().numpy()

    def _rescore(self, queries: Floats, rows: Ints) -> Floats:
        """float32 [queries, candidates]: inner products, each the same whatever else is asked."""
        import faiss

        if self.threads:
            faiss.omp_set_num_threads(self.threads)
        score_by_row: Any = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        out = np.empty(rows.shape, dtype=np.float32)
        score_by_row(
            faiss.swig_ptr(out), faiss.swig_ptr(queries), faiss.swig_ptr(self.vectors), faiss.swig_ptr(rows),
            self.vectors.shape[1], rows.shape[0], rows.shape[1],
        )  # fmt: skip
        return out

    def _boundary(
        self, queries: Floats, k: int, rows: npt.NDArray[Any], scores: Floats, slack: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], Floats]:
        """The true top k of queries whose cutoff is tied or nearly so; rows and scores: the best k so far.

        One more pass over the corpus: whatever can reach the k-th score within the rounding bound is scored
        and merged. Memory holds k hits a query and one block, however many documents are tied.
        """
        step = max(1, min(len(queries), 4_000_000 // k))
        for at in range(0, len(queries), step):
            part = slice(at, at + step)
            some, near = queries[part], slack[part]
            best_rows, best_scores = rows[part], scores[part]
            for start, products in self._products(some):
                floor = best_scores[:, -1] - near
                who, where = np.nonzero(products >= floor[:, None])
                for first in range(0, len(who), _PAIRS * 128):
                    one = slice(first, first + _PAIRS * 128)
                    new = self.pairs(some, who[one], where[one] + start)
                    best_rows, best_scores = self._insert(
                        best_rows, best_scores, who[one], where[one] + start, new, k
                    )
            rows[part], scores[part] = best_rows, best_scores
        return rows, scores

    def _products(self, queries: Floats) -> Iterator[tuple[int, Floats]]:
        """(first row, float32 [queries, block]) rough inner products, block by block."""
        if self.device == "cpu":
            for at in range(0, len(self.vectors), DOCUMENT_BLOCK):
                yield at, queries @ self.vectors[at : at + DOCUMENT_BLOCK].T
            return
        import torch

        with full_precision(), torch.inference_mode():
            left = torch.from_numpy(queries).to(self.device)
            for at in range(0, len(self.vectors), DOCUMENT_BLOCK):
                block = torch.from_numpy(np.array(self.vectors[at : at + DOCUMENT_BLOCK])).to(self.device)
                yield at, (left @ block.T).cpu().numpy()

    def pairs(self, queries: Floats, who: Ints, where: Ints) -> Floats:
        """float32 [pairs]: scores of single pairs of a query (a row of `queries`) and a document, as in `search`."""
        out = np.empty(len(who), dtype=np.float32)
        for at in range(0, len(who), _PAIRS):
            part = slice(at, at + _PAIRS)
            out[part] = self._rescore(np.ascontiguousarray(queries[who[part]]), where[part, None])[:, 0]
        return out

    def _insert(
        self, rows: npt.NDArray[Any], scores: Floats, who: Ints, where: Ints, new: Floats, k: int
    ) -> tuple[npt.NDArray[Any], Floats]:
        """Merges scored pairs into the best k of each query by the ranking rule; known documents stay
        single."""
        if not len(who):
            return rows, scores
        known = (rows >= 0).ravel()
        owner = np.concatenate([np.repeat(np.arange(len(rows)), rows.shape[1])[known], who])
        row = np.concatenate([rows.ravel()[known].astype(np.int64), where])
        score = np.concatenate([scores.ravel()[known], new])
        _, single = np.unique(owner * np.int64(len(self.vectors)) + row, return_index=True)
        owner, row, score = owner[single], row[single], score[single]
        by = np.lexsort((-self.order[row].astype(np.int64), -score, owner))
        owner, row, score = owner[by], row[by], score[by]
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        keep = place < k
        out_rows, out_scores = np.full_like(rows, -1), np.full_like(scores, -np.inf)
        out_rows[owner[keep], place[keep]] = row[keep]
        out_scores[owner[keep], place[keep]] = score[keep]
        return out_rows, out_scores


def _merged(best: tuple[Ints, Floats] | None, new: tuple[Ints, Floats], count: int) -> tuple[Ints, Floats]:
    """The `count` highest of two candidate sets."""
    if best is None:
        return new
    rows, values = np.concatenate([best[0], new[0]], axis=1), np.concatenate([best[1], new[1]], axis=1)
    if rows.shape[1] <= count:
        return rows, values
    keep = np.argpartition(values, -count, axis=1)[:, -count:]
    return np.take_along_axis(rows, keep, axis=1), np.take_along_axis(values, keep, axis=1)


class full_precision:  # noqa: N801  (used as a function)
    """float32 products in float32: TF32 and bfloat16 shortcuts are off inside, and restored after."""

    def __enter__(self) -> None:
        import torch

        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")

    def __exit__(self, *exc: object) -> None:
        import torch

        torch.set_float32_matmul_precision(self.before)
