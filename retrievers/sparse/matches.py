"""The terms that a query and a document share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.protocol import Match, Matches
from seekbench.retrievers.sparse.indexes import LuceneIndex, NativeIndex
from seekbench.retrievers.sparse.vectors import SparseVectors, quantized


def shared_terms(
    query: SparseVectors,
    document: SparseVectors,
    index: NativeIndex | LuceneIndex,
    names: Callable[[npt.NDArray[Any]], list[str]],
) -> Matches:
    """query, document: one row each. names: of terms."""
    left, right, note = as_indexed(query, document, index)
    own = dict(zip(right.terms.tolist(), right.weights.tolist(), strict=True))
    matches, lacking = [], []
    for term, name, weight in zip(left.terms.tolist(), names(left.terms), left.weights.tolist(), strict=True):
        if term in own:
            matches.append(Match(name, weight, own[term]))
        else:
            lacking.append((name, weight))
    matches.sort(key=lambda match: (-match.product, match.term))
    lacking.sort(key=lambda pair: (-pair[1], pair[0]))
    return Matches(tuple(matches), left.count, right.count, tuple(lacking), note)


def as_indexed(
    query: SparseVectors, document: SparseVectors, index: NativeIndex | LuceneIndex
) -> tuple[SparseVectors, SparseVectors, str]:
    """(query, document, what to know of their weights) as an index multiplies them."""
    if isinstance(index, NativeIndex) and index.weights == "float32":
        return query, document, ""
    if isinstance(index, NativeIndex) and index.weights == "float16":
        weights = document.weights.astype(np.float16).astype(np.float32)
        kept = weights > 0
        indptr = np.array([0, int(kept.sum())])
        stored = SparseVectors(indptr, document.terms[kept], weights[kept], document.width)
        return query, stored, "the index stores weights of documents in float16"
    if not isinstance(index.factor, float):
        note = (
            "the index stores weights rounded to integers, by a factor that depends on the corpus (`index.factor` of "
            "the record); here they are as the model gives them"
        )
        return query, document, note
    left, right = (quantized(vectors, index.factor).vectors() for vectors in (query, document))
    return (
        left,
        right,
        f"weights are integers: the model's x {index.factor:g}, rounded, as the index has them",
    )
