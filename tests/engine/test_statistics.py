"""Statistics against scipy, statsmodels and ranx, and properties that must always hold."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multicomp import pairwise_tukeyhsd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from seekbench.statistics import resampling
from seekbench.statistics.corrections import CORRECTIONS
from seekbench.statistics.effect import (
    anova_effects,
    cliffs_delta,
    cohen_d,
    minimum_detectable_difference,
    queries_needed,
    t_test_power,
    win_tie_loss,
)
from seekbench.statistics.groups import groups, letter, letters
from seekbench.statistics.intervals import bootstrap_interval, t_interval
from seekbench.statistics.paired import (
    TESTS,
    Outcome,
    bootstrap_test,
    differences,
    paired_t,
    randomization,
    tukey_hsd,
    wilcoxon,
)
from seekbench.statistics.slices import by_category, by_number, query_words, relevant_documents
from seekbench.statistics.studentized import studentized_range_sf

# Tenths: differences tie and cancel, though not in binary.
score = st.one_of(st.sampled_from([i / 10 for i in range(11)]), st.floats(0, 1, width=32))
pairs = st.lists(st.tuples(score, score), max_size=30).map(
    lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 2)
)
p_lists = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), max_size=20)


def example(queries: int, systems: int = 2, seed: int = 0) -> Any:
    """Skewed scores with many ends of the scale, of queries that differ more than the systems do."""
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(queries, 1))
    table = 0.4 + 0.4 * query + 0.15 * rng.normal(size=(queries, systems)) + 0.02 * np.arange(systems)
    return np.clip(table, 0, 1)


# --- tests


def test_paired_t_equals_scipy() -> None:
    for seed in range(20):
        a, b = example(3 + 5 * seed, seed=seed).T
        expected = stats.ttest_rel(a, b)
        assert math.isclose(paired_t(a, b).p, expected.pvalue, rel_tol=1e-10)
        assert math.isclose(paired_t(a, b).statistic, expected.statistic, rel_tol=1e-10)


@pytest.mark.parametrize("queries", [1, 2, 5, 10, 13, 14, 20, 49, 50, 51, 300])
@pytest.mark.parametrize("kind", ["plain", "tied", "zeros"])
def test_wilcoxon_equals_scipy(queries: int, kind: str) -> None:
    for seed in range(2 if queries in (10, 13) else 5):  # scipy enumerates signs there, in .6 s
        rng = np.random.default_rng(seed)
        difference = rng.normal(0.2, 1, size=queries)
        if kind == "tied":
            difference = np.round(difference * 2) + 0.5
        if kind == "zeros":
            difference = np.round(difference * 2)
        if not difference.any():
            continue
        expected = stats.wilcoxon(difference)
        ours = wilcoxon(difference, np.zeros(queries))
        assert math.isclose(ours.p, expected.pvalue, rel_tol=1e-9, abs_tol=1e-15)
        assert ours.statistic == expected.statistic


def test_wilcoxon_sees_ties_through_rounding() -> None:
    tenths = np.array([1, 2, 3, 4, 5, 7, 9, 6, 3, 2, 1, 4, 8, 7, 9, 3, 2, 5])
    others = np.array([0, 1, 4, 2, 3, 9, 8, 5, 5, 1, 3, 3, 6, 5, 7, 2, 2, 4])
    assert wilcoxon(tenths / 10, others / 10) == wilcoxon(tenths, others)


def test_randomization_equals_scipy_when_exact() -> None:
    for queries, seed in [(2, 0), (5, 1), (9, 2), (12, 3)]:
        a, b = example(queries, seed=seed).T
        a, b = np.round(a, 1), np.round(b, 1)  # ties of sums, zeros among the differences
        expected = stats.permutation_test(
            (a, b),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=10_000,
        )
        assert math.isclose(randomization(a, b).p, expected.pvalue, rel_tol=1e-12)
        assert math.isclose(randomization(a, b).statistic, (a - b).mean(), abs_tol=1e-15)


def test_sampled_tests_agree_with_exact_ones() -> None:
    """Monte-Carlo tolerance: 4 standard errors of a share p of the draws."""
    a, b = example(16).T
    exact = randomization(a, b)
    assert exact.p == 2**-16 * round(exact.p * 2**16)
    sampled = randomization(a, b, permutations=50_000)
    assert abs(sampled.p - exact.p) < 4 * math.sqrt(exact.p * (1 - exact.p) / 50_000)
    # Of many queries, all tests of the mean agree.
    a, b = example(2_000).T
    b = b - 0.014
    t = paired_t(a, b).p
    assert 0.01 < t < 0.9
    assert abs(randomization(a, b).p - t) < 0.01
    assert abs(bootstrap_test(a, b).p - t) < 0.02


def test_randomization_equals_ranx() -> None:
    from ranx.statistical_tests import fisher_randomization_test

    a, b = example(60).T
    theirs, _ = fisher_randomization_test(a, b, n_permutations=5_000)
    ours = randomization(a, b).p
    assert 0.001 < ours < 0.99
    # 4 standard errors of ranx's share of 5,000.
    assert abs(ours - theirs) < 4 * math.sqrt(ours * (1 - ours) / 5_000)


def test_bootstrap_test_by_its_definition() -> None:
    """Algorithm of Sakai 2006, figure 1, with its own draws; tolerance 4 standard errors."""
    a, b = example(40).T
    z = a - b
    shifted = z - z.mean()

    def t(x: Any) -> Any:
        return x.mean(axis=-1) / (x.std(axis=-1, ddof=1) / math.sqrt(len(z)))

    drawn = shifted[np.random.default_rng(5).integers(0, len(z), size=(20_000, len(z)))]
    expected = float((np.abs(t(drawn)) >= abs(t(z))).mean())
    assert abs(bootstrap_test(a, b, samples=20_000).p - expected) < 4 * math.sqrt(
        2 * expected * (1 - expected) / 20_000
    )
    assert math.isclose(bootstrap_test(a, b).statistic, t(z), rel_tol=1e-12)


@pytest.mark.parametrize("name", list(TESTS))
def test_degenerate_pairs(name: str) -> None:
    test = TESTS[name]
    none, one, same = np.zeros(0), np.array([0.5]), np.array([0.1, 0.5, 0.5, 1.0])
    assert test(none, none) == Outcome(1.0, 0.0)
    assert test(same, same) == Outcome(1.0, 0.0)
    assert test(one, one * 0).p == 1.0
    constant = test(np.full(8, 0.75), np.full(8, 0.5))
    # 8 queries: 2 / 2^8 by counting signs; the bootstrap's 10,000 samples; no deviation for t.
    expected = {"t": 0.0, "wilcoxon": 2 / 256, "randomization": 2 / 256, "bootstrap": 1 / 10_001}
    assert constant.p == expected[name]
    assert not math.isnan(constant.statistic)
    with pytest.raises(ValueError, match="of shapes"):
        test(same, one)


@pytest.mark.parametrize("name", list(TESTS))
@settings(max_examples=40, deadline=None)
@given(table=pairs, order=st.randoms(use_true_random=False))
def test_p_is_a_probability_that_order_and_swapping_keep(name: str, table: Any, order: Any) -> None:
    tests: dict[str, Callable[..., Outcome]] = {
        **TESTS,
        "randomization": lambda a, b: randomization(a, b, permutations=500),  # both ways of it
        "bootstrap": lambda a, b: bootstrap_test(a, b, samples=200),
    }
    test = tests[name]
    a, b = table.T
    outcome = test(a, b)
    assert 0 <= outcome.p <= 1
    assert not math.isnan(outcome.statistic)
    assert math.isclose(test(b, a).p, outcome.p, rel_tol=1e-9, abs_tol=1e-12)
    by = list(range(len(a)))
    order.shuffle(by)
    assert math.isclose(test(a[by], b[by]).p, outcome.p, rel_tol=1e-9, abs_tol=1e-12)
    # A query that isn't defined for one of the two changes nothing.
    assert test(np.append(a, math.nan), np.append(b, 1.0)) == outcome


def test_sampled_p_is_never_zero_and_uniform_under_the_null() -> None:
    rng = np.random.default_rng(3)
    a = rng.uniform(size=100)
    assert randomization(a + 1 + a, a, permutations=999).p == 1 / 1000
    assert bootstrap_test(a + 1 + a, a, samples=999).p == 1 / 1000
    for test in (
        lambda d: randomization(d, 0 * d, permutations=400).p,
        lambda d: bootstrap_test(d, 0 * d, samples=400).p,
    ):
        p = np.array([test(rng.normal(size=30)) for _ in range(400)])
        # 20 of 400 are expected below 0.05; 3.5 standard errors.
        assert abs((p < 0.05).mean() - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / 400)


# --- Tukey


def test_tukey_without_blocks_equals_scipy_and_statsmodels() -> None:
    table = example(15, 4)
    ours = tukey_hsd(table, blocks=False)
    np.testing.assert_allclose(ours, stats.tukey_hsd(*table.T).pvalue, atol=1e-9)
    theirs = pairwise_tukeyhsd(table.ravel(), np.tile(np.arange(4), 15))
    # statsmodels 0.15 interpolates its own tables where scipy is not asked: 3 digits.
    np.testing.assert_allclose(ours[np.triu_indices(4, 1)], theirs.pvalues, atol=1e-3)


def test_tukey_with_blocks_has_the_residual_of_a_two_way_anova() -> None:
    queries, systems = 12, 4
    table = example(queries, systems)
    row, column = np.divmod(np.arange(table.size), systems)
    design = np.column_stack([np.eye(queries)[row], np.eye(systems)[column][:, 1:]])
    fit = OLS(table.ravel(), design).fit()
    assert fit.df_resid == (queries - 1) * (systems - 1)
    means = table.mean(axis=0)
    q = np.abs(means[:, None] - means) / math.sqrt(fit.mse_resid / queries)
    expected = stats.studentized_range.sf(q, systems, fit.df_resid)
    np.testing.assert_allclose(tukey_hsd(table), expected, atol=1e-9)
    effects = (means[:, None] - means) / math.sqrt(fit.mse_resid)
    np.testing.assert_allclose(anova_effects(table), effects, atol=1e-12)


def test_tukey_of_two_systems_is_the_paired_t_test() -> None:
    for queries in (2, 3, 10, 500):
        a, b = example(queries, seed=queries).T
        p = tukey_hsd(np.column_stack([a, b]))
        assert math.isclose(p[0, 1], paired_t(a, b).p, abs_tol=1e-9)
        assert math.isclose(
            anova_effects(np.column_stack([a, b]))[0, 1], cohen_d(a, b) * math.sqrt(2), rel_tol=1e-9
        )


@pytest.mark.parametrize(("systems", "freedom"), [(2, 1), (3, 2), (3, 20), (10, 9), (20, 6_000), (50, 49)])
def test_studentized_range(systems: int, freedom: int) -> None:
    q = np.array([0.0, 0.1, 1.0, 3.0, 3.7, 5.0, 10.0, 40.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's integrals "probably diverge" for 6,000 degrees of freedom
        expected = stats.studentized_range.sf(q, systems, freedom)
    # scipy promises 1e-11 of each integral and has erred by 2.5e-10.
    np.testing.assert_allclose(studentized_range_sf(q, systems, freedom), expected, atol=1e-9)


def test_degenerate_tukey() -> None:
    assert tukey_hsd(np.zeros((0, 3))).tolist() == np.ones((3, 3)).tolist()
    assert tukey_hsd(np.array([[0.1, 0.9]])).tolist() == [[1, 1], [1, 1]]
    assert tukey_hsd(np.array([[0.1], [0.2]])).tolist() == [[1]]
    shifted = np.array([[0.1, 0.2, 0.1], [0.3, 0.4, 0.3], [0.7, 0.8, 0.7]])
    assert tukey_hsd(shifted).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert anova_effects(shifted)[0].tolist() == [0, -math.inf, 0]
    assert anova_effects(shifted[:1]).tolist() == np.zeros((3, 3)).tolist()
    with_nan = np.vstack([example(9, 3), [0.1, math.nan, 0.2]])
    assert (tukey_hsd(with_nan) == tukey_hsd(example(9, 3))).all()


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 8), st.integers(1, 5)), elements=score), st.booleans())
def test_tukey_is_symmetric_and_at_least_the_unadjusted_p(table: Any, blocks: bool) -> None:
    p = tukey_hsd(table, blocks=blocks)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p == p.T).all()
    assert (p.diagonal() == 1).all()
    flipped = tukey_hsd(table[::-1, ::-1], blocks=blocks)
    np.testing.assert_allclose(flipped[::-1, ::-1], p, atol=1e-6)


# --- corrections


@pytest.mark.parametrize(
    ("ours", "theirs"), [("holm", "holm"), ("bonferroni", "bonferroni"), ("bh", "fdr_bh")]
)
@settings(max_examples=60, deadline=None)
@given(p=p_lists.filter(bool))
def test_corrections_equal_statsmodels(ours: str, theirs: str, p: list[float]) -> None:
    np.testing.assert_allclose(
        CORRECTIONS[ours](p), multipletests(p, method=theirs)[1], rtol=1e-12, atol=1e-300
    )


@pytest.mark.parametrize("name", list(CORRECTIONS))
@settings(max_examples=60, deadline=None)
@given(p=p_lists, order=st.randoms(use_true_random=False))
def test_corrected_p_values(name: str, p: list[float], order: Any) -> None:
    adjusted = CORRECTIONS[name](p)
    assert len(adjusted) == len(p)
    # One unit in the last place below, since n / n * p is computed.
    assert all(raw * (1 - 1e-15) <= new <= 1 for raw, new in zip(p, adjusted, strict=True))
    # Who is smaller stays smaller, or level.
    by_p = sorted(range(len(p)), key=lambda i: p[i])
    assert all(adjusted[i] <= adjusted[j] for i, j in itertools.pairwise(by_p))
    by = list(range(len(p)))
    order.shuffle(by)
    assert CORRECTIONS[name]([p[i] for i in by]) == [adjusted[i] for i in by]
    # Most cautious last.
    assert all(
        bh <= h * (1 + 1e-15) and h <= b * (1 + 1e-15)
        for bh, h, b in zip(*(CORRECTIONS[c](p) for c in ("bh", "holm", "bonferroni")), strict=True)
    )


# --- intervals


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_interval_equals_scipy(method: Any) -> None:
    """Bounds by 10,000 resamples differ by about 2% of the width; 8% or one query's share is allowed."""
    for values in (example(50)[:, 0], example(300)[:, 0] ** 4, (example(80)[:, 0] > 0.9).astype(float)):
        ours = bootstrap_interval(values, method=method)
        theirs = stats.bootstrap(
            (values,), np.mean, method={"bca": "BCa"}.get(method, method), rng=1
        ).confidence_interval
        tolerance = max(0.08 * (ours[1] - ours[0]), 1.001 / len(values))
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


