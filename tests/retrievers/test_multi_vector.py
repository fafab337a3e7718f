"""Exact late interaction, token stores, and the retriever around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.errors import SeekbenchError
from seekbench.retrievers.multi_vector import maxsim
from seekbench.retrievers.multi_vector.encode import TokenVectors
from seekbench.retrievers.multi_vector.lanes import Rounded
from seekbench.retrievers.multi_vector.maxsim import Packed, _torch_scorer, rank, score_pairs, search
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.multi_vector.pooling import Pooling, Pruning, document_frequency, pooled, pruned
from seekbench.retrievers.multi_vector.tokens import Tokens, TokenWriter, rewrite

Floats = npt.NDArray[np.float32]


def unit(rng: np.random.Generator, count: int, dim: int) -> Floats:
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stored(folder: Path, vectors: Floats, lengths: npt.NDArray[Any], kind: str = "float32") -> Tokens:
    folder.mkdir(parents=True, exist_ok=True)
    writer = TokenWriter(folder, kind)
    writer.append(vectors, lengths)
    return writer.finish()


def by_hand(queries: Packed, vectors: Floats, lengths: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """float64 [queries, passages] straight from the definition."""
    parts = np.split(vectors.astype(np.float64), np.cumsum(lengths)[:-1])
    out = np.full((len(queries), len(lengths)), -np.inf)
    for q in range(len(queries)):
        asked = queries.vectors[queries.indptr[q] : queries.indptr[q + 1]].astype(np.float64)
        for p, part in enumerate(parts):
            if len(part):
                out[q, p] = (asked @ part.T).max(axis=1).sum()
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), dim=st.sampled_from([1, 3, 16, 40]), passages=st.integers(1, 40))
def test_scores_equal_float64(seed: int, dim: int, passages: int, tmp_path_factory: Any) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, passages)
    vectors = rng.standard_normal((int(lengths.sum()), dim)).astype(np.float32)
    tokens = stored(tmp_path_factory.mktemp("store"), vectors, lengths)
    queries = Packed.of([rng.standard_normal((n, dim)).astype(np.float32) for n in rng.integers(1, 9, 5)])
    expected = by_hand(queries, vectors, lengths)
    who, where = (a.ravel() for a in np.indices(expected.shape))
    pairs = score_pairs(queries, tokens, who, where).reshape(expected.shape)
    np.testing.assert_allclose(pairs, expected, rtol=1e-5, atol=1e-5)
    order = rng.permutation(passages)
    run = search(queries, tokens, Passages(np.arange(passages, dtype=np.int32)), order, passages)
    for q in range(len(queries)):
        hits = run.doc_rows[q][run.doc_rows[q] >= 0]
        assert sorted(hits.tolist()) == np.flatnonzero(lengths).tolist()  # without vectors no hit
        assert (run.scores[q, : len(hits)] == pairs[q, hits]).all()  # bit for bit
    torch_scores = _torch_scorer(queries, "cpu")(vectors, tokens.indptr)
    np.testing.assert_allclose(torch_scores, expected, rtol=1e-5, atol=1e-5)


def test_ties_and_equal_documents_follow_the_ranking_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    vectors, lengths = unit(rng, 60, 16), np.full(12, 5)
    # Passages 2 and 7 have the same vectors without being the same text.
    vectors[35:40] = vectors[10:15]
    tokens = stored(tmp_path / "t", vectors, lengths)
    of = np.concatenate([np.arange(12), rng.integers(0, 12, 30)]).astype(np.int32)
    order = rng.permutation(len(of))
    queries = Packed.of([unit(rng, 6, 16) for _ in range(9)])
    scores = by_hand(queries, vectors, lengths).astype(np.float32)[:, of]
    for k in (1, 5, 17, 42, 100):
        run = search(queries, tokens, Passages(of), order, k)
        for q in range(9):
            exact = search(queries.take(q, q + 1), tokens, Passages(of), order, 42)
            assert (exact.doc_rows[0, :k] == run.doc_rows[q][: min(k, 42)]).all()
            assert (exact.scores[0, :k] == run.scores[q][: min(k, 42)]).all()
        by = np.lexsort((-order[run.doc_rows], -run.scores))
        assert (by == np.arange(run.k)).all()
        np.testing.assert_allclose(run.scores, np.take_along_axis(scores, run.doc_rows, 1), atol=1e-5)


def test_scores_depend_on_nothing_but_the_pair(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    lengths = rng.integers(1, 30, 200)
    vectors = unit(rng, int(lengths.sum()), 48)
    tokens = stored(tmp_path / "t", vectors, lengths)
    queries = Packed.of([unit(rng, n, 48) for n in rng.integers(1, 40, 30)])
    passages, order = Passages(np.arange(200, dtype=np.int32)), rng.permutation(200)
    whole = search(queries, tokens, passages, order, 200, threads=2)
    again = search(queries.take(7, 8), tokens, passages, order, 200, threads=1)
    assert (whole.scores[7] == again.scores[0]).all()
    where = np.tile(rng.permutation(200), (30, 1)).astype(np.int64)
    who = np.repeat(np.arange(30), 200)
    reranked = rank(
        score_pairs(queries, tokens, who, where.ravel()).reshape(30, 200), where, passages, order, 200
    )
    assert (reranked.doc_rows == whole.doc_rows).all()
    assert (reranked.scores == whole.scores).all()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000), dim=st.sampled_from([1, 2, 7, 32]), k=st.integers(1, 8),
    spread=st.sampled_from([0.0, 2.0]), distinct=st.sampled_from([3, 40, 400]),
)  # fmt: skip
def test_a_scan_in_16_bits_changes_nothing(
    seed: int, dim: int, k: int, spread: float, distinct: int, tmp_path_factory: Any
) -> None:
    """Passages with the same vectors tie at the cutoff; lengths of vectors are spread over orders of magnitude."""
    rng = np.random.default_rng(seed)
    pool = [
        (rng.standard_normal((n, dim)) * np.exp(spread * rng.standard_normal((n, 1)))).astype(np.float32)
        for n in rng.integers(0, 14, distinct)
    ]
    parts = [pool[i] for i in rng.integers(0, distinct, 300)]
    lengths = np.array([len(p) for p in parts])
    tokens = stored(tmp_path_factory.mktemp("store"), np.concatenate(parts), lengths)
    asked = [rng.standard_normal((n, dim)).astype(np.float32) for n in rng.integers(0, 12, 40)]
    asked[3] *= 0
    queries = Packed.of(asked)
    assert len(queries.vectors) >= maxsim._SCAN_FROM
    passages, order = Passages(np.arange(300, dtype=np.int32)), rng.permutation(300)
    whole = search(queries, tokens, passages, order, 300)
    scanned = search(queries, tokens, passages, order, k)
    assert (scanned.doc_rows == whole.doc_rows[:, :k]).all()
    assert (scanned.scores == whole.scores[:, :k]).all()
    scorer = Rounded(queries)
    rough = scorer(tokens.block(0, 300), tokens.indptr)
    exact = by_hand(queries, tokens.block(0, 300), lengths)
    some = lengths > 0
    assert (np.abs(rough[:, some] - exact[:, some]).max(axis=1, initial=0) <= scorer.slack()).all()


@pytest.mark.parametrize(
    ("kind", "bytes_", "error"),
    [("float32", 128, 0), ("float16", 64, 5e-4), ("bfloat16", 64, 4e-3), ("int8", 36, 4e-3)],
)
def test_stores(tmp_path: Path, kind: str, bytes_: int, error: float) -> None:
    rng = np.random.default_rng(5)
    lengths = np.array([3, 0, 7, 1, 0, 9])
    vectors = unit(rng, 20, 32)
    vectors[4] = 0
    tokens = stored(tmp_path / "b", vectors, lengths, kind)
    assert tokens.bytes_per_token == bytes_
    assert np.abs(tokens.block(0, 6) - vectors).max() <= error
    part, indptr = tokens.gather(np.array([5, 0, 1]))
    np.testing.assert_array_equal(part, np.concatenate([tokens.block(5, 6), tokens.block(0, 1)]))
    assert indptr.tolist() == [0, 9, 12, 12]
    joined = [(start, stop, len(block)) for start, stop, block in tokens.blocks(8)]
    assert [j[:2] for j in joined] == [(0, 2), (2, 5), (5, 6)]
    assert sum(j[2] for j in joined) == 20


def test_an_interrupted_store_continues(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    vectors, lengths = unit(rng, 12, 8), np.array([5, 4, 3])
    first = TokenWriter(tmp_path, "float16")
    first.append(vectors[:5], lengths[:1], {"read": 6})
    # A second call's bytes arrived, and its word did not.
    with (tmp_path / "vectors.bin").open("ab") as handle:
        handle.write(b"half of something")
    second = TokenWriter(tmp_path, "float16")
    assert second.written == 1
    second.append(vectors[5:], lengths[1:], {"read": 9})
    tokens = second.finish()
    assert np.abs(tokens.block(0, 3) - vectors).max() < 5e-4
    assert tokens.facts == {"read": 15}
    (tmp_path / "vectors.bin").write_bytes(b"short")
    with pytest.raises(SeekbenchError, match="has 5 bytes"):
        Tokens(tmp_path)


def test_rewriting_continues(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    lengths = rng.integers(0, 900, 300)
    vectors = unit(rng, int(lengths.sum()), 8)
    tokens = stored(tmp_path / "a", vectors, lengths)
    (tmp_path / "b").mkdir()
    part = TokenWriter(tmp_path / "b", "int8", 8)
    start, stop, block = next(iter(tokens.blocks()))
    part.append(block, np.diff(tokens.indptr[start : stop + 1]))
    assert stop < 300
    continued = rewrite(tokens, tmp_path / "b", "int8")
    (tmp_path / "c").mkdir()
    np.testing.assert_array_equal(
        continued.block(0, 300), rewrite(tokens, tmp_path / "c", "int8").block(0, 300)
    )


def test_pruning_and_pooling() -> None:
    rng = np.random.default_rng(8)
    lengths = np.array([5, 1, 0, 8])
    ids = np.array([1, 2, 3, 4, 5, 1, 1, 2, 1, 2, 6, 6, 7, 1])
    made = TokenVectors(unit(rng, 14, 8), lengths, ids)
    counts = document_frequency(np.zeros(10, np.int64), ids, lengths)
    assert counts.tolist() == [0, 3, 2, 1, 1, 1, 1, 1, 0, 0]
    first = pruned(made, Pruning(method="first", keep=0.5), None)
    assert first.ids.tolist() == [1, 2, 1, 1, 2, 1, 2]
    rare = pruned(made, Pruning(method="idf", keep=0.5), counts)
    assert rare.ids.tolist() == [3, 4, 1, 2, 6, 6, 7]  # of equals the earlier; the order stays
    assert rare.lengths.tolist() == [2, 1, 0, 4]
    fewer = pooled(made, Pooling(factor=2, protected=1))
    assert fewer.lengths.tolist() == [3, 1, 0, 4]
    np.testing.assert_allclose(np.linalg.norm(fewer.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(fewer.vectors[0], made.vectors[0], atol=1e-6)
    same = pooled(made, Pooling(factor=1))
    np.testing.assert_allclose(same.vectors, made.vectors, atol=1e-6)


# -- the retriever -------------------------------------------------------------------------------------------


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    from tests.retrievers import tiny_checkpoints as tiny
    from tests.retrievers import tiny_multi_vector as multi

    multi.colbert(tmp_path / "colbert")
    texts = [text.replace("wing", "wing,") for text in tiny.texts(60, seed=5, longest=40)]
    texts[17] = texts[4]  # equal documents
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    asked = [" ".join(text.split()[:6]) for text in texts[:20]]
    lines = [json.dumps({"_id": f"q{i}", "text": text}) for i, text in enumerate(asked)]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(20))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return tmp_path


def run_config(folder: Path, retrievers: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Runs systems; records by system."""
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    (folder / "run.yaml").write_text(
        f"name: t\ndatasets: [{{path: ./data}}]\nretrievers:\n{retrievers}\nmetrics: [ndcg@10, recall@20]\nk: 20\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEEKBENCH_HOME", str(folder / "home"))
    done = CliRunner().invoke(app, ["run", "run.yaml", "--output", "out", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted((folder / "out").rglob("result.json"))
    }


def test_every_system_in_one_run(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a depth of all documents an approximation that keeps the vectors is the exact search, bit for bit."""
    systems = """
  exact: {type: multi_vector, model: ./colbert}
  exact32: {type: multi_vector, model: ./colbert, vectors: float32}
  muvera:
    type: multi_vector
    model: ./colbert
    candidates: {type: muvera, depth: 60, repetitions: 4, simhash_bits: 2, projection_dim: 4}
  shallow: {type: multi_vector, model: ./colbert, candidates: {type: muvera, depth: 3, repetitions: 1, simhash_bits: 0}}
  plaid:
    type: multi_vector
    model: ./colbert
    candidates: {type: plaid, ncells: 64, centroid_score_threshold: -1.0, ndocs: 400}
  heuristic: {type: multi_vector, model: ./colbert, candidates: {type: heuristic, depth: 60}}
  residual: {type: multi_vector, model: ./colbert, compression: {type: residual, bits: 4}}
  int8: {type: multi_vector, model: ./colbert, compression: int8}
  bm25: {type: bm25}
  rerank: {type: multi_vector, model: ./colbert, candidates: {type: rerank, of: bm25}}
  quiet: {type: multi_vector, model: ./colbert, compression: int8, compare: false}
  pooled: {type: multi_vector, model: ./colbert, pooling: {factor: 2}, pruning: {method: idf, keep: 0.7}}"""
    found = run_config(collection, systems, monkeypatch)

    def hits(name: str) -> list[str]:
        import gzip

        path = next((collection / "out").rglob(f"{name}/run.trec.gz"))
        return [
            " ".join(line.split()[:5]) for line in gzip.decompress(path.read_bytes()).decode().splitlines()
        ]

    exact = hits("exact")
    for name in ("muvera", "heuristic", "plaid"):
        assert hits(name) == exact, name
        lost = found[name]["approximation"]
        assert lost["recall"] == {"1": 1.0, "10": 1.0, "20": 1.0}
        assert lost["metrics"]["ndcg@10"]["lost"] == 0
    shallow = found["shallow"]["approximation"]
    assert shallow["recall"]["20"] <= 3 / 20 + 1e-9
    assert shallow["metrics"]["recall@20"]["lost"] >= 0
    assert shallow["metrics"]["ndcg@10"]["exact"] == found["exact"]["metrics"]["ndcg@10"]["mean"]
    assert found["shallow"]["retriever"]["details"]["per_query"]["scored"] == 3
    for name in ("exact", "exact32", "bm25", "rerank", "quiet", "pooled"):
        assert found[name]["approximation"] is None
    assert found["int8"]["approximation"]["recall"]["10"] > 0.9
    assert found["residual"]["approximation"]["recall"]["10"] > 0.8
    assert found["int8"]["index"]["compression"]["bytes_per_vector"] == 16 + 4
    assert found["exact"]["index"]["passages"] == 59
    assert found["exact"]["index"]["bytes_per_vector"] == 32
    # Of equal documents the higher id comes first (ranking rule); they have one score.
    of_query: dict[str, list[list[str]]] = {}
    for line in exact:
        of_query.setdefault(line.split()[0], []).append(line.split())
    pairs = [[h for h in of if h[2] in ("d4", "d17")] for of in of_query.values()]
    whole = [pair for pair in pairs if len(pair) == 2]
    assert whole
    assert all(pair[0][2] == "d4" and pair[0][4] == pair[1][4] for pair in whole)
    # Token vectors were made once for all systems of the same encoding.
    again = run_config(collection, systems, monkeypatch)
    assert {n: r["key"] for n, r in again.items()} == {n: r["key"] for n, r in found.items()}


def test_a_trained_system(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on documents alone: one model for all systems of an encoding, which others can load."""
    from sentence_transformers import MultiVectorEncoder

    from seekbench.retrievers.dense.encode import quiet

    training = "training: {steps: 4, batch: 4, rate: 0.01, evaluate_every: 2, watched: 4}"
    systems = f"""
  plain: {{type: multi_vector, model: ./colbert}}
  taught: {{type: multi_vector, model: ./colbert, inputs: [{{kind: keywords}}], {training}}}
  small: {{type: multi_vector, model: ./colbert, inputs: [{{kind: keywords}}], {training}, compression: int8}}"""
    found = run_config(collection, systems, monkeypatch)
    assert found["taught"]["index"]["training"]["steps"] == 4
    assert found["taught"]["retriever"]["describe"]["trained"]
    assert found["small"]["approximation"]["recall"]["10"] > 0.9
    assert set(found["taught"]["index"]["parts_seconds"]) == {"encode", "training"}
    made = list((collection / "home" / "model").glob("*/model"))
    assert len(made) == 1
    assert (made[0].parent / "curves.png").exists()
    with quiet():
        model = MultiVectorEncoder(str(made[0]), device="cpu", local_files_only=True)
        vectors = model.encode_document(["wing flow"], convert_to_numpy=True)[0]
        before = MultiVectorEncoder(str(collection / "colbert"), device="cpu").encode_document(["wing flow"])[
            0
        ]
    assert vectors.shape == before.shape
    assert np.abs(vectors - before.numpy()).max() > 1e-3


def test_a_missing_approximation_is_no_exact_search(collection: Path) -> None:
    """What an index depends on, and what not."""
    from seekbench.config import load

    (collection / "run.yaml").write_text(
        """
name: t
datasets: [{path: ./data}]
retrievers:
  a: {type: multi_vector, model: ./colbert, candidates: {type: muvera, depth: 3, index: {type: hnsw, ef_search: 64}}}
  b: {type: multi_vector, model: ./colbert, candidates: {type: muvera, depth: 9, index: {type: hnsw, ef_search: 99}}}
  c: {type: multi_vector, model: ./colbert, candidates: {type: muvera, depth: 9, index: {type: hnsw, m: 8}}}
  d: {type: multi_vector, model: ./colbert, candidates: {type: plaid, ndocs: 100}}
  e: {type: multi_vector, model: ./colbert, candidates: {type: plaid, centroids: 4}}
  f: {type: multi_vector, model: ./colbert}
  g: {type: bm25}
  h: {type: multi_vector, model: ./colbert, candidates: {type: rerank, of: g}}
metrics: [ndcg@10]
"""
    )
    from seekbench.retrievers.multi_vector.candidates import index_part

    parts = {
        e.name: index_part(e.retriever.params.candidates)
        for e in load(collection / "run.yaml").retrievers
        if e.type == "multi_vector"
    }
    assert parts["a"] == parts["b"] != parts["c"]
    assert "ndocs" not in parts["d"]
    assert parts["d"] != parts["e"]
    assert parts["f"] == parts["h"] == {"type": "exact"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("candidates: {type: muvra}", "muvera"),
        ("candidates: {type: muvera, dept: 3}", "depth"),
        ("candidates: {type: muvera, simhash_bits: 31}", "simhash_bits"),
        ("candidates: {type: muvera, index: {type: exact, ef_search: 3}}", "ef_search"),
        ("compression: {type: int8, bits: 4}", "residual"),
        ("compression: int4", "int8"),
        ("pooling: {factor: 0.5}", "factor"),
        ("candidates: {type: rerank, of: nobody}", "nobody"),
        ("expansion: {lenght: 3}", "length"),
    ],
)
def test_mistakes_are_said_with_their_line(collection: Path, fields: str, message: str) -> None:
    from seekbench.config import load
    from seekbench.errors import InputError

    (collection / "run.yaml").write_text(
        f"name: t\ndatasets: [{{path: ./data}}]\nretrievers:\n  a: {{type: multi_vector, model: ./colbert, {fields}}}\n"
        "metrics: [ndcg@10]\n"
    )
    with pytest.raises(InputError, match=message) as caught:
        load(collection / "run.yaml")
    assert "run.yaml:4" in str(caught.value)
