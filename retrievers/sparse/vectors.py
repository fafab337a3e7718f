"""Sparse vectors over a vocabulary: rows of (term, weight) pairs that lie end to end; pruning, rounding, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import SeekbenchError

Ints = npt.NDArray[np.int64]
Terms = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

#: Dense rows that are looked at once.
_DENSE_ROWS = 1024


@dataclass(frozen=True)
class SparseVectors:
    """Rows of a sparse matrix.

    indptr: int64 [rows + 1], where each row begins; terms: int32, ascending and distinct within a row, below
    `width`; weights: float32, finite and above 0. Other dtypes are cast. Raises SeekbenchError for what is not so.
    """

    indptr: Ints
    terms: Terms
    weights: Floats
    width: int

    def __post_init__(self) -> None:
        for name, dtype in (("indptr", np.int64), ("terms", np.int32), ("weights", np.float32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        indptr, terms, weights = self.indptr, self.terms, self.weights
        if not len(indptr) or indptr[0] != 0 or (np.diff(indptr) < 0).any():
            raise SeekbenchError("sparse vectors: indptr must begin with 0 and never fall")
        if not len(terms) == len(weights) == indptr[-1]:
            raise SeekbenchError(
                f"sparse vectors: {len(terms)} terms and {len(weights)} weights, indptr ends at {indptr[-1]}"
            )
        if not len(terms):
            return
        if terms.min() < 0 or terms.max() >= self.width:
            raise SeekbenchError(f"sparse vectors: a term outside a vocabulary of {self.width}")
        # Where a row begins the term may be lower than the one before it.
        rising = np.diff(terms) > 0
        begins = indptr[1:-1]
        rising[begins[(begins > 0) & (begins < len(terms))] - 1] = True
        if not rising.all():
            raise SeekbenchError("sparse vectors: the terms of a row must be ascending and distinct")
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise SeekbenchError("sparse vectors: weights must be finite and above 0")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def count(self) -> int:
        """All non-zeros."""
        return int(self.indptr[-1])

    @classmethod
    def empty(cls, width: int, rows: int = 0) -> SparseVectors:
        """Rows without a term."""
        return cls(np.zeros(rows + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), width)

    @classmethod
    def of_dense(cls, matrix: npt.NDArray[Any]) -> SparseVectors:
        """Of float32 [rows, width], zeros dropped. Raises SeekbenchError for negative or non-finite numbers."""
        matrix = np.asarray(matrix, dtype=np.float32)
        if matrix.ndim != 2:
            raise SeekbenchError(f"sparse vectors: a matrix has 2 dimensions, not {matrix.ndim}")
        parts = [_of_rows(matrix[at : at + _DENSE_ROWS]) for at in range(0, len(matrix), _DENSE_ROWS)]
        return cls.stacked(parts) if parts else cls.empty(matrix.shape[1])

    @classmethod
    def stacked(cls, parts: Sequence[SparseVectors]) -> SparseVectors:
        """The rows of all parts, in their order. Raises SeekbenchError for none and for different vocabularies."""
        widths = {part.width for part in parts}
        if len(widths) != 1:
            raise SeekbenchError(f"sparse vectors of one vocabulary can be stacked, not of {sorted(widths)}")
        indptr = np.zeros(sum(len(part) for part in parts) + 1, dtype=np.int64)
        np.cumsum(np.concatenate([part.lengths() for part in parts]), out=indptr[1:])
        return cls(
            indptr,
            np.concatenate([part.terms for part in parts]),
            np.concatenate([part.weights for part in parts]),
            widths.pop(),
        )

    def lengths(self) -> Ints:
        """int64 [rows]: terms of each row."""
        lengths: Ints = np.diff(self.indptr)
        return lengths

    def take(self, start: int, stop: int) -> SparseVectors:
        """Rows start..stop - 1, as far as there are."""
        start = min(max(start, 0), len(self))
        stop = min(max(stop, start), len(self))
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return SparseVectors(
            self.indptr[start : stop + 1] - first,
            self.terms[first:last],
            self.weights[first:last],
            self.width,
        )

    def some(self, rows: Sequence[int] | npt.NDArray[Any]) -> SparseVectors:
        """The rows of given numbers, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(self.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return SparseVectors(indptr, self.terms[where], self.weights[where], self.width)

    def of_row(self) -> Ints:
        """int64 [non-zeros]: the row of each."""
        rows: Ints = np.repeat(np.arange(len(self), dtype=np.int64), self.lengths())
        return rows

    def dense(self) -> Floats:
        """float32 [rows, width]."""
        out = np.zeros((len(self), self.width), dtype=np.float32)
        out[self.of_row(), self.terms] = self.weights
        return out


@dataclass(frozen=True)
class Integers:
    """Rounded rows. indptr: int64 [rows + 1]; terms: int32; values: int32, above 0, ~ weight x factor."""

    indptr: Ints
    terms: Terms
    values: npt.NDArray[np.int32]
    width: int
    factor: float

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def vectors(self, factor: float = 1.0) -> SparseVectors:
        """The integers, divided by `factor` in float32, as weights."""
        return SparseVectors(
            self.indptr, self.terms, self.values.astype(np.float32) / np.float32(factor), self.width
        )


def pruned(vectors: SparseVectors, top: int | None = None, threshold: float | None = None) -> SparseVectors:
    """The `top` highest weights of each row, of equal ones those of lower terms; and of these, the weights that are
    at least `threshold`. None: no limit."""
    if top is not None and top < 0:
        raise SeekbenchError(f"the highest weights to keep of a row must be a number from 0 on, not {top}")
    keep = np.ones(vectors.count, dtype=np.bool_)
    if top is not None and vectors.lengths().max(initial=0) > top:
        rows = vectors.of_row()
        # By row, weight descending; a stable sort leaves equal weights in the order of terms.
        by = np.lexsort((-vectors.weights, rows))
        keep[by] = np.arange(vectors.count) - vectors.indptr[rows[by]] < top
    if threshold is not None:
        keep &= vectors.weights >= np.float32(threshold)
    return SparseVectors(
        _kept(vectors.indptr, keep), vectors.terms[keep], vectors.weights[keep], vectors.width
    )


def quantized(vectors: SparseVectors, factor: float) -> Integers:
    """Each weight x factor in float64, rounded to the nearest integer, halves to the even one; zeros dropped."""
    if not (np.isfinite(factor) and factor > 0):
        raise SeekbenchError(f"the factor of integer weights must be finite and above 0, not {factor}")
    scaled = np.rint(vectors.weights.astype(np.float64) * factor)
    if scaled.max(initial=0) > np.iinfo(np.int32).max:
        raise SeekbenchError(f"a weight of {vectors.weights.max()} x {factor} does not fit in 32 bits")
    keep = scaled > 0
    return Integers(
        _kept(vectors.indptr, keep),
        vectors.terms[keep],
        scaled[keep].astype(np.int32),
        vectors.width,
        float(factor),
    )


def flops(queries: SparseVectors, documents: SparseVectors) -> float:
    """Expected products of a query and a document: sum over terms of the share of queries and the share of documents
    that have the term (Paria et al. 2020, https://arxiv.org/abs/2004.05665; Formal et al. 2021)."""
    if queries.width != documents.width:
        raise SeekbenchError(f"queries of a vocabulary of {queries.width}, documents of {documents.width}")
    if not len(queries) or not len(documents):
        return 0.0
    asked = np.bincount(queries.terms, minlength=queries.width) / len(queries)
    found = np.bincount(documents.terms, minlength=documents.width) / len(documents)
    return float(asked @ found)


def mean_nonzeros(vectors: SparseVectors) -> float:
    """Terms of a row; 0 without rows."""
    return vectors.count / len(vectors) if len(vectors) else 0.0


def _of_rows(matrix: Floats) -> SparseVectors:
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise SeekbenchError("sparse vectors: weights must be finite and not below 0")
    rows, terms = np.nonzero(matrix)
    indptr = np.zeros(len(matrix) + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=len(matrix)), out=indptr[1:])
    return SparseVectors(indptr, terms.astype(np.int32), matrix[rows, terms], matrix.shape[1])


def _kept(indptr: Ints, keep: npt.NDArray[np.bool_]) -> Ints:
    """Where rows begin once only some non-zeros are kept."""
    before = np.zeros(len(keep) + 1, dtype=np.int64)
    np.cumsum(keep, out=before[1:])
    kept: Ints = before[indptr]
    return kept
