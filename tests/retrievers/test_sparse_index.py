"""Sparse vectors, the inverted file over them, and its Lucene twin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.errors import SeekbenchError
from seekbench.retrievers.sparse import columns, impact
from seekbench.retrievers.sparse.columns import Columns
from seekbench.retrievers.sparse.vectors import (
    Integers,
    SparseVectors,
    flops,
    mean_nonzeros,
    pruned,
    quantized,
)
from seekbench.runs import Run

WIDTH = 12


def random_vectors(
    rng: np.random.Generator, rows: int, width: int = WIDTH, *, ties: bool = False, share: float = 0.3
) -> SparseVectors:
    """Rows, some of them empty and some alike; with ties all weights are small multiples of 1/4."""
    matrix = rng.integers(1, 5, (rows, width)) / 4 if ties else rng.gamma(1.5, 0.8, (rows, width))
    matrix = matrix * (rng.random((rows, width)) < share)
    if rows > 2:
        matrix[rng.integers(rows)] = 0
        matrix[rng.integers(rows)] = matrix[rng.integers(rows)]
    return SparseVectors.of_dense(matrix.astype(np.float32))


def in_parts(vectors: SparseVectors, size: int) -> Iterator[SparseVectors]:
    for at in range(0, len(vectors), size):
        yield vectors.take(at, at + size)


def ruled(scores: npt.NDArray[Any], order: npt.NDArray[Any], k: int) -> list[int]:
    """The k best documents of one query by the ranking rule."""
    best = np.lexsort((-order, -scores))[:k]
    return [int(d) for d in best if scores[d] > 0]


def by_hand(
    queries: SparseVectors, documents: SparseVectors, order: npt.NDArray[Any], k: int
) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
    """Rows by the ranking rule, and float32 scores [queries, documents], one product and sum at a time."""
    left, right = queries.dense(), documents.dense()
    scores = np.zeros((len(queries), len(documents)), dtype=np.float32)
    for t in range(queries.width):
        scores += left[:, t : t + 1] * right[:, t]
    return [ruled(row, order, k) for row in scores], scores


def hits_of(run: Run) -> list[list[int]]:
    return [[int(d) for d in rows if d >= 0] for rows in run.doc_rows]


def same(one: Run, other: Run) -> bool:
    return bool(np.array_equal(one.doc_rows, other.doc_rows) and np.array_equal(one.scores, other.scores))


# -- vectors ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(0, 20), size=st.integers(1, 7))
def test_rows_come_back(seed: int, rows: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(rng, rows)
    dense = vectors.dense()
    assert np.array_equal(SparseVectors.of_dense(dense).terms, vectors.terms)
    assert vectors.lengths().tolist() == (dense > 0).sum(axis=1).tolist()
    some = rng.integers(0, rows, 5) if rows else np.empty(0, np.int64)
    assert np.array_equal(vectors.some(some).dense(), dense[some])
    assert np.array_equal(vectors.take(2, 2 + size).dense(), dense[2 : 2 + size])
    if rows:
        assert np.array_equal(SparseVectors.stacked(list(in_parts(vectors, size))).dense(), dense)


@pytest.mark.parametrize(
    ("indptr", "terms", "weights"),
    [
        ([0, 2], [1, 1], [1, 1]), ([0, 2], [2, 1], [1, 1]), ([0, 1], [WIDTH], [1]), ([0, 1], [-1], [1]),
        ([0, 1], [0], [0]), ([0, 1], [0], [-1]), ([0, 1], [0], [np.nan]), ([0, 1], [0], [np.inf]),
        ([0, 2], [0], [1]), ([1, 1], [0], [1]), ([0, 2, 1], [0, 1], [1, 1]), ([], [], []),
    ],
)  # fmt: skip
def test_wrong_rows_are_refused(indptr: list[int], terms: list[int], weights: list[float]) -> None:
    with pytest.raises(SeekbenchError):
        SparseVectors(
            np.array(indptr, np.int64), np.array(terms, np.int32), np.array(weights, np.float32), WIDTH
        )


@pytest.mark.parametrize("number", [-1.0, np.nan, np.inf])
def test_wrong_matrices_are_refused(number: float) -> None:
    with pytest.raises(SeekbenchError, match="finite"):
        SparseVectors.of_dense(np.array([[0, number]], np.float32))


def test_a_row_may_begin_with_a_lower_term() -> None:
    vectors = SparseVectors(np.array([0, 0, 2, 2, 3, 3]), np.array([3, 5, 0]), np.ones(3, np.float32), WIDTH)
    assert vectors.lengths().tolist() == [0, 2, 0, 1, 0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans(), top=st.integers(0, 8), threshold=st.floats(0, 2))
def test_pruning(seed: int, ties: bool, top: int, threshold: float) -> None:
    vectors = random_vectors(np.random.default_rng(seed), 15, ties=ties)
    kept = pruned(vectors, top, threshold)
    for before, after in zip(vectors.dense(), kept.dense(), strict=True):
        best = ruled(before, -np.arange(WIDTH), top)
        expected = sorted(t for t in best if before[t] >= np.float32(threshold))
        assert np.flatnonzero(after).tolist() == expected
        assert np.array_equal(after[expected], before[expected])
    assert np.array_equal(pruned(vectors).dense(), vectors.dense())
    again = pruned(kept, top, threshold)
    assert np.array_equal(again.dense(), kept.dense())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans(), factor=st.sampled_from([0.5, 1.0, 2.0, 100.0]))
def test_rounding(seed: int, ties: bool, factor: float) -> None:
    vectors = random_vectors(np.random.default_rng(seed), 15, ties=ties)
    found = quantized(vectors, factor)
    dense = np.zeros((15, WIDTH), np.int64)
    dense[np.repeat(np.arange(15), np.diff(found.indptr)), found.terms] = found.values
    assert np.array_equal(dense, np.rint(vectors.dense().astype(np.float64) * factor).astype(np.int64))
    assert (found.values > 0).all()
    assert found.values.dtype == np.int32


def test_halves_go_to_the_even_integer() -> None:
    vectors = SparseVectors.of_dense(np.array([[0.5, 1.5, 2.5, 3.5]], np.float32))
    assert quantized(vectors, 1).terms.tolist() == [1, 2, 3]
    assert quantized(vectors, 1).values.tolist() == [2, 2, 4]
    with pytest.raises(SeekbenchError, match="32 bits"):
        quantized(vectors, 1e9)


def test_flops_and_mean() -> None:
    queries = SparseVectors.of_dense(np.array([[1, 0, 0], [1, 2, 0]], np.float32))
    documents = SparseVectors.of_dense(np.array([[1, 0, 3], [0, 0, 1], [0, 1, 0], [0, 0, 0]], np.float32))
    assert flops(queries, documents) == pytest.approx(1 * 1 / 4 + 1 / 2 * 1 / 4)
    assert mean_nonzeros(documents) == 1.0
    assert mean_nonzeros(SparseVectors.empty(3)) == flops(SparseVectors.empty(3), documents) == 0.0


# -- columns ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    rows=st.sampled_from([1, 3, 31, 32, 33, 200]),
    block=st.sampled_from([16, 32, 1024]),
    k=st.sampled_from([1, 2, 7, 40, 500]),
    ties=st.booleans(),
    share=st.sampled_from([0.05, 0.3, 0.9]),
)
def test_search_is_exact(
    seed: int, rows: int, block: int, k: int, ties: bool, share: float, tmp_path_factory: Any
) -> None:
    rng = np.random.default_rng(seed)
    documents = random_vectors(rng, rows, ties=ties, share=share)
    queries = random_vectors(rng, 9, ties=ties)
    order = rng.permutation(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "BLOCK", block)
        made = columns.build(in_parts(documents, 7), tmp_path_factory.mktemp("columns"), width=WIDTH)
    assert made.search(queries, np.arange(rows), k).k == min(k, rows)  # another order before this one
    run = made.search(queries, order, k, threads=1)
    expected, scores = by_hand(queries, documents, order, k)
    assert hits_of(run) == expected
    for q, hits in enumerate(expected):
        assert run.scores[q, : len(hits)].tolist() == scores[q, hits].tolist()
        assert np.isneginf(run.scores[q, len(hits) :]).all()
    # In float64 too.
    who, where = (a.ravel() for a in np.indices(scores.shape))
    pairs = made.score_pairs(queries, who, where)
    assert np.array_equal(pairs, scores.ravel())
    wide = queries.dense().astype(np.float64) @ documents.dense().astype(np.float64).T
    assert np.allclose(pairs, wide.ravel(), rtol=1e-5, atol=0)
    # The same bits, however the work is cut.
    assert same(run, made.search(queries, order, k, threads=2))
    for part, chunk in ((1, 16), (1, 1), (32, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columns, "_PART", part)
            patch.setattr(columns, "_CHUNK", chunk)
            assert same(run, made.search(queries, order, k, threads=4))
            for q in range(len(queries)):
                one = Run(run.doc_rows[q : q + 1], run.scores[q : q + 1])
                assert same(one, made.search(queries.take(q, q + 1), order, k, threads=2))


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8", "uint16"])
def test_kinds(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK", 64)
    monkeypatch.setattr(columns, "QUERY_BLOCK", 48)
    rng = np.random.default_rng(3)
    documents, queries, order = random_vectors(rng, 300), random_vectors(rng, 100), rng.permutation(300)
    made = columns.build(in_parts(documents, 50), tmp_path, width=WIDTH, kind=kind)
    if made.factor is None:
        held = SparseVectors(
            documents.indptr, documents.terms, documents.weights.astype(kind).astype(np.float32), WIDTH
        )
        asked = queries
    else:
        highest = {"uint8": 255, "uint16": 65_535}[kind]
        assert made.factor == pytest.approx(highest / documents.weights.max())
        whole = quantized(documents, made.factor)
        assert whole.values.max() == highest
        held = whole.vectors()
        asked = SparseVectors(queries.indptr, queries.terms, queries.weights / np.float32(made.factor), WIDTH)
    done: list[int] = []
    run = made.search(queries, order, 20, threads=2, advance=done.append)
    expected, scores = by_hand(asked, held, order, 20)
    assert sum(done) == 100
    assert hits_of(run) == expected
    assert all(run.scores[q, : len(h)].tolist() == scores[q, h].tolist() for q, h in enumerate(expected))
    who, where = np.nonzero(run.doc_rows >= 0)
    pairs = made.score_pairs(queries, who, run.doc_rows[who, where], threads=2)
    assert pairs.tolist() == run.scores[who, where].tolist()
    facts = Columns(tmp_path).facts
    assert facts["documents"] == len(made) == 300
    assert facts["non_zeros"] == len(held.terms)
    assert facts["mean_non_zeros"] == pytest.approx(len(held.terms) / 300)
    assert facts["weights"] == kind
    assert facts["bytes"] == made.bytes == sum(p.stat().st_size for p in tmp_path.iterdir())


def whole_scores(queries: Integers, documents: Integers) -> npt.NDArray[np.int64]:
    def dense(rows: Integers) -> npt.NDArray[np.int64]:
        out = np.zeros((len(rows), rows.width), np.int64)
        out[np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.terms] = rows.values
        return out

    return dense(queries) @ dense(documents).T


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans(), k=st.sampled_from([1, 10, 300]))
def test_integers_are_exact(seed: int, ties: bool, k: int, tmp_path_factory: Any) -> None:
    rng = np.random.default_rng(seed)
    documents, queries, order = (
        random_vectors(rng, 90, ties=ties),
        random_vectors(rng, 8),
        rng.permutation(90),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "BLOCK", 32)
        made = columns.build(
            [documents], tmp_path_factory.mktemp("columns"), width=WIDTH, kind="uint16", factor=20
        )
    asked = quantized(queries, 20)
    scores = whole_scores(asked, quantized(documents, 20))
    run = made.search(asked, order, k)
    for q, hits in enumerate(hits_of(run)):
        assert hits == ruled(scores[q], order, k)
        assert run.scores[q, : len(hits)].tolist() == scores[q, hits].tolist()
    who, where = (a.ravel() for a in np.indices(scores.shape))
    assert made.score_pairs(asked, who, where).tolist() == scores.ravel().tolist()


def test_many_hits_of_one_score(tmp_path: Path) -> None:
    """More documents than a block's room for hits, all alike: the order of ids alone decides."""
    rng = np.random.default_rng(0)
    rows = 20_000
    documents = SparseVectors(
        np.arange(rows + 1), np.full(rows, 3, np.int32), np.full(rows, 0.5, np.float32), WIDTH
    )
    order = rng.permutation(rows)
    queries = SparseVectors.of_dense(np.eye(WIDTH, dtype=np.float32)[[3, 4, 3]])
    made = columns.build([documents], tmp_path, width=WIDTH)
    for k in (1, 100, 3000):
        run = made.search(queries, order, k, threads=2)
        assert run.doc_rows[0].tolist() == np.argsort(-order)[:k].tolist()
        assert run.lengths().tolist() == [k, 0, k]


