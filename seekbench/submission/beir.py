"""BEIR: a TREC run of 1,000 hits a query and dataset without the document of the query's own id, and nDCG@10 and
Recall@100 as JSON.

What the leaderboard's upload page takes is not documented where it can be checked; these are the files that BEIR's
own evaluation reads and the figures that its papers report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from seekbench.errors import Report
from seekbench.metrics.measure import parse_all
from seekbench.submission import preflight
from seekbench.submission.bundle import Bundle, Cell
from seekbench.submission.run_lines import cut, lines
from seekbench.submission.targets import File, Row, Submission
from seekbench.submission.trec import check_tag

if TYPE_CHECKING:
    from seekbench.columns import HitColumns

DEPTH = 1000
#: BEIR's name -> ours.
_FIGURES = {"nDCG@10": "ndcg@10", "Recall@100": "recall@100"}


def export(bundle: Bundle, report: Report) -> Submission:
    out = Submission()
    tag = check_tag(bundle, report)
    preflight.check_known_system(bundle, report)
    scores: dict[str, dict[str, Any]] = {}
    for cell in bundle.cells:
        read = preflight.read(bundle, cell, report)
        if read is None:
            continue
        hits, judged = read
        preflight.check_ids(cell, hits, judged, report)
        preflight.check_figures(cell, hits, judged, report)
        preflight.check_depth(cell, hits, judged, DEPTH, report)
        _check_own(cell, hits, report)
        figures = preflight.figures(hits, judged, parse_all(list(_FIGURES.values())), own=False)
        value = figures["ndcg@10"]
        known = preflight.check_known(bundle, cell, [], ["ndcg@10"], value, report)
        scores[cell.file_stem] = {
            "dataset": cell.dataset,
            "split": cell.split,
            "queries": len(judged.query_ids),
            **{name: round(figures[ours], 5) for name, ours in _FIGURES.items()},
        }
        path = f"runs/{cell.file_stem}.trec"
        out.files.append(File(path, partial(_content, cell, tag)))
        out.rows.append(Row(cell.label, path, len(judged.query_ids), DEPTH, "nDCG@10", value, known))
    _check_coverage(bundle, report)
    content = json.dumps({"system": bundle.system, "scores": scores}, indent=2).encode() + b"\n"
    out.files.append(File("scores.json", lambda: iter([content])))
    out.next_steps = ["BEIR's board stands on EvalAI (challenge 1897); what it takes is not checked here"]
    return out


def _check_coverage(bundle: Bundle, report: Report) -> None:
    """Which of BEIR's datasets are lacking, and which results are of none of them; forums count as CQADupStack."""
    from seekbench.datasets.suites import suite
    from seekbench.datasets.task_names import member_of

    groups = suite("beir").groups
    members = {id for _, ids in groups for id in ids}
    there = set()
    for cell in bundle.cells:
        id = member_of(cell.dataset, members)
        there.add(id)
        if not id:
            report.warning("no-beir", "this is none of BEIR's datasets", where=cell.label)
    lacking = [group for group, ids in groups if not there.issuperset(ids)]
    if lacking:
        report.warning(
            "coverage",
            f"{len(lacking)} of the {len(groups)} public datasets of BEIR are not there, or not whole: "
            + ", ".join(name.rpartition("/")[2] for name in lacking),
            remedy="the board's mean is over all of them",
        )


def _check_own(cell: Cell, hits: HitColumns, report: Report) -> None:
    from seekbench.ranking import without_own

    found = without_own(hits)[1]
    if found:
        report.warning(
            "own-ids",
            f"of {found:,} of {len(hits.query_ids):,} queries the document with the query's own id is taken out, which "
            "leaves one hit fewer",
            where=cell.label,
            remedy="`exclude: identical_id` in the config searches one deeper",
        )


def _content(cell: Cell, tag: str) -> Iterator[bytes]:
    from seekbench.ranking import without_own

    yield from lines(cut(without_own(cell.hits())[0], DEPTH), tag)
