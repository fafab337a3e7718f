"""Sparse vectors as a Lucene impact index: integer weights in place of term frequencies, scored by their sum.

Postings are those of Anserini's JsonVectorCollection with ImpactSimilarity: a term is its number in decimal digits,
its frequency the weight x factor, rounded. As in `bm25.index` documents carry a rank and no id; here the highest id in
byte order has rank 0, since Lucene takes the lower document number of equal scores and the ranking rule the higher id.
So the hits are those of the rule at the cutoff too, and the same as those of `columns` with the same factor. Lucene's
score is float32: sums from 2^24 on are rounded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import SeekbenchError
from seekbench.retrievers.bm25 import handles, jvm
from seekbench.retrievers.bm25.jvm import java, lucene
from seekbench.retrievers.sparse.vectors import Integers, SparseVectors, quantized
from seekbench.runs import Run
from seekbench.store import write_atomic

#: Of weights, Anserini's and SPLADE's own.
FACTOR = 100.0

_FORMAT = 1
_FACTS = "impact.json"
_EMPTY = "empty.npy"
_FIELD = "contents"
_RANK = "rank"
#: MiB of postings in memory before a segment is written; within the heap that jvm.py sets.
_BUFFER_MIB = 256.0
#: Queries that go over the bridge at a time.
_QUERY_BLOCK = 256


def build(
    parts: Iterable[SparseVectors],
    folder: Path,
    order: npt.NDArray[Any],
    *,
    width: int,
    factor: float = FACTOR,
    advance: Callable[[int], None] | None = None,
) -> Impact:
    """Indexes the vectors of all documents, given in the order of rows, and opens the index.

    order: int [documents], rank of each id in byte order. What an earlier call left unfinished in the folder is
    overwritten. advance: called with the number of documents that were added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FACTS).unlink(missing_ok=True)
    shutil.rmtree(folder / "lucene", ignore_errors=True)
    directory = _directory(folder)
    try:
        writer = _writer(directory)
        try:
            empty, postings = _add_all(writer, parts, np.asarray(order), width, factor, advance)
            writer.forceMerge(1)
            writer.commit()
        except BaseException:
            writer.rollback()
            raise
        writer.close()
    finally:
        directory.close()
    np.save(folder / _EMPTY, empty)
    facts = {
        "format": _FORMAT, "documents": len(order), "width": width, "factor": factor, "empty": len(empty),
        "non_zeros": postings, "mean_non_zeros": postings / len(order) if len(order) else 0.0,
        **jvm.versions(),
    }  # fmt: skip
    write_atomic(folder / _FACTS, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return Impact(folder)


def _directory(folder: Path) -> Any:
    return lucene("store.FSDirectory").open(java("java.nio.file.Paths").get(str(folder / "lucene")))


def _writer(directory: Any) -> Any:
    config = lucene("index.IndexWriterConfig")(_analyzer())
    config.setOpenMode(lucene("index.IndexWriterConfig$OpenMode").CREATE)
    config.setRAMBufferSizeMB(_BUFFER_MIB)
    config.setUseCompoundFile(False)
    # Lucene keeps the highest impacts of blocks of postings by this similarity.
    config.setSimilarity(java("io.anserini.search.similarity.ImpactSimilarity")())
    by_rank = lucene("search.SortField")(_RANK, lucene("search.SortField$Type").INT)
    config.setIndexSort(lucene("search.Sort")(by_rank))
    return lucene("index.IndexWriter")(directory, config)


def _analyzer() -> Any:
    """`12|34 56|7`: term 12 with frequency 34, term 56 with frequency 7."""
    builder = lucene("analysis.custom.CustomAnalyzer").builder()
    none = java("java.util.HashMap")
    return (
        builder.withTokenizer("whitespace", none()).addTokenFilter("delimitedTermFrequency", none()).build()
    )


def _add_all(
    writer: Any,
    parts: Iterable[SparseVectors],
    order: npt.NDArray[Any],
    width: int,
    factor: float,
    advance: Callable[[int], None] | None,
) -> tuple[npt.NDArray[np.int32], int]:
    """Adds all rows that have a term; (rows that have none, postings)."""
    kind = lucene("document.FieldType")()
    kind.setStored(False)
    kind.setOmitNorms(True)
    kind.setIndexOptions(lucene("index.IndexOptions").DOCS_AND_FREQS)
    kind.freeze()
    signature = "(Ljava/lang/String;Ljava/lang/CharSequence;Lorg/apache/lucene/index/IndexableFieldType;)V"
    target = lucene("document.Field")(_FIELD, "", kind, signature=signature)
    rank = lucene("document.NumericDocValuesField")(_RANK, 0)
    document = lucene("document.Document")()
    document.add(target)
    document.add(rank)
    empty: list[int] = []
    row = postings = 0
    for part in parts:
        if part.width != width:
            raise SeekbenchError(f"a vocabulary of {part.width} terms where {width} were expected")
        if row + len(part) > len(order):
            raise SeekbenchError(f"more documents than the {len(order)} of the order")
        rounded = quantized(part, factor)
        for text in texts(rounded, "|"):
            if text:
                target.setStringValue(text)
                rank.setLongValue(len(order) - 1 - int(order[row]))
                writer.addDocument(document)
            else:
                empty.append(row)
            row += 1
        postings += int(rounded.indptr[-1])
        if advance:
            advance(len(part))
    if row != len(order):
        raise SeekbenchError(f"{row} documents where the order has {len(order)}")
    return np.array(empty, dtype=np.int32), postings


def texts(rows: Integers, sign: str) -> list[str]:
    """Each row's terms and integers, as in `12|34 56|7`."""
    pairs = [f"{t}{sign}{v}" for t, v in zip(rows.terms.tolist(), rows.values.tolist(), strict=True)]
    indptr = rows.indptr.tolist()
    return [" ".join(pairs[a:b]) for a, b in pairwise(indptr)]


class Impact:
    """An opened impact index; safe to share between threads. facts: documents, empty, non_zeros, mean_non_zeros,
    factor, bytes, versions."""

    runtime = "java"

    def __init__(self, folder: Path) -> None:
        if not self.complete(folder):
            raise SeekbenchError(f"no finished impact index in {folder}")
        facts = orjson.loads((folder / _FACTS).read_bytes())
        if facts["format"] != _FORMAT:
            raise SeekbenchError(
                f"{folder}: impact index of format {facts['format']}, this version reads {_FORMAT}"
            )
        self.folder, self.width, self.factor = folder, int(facts["width"]), float(facts["factor"])
        self.facts: dict[str, Any] = {**facts, "bytes": self.bytes}
        self._empty = np.load(folder / _EMPTY)
        directory = _directory(folder)
        self._reader = lucene("index.DirectoryReader").open(directory)
        directory.close()
        indexed = len(self) - len(self._empty)
        if self._reader.maxDoc() != indexed or self._reader.leaves().size() > 1:
            raise SeekbenchError(
                f"{folder}: {self._reader.maxDoc()} documents in {self._reader.leaves().size()} segments,"
                f" expected {indexed} in one"
            )
        self._searcher = lucene("search.IndexSearcher")(
            self._reader, signature="(Lorg/apache/lucene/index/IndexReader;)V"
        )
        self._searcher.setSimilarity(java("io.anserini.search.similarity.ImpactSimilarity")())
        self._functions: dict[int, Any] = {}

    @staticmethod
    def complete(folder: Path) -> bool:
        return (folder / _FACTS).exists()

    def __len__(self) -> int:
        """Documents, those without a term included."""
        return int(self.facts["documents"])

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def search(
        self,
        queries: Integers | SparseVectors,
        order: npt.NDArray[Any],
        k: int,
        *,
        threads: int = 1,
        advance: Callable[[int], None] | None = None,
    ) -> Run:
        """The top k documents of every query by the ranking rule. Weights that are no integers are rounded with the
        factor of the documents; scores are sums of products of integers.

        order: as it was when the index was built.
        """
        order = np.asarray(order)
        if len(order) != len(self):
            raise SeekbenchError(f"an order of {len(order)} documents for an index of {len(self)}")
        if queries.width != self.width:
            raise SeekbenchError(f"queries of a vocabulary of {queries.width}, an index of {self.width}")
        asked = quantized(queries, self.factor) if isinstance(queries, SparseVectors) else queries
        k = min(k, len(self))
        run = Run.empty(len(asked), max(k, 0))
        if not run.doc_rows.size or len(self._empty) == len(self):
            return run
        rows = self._rows(order)
        lines = texts(asked, "^")
        function = self._function(k)
        pool = java("java.util.concurrent.ForkJoinPool")(max(1, threads))
        # Of the pool's three `execute`, the interface has the one for a Runnable.
        executor = jvm.cast("java.util.concurrent.Executor", pool)
        try:
            for at in range(0, len(lines), _QUERY_BLOCK):
                some = [q for q in range(at, min(at + _QUERY_BLOCK, len(lines))) if lines[q]]
                if some:
                    task = handles.task(function, [lines[q] for q in some])
                    executor.execute(task)
                    for q, packed in zip(some, task.get(), strict=True):
                        hits = handles.unpack(packed)
                        run.doc_rows[q, : len(hits)] = rows[hits["doc"]]
                        run.scores[q, : len(hits)] = hits["score"]
                if advance:
                    advance(min(_QUERY_BLOCK, len(lines) - at))
        finally:
            pool.shutdownNow()
        # Already in order, which this verifies.
        return Run.ranked(run.doc_rows, run.scores, order)

    def _rows(self, order: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """int32: the row of each document number. Numbers follow the ranks downwards, without the empty rows."""
        by_rank = np.empty(len(order), dtype=np.int32)
        by_rank[len(order) - 1 - order] = np.arange(len(order), dtype=np.int32)
        rows: npt.NDArray[np.int32] = by_rank[~np.isin(by_rank, self._empty)]
        return rows

    def _function(self, k: int) -> Any:
        """The batch function of `handles`, for queries such as `12^34 56^7`."""
        if k not in self._functions:
            self._functions[k] = handles.batch_function(_search_function(self._searcher, k))
        return self._functions[k]

    def close(self) -> None:
        self._functions.clear()
        self._reader.close()


def _search_function(searcher: Any, k: int) -> Any:
    """As `handles.search_function`, with Lucene's query parser: `12^34 56^7` is a SHOULD clause for each term, boosted.

    In Java: text -> pack(searcher.search(new QueryParser(field, analyzer).parse(text), k).scoreDocs).
    """
    composed = java("java.lang.invoke.MethodHandles")
    parser, query = "org.apache.lucene.queryparser.classic.QueryParser", "org.apache.lucene.search.Query"
    text, analyzer = "java.lang.String", "org.apache.lucene.analysis.Analyzer"
    # A parser serves one thread: each query makes its own.
    make = handles._lookup().findConstructor(handles._class(parser), handles._type("void", text, analyzer))
    make = composed.insertArguments(composed.insertArguments(make, 1, _plain()), 0, _FIELD)
    whole = composed.collectArguments(handles._method(parser, "parse", query, text), 0, make)
    search = handles._method(
        "org.apache.lucene.search.IndexSearcher", "search", handles._TOP, query, "int"
    ).bindTo(searcher)
    search = composed.insertArguments(search, 1, java("java.lang.Integer")(k))
    for step in (search, handles._getter(handles._TOP, "scoreDocs", handles._HITS), handles._pack()):
        whole = composed.filterReturnValue(whole, step)
    function = java("java.lang.Class").forName("java.util.function.Function")
    return jvm.cast(
        "java.util.function.Function",
        java("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(function, whole),
    )


def _plain() -> Any:
    """Splits at white space."""
    return lucene("analysis.core.WhitespaceAnalyzer")()
