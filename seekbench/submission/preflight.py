"""What a board's reviewers would reject, as far as it is the same for every board. Problems go to a report: errors
stop the submission, warnings are said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.metrics.measure import Measure, parse_all
from seekbench.submission.bundle import Bundle, Cell, Gathered
from seekbench.submission.known import TOLERANCE, differing

if TYPE_CHECKING:
    from seekbench.columns import HitColumns, JudgmentColumns

#: Measures of these families are reckoned again, to see that run, judgments and record belong together.
_CHECKED = ("ndcg", "ap", "recall", "p", "rr", "success")


def check_records(gathered: Gathered, report: Report) -> None:
    """Failed cells, trial runs, results of different systems under one name, figures that are not what they seem."""
    for dataset, split, cause in gathered.failures:
        report.error(
            "failed-cell",
            f"it failed: {cause}",
            where=f"{dataset} ({split})",
            remedy="run it again, or leave it out",
        )
    if not gathered.cells and not gathered.failures:
        report.error("no-cells", f"there is no result of '{gathered.system}'")
    versions = {str(c.record["retriever"]["system"]): c for c in gathered.cells}
    if len(versions) > 1:
        report.error(
            "several-systems",
            f"'{gathered.system}' had different parameters or models: "
            + ", ".join(f"{c.label} {key}" for key, c in versions.items()),
            remedy="run all datasets with the same config",
        )
    for cell in gathered.cells:
        record, where = cell.record, cell.label
        if not record["comparable"]:
            what = ", ".join(f"{n:,} {name}" for name, n in (record["limited"] or {}).items())
            report.error(
                "trial-run", f"a trial run, limited to {what}", where=where, remedy="run it without --limit"
            )
        without, queries = int(record["queries_without_hits"]), int(record["dataset"]["queries"])
        if without:
            report.warning(
                "no-hits", f"{without:,} of {queries:,} queries have no hits and count 0", where=where
            )
        share = (record.get("index") or {}).get("truncation_rate") or 0.0
        if share > 0.05:
            report.warning(
                "truncated", f"{share:.0%} of the documents are cut at the model's length", where=where
            )
        dropped = (record["retriever"].get("details") or {}).get("unknown_documents_dropped", 0)
        if dropped:
            report.warning(
                "dropped", f"{dropped:,} hits on documents that the dataset lacks were dropped", where=where
            )
        if record.get("approximation"):
            report.warning("approximate", "the search is approximate; say so to the board", where=where)


def check_depth(
    cell: Cell,
    hits: HitColumns,
    judged: JudgmentColumns,
    depth: int,
    report: Report,
    *,
    may_choose: bool = False,
) -> bool:
    """Whether the run is as deep as the board wants it. Short lists of a search that found no more are warned of.

    may_choose: whether the board takes other depths.
    """
    import numpy as np

    if cell.k < depth and cell.k < int(cell.record["dataset"]["documents"]):
        report.error(
            "depth",
            f"{cell.k:,} hits a query were kept, {depth:,} are needed",
            where=cell.label,
            remedy=f"run it again with `k: {depth}`" + (f", or --depth {cell.k}" if may_choose else ""),
        )
        return False
    counts = np.bincount(hits.query, minlength=len(hits.query_ids))
    short = int((counts < min(depth, int(cell.record["dataset"]["documents"]) - 1)).sum())
    if short:
        report.warning(
            "short-lists",
            f"{short:,} of {len(judged.query_ids):,} queries have fewer than {depth:,} hits",
            where=cell.label,
        )
    return True


def check_split(cell: Cell, splits: Sequence[str], report: Report) -> None:
    if cell.split not in splits:
        report.error(
            "split",
            f"the board evaluates {', '.join(splits)}, not {cell.split}",
            where=cell.label,
            remedy="leave it out",
        )


def check_own_ids(cell: Cell, hits: HitColumns, count: bool, report: Report) -> None:
    """Whether the document with the query's own id was treated as the board does. count: whether it is a hit there."""
    from seekbench.ranking import without_own

    exclusion = cell.record["dataset"]["exclusion"]
    found = 0 if count else without_own(hits)[1]
    if found:
        report.error(
            "own-ids",
            f"in {found:,} of {len(hits.query_ids):,} queries the document with the query's own id is a hit, which the "
            "board takes out",
            where=cell.label,
            remedy="run it again with `exclude: identical_id`",
        )
    elif count and exclusion != "none":
        report.error(
            "own-ids",
            f"documents were excluded ({exclusion}), which the board counts",
            where=cell.label,
            remedy="run it again with `exclude: none`",
        )


