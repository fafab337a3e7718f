"""A run that is known by ids, ranked by the one rule and joined with judgments.

Most runs come sorted, query after query: that is looked for first and then costs nothing. Document ids are never
numbered; only tied documents' ids are compared, and only those of hits that somebody judged are looked up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.collection import Qrels, byte_order
from seekbench.columns import HitColumns, JudgmentColumns, coded, hash_strings, integers, numbers, words
from seekbench.errors import InputError
from seekbench.metrics.judged import Ints, Judged, Subtopics
from seekbench.runs import stretches

#: How documents of equal score are ranked. trec_eval: docid bytes descending; docid_asc: ascending; file: as the
#: lines stand; error: such a run is refused.
TieBreak = Literal["trec_eval", "docid_asc", "file", "error"]
MissingQueries = Literal["zero", "drop"]

#: Ids of up to this many 8-byte words are compared as words, longer ones as strings.
_WORDS = 8
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Ranking:
    """Hits in rank order: those of judged query i are scores[start[i] : start[i] + length[i]].

    scores: float32 [hits]; start, length: int64 [judged queries]. tied: int64, places p whose score is that of p + 1,
    of the same query. collapsed: int64, places p whose score differs from that of p - 1 as given but not as float32.
    known: tells whether any query has a judgment of the documents at given places.
    """

    scores: npt.NDArray[np.float32]
    start: Ints
    length: Ints
    tied: Ints
    collapsed: Ints
    known: Callable[[Ints], npt.NDArray[np.bool_]] = field(repr=False)

    def lengths(self) -> Ints:
        return self.length

    def top_scores(self, k: int | None = None) -> npt.NDArray[np.float32]:
        """float32 [queries, width <= k], padded with -inf."""
        width = int(self.length.max(initial=0))
        width = width if k is None else min(k, width)
        place = np.arange(width)
        inside = place < self.length[:, None]
        out = np.full(inside.shape, -np.inf, dtype=np.float32)
        out[inside] = self.scores[(self.start[:, None] + place)[inside]]
        return out

    def top_rows(self, k: int) -> None:
        """Documents that are known by id alone have no rows."""
        return

    def holes(self, k: int, qrels: Qrels) -> Ints:
        """int64 [queries]: hits within k of which no query has a judgment."""
        size = np.minimum(self.length, k)
        unknown = ~self.known(_spans(self.start, size))
        query = np.repeat(np.arange(len(size)), size)
        return np.bincount(query[unknown], minlength=len(size)).astype(np.int64)

    def ties(self) -> tuple[Ints, Ints, Ints]:
        """(query, first rank, last rank): int64, each stretch of hits of a judged query with one score."""
        first, last = stretches(self.tied)
        by = np.argsort(self.start, kind="stable")
        by = by[self.length[by] > 0]
        if not len(by):
            first = last = first[:0]
        query = (
            by[np.maximum(np.searchsorted(self.start[by], first, side="right") - 1, 0)] if len(by) else first
        )
        # Other stretches are of queries that nobody judged.
        judged = (first >= self.start[query]) & (first < self.start[query] + self.length[query])
        query, first, last = query[judged], first[judged], last[judged]
        order = np.lexsort((first, query))
        start = self.start[query]
        return query[order], (first - start)[order], (last - start)[order]


def _spans(start: Ints, length: Ints) -> Ints:
    """The numbers of all ranges start[i] .. start[i] + length[i] - 1, one after the other."""
    ends = np.cumsum(length)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(start - ends + length, length)


@dataclass(frozen=True)
class Joined:
    """judged: the join, with the judged queries' ids; ranking: the whole run; facts: counts for the record: `queries`,
    `queries_missing`, `queries_unjudged` (of the run), `hits`, `hits_excluded`, `hits_judged`."""

    judged: Judged
    ranking: Ranking
    facts: Mapping[str, int]


def join_columns(
    hits: HitColumns,
    judgments: JudgmentColumns,
    *,
    tie_break: TieBreak = "trec_eval",
    missing_queries: MissingQueries = "zero",
    exclude_identical: bool = False,
    most_unjudged: float = 0.9,
) -> Joined:
    """Ranks a run and looks up the judgment of every hit.

    exclude_identical: hits on the document that has the query's own id are taken out before ranks are counted.
    most_unjudged: the largest share of the run's queries that the judgments may lack.
    Raises InputError for NaN scores, repeated pairs, a run of other queries, ties where `tie_break` is `error`.
    """
    hits.refuse_nan()
    hits.refuse_repeated()
    judgments.refuse_repeated()
    facts = {"hits": len(hits), "hits_excluded": 0}
    if exclude_identical:
        hits, facts["hits_excluded"] = without_own(hits)
    at = _rows_of(judgments.query_ids, hits.query_ids)
    _refuse_others(hits, judgments, int((at >= 0).sum()), most_unjudged)
    facts |= {
        "queries": len(at),
        "queries_missing": int((at < 0).sum()),
        "queries_unjudged": len(hits.query_ids) - int((at >= 0).sum()),
    }
    ids = judgments.query_ids
    chosen = np.arange(len(at))
    if missing_queries == "drop":
        chosen = np.flatnonzero(at >= 0)
        ids, at = ids.take(integers(chosen)), at[chosen]
        facts["queries"] = len(at)
    qrels, place, subtopics = _qrels(judgments, chosen)
    scores, start, length, order, tied, collapsed = _ranked(hits, tie_break)
    present = at >= 0
    ranking = Ranking(
        scores,
        np.where(present, start[at], 0) if len(start) else np.zeros(len(at), np.int64),
        np.where(present, length[at], 0) if len(length) else np.zeros(len(at), np.int64),
        tied,
        collapsed,
        lambda places: _rows_of(hits.doc.take(integers(order.rows_at(places))), judgments.doc) >= 0,
    )
    judged = _matched(hits, judgments, at, qrels, place, ranking, order, subtopics, ids)
    facts |= {"hits_judged": len(judged.rank)}
    return Joined(judged, ranking, facts)


def _refuse_others(hits: HitColumns, judgments: JudgmentColumns, known: int, most: float) -> None:
    asked = len(hits.query_ids)
    if not asked or asked - known <= most * asked:
        return
    names = ", ".join(map(repr, hits.query_ids[:3].to_pylist()))
    theirs = ", ".join(map(repr, judgments.query_ids[:3].to_pylist()))
    share = "none" if not known else f"only {known}"
    raise InputError(
        f"{share} of the run's {asked} queries ({names}{', ...' if asked > 3 else ''}) "
        f"{'is' if not known else 'are'} judged; the judgments have {theirs}"
        f"{', ...' if len(judgments.query_ids) > 3 else ''}",
        where=hits.source.name,
        remedy="are these the judgments of this run?"
        + (
            ""
            if not known
            else f" If so, allow it: --max-unjudged {math.ceil((1 - known / asked) * 1000) / 1000}"
        ),
    )


def without_own(hits: HitColumns) -> tuple[HitColumns, int]:
    """Without the hits whose document has the id of its query, and how many they were."""
    same = hash_strings(hits.query_ids)[hits.query] == hash_strings(hits.doc)
    rows = np.flatnonzero(same)
    asked = hits.query_ids.take(integers(hits.query[rows]))
    rows = rows[_equal(asked, hits.doc.take(integers(rows)))]
    if not len(rows):
        return hits, 0
    keep = np.ones(len(hits), dtype=np.bool_)
    keep[rows] = False
    return HitColumns(
        hits.query_ids,
        hits.query[keep],
        hits.doc.take(integers(np.flatnonzero(keep))),
        hits.scores[keep],
        source=hits.source,
    ), len(rows)


@dataclass(frozen=True)
class Order:
    """Which row of the columns stands at which place of the ranking: `full[p]`, or p where the rows were in order of
    their scores already; but rows[i] stands at places[i] (ascending), where ties had to be put in order."""

    hits: int
    full: Ints | None
    places: Ints
    rows: Ints

    def rows_at(self, places: Ints) -> Ints:
        """int64: the rows at these places."""
        out = places.copy() if self.full is None else self.full[places]
        if len(self.places):
            at = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
            moved = self.places[at] == places
            out[moved] = self.rows[at[moved]]
        return out

    def places_of(self, rows: Ints) -> Ints:
        """int64: where these rows stand."""
        out = rows.copy()
        if self.full is not None:
            place = np.empty(self.hits, dtype=np.int64)
            place[self.full] = np.arange(self.hits)
            out = place[rows]
        if len(self.places):
            by = np.argsort(self.rows, kind="stable")
            at = np.minimum(np.searchsorted(self.rows[by], rows), len(by) - 1)
            moved = self.rows[by][at] == rows
            out[moved] = self.places[by[at[moved]]]
        return out


def _ranked(
    hits: HitColumns, tie_break: TieBreak
) -> tuple[npt.NDArray[np.float32], Ints, Ints, Order, Ints, Ints]:
    """(scores in rank order, start and length of each of the run's queries, the order, places whose score is that of
    the next hit of the query, places where float32 lost a difference)."""
    query = hits.query
    with np.errstate(over="ignore"):  # beyond float32 is infinite, in trec_eval too
        scores = hits.scores.astype(np.float32)
    scores += np.float32(0)  # -0.0 is 0.0
    none = np.empty(0, np.int64)
    order = Order(len(query), None, none, none)
    first = _first_rows(query)
    if len(np.unique(query[first])) < len(first) or _rises(scores, first):
        # Positive floats compare as their bits do, negative ones the other way round.
        bits = scores.view(np.int32).astype(np.int64)
        falling = np.where(bits < 0, bits & 0x7FFFFFFF, -bits)
        order = Order(
            len(query), np.argsort((query.astype(np.int64) << 32) + falling, kind="stable"), none, none
        )
        scores, query = scores[order.full], query[order.full]
        first = _first_rows(query)
    start, length = (np.zeros(len(hits.query_ids), dtype=np.int64) for _ in range(2))
    start[query[first]] = first
    length[query[first]] = np.diff(first, append=len(query))
    equal = scores[1:] == scores[:-1]
    equal[first[1:] - 1] = False
    tied = np.flatnonzero(equal)
    if len(tied) and tie_break == "error":
        asked = np.unique(query[tied])
        raise InputError(
            f"{len(asked)} queries have documents of equal score ('{hits.query_ids[int(asked[0])]}', ...)",
            where=hits.source.name,
            remedy="a tie-break other than `error` ranks them",
        )
    if len(tied) and tie_break != "file":
        order = _ties_broken(hits, order, tied, descending=tie_break == "trec_eval")
    collapsed = tied[hits.scores[order.rows_at(tied)] != hits.scores[order.rows_at(tied + 1)]] + 1
    return scores, start, length, order, tied, collapsed


def _rows_of(wanted: pa.Array, known: pa.Array) -> Ints:
    """int64: the row of each string in `known`, -1 where it is not there."""
    found = pc.index_in(wanted, value_set=known)
    # Without `fill_null`, whose scalar would import pandas.
    there = numbers(found.is_valid().cast(pa.uint8()), np.uint8)
    return np.where(there, numbers(found, np.int32), -1).astype(np.int64)


def _equal(a: pa.Array, b: pa.Array) -> npt.NDArray[np.bool_]:
    return numbers(pc.equal(a, b).cast(pa.uint8()), np.uint8).astype(np.bool_)


def _first_rows(query: npt.NDArray[np.int32]) -> Ints:
    """Where each stretch of rows of one query begins."""
    if not len(query):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(query[1:] != query[:-1]) + 1])


def _rises(scores: npt.NDArray[np.float32], first: Ints) -> bool:
    """Whether any score is above the one before it, where no new query begins."""
    above = scores[1:] > scores[:-1]
    above[first[1:] - 1] = False
    return bool(above.any())


def _ties_broken(hits: HitColumns, order: Order, tied: Ints, *, descending: bool) -> Order:
    """With each stretch of equal scores in the order of the documents' ids."""
    first, last = stretches(tied)
    size = last - first + 1
    places = _spans(first, size)
    chosen = order.rows_at(places)
    group = np.repeat(np.arange(len(first)), size)
    doc = hits.doc.take(integers(chosen))
    keys: list[npt.NDArray[Any]] | None = words(doc, _WORDS)
    if keys is None:
        keys = [byte_order(doc)]
    if descending:
        keys = [~key for key in keys]
    if _in_order(keys, group):
        return order
    return Order(order.hits, order.full, places, chosen[np.lexsort((*reversed(keys), group))])


