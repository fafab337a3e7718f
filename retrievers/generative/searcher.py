"""Search in a generative index: queries are decoded, docids become documents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.retrievers.generative.retriever import Generative

#: Counts of decoding, by query (`decoding.Decoded`).
_COUNTED = ("invalid", "duplicate", "tied", "tokens")


class GenerativeSearcher:
    """An opened index. `timings`: seconds of `encode` and `decode`; `counts`: of decoding; `finish` makes rates.

    most: hits that a query may have.
    """

    def __init__(
        self, retriever: Generative, decoder: Any, docids: Docids, documents: TextView, *, most: int
    ) -> None:
        self._retriever, self._decoder, self._docids, self._most = retriever, decoder, docids, most
        self._order = documents.order
        self.timings: dict[str, float] = {"encode": 0.0, "decode": 0.0}
        self.counts: dict[str, float] = dict.fromkeys((*_COUNTED, "queries", "several_docids"), 0)

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        import torch

        size, family = self._retriever.params.batch_queries, self._retriever.family
        began = time.perf_counter()
        texts = self._retriever.render(queries.texts(), "query", context=context)
        given = family.inputs(texts, "query", None, context=context) if texts else None
        self.timings["encode"] += time.perf_counter() - began
        began = time.perf_counter()
        found = []
        with (
            torch.inference_mode(),
            context.progress.stage("decode", total=len(queries), unit="queries") as stage,
        ):
            for at in range(0, len(queries), size):
                rows = np.arange(at, min(at + size, len(queries)))
                assert given is not None
                found.append(self._decoder(given.batch(rows), self._most))
                stage.advance(len(rows))
        self.timings["decode"] += time.perf_counter() - began
        if not found:
            return Run.empty(0, k)
        width = max(part.rows.shape[1] for part in found)
        rows = np.concatenate([_padded(part.rows, width, -1) for part in found])
        scores = np.concatenate([_padded(part.scores, width, -np.inf) for part in found])
        docs = np.where(rows >= 0, self._docids.doc[np.maximum(rows, 0)], -1)
        docs, scores, again = _first_of_each(docs, scores)
        self.counts["queries"] += len(rows)
        self.counts["several_docids"] += again
        for name in _COUNTED:
            self.counts[name] += sum(int(getattr(part, name).sum()) for part in found)
        return Run.ranked(docs, scores, self._order).cut(k)

    def finish(self, run: Run) -> Mapping[str, Any]:
        """Means over the queries that were decoded; invalid_rate: of all that beams finished; several_docids: hits
        that another docid of the same document had found."""
        queries = max(1, self.counts["queries"])
        beams = self._retriever.params.decoding.beams
        return {
            "decoding": self._decoder.settings,
            "queries_decoded": int(self.counts["queries"]),
            "most_hits": self._most,
            "invalid_rate": self.counts["invalid"] / (queries * beams),
            **{
                f"{n}_per_query": self.counts[n] / queries
                for n in ("duplicate", "tied", "tokens", "several_docids")
            },
        }

    def close(self) -> None:
        return


def _padded(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    out = np.full((len(values), width), fill, dtype=values.dtype)
    out[:, : values.shape[1]] = values
    return out


def _first_of_each(
    docs: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """A document that several docids found counts once, with its best score, which comes first; and how many hits
    that leaves out."""
    by = np.argsort(docs, axis=1, kind="stable")
    ordered = np.take_along_axis(docs, by, axis=1)
    again = np.zeros(docs.shape, dtype=np.bool_)
    again[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    repeated = np.zeros(docs.shape, dtype=np.bool_)
    np.put_along_axis(repeated, by, again, axis=1)
    return np.where(repeated, -1, docs), np.where(repeated, np.float32(-np.inf), scores), int(repeated.sum())
