"""What is said below a leaderboard of single figures: what is missing, and what rests on less than it seems."""

from __future__ import annotations

from collections.abc import Sequence

from seekbench.leaderboard import approximate, generative
from seekbench.leaderboard.board import Column, Leaderboard
from seekbench.leaderboard.overall import Place
from seekbench.leaderboard.records import level_of
from seekbench.leaderboard.sources import is_published
from seekbench.metrics.correlation import OF_PAIRS
from seekbench.metrics.measure import Measure, parse


def of_coverage(place: Place, columns: Sequence[Column]) -> list[str]:
    """Of all columns; what holds for a system whatever the dataset is said once."""
    said: dict[str, None] = {}
    for column in columns:
        keys = set(column.keys)
        there = {cell: entry for cell, entry in place.items() if cell[:2] in keys}
        said |= dict.fromkeys(_coverage(there, parse(column.metric)))
    return list(said)


def of_missing(board: Leaderboard) -> list[str]:
    """What is not there, and so in no mean; an empty cell alone shows itself."""
    notes = []
    for row in board.rows:
        parts = [
            f"{len(cell.missing)} of {len(column.keys)} of {column.name} ({', '.join(cell.missing)})"
            for cell, column in zip(row.cells, board.columns, strict=True)
            if cell.missing
        ]
        if parts:
            notes.append(f"{row.system} lacks {'; '.join(parts)}")
    without = [
        f"{system} ({dataset})"
        for (dataset, _, system), (_, record) in board.place.items()
        if is_published(record) and not record["metrics"]
    ]
    if without:
        more = f", and {len(without) - 3} more" if len(without) > 3 else ""
        notes.append(f"published without any figure that is a number: {', '.join(without[:3])}{more}")
    lacking = [f"{r.system} ({r.borda[2]})" for r in board.rows if r.borda and r.borda[2]]
    if lacking:
        notes.append(
            f"Borda: a missing column earns no points, so these rank lower than they might: {', '.join(lacking)}"
        )
    return notes


def _coverage(place: Place, measure: Measure) -> list[str]:
    """Notes on cells whose figure rests on less than it seems: queries without hits, documents cut short, fewer hits
    than the measure looks at."""
    notes = []
    for (dataset, _, system), (_, record) in place.items():
        if is_published(record):
            continue
        unexpected = (record["dataset"].get("source") or {}).get("unexpected") or []
        notes += [f"{dataset}: {line}" for line in unexpected]
        pairs = record.get("pairs")
        if pairs and measure.base in OF_PAIRS and pairs["without_hit"]:
            notes.append(
                f"{system}: {pairs['without_hit']:,} of {pairs['judged']:,} pairs of {dataset} have no hit and count "
                "with score 0"
            )
            continue
        if measure.name not in record["metrics"]:
            notes.append(f"{system} has no {measure.name} on {dataset}: run it again with this metric")
            continue
        without, queries = record["queries_without_hits"], record["dataset"]["queries"]
        if without > (0 if record["retriever"]["type"] == "run_file" else 0.05 * queries):
            notes.append(
                f"{system}: {without:,} of {queries:,} queries of {dataset} have no hits and "
                + ("are left out" if measure.definition.lower else "count 0")
            )
        dropped = record["retriever"]["details"].get("unknown_documents_dropped", 0)
        if dropped:
            notes.append(f"{system}: {dropped:,} hits on documents that {dataset} lacks were dropped")
        cut = record["index"].get("truncation_rate") or 0.0
        if cut > 0.05:
            notes.append(f"{system}: {cut:.0%} of the documents of {dataset} are cut at the model's length")
        level = level_of(record)
        if measure.at(level) != measure:
            notes.append(
                f"{dataset}: {measure.name} counts grades from {level} as relevant, by the dataset's rule"
            )
        notes += generative.notes(system, record, measure)
        notes += approximate.notes(system, record, measure)
    return notes
