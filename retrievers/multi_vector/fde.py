"""MUVERA's fixed dimensional encodings (FDEs): a set of token vectors becomes one vector, and the inner product of a
query's and a document's approximates the sum of maxima that late interaction scores.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings" (NeurIPS 2024,
https://arxiv.org/abs/2405.19504), as released (google/graph-mining, sketching/point_cloud). In each repetition random
hyperplanes cut the space into partitions; a query's block holds, for each partition, the sum of its (projected) tokens
there, a document's their mean. The inner product of two encodings is `repetitions` times the estimate, which orders
documents as the estimate does. Estimates are biased low: a query token meets the mean of the document's tokens in its
partition, not the best of them. Random numbers are numpy's, so encodings are not those of the C++ code bit for bit.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: Dimensions of an encoding: 4 MiB of float32.
LARGEST = 1 << 20
#: Dimensions before a Count-Sketch reduces them.
LARGEST_INNER = 1 << 24
#: Dimensions that tokens are projected to where none are stated (paper, section 3: 20 repetitions of 5 bits and 16).
_PROJECTED = 16
#: Bytes of projected tokens that are held at a time.
_BLOCK_BYTES = 64 << 20
#: Columns of a matrix come in multiples of this, which fills vector registers.
_LANES = 16


class FdeParams(protocol.Params):
    """Fields of an encoding; 10,240 dimensions where nothing is stated."""

    repetitions: int = Field(
        20, ge=1, description="independent partitions of space, whose estimates are added"
    )
    simhash_bits: int = Field(
        5, ge=0, lt=31, description="hyperplanes a repetition: 2^bits partitions; 0 for one"
    )
    projection: Literal["sparse", "dense", "none"] = Field(
        "sparse",
        description="of tokens: sparse (each coordinate to one random place with a random sign: the released code), "
        "dense (random signs / sqrt(projection_dim): the paper), or none",
    )
    projection_dim: int | None = Field(
        None, ge=1, description=f"dimensions of projected tokens; {_PROJECTED} where not stated"
    )
    fill_empty: bool = Field(
        True, description="an empty partition of a document gets the token whose bits differ least"
    )
    final_dim: int | None = Field(
        None,
        ge=1,
        le=LARGEST,
        description="dimensions that a Count-Sketch reduces the whole to; off where not stated",
    )
    seed: int = Field(0, ge=0, description="of all that is random")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.projection == "none" and self.projection_dim is not None:
            raise ValueError("`projection_dim` needs `projection: sparse` or `dense`")
        self._check(1 if self.projection == "none" else self.width(0))
        return self

    def width(self, dim: int) -> int:
        """Dimensions of a projected token."""
        return dim if self.projection == "none" else self.projection_dim or _PROJECTED

    def _check(self, width: int) -> None:
        """Raises ValueError for sizes that can't be meant. width: of a projected token, or a lower bound of it."""
        inner = self.repetitions * (1 << self.simhash_bits) * width
        what = f"{self.repetitions} repetitions x 2^{self.simhash_bits} partitions x {width} dimensions = {inner:,}"
        if inner > LARGEST_INNER:
            raise ValueError(
                f"{what} are more than {LARGEST_INNER:,}; take fewer `simhash_bits` or `repetitions`"
            )
        if self.final_dim is None and inner > LARGEST:
            raise ValueError(
                f"{what} are more than {LARGEST:,}; reduce them with `final_dim` or `projection_dim`"
            )

    def inner_dim(self, dim: int) -> int:
        """Dimensions before the Count-Sketch, of tokens of `dim`. Raises InputError for sizes that can't be meant."""
        width = self.width(dim)
        try:
            self._check(width)
        except ValueError as error:
            raise InputError(f"MUVERA: {error}") from error
        inner = self.repetitions * (1 << self.simhash_bits) * width
        if self.final_dim is not None and self.final_dim > inner:
            raise InputError(
                f"MUVERA: `final_dim` {self.final_dim:,} is no reduction of {inner:,} dimensions",
                remedy="leave it out",
            )
        return inner


