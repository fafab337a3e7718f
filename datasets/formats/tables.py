"""Collections in any tables: which column is what stands in the card or entry, so a new layout needs no code.

Files are JSON lines, JSON (an array, or an object that holds one), CSV, TSV or parquet; plain, .gz or .zst. A value is
a column's name (`a.b` for a key of an object, or of every object of a list), or a template of columns
(`{number}/{year}`). Rows can be chosen by `where`, and by their place among those of one group; ids are read as
strings; judged documents may be a list, or an object with grades; grades may be words, or real numbers.

Beside a file's own columns a row has `#` and `#+1`, its number in the file from 0 and from 1; the parts of the file's
name that its pattern names; and, where `at` goes through arrays of arrays, `^`, the object that holds the row's array,
and `#1`, `#2`, ..., the places in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from seekbench.datasets.formats.beir import feed
from seekbench.datasets.formats.table_rows import ADDED, SPAN, Fields, Found, as_list, rows, text, value
from seekbench.datasets.layout import FIELD
from seekbench.datasets.source import file_name
from seekbench.errors import Report, did_you_mean
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder
    from seekbench.datasets.layout import DocumentRows, JudgmentRows, Labels, QueryRows, RowsOf, TablesLayout

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

#: The relevant document of a question that none answers.
NO_DOCUMENT = "(no document holds an answer)"

MODULES = (
    "seekbench.datasets.formats.answers",
    "seekbench.datasets.formats.tables",
    "seekbench.datasets.formats.table_rows",
    "seekbench.datasets.formats.records",
    "seekbench.datasets.formats.lines",
)


class Tables:
    """A folder of tables, read by a layout. get: how its files are got, which is said where they are not there."""

    modules: ClassVar[tuple[str, ...]] = MODULES

    def __init__(self, folder: Path, layout: TablesLayout, *, get: str = "") -> None:
        self.folder, self.layout, self.get = folder, layout, get

    @property
    def subject(self) -> str:
        return str(self.folder)

    def files(self) -> Sequence[Path]:
        report = Report()
        names = names_in(self.folder)
        patterns = dict.fromkeys(pattern for part in self.layout.parts for pattern in part.patterns)
        found = [
            file.path
            for pattern in patterns
            for file in matching(self.folder, pattern, report, names, get=self.get)
        ]
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


def names_in(folder: Path) -> list[str]:
    """Names of all files below a folder, but not of hidden folders (`.git`)."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(name.as_posix() for name in names if not any(p.startswith(".") for p in name.parts[:-1]))


def files_of(folder: Path, part: RowsOf, report: Report) -> list[Found]:
    """The files of a part, in the order of its patterns and of their names; a pattern that finds none is reported."""
    names = names_in(folder)
    return [file for pattern in part.patterns for file in matching(folder, pattern, report, names)]


def matching(
    folder: Path, pattern: str, report: Report, names: Sequence[str], *, get: str = ""
) -> list[Found]:
    """The files of a pattern, in the order of their names; get: how they are got, said where there is none."""
    matches = re.compile(_expression(pattern)).match
    found = [Found(folder / name, match.groupdict()) for name in names if (match := matches(name))]
    if not found:
        report.error(
            "missing-file", f"no file is called {pattern}", where=str(folder),
            remedy=f"is this the right folder? {get}" if get
            else did_you_mean(pattern, names[:1000]) or "check `files`",
        )  # fmt: skip
    return found


def glob_of(pattern: str) -> str:
    """A pattern without names of its parts."""
    return FIELD.sub("*", pattern)


def _expression(pattern: str) -> str:
    """A regular expression of a pattern: what it names is a group, which must be the same where it stands again."""
    parts = FIELD.split(pattern)
    out, seen = "", set()
    for place, part in enumerate(parts):
        if place % 2 == 0:
            out += translate(part).removeprefix("(?s:").removesuffix(")\\Z").removesuffix(")\\z")
        elif part in seen:
            out += f"(?P={part})"
        else:
            seen.add(part)
            out += f"(?P<{part}>[^/]+?)"
    return f"(?s:{out})\\Z"


