"""What a model is taught to write for each training text: a docid, or a ranked list of docids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.generative.docids.sequences import places
from seekbench.retrievers.generative.examples import Made
from seekbench.retrievers.generative.models.base import DocidTokens

Ints = npt.NDArray[np.int64]
#: Scores of a block of documents with all others: 64 MB.
_SCORES = 1 << 24


class Lists(protocol.Params):
    """Fields of `lists`: targets are ranked lists of docids (CorpusLM), or titles with those of linked pages
    (CorpusBrain)."""

    source: Literal["similar", "links"] = Field(
        "similar",
        description="what follows the text's own documents: those most similar to it by the frozen encoder, or none to "
        "four documents that it links to",
    )
    length: int = Field(5, ge=2, description="docids of a list in training, at most")
    most: int = Field(
        10, ge=1, description="docids of a list in search, at most: the model has places for so many"
    )


class Targets:
    """Token sequences, flat. tokens: int64; indptr: int64 [targets + 1]; of: int64 [examples], each one's target."""

    def __init__(self, tokens: Ints, indptr: Ints, of: Ints) -> None:
        self.tokens, self.indptr, self.of = tokens, indptr, of

    @property
    def longest(self) -> int:
        return int(np.diff(self.indptr).max())

    def batch(self, examples: Ints) -> Ints:
        """int64 [B, longest of these]: padded with -100."""
        chosen = self.of[examples]
        first, length = self.indptr[chosen], np.diff(self.indptr)[chosen]
        place = np.arange(int(length.max()))
        inside = place < length[:, None]
        out = np.full(inside.shape, -100, dtype=np.int64)
        out[inside] = self.tokens[(first[:, None] + place)[inside]]
        return out


def of_docids(docids: Docids, tokens: DocidTokens, made: Made) -> Targets:
    """One docid a text. A document of several docids has its texts learn them in turn."""
    first = np.searchsorted(docids.doc, np.arange(docids.documents))
    many = np.diff(np.append(first, len(docids)))
    nth = places(made.doc)
    length = np.diff(tokens.indptr)
    indptr = np.concatenate([[0], np.cumsum(length + 1)]).astype(np.int64)
    flat = np.empty(indptr[-1], dtype=np.int64)
    ends = indptr[1:] - 1
    inner = np.ones(len(flat), dtype=np.bool_)
    inner[ends] = False
    flat[inner], flat[ends] = tokens.flat, tokens.end
    return Targets(flat, indptr, first[made.doc] + nth % many[made.doc])


def of_lists(docids: Docids, tokens: DocidTokens, lists: Sequence[Ints]) -> Targets:
    """Lists of documents -> `docid separator docid ... end`, each document by its preferred docid."""
    first = np.searchsorted(docids.doc, np.arange(docids.documents))
    pieces: list[npt.NDArray[np.integer]] = []
    lengths = np.empty(len(lists), dtype=np.int64)
    separator = np.array([tokens.separator], dtype=np.int64)
    closing = np.array([tokens.end], dtype=np.int64)
    for i, documents in enumerate(lists):
        lengths[i] = 0
        for j, docid in enumerate(first[documents].tolist()):
            one = tokens.flat[tokens.indptr[docid] : tokens.indptr[docid + 1]]
            pieces += [one, closing if j == len(documents) - 1 else separator]
            lengths[i] += len(one) + 1
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Targets(np.concatenate(pieces).astype(np.int64), indptr, np.arange(len(lists), dtype=np.int64))


def lists_of(made: Made, followers: Sequence[Ints], docids: Docids, length: int) -> list[Ints]:
    """The documents of each text's list: those that answer it, then `followers` of the first, each docid once.

    followers: of each text, document rows in order. Documents that share a docid stand there once: no list repeats.
    """
    first = np.searchsorted(docids.doc, np.arange(docids.documents))
    groups = docids.groups
    out = []
    for i, doc in enumerate(made.doc.tolist()):
        answers = made.more[1][made.more[0][i] : made.more[0][i + 1]] if made.more is not None else [doc]
        seen: dict[int, int] = {}
        for row in [*answers, *followers[i]]:
            if len(seen) < length:
                seen.setdefault(int(groups[first[row]]), int(row))
        out.append(np.fromiter(seen.values(), np.int64, len(seen)))
    return out


def similar(vectors: npt.NDArray[np.float32], count: int) -> Ints:
    """int64 [documents, count]: the documents of the highest inner product with each, itself left out; ties by row."""
    n = len(vectors)
    count = min(count, n - 1)
    out = np.empty((n, count), dtype=np.int64)
    block = max(1, _SCORES // n)
    for at in range(0, n, block):
        distance = -np.asarray(vectors[at : at + block] @ vectors.T)
        own = np.arange(len(distance))
        distance[own, at + own] = np.inf
        worst = np.partition(distance, count - 1, axis=1)[:, count - 1] if count else np.empty(0)
        for i in range(len(distance) if count else 0):
            near = np.flatnonzero(distance[i] <= worst[i])
            out[at + i] = near[np.argsort(distance[i, near], kind="stable")[:count]]
    return out
