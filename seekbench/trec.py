"""TREC run files as columns: `query Q0 document rank score tag`, plain, .gz or .zst.

Columns are separated by ASCII white space. Columns 2, 4 and 6 are ignored, as trec_eval does; the tag may hold spaces
or be missing, as in old files. A line that begins with `#` is a comment, unless it has the shape of a hit: ids may
begin with it too, and a hit must not be lost.

A plain file is parsed by Arrow (`textfile.plain_columns`), any other line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench.columns import Codes, HitColumns, Source
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

_NAN = re.compile(rb"[+-]?nan", re.IGNORECASE)
#: The first line of BEIR's judgments.
_HEADER = {b"query-id", b"corpus-id", b"score"}


@dataclass(frozen=True)
class TrecRun(HitColumns):
    """A run file's hits, in the order of its lines. digest: sha256 (hex) of the bytes that they were read from
    (`hashing.of_file`) where it was asked for, else ''."""

    path: Path = field(kw_only=True)
    digest: str = field(default="", kw_only=True)

    def line(self, row: int) -> int:
        """The 1-based line number of a row (the file is read again: this is for messages)."""
        line = self.source.line(row)
        assert line is not None
        return line


def read_run(path: Path, *, digest: bool = False) -> TrecRun:
    """Reads and checks a run file. Raises InputError with file and line: wrong number of columns, a score that is no
    number or NaN, bad UTF-8, a (query, document) pair that occurs twice, no line at all.

    digest: also hash the file's bytes, which are held in memory for it.
    """
    file = TextFile(path, "run file", hold=digest)
    query_ids, query, doc, scores = _fast(file) or _exact(file)
    run = TrecRun(
        query_ids, query, doc, scores=scores,
        source=Source(str(path), LineNumbers(lambda: _skipped(file))),
        path=path,
        digest=file.digest if digest else "",
    )  # fmt: skip
    file.let_go()
    run.refuse_repeated()
    return run


_Parts = tuple[pa.Array, Codes, pa.Array, npt.NDArray[np.float64]]


def _fast(file: TextFile) -> _Parts | None:
    """(query ids, query, documents, scores) of a file that Arrow can be trusted with, else None."""
    table = plain_columns(file, _layout, _is_skipped)
    if table is None or np.isnan(table["score"]).any():
        return None
    return *table["query"], table["doc"], table["score"]


def _layout(line: bytes) -> Layout | None:
    separator = b"\t" if b"\t" in line else b" "
    count = line.count(separator) + 1
    if count < 5:
        return None
    return Layout(separator, count, {"query": (0, CODES), "doc": (2, TEXT), "score": (4, NUMBERS)})


def _is_skipped(line: bytes) -> bool:
    """Whether a line is blank or a comment."""
    if line[:1] > b"#":  # nearly every line
        return False
    words = line.split()
    return not words or (words[0].startswith(b"#") and not _is_hit(words))


def _is_hit(words: list[bytes]) -> bool:
    """Whether a line whose first word begins with `#` is a hit all the same: five columns of which the fifth is a score
    (or NaN, which is refused then). Of a query `#`, six with `Q0`, which tells it from a hit that was commented out
    with `# `."""
    if len(words) < 5 or not (NUMBER.fullmatch(words[4]) or _NAN.fullmatch(words[4])):
        return False
    return len(words[0]) > 1 or (len(words) == 6 and words[1] == b"Q0")


def _skipped(file: TextFile) -> Iterator[int]:
    return (number for number, line in file.lines() if _is_skipped(line))


def _remedy(words: list[bytes]) -> str:
    if len(words) == 4 or {*words} >= _HEADER:
        return "this looks like a qrels file: judgments come first, runs after them"
    if len(words) == 1 and words[0].count(b",") >= 2:
        return "separate the columns by blanks; frames and dictionaries go to seekbench.evaluate()"
    return "a hit is a line of its own; seekbench.evaluate() takes frames and dictionaries"


def _exact(file: TextFile) -> _Parts:
    """(query ids, query, documents, scores) of a file in any layout. Raises InputError for all that is wrong."""
    report = Report()
    query, doc, score = columns_of(_hits(file, report), (CODES, TEXT, NUMBERS))
    report.raise_if_errors()
    if not len(score):
        raise InputError("no line in this run file", where=str(file.path))
    return *query, doc, score


def _hits(file: TextFile, report: Report) -> Iterator[tuple[str, str, float]]:
    """(query, document, score) of each line in which nothing is wrong."""
    where, read = str(file.path), False
    for number, line in file.lines():
        if b"\r" in line and stray_carriage_return(line, number, where, report):
            continue
        if _is_skipped(line):
            continue
        words = line.split(None, 5)
        if len(words) < 5:
            report.error(
                "columns",
                f"{len(words)} column(s) where `query Q0 document rank score tag` has 6",
                where=where,
                line=number,
                remedy=_remedy(words),
            )
            if not read:  # then no line is likely to be a hit, and one message says it all
                return
            continue
        read = True
        ids = decoded((words[0], words[2]), line, number, where, report)
        score = words[4]
        if NUMBER.fullmatch(score):
            if ids is not None:
                yield ids[0], ids[1], float(score)
        elif _NAN.fullmatch(score):
            report.error(
                "score", f"the score is {score.decode()}, which has no rank", where=where, line=number
            )
        else:
            report.error(
                "score",
                f"the score {shown(score)} is not a number",
                where=where,
                line=number,
                remedy="column 5 is the score, column 4 the rank",
            )
