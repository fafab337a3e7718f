"""PLAID: passages are found by the centroids of their tokens and pruned in stages (Santhanam et al. 2022,
https://doi.org/10.1145/3511808.3557325; colbert/search/index_storage.py).

1. The `ncells` nearest centroids of each query token give passages. 2. Late interaction with centroids in place of
vectors, of those alone that some query token scores `centroid_score_threshold` or more with, keeps `ndocs` passages.
3. The same with all centroids keeps `ndocs` / 4. Exact late interaction, the fourth stage, is the searcher's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field

from seekbench.errors import SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.multi_vector.centroids import centroids_of
from seekbench.retrievers.multi_vector.maxsim import use_threads
from seekbench.retrievers.multi_vector.ragged import spans
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.maxsim import Packed
    from seekbench.retrievers.multi_vector.tokens import Tokens

Ints = npt.NDArray[np.int64]

_FACTS = "plaid.json"
_CENTROIDS = "centroid_vectors.npy"
_CODES, _LISTS, _MEMBERS = "codes.npy", "lists.npy", "members.npy"
#: Numbers (centroids x query tokens) of one block of centroid scores: 256 MiB.
_SCORES = 1 << 26


class PlaidParams(protocol.Params):
    """What is not stated is the published default for k (colbert/searcher.py)."""

    ncells: int | None = Field(
        None, ge=1, description="nearest centroids a query token: 1, 2 or 4 (k <= 10, 100, more)"
    )
    centroid_score_threshold: float | None = Field(
        None, description="of stage 2: .5, .45 or .4 (k <= 10, 100, more)"
    )
    ndocs: int | None = Field(
        None,
        ge=1,
        description="passages kept by stage 2, a quarter of them by stage 3: 256, 1024 or max(4k, 4096)",
    )
    query_maxlen: int = Field(32, ge=1, description="query vectors that take part in finding passages")
    centroids: int | None = Field(
        None, ge=1, description="number of centroids; 2^floor(log2(16 sqrt(tokens))) where not stated"
    )
    kmeans_niters: int = Field(4, ge=1, description="iterations of k-means")
    seed: int = Field(0, ge=0, description="of the sample and of k-means")

    def for_k(self, k: int) -> tuple[int, float, int]:
        """(ncells, threshold, ndocs) for so many hits."""
        ncells, threshold, ndocs = (
            (1, 0.5, 256) if k <= 10 else (2, 0.45, 1024) if k <= 100 else (4, 0.4, max(4 * k, 4096))
        )
        stated = self.centroid_score_threshold
        return self.ncells or ncells, threshold if stated is None else stated, self.ndocs or ndocs


class Plaid:
    """counts: `queries`, passages of `stage1`, `stage2` and `stage3`, and `candidates`."""

    @classmethod
    def build(
        cls, tokens: Tokens, folder: Path, params: PlaidParams, *, seed: int, context: Context
    ) -> dict[str, Any]:
        """Centroids, the centroid of each token, and the passages of each centroid."""
        began = time.monotonic()
        means = centroids_of(
            tokens,
            folder,
            count=params.centroids,
            iterations=params.kmeans_niters,
            seed=seed,
            context=context,
        )
        trained = time.monotonic()
        codes = np.empty(tokens.count, dtype=np.int32)
        with context.progress.stage("assign centroids", total=len(tokens), unit="passages") as stage:
            for start, stop, vectors in tokens.blocks():
                codes[tokens.indptr[start] : tokens.indptr[stop]] = means.assign(vectors, context.threads)
                stage.advance(stop - start)
        owner = np.repeat(np.arange(len(tokens), dtype=np.int64), np.diff(tokens.indptr))
        pairs = np.unique(codes * np.int64(max(1, len(tokens))) + owner)
        cell, member = np.divmod(pairs, max(1, len(tokens)))
        lists = np.searchsorted(cell, np.arange(len(means) + 1)).astype(np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {
            _CENTROIDS: means.vectors,
            _CODES: codes,
            _LISTS: lists,
            _MEMBERS: member.astype(np.int32),
        }
        for name, array in arrays.items():
            np.save(folder / name, array)
        size = sum((folder / name).stat().st_size for name in arrays)
        facts = {
            **means.facts,
            "bytes": size,
            "bytes_per_passage": size / max(1, len(tokens)),
            "parts_seconds": {"centroids": trained - began, "assign": time.monotonic() - trained},
            "seconds": time.monotonic() - began,
        }
        write_atomic(folder / _FACTS, orjson.dumps({**facts, "passages": len(tokens), "dim": tokens.dim}))
        return facts

    def __init__(self, folder: Path, tokens: Tokens, params: PlaidParams, *, context: Context) -> None:
        try:
            known = orjson.loads((folder / _FACTS).read_bytes())
        except (OSError, ValueError) as error:
            raise SeekbenchError(f"no index of PLAID in {folder}") from error
        if (known["passages"], known["dim"]) != (len(tokens), tokens.dim):
            raise SeekbenchError(f"{folder} was built over other token vectors; build it again")
        self._params, self._of_passage = params, tokens.indptr
        self._centroids = np.load(folder / _CENTROIDS)
        self._codes = np.load(folder / _CODES)
        self._lists, self._members = np.load(folder / _LISTS), np.load(folder / _MEMBERS)
        self.counts: dict[str, float] = dict.fromkeys(
            ("queries", "stage1", "stage2", "stage3", "candidates"), 0
        )

    def candidates(self, queries: Packed, count: int, *, context: Context, k: int | None = None) -> Ints:
        """int64 [queries, <= count]: passages by late interaction with centroids, highest first, the lower passage
        first where they are equal; padded with -1. k: hits that are wanted, which the defaults depend on."""
        ncells, threshold, ndocs = self._params.for_k(k or count)
        ncells = min(ncells, len(self._centroids))
        width = min(count, max(1, ndocs // 4), max(1, len(self._of_passage) - 1))
        out = np.full((len(queries), width), -1, dtype=np.int64)
        counted = np.zeros((len(queries), 3), dtype=np.int64)
        kernels = _kernels(context.threads)
        lengths = np.minimum(queries.lengths(), self._params.query_maxlen)
        step = max(1, _SCORES // (len(self._centroids) * self._params.query_maxlen))
        for at in range(0, len(queries), step):
            part = slice(at, min(at + step, len(queries)))
            vectors = queries.vectors[spans(queries.indptr[part], lengths[part])]
            scores = self._centroids @ vectors.T
            cells = _highest(scores.T, ncells)
            indptr = np.concatenate([[0], np.cumsum(lengths[part])]).astype(np.int64)
            kernels.stages(
                scores, indptr, cells, self._lists, self._members, self._of_passage, self._codes, threshold, ndocs,
                out[part], counted[part],
            )  # fmt: skip
        self.counts["queries"] += len(queries)
        for i, name in enumerate(("stage1", "stage2", "stage3")):
            self.counts[name] += int(counted[:, i].sum())
        self.counts["candidates"] += int((out >= 0).sum())
        return out


def _highest(scores: npt.NDArray[np.float32], count: int) -> Ints:
    """int64 [rows, count]: columns of the highest numbers, the first of equals first."""
    if count > 16:
        return np.argsort(-scores, axis=1, kind="stable")[:, :count].astype(np.int64)
    left = np.array(scores, order="C")
    out = np.empty((len(left), count), dtype=np.int64)
    for i in range(count):
        out[:, i] = left.argmax(axis=1)
        left[np.arange(len(left)), out[:, i]] = -np.inf
    return out


def _kernels(threads: int) -> Any:
    from seekbench.retrievers.multi_vector import plaid_kernels

    use_threads(threads)
    return plaid_kernels
