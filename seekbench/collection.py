"""A test collection in columns: Corpus, Queries, Qrels, and the folder that they are mapped from.

Documents and queries are row numbers everywhere inside the toolkit; their ids are strings only in files.
Texts lie in Arrow files that are memory-mapped and read in blocks, so a corpus costs address space, not
memory. `Builder` writes such a folder, refusing what would make a score wrong; loaders feed it.

Folder: corpus.arrow, queries.arrow, qrels.<split>.arrow, collection.json (hashes, counts, ids' order).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from seekbench import hashing
from seekbench.errors import InputError, did_you_mean

IntArray = npt.NDArray[np.int64]

#: Rows of one Arrow record batch, and the default block that texts are read in.
BLOCK = hashing.BLOCK
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")


class Template:
    """How a record becomes the text that a retriever sees, e.g. `{title} {text}`.

    `{name}` is replaced by that column or metadata key, an absent or null value by nothing; white space
    around the whole is stripped (so a document without a title is its text alone, as in MTEB and Anserini).
    `{{` and `}}` stand for braces.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        bare = pattern.replace("{{", "").replace("}}", "")
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(_PLACEHOLDER.findall(bare)))
        rest = _PLACEHOLDER.sub("", bare)
        if "{" in rest or "}" in rest:
            raise InputError(
                f"template {pattern!r} has a lone brace", remedy="write {{ or }} for a brace itself"
            )
        if not self.fields:
            raise InputError(f"template {pattern!r} names no field", remedy="e.g. '{title} {text}'")
        self._parts = re.split(r"(\{\{|\}\}|\{[A-Za-z_][A-Za-z0-9_.-]*\})", pattern)

    def render(self, columns: Mapping[str, Sequence[str | None]], rows: int) -> list[str]:
        """Texts of `rows` records given each field's values."""
        pieces: list[str | Sequence[str | None]] = []
        for part in self._parts:
            if part in ("{{", "}}"):
                pieces.append(part[0])
            elif part.startswith("{") and part.endswith("}") and len(part) > 2:
                pieces.append(columns[part[1:-1]])
            elif part:
                pieces.append(part)
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            return [(value or "").strip() for value in pieces[0]]
        return [
            "".join([p if isinstance(p, str) else (p[row] or "") for p in pieces]).strip()
            for row in range(rows)
        ]


class Records:
    """Rows of texts with string ids, mapped from one Arrow file: columns `id`, (`title`), `text`, `metadata`.

    `metadata` holds a JSON object a row (or null); its keys can be used in templates like columns.
    """

    def __init__(self, table: pa.Table, order: npt.NDArray[np.int32] | None = None) -> None:
        self.table = table
        self._order = order

    @classmethod
    def open(cls, path: Path) -> Records:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        order_path = path.with_suffix(".order.npy")
        order = np.load(order_path, mmap_mode="r") if order_path.exists() else None
        return cls(table, order)

    @classmethod
    def from_lists(
        cls, ids: Sequence[str], texts: Sequence[str], titles: Sequence[str | None] | None = None
    ) -> Records:
        """In-memory records, for tests and the Python API."""
        columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string())}
        if titles is not None:
            columns["title"] = pa.array(titles, pa.string())
        if len(set(ids)) != len(ids):
            raise InputError("ids are not unique")
        return cls(pa.table(columns))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def _ids(self) -> pa.Array:
        column = self.table.column("id").cast(pa.large_string())
        chunks = column.chunks or [pa.array([], pa.large_string())]
        return pa.concat_arrays(chunks) if len(chunks) > 1 else chunks[0]

    def ids(self, rows: npt.NDArray[np.integer[Any]] | None = None) -> pa.Array:
        """Ids (Arrow large_string) of the given rows, or of all."""
        return self._ids if rows is None else self._ids.take(pa.array(rows))

    def rows_of(self, ids: pa.Array | Sequence[str]) -> IntArray:
        """Row number of each id, -1 where there is no such record."""
        wanted = (
            pa.array(ids, pa.large_string()) if not isinstance(ids, pa.Array) else ids.cast(pa.large_string())
        )
        return np.asarray(pc.fill_null(pc.index_in(wanted, value_set=self._ids), -1), dtype=np.int64)

    @property
    def order(self) -> npt.NDArray[np.int32]:
        """int32 [n]: the rank of each row's id among all ids in byte order (0 = smallest), for the ranking rule."""
        if self._order is None:
            self._order = byte_order(self._ids)
        return self._order

    @property
    def columns(self) -> list[str]:
        return [name for name in self.table.column_names if name != "metadata"]

    def texts(self, template: str | Template, start: int = 0, stop: int | None = None) -> list[str]:
        """Rendered texts of rows start..stop (all by default)."""
        stop = len(self) if stop is None else min(stop, len(self))
        return self._render(self.table.slice(start, stop - start), _as_template(template))

    def blocks(
        self, template: str | Template, size: int = BLOCK, start: int = 0
    ) -> Iterator[tuple[int, list[str]]]:
        """(first row, rendered texts) of consecutive blocks from row `start` on."""
        compiled = _as_template(template)
        for at in range(start, len(self), size):
            yield at, self._render(self.table.slice(at, size), compiled)

    def check_template(self, template: str | Template) -> None:
        """Raises InputError where a template names a field that no record has.

        An absent `title` is allowed beside a field that is there: the default template names it, and many
        collections have none. Alone it would make every text empty.
        """
        compiled = _as_template(template)
        missing = [f for f in compiled.fields if f not in self.columns]
        if missing and "metadata" in self.table.column_names:
            keys = self.metadata_keys
            missing = [f for f in missing if f not in keys]
            known = [*self.columns, *sorted(keys)]
        else:
            known = self.columns
        if len(missing) < len(compiled.fields):
            missing = [f for f in missing if f != "title"]
        if missing:
            raise InputError(
                f"template {compiled.pattern!r} names unknown field(s) {', '.join(missing)}",
                remedy=did_you_mean(missing[0], known),
            )

    @cached_property
    def metadata_keys(self) -> set[str]:
        """Keys that occur in the metadata of any record."""
        keys: set[str] = set()
        if "metadata" in self.table.column_names:
            for chunk in self.table.column("metadata").chunks:
                for value in chunk:
                    text = value.as_py()
                    if text:
                        keys.update(orjson.loads(text))
        return keys

    def column(self, name: str) -> list[str | None]:
        """A column or a metadata key as strings (None where a record lacks it)."""
        return self._field(self.table, name)

    def subset(self, rows: npt.NDArray[np.integer[Any]]) -> Records:
        return type(self)(taken(self.table, rows))

    @cached_property
    def content_hash(self) -> str:
        """sha256 over ids and all texts: equal content, equal hash, whatever the file format."""
        return hashing.of_columns((name, self.table.column(name)) for name in sorted(self.table.column_names))

    def _field(self, table: pa.Table, name: str) -> list[str | None]:
        if name in table.column_names:
            values: list[str | None] = table.column(name).to_pylist()
            return values
        if "metadata" not in table.column_names:
            return [None] * table.num_rows
        found = []
        for raw in table.column("metadata").to_pylist():
            value = orjson.loads(raw).get(name) if raw else None
            found.append(value if value is None or isinstance(value, str) else orjson.dumps(value).decode())
        return found

    def _render(self, table: pa.Table, template: Template) -> list[str]:
        return template.render({name: self._field(table, name) for name in template.fields}, table.num_rows)