def test_large_columns_equal_float64(tmp_path: Path) -> None:
    """Several blocks of full size, against numbers that leave no tie to chance."""
    rng = np.random.default_rng(1)
    documents = random_vectors(rng, 20_000, 60, share=0.2)
    queries = random_vectors(rng, 70, 60, share=0.2)
    order = rng.permutation(len(documents))
    made = columns.build(in_parts(documents, 3000), tmp_path, width=60)
    wide = queries.dense().astype(np.float64) @ documents.dense().astype(np.float64).T
    for k in (10, 1000):
        run = made.search(queries, order, k)
        assert same(run, made.search(queries, order, k, threads=1))
        best = -np.sort(-wide, axis=1)[:, :k]
        hit = run.doc_rows >= 0
        assert np.array_equal(hit, best > 0)
        assert np.allclose(run.scores[hit], best[hit], rtol=1e-5)
        assert np.array_equal(
            made.score_pairs(queries, np.nonzero(hit)[0], run.doc_rows[hit]), run.scores[hit]
        )


def test_nothing_to_find(tmp_path: Path) -> None:
    empty = columns.build([], tmp_path / "none", width=WIDTH)
    queries = SparseVectors.of_dense(np.ones((2, WIDTH), np.float32))
    assert empty.search(queries, np.empty(0, np.int64), 5).doc_rows.shape == (2, 0)
    blank = columns.build([SparseVectors.empty(WIDTH, 3)], tmp_path / "blank", width=WIDTH, kind="uint8")
    run = blank.search(queries, np.arange(3), 5)
    assert run.lengths().tolist() == [0, 0]
    assert blank.score_pairs(queries, np.array([0]), np.array([2])).tolist() == [0.0]
    assert len(blank.search(SparseVectors.empty(WIDTH), np.arange(3), 5).doc_rows) == 0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    heavy = SparseVectors.of_dense(np.array([[1e5, 1]], np.float32))
    for kind, factor in (("float16", None), ("uint8", 1.0), ("uint16", 1.0)):
        with pytest.raises(SeekbenchError, match="does not fit"):
            columns.build([heavy], tmp_path, width=2, kind=kind, factor=factor)
    for wrong in ({"kind": "int4"}, {"factor": 2.0}, {"kind": "uint8", "factor": -1.0}, {"width": 3}):
        with pytest.raises(SeekbenchError):
            columns.build([heavy], tmp_path, **{"width": 2, **wrong})  # type: ignore[arg-type]
    made = columns.build([heavy], tmp_path, width=2)
    for queries, order in ((SparseVectors.empty(3, 1), [0]), (heavy, [0, 1]), (quantized(heavy, 1), [0])):
        with pytest.raises(SeekbenchError):
            made.search(queries, np.array(order), 1)
    with pytest.raises(SeekbenchError):
        made.score_pairs(heavy, np.array([0]), np.array([1]))
    light = columns.build([heavy], tmp_path / "whole", width=2, kind="uint16", factor=0.5)
    with pytest.raises(SeekbenchError, match="32 bits"):
        light.search(quantized(heavy, 10), np.array([0]), 1)


