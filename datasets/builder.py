"""Writes a collection folder from rows that a loader feeds, refusing what would make a score wrong.

Rows stream to Arrow files; what stays in memory is a few numbers a row (line, a text hash). Whatever can
only be seen over the whole collection (duplicates, judgments of unknown records) is found at the end with
Arrow and numpy, so several million documents need no object each. Every defect of rows is judged here, for
all formats, so that `validate` and loading can't disagree.

Errors: an id that is empty, or holds white space or a control character (a TREC run file could not be read
back); a duplicate id; an empty query; a judgment of an unknown query; a judgment given twice, equal or not
(trec_eval refuses both); no documents, no queries, no judgments. Warnings: a document without text,
documents of equal bytes, a judged document that is absent (it counts as never retrieved, as in trec_eval),
a query that no split judges, a split or query without a positive judgment, a query id that begins with '#'.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from seekbench import hashing
from seekbench.collection import BLOCK, Records, byte_order
from seekbench.errors import InputError, Report
from seekbench.store import write_atomic

IntArray = npt.NDArray[np.int64]

#: Characters after which a batch is written even below BLOCK rows: bounds memory for long texts.
MOST_CHARACTERS = 32_000_000
#: Version of the folder's layout.
LAYOUT = 1

_BAD_IN_ID = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]")
_GRADES = np.iinfo(np.int32)
_INTEGRAL = re.compile(r"[+-]?\d+")
_INTEGRAL_FLOAT = re.compile(r"[+-]?\d+\.0*(?:[eE][+-]?0+)?")


@dataclass
class _Places:
    """File and line of every row: a file changes rarely, so it is kept as runs; lines take 8 bytes a row."""

    starts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))

    def add(self, where: str, line: int | None) -> None:
        if not self.names or self.names[-1] != where:
            self.starts.append(len(self.lines))
            self.names.append(where)
        self.lines.append(-1 if line is None else line)

    def of(self, row: int) -> tuple[str, int | None]:
        run = int(np.searchsorted(self.starts, row, side="right")) - 1
        line = self.lines[row]
        return self.names[run], (None if line < 0 else line)

    def beside(self, row: int, other: int) -> str:
        """Where `other` is, said beside a message about `row`: the line alone if both are in one file."""
        where, line = self.of(other)
        if line is None:
            return where or f"row {other + 1}"
        return f"line {line}" if where == self.of(row)[0] else f"{where}:{line}"


class _Table:
    """An Arrow file written in batches. A column appears when the first row has a value for it: the file
    is then rewritten once, so that collections without titles or metadata have no such column."""

    def __init__(self, path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        self.path = path
        self.required = tuple(required)
        self.optional = tuple(optional)
        self.present: tuple[str, ...] = self.required
        self.rows = 0
        self.writer: Any = None

    def write(self, columns: Mapping[str, Sequence[str | None]]) -> None:
        count = len(columns[self.required[0]])
        wanted = (*self.required, *(n for n in self.optional if n in self.present or any(columns[n])))
        if wanted != self.present and self.rows:
            self._widen(wanted)
        self.present = wanted
        if self.writer is None:
            self.writer = pa.ipc.new_file(str(self.path), self._schema())
        arrays = [pa.array(columns[name], pa.large_string()) for name in self.present]
        self.writer.write_batch(pa.record_batch(arrays, schema=self._schema()))
        self.rows += count

    def close(self) -> None:
        if self.writer is None:
            self.writer = pa.ipc.new_file(str(self.path), self._schema())
        self.writer.close()

    def _schema(self) -> Any:
        return pa.schema([(name, pa.large_string()) for name in self.present])

    def _widen(self, wanted: tuple[str, ...]) -> None:
        self.writer.close()
        old, before = self.path.with_suffix(".old"), self.present
        self.path.replace(old)
        self.present = wanted
        self.writer = pa.ipc.new_file(str(self.path), self._schema())
        with pa.memory_map(str(old)) as mapped:
            reader = pa.ipc.open_file(mapped)
            for at in range(reader.num_record_batches):
                batch = reader.get_batch(at)
                arrays = [
                    batch.column(name) if name in before else _blank(name, batch.num_rows) for name in wanted
                ]
                self.writer.write_batch(pa.record_batch(arrays, schema=self._schema()))
        old.unlink()


def _blank(name: str, rows: int) -> Any:
    """What rows have in a column that appeared after them: "" for text, null for metadata."""
    return pa.array([None if name == "metadata" else ""] * rows, pa.large_string())


class _Side:
    """Documents or queries while they are written."""

    def __init__(self, path: Path, kind: str, report: Report, optional: Sequence[str]) -> None:
        self.kind, self.report = kind, report
        self.table = _Table(path, ("id", "text"), optional)
        self.places = _Places()
        self.hashes = array("q")
        self.empty = array("q")
        self.odd: list[tuple[int, str]] = []
        self._columns: dict[str, list[str | None]] = {}
        self._clear()

    def __len__(self) -> int:
        return len(self.places.lines)

    def add(
        self,
        id: str,
        title: str | None,
        text: str,
        metadata: Mapping[str, Any] | None,
        where: str,
        line: int | None,
    ) -> None:
        if not id or _BAD_IN_ID.search(id):
            self._bad_id(id, where, line)
        row = len(self)
        self.places.add(where, line)
        columns = self._columns
        columns["id"].append(id)
        columns["text"].append(text)
        columns["title"].append(title or "")
        columns["metadata"].append(_json(metadata) if metadata else None)
        if text.strip() or (title and title.strip()):
            self.hashes.append(hash((title or "", text)))
        else:
            # Empty records are reported as such; a hash of their own keeps them out of the identical ones.
            self.hashes.append(hash((row, "empty", id)))
        if not text.strip():
            self.empty.append(row)
        self._size += len(text) + 64
        if len(columns["id"]) >= BLOCK or self._size >= MOST_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        if not self._columns["id"]:
            return
        try:
            self.table.write(self._columns)
        except UnicodeEncodeError:
            # A lone surrogate, which no UTF-8 file can hold: name the row, and keep row numbers right.
            self.table.write({name: self._repaired(values) for name, values in self._columns.items()})
        self._clear()

    def _repaired(self, values: list[str | None]) -> list[str | None]:
        out: list[str | None] = []
        for row, value in enumerate(values, self.table.rows):
            if value is not None and not _is_utf8(value):
                where, line = self.places.of(row)
                self.report.error(
                    "bad-utf8",
                    f"the {self.kind} holds half a surrogate pair, which is no text",
                    where=where,
                    line=line,
                    remedy="write the record again in UTF-8",
                )
                value = value.encode("utf-8", "replace").decode()
            out.append(value)
        return out

    def _clear(self) -> None:
        self._columns = {"id": [], "title": [], "text": [], "metadata": []}
        self._size = 0

    def _bad_id(self, id: str, where: str, line: int | None) -> None:
        if not id:
            self.report.error(
                "empty-id",
                f"a {self.kind} has an empty id",
                where=where,
                line=line,
                remedy="give every record an id",
            )
            return
        if len(self.odd) < 1000:
            self.odd.append((len(self), id))
        self.report.error(
            "bad-id",
            f"{self.kind} id {id!r} holds white space or a control character",
            where=where,
            line=line,
            remedy="run files separate by white space: use another character here and in the qrels",
        )

    # --- what only the whole shows -------------------------------------------------------------------

    def finish(self) -> Any:
        """Closes the file, reports duplicates; returns the ids (Arrow large_string)."""
        self.flush()
        self.table.close()
        ids = Records.open(self.table.path).ids() if len(self) else pa.array([], pa.large_string())
        permutation = np.asarray(pc.array_sort_indices(ids), dtype=np.int64)
        ordered = ids.take(pa.array(permutation))
        equal = (
            np.flatnonzero(np.asarray(pc.equal(ordered[1:], ordered[:-1]))) if len(self) > 1 else np.empty(0)
        )
        pairs = []
        for at in equal.astype(np.int64):
            # Arrow's sort keeps equal ids in any order: the earlier row is the first of its run.
            start = at
            while start > 0 and ordered[int(start) - 1].equals(ordered[int(at)]):
                start -= 1
                if at - start > 50:
                    break
            run = sorted(int(r) for r in permutation[start : at + 2])
            pairs.append((run[int(at - start) + 1], run[0], ordered[int(at)].as_py()))
            if len(pairs) > 1000:
                break
        for row, first, id in sorted(pairs):
            where, line = self.places.of(row)
            self.report.error(
                f"duplicate-{self.kind}-id",
                f"{self.kind} id {id!r} is there already, at {self.places.beside(row, first)}",
                where=where,
                line=line,
                remedy="ids are unique: remove or rename one",
            )
        _more(self.report, f"duplicate-{self.kind}-id", len(equal) - len(pairs), self._file(), "error")
        self._odd_ids(ids)
        return ids

    def _odd_ids(self, ids: Any) -> None:
        """Ids that equal another one but for white space: usually one record meant, and judgments lost."""
        if not self.odd:
            return
        stripped = pa.array(["".join(id.split()) for _, id in self.odd], pa.large_string())
        twins = rows_of(stripped, ids)
        for (row, id), twin in zip(self.odd, twins.tolist(), strict=True):
            if twin >= 0 and twin != row:
                where, line = self.places.of(row)
                self.report.error(
                    "id-differs-by-space",
                    f"{self.kind} id {id!r} differs by white space only from the one at "
                    f"{self.places.beside(row, twin)}",
                    where=where,
                    line=line,
                    remedy="remove the white space, or the duplicate",
                )

    def identical(self, *, quiet: bool = False) -> int:
        """Reports records whose title and text equal an earlier one's, unless quiet; returns how many there are."""
        hashes = np.frombuffer(self.hashes, dtype=np.int64) if len(self) else np.empty(0, np.int64)
        by = np.argsort(hashes, kind="stable")
        later = np.flatnonzero(hashes[by][1:] == hashes[by][:-1]) + 1
        rows = np.sort(by[later])
        if quiet:
            return len(rows)
        # Only the shown ones are looked up; a stable sort makes the predecessor an earlier row.
        position = {int(by[at]): int(by[at - 1]) for at in later} if len(later) <= 100_000 else {}
        for row in rows[: self.report.shown].tolist():
            where, line = self.places.of(row)
            twin = f", at {self.places.beside(row, position[row])}" if row in position else ""
            self.report.warning(
                f"identical-{self.kind}",
                f"the {self.kind} has the same title and text as an earlier one{twin}",
                where=where,
                line=line,
                remedy="only their ids rank them: judge all of them, or keep one",
            )
        _more(
            self.report,
            f"identical-{self.kind}",
            len(rows) - min(len(rows), self.report.shown),
            self._file(),
            "warning",
        )
        return len(rows)

    def _file(self) -> str:
        return self.places.names[0] if self.places.names else ""


