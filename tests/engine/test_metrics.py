"""Measures against trec_eval's code (pytrec_eval), and properties that must always hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import evaluate
from seekbench.errors import InputError
from seekbench.metrics.measure import functions, parse, parse_all
from seekbench.metrics.significance import holm, paired_t

PAIRS = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@3": "ndcg_cut_3",
    "ndcg": "ndcg",
    "map": "map",
    "map@5": "map_cut_5",
    "mrr": "recip_rank",
    "p@5": "P_5",
    "recall@5": "recall_5",
    "success@1": "success_1",
    "success@5": "success_5",
}
DOCS = [f"d{i}" for i in range(12)] + ["é", "10", "9", "D1"]

# Few distinct scores: most hits are tied. 16777216 and ...17 are equal in float32 and not in float64.
scores = st.sampled_from([0.0, 1.0, -1.0, 0.1, 16777216.0, 16777217.0, 0.12345678901, 0.12345678900])
runs = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(DOCS), scores, min_size=1),
    min_size=1,
)
# No negative grades here: pytrec_eval 0.5.11 does not return from some runs with them.
judgments = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(DOCS), st.integers(0, 3), min_size=1),
    min_size=1,
)


@settings(max_examples=400, deadline=None)
@given(runs, judgments)
def test_equal_to_trec_eval_on_tied_runs(run: dict[str, Any], qrels: dict[str, Any]) -> None:
    reference = pytrec_eval.RelevanceEvaluator(qrels, set(PAIRS.values())).evaluate(run)
    table = evaluate(run, qrels, list(PAIRS)).per_query.to_pylist()
    for row in table:
        for ours, theirs in PAIRS.items():
            expected = reference.get(row["query_id"], {}).get(theirs, 0.0)
            assert math.isclose(row[ours], expected, abs_tol=1e-12), (row["query_id"], ours)


@settings(max_examples=100, deadline=None)
@given(runs, judgments, st.randoms())
def test_input_order_changes_nothing(run: dict[str, Any], qrels: dict[str, Any], random: Any) -> None:
    shuffled = {q: dict(random.sample(list(h.items()), len(h))) for q, h in run.items()}
    before, after = evaluate(run, qrels, list(PAIRS)), evaluate(shuffled, qrels, list(PAIRS))
    assert np.array_equal(before.values, after.values)
    assert ((before.values >= 0) & (before.values <= 1 + 1e-12)).all()


@settings(max_examples=100, deadline=None)
@given(judgments)
def test_the_ideal_run_scores_one(qrels: dict[str, Any]) -> None:
    ideal = {q: {d: float(g) for d, g in grades.items()} for q, grades in qrels.items()}
    result = evaluate(ideal, qrels, ["ndcg", "ndcg@10", "map", "mrr"])
    for query, row in zip(result.query_ids, result.values, strict=True):
        if any(g > 0 for g in qrels[query].values()):
            assert np.allclose(row, 1.0)
        else:
            assert not row.any()


@settings(max_examples=100, deadline=None)
@given(runs, judgments)
def test_an_unjudged_document_below_k_changes_nothing_at_k(
    run: dict[str, Any], qrels: dict[str, Any]
) -> None:
    longer = {q: {**h, "unjudged": min(h.values()) - 1000.0} for q, h in run.items() if len(h) >= 3}
    shorter = {q: run[q] for q in longer}
    at = ["ndcg@3", "recall@3", "p@3", "success@3", "map@3"]
    assert np.array_equal(evaluate(shorter, qrels, at).values, evaluate(longer, qrels, at).values)


def test_the_api_stays_callable() -> None:
    """`seekbench.run` is a function; a submodule of that name would take its place once it is imported."""
    import importlib
    import pkgutil

    import seekbench

    for module in pkgutil.iter_modules(seekbench.__path__):
        assert module.name not in seekbench.__all__
        importlib.import_module(f"seekbench.{module.name}")
    assert all(callable(getattr(seekbench, name)) for name in seekbench.__all__)


def test_missing_queries_count_zero() -> None:
    """METRICS.md T3: q1 perfect, q2 missing: trec_eval -c gives .5."""
    result = evaluate({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"b": 1}}, ["ndcg@10", "mrr"])
    assert result.mean == {"ndcg@10": 0.5, "mrr": 0.5}


def test_queries_with_empty_judgments_do_not_count() -> None:
    """METRICS.md T6b: pytrec_eval knows no query without judgments."""
    assert evaluate({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {}}, ["mrr"]).mean == {"mrr": 1.0}


def test_capped_recall() -> None:
    """METRICS.md T9: 20 relevant, 5 in the top 10: R@10 .25, R_cap@10 .5."""
    run = {"q": {f"d{i}": float(100 - i) for i in range(5)} | {f"x{i}": float(50 - i) for i in range(5)}}
    result = evaluate(run, {"q": {f"d{i}": 1 for i in range(20)}}, ["recall@10", "R_cap@10"])
    assert result.mean == {"recall@10": 0.25, "r_cap@10": 0.5}


def test_an_empty_run_scores_zero() -> None:
    assert evaluate({}, {"q1": {"a": 1}}, ["ndcg@10"]).mean["ndcg@10"] == 0.0


def test_exponential_gain_has_its_own_name() -> None:
    """Grades 3 and 1 swapped: linear .7967, exponential .7098 (ranx ndcg_burges@10)."""
    result = evaluate({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 1, "b": 3}}, ["ndcg@10", "ndcg(gain=exp)@10"])
    assert round(result.mean["ndcg@10"], 4) == 0.7967
    assert round(result.mean["ndcg(gain=exp)@10"], 4) == 0.7098


def test_nan_and_float_grades_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        evaluate({"q": {"a": math.nan}}, {"q": {"a": 1}}, ["mrr"])
    with pytest.raises(InputError, match="no integer"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 0.5}}, ["mrr"])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("nDCG@10", "ndcg@10"),
        ("ndcg_cut.10", "ndcg@10"),
        ("ndcg_cut_10", "ndcg@10"),
        ("ndcg_at_10", "ndcg@10"),
        ("NDCG@10", "ndcg@10"),
        ("R@100", "recall@100"),
        ("recall.100", "recall@100"),
        ("AP", "map"),
        ("map_cut.5", "map@5"),
        ("recip_rank", "mrr"),
        ("RR@10", "mrr@10"),
        ("P_5", "p@5"),
        ("precision@5", "p@5"),
        ("hit_rate@3", "success@3"),
        ("p(rel=2)@5", "p(rel=2)@5"),
        ("ndcg(gain=linear)@10", "ndcg@10"),
    ],
)
def test_names(given_name: str, name: str) -> None:
    assert parse(given_name).name == name
    assert parse(parse(given_name).name) == parse(given_name)


def test_every_measure_has_a_definition_and_a_source() -> None:
    for name, function in functions().items():
        assert "Source:" in (function.__doc__ or ""), name
    assert len(functions()) == 8


def test_wrong_names_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        parse_all(["nDGC@10", "recall", "p@0", "map(x=1)", "p(rel=0)@5"])
    text = "\n".join(caught.value.report.lines())
    assert "did you mean 'ndcg@10'" in text
    assert "needs a cutoff" in text
    assert caught.value.report.errors == 5


def test_paired_t_equals_scipy() -> None:
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.random(30), rng.random(30)
        assert math.isclose(paired_t(a, b), ttest_rel(a, b).pvalue, rel_tol=1e-10)
    assert paired_t(a, a) == 1.0


def test_holm() -> None:
    """Holm 1979: sorted p times the number of hypotheses left, made monotone."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
