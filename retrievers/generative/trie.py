"""What a decoder may emit: a trie over docids as flat arrays, and sets of tokens by position.

Nodes are numbered level by level and, within a level, in the order of their token sequences; the root is 0.
The children of all nodes, row after row, are therefore the nodes 1, 2, 3, ... themselves: the child that
stands at place e of the compressed rows is node e + 1, and no array has to say so. Distinct docids are
*leaves*, numbered in the order of their sequences (a prefix before its extensions), so the leaves below a
node are a range of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
AnyInts = npt.NDArray[np.integer[Any]]

VERSION = 1
_ARRAYS = (
    "child_indptr",
    "child_token",
    "leaf_first",
    "terminal",
    "leaf_indptr",
    "leaf_rows",
    "level_indptr",
)


@dataclass(frozen=True)
class DocidTrie:
    """A prefix trie of docids; all arrays may be mapped from files.

    child_indptr: int32 [nodes + 1], places of each node's children; child_token: int32 [nodes - 1], ascending
    within a node; leaf_first: int32 [nodes], the first leaf at or below a node; terminal: bool [nodes], a docid
    ends here (it may go on as well); leaf_indptr: int32 [leaves + 1] and leaf_rows: int32 or int64 [docids],
    the rows of the docids of each leaf, ascending; level_indptr: int64 [depth + 2], first node of each level.
    end: the token that was appended to every docid, or None.
    """

    child_indptr: Ints
    child_token: Ints
    leaf_first: Ints
    terminal: npt.NDArray[np.bool_]
    leaf_indptr: Ints
    leaf_rows: AnyInts
    level_indptr: Longs
    end: int | None = None
    _devices: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    # -- making ------------------------------------------------------------------------------------------

    @classmethod
    def build(cls, tokens: AnyInts, indptr: AnyInts, *, end: int | None = None) -> DocidTrie:
        """From the docids of rows 0, 1, 2, ...: `tokens[indptr[i] : indptr[i + 1]]` is that of row i.

        tokens: int [total], >= 0; indptr: int [docids + 1]. Equal docids share a leaf. With `end`, that token
        is appended to each docid, and no docid may contain it. Raises ValueError for what cannot be a docid.
        """
        tokens, starts = np.asarray(tokens), np.asarray(indptr, dtype=np.int64)
        lengths = np.diff(starts)
        _check(tokens, starts, lengths, end)
        total = lengths + (end is not None)
        largest = max(int(tokens.max(initial=0)), end or 0)
        group = np.zeros(len(lengths), dtype=np.int64)  # each docid's node, counted within its level
        active = np.arange(len(lengths))
        levels: list[Longs] = [np.zeros(1, dtype=np.int64)]  # parents, then edges' tokens, of each level
        edges: list[Longs] = []
        ends: list[tuple[Longs, Longs]] = []  # rows whose docid ends at a level, and their nodes
        at = 0
        while len(active):
            token = np.full(len(active), -1 if end is None else end, dtype=np.int64)
            inside = lengths[active] > at
            token[inside] = tokens[starts[active[inside]] + at]
            # One sort of (node, token) makes the next level's nodes in the order of their sequences.
            key = group[active] * (largest + 1) + token
            by = np.argsort(key)
            ordered = key[by]
            new = np.ones(len(ordered), dtype=np.bool_)
            np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
            node = np.empty(len(ordered), dtype=np.int64)
            node[by] = np.cumsum(new) - 1
            unique = ordered[new]
            levels.append(unique // (largest + 1))
            edges.append(unique % (largest + 1))
            group[active] = node
            at += 1
            done = total[active] == at
            ends.append((active[done], node[done]))
            active = active[~done]
        return cls._assembled(levels, edges, ends, len(lengths), end)

    @classmethod
    def _assembled(
        cls,
        parents: list[Longs],
        edges: list[Longs],
        ends: list[tuple[Longs, Longs]],
        docids: int,
        end: int | None,
    ) -> DocidTrie:
        sizes = np.array([len(p) for p in parents], dtype=np.int64)
        level = np.concatenate([[0], np.cumsum(sizes)])
        nodes = int(level[-1])
        if nodes >= 2**31:
            raise ValueError(f"a trie of {nodes:,} nodes does not fit in int32")
        children = np.concatenate(
            [np.bincount(parents[i + 1], minlength=sizes[i]) for i in range(len(sizes) - 1)]
            + [np.zeros(sizes[-1], dtype=np.int64)]
        )
        child_indptr = np.concatenate([[0], np.cumsum(children)])
        terminal = np.zeros(nodes, dtype=np.bool_)
        node_of_row = np.empty(docids, dtype=np.int64)
        for depth, (rows, node) in enumerate(ends, start=1):
            node_of_row[rows] = node + level[depth]
        terminal[node_of_row] = True

        below = _leaves_below(terminal, child_indptr, level)
        first = np.zeros(nodes, dtype=np.int64)
        for depth in range(1, len(sizes)):
            # A node's leaves start after its parent's own docid and its elder siblings' leaves.
            here = slice(level[depth], level[depth + 1])
            parent = parents[depth] + level[depth - 1]
            before = np.concatenate([[0], np.cumsum(below[here])[:-1]])
            eldest = child_indptr[parent] + 1 - level[depth]
            first[here] = first[parent] + terminal[parent] + before - before[eldest]
        leaf = first[node_of_row]
        counts = np.bincount(leaf)
        return cls(
            child_indptr=child_indptr.astype(np.int32),
            child_token=np.concatenate(edges).astype(np.int32),
            leaf_first=first.astype(np.int32),
            terminal=terminal,
            leaf_indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            leaf_rows=np.argsort(leaf, kind="stable").astype(np.int32),
            level_indptr=level,
            end=end,
        )

    @classmethod
    def from_lists(cls, docids: Sequence[Sequence[int]], *, end: int | None = None) -> DocidTrie:
        """From one list of tokens a row; for small collections and tests."""
        lengths = np.array([len(d) for d in docids], dtype=np.int64)
        flat = np.array([t for d in docids for t in d], dtype=np.int64)
        return cls.build(flat, np.concatenate([[0], np.cumsum(lengths)]), end=end)

    # -- files -------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Writes one .npy file an array and trie.json, which is written last."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        facts = {"version": VERSION, "end": self.end, "docids": self.docids, "nodes": self.nodes}
        (folder / "trie.json").write_text(json.dumps(facts))

    @classmethod
    def load(cls, folder: Path) -> DocidTrie:
        """Maps what `save` wrote; nothing is read until it is used."""
        facts = json.loads((folder / "trie.json").read_text())
        if facts["version"] != VERSION:
            raise ValueError(f"{folder}: a trie of version {facts['version']}, this code reads {VERSION}")
        # Copy on write: torch takes no read-only array without a warning, and nothing is ever written.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in _ARRAYS}
        return cls(**arrays, end=facts["end"])

    # -- facts -------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> int:
        return len(self.terminal)

    @property
    def leaves(self) -> int:
        """Distinct docids."""
        return len(self.leaf_indptr) - 1

    @property
    def docids(self) -> int:
        """Rows, those that share a docid counted each."""
        return len(self.leaf_rows)

    @property
    def depth(self) -> int:
        """Tokens of the longest docid, the end token counted."""
        return len(self.level_indptr) - 2

    @property
    def nbytes(self) -> int:
        return sum(int(getattr(self, name).nbytes) for name in _ARRAYS)

    @property
    def bytes_per_docid(self) -> float:
        return self.nbytes / self.docids

    @cached_property
    def tokens(self) -> Ints:
        """int32 [distinct]: all tokens that occur, the end token included, ascending."""
        return np.unique(self.child_token)

    @cached_property
    def leaf_count(self) -> Ints:
        """int32 [nodes]: leaves at or below each node, which are leaf_first, leaf_first + 1, ..."""
        return _leaves_below(self.terminal, self.child_indptr, self.level_indptr).astype(np.int32)

    # -- walking -----------------------------------------------------------------------------------------

    def allowed(self, nodes: AnyInts) -> tuple[Ints, Longs]:
        """(tokens int32 [total], indptr int64 [n + 1]): each node's children in compressed rows, ascending."""
        nodes = np.asarray(nodes, dtype=np.int64)
        first = self.child_indptr[nodes].astype(np.int64)
        counts = self.child_indptr[nodes + 1] - first
        indptr = np.concatenate([[0], np.cumsum(counts)])
        place = np.repeat(first - indptr[:-1], counts) + np.arange(indptr[-1])
        return self.child_token[place], indptr

    def step(self, nodes: AnyInts, tokens: AnyInts) -> Longs:
        """int64 [n]: the child of each node by its token, -1 where there is none (and of node -1)."""
        nodes, tokens = np.asarray(nodes, dtype=np.int64), np.asarray(tokens)
        known = np.maximum(nodes, 0)
        low = self.child_indptr[known].astype(np.int64)
        high = stop = self.child_indptr[known + 1].astype(np.int64)
        last = max(len(self.child_token) - 1, 0)
        # Binary searches in all rows at once, as many rounds as the longest row needs.
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) // 2
            less = (self.child_token[np.minimum(middle, last)] < tokens) & (middle < high)
            low, high = np.where(less, middle + 1, low), np.where(less, high, np.maximum(middle, low))
        found = (nodes >= 0) & (low < stop) & (self.child_token[np.minimum(low, last)] == tokens)
        return np.where(found, low + 1, -1)

    def is_leaf(self, nodes: AnyInts) -> npt.NDArray[np.bool_]:
        """bool [n]: whether a docid ends at each node; others may go on from there."""
        nodes = np.asarray(nodes, dtype=np.int64)
        return np.asarray((nodes >= 0) & self.terminal[np.maximum(nodes, 0)])

    def leaf(self, nodes: AnyInts) -> Longs:
        """int64 [n]: the leaf that ends at each node, -1 where none does."""
        nodes = np.asarray(nodes, dtype=np.int64)
        return np.where(self.is_leaf(nodes), self.leaf_first[np.maximum(nodes, 0)], -1).astype(np.int64)

    def walk(self, sequences: AnyInts) -> Longs:
        """int64 [n]: the node of each sequence, -1 where it leaves the trie. sequences: [n, length], ended by
        -1."""
        sequences = np.asarray(sequences)
        nodes = np.zeros(len(sequences), dtype=np.int64)
        for column in sequences.T:
            nodes = np.where(column < 0, nodes, self.step(nodes, np.maximum(column, 0)))
        return nodes

    def rows_of(self, leaf: int) -> AnyInts:
        """int [rows]: the rows that share a leaf's docid, ascending."""
        return self.leaf_rows[self.leaf_indptr[leaf] : self.leaf_indptr[leaf + 1]]

    def sequences(self) -> Ints:
        """int32 [leaves, depth]: the tokens of every leaf, in the order of leaves, filled up with -1."""
        tokens = np.full((self.nodes, self.depth), -1, dtype=np.int32)
        parents = np.repeat(np.arange(self.nodes), np.diff(self.child_indptr))
        for depth in range(1, self.depth + 1):
            here = np.arange(self.level_indptr[depth], self.level_indptr[depth + 1])
            tokens[here] = tokens[parents[here - 1]]
            tokens[here, depth - 1] = self.child_token[here - 1]
        ends = np.flatnonzero(self.terminal)
        return tokens[ends[np.argsort(self.leaf_first[ends])]]

    def as_prefix_fn(self, prompt: int = 1, *, pad: int) -> Callable[[int, torch.Tensor], list[int]]:
        """transformers' `prefix_allowed_tokens_fn`, to compare with; decoding here does not use it.

        prompt: tokens before the docid (1, the start token, for encoder-decoders). `pad` is allowed where a
        sequence is no prefix of a docid, because `generate` fills unused beams with such sequences and refuses
        an empty list.
        """

        def fn(_: int, sequence: torch.Tensor) -> list[int]:
            path = sequence[prompt:].cpu().numpy()
            node = int(self.walk(path[None])[0]) if len(path) else 0
            allowed = [] if node < 0 else self.allowed(np.array([node]))[0].tolist()
            return allowed or [pad]

        return fn

    # -- devices -----------------------------------------------------------------------------------------

    def tensors(self, device: str | torch.device) -> dict[str, torch.Tensor]:
        """The arrays on a device, kept there for the next call; on the CPU they share the arrays' memory."""
        import torch

        name = str(device)
        if name not in self._devices:
            wanted = ("child_indptr", "child_token", "leaf_first", "terminal")
            self._devices[name] = {
                key: torch.from_numpy(np.ascontiguousarray(getattr(self, key))).to(device) for key in wanted
            }
        found: dict[str, torch.Tensor] = self._devices[name]
        return found


