"""Docids without meaning: atomic symbols, and numbers written out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Ints
from seekbench.retrievers.generative.docids.sequences import Docids, Space


class AtomicParams(protocol.Params):
    """No parameters."""


class Atomic:
    """One symbol of its own for each document (DSI): one step decodes, at the cost of width x documents
    parameters."""

    Params: ClassVar[type[protocol.Params]] = AtomicParams
    needs: frozenset[str] = frozenset()

    def __init__(self, params: AtomicParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        n = inputs.documents
        return Docids.of_codes("atomic", np.arange(n), np.arange(n + 1), [Space("d", n)])


class NaiveParams(protocol.Params):
    """Fields of `naive`."""

    of: Literal["row", "id"] = Field("row", description="the document's row, or the corpus' own id")
    start: int = Field(0, ge=0, description="the first row's number")


class Naive:
    """A decimal number as text, cut by the model's ordinary tokenizer (DSI's naive strings)."""

    Params: ClassVar[type[protocol.Params]] = NaiveParams

    def __init__(self, params: NaiveParams) -> None:
        self.params = params

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"records"} if self.params.of == "id" else ())

    def build(self, inputs: BuildInputs) -> Docids:
        if self.params.of == "id":
            return Docids.of_texts("naive", inputs.the_records("naive").ids(), facts={"of": "id"})
        first = self.params.start
        return Docids.of_texts("naive", [str(row) for row in range(first, first + inputs.documents)])


class RandomParams(protocol.Params):
    """Fields of `random`."""

    digits: int | None = Field(
        None, ge=1, le=18, description="digits of each number; one more than needed where not stated"
    )
    seed: int = Field(0, ge=0)


class Random:
    """A random number of fixed length, none given twice, as text (P5's random index)."""

    Params: ClassVar[type[protocol.Params]] = RandomParams
    needs: frozenset[str] = frozenset()

    def __init__(self, params: RandomParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        n = inputs.documents
        digits = self.params.digits or len(str(n)) + 1
        if n > 10**digits:
            raise InputError(
                f"{n} documents have no distinct numbers of {digits} digits", remedy="raise `digits`"
            )
        numbers = np.random.default_rng(self.params.seed).choice(10**digits, n, replace=False)
        return Docids.of_texts("random", [f"{number:0{digits}d}" for number in numbers.tolist()])


class SequentialParams(protocol.Params):
    """Fields of `sequential`."""

    order: Literal["training", "corpus"] = Field(
        "training", description="walk the training histories (P5 SID), or the corpus"
    )
    histories: Literal["original", "short_to_long", "long_to_short", "random"] = Field(
        "original", description="order in which histories are walked"
    )
    start: int = Field(1001, ge=0, description="the first number; P5's is 1001")
    seed: int = Field(0, ge=0, description="of `histories: random`")


class Sequential:
    """Consecutive numbers as text, given where a document is first met (P5 SID), so that documents used together
    share sub-words. Documents that no history has follow in corpus order."""

    Params: ClassVar[type[protocol.Params]] = SequentialParams

    def __init__(self, params: SequentialParams) -> None:
        self.params = params

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"interactions"} if self.params.order == "training" else ())

    def build(self, inputs: BuildInputs) -> Docids:
        order, facts = self.walk(inputs)
        number = np.empty(inputs.documents, dtype=np.int64)
        number[order] = np.arange(self.params.start, self.params.start + inputs.documents)
        return Docids.of_texts("sequential", [str(n) for n in number.tolist()], facts=facts)

    def walk(self, inputs: BuildInputs) -> tuple[Ints, dict[str, Any]]:
        """(int64 [documents]: rows in the order in which they get their numbers; facts)."""
        order = np.arange(inputs.documents, dtype=np.int64)
        facts: dict[str, Any] = {}
        if self.params.order == "training":
            data = inputs.the_interactions("sequential")
            lengths = np.diff(data.indptr)
            walk = np.arange(len(lengths))
            if self.params.histories == "short_to_long":
                walk = np.argsort(lengths, kind="stable")
            elif self.params.histories == "long_to_short":
                walk = np.argsort(-lengths, kind="stable")
            elif self.params.histories == "random":
                walk = np.random.default_rng(self.params.seed).permutation(len(lengths))
            # Each history's place in the walk, then its own order: a stable sort of the flat rows.
            place = np.empty(len(walk), dtype=np.int64)
            place[walk] = np.arange(len(walk))
            met = data.rows[np.argsort(np.repeat(place, lengths), kind="stable")]
            rows, first = np.unique(met, return_index=True)
            rest = np.ones(inputs.documents, dtype=np.bool_)
            rest[rows] = False
            order = np.concatenate([rows[np.argsort(first)], np.flatnonzero(rest)])
            facts = {"interactions": data.source, "met": len(rows)}
        return order, facts
