"""The training loop.

A step's batch and its dropout depend on (seed, step) alone, and a checkpoint holds weights, optimiser and step, so a
training that was killed and continued has the same losses, weights and decisions as one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import SeekbenchError
from seekbench.progress import NoProgress, Progress
from seekbench.store import atomic_file, write_atomic
from seekbench.training.schedule import Mixture, learning_rate

if TYPE_CHECKING:
    import torch

#: Large primes keep the random streams of seeds and steps apart.
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Settings:
    """steps: of the optimiser; batch: examples a step; peak_rate: learning rate after `warmup` steps (a share of all
    steps below 1, else a number); clip: of the gradient's norm, 0 for none; evaluate_every, checkpoint_every: steps;
    patience: evaluations without a better `watch` before it stops, 0 for never; micro: examples that go through the
    model at once, 0 for the whole batch, where memory is short; keep: the weights that the model ends with, after the
    last step or at the best evaluation."""

    steps: int
    batch: int
    peak_rate: float
    warmup: float = 0.1
    decay: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    evaluate_every: int = 0
    patience: int = 0
    watch: str = "hits@1"
    checkpoint_every: int = 200
    log_every: int = 20
    micro: int = 0
    keep: Literal["last", "best"] = "last"

    @property
    def warmup_steps(self) -> int:
        return round(self.warmup * self.steps) if self.warmup < 1 else int(self.warmup)


class Task(Protocol):
    """One kind of example. name: in the log, another for each; weight: its share of the examples.

    Optional: `step`, which is set to the number of the step before its loss is asked for.
    """

    name: str
    weight: float

    def __len__(self) -> int: ...

    def loss(self, model: Any, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """The mean loss of the examples `rows`: a tensor of one float, with gradient."""

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """What `loss` is the mean over, e.g. target tokens: parts of a batch weigh by it, so that a batch in parts has
        the gradient of the whole."""


@dataclass
class Outcome:
    """log: one entry a logged step, as in log.jsonl; best_step, best: where `watch` was highest, None without
    evaluations; stopped_early; seconds: of training, over all processes; examples: seen."""

    log: list[dict[str, Any]]
    steps: int
    seconds: float
    examples: int
    best_step: int | None = None
    best: float | None = None
    stopped_early: bool = False
    resumed_at: int = 0


def train(
    model: torch.nn.Module,
    tasks: Sequence[Task],
    settings: Settings,
    folder: Path,
    *,
    identity: str,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Trains the model in place.

    folder: holds checkpoint.pt, log.jsonl and best.pt; a training of the same `identity` (a hash of all that it
    depends on) that was interrupted is continued there, another one is not touched and refused. evaluate: gives
    figures by name, among them `settings.watch`.
    Raises SeekbenchError when the loss is not finite, with what to do.
    """
    import torch

    progress = progress or NoProgress()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(chosen, lr=settings.peak_rate, weight_decay=settings.weight_decay)
    mixture = Mixture(
        tuple(len(t) for t in tasks), tuple(t.weight for t in tasks), settings.batch, settings.seed
    )
    state = _restore(folder, identity, model, optimiser)
    outcome = Outcome(state["log"], state["step"], state["seconds"], 0, resumed_at=state["step"])
    outcome.best_step, outcome.best, waited = state["best_step"], state["best"], state["waited"]
    outcome.stopped_early = state["stopped"]
    began, window = time.perf_counter() - state["seconds"], _Window(state["window"])
    step = state["step"]
    with progress.stage("train", total=settings.steps, unit="steps", done=step) as stage:
        while step < settings.steps and not outcome.stopped_early:
            losses = _step(model, tasks, mixture, optimiser, chosen, settings, step)
            window.add(losses)
            step += 1
            stage.advance(1)
            last = step == settings.steps
            if step % settings.log_every == 0 or last:
                entry = {
                    "step": step,
                    "loss": window.mean(),
                    **window.by_task(),
                    "rate": _rate(settings, step - 1),
                }
                outcome.log.append(entry)
                window = _Window({})
            if (
                evaluate is not None
                and settings.evaluate_every
                and (step % settings.evaluate_every == 0 or last)
            ):
                model.eval()
                found = {name: float(value) for name, value in evaluate().items()}
                outcome.log.append({"step": step, **found})
                score = found[settings.watch]
                waited = 0 if outcome.best is None or score > outcome.best else waited + 1
                if (
                    outcome.best is None or score >= outcome.best
                ):  # of equals the later, which has learnt more
                    outcome.best, outcome.best_step = score, step
                    if settings.keep == "best":
                        _save(folder / "best.pt", {"identity": identity, "model": model.state_dict()})
                outcome.stopped_early = bool(settings.patience) and waited >= settings.patience
            if step % settings.checkpoint_every == 0 or last or outcome.stopped_early:
                _checkpoint(
                    folder,
                    identity,
                    model,
                    optimiser,
                    outcome,
                    step,
                    time.perf_counter() - began,
                    waited,
                    window,
                )
    outcome.steps, outcome.seconds = step, time.perf_counter() - began
    outcome.examples = step * settings.batch
    if settings.keep == "best" and outcome.best_step is not None and outcome.best_step != step:
        model.load_state_dict(_load(folder / "best.pt")["model"])
    model.eval()
    return outcome


