"""Leaderboards: systems x datasets as one table, from our records and from published figures.

A mean is shown only for a system that has every dataset of the table; a cell that is missing or failed is
said to be so. Figures of different content (hashes) are not put into one column unless asked for, and marked.

Where a system learnt from another split of a dataset, a second column (†) has the figures of all systems on the
queries that are close to no training query with the same answer (`training.queries.with_neighbour`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from seekbench.errors import InputError, did_you_mean
from seekbench.leaderboard import approximate, generative, overall
from seekbench.leaderboard.board import Cell, Column, Key, Leaderboard, Row
from seekbench.leaderboard.columns import MAIN, dataset_key, fill, label, main_splits, of_datasets, of_suite
from seekbench.leaderboard.overall import Queries
from seekbench.leaderboard.sources import Found, is_published
from seekbench.leaderboard.subset import subset_notes, subset_of, twin_of
from seekbench.metrics.correlation import OF_PAIRS
from seekbench.metrics.measure import Measure, parse
from seekbench.statistics.corrections import holm
from seekbench.statistics.paired import paired_t
from seekbench.statistics.stratified import stratified_t
from seekbench.tables import best_shown, two_best

NOT_COMPARABLE = "trial run (limited): not comparable with any other figure"


def build(
    found: Sequence[tuple[Path, dict[str, Any]]],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    failures: Mapping[tuple[str, str, str], str] | None = None,
    allow_mixed: bool = False,
    suite: str | None = None,
    expand: bool = False,
    every_split: bool = False,
) -> Leaderboard:
    """The table of one metric (by default the first of the first record; `main` for each dataset's own).

    failures: (dataset, split, system) -> cause. suite: whose members are the columns. expand: the datasets of a group,
    or the subsets of a dataset, as columns of their own. every_split: with published figures on other splits than the
    main one. Raises InputError for records of different dataset content.
    """
    failures = failures or {}
    if not found and not failures:
        raise InputError("there are no results to show")
    found, notes = (list(found), []) if every_split else main_splits(list(found))
    names = _system_names(found)
    if baseline is None:
        recorded = {r.get("baseline") for _, r in found if not is_published(r)}
        baseline = recorded.pop() if len(recorded) == 1 else None
        # Where another system has the same name, ours has its run's before it.
        longer = {n for n in names if n == baseline or n.endswith(f"/{baseline}")}
        baseline = longer.pop() if len(longer) == 1 else None
    keys = list(dict.fromkeys([dataset_key(r) for _, r in found] + [(d, s) for d, s, _ in failures]))
    if suite is None:
        columns = of_datasets(keys, expand=expand)
    else:
        columns, members, said = of_suite(suite, keys, expand=expand)
        notes += said
        keys = [key for column in columns for key in column.keys]
        kept = [(e, n) for e, n in zip(found, names, strict=True) if dataset_key(e[1]) in members]
        found, names = [(f, _as_member(r, members)) for (f, r), _ in kept], [n for _, n in kept]
        failures = {
            (*members[d, p], system): cause for (d, p, system), cause in failures.items() if (d, p) in members
        }
    metric = metric or _default_metric(found)
    _refuse_lacking(found, metric)
    fill(columns, found, metric)
    if len({c.metric for c in columns}) == 1:
        metric = columns[0].metric
    systems = list(dict.fromkeys([*names, *(s for d, p, s in failures if (d, p) in set(keys))]))
    if baseline is not None and baseline not in systems:
        raise InputError(
            f"the baseline '{baseline}' is not in these results", remedy=did_you_mean(baseline, systems)
        )
    notes = [*_content_check(found, keys, allow_mixed), *notes]
    place, left_out = _newest(found, names)
    notes += left_out
    if (
        len(
            {
                orjson.dumps(p, option=orjson.OPT_SORT_KEYS)
                for _, r in found
                if (p := _policies(r)) is not None
            }
        )
        > 1
    ):
        notes.append(
            "NOT COMPARABLE: these results were scored under different policies (see `policies` in the records)"
        )
    queries = Queries(place, columns)
    for column in columns:
        if len(column.keys) == 1:
            column.subset = subset_of(place, column.keys[0], queries.of(column.metric))
    board = Leaderboard(
        metric, columns, [], baseline, notes, lower=all(c.lower for c in columns), suite=suite, place=place
    )
    for system in systems:
        cells = [_cell(column, system, place, failures) for column in columns]
        twins = [
            None
            if column.subset is None
            else twin_of(place.get((*column.keys[0], system)), column.subset, cell, queries.of(column.metric))
            for column, cell in zip(columns, cells, strict=True)
        ]
        row = Row(system, cells, twins)
        if not board.mixed:
            row.mean = overall.mean(cells)
            overall.by_kind(row, columns)
            if board.has_twins:
                row.mean_twin = overall.mean([t or c for t, c in zip(twins, cells, strict=True)])
        own = [place[(*key, system)][1] for key in keys if (*key, system) in place]
        row.efficiency = _efficiency(own)
        row.family = own[0]["retriever"]["type"] if own else ""
        board.rows.append(row)
    overall.intervals(board, queries)
    if baseline is not None:
        _compare(board, queries, baseline)
    overall.rank(board)
    overall.group(board, queries)
    overall.front(board)
    _mark_best(board)
    for column in columns:
        there = {k: e for k, e in place.items() if (k[0], k[1]) in set(column.keys)}
        board.notes += [n for n in _coverage(there, parse(column.metric)) if n not in board.notes]
    board.notes += [*subset_notes(board), *_missing(board)]
    runs = [c.metric for c in columns if parse(c.metric).definition.aggregate == "run"]
    if runs and any(r.get("training") for _, r in place.values()):
        board.notes.append(
            f"{runs[0]} is a figure of the whole run: there is none without queries that are close to training queries"
        )
    if any(not record["comparable"] for _, record in place.values()):
        board.notes.insert(0, NOT_COMPARABLE)
    board.rows.sort(key=lambda r: (r.mean is None, (r.mean or 0.0) * (1 if board.lower else -1)))
    return board


def _as_member(record: dict[str, Any], members: Mapping[Key, Key]) -> dict[str, Any]:
    """The record under the name that a suite has for its dataset."""
    id, split = members[dataset_key(record)]
    return {**record, "dataset": {**record["dataset"], "id": id, "split": split}}


def _default_metric(found: Found) -> str:
    """The first of our first record; of published figures alone, each dataset's main one, where it is known."""
    own = [r for _, r in found if not is_published(r)]
    if own:
        return str(own[0]["primary_metric"])
    if not found:
        return "ndcg@10"
    return MAIN if all(r["dataset"]["main_metric"] for _, r in found) else str(found[0][1]["primary_metric"])


def _refuse_lacking(found: Found, metric: str) -> None:
    """A record of ours that lacks the metric can be scored again; a published figure just isn't there."""
    for folder, record in found:
        if metric != MAIN and not is_published(record) and metric not in record["metrics"]:
            raise InputError(
                f"{folder}: has no metric '{metric}'", remedy=did_you_mean(metric, record["metrics"])
            )


def _cell(
    column: Column, system: str, place: overall.Place, failures: Mapping[tuple[str, str, str], str]
) -> Cell:
    """A system's figure of a column: of its dataset, or the mean over its datasets, if it has all of them."""
    cell = Cell(lower=column.lower)
    scores: list[float] = []
    for key in column.keys:
        entry = place.get((*key, system))
        cell.failure = cell.failure or failures.get((*key, system))
        figure = (entry[1]["metrics"].get(column.metric) if entry else None) or {}
        score = figure.get("mean")
        if score is None:
            cell.missing.append(label(key))
        else:
            scores.append(score)
            cell.interval = figure.get("interval")
    if len(column.keys) > 1:
        cell.interval = None
    if not cell.missing:
        cell.score = scores[0] if len(scores) == 1 else float(np.mean(scores))
    if len(cell.missing) == len(column.keys):
        cell.missing = []
    return cell


def _missing(board: Leaderboard) -> list[str]:
    """What is not there, and so in no mean; an empty cell alone shows itself."""
    notes = []
    for row in board.rows:
        parts = [
            f"{len(cell.missing)} of {len(column.keys)} of {column.name} ({', '.join(cell.missing)})"
            for cell, column in zip(row.cells, board.columns, strict=True)
            if cell.missing
        ]
        if parts:
            notes.append(f"{row.system} lacks {'; '.join(parts)}")
    lacking = [f"{r.system} ({r.borda[2]})" for r in board.rows if r.borda and r.borda[2]]
    if lacking:
        notes.append(
            f"Borda: a missing column earns no points, so these rank lower than they might: {', '.join(lacking)}"
        )
    return notes


def _coverage(place: overall.Place, measure: Measure) -> list[str]:
    """Notes on cells whose figure rests on less than it seems: queries without hits, documents cut short, fewer hits
    than the measure looks at."""
    notes = []
    for (dataset, _, system), (_, record) in place.items():
        if is_published(record):
            continue
        pairs = record.get("pairs")
        if pairs and measure.base in OF_PAIRS and pairs["without_hit"]:
            notes.append(
                f"{system}: {pairs['without_hit']:,} of {pairs['judged']:,} pairs of {dataset} have no hit and count "
                "with score 0"
            )
            continue
        without, queries = record["queries_without_hits"], record["dataset"]["queries"]
        if without > (0 if record["retriever"]["type"] == "run_file" else 0.05 * queries):
            notes.append(
                f"{system}: {without:,} of {queries:,} queries of {dataset} have no hits and "
                + ("are left out" if measure.definition.lower else "count 0")
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


def _policies(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Those of scoring; the exclusion belongs to the dataset. None for published figures, which don't say."""
    if is_published(record):
        return None
    return {name: value for name, value in record["policies"].items() if name != "exclusion"}


def _system_names(found: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    """A name for each record's system: the retriever's own; with the results' folder before it (the revision behind it,
    for a published one), and then a hash behind it, where different systems (type, parameters, model, k) have the same
    name."""
    # .../<output>/<dataset>/<split>/<retriever>: the folder that the user chose tells runs apart.
    systems = [
        (
            r["retriever"]["name"],
            _revised(r) if is_published(r) else f"{folder.parts[-4]}/{r['retriever']['name']}",
            r["retriever"]["system"],
        )
        for folder, r in found
    ]
    of_name: dict[str, set[str]] = {}
    of_longer: dict[str, set[str]] = {}
    for name, longer, system in systems:
        of_name.setdefault(name, set()).add(system)
        of_longer.setdefault(longer, set()).add(system)
    names = []
    for name, longer, system in systems:
        if len(of_name[name]) == 1:
            names.append(name)
        elif len(of_longer[longer]) == 1:
            names.append(longer)
        else:
            names.append(f"{longer}#{system[:6]}")
    return names


def _revised(record: Mapping[str, Any]) -> str:
    revision = record["published"]["revision"]
    return f"{record['retriever']['name']}@{revision[:8] if revision else 'published'}"


def _newest(
    found: Sequence[tuple[Path, dict[str, Any]]], names: Sequence[str]
) -> tuple[dict[tuple[str, str, str], tuple[Path, dict[str, Any]]], list[str]]:
    """One record a cell: where the same system was recorded more than once for a dataset, the newest, and a note; of
    published figures, the one with the most metrics, and a note where two disagree."""
    place: dict[tuple[str, str, str], tuple[Path, dict[str, Any]]] = {}
    left_out, notes = 0, []
    for entry, name in zip(found, names, strict=True):
        key = (*dataset_key(entry[1]), name)
        known = place.get(key)
        if known is None:
            place[key] = entry
            continue
        if is_published(entry[1]):
            differ = [
                f"{metric} {figure['mean']:g} ({entry[0]}) and {other['mean']:g} ({known[0]})"
                for metric, figure in entry[1]["metrics"].items()
                if (other := known[1]["metrics"].get(metric)) and abs(other["mean"] - figure["mean"]) > 5e-6
            ]
            if differ:
                notes.append(
                    f"{name} has two published figures on {label(dataset_key(entry[1]))}: {differ[0]}"
                )
        else:
            left_out += 1
        if _worth(entry[1]) > _worth(known[1]):
            place[key] = entry
    if left_out:
        notes.append(f"{left_out} older record(s) of the same system and dataset are left out")
    return place, notes


def _worth(record: Mapping[str, Any]) -> tuple[bool, str, int]:
    """A full result goes before a trial, a newer one before an older one."""
    return record["comparable"], record["recorded_at"], len(record["metrics"]) if is_published(record) else 0


def _content_check(
    found: Sequence[tuple[Path, dict[str, Any]]], keys: Sequence[Key], allow_mixed: bool
) -> list[str]:
    """Refuses figures of different contents in one column. Of published ones only the dataset's revision is known."""
    mixed, revised, notes = [], [], []
    for key in keys:
        there = [r for _, r in found if dataset_key(r) == key]
        hashes = {r["dataset"]["hashes"]["dataset"] for r in there} - {None}
        if len(hashes) > 1:
            mixed.append(
                f"{key[0]} ({key[1]}): {len(hashes)} different contents: "
                + ", ".join(sorted(h[:10] for h in hashes))
            )
        revisions = Counter(_dataset_revision(r) for r in there)
        known = {revision: n for revision, n in revisions.items() if revision}
        if len(known) > 1:
            said = ", ".join(f"{revision[:8]}: {n}" for revision, n in sorted(known.items()))
            revised.append(f"{label(key)} ({said})")
    if mixed and not allow_mixed:
        raise InputError(
            "these results were made on different data: " + "; ".join(mixed),
            remedy="--allow-mixed shows them all the same",
        )
    if revised:
        notes.append(f"figures of several revisions of a dataset: {', '.join(revised)}")
    kinds = {is_published(r) for _, r in found}
    if kinds == {True, False}:
        notes.append(
            "published figures stand beside measured ones: that they are of the same data is not checked"
        )
    return [*(f"NOT COMPARABLE: made on different data: {line}" for line in mixed), *notes]


def _dataset_revision(record: Mapping[str, Any]) -> str | None:
    if is_published(record):
        found: str | None = record["published"]["dataset_revision"]
        return found
    source = record["dataset"].get("source") or {}
    return source.get("revision")


def _efficiency(cell_records: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """queries/s over all queries of all datasets; the worst p95; the sums of index bytes, index seconds and kg CO2; the
    model's parameters."""
    if not cell_records:
        return {}
    made = [r["efficiency"] for r in cell_records]
    # A run file has no speed of its own; a composite's rate includes its parts. Published rates don't say of how many
    # queries they are.
    rates = [(r["dataset"]["queries"] or 1, r["efficiency"]["queries_per_second"]) for r in cell_records]
    queries = sum(n for n, _ in rates)
    seconds = sum(n / rate for n, rate in rates) if all(rate for _, rate in rates) else None
    p95 = [e["latency_ms"]["p95"] for e in made if e["latency_ms"]["p95"] is not None]
    sizes = [e["index_bytes"] for e in made if e["index_bytes"] is not None]
    index = [e["index_seconds"] for e in made if e.get("index_seconds") is not None]
    # MTEB states it for a file of several splits and subsets.
    carbon = {r.get("published", {}).get("file"): r["efficiency"].get("kg_co2") for r in cell_records}
    parameters = [n for r in cell_records if (n := (r["retriever"].get("describe") or {}).get("parameters"))]
    return {
        "queries_per_second": queries / seconds if seconds else None,
        "latency_p95_ms": max(p95) if p95 else None,
        "index_bytes": sum(sizes) if sizes else None,
        "index_seconds": sum(index) if index else None,
        "parameters": parameters[0] if parameters else None,
        "kg_co2": None
        if None in carbon.values()
        else float(sum(v for v in carbon.values() if v is not None)),
    }


def _compare(board: Leaderboard, queries: Queries, baseline: str) -> None:
    """Differences to the baseline with a test on scores per query, Holm-adjusted over the table: Student's paired t on
    a dataset, its stratified form on a mean over datasets. A figure that is no mean over queries (a sum, one of the
    whole run) and a published one have a difference and no test."""
    compared: list[tuple[Cell | Row, float]] = []
    base_row = next(r for r in board.rows if r.system == baseline)
    for row in board.rows:
        if row is base_row:
            continue
        for j, column in enumerate(board.columns):
            pairs: list[tuple[Cell | None, Cell | None, Any]] = [(row.cells[j], base_row.cells[j], None)]
            if column.subset is not None:
                pairs.append((row.twins[j], base_row.twins[j], column.subset.ids))
            for cell, base, ids in pairs:
                if cell is None or base is None or not (cell.comparable and base.comparable):
                    continue
                if cell.score is None or base.score is None:
                    continue
                cell.delta = cell.score - base.score
                p = _p_value(queries, column, row.system, baseline, ids)
                if p is not None:
                    compared.append((cell, p))
        if row.mean is not None and base_row.mean is not None:
            row.delta = row.mean - base_row.mean
            if len(board.columns) > 1:
                own, other = (queries.strata(s, board.columns) for s in (row.system, baseline))
                if own is not None and other is not None:
                    compared.append((row, stratified_t(own, other, overall.weights(board.columns)).p))
        if row.mean_twin is not None and base_row.mean_twin is not None:
            row.delta_twin = row.mean_twin - base_row.mean_twin
    for (figure, _), p in zip(compared, holm([p for _, p in compared]), strict=True):
        figure.p = p


def _p_value(queries: Queries, column: Column, system: str, baseline: str, ids: Any) -> float | None:
    """Of a paired t-test on the queries of these ids, by default all; None where scores per query are missing or the
    two have different queries."""
    if ids is None:
        for name in (system, baseline):
            queries.demand(name, column)
        own, other = queries.strata(system, [column]), queries.strata(baseline, [column])
        return None if own is None or other is None else stratified_t(own, other).p
    scores, key = queries.of(column.metric), column.keys[0]
    if scores.measure.definition.aggregate != "mean":
        return None
    one, base = (scores.on(queries.place[(*key, s)][0], ids) for s in (system, baseline))
    return None if one is None or base is None else paired_t(one, base).p


def _mark_best(board: Leaderboard) -> None:
    """The best and the second figure of each column as it is displayed; several where they print alike."""
    for j, column in enumerate(board.columns):
        _mark_column([row.cells[j] for row in board.rows], column.lower)
        _mark_column([t for row in board.rows if (t := row.twins[j]) is not None], column.lower)
    best, second = two_best((r.mean for r in board.rows), board.lower)
    best_twin = best_shown((r.mean_twin for r in board.rows), board.lower)
    for row in board.rows:
        row.best = row.mean is not None and round(row.mean, 4) == best
        row.second = row.mean is not None and round(row.mean, 4) == second
        row.best_twin = row.mean_twin is not None and round(row.mean_twin, 4) == best_twin


def _mark_column(cells: Sequence[Cell], lower: bool) -> None:
    best, second = two_best((c.score for c in cells if c.comparable), lower)
    for cell in cells:
        shown = cell.score if cell.comparable else None
        cell.best = shown is not None and round(shown, 4) == best
        cell.second = shown is not None and round(shown, 4) == second
