"""Corrections of p-values for how many were computed. Adjusted values stand in the order given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def uncorrected(p_values: Sequence[float]) -> list[float]:
    """The p-values as they are."""
    return [float(p) for p in p_values]


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """p times their number, at most 1: bounds the chance of any false find. Holm's is never worse."""
    return [min(1.0, len(p_values) * float(p)) for p in p_values]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values: bound the chance of any false find (Holm 1979)."""
    p, order = _ascending(p_values)
    stepped = np.minimum(1.0, np.arange(len(p), 0, -1) * p)
    return _restored(np.maximum.accumulate(stepped), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Step-up adjusted p-values: bound the expected share of false finds (Benjamini & Hochberg 1995)."""
    p, order = _ascending(p_values)
    stepped = np.minimum(1.0, len(p) / np.arange(1, len(p) + 1) * p)
    return _restored(np.minimum.accumulate(stepped[::-1])[::-1], order)


def _ascending(p_values: Sequence[float]) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[int]]:
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    return np.array([p_values[i] for i in order], dtype=np.float64), order


def _restored(adjusted: np.ndarray[tuple[int], np.dtype[np.float64]], order: list[int]) -> list[float]:
    out = [0.0] * len(order)
    for value, i in zip(adjusted, order, strict=True):
        out[i] = float(value)
    return out


#: The corrections by the name a user gives.
CORRECTIONS: Mapping[str, Callable[[Sequence[float]], list[float]]] = {
    "none": uncorrected,
    "holm": holm,
    "bonferroni": bonferroni,
    "bh": benjamini_hochberg,
}
