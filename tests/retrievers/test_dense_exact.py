"""Exact search: equal to brute force in float64 up to rounding, by the ranking rule, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.retrievers.dense import exact
from seekbench.retrievers.dense.exact import Exact


def unit(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    made = rng.standard_normal((rows, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def make(vectors: np.ndarray, order: np.ndarray | None = None, device: str = "cpu") -> Exact:
    norm = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max(initial=0))
    return Exact(vectors, np.arange(len(vectors), dtype=np.int32) if order is None else order, norm, device)


class OnTorch(Exact):
    """The accelerator's path, on the CPU."""

    def _candidates(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        return self._torch(queries, count)


def by_rule(scores: np.ndarray, order: np.ndarray, k: int) -> np.ndarray:
    keys = np.broadcast_to(-order.astype(np.int64), scores.shape)
    return np.lexsort((keys, -scores), axis=1)[:, :k]


@pytest.mark.parametrize("k", [1, 10, 200])
@pytest.mark.parametrize("kind", [Exact, OnTorch])
def test_equals_brute_force_in_float64(k: int, kind: type[Exact]) -> None:
    rng = np.random.default_rng(k)
    vectors, queries = unit(rng, 3000, 48), unit(rng, 37, 48)
    order = rng.permutation(3000).astype(np.int32)
    run = kind(vectors, order, 1.0).search(queries, k)
    wide = queries.astype(np.float64) @ vectors.astype(np.float64).T
    np.testing.assert_allclose(run.scores, -np.sort(-wide, axis=1)[:, :k], atol=2e-7)
    np.testing.assert_allclose(
        run.scores, np.take_along_axis(wide, run.doc_rows.astype(int), axis=1), atol=2e-7
    )


@pytest.mark.parametrize("kind", [Exact, OnTorch])
def test_ties_at_the_cutoff_follow_the_rule(kind: type[Exact]) -> None:
    """Small integers have exact sums, so the whole ranking can be predicted, ties over hundreds of documents
    too."""
    rng = np.random.default_rng(0)
    vectors = rng.integers(-1, 2, (5000, 6)).astype(np.float32)
    queries = rng.integers(-1, 2, (50, 6)).astype(np.float32)
    order = rng.permutation(5000).astype(np.int32)
    expected_scores = queries @ vectors.T
    for k in (1, 7, 100, 1000):
        run = kind(vectors, order, float(np.sqrt(6))).search(queries, k)
        expected = by_rule(expected_scores, order, k)
        np.testing.assert_array_equal(run.doc_rows, expected)
        np.testing.assert_array_equal(run.scores, np.take_along_axis(expected_scores, expected, axis=1))


def test_duplicated_documents_at_the_cutoff() -> None:
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 400, 32), unit(rng, 5, 32)
    vectors[100:300] = vectors[7]
    order = rng.permutation(400).astype(np.int32)
    run = make(vectors, order).search(queries, 60)
    single = Exact._rescore(make(vectors), queries, np.tile(np.arange(400), (5, 1)))
    np.testing.assert_array_equal(run.doc_rows, by_rule(single, order, 60))


def test_one_vector_for_all_documents() -> None:
    vectors = np.tile(np.float32([0.1, 0.2, 0.3]), (50_000, 1))
    order = np.random.default_rng(2).permutation(50_000).astype(np.int32)
    run = make(vectors, order).search(np.float32([[1, 1, 1], [0, 0, 0]]), 20)
    np.testing.assert_array_equal(run.doc_rows[0], np.argsort(-order)[:20])
    np.testing.assert_array_equal(run.doc_rows[1], np.argsort(-order)[:20])


def test_scores_do_not_depend_on_company_blocks_or_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """faiss multiplies few queries by another kernel than many; the scores are the same bits all the same."""
    rng = np.random.default_rng(3)
    vectors, queries = unit(rng, 20_000, 96), unit(rng, 64, 96)
    search = make(vectors)
    whole = search.search(queries, 50)
    for size in (1, 5, 33):
        parts = [search.search(queries[at : at + size], 50) for at in range(0, 64, size)]
        np.testing.assert_array_equal(np.concatenate([p.doc_rows for p in parts]), whole.doc_rows)
        np.testing.assert_array_equal(np.concatenate([p.scores for p in parts]), whole.scores)
    monkeypatch.setattr(exact, "DOCUMENT_BLOCK", 777)
    monkeypatch.setattr(exact, "QUERY_BLOCK", 10)
    for other in (search.search(queries, 50), OnTorch(vectors, search.order, 1.0).search(queries, 50)):
        np.testing.assert_array_equal(other.doc_rows, whole.doc_rows)
        np.testing.assert_array_equal(other.scores, whole.scores)


def test_the_second_pass_alone_finds_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    vectors, queries = unit(rng, 2000, 16), unit(rng, 9, 16)
    search = make(vectors)
    expected = search.search(queries, 12)
    asked = []
    original = Exact._boundary

    def spy(self: Exact, some: np.ndarray, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(some))
        return original(self, some, *rest)  # type: ignore[arg-type]

    # A slack as wide as the scores sends every query there.
    monkeypatch.setattr(Exact, "_slack", lambda self, queries: np.full(len(queries), 0.5))
    monkeypatch.setattr(Exact, "_boundary", spy)
    found = search.search(queries, 12)
    assert asked == [9]
    np.testing.assert_array_equal(found.doc_rows, expected.doc_rows)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_mapped_matrix_and_more_hits_than_documents(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "v.npy"
    rng = np.random.default_rng(5)
    vectors = unit(rng, 30, 8)
    np.save(path, vectors)
    run = make(np.load(path, mmap_mode="r")).search(unit(rng, 3, 8), 100)
    assert run.doc_rows.shape == (3, 30)
    assert all(sorted(row) == list(range(30)) for row in run.doc_rows.tolist())
    assert make(vectors).search(np.empty((0, 8), np.float32), 5).doc_rows.shape == (0, 5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), documents=st.integers(1, 120), queries=st.integers(1, 8),
    k=st.integers(1, 40), dim=st.integers(1, 5), levels=st.integers(1, 3),
)  # fmt: skip
def test_any_tied_matrix_is_ranked_by_the_rule(
    seed: int, documents: int, queries: int, k: int, dim: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-levels, levels + 1, (documents, dim)).astype(np.float32)
    asked = rng.integers(-levels, levels + 1, (queries, dim)).astype(np.float32)
    order = rng.permutation(documents).astype(np.int32)
    run = make(vectors, order).search(asked, k)
    np.testing.assert_array_equal(run.doc_rows, by_rule(asked @ vectors.T, order, min(k, documents)))
