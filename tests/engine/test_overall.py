"""Borda ranks and figures over several datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from seekbench.statistics.borda import borda
from seekbench.statistics.paired import paired_t
from seekbench.statistics.stratified import mean_interval, stratified_t

SCORES = st.tuples(st.integers(1, 7), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.1, 0.2, 0.3, 0.5, np.nan]))
)


@settings(deadline=None)  # the first call imports mteb
@given(SCORES)
def test_borda_equals_mteb(scores: Any) -> None:
    """Points and ranks by mteb's own function over the same table; a missing score is a missing row there."""
    from mteb.benchmarks._create_table import _borda_rank_from_long

    rows = [
        {"model_name": f"m{i}", "task_name": f"t{j}", "score": float(scores[i, j])}
        for i in range(scores.shape[0])
        for j in range(scores.shape[1])
        if not np.isnan(scores[i, j])
    ]
    found = borda(scores)
    assert (found.missing == np.isnan(scores).sum(axis=1)).all()
    there = [i for i in range(len(scores)) if not np.isnan(scores[i]).all()]
    if len(there) < len(scores):  # mteb leaves systems without any score out, so its ranks are of fewer
        return
    table = _borda_rank_from_long(pl.DataFrame(rows), n_models=len(scores))
    theirs = dict(table.iter_rows())
    assert [theirs[f"m{i}"] for i in range(len(scores))] == found.ranks.tolist()


def test_borda_by_hand() -> None:
    """Two share the best of three scores: ranks 1.5, so 1.5 points each; where lower is better the third wins."""
    found = borda([[0.5], [0.5], [0.1]])
    assert found.points.tolist() == [1.5, 1.5, 0.0]
    assert found.ranks.tolist() == [1, 1, 3]
    assert borda([[0.5], [0.5], [0.1]], lower=True).ranks.tolist() == [2, 2, 1]


@given(SCORES, st.randoms())
def test_borda_does_not_depend_on_order(scores: Any, random: Any) -> None:
    order = list(range(len(scores)))
    random.shuffle(order)
    assert (borda(scores[order]).ranks == borda(scores).ranks[order]).all()


VALUES = arrays(np.float64, st.integers(2, 30), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


@given(VALUES, st.randoms())
def test_one_dataset_is_students_paired_t(a: Any, random: Any) -> None:
    b = a.copy()
    random.shuffle(b)
    ours, plain = stratified_t([a], [b]), paired_t(a, b)
    assert ours.p == pytest.approx(plain.p, abs=1e-12)
    assert ours.statistic == pytest.approx(plain.statistic, rel=1e-9)


@given(VALUES, VALUES)
def test_two_datasets_are_welch(a: Any, b: Any) -> None:
    """The difference of two independent means is Welch's test: the mean of a and -b, doubled (scipy)."""
    if a.std() == 0 or b.std() == 0:  # scipy warns
        return
    zero_a, zero_b = np.zeros_like(a), np.zeros_like(b)
    ours = stratified_t([a, -b], [zero_a, zero_b])
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9, abs=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-7, abs=1e-12)


def test_intervals_hold_what_they_say() -> None:
    """Of 2,000 draws of three datasets, one of them weighing half, 95% of the 95% intervals hold the true mean."""
    rng = np.random.default_rng(7)
    weights, truth = np.array([0.5, 0.25, 0.25]), 0.5 * 0.2 + 0.25 * 0.5 + 0.25 * 0.9
    held = 0
    for _ in range(2000):
        strata = [rng.normal(m, s, n) for m, s, n in ((0.2, 0.3, 12), (0.5, 0.1, 30), (0.9, 0.5, 60))]
        interval = mean_interval(strata, weights)
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    assert 0.935 < held / 2000 < 0.965


def test_what_has_no_figure() -> None:
    assert mean_interval([[0.5]]) is None
    assert mean_interval([]) is None
    assert mean_interval([[0.5, 0.5], [1.0, 1.0]]) == (0.75, 0.75)
    assert stratified_t([[0.1, 0.2]], [[0.1, 0.2]]).p == 1.0
    assert stratified_t([[0.2, 0.2]], [[0.1, 0.1]]).p == 0.0
    assert stratified_t([[0.2], [0.1, 0.3]], [[0.1], [0.1, 0.1]]).p == 1.0
