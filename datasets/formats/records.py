"""JSON lines and parquet rows as documents, queries and judgments: one meaning for all formats.

Ids must be strings. An integer id is an error, because nothing tells whether `1` means "1" or "01", and tools
that keep it an integer match no judgment; `lenient` (rows of a hub, which a user can't repair) takes its
decimal digits, takes a null text for an empty one and the key `id` for `_id`, and warns of each.
Keys beside the known ones become metadata, so that a template can use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from seekbench.datasets.formats.lines import lines
from seekbench.errors import Report

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

Row = Mapping[str, Any]

#: Names that an id has in files that are not BEIR's, in the order of preference.
ID_KEYS = ("_id", "id", "docid", "docno", "qid", "query_id", "doc_id")


def json_rows(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a JSON lines file; lines that hold no object are reported and left out."""
    where = str(path)
    for number, line in lines(path, report):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            _bad_json(line, number, where, error, report)
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            report.error(
                "not-an-object",
                f"the line holds {_kind(row)}, not an object",
                where=where,
                line=number,
                remedy='write one {"_id": ..., "text": ...} a line',
            )


def _bad_json(line: bytes, number: int, where: str, error: orjson.JSONDecodeError, report: Report) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as found:
        report.error(
            "bad-utf8",
            f"byte {found.start + 1} of the line is no UTF-8 (0x{line[found.start]:02x})",
            where=where,
            line=number,
            remedy="convert the file, e.g. iconv -f latin1 -t utf-8",
        )
        return
    report.error(
        "bad-json",
        f"column {error.pos + 1}: {error.msg}",
        where=where,
        line=number,
        remedy="every line is one JSON object",
    )


def parquet_rows(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 1, row) of a parquet file, a batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=2048):
                for row in batch.to_pylist():
                    done += 1
                    yield done, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        report.error(
            "bad-parquet",
            f"can't be read behind row {done}: {str(error).splitlines()[0]}",
            where=str(path),
            line=done or None,
            remedy="the file is damaged or no parquet: fetch it again",
        )


def rows(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    return parquet_rows(path, report) if path.suffix == ".parquet" else json_rows(path, report)


class Reader:
    """Feeds rows of one file to a builder."""

    def __init__(
        self,
        builder: Builder,
        where: str,
        *,
        id_keys: Sequence[str] = ("_id",),
        text_keys: Sequence[str] = ("text",),
        lenient: bool = False,
    ) -> None:
        self.builder, self.report, self.where = builder, builder.report, where
        self.id_keys, self.text_keys, self.lenient = tuple(id_keys), tuple(text_keys), lenient

    def document(self, line: int, row: dict[str, Any]) -> None:
        id = self._id(line, row, "document")
        if id is None:
            return
        text = self._text(line, row, "document")
        title = row.pop("title", None)
        if title is not None and not isinstance(title, str):
            self.report.error(
                "not-a-string",
                f"the title of document {id!r} is {_kind(title)}",
                where=self.where,
                line=line,
                remedy="write it as a string",
            )
            return
        if text is not None:
            self.builder.document(id, title, text, _metadata(row), where=self.where, line=line)

    def query(self, line: int, row: dict[str, Any]) -> None:
        id = self._id(line, row, "query")
        if id is None:
            return
        text = self._text(line, row, "query")
        if text is not None:
            self.builder.query(id, text, _metadata(row), where=self.where, line=line)

    def judgment(self, split: str, line: int, row: Row) -> None:
        """A row with `query-id`, `corpus-id` and `score`."""
        values = []
        for key in ("query-id", "corpus-id"):
            value = row.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and self.lenient:
                self._integer_id(line, value, "warning")
                value = str(value)
            if not isinstance(value, str):
                if isinstance(value, int):
                    self._integer_id(line, value, "error")
                else:
                    self._no_key(line, row, key, "judgment")
                return
            values.append(value)
        score = row.get("score")
        if not isinstance(score, int | float | str):
            self._no_key(line, row, "score", "judgment")
            return
        self.builder.judgment(split, values[0], values[1], score, where=self.where, line=line)

    def candidates(self, line: int, row: Row) -> None:
        """A row with `query-id` and a list `corpus-ids` (MTEB's `top_ranked`)."""
        query, documents = row.get("query-id"), row.get("corpus-ids")
        if not isinstance(query, str | int) or isinstance(query, bool):
            self._no_key(line, row, "query-id", "list of candidates")
        elif not isinstance(documents, list) or not all(isinstance(d, str | int) for d in documents):
            self._no_key(line, row, "corpus-ids", "list of candidates")
        else:
            self.builder.candidates(str(query), [str(d) for d in documents])

    # --- parts ---------------------------------------------------------------------------------------

    def _id(self, line: int, row: dict[str, Any], kind: str) -> str | None:
        key = next((k for k in self.id_keys if k in row), None)
        if key is None:
            self._no_key(line, row, self.id_keys[0], kind)
            return None
        value = row.pop(key)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            self._integer_id(line, value, "warning" if self.lenient else "error")
            return str(value) if self.lenient else None
        self.report.error(
            "bad-id-type",
            f"'{key}' of a {kind} is {_kind(value)}",
            where=self.where,
            line=line,
            remedy="ids are strings",
        )
        return None

    def _integer_id(self, line: int, value: int, severity: str) -> None:
        self.report.add(
            "integer-id",
            f"the id {value} is a number",
            where=self.where,
            line=line,
            remedy=f'write it as a string, "{value}", as in the qrels',
            severity=severity,  # type: ignore[arg-type]
        )

    def _no_key(self, line: int, row: Row, key: str, kind: str) -> None:
        other = next((k for k in ID_KEYS if k in row and k != key), None) if key == "_id" else None
        if other:
            self.report.error(
                "wrong-id-key",
                f"the {kind} has '{other}' where '_id' should be",
                where=self.where,
                line=line,
                remedy=f"rename '{other}' to '_id'; BEIR's own loader makes one record of the whole file",
            )
            return
        have = ", ".join(repr(k) for k in list(row)[:8]) or "nothing"
        self.report.error(
            "missing-key",
            f"the {kind} has no '{key}' (it has {have})",
            where=self.where,
            line=line,
            remedy=f"add '{key}'",
        )

    def _text(self, line: int, row: dict[str, Any], kind: str) -> str | None:
        key = next((k for k in self.text_keys if k in row), None)
        if key is None:
            self._no_key(line, row, self.text_keys[0], kind)
            return None
        value = row.pop(key)
        if isinstance(value, str):
            return value
        if value is None:
            self.report.add(
                "null-text",
                f"the text of a {kind} is null",
                where=self.where,
                line=line,
                remedy='write "" if it is meant to be empty',
                severity="warning" if self.lenient else "error",
            )
            return "" if self.lenient else None
        self.report.error(
            "not-a-string",
            f"the text of a {kind} is {_kind(value)}",
            where=self.where,
            line=line,
            remedy="write it as a string",
        )
        return None


def _metadata(row: dict[str, Any]) -> dict[str, Any] | None:
    """All keys that are left, those of an object `metadata` beside the others."""
    if not row:
        return None
    inner = row.pop("metadata", None)
    if isinstance(inner, dict):
        return {**inner, **row}
    return row if inner is None else {**row, "metadata": inner}


def _kind(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
