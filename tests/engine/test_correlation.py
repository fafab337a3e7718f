"""Correlations and Welch's test against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seekbench.statistics.correlation import kendall_tau, pearson, spearman, swapped
from seekbench.statistics.unpaired import welch

#: few distinct values, so that ties are frequent
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=25)


@given(PAIRS)
def test_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float64).T
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert math.isnan(kendall_tau(a, b))
        assert math.isnan(spearman(a, b))
        return
    assert kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)


@given(PAIRS)
def test_swaps_are_the_discordant_pairs(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float64).T
    plain = sum((a[i] - a[j]) * (b[i] - b[j]) < 0 for i in range(len(a)) for j in range(i))
    assert swapped(a, b) == plain


def test_nan_is_left_out() -> None:
    assert kendall_tau([1, 2, math.nan, 3], [1, 2, 9, math.nan]) == 1.0
    assert math.isnan(kendall_tau([1.0, math.nan], [1.0, 2.0]))
    with pytest.raises(ValueError, match="two arrays"):
        spearman([1.0], [1.0, 2.0])


SCORES = st.lists(st.floats(0, 1, width=16), min_size=2, max_size=20)


@given(SCORES, SCORES)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    found = welch(a, b)
    if min(np.var(a), np.var(b)) < 1e-12:  # scipy warns of constant samples
        return
    theirs = stats.ttest_ind(a, b, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.interval[0] <= found.delta <= found.interval[1]
    other = welch(b, a)
    assert (other.p, other.delta) == pytest.approx((found.p, -found.delta), abs=1e-12)


def test_welch_where_there_is_nothing_to_test() -> None:
    assert welch([], [1.0, 2.0]).p == 1.0
    assert welch([0.5], [1.0, 2.0]).interval == (-math.inf, math.inf)
    assert welch([1.0, 1.0], [0.5, 0.5]).p == 0.0
    assert welch([1.0, 1.0], [1.0, 1.0, math.nan]).p == 1.0