def taken(table: pa.Table, rows: npt.NDArray[np.integer[Any]]) -> pa.Table:
    """Rows of a table, in the order given. Arrow's own `take` of a column of many chunks copies all of it first, which
    of a mapped corpus is the whole file."""
    wanted = np.asarray(rows, dtype=np.int64)
    lengths = [len(chunk) for chunk in table.column(0).chunks]
    if len(lengths) <= 1 or not len(wanted):
        return table.take(pa.array(wanted))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    order = np.argsort(wanted, kind="stable")
    ordered = wanted[order]
    bounds = np.searchsorted(ordered, starts)
    parts = [
        table.slice(start, length).take(pa.array(ordered[first:last] - start))
        for start, length, first, last in zip(starts[:-1], lengths, bounds[:-1], bounds[1:], strict=True)
        if last > first
    ]
    joined = pa.concat_tables(parts).combine_chunks()
    if (ordered == wanted).all():
        return joined
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return joined.take(pa.array(place))


class Corpus(Records):
    """The documents."""


class Queries(Records):
    """The queries."""


def _as_template(template: str | Template) -> Template:
    return template if isinstance(template, Template) else Template(template)


def byte_order(ids: pa.Array) -> npt.NDArray[np.int32]:
    """int32 [n]: rank of each id in ascending order of its UTF-8 bytes (strcmp, as trec_eval compares)."""
    # Arrow sorts strings by their bytes.
    permutation = np.asarray(pc.array_sort_indices(ids), dtype=np.int64)
    rank = np.empty(len(permutation), dtype=np.int32)
    rank[permutation] = np.arange(len(permutation), dtype=np.int32)
    return rank


