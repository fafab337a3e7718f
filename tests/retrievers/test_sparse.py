"""The retriever of learned sparse weights: figures beside a dense reference, caching, indexes, interruption."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrievers import tiny_checkpoints as tiny
from tests.retrievers import tiny_sparse as sparse


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    sparse.splade(tmp_path / "splade", seed=3)
    sparse.inference_free(tmp_path / "free", seed=4)
    texts = [text.replace("wing", "wing,") for text in tiny.texts(60, seed=5, longest=40)]
    texts[17] = texts[4]  # equal documents
    texts[23] = ""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    asked = [" ".join(text.split()[:6]) or "wing" for text in texts[:20]]
    lines = [json.dumps({"_id": f"q{i}", "text": text}) for i, text in enumerate(asked)]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(20))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return tmp_path


def run_config(
    folder: Path, retrievers: str, monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[dict[str, dict[str, Any]], Any]:
    """Runs systems; (records by system, the command's result)."""
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    (folder / "run.yaml").write_text(
        f"name: t\ndatasets: [{{path: ./data}}]\nretrievers:\n{retrievers}\nmetrics: [ndcg@10, recall@20]\nk: 20\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEEKBENCH_HOME", str(folder / "home"))
    result = CliRunner().invoke(app, ["run", "run.yaml", "--output", "out", *more])
    records = {
        path.parent.name: json.loads(path.read_text()) for path in (folder / "out").rglob("result.json")
    }
    return records, result


def ranking(folder: Path, system: str) -> dict[str, list[tuple[str, float]]]:
    path = next((folder / "out").rglob(f"{system}/run.trec*"))
    out: dict[str, list[tuple[str, float]]] = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        query, _, doc, _, score, _ = line.split()
        out.setdefault(query, []).append((doc, float(score)))
    return out


def test_ranks_as_a_dense_product_of_sentence_transformers(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentence_transformers

    records, result = run_config(
        collection,
        "  splade: {type: sparse, model: ./splade}\n  free: {type: sparse, model: ./free}",
        monkeypatch,
    )
    assert result.exit_code == 0, result.output
    documents = [json.loads(line) for line in (collection / "data/corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (collection / "data/queries.jsonl").read_text().splitlines()]
    for system in ("splade", "free"):
        model = sentence_transformers.SparseEncoder(str(collection / system), device="cpu")
        left = (
            model.encode_query([q["text"] for q in queries], convert_to_sparse_tensor=False).double().numpy()
        )
        right = (
            model.encode_document([d["text"] for d in documents], convert_to_sparse_tensor=False)
            .double()
            .numpy()
        )
        scores = left @ right.T
        for row, (_, hits) in enumerate(
            sorted(ranking(collection, system).items(), key=lambda e: int(e[0][1:]))
        ):
            found = np.array([score for _, score in hits])
            own = np.array([scores[row, int(doc[1:])] for doc, _ in hits])
            np.testing.assert_allclose(found, own, atol=2e-4)
            np.testing.assert_allclose(found, np.sort(scores[row])[::-1][: len(found)], atol=2e-4)
            assert all(score > 0 for _, score in hits)
        record = records[system]
        nonzeros = (left > 0).sum(axis=1).mean()
        per_query = record["retriever"]["details"]["per_query"]
        assert per_query["nonzeros"] == pytest.approx(nonzeros, abs=0.01)
        flops = (left > 0).mean(axis=0) @ (right > 0).mean(axis=0)
        assert per_query["flops"] == pytest.approx(flops, abs=0.01)
        assert record["index"]["mean_non_zeros"] == pytest.approx((right > 0).sum(axis=1).mean(), abs=0.01)


def test_weights_are_made_once(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another index, other queries: no document is encoded again; another length: it is."""
    first = "  a: {type: sparse, model: ./splade}"
    run_config(collection, first, monkeypatch)

    def weights() -> set[str]:
        return {p.name for p in (collection / "home/weights").iterdir() if (p / "facts.json").exists()}

    made = weights()
    assert len(made) == 1
    again, result = run_config(
        collection,
        first + "\n  b: {type: sparse, model: ./splade, index: {type: native, weights: uint8}}\n"
        "  c: {type: sparse, model: ./splade, top_query: 3}\n  d: {type: sparse, model: ./splade, queries: binary}\n",
        monkeypatch,
    )
    assert result.exit_code == 0, result.output
    assert weights() == made
    assert again["b"]["index"]["bytes"] < again["a"]["index"]["bytes"]
    assert again["c"]["retriever"]["details"]["per_query"]["nonzeros"] <= 3
    run_config(collection, "  a: {type: sparse, model: ./splade, document_length: 10}", monkeypatch)
    assert len(weights()) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("model: ./splade, aggregation: sum", "leave aggregation out"),
        ("model: ./splade, index: {type: native, factor: 10}", "belongs to integer weights"),
        ("model: ./splade, query_model: ./free, queries: binary", "can't both hold"),
        ("model: ./splade, thresh: 1", "did you mean 'threshold'"),
        ("model: ./splade, queries: ./nothing.json", "nothing.json"),
        ("model: ./free, queries: model", "no model for queries"),
    ],
)
def test_wrong_fields(collection: Path, fields: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, result = run_config(collection, f"  a: {{type: sparse, {fields}}}", monkeypatch)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
