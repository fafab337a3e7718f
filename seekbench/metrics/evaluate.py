"""Scores of one run: every measure for every query, and their means under stated policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.collection import Exclusion, Qrels
from seekbench.metrics.judged import join
from seekbench.metrics.measure import Measure
from seekbench.runs import Run

#: How the figures were made; stands in every record.
POLICIES: Mapping[str, str] = {
    "ranking": "score as float32 descending, then docid bytes descending (trec_eval 9)",
    "missing_queries": "zero: judged queries without hits count with 0",
    "unjudged_documents": "not relevant",
    "queries_without_positives": "score 0 and count",
}


@dataclass(frozen=True)
class Scores:
    """values: float64 [queries, measures]; query_ids: one id a row."""

    measures: tuple[Measure, ...]
    query_ids: Sequence[str]
    values: npt.NDArray[np.float64]

    @property
    def mean(self) -> dict[str, float]:
        """Mean over all judged queries, by canonical name."""
        means = self.values.mean(axis=0) if len(self.values) else np.zeros(len(self.measures))
        return {m.name: float(v) for m, v in zip(self.measures, means, strict=True)}

    @property
    def per_query(self) -> Any:
        """pyarrow table: query_id and one column a measure."""
        import pyarrow as pa

        columns: dict[str, Any] = {"query_id": pa.array(self.query_ids, pa.string())}
        columns |= {m.name: pa.array(self.values[:, i]) for i, m in enumerate(self.measures)}
        return pa.table(columns)

    def of(self, name: str) -> npt.NDArray[np.float64]:
        """float64 [queries] of a measure by canonical name."""
        return self.values[:, [m.name for m in self.measures].index(name)]


def score(
    run: Run,
    qrels: Qrels,
    measures: Sequence[Measure],
    *,
    query_ids: Sequence[str],
    exclusion: Exclusion | None = None,
) -> Scores:
    """Per-query values of all measures from one ranking; excluded documents are taken out of the run first."""
    if exclusion is not None:
        run = run.without(exclusion, run.k)
    judged = join(run, qrels)
    values = np.empty((qrels.num_queries, len(measures)), dtype=np.float64)
    for i, measure in enumerate(measures):
        values[:, i] = measure.compute(judged)
    return Scores(tuple(measures), query_ids, values)
