"""Slices of a query set: disjoint sets of queries by a column, which together hold every query once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

NONE = "(none)"
OTHER = "(other)"
#: Values of a column that are slices of their own, before the others.
MOST = 12


@dataclass(frozen=True)
class Slice:
    """name: the column; label: which part of it, unique within the column; rows: int64 rows of queries, ascending."""

    name: str
    label: str
    rows: Ints


def by_number(
    name: str, values: npt.ArrayLike, *, bins: int = 4, unit: str = "", one: str | None = None
) -> list[Slice]:
    """At most `bins` slices of about as many queries each, ascending; values are numbers [queries].

    Equal values share a slice, so slices are uneven, or fewer, where values repeat. A label names the smallest and
    largest value in it: "1-4 words"; `one` is the unit of a lone 1 ("word"). NaN goes to "(none)", which comes
    last.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ValueError(f"values must be [queries], not of shape {column.shape}")
    missing = np.isnan(column)
    distinct, counts = np.unique(column[~missing], return_counts=True)
    out = []
    if len(distinct):
        # Each cut is the border between distinct values that lies nearest to where the quantile would be.
        borders = np.cumsum(counts)
        targets = borders[-1] * np.arange(1, bins) / bins
        cuts = np.unique([int(np.abs(borders - t).argmin()) + 1 for t in targets] + [len(distinct)]).astype(
            np.int64
        )
        starts = np.concatenate([np.zeros(1, dtype=np.int64), cuts[:-1]])
        ranges = [(float(distinct[i]), float(distinct[j - 1])) for i, j in zip(starts, cuts, strict=True)]
        for (low, high), label in zip(ranges, _labels(ranges, unit, one), strict=True):
            rows = np.flatnonzero((column >= low) & (column <= high)).astype(np.int64)
            out.append(Slice(name, label, rows))
    return out + _missing(name, missing)


def by_category(name: str, values: Sequence[object], *, most: int = MOST) -> list[Slice]:
    """One slice a value, the most frequent first, equally frequent ones by label; values are [queries].

    After `most` values the rest is one slice "(other)", unless it is a single value, which keeps its name. None,
    NaN and blank text go to "(none)", which comes last.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    labels = [_category(value) for value in values]
    counts = Counter(label for label in labels if label not in (NONE, OTHER))
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    if len(ranked) > most + 1 or (len(ranked) > most and OTHER in labels):
        ranked = ranked[:most]
    shown = set(ranked)
    rows: dict[str, list[int]] = {label: [] for label in [*ranked, OTHER, NONE]}
    for row, label in enumerate(labels):
        rows[label if label in shown or label == NONE else OTHER].append(row)
    return [Slice(name, label, np.array(r, dtype=np.int64)) for label, r in rows.items() if r]


def query_words(texts: Sequence[str | None]) -> npt.NDArray[np.float64]:
    """float64 [queries]: words between white space, NaN without a text. Says little of languages without spaces."""
    return np.array([math.nan if text is None else len(text.split()) for text in texts], dtype=np.float64)


def relevant_documents(indptr: Ints, grades: npt.NDArray[np.int32], *, rel: int = 1) -> Ints:
    """int64 [queries]: judged documents of grade >= rel, from the arrays of `seekbench.collection.Qrels`."""
    total = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(grades >= rel, dtype=np.int64)])
    counts: Ints = total[indptr[1:]] - total[indptr[:-1]]
    return counts


def _missing(name: str, missing: npt.NDArray[np.bool_]) -> list[Slice]:
    return [Slice(name, NONE, np.flatnonzero(missing).astype(np.int64))] if missing.any() else []


def _category(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    return str(value).strip() or NONE


def _labels(ranges: list[tuple[float, float]], unit: str, one: str | None) -> list[str]:
    """Ranges as text, with as many digits as it takes to tell the slices apart."""
    whole = all(value.is_integer() for pair in ranges for value in pair)
    # A dash after a number and before a minus can't be read.
    dash = " to " if ranges[0][0] < 0 else "-"
    out: list[str] = []
    for digits in (4, 6, 9, 17):
        out = []
        for low, high in ranges:
            first, last = (f"{v:.0f}" if whole else f"{v:.{digits}g}" for v in (low, high))
            text = first if first == last else f"{first}{dash}{last}"
            ending = one if one is not None and low == high == 1 else unit
            out.append(f"{text} {ending}".rstrip())
        # Also where one range ends and the next begins: 0.1-0.2 and 0.2-0.3 would not say where 0.2 is.
        ends = [f"{v:.{digits}g}" for pair in ranges for v in dict.fromkeys(pair)]
        if whole or len(set(ends)) == len(ends):
            break
    return out
