"""Correlations over judged pairs against scipy, topics as queries against scikit-learn; and both in a whole run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from seekbench import evaluate
from seekbench.api import run
from seekbench.collection import Qrels
from seekbench.errors import InputError
from seekbench.leaderboard import sources
from seekbench.leaderboard.render import as_markdown
from seekbench.leaderboard.table import build
from seekbench.metrics.evaluate import score
from seekbench.metrics.measure import parse
from seekbench.runs import Run

#: (score, None where the document is not retrieved; gold value in thousandths)
PAIRS = st.lists(
    st.tuples(st.none() | st.sampled_from([-0.5, 0.25, 0.5, 1.0]) | st.floats(-1, 1, width=32), st.integers(0, 5000)),
    min_size=3, max_size=40,
)  # fmt: skip


@given(PAIRS)
def test_correlations_over_pairs_are_scipys(pairs: list[tuple[float | None, int]]) -> None:
    hits = {f"q{i}": {f"d{i}": s} for i, (s, _) in enumerate(pairs) if s is not None}
    qrels = {f"q{i}": {f"d{i}": g} for i, (_, g) in enumerate(pairs)}
    if not hits:
        return
    scores, gold = np.array([s or 0.0 for s, _ in pairs]), np.array([g for _, g in pairs])
    found = evaluate(hits, qrels, ["spearman", "pearson"])
    if len(set(scores)) < 2 or len(set(gold)) < 2:
        assert all(math.isnan(value) for value in found.mean.values())
        return
    assert found.mean["spearman"] == pytest.approx(stats.spearmanr(scores, gold).statistic, abs=1e-9)
    assert found.mean["pearson"] == pytest.approx(stats.pearsonr(scores, gold).statistic, abs=1e-6)
    lacking = sum(s is None for s, _ in pairs)
    assert any("judged pairs have no hit" in line for line in found.warnings) == bool(lacking)


def test_several_documents_of_a_query_are_pairs_of_their_own() -> None:
    hits = {"q": {"a": 0.9, "b": 0.1, "other": 5.0}, "r": {"c": 0.5}}
    qrels = {"q": {"a": 3, "b": 1}, "r": {"c": 2}}
    assert evaluate(hits, qrels, ["spearman"]).mean["spearman"] == 1.0


def test_bitexts_need_the_documents_places() -> None:
    with pytest.raises(InputError, match="bitext_f1 needs the documents' places"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["bitext_f1"])


@pytest.mark.parametrize("name", ["spearman@10", "topic_f1(average=mean)", "spearman(rel=2)"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(InputError):
        parse(name)


def all_ranked(seed: int, queries: int, documents: int) -> tuple[np.random.Generator, Any, Run]:
    """(generator, scores without ties, the run that ranks every document by them)"""
    rng = np.random.default_rng(seed)
    values = rng.permutation(queries * documents).reshape(queries, documents).astype(np.float32)
    order = np.argsort(-values, axis=1)
    return rng, values, Run(order, np.take_along_axis(values, order, axis=1))


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 30))
def test_topics_are_scored_as_classes(seed: int, topics: int, documents: int) -> None:
    rng, values, ranked = all_ranked(seed, topics, documents)
    classes = rng.integers(0, topics, documents)
    qrels = Qrels.from_triples(
        classes, np.arange(documents), np.ones(documents), queries=topics, corpus_size=documents
    )
    names = [parse("topic_f1"), parse("topic_f1(average=micro)")]
    found = score(ranked, qrels, names, query_ids=[str(t) for t in range(topics)]).means
    predicted = values.argmax(axis=0)
    for value, average in zip(found, ("macro", "micro"), strict=True):
        # A topic without documents counts in our mean.
        labels = list(range(topics))
        expected = f1_score(classes, predicted, average=average, labels=labels, zero_division=0)
        assert value == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 12))
def test_bitexts_are_scored_as_mteb_scores_them(seed: int, queries: int, documents: int) -> None:
    """mteb's bitext mining: f1_score of the places of first hits, weighted; accuracy is recall@1."""
    rng, values, ranked = all_ranked(seed, queries, documents)
    gold = rng.integers(0, documents, queries)
    qrels = Qrels.from_triples(
        np.arange(queries), gold, np.ones(queries), queries=queries, corpus_size=documents
    )
    names = [parse("bitext_f1"), parse("recall@1")]
    found = score(ranked, qrels, names, query_ids=[str(q) for q in range(queries)])
    expected = f1_score(gold, values.argmax(axis=1), average="weighted", zero_division=0)
    assert found.means[0] == pytest.approx(expected, abs=1e-12)
    if len(set(gold)) == queries:
        assert (found.values[:, 0] <= found.values[:, 1]).all()


