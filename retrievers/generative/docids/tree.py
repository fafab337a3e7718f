"""A tree of clusters over documents, and docids from it: the path of clusters, then a digit within the leaf."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.progress import Progress
from seekbench.retrievers.generative.docids.sequences import Space, letters, places

Ints = npt.NDArray[np.int64]

#: Deeper nodes are dealt out instead of clustered, so that outliers cannot make docids of any length.
DEEPEST = 24


@dataclass(frozen=True)
class Tree:
    """parent, digit, depth: int64 [nodes], -1, -1, 0 for the root, which is node 0; nodes are numbered level by
    level. leaf: int64 [documents], the node that a document ended in; place: its number in there. dealt:
    documents whose node was divided without regard to content because no split of it was found."""

    parent: Ints
    digit: Ints
    depth: Ints
    leaf: Ints
    place: Ints
    dealt: int

    def codes(self, symbol: Ints, base: Ints | int) -> tuple[Ints, Ints]:
        """(tokens flat, indptr) where node n is written symbol[n] (the root isn't) and the place within a leaf
        `base + place`, base being a number or one for each document."""
        length = self.depth[self.leaf] + 1
        indptr = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        tokens = np.empty(indptr[-1], dtype=np.int64)
        tokens[indptr[1:] - 1] = base + self.place
        node, at = self.leaf.copy(), indptr[1:] - 2
        live = np.flatnonzero(self.depth[node] > 0)
        while len(live):
            tokens[at[live]] = symbol[node[live]]
            node[live] = self.parent[node[live]]
            at[live] -= 1
            live = live[self.depth[node[live]] > 0]
        return tokens, indptr

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What `of_state` makes it of again, but for `dealt`: int32 arrays."""
        arrays = {"parent": self.parent, "digit": self.digit, "depth": self.depth, "leaf": self.leaf}
        return {name: array.astype(np.int32) for name, array in arrays.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> Tree:
        parent, digit, depth, leaf = (
            np.asarray(state[name], dtype=np.int64) for name in ("parent", "digit", "depth", "leaf")
        )
        return cls(parent, digit, depth, leaf, places(leaf), 0)

    def paths(self) -> list[tuple[int, ...]]:
        """The digits from the root to each node."""
        found: list[tuple[int, ...]] = [()]
        for parent, digit in zip(self.parent[1:].tolist(), self.digit[1:].tolist(), strict=True):
            found.append((*found[parent], digit))
        return found

    @property
    def largest_leaf(self) -> int:
        return int(self.place.max(initial=0)) + 1

    def by_digit(self) -> tuple[Ints, Ints, list[Space]]:
        """Digits mean the same on every level: symbol = digit (DSI's strings)."""
        size = max(int(self.digit.max(initial=0)) + 1, self.largest_leaf)
        return *self.codes(self.digit, 0), [Space("", size)]

    def by_level(self, stride: int | Sequence[int]) -> tuple[Ints, Ints, list[Space]]:
        """symbol = level * stride + digit (2D semantic ids). stride: symbols of a level, or of each; a level has
        more only where a leaf there holds more documents, and then later levels begin that much later."""
        at = self.depth[self.leaf]
        sizes = np.zeros(int(at.max()) + 1, dtype=np.int64)
        np.maximum.at(sizes, at, self.place + 1)
        sizes = np.maximum(sizes, np.asarray(stride, dtype=np.int64))
        start = np.cumsum(sizes) - sizes
        # The root's entry is not used.
        tokens, indptr = self.codes(start[np.maximum(self.depth - 1, 0)] + self.digit, start[at])
        return tokens, indptr, [Space(letters(level), int(size)) for level, size in enumerate(sizes)]

    def by_node(self) -> tuple[Ints, Ints, list[Space]]:
        """Every node has a symbol of its own (P5's `<3><3-7>`); places within leaves share theirs."""
        sizes = np.bincount(self.depth)[1:]
        spaces = [Space(letters(level), int(size)) for level, size in enumerate(sizes)]
        # A node's number among those of its level, after the levels above. As `grow` makes them, nodes are in
        # this order already; those that were added later come last on their level.
        nodes = len(self.parent) - 1
        symbol = np.empty(nodes + 1, dtype=np.int64)
        symbol[np.argsort(self.depth, kind="stable")] = np.arange(-1, nodes)
        tokens, indptr = self.codes(symbol, nodes)
        return tokens, indptr, [*spaces, Space(letters(len(spaces)), self.largest_leaf)]


def grow(
    documents: int,
    leaf: int,
    parts: int,
    split: Callable[[Ints, tuple[int, ...]], Ints | None],
    progress: Progress,
    name: str,
) -> Tree:
    """Divides documents until no node has more than `leaf`.

    split(rows, path): a label 0, 1, ... for each of the ascending rows, or None. A node that comes back in one
    piece (equal vectors, no edges) is dealt out in equal runs of rows, at most `parts`.
    """
    parent, digit, depth = [-1], [-1], [0]
    where = np.zeros(documents, dtype=np.int64)
    todo: deque[tuple[int, Ints, tuple[int, ...]]] = deque([(0, np.arange(documents, dtype=np.int64), ())])
    dealt = 0
    with progress.stage(name, total=documents, unit="docs") as stage:
        while todo:
            node, rows, path = todo.popleft()
            if len(rows) <= leaf:
                where[rows] = node
                stage.advance(len(rows))
                continue
            labels = split(rows, path) if len(path) < DEEPEST else None
            if labels is None or not labels.any():
                count = min(parts, -(-len(rows) // leaf))
                labels = np.arange(len(rows), dtype=np.int64) * count // len(rows)
                dealt += len(rows)
            by = np.argsort(labels, kind="stable")
            for label, members in enumerate(np.split(rows[by], np.cumsum(np.bincount(labels))[:-1])):
                if len(members):
                    parent.append(node)
                    digit.append(label)
                    depth.append(len(path) + 1)
                    todo.append((len(parent) - 1, members, (*path, label)))
    return Tree(
        np.asarray(parent, dtype=np.int64),
        np.asarray(digit, dtype=np.int64),
        np.asarray(depth, dtype=np.int64),
        where,
        places(where),
        dealt,
    )


def in_order_of_rows(labels: Ints) -> Ints:
    """int64: labels renumbered 0, 1, ... by first appearance, so that no digit is unused and numbering does not
    depend on the order in which an algorithm found its clusters."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    out: Ints = rank[inverse.reshape(-1)]
    return out