def _step(
    model: Any,
    tasks: Sequence[Task],
    mixture: Mixture,
    optimiser: Any,
    chosen: Any,
    settings: Settings,
    step: int,
) -> dict[str, tuple[float, int]]:
    """One step of the optimiser; (mean loss, examples) of each task that took part."""
    import torch

    model.train()
    torch.manual_seed(settings.seed * _SEED_STRIDE + step)
    for group in optimiser.param_groups:
        group["lr"] = _rate(settings, step)
    optimiser.zero_grad(set_to_none=True)
    losses: dict[str, tuple[float, int]] = {}
    for task, rows in zip(tasks, mixture.examples(step), strict=True):
        if not len(rows):
            continue
        if hasattr(task, "step"):
            task.step = step
        mean, whole = 0.0, 0
        size = settings.micro or len(rows)
        if size < len(rows):
            whole = task.units(rows)
        for at in range(0, len(rows), size):
            part = rows[at : at + size]
            loss = task.loss(model, part)
            share = task.units(part) / whole if whole else 1.0
            (loss * (share * len(rows) / settings.batch)).backward()  # type: ignore[no-untyped-call]
            mean += float(loss.detach()) * share
        losses[task.name] = mean, len(rows)
        if not math.isfinite(mean):
            raise SeekbenchError(
                f"the loss of '{task.name}' is {mean} at step {step}; lower the learning rate, "
                f"which is {_rate(settings, step):.2g} there, or clip the gradient (clip: {settings.clip})"
            )
    if settings.clip:
        torch.nn.utils.clip_grad_norm_(chosen, settings.clip)
    optimiser.step()
    return losses


def _rate(settings: Settings, step: int) -> float:
    return learning_rate(
        step,
        peak=settings.peak_rate,
        warmup=settings.warmup_steps,
        steps=settings.steps,
        decay=settings.decay,
    )


class _Window:
    """Losses since the last entry of the log: of each task, their sum over examples, and the examples."""

    def __init__(self, sums: Mapping[str, Sequence[float]]) -> None:
        self.sums = {name: [float(x) for x in pair] for name, pair in sums.items()}

    def add(self, losses: Mapping[str, tuple[float, int]]) -> None:
        for name, (value, examples) in losses.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += value * examples
            pair[1] += examples

    def mean(self) -> float:
        """The loss that was trained on: the mean over examples of all tasks."""
        total, examples = (sum(pair[i] for pair in self.sums.values()) for i in (0, 1))
        return total / examples if examples else math.nan

    def by_task(self) -> dict[str, float]:
        if len(self.sums) < 2:
            return {}
        return {f"loss {name}": total / count for name, (total, count) in self.sums.items()}


def _checkpoint(
    folder: Path, identity: str, model: Any, optimiser: Any, outcome: Outcome, step: int, seconds: float,
    waited: int, window: _Window,
) -> None:  # fmt: skip
    lines = b"".join(orjson.dumps(entry) + b"\n" for entry in outcome.log)
    write_atomic(folder / "log.jsonl", lines)
    _save(
        folder / "checkpoint.pt",
        {
            "identity": identity,
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "seconds": seconds,
            "log": outcome.log,
            "best_step": outcome.best_step,
            "best": outcome.best,
            "waited": waited,
            "stopped": outcome.stopped_early,
            "window": window.sums,
        },
    )


def _restore(folder: Path, identity: str, model: Any, optimiser: Any) -> dict[str, Any]:
    fresh: dict[str, Any] = {
        "step": 0, "seconds": 0.0, "log": [], "best_step": None, "best": None, "waited": 0, "stopped": False,
        "window": {},
    }  # fmt: skip
    path = folder / "checkpoint.pt"
    if not path.exists():
        return fresh
    state = _load(path)
    if state["identity"] != identity:
        raise SeekbenchError(f"{folder} holds another training; name another folder or remove it")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return {name: state[name] for name in fresh}


def _save(path: Path, state: Mapping[str, Any]) -> None:
    import torch

    with atomic_file(path) as part:
        torch.save(dict(state), part)


def _load(path: Path) -> dict[str, Any]:
    import torch

    # weights_only: a checkpoint is data, not code.
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def plot(log: Sequence[Mapping[str, Any]], path: Path, *, title: str = "") -> None:
    """Draws the losses and, on a second axis, the figures of evaluations, as PNG."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    left = figure.subplots()
    names = dict.fromkeys(n for entry in log for n in entry if n not in ("step", "rate"))
    right = None
    for i, name in enumerate(names):
        points = [(e["step"], e[name]) for e in log if name in e]
        axis = left
        if not name.startswith("loss"):
            right = right or left.twinx()
            axis = right
        axis.plot(*zip(*points, strict=True), label=name, color=f"C{i}", marker=None if axis is left else "o")
    left.set_xlabel("step")
    left.set_ylabel("loss")
    if right is not None:
        right.set_ylim(0, 1)
        right.set_ylabel("score of the evaluation")
    figure.legend(loc="outside lower center", ncol=4, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    with atomic_file(path) as part:
        figure.savefig(part, format="png")
