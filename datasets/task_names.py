"""Datasets of the catalogue by the names that others give them: MTEB's tasks."""

from __future__ import annotations

from functools import cache

from seekbench.datasets import catalogue


@cache
def by_mteb_task() -> dict[str, str]:
    """MTEB's task -> our id, for all cards that name one."""
    found = {name: catalogue.card(name).mteb for name in catalogue.names()}
    return {task: name for name, task in found.items() if task is not None}
