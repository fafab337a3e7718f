"""MUVERA: one vector a passage (`fde`) and an index of these vectors (`dense.ann`) propose the passages to score."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import orjson
from pydantic import Field, field_validator, model_validator

from seekbench.errors import SeekbenchError
from seekbench.retrievers.dense import ann
from seekbench.retrievers.dense.ann import IndexParams
from seekbench.retrievers.multi_vector.fde import Fde, FdeParams, Ints
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.maxsim import Packed
    from seekbench.retrievers.multi_vector.tokens import Tokens

_FACTS = "muvera.json"
#: Passages that have tokens, where some have none.
_ROWS = "rows.npy"
_ENCODINGS = "encodings.npy"
_INDEX = "index"
#: Bytes of float32 encodings that are made at a time.
_BLOCK_BYTES = 64 << 20


class MuveraParams(FdeParams):
    """Fields of the encoding, and how encodings are stored and searched."""

    dtype: Literal["float32", "float16"] = Field("float32", description="of documents' encodings")
    index: IndexParams = Field(
        default_factory=ann.exact_index,
        description="of encodings: exact, hnsw, ivf, ivf_pq, pq (its defaults are the paper's PQ-256-8), opq_pq or sq8",
        discriminator="type",
    )

    _index = field_validator("index", mode="before")(ann.by_name)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.index.type == "exact" and self.index.dtype is not None:
            raise ValueError("`index.dtype` is what `dtype` says; leave it out")
        return self


class Muvera:
    """counts: `queries`, `candidates`, and `compared`, the encodings that queries' were compared with."""

    @classmethod
    def build(
        cls, tokens: Tokens, folder: Path, params: MuveraParams, *, seed: int, context: Context
    ) -> dict[str, Any]:
        """Encodes all passages and indexes their encodings; a passage without tokens has none.

        Facts: `fde_dim`, `bytes` of the index, `bytes_per_passage`, `seconds`, `parts_seconds` (encode, index),
        `index` (as `ann.build`). On disk the encodings are there once, or twice while another type than `exact` is
        built; memory beyond the index: blocks of 64 MiB of encodings and of projected tokens.
        """
        began = time.monotonic()
        encoder = _encoder(params, seed, tokens.dim, context)
        kept = np.flatnonzero(np.diff(tokens.indptr) > 0).astype(np.int64)
        encodings = folder / _ENCODINGS
        stored = np.dtype(params.dtype).newbyteorder("<")
        step = max(1, _BLOCK_BYTES // (4 * encoder.dim))
        with (
            encodings.open("wb") as handle,
            context.progress.stage("encode documents", total=len(tokens), unit="passages") as stage,
        ):
            header = {"descr": stored.str, "fortran_order": False, "shape": (len(kept), encoder.dim)}
            np.lib.format.write_array_header_1_0(handle, header)
            for start, stop, vectors in tokens.blocks():
                for at in range(start, stop, step):
                    indptr = tokens.indptr[at : min(at + step, stop) + 1] - tokens.indptr[start]
                    made = encoder.documents(vectors, indptr)[np.diff(indptr) > 0]
                    handle.write(made.astype(stored).tobytes())
                    stage.advance(len(indptr) - 1)
        encoded = time.monotonic()
        (folder / _ROWS).unlink(missing_ok=True)
        size = 0
        if len(kept) < len(tokens):
            np.save(folder / _ROWS, kept)
            size = (folder / _ROWS).stat().st_size
        (folder / _INDEX).mkdir(exist_ok=True)
        made = np.load(encodings, mmap_mode="r" if len(kept) else None)
        index = ann.build(made, folder / _INDEX, params.index, context=context, seed=seed, owned=encodings)
        size += int(index["bytes"])
        facts = {
            "fde_dim": encoder.dim,
            "passages": len(kept),
            "bytes": size,
            "bytes_per_passage": size / max(1, len(tokens)),
            "parts_seconds": {"encode": encoded - began, "index": float(index["seconds"])},
            "seconds": time.monotonic() - began,
            "index": index,
        }
        known = {
            "seed": seed,
            "token_dim": tokens.dim,
            "passages": len(tokens),
            "drawn": encoder.fingerprint(),
        }
        write_atomic(folder / _FACTS, orjson.dumps({**facts, **known}))
        return facts

    def __init__(self, folder: Path, tokens: Tokens, params: MuveraParams, *, context: Context) -> None:
        try:
            known = orjson.loads((folder / _FACTS).read_bytes())
        except (OSError, ValueError) as error:
            raise SeekbenchError(f"no index of MUVERA in {folder}") from error
        if (known["passages"], known["token_dim"]) != (len(tokens), tokens.dim):
            raise SeekbenchError(f"{folder} was built over other token vectors; build it again")
        self._encoder = _encoder(params, int(known["seed"]), tokens.dim, context)
        if self._encoder.fingerprint() != known["drawn"]:
            raise SeekbenchError(
                f"{folder} was encoded with other parameters, or numpy {np.__version__} draws other numbers from the "
                "same seed; build it again"
            )
        self._index = ann.open_index(folder / _INDEX, params.index, context=context)
        self._rows: Ints | None = np.load(folder / _ROWS) if (folder / _ROWS).exists() else None
        self.counts: dict[str, float] = {"queries": 0, "candidates": 0, "compared": 0}

    def candidates(self, queries: Packed, count: int, *, context: Context, k: int | None = None) -> Ints:
        """int64 [queries, <= count]: passages by the inner product of encodings, highest first, the lower passage first
        where they are equal; -1 where an approximate index found fewer. k: no matter."""
        found = np.empty((len(queries), min(count, len(self._index))), dtype=np.int64)
        step = max(1, _BLOCK_BYTES // (4 * self._encoder.dim))
        for at in range(0, len(queries), step):
            indptr = queries.indptr[at : at + step + 1]
            encoded = self._encoder.queries(queries.vectors, indptr)
            found[at : at + step], _ = self._index.search(encoded, count)
        self.counts["queries"] += len(queries)
        self.counts["candidates"] += int((found >= 0).sum())
        self.counts["compared"] = self._index.compared
        return found if self._rows is None else np.where(found >= 0, self._rows[np.maximum(found, 0)], -1)


def _encoder(params: MuveraParams, seed: int, dim: int, context: Context) -> Fde:
    return Fde(params.model_copy(update={"seed": seed}), dim, threads=context.threads)
