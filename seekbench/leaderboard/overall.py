"""What holds over all columns of a leaderboard: means with intervals and tests, Borda ranks, groups of systems that
can't be told apart, and which systems are on the front of quality against cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError
from seekbench.leaderboard.board import ALPHA, Cell, Column, Key, Leaderboard, Row
from seekbench.leaderboard.per_query import PerQuery, check_means
from seekbench.leaderboard.sources import is_published
from seekbench.statistics.borda import borda
from seekbench.statistics.corrections import holm
from seekbench.statistics.groups import letters
from seekbench.statistics.paired import wilcoxon
from seekbench.statistics.stratified import mean_interval, stratified_t

Floats = npt.NDArray[np.float64]
#: (dataset, split, system) -> its record, and the folder or file of it
Place = Mapping[tuple[str, str, str], tuple[Path, dict[str, Any]]]
Cells = Set[tuple[str, str, str]]

#: Columns from which on systems without scores per query are compared by their scores on datasets.
FEWEST_DATASETS = 6
#: Systems up to which groups are sought: pairs grow with their square, and letters of many say nothing.
MOST_GROUPED = 40

#: What a system costs -> whether more of it is better.
COSTS = {"queries_per_second": True, "latency_p95_ms": False, "index_bytes": False, "parameters": False}


class Queries:
    """Scores per query of systems, in the same order of queries for all systems of a dataset. other: cells on other
    data than the rest of their column, which have none to compare."""

    def __init__(self, place: Place, columns: Sequence[Column], other: Cells = frozenset()) -> None:
        self.place, self._other = place, other
        self.problems: list[str] = []
        self._scores = {c.metric: PerQuery(c.metric) for c in columns}
        self._ids: dict[tuple[Key, str], Any] = {}

    def of(self, metric: str) -> PerQuery:
        return self._scores[metric]

    def there(self, system: str, key: Key, metric: str) -> bool:
        entry = self.place.get((*key, system))
        if entry is None or is_published(entry[1]) or (*key, system) in self._other:
            return False
        return self.of(metric).there(entry[0])

    def demand(self, system: str, column: Column) -> None:
        """Raises InputError where scores per query that a record of ours must have beside it are gone or damaged."""
        for key in column.keys:
            entry = self.place.get((*key, system))
            if (
                entry
                and not is_published(entry[1])
                and self.of(column.metric).measure.definition.aggregate == "mean"
            ):
                self.of(column.metric).all(entry[0])

    def strata(self, system: str, columns: Sequence[Column]) -> list[Floats] | None:
        """Per dataset of the columns float64 [queries]; None where the system lacks some, or asked other queries than
        the first system of that dataset."""
        found = []
        for column in columns:
            if not column.keys or self.of(column.metric).measure.definition.aggregate != "mean":
                return None
            for key in column.keys:
                if not self.there(system, key, column.metric):
                    return None
                folder = self.place[(*key, system)][0]
                scores = self.of(column.metric)
                try:
                    own, every = scores.all(folder)
                    told = self.place[(*key, system)][1]["metrics"][column.metric]["mean"]
                    check_means({column.metric: told}, {column.metric: every}, str(folder))
                except InputError as error:
                    self.problems.append(str(error))
                    return None
                ids = self._ids.setdefault((key, column.metric), own)
                values = scores.on(folder, ids) if len(own) == len(ids) else None
                if values is None:
                    return None
                found.append(values)
        return found


def weights(columns: Sequence[Column]) -> Floats:
    """float64 [datasets]: what each dataset weighs in the mean over the columns."""
    parts = [np.full(len(c.keys), 1 / (len(columns) * len(c.keys))) for c in columns]
    return np.concatenate(parts)


def mean(cells: Sequence[Cell]) -> float | None:
    """None unless there is a figure of every column, over the queries that others are shown for too."""
    scores = [c.score for c in cells if c.score is not None and c.comparable]
    return float(np.mean(scores)) if scores and len(scores) == len(cells) else None


def by_kind(row: Row, columns: Sequence[Column]) -> None:
    """Sets the means by type of task and their mean, where the types of all columns are known, there are several, and
    one has several columns: else this is the mean of the columns, or nothing new."""
    kinds = list(dict.fromkeys(c.kind for c in columns))
    if None in kinds or not 2 <= len(kinds) < len(columns):
        return
    for kind in kinds:
        row.kinds[str(kind)] = mean(
            [cell for cell, c in zip(row.cells, columns, strict=True) if c.kind == kind]
        )
    known = [value for value in row.kinds.values() if value is not None]
    row.mean_types = float(np.mean(known)) if len(known) == len(kinds) else None


def intervals(board: Leaderboard, queries: Queries) -> None:
    """Of means over datasets: a group's, and the row's."""
    for row in board.rows:
        for cell, column in zip(row.cells, board.columns, strict=True):
            if len(column.keys) > 1 and cell.score is not None:
                found = queries.strata(row.system, [column])
                cell.interval = None if found is None else mean_interval(found)
        if len(board.columns) == 1:
            row.interval = row.cells[0].interval
        elif row.mean is not None:
            found = queries.strata(row.system, board.columns)
            row.interval = None if found is None else mean_interval(found, weights(board.columns))


def rank(board: Leaderboard) -> None:
    """Borda ranks, where a rank over datasets has a meaning: of three and more."""
    if board.mixed or len(board.columns) < 3 or len(board.rows) < 2:
        return
    table = np.array(
        [
            [np.nan if c.score is None or not c.comparable else c.score for c in row.cells]
            for row in board.rows
        ]
    )
    found = borda(table, lower=board.lower)
    for i, row in enumerate(board.rows):
        row.borda = int(found.ranks[i]), float(found.points[i]), int(found.missing[i])


def group(board: Leaderboard, queries: Queries) -> None:
    """Letters of systems that can't be told apart, by tests of all pairs with Holm's correction: of their scores per
    query (`stratified_t`), published systems left out, which have none; or, of these and fewer than three others, of
    the scores on the datasets (Wilcoxon)."""
    rows = [row for row in board.rows if row.mean is not None]
    published = {system for (_, _, system), (_, record) in queries.place.items() if is_published(record)}
    own = [row for row in rows if row.system not in published]
    # Up to as many as are grouped: scores per query are read for it.
    measured = [(row, queries.strata(row.system, board.columns)) for row in own[: MOST_GROUPED + 1]]
    found = [s for _, s in measured if s is not None]
    by_queries = len(measured) >= 3 and len(found) == len(measured)
    if by_queries:
        rows = own
    if len(rows) < 3:
        return
    if len(rows) > MOST_GROUPED:
        board.notes.append(
            f"no groups: {len(rows)} systems are more than {MOST_GROUPED}; --system chooses some"
        )
        return
    pairs = [(a, b) for a in range(len(rows)) for b in range(a + 1, len(rows))]
    if by_queries:
        share = weights(board.columns)
        raw = [stratified_t(found[a], found[b], share).p for a, b in pairs]
        board.grouped_by = "queries"
    elif len(board.columns) >= FEWEST_DATASETS:
        scores = [np.array([c.score for c in row.cells], dtype=np.float64) for row in rows]
        raw = [wilcoxon(scores[a], scores[b]).p for a, b in pairs]
        board.grouped_by = "datasets"
    else:
        without = [row.system for row, s in measured if s is None]
        if not without:
            return
        board.notes.append(f"no groups of systems: no scores on the same queries of {', '.join(without)}")
        return
    differ = np.zeros((len(rows), len(rows)), dtype=np.bool_)
    for (a, b), p in zip(pairs, holm(raw), strict=True):
        differ[a, b] = differ[b, a] = p < ALPHA
    means = np.array([row.mean for row in rows], dtype=np.float64) * (-1 if board.lower else 1)
    for row, found_letters in zip(rows, letters(means, differ), strict=True):
        row.group = found_letters


def front(board: Leaderboard) -> None:
    """For each cost that two and more systems state, the systems to which no other is both as good and as cheap, and
    better in one of the two."""
    many = len(board.columns) > 1
    for cost, more in COSTS.items():
        points = []
        for row in board.rows:
            own = row.cells[0]
            score = row.mean if many else own.score if own.comparable else None
            spent = row.efficiency.get(cost)
            if score is not None and spent is not None:
                points.append((row, -score if board.lower else score, -spent if more else spent))
        if len(points) < 2:
            continue
        for row, score, spent in points:
            if not any(s >= score and c <= spent and (s > score or c < spent) for _, s, c in points):
                row.front.append(cost)
