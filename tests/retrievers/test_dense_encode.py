"""The vectors are those that sentence-transformers gives for the same files; shards, prompts, truncation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny

from seekbench.collection import Records
from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.protocol import Context, Retriever, TextView

TEXTS = tiny.texts(70)
ATOL = 1e-5  # float32 sums over at most 128 values of size 1, in other batches


def view(texts: list[str], prefix: str = "d") -> TextView:
    return TextView(Records.from_lists([f"{prefix}{i}" for i in range(len(texts))], texts), "{text}")


def context() -> Context:
    return Context(device="cpu", offline=True)


def dense(model: Path, **params: Any) -> Dense:
    return Dense(DenseParams(model=str(model), **params))


def encoded(retriever: Dense, side: str = "document") -> np.ndarray:
    return retriever.encoder(context()).encode(TEXTS, side).vectors


def library(model: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model), device="cpu", local_files_only=True)


RECIPES: dict[str, dict[str, Any]] = {
    "mean": {},
    "cls-normalized": {"pooling": "cls", "normalize": True},
    "last": {"pooling": "lasttoken", "legacy_names": False},
    "mean-and-max": {"pooling": ["mean", "max"]},
    "dense-head": {"dense": 16, "normalize": True},
    "dot": {"similarity": "dot"},
    "new-names": {"legacy_names": False, "dense": 8, "similarity": "cosine"},
    "prompts": {"prompts": {"query": "query: ", "passage": "passage: "}, "similarity": "dot"},
    "prompt-left-out": {
        "prompts": {"query": "search query: ", "document": "search document: "}, "include_prompt": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_vectors_equal_the_librarys(tmp_path: Path, name: str) -> None:
    model = tiny.recipe(tmp_path / "m", **RECIPES[name])
    retriever = dense(model, batch_tokens=300)
    assert isinstance(retriever, Retriever)
    recipe = retriever.checkpoint(context()).recipe
    reference = library(model)
    for side in ("query", "document"):
        prompt = recipe.prompt(side)
        expected = reference.encode(
            TEXTS, prompt=prompt, normalize_embeddings=recipe.similarity == "cosine", show_progress_bar=False
        )
        np.testing.assert_allclose(encoded(retriever, side), expected, atol=ATOL)
    assert recipe.max_length == reference.max_seq_length == 48
    assert recipe.similarity == (reference.similarity_fn_name or "cosine")
    facts = retriever.describe(context=context())
    assert facts["dim"] == reference.get_embedding_dimension()
    assert facts["parameters"] == sum(p.numel() for p in reference.parameters())


def test_prompts_come_from_the_checkpoint_and_can_be_named_or_written(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path, prompts={"query": "query: ", "passage": "passage: ", "web": "search: "})

    def prompts(**params: Any) -> list[str]:
        retriever = dense(model, **params)
        return [retriever.render(["x"], side, context=context())[0] for side in ("query", "document")]

    assert prompts() == ["query: x", "passage: x"]
    assert prompts(query_prompt="web", document_prompt="") == ["search: x", "x"]
    assert prompts(query_prompt="find: ") == ["find: x", "passage: x"]
    with pytest.raises(InputError, match=r"no prompt named 'webb' .did you mean 'web'"):
        prompts(query_prompt="webb")


def test_a_query_prompt_changes_no_index_parameter() -> None:
    fields = set(DenseParams.model_fields)
    assert Dense.index_params | Dense.search_params <= fields
    assert not Dense.index_params & Dense.search_params
    assert "query_prompt" in Dense.search_params
    assert fields == Dense.index_params | Dense.search_params


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_plain_checkpoint_with_a_stated_pooling(tmp_path: Path, pooling: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = tiny.bert(tmp_path)
    retriever = dense(model, pooling=pooling, similarity="dot", normalize=False)
    assert retriever.describe(context=context())["pooling"] == {"last": "lasttoken"}.get(pooling, pooling)
    tokenizer, bare = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = encoded(retriever)
    for text, vector in zip(TEXTS[:10], found, strict=False):
        with torch.no_grad():
            rows = bare(**tokenizer(text, truncation=True, max_length=64, return_tensors="pt"))[0][0].numpy()
        expected = {"mean": rows.mean(axis=0), "cls": rows[0], "last": rows[-1]}[pooling]
        np.testing.assert_allclose(vector, expected, atol=ATOL)


def test_plain_checkpoint_takes_the_mean_and_says_so(tmp_path: Path) -> None:
    facts = dense(tiny.bert(tmp_path)).describe(context=context())
    assert (facts["pooling"], facts["recipe"], facts["similarity"]) == (
        "mean", "plain transformers checkpoint", "cosine",
    )  # fmt: skip
    assert facts["max_length"] == 64


def test_truncation_is_counted_exactly(tmp_path: Path) -> None:
    model = tiny.bert(tmp_path)
    encoder = dense(model, max_length=6).encoder(context())
    exactly, over = "the cell growth of", "the cell growth of a"
    found = encoder.encode([exactly, over, "mice"], "document")
    assert (found.truncated, found.tokens) == (1, 6 + 6 + 3)
    np.testing.assert_allclose(found.vectors[0], found.vectors[1], atol=ATOL)
    with pytest.raises(InputError, match="more than the 128 positions"):
        dense(model, max_length=500).identity(context=context())


def test_vectors_depend_on_the_batch_by_rounding_only(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path)
    whole = encoded(dense(model, batch_tokens=100_000))
    for budget in (1, 64, 500):
        np.testing.assert_allclose(encoded(dense(model, batch_tokens=budget)), whole, atol=ATOL)


def test_truncated_dimensions_are_normalised_again(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path, normalize=True)
    whole, cut = encoded(dense(model)), encoded(dense(model, truncate_dim=8))
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=ATOL)
    with pytest.raises(InputError, match="more than the 32 dimensions"):
        dense(model, truncate_dim=64).identity(context=context())


def test_normalize_false_leaves_the_checkpoints_normalisation_out(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path / "a", normalize=True)
    bare = tiny.recipe(tmp_path / "b", similarity="dot")
    np.testing.assert_allclose(encoded(dense(model, normalize=False)), encoded(dense(bare)), atol=ATOL)


def test_bfloat16_pools_in_float32(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path, normalize=True)
    half = encoded(dense(model, dtype="bfloat16"))
    whole = encoded(dense(model))
    assert half.dtype == np.float32
    assert ((half * whole).sum(axis=1) > 0.98).all()
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)


def test_out_of_memory_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    retriever = dense(tiny.recipe(tmp_path), batch_tokens=4000)
    expected = encoded(retriever)
    encoder = retriever.encoder(context())
    original, sizes = encoder._vectors, []

    def small(features: dict[str, Any], side: str) -> np.ndarray:
        sizes.append(len(features["input_ids"]))
        if len(features["input_ids"]) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(features, side)

    monkeypatch.setattr(encoder, "_vectors", small)
    np.testing.assert_allclose(encoder.encode(TEXTS, "document").vectors, expected, atol=ATOL)
    assert encoder.batch_tokens < 4000
    assert max(sizes[5:]) <= max(sizes)

    def never(features: dict[str, Any], side: str) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(encoder, "_vectors", never)
    with pytest.raises(SeekbenchError, match="does not fit into the memory"):
        encoder.encode(TEXTS, "document")


def test_weights_without_a_layer_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = tiny.recipe(tmp_path)
    weights = load_file(model / "model.safetensors")
    kept = {k: v.clone() for k, v in weights.items() if "layer.1.output.dense" not in k}
    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 2 tensors"):
        dense(model).encoder(context())


# -- shards -----------------------------------------------------------------------------------------------


def matrix(folder: Path) -> np.ndarray:
    return np.load(folder / "vectors.npy")


def test_an_interrupted_index_continues_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.recipe(tmp_path / "m")
    documents = view(TEXTS)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    facts = dense(model, shard=16).index(documents, whole, context=context())
    assert (facts["documents"], facts["dim"]) == (70, tiny.HIDDEN)
    assert facts["truncation_rate"] == facts["truncated"] / 70 > 0
    assert sorted(p.name for p in whole.iterdir()) == ["vectors.json", "vectors.npy"]

    import seekbench.retrievers.dense as module

    steps = 0
    original = module.write_atomic

    def failing(path: Path, data: bytes) -> None:
        nonlocal steps
        steps += 1
        if steps % 3 == 0:
            raise KeyboardInterrupt
        original(path, data)

    monkeypatch.setattr(module, "write_atomic", failing)
    retriever = dense(model, shard=16)
    interruptions = 0
    for _ in range(60):
        try:
            # Another shard size in a later call must not change where the borders lie.
            again = retriever.index(documents, broken, context=context())
            break
        except KeyboardInterrupt:
            interruptions += 1
            retriever = dense(model, shard=16 if interruptions < 2 else 5)
    else:
        pytest.fail("never finished")
    assert interruptions > 4
    assert (broken / "vectors.npy").read_bytes() == (whole / "vectors.npy").read_bytes()
    timed = ("seconds", "encode_seconds")
    assert {k: v for k, v in again.items() if k not in timed} == {
        k: v for k, v in facts.items() if k not in timed
    }


def test_a_finished_index_is_not_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.recipe(tmp_path / "m")
    folder = tmp_path / "index"
    folder.mkdir()
    dense(model).index(view(TEXTS), folder, context=context())
    retriever = dense(model)
    monkeypatch.setattr(retriever, "encoder", lambda context: pytest.fail("the model was loaded"))
    assert retriever.index(view(TEXTS), folder, context=context())["documents"] == 70


def test_search_ranks_by_the_librarys_similarity(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path / "m", prompts={"query": "query: ", "document": ""}, similarity="cosine")
    folder = tmp_path / "index"
    folder.mkdir()
    retriever = dense(model)
    documents, queries = view(TEXTS), view(tiny.texts(9, seed=5), "q")
    retriever.index(documents, folder, context=context())
    searcher = retriever.open(folder, documents, context=context())
    run = searcher.search(queries, 10, context=context())
    reference = library(model)
    expected = reference.similarity(
        reference.encode_query(queries.texts()), reference.encode_document(documents.texts())
    ).numpy()
    assert run.doc_rows.shape == (9, 10)
    np.testing.assert_allclose(run.scores, -np.sort(-expected, axis=1)[:, :10], atol=ATOL)
    np.testing.assert_allclose(
        run.scores, np.take_along_axis(expected, run.doc_rows.astype(int), axis=1), atol=ATOL
    )
    assert set(searcher.timings) == {"encode", "search"}
    # more than there are: all documents
    assert searcher.search(queries, 1000, context=context()).k == 70
    searcher.close()
    with pytest.raises(SeekbenchError, match="closed"):
        searcher.search(queries, 10, context=context())


def test_an_index_of_other_documents_is_refused(tmp_path: Path) -> None:
    retriever = dense(tiny.recipe(tmp_path / "m"))
    folder = tmp_path / "index"
    folder.mkdir()
    retriever.index(view(TEXTS), folder, context=context())
    with pytest.raises(SeekbenchError, match="70 vectors"):
        retriever.open(folder, view(TEXTS[:-1]), context=context())


def test_an_empty_corpus_has_no_hits(tmp_path: Path) -> None:
    retriever = dense(tiny.recipe(tmp_path / "m"))
    folder = tmp_path / "index"
    folder.mkdir()
    nothing = view(["x"]).take(np.array([], dtype=np.int64))
    assert retriever.index(nothing, folder, context=context())["documents"] == 0
    run = retriever.open(folder, nothing, context=context()).search(view(["wing"], "q"), 5, context=context())
    assert run.doc_rows.shape == (1, 0)


def test_static_embeddings_go_through_the_library(tmp_path: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tiny.tokenizer_files(tmp_path / "t")
    tokenizer = Tokenizer.from_file(str(tmp_path / "t" / "tokenizer.json"))
    torch.manual_seed(3)
    static = StaticEmbedding(tokenizer, embedding_dim=12)
    model = tmp_path / "static"
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(model), create_model_card=False)
    retriever = dense(model)
    expected = library(model).encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoded(retriever), expected, atol=ATOL)
    folder = tmp_path / "index"
    folder.mkdir()
    assert retriever.index(view(TEXTS), folder, context=context())["truncation_rate"] is None


def test_importing_dense_loads_no_model_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from seekbench.retrievers.dense import Dense, DenseParams; "
        "from seekbench.retrievers import fusion, run_file; from seekbench.retrievers.protocol import "
        "Context; d = Dense(DenseParams(model='all-MiniLM-L6-v2')); "
        "d.identity(context=Context(offline=True)); d.describe(context=Context(offline=True)); "
        "print(*sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"torch", "transformers", "sentence_transformers", "faiss", "ranx", "numba", "huggingface_hub"}
    assert not heavy & set(out)


def test_facts_are_json(tmp_path: Path) -> None:
    retriever = dense(tiny.recipe(tmp_path, dense=8))
    json.dumps([retriever.identity(context=context()), retriever.describe(context=context())])


def test_documents_of_one_text_have_one_vector(tmp_path: Path) -> None:
    """Whatever company they were encoded in: else rounding would decide ties that belong to the ranking rule."""
    model = tiny.recipe(tmp_path / "m")
    folder = tmp_path / "index"
    folder.mkdir()
    dense(model, shard=16).index(view([*TEXTS, *reversed(TEXTS)]), folder, context=context())
    vectors = np.load(folder / "vectors.npy")
    assert np.array_equal(vectors[:70], vectors[70:][::-1])