def read(layout: TablesLayout, files: Any, builder: Builder, progress: Progress) -> None:
    """Feeds all rows to the builder. files: a part -> its local files."""
    report = builder.report
    spaces = layout.spaces
    with progress.stage("read documents", unit="docs") as stage:
        seen: set[str] = set()
        for part in layout.documents:
            fields = Fields(part)
            for file in files(part):
                taken = _Documents(part, builder, file.path, seen, spaces)
                feed(rows(file, part, report, fields), taken, stage)
            fields.told(report)
    with progress.stage("read queries", unit="queries") as stage:
        seen = set()
        for asked in layout.queries:
            fields = Fields(asked)
            for file in files(asked):
                feed(
                    rows(file, asked, report, fields),
                    _Queries(asked, builder, file.path, seen, spaces),
                    stage,
                )
            fields.told(report)
    for split, parts in layout.qrels.items():
        pairs: set[tuple[str, str]] = set()
        with progress.stage(f"read judgments of {split}", unit="rows") as stage:
            for judged in parts:
                fields = Fields(judged)
                labelled: Mapping[Any, list[str]] = {}
                if judged.labels:
                    labelled = _labelled(layout, files, judged.labels, report)
                elif judged.answers:
                    labelled = _holding(layout, files, judged)
                for file in files(judged):
                    take = _Judgments(judged, builder, file.path, pairs, spaces, split, labelled)
                    feed(rows(file, judged, report, fields), take, stage)
                fields.told(report)


def _labelled(layout: TablesLayout, files: Any, labels: Labels, report: Report) -> dict[str, list[str]]:
    """label -> documents that have it, in their order."""
    found: dict[str, list[str]] = {}
    for part in layout.documents:
        for file in files(part):
            for _, row in rows(file, part, Report()):  # its defects have been told
                id = text(row, part.id)
                for label in _labels(row, labels) if id is not None else ():
                    found.setdefault(label, []).append(id or "")
    if not found:
        report.error("no-labels", "no document has a label", remedy="check `labels`")
    return found


def _holding(layout: TablesLayout, files: Any, judged: JudgmentRows) -> Mapping[Any, list[str]]:
    """An answer's words -> documents that hold it. Reads the documents once more."""
    from seekbench.datasets.formats.answers import holding

    answers = [
        answer
        for file in files(judged)
        for _, row in rows(file, judged, Report())
        for answer in as_list(value(row, judged.answers or ""))
    ]
    texts = (
        (id, text(row, part.text) or "")
        for part in layout.documents
        for file in files(part)
        for _, row in rows(file, part, Report())
        if (id := text(row, part.id)) is not None
    )
    return holding(texts, answers)


