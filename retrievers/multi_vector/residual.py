"""ColBERTv2's residual codes: the nearest centroid of a token vector, and for each dimension a bucket of what is left
(Santhanam et al. 2022, https://aclanthology.org/2022.naacl-main.272, section 3.3; colbert/indexing/codecs/residual.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import InputError
from seekbench.retrievers.multi_vector.centroids import Centroids, centroids_of
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.tokens import Tokens

Floats = npt.NDArray[np.float32]

_BUCKETS = "buckets.npz"
_CENTROIDS = "centroids.npy"
_FACTS = "residual.json"


class ResidualCodec:
    """centroids: float32 [c, dim]; cutoffs: float32 [2^bits - 1], borders of buckets; weights: float32 [2^bits], what a
    bucket stands for."""

    def __init__(
        self, centroids: Floats, cutoffs: Floats, weights: Floats, facts: Mapping[str, Any], threads: int = 0
    ) -> None:
        self.centroids, self.cutoffs, self.weights = centroids, cutoffs, weights
        self.facts, self.threads = facts, threads
        self.bits = len(weights).bit_length() - 1
        self.code_dtype = np.dtype("<u2" if len(centroids) <= 2**16 else "<i4")

    @property
    def packed_bytes(self) -> int:
        """Of a token's buckets."""
        return -(-int(self.centroids.shape[1]) * self.bits // 8)

    @classmethod
    def fit(
        cls, tokens: Tokens, *, bits: int, folder: Path, seed: int = 0, context: Context
    ) -> ResidualCodec:
        """Centroids, and buckets of equal numbers of held-out residuals. facts: `mean_cosine` of held-out tokens
        and what they are decoded to. folder: where centroids are kept without a store. InputError: bits not 1, 2, 4."""
        if bits not in (1, 2, 4):
            raise InputError(f"residual codes have 1, 2 or 4 bits a dimension, not {bits}")
        means = centroids_of(tokens, folder, count=None, iterations=4, seed=seed, context=context)
        held_out = means.held_out
        left = (held_out - means.vectors[means.assign(held_out, context.threads)]).ravel()
        buckets = 2**bits
        at = np.arange(buckets) / buckets
        if len(left):
            cutoffs = np.quantile(left, at[1:]).astype(np.float32)
            weights = np.quantile(left, at + 0.5 / buckets).astype(np.float32)
        else:
            cutoffs, weights = np.zeros(buckets - 1, np.float32), np.zeros(buckets, np.float32)
        codec = cls(means.vectors, cutoffs, weights, {}, context.threads)
        some = held_out[np.linalg.norm(held_out, axis=1) > 0]
        again = codec.decompress(*codec.compress(some))
        lengths = np.linalg.norm(some, axis=1)
        cosine = float(np.mean((some * again).sum(axis=1) / lengths)) if len(some) else None
        codec.facts = {**means.facts, "mean_cosine": cosine}
        return codec

    def compress(self, vectors: Floats) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        """(codes uint16 or int32 [tokens], buckets uint8 [tokens, packed_bytes])."""
        codes = Centroids(self.centroids, vectors[:0], {}).assign(vectors, self.threads)
        packed = np.empty((len(vectors), self.packed_bytes), dtype=np.uint8)
        _kernels().pack(np.ascontiguousarray(vectors), self.centroids, codes, self.cutoffs, self.bits, packed)
        return codes.astype(self.code_dtype), packed

    def decompress(self, codes: npt.NDArray[Any], packed: npt.NDArray[np.uint8]) -> Floats:
        """float32 [tokens, dim], at unit length."""
        out = np.empty((len(codes), self.centroids.shape[1]), dtype=np.float32)
        _kernels().unpack(packed, self.centroids, codes.astype(np.int64), self.weights, self.bits, out)
        return out

    def save(self, folder: Path) -> None:
        np.save(folder / _CENTROIDS, self.centroids)
        np.savez(folder / _BUCKETS, cutoffs=self.cutoffs, weights=self.weights)
        write_atomic(folder / _FACTS, orjson.dumps(dict(self.facts)))

    @classmethod
    def load(cls, folder: Path) -> ResidualCodec:
        with np.load(folder / _BUCKETS) as buckets:
            cutoffs, weights = buckets["cutoffs"], buckets["weights"]
        facts = orjson.loads((folder / _FACTS).read_bytes())
        return cls(np.load(folder / _CENTROIDS), cutoffs, weights, facts)


def _kernels() -> Any:
    from seekbench.retrievers.multi_vector import plaid_kernels

    return plaid_kernels
