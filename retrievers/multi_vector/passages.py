"""Passages: the distinct texts of a corpus. Documents of equal text share one, which is encoded and stored once, so
they have one score and the ranking rule decides between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.multi_vector.ragged import spans
from seekbench.retrievers.protocol import TextView

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Passages:
    """of: int32 [documents], the passage of each document. Passages are in the order of their first documents."""

    of: npt.NDArray[np.int32]

    @classmethod
    def find(cls, documents: TextView) -> Passages:
        """Groups documents whose rendered texts are equal."""
        _, of = np.unique(documents.first_equals(), return_inverse=True)
        return cls(of.astype(np.int32))

    @classmethod
    def load(cls, path: Path) -> Passages:
        return cls(np.load(path, mmap_mode="r") if path.stat().st_size > 128 else np.load(path))

    def __len__(self) -> int:
        return int(self.of.max(initial=-1)) + 1

    @property
    def repeated(self) -> bool:
        """Whether some passage has more than one document."""
        return len(self) < len(self.of)

    @cached_property
    def sources(self) -> Ints:
        """int64 [passages]: the first document of each."""
        _, first = np.unique(self.of, return_index=True)
        return first.astype(np.int64)

    @cached_property
    def members(self) -> tuple[Ints, Ints]:
        """(int64 indptr [passages + 1], int64 documents of each passage)."""
        documents = np.argsort(self.of, kind="stable").astype(np.int64)
        indptr = np.searchsorted(self.of[documents], np.arange(len(self) + 1)).astype(np.int64)
        return indptr, documents

    def best(self, order: Ints) -> Ints:
        """int64 [passages]: the highest `order` (int64 [documents]) of each passage's documents."""
        if not self.repeated:
            return order
        out = np.full(len(self), -1, dtype=np.int64)
        np.maximum.at(out, self.of, order)
        return out

    def spread(self, rows: Ints, scores: npt.NDArray[np.float32]) -> tuple[Ints, npt.NDArray[np.float32]]:
        """All documents of the passages of some documents. rows: int64 [queries, n], documents, one a passage, or -1;
        both come back wide enough for the query with the most documents."""
        indptr, documents = self.members
        hit = rows >= 0
        passage = np.where(hit, self.of[np.maximum(rows, 0)], 0)
        count = np.where(hit, indptr[passage + 1] - indptr[passage], 0)
        width = int(count.sum(axis=1).max(initial=0))
        out_rows = np.full((len(rows), width), -1, dtype=np.int64)
        out_scores = np.full((len(rows), width), -np.inf, dtype=np.float32)
        owner = np.repeat(np.arange(len(rows)), count.sum(axis=1))
        flat = count.ravel()
        found = documents[spans(indptr[passage].ravel(), flat)]
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        out_rows[owner, place] = found
        out_scores[owner, place] = np.repeat(scores.ravel(), flat)
        return out_rows, out_scores
