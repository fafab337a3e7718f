"""Training of late interaction: losses against sentence-transformers and plain loops, gradients in parts, resuming."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny
import tiny_multi_vector as tiny_mv
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from seekbench.collection import Corpus, Queries
from seekbench.errors import InputError
from seekbench.retrievers.contrastive import batches, mining
from seekbench.retrievers.contrastive import losses as pairs
from seekbench.retrievers.contrastive import training as common
from seekbench.retrievers.contrastive.params import Teacher
from seekbench.retrievers.contrastive.watch import Watch
from seekbench.retrievers.dense.checkpoint import resolve_as
from seekbench.retrievers.generative import examples
from seekbench.retrievers.generative.examples import Examples, Input, Kind, Made
from seekbench.retrievers.multi_vector import losses, training
from seekbench.retrievers.multi_vector.checkpoint import TokenCheckpoint, TokenSettings
from seekbench.retrievers.multi_vector.encode import TokenEncoder, load
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.multi_vector.training import TrainingParams
from seekbench.retrievers.protocol import Context, TextView, TrainingData

CONTEXT = Context(threads=1, device="cpu", offline=True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- losses -------------------------------------------------------------------------------------------------------


def padded(
    seed: int, *shape: int, dim: int = 6, empty: bool = False, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((*shape, dim))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    mask = rng.random(shape) < 0.6
    mask[..., 0] |= not empty
    return torch.tensor(vectors, dtype=dtype), torch.tensor(mask)


def plain_maxsim(queries: Any, query_mask: Any, documents: Any, document_mask: Any) -> Any:
    out = np.zeros((len(queries), len(documents)))
    for q in range(len(queries)):
        for d in range(len(documents)):
            kept = documents[d][document_mask[d]]
            for token in queries[q][query_mask[q]]:
                out[q, d] += max((float(token @ other) for other in kept), default=-1.0)
    return out


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 7),
    st.sampled_from([1, 1 << 25]),
)
def test_maxsim_is_the_sum_of_the_best_products(
    seed: int, queries: int, documents: int, tokens: int, products: int
) -> None:
    q, d = padded(seed, queries, 4, empty=True), padded(seed + 1, documents, tokens, empty=True)
    before = losses._PRODUCTS
    losses._PRODUCTS = products  # one document at a time, or all
    try:
        found = losses.maxsim(*q, *d).numpy()
    finally:
        losses._PRODUCTS = before
    np.testing.assert_allclose(found, plain_maxsim(*(t.numpy() for t in (*q, *d))), atol=1e-12)
    stacked = (d[0].expand(queries, *d[0].shape), d[1].expand(queries, *d[1].shape))
    np.testing.assert_allclose(losses.maxsim_own(*q, *stacked).numpy(), found, atol=1e-12)


def test_gradients_of_maxsim() -> None:
    q, d = padded(0, 3, 4), padded(1, 5, 6, empty=True)
    d[1][2] = False
    leaves = [q[0].requires_grad_(), d[0].requires_grad_()]
    assert torch.autograd.gradcheck(lambda a, b: losses.maxsim(a, q[1], b, d[1]), leaves)
    losses.maxsim(*q, *d).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(d[0].grad).all()  # type: ignore[arg-type]
    assert (d[0].grad[2] == 0).all()  # type: ignore[index]
    own = (d[0][:3, None].detach().requires_grad_(), d[1][:3, None])
    assert torch.autograd.gradcheck(lambda a, b: losses.maxsim_own(a, q[1], b, own[1]), [q[0], own[0]])


def test_maxsim_is_sentence_transformers() -> None:
    from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores, colbert_scores

    q, d = padded(0, 4, 5, dtype=torch.float32), padded(1, 4, 3, 6, dtype=torch.float32)
    theirs = colbert_scores(q[0], d[0], q[1], d[1])
    torch.testing.assert_close(losses.maxsim(*q, d[0].flatten(0, 1), d[1].flatten(0, 1)), theirs)
    torch.testing.assert_close(losses.maxsim_own(*q, *d), colbert_kd_scores(q[0], d[0], q[1], d[1]))


class Fixed(torch.nn.Module):
    """A model of given vectors: a batch's features are their number."""

    def __init__(self, columns: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        vectors, mask = self.columns[int(features["input_ids"][0, 0])]
        return {"token_embeddings": vectors, "attention_mask": mask}


def test_losses_are_sentence_transformers() -> None:
    from sentence_transformers.multi_vector_encoder import losses as theirs

    q, d = padded(0, 4, 5, dtype=torch.float32), padded(1, 4, 3, 6, dtype=torch.float32)
    teacher = torch.tensor(np.random.default_rng(2).random((4, 3)) * 3, dtype=torch.float32)
    own = losses.maxsim_own(*q, *d)
    scores = losses.maxsim(*q, d[0].flatten(0, 1), d[1].flatten(0, 1))

    class Merged(Fixed):
        def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
            if task == "query":
                return {"token_embeddings": q[0], "attention_mask": q[1]}
            # Columns come merged: all first documents, then all second ones.
            rows = features["input_ids"][:, 0]
            return {
                "token_embeddings": d[0].transpose(0, 1).flatten(0, 1)[rows],
                "attention_mask": d[1].transpose(0, 1).flatten(0, 1)[rows],
            }

    model: Any = Merged([])
    ids = [torch.arange(4)[:, None].expand(4, 6) + 4 * n for n in range(3)]
    features = [
        {"input_ids": torch.zeros(4, 5, dtype=torch.long), "attention_mask": q[1].long(), "task": "query"},
        *({"input_ids": i.clone(), "attention_mask": torch.ones_like(i), "task": "document"} for i in ids),
    ]
    ranking = theirs.MultiVectorMultipleNegativesRankingLoss(model, scale=4.0)(features, None)
    torch.testing.assert_close(pairs.contrastive(scores, torch.arange(4) * 3, temperature=0.25), ranking)
    kl = theirs.MultiVectorDistillKLDivLoss(model, teacher_temperature=0.5)(features, teacher)
    torch.testing.assert_close(pairs.distillation(own, teacher, scale=2.0), kl)
    margin = theirs.MultiVectorMarginMSELoss(model)(features, teacher)
    torch.testing.assert_close(pairs.margin_mse(own, teacher), margin)


def test_losses_are_their_formulas() -> None:
    rng = np.random.default_rng(5)
    scores, teacher = rng.standard_normal((3, 6)) * 2, rng.standard_normal((3, 6))
    excluded = np.zeros((3, 6), dtype=bool)
    excluded[0, 3] = excluded[2, 0] = excluded[2, 1] = True
    positive = np.array([0, 2, 4])

    def softmax(x: Any) -> Any:
        return np.exp(x) / np.exp(x).sum()

    t = torch.tensor
    wanted = [
        -np.log(
            np.exp(scores[i, p] / 0.5)
            / sum(np.exp(scores[i, j] / 0.5) for j in range(6) if not excluded[i, j])
        )
        for i, p in enumerate(positive)
    ]
    found = pairs.contrastive(t(scores), t(positive), t(excluded), temperature=0.5)
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-12)
    wanted = [-np.log(softmax(row / 0.5)[0]) for row in scores]
    assert float(pairs.pairwise(t(scores), temperature=0.5)) == pytest.approx(np.mean(wanted), rel=1e-12)
    p, s = [softmax(row * 3) for row in teacher], [softmax(row / 0.5) for row in scores]
    wanted = [(a * np.log(a / b)).sum() for a, b in zip(p, s, strict=True)]
    found = pairs.distillation(t(scores), t(teacher), scale=3.0, temperature=0.5)
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-12)
    margins = (scores[:, :1] - scores[:, 1:]) - 3 * (teacher[:, :1] - teacher[:, 1:])
    assert float(pairs.margin_mse(t(scores), t(teacher), scale=3.0)) == pytest.approx(
        (margins**2).mean(), rel=1e-12
    )