class Fde:
    """The encodings of one set of parameters for tokens of `dim` dimensions.

    Its random matrices depend on the seed, the repetition and what they are for, and on nothing else.
    """

    def __init__(self, params: FdeParams, dim: int, *, threads: int = 0) -> None:
        self.params, self.token_dim, self.threads = params, dim, threads
        self._inner = params.inner_dim(dim)
        p, width = params, params.width(dim)
        columns = p.repetitions * p.simhash_bits
        #: float32 [dim, columns]: the hyperplanes, those of a repetition side by side.
        self.normals: Floats = np.zeros((dim, -(-columns // _LANES) * _LANES), dtype=np.float32)
        #: int32 and float32 [repetitions, dim], or float32 [dim, columns].
        self.places: npt.NDArray[np.int32] = np.zeros((0, 0), dtype=np.int32)
        self.signs: Floats = np.zeros((0, 0), dtype=np.float32)
        self.matrix: Floats = np.zeros((0, 0), dtype=np.float32)
        if p.projection == "sparse":
            self.places = np.empty((p.repetitions, dim), dtype=np.int32)
            self.signs = np.empty((p.repetitions, dim), dtype=np.float32)
        elif p.projection == "dense":
            columns = -(-p.repetitions * width // _LANES) * _LANES
            self.matrix = np.zeros((dim, columns), dtype=np.float32)
        for r in range(p.repetitions):
            at = slice(r * p.simhash_bits, (r + 1) * p.simhash_bits)
            drawn = self._random("normals", r).standard_normal((dim, p.simhash_bits), dtype=np.float32)
            self.normals[:, at] = drawn
            random = self._random("projection", r)
            if p.projection == "sparse":
                self.places[r] = random.integers(0, width, dim, dtype=np.int32)
                self.signs[r] = _signs(random, dim)
            elif p.projection == "dense":
                scaled = _signs(random, dim * width) / np.float32(np.sqrt(width))
                self.matrix[:, r * width : (r + 1) * width] = scaled.reshape(dim, width)
        #: int32 and float32 [inner dimensions]: the Count-Sketch; empty for none.
        self.sketch_places: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self.sketch_signs: Floats = np.zeros(0, dtype=np.float32)
        if p.final_dim is not None:
            random = self._random("sketch", 0)
            self.sketch_places = random.integers(0, p.final_dim, self._inner, dtype=np.int32)
            self.sketch_signs = _signs(random, self._inner)

    def _random(self, name: str, repetition: int) -> np.random.Generator:
        seeds = np.random.SeedSequence([self.params.seed, repetition, zlib.crc32(name.encode())])
        return np.random.Generator(np.random.Philox(seeds))

    @property
    def dim(self) -> int:
        """Dimensions of an encoding."""
        return self.params.final_dim or self._inner

    def fingerprint(self) -> str:
        """Of the random matrices: another numpy might draw other numbers from the same seed."""
        digest = hashlib.sha256()
        for drawn in (
            self.normals, self.places, self.signs, self.matrix, self.sketch_places, self.sketch_signs
        ):  # fmt: skip
            digest.update(drawn.tobytes())
        return digest.hexdigest()[:32]

    def documents(self, vectors: Floats, indptr: Ints) -> Floats:
        """float32 [passages, dim]: means of partitions. A passage without tokens is zero.

        vectors: float32 [tokens, token_dim], end to end; indptr: int64 [passages + 1].
        """
        return self._encode(vectors, indptr, average=True)

    def queries(self, vectors: Floats, indptr: Ints) -> Floats:
        """float32 [queries, dim]: sums of partitions; empty ones stay zero. Arguments as for `documents`."""
        return self._encode(vectors, indptr, average=False)

    def _encode(self, vectors: Floats, indptr: Ints, *, average: bool) -> Floats:
        indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        if vectors.ndim != 2 or vectors.shape[1] != self.token_dim or int(indptr[-1]) > len(vectors):
            raise SeekbenchError(
                f"tokens of shape {vectors.shape}, not [{int(indptr[-1])} or more, {self.token_dim}]"
            )
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        out = np.empty((len(indptr) - 1, self.dim), dtype=np.float32)
        # A token's projections of all repetitions are in memory at once.
        columns = max(1, self.params.repetitions * self.params.width(self.token_dim))
        budget = max(1, _BLOCK_BYTES // (4 * (1 if self.params.projection == "none" else columns)))
        at = 0
        while at < len(out):
            stop = int(np.searchsorted(indptr, indptr[at] + budget, side="right")) - 1
            stop = min(len(out), max(at + 1, stop))
            some = vectors[int(indptr[at]) : int(indptr[stop])]
            self._block(some, indptr[at : stop + 1] - indptr[at], average, out[at:stop])
            at = stop
        return out

    def _block(self, vectors: Floats, indptr: Ints, average: bool, out: Floats) -> None:
        p, width = self.params, self.params.width(self.token_dim)
        kernels = self._kernels()
        part = np.zeros((len(vectors), p.repetitions), dtype=np.int32)
        if p.simhash_bits and len(vectors):
            kernels.partitions(vectors, self.normals, p.simhash_bits, part)
        projected, stride = vectors, 0
        if p.projection != "none":
            columns = self.matrix.shape[1] if p.projection == "dense" else p.repetitions * width
            projected, stride = np.empty((len(vectors), columns), dtype=np.float32), width
        if p.projection == "sparse":
            kernels.project_sparse(vectors, self.places, self.signs, width, projected)
        elif p.projection == "dense" and len(vectors):
            kernels.project_dense(vectors, self.matrix, projected)
        kernels.assemble(
            part, projected, width, stride, p.simhash_bits, average, p.fill_empty, indptr,
            self.sketch_places, self.sketch_signs, out,
        )  # fmt: skip

    def _kernels(self) -> Any:
        from seekbench.retrievers.multi_vector import fde_kernels
        from seekbench.retrievers.multi_vector.maxsim import use_threads

        use_threads(self.threads)
        return fde_kernels


def _signs(random: np.random.Generator, count: int) -> Floats:
    """float32 [count]: 1 or -1."""
    return (2 * random.integers(0, 2, count, dtype=np.int8) - 1).astype(np.float32)
