"""Leaderboards: records of systems x datasets as one table, for the terminal, Markdown and JSON.

A mean is shown only for a system that has every dataset of the table; a cell that is missing or failed is
said to be so. Figures of different content (hashes) are not put into one column unless asked for, and marked.

Where a system learnt from another split of a dataset, a second column (†) has the figures of all systems on the
queries that are close to no training query with the same answer (`training.queries.with_neighbour`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from seekbench import tables
from seekbench.errors import InputError, did_you_mean
from seekbench.leaderboard import approximate, generative, records
from seekbench.leaderboard.board import ALPHA, Cell, Leaderboard, Row
from seekbench.leaderboard.per_query import PerQuery
from seekbench.leaderboard.subset import DAGGER, subset_notes, subset_of, twin_of
from seekbench.metrics.measure import Measure, parse
from seekbench.statistics.corrections import holm
from seekbench.statistics.paired import paired_t
from seekbench.tables import Grid, Text, best_shown

NOT_COMPARABLE = "trial run (limited): not comparable with any other figure"


def load(paths: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, record) of all records below the paths. Raises InputError where there is none."""
    found = []
    for path in paths:
        if not path.exists():
            raise InputError("no such file or folder", where=str(path))
        files = list(records.find(path))
        if not files:
            raise InputError(
                "there are no results here", where=str(path), remedy="it must hold result.json files"
            )
        found += [(file.parent, records.read(file)) for file in files]
    return found


def build(
    found: Sequence[tuple[Path, dict[str, Any]]],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    failures: Mapping[tuple[str, str, str], str] | None = None,
    allow_mixed: bool = False,
) -> Leaderboard:
    """The table of one metric (by default the first of the first record).

    failures: (dataset, split, system) -> cause. Raises InputError for records of different dataset content.
    """
    failures = failures or {}
    if not found and not failures:
        raise InputError("there are no results to show")
    if baseline is None:
        recorded = {r.get("baseline") for _, r in found}
        baseline = recorded.pop() if len(recorded) == 1 else None
        baseline = baseline if baseline in _system_names(found) else None
    if metric is None:
        metric = found[0][1]["primary_metric"] if found else "ndcg@10"
    keys = list(dict.fromkeys([_dataset_key(r) for _, r in found] + [(d, s) for d, s, _ in failures]))
    names = _system_names(found)
    systems = list(dict.fromkeys([*names, *(s for _, _, s in failures)]))
    if baseline is not None and baseline not in systems:
        raise InputError(
            f"the baseline '{baseline}' is not in these results", remedy=did_you_mean(baseline, systems)
        )
    notes = _content_check(found, keys, allow_mixed)
    place, left_out = _newest(found, names)
    notes += left_out
    if len({orjson.dumps(_policies(r), option=orjson.OPT_SORT_KEYS) for _, r in found}) > 1:
        notes.append(
            "NOT COMPARABLE: these results were scored under different policies (see `policies` in the records)"
        )
    for folder, record in found:
        if metric not in record["metrics"]:
            raise InputError(
                f"{folder}: has no metric '{metric}'", remedy=did_you_mean(metric, record["metrics"])
            )
    lower = parse(metric).definition.lower
    scores = PerQuery(metric)
    subsets = [subset_of(place, key, scores) for key in keys]
    board = Leaderboard(metric, _dataset_labels(keys), subsets, [], baseline, notes, lower)
    for system in systems:
        cells, twins = [], []
        for key, subset in zip(keys, subsets, strict=True):
            entry = place.get((*key, system))
            cell = Cell(failure=failures.get((*key, system)), lower=lower)
            if entry:
                cell.score = entry[1]["metrics"][metric]["mean"]
            cells.append(cell)
            twins.append(None if subset is None else twin_of(entry, subset, cell, scores))
        row = Row(system, cells, twins, _mean(cells))
        if board.has_twins:
            row.mean_twin = _mean([t or c for t, c in zip(twins, cells, strict=True)])
        row.efficiency = _efficiency([place[(*key, system)][1] for key in keys if (*key, system) in place])
        board.rows.append(row)
    if baseline is not None:
        _compare(board, place, keys, baseline, scores)
    _mark_best(board)
    board.notes += [*_coverage(place, scores.measure), *subset_notes(board)]
    if scores.measure.definition.aggregate == "run" and any(r.get("training") for _, r in place.values()):
        board.notes.append(
            f"{metric} is a figure of the whole run: there is none without queries that are close to training queries"
        )
    if any(not record["comparable"] for _, record in place.values()):
        board.notes.insert(0, NOT_COMPARABLE)
    board.rows.sort(key=lambda r: (r.mean is None, (r.mean or 0.0) * (1 if lower else -1)))
    return board


