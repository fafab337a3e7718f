"""Where the figures of a leaderboard come from: our records, MTEB's result files and CSV tables, in any mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seekbench.errors import InputError, Report
from seekbench.leaderboard import published, published_csv, records

#: (folder of a record or file of a published figure, record)
Found = list[tuple[Path, dict[str, Any]]]


def load(paths: Sequence[Path]) -> Found:
    """All records below the paths. Raises InputError with every path that is missing, empty or damaged."""
    found: Found = []
    report = Report()
    for path in paths:
        try:
            found += _below(path)
        except InputError as error:
            report.extend(error.report)
    report.raise_if_errors()
    return found


def _below(path: Path) -> Found:
    if not path.exists():
        raise InputError("no such file or folder", where=str(path))
    if path.is_file() and path.suffix == ".csv":
        return published_csv.read(path)
    if path.is_file() and records.is_one(path):
        return [(path.parent, records.read(path))]
    files = list(records.find(path)) if path.is_dir() else []
    if files:
        return [(file.parent, records.read(file)) for file in files]
    found = published.mteb(path)
    if not found:
        raise InputError(
            "there are no results here",
            where=str(path),
            remedy="a folder with result.json files of `seekbench run` or with MTEB's result files, or a .csv table",
        )
    return found


def is_published(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a published figure, which has no scores per query."""
    return "published" in record