def test_bootstrap_interval_covers_the_mean() -> None:
    rng = np.random.default_rng(1)
    covered = [
        low <= 0.25 <= high
        for low, high in (bootstrap_interval(rng.beta(0.5, 1.5, size=80), samples=600) for _ in range(400))
    ]
    # 95% nominally and a little less with so few queries; 3.5 standard errors.
    assert abs(np.mean(covered) - 0.94) < 3.5 * math.sqrt(0.05 * 0.95 / 400)


def test_t_interval_equals_scipy() -> None:
    table = example(25, 3)
    expected = [stats.ttest_1samp(column, 0).confidence_interval(0.9) for column in table.T]
    np.testing.assert_allclose(t_interval(table, level=0.9), np.array(expected), rtol=1e-12)
    np.testing.assert_allclose(t_interval(table[:, 0], level=0.9), expected[0], rtol=1e-12)


def test_intervals_of_columns_are_those_of_each_alone() -> None:
    table = example(40, 3)
    table[5:9, 1] = math.nan
    for interval in (bootstrap_interval, t_interval):
        together = interval(table)
        assert together.shape == (3, 2)
        alone = [interval(column[~np.isnan(column)][::-1]) for column in table.T]
        np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_resamples_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = example(37, 3)
    expected = resampling.resampled_sums(values, samples=501, seed=1)
    bounds = bootstrap_interval(values, samples=501)
    for block in (1, 37 * 7, 37 * 100, 1 << 24):
        monkeypatch.setattr(resampling, "BLOCK", block)
        # The same draws; BLAS may add them in another order.
        np.testing.assert_allclose(
            resampling.resampled_sums(values, samples=501, seed=1), expected, rtol=1e-13
        )
        np.testing.assert_allclose(bootstrap_interval(values, samples=501), bounds, rtol=1e-12)
    assert (bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)).any()


