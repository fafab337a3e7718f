"""Nested subsets of a test collection, for studies of corpus size.

All documents stand in one order: first those that are relevant to the evaluated queries, in random order, then the
others, in random order. The subset of n documents is the first n of them, kept in the corpus' own order, so a smaller
subset lies inside a larger one. Its queries are those whose relevant documents all lie inside; its judgments are those
of the documents inside. Relevant is grade 1 or higher. Random order is that of a keyed hash of the ids: it depends on
the seed and the ids alone, not on the corpus' order or a library's generator.

A subset is written as an ordinary BEIR folder, so that everything else treats it like any other dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench import hashing
from seekbench.collection import BLOCK, Dataset, Qrels, Records
from seekbench.datasets.folder import Collection, open_collection
from seekbench.errors import InputError
from seekbench.store import Store
from seekbench.studies.folders import MANIFEST, Judgments, Part, excluded, part_folder

if TYPE_CHECKING:
    from seekbench.datasets.resolve import DatasetSpec

__all__ = [
    "MANIFEST",
    "Nested",
    "Subset",
    "describe",
    "keyed_order",
    "queries_inside",
    "subset_folder",
    "subset_id",
]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def keyed_order(corpus: Records, first: BoolArray, seed: int) -> IntArray:
    """int64 [documents]: all rows, those of `first` (bool [documents]) before the others, each of the two groups by
    the 64-bit BLAKE2b hash of (seed, id); equal hashes by row."""
    key = seed.to_bytes(8, "little")
    hashes = np.empty(len(corpus), dtype=np.uint64)
    for start in range(0, len(corpus), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(corpus)))
        digests = [
            hashlib.blake2b(i.encode(), digest_size=8, key=key).digest() for i in corpus.ids(rows).to_pylist()
        ]
        hashes[rows] = np.frombuffer(b"".join(digests), dtype="<u8")
    return np.lexsort((hashes, ~first)).astype(np.int64)


def queries_inside(qrels: Qrels, inside: BoolArray) -> BoolArray:
    """bool [queries]: which have a relevant document in the corpus, and all of them inside (bool [documents]).

    A judged document that the corpus lacks can be inside no subset; it does not count here.
    """
    relevant = (qrels.grades >= 1) & (qrels.doc_rows < qrels.corpus_size)
    query, doc = qrels.query_rows()[relevant], qrels.doc_rows[relevant]
    there = np.bincount(query, minlength=qrels.num_queries)
    kept = np.bincount(query, weights=inside[doc], minlength=qrels.num_queries)
    out: BoolArray = (there > 0) & (kept == there)
    return out


@dataclass(frozen=True)
class Subset:
    """documents, queries: int64, rows of the whole collection, ascending. queries are the evaluated ones."""

    documents: IntArray
    queries: IntArray


class Nested:
    """The nested subsets of one split of a collection.

    unanswerable: evaluated queries without a relevant document in the corpus: they are in no subset, not even in
    that of all documents, since they would lower every figure alike.
    """

    def __init__(self, dataset: Dataset, collection: Collection, seed: int) -> None:
        self.dataset, self.collection, self.seed = dataset, collection, seed
        self.qrels = collection.qrels(dataset.split)
        everything = np.ones(len(collection.corpus), dtype=np.bool_)
        answerable = queries_inside(self.qrels, everything)
        self.unanswerable = len(dataset.queries) - int(answerable.sum())
        relevant = np.zeros_like(everything)
        known = self.qrels.doc_rows < self.qrels.corpus_size
        relevant[self.qrels.doc_rows[known & (self.qrels.grades >= 1)]] = True
        self.relevant = int(relevant.sum())
        self._order = keyed_order(collection.corpus, relevant, seed)

    @classmethod
    def of(cls, dataset: Dataset, store: Store, seed: int) -> Nested:
        """Of a dataset that was loaded through the store, whole."""
        from seekbench.datasets.load import KIND

        return cls(dataset, open_collection(store.root / KIND / str(dataset.source["collection"])), seed)

    def __len__(self) -> int:
        return len(self.collection.corpus)

    def of_size(self, size: int) -> Subset:
        """Raises InputError for more documents than there are, and where no query is left."""
        name = f"{self.dataset.id} ({self.dataset.split})"
        if size > len(self):
            raise InputError(
                f"{name} has {len(self):,} documents, so there is no subset of {size:,}",
                remedy="`all` takes every document",
            )
        inside = self._inside(size)
        queries = np.flatnonzero(queries_inside(self.qrels, inside))
        if not len(queries):
            most = f"; with {self.smallest:,} documents there is one" if self.smallest else ""
            raise InputError(
                f"{size:,} documents of {name} leave no query: none has all its relevant documents among them",
                remedy=f"take more documents{most}",
            )
        return Subset(np.flatnonzero(inside), queries)

    @property
    def smallest(self) -> int:
        """The fewest documents that leave a query; 0 where no number does."""
        rank = np.empty(len(self), dtype=np.int64)
        rank[self._order] = np.arange(len(self))
        relevant = (self.qrels.grades >= 1) & (self.qrels.doc_rows < self.qrels.corpus_size)
        last = np.full(self.qrels.num_queries, -1, dtype=np.int64)
        np.maximum.at(last, self.qrels.query_rows()[relevant], rank[self.qrels.doc_rows[relevant]])
        return int(last[last >= 0].min()) + 1 if (last >= 0).any() else 0

    def query_ids(self, subset: Subset) -> list[str]:
        ids: list[str] = self.collection.queries.ids(subset.queries).to_pylist()
        return ids

    def _inside(self, size: int) -> BoolArray:
        inside = np.zeros(len(self), dtype=np.bool_)
        inside[self._order[:size]] = True
        return inside

    # -- files ------------------------------------------------------------------------------------------------

    def recipe(self, subset: Subset) -> dict[str, Any]:
        """What a written subset depends on."""
        return {
            "collection": self.dataset.source["collection"],
            "split": self.dataset.split,
            "exclusion": self.dataset.exclusion.content_hash,
            "seed": self.seed,
            "documents": len(subset.documents),
            "code": hashing.of_code(__name__),
        }

    def part(self, subset: Subset) -> Part:
        """A subset as it is written; the splits but the evaluated one keep their judgments of documents inside."""
        splits = {name: self.judgments(subset, name) for name in self.collection.splits}
        lists = excluded(self.dataset, self.collection, subset.queries, subset.documents)
        return Part(self.collection, subset.documents, splits, lists, self.recipe(subset))

    def is_written(self, subset: Subset, folder: Path) -> bool:
        """Whether the folder holds this subset, whole and unchanged."""
        return self.part(subset).is_written(folder)

    def write(
        self, subset: Subset, folder: Path, *, advance: Callable[[int], object] = lambda documents: None
    ) -> bool:
        """`Part.write`."""
        return self.part(subset).write(folder, advance=advance)

    def judgments(self, subset: Subset, split: str) -> Judgments:
        """Those of a split that a subset keeps: of the evaluated split, those of the subset's queries; of another
        split, those of queries with any judged document inside."""
        qrels = self.qrels if split == self.dataset.split else self.collection.qrels(split)
        inside = np.zeros(qrels.corpus_size, dtype=np.bool_)
        inside[subset.documents] = True
        chosen = np.zeros(qrels.num_queries, dtype=np.bool_)
        if split == self.dataset.split:
            chosen[subset.queries] = True
        else:
            there = qrels.doc_rows < qrels.corpus_size
            chosen[qrels.query_rows()[there][inside[qrels.doc_rows[there]]]] = True
        return Judgments.chosen(qrels, chosen, inside)

    def spec(self, whole: DatasetSpec, subset: Subset, folder: Path) -> DatasetSpec:
        """`Part.spec`, named by the number of documents."""
        return self.part(subset).spec(whole, self.dataset, subset_id(whole.id, len(subset.documents)), folder)


def subset_id(dataset: str, size: int | str) -> str:
    """The name of a subset in results, e.g. `scifact/500`."""
    return f"{dataset}/{size}"


def subset_folder(output: Path, dataset: str, split: str, size: int) -> Path:
    """OUTPUT/subsets/<dataset id, "/" as "__">/<split>/<documents>"""
    return part_folder(output, dataset, split, str(size))


def describe(nested: Nested, subsets: Mapping[int, Subset]) -> list[str]:
    """Lines that say of each size how many queries are left."""
    dataset = nested.dataset
    whole = len(dataset.queries) - nested.unanswerable
    lines = [
        f"{dataset.id} ({dataset.split}): {size:,} of {len(nested):,} documents: "
        f"{len(subset.queries):,} of {whole:,} queries have all their relevant documents inside"
        for size, subset in subsets.items()
    ]
    if nested.unanswerable:
        lines.append(
            f"{dataset.id} ({dataset.split}): {nested.unanswerable:,} queries without a relevant document in the "
            "corpus are left out at every size"
        )
    return lines
