"""Learned sparse encoders: vectors of every layout beside sentence-transformers' own, recipes and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seekbench.errors import InputError
from seekbench.retrievers.dense.checkpoint import resolve_as
from seekbench.retrievers.sparse.checkpoint import SparseCheckpoint, SparseSettings
from seekbench.retrievers.sparse.encode import SparseEncoder, load
from seekbench.retrievers.sparse.vectors import pruned
from tests.retrievers import tiny_checkpoints as tiny
from tests.retrievers import tiny_sparse as sparse

TEXTS = [
    "the cell growth of a protein in mice",
    "heart disease",
    "",
    "wing flow pressure heat transfer plate boundary layer shock wave speed, supersonic body " * 6,
    "wing wing wing",
    "theta alpha beta gamma delta - 0123",
]


def resolved(folder: Path, **more: Any) -> SparseCheckpoint:
    return resolve_as(SparseCheckpoint, SparseSettings(model=str(folder), **more), offline=True, fetch=True)


def encoder(folder: Path, **more: Any) -> SparseEncoder:
    return SparseEncoder(
        resolved(folder, **more), dtype="float32", device="cpu", threads=2, batch_tokens=None
    )


def theirs(folder: Path, side: str) -> np.ndarray[Any, Any]:
    import sentence_transformers

    model = sentence_transformers.SparseEncoder(str(folder), device="cpu", local_files_only=True)
    encode = model.encode_query if side == "query" else model.encode_document
    found: np.ndarray[Any, Any] = encode(
        TEXTS, convert_to_sparse_tensor=False, show_progress_bar=False
    ).numpy()
    return found


LAYOUTS: dict[str, Any] = {
    "splade": lambda f: sparse.splade(f, seed=1),
    "sum": lambda f: sparse.splade(f, seed=2, strategy="sum"),
    "twice": lambda f: sparse.splade(f, seed=3, activation="log1p_relu"),
    "most": lambda f: sparse.splade(f, seed=4, max_active_dims=7),
    "prompts": lambda f: sparse.splade(f, seed=5, prompts={"query": "query : ", "document": "passage : "}),
    "legacy": lambda f: sparse.legacy(f, seed=6),
    "inference-free": lambda f: sparse.inference_free(f, seed=7),
    "doc-v3": lambda f: sparse.inference_free(f, seed=8, activation="log1p_relu"),
    "autoencoder": lambda f: sparse.autoencoder(f, seed=9),
    "plain": lambda f: sparse.masked(f, seed=10),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_those_of_sentence_transformers(layout: str, tmp_path: Path) -> None:
    folder = LAYOUTS[layout](tmp_path / "model")
    ours = encoder(folder)
    for side in ("query", "document"):
        made = ours.weights(TEXTS, side)
        expected = theirs(folder, side)
        assert made.vectors.width == expected.shape[1]
        np.testing.assert_allclose(made.vectors.dense(), expected, atol=1e-5)
    # In batches of another size the same, to rounding.
    again = SparseEncoder(resolved(folder), dtype="float32", device="cpu", threads=1, batch_tokens=20)
    np.testing.assert_allclose(
        again.weights(TEXTS, "document").vectors.dense(), theirs(folder, "document"), atol=1e-5
    )


def test_a_query_model_of_tables(tmp_path: Path) -> None:
    """OpenSearch's first layout: a masked language model and a table, as JSON or as lines."""
    for name in ("idf.json", "query_token_weights.txt"):
        folder = sparse.with_table(tmp_path / name.partition(".")[0], seed=3, name=name)
        found = encoder(folder)
        assert found.recipe.queries == "table"
        vectors = found.weights(["wing flow wing [UNK] zzz", ""], "query").vectors
        table = sparse.weights_of(folder)
        tokens = ["wing", "flow", "z", "##z"]
        assert dict(zip(found.words(vectors.terms), vectors.weights.tolist(), strict=True)) == pytest.approx(
            {token: table[token] for token in tokens}
        )
        assert vectors.lengths().tolist() == [4, 0]
        np.testing.assert_allclose(
            found.weights(TEXTS, "document").vectors.dense(), theirs(folder, "document"), atol=1e-5
        )
        model = encoder(folder, queries="model").weights(TEXTS, "query").vectors
        np.testing.assert_allclose(model.dense(), theirs(folder, "query"), atol=1e-5)
    binary = encoder(folder, queries="binary").weights(["wing flow wing [SEP]"], "query").vectors
    assert binary.weights.tolist() == [1, 1]