# -- examples, negatives ------------------------------------------------------------------------------------------


def opened(folder: Path, **settings_: Any) -> tuple[Any, Any]:
    """(model, recipe) of a checkpoint's folder."""
    checkpoint = resolve_as(
        TokenCheckpoint, TokenSettings(str(folder), **settings_), offline=True, fetch=True
    )
    return load(checkpoint, torch.float32, "cpu"), checkpoint.recipe


def sentences(seed: int, count: int, words: int = 7) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(tiny.WORDS, words)) for _ in range(count)]


def corpus(count: int = 24) -> TextView:
    """Documents of three sentences each."""
    made = sentences(0, 3 * count)
    texts = [". ".join(s.capitalize() for s in made[3 * i : 3 * i + 3]) + "." for i in range(count)]
    return TextView(Corpus.from_lists([f"d{i:03}" for i in range(count)], texts), "{text}")


def made_of(documents: TextView, folder: Path, *kinds: str, watched: int = 8) -> Examples:
    inputs = [Input.model_validate({"kind": kind}) for kind in kinds or ("sentences", "keywords")]
    return examples.make(documents, inputs, None, folder, seed=0, watched=watched)


def params(**fields: Any) -> TrainingParams:
    small = {"steps": 6, "batch": 6, "rate": 1e-3, "evaluate_every": 3, "watched": 8, "checkpoint_every": 2}
    return TrainingParams.model_validate(small | fields)


