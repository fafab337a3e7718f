"""Datasets of the catalogue by the names that others give them: MTEB's tasks."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from seekbench.datasets import catalogue, mteb_tasks


def member_of(id: str, known: Collection[str]) -> str:
    """Which of these canonical ids a dataset is, by any of its names or by the last part of one (a folder `scifact`);
    '' where it is none."""
    by_last = {one.rpartition("/")[2]: one for one in known}
    found = canonical(id)
    return found if found in known else by_last.get(id, "")


def canonical(id: str) -> str:
    """One id for a dataset that has a card of its own and is a task of MTEB, too: `mteb/SciFact` is `beir/scifact`."""
    if not mteb_tasks.is_name(id):
        return id
    task, colon, subset = id.removeprefix(mteb_tasks.PREFIX).partition(":")
    return by_mteb_task().get(task, f"{mteb_tasks.PREFIX}{task}") + colon + subset


@cache
def by_mteb_task() -> dict[str, str]:
    """MTEB's task -> our id: that of the card that names it, else `mteb/<task>`."""
    found = {name: catalogue.card(name).mteb for name in catalogue.names()}
    cards = {task: name for name, task in found.items() if task is not None}
    return {task: f"{mteb_tasks.PREFIX}{task}" for task in mteb_tasks.tasks()} | cards
