"""Places of added documents in a tree of clusters of vectors: semantic and semantic_2d."""

from __future__ import annotations

import dataclasses
import heapq
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.generative.docids.extend_parts import Grown, state_of
from seekbench.retrievers.generative.docids.extend_vectors import (
    BLOCK,
    check_vectors,
    checked_rows,
    distances_to,
    is_near,
    vectors_of,
)
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Floats, Ints
from seekbench.retrievers.generative.docids.sequences import Docids, places
from seekbench.retrievers.generative.docids.tree import Tree


def semantic(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """semantic and semantic_2d: the nearest centre on each level, then the next number in the leaf."""
    state = state_of(known, "parent", "digit", "depth", "leaf", "centres")
    tree, centres = Tree.of_state(state), state["centres"]
    vectors = vectors_of(known, inputs, centres.shape[1])
    children = children_of(tree)
    _check_tree(known, tree, children, centres, vectors)
    below = documents_below(tree)
    leaf = np.concatenate([tree.leaf, np.zeros(inputs.documents - known.documents, dtype=np.int64)])
    todo = [(0, np.arange(known.documents, inputs.documents, dtype=np.int64))]
    while todo:
        node, rows = todo.pop()
        under = children[node]
        if not len(under) or not len(rows):
            leaf[rows] = node
            continue
        middle = np.asarray(centres[under], dtype=np.float64)
        if np.isnan(middle).any():
            chosen = _dealt(below[under], len(rows))
        else:
            chosen = np.empty(len(rows), dtype=np.int64)
            for at in range(0, len(rows), BLOCK):
                some = vectors[rows[at : at + BLOCK]].astype(np.float64)
                chosen[at : at + BLOCK] = distances_to(some, middle).argmin(axis=1)
        todo += [(int(under[one]), rows[chosen == one]) for one in np.unique(chosen).tolist()]
    tree = dataclasses.replace(tree, leaf=leaf, place=places(leaf))
    if known.builder == "semantic":
        tokens, indptr, spaces = tree.by_digit()
    else:
        tokens, indptr, spaces = tree.by_level([space.size for space in known.spaces])
    made = Docids.of_codes(known.builder, tokens, indptr, spaces, state={**state, **tree.state()})
    facts = {"in_known_leaves": inputs.documents - known.documents, "largest_leaf": tree.largest_leaf}
    return Grown(made, facts)


def _dealt(below: Ints, documents: int) -> Ints:
    """int64 [documents]: children of a node that was divided without regard to content: each document goes where
    the fewest are."""
    heap = [(int(size), child) for child, size in enumerate(below)]
    heapq.heapify(heap)
    chosen = np.empty(documents, dtype=np.int64)
    for at in range(documents):
        size, child = heap[0]
        heapq.heapreplace(heap, (size + 1, child))
        chosen[at] = child
    return chosen


def _check_tree(
    known: Docids, tree: Tree, children: list[Ints], centres: npt.NDArray[Any], vectors: Floats
) -> None:
    rows = checked_rows(known)
    agree = np.ones(len(rows), dtype=np.bool_)
    for at, row in enumerate(rows.tolist()):
        node, point = int(tree.leaf[row]), vectors[row].astype(np.float64)[None]
        while node and agree[at]:
            above = int(tree.parent[node])
            under = children[above]
            middle = np.asarray(centres[under], dtype=np.float64)
            if not np.isnan(middle).any():
                own = np.searchsorted(under, node)
                agree[at] = is_near(distances_to(point, middle), np.asarray([own]))[0]
            node = above
    check_vectors(known, agree)


def children_of(tree: Tree) -> list[Ints]:
    """The children of each node, in order of their digits."""
    by = np.lexsort((tree.digit[1:], tree.parent[1:])) + 1
    bounds = np.searchsorted(tree.parent[by], np.arange(len(tree.parent) + 1))
    return [by[a:b] for a, b in pairwise(bounds.tolist())]


def documents_below(tree: Tree) -> Ints:
    """int64 [nodes]: documents in and below each node."""
    below = np.bincount(tree.leaf, minlength=len(tree.parent))
    for node in np.argsort(-tree.depth, kind="stable")[:-1].tolist():
        below[tree.parent[node]] += below[node]
    return below