def kind_of(
    texts: list[str], doc: list[int], more: list[list[int]] | None = None, name: str = "sentences"
) -> Kind:
    ragged = None
    if more is not None:
        indptr = np.cumsum([0, *map(len, more)])
        ragged = indptr.astype(np.int64), np.array([d for docs in more for d in docs], dtype=np.int64)
    made = Made(texts, np.array(doc, dtype=np.int64), ragged)
    entry = Input.model_construct(kind=name, weight=1.0, prefix="", options={}, generator=None)
    return Kind(entry, made, np.zeros(len(texts), dtype=bool))


def task_of(documents: TextView, kind: Kind, chosen: TrainingParams, negatives: Any = None) -> batches.Task:
    passages = Passages.find(documents)
    positives = mining.Positives.of_kind(kind, passages.of)
    loss: Any = None
    return batches.Task(
        "x", kind, documents, passages, chosen, loss, positives=positives, negatives=negatives, seed=0
    )


def test_a_text_is_taken_out_of_its_document_once() -> None:
    assert batches.without("One two. Three four. One two. End.", "One two.") == "Three four. One two. End."
    assert batches.without("Title One\n two.  Three four.", "One two.") == "Title Three four."
    assert batches.without("One (two) end", "(two)") == "One end"
    assert batches.without("One two.", "One two") == "One two."  # nothing would be left
    assert batches.without("One two.", "Three") == "One two."
    assert batches.without("One two.", "  ") == "One two."
    assert batches.without("東京は大きい。人が多い。", "東京は大きい。") == "人が多い。"


def test_most_examples_are_shown_without_their_text(tmp_path: Path) -> None:
    documents = corpus()
    kind = made_of(documents, tmp_path, "sentences", watched=0).kinds[0]
    whole = documents.texts()

    def dropped(drop: float) -> list[bool]:
        task = task_of(documents, kind, params(drop=drop))
        batch = task.batch(task.rows, np.random.default_rng(0))
        assert batch.queries == kind.made.texts
        out = []
        for text, shown, doc in zip(batch.queries, batch.documents, kind.made.doc.tolist(), strict=True):
            out.append(shown != whole[doc])
            assert out[-1] == (text not in shown)
        return out

    assert all(dropped(1.0))
    assert not any(dropped(0.0))
    assert dropped(0.9) == dropped(0.9)
    assert 0.75 < np.mean(dropped(0.9)) < 1
    asked = task_of(
        documents, kind_of(kind.made.texts, kind.made.doc.tolist(), name="keywords"), params(drop=1.0)
    )
    assert asked.batch(np.arange(4), np.random.default_rng(0)).documents == [
        whole[d] for d in kind.made.doc[:4]
    ]


