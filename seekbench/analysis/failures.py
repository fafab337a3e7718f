"""Where a system fails: slices of the queries on which it is significantly worse than on the rest, or than a baseline.

Slices are of the length of the query, its number of relevant documents, its first word, how many of its words stand in
a relevant document, and every column that is known of the queries. All tests of a call are corrected together (Holm).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from seekbench.analysis.cases import Case
from seekbench.errors import InputError, did_you_mean
from seekbench.query_info import LENGTH, RELEVANT
from seekbench.statistics import slices
from seekbench.statistics.corrections import holm
from seekbench.statistics.intervals import t_interval
from seekbench.statistics.paired import differences, paired_t
from seekbench.statistics.slices import NONE, OTHER, Slice
from seekbench.statistics.unpaired import welch

Floats = npt.NDArray[np.float64]

FIRST_WORD, OVERLAP = "first word", "words shared"
#: Queries that a slice, and the rest of the queries, must have to be tested: below it a t-test has little to stand on.
FEWEST = 10
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class SliceTest:
    """One slice. mean: of the system on its queries. Against the rest, rest: the system's mean on all other queries,
    baseline: None; against a baseline, rest: the mean difference on all other queries, baseline: the baseline's mean
    on the slice. delta: what is tested, mean - rest or mean - baseline; interval: 95% of it; p, adjusted: before and
    after Holm's correction over all slices tested."""

    slice: Slice
    queries: int
    mean: float
    rest: float
    baseline: float | None
    delta: float
    interval: tuple[float, float]
    p: float
    adjusted: float

    def fails(self, alpha: float, lower: bool) -> bool:
        """Whether the system is significantly worse there."""
        return self.adjusted < alpha and (self.delta > 0 if lower else self.delta < 0)


@dataclass(frozen=True)
class Slicing:
    """tests: of all slices large enough, the worst first. untested: slices that are too small."""

    tests: tuple[SliceTest, ...]
    untested: int
    fewest: int


def against_rest(
    case: Case, measure: int, system: int, parts: Sequence[Slice], fewest: int = FEWEST
) -> Slicing:
    """Is the system worse on a slice than on the other queries? Welch's t-test of the two sets of queries."""
    scores = case.scores[:, measure, system]
    kept, untested = _large(parts, ~np.isnan(scores), fewest)
    found = []
    for part, inside in kept:
        rest = scores[~inside & ~np.isnan(scores)]
        mine = scores[inside & ~np.isnan(scores)]
        test = welch(mine, rest)
        found.append(
            SliceTest(
                part, len(mine), float(mine.mean()), float(rest.mean()), None, test.delta, test.interval, test.p, 1
            )
        )  # fmt: skip
    return Slicing(_corrected(found, case.measures[measure].definition.lower), untested, fewest)


def against_baseline(case: Case, measure: int, parts: Sequence[Slice], fewest: int = FEWEST) -> Slicing:
    """Is the second system of a case worse on a slice than the first? Paired t-test on the slice's queries."""
    before, after = case.scores[:, measure, 0], case.scores[:, measure, 1]
    known = ~(np.isnan(before) | np.isnan(after))
    kept, untested = _large(parts, known, fewest)
    found = []
    for part, inside in kept:
        one, other = before[inside & known], after[inside & known]
        rest = differences(after[~inside & known], before[~inside & known])
        difference = differences(other, one)
        low, high = t_interval(difference).tolist()
        found.append(
            SliceTest(
                part, len(one), float(other.mean()), float(rest.mean()), float(one.mean()), float(difference.mean()),
                (low, high), paired_t(other, one).p, 1,
            )
        )  # fmt: skip
    return Slicing(_corrected(found, case.measures[measure].definition.lower), untested, fewest)


def slices_of(case: Case, by: Sequence[str] | None = None) -> list[Slice]:
    """The slices of a case's queries, by the columns named or by all that there are.

    Raises InputError for a column that is not known.
    """
    known = columns_of(case)
    out: list[Slice] = []
    for name in by if by else known:
        if name not in known and name not in case.info.columns:
            raise InputError(
                f"can't slice by '{name}'", where="--by",
                remedy=did_you_mean(name, known)
                + ("" if case.info.columns else "; --queries or --dataset bring texts and columns"),
            )  # fmt: skip
        if name == FIRST_WORD and name in known:
            words = [_first_word(case.info.text(query)) for query in case.query_ids]
            out += slices.by_category(FIRST_WORD, words)
        elif name == OVERLAP and name in known:
            out += slices.by_number(OVERLAP, words_shared(case))
        else:
            out += case.info.slices(name, case.query_ids, case.qrels)
    return out


def columns_of(case: Case) -> list[str]:
    """What the queries can be sliced by; columns that hardly any query has are left out (metadata with a key a
    query)."""
    out = [RELEVANT]
    if "text" in case.info.columns:
        out += [LENGTH, FIRST_WORD]
        if case.dataset is not None:
            out.append(OVERLAP)
    for name, values in case.info.columns.items():
        there = sum(values.get(query) not in (None, "") for query in case.query_ids)
        if name != "text" and there >= FEWEST:
            out.append(name)
    return out


def words_shared(case: Case) -> Floats:
    """float64 [queries]: the share of the query's distinct words that stand in the relevant document that has most of
    them: max over d of |words(q) ∩ words(d)| / |words(q)|. Words are runs of letters and digits in lower case, neither
    stemmed nor stopped. NaN without a relevant document with a text, or without words."""
    wanted = [
        (query, row) for query in range(len(case.query_ids)) for row, g in case.grades(query).items() if g > 0
    ]
    rows = sorted({row for _, row in wanted})
    words = {row: _words(text) for row, text in zip(rows, case.texts(rows), strict=True)}
    out = np.full(len(case.query_ids), np.nan)
    asked = [_words(case.info.text(query)) for query in case.query_ids]
    for query, row in wanted:
        if asked[query] and words[row]:
            out[query] = np.fmax(out[query], len(asked[query] & words[row]) / len(asked[query]))
    return out


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _first_word(text: str) -> str | None:
    found = _WORD.search(text.lower())
    return found.group() if found else None


def _large(
    parts: Sequence[Slice], known: npt.NDArray[np.bool_], fewest: int
) -> tuple[list[tuple[Slice, npt.NDArray[np.bool_]]], int]:
    """(slices that can be tested, each with a mask of its queries; how many can't)."""
    kept, untested = [], 0
    for part in parts:
        inside = np.zeros(len(known), dtype=np.bool_)
        inside[part.rows] = True
        if part.label in (NONE, OTHER) or (~inside & known).sum() == 0:
            continue  # what is left over is no kind of query, and all queries are no slice
        if min((inside & known).sum(), (~inside & known).sum()) < fewest:
            untested += 1
        else:
            kept.append((part, inside))
    return kept, untested


def _corrected(found: Sequence[SliceTest], lower: bool) -> tuple[SliceTest, ...]:
    adjusted = holm([test.p for test in found])
    out = [replace(test, adjusted=p) for test, p in zip(found, adjusted, strict=True)]
    out.sort(key=lambda t: -t.delta if lower else t.delta)
    return tuple(out)