def _in_order(keys: list[npt.NDArray[Any]], group: Ints) -> bool:
    """Whether the keys, compared one after the other, rise within each group."""
    open_ = group[1:] == group[:-1]
    for key in keys:
        if (open_ & (key[1:] < key[:-1])).any():
            return False
        open_ &= key[1:] == key[:-1]
    return True


def _qrels(judgments: JudgmentColumns, chosen: Ints) -> tuple[Qrels, Ints, Subtopics | None]:
    """(Qrels of the chosen queries, each judgment's place in it or -1, subtopics). Documents are numbered in order
    of appearance. Of the grades that a document has for several subtopics, the highest counts."""
    ids, doc = coded(judgments.doc)
    number = np.full(len(judgments.query_ids), -1, dtype=np.int64)
    number[chosen] = np.arange(len(chosen))
    query = number[judgments.query]
    kept = np.flatnonzero(query >= 0)
    by = kept[np.lexsort((-judgments.grades[kept].astype(np.int64), doc[kept], query[kept]))]
    q, d = query[by], doc[by].astype(np.int64)
    new = np.ones(len(by), dtype=np.bool_)
    new[1:] = (q[1:] != q[:-1]) | (d[1:] != d[:-1])
    place = np.full(len(judgments), -1, dtype=np.int64)
    place[by] = np.cumsum(new) - 1
    indptr = np.concatenate([[0], np.cumsum(np.bincount(q[new], minlength=len(chosen)))]).astype(np.int64)
    qrels = Qrels(indptr, d[new], judgments.grades[by[new]], len(ids))
    if judgments.subtopic is None:
        return qrels, place, None
    _, topic = coded(judgments.subtopic)
    pairs, inverse = np.unique(q * (int(topic.max(initial=0)) + 1) + topic[by], return_inverse=True)
    owner = np.zeros(len(pairs), dtype=np.int64)
    owner[inverse] = q
    first = np.searchsorted(owner, np.arange(len(chosen)))
    subtopics = Subtopics(
        q, inverse - first[q], d, judgments.grades[by].astype(np.int64), byte_order(ids)[d].astype(np.int64)
    )
    return qrels, place, subtopics


