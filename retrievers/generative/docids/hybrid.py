"""Docids of several builders, one after another (P5 HID): e.g. collaborative clusters, then an own symbol."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Ints
from seekbench.retrievers.generative.docids.sequences import Docids, Space, letters, packed


class Part(protocol.Params):
    """One builder and its parameters."""

    type: str = Field(description="a builder's name")
    params: dict[str, Any] = Field(default_factory=dict)


class HybridParams(protocol.Params):
    """Fields of `hybrid`."""

    parts: tuple[Part, ...] = Field(
        (Part(type="collaborative"), Part(type="atomic")),
        min_length=2,
        description="builders in the order of their codes; all codes or all text",
    )
    drop_last: bool = Field(
        False,
        description="leave out the last code of every part but the last, which only counts within a cluster",
    )
    separator: str = Field(" ", description="between texts")


class Hybrid:
    """Parts with exactly one docid a document, joined. Unique where one of the parts is (and `drop_last` has not
    made it otherwise)."""

    Params: ClassVar[type[protocol.Params]] = HybridParams

    def __init__(self, params: HybridParams) -> None:
        from seekbench.retrievers.generative.docids.registry import make

        self.params = params
        self.parts = [make(part.type, part.params) for part in params.parts]

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(part.needs for part in self.parts))

    def build(self, inputs: BuildInputs) -> Docids:
        made = [part.build(inputs) for part in self.parts]
        for one in made:
            if len(one) != one.documents:
                raise InputError(
                    f"docids '{one.builder}' give a document several docids, so they can't be a part of others"
                )
        facts = {"parts": [{"builder": one.builder, **one.facts} for one in made]}
        # Parts can't be told apart once they are joined, and each is extended by itself.
        state = {
            f"part{n}.{name}": array for n, one in enumerate(made) for name, array in packed(one).items()
        }
        if all(one.texts is not None for one in made):
            if self.params.drop_last:
                raise InputError("docids 'hybrid': drop_last is for codes, and these are texts")
            return Docids.of_texts("hybrid", self.joined_texts(made), facts=facts, state=state)
        if any(one.texts is not None for one in made):
            kinds = ", ".join(f"{one.builder}: {one.kind}" for one in made)
            raise InputError(f"docids 'hybrid' join codes or texts, not both ({kinds})")
        tokens, indptr, spaces = self.joined_codes(made)
        named = _distinct([space for _, space in spaces])
        return Docids.of_codes(
            "hybrid", tokens, indptr, named, facts=facts, state={**state, **origins(spaces)}
        )

    def joined_texts(self, made: Sequence[Docids]) -> list[str]:
        """The parts' texts of each document, joined."""
        names = zip(*(one.names() for one in made), strict=True)
        return [self.params.separator.join(parts) for parts in names]

    def joined_codes(self, made: Sequence[Docids]) -> tuple[Ints, Ints, list[tuple[int, Space]]]:
        """(tokens, indptr, spaces that are used, each as its part names it and with the part's number)."""
        lengths = []
        for number, one in enumerate(made):
            assert one.indptr is not None
            cut = int(self.params.drop_last and number < len(made) - 1)
            lengths.append(np.diff(one.indptr) - cut)
        indptr = np.concatenate([[0], np.cumsum(np.sum(lengths, axis=0))]).astype(np.int64)
        tokens = np.empty(indptr[-1], dtype=np.int64)
        at, base = indptr[:-1].copy(), 0
        spaces: list[tuple[int, Space]] = []
        for number, (one, length) in enumerate(zip(made, lengths, strict=True)):
            assert one.tokens is not None
            assert one.indptr is not None
            step = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
            tokens[np.repeat(at, length) + step] = (
                one.tokens[np.repeat(one.indptr[:-1], length) + step] + base
            )
            at += length
            base += one.symbols
            spaces += [(number, space) for space in one.spaces]
        tokens, spaces = _without_unused(tokens, spaces)
        return tokens, indptr, spaces


def origins(spaces: list[tuple[int, Space]]) -> dict[str, npt.NDArray[Any]]:
    """Where the spaces of joined docids come from: `parts` int64 and `names` str, both [spaces]."""
    return {
        "parts": np.asarray([part for part, _ in spaces], dtype=np.int64),
        "names": np.asarray([space.name for _, space in spaces]),
    }


def _without_unused(tokens: Ints, spaces: list[tuple[int, Space]]) -> tuple[Ints, list[tuple[int, Space]]]:
    """Spaces of which no symbol is left (of codes that were dropped) would cost parameters for nothing."""
    start = np.concatenate([[0], np.cumsum([space.size for _, space in spaces])]).astype(np.int64)
    where = np.searchsorted(start, tokens, side="right") - 1
    kept = np.unique(where)
    sizes = np.asarray([spaces[s][1].size for s in kept], dtype=np.int64)
    moved = np.zeros(len(spaces), dtype=np.int64)
    moved[kept] = np.cumsum(sizes) - sizes - start[kept]
    return tokens + moved[where], [spaces[s] for s in kept]


def _distinct(spaces: list[Space]) -> list[Space]:
    """Parts name their levels alike; a name that is taken, or empty, becomes the first letter that no space has."""
    used: set[str] = set()
    own = {space.name for space in spaces}
    out = []
    for space in spaces:
        name = space.name
        if name in used or not name:
            name = next(name for name in map(letters, count()) if name not in used and name not in own)
        used.add(name)
        out.append(Space(name, space.size))
    return out
