"""Docids from hierarchical k-means over document vectors (DSI; 2D: the scaling study, NCI)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs
from seekbench.retrievers.generative.docids.kmeans import Floats, Ints, clusters, single_thread
from seekbench.retrievers.generative.docids.sequences import Docids
from seekbench.retrievers.generative.docids.tree import Tree, grow, in_order_of_rows


class SemanticParams(protocol.Params):
    """Fields of `semantic`."""

    k: int = Field(10, ge=2, description="clusters of a node; DSI's is 10")
    c: int = Field(
        100, ge=1, description="documents of a leaf, at most, which the last digit counts; DSI's is 100"
    )
    restarts: int = Field(
        3, ge=1, description="k-means of each node, of which the best is kept; NCI's is 100"
    )
    iterations: int = Field(300, ge=1, description="of k-means, at most; NCI's is 300")
    sample: int = Field(65_536, ge=1, description="documents that a node's centres are fitted on, at most")
    seed: int = Field(0, ge=0)


class Semantic2DParams(SemanticParams):
    """Fields of `semantic_2d`."""

    c: int = Field(
        10, ge=1, description="documents of a leaf, at most; with c <= k a token is level * k + digit exactly"
    )


def _tree(inputs: BuildInputs, params: SemanticParams, name: str) -> tuple[Tree, dict[str, npt.NDArray[Any]]]:
    """The tree, and what places further documents in it: the tree's arrays and `centres`, float32 [nodes, dim],
    NaN for the root and for nodes that were dealt out, which have none."""
    vectors = inputs.the_embeddings(name)
    centres_of: dict[tuple[int, ...], Floats] = {}

    def split(rows: Ints, path: tuple[int, ...]) -> Ints | None:
        # The seed comes from the path, so a node's clusters do not depend on what was divided before it.
        # +1: numpy's seeds [0] and [0, 0] are the same.
        labels, centres = clusters(
            vectors,
            rows,
            params.k,
            seed=(params.seed, *(step + 1 for step in path)),
            sample=params.sample,
            restarts=params.restarts,
            iterations=params.iterations,
        )
        out = in_order_of_rows(labels)
        _, first = np.unique(out, return_index=True)
        if len(first) > 1:
            centres_of[path] = centres[labels[first]]
        return out

    with single_thread():
        tree = grow(inputs.documents, params.c, params.k, split, inputs.context.progress, "semantic docids")
    centres = np.full((len(tree.parent), vectors.shape[1]), np.nan, dtype=np.float32)
    for node, path in enumerate(tree.paths()):
        if path[:-1] in centres_of and path:
            centres[node] = centres_of[path[:-1]][path[-1]]
    return tree, {**tree.state(), "centres": centres}


def _facts(tree: Tree) -> dict[str, int]:
    return {
        "nodes": len(tree.parent),
        "leaves": len(np.unique(tree.leaf)),
        "depth": int(tree.depth.max()),
        "dealt": tree.dealt,
    }


class Semantic:
    """DSI's semantic docids: assign(X) = X's documents counted as the last digit if there are at most c, else
    a digit of k-means with k clusters, and assign() of each cluster. One set of symbols serves all levels.

    Unique, and none continues another. Near documents share a prefix. Equal vectors, which no k-means divides,
    are dealt out by row.
    """

    Params: ClassVar[type[protocol.Params]] = SemanticParams
    needs: frozenset[str] = frozenset({"embeddings"})

    def __init__(self, params: SemanticParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        tree, state = _tree(inputs, self.params, "semantic")
        tokens, indptr, spaces = tree.by_digit()
        return Docids.of_codes("semantic", tokens, indptr, spaces, facts=_facts(tree), state=state)


class Semantic2D:
    """The same tree with symbols of its own on every level: digit c on level l is l * max(k, c_max) + c."""

    Params: ClassVar[type[protocol.Params]] = Semantic2DParams
    needs: frozenset[str] = frozenset({"embeddings"})

    def __init__(self, params: Semantic2DParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        tree, state = _tree(inputs, self.params, "semantic_2d")
        tokens, indptr, spaces = tree.by_level(max(self.params.k, self.params.c))
        return Docids.of_codes("semantic_2d", tokens, indptr, spaces, facts=_facts(tree), state=state)
