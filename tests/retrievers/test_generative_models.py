"""Families of models that write docids: they learn, and their losses and beams are transformers' own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own custom)
from safetensors import safe_open

from seekbench.errors import InputError, MissingError, SeekbenchError
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.generative.decoding import Decoder, ListDecoder
from seekbench.retrievers.generative.docids import Docids, Space
from seekbench.retrievers.generative.models import token_inputs
from seekbench.retrievers.generative.models.base import DocidTokens
from seekbench.retrievers.generative.models.checkpoint import CheckpointFamily, CheckpointParams
from seekbench.retrievers.generative.models.encoder import EncoderFamily, EncoderParams
from seekbench.retrievers.generative.trie import DocidTrie
from seekbench.retrievers.protocol import Context
from seekbench.training.trainer import Settings, train

CPU = Context(device="cpu", threads=1)
KINDS = ("t5", "bart", "gpt2", "encoder")
WRITERS = ("t5", "bart", "gpt2")
TEXTS = [
    " ".join(tiny.WORDS[(7 * i + j * (i + 1)) % len(tiny.WORDS)] for j in range(4 + i % 5)) for i in range(20)
]
TITLES = [f"{tiny.WORDS[i]} {tiny.WORDS[(5 * i + 3) % 48]}" + " of heat" * (i % 3 == 0) for i in range(20)]
CODES = np.array([(i // 5, i % 5) for i in range(20)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    made = {kind: getattr(tiny, kind)(root / kind) for kind in WRITERS}
    made["unforced"] = tiny.bart(root / "unforced", forced=False)
    made["untied"] = tiny.t5(root / "untied", tied=False)
    made["encoder"] = tiny.bert(root / "encoder")
    return made


def family(kind: str, folders: Mapping[str, Path], **more: Any) -> Any:
    if kind == "encoder":
        dense = Dense(DenseParams.model_validate({"model": str(folders[kind])}))
        params = {"type": "encoder", "width": 32, "heads": 4, "dropout": 0.0, "max_length": 64, **more}
        return EncoderFamily(EncoderParams.model_validate(params), dense)
    params = {"type": "checkpoint", "name": str(folders[kind]), "max_length": 64, **more}
    return CheckpointFamily(CheckpointParams.model_validate(params))


def titles(texts: list[str] = TITLES) -> Docids:
    return Docids.of_texts("title", texts)


def codes(rows: int = 20) -> Docids:
    return Docids.of_matrix("semantic", CODES[:rows], [4, 5])


def targets_of(tokens: DocidTokens) -> torch.Tensor:
    """int64 [docids, longest + 1]: each docid, closed, and -100."""
    lengths = np.diff(tokens.indptr)
    out = torch.full((len(lengths), int(lengths.max()) + 1), -100)
    for i, n in enumerate(lengths):
        docid = tokens.flat[tokens.indptr[i] : tokens.indptr[i + 1]].tolist()
        out[i, : n + 1] = torch.tensor([*docid, tokens.end])
    return out


def trie_of(tokens: DocidTokens, *, end: bool = True) -> DocidTrie:
    return DocidTrie.build(tokens.flat, tokens.indptr, end=tokens.end if end else None)


def rows(*which: int) -> np.ndarray:
    return np.array(which, dtype=np.int64)


class Toy:
    name, weight = "toy", 1.0

    def __init__(self, inputs: Any, targets: torch.Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def loss(self, model: Any, chosen: np.ndarray) -> torch.Tensor:
        loss: torch.Tensor = model.loss(self.inputs.batch(chosen), self.targets[chosen], 0.0)
        return loss


# -- learning -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "docids", "rate"),
    [
        ("t5", titles, 1e-2),
        ("bart", codes, 3e-3),
        ("gpt2", titles, 5e-3),
        ("encoder", codes, 3e-3),
    ],
)
def test_docids_are_learnt(
    kind: str, docids: Callable[[], Docids], rate: float, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    made = family(kind, folders)
    tokens = made.tokens(docids(), lists=False, context=CPU)
    inputs = made.inputs(TEXTS, "document", None, context=CPU)
    targets = targets_of(tokens)
    model = made.make(tokens, targets.shape[1], seed=0, context=CPU)
    settings = Settings(steps=150, batch=20, peak_rate=rate, weight_decay=0.0, checkpoint_every=1000)
    outcome = train(model, [Toy(inputs, targets)], settings, tmp_path, identity="toy")
    assert outcome.log[-1]["loss"] < outcome.log[0]["loss"] / 4
    found = Decoder(model.stepper(), trie_of(tokens), beams=5)(inputs.batch(np.arange(20)))
    assert (found.rows[:, 0] == np.arange(20)).mean() >= 0.9
    # What was trained is what is saved.
    made.save(model, tmp_path / "model")
    again = made.load(tmp_path / "model", tokens, targets.shape[1], context=CPU)
    batch = inputs.batch(rows(0, 3, 7))
    assert torch.equal(model.loss(batch, targets[[0, 3, 7]], 0.1), again.loss(batch, targets[[0, 3, 7]], 0.1))
    one, other = model.stepper().start(batch)[1], again.stepper().start(batch)[1]
    assert torch.equal(one, other)


# -- losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "untied", "bart"])
def test_seq2seq_loss_is_that_of_transformers(kind: str, folders: Mapping[str, Path]) -> None:
    made = family(kind, folders)
    tokens = made.tokens(codes(), lists=True, context=CPU)
    targets = targets_of(tokens)
    model = made.make(tokens, targets.shape[1], seed=0, context=CPU)
    batch = made.inputs(TEXTS, "query", None, context=CPU).batch(np.arange(20))
    with torch.no_grad():
        wanted = model.inner(**batch, labels=targets).loss
        assert float(model.loss(batch, targets, 0.0)) == pytest.approx(float(wanted), rel=1e-6)
        # Smoothing: e of the probability is spread over all tokens.
        logs = model.logits(batch, targets).log_softmax(-1)[targets >= 0]
        own = logs.gather(1, targets[targets >= 0][:, None])[:, 0]
        wanted = -(0.9 * own + 0.1 * logs.mean(1)).mean()
        assert float(model.loss(batch, targets, 0.1)) == pytest.approx(float(wanted), rel=1e-5)


def test_causal_loss_is_over_targets_alone(folders: Mapping[str, Path]) -> None:
    made = family("gpt2", folders)
    tokens = made.tokens(titles(), lists=False, context=CPU)
    targets = targets_of(tokens)
    model = made.make(tokens, targets.shape[1], seed=0, context=CPU)
    inputs = made.inputs(TEXTS, "query", None, context=CPU)
    total, count = 0.0, 0
    with torch.no_grad():
        for i in range(20):
            prompt = torch.from_numpy(inputs.tokens[inputs.indptr[i] : inputs.indptr[i + 1]]).long()
            written = targets[i][targets[i] >= 0]
            logits = model.inner(torch.cat([prompt, written])[None]).logits[0]
            before = logits[len(prompt) - 1 : -1]
            total += float(F.cross_entropy(before, written, reduction="sum"))
            count += len(written)
        loss = model.loss(inputs.batch(np.arange(20)), targets, 0.0)
    assert float(loss) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str, folders: Mapping[str, Path]) -> None:
    """A batch's loss is the mean over its single texts, each weighted by its tokens."""
    made = family(kind, folders)
    tokens = made.tokens(titles(), lists=False, context=CPU)
    targets = targets_of(tokens)
    model = made.make(tokens, targets.shape[1], seed=0, context=CPU)
    inputs = made.inputs(TEXTS, "query", None, context=CPU)
    batch = inputs.batch(np.arange(20))
    assert batch["attention_mask"].sum(1).unique().numel() > 2
    counts = (targets >= 0).sum(1)
    with torch.no_grad():
        single = [
            float(model.loss(inputs.batch(rows(i)), targets[i : i + 1, : counts[i]], 0.1)) for i in range(20)
        ]
        wanted = float((torch.tensor(single) * counts).sum() / counts.sum())
        assert float(model.loss(batch, targets, 0.1)) == pytest.approx(wanted, rel=1e-5)
    decoder = Decoder(model.stepper(), trie_of(tokens), beams=30)
    together, alone = decoder(batch), [decoder(inputs.batch(rows(i))) for i in range(20)]
    np.testing.assert_array_equal(together.rows, np.concatenate([one.rows for one in alone]))
    scores = np.concatenate([one.scores for one in alone])
    np.testing.assert_allclose(together.scores, scores, rtol=1e-4, atol=1e-5)


