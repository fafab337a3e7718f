"""Spectral clustering of a sparse graph with pivoted QR, deterministic and on one thread.

Eigenvectors come from a block Krylov method, which finds repeated eigenvalues that a single-vector Lanczos
method (ARPACK) finds by rounding alone, if at all; labels by CPQR (Damle, Minden & Ying 2019), which needs no
random restarts and does not depend on the signs or the rotation of eigenvectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Ints = npt.NDArray[np.int64]

#: Graphs up to this size are decomposed as a whole.
DENSE = 600
_STEPS = 6
_RESTARTS = 20
#: Eigenvectors with a residual below this are good enough to be clustered (eigenvalues lie in [0, 1]).
_TOLERANCE = 1e-5


def spectral(graph: Any, clusters: int, *, seed: Sequence[int]) -> tuple[Ints, float]:
    """(int64 [nodes] labels below `clusters`, largest residual of an eigenvector) of a symmetric graph without
    negative weights.

    graph: scipy.sparse matrix of a shape [nodes, nodes]; its diagonal is ignored. Nodes without an edge get a
    label of their own kind, the largest one (the rest cluster). Connected components are never joined unless
    there are more of them than clusters, then the smallest ones are; each gets clusters by its size. Call it
    inside `kmeans.single_thread`.
    """
    from scipy import sparse
    from scipy.sparse import csgraph

    graph = sparse.csr_array(graph, dtype=np.float64)
    graph = graph - sparse.diags_array(graph.diagonal(), format="csr")
    graph.eliminate_zeros()
    nodes = graph.shape[0]
    _, component = csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(component)
    joined = np.flatnonzero(sizes > 1)
    labels = np.full(nodes, -1, dtype=np.int64)
    alone = sizes[component] == 1
    room = clusters - int(alone.any())
    worst = 0.0
    if len(joined) and room >= 1:
        # Rows decide between components of one size.
        joined = joined[np.argsort(-sizes[joined], kind="stable")]
        if len(joined) >= room:
            _pack(component, joined, sizes, room, labels)
        else:
            at = 0
            for one, count in zip(joined, _shares(sizes[joined], room), strict=True):
                rows = np.flatnonzero(component == one)
                inside = graph[rows][:, rows]
                vectors, residual = leading(inside, int(count), seed)
                labels[rows] = at + cluster_qr(vectors)
                worst = max(worst, residual)
                at += int(count)
    elif len(joined):
        labels[~alone] = 0
    labels[alone] = labels.max(initial=-1) + 1
    return labels, worst


def _pack(component: Ints, joined: Ints, sizes: Ints, bins: int, labels: Ints) -> None:
    """More components than clusters: the largest first, each into the cluster that is smallest so far."""
    filled = np.zeros(bins, dtype=np.int64)
    target = np.full(len(sizes), -1, dtype=np.int64)
    for one in joined:
        target[one] = int(np.argmin(filled))
        filled[target[one]] += sizes[one]
    inside = target[component] >= 0
    labels[inside] = target[component[inside]]


def _shares(sizes: Ints, clusters: int) -> Ints:
    """How many clusters each component gets: one, and the others one by one where most nodes share one."""
    shares = np.ones(len(sizes), dtype=np.int64)
    for _ in range(clusters - len(sizes)):
        load = np.where(shares < sizes, sizes / shares, 0)
        if load.max() <= 0:
            break
        shares[int(np.argmax(load))] += 1
    return shares


def leading(graph: Any, count: int, seed: Sequence[int]) -> tuple[torch.Tensor, float]:
    """float64 [nodes, count]: eigenvectors of D^-1/2 W D^-1/2 with the largest eigenvalues, orthonormal; and the
    largest norm of a residual. Where many eigenvalues lie near the last one, it may stay above the tolerance:
    the span is then one of several that cut the graph about equally well.

    graph: a scipy.sparse matrix W, every node with an edge.
    """
    import torch
    from scipy import sparse

    nodes = graph.shape[0]
    scale = sparse.diags_array(1 / np.sqrt(graph.sum(axis=1)), format="csr")
    # Plus the identity, halved: eigenvalues in [0, 1] in the same order, so the largest are those of most weight.
    matrix = ((scale @ graph @ scale) + sparse.eye_array(nodes, format="csr")) / 2
    if nodes <= max(DENSE, 4 * count):
        whole: torch.Tensor = torch.linalg.eigh(torch.from_numpy(matrix.toarray()))[1]
        return whole.flip(1)[:, :count].contiguous(), 0.0
    width = min(count + 8, nodes)
    rng = np.random.default_rng([*seed, nodes])
    block = torch.linalg.qr(torch.from_numpy(rng.standard_normal((nodes, width))))[0]
    vectors: torch.Tensor = block
    residual = 0.0
    for _ in range(_RESTARTS):
        basis = [block]
        for _ in range(_STEPS):
            # scipy's sparse product is serial, so its sums have one order.
            basis.append(torch.linalg.qr(torch.from_numpy(matrix @ basis[-1].numpy()))[0])
        span = torch.linalg.qr(torch.cat(basis, dim=1))[0]
        image = torch.from_numpy(matrix @ span.numpy())
        small = span.T @ image
        values, turn = torch.linalg.eigh((small + small.T) / 2)
        turn = turn.flip(1)[:, :width]
        block = span @ turn
        vectors = block[:, :count]
        off = image @ turn[:, :count] - vectors * values.flip(0)[:count]
        residual = float(off.norm(dim=0).max())
        if residual < _TOLERANCE:
            break
    return vectors.contiguous(), residual


def cluster_qr(vectors: torch.Tensor) -> Ints:
    """int64 [nodes]: clusters from orthonormal eigenvectors, float64 [nodes, clusters] (Damle et al. 2019, alg. 1).

    Pivoted QR picks one node for each cluster, the most independent ones; the rotation nearest to theirs takes
    eigenvectors to indicators of clusters.
    """
    import torch

    count = vectors.shape[1]
    left = vectors.clone()
    picked = []
    for _ in range(count):
        lengths = left.square().sum(dim=1)
        # The first of those that are equal up to rounding.
        pick = int(torch.nonzero(lengths >= lengths.max() * (1 - 1e-9))[0, 0])
        picked.append(pick)
        unit = left[pick] / left[pick].norm().clamp(min=1e-300)
        left = left - torch.outer(left @ unit, unit)
    first, _, last = torch.linalg.svd(vectors[picked].T)
    weight = (vectors @ (first @ last)).abs()
    # Rounding off the last digits gives ties to the first cluster, whatever the rounding of the eigenvectors.
    return np.asarray((weight * 1e9).round().argmax(dim=1).numpy(), dtype=np.int64)
