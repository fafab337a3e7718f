"""What an approximate search loses, counted by hand."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seekbench.approximation import recall
from seekbench.leaderboard.approximate import notes
from seekbench.metrics.measure import parse
from seekbench.runs import Run


def run_of(rows: list[list[int]]) -> Run:
    array = np.array(rows, dtype=np.int32)
    scores = np.where(array >= 0, -np.arange(array.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    return Run(array, scores)


def test_recall_by_hand() -> None:
    exact = run_of([[1, 2, 3], [4, 5, 6], [7, -1, -1], [-1, -1, -1]])
    found = run_of([[2, 9, 1], [4, 5, 6], [8, -1, -1], [3, -1, -1]])
    assert recall(found, exact, 1) == np.mean([0, 1, 0])
    assert recall(found, exact, 2) == np.mean([1 / 2, 1, 0])
    assert recall(found, exact, 3) == np.mean([2 / 3, 1, 0])  # the query without exact hits does not count
    assert math.isnan(recall(found, run_of([[-1]] * 4), 1))


@given(st.integers(0, 1000), st.integers(1, 20))
def test_recall_is_a_share_and_whole_for_itself(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    exact = run_of([rng.permutation(30)[:15].tolist() for _ in range(6)])
    other = run_of([rng.permutation(30)[:15].tolist() for _ in range(6)])
    assert recall(exact, exact, depth) == 1
    expected = [
        len(set(a[:depth]) & set(b[:depth])) / min(depth, 15)
        for a, b in zip(exact.doc_rows.tolist(), other.doc_rows.tolist(), strict=True)
    ]
    assert math.isclose(recall(other, exact, depth), float(np.mean(expected)))


def test_a_line_below_the_leaderboard() -> None:
    record = {
        "dataset": {"id": "data"},
        "approximation": {
            "recall": {"1": 1.0, "10": 0.875, "100": 0.5},
            "metrics": {"ndcg@10": {"exact": 0.4, "lost": 0.01}},
        },
    }
    line = "muvera: finds 87.5% of the first 10 and 50.0% of the first 100 of exact search on data"
    assert notes("muvera", record, parse("ndcg@10")) == [f"{line}; ndcg@10 -0.0100 (exact 0.4000)"]
    assert notes("muvera", record, parse("map")) == [line]
    assert notes("bm25", {"approximation": None}, parse("map")) == []
    assert notes("old", {}, parse("map")) == []
