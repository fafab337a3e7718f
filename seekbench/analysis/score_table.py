"""Scores of systems on tasks as one complete table: of our records, MTEB's files and CSV tables, in any mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError
from seekbench.leaderboard import sources, table

#: What is left out where a score is missing.
Incomplete = Literal["systems", "tasks"]


@dataclass(frozen=True)
class ScoreTable:
    """scores: float64 [systems, tasks], more is better, none missing. notes: what was left out, and what else a reader
    should know."""

    systems: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()


def read(
    paths: Sequence[Path], *, metric: str | None = None, suite: str | None = None, incomplete: Incomplete = "systems"
) -> ScoreTable:  # fmt: skip
    """Every dataset is a task, also each forum of CQADupStack, unless a suite tells which are one.

    incomplete: whether systems that lack a task are left out, or tasks that a system lacks. Raises InputError as
    `sources.load` does, and where too little is left.
    """
    board = table.build(sources.load(paths), metric=metric, suite=suite, expand=suite is None)
    if board.mixed:
        raise InputError("the datasets have different main metrics", where="--metric", remedy="name one")
    sign = -1.0 if board.lower else 1.0
    systems = [row.system for row in board.rows]
    tasks = [column.name for column in board.columns]
    found = np.array(
        [
            [np.nan if c.score is None or not c.comparable else sign * c.score for c in row.cells]
            for row in board.rows
        ],
        dtype=np.float64,
    ).reshape(len(systems), len(tasks))
    missing = np.isnan(found)
    notes = []
    rows: npt.NDArray[np.bool_] = np.ones(len(systems), np.bool_)
    columns: npt.NDArray[np.bool_] = np.ones(len(tasks), np.bool_)
    if missing.any() and incomplete == "systems":
        rows = np.asarray(~missing.any(axis=1), np.bool_)
        notes.append(
            f"left out, as they lack a score: {_some([s for s, k in zip(systems, rows, strict=True) if not k])}"
        )
    elif missing.any():
        columns = np.asarray(~missing.any(axis=0), np.bool_)
        notes.append(
            f"left out, as a system lacks a score: {_some([t for t, k in zip(tasks, columns, strict=True) if not k])}"
        )
    if rows.sum() < 4 or columns.sum() < 3:
        raise InputError(
            f"{rows.sum()} of {len(systems)} systems have all of {columns.sum()} tasks; at least 4 and 3 are needed",
            remedy="--incomplete tasks leaves out tasks instead"
            if incomplete == "systems" and missing.any()
            else "",
        )
    return ScoreTable(
        tuple(s for s, k in zip(systems, rows, strict=True) if k),
        tuple(t for t, k in zip(tasks, columns, strict=True) if k),
        found[rows][:, columns],
        tuple(notes),
    )


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