@pytest.mark.parametrize("interval", [bootstrap_interval, t_interval])
def test_degenerate_intervals(interval: Callable[..., Any]) -> None:
    assert interval([]).tolist() == [-math.inf, math.inf]
    assert interval([0.5]).tolist() == [-math.inf, math.inf]
    assert interval([math.nan, 0.5, math.nan]).tolist() == [-math.inf, math.inf]
    np.testing.assert_allclose(interval([0.1] * 7), [0.1, 0.1], rtol=1e-12)
    assert interval(np.zeros((5, 2))).tolist() == [[0, 0], [0, 0]]
    assert interval(np.zeros((0, 2))).tolist() == [[-math.inf, math.inf]] * 2
    with pytest.raises(ValueError, match="level"):
        interval([0.1, 0.2], level=95)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.integers(2, 40), elements=score), st.sampled_from(["bca", "percentile"]))
def test_bootstrap_interval_properties(values: Any, method: Any) -> None:
    def bounds(level: float) -> Any:
        return bootstrap_interval(values, level=level, samples=300, method=method)

    narrow, wide = bounds(0.8), bounds(0.99)
    slack = 1e-12
    assert values.min() - slack <= wide[0] <= narrow[0] + slack
    assert narrow[0] <= narrow[1]
    assert narrow[1] - slack <= wide[1] <= values.max() + slack
    # Nothing beyond the pole of the acceleration either.
    assert np.isfinite(bounds(1 - 1e-12)).all()


