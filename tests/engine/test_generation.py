"""Generated queries equal transformers' own generation; shards continue; filters equal direct computation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).parents[1] / "retrievers"))
import tiny_checkpoints as tiny

from seekbench.collection import Records
from seekbench.errors import InputError, MissingError, SeekbenchError
from seekbench.generation import filters, queries
from seekbench.generation.columns import GeneratedQueries
from seekbench.generation.prompts import Prompt, tokens_of
from seekbench.generation.queries import Generator, generate, identity
from seekbench.retrievers.protocol import Context, TextView

TEXTS = tiny.texts(11, longest=40)
STEPS = 8


def records(texts: list[str] = TEXTS) -> Records:
    return Records.from_lists([f"d{i}" for i in range(len(texts))], texts)


def context() -> Context:
    return Context(device="cpu", offline=True, threads=1)


def tokenizer_files(folder: Path) -> int:
    """A tokenizer of words, `?` and a newline, which closes with </s>; returns its size."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = ["<pad>", "</s>", "<unk>", "▁", "\n", "▁?", *("▁" + w for w in dict.fromkeys(tiny.WORDS))]
    vocabulary += [x for x in ["▁Generate", "▁German", "▁Finnish", "▁:", "▁Question"] if x not in vocabulary]
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("\n"), "isolated"), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>",
        "unk_token": "<unk>", "model_max_length": 512,
    }  # fmt: skip
    tiny.write(folder, "tokenizer_config.json", config)
    return len(vocabulary)


