"""Collections in any tables: which column is what stands in the card or entry, so a new layout needs no code.

Files are JSON lines, JSON (an array, an object that holds one, or an object a line), CSV, TSV or parquet; plain, .gz
or .zst. A value is a column's name (`a.b` for a key of an object, or of every object of a list), or a template of
columns (`{number}/{year}`); `{#}` is the row's number from 0. Rows can be chosen by `where`, and by their place among
those of one group; ids are read as strings; judged documents may be a list, or an object with grades; grades may be
words.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from seekbench.datasets.formats.beir import feed
from seekbench.datasets.formats.lines import COMPRESSED, open_bytes
from seekbench.datasets.formats.records import rows as plain_rows
from seekbench.datasets.source import file_name
from seekbench.errors import Report, did_you_mean
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder
    from seekbench.datasets.spec import DocumentRows, JudgmentRows, QueryRows, RowsOf, TablesLayout

_FIELD = re.compile(r"\{([^{}]+)\}")
_ROW = "#"
#: Of an object of objects, the whole of one, as `key` is its key.
_WHOLE = "*"

MODULES = (
    "seekbench.datasets.formats.tables",
    "seekbench.datasets.formats.records",
    "seekbench.datasets.formats.lines",
)


class Tables:
    """A folder of tables, read by a layout."""

    modules: ClassVar[tuple[str, ...]] = MODULES

    def __init__(self, folder: Path, layout: TablesLayout) -> None:
        self.folder, self.layout = folder, layout

    @property
    def subject(self) -> str:
        return str(self.folder)

    def files(self) -> Sequence[Path]:
        report = Report()
        found = [path for part in self.layout.parts for path in files_of(self.folder, part, report)]
        report.raise_if_errors()
        return list(dict.fromkeys(found))

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {
            "format": "tables",
            "layout": self.layout.model_dump(mode="json"),
            "files": [file_name(p, self.folder) for p in self.files()],
        }

    def splits(self) -> list[str]:
        return sorted(self.layout.qrels)

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        read(self.layout, lambda part: files_of(self.folder, part, builder.report), builder, progress)


def files_of(folder: Path, part: RowsOf, report: Report) -> list[Path]:
    """The files of a part, in the order of its patterns and of their names; a pattern that finds none is reported."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    found: list[Path] = []
    for pattern in part.patterns:
        matching = [name for name in names if fnmatch(name, pattern)]
        if not matching:
            report.error(
                "missing-file", f"no file is called {pattern}", where=str(folder),
                remedy=did_you_mean(pattern, names[:1000]) or "check `files`",
            )  # fmt: skip
        found += [folder / name for name in matching]
    return found


def read(layout: TablesLayout, files: Any, builder: Builder, progress: Progress) -> None:
    """Feeds all rows to the builder. files: a part -> its local files."""
    with progress.stage("read documents", unit="docs") as stage:
        seen: set[str] = set()
        for path in files(layout.documents):
            feed(
                rows(path, layout.documents, builder.report),
                _Documents(layout.documents, builder, path, seen),
                stage,
            )
    with progress.stage("read queries", unit="queries") as stage:
        seen = set()
        for path in files(layout.queries):
            feed(
                rows(path, layout.queries, builder.report),
                _Queries(layout.queries, builder, path, seen),
                stage,
            )
    for split, part in layout.qrels.items():
        for path in files(part):
            with progress.stage(f"read judgments of {split}", unit="rows") as stage:
                feed(rows(path, part, builder.report), _Judgments(part, builder, path, split), stage)


# -- rows -----------------------------------------------------------------------------------------------------------


def rows(path: Path, part: RowsOf, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line or row number from 1, row) of the rows that a part wants. The row's number from 0 is its key `#`."""
    groups: set[str] = set()
    for count, (line, row) in enumerate(_all_rows(path, part, report)):
        if all(_same(value(row, name), wanted) for name, wanted in part.where.items()):
            row[_ROW] = count
            if part.group is not None:
                group = text(row, part.group)
                if group is None:
                    report.error(
                        "missing-column", f"there is no '{part.group}' (for group) in this row", where=str(path),
                        line=line, remedy=did_you_mean(part.group, row),
                    )  # fmt: skip
                    continue
                later = group in groups
                groups.add(group)
                if later == (part.take == "first"):
                    continue
            yield line, row


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return any(_same(found, one) for one in wanted)
    return found == wanted or (isinstance(found, str) and found == str(wanted))


