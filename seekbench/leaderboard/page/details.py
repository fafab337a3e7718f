"""What the pages of one system and of one dataset show, from the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from seekbench.leaderboard.board import Key, Leaderboard, Row
from seekbench.leaderboard.columns import label
from seekbench.leaderboard.page.overview import Figure, TableColumn, figure, score_column
from seekbench.leaderboard.sources import is_published

#: Entries of a list that are shown; the rest are counted.
_MOST = 12


def short(value: Any) -> Any:
    """A JSON value as pages show it: long lists end with the count of what follows."""
    if isinstance(value, Mapping):
        return {str(k): short(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        kept = [short(v) for v in value[:_MOST]]
        return [*kept, f"… and {len(value) - _MOST:,} more"] if len(value) > _MOST else kept
    return value


def records_of(board: Leaderboard, system: str) -> dict[Key, dict[str, Any]]:
    """By dataset, in the order of the columns."""
    keys = [key for column in board.columns for key in column.keys]
    return {key: board.place[(*key, system)][1] for key in keys if (*key, system) in board.place}


def system_page(boards: Sequence[Leaderboard], row: Row, *, texts: bool) -> dict[str, Any]:
    """Figures of all metrics and datasets; how the system was made; each dataset's record."""
    board = boards[0]
    records = records_of(board, row.system)
    own = {key: r for key, r in records.items() if not is_published(r)}
    first = next(iter(own.values()), None)
    inputs = (first or {}).get("retriever", {}).get("inputs") if texts else None
    return {
        "system": row.system,
        "family": row.family,
        "model": (first or {}).get("retriever", {}).get("describe", {}).get("model"),
        "figures": _metrics_by_dataset(boards, row.system),
        "efficiency": _efficiency(own),
        "recipe": _recipe(own, board) if own else "",
        "about": _about(first) if first else {},
        "inputs": inputs or {},
        "has_inputs": bool((first or {}).get("retriever", {}).get("inputs")),
        "records": {key: (label(key), short(_record(r))) for key, r in records.items()},
        "published": [r["published"] for r in records.values() if is_published(r)],
        "training": {label(k): short(r["training"]) for k, r in own.items() if r.get("training")},
        "approximation": {
            label(k): short(r["approximation"]) for k, r in own.items() if r.get("approximation")
        },
    }


def _metrics_by_dataset(boards: Sequence[Leaderboard], system: str) -> list[dict[str, Any]]:
    """A line a column of the table: {column, key, queries, figures of all boards}."""
    lines = []
    for j, column in enumerate(boards[0].columns):
        figures = []
        for board in boards:
            row = next(r for r in board.rows if r.system == system)
            figures.append(figure(row.cells[j], board.baseline))
        queries = [
            board_place[1]["dataset"].get("queries")
            for key in column.keys
            if (board_place := boards[0].place.get((*key, system)))
        ]
        key = column.keys[0] if len(column.keys) == 1 else None
        known = [n for n in queries if n]
        lines.append(
            {"name": column.name, "key": key, "queries": sum(known) if known else None, "figures": figures}
        )
    return lines


