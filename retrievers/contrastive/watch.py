"""Looking at queries that training does not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.contrastive.batches import cut_out, without
from seekbench.retrievers.contrastive.mining import Positives
from seekbench.retrievers.generative.examples import Kind
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import TextView

Floats = npt.NDArray[np.float32]


class Watch:
    """hits@1 and MRR@10 of texts that training does not see, by exact scores among their own documents and others.

    A document is searched without the held-out texts that were cut out of it. Of equal scores the lower row is first.
    """

    def __init__(
        self,
        scores: Callable[[list[str], list[str]], Floats],
        kind: Kind,
        documents: TextView,
        passages: Passages,
        *,
        count: int,
        seed: int,
    ) -> None:
        #: float32 [queries, documents] of texts.
        self._scores = scores
        held, of = np.flatnonzero(kind.held_out), np.asarray(passages.of)
        positives = Positives.of_kind(kind, passages.of)
        self.queries = [kind.made.texts[row] for row in held.tolist()]
        own = np.unique(of[kind.made.doc[held]])
        others = np.setdiff1d(np.arange(len(passages)), own)
        more = np.random.default_rng([seed, 78]).permutation(others)[: max(0, count - len(own))]
        shown = np.sort(np.concatenate([own, more]))
        self.texts = documents.take(passages.sources[shown]).texts()
        if cut_out(kind):
            for row in held.tolist():
                at = int(np.searchsorted(shown, of[kind.made.doc[row]]))
                self.texts[at] = without(self.texts[at], kind.bare(row))
        self.right = np.stack([np.isin(shown, positives[row]) for row in held.tolist()])

    def __call__(self) -> Mapping[str, float]:
        scores = self._scores(self.queries, self.texts)
        best = np.argmax(np.where(self.right, scores, -np.inf), axis=1)[:, None]
        reached = np.take_along_axis(scores, best, axis=1)
        before = (scores > reached) | ((scores == reached) & (np.arange(scores.shape[1]) < best))
        rank = 1 + before.sum(axis=1)
        return {
            "hits@1": float((rank == 1).mean()),
            "mrr@10": float(np.where(rank <= 10, 1 / rank, 0.0).mean()),
        }
