"""Texts into a Lucene index, as Anserini's IndexCollection would index them.

What scores depend on is the same: analyzer, `DOCS_AND_FREQS` postings (with `-storePositions
-storeDocvectors` where feedback asks for them), norms. Two things differ, on purpose:

- Documents have no id. Each carries the rank of its id in byte order, the index is sorted by that rank and
  merged into one segment, so document numbers follow the ids. Lucene breaks score ties by document number, so
  the hits are those that Anserini gets by sorting on (score, id), at the cut-off too, without reading an id.
- Blank documents are left out, as there (DefaultLuceneDocumentGenerator); their rows are noted beside the
  index, so that document numbers can be turned into rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import SeekbenchError
from seekbench.retrievers.bm25 import jvm
from seekbench.retrievers.bm25.analysis import Settings
from seekbench.retrievers.bm25.expansion import Expansion
from seekbench.retrievers.bm25.jvm import java, lucene
from seekbench.retrievers.protocol import Context, TextView

#: The field of a flat index; `io.anserini.index.Constants.CONTENTS`, which feedback (RM3) has hard-wired.
CONTENTS = "contents"
_RANK = "rank"
_FORMAT = 1  #: What Java's String.trim takes off: all up to the space.
_TRIMMED = "".join(map(chr, range(33)))
#: Documents a progress step.
_BATCH = 2048
#: MiB of postings in memory before a segment is written; within the heap that jvm.py sets.
_BUFFER_MIB = 256.0


@dataclass(frozen=True)
class Description:
    """What is written beside an index, and is all that opening it needs."""

    settings: Settings
    fields: tuple[str, ...]
    docvectors: bool
    documents: int
    blank: npt.NDArray[np.int32]  # rows that are not in the index

    def save(self, folder: Path) -> None:
        facts = {
            "format": _FORMAT, "analyzer": self.settings.to_json(), "fields": list(self.fields),
            "docvectors": self.docvectors, "documents": self.documents,
        }  # fmt: skip
        np.save(folder / "blank.npy", self.blank)
        # Last: its presence says that the index is whole.
        (folder / "index.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, folder: Path) -> Description:
        path = folder / "index.json"
        if not path.is_file():
            raise SeekbenchError(f"{folder}: not a finished bm25 index (no index.json)")
        facts = orjson.loads(path.read_bytes())
        if facts["format"] != _FORMAT:
            raise SeekbenchError(f"{path}: index format {facts['format']}, this version reads {_FORMAT}")
        return cls(
            Settings.from_json(facts["analyzer"]),
            tuple(facts["fields"]),
            facts["docvectors"],
            facts["documents"],
            np.load(folder / "blank.npy"),
        )


def build(
    documents: TextView,
    folder: Path,
    *,
    settings: Settings,
    fields: tuple[str, ...],
    docvectors: bool,
    context: Context,
    expansion: Expansion | None = None,
) -> dict[str, Any]:
    """Indexes into `folder`, clearing what an interrupted build left there. Returns JSON facts.

    fields: names of columns to index one by one, or () for the rendered text alone, with what `expansion` adds.
    """
    # A half-written Lucene index cannot be continued at the same document, and building one takes seconds.
    (folder / "index.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "lucene", ignore_errors=True)
    names = fields or (CONTENTS,)
    directory = lucene("store.FSDirectory").open(java("java.nio.file.Paths").get(str(folder / "lucene")))
    try:
        writer = _writer(directory, settings)
        try:
            blank = _add_all(
                writer,
                documents,
                _blocks(documents, names, not fields, expansion),
                names,
                docvectors=docvectors,
                context=context,
            )
            with context.progress.stage("merge index", total=1, unit="segment") as stage:
                _interruptible(lambda: writer.forceMerge(1))
                _interruptible(writer.commit)
                stage.advance(1)
        except BaseException:
            # Also stops running merges; what was written goes away with the folder's next build.
            writer.rollback()
            raise
        writer.close()
        indexed = len(documents) - len(blank)
        facts = _facts(directory, names, indexed)
    finally:
        directory.close()
    Description(settings, fields, docvectors, len(documents), blank).save(folder)
    return {
        **facts,
        "blank": len(blank),
        "analyzer": settings.summary(),
        "docvectors": docvectors,
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }


def _writer(directory: Any, settings: Settings) -> Any:
    config = lucene("index.IndexWriterConfig")(settings.build())
    config.setOpenMode(lucene("index.IndexWriterConfig$OpenMode").CREATE)
    config.setRAMBufferSizeMB(_BUFFER_MIB)
    config.setUseCompoundFile(False)
    by_rank = lucene("search.SortField")(_RANK, lucene("search.SortField$Type").INT)
    config.setIndexSort(lucene("search.Sort")(by_rank))
    return lucene("index.IndexWriter")(directory, config)


def _field_type(docvectors: bool) -> Any:
    """The field type of io.anserini.index.generator.DefaultLuceneDocumentGenerator, without stored text."""
    kind = lucene("document.FieldType")()
    kind.setStored(False)
    options = lucene("index.IndexOptions")
    if docvectors:
        kind.setStoreTermVectors(True)
        kind.setStoreTermVectorPositions(True)
        kind.setIndexOptions(options.DOCS_AND_FREQS_AND_POSITIONS)
    else:
        kind.setIndexOptions(options.DOCS_AND_FREQS)
    kind.freeze()
    return kind


def _add_all(
    writer: Any,
    documents: TextView,
    blocks: Iterator[tuple[int, list[list[str]]]],
    names: tuple[str, ...],
    *,
    docvectors: bool,
    context: Context,
) -> npt.NDArray[np.int32]:
    """Adds all rows that have text; returns those that have none."""
    # One document whose fields are set anew for each row: 3 calls over the bridge, 2 microseconds each.
    kind = _field_type(docvectors)
    document = lucene("document.Document")()
    # The signature picks the constructor for text; the bridge would not take a str for it by itself.
    signature = "(Ljava/lang/String;Ljava/lang/CharSequence;Lorg/apache/lucene/index/IndexableFieldType;)V"
    targets = [lucene("document.Field")(name, "", kind, signature=signature) for name in names]
    rank = lucene("document.NumericDocValuesField")(_RANK, 0)
    for field in (*targets, rank):
        document.add(field)
    order = documents.order
    blank: list[int] = []
    with context.progress.stage("index bm25", total=len(documents), unit="docs") as stage:
        for start, columns in blocks:
            ranks = order[start : start + len(columns[0])].tolist()
            for offset, texts in enumerate(zip(*columns, strict=True)):
                if not any(text.strip(_TRIMMED) for text in texts):
                    blank.append(start + offset)
                    continue
                for field, text in zip(targets, texts, strict=True):
                    field.setStringValue(text)
                rank.setLongValue(ranks[offset])
                writer.addDocument(document)
            stage.advance(len(ranks))
    return np.array(blank, dtype=np.int32)


def _blocks(
    documents: TextView, names: tuple[str, ...], flat: bool, expansion: Expansion | None
) -> Iterator[tuple[int, list[list[str]]]]:
    if not flat:
        yield from documents.field_blocks(names, _BATCH)
        return
    rendered = documents.blocks(_BATCH)
    for start, texts in rendered if expansion is None else expansion.blocks(rendered):
        yield start, [texts]


def _interruptible(call: Callable[[], Any]) -> Any:
    """Runs a long Java call on a thread of its own, so that Ctrl-C is seen before it returns."""

    def run() -> Any:
        try:
            return call()
        finally:
            jvm.detach()

    pool = ThreadPoolExecutor(1, thread_name_prefix="lucene")
    try:
        return pool.submit(run).result()
    finally:
        pool.shutdown(wait=False)


def _facts(directory: Any, names: tuple[str, ...], documents: int) -> dict[str, Any]:
    """Counts as io.anserini.index.IndexReaderUtils.getIndexStats gives them, and a check of the numbering."""
    reader = lucene("index.DirectoryReader").open(directory)
    try:
        if reader.maxDoc() != documents or reader.numDocs() != documents or reader.leaves().size() > 1:
            raise SeekbenchError(
                f"the index holds {reader.maxDoc()} documents in {reader.leaves().size()} segments,"
                f" expected {documents} in one"
            )
        fields = {name: _field_facts(reader, name) for name in names}
    finally:
        reader.close()
    facts: dict[str, Any] = {"documents": documents}
    if len(names) == 1:
        return {**facts, **fields[names[0]]}
    return {**facts, "total_terms": sum(f["total_terms"] for f in fields.values()), "fields": fields}


def _field_facts(reader: Any, name: str) -> Mapping[str, int]:
    terms = reader.leaves().get(0).reader().terms(name) if reader.leaves().size() else None
    if terms is None:
        return {"non_empty": 0, "total_terms": 0, "unique_terms": 0}
    return {
        "non_empty": int(terms.getDocCount()),
        "total_terms": int(terms.getSumTotalTermFreq()),
        "unique_terms": int(terms.size()),
    }
