"""What a leaderboard holds: cells, rows and datasets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Two-sided level of the paired t-test, Holm-adjusted over all comparisons of the table.
ALPHA = 0.05


@dataclass
class Cell:
    """score: mean of the metric, None where there is no record. delta, p: against the baseline on the same queries.
    comparable: whether the score is over the queries of its column; it is shown in brackets where it is not."""

    score: float | None = None
    delta: float | None = None
    p: float | None = None
    best: bool = False
    failure: str | None = None
    lower: bool = False
    comparable: bool = True

    @property
    def mark(self) -> str:
        """▲ better / ▼ worse, where the difference to the baseline is significant."""
        if self.p is None or self.delta is None or self.p >= ALPHA:
            return ""
        return "▲" if (self.delta > 0) != self.lower else "▼"


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
class Row:
    """cells, twins: one a dataset; a twin is over the dataset's subset, None where there is none. mean: over the
    datasets; mean_twin: the same with the twins where there are any."""

    system: str
    cells: list[Cell]
    twins: list[Cell | None]
    mean: float | None = None
    mean_twin: float | None = None
    delta: float | None = None
    delta_twin: float | None = None
    best: bool = False
    best_twin: bool = False
    efficiency: dict[str, float | None] = field(default_factory=dict)


@dataclass
class Leaderboard:
    """subsets: one a dataset, None where no system learnt from another split of it."""

    metric: str
    datasets: list[str]
    subsets: list[Subset | None]
    rows: list[Row]
    baseline: str | None
    notes: list[str] = field(default_factory=list)
    lower: bool = False  # whether a lower figure is better

    @property
    def has_twins(self) -> bool:
        return any(s is not None for s in self.subsets)
