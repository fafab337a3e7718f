"""Centroids of token vectors: what residual codes are relative to, and what PLAID looks documents up by.

Their number, sample and training are ColBERTv2's (colbert/indexing/collection_indexer.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench import hashing
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.tokens import Tokens

Floats = npt.NDArray[np.float32]

_VECTORS = "centroids.npy"
_HELD_OUT = "held_out.npy"
_FACTS = "centroids.json"
#: Of the sampled tokens, the share that residuals are measured on, and their greatest number.
_HELD_OUT_SHARE, _HELD_OUT_MOST = 0.05, 50_000
#: Sampled tokens that are in memory, as float32.
_SAMPLE_BYTES = 2 << 30
#: Vectors that are compared with all centroids at once.
_BLOCK = 65_536


@dataclass(frozen=True)
class Centroids:
    """vectors: float32 [centroids, dim], at unit length. held_out: float32 [n, dim], tokens that were not trained on.
    facts: JSON; its `held_out` says whether those are whole `passages`, single `tokens` where no passage is small
    enough, or, below 20 tokens, `none`: then they are tokens that were trained on."""

    vectors: Floats
    held_out: Floats
    facts: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)

    def assign(self, vectors: Floats, threads: int = 0) -> npt.NDArray[np.int32]:
        """int32 [tokens]: the centroid of the highest inner product; the first of equals."""
        import faiss

        if threads:
            faiss.omp_set_num_threads(threads)
        out = np.empty(len(vectors), dtype=np.int32)
        for at in range(0, len(vectors), _BLOCK):
            block = np.ascontiguousarray(vectors[at : at + _BLOCK], dtype=np.float32)
            _, rows = faiss.knn(block, self.vectors, 1, metric=faiss.METRIC_INNER_PRODUCT)
            out[at : at + _BLOCK] = rows[:, 0]
        return out

    @classmethod
    def fit(
        cls, tokens: Tokens, *, count: int | None = None, iterations: int = 4, seed: int = 0, context: Context
    ) -> Centroids:
        """k-means over the tokens of sampled passages.

        count: of centroids; None: 2^floor(log2(16 sqrt(tokens))), but at most the trained tokens.
        """
        rng = np.random.default_rng([seed, 1])
        passages = len(tokens)
        sampled = rng.permutation(passages)[: 1 + int(16 * math.sqrt(120 * passages))]
        lengths = np.cumsum(tokens.indptr[sampled + 1] - tokens.indptr[sampled])
        # Where documents are long, ColBERT's sample would not fit: 8.5 million tokens of 100,000 abstracts.
        most = max(1, int(np.searchsorted(lengths, _SAMPLE_BYTES // (4 * tokens.dim), side="right")))
        sampled, lengths = sampled[:most], lengths[:most]
        total = int(lengths[-1]) if len(lengths) else 0
        wanted_held = min(int(_HELD_OUT_SHARE * total), _HELD_OUT_MOST)
        held = int(np.searchsorted(lengths, wanted_held, side="right"))
        held_out, _ = tokens.gather(np.sort(sampled[:held]))
        trained, _ = tokens.gather(np.sort(sampled[held:]))
        kind = "passages" if len(held_out) else "none"
        if kind == "none" and wanted_held:
            chosen = rng.permutation(len(trained))[:wanted_held]
            held_out, trained, kind = trained[chosen], np.delete(trained, chosen, axis=0), "tokens"
        wanted = _wanted(tokens, count)
        number = min(wanted, len(trained))
        if number:
            vectors = _k_means(trained, number, iterations, seed, context)
        else:
            vectors = np.zeros((1, tokens.dim), dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norms > 0, norms, 1)
        facts = {
            "centroids": len(vectors),
            "wanted": wanted,
            "sampled_passages": len(sampled),
            "trained_tokens": len(trained),
            "held_out_tokens": len(held_out),
            "held_out": kind,
            "iterations": iterations,
            "seed": seed,
            "of_tokens": tokens.count,
            "dim": tokens.dim,
        }
        return cls(vectors, held_out if len(held_out) else trained[:_HELD_OUT_MOST], facts)

    def save(self, folder: Path) -> None:
        (folder / _FACTS).unlink(
            missing_ok=True
        )  # those of an earlier call do not describe what is half written
        np.save(folder / _VECTORS, self.vectors)
        np.save(folder / _HELD_OUT, self.held_out)
        write_atomic(folder / _FACTS, orjson.dumps(dict(self.facts)))

    @classmethod
    def load(cls, folder: Path) -> Centroids:
        return cls(
            np.load(folder / _VECTORS),
            np.load(folder / _HELD_OUT),
            orjson.loads((folder / _FACTS).read_bytes()),
        )


def _wanted(tokens: Tokens, count: int | None) -> int:
    """colbert/indexing/collection_indexer.py, of all tokens rather than of an estimate."""
    return count or 2 ** int(math.log2(16 * math.sqrt(max(1, tokens.count))))


def _k_means(sample: Floats, number: int, iterations: int, seed: int, context: Context) -> Floats:
    import faiss

    if context.threads:
        faiss.omp_set_num_threads(context.threads)
    with context.progress.stage("train centroids", total=1, unit="k-means") as stage:
        # faiss warns below 39 points a centroid, which small corpora do not have.
        means = faiss.Kmeans(
            sample.shape[1], number, niter=iterations, seed=seed + 1, min_points_per_centroid=1, verbose=False
        )
        means.train(np.ascontiguousarray(sample))
        stage.advance(1)
    return np.array(means.centroids, dtype=np.float32)


def centroids_of(
    tokens: Tokens, folder: Path, *, count: int | None, iterations: int, seed: int, context: Context
) -> Centroids:
    """Centroids of a store: from the project's store where there is one, since PLAID and residual codes share them;
    else in `folder`, where an earlier call's are found if they were made in the same way."""

    def make(place: Path) -> Mapping[str, Any]:
        same = {
            "wanted": _wanted(tokens, count),
            "iterations": iterations,
            "seed": seed,
            "of_tokens": tokens.count,
            "dim": tokens.dim,
        }
        known = orjson.loads((place / _FACTS).read_bytes()) if (place / _FACTS).exists() else {}
        if any(known.get(name) != value for name, value in same.items()):
            Centroids.fit(tokens, count=count, iterations=iterations, seed=seed, context=context).save(place)
        return {}

    recipe = tokens.folder.parent / "recipe.json"
    if context.stored is None or not recipe.exists():
        make(folder)
        return Centroids.load(folder)
    depends = {
        "subject": "centroids of token vectors",
        "tokens": hashing.of_json(orjson.loads(recipe.read_bytes())),
        "params": {"count": count, "iterations": iterations, "seed": seed},
        "code": hashing.of_code(__name__),
    }
    return Centroids.load(context.stored("centroids", depends, make))