@dataclass(frozen=True)
class PositionMask:
    """Tokens allowed at each position, whatever stood before (LC-Rec); combinations may be no docid.

    positions: int64 [tokens] each, ascending, one a position; None allows the whole vocabulary. end: the token
    that ends a docid.
    """

    positions: tuple[Longs | None, ...]
    end: int | None = None

    @classmethod
    def of(cls, trie: DocidTrie) -> PositionMask:
        """The tokens that docids have at each position."""
        levels = trie.level_indptr
        sets = [
            np.unique(trie.child_token[levels[i] - 1 : levels[i + 1] - 1]) for i in range(1, trie.depth + 1)
        ]
        return cls(tuple(s.astype(np.int64) for s in sets), trie.end)

    @classmethod
    def everywhere(cls, tokens: AnyInts, depth: int, *, end: int | None = None) -> PositionMask:
        """One set, and the end token, at `depth` positions (DSI-QG's decimal docids)."""
        allowed = np.unique(np.append(tokens, [] if end is None else [end]).astype(np.int64))
        return cls((allowed,) * depth, end)

    @classmethod
    def none(cls, depth: int, *, end: int | None = None) -> PositionMask:
        """No constraint but the number of tokens."""
        return cls((None,) * depth, end)


def _check(tokens: AnyInts, starts: Longs, lengths: Longs, end: int | None) -> None:
    if not len(lengths):
        raise ValueError("a trie needs at least one docid")
    if starts[0] != 0 or starts[-1] != len(tokens) or (lengths < 0).any():
        raise ValueError("indptr must rise from 0 to the number of tokens")
    if not np.issubdtype(tokens.dtype, np.integer) and len(tokens):
        raise ValueError(f"tokens must be integers, not {tokens.dtype}")
    if len(tokens) and int(tokens.min()) < 0:
        raise ValueError("tokens must not be negative")
    if end is None:
        if (lengths == 0).any():
            row = int(np.flatnonzero(lengths == 0)[0])
            raise ValueError(f"the docid of row {row} is empty, and no end token is appended")
    elif end < 0 or (tokens == end).any():
        raise ValueError(f"the end token {end} is negative or part of a docid")


def _leaves_below(terminal: npt.NDArray[np.bool_], child_indptr: AnyInts, level: Longs) -> Longs:
    """int64 [nodes]: leaves at or below each node, from the last level up."""
    below = terminal.astype(np.int64)
    for depth in range(len(level) - 3, -1, -1):
        sums = np.concatenate([[0], np.cumsum(below[level[depth + 1] : level[depth + 2]])])
        nodes = slice(level[depth], level[depth + 1])
        bounds = np.asarray(child_indptr[level[depth] : level[depth + 1] + 1], dtype=np.int64) + 1
        below[nodes] += sums[bounds[1:] - level[depth + 1]] - sums[bounds[:-1] - level[depth + 1]]
    return below
