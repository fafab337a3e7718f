"""Token vectors on disk: those of all passages end to end, memory-mapped, in float32, float16, bfloat16, int8 or as
residual codes; decoded to float32 a block at a time.

A store is written passage by passage; what an interrupted call wrote is kept and continued.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import SeekbenchError
from seekbench.progress import NoProgress, Progress
from seekbench.retrievers.dense import ann
from seekbench.retrievers.multi_vector.ragged import Floats, Ints, spans
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.residual import ResidualCodec

_FACTS = "tokens.json"
_DONE = "written.json"
_VECTORS = "vectors.bin"
_LENGTHS = "lengths.bin"
_SCALES = "scales.bin"
_CODES = "codes.bin"
_CODEC = "codec"
_INDPTR = "indptr.npy"


class _Plain:
    """Floating-point numbers as they are, or rounded to 16 bits."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.stored: Any = np.dtype({"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}[precision])

    def columns(self, dim: int) -> dict[str, tuple[Any, int]]:
        """File -> (dtype, numbers a token)."""
        return {_VECTORS: (self.stored, dim)}

    def encode(self, vectors: Floats) -> dict[str, npt.NDArray[Any]]:
        if self.precision == "bfloat16":
            import torch

            rounded = torch.from_numpy(np.array(vectors, np.float32)).to(torch.bfloat16)
            return {_VECTORS: rounded.view(torch.int16).numpy().view(np.uint16)}
        return {_VECTORS: vectors.astype(self.stored)}

    def decode(self, parts: Mapping[str, npt.NDArray[Any]]) -> Floats:
        raw = parts[_VECTORS]
        if self.precision == "bfloat16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return ann.wide(raw)


class _Int8:
    """A byte a dimension and a scale a token: the largest absolute value is 127."""

    def columns(self, dim: int) -> dict[str, tuple[Any, int]]:
        return {_VECTORS: (np.dtype("i1"), dim), _SCALES: (np.dtype("<f4"), 1)}

    def encode(self, vectors: Floats) -> dict[str, npt.NDArray[Any]]:
        scale = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True) / 127
        steps = np.rint(vectors / np.where(scale > 0, scale, 1))
        return {_VECTORS: steps.astype(np.int8), _SCALES: scale.astype(np.float32)}

    def decode(self, parts: Mapping[str, npt.NDArray[Any]]) -> Floats:
        out = parts[_VECTORS].astype(np.float32)
        out *= parts[_SCALES]
        return out


class _Residual:
    """The number of the nearest centroid and a few bits a dimension of what is left (`residual`)."""

    def __init__(self, codec: ResidualCodec) -> None:
        self.codec = codec

    def columns(self, dim: int) -> dict[str, tuple[Any, int]]:
        return {_VECTORS: (np.dtype("u1"), self.codec.packed_bytes), _CODES: (self.codec.code_dtype, 1)}

    def encode(self, vectors: Floats) -> dict[str, npt.NDArray[Any]]:
        codes, packed = self.codec.compress(vectors)
        return {_VECTORS: packed, _CODES: codes[:, None]}

    def decode(self, parts: Mapping[str, npt.NDArray[Any]]) -> Floats:
        return self.codec.decompress(np.array(parts[_CODES][:, 0]), np.ascontiguousarray(parts[_VECTORS]))


def _codec(kind: str, folder: Path) -> Any:
    if kind == "int8":
        return _Int8()
    if kind == "residual":
        from seekbench.retrievers.multi_vector.residual import ResidualCodec

        return _Residual(ResidualCodec.load(folder / _CODEC))
    return _Plain(kind)


class TokenWriter:
    """Writes a store from its first passage to its last; `written` passages of an earlier call stay.

    kind: float32, float16, bfloat16, int8, or residual, whose codec lies in `folder / "codec"`.
    """

    def __init__(self, folder: Path, kind: str, dim: int | None = None) -> None:
        self.folder, self.kind = folder, kind
        self.codec = _codec(kind, folder)
        state: dict[str, Any] = {"passages": 0, "tokens": 0, "dim": dim, "facts": {}}
        if (folder / _DONE).exists():
            state = orjson.loads((folder / _DONE).read_bytes())
        self.written, self.tokens, self.dim = int(state["passages"]), int(state["tokens"]), state["dim"]
        self.facts: dict[str, float] = state["facts"]

    def append(
        self, vectors: Floats, lengths: npt.NDArray[Any], facts: Mapping[str, float] | None = None
    ) -> None:
        """Adds passages; on disk when this returns. facts: numbers that are summed over all calls."""
        if self.dim is None:
            self.dim = vectors.shape[1]
        if vectors.shape[1] != self.dim or int(lengths.sum()) != len(vectors):
            raise SeekbenchError(
                f"{len(vectors)} vectors of {vectors.shape[1]} dimensions for {int(lengths.sum())} tokens of {self.dim}"
            )
        parts = {_LENGTHS: np.asarray(lengths, dtype="<i4")[:, None], **self.codec.encode(vectors)}
        begun = {_LENGTHS: self.written, **dict.fromkeys(self.codec.columns(self.dim), self.tokens)}
        for name, part in parts.items():
            path = self.folder / name
            with path.open("r+b" if path.exists() else "w+b") as handle:
                # What stands behind was written by a call that did not get to say so.
                handle.truncate(begun[name] * part.itemsize * part.shape[1])
                handle.seek(0, os.SEEK_END)
                handle.write(np.ascontiguousarray(part).tobytes())
                handle.flush()
                os.fsync(handle.fileno())
        self.written += len(lengths)
        self.tokens += len(vectors)
        for name, value in (facts or {}).items():
            self.facts[name] = self.facts.get(name, 0) + value
        state = {"passages": self.written, "tokens": self.tokens, "dim": self.dim, "facts": self.facts}
        write_atomic(self.folder / _DONE, orjson.dumps(state))

    def finish(self) -> Tokens:
        """Completes the store and opens it."""
        for name in (_LENGTHS, *self.codec.columns(self.dim or 0)):
            (self.folder / name).touch()
        lengths = np.fromfile(self.folder / _LENGTHS, dtype="<i4")[: self.written]
        np.save(
            self.folder / _INDPTR, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        )
        total = {
            "kind": self.kind, "passages": self.written, "tokens": self.tokens, "dim": self.dim or 0,
            "facts": self.facts,
        }  # fmt: skip
        write_atomic(self.folder / _FACTS, orjson.dumps(total, option=orjson.OPT_INDENT_2))
        (self.folder / _LENGTHS).unlink()
        (self.folder / _DONE).unlink(missing_ok=True)
        return Tokens(self.folder)


