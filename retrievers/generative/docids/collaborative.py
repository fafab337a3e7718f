"""Docids from co-occurrence: clusters of clusters of documents that training histories hold together (P5 CID)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Interactions, Ints
from seekbench.retrievers.generative.docids.kmeans import single_thread
from seekbench.retrievers.generative.docids.sequences import Docids
from seekbench.retrievers.generative.docids.spectral import spectral
from seekbench.retrievers.generative.docids.tree import grow, in_order_of_rows


class CollaborativeParams(protocol.Params):
    """Fields of `collaborative`."""

    clusters: int = Field(20, ge=2, description="clusters of a node; P5 tries 10, 20 and 30")
    leaf: int = Field(500, ge=1, description="documents of a leaf, at most; P5 tries 200 and 500")
    window: int | None = Field(
        None, ge=1, description="count pairs at most this far apart in a history; all pairs where not stated"
    )
    seed: int = Field(0, ge=0)


def co_occurrence(data: Interactions, documents: int, window: int | None = None) -> Any:
    """scipy.sparse.csr_array float64 [documents, documents]: in how many places of histories two documents
    stand together; symmetric, nothing on the diagonal."""
    from scipy import sparse

    lengths = np.diff(data.indptr)
    history = np.repeat(np.arange(len(lengths)), lengths)
    counts = sparse.csr_array((documents, documents), dtype=np.float64)
    furthest = int(lengths.max(initial=0)) - 1
    for apart in range(1, min(furthest, window or furthest) + 1):
        together = history[:-apart] == history[apart:]
        a, b = data.rows[:-apart][together], data.rows[apart:][together]
        a, b = a[a != b], b[a != b]
        counts = counts + sparse.csr_array((np.ones(len(a)), (a, b)), shape=counts.shape)
    return sparse.csr_array(counts + counts.T)


class Collaborative:
    """P5's collaborative index: spectral clustering of the co-occurrence graph, again inside each cluster that
    is too large, then the number within the leaf. Each cluster has a symbol of its own.

    Documents without co-occurrence, which no spectral method can place, form the node's last cluster, and are
    dealt out by row where they are too many.
    """

    Params: ClassVar[type[protocol.Params]] = CollaborativeParams
    needs: frozenset[str] = frozenset({"interactions"})

    def __init__(self, params: CollaborativeParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        data, p = inputs.the_interactions("collaborative"), self.params
        graph = co_occurrence(data, inputs.documents, p.window)

        residuals = [0.0]
        # The digit of the rest cluster of each node that was divided by co-occurrence; -1 where it has none.
        rest_of: dict[tuple[int, ...], int] = {}

        def split(rows: Ints, path: tuple[int, ...]) -> Ints | None:
            inside = graph[rows][:, rows]
            if not inside.nnz:
                return None
            labels, residual = spectral(inside, p.clusters, seed=(p.seed, *(step + 1 for step in path)))
            residuals.append(residual)
            rest = np.diff(inside.indptr) == 0
            out = in_order_of_rows(labels)
            if rest.any():
                # The rest comes last, wherever its first document stands.
                out[rest] = inputs.documents
                out = np.unique(out, return_inverse=True)[1].reshape(-1)
            if out.any():
                rest_of[path] = int(out.max()) if rest.any() else -1
            return out

        with single_thread():
            tree = grow(
                inputs.documents, p.leaf, p.clusters, split, inputs.context.progress, "collaborative docids"
            )
        tokens, indptr, spaces = tree.by_node()
        facts = {
            "interactions": data.source,
            "isolated": int((np.diff(graph.indptr) == 0).sum()),
            "nodes": len(tree.parent),
            "depth": int(tree.depth.max()),
            "dealt": tree.dealt,
            "residual": max(residuals),
        }
        paths = tree.paths()
        inner = set(tree.parent.tolist())
        state = {
            **tree.state(),
            # Nodes that are the rest cluster of their parent, and nodes whose documents were dealt out by row.
            "rest": np.asarray([bool(path) and rest_of.get(path[:-1], -1) == path[-1] for path in paths]),
            "dealt": np.asarray([node in inner and path not in rest_of for node, path in enumerate(paths)]),
        }
        return Docids.of_codes("collaborative", tokens, indptr, spaces, facts=facts, state=state)
