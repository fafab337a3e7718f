"""Scores of one run: every measure for every query, and their means under stated policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.collection import Exclusion, Qrels
from seekbench.metrics import ties
from seekbench.metrics.judged import Judged, Subtopics, join
from seekbench.metrics.measure import Measure
from seekbench.runs import Run

#: How the figures were made; stands in every record.
POLICIES: Mapping[str, str] = {
    "ranking": "score as float32 descending, then docid bytes descending (trec_eval 9)",
    "missing_queries": "zero: judged queries without hits count with 0",
    "unjudged_queries": "ignored: queries of the run without judgments do not count",
    "unjudged_documents": "not relevant",
    "queries_without_positives": "score 0 and count",
}
#: What `POLICIES` says instead where another policy was chosen.
OTHER_POLICIES: Mapping[tuple[str, str], str] = {
    ("ranking", "docid_asc"): "score as float32 descending, then docid bytes ascending",
    ("ranking", "file"): "score as float32 descending, then the order given",
    ("ranking", "error"): "score as float32 descending; no two hits of a query are equal",
    ("missing_queries", "drop"): "drop: judged queries that the run lacks do not count",
}


class Means(dict[str, float]):
    """Figures by canonical name; other tools' spellings are found too."""

    def __missing__(self, name: str) -> float:
        from seekbench.errors import InputError
        from seekbench.metrics.measure import parse

        try:
            canonical = parse(name).name
        except InputError:
            raise KeyError(name) from None
        if canonical not in self:
            raise KeyError(name)
        return self[canonical]


@dataclass(frozen=True, repr=False)
class Scores:
    """values: float64 [queries, measures], NaN where a measure is not defined for a query; query_ids: one id a row.
    means: float64 [measures]: the run's figures (sums for counts). policies: how they were made. facts: counts of
    queries and hits. warnings: what a reader of the figures should know, a line each."""

    measures: tuple[Measure, ...]
    query_ids: Sequence[str]
    values: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    qrels: Qrels = field(repr=False)
    judged: Judged | None = field(repr=False)
    policies: Mapping[str, str] = field(default_factory=lambda: dict(POLICIES))
    facts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> dict[str, float]:
        """The run's figure by canonical name: the mean over all judged queries (docs/metrics.md says of which
        measures it is a sum, a geometric mean, or a figure of the whole run)."""
        return Means((m.name, float(v)) for m, v in zip(self.measures, self.means, strict=True))

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}: {value:.4f}" for name, value in self.mean.items())
        warned = "".join(f"\n  warning: {line}" for line in self.warnings)
        return f"<Scores of {len(self.query_ids)} queries: {figures}>{warned}"

    @cached_property
    def ties(self) -> dict[str, ties.TieReport | None]:
        """What the order of tied documents is worth, by canonical name; None where the grades do not tell which order
        is best (judged@k, figures of the whole run ...)."""
        assert self.judged is not None
        measures = [m.at(self.qrels.relevance_level) for m in self.measures]
        found = ties.report(self.judged, measures, self.values, self.means.tolist())
        return {m.name: r for m, r in zip(self.measures, found, strict=True)}

    def released(self) -> Scores:
        """The same without the run that they were made from, which may be large; ties are reckoned first."""
        small = replace(self, judged=None)
        small.__dict__["ties"] = self.ties  # the cached property's place
        return small

    def intervals(self, *, level: float = 0.95) -> dict[str, tuple[float, float] | None]:
        """Bootstrap confidence interval of each mean by canonical name; None for what is no mean over queries, and
        where fewer than two queries have a value."""
        from seekbench.statistics.intervals import bootstrap_interval

        chosen = [i for i, m in enumerate(self.measures) if m.definition.aggregate == "mean"]
        out: dict[str, tuple[float, float] | None] = {m.name: None for m in self.measures}
        if chosen and len(self.values) > 1:
            bounds = bootstrap_interval(self.values[:, chosen], level=level)
            for i, (low, high) in zip(chosen, bounds.tolist(), strict=True):
                if np.isfinite([low, high]).all():
                    out[self.measures[i].name] = (low, high)
        return out

    @property
    def per_query(self) -> Any:
        """pyarrow table: query_id and one float64 column a measure, null where it is not defined for a query."""
        import pyarrow as pa

        columns: dict[str, Any] = {"query_id": pa.array(self.query_ids, pa.string())}
        for i, m in enumerate(self.measures):
            if m.definition.aggregate != "run":
                columns[m.name] = pa.array(self.values[:, i], from_pandas=True)
        return pa.table(columns)

    def of(self, name: str) -> npt.NDArray[np.float64]:
        """float64 [queries] of a measure, in any tool's spelling. Raises KeyError for one that was not asked for."""
        from seekbench.metrics.measure import parse

        names = [m.name for m in self.measures]
        wanted = name if name in names else parse(name).name
        if wanted not in names:
            raise KeyError(name)
        return self.values[:, names.index(wanted)]


def score(
    run: Run,
    qrels: Qrels,
    measures: Sequence[Measure],
    *,
    query_ids: Sequence[str],
    exclusion: Exclusion | None = None,
    subtopics: Subtopics | None = None,
) -> Scores:
    """Per-query values of all measures from one ranking; excluded documents are taken out of the run first."""
    if exclusion is not None:
        run = run.without(exclusion, run.k)
    return of_judged(
        join(run, qrels, query_ids=query_ids, subtopics=subtopics), measures, query_ids=query_ids
    )


def of_judged(
    judged: Judged,
    measures: Sequence[Measure],
    *,
    query_ids: Sequence[str],
    policies: Mapping[str, str] | None = None,
    facts: Mapping[str, int] | None = None,
    warnings: Sequence[str] = (),
) -> Scores:
    """Scores of a join. Measures of binary relevance take the judgments' relevance level, where they name none."""
    values = np.full((judged.num_queries, len(measures)), np.nan)
    means = np.empty(len(measures))
    for i, measure in enumerate(measures):
        found = measure.at(judged.qrels.relevance_level).compute(judged)
        if measure.definition.aggregate == "run":
            means[i] = found
        else:
            values[:, i] = found
            means[i] = measure.aggregate(values[:, i])
    return Scores(
        tuple(measures), query_ids, values, means, judged.qrels, judged, dict(policies or POLICIES), dict(facts or {}),
        tuple(warnings),
    )  # fmt: skip
