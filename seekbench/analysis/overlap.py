"""How alike two rankings of the same queries are, whatever the judgments say.

Rankings are document rows, int [queries, k], best first, padded with -1. Figures are one a query.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.statistics.correlation import kendall_tau

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]

#: RBO's persistence: the first ten ranks carry 86% of the weight (Webber et al., eq. 21).
P = 0.9
#: Hits that are looked at: with p 0.9 all further ones weigh less than 3e-5 together (p^99).
DEPTH = 100


def overlap(a: Rows, b: Rows, k: int) -> Floats:
    """float64 [queries]: documents that the first k of both have in common, as a share of k, or of the hits of the
    longer list where that has fewer. 1 where neither has a hit."""
    out = np.ones(len(a))
    for query, (left, right) in enumerate(_lists(a, b, k)):
        longest = max(len(left), len(right))
        if longest:
            out[query] = len(np.intersect1d(left, right, assume_unique=True)) / longest
    return out


def rank_biased_overlap(a: Rows, b: Rows, *, p: float = P, depth: int = DEPTH) -> Floats:
    """float64 [queries], 0 to 1: extrapolated rank-biased overlap of the first `depth` hits (Webber, Moffat, Zobel
    2010, "A similarity measure for indefinite rankings", ACM TOIS 28(4), eq. 32, for lists of unequal length without
    ties).

    A reader looks one rank further with the chance p; the figure is the expected share of documents that both lists
    have in common where the reader stops, what is not seen taken to agree as what is. 1 where neither list has a
    hit, 0 where one has none.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, not {p}")
    return np.array([_extrapolated(left, right, p) for left, right in _lists(a, b, depth)])


def tau_of_common(a: Rows, b: Rows, *, depth: int = DEPTH) -> Floats:
    """float64 [queries]: Kendall's tau of the documents that the first `depth` hits of both have in common; NaN where
    these are fewer than two."""
    out = np.full(len(a), np.nan)
    for query, (left, right) in enumerate(_lists(a, b, depth)):
        _, at_left, at_right = np.intersect1d(left, right, assume_unique=True, return_indices=True)
        out[query] = kendall_tau(at_left, at_right)
    return out


def _lists(a: Rows, b: Rows, k: int) -> list[tuple[Rows, Rows]]:
    """Both lists of every query, at most k long, without padding."""
    if len(a) != len(b):
        raise ValueError(f"rankings of {len(a)} and {len(b)} queries can't be compared")
    return [
        (left[left >= 0], right[right >= 0])
        for left, right in zip(np.asarray(a[:, :k]), np.asarray(b[:, :k]), strict=True)
    ]


def _extrapolated(left: Rows, right: Rows, p: float) -> float:
    short, long = sorted((len(left), len(right)))
    if not short:
        return 1.0 if not long else 0.0
    _, at_left, at_right = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    depth = np.arange(1, long + 1, dtype=np.float64)
    # A document counts from the depth on at which both lists have shown it.
    shared = np.cumsum(np.bincount(np.maximum(at_left, at_right), minlength=long)[:long]).astype(np.float64)
    weight = p**depth
    seen, end = float(shared[short - 1]), float(shared[-1])
    agreed = float((shared / depth * weight).sum())
    # Where the short list is over, its unseen documents are taken to agree as its seen ones did.
    beyond = depth[short:]
    agreed += float((seen * (beyond - short) / (short * beyond) * weight[short:]).sum())
    return (1 - p) / p * agreed + ((end - seen) / long + seen / short) * float(weight[-1])
