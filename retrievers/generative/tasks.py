"""What the trainer is given: a task a kind of training text, and the look at texts that are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.generative.examples import Examples
from seekbench.retrievers.generative.models.base import Inputs
from seekbench.retrievers.generative.params import Decoding
from seekbench.retrievers.generative.targets import Targets

#: How watched texts are searched: an index must not depend on how it will be searched.
WATCHING = Decoding.model_validate({"beams": 10})
WATCHING_LISTS = Decoding.model_validate({"beams": 1})


class Task:
    """`trainer.Task` of one kind of training text."""

    def __init__(
        self,
        name: str,
        weight: float,
        rows: npt.NDArray[np.int64],
        inputs: Inputs,
        targets: Targets,
        smoothing: float,
    ) -> None:
        self.name, self.weight, self.rows = name, weight, rows
        self.inputs, self.targets, self.smoothing = inputs, targets, smoothing

    def __len__(self) -> int:
        return len(self.rows)

    def loss(self, model: Any, rows: npt.NDArray[np.int64]) -> Any:
        import torch

        chosen = self.rows[rows]
        target = torch.from_numpy(self.targets.batch(chosen))
        return model.loss(self.inputs.batch(chosen), target, self.smoothing)

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """Target tokens."""
        return int(np.diff(self.targets.indptr)[self.targets.of[self.rows[rows]]].sum())


class Watch:
    """hits@1, hits@10 and MRR@10 of texts that training does not see, by constrained search."""

    def __init__(
        self, decoder: Any, model: Any, docids: Docids, inputs: Inputs, rows: npt.NDArray[np.int64],
        doc: npt.NDArray[np.int64],
    ) -> None:  # fmt: skip
        self.decoder, self.model, self.docids = decoder, model, docids
        self.inputs, self.rows, self.doc = inputs, rows, doc

    def __call__(self) -> Mapping[str, float]:
        import torch

        ranks = []
        with torch.inference_mode():
            decoder = self.decoder()
            for at in range(0, len(self.rows), 64):
                found = decoder(self.inputs.batch(self.rows[at : at + 64]))
                docs = np.where(found.rows >= 0, self.docids.doc[np.maximum(found.rows, 0)], -1)
                right = docs[:, :10] == self.doc[at : at + 64, None]
                ranks.append(np.where(right.any(axis=1), right.argmax(axis=1) + 1.0, np.inf))
        rank = np.concatenate(ranks)
        return {
            "hits@1": float((rank == 1).mean()),
            "hits@10": float((rank <= 10).mean()),
            "mrr@10": float((1 / rank).mean()),
        }


def distinct(names: Sequence[str]) -> list[str]:
    """Equal names get their number."""
    return [
        name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]


def mean_length(found: Examples, taught: Sequence[Targets]) -> float:
    """Tokens of a target, over the mixture."""
    weights = np.array([k.entry.weight for k in found.kinds])
    lengths = np.array([np.diff(t.indptr)[t.of].mean() for t in taught])
    return float((weights * lengths).sum() / weights.sum())
