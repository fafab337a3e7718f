"""Seeded k-means on one thread: the same clusters whatever the machine's load or number of cores.

torch computes, since its number of threads can be set from within; all tensors are allocated by it, so that
their alignment, and with it the order of sums, does not depend on where vectors come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: Rows read and compared with all centres at once.
BLOCK = 8192
#: Squared distances below this share of the points' squared lengths may be rounding, and are computed again.
_CLOSE = 1e-4


@contextmanager
def single_thread() -> Iterator[None]:
    """torch computes on one thread inside: sums then have one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gather(vectors: Floats, rows: Ints | slice) -> torch.Tensor:
    """float32 [rows, dim] in memory of torch."""
    import torch

    part = vectors[rows]
    out = torch.empty(part.shape, dtype=torch.float32)
    out.numpy()[...] = part
    return out


def sample_of(rows: Ints, most: int, seed: Sequence[int]) -> Ints:
    """`most` of the rows at random, ascending; all where there are no more."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng([*seed, len(rows)])
    return np.sort(rng.choice(rows, most, replace=False))


def kmeans(
    points: torch.Tensor,
    k: int,
    *,
    seed: Sequence[int],
    restarts: int = 1,
    iterations: int = 300,
    tolerance: float = 1e-4,
) -> tuple[torch.Tensor, float]:
    """Lloyd's k-means from greedy k-means++ seeds (Arthur & Vassilvitskii 2007); the best of `restarts`.

    points: float32 [n, dim]. Stops when no point moves, when the error falls by less than `tolerance` of
    itself, or after `iterations`. Returns centres float32 [<= k, dim], no two equal and none without points,
    and the sum of squared distances. Call it inside `single_thread`.
    """
    # Distances by |x|^2 - 2xc + |c|^2 lose what the points have in common.
    middle = points.double().mean(dim=0).float() if len(points) <= BLOCK else _mean(points)
    points = points - middle
    squares = points.square().sum(dim=1)
    best: tuple[torch.Tensor, float] | None = None
    for restart in range(restarts):
        rng = np.random.default_rng([*seed, restart])
        centres = _seeds(points, squares, k, rng)
        found = _lloyd(points, squares, centres, iterations, tolerance)
        if best is None or found[1] < best[1]:
            best = found
    assert best is not None
    return best[0] + middle, best[1]


def nearest(points: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(int64 [n] number of the nearest centre, the first of equally near ones; float32 [n] squared distance)."""
    import torch

    middle = centres.mean(dim=0)
    points, centres = points - middle, centres - middle
    return _nearest(points, points.square().sum(dim=1), centres, torch.empty(len(points), dtype=torch.int64))


def cluster(
    vectors: Floats,
    rows: Ints,
    k: int,
    *,
    seed: Sequence[int],
    sample: int,
    restarts: int,
    iterations: int,
) -> Ints:
    """int64 [rows]: a cluster number below k for each of the rows; the labels of `clusters`."""
    return clusters(vectors, rows, k, seed=seed, sample=sample, restarts=restarts, iterations=iterations)[0]


def clusters(
    vectors: Floats,
    rows: Ints,
    k: int,
    *,
    seed: Sequence[int],
    sample: int,
    restarts: int,
    iterations: int,
) -> tuple[Ints, Floats]:
    """(int64 [rows]: a cluster number for each of the rows; float32 [<= k, dim]: the clusters' centres).

    Centres are fitted on at most `sample` of the rows, which bounds memory (4 x sample x dim bytes, three
    times) and time; all rows then go to the nearest centre. Call it inside `single_thread`.
    """
    points = gather(vectors, sample_of(rows, sample, seed))
    centres, _ = kmeans(points, k, seed=seed, restarts=restarts, iterations=iterations)
    labels = np.empty(len(rows), dtype=np.int64)
    if len(points) == len(rows):
        return np.asarray(nearest(points, centres)[0].numpy()), np.asarray(centres.numpy())
    for at in range(0, len(rows), BLOCK):
        found, _ = nearest(gather(vectors, rows[at : at + BLOCK]), centres)
        labels[at : at + BLOCK] = found.numpy()
    return labels, np.asarray(centres.numpy())


