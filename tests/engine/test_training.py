"""The shared trainer: batches are a function of the step, and a killed training goes on as if nothing had been."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.collection import Corpus, Dataset, Qrels, Queries
from seekbench.errors import SeekbenchError
from seekbench.metrics.evaluate import Scores
from seekbench.metrics.measure import parse
from seekbench.recording import _trained
from seekbench.retrievers.protocol import Context, TextView, TrainingData
from seekbench.training.queries import training_data, unseen_documents, with_neighbour
from seekbench.training.schedule import Mixture, learning_rate
from seekbench.training.trainer import Outcome, Settings, plot, train


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from([0.0, 1.0, 2.5, 32.0])), min_size=1, max_size=4
    ).filter(lambda tasks: any(w for _, w in tasks)),
    st.integers(1, 20),
)
def test_every_example_is_seen_once_a_turn(tasks: list[tuple[int, float]], batch: int) -> None:
    mixture = Mixture(tuple(n for n, _ in tasks), tuple(w for _, w in tasks), batch, seed=3)
    seen = [np.zeros(n, dtype=int) for n, _ in tasks]
    for step in range(40):
        found = mixture.examples(step)
        assert sum(map(len, found)) == batch
        for counts, rows in zip(seen, found, strict=True):
            np.add.at(counts, rows, 1)
    total = sum(w for _, w in tasks)
    for counts, (_, weight) in zip(seen, tasks, strict=True):
        assert counts.max() - counts.min() <= 1
        assert weight or not counts.sum()
        assert abs(counts.sum() / (40 * batch) - weight / total) < 0.35


def test_shares_are_kept_over_many_steps() -> None:
    mixture = Mixture((100, 100), (32.0, 1.0), 8)
    counts = np.array([[len(rows) for rows in mixture.examples(step)] for step in range(5000)])
    assert counts[:, 1].mean() / 8 == pytest.approx(1 / 33, rel=0.1)
    assert [len(r) for r in Mixture((5, 5), (0.3, 0.7), 10).examples(7)] == [3, 7]


def test_rates() -> None:
    rates = [learning_rate(s, peak=1.0, warmup=10, steps=100) for s in range(100)]
    assert rates[9] == 1.0 == max(rates)
    assert rates[0] == 0.1
    assert rates[99] == pytest.approx(1 / 90)
    assert learning_rate(50, peak=1.0, warmup=0, steps=100, decay="cosine") == pytest.approx(0.5)
    assert learning_rate(50, peak=1.0, warmup=0, steps=100, decay="constant") == 1.0


class Classes:
    """Points of four clusters; the task is to name the cluster."""

    def __init__(self, name: str, weight: float, seed: int) -> None:
        self.name, self.weight = name, weight
        rng = np.random.default_rng(seed)
        self.target = torch.tensor(rng.integers(0, 4, 64))
        self.points = torch.eye(4)[self.target] * 2 + torch.tensor(
            rng.normal(size=(64, 4)), dtype=torch.float32
        )

    def __len__(self) -> int:
        return 64

    def loss(self, model: Any, rows: Any) -> torch.Tensor:
        at = torch.as_tensor(rows)
        return torch.nn.functional.cross_entropy(model(self.points[at]), self.target[at])

    def units(self, rows: Any) -> int:
        return len(rows)


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )


def _run(folder: Path, *, dies_at: int | None = None, steps: int = 60, **more: Any) -> tuple[Outcome, Any]:
    model = _model()
    tasks = [Classes("a", 3.0, 1), Classes("b", 1.0, 2)]
    calls = 0

    def evaluate() -> dict[str, float]:
        nonlocal calls
        calls += 1
        if dies_at is not None and calls > dies_at:
            raise KeyboardInterrupt
        with torch.no_grad():
            return {"hits@1": float((model(tasks[0].points).argmax(1) == tasks[0].target).float().mean())}

    chosen = Settings(
        **{
            "steps": steps, "batch": 16, "peak_rate": 0.02, "seed": 5, "evaluate_every": 10, "checkpoint_every": 7,
            "log_every": 5, **more,
        }
    )  # fmt: skip
    return train(model, tasks, chosen, folder, identity="x", evaluate=evaluate), model


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, model = _run(tmp_path / "whole")
    for dies_at in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "killed", dies_at=dies_at)
    again, continued = _run(tmp_path / "killed")
    assert again.resumed_at == 49
    assert again.log == whole.log
    assert (again.best, again.best_step, again.steps) == (whole.best, whole.best_step, whole.steps)
    for one, other in zip(model.parameters(), continued.parameters(), strict=True):
        assert torch.equal(one, other)
    losses = [e["loss"] for e in whole.log if "loss" in e]
    assert losses[-1] < losses[0] / 2
    assert {"loss a", "loss b"} <= set(whole.log[0])
    finished, _ = _run(tmp_path / "whole")
    assert finished.resumed_at == 60
    assert finished.log == whole.log


def test_it_stops_early_with_the_best_weights(tmp_path: Path) -> None:
    found, model = _run(tmp_path, steps=2000, patience=3, decay="constant", keep="best", peak_rate=0.05)
    assert found.stopped_early
    assert found.steps < 2000
    best = [e for e in found.log if e["step"] == found.best_step and "hits@1" in e]
    assert found.best == max(e["hits@1"] for e in found.log if "hits@1" in e) == best[0]["hits@1"]
    held = Classes("a", 3.0, 1)
    with torch.no_grad():
        assert float((model(held.points).argmax(1) == held.target).float().mean()) == pytest.approx(
            found.best
        )


def test_the_last_weights_are_kept_unless_the_best_are_asked_for(tmp_path: Path) -> None:
    found, model = _run(tmp_path, steps=200, decay="constant", peak_rate=0.3)
    assert found.best_step is not None
    assert found.best_step < 200
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert not (tmp_path / "best.pt").exists()


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    _run(tmp_path)
    task = Classes("a", 1.0, 1)
    with pytest.raises(SeekbenchError, match="holds another training"):
        train(_model(), [task], Settings(10, 4, 0.01), tmp_path, identity="y")


def test_a_loss_that_is_not_finite_is_said(tmp_path: Path) -> None:
    class Broken(Classes):
        def loss(self, model: Any, rows: Any) -> torch.Tensor:
            return super().loss(model, rows) * float("nan")

    with pytest.raises(SeekbenchError, match="the loss of 'a' is nan at step 0; lower the learning rate"):
        train(_model(), [Broken("a", 1.0, 1)], Settings(10, 4, 0.01), tmp_path, identity="y")


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path) -> None:
    """Also where examples have different numbers of units (target tokens)."""

    class Ragged(Classes):
        def loss(self, model: Any, rows: Any) -> torch.Tensor:
            at = torch.as_tensor(rows)
            each = torch.nn.functional.cross_entropy(
                model(self.points[at]), self.target[at], reduction="none"
            )
            size = 1.0 + at % 7
            return (each * size).sum() / size.sum()

        def units(self, rows: Any) -> int:
            return int((1 + rows % 7).sum())

    def after(micro: int) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 4)
        tasks = [Ragged("a", 3.0, 1), Ragged("b", 1.0, 2)]
        chosen = Settings(8, 16, 0.01, micro=micro, log_every=2)
        found = train(model, tasks, chosen, tmp_path / str(micro), identity="x")
        return model.weight.detach(), [e["loss"] for e in found.log]

    whole = after(0)
    for micro in (1, 3, 5):
        weight, losses = after(micro)
        assert torch.allclose(weight, whole[0], atol=1e-6)
        assert losses == pytest.approx(whole[1], rel=1e-5)


def test_curves_are_drawn(tmp_path: Path) -> None:
    found, _ = _run(tmp_path)
    plot(found.log, tmp_path / "curves.png", title="a test")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def _split(name: str, queries: dict[str, str], relevant: list[tuple[str, int, int]]) -> Dataset:
    """A split of six documents d0 .. d5 (document 6 is judged and absent); relevant: (query, document, grade)."""
    ids = list(queries)
    rows = np.array([ids.index(q) for q, _, _ in relevant])
    qrels = Qrels.from_triples(
        rows,
        np.array([d for _, d, _ in relevant]),
        np.array([g for _, _, g in relevant]),
        queries=len(ids),
        corpus_size=6,
        absent_ids=("gone",),
    )
    corpus = Corpus.from_lists([f"d{i}" for i in range(6)], [f"text {i}" for i in range(6)])
    return Dataset("planted", name, corpus, Queries.from_lists(ids, list(queries.values())), qrels)


#: b1 asks as t1 for the same document, b2 as t1 for another, b3 as t2 for one of two; b4 is close to nothing, b5 is
#: close to t3 in a document of grade 0, b6 asks for a document that the corpus lacks, b7 for nothing.
_EVALUATED = _split(
    "test",
    {f"b{i}": t for i, t in enumerate(["wing", "wing", "heat", "moon", "salt", "gone", "none"], 1)},
    [
        ("b1", 0, 1), ("b1", 5, 2), ("b2", 1, 1), ("b3", 1, 1), ("b3", 2, 1), ("b4", 0, 1), ("b4", 2, 1), ("b5", 3, 0),
        ("b5", 4, 1), ("b6", 6, 1),
    ],
)  # fmt: skip
_LEARNT = training_data(
    _EVALUATED,
    _split(
        "train",
        {"t1": "wings", "t2": "hot", "t3": "salty", "t4": "wing"},
        [("t1", 0, 1), ("t2", 2, 1), ("t3", 3, 1), ("t4", 4, 1)],
    ),
)
_PLANTED = {"wing": 0.0, "wings": 0.3, "heat": 2.0, "hot": 1.6, "moon": 4.0, "salt": 5.0, "salty": 5.1}


def _angles(texts: list[str], context: Any = None) -> Any:
    """Vectors in a plane; cos .3 = .955, cos .4 = .921, cos 1 = .54."""
    angles = [_PLANTED.get(t, 3.0) for t in texts]
    return np.array([[np.cos(a), np.sin(a)] for a in angles], dtype=np.float32)


def test_neighbours_share_words_and_a_relevant_document() -> None:
    assert _LEARNT.left_out == 1
    near = with_neighbour(_EVALUATED, _LEARNT, _angles)
    assert near.tolist() == [True, False, True, False, False, False, False]


def test_only_queries_with_a_document_in_common_are_embedded() -> None:
    seen: list[str] = []

    def embed(texts: list[str]) -> Any:
        seen.extend(texts)
        return _angles(texts)

    with_neighbour(_EVALUATED, _LEARNT, embed)
    assert set(seen) - set(_EVALUATED.queries.texts("{text}")) == {"wings", "hot"}


def test_neighbours_without_an_encoder() -> None:
    """TF-IDF: the same words in another case are close."""
    evaluated = _split("test", {"a": "flow over wings", "b": "heat of the moon"}, [("a", 0, 1), ("b", 1, 1)])
    view = TextView(
        _split("train", {"t": "Flow over: WINGS", "u": "the salt sea"}, [("t", 0, 1)]).queries, "{text}"
    )
    data = TrainingData("train", "test", view, np.array([0, 1]), np.array([0, 1]))
    assert with_neighbour(evaluated, data, None).tolist() == [True, False]


def test_test_queries_in_other_marks_and_forms_are_left_out() -> None:
    evaluated = _split(
        "test", {"a": "What is heat-transfer?", "b": "“Naïve” flow", "c": "?!"}, [("a", 0, 1), ("b", 1, 1)]
    )
    texts = {"t": "what is heat transfer", "u": '"Nai\u0308ve"  FLOW', "v": "!?", "w": "lift"}
    other = _split("train", texts, [(i, 2, 1) for i in texts])
    data = training_data(evaluated, other)
    assert data.queries.texts() == ["!?", "lift"]
    assert data.left_out == 2


def test_nothing_in_common() -> None:
    evaluated = _split("test", {"a": "wing"}, [("a", 0, 1)])
    data = training_data(evaluated, _split("train", {"t": "wings"}, [("t", 1, 1)]))

    def never(texts: list[str]) -> Any:
        raise AssertionError

    assert with_neighbour(evaluated, data, never).tolist() == [False]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_neighbours_are_those_of_a_plain_loop(data: Any) -> None:
    pairs = st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 1)),
        min_size=1,
        unique_by=lambda p: p[:2],
    )
    own, theirs = data.draw(pairs), data.draw(pairs.filter(lambda ps: any(g for _, _, g in ps)))
    angles = {f"{side}{i}": data.draw(st.floats(0, 1.5)) for side in "qt" for i in range(5)}
    evaluated = _split("test", {f"q{i}": f"q{i}" for i in range(5)}, [(f"q{q}", d, g) for q, d, g in own])
    other = _split("train", {f"t{i}": f"t{i}" for i in range(5)}, [(f"t{q}", d, g) for q, d, g in theirs])

    def embed(texts: list[str]) -> Any:
        return np.array([[np.cos(angles[t]), np.sin(angles[t])] for t in texts], dtype=np.float32)

    expected = [False] * 5
    for q, d, g in own:
        for t, e, h in theirs:
            cosine = float(np.cos(angles[f"q{q}"] - angles[f"t{t}"]))
            if abs(cosine - 0.9) < 1e-5:
                return
            expected[q] |= bool(g and h and d == e and cosine >= 0.9)
    assert with_neighbour(evaluated, training_data(evaluated, other), embed).tolist() == expected


def test_documents_that_no_training_query_names() -> None:
    """Relevant are d0, d1, d2, d4, d5; training names d0, d2, d3 (t4, which names d4, is left out)."""
    new = unseen_documents(_EVALUATED, _LEARNT)
    assert (new.relevant, new.unseen) == (5, 3)
    assert new.queries.tolist() == [False, True, False, False, True, False, False]


def test_the_record_of_a_system_that_learnt() -> None:
    """hits@1: b1, b3 and b5 are found; num_rel is a sum."""
    values = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [np.nan, 1.0]])
    measures = (parse("success@1"), parse("num_rel"))
    ids = _EVALUATED.queries.ids().to_pylist()
    scores = Scores(measures, ids, values, values.sum(axis=0), _EVALUATED.qrels, None)
    retriever: Any = SimpleNamespace(training=_LEARNT, embed_queries=_angles)
    told = _trained(retriever, _EVALUATED, scores, Context())
    assert told is not None
    assert told["with_neighbour"] == ["b1", "b3"]
    assert (told["queries_with_neighbour"], told["queries_without_neighbour"]) == (2, 5)
    assert told["without_neighbour"] == {"success@1": {"mean": 0.25}}
    assert (told["relevant_documents"], told["relevant_documents_unseen"]) == (5, 3)
    assert (told["queries_unseen"], told["unseen"]) == (2, {"success@1": {"mean": 0.5}})
    assert told["method"] == "embeddings"
    assert json.loads(json.dumps(told)) == told
    plain = _trained(SimpleNamespace(training=_LEARNT), _EVALUATED, scores, Context())  # type: ignore[arg-type]
    assert plain is not None
    assert plain["method"].startswith("tf-idf")
    untrained: Any = SimpleNamespace(training=None)
    assert _trained(untrained, _EVALUATED, scores, Context()) is None
    # A composite knows what its parts know.
    fused = _trained(untrained, _EVALUATED, scores, Context(), [told, {**told, "with_neighbour": ["b2"]}])
    assert fused is not None
    assert fused["with_neighbour"] == ["b1", "b2", "b3"]
    assert fused["queries_unseen"] == 2
