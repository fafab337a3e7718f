"""Weights of a corpus on disk: blocks of sparse rows, one file a shard of passages; a call that was interrupted is
continued."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import SeekbenchError
from seekbench.retrievers.sparse.vectors import SparseVectors
from seekbench.store import write_atomic

_FACTS = "weights.json"
#: Shards that stay in memory, since documents of equal text point back.
_RECENT = 8
#: Facts that are summed over shards.
_SUMS = ("passages", "nonzeros", "read", "truncated", "seconds")


class WeightStore:
    """Shards of `per_shard` passages each; complete when weights.json is there."""

    def __init__(self, folder: Path, passages: int, per_shard: int) -> None:
        self.folder, self.passages, self.per_shard = folder, passages, per_shard
        layout = folder / "layout.json"
        said = {"passages": passages, "shard": per_shard}
        if layout.exists():
            if orjson.loads(layout.read_bytes()) != said:
                raise SeekbenchError(f"{folder} holds weights of another corpus or shard size; remove it")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(layout, orjson.dumps(said))

    @property
    def shards(self) -> int:
        return -(-self.passages // self.per_shard)

    def bounds(self, shard: int) -> tuple[int, int]:
        return shard * self.per_shard, min((shard + 1) * self.per_shard, self.passages)

    def missing(self) -> list[int]:
        return [i for i in range(self.shards) if not self._path(i).exists()]

    def save(self, shard: int, vectors: SparseVectors, facts: Mapping[str, float]) -> None:
        """On disk when this returns."""
        start, stop = self.bounds(shard)
        if len(vectors) != stop - start:
            raise SeekbenchError(f"{len(vectors)} rows for a shard of {stop - start}")
        buffer = io.BytesIO()
        said = {**facts, "passages": len(vectors), "nonzeros": vectors.count, "width": vectors.width}
        np.savez(
            buffer, indptr=vectors.indptr, terms=vectors.terms, weights=vectors.weights,
            facts=np.frombuffer(orjson.dumps(said), dtype=np.uint8),
        )  # fmt: skip
        write_atomic(self._path(shard), buffer.getvalue())

    def finish(self, width: int) -> Mapping[str, Any]:
        """Sums the facts of all shards. width: of the vocabulary, for a corpus without documents."""
        facts: dict[str, Any] = dict.fromkeys(_SUMS, 0)
        for shard in range(self.shards):
            with np.load(self._path(shard)) as saved:
                said = orjson.loads(saved["facts"].tobytes())
            width = int(said["width"])
            for name in _SUMS:
                facts[name] += said.get(name, 0)
        facts["width"] = width
        facts["bytes"] = sum(self._path(i).stat().st_size for i in range(self.shards))
        write_atomic(self.folder / _FACTS, orjson.dumps(facts))
        return facts

    @property
    def facts(self) -> Mapping[str, Any] | None:
        """None where the store is not complete."""
        path = self.folder / _FACTS
        return orjson.loads(path.read_bytes()) if path.exists() else None

    def read(self, shard: int) -> SparseVectors:
        with np.load(self._path(shard)) as saved:
            width = int(orjson.loads(saved["facts"].tobytes())["width"])
            return SparseVectors(saved["indptr"], saved["terms"], saved["weights"], width)

    def blocks(self, of: npt.NDArray[Any]) -> Iterator[SparseVectors]:
        """Rows of documents in their order, `per_shard` at a time. of: int [documents], the passage of each."""
        recent: dict[int, SparseVectors] = {}
        for at in range(0, len(of), self.per_shard):
            rows = np.asarray(of[at : at + self.per_shard], dtype=np.int64)
            shards = rows // self.per_shard
            parts, places = [], []
            for shard in np.unique(shards).tolist():
                if shard not in recent:
                    if len(recent) >= _RECENT:
                        recent.pop(next(iter(recent)))
                    recent[shard] = self.read(shard)
                here = np.flatnonzero(shards == shard)
                parts.append(recent[shard].some(rows[here] - shard * self.per_shard))
                places.append(here)
            order = np.empty(len(rows), dtype=np.int64)
            order[np.concatenate(places)] = np.arange(len(rows))
            yield SparseVectors.stacked(parts).some(order)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:07d}.npz"