# --- effects


def test_power_equals_statsmodels() -> None:
    theirs = TTestPower()
    for effect, queries in [(0.05, 50), (0.2, 50), (0.5, 20), (0.02, 7_000), (1.5, 4), (-0.3, 30)]:
        assert math.isclose(
            t_test_power(effect, queries), theirs.power(effect, queries, 0.05), rel_tol=1e-7, abs_tol=1e-9
        )
    for queries in (5, 50, 300, 7_000):
        difference = np.subtract(*example(queries).T)
        # Its solver stops at a power of 0.79998 for 7,000 queries, so its power is asked instead.
        effect = minimum_detectable_difference(difference) / difference.std(ddof=1)
        assert math.isclose(theirs.power(effect, queries, 0.05), 0.8, rel_tol=1e-9)
    for effect in (0.05, 0.2, -0.5, 1.0):
        expected = theirs.solve_power(effect_size=abs(effect), alpha=0.05, power=0.8)
        assert queries_needed(effect) == math.ceil(expected)


def test_power_has_no_step_where_t_becomes_normal() -> None:
    below, above = t_test_power(0.0025, 1_000_001), t_test_power(0.0025, 1_000_002)
    assert math.isclose(below, above, abs_tol=2e-6)
    assert t_test_power(5.0, 1_000) == 1.0
    assert queries_needed(1e-5) == pytest.approx((1.959964 + 0.841621) ** 2 * 1e10, rel=1e-5)