class _Part:
    """Hands rows of one file to a builder. seen: ids, or pairs of them, so far, of all files. spaces: what white space
    in ids becomes."""

    def __init__(self, part: Any, builder: Builder, path: Path, seen: set[Any], spaces: str | None) -> None:
        self.part, self.builder, self.where = part, builder, str(path)
        self.seen, self.spaces = seen, spaces

    def id(self, found: str) -> str:
        return found if self.spaces is None else self.spaces.join(found.split())

    def known(self, key: Any) -> bool:
        """Whether a row with this key came before, where the first of equal ones counts."""
        if not self.part.first:
            return False
        known = key in self.seen
        self.seen.add(key)
        return known

    def needed(self, row: Mapping[str, Any], line: int, name: str) -> str | None:
        """The text of one of the part's values; what a row lacks is reported."""
        expression = getattr(self.part, name)
        found = text(row, expression)
        if found is None:
            columns = [column for column in row if not ADDED.fullmatch(column)]
            self.builder.report.error(
                "missing-column", f"there is no '{expression}' (for {name}) in this row", where=self.where, line=line,
                remedy=did_you_mean(expression, columns),
            )  # fmt: skip
        return found

    def metadata(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that are kept: those named, or all."""
        if self.part.keep is not None:
            return {name: value(row, name) for name in self.part.keep}
        return {name: found for name, found in row.items() if not ADDED.fullmatch(name)}


class _Records(_Part):
    """Documents or queries."""

    def __call__(self, line: int, row: dict[str, Any]) -> None:
        id, body = self.needed(row, line, "id"), self.needed(row, line, "text")
        if body is not None and self.part.extract:
            body = self.extracted(body, line)
        if id is None or body is None:
            return
        id = self.id(id)
        if not self.known(id):
            self.add(id, body, row, line)

    def extracted(self, body: str, line: int) -> str | None:
        """The text in what a column holds."""
        match = re.search(self.part.extract, body)
        if match is None:
            self.builder.report.error(
                "no-text", f"'{self.part.text}' has nothing like {self.part.extract}", where=self.where, line=line,
                remedy="check `extract`",
            )  # fmt: skip
            return None
        return match[1].strip()

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
            self.builder.candidates(id, [self.id(one) for one in as_list(value(row, self.part.candidates))])


class _Judgments(_Part):
    part: JudgmentRows

    def __init__(
        self,
        part: JudgmentRows,
        builder: Builder,
        path: Path,
        seen: set[Any],
        spaces: str | None,
        split: str,
        labelled: Mapping[Any, list[str]],
    ) -> None:
        super().__init__(part, builder, path, seen, spaces)
        self.split, self.labelled = split, labelled
        if part.scale is not None:
            builder.scaled(split)

    def __call__(self, line: int, row: dict[str, Any]) -> None:
        if self.part.span is not None and not self._place(row, line):
            return
        query = self.needed(row, line, "query")
        found = self._documents(row)
        if query is None or found is None:
            if found is None:
                self.needed(row, line, "document")
            return
        if isinstance(found, Mapping):
            graded = [(document, self._read(told, line)) for document, told in found.items()]
        else:
            grade = self._grade(row, line)
            # A document that is named twice in one row has one grade.
            graded = [(document, grade) for document in dict.fromkeys(found)]
        query = self.id(query)
        for document, one in graded:
            pair = (query, self.id(document))
            if one is not None and not self.known(pair):
                self.builder.judgment(self.split, *pair, one, where=self.where, line=line)

    def _documents(self, row: Mapping[str, Any]) -> list[str] | Mapping[str, Any] | None:
        """The judged documents, or an object of them and their grades; a list in a template makes one of each of its
        values."""
        if self.part.labels is not None:
            every = (self.labelled.get(label, ()) for label in _labels(row, self.part.labels))
            return list(dict.fromkeys(id for ids in every for id in ids))
        if self.part.answers is not None:
            from seekbench.datasets.formats.answers import words_of

            answers = as_list(value(row, self.part.answers))
            every = (self.labelled.get(words_of(answer), ()) for answer in answers)
            # A question that no document answers counts: its document is one that the corpus lacks.
            return list(dict.fromkeys(id for ids in every for id in ids)) or [NO_DOCUMENT]
        expression = self.part.document
        if "{" not in expression:
            found = value(row, expression)
            if isinstance(found, Mapping):
                return {str(document): told for document, told in found.items()}
            return None if found is None else as_list(found)
        lists = {name: one for name in FIELD.findall(expression) if isinstance(one := value(row, name), list)}
        if not lists:
            return [text(row, expression) or ""]
        (name, several), *_ = lists.items()
        return [text({**row, name: one}, expression) or "" for one in several]

    def _place(self, row: dict[str, Any], line: int) -> bool:
        """Sets the row's `span`: the number of the part that holds the place."""
        assert self.part.span is not None
        offset, spans = value(row, self.part.span.offset), value(row, self.part.span.spans)
        if isinstance(offset, int) and isinstance(spans, list) and all(_is_span(span) for span in spans):
            # White space between two parts belongs to the first.
            begun = [number for number, span in enumerate(spans) if span[0] <= offset]
            if begun and offset < spans[-1][1]:
                row[SPAN] = begun[-1]
                return True
        self.builder.report.error(
            "no-span", f"the place {offset!r} is in none of the parts of '{self.part.span.spans}'",
            where=self.where, line=line, remedy="check `span`",
        )  # fmt: skip
        return False

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
        """A grade as it stands, or as `grades` or `scale` have it; what is none is reported."""
        grade = self.part.grades.get(str(found)) if self.part.grades else found
        if not isinstance(grade, int | float | str):
            known = f" is none of {', '.join(self.part.grades)}" if self.part.grades else " is no number"
            self.builder.report.error("bad-grade", f"grade {found!r}{known}", where=self.where, line=line)
            return None
        return grade if self.part.scale is None else self._scaled(grade, self.part.scale, line)

    def _scaled(self, found: float | str, scale: int, line: int) -> int | None:
        """A real number in whole parts, exactly; None where it is none, which is reported."""
        said = _shortest(found)
        if not _DECIMAL.fullmatch(said):
            self.builder.report.error(
                "bad-grade", f"grade {found!r} is no number", where=self.where, line=line
            )
            return None
        exact = Decimal(said) * scale
        whole = exact.to_integral_value()
        if whole != exact and not self.part.rounded:
            self.builder.report.error(
                "bad-grade", f"grade {said} in parts of 1/{scale} is no whole number", where=self.where, line=line,
                remedy="raise `scale`, or say `rounded: true`",
            )  # fmt: skip
            return None
        return int(whole)


def _is_span(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 2 and all(isinstance(one, int) for one in found)


def _labels(row: Mapping[str, Any], labels: Labels) -> list[str]:
    """The labels of a row."""
    if labels.column is not None:
        return as_list(value(row, labels.column))
    named = re.compile(labels.columns or "").fullmatch
    return [name for name, found in row.items() if str(found) in ("1", "1.0", "True") and named(name)]


def _shortest(found: float | str) -> str:
    """A number as it was written: of a float that came from 32 bits, the digits of those (2.4, not 2.4000000954)."""
    if isinstance(found, float):
        single = np.float32(found)
        return str(single) if float(single) == found else repr(found)
    return str(found).strip()  # a boolean is no number