def test_unicoil_by_hand(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, BertModel

    folder = sparse.unicoil(tmp_path / "unicoil", seed=4)
    tensors = load_file(folder / "model.safetensors")
    model = BertModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = encoder(folder)
    for side in ("query", "document"):
        vectors = found.weights(TEXTS, side).vectors
        for row, text in enumerate(TEXTS):
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
            with torch.no_grad():
                hidden = model(**ids).last_hidden_state[0]
                weights = (hidden @ tensors["tok_proj.weight"].T + tensors["tok_proj.bias"]).relu()[:, 0]
            expected: dict[int, float] = {}
            for token, weight in zip(ids["input_ids"][0].tolist(), weights.tolist(), strict=True):
                if token != tokenizer.cls_token_id:
                    known = expected.get(token, 0.0)
                    expected[token] = known + weight if side == "query" else max(known, weight)
            own = vectors.take(row, row + 1)
            assert dict(zip(own.terms.tolist(), own.weights.tolist(), strict=True)) == pytest.approx(
                {t: w for t, w in expected.items() if w > 0}, abs=1e-5
            )


def test_truncation_is_counted(tmp_path: Path) -> None:
    folder = sparse.splade(tmp_path / "m")
    made = encoder(folder).weights(TEXTS, "document")
    assert made.truncated == 1
    assert encoder(folder, document_length=8).weights(TEXTS, "document").truncated == 3
    free = encoder(sparse.inference_free(tmp_path / "f"), query_length=4)
    assert free.weights(TEXTS, "query").truncated == 3
    top = made.vectors
    few = encoder(folder).weights(TEXTS, "document", top=5, threshold=0.1).vectors
    assert (few.dense() == pruned(top, 5, 0.1).dense()).all()


def test_what_is_refused(tmp_path: Path) -> None:
    for folder, message in (
        (tiny.bert(tmp_path / "plain"), "no head that gives terms a weight"),
        (tiny.recipe(tmp_path / "dense"), "is a dense encoder"),
        (tiny.bert(tmp_path / "cross", head="BertForSequenceClassification"), "cross-encoder"),
    ):
        with pytest.raises(InputError, match=message):
            resolved(folder)
    masked = sparse.masked(tmp_path / "masked")
    with pytest.raises(InputError, match="128 positions"):
        resolved(masked, document_length=512)
    with pytest.raises(InputError, match="leave aggregation out"):
        resolved(sparse.splade(tmp_path / "st"), aggregation="sum")
    with pytest.raises(InputError, match="no model for queries"):
        resolved(sparse.inference_free(tmp_path / "free"), queries="model")
    table = tmp_path / "table.txt"
    table.write_text("wing\t1\nflow two\n")
    with pytest.raises(InputError, match="token, tab, weight"):
        encoder(masked, queries=str(table))
    table.write_text("wing\tone\n")
    with pytest.raises(InputError, match="is no number"):
        encoder(masked, queries=str(table))
    (tmp_path / "t.json").write_text(json.dumps({"nothing": 1}))
    with pytest.raises(InputError, match="no token of this table"):
        encoder(masked, queries=str(tmp_path / "t.json"))


def test_sums_are_of_each_token(tmp_path: Path) -> None:
    folder = sparse.masked(tmp_path / "m", seed=2)
    summed = encoder(folder, aggregation="sum", activation="log1p_relu")
    model = load(summed.checkpoint, __import__("torch").float32, "cpu")
    expected = model.encode_document(TEXTS, convert_to_sparse_tensor=False, show_progress_bar=False).numpy()
    np.testing.assert_allclose(
        summed.weights(TEXTS, "document").vectors.dense(), expected, atol=1e-4, rtol=1e-5
    )