def _all_rows(path: Path, part: RowsOf, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    if name.endswith((".csv", ".tsv", ".txt")):
        return _separated(path, part, "," if name.endswith(".csv") else "\t", report)
    if name.endswith(".json") and not _is_lines(path):
        return _array(path, part, report)
    return plain_rows(path, report)


def _is_lines(path: Path) -> bool:
    """Whether a .json file holds one object a line: the first line is one, and another follows."""
    try:
        with open_bytes(path) as handle:
            first, second = handle.readline(), handle.readline()
        return isinstance(orjson.loads(first), dict) and second.lstrip()[:1] == b"{"
    except (ValueError, OSError, EOFError):  # _array says what is wrong
        return False


def _separated(
    path: Path, part: RowsOf, separator: str, report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with a header, or, where `columns` are given, without."""
    csv.field_size_limit(1 << 30)
    where = str(path)
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter=part.separator or separator)
            header = list(part.columns) if part.columns else None
            for row in reader:
                if not row:
                    continue
                if header is None:
                    header = [name.strip() for name in row]
                elif len(row) != len(header):
                    report.error(
                        "row-fields", f"{len(row)} fields where there are {len(header)} columns", where=where,
                        line=reader.line_num,
                    )  # fmt: skip
                else:
                    yield reader.line_num, dict(zip(header, row, strict=True))
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        report.error("bad-table", f"can't be read ({error})", where=where)


def _array(path: Path, part: RowsOf, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON array; of an object, the array at `at`, or its values with their keys as `key`."""
    where = str(path)
    try:
        with open_bytes(path) as handle:
            data = orjson.loads(handle.read())
    except (orjson.JSONDecodeError, OSError, EOFError) as error:
        report.error("bad-json", f"can't be read ({error})", where=where)
        return
    for name in part.at.split(".") if part.at else ():
        data = data.get(name) if isinstance(data, dict) else None
    if isinstance(data, dict):
        data = [
            {"key": key, **({**item, _WHOLE: item} if isinstance(item, dict) else {"value": item})}
            for key, item in data.items()
        ]
    if not isinstance(data, list):
        report.error("bad-json", f"there is no array{f' at {part.at}' if part.at else ''}", where=where)
        return
    for number, item in enumerate(data, 1):
        yield number, dict(item) if isinstance(item, dict) else {"value": item}


# -- values ---------------------------------------------------------------------------------------------------------


def value(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of a key of an object in it (`a.b`), or the list of those of all objects of a list;
    None where there is none."""
    if name in row:
        return row[name]
    found: Any = row
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if isinstance(found, str) and found[:1] in "{[":
            try:
                found = orjson.loads(found)
            except orjson.JSONDecodeError:
                return None
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdigit():
            found = found[int(part)] if int(part) < len(found) else None
        elif isinstance(found, list):
            return _of_all(found, ".".join(parts[depth:]))
        else:
            return None
    return found


def _of_all(rows: Sequence[Any], name: str) -> list[Any]:
    """What the objects of a list have, in one list."""
    out: list[Any] = []
    for row in rows:
        found = value(row, name) if isinstance(row, Mapping) else None
        out += found if isinstance(found, list) else [] if found is None else [found]
    return out


def text(row: Mapping[str, Any], expression: str) -> str | None:
    """A column's value, or a template's, as text; None where a single column has none."""
    if "{" not in expression:
        found = value(row, expression)
        # Of a list of objects: none of them has it.
        return None if found is None or (found == [] and expression not in row) else _text(found)
    return _FIELD.sub(lambda match: _text(value(row, match[1])), expression).strip()


def _text(found: Any) -> str:
    if found is None:
        return ""
    if isinstance(found, str):
        return found
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return "\n".join(found)
    return orjson.dumps(found).decode() if isinstance(found, list | dict) else str(found)


class _Part:
    """Hands rows of one file to a builder."""

    def __init__(self, part: Any, builder: Builder, path: Path) -> None:
        self.part, self.builder, self.where = part, builder, str(path)

    def needed(self, row: Mapping[str, Any], line: int, name: str) -> str | None:
        """The text of one of the part's values; what a row lacks is reported."""
        expression = getattr(self.part, name)
        found = text(row, expression)
        if found is None:
            columns = [column for column in row if column not in (_ROW, _WHOLE)]
            self.builder.report.error(
                "missing-column", f"there is no '{expression}' (for {name}) in this row", where=self.where, line=line,
                remedy=did_you_mean(expression, columns),
            )  # fmt: skip
        return found

    def metadata(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that are kept: those named, or all."""
        if self.part.keep is not None:
            return {name: value(row, name) for name in self.part.keep}
        return {name: found for name, found in row.items() if name not in (_ROW, _WHOLE)}


class _Records(_Part):
    """Documents or queries. seen: ids so far, of all files."""

    def __init__(self, part: DocumentRows | QueryRows, builder: Builder, path: Path, seen: set[str]) -> None:
        super().__init__(part, builder, path)
        self.seen = seen

    def __call__(self, line: int, row: dict[str, Any]) -> None:
        id, body = self.needed(row, line, "id"), self.needed(row, line, "text")
        if id is not None and body is not None and not _known(id, self.part.first, self.seen):
            self.add(id, body, row, line)

    def add(self, id: str, body: str, row: Mapping[str, Any], line: int) -> None:
        raise NotImplementedError


class _Documents(_Records):
    part: DocumentRows

    def add(self, id: str, body: str, row: Mapping[str, Any], line: int) -> None:
        title = text(row, self.part.title) if self.part.title else None
        self.builder.document(id, title, body, self.metadata(row), where=self.where, line=line)


class _Queries(_Records):
    part: QueryRows

    def add(self, id: str, body: str, row: Mapping[str, Any], line: int) -> None:
        self.builder.query(id, body, self.metadata(row), where=self.where, line=line)
        if self.part.candidates:
            self.builder.candidates(id, _list(value(row, self.part.candidates)))


def _known(id: str, first: bool, seen: set[str]) -> bool:
    """Whether an id came before, where the first of equal ones counts."""
    if not first:
        return False
    known = id in seen
    seen.add(id)
    return known


class _Judgments(_Part):
    part: JudgmentRows

    def __init__(self, part: JudgmentRows, builder: Builder, path: Path, split: str) -> None:
        super().__init__(part, builder, path)
        self.split = split

    def __call__(self, line: int, row: dict[str, Any]) -> None:
        query = self.needed(row, line, "query")
        single = "{" in self.part.document
        found: Any = text(row, self.part.document) if single else value(row, self.part.document)
        if query is None or found is None:
            if found is None:
                self.needed(row, line, "document")
            return
        if isinstance(found, Mapping):
            for document, told in found.items():
                grade = self._read(told, line)
                if grade is not None:
                    self.builder.judgment(
                        self.split, query, str(document), grade, where=self.where, line=line
                    )
            return
        grade = self._grade(row, line)
        if grade is None:
            return
        # A document that is named twice in one row has one grade.
        for document in dict.fromkeys(_list(found)):
            self.builder.judgment(self.split, query, document, grade, where=self.where, line=line)

    def _grade(self, row: Mapping[str, Any], line: int) -> int | float | str | None:
        """None where the row is no judgment, or has no grade, which is reported."""
        if isinstance(self.part.grade, int):
            return self.part.grade
        found = value(row, self.part.grade)
        if not self.part.grades and not isinstance(found, int | float | str):
            self.needed(row, line, "grade")
            return None
        return self._read(found, line)

    def _read(self, found: Any, line: int) -> int | float | str | None:
        """A grade as it stands, or as `grades` has it; what is none is reported."""
        grade = self.part.grades.get(str(found)) if self.part.grades else found
        if not isinstance(grade, int | float | str):
            known = f" is none of {', '.join(self.part.grades)}" if self.part.grades else " is no number"
            self.builder.report.error("bad-grade", f"grade {found!r}{known}", where=self.where, line=line)
            return None
        return grade


def _list(found: Any) -> list[str]:
    """Ids: of a list, of a string that is a JSON list, or one alone."""
    if isinstance(found, str) and found[:1] == "[":
        try:
            found = orjson.loads(found)
        except orjson.JSONDecodeError:
            return [str(found)]
    if found is None:
        return []
    return [str(one) for one in found] if isinstance(found, list) else [str(found)]
