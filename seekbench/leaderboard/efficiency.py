"""What a system costs, over all datasets of a leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def of_cells(cell_records: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """queries/s over all queries of all datasets; the worst p95; the sums of index bytes, index seconds and kg CO2; the
    model's parameters."""
    if not cell_records:
        return {}
    made = [r["efficiency"] for r in cell_records]
    # A run file has no speed of its own; a composite's rate includes its parts. Published rates don't say of how many
    # queries they are.
    rates = [(r["dataset"]["queries"] or 1, r["efficiency"]["queries_per_second"]) for r in cell_records]
    queries = sum(n for n, _ in rates)
    seconds = sum(n / rate for n, rate in rates) if all(rate for _, rate in rates) else None
    p95 = [e["latency_ms"]["p95"] for e in made if e["latency_ms"]["p95"] is not None]
    sizes = [e["index_bytes"] for e in made if e["index_bytes"] is not None]
    index = [e["index_seconds"] for e in made if e.get("index_seconds") is not None]
    # MTEB states it for a file of several splits and subsets.
    carbon = {r.get("published", {}).get("file"): r["efficiency"].get("kg_co2") for r in cell_records}
    parameters = [n for r in cell_records if (n := (r["retriever"].get("describe") or {}).get("parameters"))]
    return {
        "queries_per_second": queries / seconds if seconds else None,
        "latency_p95_ms": max(p95) if p95 else None,
        "index_bytes": sum(sizes) if sizes else None,
        "index_seconds": sum(index) if index else None,
        "parameters": parameters[0] if parameters else None,
        "kg_co2": None
        if None in carbon.values()
        else float(sum(v for v in carbon.values() if v is not None)),
    }
