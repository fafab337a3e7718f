"""Generated queries in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from seekbench.errors import SeekbenchError
from seekbench.generation.shards import read_table

#: One row a query. score: see `GeneratedQueries`.
SCHEMA = pa.schema(
    [
        ("doc", pa.int64()),
        ("text", pa.large_string()),
        ("language", pa.int16()),
        ("score", pa.float32()),
    ]
)
#: The same with the columns that a filter adds.
FILTERED = SCHEMA.append(pa.field("filter_score", pa.float32())).append(pa.field("rank", pa.int32()))


@dataclass(frozen=True)
class GeneratedQueries:
    """Queries of documents, sorted by document, then language, then as they were made; [n] each.

    doc: int64, rows of the corpus. texts: Arrow large_string. language: int16, places in `languages`, -1 where none
    was stated. score: float32, the mean log-probability (nats) of a query's tokens, the closing one included, under
    the model's own distribution (before temperature, top_k and top_p).
    filter_score: float32, what a filter gave (`filters`), None without one; rank: int32, the document's rank for its
    query, of the round-trip filter alone.
    facts: JSON, of generation and filter.
    """

    doc: npt.NDArray[np.int64]
    texts: pa.Array
    language: npt.NDArray[np.int16]
    score: npt.NDArray[np.float32]
    languages: tuple[str, ...] = ()
    filter_score: npt.NDArray[np.float32] | None = None
    rank: npt.NDArray[np.int32] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.doc)

    @classmethod
    def open(cls, folder: Path) -> GeneratedQueries:
        """What `queries.generate` completed in a folder, mapped from its files: the kept ones where it
        filtered. Raises SeekbenchError where it did not complete."""
        return cls.read(folder, "queries" if (folder / "queries.json").exists() else "generated")

    @classmethod
    def read(cls, folder: Path, name: str) -> GeneratedQueries:
        try:
            facts = orjson.loads((folder / f"{name}.json").read_bytes())
        except FileNotFoundError:
            raise SeekbenchError(f"no generated queries in {folder}") from None
        for internal in ("rows", "size", "key"):
            facts.pop(internal, None)
        table = read_table(folder / f"{name}.arrow")
        columns = {c: _joined(table.column(c)) for c in table.column_names}
        arrays: dict[str, Any] = {c: np.asarray(v) for c, v in columns.items() if c != "text"}
        rank = arrays.get("rank")
        return cls(
            doc=arrays["doc"],
            texts=columns["text"],
            language=arrays["language"],
            score=arrays["score"],
            languages=tuple(facts["languages"]),
            filter_score=arrays.get("filter_score"),
            rank=None if rank is None or (rank < 0).any() else rank,
            facts=facts,
        )

    def take(self, rows: npt.NDArray[np.int64]) -> GeneratedQueries:
        """The queries of these rows, in their order."""
        return GeneratedQueries(
            self.doc[rows],
            self.texts.take(pa.array(rows)),
            self.language[rows],
            self.score[rows],
            self.languages,
            None if self.filter_score is None else self.filter_score[rows],
            None if self.rank is None else self.rank[rows],
            self.facts,
        )

    def table(self) -> pa.Table:
        """As SCHEMA, or FILTERED where a filter scored them (rank -1: the filter has none)."""
        columns: list[Any] = [self.doc, self.texts, self.language, self.score]
        if self.filter_score is None:
            return pa.table(columns, schema=SCHEMA)
        rank = np.full(len(self), -1, np.int32) if self.rank is None else self.rank
        return pa.table([*columns, self.filter_score, rank], schema=FILTERED)


def table_of(
    doc: Sequence[int], texts: Sequence[str], language: Sequence[int], score: Sequence[float]
) -> pa.Table:
    return pa.table([list(doc), list(texts), list(language), list(score)], schema=SCHEMA)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
