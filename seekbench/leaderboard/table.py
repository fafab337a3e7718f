"""Leaderboards: systems x datasets as one table, from our records and from published figures.

A mean is shown only for a system that has every dataset of the table; a cell that is missing or failed is
said to be so. Figures of different content (hashes) are not put into one column unless asked for, and marked.

Where a system learnt from another split of a dataset, a second column (†) has the figures of all systems on the
queries that are close to no training query with the same answer (`training.queries.with_neighbour`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seekbench.errors import InputError, did_you_mean
from seekbench.leaderboard import contents, efficiency, overall, remarks, selection
from seekbench.leaderboard.board import Cell, Column, Leaderboard, Row
from seekbench.leaderboard.columns import MAIN, dataset_key, fill, label, of_datasets, of_suite, other_splits
from seekbench.leaderboard.overall import Cells, Queries
from seekbench.leaderboard.selection import Failures
from seekbench.leaderboard.sources import Found, is_published
from seekbench.leaderboard.subset import subset_notes, subset_of, twin_of
from seekbench.metrics.measure import parse
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
    failures: Failures | None = None,
    allow_mixed: bool = False,
    suite: str | None = None,
    expand: bool = False,
    every_split: bool = False,
    datasets: Sequence[str] = (),
    systems: Sequence[str] = (),
) -> Leaderboard:
    """The table of one metric (by default the first of the first record; `main` for each dataset's own).

    failures: (dataset, split, system) -> cause. suite: whose members are the columns. expand: the datasets of a group,
    or the subsets of a dataset, as columns of their own. every_split: with published figures on other splits than the
    main one. datasets, systems: only these, each a name or a pattern. Raises InputError for records of different
    dataset content, unless `allow_mixed`.
    """
    failures = failures or {}
    if not found and not failures:
        raise InputError("there are no results to show")
    names = selection.system_names(found)
    found, names, failures = selection.narrowed(list(found), names, failures, datasets, systems)
    notes = []
    if not every_split:
        left = other_splits(found)
        found, names = selection.keep(
            found, names, lambda record, _: not (is_published(record) and dataset_key(record) in left)
        )
        if left:
            said_left = ", ".join(sorted(label(key) for key in left))
            notes.append(f"published figures on other splits are left out: {said_left}")
    if baseline is None:
        baseline = selection.recorded_baseline(found, names)
    keys = list(dict.fromkeys([dataset_key(r) for _, r in found] + [(d, s) for d, s, _ in failures]))
    whole = None
    if suite is None:
        columns = of_datasets(keys, expand=expand)
    else:
        columns, member_of, whole, said = of_suite(suite, keys, expand=expand)
        notes += said
        found, names = selection.keep(found, names, lambda record, _: dataset_key(record) in member_of)
        found = [(folder, selection.as_member(record, member_of)) for folder, record in found]
        failures = {
            (*member_of[d, p], system): cause
            for (d, p, system), cause in failures.items()
            if (d, p) in member_of
        }
    columns, said = fill(columns, found, metric or _default_metric(found))
    notes += said
    keys = [key for column in columns for key in column.keys]
    shown = {*keys}
    every = list(dict.fromkeys([*names, *(system for d, p, system in failures if (d, p) in shown)]))
    if baseline is not None and baseline not in every:
        raise InputError(
            f"the baseline '{baseline}' is not in these results", remedy=did_you_mean(baseline, every)
        )
    found, names = selection.keep(found, names, lambda record, _: dataset_key(record) in shown)
    of_columns = contents.of_columns(found, names, baseline)
    place, left_out = selection.newest(found, names, of_columns)
    other, said = contents.checked(found, place, of_columns, baseline, allow_mixed=allow_mixed)
    notes = [*said, *notes, *left_out]
    queries = Queries(place, columns, other)
    for column in columns:
        if len(column.keys) == 1:
            column.subset = subset_of(place, column.keys[0], queries.of(column.metric))
    board = Leaderboard(
        MAIN if len({c.metric for c in columns}) > 1 else columns[0].metric,
        columns, [], baseline, notes, lower=all(c.lower for c in columns), suite=suite, place=place,
        members=None if whole is None else (len(columns), whole),
    )  # fmt: skip
    for system in every:
        cells = [_cell(column, system, place, failures, other) for column in columns]
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
        row.efficiency = efficiency.of_cells(own)
        row.family = own[0]["retriever"]["type"] if own else ""
        board.rows.append(row)
    overall.intervals(board, queries)
    if baseline is not None:
        _compare(board, queries, baseline)
    overall.rank(board)
    overall.group(board, queries)
    overall.front(board)
    _mark_best(board)
    board.notes += [f"not tested: {problem}" for problem in dict.fromkeys(queries.problems)]
    coverage = remarks.of_coverage(place, columns)
    board.notes += [*coverage, *subset_notes(board), *remarks.of_missing(board)]
    runs = [c.metric for c in columns if parse(c.metric).definition.aggregate == "run"]
    if runs and any(r.get("training") for _, r in place.values()):
        board.notes.append(
            f"{runs[0]} is a figure of the whole run: there is none without queries that are close to training queries"
        )
    if any(not record["comparable"] for _, record in place.values()):
        board.notes.insert(0, NOT_COMPARABLE)
    # Without a mean Borda's rank orders: it needs no system to have all datasets.
    board.rows.sort(
        key=lambda r: (
            r.mean is None,
            (r.mean or 0.0) * (1 if board.lower else -1),
            r.borda[0] if r.mean is None and r.borda else 0,
        )
    )
    return board


def _default_metric(found: Found) -> str:
    """The first of our first record; of published figures alone, each dataset's main one, where it is known."""
    own = [r for _, r in found if not is_published(r)]
    if own:
        return str(own[0]["primary_metric"])
    if not found:
        return "ndcg@10"
    if all(r["dataset"]["main_metric"] for _, r in found):
        return MAIN
    counted = Counter(metric for _, record in found for metric in record["metrics"])
    return max(counted, key=lambda metric: counted[metric]) if counted else "ndcg@10"


def _cell(column: Column, system: str, place: overall.Place, failures: Failures, other: Cells) -> Cell:
    """A system's figure of a column: of its dataset, or the mean over its datasets, if it has all of them. other: cells
    on other data than the column's."""
    cell = Cell(lower=column.lower, comparable=not any((*key, system) in other for key in column.keys))
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
