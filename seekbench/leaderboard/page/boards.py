"""The tables of a page: one for each metric that all its results have."""

from __future__ import annotations

from typing import Any

from seekbench.leaderboard import table
from seekbench.leaderboard.board import Leaderboard
from seekbench.leaderboard.columns import MAIN, dataset_key
from seekbench.leaderboard.sources import Found, is_published


def of_all_metrics(found: Found, *, metric: str | None = None, **options: Any) -> list[Leaderboard]:
    """The table of the metric, then those of all others for which there is a table. options: of `table.build`."""
    first = table.build(found, metric=metric, **options)
    shown = list(first.place.values())
    return [first, *(table.build(found, metric=m, **options) for m in _others(shown, first.metric))]


def _others(found: Found, first: str) -> list[str]:
    """Metrics that each of our records has, and some figure of each dataset: others have no table."""
    own = [record["metrics"] for _, record in found if not is_published(record)]
    of_dataset: dict[Any, dict[str, None]] = {}
    for _, record in found:
        of_dataset.setdefault(dataset_key(record), {}).update(dict.fromkeys(record["metrics"]))
    known = list(dict.fromkeys(name for metrics in (own or of_dataset.values()) for name in metrics))
    return [
        name
        for name in known
        if name not in (first, MAIN)
        and all(name in metrics for metrics in own)
        and all(name in metrics for metrics in of_dataset.values())
    ]
