"""Places of added documents in a tree of clusters of co-occurrence: collaborative."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.generative.docids.collaborative import co_occurrence
from seekbench.retrievers.generative.docids.extend_parts import Grown, state_of
from seekbench.retrievers.generative.docids.extend_semantic import children_of, documents_below
from seekbench.retrievers.generative.docids.extend_vectors import Doubles
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Ints
from seekbench.retrievers.generative.docids.sequences import Docids, places
from seekbench.retrievers.generative.docids.tree import Tree


def collaborative(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """The clusters with most co-occurrences with documents before."""
    state = state_of(known, "parent", "digit", "depth", "leaf", "rest", "dealt")
    data, first = inputs.the_interactions("collaborative"), known.documents
    graph = co_occurrence(data, inputs.documents, builder.params.window)
    grove = _Grove(Tree.of_state(state), state["rest"], state["dealt"], inputs.documents)
    nodes, without = len(state["parent"]), 0
    for row in range(first, inputs.documents):
        inside = slice(graph.indptr[row], graph.indptr[row + 1])
        others, weights = graph.indices[inside], graph.data[inside]
        before = others < row
        without += not before.any()
        grove.add(row, others[before], weights[before])
    tree = grove.tree()
    tokens, indptr, spaces = tree.by_node()
    kinds = {"rest": np.asarray(grove.rest), "dealt": np.asarray(grove.dealt)}
    made = Docids.of_codes("collaborative", tokens, indptr, spaces, state={**state, **tree.state(), **kinds})
    facts = {
        "in_known_leaves": int((tree.leaf[first:] < nodes).sum()),
        "largest_leaf": tree.largest_leaf,
        "interactions": data.source,
        "without_co_occurrence": without,
        "clusters": len(tree.parent) - nodes,
    }
    return Grown(made, facts)


class _Grove:
    """A tree of clusters of co-occurrence to which documents, and rest clusters, are added."""

    def __init__(self, tree: Tree, rest: npt.NDArray[Any], dealt: npt.NDArray[Any], documents: int) -> None:
        self.parent, self.digit, self.depth = tree.parent.tolist(), tree.digit.tolist(), tree.depth.tolist()
        self.rest, self.dealt = rest.tolist(), dealt.tolist()
        self.children = [under.tolist() for under in children_of(tree)]
        self.below = documents_below(tree).tolist()
        self.leaf = np.full(documents, -1, dtype=np.int64)
        self.leaf[: len(tree.leaf)] = tree.leaf
        self.way: list[list[int]] = []
        for node, parent in enumerate(self.parent):
            self.way.append([*self.way[parent], node] if node else [0])

    def add(self, row: int, others: Ints, weights: Doubles) -> None:
        """others: documents that were placed before, with which this one occurs `weights` times."""
        # Together with which cluster of each level? Those of a path hold ever fewer of the others.
        weight: dict[int, float] = {}
        for leaf, times in zip(self.leaf[others].tolist(), weights.tolist(), strict=True):
            for node in self.way[leaf]:
                weight[node] = weight.get(node, 0.0) + times
        node = 0
        self.below[0] += 1
        while self.children[node]:
            node = self._next(node, weight)
            self.below[node] += 1
        self.leaf[row] = node

    def _next(self, node: int, weight: dict[int, float]) -> int:
        under: list[int] = self.children[node]
        best = max(under, key=lambda child: weight.get(child, 0.0))
        if weight.get(best, 0.0) > 0:
            return best
        if self.dealt[node]:
            return min(under, key=lambda child: self.below[child])
        return next((child for child in under if self.rest[child]), None) or self._new(node)

    def _new(self, node: int) -> int:
        new = len(self.parent)
        self.parent.append(node)
        self.digit.append(len(self.children[node]))
        self.depth.append(self.depth[node] + 1)
        self.rest.append(True)
        self.dealt.append(False)
        self.children[node].append(new)
        self.children.append([])
        self.below.append(0)
        self.way.append([*self.way[node], new])
        return new

    def tree(self) -> Tree:
        parent, digit, depth = (
            np.asarray(one, dtype=np.int64) for one in (self.parent, self.digit, self.depth)
        )
        return Tree(parent, digit, depth, self.leaf, places(self.leaf), 0)
