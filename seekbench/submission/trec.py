"""TREC: run files of six columns, one a dataset, with a checked tag, depth and order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from seekbench.errors import Report
from seekbench.submission import preflight
from seekbench.submission.bundle import Bundle, Cell
from seekbench.submission.run_lines import cut, lines
from seekbench.submission.targets import File, Row, Submission

#: Hits a topic that tracks take, unless their guidelines say otherwise.
DEPTH = 1000
#: TREC's check scripts refuse others; a track's guidelines may allow fewer characters.
_TAG = re.compile(r"[A-Za-z0-9._-]{1,20}")


def export(bundle: Bundle, report: Report) -> Submission:
    out = Submission()
    tag = check_tag(bundle, report)
    depth = bundle.options.depth or DEPTH
    for cell in bundle.cells:
        file = run_file(bundle, cell, tag, depth, report)
        if file is not None:
            out.files.append(file[0])
            out.rows.append(file[1])
    out.next_steps = [
        "run the track's own check script on each file (its guidelines may ask for a shorter tag or another depth)",
        "upload each file on TREC's submission page",
    ]
    return out


def check_tag(bundle: Bundle, report: Report) -> str:
    """The run tag: the one given, or the system's name. What TREC would refuse goes to the report."""
    tag = bundle.system if bundle.options.tag is None else bundle.options.tag
    if not _TAG.fullmatch(tag):
        report.error(
            "tag",
            f"the tag '{tag}' is no run tag: 1 to 20 letters, digits, '.', '_' or '-', without blanks "
            "(a track's guidelines may allow fewer)",
            where="--tag",
            remedy="give another with --tag",
        )
    return tag


def run_file(
    bundle: Bundle, cell: Cell, tag: str, depth: int, report: Report, *, header: bytes = b""
) -> tuple[File, Row] | None:
    """A cell's run file and its row of the summary, checked; None where its run can't be had."""
    read = preflight.read(bundle, cell, report)
    if read is None:
        return None
    hits, judged = read
    preflight.check_ids(cell, hits, judged, report)
    preflight.check_figures(cell, hits, judged, report)
    preflight.check_depth(cell, hits, judged, depth, report, may_choose=True)
    path = f"{cell.file_stem}.{tag}.trec"
    return File(path, partial(_content, cell, tag, depth, header)), Row(
        cell.label, path, len(judged.query_ids), depth
    )


def _content(cell: Cell, tag: str, depth: int, header: bytes) -> Iterator[bytes]:
    if header:
        yield header
    yield from lines(cut(cell.hits(), depth), tag)