def test_bitexts_without_hits() -> None:
    qrels = Qrels.from_triples(np.arange(2), np.arange(2), np.ones(2), queries=2, corpus_size=2)
    found = score(Run.empty(2, 0), qrels, [parse("bitext_f1")], query_ids=["a", "b"])
    assert found.means.tolist() == [0.0]


def test_topics_of_documents_that_no_query_finds() -> None:
    ranked = Run(np.array([[0, -1], [1, 0]]), np.array([[2.0, -np.inf], [2.0, 1.0]], dtype=np.float32))
    qrels = Qrels.from_triples(np.array([0, 1, 1]), np.array([0, 1, 2]), np.ones(3), queries=2, corpus_size=3)
    names = [parse("topic_f1"), parse("topic_f1(average=micro)")]
    found = score(ranked, qrels, names, query_ids=["a", "b"]).means
    assert found.tolist() == pytest.approx([(1 + 2 / 3) / 2, 4 / 5])


def test_topics_need_the_documents_places() -> None:
    with pytest.raises(InputError, match="topic_f1 needs the documents' places"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["topic_f1"])


ROWS = [
    ("a cat sleeps", "a cat is sleeping", 4.75), ("a dog runs", "a plane lands", 0.0),
    ("he plays the guitar", "a man plays the guitar", 4.2), ("she cooks rice", "she cooks", 3.333),
    ("they dance", "a bird sings", 0.5),
]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = [{"one": one, "two": two, "score": gold} for one, two, gold in ROWS]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pairs.yaml").write_text(
        """
name: pairs
datasets:
  - path: .
    id: "pairs:en"
    format: tables
    language: en
    candidates: judged
    main_metric: spearman
    tables:
      documents: {files: pairs.jsonl, id: "{#}", text: two, keep: []}
      queries: {files: pairs.jsonl, id: "{#}", text: one, keep: []}
      qrels: {test: {files: pairs.jsonl, query: "{#}", document: "{#}", grade: score, scale: 1000}}
retrievers:
  bm25: {type: bm25}
metrics: [spearman, pearson, ndcg@10]
"""
    )
    return tmp_path / "pairs.yaml"


def test_a_run_scores_every_pair_and_says_which_it_could_not(config: Path, tmp_path: Path) -> None:
    (record,) = run(config, output=tmp_path / "out", store=tmp_path / "store", offline=True)
    assert record["dataset"]["id"] == "pairs:en"
    assert record["dataset"]["candidates"] == {"kind": "judged", "pairs": 5}
    assert record["pairs"] == {
        "judged": 5, "without_hit": 2, "policy": "a pair without a hit counts with score 0",
    }  # fmt: skip
    scores = read_run(tmp_path / "out")
    ours = [scores.get(str(i), 0.0) for i in range(5)]
    gold = [row[2] for row in ROWS]
    figures = {name: figure["mean"] for name, figure in record["metrics"].items()}
    assert figures["spearman"] == pytest.approx(stats.spearmanr(ours, gold).statistic, abs=1e-9)
    assert figures["pearson"] == pytest.approx(stats.pearsonr(ours, gold).statistic, abs=1e-6)
    assert record["metrics"]["spearman"]["aggregate"] == "run"
    text = as_markdown(build(sources.load([tmp_path / "out"]), metric="spearman"))
    assert "bm25: 2 of 5 pairs of pairs:en have no hit and count with score 0" in text


def read_run(output: Path) -> dict[str, float]:
    import gzip

    (path,) = output.glob("*/test/bm25/run.trec.gz")
    found: dict[str, Any] = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        query, _, document, _, value, _ = line.split()
        assert query == document, "a pair's own document alone"
        found[query] = float(value)
    return found


def test_every_language_of_the_queries_has_a_figure() -> None:
    from seekbench.query_info import QueryInfo

    ids = [f"q{i}" for i in range(40)]
    info = QueryInfo(
        {name: {q: f"x{i % 20:02d}" for i, q in enumerate(ids)} for name in ("language", "kind")}
    )
    qrels = Qrels.from_triples(np.arange(40), np.arange(40), np.ones(40), queries=40, corpus_size=40)
    assert len(info.slices("language", ids, qrels)) == 20
    assert len(info.slices("kind", ids, qrels)) == 13, "twelve, and the others"
