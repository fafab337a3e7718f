"""What a leaderboard holds: columns, rows and cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Two-sided level of all tests of a table, Holm-adjusted over its comparisons.
ALPHA = 0.05

#: A dataset and its split.
Key = tuple[str, str]


@dataclass
class Cell:
    """score: of the metric, None where there is no record. interval: 95% of it, where scores per query are there.
    delta, p: against the baseline on the same queries. comparable: whether the score is over the queries of its column;
    it is shown in brackets where it is not. missing: datasets of the column that lack a score, where not all do."""

    score: float | None = None
    interval: tuple[float, float] | None = None
    delta: float | None = None
    p: float | None = None
    best: bool = False
    second: bool = False
    failure: str | None = None
    lower: bool = False
    comparable: bool = True
    missing: list[str] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """▲ better / ▼ worse, where the difference to the baseline is significant."""
        return mark(self.delta, self.p, self.lower)


def mark(delta: float | None, p: float | None, lower: bool) -> str:
    if p is None or delta is None or p >= ALPHA:
        return ""
    return "▲" if (delta > 0) != lower else "▼"


@dataclass
class Subset:
    """The queries of a dataset that are close to no training query with the same answer, for any system that learnt.

    ids: arrow array of strings, None where no record names them. total: all queries of the dataset. thresholds:
    cosines from which queries are close, of all records. trained: queries with a neighbour of each system that learnt.
    differ: whether these are different queries; all of them are left out.
    """

    ids: Any
    total: int
    thresholds: list[float]
    trained: dict[str, int]
    differ: bool

    @property
    def queries(self) -> int | None:
        return None if self.ids is None else len(self.ids)


@dataclass
class Column:
    """name: its label. keys: the datasets whose mean it shows; one, but for a suite's group. metric: of these figures;
    lower: whether a lower one is better. kind: the type of task, None where no card tells. subset: None where no
    system learnt from another split, and for groups."""

    name: str
    keys: list[Key]
    metric: str
    lower: bool = False
    kind: str | None = None
    languages: list[str] = field(default_factory=list)
    subset: Subset | None = None


@dataclass
class Row:
    """cells, twins: one a column; a twin is over the column's subset, None where there is none. mean: over the columns;
    mean_twin: the same with the twins where there are any; mean_types: over types of task of the means over their
    columns. interval, delta, p: of `mean`. kinds: means by type of task. borda: rank, points and missing columns.
    group: letters; systems with a letter in common can't be told apart. front: costs for which no system is both better
    and cheaper. family: the retriever's type."""

    system: str
    cells: list[Cell]
    twins: list[Cell | None]
    mean: float | None = None
    mean_twin: float | None = None
    mean_types: float | None = None
    kinds: dict[str, float | None] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    delta: float | None = None
    delta_twin: float | None = None
    p: float | None = None
    best: bool = False
    second: bool = False
    best_twin: bool = False
    borda: tuple[int, float, int] | None = None
    group: str | None = None
    front: list[str] = field(default_factory=list)
    efficiency: dict[str, float | None] = field(default_factory=dict)
    family: str = ""


@dataclass
class Leaderboard:
    """metric: of all columns; `main` where each dataset has its own. grouped_by: what groups of systems were told apart
    by, None where they were not. place: (dataset, split, system) -> the record that is shown, and its folder. members:
    of a suite, how many are shown, and how many it has."""

    metric: str
    columns: list[Column]
    rows: list[Row]
    baseline: str | None
    notes: list[str] = field(default_factory=list)
    lower: bool = False  # whether a lower figure is better, in all columns
    suite: str | None = None
    grouped_by: str | None = None
    members: tuple[int, int] | None = None
    place: Mapping[tuple[str, str, str], tuple[Path, dict[str, Any]]] = field(default_factory=dict)

    @property
    def has_twins(self) -> bool:
        return any(c.subset is not None for c in self.columns)

    @property
    def mean_title(self) -> str:
        """`mean ndcg@10`; of a suite that is not whole, with how much of it this is."""
        shown, every = self.members or (0, 0)
        return f"mean {self.metric}" + (f" ({shown} of {every})" if shown < every else "")

    @property
    def mixed(self) -> bool:
        """Whether columns differ in what is better, so that no mean over them has a meaning."""
        return len({c.lower for c in self.columns}) > 1
