"""Result records: one JSON file a cell, of a versioned schema, with all that is needed to make it again.

Beside `result.json` lie `per_query.parquet` and `run.trec.gz`. Old records keep loading: `upgrade` brings
every earlier schema to the current one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from seekbench.errors import InputError, Report
from seekbench.store import write_atomic

SCHEMA_VERSION = 1
#: What lies beside a record.
RUN_FILE, PER_QUERY_FILE = "run.trec.gz", "per_query.parquet"


def cell_folder(output: Path, dataset: str, split: str, retriever: str) -> Path:
    """DIR/<dataset's folder>/<split>/<retriever name>"""
    return output / dataset_folder(dataset) / split / retriever


def dataset_folder(dataset: str) -> str:
    """What a dataset's folder of results is called: its id, "/" as "__"."""
    return dataset.replace("/", "__")


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
    if not _is_record(record):
        raise InputError("this is no seekbench result record", where=str(file))
    record = upgrade(record, str(file))
    _check(record, str(file))
    return record


def is_one(file: Path) -> bool:
    """Whether a file holds a record; other tools write JSON, too."""
    try:
        return _is_record(orjson.loads(file.read_bytes()))
    except orjson.JSONDecodeError:
        return False


def _is_record(value: Any) -> bool:
    # A leaderboard has the first two as well.
    return isinstance(value, dict) and value.keys() >= {"schema_version", "metrics", "dataset", "retriever"}


#: What is looked at in every record, and of which kind it is; `?`: it may be null, or not be there.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,), "number": (int, float), "whole": (int,), "object": (dict,), "list": (list,), "flag": (bool,),
}  # fmt: skip
_FIELDS = {
    "dataset.id": "text", "dataset.split": "text", "dataset.hashes": "object", "dataset.hashes.dataset": "text?",
    "dataset.queries": "whole?", "dataset.documents": "whole?", "dataset.language": "text?",
    "dataset.main_metric": "text?", "dataset.source": "object?", "retriever.name": "text", "retriever.type": "text",
    "retriever.system": "text", "retriever.details": "object", "retriever.describe": "object?",
    "retriever.describe.parameters": "number?", "retriever.params": "object?", "retriever.needs": "list?",
    "metrics": "object", "primary_metric": "text", "policies": "object", "policies.relevance_level": "whole?",
    "comparable": "flag", "limited": "object?", "recorded_at": "text", "made_at": "text?", "key": "text?",
    "k": "whole?", "files": "object?", "queries_without_hits": "whole", "index": "object",
    "index.truncation_rate": "number?", "training": "object?", "baseline": "text?", "efficiency": "object",
    "efficiency.queries_per_second": "number?", "efficiency.latency_ms": "object",
    "efficiency.latency_ms.p50": "number?", "efficiency.latency_ms.p95": "number?",
    "efficiency.index_bytes": "number?", "efficiency.index_seconds": "number?",
    "efficiency.search_seconds": "number?", "hardware": "object?", "versions": "object?",
}  # fmt: skip


def _check(record: Mapping[str, Any], where: str) -> None:
    """Raises InputError with every field that is not there, or of another kind: somebody changed the file."""
    report = Report()

    def look(name: str, value: Any, kind: str) -> None:
        wanted = kind.removesuffix("?")
        if value is None and kind.endswith("?"):
            return
        good = isinstance(value, _KINDS[wanted]) and (wanted == "flag" or not isinstance(value, bool))
        if not good:
            said = "is not there" if value is None else f"is {orjson.dumps(value).decode()[:60]}"
            report.error(
                "record", f"'{name}' {said}, and must be a {wanted}", where=where, remedy="run it again"
            )

    for name, kind in _FIELDS.items():
        found: Any = record
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        look(name, found, kind)
    for name, figure in record["metrics"].items() if isinstance(record["metrics"], Mapping) else ():
        look(f"metrics.{name}", figure, "object")
        if isinstance(figure, Mapping):
            look(f"metrics.{name}.mean", figure.get("mean"), "number?")
    report.raise_if_errors()


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


def level_of(record: Mapping[str, Any]) -> int:
    """The lowest grade that counts as relevant for binary measures."""
    return int(record.get("policies", {}).get("relevance_level", 1))


def failures(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """(dataset as its folder is called, split, system, cause) of cells below a folder that failed and have no result of
    an earlier run."""
    for file in sorted(root.rglob("failure.json")):
        if (file.parent / "result.json").exists():
            continue
        dataset, split, system = file.absolute().parts[-4:-1]
        try:
            cause = str(orjson.loads(file.read_bytes())["cause"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            cause = "its failure.json can't be read"
        yield dataset, split, system, cause


def find(root: Path) -> Iterator[Path]:
    """Record files below a folder, in a stable order."""
    if root.is_file():
        yield root
        return
    yield from sorted(root.rglob("result.json"))
