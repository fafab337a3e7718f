"""Token vectors equal sentence-transformers' and PyLate's on the same checkpoints, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seekbench.errors import InputError
from seekbench.retrievers.dense.checkpoint import Checkpoint, Settings, resolve_as
from seekbench.retrievers.multi_vector.checkpoint import Expansion, TokenCheckpoint, TokenSettings
from seekbench.retrievers.multi_vector.encode import TokenEncoder
from tests.retrievers import tiny_checkpoints as tiny
from tests.retrievers import tiny_multi_vector as multi

QUERIES = [text + "." for text in tiny.texts(12, seed=1, longest=14)]
DOCUMENTS = [text.replace(" the", ", the") for text in tiny.texts(16, seed=2, longest=60)]
GOLDEN = Path(__file__).with_name("pylate_golden.json")

LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "colbert": ("colbert", {}),
    "colbert, attended, punctuation kept": (
        "colbert",
        {"attend_to_mask_tokens": True, "mask_punctuation": False},
    ),
    "pylate": ("pylate", {}),
    "pylate, attended, short": ("pylate", {"attend_to_expansion_tokens": True, "document_length": 20}),
    "pylate, not expanded": ("pylate", {"do_query_expansion": False}),
    "st": ("sentence_transformers", {}),
    "st, at least": (
        "sentence_transformers",
        {"expansion": {"strategy": "min", "length": 10, "attend": True}},
    ),
    "st, fixed": ("sentence_transformers", {"expansion": {"strategy": "fixed", "length": 10}}),
}


def opened(folder: Path, **settings: Any) -> TokenEncoder:
    checkpoint = resolve_as(TokenCheckpoint, TokenSettings(str(folder), **settings), offline=True)
    return TokenEncoder(checkpoint, dtype="float32", device="cpu", threads=1, batch_tokens=300)


def made(folder: Path, layout: str) -> Path:
    maker, settings = LAYOUTS[layout]
    path: Path = getattr(multi, maker)(folder / "checkpoint", **settings)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_sentence_transformers(tmp_path: Path, layout: str) -> None:
    from sentence_transformers import MultiVectorEncoder

    from seekbench.retrievers.dense.encode import quiet

    folder = made(tmp_path, layout)
    encoder = opened(folder)
    with quiet():
        theirs = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
        expected = {
            "query": theirs.encode_query(QUERIES, convert_to_numpy=True),
            "document": theirs.encode_document(DOCUMENTS, convert_to_numpy=True),
        }
    for side, texts in (("query", QUERIES), ("document", DOCUMENTS)):
        found = encoder.token_vectors(texts, side)
        assert found.lengths.tolist() == [len(part) for part in expected[side]]
        for ours, other in zip(found.parts(), expected[side], strict=True):
            np.testing.assert_allclose(ours, other, atol=1e-5)
        assert len(found.ids) == len(found.vectors)


@pytest.mark.parametrize("layout", ["colbert", "pylate", "pylate, attended, short", "pylate, not expanded"])
def test_as_pylate(tmp_path: Path, layout: str) -> None:
    """PyLate 1.6.0 on the same files (tests/retrievers/pylate_golden.py, run where PyLate is installed); atol 1e-4."""
    golden = json.loads(GOLDEN.read_text())[layout]
    encoder = opened(made(tmp_path, layout))
    for side, texts in (("query", QUERIES), ("document", DOCUMENTS)):
        found = encoder.token_vectors(texts, side)
        assert found.lengths.tolist() == golden[side]["lengths"]
        sums = [part.astype(np.float64).sum(axis=0) for part in found.parts()]
        np.testing.assert_allclose(sums, golden[side]["sums"], atol=1e-4)
        np.testing.assert_allclose(found.parts()[3], golden[side]["fourth"], atol=1e-4)
    q, d = encoder.token_vectors(QUERIES, "query"), encoder.token_vectors(DOCUMENTS, "document")
    scores = [[(a @ b.T).max(axis=1).sum() for b in d.parts()] for a in q.parts()]
    np.testing.assert_allclose(scores, golden["scores"], atol=1e-4)


def test_batches_change_nothing_but_the_last_bits(tmp_path: Path) -> None:
    encoder = opened(made(tmp_path, "colbert"))
    whole = encoder.token_vectors(DOCUMENTS, "document")
    single = [encoder.token_vectors([text], "document").vectors for text in DOCUMENTS]
    np.testing.assert_allclose(whole.vectors, np.concatenate(single), atol=1e-5)


def test_zero_shot_token_vectors_are_the_last_hidden_states(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = tiny.recipe(tmp_path / "dense", pooling="mean", normalize=True)
    encoder = opened(folder)
    assert encoder.recipe.layout == "encoder"
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, part in zip(DOCUMENTS, encoder.token_vectors(DOCUMENTS, "document").parts(), strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, truncation=True, max_length=48, return_tensors="pt"))[0][0]
        expected = torch.nn.functional.normalize(hidden, dim=-1).numpy()
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_switches_change_vectors_as_they_say(tmp_path: Path) -> None:
    folder = multi.colbert(tmp_path / "checkpoint")
    plain = opened(folder)
    assert set(plain.token_vectors(QUERIES, "query").lengths.tolist()) == {12}
    assert plain.recipe.document_length == 40
    longer = opened(folder, expansion=Expansion(20))
    assert set(longer.token_vectors(QUERIES, "query").lengths.tolist()) == {20}
    assert set(opened(folder, query_length=9).token_vectors(QUERIES, "query").lengths.tolist()) == {9}
    without = opened(folder, expansion=False)
    tokens = without._tokenized(QUERIES, without.recipe.query_prompt, 12)[1]
    assert without.token_vectors(QUERIES, "query").lengths.tolist() == tokens.tolist()
    every = opened(folder, skip=()).token_vectors(DOCUMENTS, "document")
    skipped = plain.token_vectors(DOCUMENTS, "document")
    assert every.lengths.sum() > skipped.lengths.sum()
    attended = opened(folder, expansion=Expansion(12, attend=True)).token_vectors(QUERIES, "query")
    assert np.abs(attended.vectors - plain.token_vectors(QUERIES, "query").vectors).max() > 1e-3
    short = opened(folder, document_length=8).token_vectors(DOCUMENTS, "document")
    assert short.lengths.max() <= 8
    assert short.truncated > skipped.truncated


def test_a_language_takes_its_adapter(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = multi.colbert(tmp_path / "xm", model="xmod", attend_to_mask_tokens=True)
    encoder = opened(folder)
    found = {}
    for language in ("en", "fr", "de"):
        encoder.set_language(language)
        found[language] = encoder.token_vectors(DOCUMENTS, "document").vectors
    assert np.abs(found["en"] - found["fr"]).max() > 1e-3
    # Against the model itself, its adapters named one by one.
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    linear = encoder.model[1].linear.weight.detach()
    marked = tokenizer.convert_tokens_to_ids("[unused1]")
    ids = tokenizer(DOCUMENTS[0], truncation=True, max_length=39)["input_ids"]
    given = torch.tensor([[ids[0], marked, *ids[1:]]])
    for language, number in (("en", 0), ("fr", 1), ("de", 2)):
        with torch.no_grad():
            hidden = model(given, lang_ids=torch.tensor([number]))[0][0]
        projected = torch.nn.functional.normalize(hidden @ linear.T, dim=-1)
        marks = tokenizer.convert_tokens_to_ids([",", ".", ":", "-"])
        expected = projected[~torch.isin(given[0], torch.tensor(marks))].numpy()
        np.testing.assert_allclose(found[language][: len(expected)], expected, atol=1e-5)
    with pytest.raises(InputError, match="no adapter for 'ja'"):
        encoder.set_language("ja")
    with pytest.raises(InputError, match="state the dataset's `language`"):
        encoder.set_language(None)


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    crossed = tiny.bert(tmp_path / "cross", head="BertForSequenceClassification")
    with pytest.raises(InputError, match="cross-encoder"):
        opened(crossed)
    folder = multi.colbert(tmp_path / "l2", similarity="l2")
    with pytest.raises(InputError, match="l2 distance"):
        opened(folder)
    with pytest.raises(InputError, match="more than the 128 positions"):
        opened(multi.colbert(tmp_path / "long"), document_length=300)
    with pytest.raises(InputError, match="multi-vector encoder"):
        resolve_as(Checkpoint, Settings(str(multi.pylate(tmp_path / "pylate"))), offline=True)


def test_a_marker_that_the_vocabulary_lacks_is_said(tmp_path: Path) -> None:
    folder = multi.colbert(tmp_path / "checkpoint", query_token_id="[unused9]")
    recipe = opened(folder).recipe
    assert recipe.query_prompt == "[UNK] "
    assert "lacks the marker [unused9]" in recipe.warnings[0]


def test_the_skip_list_never_drops_unknown_tokens(tmp_path: Path) -> None:
    folder = multi.colbert(tmp_path / "checkpoint", mask_punctuation=False)
    plain = opened(folder).token_vectors(["the cell ! growth"], "document")
    skipping = opened(folder, skip=("!",)).token_vectors(["the cell ! growth"], "document")
    assert skipping.lengths.tolist() == plain.lengths.tolist()


def test_positions_of_xmod_begin_after_the_padding_index(tmp_path: Path) -> None:
    """As in RoBERTa: of 128 positions 126 are for tokens, for a vector a text as for a vector a token."""
    import transformers

    tiny.tokenizer_files(tmp_path, max_length=None)
    config = transformers.XmodConfig(
        vocab_size=200, hidden_size=tiny.HIDDEN, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, languages=["en_XX"], default_language="en_XX", pad_token_id=0,
    )  # fmt: skip
    transformers.XmodModel(config).save_pretrained(tmp_path)
    assert opened(tmp_path).recipe.document_length == 126
    assert resolve_as(Checkpoint, Settings(str(tmp_path)), offline=True).recipe.max_length == 126
    encoder = opened(tmp_path)
    encoder.set_language("en")
    assert encoder.token_vectors([" ".join(["wing"] * 300)], "document").lengths.tolist() == [126]
