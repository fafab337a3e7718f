"""What `eval` and `compare` share: their options, the scoring of run files, and the printing of tables."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from seekbench.metrics.evaluate import Scores
    from seekbench.metrics.measure import Measure
    from seekbench.query_info import QueryInfo
    from seekbench.tables import Grid

#: What is shown where no metric is asked for.
METRICS = ("ndcg@10", "recall@100", "map", "mrr@10")


class Format(enum.StrEnum):
    table = "table"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class TieBreak(enum.StrEnum):
    trec_eval = "trec_eval"
    docid_asc = "docid_asc"
    file = "file"
    error = "error"


class Missing(enum.StrEnum):
    zero = "zero"
    drop = "drop"


class Exclude(enum.StrEnum):
    none = "none"
    identical_id = "identical_id"


METRIC = typer.Option(
    "--metric", "-m", help="Once a metric, in any tool's spelling.  [default: " + ", ".join(METRICS) + "]"
)
FORMAT = typer.Option("--format", "-f", help="How to print it.")
TIES = typer.Option("--tie-break", help="How documents of equal score are ranked.")
MISSING = typer.Option("--missing-queries", help="Judged queries that a run lacks: count 0, or don't count.")
EXCLUDE = typer.Option("--exclude", help="Take out hits on the document that has the query's id.")
UNJUDGED = typer.Option(
    "--max-unjudged", min=0.0, max=1.0, help="The share of a run's queries that may lack judgments."
)
BY = typer.Option("--by", help="Slice the queries: `relevant`, `length`, or a column of the queries.")
QUERIES = typer.Option("--queries", help="The queries' texts and columns, a .jsonl or .tsv file.")
DATASET = typer.Option(
    "--dataset", help="The dataset (name or folder) that has the queries' texts and columns."
)


def measures_of(names: Sequence[str] | None) -> list[Measure]:
    from seekbench.metrics.measure import parse_all

    return parse_all(list(names or METRICS), where="--metric")


def score_files(
    qrels: Path,
    runs: Sequence[Path],
    measures: Sequence[Measure],
    *,
    tie_break: TieBreak,
    missing_queries: Missing,
    exclude: Exclude,
    max_unjudged: float,
) -> dict[str, Scores]:
    """Scores by run, as the user named it. All files are tried before mistakes are reported."""
    from seekbench.errors import InputError, Report
    from seekbench.qrels_file import read_qrels
    from seekbench.scoring import Policies, evaluate_columns
    from seekbench.trec import read_run

    policies = Policies(tie_break.value, missing_queries.value, exclude is Exclude.identical_id, max_unjudged)
    report, out = Report(), {}
    judgments = None
    try:
        judgments = read_qrels(qrels)
    except InputError as error:
        report.extend(error.report)
    for run in dict.fromkeys(runs):
        try:
            hits = read_run(run)
            if judgments is not None:
                out[str(run)] = evaluate_columns(hits, judgments, measures, policies).released()
        except InputError as error:
            if not _is_listed(report, error.report):
                report.extend(error.report)
    report.raise_if_errors()
    return out


def _is_listed(report: Any, other: Any) -> bool:
    """Whether the same problems are there: the judgments' own would come with every run."""
    return bool(other.problems) and all(p in report.problems for p in other.problems)


def warn(scores: dict[str, Scores]) -> None:
    """Every run's warnings on stderr."""
    for run, found in scores.items():
        for line in found.warnings:
            typer.echo(f"warning: {run}: {line}", err=True)


def short_names(runs: Sequence[str]) -> list[str]:
    """The files' names without endings where these tell them apart, else what the user wrote."""
    names = []
    for run in runs:
        name = Path(run).name
        for ending in (".gz", ".zst", ".zstd", ".trec", ".txt", ".run", ".res", ".tsv"):
            name = name.removesuffix(ending)
        names.append(name or run)
    return names if len(set(names)) == len(names) else list(runs)


def info_of(queries: Path | None, dataset: str | None) -> QueryInfo:
    from seekbench import query_info
    from seekbench.errors import InputError

    if queries is not None and dataset is not None:
        raise InputError("give --queries or --dataset, not both")
    if queries is not None:
        return query_info.read(queries)
    if dataset is not None:
        from seekbench.api import load_dataset

        entry: Any = {"path": dataset} if Path(dataset).is_dir() else dataset
        return query_info.of_dataset(load_dataset(entry))
    return query_info.QueryInfo({})


def policy_note(scores: Scores) -> str:
    p = scores.policies
    return (
        f"ranking: {p['ranking']} · missing queries: {p['missing_queries'].split(':')[0]} · "
        f"unjudged documents: {p['unjudged_documents']} · exclusion: {p['exclusion']}"
    )


def show(grids: Sequence[Grid], format: Format) -> None:
    """Prints tables in any format but JSON."""
    import sys

    from seekbench import tables

    if format is not Format.table:
        typer.echo(tables.render(grids, format.value), nl=False)  # type: ignore[arg-type]
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for i, grid in enumerate(grids):
        if i:
            console.print()
        if grid.title:
            console.print(grid.title, style="bold", markup=False, highlight=False)
        console.print(tables.as_rich(grid, console.width))
        for line in grid.notes:
            console.print(line, style="dim", markup=False, highlight=False)


def number(value: float | None, digits: int = 4, *, sign: bool = False) -> str:
    """A figure as it is shown; whole numbers (counts) without decimals."""
    if value is None or math.isnan(value):
        return "–"
    if abs(value) >= 10 and float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def interval(bounds: tuple[float, float] | None) -> str:
    if bounds is None or not all(map(math.isfinite, bounds)):
        return ""
    return f"[{bounds[0]:.4f}, {bounds[1]:.4f}]"


def plain(value: Any) -> Any:
    """For JSON, which has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
