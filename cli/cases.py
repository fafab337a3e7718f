"""What `diff` and `inspect` share: their options, and from what a user names to runs with judgments and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seekbench.cli import figures
from seekbench.metrics import DEFAULT_METRICS

if TYPE_CHECKING:
    from seekbench.analysis.cases import Case
    from seekbench.analysis.cells import RunCell
    from seekbench.analysis.failures import Slicing
    from seekbench.metrics.measure import Measure
    from seekbench.tables import Grid

QRELS = typer.Option("--qrels", help="Judgments for run files: TREC qrels or BEIR's TSV.")
DATASET = typer.Option("--dataset", help="The dataset (name or folder): judgments and texts of run files.")
METRIC = typer.Option(
    "--metric",
    "-m",
    help="Once a metric; the first one picks queries.  [default: those of the results, or "
    + ", ".join(DEFAULT_METRICS)
    + "]",
)
SLICES = typer.Option("--slices", help="Kinds of queries on which it fails, by significance tests.")
BY = typer.Option(
    "--by", help="Slice by this alone: relevant, length, 'first word', 'words shared', a column."
)
FEWEST = typer.Option("--min-slice", min=2, help="Queries that a slice must have to be tested.")
ALPHA = typer.Option("--alpha", min=0.0001, max=0.5, help="Level of significance.")


def cells_of(given: Sequence[str]) -> list[tuple[figures.RunFile, list[RunCell]]]:
    """What each `PATH` or `NAME=PATH` stands for. Raises InputError with what is wrong with all."""
    from seekbench.analysis.cells import below
    from seekbench.errors import InputError, Report

    report, out = Report(), []
    for file in figures.run_files(given):
        try:
            out.append((file, below(file.path, file.key if file.named else None)))
        except InputError as error:
            report.extend(error.report)
    report.raise_if_errors()
    return out


def names_of(cells: Sequence[tuple[figures.RunFile, RunCell]]) -> list[str]:
    """Names that tell systems apart: the user's or the records', where these do, or else parts of the paths."""
    names = [cell.name for _, cell in cells]
    if len(set(names)) == len(names) and all(file.named or cell.record for file, cell in cells):
        return names
    return figures.short_names([figures.RunFile(file.key, cell.run, file.named) for file, cell in cells])


def case_of(
    cells: Sequence[RunCell], names: Sequence[str], metric: Sequence[str] | None, *, qrels: Path | None,
    dataset: str | None, queries: Path | None, allow_mixed: bool = False,
) -> Case:  # fmt: skip
    """Runs of one dataset, with judgments and texts from where the options say, or from the first record's dataset.

    Raises InputError where the cells are of different data, and where there are no judgments.
    """
    from seekbench import query_info
    from seekbench.analysis.cases import Judged, build
    from seekbench.errors import InputError
    from seekbench.leaderboard.again import dataset_of, refuse_other
    from seekbench.qrels_file import read_qrels
    from seekbench.store import Store

    mixed = refuse_mixed(cells, names, allow_mixed)
    measures = measures_of(cells, metric)
    recorded = [cell for cell in cells if cell.record is not None]
    found = None
    if dataset is not None:
        from seekbench.api import load_dataset

        entry: Any = {"path": dataset} if Path(dataset).is_dir() else dataset
        split = recorded[0].dataset[1] if recorded and recorded[0].dataset else None
        found = load_dataset(entry, split=None if isinstance(entry, dict) else split, offline=True)
        for cell in [] if qrels is not None or mixed else recorded:
            assert cell.record is not None
            refuse_other(found, cell.record, cell.run)
    elif recorded and qrels is None:
        assert recorded[0].record is not None
        try:
            found = dataset_of(recorded[0].record, Store())
        except InputError as error:
            raise InputError(
                str(error), where=str(recorded[0].run),
                remedy="or name the dataset with --dataset, or its judgments with --qrels",
            ) from None  # fmt: skip
    if qrels is not None:
        judged, label = Judged.of_columns(read_qrels(qrels)), qrels.name
    elif found is not None:
        judged, label = Judged.of_dataset(found), _label(found.id, found.split)
    else:
        raise InputError(
            "run files need judgments", where=str(cells[0].run),
            remedy="--qrels FILE or --dataset NAME; a result folder of `seekbench run` brings its own",
        )  # fmt: skip
    info = query_info.read(queries) if queries is not None else None
    case = build(label, cells, judged, measures, names=names, info=info, dataset=found)
    case.notes[:0] = mixed
    return case


def refuse_mixed(cells: Sequence[RunCell], names: Sequence[str], allow: bool) -> list[str]:
    """Notes on results of different data, which are refused unless allowed."""
    from seekbench.errors import InputError

    recorded = [(name, cell) for name, cell in zip(names, cells, strict=True) if cell.record is not None]
    notes = []
    for name, cell in recorded[1:]:
        first_name, first = recorded[0]
        assert first.record is not None
        assert cell.record is not None
        ours, theirs = (r.record["dataset"] for r in (first, cell) if r.record is not None)
        if ours["id"] != theirs["id"] or ours["split"] != theirs["split"]:
            raise InputError(
                f"{first_name} is of {_label(ours['id'], ours['split'])}, {name} of "
                f"{_label(theirs['id'], theirs['split'])}",
                remedy="name results of one dataset",
            )
        differ = [
            p for p in ("corpus", "queries", "qrels") if ours["hashes"].get(p) != theirs["hashes"].get(p)
        ]
        if differ and not allow:
            raise InputError(
                f"{first_name} and {name} were made on different {', '.join(differ)} of {ours['id']}",
                remedy="run both on the same data; --allow-mixed compares them all the same, judged as the first one",
            )
        if differ:
            notes.append(
                f"NOT COMPARABLE: {first_name} and {name} were made on different {', '.join(differ)}"
            )
    return notes


def measures_of(cells: Sequence[RunCell], metric: Sequence[str] | None) -> list[Measure]:
    """The metrics that the user names, or that all records have, or the default ones. Those that are no mean over
    queries have no figure of a query and are refused, or left out where they were not named."""
    from seekbench.errors import InputError
    from seekbench.metrics.measure import parse_all

    records = [cell.record for cell in cells if cell.record is not None]
    if metric:
        found = parse_all(list(metric), where="--metric")
        for measure in found:
            if measure.definition.aggregate != "mean":
                raise InputError(f"{measure.name} is no mean over queries", where="--metric")
        return found
    names = list(DEFAULT_METRICS)
    if records:
        first = [records[0]["primary_metric"], *records[0]["metrics"]]
        names = [m for m in dict.fromkeys(first) if all(m in r["metrics"] for r in records)] or names
    return [m for m in parse_all(names) if m.definition.aggregate == "mean"]


def _label(id: str, split: str) -> str:
    return id if split == "test" else f"{id} ({split})"


def one_line(case: Case, rows: Sequence[int]) -> list[str]:
    """Title and text of documents on one line each."""
    return [" ".join(text.split()) for text in case.texts(rows)]


def slices_grid(
    case: Case, found: Slicing, measure: int, systems: tuple[str, ...], alpha: float, most: int
) -> Grid:
    """Slices, the worst first, with all that fail and at most `most` others. systems: (system,) against the rest of the
    queries, or (baseline, system)."""
    from seekbench.analysis.failures import OVERLAP
    from seekbench.tables import Grid, Text

    lower = case.measures[measure].definition.lower
    failing = [t for t in found.tests if t.fails(alpha, lower)]
    shown = [*failing, *[t for t in found.tests if t not in failing][: max(0, most - len(failing))]]
    paired = len(systems) == 2
    columns = ["slice", "queries", *systems, "Δ" if paired else "other queries", "95% CI of Δ", "p (holm)"]
    columns.insert(-2, "Δ elsewhere" if paired else "Δ")
    rows = []
    for t in shown:
        mark = " ▼" if t.fails(alpha, lower) else " ▲" if t.adjusted < alpha else ""
        delta = Text(figures.number(t.delta, sign=True) + mark, value=t.delta)
        rest = Text(figures.number(t.rest, sign=paired), value=t.rest)
        rows.append([
            Text(f"{t.slice.name}: {t.slice.label}", t.fails(alpha, lower)), Text(f"{t.queries:,}", value=t.queries),
            *([Text(figures.number(t.baseline), value=t.baseline)] if paired else []),
            Text(figures.number(t.mean), value=t.mean), *((delta, rest) if paired else (rest, delta)),
            figures.text_of(t.interval), Text(figures.p_text(t.adjusted), value=t.adjusted),
        ])  # fmt: skip
    name = case.measures[measure].name
    other = systems[0] if paired else "on the other queries"
    notes = [
        f"▼ worse than {other}: {'paired' if paired else 'Welch'} t-test, Holm-corrected over the {len(found.tests)} "
        f"slices tested, p < {alpha:g}"
    ]
    if found.untested:
        notes.append(
            f"not tested, for fewer than {found.fewest} queries inside or outside: {found.untested} slices"
        )
    if any(t.slice.name == OVERLAP for t in shown):
        notes.append(
            f"{OVERLAP}: share of the query's words that stand in the relevant document that has most of them"
        )
    failed = f"{len(failing)} slices" if len(failing) != 1 else "one slice"
    title = f"{name}: {systems[-1]} fails on {failed if failing else 'no slice'} of {len(found.tests)} tested"
    return Grid(columns, rows, title=title, notes=notes)


def slices_json(found: Slicing, alpha: float, lower: bool) -> dict[str, Any]:
    return {
        "correction": "holm",
        "alpha": alpha,
        "min_slice": found.fewest,
        "too_small": found.untested,
        "slices": [
            {
                "by": t.slice.name, "label": t.slice.label, "queries": t.queries, "mean": t.mean, "elsewhere": t.rest,
                "baseline": t.baseline, "delta": t.delta, "interval": t.interval, "p": t.p, "p_adjusted": t.adjusted,
                "fails": t.fails(alpha, lower),
            }
            for t in found.tests
        ],
    }  # fmt: skip
