"""Overlap of rankings, what moved, failing slices, subsamples and selections of tasks."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.analysis import failures, moved, overlap, task_selection
from seekbench.analysis import subsample as sampling
from seekbench.analysis.cases import Case, rescored
from seekbench.collection import Corpus, Dataset, Qrels, Queries
from seekbench.metrics.measure import parse_all
from seekbench.query_info import of_dataset
from seekbench.runs import Run


def ranking(*lists: str) -> np.ndarray:
    """One query a list of letters, padded."""
    width = max(map(len, lists))
    return np.array([[ord(c) - 97 for c in text] + [-1] * (width - len(text)) for text in lists])


def plain_rbo(a: Sequence[int], b: Sequence[int], p: float) -> float:
    """Equation 32 of Webber et al. 2010, with sets."""
    short, long = sorted((a, b), key=len)
    s, end = len(short), len(long)
    if not s:
        return float(not end)
    x = [len(set(short[:d]) & set(long[:d])) for d in range(end + 1)]
    first = sum(x[d] / d * p**d for d in range(1, end + 1))
    second = sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, end + 1))
    return (1 - p) / p * (first + second) + ((x[end] - x[s]) / end + x[s] / s) * p**end


# Values of William Webber's implementation, as github.com/mpetri/rbo (00ac297, test_data/uneven_abc_sp.json) keeps
# them: the alphabet beside each list. Six decimals.
GOLDEN = [
    ("dnty", 0.1, 0.000250),
    ("akdwcjomxrubqitenhspyl", 0.1, 0.948509),
    ("av", 0.2, 0.900000),
    ("bncxagm", 0.2, 0.105466),
    ("f", 0.99, 0.043516),
    ("mrcag", 0.99, 0.503190),
    ("kxcnarvmwyp", 0.99, 0.529392),
    ("rwfgmahocestybjilzxpundqk", 0.99, 0.889890),
]


@pytest.mark.parametrize(("other", "p", "value"), GOLDEN)
def test_rbo_is_webbers(other: str, p: float, value: float) -> None:
    found = overlap.rank_biased_overlap(ranking(string.ascii_lowercase), ranking(other), p=p)
    assert found[0] == pytest.approx(value, abs=1e-6)


LIST = st.lists(st.integers(0, 14), unique=True, max_size=15)


@given(LIST, LIST, st.floats(0.05, 0.98))
def test_overlaps_are_those_of_sets(a: list[int], b: list[int], p: float) -> None:
    left, right = (np.array([x + [-1] * (15 - len(x))]) for x in (a, b))
    assert overlap.rank_biased_overlap(left, right, p=p)[0] == pytest.approx(plain_rbo(a, b, p), abs=1e-12)
    for k in (1, 5, 15):
        longest = max(len(a[:k]), len(b[:k]))
        shared = len(set(a[:k]) & set(b[:k])) / longest if longest else 1.0
        assert overlap.overlap(left, right, k)[0] == shared
    for measure in (overlap.rank_biased_overlap, overlap.tau_of_common):
        np.testing.assert_allclose(measure(left, right), measure(right, left), atol=1e-12)


@given(LIST)
def test_a_ranking_agrees_with_itself(a: list[int]) -> None:
    rows = np.array([a + [-1] * (15 - len(a))])
    assert overlap.rank_biased_overlap(rows, rows)[0] == pytest.approx(1.0, abs=1e-12)
    tau = overlap.tau_of_common(rows, rows)[0]
    assert tau == 1.0 if len(a) > 1 else math.isnan(tau)


def test_tau_of_a_reversed_list() -> None:
    assert overlap.tau_of_common(ranking("abcd"), ranking("dxcba")).tolist() == [-1.0]
    assert overlap.rank_biased_overlap(ranking("ab"), ranking("xy")).tolist() == [0.0]


def test_what_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        overlap.rank_biased_overlap(ranking("a"), ranking("a"), p=1.0)
    with pytest.raises(ValueError, match="queries"):
        overlap.overlap(ranking("a"), ranking("a", "b"), 1)


def case_of(
    runs: Mapping[str, Sequence[Sequence[int]]], grades: Sequence[Mapping[int, int]], documents: int,
    texts: Sequence[str] | None = None, queries: Sequence[str] | None = None, metric: str = "ndcg@3",
    absent: int = 0,
) -> Case:  # fmt: skip
    """Runs as lists of document numbers, a list a query; the last `absent` documents are not in the corpus."""
    ids = [f"d{i:03d}" for i in range(documents)]
    inside = documents - absent
    corpus = Corpus.from_lists(ids[:inside], (texts or [f"text {i}" for i in ids])[:inside])
    asked = Queries.from_lists([f"q{i}" for i in range(len(grades))], queries or ["who"] * len(grades))
    triples = [(q, d, g) for q, judged in enumerate(grades) for d, g in judged.items()]
    q, d, g = (
        np.array(part, dtype=np.int64) for part in (zip(*triples, strict=True) if triples else ([], [], []))
    )
    qrels = Qrels.from_triples(q, d, g, queries=len(grades), corpus_size=inside, absent_ids=ids[inside:])
    dataset = Dataset("small", "test", corpus, asked, qrels)
    made = []
    for lists in runs.values():
        width = max(1, *map(len, lists))
        rows = np.array([list(x) + [-1] * (width - len(x)) for x in lists])
        made.append(
            Run(rows, np.where(rows >= 0, -np.arange(width, dtype=np.float32), -np.inf).astype(np.float32))
        )
    return rescored(
        Case(
            "small", tuple(runs), asked.ids().to_pylist(), pa.array(ids, pa.large_string()), tuple(made), qrels,
            tuple(parse_all([metric])), np.empty((0, 0, 0)), of_dataset(dataset), dataset,
        )
    )  # fmt: skip


def test_documents_that_moved() -> None:
    case = case_of(
        {"a": [[0, 1, 2, 3, 4]], "b": [[5, 4, 0, 6, 1]]}, [{0: 1, 1: 2, 3: 1, 4: 1, 5: 1, 7: 1}], 8
    )
    found = moved.of_query(case, 0, 0, k=3)
    assert [(d.row, d.before, d.after, d.change(3)) for d in found.documents] == [
        (0, 1, 3, "down"), (5, None, 1, "gained"), (1, 2, 5, "leaves"), (4, 5, 2, "enters"), (3, 4, None, "lost"),
    ]  # fmt: skip
    assert found.new == 2
    assert moved.Moved(0, 1, 9, 5).change(3) == "up"
    assert moved.Moved(0, 1, 2, 2).change(3) == "same"


def test_queries_that_fell_and_rose() -> None:
    lists = {"a": [[0], [1], [0], [1]], "b": [[1], [0], [0], [0]]}
    case = case_of(lists, [{0: 1}] * 4, 2, metric="rr")
    found = moved.changed_queries(case, 0, 1, 3)
    assert [(c.query, c.before, c.after) for c in found] == [(0, 1.0, 0.0), (1, 0.0, 1.0)]


def test_a_planted_failure_is_found() -> None:
    """Queries that begin with `why` find nothing, all others everything."""
    asked = ["why is it so" if i % 4 == 0 else "what is it here" for i in range(120)]
    right, wrong = [0, 1], [1, 2]
    case = case_of(
        {"a": [right] * 120, "b": [wrong if q.startswith("why") else right for q in asked]}, [{0: 1}] * 120, 3,
        queries=asked,
    )  # fmt: skip
    parts = failures.slices_of(case, [failures.FIRST_WORD])
    for found in (failures.against_rest(case, 0, 1, parts), failures.against_baseline(case, 0, parts)):
        worst = found.tests[0]
        assert (worst.slice.label, worst.queries, worst.mean) == ("why", 30, 0.0)
        assert worst.fails(0.05, lower=False)
        assert worst.delta == -1.0
        assert [t.fails(0.05, lower=False) for t in found.tests] == [True, False]
    assert not any(t.fails(0.05, False) for t in failures.against_rest(case, 0, 0, parts).tests)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_slices_without_effect_fail_no_more_often_than_alpha_allows(seed: int) -> None:
    """Holm's correction over a system that differs from its baseline nowhere: adjusted p of 1."""
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(5).tolist() for _ in range(60)]
    asked = [" ".join(["word"] * int(n)) for n in rng.integers(1, 9, 60)]
    case = case_of({"a": lists, "b": lists}, [{0: 1}] * 60, 5, queries=asked)
    found = failures.against_baseline(case, 0, failures.slices_of(case))
    assert found.tests
    assert all(t.adjusted == 1.0 and t.delta == 0.0 for t in found.tests)


