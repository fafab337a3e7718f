"""Datasets of the catalogue by the names that others give them: MTEB's tasks."""

from __future__ import annotations

from functools import cache

from seekbench.datasets import catalogue, mteb_tasks


@cache
def by_mteb_task() -> dict[str, str]:
    """MTEB's task -> our id: that of the card that names it, else `mteb/<task>`."""
    found = {name: catalogue.card(name).mteb for name in catalogue.names()}
    cards = {task: name for name, task in found.items() if task is not None}
    return {task: f"{mteb_tasks.PREFIX}{task}" for task in mteb_tasks.tasks()} | cards
