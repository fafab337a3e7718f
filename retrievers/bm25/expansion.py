"""Documents that are indexed with queries which a model wrote for them (doc2query: Nogueira et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.generation.columns import GeneratedQueries


@dataclass(frozen=True)
class Expansion:
    """The queries of a corpus of so many documents."""

    queries: GeneratedQueries
    documents: int

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """int64 [documents + 1]: where each document's queries begin."""
        return np.searchsorted(self.queries.doc, np.arange(self.documents + 1)).astype(np.int64)

    def appended(self, start: int, texts: list[str]) -> list[str]:
        """The texts of documents from `start` on, each followed by its queries. A blank document stays blank."""
        ends = self._starts[start : start + len(texts) + 1]
        more = self.queries.texts.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pylist()
        own = np.split(np.array(more, dtype=object), ends[1:-1] - ends[0])
        return [
            " ".join([text, *queries]) if text.strip() else text
            for text, queries in zip(texts, own, strict=True)
        ]

    def blocks(self, blocks: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        for start, texts in blocks:
            yield start, self.appended(start, texts)

    def facts(self) -> dict[str, Any]:
        return {"queries": len(self.queries), **self.queries.facts}
