"""The join of a ranked run with judgments, which every measure is computed from.

It is kept sparse: only the hits that have a judgment, since a run holds a thousand hits a query and the
judgments a handful. Ranks are positions in the order that `Run` has, so all measures share one ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # so that `seekbench ls` can list the measures without loading Arrow
    from seekbench.collection import Qrels
    from seekbench.runs import Run

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """query, rank (0-based), grade: int64 [judged hits], sorted by query and rank. retrieved: int64 [queries]."""

    qrels: Qrels
    query: Ints
    rank: Ints
    grade: Ints
    retrieved: Ints

    @property
    def num_queries(self) -> int:
        return self.qrels.num_queries

    def sum(self, values: npt.NDArray[Any], chosen: npt.NDArray[np.bool_]) -> Floats:
        """float64 [queries]: sum of `values` of the chosen judged hits, added in rank order as trec_eval does."""
        return weighted_count(self.query[chosen], values[chosen], self.num_queries)

    def count(self, chosen: npt.NDArray[np.bool_]) -> Floats:
        """float64 [queries]: how many judged hits are chosen."""
        return np.bincount(self.query[chosen], minlength=self.num_queries).astype(np.float64)

    def hits(self, k: int | None, rel: int) -> npt.NDArray[np.bool_]:
        """Which judged hits are relevant (grade >= rel) and within the first k."""
        relevant = self.grade >= rel
        return relevant if k is None else relevant & (self.rank < k)

    def relevant(self, rel: int) -> Floats:
        """float64 [queries]: judged documents of grade >= rel, retrieved or not."""
        return np.bincount(
            self.qrels.query_rows()[self.qrels.grades >= rel], minlength=self.num_queries
        ).astype(np.float64)

    @cached_property
    def ideal(self) -> tuple[Ints, Ints, Ints]:
        """(query, rank, grade) of each query's judgments from the highest grade down."""
        query, grade = self.qrels.query_rows(), self.qrels.grades.astype(np.int64)
        by = np.lexsort((-grade, query))
        rank = np.arange(len(query), dtype=np.int64) - self.qrels.indptr[query]
        return query[by], rank, grade[by]


def join(run: Run, qrels: Qrels) -> Judged:
    """Looks up the judgment of every hit. run rows: [queries, k] in the order of the qrels' queries."""
    if run.num_queries != qrels.num_queries:
        raise ValueError(f"run has {run.num_queries} queries, qrels {qrels.num_queries}")
    rows = np.asarray(run.doc_rows)
    # A hit is looked up only if somebody judged its document: most hits fail this cheap test.
    size = max(int(rows.max(initial=-1)), int(qrels.doc_rows.max(initial=-1))) + 2
    anyone = np.zeros(size, dtype=np.bool_)
    anyone[qrels.doc_rows] = True
    query, rank = np.nonzero(anyone[rows])  # -1 reads the last place, which no document has
    doc = rows[query, rank].astype(np.int64)
    keys = qrels.query_rows() * size + qrels.doc_rows
    wanted = query * size + doc
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    found = keys[at] == wanted if len(keys) else np.zeros(len(wanted), dtype=np.bool_)
    return Judged(
        qrels,
        query[found].astype(np.int64),
        rank[found].astype(np.int64),
        qrels.grades[at[found]].astype(np.int64),
        (rows >= 0).sum(axis=1).astype(np.int64),
    )


def weighted_count(query: Ints, values: npt.NDArray[Any], queries: int) -> Floats:
    """float64 [queries]: sums of values by query, added in the order given."""
    # np.bincount gives integers for empty input, whatever the weights.
    return np.bincount(query, weights=values, minlength=queries).astype(np.float64, copy=False)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator with 0 where the denominator is 0 (a query without relevant documents scores 0)."""
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)
