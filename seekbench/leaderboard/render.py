"""Leaderboards as text: columns of the table in every format, JSON, and the files beside a run's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from seekbench import tables
from seekbench.leaderboard import records
from seekbench.leaderboard.board import ALPHA, Cell, Column, Leaderboard, Row, mark
from seekbench.leaderboard.overall import COSTS
from seekbench.leaderboard.sources import is_published
from seekbench.leaderboard.subset import DAGGER
from seekbench.tables import Grid, Text


def as_json(board: Leaderboard) -> dict[str, Any]:
    return {
        "schema_version": records.SCHEMA_VERSION,
        "metric": board.metric,
        "suite": board.suite,
        "suite_members": None
        if board.members is None
        else dict(zip(("shown", "of"), board.members, strict=True)),
        "datasets": [c.name for c in board.columns],
        "columns": [
            {
                "name": c.name,
                "datasets": [{"id": id, "split": split} for id, split in c.keys],
                "metric": c.metric,
                "lower_is_better": c.lower,
                "task": c.kind,
                "languages": c.languages,
            }
            for c in board.columns
        ],
        "baseline": board.baseline,
        "significance": {
            "test": "paired t, two-sided",
            "correction": "holm",
            "p": "corrected",
            "alpha": ALPHA,
        }
        if board.baseline
        else None,
        "grouped_by": board.grouped_by,
        # Of each dataset, the queries of the figures "without_neighbour" below; null where no system learnt.
        "without_neighbour": {
            c.name: None
            if c.subset is None
            else {
                "queries": c.subset.queries,
                "of": c.subset.total,
                "thresholds": c.subset.thresholds,
                "queries_with_neighbour": c.subset.trained,
            }
            for c in board.columns
        },
        "rows": [_row_json(board, row) for row in board.rows],
        "notes": board.notes,
    }


def _row_json(board: Leaderboard, row: Row) -> dict[str, Any]:
    return {
        "system": row.system,
        "type": row.family,
        "mean": row.mean,
        "interval": row.interval,
        "delta": row.delta,
        "p": row.p,
        "borda": None
        if row.borda is None
        else dict(zip(("rank", "points", "missing"), row.borda, strict=True)),
        "mean_over_task_types": row.mean_types,
        "task_types": row.kinds,
        "group": row.group,
        "without_neighbour": {"mean": row.mean_twin, "delta": row.delta_twin} if board.has_twins else None,
        "scores": {
            column.name: {
                "mean": c.score,
                "interval": c.interval,
                "delta": c.delta,
                "p": c.p,
                "comparable": c.comparable,
                "failure": c.failure,
                "missing": c.missing,
                "without_neighbour": None
                if t is None
                else {"mean": t.score, "delta": t.delta, "p": t.p, "comparable": t.comparable},
            }
            for column, c, t in zip(board.columns, row.cells, row.twins, strict=True)
        },
        "efficiency": row.efficiency,
        "front": row.front,
    }


#: Columns of costs: title, which figure, what it is divided by, decimals. Those after the third are shown where a
#: system states them.
_COSTS = (
    ("queries/s", "queries_per_second", 1.0, 0),
    ("p95 ms", "latency_p95_ms", 1.0, 1),
    ("index MB", "index_bytes", 1e6, 1),
    ("params M", "parameters", 1e6, 1),
    ("kg CO2", "kg_co2", 1.0, 3),
)
ON_FRONT = "◆"


def costs(board: Leaderboard) -> list[tuple[str, str, float, int]]:
    """What a system costs, as far as it is shown: (title, name in `Row.efficiency`, what a figure is divided by,
    decimals)."""
    stated = {name for row in board.rows for name, value in row.efficiency.items() if value is not None}
    usual = {name for _, name, _, _ in _COSTS[:3]} if stated & set(COSTS) - {"parameters"} else set()
    return [cost for cost in _COSTS if cost[1] in stated or cost[1] in usual]


def grid(board: Leaderboard, *, intervals: bool = False) -> Grid:
    """The table as it is shown, best figures marked. intervals: with 95% intervals."""
    many = len(board.columns) > 1
    parts: list[tuple[str, str, list[Text]]] = []  # title, title in CSV, one cell a row

    def add(title: str, cells: list[Text], plain: str | None = None) -> None:
        parts.append((title, title if plain is None else plain, cells))

    rows = board.rows
    add("system", [Text(row.system) for row in rows])
    if any(row.borda for row in rows):
        add("Borda", [_rank(row) for row in rows])
    if many:
        add(
            board.mean_title,
            [
                Text(_marked(row.mean, row.delta, row.p, board.lower), row.best, row.mean, row.second)
                for row in rows
            ],
        )
        if intervals:
            add("95% CI", [_interval(row.interval) for row in rows], f"{board.mean_title} 95% CI")
        if board.has_twins:
            add(
                f"mean{DAGGER}", [Text(_score(r.mean_twin), r.best_twin, r.mean_twin) for r in rows],
                f"{board.mean_title} without_neighbour",
            )  # fmt: skip
        if any(row.mean_types is not None for row in rows):
            add("mean over task types", [Text(_score(row.mean_types), value=row.mean_types) for row in rows])
    if board.baseline:
        deltas = [row.delta if many else row.cells[0].delta for row in rows]
        add(f"Δ {board.baseline}", [Text("" if d is None else f"{d:+.4f}", value=d) for d in deltas])
    for j, column in enumerate(board.columns):
        title = _title(board, column)
        add(title, [_shown(row.cells[j]) for row in rows])
        if intervals:
            add("95% CI", [_interval(row.cells[j].interval) for row in rows], f"{title} 95% CI")
        if column.subset is not None:
            # It stands beside the one that names the dataset, and a narrow table fits into a terminal.
            short = title if many else column.metric
            twins = [_shown(t) if (t := row.twins[j]) is not None else Text("") for row in rows]
            add(f"{short}{DAGGER}", twins, f"{title} without_neighbour")
    if board.grouped_by:
        add("group", [Text(row.group or "–") for row in rows])
    for title, name, unit, digits in costs(board):
        add(title, [_cost(row, name, unit, digits) for row in rows])
    columns = [title for title, _, _ in parts]
    plain = [title for _, title, _ in parts]
    lines = [list(line) for line in zip(*(cells for _, _, cells in parts), strict=True)]
    left = frozenset({0, *(i for i, title in enumerate(columns) if title == "group")})
    return Grid(columns, lines, notes=legend(board), left=left, csv_columns=plain)


def header(board: Leaderboard) -> list[str]:
    """Titles of the columns."""
    return list(grid(board).columns)


def _title(board: Leaderboard, column: Column) -> str:
    """With the metric where the table has one dataset, or columns of different metrics."""
    differ = len({c.metric for c in board.columns}) > 1
    return f"{column.name} {column.metric}" if len(board.columns) == 1 or differ else column.name


def _rank(row: Row) -> Text:
    return Text("–") if row.borda is None else Text(str(row.borda[0]), value=row.borda[0])


def _marked(score: float | None, delta: float | None, p: float | None, lower: bool) -> str:
    sign = mark(delta, p, lower)
    return _score(score) + (f" {sign}" if sign else "")


def _interval(value: tuple[float, float] | None) -> Text:
    return (
        Text("–", value=(None, None))
        if value is None
        else Text("[{:.4f}, {:.4f}]".format(*value), value=tuple(value))
    )


def _cost(row: Row, name: str, unit: float, digits: int) -> Text:
    value = row.efficiency.get(name)
    value = None if value is None else value / unit
    return Text(_number(value, digits) + (f" {ON_FRONT}" if name in row.front else ""), value=value)


def _shown(cell: Cell) -> Text:
    """In a CSV file too, what is not comparable is in brackets, and so no number."""
    if not cell.comparable:
        return Text("–" if cell.score is None else f"({cell.score:.4f})")
    if cell.failure:
        return Text("failed", value=cell.score)
    return Text(_marked(cell.score, cell.delta, cell.p, cell.lower), cell.best, cell.score, cell.second)


def legend(board: Leaderboard) -> list[str]:
    lines = list(board.notes)
    marked = [c.mark for r in board.rows for c in [*r.cells, *r.twins] if c is not None]
    marked += [mark(row.delta, row.p, board.lower) for row in board.rows]
    if board.baseline and any(marked):
        lines.append(
            f"▲ better, ▼ worse than {board.baseline}: paired t-test per query, p < {ALPHA} after Holm's correction"
        )
    if board.grouped_by:
        published = any(is_published(record) for _, record in board.place.values())
        how = (
            "their scores on the queries (paired t, stratified by dataset)"
            + (", which published systems have not" if published else "")
            if board.grouped_by == "queries"
            else "their scores on the datasets (Wilcoxon's signed-rank test)"
        )
        lines.append(
            f"group: systems with a letter in common can't be told apart by {how}, p < {ALPHA}, all pairs, Holm"
        )
    if any(row.borda for row in board.rows):
        lines.append("Borda: rank by how many other systems are beaten, summed over the columns (MMTEB)")
    if any(row.kinds for row in board.rows):
        lines.append("mean over task types: of the means of " + ", ".join(board.rows[0].kinds))
    if any(row.front for row in board.rows):
        lines.append(f"{ON_FRONT} no other system is both better and cheaper by this figure")
    if board.mixed:
        lines.append("no mean and no rank are shown: of some of these metrics a lower figure is better")
    elif any(r.mean is None for r in board.rows) and len(board.columns) > 1:
        lines.append("no mean is shown for a system that lacks a dataset")
    return lines


def as_markdown(board: Leaderboard) -> str:
    return tables.as_markdown(grid(board))


def write(output: Path, boards: Sequence[Leaderboard]) -> list[Path]:
    """leaderboard.json (the first table, and all tables by metric) and leaderboard.md."""
    from seekbench.store import write_atomic

    data = {**as_json(boards[0]), "metrics": {b.metric: as_json(b) for b in boards}}
    text = "\n".join(f"## {b.metric}\n\n{as_markdown(b)}" for b in boards)
    paths = [output / "leaderboard.json", output / "leaderboard.md"]
    write_atomic(paths[0], orjson.dumps(data, option=orjson.OPT_INDENT_2))
    write_atomic(paths[1], text.encode())
    return paths


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value:,.{digits}f}" if value < 10_000 or digits == 0 else f"{value:,.0f}"