def test_degenerate_effects() -> None:
    none, same = np.zeros(0), np.array([0.5, 0.5, 0.7])
    assert cohen_d(none, none) == cohen_d(same, same) == cohen_d([1.0], [0.0]) == 0
    assert cohen_d([0.75, 0.5], [0.5, 0.25]) == math.inf
    assert cohen_d([0.4, 0.3], [0.3, 0.2]) == math.inf  # constant but for rounding
    assert cliffs_delta(none, same) == 0
    assert minimum_detectable_difference([0.5]) == math.inf
    assert minimum_detectable_difference([0.5, 0.5]) == 0
    assert queries_needed(0.0) is None
    assert queries_needed(math.inf) == 2
    assert win_tie_loss(none, none) == (0, 0, 0)
    with pytest.raises(ValueError, match="power"):
        queries_needed(0.5, power=1.5)


def test_hedges_factor() -> None:
    """J(f) is about 1 - 3 / (4f - 1), Hedges 1981."""
    a, b = example(12).T
    factor = cohen_d(a, b, corrected=True) / cohen_d(a, b)
    assert math.isclose(factor, 1 - 3 / (4 * 11 - 1), abs_tol=5e-4)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_effects_by_definition(table: Any) -> None:
    a, b = table.T
    won = win_tie_loss(a, b)
    assert won == (int((a > b).sum()), int((a == b).sum()), int((a < b).sum()))
    assert win_tie_loss(b, a) == won[::-1]
    assert win_tie_loss(a, b, tolerance=1.0).ties == len(a)
    assert math.isclose(cliffs_delta(a, b), -cliffs_delta(b, a), abs_tol=1e-15)
    if len(a):
        assert math.isclose(cliffs_delta(a, b), np.sign(a[:, None] - b).mean(), abs_tol=1e-12)
    if len(a) >= 2 and math.isfinite(cohen_d(a, b)):
        assert math.isclose(
            cohen_d(a, b) * math.sqrt(len(a)), paired_t(a, b).statistic, rel_tol=1e-9, abs_tol=1e-9
        )
        assert math.isclose(cohen_d(b, a), -cohen_d(a, b), abs_tol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.03, 2), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([0.001, 0.05]))
