"""Judgments from text files: TREC's `query iteration document grade`, and BEIR's three columns under a header; plain,
.gz or .zst.

TREC's columns are separated by ASCII white space, BEIR's by one tab each, and BEIR's are found by their names. Column 2
of TREC qrels is ignored, as trec_eval does, unless a (query, document) pair occurs with more than one value of it: then
they are the subtopics of a diversity track. A line that begins with `#` is a comment, unless it has the shape of a
judgment: ids may begin with it too.

A plain file is parsed by Arrow (`textfile.plain_columns`), any other line by line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench.columns import Codes, JudgmentColumns, Source, coded, integers
from seekbench.errors import InputError, Report
from seekbench.textfile import (
    CODES,
    NUMBER,
    NUMBERS,
    TEXT,
    Layout,
    LineNumbers,
    TextFile,
    columns_of,
    decoded,
    plain_columns,
    shown,
    stray_carriage_return,
)

#: BEIR's columns.
_NAMES = (b"query-id", b"corpus-id", b"score")
_HEADER = "query-id<TAB>corpus-id<TAB>score"
_GRADE = re.compile(rb"([+-]?)(?=\d)0*(\d*)(?:\.0*(?:[eE][+-]?0+)?)?")
_GRADES = np.iinfo(np.int32)
#: Endings of files that hold judgments in other forms.
_OTHER = (".parquet", ".jsonl", ".json", ".arrow", ".csv")
#: What is said of a line that has a run's columns.
_RUN = (
    "columns",
    "five columns or more where `query iteration document grade` has 4",
    "this looks like a run file: are run and judgments swapped?",
)

_Coded = tuple[pa.Array, Codes]
#: Queries, iterations (None in BEIR's files), documents, grades.
_Parts = tuple[pa.Array, _Coded | None, pa.Array, npt.NDArray[np.int32]]


def read_qrels(path: Path) -> JudgmentColumns:
    """Reads and checks judgments. Raises InputError with file and line: wrong number of columns, a grade that is no
    whole number or beyond 32 bits, bad UTF-8, a pair that is judged twice (for the same subtopic), three columns
    without BEIR's header, no line at all. `1.0` is read as 1, as in datasets."""
    ending = path.name.removesuffix(".gz").removesuffix(".zst")[-8:]
    if ending.endswith(_OTHER):
        raise InputError(
            f"judgments are read from text files, not from {ending[ending.rfind('.') :]}",
            where=str(path),
            remedy=f"write TREC qrels (query 0 document grade), or a TSV file with the header {_HEADER}",
        )
    file = TextFile(path, "qrels file")
    queries, iterations, doc, grades = _fast(file) or _exact(file)
    table = JudgmentColumns(
        *coded(queries), doc, grades=grades, source=Source(str(path), LineNumbers(lambda: _skipped(file)))
    )
    if iterations is not None and len(iterations[0]) > 1:
        ids, codes = iterations
        table = replace(table, subtopic=ids.take(integers(codes)))
    table.refuse_repeated()
    return table


def _grade(word: bytes) -> int | str:
    """The number that a grade is, or what is wrong with it."""
    match = _GRADE.fullmatch(word)
    if match is None:
        return f"the grade {shown(word)} is no whole number"
    sign, digits = match.groups()
    value = int(sign + (digits or b"0")) if len(digits) <= 10 else _GRADES.max + 1
    return value if _GRADES.min <= value <= _GRADES.max else f"the grade {shown(word)} is beyond 32 bits"


def _fast(file: TextFile) -> _Parts | None:
    """The parts of a file that Arrow can be trusted with, else None."""
    table = plain_columns(file, _layout, _is_skipped)
    if table is None:
        return None
    texts, codes = table["grade"]
    distinct = [_grade(text.encode()) for text in texts.to_pylist()]
    if any(isinstance(grade, str) for grade in distinct):
        return None
    return table["query"], table.get("iteration"), table["doc"], np.array(distinct, np.int32)[codes]


def _layout(line: bytes) -> Layout | None:
    place = _places(line)
    if place is not None:
        query, doc, grade = place
        wanted = {"query": (query, TEXT), "doc": (doc, TEXT), "grade": (grade, CODES)}
        return Layout(b"\t", 3, wanted, header=True, blanks=True)
    separator = b"\t" if b"\t" in line else b" "
    if line.count(separator) != 3:
        return None
    # Queries may have one judgment each. Grades are read as strings: they are few, and Arrow takes `0x10` for a number.
    wanted = {"query": (0, TEXT), "iteration": (1, CODES), "doc": (2, TEXT), "grade": (3, CODES)}
    return Layout(separator, 4, wanted)


def _places(line: bytes) -> tuple[int, int, int] | None:
    """The places of query, document and grade that a header of BEIR's tells; None where the line is none."""
    names = [cell.strip().strip(b'"') for cell in line.split(b"\t")]
    if len(names) != 3 or set(names) != set(_NAMES):
        return None
    return names.index(_NAMES[0]), names.index(_NAMES[1]), names.index(_NAMES[2])


