"""What a retriever is: the protocols that the runner speaks, and the context it hands over.

A retriever is built from its validated `Params`; building it touches no file, model or network. It turns
texts into an index folder once, and opens that folder to answer queries. It knows nothing of datasets' names,
judgments, metrics or result files; ids never reach it, only row numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from seekbench import hashing
from seekbench.collection import BLOCK, Records, Template
from seekbench.progress import NoProgress, Progress
from seekbench.runs import Run


class Params(BaseModel):
    """Base of all parameter models: unknown names are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class TextView:
    """Records as a retriever sees them: row numbers and rendered texts, in the collection's language."""

    records: Records
    template: str = "{title} {text}"
    language: str | None = None

    def __len__(self) -> int:
        return len(self.records)

    def blocks(self, size: int = BLOCK, start: int = 0) -> Iterator[tuple[int, list[str]]]:
        """(first row, texts) of consecutive blocks; never the whole corpus in memory."""
        return self.records.blocks(self.template, size, start)

    def texts(self, start: int = 0, stop: int | None = None) -> list[str]:
        return self.records.texts(self.template, start, stop)

    def field_blocks(
        self, names: tuple[str, ...], size: int = BLOCK
    ) -> Iterator[tuple[int, list[list[str]]]]:
        """(first row, one list of texts a field) for multi-field retrievers."""
        templates = [Template("{" + name + "}") for name in names]
        for at in range(0, len(self), size):
            yield at, [self.records.texts(t, at, at + size) for t in templates]

    def first_equals(self) -> npt.NDArray[np.int64]:
        """int64 [rows]: for each row the first one that has the same text."""
        codes = np.empty(len(self), dtype=np.int64)
        for start, texts in self.blocks():
            codes[start : start + len(texts)] = [hash(text) for text in texts]
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        source = first[inverse].astype(np.int64)
        repeated = np.flatnonzero(source != np.arange(len(codes)))
        for at in range(0, len(repeated), 1024):
            rows = repeated[at : at + 1024]
            texts, originals = self.take(rows).texts(), self.take(source[rows]).texts()
            differ = np.array([a != b for a, b in zip(texts, originals, strict=True)])  # codes may collide
            source[rows[differ]] = rows[differ]
        return source

    @property
    def order(self) -> npt.NDArray[np.int32]:
        """Rank of each row's id in byte order, for `Run.ranked`."""
        return self.records.order

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> TextView:
        return TextView(self.records.subset(rows), self.template, self.language)

    @property
    def content_hash(self) -> str:
        """Of the records and the template: equal exactly when every rendered text is made of the same parts."""
        return hashing.of_json([self.records.content_hash, self.template, self.language])


@dataclass(frozen=True)
class TrainingData:
    """What a retriever that trains may learn from: queries of another split than the evaluated one, and the documents
    that answer them.

    query, doc: int64 [pairs], rows of `queries` and of the corpus, grade 1 or higher. split: their split; evaluated:
    the split that figures are made on. left_out: training queries that were dropped because the evaluated split has
    them too, by id or by text.
    """

    split: str
    evaluated: str
    queries: TextView
    query: npt.NDArray[np.int64]
    doc: npt.NDArray[np.int64]
    left_out: int = 0

    @property
    def content_hash(self) -> str:
        return hashing.of_json(
            [self.split, self.queries.content_hash, self.query.tolist(), self.doc.tolist()]
        )


@dataclass
class Context:
    """What the environment gives to work; nothing in it may change a score.

    runs: for composites, the runs of the retrievers that they named, for the same queries. shared: of (type,
    retriever, documents), the index of another retriever, from the store or made now: (its folder, its facts); stored:
    of (kind, recipe, maker), the folder of any other artifact. Both are None where there is no store.
    """

    progress: Progress = field(default_factory=NoProgress)
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    offline: bool = False
    trust_remote_code: bool = False
    runs: Mapping[str, Run] = field(default_factory=dict)
    shared: Callable[[str, Any, TextView], tuple[Path, Mapping[str, Any]]] | None = None
    stored: Callable[[str, Mapping[str, Any], Callable[[Path], Mapping[str, Any]]], Path] | None = None


@runtime_checkable
class Searcher(Protocol):
    """An opened index. `search` may be called many times, with one query or with thousands.

    Optional: `runtime`, of one whose code is compiled while it runs (`java`), which takes some seconds of searches once
    a process; `timings`, seconds by part of the searches so far (`encode`, `search`); `counts`, numbers by name of the
    searches so far, which hold those of the joined run when `finish` is called; `finish(run)`, called with
    the joined run of all queries, which returns JSON facts for the record or refuses the run.
    """

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        """At most k hits a query, ordered by the ranking rule (`Run.ranked`); rows are rows of the corpus."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Match:
    """A term that a query and a document share; its part of the score is the product of the weights."""

    term: str
    query: float
    document: float

    @property
    def product(self) -> float:
        return self.query * self.document


@dataclass(frozen=True)
class Matches:
    """matches: highest products first; query_terms, document_terms: how many terms each has; only_query: terms of the
    query that the document lacks, with their weights; note: how weights are stored, where that changes the score."""

    matches: tuple[Match, ...]
    query_terms: int
    document_terms: int
    only_query: tuple[tuple[str, float], ...]
    note: str = ""

    @property
    def score(self) -> float:
        return sum(match.product for match in self.matches)


@runtime_checkable
class Retriever(Protocol):
    """The protocol of all retrievers; no base class to inherit.

    Params: the pydantic model of the YAML fields (without `type`).
    index_params: names of the parameters that the index depends on; search_params: those that only the
    search depends on; every other parameter changes speed alone. modules: the modules whose code makes
    the index or the scores (part of the cache keys).

    Optional: `search_modules` names modules that only the search depends on, so that a change of theirs leaves the
    index; `release()` lets go of a loaded model; `timed = False` says that its speed means nothing;
    `for_dataset(id, split)` gives the retriever of one dataset; `check_files(datasets)` names missing files;
    `explain(query, document, documents, context=...)` gives the `Matches` of two texts over a corpus;
    `reference`, of one that approximates an exact search, is the retriever of that search (or None): what the
    approximation loses is stated beside its figures;
    `train_model(documents, folder, context=...)`, of one whose parameters have `training`, gives the folder of the
    trained checkpoint and facts;
    `trains_on` names a split of training queries (or None), and `with_training(data)` gives the retriever that
    learns from them.
    """

    Params: ClassVar[type[Params]]
    index_params: ClassVar[frozenset[str]]
    search_params: ClassVar[frozenset[str]]
    modules: ClassVar[tuple[str, ...]]
    params: Any

    def __init__(self, params: Any) -> None: ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of other retrievers of the config whose runs this one takes (composites); else ()."""

    @property
    def indexes(self) -> bool:
        """Whether there is an index to make."""

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        """JSON facts that scores depend on beyond the parameters: model revision and weights' hash, library
        versions. Cheap: no model is loaded. Raises InputError / MissingError for what cannot be used."""

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Builds the index in `folder`, continuing what an interrupted call left there; returns JSON facts
        (`bytes` of the index, `documents`, counts, truncation rate, timings)."""

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> Searcher:
        """Opens an index for searching."""

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        """JSON facts for the result record: recipe of the model (pooling, prompts, dtype, ...), parameters' count."""

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        """The exact strings that are encoded for these texts; side is 'query' or 'document'."""
