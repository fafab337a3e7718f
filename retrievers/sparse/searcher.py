"""Searching an index of weights."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from seekbench.retrievers.protocol import Context, TextView
from seekbench.retrievers.sparse.indexes import Index
from seekbench.retrievers.sparse.vectors import SparseVectors
from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.retrievers.sparse.retriever import Sparse


class SparseSearcher:
    """An opened index. timings: seconds of all searches by part; counts: numbers by name, summed over all searches."""

    def __init__(self, retriever: Sparse, index: Index, documents: TextView) -> None:
        self._retriever, self._index, self.runtime = retriever, index, index.runtime
        # An empty corpus has no id that could be ordered.
        self._order = documents.order if len(documents) else np.empty(0, np.int32)
        self.timings = {"encode": 0.0, "search": 0.0}
        self.counts: dict[str, float] = {}

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        documents = len(self._order)
        if not len(queries) or not documents:
            return Run.empty(len(queries), min(k, documents))
        began = time.monotonic()
        vectors = self.encoded(queries, context=context)
        encoded = time.monotonic()
        with context.progress.stage("search", total=len(queries), unit="queries") as stage:
            run = self._index.search(vectors, self._order, k, context=context, advance=stage.advance)
        self.timings["encode"] += encoded - began
        self.timings["search"] += time.monotonic() - encoded
        self._count("queries", len(vectors))
        self._count("nonzeros", vectors.count)
        self._count("postings", float(self._index.frequency[vectors.terms].sum()))
        return run

    def encoded(self, queries: TextView, *, context: Context) -> SparseVectors:
        """Weights of queries, in blocks of fixed borders."""
        parts, cut = [], 0
        with context.progress.stage("encode queries", total=len(queries), unit="queries") as stage:
            for _, texts in queries.blocks(4096):
                made = self._retriever.encode(texts, "query", stage.advance, context)
                parts.append(made.vectors)
                cut += made.truncated
        self._count("truncated", cut)
        if cut > 0.01 * len(queries):
            context.progress.note(
                f"{cut / len(queries):.0%} of the queries are longer than is read and were cut"
            )
        return SparseVectors.stacked(parts)

    def _count(self, name: str, number: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + float(number)

    def finish(self, run: Run) -> dict[str, Any]:
        """Means a query. `flops` is the expected number of terms that a query and a document share (Formal et al.
        2021): the postings of a query's terms over the number of documents."""
        queries = max(1.0, self.counts.get("queries", 0.0))
        postings = self.counts.get("postings", 0.0) / queries
        return {
            "per_query": {
                "truncated": round(self.counts.get("truncated", 0.0) / queries, 4),
                "nonzeros": round(self.counts.get("nonzeros", 0.0) / queries, 3),
                "postings": round(postings, 1),
                "flops": round(postings / max(1, len(self._order)), 4),
            }
        }

    def close(self) -> None:
        self._index.close()
