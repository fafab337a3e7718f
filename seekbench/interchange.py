"""Runs and judgments as people hold them (dictionaries, frames, ranx objects, files, lists of ir_measures' tuples)
to columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.columns import HitColumns, JudgmentColumns, Source, coded, large_strings
from seekbench.errors import InputError, Report, did_you_mean

#: Names of frame columns that the tools of the field use.
QUERY = ("query_id", "qid", "q_id", "query-id", "query", "queryid", "topic", "topic_id", "_query_id")
DOCUMENT = (
    # PyTerrier's docid is a number of its own index, beside the docno.
    "doc_id", "docno", "docid", "doc", "corpus-id", "corpus_id", "document_id", "document", "pid", "passage_id", "did",
)  # fmt: skip
SCORE = ("score", "scores", "sim", "similarity")
GRADE = ("relevance", "rel", "grade", "label", "judgment", "judgement", "relevancy", "score")
SUBTOPIC = ("subtopic", "subtopic_id", "intent", "iteration")


def hits_of(run: Any, *, name: str = "run") -> HitColumns:
    """A run as columns: `{query: {document: score}}`, a path of a TREC file, a pandas, polars or Arrow frame, a ranx
    Run, or an iterable of objects with query_id, doc_id and score (ir_measures). Raises InputError."""
    if isinstance(run, HitColumns):
        return run
    if isinstance(run, str | Path):
        from seekbench.trec import read_run

        return read_run(Path(run).expanduser())
    if _is_ranx(run, "Run"):
        run = run.run
    query_ids, query, doc, values, _ = _rows(run, SCORE, name)
    return HitColumns(
        query_ids, query, doc, _scores(values, name, query_ids, query, doc), source=Source(name)
    )


def judgments_of(qrels: Any, *, name: str = "qrels") -> JudgmentColumns:
    """Judgments as columns: `{query: {document: grade}}`, a path (TREC qrels or BEIR's TSV), a frame, a ranx Qrels,
    or an iterable of objects with query_id, doc_id and relevance. A query without any judgment is left out, as
    in trec_eval. Raises InputError for a grade that is no integer."""
    if isinstance(qrels, JudgmentColumns):
        return qrels
    if isinstance(qrels, str | Path):
        from seekbench.qrels_file import read_qrels

        return read_qrels(Path(qrels).expanduser())
    if _is_ranx(qrels, "Qrels"):
        qrels = qrels.qrels
    query_ids, query, doc, values, table = _rows(qrels, GRADE, name)
    grades = _grades(values, name, query_ids, query, doc)
    topic = None if table is None else next((n for n in SUBTOPIC if n in table.column_names), None)
    subtopic = None
    # TREC's column 2 is 0 everywhere where nothing is told apart.
    if table is not None and topic is not None and len(pc.unique(table.column(topic))) > 1:
        subtopic = large_strings(_as_ids(table.column(topic), topic, name))
    return JudgmentColumns(query_ids, query, doc, grades, subtopic, source=Source(name))


def _rows(
    data: Any, numbers: tuple[str, ...], name: str
) -> tuple[pa.Array, Any, pa.Array, Any, pa.Table | None]:
    """(query ids, int32 query of each row, documents, values, the frame if it is one) of a dictionary of dictionaries
    or a frame. numbers: what the column of the values may be called."""
    if isinstance(data, Mapping) or _is_typed_dict(data):
        return *_flat(data, name), None
    table = _frame(data, name)
    query_ids, query = coded(_ids(table, QUERY, name))
    return query_ids, query, large_strings(_ids(table, DOCUMENT, name)), _column(table, numbers, name), table


def _is_ranx(value: Any, kind: str) -> bool:
    return type(value).__module__.split(".")[0] == "ranx" and type(value).__name__ == kind


def _is_typed_dict(value: Any) -> bool:
    return type(value).__module__.startswith("numba.typed") and hasattr(value, "items")


def _flat(nested: Any, name: str) -> tuple[pa.Array, Any, pa.Array, list[Any]]:
    """(query ids, int32 query of each row, documents, values) of a dictionary of dictionaries, queries without
    entries left out (the judgments' way) or kept (the run's: they were answered with nothing)."""
    queries, inner = list(nested), list(nested.values())
    for query, entries in zip(queries, inner, strict=True):
        if not (isinstance(entries, Mapping) or _is_typed_dict(entries)):
            raise InputError(
                f"{name}: query {query!r} holds a {type(entries).__name__}, not a mapping of documents",
                remedy="give {query: {document: number}}",
            )
    if name == "qrels":
        kept = [i for i, entries in enumerate(inner) if len(entries)]
        queries, inner = [queries[i] for i in kept], [inner[i] for i in kept]
    ids = _id_array(queries, f"{name}: query ids")
    sizes = np.fromiter(map(len, inner), np.int64, len(inner))
    docs = _id_array(list(chain.from_iterable(inner)), f"{name}: document ids")
    if pc.count_distinct(ids).as_py() != len(ids):
        raise InputError(f"{name}: a query id stands there as a number and as a string")
    query = np.repeat(np.arange(len(inner), dtype=np.int32), sizes)
    return ids, query, docs, list(chain.from_iterable(entries.values() for entries in inner))


def _id_array(values: list[Any], what: str) -> pa.Array:
    """Ids as large_string. Integers become their digits: frames and JSON turn ids into them."""
    try:
        found = pa.array(values, pa.large_string())
        if not found.null_count:
            return found
    except (pa.ArrowTypeError, pa.ArrowInvalid, TypeError, UnicodeError):
        pass
    strings = []
    for value in values:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InputError(f"{what}: {value!r} can't be written in UTF-8") from None
            strings.append(str(value))
        elif isinstance(value, int | np.integer) and not isinstance(value, bool):
            strings.append(str(int(value)))
        else:
            raise InputError(f"{what} must be strings, not {type(value).__name__} ({value!r})")
    return pa.array(strings, pa.large_string())


def _frame(data: Any, name: str) -> pa.Table:
    """An Arrow table of a frame, or of an iterable of named tuples."""
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if hasattr(data, "__arrow_c_stream__"):  # pandas, polars, duckdb …
        return _of_frame(data, name)
    if hasattr(data, "collect") and type(data).__module__.startswith("polars"):
        raise InputError(f"{name}: a LazyFrame has no rows yet", remedy="give it after .collect()")
    if isinstance(data, Iterable):
        rows = list(data)
        if rows and hasattr(rows[0], "query_id") and hasattr(rows[0], "doc_id"):
            third = "relevance" if hasattr(rows[0], "relevance") else "score"
            columns = {
                "query_id": _id_array([r.query_id for r in rows], f"{name}: query ids"),
                "doc_id": _id_array([r.doc_id for r in rows], f"{name}: document ids"),
                third: pa.array([getattr(r, third) for r in rows]),
            }
            if third == "relevance" and hasattr(rows[0], "iteration"):
                columns["iteration"] = pa.array([str(r.iteration) for r in rows], pa.large_string())
            return pa.table(columns)
        if not rows:
            empty = pa.array([], pa.large_string())
            return pa.table({"query_id": empty, "doc_id": empty, "score": pa.array([], pa.float64())})
    raise InputError(
        f"{name}: can't read a {type(data).__name__}",
        remedy="give {query: {document: number}}, a path, a pandas, polars or Arrow frame, or a ranx object",
    )


def _of_frame(data: Any, name: str) -> pa.Table:
    """A frame's columns one by one: one that Arrow can't take (Python objects of several types) goes as objects."""
    try:
        return pa.table(data)
    except (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        pass
    columns = {}
    for column in data.columns:
        values = list(data[column])
        try:
            columns[str(column)] = pa.array(values)
        except (pa.ArrowTypeError, pa.ArrowInvalid, OverflowError):
            known = (*QUERY, *DOCUMENT, *SUBTOPIC)
            columns[str(column)] = (
                _id_array(values, f"{name}: '{column}'") if column in known else pa.array(map(str, values))
            )
    return pa.table(columns)


def _column(table: pa.Table, names: tuple[str, ...], what: str) -> pa.ChunkedArray:
    for name in names:
        if name in table.column_names:
            return table.column(name)
    raise InputError(
        f"{what}: no column '{names[0]}' among {', '.join(table.column_names)}",
        remedy=did_you_mean(names[0], table.column_names) or f"name it {' or '.join(names[:3])}",
    )


def _ids(table: pa.Table, names: tuple[str, ...], what: str) -> pa.Array:
    name = next((n for n in names if n in table.column_names), names[0])
    return _as_ids(_column(table, names, what), name, what)


def _as_ids(column: pa.ChunkedArray, name: str, what: str) -> pa.Array:
    if column.null_count:
        raise InputError(f"{what}: {column.null_count} rows have no '{name}'")
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = pa.large_string() if pa.types.is_string_view(kind.value_type) else kind.value_type
        # The dictionary first: Arrow can't take rows of string views.
        column = pa.chunked_array(
            [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks], kind
        )
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return large_strings(column)
    if pa.types.is_string_view(kind):
        return large_strings(column.cast(pa.large_string()))
    raise InputError(f"{what}: column '{name}' holds {kind}, ids must be strings or whole numbers")


def _numbers(values: Any, name: str) -> Any:
    """float64 array of numbers in any container, None where one is none."""
    if isinstance(values, pa.ChunkedArray | pa.Array):
        if values.null_count or not (
            pa.types.is_integer(values.type)
            or pa.types.is_floating(values.type)
            or pa.types.is_decimal(values.type)
            or pa.types.is_boolean(values.type)
        ):
            return None
        return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)
    try:
        out = np.asarray(values)
        return out.astype(np.float64) if out.dtype.kind in "biuf" and out.ndim == 1 else None
    except (TypeError, ValueError):
        return None


def _scores(values: Any, name: str, query_ids: pa.Array, query: Any, doc: pa.Array) -> Any:
    if not len(values):
        return np.empty(0, np.float64)
    numbers = _numbers(values, name)
    if numbers is None:
        _name_wrong(
            values, name, query_ids, query, doc, "score", lambda v: isinstance(v, int | float | np.number)
        )
        try:
            numbers = np.array([float(v) for v in _listed(values)])
        except OverflowError:
            raise InputError("a score is too large for a float", where=name) from None
    return numbers


def _grades(values: Any, name: str, query_ids: pa.Array, query: Any, doc: pa.Array) -> Any:
    if not len(values):
        return np.empty(0, np.int32)
    numbers = _numbers(values, name)
    if numbers is None or (numbers != np.floor(numbers)).any() or (np.abs(numbers) >= 2**31).any():
        # NaN is unequal to itself, so it is among these.
        _name_wrong(values, name, query_ids, query, doc, "grade", _is_grade)
        numbers = np.array([float(v) for v in _listed(values)])
    return numbers.astype(np.int32)


def _is_grade(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.number) and float(value).is_integer() and abs(float(value)) < 2**31
    )


def _listed(values: Any) -> list[Any]:
    return values.to_pylist() if hasattr(values, "to_pylist") else list(values)


def _name_wrong(
    values: Any, name: str, query_ids: pa.Array, query: Any, doc: pa.Array, what: str, right: Any
) -> None:
    """Raises InputError for each value that is wrong, with its query and document."""
    report = Report()
    kind = "number" if what == "score" else "integer"
    for row, value in enumerate(_listed(values)):
        if not right(value):
            report.error(
                f"bad-{what}",
                f"query '{query_ids[int(query[row])]}', document '{doc[row]}': the {what} {value!r} is no {kind}",
                where=name,
            )
    report.raise_if_errors()
