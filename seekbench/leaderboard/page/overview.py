"""The table of systems and datasets of one metric, and the points of its plot, as the first page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seekbench.leaderboard import render
from seekbench.leaderboard.board import Cell, Leaderboard, Row, mark
from seekbench.leaderboard.overall import COSTS
from seekbench.leaderboard.subset import DAGGER
from seekbench.leaderboard.table import NOT_COMPARABLE


@dataclass
class Figure:
    """A cell. shown: its text; order: what it is sorted by, None where there is no figure. heat: 0 (worst of the
    column) to 1 (best), None for none. mark: ▲, ▼ or ◆; small: said below it; tip: said of it in words."""

    shown: str
    order: float | str | None = None
    heat: float | None = None
    best: bool = False
    second: bool = False
    mark: str = ""
    small: str = ""
    tip: str = ""


@dataclass
class TableColumn:
    """kind: `text`, `score` or `number`. about: what it shows, in words. link: the page of its dataset. dataset: the
    name that the filter of datasets looks at, '' for columns that stand for none."""

    title: str
    kind: str
    figures: list[Figure]
    about: str = ""
    small: str = ""
    link: str = ""
    dataset: str = ""
    languages: list[str] = field(default_factory=list)
    ascending: bool = False


@dataclass
class Table:
    """rows: (system, link, family). columns: beside the system's. sorted_by: one of them. warnings, notes: on the
    figures; legend: of the marks."""

    metric: str
    rows: list[tuple[str, str, str]]
    columns: list[TableColumn]
    warnings: list[str]
    notes: list[str]
    legend: list[str]
    sorted_by: int


def table_of(
    board: Leaderboard, *, system_links: Mapping[str, str], dataset_links: Mapping[tuple[str, str], str]
) -> Table:
    """system_links, dataset_links: addresses of their pages."""
    many = len(board.columns) > 1
    rows = board.rows
    columns: list[TableColumn] = [
        TableColumn(
            "type", "text", [Figure(r.family, r.family) for r in rows], "The retriever's type", ascending=True
        )
    ]
    if any(row.borda for row in rows):
        ranks = [Figure("–") if r.borda is None else Figure(str(r.borda[0]), r.borda[0]) for r in rows]
        columns.append(
            TableColumn("Borda", "number", ranks, "Rank by how many other systems are beaten", ascending=True)
        )
    sorted_by = len(columns)
    if many:
        means = [
            _score(r.mean, r.best, r.second, mark(r.delta, r.p, board.lower), r.interval, r.p, board.baseline)
            for r in rows
        ]
        title = board.mean_title.replace(f" {board.metric}", "", 1)
        columns.append(score_column(title, means, board.lower, f"Mean {board.metric} over the datasets"))
        if board.has_twins:
            twins = [_score(r.mean_twin, r.best_twin) for r in rows]
            about = "The mean without queries that are close to a training query"
            columns.append(score_column(f"mean{DAGGER}", twins, board.lower, about))
        if any(r.mean_types is not None for r in rows):
            kinds = [_score(r.mean_types) for r in rows]
            columns.append(
                score_column("mean over task types", kinds, board.lower, "Mean of the means by type of task")
            )
    if board.baseline:
        deltas = [r.delta if many else r.cells[0].delta for r in rows]
        columns.append(
            TableColumn(
                f"Δ {board.baseline}",
                "number",
                [Figure("–" if d is None else f"{d:+.4f}".replace("-", "−"), d) for d in deltas],
                f"Difference to {board.baseline}",
                ascending=board.lower,
            )
        )
    for j, column in enumerate(board.columns):
        cells = [figure(r.cells[j], board.baseline) for r in rows]
        differ = len({c.metric for c in board.columns}) > 1
        made = score_column(column.name, cells, column.lower, f"{column.metric} on {column.name}")
        made.small = column.metric if differ else ""
        made.dataset, made.languages = column.name, column.languages
        if len(column.keys) == 1:
            made.link = dataset_links.get(column.keys[0], "")
        else:
            made.about += ", the mean of " + ", ".join(id for id, _ in column.keys)
        columns.append(made)
        if column.subset is not None:
            twins = [
                figure(t, board.baseline) if (t := r.twins[j]) is not None else Figure("–") for r in rows
            ]
            about = f"{column.metric} on {column.name} without queries that are close to a training query"
            twin = score_column(f"{column.name}{DAGGER}", twins, column.lower, about)
            twin.dataset, twin.languages = column.name, column.languages
            columns.append(twin)
    if many and all(row.mean is None for row in rows) and columns[1].title == "Borda":
        sorted_by = 1
    if not many:
        sorted_by = next(i for i, c in enumerate(columns) if c.dataset)
    if board.grouped_by:
        groups = [Figure(r.group or "–", r.group) for r in rows]
        about = "Systems with a letter in common can't be told apart"
        columns.append(TableColumn("group", "text", groups, about, ascending=True))
    for title, name, unit, digits in render.costs(board):
        figures = [_cost(row, name, unit, digits) for row in rows]
        columns.append(
            TableColumn(title, "number", figures, ABOUT.get(name, ""), ascending=not COSTS.get(name, False))
        )
    return Table(
        metric=board.metric,
        rows=[(r.system, system_links[r.system], r.family) for r in rows],
        columns=columns,
        warnings=[n for n in board.notes if _warns(n)],
        notes=[n for n in board.notes if not _warns(n)],
        legend=render.legend(board)[len(board.notes) :],
        sorted_by=sorted_by,
    )


def _warns(note: str) -> bool:
    return note == NOT_COMPARABLE or note.startswith("NOT COMPARABLE")


ABOUT = {
    "queries_per_second": "Queries a second over all datasets",
    "latency_p95_ms": "95th percentile of the latency of one query, the worst of the datasets",
    "index_bytes": "Size of all indexes",
    "parameters": "Parameters of the model",
    "kg_co2": "CO2 equivalents, as published",
}


def score_column(title: str, figures: list[Figure], lower: bool, about: str) -> TableColumn:
    """With heat from the column's worst to its best figure."""
    values = [f.order for f in figures if isinstance(f.order, float)]
    least, most = (min(values), max(values)) if values else (0.0, 0.0)
    for figure in figures:
        if isinstance(figure.order, float) and most > least:
            share = (figure.order - least) / (most - least)
            figure.heat = round(1 - share if lower else share, 3)
    return TableColumn(
        title, "score", figures, about + (" (lower is better)" if lower else ""), ascending=lower
    )


