"""Queries with candidates of their own: where they come from, and that a search among them loses none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seekbench.api import run
from seekbench.candidates import search_among
from seekbench.collection import Candidates
from seekbench.datasets.load import load
from seekbench.errors import InputError
from seekbench.leaderboard import sources
from seekbench.runs import Run


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 40), st.integers(1, 12), st.integers(1, 50)
)
def test_candidates_are_ranked_as_in_the_whole(
    seed: int, queries: int, documents: int, k: int, least_depth: int
) -> None:
    """A retriever that ranks by random scores with ties, and ends early for some queries; beside plain sorting of the
    candidates that it ranks at all."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (queries, documents)).astype(np.float32)
    order = rng.permutation(documents)
    ranked = [
        sorted(np.flatnonzero(scores[q] > rng.integers(0, 2)), key=lambda d, q=q: (-scores[q, d], -order[d]))
        for q in range(queries)
    ]
    chosen = rng.random((queries, documents)) < rng.random()
    pairs = np.argwhere(chosen)
    candidates = Candidates("list", pairs[:, 0], pairs[:, 1])
    depths: list[int] = []

    def search(rows: Any, depth: int) -> Run:
        depths.append(depth)
        found = np.full((len(rows), depth), -1, np.int32)
        values = np.full((len(rows), depth), -np.inf, np.float32)
        for i, q in enumerate(rows.tolist()):
            hits = ranked[q][:depth]
            found[i, : len(hits)], values[i, : len(hits)] = hits, scores[q, hits]
        return Run(found, values)

    found = search_among(search, candidates, queries, k, documents)
    assert found.num_queries == queries
    for q in range(queries):
        wanted = [d for d in ranked[q] if chosen[q, d]][:k]
        assert found.doc_rows[q][: len(wanted)].tolist() == wanted
        assert (found.doc_rows[q][len(wanted) :] == -1).all()
    assert all(depth <= documents for depth in depths)
    assert not len(pairs) or depths


WORDS = ["alpha", "beta", "gamma", "delta"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sources of four documents each; `alpha` is in the first document of every source, `beta` in the second."""
    documents = [
        {"_id": f"s{s}#{i}", "title": "", "text": f"{word} common", "metadata": {"source": f"s{s}"}}
        for s in range(3)
        for i, word in enumerate(WORDS)
    ]
    queries = [
        {
            "_id": f"s{s}#q",
            "text": f"{WORDS[s]} common",
            "metadata": {"source": f"s{s}", "own": [f"s{s}#0", f"s{s}#{s}"]},
        }
        for s in range(3)
    ]  # fmt: skip
    root = tmp_path / "sources"
    (root / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"s{s}#q\ts{s}#{s}\t1\n" for s in range(3)]
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return root


def pairs_of(entry: dict[str, Any]) -> tuple[str, set[tuple[str, str]]] | None:
    dataset = load(entry)
    found = dataset.candidates
    if found is None:
        return None
    queries, documents = dataset.queries.ids(), dataset.corpus.ids()
    names = zip(queries.take(found.query_rows), documents.take(found.doc_rows), strict=True)
    return found.kind, {(str(q), str(d)) for q, d in names}


def test_where_candidates_come_from(folder: Path, tmp_path: Path) -> None:
    whole = {(f"s{s}#q", f"s{s}#{i}") for s in range(3) for i in range(4)}
    assert pairs_of({"path": folder}) is None
    assert pairs_of({"path": folder, "candidates": {"prefix": "#"}}) == ("same", whole)
    assert pairs_of({"path": folder, "candidates": {"same": "source"}}) == ("same", whole)
    few = {(f"s{s}#q", f"s{s}#{i}") for s in range(3) for i in {0, s}}
    assert pairs_of({"path": folder, "candidates": {"key": "own"}}) == ("list", few)
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"s0#q": ["s0#0", "s9#9"], "s1#q": ["s2#2"], "other": ["s0#0"]}))
    assert pairs_of({"path": folder, "candidates": {"file": lists}}) == (
        "list",
        {("s0#q", "s0#0"), ("s1#q", "s2#2")},
    )
    warnings = load({"path": folder, "candidates": {"file": lists}}).statistics["warnings"]
    assert any("1 of 3 candidates are not in the corpus" in line for line in warnings)
    assert any("1 of 3 queries have no candidates" in line for line in warnings)
    rows = [
        {"query-id": "s0#q", "corpus-ids": ["s0#1", "s1#1"]},
        {"query-id": "s1#q", "corpus-ids": ["s1#1"]},
    ]
    (folder / "top_ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pairs_of({"path": folder}) == (
        "list", {("s0#q", "s0#1"), ("s0#q", "s1#1"), ("s1#q", "s1#1")},
    )  # fmt: skip
    assert pairs_of({"path": folder, "candidates": "none"}) is None
    assert pairs_of({"path": folder, "candidates": "judged"}) == (
        "judged", {(f"s{s}#q", f"s{s}#{s}") for s in range(3)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ({"same": "sauce"}, "no query has 'sauce' in its metadata"),
        ({"prefix": "@"}, "no query has '@' in its ids"),
        ({"key": "mine"}, "no query has a list 'mine'"),
        ({"key": "own", "same": "source"}, "give one of 'key', 'file', 'same' and 'prefix'"),
        ({"file": "lists.tsv"}, "no query of the split has a candidate that is in the corpus"),
    ],
)
def test_candidates_that_are_none(
    folder: Path, candidates: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lists.tsv").write_text("q\td\n")
    with pytest.raises(InputError, match=said):
        load({"path": folder, "candidates": candidates})


def test_a_run_among_candidates(folder: Path, tmp_path: Path) -> None:
    """Each word is in all sources, so of the whole corpus the own document is one of three that are alike."""
    config = {
        "name": "among",
        "datasets": [
            {"path": str(folder), "candidates": {"prefix": "#"}},
            {"path": str(folder), "id": "whole"},
        ],
        "retrievers": {
            "bm25": {"type": "bm25"},
            "short": {"type": "bm25", "k1": 0.4},
            "both": {"type": "fusion", "method": "rrf", "of": ["bm25", "short"]},
        },
        "metrics": ["success@1", "num_ret"],
        "k": 5,
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    run(tmp_path / "config.yaml", output=tmp_path / "out")
    found = {(r["dataset"]["id"], r["retriever"]["name"]): r for _, r in sources.load([tmp_path / "out"])}
    for system in ("bm25", "both"):
        assert found["sources", system]["metrics"]["success@1"]["mean"] == 1.0
        assert found["sources", system]["metrics"]["num_ret"]["mean"] == 12, (
            "four documents of each of three sources"
        )
        assert found["whole", system]["metrics"]["success@1"]["mean"] < 1.0
    told = found["sources", "bm25"]["dataset"]
    assert told["candidates"] == {"kind": "same", "pairs": 12}
    assert found["whole", "bm25"]["dataset"]["candidates"] is None
    assert told["hashes"]["dataset"] != found["whole", "bm25"]["dataset"]["hashes"]["dataset"]
