"""Scores of runs that are known by ids: ranking, join, measures, and what a reader should be warned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seekbench.columns import HitColumns, JudgmentColumns
from seekbench.errors import InputError
from seekbench.metrics.correlation import OF_PAIRS, pairs_without_hit
from seekbench.metrics.evaluate import OTHER_POLICIES, POLICIES, Scores, of_judged
from seekbench.metrics.measure import Measure
from seekbench.ranking import Joined, MissingQueries, TieBreak, join_columns

#: Hits, or relevant documents, from which a run that has hardly any judged one is suspicious.
_ENOUGH = 100


@dataclass(frozen=True)
class Policies:
    """tie_break, missing_queries, exclude_identical, most_unjudged: as in `ranking.join_columns`."""

    tie_break: TieBreak = "trec_eval"
    missing_queries: MissingQueries = "zero"
    exclude_identical: bool = False
    most_unjudged: float = 0.9

    def said(self) -> dict[str, str]:
        """The policies in words, as they stand in every output."""
        chosen = {"ranking": self.tie_break, "missing_queries": self.missing_queries}
        words = {k: OTHER_POLICIES.get((k, chosen.get(k, "")), v) for k, v in POLICIES.items()}
        return {**words, "exclusion": "identical_id" if self.exclude_identical else "none"}


def evaluate_columns(
    hits: HitColumns,
    judgments: JudgmentColumns,
    measures: Sequence[Measure],
    policies: Policies = Policies(),
) -> Scores:
    """Per-query values, means, facts and warnings of one run. Raises InputError as `ranking.join_columns` does."""
    joined = join_columns(
        hits,
        judgments,
        tie_break=policies.tie_break,
        missing_queries=policies.missing_queries,
        exclude_identical=policies.exclude_identical,
        most_unjudged=policies.most_unjudged,
    )
    without = int((joined.judged.relevant(1) == 0).sum())
    return of_judged(
        joined.judged,
        measures,
        query_ids=joined.judged.query_ids or (),
        policies=policies.said(),
        facts={**joined.facts, "queries_without_positives": without},
        warnings=_warnings(hits, joined, without, measures, policies),
    )


def _warnings(
    hits: HitColumns, joined: Joined, without: int, measures: Sequence[Measure], policies: Policies
) -> list[str]:
    facts, out = joined.facts, []
    if facts["queries_missing"]:
        how = "count 0" if policies.missing_queries == "zero" else "are left out"
        out.append(f"{facts['queries_missing']} judged queries have no hits in the run; they {how}")
    if facts["queries_unjudged"]:
        out.append(f"{facts['queries_unjudged']} queries of the run have no judgments; they do not count")
    if without:
        out.append(f"{without} queries have no relevant document; they score 0 and count")
    judged = joined.judged
    lacking = pairs_without_hit(judged) if any(m.base in OF_PAIRS for m in measures) else 0
    if lacking:
        out.append(
            f"{lacking} of {len(judged.qrels)} judged pairs have no hit; correlations take score 0 for them"
        )
    relevant = int((judged.qrels.grades > 0).sum())
    found = int((judged.grade > 0).sum())
    # Of a run that shares the ids of queries with other judgments, some documents may fit by chance.
    if relevant >= _ENOUGH and found < 0.02 * relevant:
        out.append(
            f"only {found} of {relevant} relevant documents are in the run; are these the judgments of its collection?"
        )
    infinite = 0 if hits.finite else int(np.isinf(hits.scores).sum())
    if infinite:
        out.append(f"{infinite} scores are infinite")
    # A measure without a cutoff reads the whole ranking.
    cutoffs = [m.k for m in measures]
    lost = _collapsed(
        joined, None if None in cutoffs else max((k for k in cutoffs if k is not None), default=None)
    )
    if lost:
        out.append(
            f"in {lost} queries scores that differ are equal as float32, so docids decide their order; "
            "write raw scores (no sigmoid) with a larger spread"
        )
    return out


def _collapsed(joined: Joined, k: int | None) -> int:
    """Judged queries in which two scores became equal as float32, where a stretch of equal scores that begins within k
    has them."""
    ranking = joined.ranking
    places = ranking.collapsed
    if not len(places):
        return 0
    query, first, last = ranking.ties()
    if k is not None:
        query, first, last = query[first < k], first[first < k], last[first < k]
    start = ranking.start[query]
    # Stretches that hold a place whose score differs from that of the place before.
    found = np.searchsorted(places, start + last, side="right") > np.searchsorted(
        places, start + first, side="right"
    )
    return len(np.unique(query[found]))


def refuse_foreign(hits: HitColumns, judgments: JudgmentColumns, scores: Scores) -> None:
    """Raises InputError for a run of many hits of which not one is judged: it is of another collection."""
    found = int(scores.facts["hits"])
    if scores.facts["hits_judged"] or found < _ENOUGH:
        return
    names = ", ".join(map(repr, hits.doc[:2].to_pylist()))
    theirs = ", ".join(map(repr, judgments.doc[:2].to_pylist()))
    raise InputError(
        f"not one of its {found} hits is judged; its documents are {names}, ..., the judged ones {theirs}, ...",
        where=hits.source.name,
        remedy="are these the judgments of this collection?",
    )
