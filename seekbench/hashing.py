"""Content hashes: of JSON values, files, folders, Arrow columns and code. Every cache key is made here."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import math
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

#: Rows of a block whose bytes are hashed together; part of the hash's definition, so never change it.
BLOCK = 8192


def of_json(value: Any) -> str:
    """sha256 (hex) of a JSON value with sorted keys. Raises TypeError for what JSON cannot hold, infinity too:
    orjson would write it, and NaN, as null."""
    _refuse_non_finite(value)
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _refuse_non_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} has no place in a recipe")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if not isinstance(item, str | int):
                _refuse_non_finite(item)


def of_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def of_columns(columns: Iterable[tuple[str, Any]]) -> str:
    """sha256 (hex) of named Arrow columns (pa.ChunkedArray of strings or numbers).

    Equal for equal content, however the columns are chunked or whatever file they came from: each column
    enters in blocks of BLOCK rows as its values' lengths (int64, -1 for null) and bytes.
    """
    return _of_chunks((name, len(column), column.chunks) for name, column in columns)


def of_arrow_file(path: Path) -> str:
    """The same of all columns of an Arrow file, in the order of their names. It is read block by block and not mapped,
    so that memory does not grow with the file."""
    import pyarrow as pa

    def chunks(place: int) -> Iterator[Any]:
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=[place]))
            for at in range(reader.num_record_batches):
                yield reader.get_batch(at).column(0)

    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        names = reader.schema.names
        rows = reader.count_rows()
    return _of_chunks((name, rows, chunks(names.index(name))) for name in sorted(names))


def _of_chunks(columns: Iterable[tuple[str, int, Iterable[Any]]]) -> str:
    digest = hashlib.sha256()
    for name, rows, chunks in columns:
        digest.update(f"{name}\0{rows}\0".encode())
        for block in _blocks(chunks):
            _add_block(digest, block)
    return digest.hexdigest()


def _blocks(chunks: Iterable[Any]) -> Iterator[Any]:
    """The arrays cut anew, into BLOCK rows each and the rest."""
    import pyarrow as pa

    waiting: list[Any] = []
    count = 0
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            piece = chunk.slice(at, BLOCK - count)
            waiting.append(piece)
            at, count = at + len(piece), count + len(piece)
            if count == BLOCK:
                yield pa.concat_arrays(waiting)
                waiting, count = [], 0
    if waiting:
        yield pa.concat_arrays(waiting)


def _add_block(digest: Any, block: Any) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(block.type) or pa.types.is_large_string(block.type)):
        digest.update(np.ascontiguousarray(block.to_numpy(zero_copy_only=False)).tobytes())
        return
    lengths = pc.fill_null(pc.binary_length(block).cast(pa.int64()), -1)
    digest.update(np.asarray(lengths, dtype="<i8").tobytes())
    filled = pc.fill_null(block, "")
    kind = np.int64 if pa.types.is_large_string(block.type) else np.int32
    offsets = np.frombuffer(filled.buffers()[1], dtype=kind)
    first, last = offsets[filled.offset], offsets[filled.offset + len(filled)]
    data = filled.buffers()[2]
    if data is not None:
        digest.update(memoryview(data)[int(first) : int(last)])


@cache
def of_code(*modules: str) -> str:
    """sha256 (hex) of what modules do: their syntax trees without docstrings, comments and layout.

    A key that holds it can't go stale when the code changes, and a comment rebuilds nothing.
    """
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ValueError(f"no source of module {module}")
        tree = ast.parse(Path(spec.origin).read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if (
                isinstance(body, list)
                and body
                and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant)
                and isinstance(body[0].value.value, str)
            ):
                node.body = body[1:]
        digest.update(f"{module}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()[:16]
