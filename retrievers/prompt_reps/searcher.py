"""Searching dense vectors, weights of terms, or both.

Of both, each of the two lists is scaled by its own lowest and highest score, so how deep it goes (`depth`) changes the
scores, and its last hit counts as much as a document that it lacks: nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import SeekbenchError
from seekbench.retrievers.dense.exact import Exact
from seekbench.retrievers.fusion import min_max
from seekbench.retrievers.protocol import Context, TextView
from seekbench.retrievers.sparse.indexes import open_index
from seekbench.retrievers.sparse.vectors import SparseVectors
from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.retrievers.prompt_reps.retriever import PromptReps

Floats = npt.NDArray[np.float32]


def hybrid(dense: Run, sparse: Run, k: int, order: npt.NDArray[Any], *, alpha: float = 0.5) -> Run:
    """alpha x the dense and (1 - alpha) x the sparse score, each scaled to [0, 1] over its own list, ranked.

    (score - lowest) / max(highest - lowest, 1e-9); a document that a list lacks gets 0 from it. So the last hit of each
    list gets 0, too, as if it were missing: that is the method's own behaviour. A query with an empty list takes the
    other's hits and scores as they are.
    """
    fused = min_max([dense, sparse], k, order, weights=[alpha, 1 - alpha], names=["dense", "sparse"])
    for empty, other in ((dense, sparse), (sparse, dense)):
        alone = np.flatnonzero((empty.lengths() == 0) & (other.lengths() > 0))
        if len(alone):
            rows, scores = np.array(fused.doc_rows), np.array(fused.scores)
            rows[alone], scores[alone] = -1, -np.inf
            width = min(fused.k, other.k)
            rows[alone, :width], scores[alone, :width] = (
                other.doc_rows[alone, :width],
                other.scores[alone, :width],
            )
            fused = Run(rows, scores)
    return fused


class PromptRepsSearcher:
    """An opened index. timings: seconds of all searches by part; counts: numbers by name, summed over all searches."""

    def __init__(
        self,
        retriever: PromptReps,
        folder: Path,
        documents: TextView,
        *,
        facts: str,
        matrix: str,
        columns: str,
    ) -> None:
        known = orjson.loads((folder / facts).read_bytes())
        if known["documents"] != len(documents):
            raise SeekbenchError(
                f"{folder} holds {known['documents']} documents, the corpus {len(documents)}"
            )
        self._retriever, self._mode = retriever, retriever.params.mode
        # An empty corpus has no id that could be ordered.
        self._order = documents.order if len(documents) else np.empty(0, np.int32)
        self._largest = float(known["largest_norm"])
        self._vectors: Floats | None = np.load(folder / matrix, mmap_mode="r" if len(documents) else None)
        self._index = open_index(retriever.columns, folder / columns)
        self.runtime = self._index.runtime
        searched = ("dense", "sparse", "fuse") if self._mode == "hybrid" else (self._mode,)
        self.timings = dict.fromkeys(("encode", *searched), 0.0)
        self.counts: dict[str, float] = {}

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        if self._vectors is None:
            raise SeekbenchError("this index is closed")
        documents, p = len(self._order), self._retriever.params
        if not len(queries) or not documents:
            return Run.empty(len(queries), min(k, documents))
        began = time.monotonic()
        vectors, weights = self._encoded(queries, context)
        self._spent("encode", began)
        self._count("queries", len(queries))
        with context.progress.stage("search", total=len(queries), unit="queries") as stage:
            if self._mode == "dense":
                run = self._dense(vectors, k, context)
            elif self._mode == "sparse":
                run = self._sparse(weights, k, context)
            else:
                dense, sparse = (
                    self._dense(vectors, p.depth, context),
                    self._sparse(weights, p.depth, context),
                )
                began = time.monotonic()
                run = hybrid(dense, sparse, k, self._order, alpha=p.alpha)
                self._spent("fuse", began)
                self._count("copied", int(((dense.lengths() == 0) ^ (sparse.lengths() == 0)).sum()))
            stage.advance(len(queries))
        return run

    def _dense(self, vectors: Floats, k: int, context: Context) -> Run:
        assert self._vectors is not None
        began = time.monotonic()
        device = self._retriever.encoder(context).device
        run = Exact(self._vectors, self._order, self._largest, device, context.threads).search(vectors, k)
        self._spent("dense", began)
        return run

    def _sparse(self, weights: SparseVectors, k: int, context: Context) -> Run:
        began = time.monotonic()
        run = self._index.search(weights, self._order, k, context=context)
        self._spent("sparse", began)
        self._count("nonzeros", weights.count)
        self._count("postings", float(self._index.frequency[weights.terms].sum()))
        return run

    def _encoded(self, queries: TextView, context: Context) -> tuple[Floats, SparseVectors]:
        """Both vectors of queries, in blocks of fixed borders."""
        vectors, weights, cut = [], [], 0
        with context.progress.stage("encode queries", total=len(queries), unit="queries") as stage:
            for _, texts in queries.blocks(4096):
                made = self._retriever.encode(texts, "query", queries.language, stage.advance, context)
                vectors.append(made.vectors)
                weights.append(made.weights)
                cut += made.truncated
        self._count("truncated", cut)
        if cut > 0.01 * len(queries):
            context.progress.note(
                f"{cut / len(queries):.0%} of the queries are longer than is read and were cut"
            )
        return np.concatenate(vectors), SparseVectors.stacked(weights)

    def _spent(self, part: str, began: float) -> None:
        self.timings[part] += time.monotonic() - began

    def _count(self, name: str, number: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + float(number)

    def finish(self, run: Run) -> dict[str, Any]:
        """Means a query; `copied`: the share of queries that had no hit in one of the two lists."""
        queries = max(1.0, self.counts.get("queries", 0.0))
        return {"per_query": {n: round(c / queries, 4) for n, c in self.counts.items() if n != "queries"}}

    def close(self) -> None:
        self._vectors = None
        self._index.close()
