"""Passages: the distinct texts of a corpus. Documents of equal text share one, which is encoded and stored once, so
they have one score and the ranking rule decides between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.protocol import TextView

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Passages:
    """of: int32 [documents], the passage of each document. Passages are in the order of their first documents."""

    of: npt.NDArray[np.int32]

    @classmethod
    def find(cls, documents: TextView) -> Passages:
        """Groups documents whose rendered texts are equal."""
        codes = np.empty(len(documents), dtype=np.int64)
        for start, texts in documents.blocks():
            codes[start : start + len(texts)] = [hash(text) for text in texts]
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        source = first[inverse].astype(np.int64)
        repeated = np.flatnonzero(source != np.arange(len(codes)))
        for at in range(0, len(repeated), 1024):
            rows = repeated[at : at + 1024]
            texts, originals = documents.take(rows).texts(), documents.take(source[rows]).texts()
            differ = np.array([a != b for a, b in zip(texts, originals, strict=True)])  # hashes may collide
            source[rows[differ]] = rows[differ]
        _, of = np.unique(source, return_inverse=True)
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
        ends = np.cumsum(flat)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - flat, flat)
        found = documents[np.repeat(indptr[passage].ravel(), flat) + within]
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        out_rows[owner, place] = found
        out_scores[owner, place] = np.repeat(scores.ravel(), flat)
        return out_rows, out_scores

    def of_documents(self, rows: npt.NDArray[Any]) -> Ints:
        """int64 [queries, n]: passages of documents (or -1), each once a query, at its first place."""
        passage = np.where(rows >= 0, self.of[np.maximum(rows, 0)], -1).astype(np.int64)
        if not self.repeated:
            return passage
        by = np.argsort(passage, axis=1, kind="stable")
        ordered = np.take_along_axis(passage, by, axis=1)
        again = np.zeros(ordered.shape, dtype=np.bool_)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        first = np.empty_like(again)
        np.put_along_axis(first, by, ~again, axis=1)
        return np.where(first, passage, -1)
