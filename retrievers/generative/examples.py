"""Training examples: texts, the documents that each is to bring up, and the kind of text it is.

Texts are made of documents (`pairs`, `links`), or are queries: of the training split, or generated. They lie in one
Arrow file of the index, since they are what a reader wants to see of a training.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, PrivateAttr, model_validator

from seekbench.collection import Records
from seekbench.errors import InputError, did_you_mean
from seekbench.generation.columns import GeneratedQueries
from seekbench.generation.queries import Generator, stored
from seekbench.retrievers import protocol
from seekbench.retrievers.generative import pairs
from seekbench.retrievers.generative.links import Links, hip
from seekbench.retrievers.protocol import Context, TextView, TrainingData

_BLOCK = 2048
#: Kinds whose texts stand for what a searcher types: an encoder takes them as queries.
QUERIES = frozenset({"queries", "generated", "keywords"})


class Input(protocol.Params):
    """One kind of training text."""

    kind: Literal[
        "first", "chunks", "sentences", "lead", "rehearsal", "rehearsal_sum", "keywords", "links", "generated",
        "queries",
    ] = Field(
        description="what of a document is given as input; `queries` are those of the training split, `generated` "
        "those of a generator, `links` paragraphs that link to the document"
    )  # fmt: skip
    weight: float = Field(
        1.0, gt=0, description="its share of the examples seen in training, beside the others'"
    )
    prefix: str = Field("", description="stands before each text, e.g. 'Document: ' (SE-DSI)")
    options: dict[str, int] = Field(
        default_factory=dict, description="numbers of the kind, e.g. count, words, least_words"
    )
    generator: Generator | None = Field(None, description="of `generated`: the model that writes queries")

    _base: Any = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._base = (context or {}).get("base")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "generated") != (self.generator is not None):
            raise ValueError("`generated` needs a `generator`, and nothing else has one")
        known = options_of(self.kind)
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"'{self.kind}' has no option '{name}' ({did_you_mean(name, known)})")
            if value < 1:
                raise ValueError(f"option '{name}' of '{self.kind}' is {value}; the least is 1")
        return self

    @property
    def side(self) -> Literal["document", "query"]:
        return "query" if self.kind in QUERIES else "document"


def options_of(kind: str) -> list[str]:
    """Names of the numbers that a kind takes."""
    if kind in ("queries", "generated"):
        return []
    if kind == "links":
        return ["per_document"]
    function = pairs.KeywordQueries.__call__ if kind == "keywords" else pairs.KINDS[kind]
    # The words of keyword queries are a range, and no number.
    return [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and (kind != "keywords" or p.name != "words")
    ]


@dataclass(frozen=True)
class Made:
    """Texts of one kind. doc: int64 [texts], the document of each; more: for queries of several documents, int64
    (indptr [texts + 1], documents), all that a text is to bring up, `doc` first; score: of generated queries, float32
    [texts], how good each is; facts: of their making."""

    texts: list[str]
    doc: npt.NDArray[np.int64]
    more: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
    score: npt.NDArray[np.float32] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """Examples of one input. held_out: bool [texts], kept from training to watch it."""

    entry: Input
    made: Made
    held_out: npt.NDArray[np.bool_]

    @property
    def learnt(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(~self.held_out)

    def bare(self, row: int) -> str:
        """A text without its prefix."""
        return self.made.texts[row][len(self.entry.prefix) :]


@dataclass(frozen=True)
class Examples:
    """kinds: those that have texts; skipped: why the others have none."""

    kinds: Sequence[Kind]
    skipped: Mapping[str, str]
    documents: int

    def __len__(self) -> int:
        return sum(len(k.made.doc) for k in self.kinds)

    def save(self, path: Path) -> None:
        schema = pa.schema(
            [
                ("text", pa.large_string()),
                ("doc_row", pa.int64()),
                ("kind", pa.string()),
                ("held_out", pa.bool_()),
            ]
        )
        with pa.ipc.new_file(str(path), schema) as writer:
            for kind in self.kinds:
                names = pa.array([kind.entry.kind] * len(kind.made.doc), pa.string())
                columns = [pa.array(kind.made.texts, pa.large_string()), pa.array(kind.made.doc), names]
                table = pa.table([*columns, pa.array(kind.held_out)], schema=schema)
                writer.write_table(table, max_chunksize=1 << 16)

    def held_out_texts(self) -> list[str]:
        """Without prefix, sorted."""
        return sorted(
            {kind.bare(row) for kind in self.kinds for row in np.flatnonzero(kind.held_out).tolist()}
        )

    @property
    def watched(self) -> Kind:
        """The kind whose held-out texts are looked at: the nearest to what searchers ask."""
        for wanted in ("queries", "generated", "keywords"):
            for kind in self.kinds:
                if kind.entry.kind == wanted:
                    return kind
        return self.kinds[0]

    @property
    def generation_seconds(self) -> float:
        """What generating queries took, when they were generated."""
        made = (k.made.facts.get("generation", {}) for k in self.kinds)
        return float(sum(facts.get("seconds", 0.0) for facts in made))

    def facts(self) -> dict[str, Any]:
        """JSON: a kind's texts, over how many documents; documents that no text is of."""
        met = np.zeros(self.documents, dtype=np.bool_)
        kinds = []
        for kind in self.kinds:
            met[kind.made.doc[kind.learnt]] = True
            kinds.append(
                {
                    **kind.entry.model_dump(mode="json", exclude_defaults=True),
                    "weight": kind.entry.weight,
                    "texts": len(kind.made.doc),
                    "documents": len(np.unique(kind.made.doc)),
                    "held_out": int(kind.held_out.sum()),
                    **kind.made.facts,
                }
            )
        return {
            "kinds": kinds,
            "skipped": dict(self.skipped),
            "documents_without_text": int((~met).sum()),
            "unseen_document_rate": float((~met).mean()),
        }


