"""Rows of tables, and what an expression of a layout finds in one: a column, a key in it, or a template of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from seekbench.datasets.formats.lines import COMPRESSED, lines, open_bytes, refuse_bad_bytes
from seekbench.datasets.formats.lines import text as decoded
from seekbench.datasets.formats.records import json_rows, parquet_rows
from seekbench.datasets.layout import FIELD
from seekbench.errors import Report, did_you_mean

if TYPE_CHECKING:
    from seekbench.datasets.layout import RowsOf

#: Keys of a row that are not its file's columns.
_ROW, _FROM_ONE, _HOLDER, SPAN = "#", "#+1", "^", "span"
#: Of an object of objects, the whole of one, as `key` is its key.
_WHOLE = "*"
ADDED = re.compile(r"#(\+1|[0-9]*)|\^|\*")
_KINDS = {".csv": "csv", ".tsv": "tsv", ".txt": "tsv", ".json": "json", ".parquet": "parquet"}


class Found(NamedTuple):
    """A file of a part. named: the parts of its name that the pattern names."""

    path: Path
    named: dict[str, str]


class Fields:
    """Which columns of a part's templates and conditions no row had so far, of all its files."""

    def __init__(self, part: RowsOf) -> None:
        self.missing = {n: key for n, key in part.fields.items() if not ADDED.match(n) and n != SPAN}
        self.last: Mapping[str, Any] = {}
        self.where = ""

    def look(self, row: Mapping[str, Any], path: Path) -> None:
        self.last, self.where = row, str(path)
        for name in [n for n in self.missing if n in row or value(row, n) is not None]:
            del self.missing[name]

    def told(self, report: Report) -> None:
        """Reports them, where there were rows."""
        columns = [column for column in self.last if not ADDED.fullmatch(column)]
        for name, key in self.missing.items() if self.last else ():
            report.error(
                "missing-column", f"no row has '{name}' (for {key})", where=self.where,
                remedy=did_you_mean(name, columns),
            )  # fmt: skip


def rows(
    file: Found, part: RowsOf, report: Report, fields: Fields | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line or row number from 1, row) of the rows that a part wants, with the keys that a row has beside its own."""
    groups: set[str] = set()
    for count, (line, row) in enumerate(_all_rows(file.path, part, report)):
        row.update(file.named)
        if fields is not None and (fields.missing or not fields.last):
            fields.look(row, file.path)
        if all(_same(value(row, name), wanted) for name, wanted in part.where.items()):
            row[_ROW], row[_FROM_ONE] = count, count + 1
            if part.group is not None:
                group = text(row, part.group)
                if group is None:
                    report.error(
                        "missing-column", f"there is no '{part.group}' (for group) in this row",
                        where=str(file.path), line=line, remedy=did_you_mean(part.group, row),
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
    kind = part.kind or _KINDS.get(Path(name).suffix, "tsv" if part.columns else "lines")
    if kind in ("csv", "tsv"):
        return _separated(path, part, "," if kind == "csv" else "\t", report)
    if kind == "json":
        return _array(path, part, report)
    if kind == "text":
        return _plain(path, report)
    return parquet_rows(path, report) if kind == "parquet" else json_rows(path, report)


def _plain(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines as they are."""
    for number, line in lines(path, report, keep_blank=True):
        if (body := decoded(line, number, str(path), report)) is not None:
            yield number, {"line": body}