# -- decoding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "untied", "bart", "unforced", "gpt2"])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("make", [titles, codes])
def test_beams_are_those_of_generate(
    kind: str, penalty: float, make: Callable[[], Docids], folders: Mapping[str, Path]
) -> None:
    made = family(kind, folders)
    tokens = made.tokens(make(), lists=False, context=CPU)
    trie = trie_of(tokens)
    model = made.make(tokens, trie.depth, seed=0, context=CPU)
    batch = made.inputs(TEXTS[:6], "query", None, context=CPU).batch(np.arange(6))
    found = Decoder(model.stepper(), trie, beams=4, length_penalty=penalty)(batch)
    prompt = batch["input_ids"].shape[1] if kind == "gpt2" else 1
    out = model.inner.generate(
        **batch, num_beams=4, num_return_sequences=4, max_new_tokens=trie.depth, do_sample=False,
        length_penalty=penalty, early_stopping="never", pad_token_id=tokens.end, return_dict_in_generate=True,
        output_scores=True, prefix_allowed_tokens_fn=trie.as_prefix_fn(prompt, pad=tokens.end),
    )  # fmt: skip
    scores = out.sequences_scores.view(6, 4).numpy()
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-5)
    sequences = out.sequences[:, prompt:].tolist()
    docids = [[int(t) for t in row if t >= 0] for row in targets_of(tokens)]
    wanted = [docids.index(s[: s.index(tokens.end) + 1]) for s in sequences]
    assert found.rows.reshape(-1).tolist() == wanted


