"""An opened index of token vectors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from seekbench.errors import SeekbenchError
from seekbench.retrievers.multi_vector import maxsim
from seekbench.retrievers.multi_vector.candidates import Method, depth_of
from seekbench.retrievers.multi_vector.maxsim import Packed
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.multi_vector.ragged import Floats, Ints
from seekbench.retrievers.multi_vector.tokens import Tokens
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.retriever import MultiVector

#: Queries whose candidates are found and scored at a time.
_BLOCK = 1024


class MultiVectorSearcher:
    """timings: seconds of `encode`, `candidates` and `score`; counts: of searches so far, by what was counted."""

    def __init__(
        self,
        retriever: MultiVector,
        tokens: Tokens,
        passages: Passages,
        documents: TextView,
        method: Method | None,
    ) -> None:
        if len(passages.of) != len(documents):
            raise SeekbenchError(f"the index holds {len(passages.of)} documents, the corpus {len(documents)}")
        self._retriever, self._tokens, self._passages, self._method = retriever, tokens, passages, method
        # An empty corpus has no id that could be ordered.
        self._order = documents.order if len(documents) else np.empty(0, np.int32)
        self.timings = {"encode": 0.0, "candidates": 0.0, "score": 0.0}
        self.counts: dict[str, float] = {}

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        documents = len(self._order)
        if not len(queries) or not documents:
            return Run.empty(len(queries), min(k, documents))
        began = time.monotonic()
        packed = self.encoded(queries, context=context)
        self.timings["encode"] += time.monotonic() - began
        self._count("queries", len(packed))
        self._count("query_vectors", len(packed.vectors))
        chosen = self._retriever.params.candidates
        if chosen.type == "exact":
            began = time.monotonic()
            with context.progress.stage("score", total=len(packed), unit="queries") as stage:
                run = maxsim.search(
                    packed, self._tokens, self._passages, self._order, k,
                    device=self._retriever.encoder(context).device, threads=context.threads, advance=stage.advance,
                )  # fmt: skip
            self._count("scored", len(packed) * len(self._tokens))
            self.timings["score"] += time.monotonic() - began
            return run
        if chosen.type == "rerank":
            return self._rerank(packed, context.runs[chosen.of], chosen.depth, k, context)
        return self._found(packed, depth_of(chosen, k, len(self._tokens)), k, context)

    def encoded(self, queries: TextView, *, context: Context) -> Packed:
        """Vectors of queries, in blocks of fixed borders."""
        parts, cut = [], 0
        with context.progress.stage("encode queries", total=len(queries), unit="queries") as stage:
            for _, texts in queries.blocks(4096):
                made = self._retriever.encode(texts, "query", queries.language, stage.advance, context)
                cut += made.truncated
                parts += made.parts()
        self._count("truncated", cut)
        if cut > 0.01 * len(queries):
            context.progress.note(
                f"{cut / len(queries):.0%} of the queries are longer than is read and were cut"
            )
        return Packed.of(parts)

    def _found(self, queries: Packed, count: int, k: int, context: Context) -> Run:
        """The best of what the method proposes."""
        assert self._method is not None
        runs = []
        with context.progress.stage("search", total=len(queries), unit="queries") as stage:
            for at in range(0, len(queries), _BLOCK):
                part = queries.take(at, at + _BLOCK)
                began = time.monotonic()
                where = self._method.candidates(part, count, k=k, context=context)
                scored_at = time.monotonic()
                scores = self._scores(part, where, context)
                run = maxsim.rank(scores, where, self._passages, self._order, k)
                self.timings["candidates"] += scored_at - began
                self.timings["score"] += time.monotonic() - scored_at
                runs.append(run)
                stage.advance(len(part))
        self.counts |= {f"candidates.{n}": float(c) for n, c in self._method.counts.items()}
        return Run.stacked(runs)

    def _rerank(self, queries: Packed, given: Run, depth: int | None, k: int, context: Context) -> Run:
        """The hits of another retriever in the order of late interaction. A hit without vectors comes last."""
        began = time.monotonic()
        rows = np.asarray(given.cut(depth).doc_rows if depth else given.doc_rows)
        where = np.where(rows >= 0, self._passages.of[np.maximum(rows, 0)], -1).astype(np.int64)
        scores = self._scores(queries, where, context)
        run = Run.ranked(np.where(scores > -np.inf, rows, -1), scores, self._order).cut(k)
        self.timings["score"] += time.monotonic() - began
        return run

    def _scores(self, queries: Packed, where: Ints, context: Context) -> Floats:
        """float32 of the shape of `where`: exact scores of each query's passages, -inf where there is none."""
        who, place = np.nonzero(where >= 0)
        self._count("scored", len(who))
        out = np.full(where.shape, -np.inf, dtype=np.float32)
        out[who, place] = maxsim.score_pairs(
            queries,
            self._tokens,
            who,
            where[who, place],
            device=self._retriever.encoder(context).device,
            threads=context.threads,
        )
        return out

    def _count(self, name: str, number: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + float(number)

    def finish(self, run: Run) -> dict[str, Any]:
        """Means a query of what was counted."""
        queries = max(1.0, self.counts.get("queries", 0.0))
        means = {n: round(c / queries, 3) for n, c in self.counts.items() if not n.endswith("queries")}
        return {"per_query": means}

    def close(self) -> None:
        return
