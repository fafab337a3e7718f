"""Batches of rows of like length within a budget of tokens, which get smaller where memory runs out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seekbench.errors import SeekbenchError

Rows = npt.NDArray[np.int64]


class Batches:
    """budget: padded tokens of one batch; most: rows of one batch. `name` and `device` are for the message of a row
    that does not fit, `remedy` says what could make it fit."""

    def __init__(self, budget: int, most: int, *, name: str, device: str, remedy: str) -> None:
        self.budget, self.most = max(1, budget), max(1, most)
        self.name, self.device, self.remedy = name, device, remedy

    def run(self, costs: Rows, work: Callable[[Rows], None], advance: Callable[[int], None]) -> None:
        """Calls `work(rows)` for all rows, those of the highest cost first (memory that is too small shows at once).

        costs: int64 [rows], tokens of each row; a batch costs its highest times its rows.
        """
        by_cost = np.argsort(-costs, kind="stable")
        at = 0
        while at < len(by_cost):
            count = max(1, min(self.most, self.budget // max(1, int(costs[by_cost[at]]))))
            batch = by_cost[at : at + count]
            self._halving(batch, costs, work)
            at += len(batch)
            advance(len(batch))

    def _halving(self, batch: Rows, costs: Rows, work: Callable[[Rows], None]) -> None:
        """One batch; where memory runs out its halves, and batches stay that small."""
        from seekbench.retrievers.dense.encode import free_memory, is_out_of_memory

        try:
            return work(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise SeekbenchError(
                    f"{self.name}: one input of {costs[batch[0]]} tokens does not fit into the memory of "
                    f"{self.device}; {self.remedy}"
                ) from error
        free_memory(self.device)
        self.budget = max(1, self.budget // 2)
        half = len(batch) // 2
        self._halving(batch[:half], costs, work)
        self._halving(batch[half:], costs, work)
        return None
