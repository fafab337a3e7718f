"""`seekbench inspect`: queries under the magnifying glass, the rankings of several systems side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import cases, common, figures
from seekbench.cli.figures import ReportFormat

if TYPE_CHECKING:
    from seekbench.analysis.cases import Case
    from seekbench.tables import Grid

#: Queries shown where none are named.
SOME = 3


@common.handled
def inspect(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run files or result folders of one dataset; PATH or NAME=PATH.", show_default=False
        ),
    ],
    query: Annotated[list[str] | None, typer.Option("--query", "-q", help="Once a query's id.")] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, help=f"The worst queries of the first run.  [default: {SOME}, alone]")
    ] = None,
    best: Annotated[int | None, typer.Option(min=1, help="The best queries of the first run.")] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Hits of each run to show.")] = 10,
    slices: Annotated[bool, cases.SLICES] = False,
    by: Annotated[list[str] | None, cases.BY] = None,
    min_slice: Annotated[int, cases.FEWEST] = 10,
    alpha: Annotated[float, cases.ALPHA] = 0.05,
    metric: Annotated[list[str] | None, cases.METRIC] = None,
    qrels: Annotated[Path | None, cases.QRELS] = None,
    dataset: Annotated[str | None, cases.DATASET] = None,
    queries: Annotated[Path | None, figures.QUERIES] = None,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Show results of different data side by side, marked as such."),
    ] = False,
    format: Annotated[ReportFormat, figures.FORMAT] = ReportFormat.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show queries with their texts, judgments, scores, and the first hits of every run side by side.

    --slices: the kinds of queries on which each run is worse than on the others.

    Examples:  seekbench inspect results/x/scifact/test/bm25 results/x/scifact/test/minilm --query 133
    seekbench inspect bm25.trec --dataset ./scifact --worst 5
    """
    import json

    from seekbench.analysis import failures

    given = cases.cells_of(runs)
    pairs = [(file, cell) for file, cells in given for cell in cells]
    case = cases.case_of(
        [cell for _, cell in pairs], cases.names_of(pairs), metric, qrels=qrels, dataset=dataset, queries=queries,
        allow_mixed=allow_mixed,
    )  # fmt: skip
    sliced = slices or bool(by)
    chosen = _chosen(case, query or [], worst, best, sliced)
    parts = failures.slices_of(case, by) if sliced else []
    found = [failures.against_rest(case, 0, i, parts, min_slice) for i in range(len(case.systems))]
    if json_ or format is ReportFormat.json:
        lower = case.measures[0].definition.lower
        out: dict[str, Any] = {
            "dataset": case.label,
            "systems": list(case.systems),
            "queries": [_as_json(case, row, top) for row in chosen],
            "slices": {
                name: cases.slices_json(f, alpha, lower) for name, f in zip(case.systems, found, strict=True)
            }
            if sliced
            else None,
            "notes": case.notes,
        }
        typer.echo(json.dumps(figures.plain(out), indent=2, ensure_ascii=False))
        return
    width = figures.terminal_width() if format is ReportFormat.table else 160
    grids: list[Grid] = []
    for row in chosen:
        grids += _query(case, row, top, width)
    if sliced:
        grids += [
            cases.slices_grid(case, f, 0, (name,), alpha, 10)
            for name, f in zip(case.systems, found, strict=True)
        ]
    grids[-1].notes = [*grids[-1].notes, *case.notes]
    figures.show(grids, figures.TableFormat(format.value))


def _chosen(case: Case, named: list[str], worst: int | None, best: int | None, sliced: bool) -> list[int]:
    """Rows of queries: the named ones, then the worst and the best of the first run by the first metric, in the order
    of the queries where equal."""
    import numpy as np

    from seekbench.errors import InputError, Report

    report, rows = Report(), []
    for query in named:
        try:
            rows.append(case.row_of(query))
        except InputError as error:
            report.extend(error.report)
    report.raise_if_errors()
    if not named and worst is None and best is None and not sliced:
        worst = SOME
    values = case.scores[:, 0, 0] * (-1 if case.measures[0].definition.lower else 1)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    rows += order[: worst or 0].tolist()
    descending = known[np.argsort(-values[known], kind="stable")]
    rows += descending[: best or 0].tolist()
    return list(dict.fromkeys(rows))