def test_small_slices_are_not_tested() -> None:
    asked = ["rare one"] * 9 + ["other one"] * 30
    case = case_of({"a": [[0]] * 39}, [{0: 1}] * 39, 1, queries=asked)
    found = failures.against_rest(case, 0, 0, failures.slices_of(case, [failures.FIRST_WORD]))
    assert (found.tests, found.untested) == ((), 2)
    found = failures.against_rest(case, 0, 0, failures.slices_of(case, [failures.FIRST_WORD]), fewest=9)
    assert [t.slice.label for t in found.tests] == ["other", "rare"]


def test_words_shared_with_the_best_relevant_document() -> None:
    case = case_of(
        {"a": [[0], [0], [0]]}, [{0: 1, 1: 1}, {2: 1}, {1: 0}], 3,
        texts=["Cells grow.", "cells, grow in MICE", "nothing"], queries=["do cells grow in mice", "Why?", "cells"],
    )  # fmt: skip
    np.testing.assert_allclose(failures.words_shared(case), [4 / 5, 0.0, np.nan])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    documents, queries = draw(st.integers(3, 12)), draw(st.integers(1, 6))
    absent = draw(st.integers(0, 1))
    listed = st.lists(st.integers(0, documents - 1 - absent), unique=True, max_size=8)
    runs = {
        f"s{i}": draw(st.lists(listed, min_size=queries, max_size=queries))
        for i in range(draw(st.integers(1, 3)))
    }
    judged = st.dictionaries(st.integers(0, documents - 1), st.integers(0, 2), max_size=4)
    return case_of(runs, draw(st.lists(judged, min_size=queries, max_size=queries)), documents, absent=absent)