def _coverage(
    place: Mapping[tuple[str, str, str], tuple[Path, dict[str, Any]]], measure: Measure
) -> list[str]:
    """Notes on cells whose figure rests on less than it seems: queries without hits, documents cut short, fewer hits
    than the measure looks at."""
    notes = []
    for (dataset, _, system), (_, record) in place.items():
        without, queries = record["queries_without_hits"], record["dataset"]["queries"]
        if without > (0 if record["retriever"]["type"] == "run_file" else 0.05 * queries):
            notes.append(
                f"{system}: {without:,} of {queries:,} queries of {dataset} have no hits and count 0"
            )
        dropped = record["retriever"]["details"].get("unknown_documents_dropped", 0)
        if dropped:
            notes.append(f"{system}: {dropped:,} hits on documents that {dataset} lacks were dropped")
        cut = record["index"].get("truncation_rate") or 0.0
        if cut > 0.05:
            notes.append(f"{system}: {cut:.0%} of the documents of {dataset} are cut at the model's length")
        notes += generative.notes(system, record, measure)
        notes += approximate.notes(system, record, measure)
    # What holds for a system whatever the dataset is said once.
    return list(dict.fromkeys(notes))


def _policies(record: Mapping[str, Any]) -> dict[str, Any]:
    """Those of scoring; the exclusion belongs to the dataset."""
    return {name: value for name, value in record["policies"].items() if name != "exclusion"}


def _dataset_key(record: Mapping[str, Any]) -> tuple[str, str]:
    return record["dataset"]["id"], record["dataset"]["split"]


def _dataset_labels(keys: Sequence[tuple[str, str]]) -> list[str]:
    """`scifact`, or `scifact (train)` where the split is not test."""
    return [d if s == "test" else f"{d} ({s})" for d, s in keys]


