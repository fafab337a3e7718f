"""The join of a ranked run with judgments, which every measure is computed from.

It is kept sparse: only the hits that have a judgment, since a run holds a thousand hits a query and the
judgments a handful. Ranks are positions in the order that the run has, so all measures share one ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # so that `seekbench ls` can list the measures without loading Arrow
    from seekbench.collection import Qrels
    from seekbench.runs import Run

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Hits(Protocol):
    """All hits of a run in rank order, judged or not (`seekbench.runs.Run`, `seekbench.ranking.Ranking`)."""

    def lengths(self) -> Ints:
        """int64 [queries]: hits of each query."""

    def top_scores(self, k: int | None = None) -> npt.NDArray[np.float32]:
        """float32 [queries, width <= k]: scores of the first k hits (all by default), padded with -inf."""

    def top_rows(self, k: int) -> Ints | None:
        """int [queries, width <= k]: corpus rows of the first k hits, padded with -1; None where documents have
        no rows (a run read by ids alone)."""

    def holes(self, k: int, qrels: Qrels) -> Ints:
        """int64 [queries]: hits within k of which no query has a judgment."""

    def ties(self) -> tuple[Ints, Ints, Ints]:
        """(query, first rank, last rank) of each stretch of hits of one score, sorted by query and rank."""


@dataclass(frozen=True)
class Subtopics:
    """Judgments that tell subtopics (intents) of a query apart. query, topic, doc, grade: int64 [judgments]; topic
    counts from 0 within a query; doc is a row as in `Qrels.doc_rows`. Sorted by query, then doc. order: the place of
    each document's id by its bytes, by which ndeval settles ties in its ideal ranking; None: by row."""

    query: Ints
    topic: Ints
    doc: Ints
    grade: Ints
    order: Ints | None = None


@dataclass(frozen=True)
class Judged:
    """query, rank (0-based), grade, judgment (place in the arrays of `qrels`): int64 [judged hits], sorted by query
    and rank. retrieved: int64 [queries]. hits: the whole run. query_ids: where the measure needs names."""

    qrels: Qrels
    query: Ints
    rank: Ints
    judgment: Ints
    retrieved: Ints
    hits: Hits
    query_ids: Sequence[str] | None = None
    subtopics: Subtopics | None = None
    grade: Ints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grade", self.qrels.grades[self.judgment].astype(np.int64))

    @property
    def num_queries(self) -> int:
        return self.qrels.num_queries

    @property
    def doc(self) -> Ints:
        """int64 [judged hits]: the document's row, as in `Qrels.doc_rows`."""
        return self.qrels.doc_rows[self.judgment]

    def sum(self, values: npt.NDArray[Any], chosen: npt.NDArray[np.bool_]) -> Floats:
        """float64 [queries]: sum of `values` of the chosen judged hits, added in rank order as trec_eval does."""
        return weighted_count(self.query[chosen], values[chosen], self.num_queries)

    def count(self, chosen: npt.NDArray[np.bool_]) -> Floats:
        """float64 [queries]: how many judged hits are chosen."""
        return np.bincount(self.query[chosen], minlength=self.num_queries).astype(np.float64)

    def relevant_hits(self, k: int | None, rel: int) -> npt.NDArray[np.bool_]:
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

    def reranked(self, rank: Ints) -> Judged:
        """The same hits with other ranks, sorted anew (for the best and the worst order of ties)."""
        by = np.lexsort((rank, self.query))
        return Judged(
            self.qrels, self.query[by], rank[by], self.judgment[by], self.retrieved, self.hits,
            self.query_ids, self.subtopics,
        )  # fmt: skip


def join(
    run: Run,
    qrels: Qrels,
    *,
    query_ids: Sequence[str] | None = None,
    subtopics: Subtopics | None = None,
) -> Judged:
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
        at[found].astype(np.int64),
        run.lengths(),
        run,
        query_ids,
        subtopics,
    )


def weighted_count(query: Ints, values: npt.NDArray[Any], queries: int) -> Floats:
    """float64 [queries]: sums of values by query, added in the order given."""
    # np.bincount gives integers for empty input, whatever the weights.
    return np.bincount(query, weights=values, minlength=queries).astype(np.float64, copy=False)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator with 0 where the denominator is 0 (a query without relevant documents scores 0)."""
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)