def _query(case: Case, query: int, top: int, width: int) -> list[Grid]:
    """Its scores, relevant documents, and first hits."""
    from seekbench.tables import Grid, Text, cut, fitted

    id = case.query_ids[query]
    text = case.info.text(id)
    title = cut(f"query {id}" + (f": {text}" if text else ""), 4 * width)
    rows: list[list[Any]] = []
    for i, measure in enumerate(case.measures):
        values = case.scores[query, i].tolist()
        rows.append([Text(measure.name), *(Text(figures.number(v), value=v) for v in values)])
    grids = [Grid(["metric", *case.systems], rows, title=title)]
    ranks = [case.ranks(query, i) for i in range(len(case.systems))]
    judged = sorted(case.grades(query).items(), key=lambda item: (-item[1], case.doc_id(item[0])))
    relevant = [(row, grade) for row, grade in judged if grade > 0]
    rows = []
    for (row, grade), words in zip(relevant, cases.one_line(case, [r for r, _ in relevant]), strict=True):
        shown = [
            Text("not found" if row not in r else f"{r[row]:,}", r.get(row, top + 1) <= top) for r in ranks
        ]
        rows.append([Text(case.doc_id(row)), Text(str(grade)), *shown, Text(words)])
    columns = ["relevant document: ranks", "grade", *case.systems, "text"]
    notes = [f"{len(judged) - len(relevant)} more documents are judged, as not relevant"]
    grid = Grid(
        columns, rows, left=frozenset({0, len(columns) - 1}), notes=notes if len(judged) > len(rows) else ()
    )
    grids.append(fitted(grid, [len(columns) - 1], width))
    grids.append(_side_by_side(case, query, top, width))
    return grids


def _side_by_side(case: Case, query: int, top: int, width: int) -> Grid:
    """The first hits: a column a run, in each the document's grade, id, score, and text; relevant ones in bold."""
    from seekbench.tables import Grid, Text, fitted

    grades = case.grades(query)
    columns = ["rank"]
    texts: list[int] = []
    cells: list[list[list[Text]]] = []
    for i, name in enumerate(case.systems):
        rows, scores = (part[query, :top] for part in (case.runs[i].doc_rows, case.runs[i].scores))
        found = [int(row) for row in rows.tolist() if row >= 0]
        columns += [name, "grade", "score", "text"]
        texts.append(len(columns) - 1)
        cells.append([
            [
                Text(case.doc_id(row), grades.get(row, 0) > 0), Text(_grade(grades.get(row))),
                Text(f"{score:.4g}", value=score), Text(words),
            ]
            for row, score, words in zip(found, scores.tolist(), cases.one_line(case, found), strict=False)
        ])  # fmt: skip
    empty = [Text("")] * 4
    lines = []
    for rank in range(max(map(len, cells))):
        line = [Text(str(rank + 1))]
        for column in cells:
            line += column[rank] if rank < len(column) else empty
        lines.append(line)
    left = frozenset(i for i in range(1, len(columns)) if (i - 1) % 4 in (0, 3))
    notes = ["grade –: not judged"] if any(c[1].shown == "–" for col in cells for c in col) else []
    grid = Grid(columns, lines, left=left, notes=notes)
    # Without texts, or room for them, their columns are left out.
    return fitted(grid, texts, width if case.dataset is not None else 0, drop=True)


def _grade(grade: int | None) -> str:
    return "–" if grade is None else str(grade)


def _as_json(case: Case, query: int, top: int) -> dict[str, Any]:
    id = case.query_ids[query]
    grades, ranks = case.grades(query), [case.ranks(query, i) for i in range(len(case.systems))]
    judged = sorted(grades.items(), key=lambda item: (-item[1], case.doc_id(item[0])))
    hits = {}
    for i, name in enumerate(case.systems):
        rows = [int(r) for r in case.runs[i].doc_rows[query, :top].tolist() if r >= 0]
        scores = case.runs[i].scores[query, : len(rows)].tolist()
        hits[name] = [
            {
                "rank": rank, "doc_id": case.doc_id(row), "score": score, "grade": grades.get(row),
                "text": text or None,
            }
            for rank, (row, score, text) in enumerate(zip(rows, scores, case.texts(rows), strict=True), 1)
        ]  # fmt: skip
    texts = case.texts([row for row, _ in judged])
    return {
        "query_id": id,
        "text": case.info.text(id) or None,
        "scores": {
            m.name: dict(zip(case.systems, case.scores[query, i].tolist(), strict=True))
            for i, m in enumerate(case.measures)
        },
        "judged": [
            {
                "doc_id": case.doc_id(row), "grade": grade, "text": text or None,
                "ranks": {name: r.get(row) for name, r in zip(case.systems, ranks, strict=True)},
            }
            for (row, grade), text in zip(judged, texts, strict=True)
        ],
        "hits": hits,
    }  # fmt: skip
