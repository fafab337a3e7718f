"""Notes on systems that search approximately: what they lose beside their own exact search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seekbench.metrics.measure import Measure


def notes(system: str, record: Mapping[str, Any], measure: Measure) -> list[str]:
    """A line about one record, [] for exact systems. Reads `approximation` of the record."""
    found = record.get("approximation")
    if not found:
        return []
    shares = [
        f"{value:.1%} of the first {depth}"
        for depth, value in found["recall"].items()
        if value is not None and depth in ("10", "100")
    ] or [f"{v:.1%} of the first {d}" for d, v in found["recall"].items() if v is not None]
    line = f"{system}: finds {' and '.join(shares)} of exact search on {record['dataset']['id']}"
    figures = found["metrics"].get(measure.name)
    if figures is not None:
        change = round(-figures["lost"], 4) + 0.0  # minus zero is zero
        line += f"; {measure.name} {change:+.4f} (exact {figures['exact']:.4f})"
    return [line]
