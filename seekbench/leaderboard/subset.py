"""The second column (†) of a dataset that a system learnt from another split of: the queries that are close to no
training query with the same answer (`training.queries.with_neighbour`), and the figures of all systems on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seekbench.leaderboard.board import Cell, Leaderboard, Subset
from seekbench.leaderboard.per_query import PerQuery

#: Marks the columns of the queries without neighbour.
DAGGER = "†"


def subset_of(
    place: Mapping[tuple[str, str, str], tuple[Path, dict[str, Any]]], key: tuple[str, str], scores: PerQuery
) -> Subset | None:
    """The queries of a dataset that have no neighbour for any system that learnt; None where none did, or where the
    metric has no figure of a part of the queries."""
    import pyarrow as pa
    import pyarrow.compute as pc

    learnt = {
        system: entry for (d, s, system), entry in place.items() if (d, s) == key and entry[1].get("training")
    }
    if not learnt or scores.measure.definition.aggregate == "run":
        return None
    told = {system: record["training"] for system, (_, record) in sorted(learnt.items())}
    asked, kept, sizes = None, None, set()
    for folder, record in learnt.values():
        near = _with_neighbour(record)
        if near is None or not scores.there(folder):
            continue
        every = scores.all(folder)[0]
        own = every.filter(pc.invert(pc.is_in(every, value_set=pa.array(near, pa.string()))))
        sizes.add(len(own))
        asked = every if asked is None else asked.filter(pc.is_in(asked, value_set=every))
        kept = own if kept is None else kept.filter(pc.is_in(kept, value_set=own))
    return Subset(
        ids=kept,
        total=max(r["dataset"]["queries"] for _, r in learnt.values()) if asked is None else len(asked),
        thresholds=sorted({t["threshold"] for t in told.values()}),
        trained={system: t["queries_with_neighbour"] for system, t in told.items()},
        differ=kept is not None and sizes != {len(kept)},
    )


def _with_neighbour(record: Mapping[str, Any]) -> list[str] | None:
    """Ids of the queries with a neighbour, of a system that learnt; None where an early record only counts them."""
    told = record["training"]
    ids: list[str] | None = told.get("with_neighbour")
    return [] if ids is None and told["queries_with_neighbour"] == 0 else ids


def twin_of(entry: tuple[Path, dict[str, Any]] | None, subset: Subset, cell: Cell, scores: PerQuery) -> Cell:
    """A system's figure on the subset. Where its own queries are not named, the figure that its record has, over
    those without neighbour for this system alone, which is not comparable."""
    twin = Cell(failure=cell.failure, lower=cell.lower, comparable=cell.comparable)
    if entry is None:
        return twin
    folder, record = entry
    told = record.get("training")
    if told and (_with_neighbour(record) is None or not scores.there(folder)):
        twin.score = (told["without_neighbour"].get(scores.measure.name) or {}).get("mean")
        twin.comparable = False
    elif subset.queries and scores.there(folder):
        values = scores.on(folder, subset.ids)
        score = float("nan") if values is None else scores.measure.aggregate(values)
        twin.score = score if math.isfinite(score) else None
    return twin


def subset_notes(board: Leaderboard) -> list[str]:
    """What the queries of the columns without neighbours are; which of their figures are missing or over others."""
    notes = []
    for j, column in enumerate(board.columns):
        label, subset = column.name, column.subset
        if subset is None:
            continue
        each = ", ".join(f"{count:,} for {system}" for system, count in subset.trained.items())
        gone = each if subset.queries is None else f"{subset.total - subset.queries:,}"
        cosine = " or ".join(f"{t:g}" for t in subset.thresholds)
        notes.append(
            f"{DAGGER} {label}: without {gone} of {subset.total:,} queries, which have a near-duplicate training query "
            f"(cosine {cosine} or more) with a relevant document in common"
            + (f"; not the same ones for all systems: {each}" if subset.differ else "")
        )
        old = [
            r.system
            for r in board.rows
            if (t := r.twins[j]) is not None and not t.comparable and r.cells[j].comparable
        ]
        if old:
            notes.append(
                f"{DAGGER} {label}, in brackets: {', '.join(old)} over the queries without neighbour for that system "
                "alone, which its record does not name or has no scores of; run it again to compare"
            )
        lacking = [
            row.system
            for row in board.rows
            if (t := row.twins[j]) is not None and t.comparable and t.score is None
            if row.cells[j].score is not None
        ]
        if lacking and subset.queries:
            notes.append(
                f"{DAGGER} {label}: {', '.join(lacking)}: no scores for all of these queries beside the record"
            )
    if board.has_twins and any(c.subset is None for c in board.columns):
        notes.append(f"{DAGGER} mean: with all queries of the datasets that have no column {DAGGER}")
    return notes
