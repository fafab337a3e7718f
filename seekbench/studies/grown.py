"""A test collection that grows: first documents D0, later ones D1, and what its queries ask for.

D0 is drawn at random by a keyed hash of (seed, id): every document may be in it, relevant or not, and neither the
order of the corpus nor a library's generator has a say. The collection is written twice: D0 alone, and all documents
with D0 before D1. Both keep the corpus' own order inside D0 and D1, so that D0 is the same rows with the same bytes
in both, and a retriever's index of it is made once (`generative.growth` takes the first rows as D0).

Evaluated queries fall into `old` (all relevant documents in D0), `new` (all in D1) and `mixed`. Relevant is grade 1 or
higher; documents that the corpus lacks don't count. D0 is evaluated on `old`, all documents on the three together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seekbench import hashing
from seekbench.collection import Dataset, Qrels, Queries
from seekbench.datasets.folder import Collection, open_collection
from seekbench.errors import InputError
from seekbench.progress import NoProgress
from seekbench.store import Store
from seekbench.studies.folders import Judgments, Part, excluded, part_folder
from seekbench.studies.subsets import keyed_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seekbench.datasets.resolve import DatasetSpec
    from seekbench.retrievers.protocol import Context

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Kinds of evaluated queries.
SETS = ("old", "new", "mixed")
#: The two parts of a collection: D0, and everything.
PARTS = ("first", "all")


def query_sets(qrels: Qrels, first: BoolArray) -> dict[str, BoolArray]:
    """bool [queries] of each of SETS: all, none or some of a query's relevant documents in the corpus are among the
    `first` (bool [documents]). A query without any is in no set."""
    relevant = (qrels.grades >= 1) & (qrels.doc_rows < qrels.corpus_size)
    query, doc = qrels.query_rows()[relevant], qrels.doc_rows[relevant]
    there = np.bincount(query, minlength=qrels.num_queries)
    known = np.bincount(query, weights=first[doc], minlength=qrels.num_queries)
    return {
        "old": (there > 0) & (known == there),
        "new": (there > 0) & (known == 0),
        "mixed": (known > 0) & (known < there),
    }


def first_of(documents: int, first: float) -> int:
    """How many documents D0 has; as `growth.first` of the generative retriever counts them. Raises InputError where
    none is left in D0 or D1."""
    from seekbench.retrievers.generative.growth import Growth

    try:
        return Growth.model_validate({"first": first}).known(documents)
    except InputError:
        raise InputError(
            f"{first:g} of {documents:,} documents leave none in D0, or none in D1",
            remedy="give a share between 0 and 1, or fewer documents than the corpus has",
        ) from None


class Grown:
    """One split of a collection, cut into D0 and D1.

    first: bool [documents]; sets: of evaluated queries, by `query_sets`, over rows of the collection's queries.
    unanswerable: evaluated queries without a relevant document in the corpus; they are left out.
    """

    def __init__(
        self, dataset: Dataset, collection: Collection, spec: DatasetSpec, first: float, seed: int
    ) -> None:
        self.dataset, self.collection, self.spec, self.seed = dataset, collection, spec, seed
        self.qrels = collection.qrels(dataset.split)
        documents = len(collection.corpus)
        order = keyed_order(collection.corpus, np.zeros(documents, dtype=np.bool_), seed)
        self.first = np.zeros(documents, dtype=np.bool_)
        self.first[order[: first_of(documents, first)]] = True
        self.sets = query_sets(self.qrels, self.first)
        self.unanswerable = len(dataset.queries) - int(self._evaluated.sum())
        name = f"{dataset.id} ({dataset.split})"
        for kind, where in (("old", "D0"), ("new", "D1")):
            if not self.sets[kind].any():
                raise InputError(
                    f"{self.known:,} of {documents:,} documents of {name} leave no {kind} query: none has all its "
                    f"relevant documents in {where}",
                    remedy=f"make {where} larger, or take another seed",
                )

    @classmethod
    def of(cls, dataset: Dataset, spec: DatasetSpec, store: Store, first: float, seed: int) -> Grown:
        """Of a dataset that was loaded through the store, whole. Raises InputError where D0 or D1 gets no document or
        no query."""
        from seekbench.datasets.load import KIND

        collection = open_collection(store.root / KIND / str(dataset.source["collection"]))
        return cls(dataset, collection, spec, first, seed)

    @property
    def known(self) -> int:
        """Documents of D0."""
        return int(self.first.sum())

    @property
    def counts(self) -> dict[str, int]:
        """Queries of each set; `mixed` only where there are any."""
        found = {name: int(chosen.sum()) for name, chosen in self.sets.items()}
        return {name: n for name, n in found.items() if n or name != "mixed"}

    @property
    def unseen_rate(self) -> float:
        """Share of the evaluated queries none of whose relevant documents is in D0."""
        return self.counts["new"] / int(self._evaluated.sum())

    @property
    def later_columns(self) -> list[str]:
        """Columns that hold something in D1 alone. D0 alone then lacks a column that it has in `all`, so that its
        content counts as another one, and an index of it is made once for each (with the same scores)."""
        found = []
        for name in ("title", "metadata"):
            if name in self.collection.corpus.table.column_names:
                column = self.collection.corpus.table.column(name).take(pa.array(np.flatnonzero(self.first)))
                if not pc.any(pc.greater(pc.binary_length(column), 0)).as_py():
                    found.append(name)
        return found

    def query_ids(self, name: str) -> set[str]:
        return set(self.collection.queries.ids(np.flatnonzero(self.sets[name])).to_pylist())

    @property
    def _evaluated(self) -> BoolArray:
        out: BoolArray = self.sets["old"] | self.sets["new"] | self.sets["mixed"]
        return out

    # -- folders ----------------------------------------------------------------------------------------------

    def part(self, name: str, store: Store, context: Context) -> Part:
        """`first`: D0 with the old queries. `all`: D0, then D1, with all queries. The other splits are whole in `all`;
        in `first` they are what a system may learn from there (`_learnable`)."""
        later = np.flatnonzero(~self.first)
        documents = np.flatnonzero(self.first)
        inside, evaluated = self.first, self.sets["old"]
        if name == "all":
            documents = np.concatenate([documents, later])
            inside, evaluated = np.ones_like(self.first), self._evaluated
        splits = {self.dataset.split: Judgments.chosen(self.qrels, evaluated, inside)}
        for other in self.collection.splits:
            if other != self.dataset.split:
                qrels = self.collection.qrels(other)
                asked = np.ones(qrels.num_queries, dtype=np.bool_)
                if name == "first":
                    asked = self._learnable(other, qrels, store, context)
                splits[other] = Judgments.chosen(qrels, asked, inside)
        lists = excluded(self.dataset, self.collection, np.flatnonzero(evaluated), documents)
        return Part(self.collection, documents, splits, lists, self._recipe(name))

    def folder(self, output: Path, name: str) -> Path:
        return part_folder(output, self.spec.id, self.spec.split, name)

    def id(self, name: str) -> str:
        """The name of a part in results, e.g. `scifact/first`."""
        return f"{self.spec.id}/{name}"

    def _recipe(self, name: str) -> Mapping[str, Any]:
        return {
            "collection": self.dataset.source["collection"],
            "split": self.dataset.split,
            "query_template": self.dataset.query_template,
            "exclusion": self.dataset.exclusion.content_hash,
            "seed": self.seed,
            "first": self.known,
            "part": name,
            "code": hashing.of_code(__name__, "seekbench.studies.subsets", "seekbench.training.queries"),
        }

    def _learnable(self, split: str, qrels: Qrels, store: Store, context: Context) -> BoolArray:
        """bool [queries]: those of another split with a relevant document in D0, but those that are evaluated queries
        too, by id or words, also where these ask for D1: a system that is trained on all documents does not see them
        either, and D0 must have been learnt in the same way."""
        from seekbench.runner import load_dataset
        from seekbench.training.queries import training_data

        relevant = (qrels.grades >= 1) & (qrels.doc_rows < qrels.corpus_size)
        relevant[relevant] = self.first[qrels.doc_rows[relevant]]
        out = np.zeros(qrels.num_queries, dtype=np.bool_)
        out[qrels.query_rows()[relevant]] = True
        if not out.any():
            return out
        evaluated = Queries(self.collection.queries.table.take(pa.array(np.flatnonzero(self._evaluated))))
        quiet = replace(context, progress=NoProgress())
        other = load_dataset(replace(self.spec, split=split, exclude="none"), store=store, context=quiet)
        try:
            data = training_data(replace(self.dataset, queries=evaluated), other)
        except InputError:  # every query of it is an evaluated one
            return np.zeros_like(out)
        kept = self.collection.queries.rows_of(data.queries.records.ids())
        allowed = np.zeros_like(out)
        allowed[kept] = True
        return out & allowed


def describe(grown: Grown) -> list[str]:
    """Lines about the documents and queries of a cut."""
    documents, known = len(grown.first), grown.known
    counts = ", ".join(f"{n:,} {name}" for name, n in grown.counts.items())
    lines = [
        f"{known:,} of {documents:,} documents are indexed first (D0, at random, seed {grown.seed}), "
        f"{documents - known:,} are added (D1)",
        f"queries: {counts} (all, none or some of their relevant documents in D0); unseen-document rate "
        f"{grown.unseen_rate:.4f}: the share of queries none of whose relevant documents is in D0",
    ]
    if grown.unanswerable:
        lines.append(f"{grown.unanswerable:,} queries without a relevant document in the corpus are left out")
    if grown.later_columns:
        lines.append(
            f"only D1 has {' and '.join(grown.later_columns)}, so D0 is indexed twice, to the same effect"
        )
    return lines
