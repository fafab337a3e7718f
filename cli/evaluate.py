"""`seekbench eval`: scores of run files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import common, figures
from seekbench.cli.figures import Exclude, Format, Missing, TieBreak

if TYPE_CHECKING:
    from seekbench.metrics.evaluate import Scores
    from seekbench.query_info import QueryInfo
    from seekbench.tables import Grid


@common.handled
def evaluate(
    qrels: Annotated[Path, typer.Argument(help="TREC qrels or BEIR's TSV; plain, .gz or .zst.")],
    runs: Annotated[list[str], figures.RUNS],
    metric: Annotated[list[str] | None, figures.METRIC] = None,
    per_query: Annotated[bool, typer.Option("--per-query", "-q", help="Every query's values.")] = False,
    by: Annotated[list[str] | None, figures.BY] = None,
    queries: Annotated[Path | None, figures.QUERIES] = None,
    dataset: Annotated[str | None, figures.DATASET] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals/--no-intervals", help="95% bootstrap intervals of the means.")
    ] = True,
    tie_break: Annotated[TieBreak, figures.TIES] = TieBreak.trec_eval,
    missing_queries: Annotated[Missing, figures.MISSING] = Missing.zero,
    exclude: Annotated[Exclude, figures.EXCLUDE] = Exclude.none,
    max_unjudged: Annotated[float, figures.UNJUDGED] = 0.9,
    format: Annotated[Format, figures.FORMAT] = Format.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Score run files against judgments.

    Example:  seekbench eval qrels.txt bm25.trec.gz dense.trec.gz -m ndcg@10 -m "recall@100"
    """
    files = figures.run_files(runs)
    scores = figures.score_files(
        qrels, files, metric, tie_break=tie_break, missing_queries=missing_queries, exclude=exclude,
        max_unjudged=max_unjudged,
    )  # fmt: skip
    info = figures.info_of(queries, dataset)
    figures.check_info(info, scores, str(queries or dataset))
    if json_ or format is Format.json:
        import json

        found = {run: _as_json(s, info, by or [], per_query, intervals) for run, s in scores.items()}
        typer.echo(json.dumps(figures.plain(found), indent=2, ensure_ascii=False, allow_nan=False))
        return
    figures.warn(scores)
    names = figures.short_names(files)
    if format is Format.trec:
        typer.echo(_as_trec(scores, names, per_query), nl=False)
        return
    if per_query:
        grids = [_per_query(scores, names, info)]
    elif by and format is Format.csv:  # one table alone, so that programs can read it
        grids = [_joined([g for column in by for g in _slices(scores, names, info, column, intervals)])]
    else:
        grids = [_means(scores, names, intervals)]
        grids += [g for column in by or [] for g in _slices(scores, names, info, column, intervals)]
    figures.show(grids, figures.TableFormat(format.value))


def _as_trec(scores: dict[str, Scores], names: list[str], per_query: bool) -> str:
    """trec_eval's three columns: measure, query or `all`, value; runs one after the other, each with its `runid`."""
    lines = []
    for name, found in zip(names, scores.values(), strict=True):
        if per_query:
            for query, values in zip(found.query_ids, found.values.tolist(), strict=True):
                lines += [
                    f"{m.name:<22}\t{query}\t{v:.4f}"
                    for m, v in zip(found.measures, values, strict=True)
                    if m.definition.aggregate != "run" and v == v
                ]
        lines.append(f"{'runid':<22}\tall\t{name}")
        lines += [f"{m.name:<22}\tall\t{found.mean[m.name]:.4f}" for m in found.measures]
    return "\n".join(lines) + "\n"


def _joined(grids: list[Grid]) -> Grid:
    """Tables of slices as one, with the metric and the column they are sliced by in columns of their own."""
    from seekbench.tables import Grid

    columns = [
        "metric",
        "by",
        "slice",
        "run",
        "queries",
        "mean",
        *(["mean"] if len(grids[0].columns) > 4 else []),
    ]
    rows = []
    for grid in grids:
        metric, by = grid.columns[3], grid.columns[0]
        rows += [[metric, by, *row] for row in grid.rows]
    return Grid(columns, rows)


def _means(scores: dict[str, Scores], names: list[str], intervals: bool) -> Grid:
    from seekbench.tables import Grid, Text, best_shown

    first = next(iter(scores.values()))
    best = {
        m.name: best_shown([s.mean[m.name] for s in scores.values()], m.definition.lower)
        for m in first.measures
    }
    columns, plain = ["run", "queries"], ["run", "queries"]
    for m in first.measures:
        wide = intervals and m.definition.aggregate == "mean"
        columns += [m.name, "95% CI"] if wide else [m.name]
        plain += [m.name, m.name] if wide else [m.name]
    rows, notes = [], [figures.policy_note(first)]
    for name, found in zip(names, scores.values(), strict=True):
        bounds = found.intervals() if intervals else {}
        row = [Text(name), Text(f"{len(found.query_ids):,}", value=len(found.query_ids))]
        for m in found.measures:
            value = found.mean[m.name]
            top = len(scores) > 1 and m.definition.aggregate != "sum" and round(value, 4) == best[m.name]
            row.append(Text(figures.number(value), top, value))
            if intervals and m.definition.aggregate == "mean":
                row.append(figures.text_of(bounds[m.name]))
        rows.append(row)
        for m in found.measures:
            notes += tie_notes(name, found, m.name)
    return Grid(columns, rows, notes=notes, csv_columns=plain)


