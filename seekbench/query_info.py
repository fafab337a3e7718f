"""What is known of queries beside their ids: texts and any other columns, to slice scores by and to show."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from seekbench.collection import Dataset, Qrels
from seekbench.errors import InputError, Report, did_you_mean
from seekbench.statistics import slices
from seekbench.statistics.slices import Slice

#: Slices that need no column: by the number of relevant documents, and by the length of the text.
RELEVANT, LENGTH = "relevant", "length"
#: The column of which every value is a slice.
LANGUAGE = "language"
_ID, _TEXT = ("_id", "id", "query_id", "qid", "query-id"), ("text", "query", "title")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class QueryInfo:
    """columns: name -> values by query id; `text` among them where it is known."""

    columns: Mapping[str, Mapping[str, Any]]

    def text(self, query_id: str) -> str:
        """The query's text on one line, '' where it is not known."""
        return " ".join(str(self.columns.get("text", {}).get(query_id) or "").split())

    def slices(self, by: str, query_ids: Sequence[str], qrels: Qrels) -> list[Slice]:
        """The queries in slices by `length` (words of the text), `relevant` (documents), or a column."""
        if by == RELEVANT:
            counts = slices.relevant_documents(qrels.indptr, qrels.grades)
            return slices.by_number(RELEVANT, counts, unit="relevant", one="relevant")
        if by == LENGTH and "text" in self.columns:
            texts = [self.columns["text"].get(q) for q in query_ids]
            return slices.by_number(LENGTH, slices.query_words(texts), unit="words", one="word")
        if by not in self.columns:
            known = [RELEVANT, *([LENGTH] if "text" in self.columns else []), *self.columns]
            raise InputError(
                f"can't slice by '{by}'",
                where="--by",
                remedy=did_you_mean(by, [c for c in known if c != "text"])
                + ("" if self.columns else "; --queries or --dataset bring texts and columns"),
            )
        if by == "text":
            raise InputError(
                "every query has its own text", where="--by", remedy=f"'{LENGTH}' slices by its words"
            )
        values = [self.columns[by].get(q) for q in query_ids]
        values = _as_numbers(values)
        there = [v for v in values if v is not None]
        if there and all(isinstance(v, int | float) and not isinstance(v, bool) for v in there):
            return slices.by_number(by, np.array([np.nan if v is None else v for v in values], np.float64))
        # Of languages none is "other": their figures are what is asked for.
        most = max(1, len(values)) if by == LANGUAGE else slices.MOST
        return slices.by_category(by, values, most=most)


def _as_numbers(values: list[Any]) -> list[Any]:
    """Numbers in place of their texts, as a table of text has them, where all are."""
    texts = [v for v in values if isinstance(v, str) and v.strip()]
    if not texts or any(not isinstance(v, str) and v is not None for v in values):
        return values
    if not all(_NUMBER.fullmatch(t.strip()) for t in texts):
        return values
    return [float(v) if v and v.strip() else None for v in values]


def of_dataset(dataset: Dataset) -> QueryInfo:
    """Texts and metadata of a dataset's queries."""
    records = dataset.queries
    ids = records.ids().to_pylist()
    columns: dict[str, dict[str, Any]] = {
        "text": dict(zip(ids, records.texts(dataset.query_template), strict=True))
    }
    if "metadata" in records.table.column_names:
        for query, raw in zip(ids, records.table.column("metadata").to_pylist(), strict=True):
            for name, value in (orjson.loads(raw) if raw else {}).items():
                columns.setdefault(name, {})[query] = value
    return QueryInfo(columns)


def read(path: Path) -> QueryInfo:
    """Queries in a file: JSON lines with `_id`, `text` and any other keys; or tab-separated `id text`, or with a header
    any columns. Raises InputError with file and line."""
    if not path.is_file():
        raise InputError("no such file of queries", where=str(path))
    try:
        # Not `splitlines`: texts may hold other line separators of Unicode.
        lines = [line.removesuffix("\r") for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {error.start + 1} of the file)", where=str(path)) from None
    rows = _json_rows(path, lines) if path.suffix in (".jsonl", ".json") else _tab_rows(path, lines)
    columns: dict[str, dict[str, Any]] = {}
    for query, row in rows:
        for name, value in row.items():
            columns.setdefault(name, {})[query] = value
    return QueryInfo(columns)


def _json_rows(path: Path, lines: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    report, rows = Report(), []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            key = next((k for k in _ID if k in row), None) if isinstance(row, dict) else None
        except orjson.JSONDecodeError as error:
            report.error("json", f"not JSON ({error})", where=str(path), line=number)
            continue
        if key is None:
            report.error(
                "no-id", "no `_id`", where=str(path), line=number, remedy="an object a line: _id, text"
            )
            continue
        query = str(row.pop(key))
        extra = row.pop("metadata", None)  # BEIR's place for other columns
        row |= extra if isinstance(extra, dict) else {}
        text = next((k for k in _TEXT if k in row), None)
        rows.append((query, ({"text": row.pop(text)} if text else {}) | row))
    report.raise_if_errors()
    return rows


def _tab_rows(path: Path, lines: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    table = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if table and {"corpus-id", "query-id"} <= set(table[0]):
        raise InputError("these are judgments, not queries", where=str(path))
    names = ["_id", "text"]
    if table and table[0] and table[0][0].lower() in _ID:
        names = ["_id", *("text" if n.lower() in _TEXT else n for n in table[0][1:])]
        table[0] = []
    report, rows = Report(), []
    for number, cells in enumerate(table, 1):
        if cells and len(cells) != len(names):
            report.error(
                "columns",
                f"{len(cells)} columns instead of {len(names)} ({', '.join(names)})",
                where=str(path),
                line=number,
                remedy="separate them by one tab",
            )
        elif cells:
            rows.append((cells[0], dict(zip(names[1:], cells[1:], strict=True))))
    report.raise_if_errors()
    return rows