@given(cases(), st.integers(1, 5), st.integers(1, 7), st.integers(0, 4), st.integers(0, 9))
@settings(deadline=None)
def test_a_subsample(case: Case, depth: int, queries: int, random: int, seed: int) -> None:
    assert case.dataset is not None
    pool = list(range(len(case.runs)))
    sample = sampling.draw(case, pool, depth=depth, queries=queries, random=random, seed=seed)
    size = len(case.dataset.corpus)
    # All relevant documents of the chosen queries, all pooled ones, so many random ones, and nothing else.
    assert len(sample.queries) == min(queries, len(case.query_ids))
    relevant = {d for q in sample.queries for d, g in case.grades(q).items() if g > 0 and d < size}
    hits = {
        d for q in sample.queries for run in case.runs for d in run.doc_rows[q, :depth].tolist() if d >= 0
    }
    assert set(sample.relevant.tolist()) == relevant
    assert set(sample.pooled.tolist()) == hits - relevant
    assert len(sample.random) == min(random, size - len(hits | relevant))
    kept = set(np.flatnonzero(sample.documents).tolist())
    assert kept == relevant | hits | set(sample.random.tolist())
    again = sampling.draw(case, pool, depth=depth, queries=queries, random=random, seed=seed)
    assert (again.documents == sample.documents).all()
    # Restricting twice is restricting once; a run's first hits are untouched if it was pooled that deep.
    once = sampling.restricted(case, sample)
    twice = sampling.restricted(once, sample)
    for whole, one, two in zip(case.runs, once.runs, twice.runs, strict=True):
        assert (one.doc_rows == two.doc_rows).all()
        for q in sample.queries.tolist():
            rows = [d for d in whole.doc_rows[q].tolist() if d in kept]
            assert one.doc_rows[q][one.doc_rows[q] >= 0].tolist() == rows
            assert (
                rows[:depth] == [d for d in whole.doc_rows[q, :depth].tolist() if d >= 0][: len(rows[:depth])]
            )
    # A pool of fewer systems keeps no other documents.
    smaller = sampling.of_pool(sample, case, pool[:-1], depth=depth)
    assert not (smaller.documents & ~sample.documents).any()


def test_the_report_of_systems_in_and_out_of_the_pool() -> None:
    """The pooled system keeps its score; the other one gains, as what stood above its relevant document is gone."""
    case = case_of({"in": [[0, 1], [0, 2]], "out": [[3, 0], [4, 0]]}, [{0: 1}, {0: 1}], 6, metric="rr")
    sample = sampling.draw(case, [0], depth=2)
    assert np.flatnonzero(sample.documents).tolist() == [0, 1, 2]
    found = sampling.report(case, sample, [0], depth=2)
    np.testing.assert_allclose(found.before, [1.0, 0.5])
    np.testing.assert_allclose(found.after, [1.0, 1.0])
    np.testing.assert_allclose(found.left_out, [np.nan, 1.0])
    assert found.without == {}
    both = sampling.report(case, sampling.draw(case, [0, 1], depth=2), [0, 1], depth=2)
    np.testing.assert_allclose(both.after, [1.0, 0.5])
    np.testing.assert_allclose(both.left_out, [1.0, 1.0])
    assert both.without[1].largest == 0.5