def check_ids(cell: Cell, hits: HitColumns, judged: JudgmentColumns, report: Report) -> None:
    """Topics that the dataset lacks, or the run; ids that a TREC run file can't hold."""
    import pyarrow.compute as pc

    unknown = hits.query_ids.filter(pc.invert(pc.is_in(hits.query_ids, value_set=judged.query_ids)))
    if len(unknown):
        names = ", ".join(map(repr, unknown.to_pylist()[:3]))
        report.error(
            "unknown-topics", f"{len(unknown):,} topics of the run are unknown ({names})", where=cell.label
        )
    missing = judged.query_ids.filter(pc.invert(pc.is_in(judged.query_ids, value_set=hits.query_ids)))
    if len(missing):
        names = ", ".join(map(repr, missing.to_pylist()[:3]))
        report.warning("missing-topics", f"{len(missing):,} topics have no hit ({names})", where=cell.label)


def check_figures(cell: Cell, hits: HitColumns, judged: JudgmentColumns, report: Report) -> None:
    """Whether run and judgments give the figures of the record."""
    recorded = {
        name: figure["mean"]
        for name, figure in cell.record["metrics"].items()
        if figure["mean"] is not None and figure.get("aggregate", "mean") == "mean"
    }
    measures = [m for m in parse_all(list(recorded)) if m.base in _CHECKED]
    again = figures(hits, judged, measures, own=True)
    for name, value in again.items():
        if not math.isclose(value, recorded[name], abs_tol=1e-6):
            report.error(
                "other-figures",
                f"run file and judgments give {name} {value:.4f}, the record says {recorded[name]:.4f}",
                where=cell.label,
                remedy="are these the judgments that it was scored with?",
            )


def figures(
    hits: HitColumns, judged: JudgmentColumns, measures: Sequence[Measure], *, own: bool
) -> Mapping[str, float]:
    """The run's figures by canonical name. own: whether the document with the query's own id counts."""
    from seekbench.scoring import Policies, evaluate_columns

    if not measures:
        return {}
    # What the judgments lack is said by `check_ids`.
    policies = Policies(exclude_identical=not own, most_unjudged=1.0)
    return evaluate_columns(hits, judged, measures, policies).mean


def check_known(
    bundle: Bundle,
    cell: Cell,
    names: Sequence[str],
    metrics: Sequence[str],
    value: float,
    report: Report,
    *,
    subset: str | None = None,
) -> float | None:
    """The known score of a dataset, which may differ by TOLERANCE; None where there is none.

    names: of the dataset, as sources call it. Of another revision of the model, a difference is only warned of.
    """
    if bundle.known is None or (bundle.known.systems is not None and not bundle.known.scores):
        return None  # `check_known_system` says so once
    own = bundle.metadata.model.revision
    every = bundle.known.of([*names, cell.dataset, cell.dataset.rsplit("/", 1)[-1]], metrics)
    found = [s for s in every if s.is_of(cell.split, subset)]
    for score in differing(found, value):
        other = score.revision not in (None, "", own)
        report.add(
            "known-score",
            f"{value:.5f} differs from the known {score.value:.5f} by more than {TOLERANCE} ({score.where}"
            + (f", of revision {score.revision})" if other else ")"),
            where=cell.label,
            severity="warning" if other else "error",
        )
    if not found:
        report.warning("no-known-score", f"{bundle.known.where} has no score of it", where=cell.label)
        return None
    return next((s.value for s in found if s.revision == own), found[0].value)


def check_known_system(bundle: Bundle, report: Report) -> None:
    """Whether the source of known scores has the system at all."""
    known = bundle.known
    if known is None or known.systems is None or known.scores:
        return
    near = next((n for n in (did_you_mean(a, known.systems) for a in known.asked) if n.startswith("did")), "")
    report.warning(
        "no-known-system",
        f"it has no scores of {' or '.join(known.asked)}",
        where=known.where,
        remedy="--known-as NAME says what the system is called there" + (f"; {near}" if near else ""),
    )


def check_training(
    bundle: Bundle, cell: Cell, declared: Sequence[str] | None, task: str, report: Report
) -> None:
    """Whether what the records know of training is declared."""
    if task in (declared or ()):
        report.warning(
            "declared-training",
            f"the system learnt from {task}: the board marks it as not zero-shot",
            where=cell.label,
        )
    training = cell.record.get("training")
    if not training:
        return
    splits = [s.strip() for s in str(training["split"]).split(",")]
    if cell.split in splits:
        report.error(
            "trained-on-test",
            f"the system learnt from the split '{cell.split}' that it is evaluated on",
            where=cell.label,
            remedy="boards take no such result; train on another split",
        )
    if declared is not None and task not in declared:
        report.error(
            "undeclared-training",
            f"the record says that the system learnt from its split '{training['split']}', "
            f"`training_datasets` lacks {task}",
            where=bundle.metadata.where,
            remedy=f"add {task} to model.training_datasets",
        )


def read(bundle: Bundle, cell: Cell, report: Report) -> tuple[HitColumns, JudgmentColumns] | None:
    """Run and judgments of a cell; None where they can't be had, which is an error of the report."""
    try:
        return cell.hits(), bundle.judgments(cell)
    except InputError as error:
        report.extend(error.report)
        return None
