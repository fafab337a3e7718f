"""An opened index answering queries: Lucene finds, one call a query brings the hits over.

Scores and the set of hits are those of Pyserini's LuceneSearcher (ties.py, index.py); the order is then the
toolkit's ranking rule. Where float32 scores are still equal after Anserini's adjustment (its steps of 1e-6
vanish in scores above 16), that rule decides, as trec_eval's would for the same scores.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import SeekbenchError
from seekbench.retrievers.bm25 import handles, jvm, ties
from seekbench.retrievers.bm25.index import CONTENTS, Description
from seekbench.retrievers.bm25.jvm import java, lucene
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seekbench.retrievers.bm25 import BM25Params

Hits = npt.NDArray[Any]  # of dtype handles.HIT

#: Queries that go over the bridge at a time; the number grows while a block takes less than _QUICK_SECONDS.
_SMALLEST_BLOCK, _LARGEST_BLOCK, _QUICK_SECONDS = 32, 512, 0.25


class BM25Searcher:
    """Answers for one set of search parameters; safe to share between threads."""

    runtime = "java"

    def __init__(self, folder: Path, documents: TextView, params: BM25Params) -> None:
        self.description = Description.load(folder)
        if self.description.documents != len(documents):
            raise SeekbenchError(
                f"{folder} indexes {self.description.documents} documents, the corpus has {len(documents)}"
            )
        self.params = params
        self.order = documents.order
        # Document number -> corpus row: numbers follow the ranks of ids, without the blank rows (index.py).
        by_rank = np.empty(len(documents), dtype=np.int32)
        by_rank[self.order] = np.arange(len(documents), dtype=np.int32)
        self.rows = by_rank[~np.isin(by_rank, self.description.blank)]
        directory = lucene("store.FSDirectory").open(java("java.nio.file.Paths").get(str(folder / "lucene")))
        self.reader = lucene("index.DirectoryReader").open(directory)
        directory.close()
        self.searcher = lucene("search.IndexSearcher")(
            self.reader, signature="(Lorg/apache/lucene/index/IndexReader;)V"
        )
        self.searcher.setSimilarity(handles.similarity(params.similarity, params.k1, params.b, params.mu))
        self.analyzer = self.description.settings.build()
        self.generator = handles.query_generator()
        self.fields: Any = CONTENTS
        if params.fields is not None:
            self.fields = java("java.util.HashMap")()
            for name, boost in params.fields.items():
                self.fields.put(name, java("java.lang.Float")(boost))
        self._functions: dict[int, Any] = {}

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        run = Run.empty(len(queries), k)
        if len(queries) == 0 or len(self.rows) == 0:
            return run
        answers = self._with_feedback if self.params.rm3 is not None else self._plain
        with context.progress.stage("search bm25", total=len(queries), unit="queries") as stage:
            start = 0
            for block in answers(queries, k, max(1, context.threads)):
                part = self._ranked(block, k)
                run.doc_rows[start : start + len(block)] = part.doc_rows
                run.scores[start : start + len(block)] = part.scores
                start += len(block)
                stage.advance(len(block))
        return run

    def _plain(self, queries: TextView, k: int, threads: int) -> Iterator[list[Hits]]:
        """Hits of consecutive blocks of queries. Java's threads search a block while Python ranks the one
        before it; with one thread to use, they take turns."""
        if k not in self._functions:
            function = handles.search_function(self.searcher, self.generator, self.fields, self.analyzer, k)
            self._functions[k] = handles.batch_function(function)
        pool = java("java.util.concurrent.ForkJoinPool")(threads)
        # Of the pool's three `execute`, the interface has the one for a Runnable.
        executor = jvm.cast("java.util.concurrent.Executor", pool)
        running: deque[Any] = deque()
        start, size = 0, _SMALLEST_BLOCK
        try:
            while start < len(queries) or running:
                began = time.monotonic()
                if start < len(queries):
                    task = handles.task(self._functions[k], queries.texts(start, start + size))
                    executor.execute(task)
                    running.append(task)
                    start += size
                if len(running) > (threads > 1) or start >= len(queries):
                    yield [handles.unpack(packed) for packed in running.popleft().get()]
                # Large blocks share the cost of a call; but Ctrl-C and progress wait for their end.
                if time.monotonic() - began < _QUICK_SECONDS:
                    size = min(2 * size, _LARGEST_BLOCK)
        finally:
            pool.shutdownNow()

    def _with_feedback(self, queries: TextView, k: int, threads: int) -> Iterator[list[Hits]]:
        """RM3 by Anserini's own Rm3Reranker, as SimpleSearcher.set_rm3 wires it; one query at a time."""
        rm3 = self.params.rm3
        assert rm3 is not None
        reranker = java("io.anserini.rerank.lib.Rm3Reranker")(
            self.analyzer, None, CONTENTS, rm3.fb_terms, rm3.fb_docs, rm3.original_query_weight, False, True
        )
        arguments = java("io.anserini.search.SearchCollection$Args")()
        arguments.hits = k
        utilities = java("io.anserini.analysis.AnalyzerUtils")
        scored, context_of = java("io.anserini.search.ScoredDocs"), java("io.anserini.rerank.RerankerContext")

        def answer(text: str) -> Hits:
            query = self.generator.buildQuery(CONTENTS, self.analyzer, text)
            # Feedback reads the best fb_docs only.
            first = scored.fromTopDocs(self.searcher.search(query, rm3.fb_docs), self.searcher)
            if not first.scores:
                return np.empty(0, dtype=handles.HIT)
            tokens = utilities.analyze(self.analyzer, text)
            around = context_of(self.searcher, None, query, None, text, tokens, None, arguments)
            found = reranker.rerank(first, around)
            hits = np.empty(len(found.scores), dtype=handles.HIT)
            hits["doc"], hits["score"] = found.lucene_docids, found.scores
            return hits

        for _, texts in queries.blocks(_SMALLEST_BLOCK):
            yield [answer(text) for text in texts]

    def _ranked(self, block: list[Hits], k: int) -> Run:
        numbers = np.full((len(block), k), -1, dtype=np.int32)
        scores = np.full((len(block), k), -np.inf, dtype=np.float32)
        for row, hits in enumerate(block):
            numbers[row, : len(hits)] = hits["doc"]
            scores[row, : len(hits)] = hits["score"]
        numbers, scores = _sorted(numbers, ties.adjusted(scores))
        rows = np.where(numbers >= 0, self.rows[numbers], np.int32(-1))
        # Already in order, which this verifies.
        return Run.ranked(rows, scores, self.order)

    def close(self) -> None:
        self._functions.clear()
        self.reader.close()


def _sorted(
    numbers: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Hits by score, then by document number (= rank of the id), both descending, padding last.

    Both go into one int64 that sorts that way: several times as fast as a sort by two keys.
    """
    bits = scores.view(np.int32)
    # IEEE order as integer order.
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = (ordered.astype(np.int64) << 32) | (numbers.astype(np.int64) & 0xFFFFFFFF)
    keys[numbers < 0] = np.iinfo(np.int64).min
    keys = np.sort(keys, axis=1)[:, ::-1]
    ordered = (keys >> 32).astype(np.int32)
    found = keys != np.iinfo(np.int64).min
    scores = (ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)
    return (
        np.where(found, keys.astype(np.int32), np.int32(-1)),
        np.where(found, scores, np.float32(-np.inf)),
    )