def _score(
    value: float | None,
    best: bool = False,
    second: bool = False,
    sign: str = "",
    interval: Sequence[float] | None = None,
    p: float | None = None,
    baseline: str | None = None,
) -> Figure:
    if value is None:
        return Figure("–")
    return Figure(
        f"{value:.4f}", float(value), best=best, second=second, mark=sign,
        small="" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}",
        tip=_said(sign, p, baseline),
    )  # fmt: skip


def _said(sign: str, p: float | None, baseline: str | None) -> str:
    if p is None or baseline is None:
        return ""
    how = {"▲": "better than", "▼": "worse than"}.get(sign, "not significantly different from")
    return f"{how} {baseline} (p {p_text(p)})"


def p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def figure(cell: Cell, baseline: str | None) -> Figure:
    if not cell.comparable:
        return Figure("–" if cell.score is None else f"({cell.score:.4f})", tip="over other queries")
    if cell.failure:
        return Figure("failed", tip=cell.failure)
    if cell.missing:
        return Figure("–", tip="lacks " + ", ".join(cell.missing))
    return _score(cell.score, cell.best, cell.second, cell.mark, cell.interval, cell.p, baseline)


def _cost(row: Row, name: str, unit: float, digits: int) -> Figure:
    value = row.efficiency.get(name)
    if value is None:
        return Figure("–")
    front = name in row.front
    tip = "no other system is both better and cheaper by this figure" if front else ""
    return Figure(f"{value / unit:,.{digits}f}", value / unit, mark=render.ON_FRONT if front else "", tip=tip)


def points_of(board: Leaderboard) -> dict[str, Any]:
    """What the plot of quality against cost needs: {quality, lower, costs: [{name, title, unit, more, about}], points:
    [{system, family, score, costs, front}], left_out: systems without a figure}."""
    many = len(board.columns) > 1
    scores = [row.mean if many else row.cells[0].score for row in board.rows]
    costs = [
        {"name": name, "title": title, "unit": unit, "more": COSTS[name], "about": ABOUT[name]}
        for title, name, unit, _ in render.costs(board)
        if name in COSTS and any(row.efficiency.get(name) is not None for row in board.rows)
    ]
    # The time of a query is what most ask about first.
    costs.sort(key=lambda cost: cost["name"] != "latency_p95_ms")
    return {
        "quality": f"mean {board.metric}" if many else f"{board.columns[0].name} {board.columns[0].metric}",
        "lower": board.lower,
        "costs": costs,
        "points": [
            {
                "system": row.system,
                "family": row.family,
                "score": score,
                "costs": {str(cost["name"]): row.efficiency.get(str(cost["name"])) for cost in costs},
                "front": row.front,
            }
            for row, score in zip(board.rows, scores, strict=True)
            if score is not None
        ],
        "left_out": [row.system for row, score in zip(board.rows, scores, strict=True) if score is None],
    }
