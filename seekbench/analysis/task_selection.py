"""Fewer tasks that rank systems as all do: those that the others predict best are removed, one after the other.

MMTEB's selection (Enevoldsen et al. 2025, arXiv 2502.13595; mteb/task_selection.py at 10dae45): a system's score on
a task is predicted by linear regression on its scores on the other tasks, fitted to the other systems; the task whose
predictions have the highest Spearman correlation with its scores is removed, while that is at least 0.95 and the mean
squared error of the z-scored predictions at most 0.2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seekbench.statistics.borda import borda
from seekbench.statistics.correlation import kendall_tau, pearson, spearman

Floats = npt.NDArray[np.float64]

#: MMTEB's thresholds.
LEAST_SPEARMAN, MOST_ERROR = 0.95, 0.2
#: A leverage from which on the short way to leave a system out divides by nearly nothing.
_LEVERAGE = 1 - 1e-6


@dataclass(frozen=True)
class Predicted:
    """How well the other tasks predict a task (its place). rho, r: Spearman's and Pearson's correlation of predicted
    and actual scores; error: mean squared error in units of the scores' variance."""

    task: int
    rho: float
    r: float
    error: float


@dataclass(frozen=True)
class Selection:
    """kept: tasks (places), ascending; removed: in this order, each as it was predicted when it was removed. stop: the
    best predicted task that was not removed for the thresholds; None where the number of tasks ended it."""

    kept: tuple[int, ...]
    removed: tuple[Predicted, ...]
    stop: Predicted | None


def left_out_predictions(features: npt.ArrayLike, target: npt.ArrayLike) -> Floats:
    """float64 [systems]: each system's target predicted by least squares with an intercept, fitted to all others.

    features: float64 [systems, tasks]; target: float64 [systems]. With fewer systems than tasks the fit is the one of
    minimum norm, as scikit-learn's LinearRegression.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if len(x) > x.shape[1] + 1:
        # The residual without a system is its residual over 1 - its leverage (Allen 1974).
        design = np.column_stack([np.ones(len(x)), x])
        basis, triangle = np.linalg.qr(design)
        diagonal = np.abs(np.diag(triangle))
        leverage = (basis**2).sum(axis=1)
        if diagonal.min() > 1e-10 * diagonal.max() and leverage.max() < _LEVERAGE:
            residual = y - basis @ (basis.T @ y)
            out: Floats = y - residual / (1 - leverage)
            return out
    found = np.empty(len(x))
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        found[i] = _fitted(x[rest], y[rest], x[i : i + 1])[0]
    return found


def _fitted(x: Floats, y: Floats, new: Floats) -> Floats:
    """float64 [len(new)]: least squares of minimum norm with an intercept, fitted to x and y."""
    middle, level = x.mean(axis=0), y.mean()
    weights = np.linalg.lstsq(x - middle, y - level, rcond=None)[0]
    out: Floats = level + (new - middle) @ weights
    return out


def predicted(scores: npt.ArrayLike, task: int, others: Sequence[int]) -> Predicted:
    """How well `others` predict a task; scores: float64 [systems, tasks]. A task on which all systems score the same is
    predicted perfectly: it tells nothing of them."""
    table = np.asarray(scores, dtype=np.float64)
    actual = table[:, task]
    guess = left_out_predictions(table[:, list(others)], actual)
    spread = float(actual.std())
    if spread <= 1e-12 * max(1.0, float(np.abs(actual).max())):
        return Predicted(task, 1.0, 1.0, 0.0)
    rho, r = spearman(guess, actual), pearson(guess, actual)
    error = float((((guess - actual) / spread) ** 2).mean())
    return Predicted(task, 0.0 if np.isnan(rho) else rho, 0.0 if np.isnan(r) else r, error)


def select(
    scores: npt.ArrayLike, *, keep: int = 2, least: float = LEAST_SPEARMAN, most: float = MOST_ERROR,
    locked: Collection[int] = (), progress: Callable[[int], object] = lambda left: None,
) -> Selection:  # fmt: skip
    """Removes the best predicted task, again and again.

    scores: float64 [systems, tasks]. keep: tasks that stay at least, 2 or more; least: Spearman's correlation, and
    most: error, up to which a task is removed; locked: tasks that always stay.
    """
    table = np.asarray(scores, dtype=np.float64)
    left = list(range(table.shape[1]))
    removed: list[Predicted] = []
    while len(left) > max(2, keep):
        found = [
            predicted(table, task, [t for t in left if t != task]) for task in left if task not in locked
        ]
        # Of equals, to rounding, the first: the order of the tasks decides.
        found.sort(key=lambda p: (-round(p.rho, 12), round(p.error, 12)))
        good = [p for p in found if p.rho >= least and p.error <= most]
        if not good:
            return Selection(tuple(left), tuple(removed), found[0] if found else None)
        removed.append(good[0])
        left.remove(good[0].task)
        progress(len(left))
    return Selection(tuple(left), tuple(removed), None)


@dataclass(frozen=True)
class Ranking:
    """Agreement of systems ranked by some tasks with systems ranked by all. tau: Kendall's tau-b; rho: Spearman's."""

    tau: float
    rho: float


def rankings(
    scores: npt.ArrayLike, kept: Sequence[int], others: npt.ArrayLike | None = None
) -> dict[str, Ranking]:
    """Agreement of what the tasks kept say with the mean over all tasks, or with MMTEB's Borda count of all.

    scores: float64 [systems, tasks]; others: of other systems, to fit the estimate to. `mean`, `Borda`: over the tasks
    kept; `estimate`: the mean over all tasks as least squares predict it from the tasks kept, fitted to the other
    systems, or without them to all systems but the one that is predicted.
    """
    table = np.asarray(scores, dtype=np.float64)
    part, whole = table[:, list(kept)], table.mean(axis=1)
    if others is None:
        estimate = left_out_predictions(part, whole)
    else:
        fit = np.asarray(others, dtype=np.float64)
        estimate = _fitted(fit[:, list(kept)], fit.mean(axis=1), part)
    pairs = {
        "mean": (whole, part.mean(axis=1)),
        "Borda": (borda(table).points, borda(part).points),
        "estimate": (whole, estimate),
    }
    return {name: Ranking(kendall_tau(*pair), spearman(*pair)) for name, pair in pairs.items()}


def of_random_sets(
    scores: npt.ArrayLike, size: int, others: npt.ArrayLike | None = None, *, draws: int = 200, seed: int = 13,
    locked: Collection[int] = (),
) -> dict[str, list[Ranking]]:  # fmt: skip
    """The agreement (`rankings`) of as many tasks drawn at random, `draws` times: what a selection has to beat."""
    table = np.asarray(scores, dtype=np.float64)
    rng = np.random.Generator(np.random.PCG64(seed))
    free = [t for t in range(table.shape[1]) if t not in locked]
    out: dict[str, list[Ranking]] = {}
    for _ in range(draws):
        drawn = rng.choice(free, size=size - len(locked), replace=False).tolist()
        for name, found in rankings(table, sorted([*locked, *drawn]), others).items():
            out.setdefault(name, []).append(found)
    return out


def split(systems: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(selecting, held out): int64 rows, ascending; `share` of the systems, rounded, are held out by the seed."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(systems)
    count = round(share * systems)
    return np.sort(order[count:]), np.sort(order[:count])
