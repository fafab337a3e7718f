"""Batches of a training on pairs: queries, each with its document and negatives."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.contrastive.mining import Negatives, Positives, drawn
from seekbench.retrievers.contrastive.params import OWN, PairTraining
from seekbench.retrievers.generative.examples import QUERIES, Kind
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import TextView

if TYPE_CHECKING:
    import torch

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def without(document: str, text: str) -> str:
    """The document without one occurrence of a text, white space apart; as it is where the text does not occur or
    nothing would be left."""
    words = text.split()
    at = document.find(text) if words else -1
    if at >= 0:
        stop = at + len(text)
    else:
        found = re.search(r"\s+".join(map(re.escape, words)), document) if words else None
        if found is None:
            return document
        at, stop = found.span()
    rest = f"{document[:at].rstrip()} {document[stop:].lstrip()}".strip()
    return rest if re.search(r"\w", rest) else document


@dataclass(frozen=True)
class Batch:
    """queries: [queries]; documents: [queries * n], each query's positive and its negatives, one query after the other;
    excluded: bool [queries, documents], what leaves a query's in-batch denominator; teacher: float32 [queries, n]."""

    queries: list[str]
    documents: list[str]
    excluded: npt.NDArray[np.bool_]
    teacher: Floats | None


class Task:
    """`trainer.Task` of one kind of training text, over those that are learnt."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        documents: TextView,
        passages: Passages,
        params: PairTraining,
        loss: Callable[[Any, Batch, int], torch.Tensor],
        *,
        positives: Positives,
        negatives: Negatives | None,
        seed: int,
    ) -> None:
        self.name, self.weight, self.rows, self.kind = name, kind.entry.weight, kind.learnt, kind
        self.documents, self.passages, self.params, self._loss = documents, passages, params, loss
        self.positives, self.negatives, self.seed = positives, negatives, seed
        self.cut = cut_out(kind)
        #: Of the training, 0-based; the trainer says it.
        self.step = 0

    def __len__(self) -> int:
        return len(self.rows)

    def units(self, rows: Ints) -> int:
        return len(rows)

    def loss(self, model: Any, rows: Ints) -> torch.Tensor:
        """The mean over the examples. With `micro` its gradient comes by `backward` alone (see `cached`)."""
        import torch

        # The trainer seeds each step: negatives are new in each, and the same in a continued training.
        rng = np.random.default_rng([torch.initial_seed(), zlib.crc32(self.name.encode())])
        return self._loss(model, self.batch(self.rows[rows], rng), self.step)

    def batch(self, chosen: Ints, rng: np.random.Generator) -> Batch:
        """Of texts of the kind, by row."""
        p, made, of = self.params, self.kind.made, np.asarray(self.passages.of)
        columns = np.empty((len(chosen), 1 + p.negatives), dtype=np.int64)
        columns[:, 0] = made.doc[chosen]
        teacher = None
        if self.negatives is not None:
            width = self.negatives.rows.shape[1]
            picked = np.stack([rng.permutation(width)[: p.negatives] for _ in chosen])
            columns[:, 1:] = np.take_along_axis(self.negatives.rows[chosen], picked, axis=1)
            if self.negatives.teacher is not None:
                scores, first = self.negatives.teacher[chosen], np.zeros((len(chosen), 1), np.int64)
                teacher = np.take_along_axis(scores, np.concatenate([first, 1 + picked], axis=1), axis=1)
        elif p.negatives:
            for i, row in enumerate(chosen.tolist()):
                columns[i, 1:] = drawn(rng, p.negatives, of, self.positives[row])
        flat = columns.ravel()
        texts = self.documents.take(flat).texts()
        shown = of[flat]
        excluded = np.stack([np.isin(shown, self.positives[row]) for row in chosen.tolist()])
        for i, row in enumerate(chosen.tolist()):
            own = i * columns.shape[1]
            excluded[i, own] = False
            if set(p.loss) & OWN:
                excluded[i, own + 1 : own + columns.shape[1]] = True
            if self.cut and np.random.default_rng([self.seed, 4, row]).random() < p.drop:
                texts[own] = without(texts[own], self.kind.bare(row))
        return Batch([made.texts[row] for row in chosen.tolist()], texts, excluded, teacher)


def cut_out(kind: Kind) -> bool:
    """Whether texts of a kind are parts of their documents."""
    return kind.entry.kind not in QUERIES and kind.entry.kind != "links"
