"""The shared trainer: batches are a function of the step, and a killed training goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.errors import SeekbenchError
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
    found, model = _run(tmp_path, steps=2000, patience=3, decay="constant")
    assert found.stopped_early
    assert found.steps < 2000
    assert found.best_step == found.steps - 30
    best = [e for e in found.log if e["step"] == found.best_step and "hits@1" in e]
    assert found.best == max(e["hits@1"] for e in found.log if "hits@1" in e) == best[0]["hits@1"]
    held = Classes("a", 3.0, 1)
    with torch.no_grad():
        assert float((model(held.points).argmax(1) == held.target).float().mean()) == pytest.approx(
            found.best
        )


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


def test_curves_are_drawn(tmp_path: Path) -> None:
    found, _ = _run(tmp_path)
    plot(found.log, tmp_path / "curves.png", title="a test")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