def test_queries_needed_is_the_fewest(effect: float, power: float, alpha: float) -> None:
    n = queries_needed(effect, alpha=alpha, power=power)
    assert n is not None
    assert t_test_power(effect, n, alpha=alpha) >= power
    assert n == 2 or t_test_power(effect, n - 1, alpha=alpha) < power


# --- groups


@st.composite
def compared(draw: Any) -> tuple[list[float], Any]:
    means = draw(st.lists(score, max_size=9))
    upper = np.triu(draw(hnp.arrays(np.bool_, (len(means), len(means)))), 1)
    return means, upper | upper.T


@settings(max_examples=150, deadline=None)
@given(compared())
def test_two_systems_share_a_letter_iff_they_do_not_differ(case: tuple[list[float], Any]) -> None:
    means, differ = case
    display = [set(re.findall(r"[a-z]\d*", text)) for text in letters(means, differ)]
    assert len(display) == len(means)
    for i, mine in enumerate(display):
        assert mine
        for j, other in enumerate(display):
            assert bool(mine & other) == (not differ[i, j])
    found = groups(means, differ)
    # None within another, the best system in the first, members by mean.
    assert not any(set(x) <= set(y) for x in found for y in found if x is not y)
    if means:
        assert means[found[0][0]] == max(means)
    assert all(means[i] >= means[j] for g in found for i, j in itertools.pairwise(g))


def test_letters_of_a_known_case() -> None:
    """Piepho 2004's example: T1 differs from T7 and T8, T2 from T7; hence sets in descending order."""
    means = [8, 7, 6, 5, 4, 3, 2, 1]
    differ = np.zeros((8, 8), dtype=bool)
    for i, j in [(0, 6), (0, 7), (1, 6)]:
        differ[i, j] = differ[j, i] = True
    assert groups(means, differ) == [(0, 1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 7), (2, 3, 4, 5, 6, 7)]
    assert letters(means, differ) == ["a", "ab", "abc", "abc", "abc", "abc", "c", "bc"]
    assert letters(np.arange(3.0), ~np.eye(3, dtype=bool)) == ["c", "b", "a"]
    assert [letter(i) for i in (0, 25, 26, 52)] == ["a", "z", "a1", "a2"]
    with pytest.raises(ValueError, match="symmetric"):
        groups([1.0, 2.0], np.array([[False, True], [False, False]]))


# --- slices


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(0, 6).map(float), st.floats(allow_infinity=False, width=32), st.floats(0, 1)),
        max_size=40,
    ),
    st.integers(1, 6),
)
def test_number_slices_partition_the_queries(values: list[float], bins: int) -> None:
    slices = by_number("length", values, bins=bins, unit="words")
    rows = [row for s in slices for row in s.rows.tolist()]
    assert sorted(rows) == list(range(len(values)))
    assert all(len(s.rows) and s.rows.dtype == np.int64 and (np.diff(s.rows) > 0).all() for s in slices)
    assert len({s.label for s in slices}) == len(slices)
    numbers = [s for s in slices if s.label != "(none)"]
    assert len(numbers) <= bins
    column = np.array(values)
    ends = [(column[s.rows].min(), column[s.rows].max()) for s in numbers]
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(ends))


