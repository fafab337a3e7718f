"""Result records: one JSON file a cell, of a versioned schema, with all that is needed to make it again.

Beside `result.json` lie `per_query.parquet` and `run.trec.gz`. Old records keep loading: `upgrade` brings
every earlier schema to the current one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from seekbench.errors import InputError
from seekbench.store import write_atomic

SCHEMA_VERSION = 1


def cell_folder(output: Path, dataset: str, split: str, retriever: str) -> Path:
    """DIR/<dataset id, "/" as "__">/<split>/<retriever name>"""
    return output / dataset.replace("/", "__") / split / retriever


def write(folder: Path, record: Mapping[str, Any]) -> None:
    write_atomic(
        folder / "result.json",
        orjson.dumps({"schema_version": SCHEMA_VERSION, **record}, option=orjson.OPT_INDENT_2),
    )


def read(path: Path) -> dict[str, Any]:
    """A record from `result.json` or its folder. Raises InputError for what is none."""
    file = path / "result.json" if path.is_dir() else path
    try:
        record = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError("no such result", where=str(file)) from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"no valid JSON: {error.msg}", where=str(file), line=error.lineno) from None
    # A leaderboard has the first two as well.
    if not isinstance(record, dict) or not {"schema_version", "metrics", "dataset", "retriever"} <= set(
        record
    ):
        raise InputError("this is no seekbench result record", where=str(file))
    return upgrade(record, str(file))


def upgrade(record: dict[str, Any], where: str) -> dict[str, Any]:
    """Brings a record of an earlier schema to the current one; refuses a later one."""
    version = record["schema_version"]
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise InputError(
            f"schema version {version} is newer than this seekbench reads ({SCHEMA_VERSION})",
            where=where,
            remedy="update seekbench",
        )
    return record


def find(root: Path) -> Iterator[Path]:
    """Record files below a folder, in a stable order."""
    if root.is_file():
        yield root
        return
    yield from sorted(root.rglob("result.json"))