def _mean(points: torch.Tensor) -> torch.Tensor:
    import torch

    total = torch.zeros(points.shape[1], dtype=torch.float64)
    for at in range(0, len(points), BLOCK):
        total += points[at : at + BLOCK].double().sum(dim=0)
    return (total / len(points)).float()


def _squared(points: torch.Tensor, squares: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """float32 [n, others]: squared distances, none negative; those of near points are mostly rounding."""
    import torch

    lengths = squares[:, None] + others.square().sum(dim=1)
    return torch.addmm(lengths, points, others.T, alpha=-2).clamp_(min=0)


def _exactly(points: torch.Tensor, squares: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """float32 [n, others]: squared distances, those of near points too, and exactly 0 for equal ones."""
    import torch

    distance = _squared(points, squares, others)
    close = distance < _CLOSE * (squares[:, None] + others.square().sum(dim=1))
    for column in torch.nonzero(close.any(dim=0))[:, 0].tolist():
        rows = torch.nonzero(close[:, column])[:, 0]
        for at in range(0, len(rows), BLOCK):
            some = rows[at : at + BLOCK]
            distance[some, column] = (points[some] - others[column]).square().sum(dim=1)
    return distance


def _seeds(points: torch.Tensor, squares: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """At most k points, fewer where fewer differ; each the best of some that were drawn by squared distance."""
    import torch

    trials = 2 + int(math.log(k))
    chosen = [int(rng.integers(len(points)))]
    closest = _exactly(points, squares, points[chosen])[:, 0]
    while len(chosen) < k:
        mass = closest.double().cumsum(dim=0).numpy()
        if mass[-1] <= 0:
            break
        drawn = np.minimum(np.searchsorted(mass, rng.random(trials) * mass[-1], side="right"), len(mass) - 1)
        near = torch.minimum(_exactly(points, squares, points[torch.from_numpy(drawn)]), closest[:, None])
        best = int(near.sum(dim=0, dtype=torch.float64).argmin())
        chosen.append(int(drawn[best]))
        closest = near[:, best].contiguous()
    return points[chosen]


def _nearest(
    points: torch.Tensor, squares: torch.Tensor, centres: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    distance = torch.empty(len(points), dtype=torch.float32)
    for at in range(0, len(points), BLOCK):
        part = slice(at, at + BLOCK)
        distance[part], labels[part] = _squared(points[part], squares[part], centres).min(dim=1)
    return labels, distance


def _lloyd(
    points: torch.Tensor, squares: torch.Tensor, centres: torch.Tensor, iterations: int, tolerance: float
) -> tuple[torch.Tensor, float]:
    import torch

    before: Any = None
    error = last = math.inf
    for _ in range(iterations):
        labels, distance = _nearest(points, squares, centres, torch.empty(len(points), dtype=torch.int64))
        error = float(distance.sum(dtype=torch.float64))
        if (before is not None and torch.equal(labels, before)) or last - error < tolerance * error:
            break
        before, last = labels, error
        centres = _means(points, labels, len(centres))
        empty = torch.bincount(labels, minlength=len(centres)) == 0
        if empty.any():
            # An empty cluster moves to the point that is served worst; the stable sort settles ties by row.
            worst = torch.argsort(distance, descending=True, stable=True)[: int(empty.sum())]
            centres[empty] = points[worst]
    labels, distance = _nearest(points, squares, centres, torch.empty(len(points), dtype=torch.int64))
    used = torch.bincount(labels, minlength=len(centres)) > 0
    return centres[used], float(distance.sum(dtype=torch.float64))


def _means(points: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    import torch

    sums = torch.zeros((k, points.shape[1]), dtype=torch.float64)
    for at in range(0, len(points), BLOCK):
        part = torch.zeros((k, points.shape[1]), dtype=torch.float32)
        part.index_add_(0, labels[at : at + BLOCK], points[at : at + BLOCK])
        sums += part
    return (sums / torch.bincount(labels, minlength=k).clamp(min=1)[:, None]).float()