def test_other_answers_leave_the_denominator() -> None:
    texts = [*(f"text number {i}" for i in range(6)), "text number 0"]  # 0 and 6 are one passage
    documents = TextView(Corpus.from_lists([f"d{i}" for i in range(7)], texts), "{text}")
    kind = kind_of(["a", "b", "c", "a", "d"], [0, 1, 2, 3, 6], [[0, 1], [1], [2], [3], [6]], "queries")
    batch = task_of(documents, kind, params()).batch(np.arange(5), np.random.default_rng(0))
    wanted = np.zeros((5, 5), dtype=bool)
    for query, columns in enumerate([(1, 3, 4), (), (), (0, 1, 4), (0,)]):
        wanted[query, list(columns)] = True
    np.testing.assert_array_equal(batch.excluded, wanted)
    both = params(loss=("pairwise", "contrastive"), negatives=2)
    batch = task_of(documents, kind, both).batch(np.arange(5), np.random.default_rng(0))
    of = Passages.find(documents).of
    answers = [{0, 1, 3}, {1}, {2}, {0, 1, 3}, {0}]
    for i, own in enumerate(answers):
        columns = [of[texts.index(text)] for text in batch.documents]
        assert not set(columns[3 * i + 1 : 3 * i + 3]) & own
        assert len(set(columns[3 * i + 1 : 3 * i + 3])) == 2
        for j, passage in enumerate(columns):
            mine = 3 * i < j < 3 * i + 3
            assert batch.excluded[i, j] == (j != 3 * i and (passage in own or mine))
    with pytest.raises(InputError, match="need more than the corpus' 6 different texts"):
        common._task(
            "x", 0, kind, documents, Passages.find(documents), params(negatives=4), Path(), Any, None
        )


def test_hard_negatives_are_the_best_below_the_positive(tmp_path: Path) -> None:
    from seekbench.retrievers.dense import Dense, DenseParams

    tiny.recipe(tmp_path / "encoder", normalize=True)
    documents = corpus(40)
    kind = made_of(documents, tmp_path, "sentences", watched=3).kinds[0]
    said = params(
        negatives=3, negatives_from="hard", pool=5, loss=("distillation",), teacher_scale=4.0,
        teacher={"type": "dense", "model": str(tmp_path / "encoder")},
    )  # fmt: skip
    passages = Passages.find(documents)
    positives = mining.Positives.of_kind(kind, passages.of)
    found = mining.mine(kind, positives, documents, passages, said, tmp_path / "n", seed=0, context=CONTEXT)
    assert found.teacher is not None
    dense = Dense(DenseParams.model_validate({"model": str(tmp_path / "encoder")}))
    docs = dense.encode(documents.texts(), "document", lambda n: None, CONTEXT).vectors
    queries = dense.encode(kind.made.texts, "query", lambda n: None, CONTEXT).vectors
    scores = queries @ docs.T
    for row, doc in enumerate(kind.made.doc.tolist()):
        if kind.held_out[row]:
            assert (found.rows[row] == -1).all()
            continue
        below = [
            d for d in np.argsort(-scores[row], kind="stable").tolist() if scores[row, d] < scores[row, doc]
        ]
        assert found.rows[row, : len(below)].tolist() == below[:5]
        assert len({doc, *found.rows[row].tolist()}) == 6
        np.testing.assert_allclose(found.teacher[row], scores[row, [doc, *found.rows[row]]], atol=1e-5)
    again = mining.mine(kind, positives, documents, passages, said, tmp_path / "n", seed=0, context=CONTEXT)
    np.testing.assert_array_equal(again.rows, found.rows)
    task = task_of(documents, kind, said, found)
    batch = task.batch(task.rows[:4], np.random.default_rng(1))
    whole, columns = documents.texts(), np.array(batch.documents).reshape(4, 4)
    assert batch.teacher is not None
    for i, row in enumerate(task.rows[:4].tolist()):
        docs_ = [whole.index(text) for text in columns[i, 1:]]
        np.testing.assert_allclose(batch.teacher[i, 1:], scores[row, docs_], atol=1e-5)
    assert set(mining.identity(said, context=CONTEXT)) == {"miner", "teacher"}