def _separated(
    path: Path, part: RowsOf, separator: str, report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with a header, or, where `columns` are given, without."""
    csv.field_size_limit(1 << 30)
    where, begun = str(path), 1
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(
                handle, delimiter=part.separator or separator, strict=True,
                quoting=csv.QUOTE_MINIMAL if part.quotes else csv.QUOTE_NONE,
            )  # fmt: skip
            header = list(part.columns) if part.columns else None
            for row in reader:
                begun = reader.line_num + 1
                if not row:
                    continue
                if header is None:
                    header = [name.strip() for name in row]
                    for name in sorted({name for name in header if name and header.count(name) > 1}):
                        report.error("columns", f"two columns are called '{name}'", where=where, line=1)
                elif len(row) != len(header):
                    report.error(
                        "row-fields", f"{len(row)} fields where there are {len(header)} columns", where=where,
                        line=reader.line_num,
                    )  # fmt: skip
                else:
                    yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        report.error(
            "bad-table", f"a quoted field does not end as it should ({error})", where=where, line=begun,
            remedy="double the quotes in it, or say `quotes: false` where they are signs like any other",
        )  # fmt: skip
    except UnicodeDecodeError:
        refuse_bad_bytes(path, report)
    except (OSError, EOFError) as error:
        report.error("bad-table", f"can't be read ({error})", where=where)


def _array(path: Path, part: RowsOf, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON array; of an object, the array at `at`, or its values with their keys as `key`. JSON lines are
    called .json, too."""
    where, whole = str(path), b""
    try:
        with open_bytes(path) as handle:
            whole = handle.read()
        data = orjson.loads(whole)
    except orjson.JSONDecodeError as error:
        if _is_lines(whole) and not part.at:
            yield from json_rows(path, report)
            return
        if not refuse_bad_bytes(path, report):
            report.error("bad-json", f"can't be read ({error})", where=where, line=error.lineno)
        return
    except (OSError, EOFError) as error:
        report.error("bad-json", f"can't be read ({error})", where=where)
        return
    number, unique = 0, False
    for places, holder, items in _arrays(data, part.at.split(".") if part.at else []):
        if isinstance(items, dict):
            if not unique and (twice := _key_twice(whole)) is not None:
                report.error("bad-json", f"the key '{twice}' stands twice in one object", where=where)
                return
            unique = True
            items = [
                {"key": key, **({**item, _WHOLE: item} if isinstance(item, dict) else {"value": item})}
                for key, item in items.items()
            ]
        if not isinstance(items, list):
            report.error("bad-json", f"there is no array{f' at {part.at}' if part.at else ''}", where=where)
            return
        for place, item in enumerate(items):
            number += 1
            row = dict(item) if isinstance(item, dict) else {"value": item}
            if places:
                row[_HOLDER] = holder
                row.update({f"#{n}": at for n, at in enumerate([*places, place], 1)})
            yield number, row


class _TwiceError(ValueError):
    pass


def _key_twice(data: bytes) -> str | None:
    """A key that stands twice in one object, of which orjson would take the last without a word."""

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
        return found

    try:
        json.loads(data, object_pairs_hook=hook)
    except _TwiceError as error:
        return str(error)
    return None


def _is_lines(data: bytes) -> bool:
    """Whether the first of several lines is an object."""
    first, _, rest = data.partition(b"\n")
    try:
        return bool(rest.strip()) and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _arrays(
    data: Any, path: Sequence[str], places: tuple[int, ...] = (), holder: Mapping[str, Any] | None = None
) -> Iterator[tuple[tuple[int, ...], Mapping[str, Any], Any]]:
    """(places in the arrays on the way, the object that holds it, what is there) of all that a path leads to."""
    if not path:
        yield places, holder or {}, data
    elif path[0] != "*":
        yield from _arrays(data.get(path[0]) if isinstance(data, Mapping) else None, path[1:], places, holder)
    elif isinstance(data, list):
        for place, item in enumerate(data):
            # What holds the holder can be asked for in turn: `^.^.title`.
            held = {**item, _HOLDER: holder or {}} if isinstance(item, dict) else {"value": item}
            yield from _arrays(held, path[1:], (*places, place), held)
    else:
        yield places, holder or {}, None


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
        return None if found in (None, []) else _text(found)
    return FIELD.sub(lambda match: _text(value(row, match[1])), expression).strip()


def _text(found: Any) -> str:
    if found is None:
        return ""
    if isinstance(found, str):
        return found
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return "\n".join(found)
    return orjson.dumps(found).decode() if isinstance(found, list | dict) else str(found)


def as_list(found: Any) -> list[str]:
    """Ids: of a list, of a string that is a JSON list, or one alone."""
    if isinstance(found, str) and found[:1] == "[":
        try:
            found = orjson.loads(found)
        except orjson.JSONDecodeError:
            return [str(found)]
    if found is None:
        return []
    return [str(one) for one in found] if isinstance(found, list) else [str(found)]
