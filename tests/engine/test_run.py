"""The ranking rule, exclusions, and run files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.collection import Corpus, Exclusion, Queries
from seekbench.runs import Run, nine_digits, write_trec

IDS = ["a", "b", "B", "é", "10", "9", "zz", "z"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from([0.0, 1.0, 1.5])), unique_by=lambda t: t[0], max_size=8
    )
)
def test_rule_is_score_then_id_bytes_descending(hits: list[tuple[int, float]]) -> None:
    corpus = Corpus.from_lists(IDS, [""] * 8)
    rows = np.full((1, 8), -1, np.int32)
    scores = np.full((1, 8), -np.inf, np.float32)
    for i, (row, score) in enumerate(hits):
        rows[0, i], scores[0, i] = row, score
    run = Run.ranked(rows, scores, corpus.order)
    expected = sorted(hits, key=lambda h: (h[1], IDS[h[0]].encode()), reverse=True)
    assert run.doc_rows[0, : len(hits)].tolist() == [r for r, _ in expected]
    assert (run.doc_rows[0, len(hits) :] == -1).all()


def test_scores_are_compared_in_float32() -> None:
    """METRICS.md T12: equal in float32, so the id decides."""
    corpus = Corpus.from_lists(["a", "b"], ["", ""])
    run = Run.ranked(np.array([[0, 1]]), np.array([[16777217.0, 16777216.0]]), corpus.order)
    assert run.doc_rows.tolist() == [[1, 0]]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        Run.ranked(np.array([[0]]), np.array([[np.nan]]), np.array([0]))


def test_excluded_documents_make_room() -> None:
    run = Run(np.array([[3, 1, 2], [1, 2, 3]]), np.array([[3.0, 2, 1], [3, 2, 1]], np.float32))
    exclusion = Exclusion("list", np.array([0, 1]), np.array([3, 2]))
    out = run.without(exclusion, 2)
    assert out.doc_rows.tolist() == [[1, 2], [1, 3]]
    assert out.scores.tolist() == [[2, 1], [3, 1]]


@settings(max_examples=500, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_nine_digits_bring_every_float32_back(value: float) -> None:
    written = str(nine_digits(np.array([value], np.float32))[0])
    assert np.float32(float(written)) == np.float32(value)


def test_trec_file(tmp_path: Path) -> None:
    corpus, queries = (
        Corpus.from_lists(["d1", "d2"], ["", ""]),
        Queries.from_lists(["q1", "q2", "q3"], [""] * 3),
    )
    run = Run(
        np.array([[1, 0], [-1, -1], [0, -1]]),
        np.array([[2.5, 0.1], [-np.inf] * 2, [1e-9, -np.inf]], np.float32),
    )
    write_trec(run, corpus, queries, tmp_path / "run.trec.gz", "my tag")
    with gzip.open(tmp_path / "run.trec.gz", "rt") as handle:
        lines = handle.read().splitlines()
    assert lines == [
        "q1 Q0 d2 1 2.5 my_tag",
        "q1 Q0 d1 2 0.100000001 my_tag",
        "q3 Q0 d1 1 9.99999972e-10 my_tag",
    ]
    first = (tmp_path / "run.trec.gz").read_bytes()
    write_trec(run, corpus, queries, tmp_path / "run.trec.gz", "my tag")
    assert (tmp_path / "run.trec.gz").read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 1