def tie_notes(name: str, scores: Scores, measure: str) -> list[str]:
    """A line where a measure's value hangs on the order of tied documents."""
    tie = scores.ties[measure]
    if tie is None or figures.number(tie.worst) == figures.number(tie.best):
        return []
    return [
        f"{name}: {measure} hangs on ties in {tie.affected} queries: between {tie.worst:.4f} and {tie.best:.4f} "
        "by the order of documents of equal score"
    ]


def _slices(
    scores: dict[str, Scores], names: list[str], info: QueryInfo, by: str, intervals: bool
) -> list[Grid]:
    import numpy as np

    from seekbench.comparison import by_slice
    from seekbench.tables import Grid, Text

    first = next(iter(scores.values()))
    grids = []
    for i, m in enumerate(first.measures):
        if m.definition.aggregate != "mean":
            continue
        by_label: dict[str, list[list[Text]]] = {}
        for name, found in zip(names, scores.values(), strict=True):
            parts = info.slices(by, found.query_ids, found.qrels)
            for figure in by_slice(np.asarray(found.values[:, [i]]), parts):
                mean, count = figure.means[0], len(figure.slice.rows)
                row = [Text(figure.slice.label), Text(name), Text(f"{count:,}", value=count)]
                row.append(Text(figures.number(mean), value=mean))
                if intervals:
                    row.append(figures.text_of(figure.intervals[0]))
                by_label.setdefault(figure.slice.label, []).append(row)
        rows = [row for group in by_label.values() for row in group]
        columns = [by, "run", "queries", m.name, *(["95% CI"] if intervals else [])]
        grids.append(Grid(columns, rows, title=f"{m.name} by {by}", left=frozenset({0, 1})))
    return grids


def _per_query(scores: dict[str, Scores], names: list[str], info: QueryInfo) -> Grid:
    from seekbench.tables import Grid, Text

    first = next(iter(scores.values()))
    chosen = [i for i, m in enumerate(first.measures) if m.definition.aggregate != "run"]
    texts = "text" in info.columns
    columns = ["run", "query", *(first.measures[i].name for i in chosen), *(["text"] if texts else [])]
    rows = []
    for name, found in zip(names, scores.values(), strict=True):
        for query, values in zip(found.query_ids, found.values.tolist(), strict=True):
            row: list[Text | str] = [name, query]
            row += [Text(figures.number(values[i]), value=values[i]) for i in chosen]
            rows.append([*row, *([info.text(query)] if texts else [])])
    left = frozenset({0, 1} | ({len(columns) - 1} if texts else set()))
    return Grid(columns, rows, notes=[figures.policy_note(first)], left=left)


def _as_json(
    scores: Scores, info: QueryInfo, by: list[str], per_query: bool, intervals: bool
) -> dict[str, Any]:
    """Metrics by name; `about` has the policies, counts and warnings."""
    import dataclasses

    bounds = scores.intervals() if intervals else {}
    out: dict[str, Any] = {}
    for i, m in enumerate(scores.measures):
        tie = scores.ties[m.name]
        entry: dict[str, Any] = {"mean": scores.mean[m.name], "aggregate": m.definition.aggregate}
        if intervals:
            entry["interval"] = bounds[m.name]
        entry["ties"] = None if tie is None else dataclasses.asdict(tie)
        if by and m.definition.aggregate == "mean":
            entry["slices"] = {column: _sliced(scores, i, info, column) for column in by}
        if per_query and m.definition.aggregate != "run":
            entry["per_query"] = dict(zip(scores.query_ids, scores.values[:, i].tolist(), strict=True))
        out[m.name] = entry
    out["about"] = {
        "policies": dict(scores.policies),
        "counts": dict(scores.facts),
        "warnings": list(scores.warnings),
    }
    return out


def _sliced(scores: Scores, measure: int, info: QueryInfo, column: str) -> dict[str, Any]:
    from seekbench.comparison import by_slice

    parts = info.slices(column, scores.query_ids, scores.qrels)
    return {
        f.slice.label: {"queries": len(f.slice.rows), "mean": f.means[0], "interval": f.intervals[0]}
        for f in by_slice(scores.values[:, [measure]], parts)
    }
