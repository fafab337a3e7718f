"""The retriever of learned sparse weights: figures beside a dense reference, caching, indexes, interruption."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seekbench.retrievers.sparse.checkpoint import SparseCheckpoint, SparseSettings
from seekbench.retrievers.sparse.encode import SparseEncoder
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


def test_queries_by_a_model_of_their_own(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sentence_transformers

    sparse.splade(collection / "asking", seed=9)
    records, result = run_config(
        collection, "  two: {type: sparse, model: ./splade, query_model: ./asking, top_query: 4}", monkeypatch
    )
    assert result.exit_code == 0, result.output
    documents = [
        json.loads(line)["text"] for line in (collection / "data/corpus.jsonl").read_text().splitlines()
    ]
    queries = [
        json.loads(line)["text"] for line in (collection / "data/queries.jsonl").read_text().splitlines()
    ]
    left = sentence_transformers.SparseEncoder(str(collection / "asking"), device="cpu").encode_query(
        queries, convert_to_sparse_tensor=False, max_active_dims=4
    )
    right = sentence_transformers.SparseEncoder(str(collection / "splade"), device="cpu").encode_document(
        documents, convert_to_sparse_tensor=False
    )
    scores = (left.double() @ right.double().T).numpy()
    for query, hits in ranking(collection, "two").items():
        found = [score for _, score in hits]
        np.testing.assert_allclose(found, np.sort(scores[int(query[1:])])[::-1][: len(found)], atol=2e-4)
    assert records["two"]["retriever"]["describe"]["query_model"] == "./asking"


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
        ("model: ./splade, queries: binray", "did you mean 'binary'"),
        (
            "model: ./splade, queries: ./bad.tsv",
            "bad.tsv:2: the weight of 'flow' is no number from 0 on: 'much'",
        ),
        ("model: ./csr, queries: binary", "terms of an autoencoder are no tokens"),
        ("model: ./splade, query_model: ./other", "has another vocabulary"),
        ("model: ./unicoil, training: {steps: 1}", "can't be trained here: it has uniCOIL's head"),
        ("model: ./csr, training: {steps: 1}", "can't be trained here: it has Pooling, SparseAutoEncoder"),
        ("model: ./mlm, training: {head: fitted, steps: 0}", "has a head of terms already"),
        ("model: ./splade, index: {type: native, weights: uint8, factor: 100000}", "a factor of at most"),
        ("model: ./splade, index: {type: lucene, factor: 0.00001}", "every weight x 1e-05 rounds to 0"),
        ("model: ./splade, threshold: 1000", "no document has a weight of 1000 or more"),
    ],
)
def test_wrong_fields(collection: Path, fields: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (collection / "bad.tsv").write_text("wing\t0.5\nflow\tmuch\n")
    if "./csr" in fields:
        sparse.autoencoder(collection / "csr")
    if "./unicoil" in fields:
        sparse.unicoil(collection / "unicoil")
    if "./mlm" in fields:
        sparse.masked(collection / "mlm")
    if "./other" in fields:
        sparse.splade(collection / "other")
        path = next((collection / "other").rglob("tokenizer.json"))
        told = json.loads(path.read_text())
        words = told["model"]["vocab"]
        words["wing"], words["flow"] = words["flow"], words["wing"]
        path.write_text(json.dumps(told))
    _, result = run_config(collection, f"  a: {{type: sparse, {fields}}}", monkeypatch)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


TRAINED = """
  bm25: {type: bm25}
  minilm: {type: dense, model: ./dense}
  start: {type: sparse, model: ./splade, training: {steps: 0, queries: idf}}
  a:
    type: sparse
    model: ./splade
    training:
      steps: 6
      batch: 4
      negatives: 2
      pool: 4
      rate: 1.0e-3
      loss: [contrastive, distillation]
      teachers: [{of: bm25}, {of: minilm, weight: 2}]
      teacher_scale: 5
      text_length: 32
      watched: 4
      evaluate_every: 3
      checkpoint_every: 2
      regularization: {flops_document: 0.01, least_terms: 5, idf: true}
