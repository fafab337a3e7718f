"""Which columns a leaderboard has: a dataset each, or the members of a suite, where a group counts as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seekbench.errors import InputError, did_you_mean
from seekbench.leaderboard.board import Column, Key
from seekbench.leaderboard.sources import Found, is_published
from seekbench.metrics.measure import parse

#: The metric that stands for each dataset's own main one.
MAIN = "main"


def dataset_key(record: Mapping[str, Any]) -> Key:
    return record["dataset"]["id"], record["dataset"]["split"]


def label(key: Key) -> str:
    """`scifact`, or `scifact (train)` where the split is not test."""
    return key[0] if key[1] == "test" else f"{key[0]} ({key[1]})"


def other_splits(found: Found) -> set[Key]:
    """Datasets and splits of published figures that are not the dataset's main split, where that is there too: MTEB's
    files hold train and dev beside it. The main one is the card's, else test."""
    from seekbench.datasets import catalogue

    keys = {dataset_key(record) for _, record in found if is_published(record)}
    main = {id: catalogue.card(id).default_split if catalogue.is_known(id) else "test" for id, _ in keys}
    return {(id, split) for id, split in keys if split != main[id] and (id, main[id]) in keys}


def of_datasets(keys: Sequence[Key], *, expand: bool) -> list[Column]:
    """A column a dataset. Subsets of one dataset (`MIRACLRetrieval:de`, …) are one column, their mean, unless
    `expand`: as MTEB counts them."""
    parts: dict[str, list[Key]] = {}
    for key in keys:
        name, colon, _ = key[0].partition(":")
        parts.setdefault(label((name, key[1])) if colon and not expand else label(key), []).append(key)
    return [Column(_called(name, members), members, "") for name, members in parts.items()]


def _called(name: str, members: Sequence[Key]) -> str:
    """A column of subsets by the whole's name, with how many there are of how many; of one alone by its own."""
    from seekbench.datasets import catalogue

    id, colon, _ = members[0][0].partition(":")
    if not colon:
        return name
    if len(members) == 1:
        return label(members[0])
    try:
        every = len(catalogue.expanded(id))
    except InputError:
        return name
    return f"{name} ({len(members)} of {every})" if len(members) < every else name


def of_suite(
    name: str, keys: Sequence[Key], *, expand: bool
) -> tuple[list[Column], dict[Key, Key], int, list[str]]:
    """(columns, the suite's dataset that each key stands for, how many columns the whole suite has, notes): the members
    of a suite for which there is any result, in its order; a group is one column unless `expand`. A dataset belongs to
    it by its id, or by the last part of it (a folder `scifact`), which a note says."""
    from seekbench.datasets import catalogue
    from seekbench.datasets.suites import suite
    from seekbench.datasets.task_names import canonical, member_of

    found = suite(name)
    split = {canonical(id): catalogue.card(id).default_split for id in found.datasets}
    members: dict[Key, Key] = {}
    by_name, outside = [], []
    for key in keys:
        id = member_of(key[0], split)
        if not id or key[1] != split[id]:
            outside.append(label(key))
            continue
        if id != canonical(key[0]):
            by_name.append(key[0])
        members[key] = (id, split[id])
    if not members:
        raise InputError(f"none of these results is on a dataset of the suite '{name}'")
    there = set(members.values())
    columns, lacking = [], []
    for group, ids in found.groups:
        own = [(canonical(id), split[canonical(id)]) for id in ids]
        if expand or len(own) == 1:
            columns += [Column(label(key), [key], "") for key in own if key in there]
            lacking += [key[0] for key in own if key not in there]
        elif there.intersection(own):
            # A member without any result stays in the group, whose mean then does not exist.
            columns.append(Column(group, own, ""))
        else:
            lacking.append(group)
    notes = []
    if lacking:
        notes.append(f"suite {name}: no results of {', '.join(lacking)}")
    if by_name:
        notes.append(f"suite {name}: {', '.join(by_name)} belong(s) to it by name alone")
    if outside:
        notes.append(f"suite {name}: not part of it and left out: {', '.join(outside)}")
    whole = sum(len(ids) if expand else 1 for _, ids in found.groups)
    return columns, members, whole, notes


def fill(columns: Sequence[Column], found: Found, metric: str) -> tuple[list[Column], list[str]]:
    """(columns that have any figure of the metric, notes on others). Sets each one's metric, whether lower is better,
    type of task and languages. Raises InputError where none has the metric, and, for `main`, where a column's results
    disagree on which that is."""
    of_key: dict[Key, list[dict[str, Any]]] = {}
    for _, record in found:
        of_key.setdefault(dataset_key(record), []).append(record)
    kept, notes = [], []
    known: set[str] = set()
    for column in columns:
        there = [r for key in column.keys for r in of_key.get(key, [])]
        column.metric = _main(column, there) if metric == MAIN else metric
        column.lower = parse(column.metric).definition.lower
        column.languages = sorted({str(code) for r in there if (code := r["dataset"].get("language"))})
        known.update(name for r in there for name in r["metrics"])
        # A column without any record is of cells that failed.
        if not there or any(column.metric in r["metrics"] for r in there):
            kept.append(column)
        else:
            notes.append(f"left out: {column.name}, of which no result has {column.metric}")
    if not kept:
        raise InputError(f"no result has the metric '{metric}'", remedy=did_you_mean(metric, known))
    _set_kinds(kept)
    return kept, notes


def _set_kinds(columns: Sequence[Column]) -> None:
    """Types of task: MTEB's, where all datasets are tasks of MTEB, else those of their cards."""
    from seekbench.datasets import catalogue, mteb_tasks

    cards = {
        id: catalogue.card(id) if catalogue.is_known(id) else None
        for column in columns
        for id, _ in column.keys
    }
    tasks = mteb_tasks.tasks()
    of_mteb = {id: tasks[card.mteb].type for id, card in cards.items() if card and card.mteb in tasks}
    for column in columns:
        kinds: set[str | None] = {
            of_mteb[id] if len(of_mteb) == len(cards) else card.task if (card := cards[id]) else None
            for id, _ in column.keys
        }
        column.kind = kinds.pop() if len(kinds) == 1 else None


def _main(column: Column, there: Sequence[Mapping[str, Any]]) -> str:
    from seekbench.datasets import catalogue

    named = {
        catalogue.card(r["dataset"]["id"]).main_metric
        if catalogue.is_known(r["dataset"]["id"])
        else r["dataset"].get("main_metric")
        for r in there
    } - {None}
    if len(named) != 1:
        said = " and ".join(sorted(map(str, named))) if named else "none is named"
        raise InputError(
            f"the main metric of {column.name} is not known ({said})", remedy="name one with --metric"
        )
    return str(named.pop())
