"""Training examples: texts, the document that each is of, and the kind of text it is.

Texts are made of documents (`pairs`), or are queries: of the training split, or generated. They lie in one Arrow file
of the index, since they are what a reader wants to see of a training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from seekbench.collection import Records
from seekbench.errors import InputError, did_you_mean
from seekbench.retrievers import protocol
from seekbench.retrievers.generative import pairs
from seekbench.retrievers.protocol import TrainingData

_BLOCK = 2048


class Input(protocol.Params):
    """One kind of training text."""

    kind: Literal[
        "first", "chunks", "sentences", "lead", "rehearsal", "rehearsal_sum", "keywords", "queries"
    ] = Field(description="what of a document is given as input; `queries` are those of the training split")
    weight: float = Field(
        1.0, gt=0, description="its share of the examples seen in training, beside the others'"
    )
    options: dict[str, int] = Field(
        default_factory=dict, description="numbers of the kind, e.g. count, words, least_words"
    )


@dataclass(frozen=True)
class Examples:
    """texts: Arrow large_string [examples]; doc: int64 [examples], the document of each; kind: int64 [examples], its
    place in `inputs`; inputs: the kinds; held_out: bool [examples], kept from training to watch it."""

    texts: pa.Array
    doc: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    inputs: Sequence[Input]
    held_out: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.doc)

    def save(self, path: Path) -> None:
        names = pa.array([self.inputs[k].kind for k in self.kind.tolist()], pa.string())
        table = pa.table(
            {"text": self.texts, "doc_row": self.doc, "kind": names, "held_out": pa.array(self.held_out)}
        )
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=1 << 16)

    def facts(self) -> list[dict[str, Any]]:
        """A JSON entry a kind: how many texts, over how many documents."""
        return [
            {
                "kind": entry.kind,
                "weight": entry.weight,
                "options": dict(entry.options),
                "texts": int((self.kind == i).sum()),
                "documents": len(np.unique(self.doc[self.kind == i])),
                "held_out": int(self.held_out[self.kind == i].sum()),
            }
            for i, entry in enumerate(self.inputs)
        ]


def make(
    records: Records,
    inputs: Sequence[Input],
    training: TrainingData | None,
    *,
    seed: int,
    watched: int,
) -> Examples:
    """All examples of a corpus.

    Of the last kind of queries (of the training split, else keywords, else any), `watched` examples are held out, at
    most a tenth: training never sees them, and early stopping goes by them.
    Raises InputError for a kind that gives nothing, an unknown option, or queries without a training split.
    """
    texts: list[str] = []
    docs: list[npt.NDArray[np.int64]] = []
    kinds: list[npt.NDArray[np.int64]] = []
    for i, entry in enumerate(inputs):
        rows, made = of_kind(records, entry, training, seed=seed + 1000 * i)
        if not made:
            raise InputError(f"training input '{entry.kind}' gives no text for this corpus")
        texts += made
        docs.append(rows)
        kinds.append(np.full(len(made), i, dtype=np.int64))
    doc, kind = np.concatenate(docs), np.concatenate(kinds)
    held_out = np.zeros(len(doc), dtype=np.bool_)
    chosen = watched_kind(inputs)
    rows = np.flatnonzero(kind == chosen)
    count = min(watched, len(rows) // 10)
    held_out[np.random.default_rng([seed, 77]).choice(rows, size=count, replace=False)] = True
    # A text that is watched must not be learnt from under another kind, or a second time.
    kept_back = set(np.array(texts, dtype=object)[held_out].tolist())
    for row, text in enumerate(texts):
        if text in kept_back:
            held_out[row] = True
    return Examples(pa.array(texts, pa.large_string()), doc, kind, list(inputs), held_out)


def watched_kind(inputs: Sequence[Input]) -> int:
    for wanted in ("queries", "keywords"):
        for i, entry in enumerate(inputs):
            if entry.kind == wanted:
                return i
    return 0


def of_kind(
    records: Records, entry: Input, training: TrainingData | None, *, seed: int
) -> tuple[npt.NDArray[np.int64], list[str]]:
    if entry.kind == "queries":
        if training is None:
            raise InputError(
                "training input 'queries' needs a training split", remedy="e.g. train: train, or leave it out"
            )
        asked = training.queries.texts()
        return training.doc, [asked[q] for q in training.query.tolist()]
    maker: Any = None
    if entry.kind == "keywords":
        maker = pairs.KeywordQueries(text for _, text in records.blocks("{title} {text}", _BLOCK))
    _check_options(entry, maker)
    rows: list[int] = []
    made: list[str] = []
    for start, bodies in records.blocks("{text}", _BLOCK):
        # Without titles the template would be empty.
        titles = (
            records.texts("{title}", start, start + len(bodies))
            if "title" in records.columns
            else [""] * len(bodies)
        )
        found, texts = pairs.make(
            entry.kind, titles, bodies, seed=seed, start=start, maker=maker, **entry.options
        )
        rows += found
        made += texts
    return np.array(rows, dtype=np.int64), made


def _check_options(entry: Input, maker: Any) -> None:
    import inspect

    function = maker.__call__ if maker is not None else pairs.KINDS[entry.kind]
    # The words of keyword queries are a range, and no number.
    known = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and (maker is None or p.name != "words")
    ]
    for name in entry.options:
        if name not in known:
            raise InputError(
                f"training input '{entry.kind}' has no option '{name}'", remedy=did_you_mean(name, known)
            )


def weights(examples: Examples) -> Mapping[int, float]:
    """Kind -> weight, of kinds that have examples to train on."""
    return {
        i: entry.weight
        for i, entry in enumerate(examples.inputs)
        if ((examples.kind == i) & ~examples.held_out).any()
    }
