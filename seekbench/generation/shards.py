"""Work in shards of consecutive rows, one Arrow file each, which an interrupted call continues."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from seekbench.errors import InputError
from seekbench.store import atomic_file, write_atomic


class Shards:
    """Tables of consecutive rows in `folder/<name>.shards`, and their union `folder/<name>.arrow`.

    A shard is complete when `<i>.arrow` exists: it appears by a rename, after `<i>.json` (facts). The rows a shard are
    fixed by the first call in `layout.json`, so that a call with another size continues the same shards. The union
    is complete when `<name>.json` (facts, all shards') exists.
    key: hash of what the rows depend on. Raises InputError where the folder holds work on something else.
    """

    def __init__(self, folder: Path, name: str, *, rows: int, size: int, key: str) -> None:
        self.folder, self.rows, self.size, self.key = folder / f"{name}.shards", rows, size, key
        self.union, self.facts = folder / f"{name}.arrow", folder / f"{name}.json"
        known: Any = None
        for path in (self.facts, self.folder / "layout.json"):
            if path.exists():
                known = orjson.loads(path.read_bytes())
                break
        if known is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / "layout.json", orjson.dumps({"rows": rows, "size": size, "key": key}))
            return
        if known["key"] != key:
            raise InputError(
                "this folder holds work on other documents, parameters or weights",
                where=str(folder),
                remedy="give another folder, or delete this one",
            )
        self.size = int(known["size"])

    @property
    def done(self) -> bool:
        return self.facts.exists()

    @property
    def count(self) -> int:
        return -(-self.rows // self.size)

    def bounds(self, i: int) -> tuple[int, int]:
        return i * self.size, min((i + 1) * self.size, self.rows)

    def missing(self) -> list[int]:
        return [i for i in range(self.count) if not self._path(i, "arrow").exists()]

    def rows_done(self) -> int:
        return self.rows - sum(stop - start for start, stop in map(self.bounds, self.missing()))

    def save(self, i: int, table: pa.Table, facts: Mapping[str, Any]) -> None:
        write_atomic(self._path(i, "json"), orjson.dumps(dict(facts)))
        write_table(self._path(i, "arrow"), [table])

    def join(self, total: Callable[[list[dict[str, Any]]], Mapping[str, Any]], schema: pa.Schema) -> None:
        """Writes the union and its facts (`total` of the shards' facts), then drops the shards. May be interrupted
        anywhere and called again."""
        if not self.done:
            facts = [orjson.loads(self._path(i, "json").read_bytes()) for i in range(self.count)]
            write_table(self.union, (read_table(self._path(i, "arrow")) for i in range(self.count)), schema)
            stated = {"rows": self.rows, "size": self.size, "key": self.key, **total(facts)}
            write_atomic(self.facts, orjson.dumps(stated, option=orjson.OPT_INDENT_2))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, i: int, suffix: str) -> Path:
        return self.folder / f"{i:07d}.{suffix}"


def write_table(path: Path, tables: Any, schema: pa.Schema | None = None) -> None:
    """An Arrow file of tables of one schema (that of the first where none is given), by a rename."""
    tables = iter(tables)
    if schema is None:
        first = next(tables)
        schema, tables = first.schema, iter([first, *tables])
    with atomic_file(path) as part, pa.ipc.new_file(str(part), schema) as writer:
        for table in tables:
            writer.write_table(table, max_chunksize=1 << 16)


def read_table(path: Path) -> pa.Table:
    """A table that is mapped from its file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