def _matched(
    hits: HitColumns,
    judgments: JudgmentColumns,
    at: Ints,
    qrels: Qrels,
    place: Ints,
    ranking: Ranking,
    order: Order,
    subtopics: Subtopics | None,
    ids: pa.Array,
) -> Judged:
    """Finds the judged hits by hash, verifies each by its bytes."""
    # One row a pair, also where it stands there once a subtopic.
    _, wanted = np.unique(place, return_index=True)
    wanted = wanted[place[wanted] >= 0]
    wanted = wanted[np.argsort(judgments.keys[wanted], kind="stable")]
    keys = judgments.keys[wanted]
    candidates = _candidates(hits.keys, keys)
    at_key = np.searchsorted(keys, hits.keys[candidates])
    owner = np.full(len(hits.query_ids), -1, dtype=np.int64)
    owner[at[at >= 0]] = np.flatnonzero(at >= 0)
    asked = qrels.query_rows()
    found_rows, found_judgments = [], []
    while len(candidates):  # once, unless judgments have equal hashes
        inside = at_key < len(keys)
        candidates, at_key = candidates[inside], at_key[inside]
        same = keys[at_key] == hits.keys[candidates]
        candidates, at_key = candidates[same], at_key[same]
        judgment = wanted[at_key]
        right = _equal(hits.doc.take(integers(candidates)), judgments.doc.take(integers(judgment)))
        right &= owner[hits.query[candidates]] == asked[place[judgment]]
        found_rows.append(candidates[right])
        found_judgments.append(place[judgment[right]])
        candidates, at_key = candidates[~right], at_key[~right] + 1
    row = np.concatenate(found_rows) if found_rows else np.empty(0, np.int64)
    judgment = np.concatenate(found_judgments) if found_judgments else np.empty(0, np.int64)
    query = owner[hits.query[row]]
    rank = order.places_of(row) - ranking.start[query]
    by = np.lexsort((rank, query))
    return Judged(
        qrels, query[by], rank[by], judgment[by], ranking.length, ranking, ids.to_pylist(), subtopics
    )


def _candidates(keys: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> Ints:
    """Places of keys whose low bits are those of a wanted one: most hits fail this test of one look."""
    bits = min(24, max(16, len(wanted).bit_length() + 4))
    table = np.zeros(1 << bits, dtype=np.bool_)
    mask = np.uint64((1 << bits) - 1)
    table[wanted & mask] = True
    out = [np.flatnonzero(table[keys[at : at + _BLOCK] & mask]) + at for at in range(0, len(keys), _BLOCK)]
    return np.concatenate(out) if out else np.empty(0, np.int64)
