"""Which examples a step sees: a pure function of seed and step, so that a continued training sees the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mixture:
    """Batches over several tasks. sizes: examples of each task; weights: their share of the examples seen (any scale;
    e.g. 32:1 for DSI's 32 indexing examples a retrieval example); batch: examples a step.

    Every task is walked in a new random order each time that it is used up, so an example is seen for the (n + 1)th
    time only after all others of its task were seen n times.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    batch: int
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.weights) or not self.sizes:
            raise ValueError(f"{len(self.sizes)} sizes and {len(self.weights)} weights")
        if min(self.sizes) < 1 or min(self.weights) < 0 or sum(self.weights) <= 0 or self.batch < 1:
            raise ValueError("every task needs examples, weights >= 0 that are not all 0, and a batch >= 1")

    def examples(self, step: int) -> list[Rows]:
        """int64 rows of each task in the batch of a step (0-based); together `batch` many."""
        return [
            self._walk(task, first, last)
            for task, (first, last) in enumerate(zip(self._seen(step), self._seen(step + 1), strict=True))
        ]

    def _seen(self, step: int) -> list[int]:
        """How many examples of each task were seen before a step."""
        chunk, at = divmod(step, _CHUNK)
        seen = np.zeros(len(self.sizes), dtype=np.int64)
        for before in range(chunk):
            seen += self._counts(before)[-1]
        if at:
            seen += self._counts(chunk)[at - 1]
        return [int(n) for n in seen]

    def _counts(self, chunk: int) -> Rows:
        return _running_counts(self.batch, self.weights, self.seed, chunk)

    def _walk(self, task: int, first: int, last: int) -> Rows:
        size, out = self.sizes[task], []
        while first < last:
            turn, at = divmod(first, size)
            stop = min(size, at + last - first)
            out.append(_order(self.seed, task, turn, size)[at:stop])
            first += stop - at
        return np.concatenate(out) if out else np.empty(0, np.int64)


#: Steps whose counts are drawn at once.
_CHUNK = 4096


@lru_cache(maxsize=256)
def _running_counts(batch: int, weights: tuple[float, ...], seed: int, chunk: int) -> Rows:
    """int64 [_CHUNK, tasks]: examples of each task in the steps of a chunk, added up. A step has the whole part of each
    task's share, and what is left of the batch goes to tasks at random, by the rest of their shares."""
    share = np.array(weights) / sum(weights) * batch
    # 0.3 * 10 is a little less than 3.
    whole = np.floor(share + 1e-9).astype(np.int64)
    left = batch - int(whole.sum())
    rest = np.maximum(share - whole, 0)
    rng = np.random.default_rng([seed, chunk, len(weights)])
    drawn = (
        rng.multinomial(left, rest / rest.sum(), size=_CHUNK)
        if left
        else np.zeros((_CHUNK, len(weights)), np.int64)
    )
    return np.cumsum(whole + drawn, axis=0)


@lru_cache(maxsize=16)
def _order(seed: int, task: int, turn: int, size: int) -> Rows:
    return np.random.default_rng([seed, task, turn]).permutation(size)


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, decay: str = "linear") -> float:
    """The rate of a step (0-based): linear from 0 to `peak` within `warmup` steps, then `constant`, `linear` or
    `cosine` to 0 at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if decay == "constant":
        return peak
    left = max(0.0, (steps - step) / max(1, steps - warmup))
    return peak * left if decay == "linear" else peak * 0.5 * (1 - float(np.cos(np.pi * left)))