class Tokens:
    """An opened store. indptr: int64 [passages + 1], where each passage's tokens begin; dim; facts: as written."""

    def __init__(self, folder: Path) -> None:
        if not self.complete(folder):
            raise SeekbenchError(f"no token vectors in {folder}")
        state = orjson.loads((folder / _FACTS).read_bytes())
        self.folder, self.kind, self.dim = folder, str(state["kind"]), int(state["dim"])
        self.facts: Mapping[str, float] = state["facts"]
        self.indptr: Ints = np.load(folder / _INDPTR)
        self._codec = _codec(self.kind, folder)
        tokens = int(self.indptr[-1])
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: _mapped(folder / name, dtype, (tokens, width))
            for name, (dtype, width) in self._codec.columns(self.dim).items()
        }

    @staticmethod
    def complete(folder: Path) -> bool:
        return (folder / _FACTS).exists()

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def count(self) -> int:
        """All tokens."""
        return int(self.indptr[-1])

    @property
    def bytes_per_token(self) -> float:
        return float(sum(c.itemsize * c.shape[1] for c in self._columns.values()))

    @property
    def bytes(self) -> int:
        """Of all files: vectors, where each passage begins, codec."""
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())

    def block(self, start: int, stop: int) -> Floats:
        """float32 [tokens, dim] of passages start..stop - 1."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return self._decoded({name: column[first:last] for name, column in self._columns.items()})

    def gather(self, rows: npt.NDArray[Any]) -> tuple[Floats, Ints]:
        """(float32 [tokens, dim], int64 indptr [rows + 1]) of passages in the order of `rows`."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if len(rows) and (np.diff(rows) == 1).all():
            return self.block(int(rows[0]), int(rows[-1]) + 1), indptr
        where = spans(self.indptr[rows], lengths)
        return self._decoded({name: column[where] for name, column in self._columns.items()}), indptr

    def blocks(self, tokens: int = 65_536) -> Iterator[tuple[int, int, Floats]]:
        """(start, stop, vectors) of consecutive passages, of at most so many tokens (but at least one passage)."""
        at = 0
        while at < len(self):
            stop = int(np.searchsorted(self.indptr, self.indptr[at] + tokens, side="right")) - 1
            stop = min(len(self), max(at + 1, stop))
            yield at, stop, self.block(at, stop)
            at = stop

    def _decoded(self, parts: Mapping[str, npt.NDArray[Any]]) -> Floats:
        if not len(parts[_VECTORS]):
            return np.empty((0, self.dim), dtype=np.float32)
        out: Floats = self._codec.decode(parts)
        return out


def rewrite(tokens: Tokens, folder: Path, kind: str, progress: Progress | None = None) -> Tokens:
    """The same vectors in another kind of store, block by block; continues what an interrupted call wrote."""
    if Tokens.complete(folder):
        return Tokens(folder)
    writer = TokenWriter(folder, kind, tokens.dim)
    with (progress or NoProgress()).stage(
        "compress", total=len(tokens), unit="passages", done=writer.written
    ) as stage:
        for start, stop, vectors in tokens.blocks():
            if start < writer.written:
                continue
            writer.append(vectors, np.diff(tokens.indptr[start : stop + 1]))
            stage.advance(stop - start)
    return writer.finish()


def _mapped(path: Path, dtype: Any, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """A mapping of no bytes is not possible."""
    if not shape[0] * shape[1]:
        return np.empty(shape, dtype)
    if path.stat().st_size != shape[0] * shape[1] * dtype.itemsize:
        raise SeekbenchError(
            f"{path} has {path.stat().st_size} bytes, not {shape[0]} x {shape[1]} x {dtype.itemsize}"
        )
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)
