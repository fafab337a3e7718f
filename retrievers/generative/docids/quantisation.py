"""Docids from product quantisation: the vector in pieces, and the number of the nearest centre for each."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Ints
from seekbench.retrievers.generative.docids.kmeans import (
    BLOCK,
    gather,
    kmeans,
    nearest,
    sample_of,
    single_thread,
)
from seekbench.retrievers.generative.docids.sequences import Docids, with_digits

if TYPE_CHECKING:
    import torch


class PQParams(protocol.Params):
    """Fields of `pq`."""

    pieces: int = Field(8, ge=1, description="pieces of the vector = codes of a docid")
    codes: int = Field(256, ge=2, le=65_536, description="centres of each piece, at most")
    rotation: Literal["none", "random", "opq"] = Field(
        "none",
        description="turn the space before it is cut: at random, or so that the error falls (Ge et al. 2013)",
    )
    rounds: int = Field(10, ge=1, description="of `rotation: opq`")
    collisions: Literal["digit", "leave"] = Field(
        "digit", description="count documents of equal codes in a last digit, or let them share their docid"
    )
    iterations: int = Field(25, ge=1, description="of k-means, at most")
    sample: int = Field(65_536, ge=1, description="documents that centres are fitted on, at most")
    seed: int = Field(0, ge=0)


class PQ:
    """Product quantisation (Jegou et al. 2011). Its error, mean squared distance per document, is in the facts,
    with the error of the mean vector beside it."""

    Params: ClassVar[type[protocol.Params]] = PQParams
    needs: frozenset[str] = frozenset({"embeddings"})

    def __init__(self, params: PQParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        vectors, p = inputs.the_embeddings("pq"), self.params
        n, dim = vectors.shape
        if p.pieces > dim:
            raise InputError(
                f"vectors of {dim} dimensions have no {p.pieces} pieces", remedy="lower `pieces`"
            )
        bounds = np.linspace(0, dim, p.pieces + 1).astype(np.int64)
        codes = np.empty((n, p.pieces), dtype=np.int64)
        error = spread = 0.0
        with single_thread():
            points = gather(vectors, sample_of(np.arange(n), p.sample, [p.seed]))
            middle = points.double().mean(dim=0).float()
            turn = self._rotation(points, bounds)
            centres = self._fit(points if turn is None else points @ turn, bounds, p.iterations)
            del points
            with inputs.context.progress.stage("pq docids", total=n, unit="docs") as stage:
                for at in range(0, n, BLOCK):
                    block = gather(vectors, slice(at, at + BLOCK))
                    spread += float((block - middle).square().sum().double())
                    block = block if turn is None else block @ turn
                    for piece, centre in enumerate(centres):
                        part = block[:, bounds[piece] : bounds[piece + 1]].contiguous()
                        label, distance = nearest(part, centre)
                        codes[at : at + BLOCK, piece] = label.numpy()
                        error += float(distance.sum().double())
                    stage.advance(len(block))
        sizes = [len(centre) for centre in centres]
        state: dict[str, npt.NDArray[Any]] = {}
        state |= {f"centres_{piece}": np.asarray(centre.numpy()) for piece, centre in enumerate(centres)}
        if turn is not None:
            state["rotation"] = np.asarray(turn.contiguous().numpy())
        if p.collisions == "digit":
            codes, sizes = with_digits(codes, sizes)
            state["digits"] = np.asarray([len(sizes) - p.pieces], dtype=np.int64)
        facts = {"error": error / n, "spread": spread / n}
        return Docids.of_matrix("pq", codes, sizes, facts=facts, state=state)

    def _fit(self, points: torch.Tensor, bounds: Ints, iterations: int) -> list[torch.Tensor]:
        return [
            kmeans(
                points[:, first:last].contiguous(),
                self.params.codes,
                seed=[self.params.seed, piece + 1],
                iterations=iterations,
            )[0]
            for piece, (first, last) in enumerate(pairwise(bounds))
        ]

    def _rotation(self, points: torch.Tensor, bounds: Ints) -> torch.Tensor | None:
        import torch

        if self.params.rotation == "none":
            return None
        dim = points.shape[1]
        noise = torch.from_numpy(np.random.default_rng([self.params.seed]).standard_normal((dim, dim)))
        unit, upper = torch.linalg.qr(noise)
        turn: torch.Tensor = (unit * upper.diagonal().sign()).float()
        if self.params.rotation == "random":
            return turn
        for _ in range(self.params.rounds):
            # Few iterations of k-means a round: the rotation moves, so there is no use in converging.
            turned = points @ turn
            rebuilt = torch.empty_like(turned)
            for centre, first, last in zip(
                self._fit(turned, bounds, 4), bounds[:-1], bounds[1:], strict=True
            ):
                part = turned[:, first:last].contiguous()
                rebuilt[:, first:last] = centre[nearest(part, centre)[0]]
            # The orthogonal matrix that takes the points nearest to their reconstructions (Procrustes).
            left, _, right = torch.linalg.svd((points.T @ rebuilt).double())
            turn = (left @ right).float()
        return turn