def test_the_forced_token_is_free_and_counted(folders: Mapping[str, Path]) -> None:
    for kind, first in (("bart", True), ("unforced", False)):
        made = family(kind, folders)
        tokens = made.tokens(titles(), lists=False, context=CPU)
        assert (tokens.flat[tokens.indptr[:-1]] == 0).all()  # <s> in front of each
        model = made.make(tokens, 12, seed=0, context=CPU)
        batch = made.inputs(TEXTS[:2], "query", None, context=CPU).batch(np.arange(2))
        logs = model.stepper().start(batch)[1].log_softmax(-1)
        assert bool((logs[:, 0] == 0).all()) == first
        decoder = Decoder(model.stepper(), trie_of(tokens), beams=30, length_penalty=0.0)
        found, every = decoder(batch), decoder.score_all(batch)
        np.testing.assert_allclose(found.scores[:, :20], -np.sort(-every, axis=1), rtol=1e-4)
        # A plain pass of the model: the first token of the target counts where it is not forced.
        targets = targets_of(tokens)[[3, 3]]
        with torch.no_grad():
            logs = model.logits(batch, targets).log_softmax(-1)
            sums = logs.gather(2, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
        np.testing.assert_allclose(every[:, 3], sums[:, int(first) :].sum(1), rtol=1e-4)
        narrowed = Decoder(model.stepper(), trie_of(tokens), beams=30, normalisation="docid")
        assert narrowed.narrow is not None
        assert (np.sort(narrowed(batch).rows[:, :20]) == np.arange(20)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [titles, codes])
def test_lists(kind: str, make: Callable[[], Docids], folders: Mapping[str, Path]) -> None:
    made = family(kind, folders)
    tokens = made.tokens(make(), lists=True, context=CPU)
    assert tokens.separator is not None
    assert tokens.separator < tokens.vocabulary
    assert not np.isin([tokens.separator, tokens.end], tokens.flat).any()
    model = made.make(tokens, 40, seed=0, context=CPU)
    batch = made.inputs(TEXTS[:3], "query", None, context=CPU).batch(np.arange(3))
    lists = ListDecoder(
        model.stepper(), trie_of(tokens, end=False), separator=tokens.separator, end=tokens.end, docids=3, least=3,
        beams=2,
    )  # fmt: skip
    found = lists(batch)
    assert (found.rows >= 0).all()
    assert all(len(set(row)) == 3 for row in found.rows.tolist())


def test_bfloat16_is_near_float32(folders: Mapping[str, Path]) -> None:
    for kind in WRITERS:
        exact, low = family(kind, folders), family(kind, folders, dtype="bfloat16")
        tokens = exact.tokens(codes(), lists=False, context=CPU)
        targets = targets_of(tokens)
        batch = exact.inputs(TEXTS, "query", None, context=CPU).batch(np.arange(20))
        one, other = (f.make(tokens, 3, seed=0, context=CPU) for f in (exact, low))
        assert {p.dtype for p in other.parameters()} == {torch.float32}
        losses = [m.loss(batch, targets, 0.0).item() for m in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=0.02)
        assert losses[0] != losses[1]
        found = Decoder(other.stepper(), trie_of(tokens), beams=30)(batch)
        wanted = Decoder(one.stepper(), trie_of(tokens), beams=30)(batch)
        assert found.scores[:, 0] == pytest.approx(wanted.scores[:, 0], rel=0.05)


# -- tokens ---------------------------------------------------------------------------------------------------


def test_codes_are_rows_behind_the_table(folders: Mapping[str, Path]) -> None:
    made = family("t5", folders)
    tokens = made.tokens(codes(8), lists=True, context=CPU)
    base = json.loads((folders["t5"] / "config.json").read_text())["vocab_size"]
    assert tokens.own == ("<a_0>", "<a_1>", "<b_0>", "<b_1>", "<b_2>", "<b_3>", "<b_4>", "<sep>")
    assert (tokens.first_own, tokens.separator, tokens.vocabulary) == (base, base + 7, base + 8)
    assert tokens.flat[:4].tolist() == [base, base + 2, base, base + 3]
    model = made.make(tokens, 3, seed=0, context=CPU)
    untouched = made.make(
        family("t5", folders).tokens(titles(), lists=False, context=CPU), 3, seed=0, context=CPU
    )
    table = model.inner.get_input_embeddings().weight.detach()
    assert torch.equal(table[:base], untouched.inner.get_input_embeddings().weight)
    assert table[base:].unique(dim=0).shape[0] == 8
    assert 0.3 < float(table[base:].std() / table[:base].std()) < 3
    again = made.make(tokens, 3, seed=0, context=CPU).inner.get_input_embeddings().weight
    other = made.make(tokens, 3, seed=1, context=CPU).inner.get_input_embeddings().weight
    assert torch.equal(table, again)
    assert not torch.equal(table[base:], other[base:])


@pytest.mark.parametrize("kind", ["t5", "untied", "bart", "gpt2"])
def test_new_rows_leave_the_old_ones(kind: str, folders: Mapping[str, Path]) -> None:
    """Also where the output's table is another than the input's, which transformers' resizing forgets of a T5."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    made = family(kind, folders)
    tokens = made.tokens(codes(), lists=True, context=CPU)
    model = made.make(tokens, 3, seed=0, context=CPU)
    plain = (AutoModelForCausalLM if kind == "gpt2" else AutoModelForSeq2SeqLM).from_pretrained(folders[kind])
    batch = made.inputs(TEXTS[:5], "query", None, context=CPU).batch(np.arange(5))
    more = {} if kind == "gpt2" else {"decoder_input_ids": torch.full((5, 1), model.head.start)}
    with torch.no_grad():
        old, new = (m.eval()(**batch, **more).logits for m in (plain, model.inner))
    torch.testing.assert_close(new[..., : tokens.first_own], old)
    assert new.shape[-1] == tokens.vocabulary == tokens.first_own + 10


def test_titles_and_spaces(folders: Mapping[str, Path]) -> None:
    """BART writes a title as GENRE does, a decoder-only model goes on after its prompt."""
    written = {
        "bart": ["<s>", "heat", "Ġtransfer"],
        "gpt2": ["Ġheat", "Ġtransfer"],
        "t5": ["▁heat", "▁transfer"],
    }
    for kind, expected in written.items():
        made = family(kind, folders)
        tokens = made.tokens(titles(["heat transfer"]), lists=False, context=CPU)
        assert made.pretrained.tokenizer(CPU).convert_ids_to_tokens(tokens.flat.tolist()) == expected
        assert tokens.own == ()
    # Special tokens that a title spells are text.
    tokens = family("bart", folders).tokens(titles(["</s> in text"]), lists=False, context=CPU)
    assert tokens.end not in tokens.flat
    with pytest.raises(InputError, match="'the </s> mark' holds the end token"):
        family("t5", folders).tokens(titles(["heat", "the </s> mark"]), lists=False, context=CPU)


def test_unknown_characters_are_told(folders: Mapping[str, Path]) -> None:
    notes: list[str] = []

    class Ear(type(CPU.progress)):  # type: ignore[misc]
        def note(self, message: str, **facts: object) -> None:
            notes.append(message)

    context = replace(CPU, progress=Ear())
    family("t5", folders).tokens(titles(["heat", "热", "热 flow"]), lists=False, context=context)
    assert len(notes) == 1
    assert notes[0].startswith("2 docids hold characters")
    assert notes[0].endswith("'热'")


def test_numbers_are_cut_into_digits(folders: Mapping[str, Path]) -> None:
    made = family("encoder", folders)
    numbers = Docids.of_texts("naive", [str(i) for i in range(95, 105)])
    tokens = made.tokens(numbers, lists=False, context=CPU)
    assert np.diff(tokens.indptr).tolist() == [2] * 5 + [3] * 5
    words = made.tokens(titles(), lists=False, context=CPU)
    assert set(np.diff(words.indptr)) == {2, 4}


# -- growing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "untied", "bart", "gpt2", "encoder"])
def test_growing_keeps_rows_by_name(kind: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    made = family(kind, folders)
    spaces = [Space("a", 4), Space("b", 4)]
    few = Docids.of_codes("x", np.array([1, 5, 2, 6]), np.arange(0, 5, 2), spaces)
    more = Docids.of_codes("x", np.array([0, 5, 1, 5, 2, 6, 3, 7]), np.arange(0, 9, 2), spaces)
    known, tokens = (made.tokens(d, lists=True, context=CPU) for d in (few, more))
    model = made.make(known, 10, seed=0, context=CPU)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)  # as if trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grown = made.grown(model, known, tokens, 20, seed=3, context=CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    batch = made.inputs(TEXTS[:4], "query", None, context=CPU).batch(np.arange(4))
    one = torch.ones(4, 1, dtype=torch.int64)  # a target, of which the first logits are looked at
    with torch.no_grad():
        if kind == "encoder":
            old, new = (m.stepper().start(batch)[1] for m in (model, grown))
        else:
            old, new = (m.logits(batch, one)[:, 0] for m in (model, grown))
    for name in known.own:
        was, now = (t.first_own + t.own.index(name) for t in (known, tokens))
        torch.testing.assert_close(old[:, was], new[:, now])
    if kind != "encoder":
        torch.testing.assert_close(old[:, : known.first_own], new[:, : known.first_own])
        table = grown.inner.get_output_embeddings().weight
        assert table[tokens.first_own :].unique(dim=0).shape[0] == len(tokens.own)
        untied = grown.inner.get_input_embeddings().weight is not table
        assert untied == (kind == "untied")
    made.save(grown, tmp_path)
    back = made.load(tmp_path, tokens, 20, context=CPU)
    assert torch.equal(back.loss(batch, one, 0.1), grown.loss(batch, one, 0.1))
    with pytest.raises(SeekbenchError, match="other docids"):
        made.load(tmp_path, known, 20, context=CPU)


# -- counts, freezing -----------------------------------------------------------------------------------------


def test_counts(folders: Mapping[str, Path]) -> None:
    for kind, tables in (("t5", 1), ("untied", 2), ("gpt2", 1)):
        made = family(kind, folders)
        tokens = made.tokens(codes(), lists=False, context=CPU)
        counts = made.make(tokens, 3, seed=0, context=CPU).counts()
        assert counts["docid_table"] == tables * 9 * tiny.HIDDEN
        assert counts["total"] == counts["trained"] == counts["embedding"] + counts["non_embedding"]
        assert counts["embedding"] > tables * tokens.vocabulary * tiny.HIDDEN


def test_a_frozen_encoder(folders: Mapping[str, Path], tmp_path: Path) -> None:
    free, frozen = family("encoder", folders), family("encoder", folders, freeze=True)
    tokens = frozen.tokens(codes(), lists=False, context=CPU)
    targets = targets_of(tokens)
    inputs = frozen.inputs(TEXTS, "document", None, context=CPU)
    settings = Settings(steps=3, batch=8, peak_rate=1e-2)
    changed = {}
    for name, made in (("free", free), ("frozen", frozen)):
        model = made.make(tokens, 3, seed=0, context=CPU)
        before = [p.clone() for p in model.encoder.parameters()]
        counts = model.counts()
        assert (counts["trained"] < counts["total"]) == (name == "frozen")
        train(model, [Toy(inputs, targets)], settings, tmp_path / name, identity=name)
        changed[name] = any(
            not torch.equal(a, b) for a, b in zip(before, model.encoder.parameters(), strict=True)
        )
        assert not (model.train().encoder.training and name == "frozen")
        model.eval()
        made.save(model, tmp_path / name)
        with safe_open(tmp_path / name / "model.safetensors", "pt") as file:
            assert any(key.startswith("encoder.") for key in file.keys()) == (name == "free")  # noqa: SIM118
        back = made.load(tmp_path / name, tokens, 3, context=CPU)
        batch = inputs.batch(np.arange(5))
        assert torch.equal(back.stepper().start(batch)[1], model.stepper().start(batch)[1])
    assert changed == {"free": True, "frozen": False}
    with pytest.raises(SeekbenchError, match="other docids or parameters"):
        free.load(tmp_path / "frozen", tokens, 3, context=CPU)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_any_model_has_an_encoder(kind: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    made = family("encoder", folders, name=str(folders[kind]))
    tokens = made.tokens(titles(), lists=False, context=CPU)
    model = made.make(tokens, 12, seed=0, context=CPU)
    batch = made.inputs([*TEXTS, ""], "query", None, context=CPU).batch(np.arange(21))
    loss = model.loss(batch, targets_of(tokens)[[*range(20), 0]], 0.1)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    made.save(model, tmp_path)
    back = made.load(tmp_path, tokens, 12, context=CPU)
    assert torch.equal(back.stepper().start(batch)[1], model.stepper().start(batch)[1])


def test_a_sentence_encoder_by_its_recipe(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """The retriever's own encoder, where none is named; a recipe with any pooling."""
    folder = tiny.recipe(tmp_path / "st", pooling="cls")
    dense = Dense(DenseParams.model_validate({"model": str(folder)}))
    made = EncoderFamily(
        EncoderParams.model_validate({"type": "encoder", "width": 16, "max_length": 40}), dense
    )
    tokens = made.tokens(codes(), lists=False, context=CPU)
    assert made.make(tokens, 3, seed=0, context=CPU).counts()["docid_table"] == 11 * 16 + 10
    assert made.describe(context=CPU)["model_type"] == "bert"
    with pytest.raises(InputError, match="is a sentence encoder, which writes no text"):
        family("t5", {"t5": folder}).identity(context=CPU)


# -- inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "bart", "encoder"])
def test_inputs_are_the_tokenizers(kind: str, folders: Mapping[str, Path]) -> None:
    from transformers import AutoTokenizer

    texts = [*tiny.texts(12, longest=90), ""]
    inputs = family(kind, folders, max_length=32).inputs(texts, "document", None, context=CPU)
    wanted = AutoTokenizer.from_pretrained(str(folders[kind]))(
        texts, truncation=True, max_length=32, padding=True, return_tensors="pt"
    )
    batch = inputs.batch(np.arange(13))
    assert torch.equal(batch["input_ids"], wanted["input_ids"])
    assert torch.equal(batch["attention_mask"], wanted["attention_mask"])
    assert inputs.truncated == sum(len(t.split()) + (2 if kind != "t5" else 1) > 32 for t in texts)


def test_a_template_survives_truncation(folders: Mapping[str, Path]) -> None:
    made = family("gpt2", folders, max_length=16, template="{side}: {text}\nName:")
    inputs = made.inputs(["heat " * 40, "heat"], "query", None, context=CPU)
    tokenizer = made.pretrained.tokenizer(CPU)
    batch = inputs.batch(rows(0, 1))
    assert inputs.truncated == 1
    assert batch["attention_mask"].sum(1).tolist()[0] == 16
    long, short = (tokenizer.convert_ids_to_tokens(row.tolist()) for row in batch["input_ids"])
    short = short[-int(batch["attention_mask"][1].sum()) :]
    assert "".join(short) == "query:ĠheatĊName:"
    assert long[:3] == ["query", ":", "Ġheat"]
    assert long[-6:] == ["Ġheat", *short[-5:]]
    assert batch["attention_mask"][1, -1] == 1  # padded on the left
    bare = family("gpt2", folders, template="{text}").inputs([""], "query", None, context=CPU)
    assert bare.batch(rows(0))["input_ids"].tolist() == [[0]]  # a prompt has a token at least


def test_inputs_are_kept_and_continued(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_inputs, "_BLOCK", 4)
    made, texts = family("t5", folders), tiny.texts(11)
    whole = made.inputs(texts, "query", None, context=CPU)
    cut, calls = token_inputs.Cutter.__call__, []

    def counted(self: Any, part: list[str]) -> Any:
        calls.append(len(part))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return cut(self, part)

    monkeypatch.setattr(token_inputs.Cutter, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        made.inputs(texts, "query", tmp_path / "in", context=CPU)
    found = made.inputs(texts, "query", tmp_path / "in", context=CPU)
    assert calls == [4, 4, 3, 3]
    assert isinstance(found.tokens, np.memmap)
    np.testing.assert_array_equal(found.tokens, whole.tokens)
    np.testing.assert_array_equal(found.indptr, whole.indptr)
    assert len(found) == 11
    assert found.truncated == whole.truncated
    assert found.seconds >= 0
    made.inputs(texts, "query", tmp_path / "in", context=CPU)
    assert len(calls) == 4
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == [
        "indptr.npy", "inputs.json", "layout.json", "tokens.npy",
    ]  # fmt: skip
    other = made.inputs(texts[:5], "query", tmp_path / "in", context=CPU)  # other texts are other work
    assert len(other) == 5
    assert len(made.inputs([], "query", tmp_path / "none", context=CPU)) == 0


# -- identity and errors --------------------------------------------------------------------------------------


def test_identity_follows_content(folders: Mapping[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["bart"], tmp_path / "moved")
    here, there = (
        family("bart", {"bart": f}).identity(context=CPU) for f in (folders["bart"], tmp_path / "moved")
    )
    assert here == there
    assert here["forced_bos"] == 0
    settings = json.loads((tmp_path / "moved" / "generation_config.json").read_text())
    tiny.write(tmp_path / "moved", "generation_config.json", {**settings, "forced_bos_token_id": None})
    assert family("bart", {"bart": tmp_path / "moved"}).identity(context=CPU)["forced_bos"] is None
    other = tiny.bart(tmp_path / "other", seed=1)
    assert family("bart", {"bart": other}).identity(context=CPU)["weights"] != here["weights"]
    described = family("bart", folders).describe(context=CPU)
    assert (described["docids_begin_with"], described["docids_end_with"]) == ("<s>", "</s>")
    assert described["architecture"] == "encoder-decoder"


def test_paths_are_relative_to_the_config(folders: Mapping[str, Path]) -> None:
    params = CheckpointParams.model_validate(
        {"type": "checkpoint", "name": "t5"}, context={"base": folders["t5"].parent}
    )
    assert params.name == "t5"
    assert CheckpointFamily(params).identity(context=CPU)
    encoder = EncoderParams.model_validate(
        {"type": "encoder", "name": "./encoder"}, context={"base": folders["encoder"].parent}
    )
    dense = Dense(DenseParams.model_validate({"model": "nothing"}))
    assert EncoderFamily(encoder, dense).identity(context=CPU)


def test_what_cannot_write(folders: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\('bert'\) has no language modelling head.*type: encoder"):
        family("t5", {"t5": folders["encoder"]}).identity(context=CPU)
    with pytest.raises(InputError, match="no folder"):
        family("t5", {"t5": tmp_path / "nothing"}).identity(context=CPU)
    with pytest.raises(MissingError, match="some/model is not on this machine"):
        family("t5", {"t5": Path("some/model")}).identity(context=replace(CPU, offline=True))
    # All but the output layer.
    made = family("t5", {"t5": tiny.gpt2(tmp_path / "headless", head="GPT2Model", tied=False)})
    tokens = made.tokens(codes(), lists=False, context=CPU)
    with pytest.raises(InputError, match=r"the weights lack 1 tensors of GPT2LMHeadModel \(lm_head.weight\)"):
        made.make(tokens, 3, seed=0, context=CPU)
    # A pickle is not opened.
    pickled = tmp_path / "pickled"
    shutil.copytree(folders["t5"], pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="are a pickle"):
        family("t5", {"t5": pickled}).identity(context=CPU)


def test_what_does_not_fit(folders: Mapping[str, Path]) -> None:
    made = family("gpt2", folders, max_length=150)
    tokens = made.tokens(codes(), lists=False, context=CPU)
    with pytest.raises(InputError, match="max_length 150 and targets of 11 tokens are more than the 160 pos"):
        made.make(tokens, 11, seed=0, context=CPU)
    with pytest.raises(InputError, match="max_length 129 or targets of 3 tokens are more than the 128 pos"):
        family("bart", folders, max_length=129).make(tokens, 3, seed=0, context=CPU)
    with pytest.raises(InputError, match="max_length 129 is more than the 128 positions"):
        family("encoder", folders, max_length=129).inputs(["a"], "query", None, context=CPU)
    with pytest.raises(InputError, match="leaves no token for the text"):
        family("gpt2", folders, max_length=3).inputs(["a"], "query", None, context=CPU)
    with pytest.raises(ValueError, match=r"holds \{text\} once"):
        family("t5", folders, template="Document")
    with pytest.raises(ValueError, match="no multiple of 5 heads"):
        family("encoder", folders, heads=5)
    with pytest.raises(ValueError, match="revision belongs to a name"):
        family("encoder", folders, revision="main")


def test_params_need_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import seekbench.retrievers.generative.models.checkpoint, "
        "seekbench.retrievers.generative.models.encoder; assert 'torch' not in sys.modules; "
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