def t5(folder: Path, seed: int = 0) -> Path:
    import torch
    import transformers

    size = tokenizer_files(folder)
    torch.manual_seed(seed)
    config = transformers.T5Config(
        vocab_size=size, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1, initializer_factor=2.0, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    model.lm_head.weight.data *= 0.25  # or each word is nearly certain, and all draws are the same
    model.lm_head.weight.data[1] = (
        model.lm_head.weight.data[6 + tiny.WORDS.index("wave")] * 1.05
    )  # an end, now and then
    model.save_pretrained(folder)
    return folder


def gpt2(folder: Path, seed: int = 0) -> Path:
    import torch
    import transformers

    size = tokenizer_files(folder)
    # A decoder goes on after its prompt, so the prompt must not be closed.
    saved = json.loads((folder / "tokenizer.json").read_text())
    saved["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=size, n_positions=128, n_embd=32, n_layer=2, n_head=4, initializer_range=0.5, eos_token_id=1,
        bos_token_id=1,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    words = model.transformer.wte.weight.data
    words[4] = words[6 + tiny.WORDS.index("theory")] * 1.05  # a newline, now and then
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpt2(tmp_path_factory.mktemp("gpt2"))


def params(model: Path, **other: Any) -> Generator:
    stated = {"template": "{text}", "max_input": 24, "max_new_tokens": STEPS, "count": 3, **other}
    return Generator(model=str(model), **stated)


def rows(made: GeneratedQueries) -> list[tuple[int, str, int]]:
    return list(zip(made.doc.tolist(), made.texts.to_pylist(), made.language.tolist(), strict=True))


def alone(model: Path, text: str, **arguments: Any) -> Any:
    """transformers' own generation of one unpadded input."""
    import torch
    import transformers

    files = json.loads((model / "config.json").read_text())
    kind = (
        transformers.AutoModelForSeq2SeqLM
        if files["model_type"] == "t5"
        else transformers.AutoModelForCausalLM
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    loaded = kind.from_pretrained(model).eval()
    read = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")
    stated = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0, **arguments}
    with torch.inference_mode():
        out = loaded.generate(
            input_ids=read["input_ids"], attention_mask=read["attention_mask"], return_dict_in_generate=True,
            output_scores=True, **stated,
        )  # fmt: skip
    return tokenizer, out, read["input_ids"].shape[1]


# -- against transformers -------------------------------------------------------------------------------


def test_greedy_in_batches_equals_generate_alone(seq2seq: Path, tmp_path: Path) -> None:
    made = generate(
        records(), params(seq2seq, count=1, sampling={"kind": "greedy"}), tmp_path, context=context()
    )
    expected = {}
    for row, text in enumerate(TEXTS):
        tokenizer, out, _ = alone(seq2seq, text)
        tokens = out.sequences[0, 1:]
        query = " ".join(tokenizer.decode(tokens, skip_special_tokens=True).split())
        if not query:
            continue
        own = [s[0].log_softmax(-1)[t] for s, t in zip(out.scores, tokens, strict=True)]
        expected[row] = (query, float(sum(own)) / len(own))
    assert len(expected) > 5
    assert made.doc.tolist() == list(expected)
    assert made.texts.to_pylist() == [q for q, _ in expected.values()]
    np.testing.assert_allclose(made.score, [s for _, s in expected.values()], atol=1e-5)
    assert made.facts["documents"] == made.facts["inputs"] == len(TEXTS)
    assert made.facts["truncated"] == sum(len(t.split()) > 23 for t in TEXTS) > 0


def test_greedy_causal_equals_generate_alone_and_stops_at_a_newline(causal: Path, tmp_path: Path) -> None:
    template = "{text} : Question"
    texts = [" ".join(t.split()[:15]) for t in TEXTS]
    made = generate(
        records(texts), params(causal, template=template, count=1, sampling={"kind": "greedy"}), tmp_path,
        context=context(),
    )  # fmt: skip
    expected = []
    for row, text in enumerate(texts):
        tokenizer, out, prompt = alone(causal, f"{text} : Question")
        query = tokenizer.decode(out.sequences[0, prompt:], skip_special_tokens=True)
        query = " ".join(query.lstrip().split("\n")[0].split())
        if query:
            expected.append((row, query, -1))
    assert len(expected) > 5
    assert rows(made) == expected


def test_beams_equal_generate_alone(seq2seq: Path, tmp_path: Path) -> None:
    made = generate(
        records(),
        params(seq2seq, count=2, sampling={"kind": "beams", "beams": 4}),
        tmp_path,
        context=context(),
    )
    expected, scores = [], []
    for row, text in enumerate(TEXTS):
        tokenizer, out, _ = alone(seq2seq, text, num_beams=4, num_return_sequences=2)
        found: list[str] = []
        for tokens, score in zip(out.sequences, out.sequences_scores, strict=True):
            query = " ".join(tokenizer.decode(tokens, skip_special_tokens=True).split())
            if query and query not in found:
                found.append(query)
                scores.append(float(score))
        expected += [(row, query, -1) for query in found]
    assert rows(made) == expected
    np.testing.assert_allclose(made.score, scores, atol=1e-5)


def test_a_line_ends_at_a_newline_after_words(causal: Path) -> None:
    import torch
    import transformers

    from seekbench.generation.decoding import LineEnd

    tokenizer = transformers.AutoTokenizer.from_pretrained(causal)
    lines = LineEnd(tokenizer, len(tokenizer), "cpu")
    newline, word = tokenizer.convert_tokens_to_ids(["\n", "▁cell"])
    ends = lines.ends(
        torch.tensor([[newline, word, word, newline], [word, newline, word, word], [1, newline, 1, 1]])
    )
    assert ends.tolist() == [[False, False, False, True], [False, True, False, False], [False] * 4]


@pytest.mark.parametrize("kind", ["seq2seq", "causal"])
def test_sampling_equals_drawing_token_by_token(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The model is run on one unpadded sequence at a time, without a cache; the end and the newline stop it."""
    import torch
    import transformers

    from seekbench.generation.decoding import uniforms

    model, count = request.getfixturevalue(kind), 6
    made = generate(records(TEXTS[:6]), params(model, count=count, seed=3), tmp_path, context=context())
    seq2seq = kind == "seq2seq"
    auto = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    loaded = auto.from_pretrained(model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    newline = tokenizer.convert_tokens_to_ids("\n")
    expected: list[tuple[int, str, int]] = []
    scores, ended = [], {"end": 0, "newline": 0, "length": 0}
    for row, text in enumerate(TEXTS[:6]):
        read = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")["input_ids"]
        for numbers in uniforms(3, [text], count, STEPS):
            tokens: list[int] = []
            sums: list[float] = []
            why = "length"
            for u in numbers:
                with torch.inference_mode():
                    if seq2seq:
                        logits = loaded(input_ids=read, decoder_input_ids=torch.tensor([[0, *tokens]])).logits
                    else:
                        logits = loaded(torch.cat([read, torch.tensor([tokens]).long()], dim=1)).logits
                log_p = logits[0, -1].double().log_softmax(-1).numpy()
                best = np.sort(np.argsort(-log_p)[:10])
                share = np.exp(log_p[best]) / np.exp(log_p[best]).sum()
                tokens.append(int(best[np.flatnonzero(np.cumsum(share) > u)[0]]))
                sums.append(float(log_p[tokens[-1]]))
                if tokens[-1] == 1:
                    why = "end"
                    break
                words = [t for t in tokens[:-1] if t not in (0, 1, 2, newline)]
                if not seq2seq and tokens[-1] == newline and words:
                    why = "newline"
                    break
            ended[why] += 1
            query = " ".join(tokenizer.decode(tokens, skip_special_tokens=True).split())
            if query and (row, query, -1) not in expected:
                expected.append((row, query, -1))
                scores.append(np.mean(sums))
    assert rows(made) == expected
    np.testing.assert_allclose(made.score, scores, atol=1e-5)
    assert ended["length"]
    assert ended["end" if seq2seq else "newline"]


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 4}, {"top_p": 0.7}, {"temperature": 0.5, "top_k": 6, "top_p": 0.8}, {"temperature": 2.0}],
)
def test_draws_follow_the_distribution_of_transformers_warpers(options: dict[str, Any]) -> None:
    import torch
    from transformers.generation import logits_process as warpers

    from seekbench.generation.decoding import Choose

    draws = 4000
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(1)) * 2
    warped = logits
    if "temperature" in options:
        warped = warpers.TemperatureLogitsWarper(options["temperature"])(None, warped)
    if "top_k" in options:
        warped = warpers.TopKLogitsWarper(options["top_k"])(None, warped)
    if "top_p" in options:
        warped = warpers.TopPLogitsWarper(options["top_p"])(None, warped)
    grid = (np.arange(draws)[:, None] + 0.5) / draws
    chooser = Choose(grid, **options)
    token = chooser(torch.empty(0), logits.expand(draws, -1)).argmax(-1)
    shares = torch.bincount(token, minlength=30) / draws
    np.testing.assert_allclose(shares, warped.softmax(-1)[0], atol=1.01 / draws)
    kept = logits.log_softmax(-1)[0, token]
    np.testing.assert_allclose(chooser.log_probabilities[0], kept, atol=1e-6)


# -- a shard is a function of its documents -------------------------------------------------------------


def test_killed_and_continued_equals_uninterrupted(
    seq2seq: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = params(seq2seq, shard=3)
    whole = generate(records(), p, tmp_path / "whole", context=context())
    run = queries._Run.shard
    calls = []

    def dies(self: Any, start: int, stop: int, advance: Any) -> Any:
        calls.append(start)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, start, stop, advance)

    monkeypatch.setattr(queries._Run, "shard", dies)
    with pytest.raises(KeyboardInterrupt):
        generate(records(), p, tmp_path / "cut", context=context())
    with pytest.raises(SeekbenchError, match="no generated queries"):
        GeneratedQueries.open(tmp_path / "cut")
    # Another shard size continues the same shards.
    made = generate(records(), params(seq2seq, shard=5), tmp_path / "cut", context=context())
    assert calls == [0, 3, 6, 6, 9]
    assert made.table().equals(whole.table())
    assert (tmp_path / "cut" / "generated.arrow").read_bytes() == (
        tmp_path / "whole" / "generated.arrow"
    ).read_bytes()
    assert not (tmp_path / "cut" / "generated.shards").exists()
    again = generate(records(), p, tmp_path / "cut", context=context())
    assert len(calls) == 5
    assert again.table().equals(GeneratedQueries.open(tmp_path / "whole").table())


@pytest.mark.parametrize("kind", ["seq2seq", "causal"])
def test_company_and_place_change_nothing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    one = generate(records(), params(model), tmp_path / "a", context=context())
    narrow = generate(records(), params(model, batch_tokens=1), tmp_path / "b", context=context())
    assert rows(one) == rows(narrow)
    np.testing.assert_allclose(one.score, narrow.score, atol=1e-5)
    turned = generate(records(TEXTS[::-1]), params(model, shard=2), tmp_path / "c", context=context())
    last = len(TEXTS) - 1
    assert sorted(rows(one)) == sorted((last - d, q, x) for d, q, x in rows(turned))
    other = generate(records(), params(model, seed=1), tmp_path / "d", context=context())
    assert rows(other) != rows(one)
    more = generate(records(), params(model, count=5), tmp_path / "e", context=context())
    assert set(rows(one)) < set(rows(more))


def test_memory_that_runs_out_halves_batches(
    seq2seq: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from seekbench.generation.decoding import Decoder

    expected = generate(records(), params(seq2seq), tmp_path / "a", context=context())
    call = Decoder.__call__
    sizes = []

    def small(most: int) -> Any:
        def run(self: Any, inputs: Any, numbers: Any) -> Any:
            sizes.append(len(inputs))
            if len(inputs) > most:
                raise torch.OutOfMemoryError("out of memory")
            return call(self, inputs, numbers)

        return run

    monkeypatch.setattr(Decoder, "__call__", small(3))
    made = generate(records(), params(seq2seq), tmp_path / "b", context=context())
    assert rows(made) == rows(expected)
    assert max(sizes) > 3
    monkeypatch.setattr(Decoder, "__call__", small(0))
    with pytest.raises(
        SeekbenchError, match="does not fit into the memory of cpu; state a smaller max_input"
    ):
        generate(records(), params(seq2seq), tmp_path / "c", context=context())


def test_duplicates_empty_queries_and_empty_documents(seq2seq: Path, tmp_path: Path) -> None:
    # The coldest draws are all the same.
    cold = params(seq2seq, count=4, sampling={"temperature": 1e-3})
    made = generate(records([*TEXTS, "", " "]), cold, tmp_path, context=context())
    facts = made.facts
    assert facts["generated"] == 4 * len(TEXTS) == facts["kept"] + facts["duplicates"] + facts["empty"]
    assert facts["kept"] == len(made) <= len(TEXTS)
    assert facts["inputs"] == len(TEXTS)
    assert facts["documents"] == len(TEXTS) + 2
    assert len(set(rows(made))) == len(made)
    assert "" not in made.texts.to_pylist()
    assert {"tokens", "seconds", "truncation_rate", "input_tokens"} <= set(facts)


def test_no_documents(seq2seq: Path, tmp_path: Path) -> None:
    made = generate(records(["", ""]), params(seq2seq), tmp_path, context=context())
    assert len(made) == 0
    assert made.facts["inputs"] == made.facts["generated"] == 0


# -- prompts and languages ------------------------------------------------------------------------------


def test_languages(seq2seq: Path, tmp_path: Path) -> None:
    template = "Generate {language} : {text}"
    both = params(seq2seq, template=template, languages=["German", "Finnish"], count=2)
    view = TextView(records(), "{title}")  # the generator's template counts, not the view's
    made = generate(view, both, tmp_path / "both", context=context())
    assert made.languages == ("German", "Finnish")
    assert made.facts["inputs"] == 2 * len(TEXTS)
    assert (np.diff(made.doc * 2 + made.language) >= 0).all()
    for number, language in enumerate(made.languages):
        single = params(seq2seq, template=template.replace("{language}", language), count=2)
        one = generate(records(), single, tmp_path / language, context=context())
        wanted = {(d, q) for d, q, _ in rows(one)}
        got = {(d, q) for d, q, x in rows(made) if x == number}
        # What both languages gave stays with the first.
        repeated = {(d, q) for d, q, x in rows(made) if x < number}
        assert got == wanted - repeated
    again = GeneratedQueries.open(tmp_path / "both")
    assert again.languages == made.languages
    assert again.table().equals(made.table())


def test_templates_that_do_not_fit(seq2seq: Path, tmp_path: Path) -> None:
    def message(**other: Any) -> str:
        with pytest.raises(InputError) as error:
            generate(records(), params(seq2seq, **other), tmp_path, context=context())
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "no languages are stated" in message(template="{language} {text}")
    assert "has no {language}" in message(languages=["German"])
    assert "unknown field(s) body" in message(template="{body}")
    assert "names no field" in message(template="Question:")
    assert list(tmp_path.iterdir()) == []


def test_a_cut_takes_the_document_and_leaves_the_prompt(causal: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(causal)
    prompt = Prompt.of("Generate {language} : {title} {text} : Question", "German")
    assert prompt.tail == " : Question"
    assert prompt.heads(records([" ", "cell growth"]), 0, 2) == ["", "Generate German :  cell growth"]
    heads = prompt.heads(records([" ".join(["cell"] * n) for n in (3, 60, 60)]), 0, 3)
    ids, cut = tokens_of(tokenizer, heads, prompt.tail, 20)
    assert cut == 2
    tail = tokenizer(prompt.tail)["input_ids"]
    assert all(row[-len(tail) :] == tail for row in ids)
    assert len(ids[0]) < 20 == len(ids[1]) == len(ids[2])
    with pytest.raises(InputError, match="words after the document"):
        tokens_of(tokenizer, heads, " : Question" * 9, 10)


# -- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"sampling": {"kind": "greedy"}}, "greedy decoding gives one query"),
        ({"sampling": {"kind": "beams", "beams": 2}}, "2 beams can't give 3 queries"),
        ({"sampling": {"kind": "beams", "top_k": 2}}, "top_k has no meaning"),
        ({"languages": ["de", "de"]}, "named twice"),
        ({"max_lenght": 3}, "Extra inputs"),
        ({"keep": {"kind": "cross-encoder", "model": "m"}}, "needs keep, least or both"),
    ],
)
def test_parameters_that_make_no_sense(seq2seq: Path, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        params(seq2seq, **stated)


def test_checkpoints_that_do_not_fit(seq2seq: Path, causal: Path, tmp_path: Path) -> None:
    def message(model: Any, kind: type[Exception] = InputError, **other: Any) -> str:
        with pytest.raises(kind) as error:
            generate(records(), params(model, **other), tmp_path / "out", context=context())
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "can't be downloaded (offline)" in message("castorini/doc2query-t5-base-msmarco", MissingError)
    assert "no folder ./nowhere" in message("./nowhere")
    assert "is no model that writes text" in message(tiny.bert(tmp_path / "bert"))
    assert "makes no sense for the local folder" in message(seq2seq, revision="main")
    assert "more than the 128 positions" in message(causal, max_input=128)
    pickled = tmp_path / "pickled"
    tiny.write(pickled, "config.json", json.loads((seq2seq / "config.json").read_text()))
    (pickled / "pytorch_model.bin").write_bytes(b"")
    assert "pickle" in message(pickled)


def test_a_folder_of_other_work_is_refused(seq2seq: Path, tmp_path: Path) -> None:
    generate(records(), params(seq2seq), tmp_path, context=context())
    for other, docs in ((params(seq2seq, seed=5), TEXTS), (params(seq2seq), TEXTS[:-1])):
        with pytest.raises(InputError, match="other documents, parameters or weights"):
            generate(records(docs), other, tmp_path, context=context())


def test_identity_follows_content(seq2seq: Path, tmp_path: Path) -> None:
    import shutil

    from seekbench import hashing

    first = identity(params(seq2seq), context())
    assert set(first["versions"]) == {"torch", "transformers", "tokenizers"}
    assert hashing.of_json(first)
    shutil.copytree(seq2seq, tmp_path / "copy")
    base = tmp_path / "configs"
    base.mkdir()
    relative = Generator(model="../copy")
    assert identity(relative, context(), base) == first
    other = t5(tmp_path / "other", seed=1)
    assert identity(params(other), context())["weights"] != first["weights"]
    (tmp_path / "copy" / "generation_config.json").write_text('{"eos_token_id": 5}')
    assert identity(relative, context(), base) != first
    keep = {"kind": "cross-encoder", "model": str(tiny.bert(tmp_path / "ce", head="BertForSequenceClassification")),
            "keep": 1}  # fmt: skip
    assert identity(params(seq2seq, keep=keep), context())["keep"]["weights"]


# -- filters --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(seq2seq: Path, tmp_path_factory: pytest.TempPathFactory) -> GeneratedQueries:
    p = params(seq2seq, template="Generate {language} : {text}", languages=["German", "Finnish"], count=5)
    return generate(records(), p, tmp_path_factory.mktemp("made"), context=context())


@pytest.mark.parametrize("classes", [1, 2])
def test_cross_encoder_equals_direct_scoring(classes: int, made: GeneratedQueries, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    model = cross_encoder(tmp_path / "model", classes)
    p = filters.CrossEncoder(kind="cross-encoder", model=str(model), keep=2, shard=7)
    kept = filters.apply(made, records(), p, tmp_path / "out", context=context())
    peer = CrossEncoder(str(model), device="cpu", local_files_only=True)
    pairs = [(q, TEXTS[d]) for d, q, _ in rows(made)]
    scores = peer.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    if classes == 2:
        scores = scores[:, 1] - scores[:, 0]
    expected: list[int] = []
    groups = list(zip(made.doc.tolist(), made.language.tolist(), strict=True))
    for group in sorted(set(groups)):
        members = [i for i, g in enumerate(groups) if g == group]
        expected += sorted(sorted(members, key=lambda i: -scores[i])[:2])
    assert rows(kept) == rows(made.take(np.array(expected)))
    assert kept.filter_score is not None
    np.testing.assert_allclose(kept.filter_score, scores[expected], atol=1e-5)
    facts = kept.facts["filter"]
    assert facts["before"] == len(made)
    assert facts["dropped"] == len(made) - len(kept) > 0
    assert facts["truncated"] > 0
    assert facts["documents_without"] == 0
    # Other thresholds take the scores that are there.
    middle = float(np.sort(scores)[len(scores) // 2 - 1 :][:2].mean())
    some = filters.apply(
        made, records(), p.model_copy(update={"keep": None, "least": middle}), tmp_path / "out",
        context=context(),
    )  # fmt: skip
    assert len(some) == int((scores >= middle).sum())
    assert GeneratedQueries.open(tmp_path / "out").table().equals(some.table())


def test_a_filter_killed_and_continued_equals_uninterrupted(
    made: GeneratedQueries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cross_encoder(tmp_path / "model", 1)
    p = filters.CrossEncoder(kind="cross-encoder", model=str(model), keep=1, shard=20)
    whole = filters.apply(made, records(), p, tmp_path / "whole", context=context())
    score, calls = filters.PairScorer.__call__, []

    def dies(self: Any, asked: list[str], *rest: Any) -> Any:
        calls.append(len(asked))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, asked, *rest)

    monkeypatch.setattr(filters.PairScorer, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        filters.apply(made, records(), p, tmp_path / "cut", context=context())
    cut = filters.apply(made, records(), p, tmp_path / "cut", context=context())
    assert cut.table().equals(whole.table())
    assert sum(calls) == len(made) + 20  # one shard was lost
    with pytest.raises(InputError, match="other documents, parameters or weights"):
        filters.apply(made, records(TEXTS[::-1]), p, tmp_path / "cut", context=context())


def cross_encoder(folder: Path, classes: int) -> Path:
    import torch
    import transformers

    tiny.tokenizer_files(folder, max_length=32)
    size = len((folder / "vocab.txt").read_text().splitlines())
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, num_labels=classes, initializer_range=0.3,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


def test_cross_encoder_of_three_classes_is_refused(made: GeneratedQueries, tmp_path: Path) -> None:
    p = filters.CrossEncoder(kind="cross-encoder", model=str(cross_encoder(tmp_path / "m", 3)), keep=1)
    with pytest.raises(InputError, match="3 classes"):
        filters.apply(made, records(), p, tmp_path / "out", context=context())
    p = filters.CrossEncoder(kind="cross-encoder", model=str(tiny.bert(tmp_path / "b")), keep=1)
    with pytest.raises(InputError, match="is no cross-encoder"):
        filters.apply(made, records(), p, tmp_path / "out", context=context())


@pytest.mark.parametrize("top", [1, 3, 50])
def test_round_trip_equals_brute_force(top: int, made: GeneratedQueries, tmp_path: Path) -> None:
    from seekbench.retrievers.dense import Dense, DenseParams

    model = tiny.bert(tmp_path / "model", head="BertModel")
    # Documents 2 and 9 are the same, so they tie; neither may lose for that, when their own text is asked for.
    texts = [*TEXTS[:9], TEXTS[2], *TEXTS[10:]]
    made = GeneratedQueries(
        np.append(made.doc, [2, 9]),
        pa.array([*made.texts.to_pylist(), TEXTS[2], TEXTS[2]], pa.large_string()),
        np.append(made.language, np.array([0, 0], np.int16)),
        np.append(made.score, np.array([0, 0], np.float32)),
        made.languages,
    )
    docs = records(texts)
    p = filters.RoundTrip(
        kind="round-trip", encoder=DenseParams(model=str(model), pooling="mean"), template="{text}", top=top,
        shard=8,
    )  # fmt: skip
    kept = filters.apply(made, docs, p, tmp_path / "out", context=context())
    dense = Dense(DenseParams(model=str(model), pooling="mean"))
    asked = dense.encode(made.texts.to_pylist(), "query", lambda n: None, context()).vectors
    read = dense.encode(texts, "document", lambda n: None, context()).vectors
    read[9] = read[2]
    scores = (asked.astype(np.float64) @ read.T.astype(np.float64)).astype(np.float32)
    own = scores[np.arange(len(made)), made.doc]
    # Rounding may move what is nearer than 1e-6; the tie of 2 and 9 is exact.
    rank = 1 + (scores > own[:, None] + 1e-6).sum(axis=1)
    expected = np.flatnonzero(rank <= top)
    assert (rank[-2:] == 1).all()
    assert rows(kept) == rows(made.take(expected))
    assert kept.rank is not None
    assert kept.filter_score is not None
    np.testing.assert_array_equal(kept.rank, rank[expected])
    np.testing.assert_allclose(kept.filter_score, own[expected], atol=1e-5)
    assert kept.facts["filter"]["dropped"] == len(made) - len(expected)
    assert kept.facts["filter"]["kind"] == "round-trip"
    assert not (tmp_path / "out" / "round-trip").exists()
    assert (kept.facts["filter"]["dropped"] == 0) == (top == 50)


def test_generation_with_a_filter(seq2seq: Path, tmp_path: Path) -> None:
    """Relative paths go through `base`, the filter's too; without the filter all queries are there again."""
    tiny.bert(tmp_path / "encoder")
    keep = {"kind": "round-trip", "encoder": {"model": "./encoder", "pooling": "mean"}, "template": "{text}",
            "top": 4}  # fmt: skip
    p = params(seq2seq, keep=keep)
    kept = generate(records(), p, tmp_path / "out", context=context(), base=tmp_path)
    assert 0 < len(kept) < kept.facts["kept"] == kept.facts["filter"]["before"]
    assert GeneratedQueries.open(tmp_path / "out").table().equals(kept.table())
    assert GeneratedQueries.open(tmp_path / "out").facts == kept.facts
    whole = generate(records(), params(seq2seq), tmp_path / "out", context=context())
    assert len(whole) == kept.facts["kept"]
    assert GeneratedQueries.open(tmp_path / "out").table().equals(whole.table())


def test_nothing_in_the_core_imports_generation() -> None:
    root = Path(queries.__file__).parents[1]
    importing = [
        path.relative_to(root).as_posix()
        for pattern in ("*.py", "metrics/*.py", "statistics/*.py", "datasets/*.py", "retrievers/dense/*.py")
        for path in root.glob(pattern)
        if "seekbench.generation" in path.read_text(encoding="utf-8")
    ]
    assert importing == []


def test_importing_it_loads_no_torch() -> None:
    import subprocess

    code = "import sys, seekbench.generation.queries; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
