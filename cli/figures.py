"""What `eval` and `compare` share: their options, the scoring of run files, and the printing of tables."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seekbench.metrics import DEFAULT_METRICS

if TYPE_CHECKING:
    from seekbench.metrics.evaluate import Scores
    from seekbench.query_info import QueryInfo
    from seekbench.tables import Grid


class Format(enum.StrEnum):
    table = "table"
    md = "md"
    latex = "latex"
    csv = "csv"
    trec = "trec"
    json = "json"


class TableFormat(enum.StrEnum):
    """Of what is no trec_eval output."""

    table = "table"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class ReportFormat(enum.StrEnum):
    """Of what is several tables, and so no CSV."""

    table = "table"
    md = "md"
    json = "json"


class TieBreak(enum.StrEnum):
    trec_eval = "trec_eval"
    docid_asc = "docid_asc"
    file = "file"
    error = "error"


class Correction(enum.StrEnum):
    none = "none"
    holm = "holm"
    bonferroni = "bonferroni"
    bh = "bh"


class Missing(enum.StrEnum):
    zero = "zero"
    drop = "drop"


class Exclude(enum.StrEnum):
    none = "none"
    identical_id = "identical_id"


RUNS = typer.Argument(
    help="TREC run files, plain, .gz or .zst; PATH or NAME=PATH, a result folder of `seekbench run`, or - for stdin."
)
METRIC = typer.Option(
    "--metric",
    "-m",
    help="Once a metric, in any tool's spelling.  [default: " + ", ".join(DEFAULT_METRICS) + "]",
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


@dataclass(frozen=True)
class RunFile:
    """key: as the user wrote it (for JSON), or the name that was given; path: of the file."""

    key: str
    path: Path
    named: bool = False


def run_files(given: Sequence[str]) -> list[RunFile]:
    """`PATH`, `NAME=PATH`, a result folder of `seekbench run` (its run file), or `-` for standard input."""
    from seekbench.errors import InputError

    out: dict[str, RunFile] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        if not equals or Path(text).exists() or "/" in name:
            name, equals, rest = text, "", text
        path = Path("/dev/stdin") if rest == "-" else Path(rest)
        if (path / "run.trec.gz").is_file():
            path = path / "run.trec.gz"
        if name in out and out[name].path != path:
            raise InputError(f"two runs are called '{name}'")
        out[name] = RunFile(name, path, bool(equals))
    return list(out.values())


def score_files(
    qrels: Path,
    runs: Sequence[RunFile],
    names: Sequence[str] | None,
    *,
    tie_break: TieBreak,
    missing_queries: Missing,
    exclude: Exclude,
    max_unjudged: float,
) -> dict[str, Scores]:
    """Scores by the runs' keys. Metrics and all files are tried before mistakes are reported."""
    from seekbench.errors import InputError, Report
    from seekbench.metrics.measure import parse_all
    from seekbench.qrels_file import read_qrels
    from seekbench.scoring import Policies, evaluate_columns, refuse_foreign
    from seekbench.trec import read_run

    policies = Policies(tie_break.value, missing_queries.value, exclude is Exclude.identical_id, max_unjudged)
    report, out = Report(), {}
    measures, judgments = None, None
    try:
        measures = parse_all(list(names or DEFAULT_METRICS), where="--metric")
    except InputError as error:
        report.extend(error.report)
    try:
        judgments = read_qrels(qrels)
    except InputError as error:
        report.extend(error.report)
    for run in runs:
        try:
            hits = read_run(run.path)
            if judgments is not None and measures is not None:
                out[run.key] = evaluate_columns(hits, judgments, measures, policies).released()
                refuse_foreign(hits, judgments, out[run.key])
        except InputError as error:
            report.extend(error.report)
    report.raise_if_errors()
    return out


def warn(scores: dict[str, Scores]) -> None:
    """Every run's warnings on stderr."""
    for run, found in scores.items():
        for line in found.warnings:
            typer.echo(f"warning: {run}: {line}", err=True)


_ENDINGS = (".gz", ".zst", ".zstd", ".trec", ".txt", ".run", ".res", ".tsv")


def short_names(runs: Sequence[RunFile]) -> list[str]:
    """Labels for tables: the name that the user gave, else the part of the path that tells the files apart: the file's
    name without endings, or the folder where all files are called alike (as those of `seekbench run` are)."""
    parts = [_label_parts(run) for run in runs]
    if any(run.named for run in runs):
        names = [run.key if run.named else p[-1] for run, p in zip(runs, parts, strict=True)]
        return names if len(set(names)) == len(names) else [run.key for run in runs]
    depth = min(map(len, parts))
    for place in range(1, depth + 1):
        column = [p[-place] for p in parts]
        if len(set(column)) == len(column) and not (place == 1 and set(column) == {"run"} and depth > 1):
            return column
    for width in range(2, depth + 1):
        column = ["/".join(p[-width:]) for p in parts]
        if len(set(column)) == len(column):
            return column
    return [run.key for run in runs]


def _label_parts(run: RunFile) -> list[str]:
    if run.key == "-":
        return ["stdin"]
    name = run.path.name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return [*run.path.absolute().parts[1:-1], name or run.path.name]


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


def check_info(info: QueryInfo, scores: Mapping[str, Scores], where: str) -> None:
    """Warns of judged queries that the given texts lack; refuses texts of other queries altogether."""
    from seekbench.errors import InputError

    if not info.columns:
        return
    asked = set().union(*(s.query_ids for s in scores.values()))
    known = set().union(*info.columns.values())
    lacking = len(asked - known)
    if lacking == len(asked):
        raise InputError("none of the judged queries is in it", where=where, remedy="are these the queries?")
    if lacking:
        typer.echo(f"warning: {where}: {lacking} of {len(asked)} judged queries are not in it", err=True)


def show(grids: Sequence[Grid], format: TableFormat) -> None:
    """Prints tables in any format but JSON."""
    from seekbench import tables

    if format is not TableFormat.table:
        typer.echo(tables.render(grids, format.value), nl=False)  # type: ignore[arg-type]
        for note in [line for grid in grids for line in grid.notes] if format is TableFormat.csv else ():
            typer.echo(f"note: {note}", err=True)  # a CSV file has no place for them
        return
    from rich.console import Console

    console = Console(width=terminal_width())
    for i, grid in enumerate(grids):
        if i:
            console.print()
        if grid.title:
            console.print(grid.title, style="bold", markup=False, highlight=False)
        for part in tables.split(grid, console.width):
            console.print(tables.as_rich(part, console.width))
        for line in grid.notes:
            console.print(line, style="dim", markup=False, highlight=False)


def terminal_width() -> int:
    """Characters of a line on standard output; 200 where that is no terminal."""
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 200


def place(value: float, lower: bool) -> float:
    """Sorts the best first, what is not defined last."""
    return math.inf if math.isnan(value) else value if lower else -value


def number(value: float | None, digits: int = 4, *, sign: bool = False) -> str:
    """A figure as it is shown; whole numbers (counts) without decimals."""
    if value is None or math.isnan(value):
        return "–"
    if abs(value) >= 10 and float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def p_text(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def text_of(bounds: tuple[float, float] | None) -> Any:
    """The cell of an interval; a CSV gets its two bounds."""
    from seekbench.tables import Text

    return Text(interval(bounds), value=bounds or (None, None))


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
