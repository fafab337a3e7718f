"""Fusion on arrays, against ranx on runs without ties, and against sums written out by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from seekbench.collection import Records
from seekbench.errors import SeekbenchError
from seekbench.retrievers.fusion import Fusion, FusionParams, min_max, rrf
from seekbench.retrievers.protocol import Context, Retriever, TextView
from seekbench.runs import Run

DOCUMENTS = 60


def view(count: int, prefix: str) -> TextView:
    return TextView(Records.from_lists([f"{prefix}{i:03d}" for i in range(count)], ["x"] * count), "{text}")


def random_run(rng: np.random.Generator, queries: int, depth: int) -> Run:
    """A ranked run without ties; queries have 1..depth hits."""
    rows = np.full((queries, depth), -1, np.int32)
    scores = np.full((queries, depth), -np.inf, np.float32)
    for q in range(queries):
        hits = int(rng.integers(1, depth + 1))
        rows[q, :hits] = rng.choice(DOCUMENTS, hits, replace=False)
        scores[q, :hits] = np.sort(rng.choice(10_000, hits, replace=False))[::-1] / 7
    return Run(rows, scores)


def fused(runs: list[Run], k: int = 100, **params: Any) -> Run:
    names = tuple(f"r{i}" for i in range(len(runs)))
    retriever = Fusion(FusionParams(of=names, **params))
    assert isinstance(retriever, Retriever)
    assert retriever.needs == names
    assert not retriever.indexes
    context = Context(runs=dict(zip(names, runs, strict=True)))
    searcher = retriever.open(None, view(DOCUMENTS, "d"), context=context)
    return searcher.search(view(runs[0].num_queries, "q"), k, context=context)


def ranx(runs: list[Run], method: str, **arguments: Any) -> list[dict[int, float]]:
    from numba.core.errors import NumbaWarning
    from ranx import Run as RanxRun
    from ranx import fuse

    tables = []
    for run in runs:
        table = {}
        for q in range(run.num_queries):
            hit = run.doc_rows[q] >= 0
            ids = [f"{r:010d}" for r in run.doc_rows[q][hit]]
            table[f"{q:010d}"] = dict(zip(ids, run.scores[q][hit].astype(float).tolist(), strict=True))
        tables.append(RanxRun(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)
        out = fuse(tables, method=method, **arguments)
    return [{int(d): s for d, s in out.run[f"{q:010d}"].items()} for q in range(runs[0].num_queries)]


def as_tables(run: Run) -> list[dict[int, float]]:
    return [
        {int(r): float(s) for r, s in zip(rows, scores, strict=True) if r >= 0}
        for rows, scores in zip(run.doc_rows, run.scores, strict=True)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"method": "rrf"}, {"method": "rrf", "norm": None, "params": {"k": 60}}),
        ({"method": "rrf", "rrf_k": 7}, {"method": "rrf", "norm": None, "params": {"k": 7}}),
        ({"method": "minmax"}, {"method": "wsum", "norm": "min-max", "params": {"weights": [1.0, 1.0, 1.0]}}),
        (
            {"method": "minmax", "weights": [0.2, 0.5, 1.5]},
            {"method": "wsum", "norm": "min-max", "params": {"weights": [0.2, 0.5, 1.5]}},
        ),
        ({"method": "mnz", "norm": "max"}, {"method": "mnz", "norm": "max"}),
    ],
)
def test_equals_ranx(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    runs = [random_run(rng, 20, depth) for depth in (30, 12, 1)]
    run = fused(runs, **ours)
    expected = ranx(runs, **theirs)
    for found, wanted in zip(as_tables(run), expected, strict=True):
        assert found.keys() == wanted.keys()
        for document, score in wanted.items():
            assert found[document] == np.float32(score)


def test_rrf_by_hand() -> None:
    a = Run(np.int32([[0, 1]]), np.float32([[9, 8]]))
    b = Run(np.int32([[1, 2, -1]]), np.float32([[5, 4, -np.inf]]))
    run = fused([a, b], weights=[1, 2])
    assert run.doc_rows.tolist()[0][:3] == [1, 2, 0]
    np.testing.assert_allclose(run.scores[0, :3], [1 / 62 + 2 / 61, 2 / 62, 1 / 61], rtol=1e-7)
    assert (run.doc_rows[0, 3:] == -1).all()


def test_ties_follow_the_ranking_rule() -> None:
    """Both first places give the same sum: the larger id in byte order comes first."""
    a = Run(np.int32([[3, 5]]), np.float32([[2, 1]]))
    b = Run(np.int32([[5, 3]]), np.float32([[2, 1]]))
    assert fused([a, b]).doc_rows[0, :2].tolist() == [5, 3]
    assert fused([a, b], method="minmax").doc_rows[0, :2].tolist() == [5, 3]


def test_min_max_of_equal_scores_gives_nothing() -> None:
    """As in ranx: a list whose hits have one score has no range, so each gets 0."""
    flat = Run(np.int32([[0, 1], [4, -1]]), np.float32([[3, 3], [2, -np.inf]]))
    other = Run(np.int32([[1, 2], [-1, -1]]), np.float32([[3, 1], [-np.inf, -np.inf]]))
    run = fused([flat, other], method="minmax")
    assert as_tables(run) == [{1: 1.0, 2: 0.0, 0: 0.0}, {4: 0.0}]
    assert as_tables(run) == ranx([flat, other], "wsum", norm="min-max", params={"weights": [1.0, 1.0]})


def test_depth_and_k_cut() -> None:
    rng = np.random.default_rng(1)
    runs = [random_run(rng, 8, 30), random_run(rng, 8, 30)]
    order = view(DOCUMENTS, "d").order
    cut = fused(runs, depth=5)
    assert as_tables(cut) == as_tables(rrf([r.cut(5) for r in runs], 100, order))
    assert cut.k == 10
    assert as_tables(fused(runs, k=3)) == as_tables(rrf(runs, 100, order).cut(3))


def test_blocks_of_queries_change_nothing() -> None:
    rng = np.random.default_rng(2)
    queries, depth = 300, 20_000  # several blocks of two million places
    wide = np.full((queries, depth), -1, np.int32)
    wide[:, :DOCUMENTS] = np.argsort(rng.random((queries, DOCUMENTS)), axis=1)
    scores = np.where(wide >= 0, -np.arange(depth, dtype=np.float32), -np.inf).astype(np.float32)
    run = Run(wide, scores)
    order = np.arange(DOCUMENTS, dtype=np.int32)
    whole = rrf([run, run], 10, order)
    np.testing.assert_array_equal(whole.doc_rows, wide[:, :10])


def test_empty_runs() -> None:
    nothing = Run.empty(3, 0)
    some = random_run(np.random.default_rng(3), 3, 4)
    assert as_tables(fused([nothing, nothing])) == [{}, {}, {}]
    assert [list(t) for t in as_tables(fused([nothing, some]))] == [list(t) for t in as_tables(some)]
    assert as_tables(fused([nothing, nothing], method="sum")) == [{}, {}, {}]
    assert [list(t) for t in as_tables(fused([nothing, some], method="sum"))] == [
        list(t) for t in as_tables(some)
    ]


@pytest.mark.parametrize(
    "params",
    [
        {"method": "sum"},
        {"method": "mnz", "norm": "zmuv"},
        {"method": "isr"},
        {"method": "wsum", "weights": [1.0, 3.0]},
        {"method": "max", "norm": "borda"},
    ],
    ids=lambda params: params["method"],
)
def test_a_query_alone_is_fused_as_among_others(params: dict[str, Any]) -> None:
    """Also one that a system finds nothing for."""
    rng = np.random.default_rng(11)
    runs = [random_run(rng, 5, 6), random_run(rng, 5, 6)]
    runs[0].doc_rows[2], runs[0].scores[2] = -1, -np.inf
    runs[1].doc_rows[3], runs[1].scores[3] = -1, -np.inf
    whole = as_tables(fused(runs, **params))
    alone = [
        as_tables(fused([Run(r.doc_rows[q : q + 1], r.scores[q : q + 1]) for r in runs], **params))[0]
        for q in range(5)
    ]
    assert [list(t) for t in alone] == [list(t) for t in whole]
    for one, among in zip(alone, whole, strict=True):
        assert list(one.values()) == pytest.approx(list(among.values()))


@pytest.mark.parametrize("scores", [[np.inf, 1], [1, -np.inf], [np.inf, -np.inf]])
def test_infinite_scores_cannot_be_scaled(scores: list[float]) -> None:
    odd = Run(np.int32([[0, 1]]), np.float32([scores]))
    fine = Run(np.int32([[0, 1]]), np.float32([[2, 1]]))
    with pytest.raises(SeekbenchError, match="run of 1 has infinite scores, which min-max"):
        min_max([fine, odd], 5, np.arange(2))
    for params in ({"method": "minmax"}, {"method": "sum"}, {"method": "sum", "norm": None}):
        with pytest.raises(SeekbenchError, match=r"run of r1 has infinite scores.*rrf takes ranks"):
            fused([fine, odd], **params)
    assert np.isfinite(fused([fine, odd]).scores[0, :2]).all()


def test_a_missing_or_unlike_run_is_an_error() -> None:
    retriever = Fusion(FusionParams(of=("a", "b")))
    run = random_run(np.random.default_rng(4), 2, 3)
    searcher = retriever.open(None, view(DOCUMENTS, "d"), context=Context())
    with pytest.raises(SeekbenchError, match="no run of b"):
        searcher.search(view(2, "q"), 5, context=Context(runs={"a": run}))
    with pytest.raises(SeekbenchError, match="2 queries, not 3"):
        searcher.search(view(3, "q"), 5, context=Context(runs={"a": run, "b": run}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"of": ["a"]}, "at least 2"),
        ({"of": ["a", "a"]}, "twice"),
        ({"of": ["a", "b"], "weights": [1]}, "1 given for 2"),
        ({"of": ["a", "b"], "weights": [1, float("nan")]}, "weights.1\n +Input should be a finite number"),
        ({"of": ["a", "b"], "weights": [float("inf"), 1]}, "weights.0\n +Input should be a finite number"),
        ({"of": ["a", "b"], "rrf_k": float("inf")}, "rrf_k\n +Input should be a finite number"),
        ({"of": ["a", "b"], "method": "rff"}, "did you mean 'rrf'"),
        ({"of": ["a", "b"], "method": "probfuse"}, "trained on judgments"),
        ({"of": ["a", "b"], "method": "rbc"}, "needs phi"),
        ({"of": ["a", "b"], "method": "isr", "options": {"phi": 1}}, "no option phi"),
        ({"of": ["a", "b"], "method": "isr", "weights": [1, 2]}, "takes none"),
        ({"of": ["a", "b"], "options": {"k": 1}}, "takes none"),
    ],
)
def test_parameters_are_checked_together(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FusionParams(**params)


def test_describe_says_what_was_done() -> None:
    facts = Fusion(FusionParams(of=("a", "b"))).describe(context=Context())
    assert facts == {
        "method": "rrf", "of": ["a", "b"], "depth": None, "weights": [1.0, 1.0], "computed_by": "seekbench",
        "rrf_k": 60,
    }  # fmt: skip
    assert Fusion(FusionParams(of=("a", "b"))).identity(context=Context()) == {}
    by_ranx = Fusion(FusionParams(of=("a", "b"), method="rbc", options={"phi": 0.8}))
    assert "ranx" in by_ranx.identity(context=Context())["versions"]