def _system_names(found: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    """A name for each record's system: the retriever's own; with the results' folder before it, and then a hash
    behind it, where different systems (type, parameters, model, k) have the same name."""
    # .../<output>/<dataset>/<split>/<retriever>: the folder that the user chose tells runs apart.
    systems = [(r["retriever"]["name"], folder.parts[-4], r["retriever"]["system"]) for folder, r in found]
    of_name: dict[str, set[str]] = {}
    of_both: dict[tuple[str, str], set[str]] = {}
    for name, run, system in systems:
        of_name.setdefault(name, set()).add(system)
        of_both.setdefault((name, run), set()).add(system)
    names = []
    for name, run, system in systems:
        if len(of_name[name]) == 1:
            names.append(name)
        elif len(of_both[name, run]) == 1:
            names.append(f"{run}/{name}")
        else:
            names.append(f"{run}/{name}#{system[:6]}")
    return names


def _newest(
    found: Sequence[tuple[Path, dict[str, Any]]], names: Sequence[str]
) -> tuple[dict[tuple[str, str, str], tuple[Path, dict[str, Any]]], list[str]]:
    """One record a cell: where the same system was recorded more than once for a dataset, the newest, and a note."""
    place: dict[tuple[str, str, str], tuple[Path, dict[str, Any]]] = {}
    left_out = 0
    for entry, name in zip(found, names, strict=True):
        key = (*_dataset_key(entry[1]), name)
        known = place.get(key)
        left_out += known is not None
        if known is None or _worth(entry[1]) > _worth(known[1]):
            place[key] = entry
    notes = [f"{left_out} older record(s) of the same system and dataset are left out"] if left_out else []
    return place, notes


def _worth(record: Mapping[str, Any]) -> tuple[bool, str]:
    """A full result goes before a trial, a newer one before an older one."""
    return record["comparable"], record["recorded_at"]


def _content_check(
    found: Sequence[tuple[Path, dict[str, Any]]], keys: Sequence[tuple[str, str]], allow_mixed: bool
) -> list[str]:
    mixed = []
    for key in keys:
        hashes = {r["dataset"]["hashes"]["dataset"] for _, r in found if _dataset_key(r) == key}
        if len(hashes) > 1:
            mixed.append(
                f"{key[0]} ({key[1]}): {len(hashes)} different contents: "
                + ", ".join(sorted(h[:10] for h in hashes))
            )
    if mixed and not allow_mixed:
        raise InputError(
            "these results were made on different data: " + "; ".join(mixed),
            remedy="--allow-mixed shows them all the same",
        )
    return [f"NOT COMPARABLE: made on different data: {line}" for line in mixed]


def _efficiency(cell_records: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """queries/s over all queries of all datasets; the worst p95; the sum of index bytes and index seconds."""
    if not cell_records:
        return {}
    made = [r["efficiency"] for r in cell_records]
    # A run file has no speed of its own; a composite's rate includes its parts.
    queries = sum(r["dataset"]["queries"] for r in cell_records)
    rates = [(r["dataset"]["queries"], r["efficiency"]["queries_per_second"]) for r in cell_records]
    seconds = sum(n / rate for n, rate in rates) if all(rate for _, rate in rates) else None
    p95 = [e["latency_ms"]["p95"] for e in made if e["latency_ms"]["p95"] is not None]
    sizes = [e["index_bytes"] for e in made if e["index_bytes"] is not None]
    index = [e["index_seconds"] for e in made if e["index_seconds"] is not None]
    return {
        "queries_per_second": queries / seconds if seconds else None,
        "latency_p95_ms": max(p95) if p95 else None,
        "index_bytes": sum(sizes) if sizes else None,
        "index_seconds": sum(index) if index else None,
    }


def _mean(cells: Sequence[Cell]) -> float | None:
    """None unless there is a figure of every dataset, over the queries that others are shown for too."""
    scores = [c.score for c in cells if c.score is not None and c.comparable]
    return float(np.mean(scores)) if scores and len(scores) == len(cells) else None


def _compare(
    board: Leaderboard,
    place: Mapping[tuple[str, str, str], tuple[Path, dict[str, Any]]],
    keys: Sequence[tuple[str, str]],
    baseline: str,
    scores: PerQuery,
) -> None:
    """Differences to the baseline with a paired t-test on per-query scores, Holm-adjusted over the table. A figure
    that is no mean over queries (a sum, one of the whole run) has a difference and no test."""
    compared: list[Cell] = []
    raw: list[float] = []
    tested = scores.measure.definition.aggregate == "mean"
    base_row = next(r for r in board.rows if r.system == baseline)
    for j, key in enumerate(keys):
        base = place.get((*key, baseline))
        subset = board.subsets[j]
        for row in board.rows:
            entry = place.get((*key, row.system))
            if base is None or entry is None or row is base_row:
                continue
            pairs: list[tuple[Cell | None, Cell | None, Any]] = [(row.cells[j], base_row.cells[j], None)]
            if subset is not None:
                pairs.append((row.twins[j], base_row.twins[j], subset.ids))
            for cell, base_cell, ids in pairs:
                if cell is None or base_cell is None or not (cell.comparable and base_cell.comparable):
                    continue
                if cell.score is None or base_cell.score is None:
                    continue
                if tested:
                    p = _p_value(scores, entry[0], base[0], ids)
                    if p is None:
                        continue
                    compared.append(cell)
                    raw.append(p)
                cell.delta = cell.score - base_cell.score
    for cell, p in zip(compared, holm(raw), strict=True):
        cell.p = p
    for row in board.rows:
        if row is not base_row and row.mean is not None and base_row.mean is not None:
            row.delta = row.mean - base_row.mean
        if row is not base_row and row.mean_twin is not None and base_row.mean_twin is not None:
            row.delta_twin = row.mean_twin - base_row.mean_twin


def _p_value(scores: PerQuery, folder: Path, base: Path, ids: Any) -> float | None:
    """Of a paired t-test on the queries of these ids, by default all; None where the two have different queries."""
    if ids is None:
        ids = scores.all(base)[0]
        if len(scores.all(folder)[0]) != len(ids):
            return None
    own, other = scores.on(folder, ids), scores.on(base, ids)
    return None if own is None or other is None else paired_t(own, other).p


def _mark_best(board: Leaderboard) -> None:
    """The best figure of each column as it is displayed; several where they print alike."""
    for j in range(len(board.datasets)):
        _mark_column([row.cells[j] for row in board.rows], board.lower)
        _mark_column([t for row in board.rows if (t := row.twins[j]) is not None], board.lower)
    best = best_shown((r.mean for r in board.rows), board.lower)
    best_twin = best_shown((r.mean_twin for r in board.rows), board.lower)
    for row in board.rows:
        row.best = row.mean is not None and round(row.mean, 4) == best
        row.best_twin = row.mean_twin is not None and round(row.mean_twin, 4) == best_twin


def _mark_column(cells: Sequence[Cell], lower: bool) -> None:
    best = best_shown((c.score for c in cells if c.comparable), lower)
    for cell in cells:
        cell.best = cell.comparable and cell.score is not None and round(cell.score, 4) == best


def as_json(board: Leaderboard) -> dict[str, Any]:
    return {
        "schema_version": records.SCHEMA_VERSION,
        "metric": board.metric,
        "datasets": board.datasets,
        "baseline": board.baseline,
        "significance": {"test": "paired t, two-sided", "correction": "holm", "alpha": ALPHA}
        if board.baseline
        else None,
        # Of each dataset, the queries of the figures "without_neighbour" below; null where no system learnt.
        "without_neighbour": {
            name: None
            if subset is None
            else {
                "queries": subset.queries,
                "of": subset.total,
                "thresholds": subset.thresholds,
                "queries_with_neighbour": subset.trained,
            }
            for name, subset in zip(board.datasets, board.subsets, strict=True)
        },
        "rows": [
            {
                "system": row.system,
                "mean": row.mean,
                "delta": row.delta,
                "without_neighbour": {"mean": row.mean_twin, "delta": row.delta_twin}
                if board.has_twins
                else None,
                "scores": {
                    name: {
                        "mean": c.score,
                        "delta": c.delta,
                        "p": c.p,
                        "failure": c.failure,
                        "without_neighbour": None
                        if t is None
                        else {"mean": t.score, "delta": t.delta, "p": t.p, "comparable": t.comparable},
                    }
                    for name, c, t in zip(board.datasets, row.cells, row.twins, strict=True)
                },
                "efficiency": row.efficiency,
            }
            for row in board.rows
        ],
        "notes": board.notes,
    }


def header(board: Leaderboard, *, plain: bool = False) -> list[str]:
    """Titles of the columns. plain: with words for the dagger, whose note a CSV file lacks."""

    def twin(name: str) -> str:
        return f"{name} without_neighbour" if plain else f"{name}{DAGGER}"

    many = len(board.datasets) > 1
    columns = ["system"]
    if many:
        columns.append(f"mean {board.metric}")
        if board.has_twins:
            columns.append(twin(f"mean {board.metric}") if plain else twin("mean"))
    if board.baseline:
        columns.append(f"Δ {board.baseline}")
    for name, subset in zip(board.datasets, board.subsets, strict=True):
        columns.append(name if many else f"{name} {board.metric}")
        if subset is not None:
            # It stands beside the one that names the dataset, and a narrow table fits into a terminal.
            columns.append(twin(columns[-1] if many or plain else board.metric))
    return [*columns, "queries/s", "p95 ms", "index MB"]


def grid(board: Leaderboard) -> Grid:
    """The table as it is shown, best figures marked."""
    many = len(board.datasets) > 1
    out = []
    for row in board.rows:
        line = [Text(row.system)]
        if many:
            line.append(Text(_score(row.mean), row.best, row.mean))
            if board.has_twins:
                line.append(Text(_score(row.mean_twin), row.best_twin, row.mean_twin))
        if board.baseline:
            delta = row.delta if many else row.cells[0].delta
            line.append(Text("" if delta is None else f"{delta:+.4f}", False, delta))
        for cell, twin in zip(row.cells, row.twins, strict=True):
            line += [_shown(c) for c in (cell, twin) if c is not None]
        e = row.efficiency
        rate, p95, size = e.get("queries_per_second"), e.get("latency_p95_ms"), e.get("index_bytes")
        size = None if size is None else size / 1e6
        line += [Text(_number(rate, 0), value=rate), Text(_number(p95, 1), value=p95)]
        out.append([*line, Text(_number(size, 1), value=size)])
    plain = header(board, plain=True) if board.has_twins else None
    return Grid(header(board), out, notes=legend(board), csv_columns=plain)


def _shown(cell: Cell) -> Text:
    """In a CSV file too, what is not comparable is in brackets, and so no number."""
    if not cell.comparable:
        return Text("–" if cell.score is None else f"({cell.score:.4f})")
    text = "failed" if cell.failure else _score(cell.score)
    return Text(text + (f" {cell.mark}" if cell.mark else ""), cell.best, cell.score)


def legend(board: Leaderboard) -> list[str]:
    lines = list(board.notes)
    if board.baseline and any(c is not None and c.mark for r in board.rows for c in [*r.cells, *r.twins]):
        lines.append(
            f"▲ better, ▼ worse than {board.baseline}: paired t-test per query, p < {ALPHA} after Holm's correction"
        )
    if any(r.mean is None for r in board.rows) and len(board.datasets) > 1:
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