def _is_skipped(line: bytes) -> bool:
    """Whether a line is blank or a comment."""
    if line[:1] > b"#":  # nearly every line
        return False
    words = line.split()
    return not words or (words[0].startswith(b"#") and not _is_judgment(words, line.split(b"\t")))


def _is_judgment(words: list[bytes], cells: list[bytes]) -> bool:
    """Whether a line whose first word begins with `#` is a judgment all the same: TREC's four columns or BEIR's three,
    of which the last is a number. Of a query `#`, column 2 tells it from a judgment that was commented out with `# `.
    """
    if len(cells) == 3 and NUMBER.fullmatch(cells[2].strip()):
        return True
    if len(words) != 4 or not NUMBER.fullmatch(words[3]):
        return False
    return len(words[0]) > 1 or words[1] == b"Q0" or words[1].isdigit()


def _skipped(file: TextFile) -> Iterator[int]:
    headed = False
    for number, line in file.lines():
        if _is_skipped(line):
            yield number
        elif not headed:
            headed = True
            if _places(line) is not None:
                yield number


def _exact(file: TextFile) -> _Parts:
    """The parts of a file in any layout. Raises InputError for all that is wrong."""
    report = Report()
    query, iteration, doc, grade = columns_of(_judgments(file, report), (TEXT, CODES, TEXT, NUMBERS))
    report.raise_if_errors()
    if not len(doc):
        raise InputError("no judgment in this qrels file", where=str(file.path))
    is_beir = iteration[0].to_pylist() == [""]
    return query, None if is_beir else iteration, doc, grade.astype(np.int32)


def _judgments(file: TextFile, report: Report) -> Iterator[tuple[str, str, str, int]]:
    """(query, iteration, document, grade) of each line in which nothing is wrong; BEIR's have '' for the iteration."""
    where, first = str(file.path), True
    place: tuple[int, int, int] | None = None
    for number, line in file.lines():
        if b"\r" in line and stray_carriage_return(line, number, where, report):
            first = False
            continue
        if _is_skipped(line):
            continue

        def wrong(code: str, message: str, remedy: str = "", number: int = number) -> None:
            report.error(code, message, where=where, line=number, remedy=remedy)

        if first:
            first = False
            place = _places(line)
            if place is not None:
                continue
            if _looks_like_a_run(line.split()):
                wrong(*_RUN)  # and so is the rest of it, which may be long
                return
            if {word.strip(b'"') for word in re.split(rb"[\s,;]+", line.strip())} == set(_NAMES):
                wrong(
                    "not-tab-separated", "the header's columns are not separated by tabs", f"write {_HEADER}"
                )
                return
            cells = line.strip().split(b"\t")
            if len(cells) == 3:
                place = (0, 1, 2)
                if not NUMBER.fullmatch(cells[2]):
                    wrong("odd-header", f"the header is {shown(line)}", f"write {_HEADER}")
                    continue
                wrong(
                    "missing-header",
                    "the first line is a judgment, not the header",
                    f"add the line {_HEADER}; BEIR's loader drops the first judgment",
                )
        words = _trec(line, wrong) if place is None else _beir(line, place, wrong)
        if words is None:
            continue
        ids = decoded(words[:3], line, number, where, report)
        grade = _grade(words[3])
        if isinstance(grade, str):
            wrong("grade", grade, "metrics take whole grades (0, 1, 2, ...): scale or round it")
        elif ids is not None:
            yield ids[0], ids[1], ids[2], grade


def _looks_like_a_run(words: list[bytes]) -> bool:
    return len(words) > 4 and NUMBER.fullmatch(words[4]) is not None


def _trec(line: bytes, wrong: Callable[..., None]) -> list[bytes] | None:
    """Query, iteration, document and grade of a line."""
    words = line.split()
    if len(words) == 4:
        return words
    if _looks_like_a_run(words):
        wrong(*_RUN)
        return None
    remedy = "write: query 0 document grade"
    if len(words) == 3:
        remedy += f"; BEIR's three columns need the header {_HEADER}, with tabs between"
    wrong("columns", f"{len(words)} column(s) where `query iteration document grade` has 4", remedy)
    return None


def _beir(line: bytes, place: tuple[int, int, int], wrong: Callable[..., None]) -> list[bytes] | None:
    """Query, '' for the iteration, document and grade of a line."""
    cells = line.rstrip(b"\r").split(b"\t")
    if len(cells) != 3:
        words, remedy = line.split(), f"write {_HEADER}"
        if len(words) == 4 and NUMBER.fullmatch(words[3]):
            remedy = "these are the four columns of TREC qrels: drop BEIR's header, or the second column"
        elif len(cells) == 1 and len(words) == 3:
            remedy = "separate them by one tab"
        wrong("columns", f"{len(cells)} column(s) where {_HEADER} has 3", remedy)
        return None
    query, doc, grade = (cells[i] for i in place)
    if not query or not doc:
        wrong("empty-id", f"the {'document' if query else 'query'} is empty")
        return None
    return [query, b"", doc, grade.strip()]