def test_a_cross_encoder_teaches(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    tiny.bert(tmp_path / "cross", head="BertForSequenceClassification", max_length=64)
    documents = corpus(12)
    kind = made_of(documents, tmp_path, "keywords", watched=2).kinds[0]
    said = params(
        negatives=2, loss=("margin_mse",), teacher={"type": "cross_encoder", "model": str(tmp_path / "cross")}
    )
    passages = Passages.find(documents)
    positives = mining.Positives.of_kind(kind, passages.of)
    found = mining.mine(kind, positives, documents, passages, said, tmp_path / "n", seed=0, context=CONTEXT)
    theirs = CrossEncoder(str(tmp_path / "cross"), device="cpu", activation_fn=torch.nn.Identity())
    whole, row = documents.texts(), int(kind.learnt[3])
    docs = [int(kind.made.doc[row]), *found.rows[row].tolist()]
    wanted = theirs.predict([(kind.made.texts[row], whole[d]) for d in docs])
    assert found.teacher is not None
    np.testing.assert_allclose(found.teacher[row], wanted, atol=1e-4)
    (tmp_path / "n" / "negatives.npz").unlink()
    again = mining.mine(kind, positives, documents, passages, said, tmp_path / "n", seed=0, context=CONTEXT)
    np.testing.assert_array_equal(again.teacher, found.teacher)


# -- gradients in parts -------------------------------------------------------------------------------------------


def gradients(
    model: Any, batch: batches.Batch, chosen: TrainingParams, recipe: Any
) -> tuple[float, torch.Tensor]:
    torch.manual_seed(3)
    model.zero_grad(set_to_none=True)
    value = training.loss_of(model, batch, chosen, recipe)
    (value * 0.5).backward()  # type: ignore[no-untyped-call]
    return float(value.detach()), torch.cat(
        [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    )


@pytest.mark.parametrize("layout", ["colbert", "sentence_transformers"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(layout: str, tmp_path: Path) -> None:
    model, recipe = opened(getattr(tiny_mv, layout)(tmp_path / "m"))
    rng = np.random.default_rng(0)
    batch = batches.Batch(
        sentences(1, 5, 5), [" ".join(s.split()[: 1 + i % 7]) for i, s in enumerate(sentences(2, 15))],
        np.zeros((5, 15), dtype=bool), rng.random((5, 3)).astype(np.float32),
    )  # fmt: skip
    every = {"loss": ("contrastive", "pairwise", "distillation", "margin_mse"), "negatives": 2}
    teacher = {"type": "dense", "model": "none"}
    model.eval()
    whole = gradients(model, batch, params(**every, teacher=teacher), recipe)
    for micro in (1, 4, 5):
        parts = gradients(model, batch, params(**every, teacher=teacher, micro=micro), recipe)
        assert parts[0] == pytest.approx(whole[0], rel=1e-5)
        torch.testing.assert_close(parts[1], whole[1], rtol=1e-5, atol=1e-5 * float(whole[1].abs().max()))


def test_dropout_of_parts_is_played_again(tmp_path: Path) -> None:
    model, recipe = opened(tiny_mv.colbert(tmp_path / "m"))
    batch = batches.Batch(sentences(1, 4), sentences(2, 4), np.zeros((4, 4), dtype=bool), None)
    chosen = params(micro=3)
    model.train()
    found = gradients(model, batch, chosen, recipe)
    after = torch.rand(1)
    torch.manual_seed(3)
    model.zero_grad(set_to_none=True)
    parts = [
        [training.token_vectors(model, texts[at : at + 3], side, recipe) for at in (0, 3)]
        for side, texts in (("query", batch.queries), ("document", batch.documents))
    ]
    queries, documents = (training._joined(side) for side in parts)
    value = training._scored(*queries, *documents, batch, chosen)
    (value * 0.5).backward()  # type: ignore[no-untyped-call]
    wanted = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert found[0] == pytest.approx(float(value.detach()), rel=1e-6)
    torch.testing.assert_close(found[1], wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
    assert torch.equal(after, torch.rand(1))  # what follows draws as without parts
    model.eval()
    assert gradients(model, batch, chosen, recipe)[0] != pytest.approx(found[0], rel=1e-4)


# -- training -----------------------------------------------------------------------------------------------------


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def run(folder: Path, checkpoint: Path, chosen: TrainingParams, documents: TextView, found: Examples) -> Any:
    model, recipe = opened(checkpoint)
    outcome, facts = training.train_model(
        model, found, documents, chosen, folder, identity="same", recipe=recipe, context=CONTEXT
    )
    return model, outcome, facts


@pytest.mark.parametrize(
    "fields",
    [
        {"micro": 4, "dim": None},
        {"loss": ("pairwise", "contrastive"), "negatives": 1, "freeze": ("embeddings",), "keep": "best"},
    ],
)
def test_an_interrupted_training_ends_the_same(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, documents = tiny_mv.colbert(tmp_path / "m"), corpus()
    found, chosen = made_of(documents, tmp_path), params(**fields)
    whole, outcome, facts = run(tmp_path / "a", checkpoint, chosen, documents, found)
    again, *_ = run(tmp_path / "b", checkpoint, chosen, documents, found)
    real, calls = training.loss_of, 0

    def killed(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:  # two tasks a step
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(training, "loss_of", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "c", checkpoint, chosen, documents, found)
    continued, resumed, told = run(tmp_path / "c", checkpoint, chosen, documents, found)
    assert resumed.resumed_at == 2
    assert resumed.log == outcome.log
    for other in (again, continued):
        assert all(torch.equal(value, state(whole)[name]) for name, value in state(other).items())
    assert {n: v for n, v in told.items() if n != "seconds"} == {
        n: v for n, v in facts.items() if n != "seconds"
    }
    fresh, _ = opened(checkpoint)
    moved = {name for name, value in state(fresh).items() if not torch.equal(value, state(whole)[name])}
    assert any("linear" in name for name in moved)
    assert any("embeddings" in name for name in moved) == ("freeze" not in fields)
    assert all(p.requires_grad for p in whole.parameters())
    assert facts["held_out_after"] is not None
    assert facts["held_out_queries"] > 0
    with pytest.raises(Exception, match="holds another training"):
        run(tmp_path / "c", checkpoint, chosen.model_copy(update={"rate": 1e-4}), documents, found)


def test_a_folder_is_of_one_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a training of as many other texts nor its negatives are taken for this one's."""
    checkpoint, documents = tiny_mv.colbert(tmp_path / "m"), corpus()
    tiny.recipe(tmp_path / "encoder", normalize=True)
    found = made_of(documents, tmp_path, "sentences")
    other = examples.make(
        documents, [Input.model_validate({"kind": "sentences"})], None, tmp_path, seed=5, watched=8
    )
    assert len(other) == len(found)
    fields = {"steps": 2, "negatives": 2, "negatives_from": "hard", "miner": str(tmp_path / "encoder")}
    widths, mine = [], mining.mine

    def mined(*given: Any, **named: Any) -> mining.Negatives:
        made = mine(*given, **named)
        widths.append(made.rows.shape[1])
        assert (made.rows[given[0].learnt] >= 0).all()
        return made

    def killed(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(mining, "mine", mined)
    with monkeypatch.context() as patched:
        patched.setattr(training, "loss_of", killed)
        with pytest.raises(KeyboardInterrupt):  # before there is a checkpoint
            run(tmp_path / "a", checkpoint, params(**fields, pool=4), documents, found)
    run(tmp_path / "a", checkpoint, params(**fields, pool=6), documents, found)
    assert widths == [4, 6]
    with pytest.raises(Exception, match="holds another training"):
        run(tmp_path / "a", checkpoint, params(**fields, pool=6), documents, other)


def test_it_learns(tmp_path: Path) -> None:
    """Of vectors that nearly all point the same way."""
    documents = corpus()
    found = made_of(documents, tmp_path, "keywords", watched=16)
    model, recipe = opened(tiny_mv.sentence_transformers(tmp_path / "m"))
    with torch.no_grad():
        model[1].linear.weight[1:] *= 0.02
        for name, weight in model[0].named_parameters():
            if "encoder.layer" in name and name.endswith("dense.weight"):  # what a token is counts most
                weight *= 0.2
    chosen = params(steps=60, batch=16, rate=3e-3, temperature=0.3, evaluate_every=60)
    outcome, facts = training.train_model(
        model, found, documents, chosen, tmp_path / "a", identity="x", recipe=recipe, context=CONTEXT
    )
    assert outcome.steps == 60
    seen = [e["loss"] for e in outcome.log if "loss" in e]
    assert seen[-1] < seen[0] - 0.1
    assert facts["held_out_after"]["mrr@10"] > 2 * facts["held_out_before"]["mrr@10"]


def test_the_look_counts_ranks(tmp_path: Path) -> None:
    model, recipe = opened(tiny_mv.sentence_transformers(tmp_path / "m"))
    documents = corpus()
    made = made_of(documents, tmp_path, "sentences", watched=6)

    def ours(queries: list[str], texts: list[str]) -> Any:
        return training.scores_of(model, queries, texts, recipe)

    watch = Watch(ours, made.watched, documents, Passages.find(documents), count=10, seed=0)
    assert len(watch.texts) == 10
    assert not any(query in text for query in watch.queries for text in watch.texts)
    queries = model.encode_query(watch.queries, convert_to_numpy=True, prompt="query: ")
    found = model.encode_document(watch.texts, convert_to_numpy=True, prompt="passage: ")
    scores = np.array([[(q @ d.T).max(axis=1).sum() for d in found] for q in queries])
    np.testing.assert_allclose(ours(watch.queries, watch.texts), scores, atol=1e-4)
    ranks = []
    for line, right in zip(scores, watch.right, strict=True):
        order = np.argsort(-line, kind="stable").tolist()
        ranks.append(1 + min(order.index(d) for d in np.flatnonzero(right)))
    assert watch()["mrr@10"] == pytest.approx(np.mean([1 / r for r in ranks]))
    assert watch()["hits@1"] == pytest.approx(np.mean([r == 1 for r in ranks]))


def test_queries_of_a_split_with_several_answers(tmp_path: Path) -> None:
    documents = corpus()
    asked = TextView(Queries.from_lists([f"q{i}" for i in range(20)], sentences(7, 20, 4)), "{text}")
    data = TrainingData("train", "test", asked, np.repeat(np.arange(20), 2), np.arange(40) % 24)
    found = examples.make(
        documents, [Input.model_validate({"kind": "queries"})], data, tmp_path, seed=0, watched=4
    )
    *_, facts = run(tmp_path / "a", tiny_mv.pylate(tmp_path / "m"), params(steps=2), documents, found)
    assert facts["held_out_queries"] == found.watched.held_out.sum() > 0


@pytest.mark.parametrize("layout", ["colbert", "pylate", "sentence_transformers", "encoder", "xmod"])
def test_what_is_saved_is_what_was_trained(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import MultiVectorEncoder

    fields: dict[str, Any] = {"steps": 2}
    given: dict[str, Any] = {}
    if layout == "encoder":
        folder, fields["dim"] = tiny.bert(tmp_path / "m"), 8
        given = {"query_prompt": "search query: ", "query_length": 9, "document_length": 20, "skip": (".",)}
    elif layout == "xmod":
        folder = tiny_mv.colbert(tmp_path / "m", model="xmod")
        fields["freeze"] = ("embeddings", "adapters")
    else:
        folder = getattr(tiny_mv, layout)(tmp_path / "m")
    model, recipe = opened(folder, **given)
    documents = corpus()
    if layout == "xmod":
        model[0].auto_model.set_default_language("fr_XX")
    before = state(model)
    training.train_model(
        model, made_of(documents, tmp_path), documents, params(**fields), tmp_path / "work", identity="x",
        recipe=recipe, context=CONTEXT,
    )  # fmt: skip
    if layout == "xmod":
        still = {n for n, value in before.items() if torch.equal(value, state(model)[n])}
        assert any("adapter_modules" in n for n in still)
        assert any("word_embeddings" in n for n in still)
        assert not any("attention.self.query.weight" in n for n in still)
    common.save(model, tmp_path / "saved")
    common.save(model, tmp_path / "saved")
    checkpoint = resolve_as(TokenCheckpoint, TokenSettings(str(tmp_path / "saved")), offline=True, fetch=True)
    kept = checkpoint.recipe
    assert kept.layout == "sentence-transformers"
    for name in ("query_prompt", "document_prompt", "query_length", "document_length", "expansion", "skip"):
        assert getattr(kept, name) == getattr(recipe, name), name
    encoder = TokenEncoder(checkpoint, dtype="float32", device="cpu", threads=1, batch_tokens=None)
    encoder.set_language("fr" if layout == "xmod" else None)
    theirs = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    texts = [*documents.texts(0, 5), "wing", "A cell."]
    with torch.no_grad():
        for side in ("query", "document"):
            vectors, mask = training.token_vectors(model, texts, side, recipe)
            ours = encoder.token_vectors(texts, side).parts()
            encode = theirs.encode_query if side == "query" else theirs.encode_document
            for i, other in enumerate(encode(texts, convert_to_numpy=True, show_progress_bar=False)):
                wanted = vectors[i][mask[i]].numpy()
                np.testing.assert_allclose(ours[i], wanted, atol=1e-5)
                np.testing.assert_allclose(np.asarray(other), wanted, atol=1e-5)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_steps_0_take_the_model_as_it_is(tmp_path: Path) -> None:
    checkpoint, documents = tiny_mv.colbert(tmp_path / "m"), corpus()
    model, outcome, _ = run(
        tmp_path / "a", checkpoint, params(steps=0), documents, made_of(documents, tmp_path)
    )
    fresh, _ = opened(checkpoint)
    assert outcome.steps == 0
    assert all(torch.equal(value, state(fresh)[name]) for name, value in state(model).items())


def test_a_projection_is_new_where_there_is_none(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        model, _ = opened(tiny.bert(tmp_path / name))
        training.project(model, 8, seed=4)
        assert model.get_embedding_dimension() == 8
        made.append(model)
    assert torch.equal(made[0][1].linear.weight, made[1][1].linear.weight)
    assert made[0][1].linear.bias is None
    with pytest.raises(InputError, match="has a projection already"):
        training.project(opened(tiny_mv.colbert(tmp_path / "c"))[0], 8, seed=0)
    with pytest.raises(InputError, match="the encoder has no adapters"):
        common.frozen(made[0], ("adapters",))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"loss": ()}, "at least one loss"),
        ({"loss": ("pairwise", "pairwise")}, "each once"),
        ({"loss": ("pairwise",)}, "pairwise needs negatives"),
        ({"loss": ("distillation",), "negatives": 1}, "distillation needs a teacher"),
        ({"batch": 1}, "a batch of 2"),
        ({"negatives_from": "hard"}, "needs negatives: 1"),
        ({"negatives_from": "hard", "negatives": 1}, "need a `miner`"),
        ({"negatives_from": "hard", "negatives": 9, "miner": "x", "pool": 8}, "a pool of 8 has no 9"),
        ({"miner": "x"}, "negatives_from: hard"),
        ({"teacher": {"type": "dense", "model": "x"}}, "nothing learns from the teacher"),
        ({"rate": 0}, "greater than 0"),
        ({"rat": 1}, "Extra inputs"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainingParams.model_validate(fields)


def test_every_field_says_what_it_is() -> None:
    for model in (TrainingParams, Teacher):
        assert all(field.description for field in model.model_fields.values())
