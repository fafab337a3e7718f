"""Fewer vectors a document: clusters of like tokens become one (pooling), or some tokens are dropped (pruning).

Both happen after encoding and before anything is stored, to documents only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.retrievers import protocol
from seekbench.retrievers.multi_vector.encode import Ints, TokenVectors


class Pooling(protocol.Params):
    """Ward's clustering of a document's tokens by cosine; a cluster becomes its mean, at unit length (Clavié et al.
    2024, https://arxiv.org/abs/2409.14683), by sentence_transformers' HierarchicalTokenPooling."""

    factor: float = Field(2.0, ge=1, description="keep about 1/factor of a document's vectors")
    protected: int = Field(1, ge=0, description="leading vectors that are left alone, [CLS] most often")


class Pruning(protocol.Params):
    """Drops tokens by position or by how common they are (Lassance et al. 2021, https://arxiv.org/abs/2112.06540)."""

    method: Literal["first", "idf"] = Field(
        "idf", description="keep the first tokens, or the rarest of the collection (of equals the earlier)"
    )
    keep: float = Field(0.5, gt=0, le=1, description="share of a document's vectors that stay, at least one")


def pooled(made: TokenVectors, pooling: Pooling) -> TokenVectors:
    """The same texts with fewer vectors each. Pooled vectors have no token of their own (id -1)."""
    import torch
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    pool = HierarchicalTokenPooling(pooling.factor, num_protected_tokens=pooling.protected)
    parts = [
        pool.pool_one(torch.from_numpy(part.copy())).numpy() if len(part) else part for part in made.parts()
    ]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    vectors = np.concatenate(parts) if parts else made.vectors
    ids = np.full(int(lengths.sum()), -1, dtype=np.int64)
    return TokenVectors(vectors.astype(np.float32), lengths, ids, made.read, made.truncated)


def pruned(made: TokenVectors, pruning: Pruning, frequency: npt.NDArray[np.int64] | None) -> TokenVectors:
    """The same texts with some of their vectors. frequency: int64 [vocabulary], documents that hold each token (of
    `idf`)."""
    ends = np.cumsum(made.lengths)
    owner = np.repeat(np.arange(len(made.lengths)), made.lengths)
    place = np.arange(len(owner)) - np.repeat(ends - made.lengths, made.lengths)
    if pruning.method == "first":
        rank = place
    else:
        assert frequency is not None
        by = np.lexsort((place, frequency[made.ids], owner))
        rank = np.empty_like(place)
        rank[by] = place  # of each text its tokens from rarest to most common
    least = np.minimum(made.lengths, np.maximum(1, np.rint(made.lengths * pruning.keep).astype(np.int64)))
    keep = rank < np.repeat(least, made.lengths)
    return TokenVectors(made.vectors[keep], least.astype(np.int64), made.ids[keep], made.read, made.truncated)


def document_frequency(counts: npt.NDArray[np.int64], ids: Ints, lengths: Ints) -> npt.NDArray[np.int64]:
    """`counts` and, for each token, how many of these texts hold it. int64 [vocabulary]."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    pairs = np.unique(owner * np.int64(len(counts)) + ids)
    np.add.at(counts, pairs % len(counts), 1)
    return counts