@dataclass(frozen=True)
class Qrels:
    """Judgments in compressed rows.

    indptr: int64 [queries + 1]; doc_rows: int64 [judgments]; grades: int32 [judgments]. Row i of the queries
    has the judgments indptr[i]:indptr[i+1]. A judged document that the corpus lacks has the row
    `corpus_size + j`, where j is its place in `absent_ids`: it can't be retrieved, yet counts in recall's and
    nDCG's ideal, as in trec_eval. relevance_level: the lowest grade that measures of binary relevance count, where they
    name none (trec_eval's -l).
    """

    indptr: IntArray
    doc_rows: IntArray
    grades: npt.NDArray[np.int32]
    corpus_size: int
    absent_ids: tuple[str, ...] = ()
    relevance_level: int = 1

    @classmethod
    def from_triples(
        cls,
        query_rows: npt.NDArray[Any],
        doc_rows: npt.NDArray[Any],
        grades: npt.NDArray[Any],
        *,
        queries: int,
        corpus_size: int,
        absent_ids: Sequence[str] = (),
        relevance_level: int = 1,
    ) -> Qrels:
        """From parallel arrays in any order."""
        by = np.lexsort((doc_rows, query_rows))
        counts = np.bincount(np.asarray(query_rows, dtype=np.int64), minlength=queries)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(
            indptr,
            np.asarray(doc_rows, dtype=np.int64)[by],
            np.asarray(grades, dtype=np.int32)[by],
            corpus_size,
            tuple(absent_ids),
            relevance_level,
        )

    @property
    def num_queries(self) -> int:
        return len(self.indptr) - 1

    def __len__(self) -> int:
        return len(self.doc_rows)

    def query_rows(self) -> IntArray:
        """int64 [judgments]: the query row of each judgment."""
        return np.repeat(np.arange(self.num_queries, dtype=np.int64), np.diff(self.indptr))

    def of(self, query: int) -> tuple[IntArray, npt.NDArray[np.int32]]:
        part = slice(self.indptr[query], self.indptr[query + 1])
        return self.doc_rows[part], self.grades[part]


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query and a document, as rows: query_rows, doc_rows int64 [pairs], sorted by query row."""

    kind: str = "none"
    query_rows: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    doc_rows: IntArray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.query_rows)

    @cached_property
    def most(self) -> int:
        """The largest number of documents of one query."""
        return int(np.bincount(self.query_rows).max()) if len(self) else 0

    def of(self, query: int) -> IntArray:
        left, right = np.searchsorted(self.query_rows, [query, query + 1])
        return self.doc_rows[left:right]

    def between(self, start: int, stop: int) -> Self:
        """The pairs of the queries start:stop, whose rows then count from 0."""
        left, right = np.searchsorted(self.query_rows, [start, stop])
        return type(self)(self.kind, self.query_rows[left:right] - start, self.doc_rows[left:right])

    @cached_property
    def content_hash(self) -> str:
        return hashing.of_json([self.kind, self.query_rows.tolist(), self.doc_rows.tolist()])


@dataclass(frozen=True)
class Exclusion(Pairs):
    """Documents that must not be retrieved for a query: `none`, `identical_id` (the one with the query's own id), or a
    `list`. Applied at search (with over-fetch, so that k results remain) and again at scoring."""


@dataclass(frozen=True)
class Candidates(Pairs):
    """The only documents that may be retrieved for a query: a `list`, or the `same` (those whose metadata have the
    query's value of a key: its own lecture, article or dialogue)."""

    def counts(self, queries: int) -> IntArray:
        """int64 [queries]: candidates of each."""
        return np.bincount(self.query_rows, minlength=queries)


@dataclass(frozen=True)
class Dataset:
    """One split of a test collection, ready to be searched and scored: query rows are those of `queries`.

    id: as shown in results, e.g. `beir/scifact`. template / query_template: what a retriever is given. candidates: None
    where the whole corpus is searched. language: ISO 639-1 code or None. source: where it came from (path or hub id,
    revision), for the record.
    """

    id: str
    split: str
    corpus: Corpus
    queries: Queries
    qrels: Qrels
    template: str = "{title} {text}"
    query_template: str = "{text}"
    exclusion: Exclusion = field(default_factory=Exclusion)
    candidates: Candidates | None = None
    language: str | None = None
    main_metric: str = "ndcg@10"
    source: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Content hashes: `corpus`, `queries`, `qrels`, `exclusion`, `candidates` where queries have their own, and
        `dataset` over them, both templates, and the relevance level where it is not 1."""
        parts = {
            "corpus": self.corpus.content_hash,
            "queries": self.queries.content_hash,
            "qrels": hashing.of_json(
                [
                    self.qrels.indptr.tolist(),
                    self._judged_ids(),
                    self.qrels.grades.tolist(),
                ]
            ),
            "exclusion": self.exclusion.content_hash,
            **({"candidates": self.candidates.content_hash} if self.candidates is not None else {}),
        }
        level = self.qrels.relevance_level
        told = [parts, self.template, self.query_template, *([level] if level != 1 else [])]
        return {**parts, "dataset": hashing.of_json(told)}

    def _judged_ids(self) -> list[str]:
        rows = self.qrels.doc_rows
        present = rows < self.qrels.corpus_size
        ids = np.empty(len(rows), dtype=object)
        if len(rows):
            ids[present] = self.corpus.ids(rows[present]).to_numpy(zero_copy_only=False)
            ids[~present] = [self.qrels.absent_ids[r - self.qrels.corpus_size] for r in rows[~present]]
        return list(ids)
