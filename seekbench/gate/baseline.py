"""The stored baseline: a small folder of text that is committed and reviewed.

FOLDER/baseline.json has a cell's conditions, recipe and figures; FOLDER/<dataset>/<split>/<system>.csv its scores per
query, a line a query in the order of their ids. There are no hits and no texts in it. Both are written in a fixed
order and with the shortest digits that give the same number again, so that a diff shows what changed and nothing else.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from seekbench.errors import InputError, Report
from seekbench.gate import results
from seekbench.gate.results import EFFICIENCY, Change, Floats, Key, Result, differing
from seekbench.leaderboard import records
from seekbench.leaderboard.per_query import check_means
from seekbench.store import write_atomic

SCHEMA_VERSION = 1
FILE = "baseline.json"


def is_baseline(folder: Path) -> bool:
    return (folder / FILE).is_file()


def load(folder: Path) -> list[Result]:
    """The cells of a stored baseline, or of a results folder that serves as one. Raises InputError."""
    if is_baseline(folder):
        return read(folder)
    if not folder.is_dir():
        raise InputError(
            "no such baseline", where=str(folder), remedy="make it: the same command with --update"
        )
    inner = sorted(str(p.parent) for p in folder.glob(f"*/{FILE}"))
    if inner:
        raise InputError(
            "there are several baselines here", where=str(folder), remedy=f"name one: {', '.join(inner)}"
        )
    found, failed = results.load([folder])
    if failed:
        raise InputError(
            f"{results.name_of(failed[0].cell)} failed here: this is no baseline",
            where=str(folder),
            remedy="run it again",
        )
    return found


def read(folder: Path) -> list[Result]:
    """Raises InputError, with every mistake: files that are gone or damaged, figures that their scores do not give."""
    path = folder / FILE
    try:
        stored = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(f"no valid JSON: {error.msg}", where=str(path), line=error.lineno) from None
    version = stored.get("schema_version") if isinstance(stored, dict) else None
    if not isinstance(version, int) or not isinstance(stored.get("cells"), list):
        raise InputError("this is no seekbench baseline", where=str(path))
    if version > SCHEMA_VERSION:
        raise InputError(
            f"schema version {version} is newer than this seekbench reads ({SCHEMA_VERSION})",
            where=str(path),
            remedy="update seekbench",
        )
    out, report = [], Report()
    for i, cell in enumerate(stored["cells"]):
        try:
            out.append(_read_cell(folder, cell))
        except InputError as error:
            report.extend(error.report)
        except (KeyError, TypeError, AttributeError) as error:
            report.error("damaged", f"cell {i + 1} lacks or misspells {error}", where=str(path))
    report.raise_if_errors()
    return out


def _read_cell(folder: Path, cell: Mapping[str, Any]) -> Result:
    file = folder / cell["per_query"]
    ids, scores = _read_scores(file)
    check_means(cell["metrics"], scores, str(file))
    return Result(
        dataset=cell["dataset"],
        split=cell["split"],
        system=cell["system"],
        conditions=cell["conditions"],
        recipe=cell["recipe"],
        needs=tuple(cell["recipe"].get("needs", ())),
        key=cell["key"],
        metrics=cell["metrics"],
        query_ids=ids,
        scores=scores,
        efficiency={name: cell["efficiency"].get(name) for name in EFFICIENCY},
        machine=cell["machine"],
        made=cell["made"],
        where=str(file),
        limited=cell["conditions"].get("limited") is not None,
    )


def _read_scores(file: Path) -> tuple[tuple[str, ...], dict[str, Floats]]:
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
    except FileNotFoundError:
        raise InputError("the scores per query are gone", where=str(file), remedy="restore it") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"this is no CSV file: {error}", where=str(file)) from None
    if not rows or rows[0][:1] != ["query_id"]:
        raise InputError("the first column must be query_id", where=str(file), line=1)
    header, report = rows[0], Report()
    values = np.full((len(rows) - 1, len(header) - 1), np.nan)
    for i, row in enumerate(rows[1:]):
        try:
            values[i] = [float(v) if v else np.nan for v in row[1:]]
        except ValueError:
            report.error("row", f"{len(header)} columns of numbers are wanted", where=str(file), line=i + 2)
    report.raise_if_errors()
    ids = tuple(row[0] for row in rows[1:])
    if len(set(ids)) < len(ids):
        raise InputError("a query stands there twice", where=str(file))
    return ids, {name: values[:, j] for j, name in enumerate(header[1:])}


@dataclass(frozen=True)
class CellChange:
    """What an update does to a cell. kind: `added`, `changed` or `removed`; queries: how many have other scores."""

    cell: Key
    dataset: str
    kind: str
    fields: tuple[Change, ...]
    queries: int = 0


def changes(
    old: Sequence[Result], new: Sequence[Result], *, removed: Iterable[Key] = (), efficiency: bool = False
) -> list[CellChange]:
    """What differs between the stored cells and those that would be stored. efficiency: whether speed and size are
    looked at too; they always differ a little."""
    before, gone = {r.cell: r for r in old}, set(removed)
    out = []
    for r in new:
        known = before.get(r.cell)
        if known is None:
            fields = tuple(Change(m, None, v) for m, v in r.metrics.items())
            out.append(CellChange(r.cell, r.dataset, "added", fields, len(r.query_ids)))
            continue
        fields = (
            *differing(known.metrics, r.metrics),
            *differing(known.conditions, r.conditions),
            *differing(known.recipe, r.recipe),
            *(differing(known.efficiency, r.efficiency) if efficiency else []),
        )
        queries = _queries_that_differ(known, r)
        if fields or queries:
            out.append(CellChange(r.cell, r.dataset, "changed", fields, queries))
    for r in old:
        if r.cell in gone:
            fields = tuple(Change(m, v, None) for m, v in r.metrics.items())
            out.append(CellChange(r.cell, r.dataset, "removed", fields, len(r.query_ids)))
    return out


def _queries_that_differ(old: Result, new: Result) -> int:
    shared = [m for m in old.scores if m in new.scores]
    a = {q: tuple(old.scores[m][i] for m in shared) for i, q in enumerate(old.query_ids)}
    b = {q: tuple(new.scores[m][i] for m in shared) for i, q in enumerate(new.query_ids)}
    same = sum(q in b and np.array_equal(v, b[q], equal_nan=True) for q, v in a.items())
    return max(len(a), len(b)) - same


def write(folder: Path, cells: Iterable[Result]) -> None:
    """Writes these cells and removes the files of others that the folder had; baseline.json is written last."""
    ordered = sorted(cells, key=lambda r: r.cell)
    known = set()
    if is_baseline(folder):
        known = {str(c["per_query"]) for c in orjson.loads((folder / FILE).read_bytes())["cells"]}
    for r in ordered:
        file = folder / _file(r)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, _csv(r).encode())
    stored = {"schema_version": SCHEMA_VERSION, "cells": [_as_json(r) for r in ordered]}
    write_atomic(folder / FILE, orjson.dumps(stored, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    for name in known - {_file(r) for r in ordered}:
        (folder / name).unlink(missing_ok=True)
        for parent in (folder / name).parents[:2]:
            if parent != folder and parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _file(result: Result) -> str:
    return f"{records.dataset_folder(result.dataset)}/{result.split}/{result.system}.csv"


def _as_json(r: Result) -> dict[str, Any]:
    return {
        "dataset": r.dataset,
        "split": r.split,
        "system": r.system,
        "metrics": dict(r.metrics),
        "queries": len(r.query_ids),
        "per_query": _file(r),
        "conditions": dict(r.conditions),
        "recipe": dict(r.recipe),
        "key": r.key,
        "efficiency": dict(r.efficiency),
        "machine": dict(r.machine),
        "made": dict(r.made),
    }


def _csv(r: Result) -> str:
    lines = [",".join(["query_id", *map(_quoted, r.scores)])]
    for i in sorted(range(len(r.query_ids)), key=lambda i: r.query_ids[i]):
        scores = (_digits(float(values[i])) for values in r.scores.values())
        lines.append(",".join([_quoted(r.query_ids[i]), *scores]))
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A field of a CSV file. Python's writer leaves a carriage return bare, where its reader ends the line."""
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def _digits(value: float) -> str:
    """'' where it is not defined."""
    return "" if value != value else str(int(value)) if value.is_integer() else repr(value)
