"""Judgments in text files: BEIR's three columns with a header, and TREC's four without."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from seekbench.datasets.formats.lines import lines, text

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

#: Columns of BEIR's and MTEB's judgments.
COLUMNS = ("query-id", "corpus-id", "score")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_HEADER = "query-id<TAB>corpus-id<TAB>score"


def read_beir(path: Path, split: str, builder: Builder, *, separator: str = "\t") -> int:
    """Reads `query-id corpus-id score` lines under a header; returns how many there were.

    A file without the header is refused although its lines could be read: BEIR's loader would drop the first
    judgment without a word, so figures made here could not be compared with others on the same file.
    """
    report, where = builder.report, str(path)
    place = (0, 1, 2)
    first, count = True, 0
    for number, line in lines(path, report):
        decoded = text(line, number, where, report)
        if decoded is None:
            first = False
            continue
        cells = decoded.split(separator)
        if first:
            first = False
            names = [c.strip().strip('"') for c in cells]
            if set(names[:3]) == set(COLUMNS) and len(names) == 3:
                place = (names.index(COLUMNS[0]), names.index(COLUMNS[1]), names.index(COLUMNS[2]))
                if place != (0, 1, 2):
                    report.warning(
                        "column-order",
                        f"the columns stand in the order {', '.join(names)}",
                        where=where,
                        line=number,
                        remedy=f"write {_HEADER}; other tools read them by position",
                    )
                continue
            if len(cells) == 3 and not _NUMBER.fullmatch(cells[2]):
                report.warning(
                    "odd-header",
                    f"the header is {' '.join(names)!r}",
                    where=where,
                    line=number,
                    remedy=f"the columns are read by position; the usual names are {_HEADER}",
                )
                continue
            if len(cells) == 3:
                report.error(
                    "missing-header",
                    "the first line is a judgment, not the header",
                    where=where,
                    line=number,
                    remedy=f"add the line {_HEADER}; BEIR's loader drops the first judgment",
                )
        count += 1
        if len(cells) != 3:
            _wrong_columns(decoded, len(cells), number, where, builder)
            continue
        builder.judgment(
            split, cells[place[0]], cells[place[1]], cells[place[2]].strip(), where=where, line=number
        )
    return count


def _wrong_columns(decoded: str, cells: int, number: int, where: str, builder: Builder) -> None:
    words = decoded.split()
    if cells in (1, 4) and len(words) == 4 and _NUMBER.fullmatch(words[3]):
        builder.report.error(
            "trec-qrels",
            "the line has the four columns of TREC qrels",
            where=where,
            line=number,
            remedy=f"drop the second column and begin the file with {_HEADER}, or say 'format: trec'",
        )
    elif cells == 1 and len(words) == 3:
        builder.report.error(
            "not-tab-separated",
            "the columns are separated by spaces",
            where=where,
            line=number,
            remedy="separate them by one tab",
        )
    elif cells == 1 and decoded.count(",") == 2:
        builder.report.error(
            "not-tab-separated",
            "the columns are separated by commas",
            where=where,
            line=number,
            remedy="separate them by one tab",
        )
    else:
        builder.report.error(
            "bad-columns",
            f"the line has {cells} column(s) instead of 3",
            where=where,
            line=number,
            remedy=f"write {_HEADER}",
        )


def read_trec(path: Path, split: str, builder: Builder, encoding: str = "utf-8") -> int:
    """Reads `query iteration document grade` lines, separated by white space; returns how many there were."""
    report, where = builder.report, str(path)
    count = 0
    for number, line in lines(path, report):
        decoded = text(line, number, where, report, encoding)
        if decoded is None:
            continue
        count += 1
        words = decoded.split()
        if len(words) == 4:
            builder.judgment(split, words[0], words[2], words[3], where=where, line=number)
        elif len(words) == 3:
            report.error(
                "beir-qrels",
                "the line has three columns, TREC qrels have four",
                where=where,
                line=number,
                remedy="write: query 0 document grade",
            )
        else:
            report.error(
                "bad-columns",
                f"the line has {len(words)} column(s) instead of 4",
                where=where,
                line=number,
                remedy="write: query 0 document grade",
            )
    return count
