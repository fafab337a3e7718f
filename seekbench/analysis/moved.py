"""What changed between two rankings of a query: which relevant documents were gained, lost and moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seekbench.analysis.cases import Case
from seekbench.comparison import most_changed


@dataclass(frozen=True)
class Moved:
    """A relevant document. row: of the document; grade; before, after: its rank from 1, None where it was not found."""

    row: int
    grade: int
    before: int | None
    after: int | None

    def change(self, k: int) -> str:
        """gained or lost (of the whole list), enters or leaves (the first k), up, down, or same."""
        if self.before == self.after:
            return "same"
        if self.before is None or self.after is None:
            return "gained" if self.before is None else "lost"
        if (self.before <= k) != (self.after <= k):
            return "enters" if self.after <= k else "leaves"
        return "up" if self.after < self.before else "down"


@dataclass(frozen=True)
class Changed:
    """A query. before, after: its scores; documents: relevant ones that moved, those that count most first; new:
    documents among the first k that were not there before."""

    query: int
    before: float
    after: float
    documents: tuple[Moved, ...]
    new: int


def changed_queries(case: Case, measure: int, most: int, k: int) -> list[Changed]:
    """At most `most` queries whose score fell most from the first system of a case to the second, by one measure, and
    as many whose score rose most. What is better, the measure says."""
    before, after = case.scores[:, measure, 0], case.scores[:, measure, 1]
    fell, rose = np.fmin(before, after), np.fmax(before, after)
    rows = [*most_changed(before, fell, most), *most_changed(before, rose, most)]
    return [of_query(case, measure, int(row), k) for row in rows]


def of_query(case: Case, measure: int, query: int, k: int) -> Changed:
    """What changed in one query."""
    first, second = case.ranks(query, 0), case.ranks(query, 1)
    documents = [
        Moved(row, grade, first.get(row), second.get(row))
        for row, grade in case.grades(query).items()
        if grade > 0
    ]
    moved = [d for d in documents if d.before != d.after]
    # The nearer to the top one of the two ranks is, the more the move is worth.
    moved.sort(key=lambda d: (min(d.before or np.inf, d.after or np.inf), d.row))
    top = {row for row, rank in second.items() if rank <= k}
    new = len(top - {row for row, rank in first.items() if rank <= k})
    before, after = case.scores[query, measure, :2].tolist()
    return Changed(query, before, after, tuple(moved), new)
