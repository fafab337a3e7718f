"""What a builder of docids may look at. Queries and judgments of an evaluated split have no field here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench.collection import Records
from seekbench.errors import InputError
from seekbench.retrievers.protocol import Context

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK = 8192


@dataclass(frozen=True)
class Interactions:
    """Training histories: documents that a user took one after another, or that one training query needs.

    rows: int64 flat document rows; indptr: int64 [histories + 1]. source: where they come from, for the
    record. Only training data belongs here: P5 leaves out the last two items of every user, on which it
    validates and tests; numbering that walks whole histories is a known leak (methods/generative.md §10).
    """

    rows: Ints
    indptr: Ints
    source: str

    @classmethod
    def of(cls, histories: Sequence[Sequence[int]], source: str) -> Interactions:
        lengths = [len(h) for h in histories]
        rows = np.fromiter(
            (row for history in histories for row in history), dtype=np.int64, count=sum(lengths)
        )
        return cls(rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), source)

    @classmethod
    def of_pairs(cls, pairs: npt.NDArray[Any], source: str) -> Interactions:
        """pairs: [pairs, 2] rows of documents that occur together."""
        rows = np.ascontiguousarray(pairs, dtype=np.int64).reshape(-1)
        return cls(rows, np.arange(len(rows) // 2 + 1, dtype=np.int64) * 2, source)


@dataclass(frozen=True)
class DocQueries:
    """Queries of documents, generated or of the training split, the best of each document first.

    doc: int64 [queries] document rows in any order; texts: Arrow large_string [queries]; source: the generator
    or the split, for the record. Never queries of an evaluated split.
    """

    doc: Ints
    texts: pa.Array
    source: str

    @classmethod
    def of(cls, doc: Sequence[int] | npt.NDArray[Any], texts: Sequence[str], source: str) -> DocQueries:
        return cls(np.asarray(doc, dtype=np.int64), pa.array(texts, pa.large_string()), source)


@dataclass(frozen=True)
class BuildInputs:
    """Each part is optional; a builder says in `needs` which it takes, and refuses to go without.

    documents: how many there are. records: ids, titles, texts. embeddings: float32 [documents, dim], mapped or
    in memory. context: progress; nothing in it changes a docid.
    """

    documents: int
    records: Records | None = None
    embeddings: Floats | None = None
    interactions: Interactions | None = None
    queries: DocQueries | None = None
    context: Context = field(default_factory=Context)

    def __post_init__(self) -> None:
        if self.documents < 1:
            raise InputError("a corpus without documents has no docids")
        if self.records is not None and len(self.records) != self.documents:
            raise InputError(f"{len(self.records)} records for {self.documents} documents")
        if self.embeddings is not None and (
            self.embeddings.ndim != 2
            or len(self.embeddings) != self.documents
            or not self.embeddings.shape[1]
        ):
            raise InputError(f"embeddings of shape {self.embeddings.shape} for {self.documents} documents")
        if self.interactions is not None:
            self._check_rows(self.interactions.rows, f"interactions ({self.interactions.source})")
            bounds = self.interactions.indptr
            if (
                not len(bounds)
                or bounds[0]
                or bounds[-1] != len(self.interactions.rows)
                or np.any(np.diff(bounds) < 0)
            ):
                raise InputError(
                    f"interactions ({self.interactions.source}): indptr is no compressed rows of rows"
                )
        if self.queries is not None:
            self._check_rows(self.queries.doc, f"queries ({self.queries.source})")
            if len(self.queries.doc) != len(self.queries.texts):
                raise InputError(
                    f"{len(self.queries.texts)} queries for {len(self.queries.doc)} document rows"
                )

    def _check_rows(self, rows: Ints, what: str) -> None:
        if len(rows) and (rows.min() < 0 or rows.max() >= self.documents):
            raise InputError(f"{what} name document rows beyond the {self.documents} documents")

    def the_records(self, builder: str) -> Records:
        if self.records is None:
            raise _missing(builder, "the corpus' records (ids, titles, texts)", "records")
        return self.records

    def the_embeddings(self, builder: str) -> Floats:
        """Checked: finite and float32. Raises InputError."""
        if self.embeddings is None:
            raise _missing(builder, "a vector for each document", "embeddings")
        if self.embeddings.dtype != np.float32:
            raise InputError(f"embeddings are {self.embeddings.dtype}, not float32")
        for at in range(0, self.documents, _BLOCK):
            bad = ~np.isfinite(self.embeddings[at : at + _BLOCK]).all(axis=1)
            if bad.any():
                raise InputError(f"the embedding of document {at + int(np.argmax(bad))} is not finite")
        return self.embeddings

    def the_interactions(self, builder: str) -> Interactions:
        if self.interactions is None:
            raise _missing(builder, "training histories of documents", "interactions")
        return self.interactions

    def the_queries(self, builder: str) -> DocQueries:
        if self.queries is None:
            raise _missing(builder, "queries of each document, generated or of the training split", "queries")
        return self.queries


def _missing(builder: str, what: str, name: str) -> InputError:
    return InputError(f"docids '{builder}' need {what}", remedy=f"give `{name}`, or choose other docids")