def test_interrupted_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK", 16)
    documents = random_vectors(np.random.default_rng(2), 50)

    def broken() -> Iterator[SparseVectors]:
        yield documents.take(0, 40)
        raise KeyboardInterrupt

    for kind in ("float32", "uint8"):
        folder = tmp_path / kind
        whole = columns.build([documents], tmp_path / f"{kind}-whole", width=WIDTH, kind=kind)
        columns.build([documents.take(0, 10)], folder, width=WIDTH, kind=kind)
        with pytest.raises(KeyboardInterrupt):
            columns.build(broken(), folder, width=WIDTH, kind=kind)
        assert not Columns.complete(folder)
        with pytest.raises(SeekbenchError, match="no finished"):
            Columns(folder)
        columns.build([documents], folder, width=WIDTH, kind=kind)
        names = sorted(path.name for path in folder.iterdir())
        assert names == sorted(path.name for path in whole.folder.iterdir())
        assert all((folder / n).read_bytes() == (whole.folder / n).read_bytes() for n in names)
        (folder / "weights.bin").write_bytes(b"")
        with pytest.raises(SeekbenchError, match="bytes"):
            Columns(folder)


# -- Lucene -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("factor", [100.0, 2.0])
def test_lucene_equals_columns(
    ties: bool, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "BLOCK", 256)
    rng = np.random.default_rng(4)
    documents = random_vectors(rng, 1000, 40, ties=ties, share=0.15)
    queries = SparseVectors.stacked([random_vectors(rng, 60, 40, ties=ties), SparseVectors.empty(40, 2)])
    order = rng.permutation(1000)
    told: list[int] = []
    index = impact.build(
        in_parts(documents, 300), tmp_path / "impact", order, width=40, factor=factor, advance=told.append
    )
    native = columns.build([documents], tmp_path / "columns", width=40, kind="uint16", factor=factor)
    for k in (1, 10, 2000):
        expected = native.search(quantized(queries, factor), order, k)
        assert same(index.search(queries, order, k, threads=2), expected)
    assert sum(told) == index.facts["documents"] == 1000
    assert index.facts["non_zeros"] == native.facts["non_zeros"]
    assert index.facts["bytes"] == index.bytes > 0
    assert index.search(queries, order, 0).doc_rows.shape == (62, 0)
    with pytest.raises(SeekbenchError):
        index.search(SparseVectors.empty(3, 1), order, 5)
    index.close()


def test_interrupted_lucene(tmp_path: Path) -> None:
    documents = random_vectors(np.random.default_rng(5), 40)

    def broken() -> Iterator[SparseVectors]:
        yield documents.take(0, 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        impact.build(broken(), tmp_path, np.arange(40), width=WIDTH)
    with pytest.raises(SeekbenchError, match="no finished"):
        impact.Impact(tmp_path)
    with pytest.raises(SeekbenchError, match="20 documents"):
        impact.build([documents.take(0, 20)], tmp_path, np.arange(40), width=WIDTH)
    index = impact.build([documents], tmp_path, np.arange(40), width=WIDTH)
    assert index.search(documents.take(0, 3), np.arange(40), 5).doc_rows.shape == (3, 5)
    index.close()


def test_lucene_without_a_term(tmp_path: Path) -> None:
    index = impact.build([SparseVectors.empty(WIDTH, 4)], tmp_path, np.arange(4), width=WIDTH)
    run = index.search(SparseVectors.of_dense(np.ones((1, WIDTH), np.float32)), np.arange(4), 3)
    assert run.lengths().tolist() == [0]
    index.close()