@dataclass(frozen=True)
class Known:
    """The first `documents` of a corpus and the texts (without prefix) that were held out of their training."""

    documents: int
    held_out: frozenset[str]


def make(
    documents: TextView,
    inputs: Sequence[Input],
    training: TrainingData | None,
    folder: Path,
    *,
    seed: int,
    watched: int,
    context: Context | None = None,
    known: Known | None = None,
) -> Examples:
    """All examples of a corpus. folder: where long work (generated queries) is kept and continued.

    Of the nearest kind to searchers' queries, `watched` examples are held out, at most a tenth, none of which is all
    that there is of a document: training never sees them, nor the same text under another kind. known: of a corpus
    that grew, what an earlier training saw: of its documents' texts none is held out that was not then.
    Raises InputError where no kind gives a text, or for queries without a training split.
    """
    context = context or Context()
    found: list[tuple[Input, Made]] = []
    skipped: dict[str, str] = {}
    for i, entry in enumerate(inputs):
        made = of_kind(documents, entry, training, folder / f"generated-{i}", seed=seed, context=context)
        if made.texts:
            found.append((entry, made))
            continue
        skipped[entry.kind] = str(made.facts.get("why", "the corpus gives none"))
        context.progress.note(f"no training texts of the kind '{entry.kind}': {skipped[entry.kind]}")
    if not found:
        raise InputError(f"the inputs {', '.join(skipped)} give no text for this corpus")
    plain = Examples([Kind(e, m, np.zeros(len(m.doc), np.bool_)) for e, m in found], skipped, len(documents))
    chosen = plain.watched
    old = 0 if known is None else known.documents
    may = np.flatnonzero(chosen.made.doc >= old)
    count, rng = min(watched, len(may) // 10), np.random.default_rng([seed, 77])
    order = np.concatenate([rng.choice(may, size=count, replace=False), rng.permutation(may)])
    kept_back = _spared(plain, chosen, order, count)
    if known is not None:
        learnt = {
            kind.bare(row)
            for kind in plain.kinds
            for row in np.flatnonzero(kind.made.doc < known.documents).tolist()
            if kind.bare(row) not in known.held_out
        }
        kept_back = (kept_back | known.held_out) - learnt
    kinds = [
        replace(
            kind,
            held_out=np.fromiter(
                (kind.bare(row) in kept_back for row in range(len(kind.made.doc))),
                np.bool_,
                len(kind.made.doc),
            ),
        )
        for kind in plain.kinds
    ]
    return Examples([k for k in kinds if len(k.learnt)] or kinds, skipped, len(documents))


def _spared(examples: Examples, chosen: Kind, rows: npt.NDArray[np.int64], count: int) -> set[str]:
    """`count` texts of a kind (without prefix), in the order of `rows`, that can be held out: no document loses its
    last text by it."""
    left = np.zeros(examples.documents, dtype=np.int64)
    for kind in examples.kinds:
        left += np.bincount(kind.made.doc, minlength=examples.documents)
    few = rows[: 5 * count]
    wanted = {chosen.bare(row) for row in few.tolist()}
    of: dict[str, list[int]] = {text: [] for text in wanted}
    for kind in examples.kinds:
        for row, doc in enumerate(kind.made.doc.tolist()):
            text = kind.bare(row)
            if text in of:
                of[text].append(doc)
    spared: set[str] = set()
    for row in few.tolist():
        text = chosen.bare(row)
        if len(spared) == count:
            break
        lost = np.bincount(of[text], minlength=examples.documents)
        if text not in spared and (left[lost > 0] > lost[lost > 0]).all():
            left -= lost
            spared.add(text)
    return spared


def of_kind(
    documents: TextView,
    entry: Input,
    training: TrainingData | None,
    folder: Path,
    *,
    seed: int,
    context: Context,
) -> Made:
    """The texts of one kind; the same for every system that asks for the same kind, options and seed."""
    made = _of_kind(documents, entry, training, folder, seed=seed, context=context)
    if not entry.prefix:
        return made
    return replace(made, texts=[entry.prefix + text for text in made.texts])


def _of_kind(
    documents: TextView,
    entry: Input,
    training: TrainingData | None,
    folder: Path,
    *,
    seed: int,
    context: Context,
) -> Made:
    records = documents.records
    # Kinds draw apart from each other, whatever their order.
    seed += zlib.crc32(entry.kind.encode()) % 10_007
    if entry.kind == "queries":
        if training is None:
            raise InputError(
                "training input 'queries' needs a training split", remedy="e.g. train: train, or leave it out"
            )
        return _of_queries(training)
    if entry.generator is not None:
        queries = _generated(documents, entry, folder, context)
        score = queries.score if queries.filter_score is None else queries.filter_score
        return Made(queries.texts.to_pylist(), queries.doc, score=score, facts={"generation": queries.facts})
    if entry.kind == "links":
        links = Links.of(records)
        if links.skipped:
            return Made([], np.empty(0, np.int64), facts={"why": links.skipped})
        rows, texts = hip(records, links, seed=seed, **entry.options)
        return Made(texts, rows, facts={"links": links.facts()})
    maker: Any = None
    if entry.kind == "keywords":
        maker = pairs.KeywordQueries(text for _, text in records.blocks("{title} {text}", _BLOCK))
    found: list[int] = []
    made: list[str] = []
    for start, bodies in records.blocks("{text}", _BLOCK):
        titles = _titles(records, start, len(bodies))
        rows_, texts_ = pairs.make(
            entry.kind, titles, bodies, seed=seed, start=start, maker=maker, **entry.options
        )
        found += rows_
        made += texts_
    return Made(made, np.array(found, dtype=np.int64))


def _generated(documents: TextView, entry: Input, folder: Path, context: Context) -> GeneratedQueries:
    assert entry.generator is not None
    return stored(documents, entry.generator, folder, context=context, base=entry._base)


def _titles(records: Records, start: int, count: int) -> list[str]:
    # Without titles the template would be empty.
    return records.texts("{title}", start, start + count) if "title" in records.columns else [""] * count


def _of_queries(training: TrainingData) -> Made:
    """One example a pair; where a query has several documents, each of its examples knows the others."""
    asked = training.queries.texts()
    by = np.argsort(training.query, kind="stable")
    query, doc = training.query[by], training.doc[by]
    first = np.searchsorted(query, query)
    count = np.searchsorted(query, query, side="right") - first
    indptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    place = np.arange(indptr[-1]) - np.repeat(indptr[:-1], count)
    # Its own document first, then the others in their order.
    turn = np.repeat(np.arange(len(doc)) - first, count)
    of = np.where(place == 0, turn, np.where(place <= turn, place - 1, place))
    more = doc[np.repeat(first, count) + of]
    return Made([asked[q] for q in query.tolist()], doc, (indptr, more))