class _Split:
    """Judgments of one split while they are written."""

    def __init__(self, path: Path) -> None:
        self.table = _Table(path, ("query_id", "doc_id"))
        self.places = _Places()
        self.grades = array("i")
        self._queries: list[str] = []
        self._documents: list[str] = []

    def add(self, query_id: str, doc_id: str, grade: int, where: str, line: int | None) -> None:
        self.places.add(where, line)
        self.grades.append(grade)
        self._queries.append(query_id)
        self._documents.append(doc_id)
        if len(self._queries) >= BLOCK:
            self.flush()

    def flush(self) -> None:
        if self._queries:
            self.table.write({"query_id": _encodable(self._queries), "doc_id": _encodable(self._documents)})
            self._queries, self._documents = [], []


class Builder:
    """Makes the collection in `folder` (which exists). Feed rows in any order, then `close`.

    Row numbers are the order in which documents and queries came. `report` collects what is wrong; rows that
    a reader could not make sense of are reported by it there, and not fed.
    """

    def __init__(self, folder: Path, report: Report | None = None) -> None:
        self.folder = folder
        for pattern in ("*.arrow", "*.npy", "*.tmp", "*.old", "collection.json"):
            for left in folder.glob(pattern):  # of an interrupted attempt
                left.unlink()
        self.report = report if report is not None else Report()
        self._documents = _Side(
            folder / "corpus.arrow", "document", self.report, optional=("title", "metadata")
        )
        self._queries = _Side(folder / "queries.arrow", "query", self.report, optional=("metadata",))
        self._splits: dict[str, _Split] = {}
        self._candidates: _Table | None = None
        self._scaled: set[str] = set()

    def document(
        self,
        id: str,
        title: str | None,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        where: str = "",
        line: int | None = None,
    ) -> None:
        """One document. metadata: a JSON object; its null values are left out."""
        self._documents.add(id, title, text, metadata, where, line)

    def query(
        self,
        id: str,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        where: str = "",
        line: int | None = None,
    ) -> None:
        """One query."""
        if not text.strip():
            self.report.error(
                "empty-query",
                f"query {id!r} is empty",
                where=where,
                line=line,
                remedy="give it a text, or remove it and its judgments",
            )
        if id.startswith("#"):
            self.report.warning(
                "hash-id",
                f"query id {id!r} begins with '#'",
                where=where,
                line=line,
                remedy="some tools take such lines of run files and qrels for comments: use another character",
            )
        self._queries.add(id, None, text, metadata, where, line)

    def judgment(
        self,
        split: str,
        query_id: str,
        doc_id: str,
        grade: int | float | str,
        *,
        where: str = "",
        line: int | None = None,
    ) -> None:
        """One judgment. A grade is a whole number; `1.0` is read as 1 with a warning, `0.5` refused."""
        number = self._grade(grade, where, line)
        if number is None:
            return
        if split not in self._splits:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", split):
                raise InputError(
                    f"{split!r} can't be the name of a split",
                    where=where,
                    remedy="use letters, digits, '.', '_' and '-'",
                )
            self._splits[split] = _Split(self.folder / f"judgments.{split}.tmp")
        self._splits[split].add(query_id, doc_id, number, where, line)

    def scaled(self, split: str) -> None:
        """Says that the grades of a split are real numbers in whole parts: none of them means not relevant."""
        self._scaled.add(split)

    def candidates(self, query_id: str, doc_ids: Sequence[str]) -> None:
        """The only documents that may be retrieved for a query, in addition to those that it was given before."""
        if self._candidates is None:
            self._candidates = _Table(self.folder / "candidates.arrow", ("query_id", "doc_id"))
        if doc_ids:
            self._candidates.write({"query_id": [query_id] * len(doc_ids), "doc_id": list(doc_ids)})

    @property
    def counts(self) -> dict[str, int]:
        """Documents and queries so far."""
        return {"documents": len(self._documents), "queries": len(self._queries)}

    def close(self) -> dict[str, Any]:
        """Checks the whole, writes the rest of the folder and returns the content of collection.json.

        Raises InputError with the report if there is an error in it; the folder is no collection then.
        """
        document_ids = self._documents.finish()
        query_ids = self._queries.finish()
        # Pairs with a gold value are scored, not ranked: equal texts stand in several.
        identical = self._documents.identical(quiet=set(self._splits) <= self._scaled)
        self._empty_documents()
        for side, what in ((self._documents, "documents"), (self._queries, "queries")):
            if not len(side) and not self.report.errors:
                self.report.error(
                    f"no-{what}", f"there are no {what}", remedy="an empty collection has no score"
                )
        judged = np.zeros(len(self._queries), dtype=bool)
        splits = {
            name: self._close_split(name, split, query_ids, document_ids, judged)
            for name, split in sorted(self._splits.items())
        }
        if not self._splits and not self.report.errors:
            self.report.error(
                "no-judgments", "there are no judgments", remedy="add qrels, e.g. qrels/test.tsv"
            )
        if self._splits:
            self._unjudged(judged, query_ids)
        if self._candidates is not None:
            self._candidates.close()
        self.report.raise_if_errors()
        np.save(self.folder / "corpus.order.npy", byte_order(document_ids))
        np.save(self.folder / "queries.order.npy", byte_order(query_ids))
        facts = {
            "layout": LAYOUT,
            "documents": len(self._documents),
            "queries": len(self._queries),
            "empty_documents": len(self._documents.empty),
            "identical_documents": identical,
            "unjudged_queries": int((~judged).sum()),
            "splits": splits,
            "candidates": None if self._candidates is None else self._candidates.rows,
            "hashes": {
                name: hashing.of_arrow_file(self.folder / f"{name}.arrow") for name in ("corpus", "queries")
            },
            "warnings": self.report.lines("warning"),
        }
        write_atomic(self.folder / "collection.json", orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        return facts

    # --- parts of close ------------------------------------------------------------------------------

    def _grade(self, grade: int | float | str, where: str, line: int | None) -> int | None:
        text = str(grade)
        if isinstance(grade, bool):
            text = ""
        if not _INTEGRAL.fullmatch(text):
            if not _INTEGRAL_FLOAT.fullmatch(text):
                self.report.error(
                    "bad-grade",
                    f"grade {grade!r} is no whole number",
                    where=where,
                    line=line,
                    remedy="metrics take whole grades (0, 1, 2, ...): scale or round it",
                )
                return None
            self.report.warning(
                "float-grade",
                f"grade {text} is read as {int(float(text))}",
                where=where,
                line=line,
                remedy="write it without a point; other tools refuse it",
            )
            text = str(int(float(text)))
        if len(text) > 11 or not _GRADES.min <= int(text) <= _GRADES.max:
            self.report.error("bad-grade", f"grade {text[:30]} is out of range", where=where, line=line)
            return None
        return int(text)

    def _empty_documents(self) -> None:
        side = self._documents
        for row in side.empty[: self.report.shown]:
            where, line = side.places.of(row)
            self.report.warning(
                "empty-text",
                "the document has no text",
                where=where,
                line=line,
                remedy="it can only be found by its title, if it has one",
            )
        _more(
            self.report,
            "empty-text",
            len(side.empty) - min(len(side.empty), self.report.shown),
            side._file(),
            "warning",
        )

    def _close_split(
        self, name: str, split: _Split, query_ids: Any, document_ids: Any, judged: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        split.flush()
        split.table.close()
        mapped = pa.memory_map(str(split.table.path))
        table = pa.ipc.open_file(mapped).read_all()
        grades = np.frombuffer(split.grades, dtype=np.int32).copy()
        queries, query_codes = _encode(table.column("query_id"))
        documents, document_codes = _encode(table.column("doc_id"))
        query_of = rows_of(queries, query_ids)
        document_of = rows_of(documents, document_ids)
        report = self.report

        def each(rows: IntArray, code: str, message: str, remedy: str, severity: str = "error") -> None:
            for row in rows[: report.shown].tolist():
                where, line = split.places.of(row)
                values = {
                    "query": queries[int(query_codes[row])].as_py(),
                    "document": documents[int(document_codes[row])].as_py(),
                }
                text = message.format(**{k: repr(v) for k, v in values.items()})
                report.add(code, text, where=where, line=line, remedy=remedy, severity=severity)  # type: ignore[arg-type]
            where = split.places.names[0] if split.places.names else ""
            _more(report, code, len(rows) - min(len(rows), report.shown), where, severity)

        unknown = np.flatnonzero(query_of[query_codes] < 0)
        each(
            unknown,
            "unknown-query",
            "query {query} is judged, but not among the queries",
            "add the query, or remove its judgments",
        )
        dangling = np.flatnonzero(document_of[document_codes] < 0)
        each(
            dangling,
            "absent-document",
            "document {document} is judged, but not in the corpus",
            "it counts as never retrieved, as in trec_eval; check that both files are of one version",
            "warning",
        )
        again, conflicting = _duplicates(query_codes, document_codes, grades, len(documents))
        each(
            again,
            "duplicate-judgment",
            "query {query} and document {document} are judged again, with the same grade",
            "trec_eval refuses it: remove one line",
        )
        each(
            conflicting,
            "contradicting-judgment",
            "query {query} and document {document} are judged again, with another grade",
            "decide which grade is right and remove the other line",
        )
        if report.errors:
            mapped.close()
            split.table.path.unlink()
            return {}
        missing = np.flatnonzero(document_of < 0)
        # In the order of their ids, so that the content hash does not depend on the order of the lines.
        missing = missing[np.argsort(byte_order(documents.take(pa.array(missing))))]
        virtual = document_of.copy()
        virtual[missing] = len(document_ids) + np.arange(len(missing))
        query_rows, doc_rows = query_of[query_codes], virtual[document_codes]
        by = np.lexsort((doc_rows, query_rows))
        judged[query_rows] = True
        positive = np.zeros(len(query_ids), dtype=bool)
        positive[query_rows[grades > 0]] = True
        asked = np.unique(query_rows)
        if name not in self._scaled:
            self._without_positive(name, split, asked[~positive[asked]], len(asked), query_ids)
        with pa.ipc.new_file(
            str(self.folder / f"qrels.{name}.arrow"),
            schema := pa.schema([("query_row", pa.int64()), ("doc_row", pa.int64()), ("grade", pa.int32())]),
        ) as writer:
            writer.write_batch(
                pa.record_batch(
                    [pa.array(query_rows[by]), pa.array(doc_rows[by]), pa.array(grades[by])], schema=schema
                )
            )
        values, counts = np.unique(grades, return_counts=True)
        absent = documents.take(pa.array(missing)).to_pylist()
        mapped.close()
        split.table.path.unlink()
        return {
            "judgments": len(grades),
            "queries": len(asked),
            "grades": {str(v): int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)},
            "without_positive": int((~positive[asked]).sum()),
            "absent_ids": absent,
        }

    def _without_positive(self, name: str, split: _Split, rows: IntArray, asked: int, query_ids: Any) -> None:
        where = split.places.names[0]
        if len(rows) == asked:
            self.report.warning(
                "no-positives",
                f"split {name!r} has no positive judgment",
                where=where,
                remedy="every score of it is 0: a grade above 0 means relevant",
            )
        elif len(rows):
            examples = ", ".join(repr(query_ids[int(r)].as_py()) for r in rows[:3])
            self.report.warning(
                "query-without-positive",
                f"{len(rows)} of {asked} queries of split {name!r} have no positive judgment: {examples}"
                + (", ..." if len(rows) > 3 else ""),
                where=where,
                remedy="they score 0 whatever is retrieved, as in trec_eval",
            )

    def _unjudged(self, judged: npt.NDArray[np.bool_], query_ids: Any) -> None:
        rows = np.flatnonzero(~judged)
        if self.report.errors or not len(rows):
            return
        places = self._queries.places
        for row in rows[: self.report.shown].tolist():
            where, line = places.of(row)
            self.report.warning(
                "unjudged-query",
                f"query {query_ids[row].as_py()!r} has no judgment in any split",
                where=where,
                line=line,
                remedy="it is not searched",
            )
        _more(
            self.report,
            "unjudged-query",
            len(rows) - min(len(rows), self.report.shown),
            self._queries._file(),
            "warning",
        )


def rows_of(wanted: Any, ids: Any) -> IntArray:
    """Row in `ids` of each wanted id (Arrow large_string), -1 where absent.

    The hash table is made of the wanted ids, which are few beside a corpus of millions.
    """
    rows = np.full(len(wanted), -1, dtype=np.int64)
    for start in range(0, len(ids), 1 << 20):
        found = pc.index_in(ids.slice(start, 1 << 20), value_set=wanted)
        hits = np.asarray(found.is_valid())
        at = np.flatnonzero(hits)
        rows[np.asarray(found.drop_null(), dtype=np.int64)[::-1]] = (start + at)[::-1]
    return rows


def _encode(column: Any) -> tuple[Any, IntArray]:
    """Unique values of a column and each row's place among them."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = (
            encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.large_string()).dictionary_encode()
        )
    return encoded.dictionary, np.asarray(encoded.indices, dtype=np.int64)


def _duplicates(
    queries: IntArray, documents: IntArray, grades: npt.NDArray[np.int32], size: int
) -> tuple[IntArray, IntArray]:
    """Rows whose pair was judged before: with the same grade as the first time, and with another."""
    pairs = queries * max(size, 1) + documents
    by = np.argsort(pairs, kind="stable")
    ordered = pairs[by]
    first = np.ones(len(by), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    heads = by[np.maximum.accumulate(np.where(first, np.arange(len(by)), 0))] if len(by) else by
    same = grades[by] == grades[heads]
    return np.sort(by[~first & same]), np.sort(by[~first & ~same])


def _more(report: Report, code: str, rest: int, where: str, severity: str) -> None:
    """Counts problems that were not made into messages, beyond the shown ones."""
    if rest > 0:
        report.counts[code, where, severity] += rest  # type: ignore[index]


def _json(metadata: Mapping[str, Any]) -> str | None:
    """Canonical JSON without null values, so that parquet (every key in every row) equals JSON lines."""
    kept = {str(k): v for k, v in metadata.items() if v is not None}
    if not kept:
        return None
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str).decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encodable(ids: Iterable[str]) -> list[str | None]:
    return [id if id.isascii() or _is_utf8(id) else id.encode("utf-8", "replace").decode() for id in ids]