"""


def test_training_with_an_ensemble(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sentence_transformers

    tiny.recipe(collection / "dense", normalize=True)
    records, result = run_config(collection, TRAINED, monkeypatch)
    assert result.exit_code == 0, result.output
    facts = records["a"]["index"]["training"]
    assert facts["steps"] == 6
    assert facts["held_out_after"] is not None
    assert records["a"]["retriever"]["describe"]["layout"] == "sentence-transformers"
    models = [p for p in (collection / "home/model").iterdir() if (p / "model").exists()]
    assert len(models) == 2
    for place in models:
        assert (place / "examples.arrow").exists()
        assert not (place / "work").exists()
    # Others can load it, and get the vectors that were indexed.
    kept = next(p / "model" for p in models if (p / "curves.png").exists())
    model = sentence_transformers.SparseEncoder(str(kept), device="cpu")
    found = model.encode_query(["wing flow"], convert_to_sparse_tensor=False)
    assert int((found > 0).sum()) == 2
    from seekbench.retrievers.dense.checkpoint import resolve_as

    settings = SparseSettings(model=str(kept))
    checkpoint = resolve_as(SparseCheckpoint, settings, offline=True, fetch=True)
    ours = SparseEncoder(checkpoint, dtype="float32", device="cpu", threads=1, batch_tokens=None)
    texts = ["wing flow pressure", "cell growth"]
    theirs = model.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(ours.weights(texts, "document").vectors.dense(), theirs, atol=1e-5)
    # Another teacher is another training; the same is none.
    _, again = run_config(collection, TRAINED, monkeypatch)
    assert "train:" not in again.output
    _, other = run_config(collection, TRAINED.replace("{type: bm25}", "{type: bm25, k1: 0.5}"), monkeypatch)
    assert "train:" in other.output


def test_a_head_is_fitted(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.recipe(collection / "dense", normalize=True)
    fields = "training: {head: fitted, steps: 0, text_length: 32}"
    records, result = run_config(collection, f"  a: {{type: sparse, model: ./dense, {fields}}}", monkeypatch)
    assert result.exit_code == 0, result.output
    assert records["a"]["index"]["training"]["head"]["nonzeros"] > 0
    _, refused = run_config(collection, "  a: {type: sparse, model: ./dense}", monkeypatch)
    assert refused.exit_code == 2
    assert "`training`, which puts a head of terms behind it" in refused.output


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("teachers: [{of: bm52}], negatives: 1, loss: [distillation]", "did you mean 'bm25'"),
        ("teachers: [{of: bm25}], negatives: 1", "nothing learns from the teachers"),
        ("loss: [distillation], negatives: 1", "needs a teacher"),
        ("regularization: {flops_query: 1}", "queries are looked up in a table"),
        (
            "teachers: [{of: a}], loss: [distillation], negatives: 1",
            "no other retriever of this config is called 'a'",
        ),
    ],
)
def test_wrong_trainings(
    collection: Path, fields: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = f"  bm25: {{type: bm25}}\n  a: {{type: sparse, model: ./splade, training: {{{fields}}}}}"
    _, result = run_config(collection, system, monkeypatch)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_regularisers_are_those_of_sentence_transformers() -> None:
    import torch
    from sentence_transformers.sparse_encoder.losses import FlopsLoss

    from seekbench.retrievers.sparse.losses import flops, l1

    vectors = torch.rand(6, 50) * (torch.rand(6, 50) > 0.6)
    for least in (0, 18, 22):
        theirs = FlopsLoss(model=None, threshold=least or None).compute_loss_from_embeddings(vectors)  # type: ignore[arg-type]
        torch.testing.assert_close(flops(vectors, least=least), theirs)
    assert float(l1(vectors)) == pytest.approx(float(vectors.sum() / 6), rel=1e-5)
    idf = torch.rand(50) + 1
    torch.testing.assert_close(flops(vectors, idf=idf), flops(vectors / idf))


def test_a_fitted_head_finds_the_words_of_a_text(tmp_path: Path) -> None:
    """Where hidden states hold the words of a text, as they do with small weights, its terms are these."""
    import torch
    import transformers

    from seekbench.retrievers.sparse import head
    from seekbench.retrievers.sparse.encode import pooled

    tiny.tokenizer_files(tmp_path)
    size = len((tmp_path / "vocab.txt").read_text().splitlines())
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=48, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.02,
    )  # fmt: skip
    model = transformers.BertForMaskedLM(config).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = tiny.texts(200, seed=1, longest=30)
    fit = head.fit(model, tokenizer, texts, length=32)
    assert fit.found > 0.9
    rows = tokenizer(texts[:50], padding=True, truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        vectors = pooled(model(**rows).logits, rows["attention_mask"], "max", "relu").numpy()
    own = np.zeros_like(vectors, dtype=bool)
    for i, ids in enumerate(rows["input_ids"].tolist()):
        own[i, [t for t in ids if t not in tokenizer.all_special_ids]] = True
    assert (vectors > 0)[own].mean() > 0.9
    assert vectors[own].mean() > 3 * vectors[~own].mean()
    assert (vectors > 0).sum(axis=1).mean() == pytest.approx(fit.nonzeros, rel=0.2)


def test_a_score_is_explained(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    run_config(collection, "  bm25: {type: bm25}\n  free: {type: sparse, model: ./free}", monkeypatch)
    (query, hits), *_ = ranking(collection, "free").items()
    doc, score = hits[0]

    def shown(*options: str) -> Any:
        return CliRunner().invoke(app, ["show", "run.yaml", *options])

    result = shown("--query", query, "--document", doc)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    total = next(line for line in lines if line.startswith("score"))
    assert float(total.split()[-1]) == pytest.approx(score, abs=1e-3)
    begin = next(i for i, line in enumerate(lines) if line.startswith("term"))
    products = [float(line.split()[3]) for line in lines[begin + 1 : lines.index(total)]]
    assert products == sorted(products, reverse=True)
    assert sum(products) == pytest.approx(score, abs=2e-3)
    for options, message in (
        (("--query", query), "come together"),
        (("--query", "q999", "--document", doc), "no query 'q999'"),
        (("--query", query, "--document", doc, "--system", "bm25"), "'bm25' can't explain"),
        (("--query", query, "--document", doc, "--system", "fre"), "did you mean 'free'"),
    ):
        refused = shown(*options)
        assert refused.exit_code == 2
        assert message in refused.output


@pytest.mark.parametrize(
    "index", ["{type: lucene, factor: 10}", "{weights: uint16, factor: 20}", "{weights: float16}"]
)
def test_what_the_index_multiplies_is_explained(
    collection: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    run_config(collection, f"  a: {{type: sparse, model: ./splade, index: {index}}}", monkeypatch)
    (query, hits), *_ = ranking(collection, "a").items()
    result = CliRunner().invoke(app, ["show", "run.yaml", "--query", query, "--document", hits[0][0]])
    assert result.exit_code == 0, result.output
    total = next(line for line in result.output.splitlines() if line.startswith("score"))
    assert float(total.split()[-1]) == pytest.approx(hits[0][1], rel=1e-4)
    assert "as the index has them" in result.output or "float16" in result.output


def test_training_keeps_the_checkpoints_own_query_table(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file

    def table(folder: Path) -> Any:
        path = next(p for p in folder.rglob("model.safetensors") if "StaticEmbedding" in str(p))
        (weights,) = load_file(path).values()
        return weights

    training = "steps: 2, batch: 2, negatives: 0, text_length: 16, watched: 0"
    systems = f"""  own: {{type: sparse, model: ./free, training: {{{training}}}}}
  idf: {{type: sparse, model: ./free, training: {{{training}, queries: idf}}}}"""
    records, result = run_config(collection, systems, monkeypatch)
    assert result.exit_code == 0, result.output
    assert set(records) == {"own", "idf"}
    found = [table(p) for p in (collection / "home/model").iterdir() if (p / "model").exists()]
    same = [np.array_equal(weights, table(collection / "free")) for weights in found]
    assert sorted(same) == [False, True]


def test_train_hands_over_checkpoints(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    fields = "training: {steps: 2, batch: 2, watched: 4, text_length: 16}"
    run_config(
        collection, f"  bm25: {{type: bm25}}\n  a: {{type: sparse, model: ./splade, {fields}}}", monkeypatch
    )
    result = CliRunner().invoke(app, ["train", "run.yaml", "-o", "made"])
    assert result.exit_code == 0, result.output
    assert "2 steps" in result.output
    assert "train:" not in result.output  # as `run` had trained it
    place = collection / "made/data/a"
    assert sorted(p.name for p in place.iterdir()) == ["curves.png", "log.jsonl", "model", "training.json"]
    records, again = run_config(
        collection,
        f"  a: {{type: sparse, model: ./splade, {fields}}}\n  b: {{type: sparse, model: ./made/data/a/model}}",
        monkeypatch,
    )
    assert again.exit_code == 0, again.output
    assert records["a"]["metrics"] == records["b"]["metrics"]
    run_config(collection, "  bm25: {type: bm25}", monkeypatch)
    nothing = CliRunner().invoke(app, ["train", "run.yaml", "-o", "made"])
    assert nothing.exit_code == 2
    assert "no retriever of this config trains" in nothing.output


def test_an_interrupted_training_ends_the_same(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does the same config in another store: weights are equal bit for bit."""
    from safetensors.torch import load_file
    from typer.testing import CliRunner

    from seekbench.cli.app import app
    from seekbench.retrievers.sparse.training import Trained

    fields = "training: {steps: 6, batch: 3, watched: 4, text_length: 16, checkpoint_every: 2, micro: 2, negatives: 1}"
    (collection / "run.yaml").write_text(
        f"datasets: [{{path: ./data}}]\nretrievers:\n  a: {{type: sparse, model: ./splade, {fields}}}\nk: 20\n"
        "metrics: [ndcg@10]\n"
    )
    monkeypatch.chdir(collection)

    def train(home: str) -> Any:
        monkeypatch.setenv("SEEKBENCH_HOME", str(collection / home))
        return CliRunner().invoke(app, ["train", "run.yaml", "-o", f"made-{home}"])

    def weights(home: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in sorted((collection / f"made-{home}").rglob("*.safetensors")):
            found |= {f"{path.parent.name}/{n}": t for n, t in load_file(path).items()}
        return found

    first = train("a")
    assert first.exit_code == 0, first.output
    real, calls = Trained.loss, 0

    def killed(self: Trained, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:  # two kinds of text a step
            raise KeyboardInterrupt
        return real(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Trained, "loss", killed)
        assert train("b").exit_code == 130
    assert train("b").exit_code == 0
    whole, continued = weights("a"), weights("b")
    assert whole.keys() == continued.keys() != set()
    assert all((whole[n] == continued[n]).all() for n in whole)