def _efficiency(own: Mapping[Key, Mapping[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    for key, record in own.items():
        e = record["efficiency"]
        latency = e.get("latency_ms") or {}
        memory = e.get("peak_memory_bytes") or {}
        lines.append(
            {
                "name": label(key),
                "key": key,
                "queries/s": _number(e.get("queries_per_second"), 1, 0),
                "p50 ms": _number(latency.get("p50"), 1, 2),
                "p95 ms": _number(latency.get("p95"), 1, 2),
                "index s": _number(e.get("index_seconds"), 1, 1),
                "index MB": _number(e.get("index_bytes"), 1e6, 1),
                "documents/s": _number(e.get("index_documents_per_second"), 1, 0),
                "memory MB": _number(max((m for m in memory.values() if m), default=None), 1e6, 0),
                "threads": _number(e.get("threads"), 1, 0),
            }
        )
    return lines


def _number(value: float | None, unit: float, digits: int) -> str:
    return "–" if value is None else f"{value / unit:,.{digits}f}"


def _recipe(own: Mapping[Key, Mapping[str, Any]], board: Leaderboard) -> str:
    """A run config that makes these results again. What a composite needs stands in its own results."""
    first = next(iter(own.values()))
    retriever = first["retriever"]
    datasets = []
    for (id, split), record in own.items():
        source = record["dataset"].get("source") or {}
        entry: dict[str, Any] = (
            {"name": source["card"]} if source.get("card") else {"path": source.get("subject") or id}
        )
        datasets.append(entry if split == "test" else {**entry, "split": split})
    config = {
        "datasets": datasets,
        "retrievers": {retriever["name"]: {"type": retriever["type"], **(retriever.get("config") or {})}},
        "metrics": list(first["metrics"]),
        "k": first.get("k"),
    }
    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    return text


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """How the system was made, as the first of its records tells."""
    retriever = record["retriever"]
    return {
        "parameters": short(retriever.get("params") or {}),
        "described": short(retriever.get("describe") or {}),
        "identity": short({"system": retriever["system"], **(retriever.get("identity") or {})}),
        "needs": retriever.get("needs") or [],
        "hardware": short(record.get("hardware") or {}),
        "versions": short(record.get("versions") or {}),
        "policies": short(record.get("policies") or {}),
    }


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What differs by dataset: the rest stands on the page once."""
    wanted = (
        "dataset",
        "keys",
        "index",
        "efficiency",
        "metrics",
        "files",
        "made_at",
        "recorded_at",
        "published",
    )
    out = {name: record[name] for name in wanted if record.get(name)}
    details = record["retriever"].get("details")
    return {**out, "details": details} if details else out


def first_record(board: Leaderboard, key: Key) -> dict[str, Any]:
    """A record of a dataset, one of ours if there is any: published ones know little of it."""
    records = [r for (d, s, _), (_, r) in board.place.items() if (d, s) == key]
    return next((r for r in records if not is_published(r)), records[0])


def dataset_page(boards: Sequence[Leaderboard], key: Key) -> dict[str, Any]:
    """Facts of a dataset, and the figures of all systems and metrics on it."""
    board = boards[0]
    first = first_record(board, key)["dataset"]
    j = next(i for i, c in enumerate(board.columns) if key in c.keys)
    alone = len(board.columns[j].keys) == 1
    columns: list[TableColumn] = []
    systems = [row.system for row in board.rows if (*key, row.system) in board.place]
    for each in boards:
        rows = {row.system: row for row in each.rows}
        column = each.columns[j]
        if alone:
            figures = [figure(rows[s].cells[j], each.baseline) for s in systems]
        else:
            figures = [_recorded(each.place.get((*key, s)), column.metric) for s in systems]
        columns.append(score_column(column.metric, figures, column.lower, column.metric))
    source = dict(first.get("source") or {})
    return {
        "title": label(key),
        "facts": {
            name.replace("_", " "): first[name]
            for name in (
                "documents", "queries", "judgments", "judged_documents_absent", "queries_without_positives",
                "language", "main_metric", "template", "query_template", "exclusion",
            )
            if first.get(name) is not None
        },
        "source": short(source),
        "hashes": {k: v for k, v in (first.get("hashes") or {}).items() if v},
        "kind": board.columns[j].kind,
        "systems": systems,
        "columns": columns,
        "limited": any(r.get("limited") for (d, s, _), (_, r) in board.place.items() if (d, s) == key),
    }  # fmt: skip


def _recorded(entry: tuple[Any, Mapping[str, Any]] | None, metric: str) -> Figure:
    """A figure of a dataset that is a part of a column, which has no cell of its own."""
    value = ((entry[1]["metrics"].get(metric) if entry else None) or {}).get("mean")
    return Figure("–") if value is None else Figure(f"{value:.4f}", float(value))