def test_lists_that_end_too_early_are_counted() -> None:
    case = case_of({"a": [[1, 2, 3]], "b": [[0, 4]]}, [{0: 1}], 5)
    found = sampling.report(case, sampling.draw(case, [1], depth=2), [1], depth=2)
    assert found.short.tolist() == [1, 0]


def test_agreement_of_two_orders() -> None:
    found = sampling.agreement([0.1, 0.2, 0.3, np.nan], [0.3, 0.2, 0.4, 1.0])
    assert (found.swaps, found.pairs, found.largest) == (1, 3, pytest.approx(0.2))
    assert found.tau == pytest.approx(1 / 3)


TABLE = np.random.default_rng(5).normal(size=(24, 7))


def plain_predictions(x: np.ndarray, y: np.ndarray) -> list[float]:
    out = []
    for i in range(len(x)):
        rest = [j for j in range(len(x)) if j != i]
        design = np.column_stack([np.ones(len(rest)), x[rest]])
        out.append(float(np.r_[1.0, x[i]] @ np.linalg.lstsq(design, y[rest], rcond=None)[0]))
    return out


@given(st.integers(1, 6), st.integers(0, 99))
def test_leaving_out_at_once_is_leaving_out_one_by_one(tasks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, tasks)), rng.normal(size=12)
    np.testing.assert_allclose(task_selection.left_out_predictions(x, y), plain_predictions(x, y), atol=1e-8)


@pytest.mark.parametrize("tasks", [3, 7, 12])
def test_predictions_are_scikit_learns(tasks: int) -> None:
    """Also with fewer systems than tasks, and with two tasks alike: the fit of minimum norm."""
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(tasks)
    x, y = rng.normal(size=(8, tasks)), rng.normal(size=8)
    x[:, 1] = x[:, 0]
    theirs = []
    for i in range(8):
        rest = np.arange(8) != i
        theirs.append(linear.LinearRegression().fit(x[rest], y[rest]).predict(x[[i]])[0])
    np.testing.assert_allclose(task_selection.left_out_predictions(x, y), theirs, atol=1e-8)


def test_a_repeated_task_is_removed_first() -> None:
    table = np.column_stack([TABLE, TABLE[:, 2] * 3 + 1])
    found = task_selection.select(table, least=0.95, most=0.2)
    assert [p.task for p in found.removed] == [2]
    assert found.removed[0].rho == pytest.approx(1.0)
    assert found.removed[0].error == pytest.approx(0.0, abs=1e-12)
    assert found.kept == (0, 1, 3, 4, 5, 6, 7)
    assert found.stop is not None
    assert found.stop.rho < 0.95
    assert [p.task for p in task_selection.select(table, locked={2}, most=0.2).removed] == [7]


@given(st.integers(2, 7), st.sets(st.integers(0, 6), max_size=2))
@settings(deadline=None)
def test_a_selection_stops_at_its_number(keep: int, locked: set[int]) -> None:
    found = task_selection.select(TABLE, keep=keep, least=-1.0, most=math.inf, locked=locked)
    assert len(found.kept) == keep
    assert locked <= set(found.kept)
    assert sorted([*found.kept, *(p.task for p in found.removed)]) == list(range(7))


def test_all_tasks_rank_as_all_tasks_do() -> None:
    for found in task_selection.rankings(TABLE, range(7)).values():
        assert found.tau == pytest.approx(1.0)
    half = task_selection.rankings(TABLE[:12], [0, 1, 2, 3, 4, 5, 6], TABLE[12:])
    assert half["estimate"].rho == pytest.approx(1.0)
    some = task_selection.of_random_sets(TABLE, 3, draws=5, locked={6})
    assert {len(v) for v in some.values()} == {5}
    assert max(r.tau for r in some["mean"]) < 1.0


@given(st.integers(4, 60), st.floats(0, 0.9), st.integers(0, 5))
def test_systems_are_split_once(systems: int, share: float, seed: int) -> None:
    one, other = task_selection.split(systems, share, seed)
    assert sorted([*one, *other]) == list(range(systems))
    assert len(other) == round(share * systems)