def test_number_slices() -> None:
    def shape(*args: Any, **more: Any) -> dict[str, list[int]]:
        return {s.label: s.rows.tolist() for s in by_number("x", *args, **more)}

    assert shape([3, 1, 2, 4, 6, 5, 8, 7], bins=4, unit="words") == {
        "1-2 words": [1, 2],
        "3-4 words": [0, 3],
        "5-6 words": [4, 5],
        "7-8 words": [6, 7],
    }
    assert shape([1, 1, 1, 1, 1, 9], unit="words", one="word") == {"1 word": [0, 1, 2, 3, 4], "9 words": [5]}
    assert shape([0.25, math.nan, 0.5], bins=2) == {"0.25": [0], "0.5": [2], "(none)": [1]}
    assert list(shape([0.1, 0.11111, 0.11112, 0.2], bins=2)) == ["0.1-0.11111", "0.11112-0.2"]
    assert list(shape([-3, -2, -1, 4], bins=2)) == ["-3 to -2", "-1 to 4"]
    assert shape([]) == {}
    with pytest.raises(ValueError, match="bins"):
        by_number("x", [1.0], bins=0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", " a ", "", "(other)", "(none)", None, math.nan, 3, True])),
    st.integers(1, 5),
)
def test_category_slices_partition_the_queries(values: list[object], most: int) -> None:
    slices = by_category("kind", values, most=most)
    assert sorted(row for s in slices for row in s.rows.tolist()) == list(range(len(values)))
    assert all(len(s.rows) and s.rows.dtype == np.int64 and (np.diff(s.rows) > 0).all() for s in slices)
    assert len({s.label for s in slices}) == len(slices)
    named = [len(s.rows) for s in slices if s.label not in ("(other)", "(none)")]
    assert named == sorted(named, reverse=True)
    assert len([s for s in slices if s.label != "(none)"]) <= most + 1


def test_category_slices() -> None:
    kinds = ["who", "what", "who", None, "when", "where", "what", "who", "why"]
    assert [(s.name, s.label, s.rows.tolist()) for s in by_category("kind", kinds, most=2)] == [
        ("kind", "who", [0, 2, 7]),
        ("kind", "what", [1, 6]),
        ("kind", "(other)", [4, 5, 8]),
        ("kind", "(none)", [3]),
    ]
    assert [s.label for s in by_category("kind", kinds, most=4)] == [
        "who",
        "what",
        "when",
        "where",
        "why",
        "(none)",
    ]


def test_columns_of_queries() -> None:
    from seekbench.collection import Qrels

    np.testing.assert_array_equal(query_words(["what is  it", "", None]), [3, 0, math.nan])
    qrels = Qrels.from_triples(
        np.array([0, 0, 2, 2, 2]), np.arange(5), np.array([1, 0, 2, 1, -1]), queries=4, corpus_size=9
    )
    assert relevant_documents(qrels.indptr, qrels.grades).tolist() == [1, 0, 2, 0]
    assert relevant_documents(qrels.indptr, qrels.grades, rel=2).tolist() == [0, 0, 1, 0]


# --- rules


def test_differences_leave_out_undefined_queries() -> None:
    assert differences([1.0, math.nan, 3.0], [0.5, 1.0, math.nan]).tolist() == [0.5]


def test_imports_are_light() -> None:
    modules = [
        "corrections",
        "effect",
        "groups",
        "intervals",
        "paired",
        "resampling",
        "slices",
        "studentized",
    ]
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module('seekbench.statistics.' + name)
assert not [m for m in sys.modules if m.startswith('scipy')], 'scipy is loaded'
from seekbench.statistics.paired import TESTS, tukey_hsd
for test in TESTS.values():
    test([0.1, 0.5, 0.6], [0.3, 0.2, 0.1])
tukey_hsd([[0.1, 0.5], [0.6, 0.3]])
assert 'scipy.stats' not in sys.modules, 'scipy.stats is loaded'
"""
    subprocess.run([sys.executable, "-c", code], check=True)
