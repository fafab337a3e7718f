"""What the gate knows of a cell: what it was measured under, what made it, and its scores.

Two sets of facts are kept apart. *Conditions* are what a figure means: the data, how its texts are put together, how
many hits were asked for, and the rules of scoring; figures under other conditions are not comparable. The *recipe* is
the system itself (type, parameters, weights, library versions), which is what a gate is there to see change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError, Report
from seekbench.leaderboard import records
from seekbench.leaderboard.per_query import PerQuery, check_means
from seekbench.metrics.measure import parse
from seekbench.store import short

Floats = npt.NDArray[np.float64]
#: (dataset as its folder is named, split, system)
Key = tuple[str, str, str]

#: Figures of `efficiency`, and whether a lower one is better.
EFFICIENCY: Mapping[str, bool] = {
    "queries_per_second": False,
    "latency_p50_ms": True,
    "latency_p95_ms": True,
    "index_seconds": True,
    "index_bytes": True,
}
#: What of a record's dataset a figure depends on.
_DATASET = ("hashes", "template", "query_template", "language", "exclusion")


@dataclass(frozen=True)
class Result:
    """One system on one split of a dataset.

    conditions, recipe: dotted name -> JSON value. key: hash of all that the run depends on, code included. metrics:
    figures by canonical name, None where not defined. scores: float64 [queries] in the order of query_ids, of those
    metrics that have scores per query. machine: where the efficiency was measured. made: when, and by which versions.
    where: the folder or file, for messages. source: where the dataset came from, {} for a stored baseline. limited:
    whether only a part of the dataset was run.
    """

    dataset: str
    split: str
    system: str
    conditions: Mapping[str, Any]
    recipe: Mapping[str, Any]
    needs: tuple[str, ...]
    key: str
    metrics: Mapping[str, float | None]
    query_ids: tuple[str, ...]
    scores: Mapping[str, Floats]
    efficiency: Mapping[str, float | None]
    machine: Mapping[str, Any]
    made: Mapping[str, Any]
    where: str
    source: Mapping[str, Any] = field(default_factory=dict)
    limited: bool = False

    @property
    def cell(self) -> Key:
        return records.dataset_folder(self.dataset), self.split, self.system


@dataclass(frozen=True)
class FailedCell:
    """A cell whose run ended in `failure.json`."""

    cell: Key
    cause: str


@dataclass(frozen=True)
class Change:
    """A field that differs; before, after: JSON values, None where it is not there."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name}: {short(self.before)} -> {short(self.after)}"


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    names = dict.fromkeys([*before, *after])
    return [Change(n, before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, of dotted names in their order; empty ones are kept as values."""
    out: dict[str, Any] = {}
    for name, inner in sorted(value.items()):
        if isinstance(inner, Mapping) and inner:
            out |= flat(inner, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = inner
    return out


def of_record(folder: Path, record: Mapping[str, Any]) -> Result:
    """Raises InputError where the scores per query are gone or belong to another record."""
    dataset, retriever = record["dataset"], record["retriever"]
    ids, scores = _scores(folder, record["metrics"])
    check_means({n: m["mean"] for n, m in record["metrics"].items()}, scores, str(folder))
    efficiency, latency = record["efficiency"], record["efficiency"]["latency_ms"]
    hardware = record.get("hardware", {})
    return Result(
        dataset=dataset["id"],
        split=dataset["split"],
        system=retriever["name"],
        conditions=flat(
            {
                "dataset": {name: dataset.get(name) for name in _DATASET},
                "k": record.get("k"),
                "limited": record.get("limited"),
                "policies": record["policies"],
            }
        ),
        recipe=flat({n: retriever[n] for n in ("type", "params", "identity", "needs") if n in retriever}),
        needs=tuple(retriever.get("needs", ())),
        key=record.get("keys", {}).get("run", ""),
        metrics={name: figures["mean"] for name, figures in record["metrics"].items()},
        query_ids=ids,
        scores=scores,
        efficiency={
            "queries_per_second": efficiency["queries_per_second"],
            "latency_p50_ms": latency.get("p50"),
            "latency_p95_ms": latency.get("p95"),
            "index_seconds": efficiency["index_seconds"],
            "index_bytes": efficiency["index_bytes"],
        },
        machine={
            "cpu": hardware.get("cpu"), "cores": hardware.get("cores"), "threads": efficiency.get("threads"),
        },
        made={
            "at": record.get("made_at"),
            "python": record.get("versions", {}).get("python"),
            "seekbench": record.get("versions", {}).get("seekbench"),
        },
        where=str(folder),
        source=dataset.get("source", {}),
        limited=not record["comparable"],
    )  # fmt: skip


def _scores(folder: Path, metrics: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, Floats]]:
    ids: tuple[str, ...] = ()
    scores: dict[str, Floats] = {}
    for name in metrics:
        if parse(name).definition.aggregate == "run":
            continue
        read, scores[name] = PerQuery(name).all(folder)
        ids = tuple(read.to_pylist())
    return ids, scores


def load(paths: Sequence[Path]) -> tuple[list[Result], list[FailedCell]]:
    """All results and failures below folders (or of single result.json files). Raises InputError, with every mistake,
    for a path without any and for a cell that has two."""
    report = Report()
    found: dict[Path, Result] = {}
    failed: dict[Key, FailedCell] = {}
    for path in paths:
        try:
            failures = [FailedCell(f[:3], f[3]) for f in records.failures(path)] if path.is_dir() else []
            files = list(records.find(path)) if path.exists() else []
            if not files and not failures:
                raise InputError(
                    "there are no results here" if path.exists() else "no such file or folder",
                    where=str(path),
                    remedy="it must hold result.json files, as `seekbench run` writes them",
                )
            failed |= {f.cell: f for f in failures}
            for file in files:
                found[file.resolve()] = of_record(file.parent, records.read(file))
        except InputError as error:
            report.extend(error.report)
    refuse_doubles(found.values(), report)
    report.raise_if_errors()
    return list(found.values()), list(failed.values())


def refuse_doubles(found: Iterable[Result], report: Report) -> None:
    """Two results of one cell are an error: one of them would decide by chance."""
    first: dict[Key, Result] = {}
    for result in found:
        other = first.setdefault(result.cell, result)
        if other is not result:
            report.error(
                "two-results",
                f"{name_of(result.cell)} has two results: {other.where} and {result.where}",
                remedy="name the one that is to be checked",
            )


def name_of(cell: Key, dataset: str | None = None) -> str:
    """`scifact (test) bm25`"""
    return f"{dataset or cell[0].replace('__', '/')} ({cell[1]}) {cell[2]}"
