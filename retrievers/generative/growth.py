"""Corpora that grow: an index of the first documents goes on with those that came later.

The model of the first documents (D0) is trained as ever; then the later ones (D1) get docids beside the old ones,
which stay (`docids.extend`), and the model is trained further on their texts, with some of D0's among them against
forgetting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.protocol import TrainingData


class Growth(protocol.Params):
    """Fields of `growth`."""

    first: int | float = Field(
        gt=0, description="documents of D0 in corpus order: a number, or a share below 1"
    )
    steps: int = Field(1000, ge=0, description="steps of the continued training; 0 gives docids to D1 alone")
    rate: float | None = Field(
        None, gt=0, description="its highest learning rate; training.rate where not stated"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of its steps in which the rate rises")
    replay: float = Field(0.5, ge=0, lt=1, description="share of D0's texts among the examples")

    def known(self, documents: int) -> int:
        """Documents of D0. Raises InputError where none, or none of D1, is left."""
        count = round(self.first * documents) if self.first < 1 else int(self.first)
        if not 0 < count < documents:
            raise InputError(
                f"growth.first {self.first:g} leaves {count} of {documents} documents first",
                remedy="give a share between 0 and 1, or fewer documents than the corpus has",
            )
        return count


def restricted(training: TrainingData | None, documents: int) -> TrainingData | None:
    """What there was to learn when only the first documents existed."""
    if training is None:
        return None
    known = training.doc < documents
    if not known.any():
        raise InputError(
            f"no query of the split '{training.split}' is answered by the first {documents} documents"
        )
    asked = np.unique(training.query[known])
    place = np.full(len(training.queries), -1, dtype=np.int64)
    place[asked] = np.arange(len(asked))
    return replace(
        training,
        queries=training.queries.take(asked),
        query=place[training.query[known]],
        doc=training.doc[known],
    )


def shares(
    weights: Sequence[float], docs: Sequence[npt.NDArray[np.int64]], known: int, replay: float
) -> list[tuple[int, str, npt.NDArray[np.bool_], float]]:
    """(input, `new` or `old`, bool [texts of it], share) of the tasks of a continued training: together, texts of the
    first `known` documents are `replay` of the examples. Within each part, inputs share as their weights say.

    weights, docs: of each input, and the document of each of its texts.
    """
    out = []
    for which, part in (("new", 1 - replay), ("old", replay)):
        chosen = [(doc < known) == (which == "old") for doc in docs]
        total = sum(w for w, rows in zip(weights, chosen, strict=True) if rows.any())
        for i, (weight, rows) in enumerate(zip(weights, chosen, strict=True)):
            if rows.any() and part > 0:
                out.append((i, which, rows, part * weight / total))
    return out
