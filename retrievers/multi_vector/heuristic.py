"""The single-vector heuristic that MUVERA is compared with: each query token retrieves its nearest document tokens, and
the passages that own them are candidates.

Hits are merged rank by rank: the first of all query tokens, by score, then the second ones, and so on (Dhulipala et
al. 2024, https://arxiv.org/abs/2405.19504, section 3, "single-vector heuristic", with and without de-duplication).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson
from pydantic import Field, field_validator, model_validator

from seekbench.errors import SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import ann
from seekbench.retrievers.dense.ann import IndexParams
from seekbench.retrievers.multi_vector.fde import Floats, Ints
from seekbench.retrievers.multi_vector.ragged import spans
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.maxsim import Packed
    from seekbench.retrievers.multi_vector.tokens import Tokens

_FACTS = "heuristic.json"
_VECTORS = "vectors.npy"
_INDEX = "index"
#: Hits (query tokens x their nearest tokens) that are in memory at a time.
_HITS = 1 << 22
#: Where nearest tokens are not stated, the first try has this many times those that would do if all were of different
#: passages: a second pass costs more than longer lists.
_FIRST = 4


class HeuristicParams(protocol.Params):
    """How tokens are found and merged."""

    tokens_per_query_token: int | None = Field(
        None,
        ge=1,
        description="nearest tokens a query token; doubled until the candidates are full where not stated",
    )
    dedup: bool = Field(
        True, description="a passage counts once among the candidates; else each of its hits takes a place"
    )
    index: IndexParams = Field(
        default_factory=ann.exact_index,
        description="of all token vectors: exact (nothing is stored), hnsw, ivf, ivf_pq, pq, opq_pq or sq8",
        discriminator="type",
    )
    seed: int = Field(0, ge=0, description="of what an approximate index learns")

    _index = field_validator("index", mode="before")(ann.by_name)

    @model_validator(mode="after")
    def _stored_once(self) -> Self:
        if self.index.type == "exact" and self.index.dtype is not None:
            raise ValueError(
                "an exact search reads the token vectors as they are stored; leave `index.dtype` out"
            )
        return self


class Heuristic:
    """counts: `queries`, `candidates`, `query_tokens` that were searched for (again where lists were doubled), and
    `compared`, the document tokens that they were compared with."""

    @classmethod
    def build(
        cls, tokens: Tokens, folder: Path, params: HeuristicParams, *, seed: int, context: Context
    ) -> dict[str, Any]:
        """Indexes all token vectors; for `exact` nothing but the largest norm is stored.

        Facts: `bytes`, `bytes_per_passage`, `seconds`, `index` (as `ann.build`; None for `exact`). Another type than
        `exact` needs a float32 copy of the vectors on disk while it is built.
        """
        began = time.monotonic()
        exact = params.index.type == "exact"
        copy, norm, count = folder / _VECTORS, 0.0, int(tokens.indptr[-1])
        with (
            context.progress.stage("read token vectors", total=len(tokens), unit="passages") as stage,
            copy.open("wb") as handle,
        ):
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, tokens.dim)}
            np.lib.format.write_array_header_1_0(handle, header)
            for start, stop, vectors in tokens.blocks():
                norm = max(norm, ann.largest_norm(vectors))
                if not exact:
                    handle.write(vectors.astype("<f4").tobytes())
                stage.advance(stop - start)
        index = None
        if exact:
            copy.unlink()
        else:
            (folder / _INDEX).mkdir(exist_ok=True)
            index = ann.build(
                np.load(copy, mmap_mode="r" if count else None), folder / _INDEX, params.index,
                context=context, seed=seed, owned=copy,
            )  # fmt: skip
        size = 0 if index is None else int(index["bytes"])
        facts = {
            "tokens": count,
            "bytes": size,
            "bytes_per_passage": size / max(1, len(tokens)),
            "seconds": time.monotonic() - began,
            "index": index,
        }
        known = {"largest_norm": norm, "passages": len(tokens), "token_dim": tokens.dim}
        write_atomic(folder / _FACTS, orjson.dumps({**facts, **known}))
        return facts

    def __init__(self, folder: Path, tokens: Tokens, params: HeuristicParams, *, context: Context) -> None:
        try:
            known = orjson.loads((folder / _FACTS).read_bytes())
        except (OSError, ValueError) as error:
            raise SeekbenchError(f"no index of the heuristic in {folder}") from error
        counted = (known["passages"], known["tokens"], known["token_dim"])
        if counted != (len(tokens), int(tokens.indptr[-1]), tokens.dim):
            raise SeekbenchError(f"{folder} was built over other token vectors; build it again")
        self._tokens, self._params, self._norm = tokens, params, float(known["largest_norm"])
        self._filled = int((np.diff(tokens.indptr) > 0).sum())
        self._index: ann.Index | None = None
        if params.index.type != "exact":
            self._index = ann.open_index(folder / _INDEX, params.index, context=context)
        self.counts: dict[str, float] = {"queries": 0, "candidates": 0, "query_tokens": 0, "compared": 0}

    def candidates(self, queries: Packed, count: int, *, context: Context, k: int | None = None) -> Ints:
        """int64 [queries, <= count]: passages in the order of their first hits (rank, then score, then the lower
        passage), -1 where there are fewer. k: no matter.

        With an exact search the candidates of a query do not depend on which others are asked with it.
        """
        total = int(self._tokens.indptr[-1])
        wanted = min(count, self._filled)
        out = np.full((len(queries), wanted), -1, dtype=np.int64)
        lengths = np.diff(queries.indptr)
        asking = lengths > 0
        stated, dedup = self._params.tokens_per_query_token, self._params.dedup
        if stated is not None:
            m = np.full(len(queries), stated, dtype=np.int64)
        else:
            m = -(-np.int64(count) // np.maximum(lengths, 1))
            if dedup:
                m = (2 ** np.ceil(np.log2(_FIRST * m))).astype(np.int64)
        m = np.minimum(m, total)
        while wanted and asking.any():
            size = int(m[asking].min())
            some = np.flatnonzero(asking & (m == size))
            for part in _parts(some, lengths, max(1, _HITS // size)):
                found, distinct, exhausted = self._round(queries, part, size, count, wanted, context)
                out[part] = found
                more = (distinct < wanted) & ~exhausted & (size < total) & (stated is None) & dedup
                asking[part[~more]] = False
                m[part[more]] = min(2 * size, total)
        self.counts["queries"] += len(queries)
        self.counts["candidates"] += int((out >= 0).sum())
        return out

    def _round(
        self, queries: Packed, which: Ints, m: int, count: int, wanted: int, context: Context
    ) -> tuple[Ints, Ints, Any]:
        """(int64 [queries, wanted] passages, int64 [queries] how many, bool [queries] no token had m hits)."""
        lengths = np.diff(queries.indptr)[which]
        of = np.repeat(np.arange(len(which)), lengths)
        where = spans(queries.indptr[which], lengths)
        rows, scores = self._nearest(np.ascontiguousarray(queries.vectors[where]), m, context)
        full = np.zeros(len(which), dtype=np.bool_)
        np.logical_or.at(full, of, (rows >= 0).all(axis=1))
        token, rank = np.nonzero(rows >= 0)
        owner, score = of[token], scores[token, rank]
        passage = np.searchsorted(self._tokens.indptr, rows[token, rank], side="right") - 1
        by = np.lexsort((passage, -score, rank, owner))
        owner, passage = owner[by], passage[by]
        if not self._params.dedup:
            first = np.arange(len(owner)) - np.searchsorted(owner, owner) < count
            owner, passage = owner[first], passage[first]
        _, kept = np.unique(owner * np.int64(len(self._tokens)) + passage, return_index=True)
        kept.sort()
        owner, passage = owner[kept], passage[kept]
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        inside = place < wanted
        out = np.full((len(which), wanted), -1, dtype=np.int64)
        out[owner[inside], place[inside]] = passage[inside]
        return out, np.bincount(owner, minlength=len(which)), ~full

    def _nearest(self, vectors: Floats, m: int, context: Context) -> tuple[Ints, Floats]:
        self.counts["query_tokens"] += len(vectors)
        if self._index is not None:
            before = self._index.compared
            found = self._index.search(vectors, m)
            self.counts["compared"] += self._index.compared - before
            return found
        self.counts["compared"] += len(vectors) * int(self._tokens.indptr[-1])
        indptr = self._tokens.indptr
        blocks = ((int(indptr[start]), block) for start, _, block in self._tokens.blocks())
        return ann.nearest(vectors, blocks, m, largest=self._norm, context=context)


def _parts(which: Ints, lengths: Ints, tokens: int) -> Iterator[Ints]:
    """Consecutive queries of at most so many tokens in all, but at least one query."""
    sizes = np.concatenate([[0], np.cumsum(lengths[which])])
    at = 0
    while at < len(which):
        stop = max(at + 1, int(np.searchsorted(sizes, sizes[at] + tokens, side="right")) - 1)
        yield which[at:stop]
        at = stop
