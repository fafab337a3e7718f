"""PromptReps: both vectors beside the model's own states and logits, the choice of terms, fusion, end to end."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense.checkpoint import resolve_as
from seekbench.retrievers.prompt_reps.checkpoint import PromptCheckpoint, PromptSettings
from seekbench.retrievers.prompt_reps.encode import (
    STOP_WORDS,
    PromptEncoder,
    Prompter,
    highest,
    is_english,
    terms_of,
    words,
)
from seekbench.retrievers.prompt_reps.searcher import hybrid
from seekbench.runs import Run
from tests.retrievers import tiny_checkpoints as tiny
from tests.retrievers import tiny_prompt_reps as tiny_reps

PASSAGE = (
    'Passage: "{text}". Use one word to represent the passage in a retrieval task. Make sure your word is in '
    "lowercase."
)
START = 'The word is: "'


def files(folder: Path, **more: Any) -> PromptCheckpoint:
    settings = PromptSettings(model=str(folder), **more)
    return resolve_as(PromptCheckpoint, settings, offline=True, fetch=True)


def encoder(folder: Path, *, batch_tokens: int | None = None, **more: Any) -> PromptEncoder:
    checkpoint = files(folder, **more)
    return PromptEncoder(checkpoint, dtype="float32", device="cpu", threads=1, batch_tokens=batch_tokens)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_reps.llama(folder / "llama", seed=1)
    tiny_reps.llama(folder / "llama-chat", seed=2, chat=tiny_reps.CHAT)
    tiny_reps.gpt2(folder / "gpt2", seed=3, surround=True)
    tiny_reps.gpt2(folder / "gpt2-chat", seed=4, chat=tiny_reps.CHAT, pad=False)
    return folder


def by_hand(
    folder: Path,
    prompt: str,
    text: str,
    *,
    begin: bool = False,
) -> tuple[np.ndarray, dict[int, float]]:
    """(hidden state, weights) of a prompt alone, not padded, as transformers gives them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = [0] * begin + tokenizer(prompt, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    logits = out.logits[0, -1].numpy()
    own = {
        i
        for word in text.lower().replace(",", " ").split()
        if word not in ("the", "of", "a", "in", "was", "with", "and")
        for i in tokenizer(word, add_special_tokens=False)["input_ids"]
    }
    chosen = sorted(own, key=lambda i: -logits[i])[:128]
    weights = {i: float(np.log1p(max(0.0, logits[i]))) for i in chosen if logits[i] > 0}
    return out.hidden_states[-1][0, -1].numpy(), weights


# -- both vectors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["llama", "llama-chat", "gpt2", "gpt2-chat"])
def test_vectors_are_the_models_own(models: Path, tmp_path: Path, name: str, side: str) -> None:
    folder = shutil.copytree(models / name, tmp_path / name)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    tiny.write(folder, "tokenizer_config.json", {**config, "padding_side": side})
    texts = [
        "Wing, flow of the plate",
        " ".join(tiny.WORDS[8:40]),
        "heat",
        "theory and experiment of a shock wave",
    ]
    ours = encoder(folder, batch_tokens=220, normalize=False)
    assert ours.tokenizer.padding_side == side
    assert len(list(ours._batches(np.array([60, 60, 60, 60])))) == 2
    made = ours.represent(texts, "document")
    assert made.truncated == 0
    system = "You are an AI assistant that can understand human language."
    for i, text in enumerate(texts):
        prompt = PASSAGE.replace("{text}", text)
        if name.endswith("chat"):
            prompt = (
                f"<|begin|><|system|>Today is 26 Jul 2024.<|end|><|system|>{system}<|end|><|user|>{prompt}<|end|>"
                f"<|assistant|>{START}"
            )
        else:
            prompt = f"{prompt} {START}"
        assert ours.prompter.prompted([text], "document").prompts == [prompt]
        state, weights = by_hand(folder, prompt, text, begin=name == "gpt2")
        np.testing.assert_allclose(made.vectors[i], state, atol=1e-5)
        row = made.weights.some([i])
        assert row.terms.tolist() == sorted(weights)
        np.testing.assert_allclose(row.weights, [weights[t] for t in sorted(weights)], atol=1e-5)
    assert made.weights.count > 10
    # Alone, and of length 1.
    for batch_tokens in (1, 100_000):
        again = encoder(folder, batch_tokens=batch_tokens).represent(texts, "document")
        np.testing.assert_allclose(np.linalg.norm(again.vectors, axis=1), 1, atol=1e-5)
        unit = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(again.vectors, unit, atol=1e-5)
        np.testing.assert_array_equal(again.weights.terms, made.weights.terms)
        np.testing.assert_allclose(again.weights.weights, made.weights.weights, atol=1e-5)


def test_queries_have_a_prompt_of_their_own(models: Path) -> None:
    ours = encoder(models / "llama")
    [prompt] = ours.prompter.prompted(["wing"], "query").prompts
    assert prompt.startswith('Query: "wing". Use one word to represent the query in')
    assert ours.represent([], "query").vectors.shape == (0, tiny.HIDDEN)
    own = encoder(
        models / "llama-chat", query_prompt="{text} in one word", system="", assistant=" It is ", length=2
    )
    [prompt] = own.prompter.prompted(["wing flow plate"], "query").prompts
    assert prompt.endswith("<|end|><|user|>wing flow in one word<|end|><|assistant|>It is ")
    assert encoder(models / "llama-chat", assistant="").prompter.template("query").endswith("<|assistant|>")
    plain = encoder(models / "llama-chat", chat=False, assistant="").prompter.template("document")
    assert plain == PASSAGE


def test_long_texts_are_cut_and_the_prompt_is_not(models: Path, tmp_path: Path) -> None:
    ours = encoder(models / "llama", length=3)
    made = ours.prompter.prompted(["wing flow plate heat", "wing flow plate", "", "wing é é"], "document")
    assert made.texts == ["wing flow plate", "wing flow plate", "", "wing é"]
    assert made.truncated == 2
    assert all(prompt.endswith(START) for prompt in made.prompts)
    # Words that were cut off are no terms.
    assert ours.represent(["wing flow plate heat"], "document").truncated == 1
    [own] = ours.word_ids(made.texts[:1], english=True)
    assert not set(own.tolist()) & set(ours.tokenizer("heat")["input_ids"])
    # Where nothing is stated, what the positions leave.
    narrow = tiny_reps.gpt2(tmp_path / "narrow", positions=80)
    prompter = Prompter(files(narrow))
    assert prompter.length < 50
    for texts in (["wing flow " * 60], ["\u00e9" * 90, "\U0001f600" * 30]):
        made = prompter.prompted(texts, "document")
        assert made.truncated == len(texts)
        assert all(0 < len(ids) <= 80 for ids in made.ids)
    with pytest.raises(InputError, match="a length of at most"):
        Prompter(files(narrow, length=70))
    tiny_reps.gpt2(tmp_path / "none", positions=20)
    with pytest.raises(InputError, match="a shorter prompt"):
        Prompter(files(tmp_path / "none"))


def test_a_text_may_become_longer_beside_the_prompts_marks(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompter = Prompter(files(models / "llama"))
    around = len(prompter.prompted([""], "document").ids[0])
    monkeypatch.setattr(prompter, "_positions", around + 2)
    made = prompter.prompted(["wing flow plate heat", "wing"], "document")
    assert made.texts[0].startswith("wing")
    assert len(made.ids[0]) <= around + 2
    assert (made.texts[1], made.truncated) == ("wing", 1)


# -- terms ----------------------------------------------------------------------------------------------------


def test_words_of_a_text() -> None:
    text = "The cell's state-of-the-art 3.5 mm, 1,000 U.S. wings don't move; THE Wings (can't) we'll é_à x"
    found = ["cell", "state-of-the-art", "3.5", "mm", "1,000", "u.s", "wings", "move", "é", "à", "x"]
    assert words(text, english=True) == found
    assert words("the cell's the", english=False) == ["the", "cell's"]
    assert words("हिन्दी में", english=False) == ["हिन्दी", "में"]
    assert words(" ?! ", english=True) == []
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)
    assert [is_english(code) for code in ("en", "eng-Latn", "en_US", "de", None)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_choice_of_terms_on_fixed_logits() -> None:
    logits = np.array([3.0, -1.0, 2.0, 2.0, 5.0, 1.0, 0.5, 9.0, 0.0, 4.0, 7.0, 6.0, 8.0], dtype=np.float32)
    own = np.array([1, 2, 3, 5, 8])
    vocabulary = np.ones(13, dtype=np.bool_)
    vocabulary[7] = False
    outside = np.zeros(13, dtype=np.bool_)
    outside[[0, 2, 4, 6]] = True

    def chosen(**more: Any) -> dict[int, float]:
        terms, weights = terms_of(logits, more.pop("own", own), vocabulary, outside, **more)
        assert (terms.dtype, weights.dtype) == (np.int32, np.float32)
        assert (np.diff(terms) > 0).all()
        return dict(zip(terms.tolist(), weights.tolist(), strict=True))

    # Of equal logits the lower id; what is not above 0 has no weight.
    assert chosen(top=1) == {2: pytest.approx(np.log(3))}
    assert set(chosen(top=2)) == {2, 3}
    assert set(chosen(top=128)) == {2, 3, 5}
    # The two highest that are outside the text and allowed, beside the text's.
    assert chosen(top=1, expansion=2) == {
        2: pytest.approx(np.log(3)), 4: pytest.approx(np.log(6)), 0: pytest.approx(np.log(4)),
    }  # fmt: skip
    assert set(chosen(top=128, expansion=9)) == {0, 2, 3, 4, 5, 6}
    # Without a word of its own: the ten highest of the tokens, without what is below 0 or no token.
    assert set(chosen(top=1, own=np.empty(0, np.int64))) == {0, 2, 3, 4, 5, 6, 9, 10, 11, 12}
    assert highest(logits, np.array([8, 3, 2]), 2).tolist() == [2, 3]
    assert highest(logits, np.array([8, 3, 2]), 9).tolist() == [2, 3, 8]


def test_tokens_of_words(models: Path) -> None:
    ours = encoder(models / "llama")
    ids = ours.tokenizer.convert_tokens_to_ids
    # Without a space before them, and special tokens never.
    [own, none] = ours.word_ids(["a wing of Flow", "the <|end|> of"], english=True)
    assert own.tolist() == sorted([ids("wing"), ids("flow")])
    # `<|end|>` is read as the word "end".
    assert none.tolist() == sorted(ours.tokenizer("end")["input_ids"])
    [other] = ours.word_ids(["the wing"], english=False)
    assert ids("the") in other.tolist()
    tokens = set(ours.tokenizer.convert_ids_to_tokens(np.flatnonzero(ours.outside).tolist()))
    assert {"wing", "a", "7"} <= tokens
    assert not tokens & {"\u0120wing", "Passage", "<|end|>", ".", "\u00c3"}
    # The model has three rows to spare.
    assert ours.width - int(ours.vocabulary.sum()) == 3


def test_texts_without_words_and_expansion(models: Path) -> None:
    ours = encoder(models / "llama")
    made = ours.represent(["", "of the", "wing"], "document")
    counts = made.weights.lengths().tolist()
    assert all(0 < count <= 10 for count in counts[:2])
    assert counts[2] <= 1
    assert made.weights.terms.max() < ours.vocabulary.sum()
    more = ours.represent(["", "of the", "wing"], "document", expansion=3).weights.lengths()
    assert (more == np.array(counts) + 3).all()


def test_words_that_stand_alone_have_a_mark_in_some_tokenizers(tmp_path: Path) -> None:
    tiny_reps.llama(tmp_path / "m")
    tiny._pieces_tokenizer(tmp_path / "m")
    ours = encoder(tmp_path / "m")
    tokens = ours.tokenizer.convert_ids_to_tokens(np.flatnonzero(ours.outside).tolist())
    assert "▁wing" in tokens
    assert all(token.startswith("▁") for token in tokens)
    # </s>, which the tokenizer puts behind every text, is not what the model answers to.
    assert all(ids[-1] != 1 for ids in ours.prompter.prompted(["wing"], "query").ids)


# -- fusion ---------------------------------------------------------------------------------------------------


def test_hybrid_by_hand() -> None:
    rng = np.random.default_rng(0)
    documents, depth, k = 30, 8, 12
    order = rng.permutation(documents)

    def one(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.full(depth, -1)
        rows[:count] = rng.permutation(documents)[:count]
        scores = np.full(depth, -np.inf, np.float32)
        scores[:count] = rng.random(count, dtype=np.float32) * 40
        return rows, scores

    def run(counts: list[int]) -> Run:
        rows, scores = zip(*(one(count) for count in counts), strict=True)
        return Run.ranked(np.array(rows), np.array(scores), order)

    dense, sparse = run([8, 8, 5, 0, 0, 1]), run([8, 3, 0, 6, 0, 1])
    fused = hybrid(dense, sparse, k, order, alpha=0.3)
    for q in range(6):
        lists = []
        for each in (dense, sparse):
            hit = each.doc_rows[q] >= 0
            scores = each.scores[q][hit].astype(np.float64)
            lists.append(dict(zip(each.doc_rows[q][hit].tolist(), scores.tolist(), strict=True)))
        if not all(lists):
            expected = lists[0] or lists[1]
        else:
            expected = {}
            for weight, scores_of in zip((0.3, 1 - 0.3), lists, strict=True):
                low, high = min(scores_of.values()), max(scores_of.values())
                for doc, score in scores_of.items():
                    scaled = (score - low) / max(high - low, 1e-9)
                    expected[doc] = expected.get(doc, 0.0) + weight * scaled
        ranked = sorted(expected.items(), key=lambda e: (-np.float32(e[1]), -order[e[0]]))[:k]
        hit = fused.doc_rows[q] >= 0
        assert fused.doc_rows[q][hit].tolist() == [doc for doc, _ in ranked]
        np.testing.assert_array_equal(
            fused.scores[q][hit], np.array([s for _, s in ranked], dtype=np.float32)
        )


# -- refusals -------------------------------------------------------------------------------------------------


def test_other_kinds_are_refused(models: Path, tmp_path: Path) -> None:
    made = {
        "dense": tiny.bert(tmp_path / "bert"),
        "sparse": tiny.bert(tmp_path / "masked", head="BertForMaskedLM"),
        "rerank": tiny.bert(tmp_path / "cross", head="BertForSequenceClassification"),
        "generative": tiny.t5(tmp_path / "t5"),
    }
    for kind, folder in made.items():
        with pytest.raises(InputError, match=f"not a causal language model.*use type: {kind}"):
            files(folder)
    with pytest.raises(InputError, match=r"modules\.json.*type: dense"):
        files(tiny.recipe(tmp_path / "recipe"))
    with pytest.raises(InputError, match="use type: dense"):
        files(tiny.bert(tmp_path / "decoder", head="BertLMHeadModel"))
    copy = shutil.copytree(models / "llama", tmp_path / "seeing")
    tiny_reps.architecture(copy, "SomeForConditionalGeneration", vision_config={})
    with pytest.raises(InputError, match="more than text"):
        files(copy)
    for said, kind in (
        ("SparseEncoder", "sparse"),
        ("MultiVectorEncoder", "multi_vector"),
        ("CrossEncoder", "rerank"),
    ):
        copy = shutil.copytree(models / "llama", tmp_path / said)
        tiny.write(copy, "config_sentence_transformers.json", {"model_type": said})
        with pytest.raises(InputError, match=f"use type: {kind}"):
            files(copy)
    pickled = shutil.copytree(models / "llama", tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="can run code when it is loaded"):
        files(pickled)
    adapter = shutil.copytree(models / "llama", tmp_path / "adapter")
    tiny.write(adapter, "adapter_config.json", {})
    with pytest.raises(InputError, match="merge it into its base"):
        files(adapter)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no checkpoint"):
        files(empty)
    lost = shutil.copytree(models / "llama", tmp_path / "lost")
    from safetensors.torch import load_file, save_file

    tensors = load_file(lost / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, lost / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 1 tensors"):
        encoder(lost)


def test_chat_templates(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no chat template"):
        files(models / "llama", chat=True)
    with pytest.raises(InputError, match="there is no system message"):
        files(models / "llama", system="Be brief.")
    folder = shutil.copytree(models / "llama", tmp_path / "m")
    (folder / "chat_template.jinja").write_text(tiny_reps.WITHOUT_SYSTEM)
    assert files(folder).recipe.chat
    with pytest.raises(InputError, match=r"no system role.*system: ''"):
        Prompter(files(folder))
    assert "AI assistant" not in Prompter(files(folder, system="")).template("query")
    before = files(folder).files_hash
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] }}{% endfor %}")
    assert files(folder).files_hash != before
    with pytest.raises(InputError, match=r"as they are.*chat: false"):
        Prompter(files(folder))


def test_a_head_that_is_fed_otherwise_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = encoder(models / "llama")
    forward = ours.model.forward
    monkeypatch.setattr(ours.model, "forward", lambda **given: forward(**given, logits_to_keep=1))
    with pytest.raises(SeekbenchError, match="feeds its head in another way"):
        ours.represent(["wing", "flow"], "query")


# -- end to end -----------------------------------------------------------------------------------------------


@pytest.fixture
def collection(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from seekbench.retrievers import registry

    place = ("seekbench.retrievers.prompt_reps.retriever:PromptReps", "a prompted language model")
    monkeypatch.setitem(registry.BUILTIN, "prompt_reps", place)
    registry.known.cache_clear()
    shutil.copytree(models / "llama", tmp_path / "llama")
    shutil.copytree(models / "gpt2-chat", tmp_path / "chat")
    texts = [text.replace("wing", "wing,") for text in tiny.texts(40, seed=5, longest=30)]
    texts[17] = texts[4]  # equal documents
    texts[23] = ""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    asked = [" ".join(text.split()[:6]) or "wing" for text in texts[:12]]
    lines = [json.dumps({"_id": f"q{i}", "text": text}) for i, text in enumerate(asked)]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(12))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return tmp_path


@pytest.fixture(autouse=True)
def _known_again() -> Any:
    from seekbench.retrievers import registry

    yield
    registry.known.cache_clear()


def run_config(
    folder: Path, retrievers: str, monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[dict[str, dict[str, Any]], Any]:
    """Runs systems; (records by system, the command's result)."""
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    (folder / "run.yaml").write_text(
        "name: t\ndatasets: [{path: ./data, language: en}]\n"
        f"retrievers:\n{retrievers}\nmetrics: [ndcg@10, recall@20]\nk: 40\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEEKBENCH_HOME", str(folder / "home"))
    result = CliRunner().invoke(
        app, ["run", "run.yaml", "--output", "out", "--threads", "1", "--device", "cpu", *more]
    )
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


def test_ranks_as_products_of_the_vectors(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = "\n".join(
        f"  {name}: {{type: prompt_reps, model: ./llama{fields}}}"
        for name, fields in {
            "both": "", "dense": ", mode: dense", "sparse": ", mode: sparse", "few": ", depth: 5, alpha: 0.8",
            "floats": ", mode: sparse, factor: null",
        }.items()
    )  # fmt: skip
    records, result = run_config(collection, systems, monkeypatch)
    assert result.exit_code == 0, result.output
    documents = [
        json.loads(line)["text"] for line in (collection / "data/corpus.jsonl").read_text().splitlines()
    ]
    queries = [
        json.loads(line)["text"] for line in (collection / "data/queries.jsonl").read_text().splitlines()
    ]
    ours = encoder(collection / "llama")
    # The template is "{title} {text}", stripped.
    left, right = ours.represent(queries, "query"), ours.represent(documents, "document")
    close = left.vectors.astype(np.float64) @ right.vectors.T.astype(np.float64)
    floats = left.weights.dense().astype(np.float64) @ right.weights.dense().T.astype(np.float64)
    rounded = [np.rint(side.weights.dense().astype(np.float64) * 100) for side in (left, right)]
    whole = rounded[0] @ rounded[1].T
    for system, scores, atol in (("dense", close, 1e-5), ("sparse", whole, 0), ("floats", floats, 1e-4)):
        hits = ranking(collection, system)
        for row in range(len(queries)):
            found = hits.get(f"q{row}", [])
            assert len(found) == (40 if system == "dense" else int((scores[row] > 0).sum()))
            own = np.array([scores[row, int(doc[1:])] for doc, _ in found])
            np.testing.assert_allclose([score for _, score in found], own, atol=atol)
            assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    # Hybrid of the systems' own lists.
    lists = [ranking(collection, system) for system in ("dense", "sparse")]
    for system, depth, alpha in (("both", 1000, 0.5), ("few", 5, 0.8)):
        for query, hits in ranking(collection, system).items():
            expected: dict[str, float] = {}
            for weight, own_list in zip((alpha, 1 - alpha), lists, strict=True):
                cut = own_list.get(query, [])[:depth]
                if not cut:
                    # The other list as it is.
                    expected = dict(lists[0][query][:depth])
                    break
                low, high = cut[-1][1], cut[0][1]
                for doc, score in cut:
                    gain = weight * (score - low) / max(high - low, 1e-9)
                    expected[doc] = expected.get(doc, 0.0) + gain
            np.testing.assert_allclose([s for _, s in hits], [expected[d] for d, _ in hits], atol=1e-6)
            assert len(hits) == len(expected)
    # Equal documents have one score; the ranking rule is that of ids.
    for hits in ranking(collection, "dense").values():
        at = {doc: i for i, (doc, _) in enumerate(hits)}
        assert hits[at["d4"]][1] == hits[at["d17"]][1]
        assert at["d4"] == at["d17"] - 1
    record = records["both"]
    assert record["index"]["passages"] == 39
    assert record["index"]["mean_non_zeros"] > 1
    assert {"encode", "dense", "sparse", "fuse"} <= set(record["efficiency"]["search_parts_seconds"])
    assert record["retriever"]["details"]["per_query"]["nonzeros"] > 0
    described = record["retriever"]["describe"]
    assert described["document_prompt"] == f"{PASSAGE} {START}"
    assert described["fusion"]["alpha"] == 0.5
    assert record["retriever"]["inputs"]
    # One index for all modes; floats are another.
    made = [p for p in (collection / "home/index").iterdir() if (p / "facts.json").exists()]
    assert len(made) == 2
    assert all(not (p / "encoded").exists() for p in made)


def test_chat_prompts_and_keys(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> int:
        return sum((p / "facts.json").exists() for p in (collection / "home/index").iterdir())

    base = "type: prompt_reps, model: ./chat"
    records, result = run_config(collection, f"  a: {{{base}, length: 4}}", monkeypatch)
    assert result.exit_code == 0, result.output
    assert records["a"]["retriever"]["describe"]["chat"] is True
    assert 0 < records["a"]["index"]["truncation_rate"] < 1
    count = made()
    _, again = run_config(
        collection,
        f"  a: {{{base}, length: 4}}\n  b: {{{base}, length: 4, query_prompt: '{{text}}:', mode: dense}}",
        monkeypatch,
    )
    assert again.exit_code == 0, again.output
    assert made() == count
    for n, fields in enumerate(("chat: false", "system: Be brief.", "passage_prompt: 'Text: {text}'"), 1):
        _, other = run_config(collection, f"  a: {{{base}, length: 4, {fields}}}", monkeypatch)
        assert other.exit_code == 0, other.output
        assert made() == count + n


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("model: ./llama, passage_prompt: nothing", "{text} in it once"),
        ("model: ./llama, query_prompt: '{text} {text}'", "{text} in it once"),
        ("model: ./llama, assistant: '{text}'", "belongs into passage_prompt"),
        ("model: ./llama, mode: dense, alpha: 0.2", "belongs to mode: hybrid"),
        ("model: ./llama, mode: sparse, depth: 10", "belongs to mode: hybrid"),
        ("model: ./llama, alpha: 1.5", "alpha"),
        ("model: ./llama, lenght: 3", "did you mean 'length'"),
        ("model: ./llama, chat: true", "no chat template"),
        ("model: ./llama, system: Be brief.", "no system message"),
        ("model: ./llama, length: 500", "a length of at most"),
        ("model: ./nothing", "no folder"),
    ],
)
def test_wrong_fields(collection: Path, fields: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, result = run_config(collection, f"  a: {{type: prompt_reps, {fields}}}", monkeypatch)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_the_sparse_half_is_explained(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    systems = "\n".join(
        f"  {name}: {{type: prompt_reps, model: ./llama, mode: {mode}}}"
        for name, mode in (("a", "sparse"), ("b", "dense"))
    )
    _, result = run_config(collection, systems, monkeypatch)
    assert result.exit_code == 0, result.output
    (query, hits), *_ = ranking(collection, "a").items()
    options = ["show", "run.yaml", "--query", query, "--document", hits[0][0]]
    shown = CliRunner().invoke(app, [*options, "--system", "a"])
    assert shown.exit_code == 0, shown.output
    total = next(line for line in shown.output.splitlines() if line.startswith("score"))
    assert float(total.split()[-1]) == pytest.approx(hits[0][1], rel=1e-4)
    refused = CliRunner().invoke(app, [*options, "--system", "b"])
    assert refused.exit_code == 2
    assert "dense vectors have no terms" in refused.output


def test_an_interrupted_index_continues_to_the_same_bytes(models: Path, tmp_path: Path) -> None:
    from seekbench.collection import Corpus
    from seekbench.retrievers.prompt_reps.retriever import PromptReps
    from seekbench.retrievers.protocol import Context, TextView

    texts = tiny.texts(23, seed=8, longest=12)
    texts[20] = texts[1]
    view = TextView(Corpus.from_lists([f"d{i}" for i in range(23)], texts), "{text}", "en")
    params = PromptReps.Params.model_validate({"model": str(models / "llama"), "shard": 5})
    context = Context(device="cpu", threads=1)
    whole = PromptReps(params).index(view, tmp_path / "whole", context=context)
    stopped = PromptReps(params)
    encode, calls = stopped.encode, 0

    def interrupted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise KeyboardInterrupt
        return encode(*given)

    stopped.encode = interrupted  # type: ignore[method-assign]
    for _ in range(10):
        try:
            again = stopped.index(view, tmp_path / "stopped", context=context)
            break
        except KeyboardInterrupt:
            continue
    assert calls == 9  # five shards and four interruptions
    for name in ("vectors.npy", "columns/documents.bin", "columns/weights.bin", "columns/frequency.npy"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()
    timed = ("seconds", "parts_seconds")
    assert {n: v for n, v in whole.items() if n not in timed} == {
        n: v for n, v in again.items() if n not in timed
    }
    assert whole["passages"] == 22
    vectors = np.load(tmp_path / "whole/vectors.npy")
    np.testing.assert_array_equal(vectors[20], vectors[1])
    # A finished one is not made again.
    assert stopped.index(view, tmp_path / "stopped", context=context) == again
    assert calls == 9


def test_nothing_to_search(models: Path, tmp_path: Path) -> None:
    from seekbench.collection import Corpus
    from seekbench.retrievers.prompt_reps.retriever import PromptReps
    from seekbench.retrievers.protocol import Context, TextView

    empty = TextView(Corpus.from_lists([], []), "{text}", "en")
    some = TextView(Corpus.from_lists(["a", "b"], ["wing", "flow"]), "{text}", "en")
    retriever = PromptReps(PromptReps.Params.model_validate({"model": str(models / "llama")}))
    context = Context(device="cpu", threads=1)
    for documents, queries in ((empty, some), (some, empty)):
        folder = tmp_path / str(len(documents))
        retriever.index(documents, folder, context=context)
        searcher = retriever.open(folder, documents, context=context)
        assert (searcher.search(queries, 5, context=context).doc_rows >= 0).sum() == 0
        searcher.close()
    with pytest.raises(SeekbenchError, match="closed"):
        searcher.search(some, 5, context=context)
    with pytest.raises(SeekbenchError, match="holds 2 documents, the corpus 0"):
        retriever.open(tmp_path / "2", empty, context=context)
    with pytest.raises(SeekbenchError, match="no index"):
        retriever.open(None, some, context=context)
    retriever.release()
    assert retriever.render(["wing"], "query", context=context)[0].startswith('Query: "wing".')
    assert retriever.render([], "query", context=context) == []


def test_modules_are_listed() -> None:
    from seekbench import hashing
    from seekbench.retrievers.prompt_reps.retriever import PromptReps

    listed = [*PromptReps.modules, *PromptReps.search_modules]
    assert len(listed) == len(set(listed))
    folder = Path(__file__).parents[2] / "retrievers/prompt_reps"
    own = {
        f"seekbench.retrievers.prompt_reps.{p.stem}".removesuffix(".__init__") for p in folder.glob("*.py")
    }
    assert {m for m in listed if m.startswith("seekbench.retrievers.prompt_reps")} == own
    assert all(len(hashing.of_code(module)) == 16 for module in listed)
