"""MTEB's retrieval and re-ranking tasks by name: `mteb/SciFact`, `mteb/MIRACLRetrieval:de`.

`mteb_tasks.tsv` holds the facts of the package mteb (repository, revision, splits, languages, main metric) for all text
tasks in MTEB's own hub layout, and `mteb_counts.tsv` what it has counted of them; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from seekbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from seekbench.datasets.card import Card

TABLE = Path(__file__).parent / "mteb_tasks.tsv"
COUNTS = Path(__file__).parent / "mteb_counts.tsv"
#: What names of these datasets begin with.
PREFIX = "mteb/"


@dataclass(frozen=True)
class Task:
    """languages: those of each subset, as `eng-Latn`; the subset '' for a task without. main_score: the metric, as MTEB
    writes it. exclude: as in a card: MTEB leaves out the document with the query's own id, or doesn't."""

    name: str
    type: str
    repo: str
    revision: str
    splits: tuple[str, ...]
    languages: dict[str, tuple[str, ...]]
    main_score: str
    exclude: str
    licence: str


@cache
def tasks() -> dict[str, Task]:
    """All tasks by their names."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]:
        name, type, repo, revision, splits, languages, main, exclude, licence = line.split("\t")
        subsets = {}
        for part in languages.split(" "):
            subset, _, codes = part.rpartition(":")
            subsets[subset] = tuple(codes.split(","))
        found[name] = Task(
            name, type, repo, revision, tuple(splits.split(" ")), subsets, main, exclude, licence
        )
    return found


@cache
def counts() -> dict[tuple[str, str, str], tuple[int, int]]:
    """(documents, queries) of a task's split and subset ('' for a task without), where mteb has counted them."""
    found = {}
    for line in COUNTS.read_text(encoding="utf-8").splitlines()[1:]:
        name, split, subset, documents, queries = line.split("\t")
        found[name, split, subset] = (int(documents), int(queries))
    return found


def listing() -> list[tuple[str, str]]:
    """(name, type, languages and splits) of all tasks."""
    out = []
    for name, task in tasks().items():
        languages = sorted({language for codes in task.languages.values() for language in codes})
        said = ", ".join(languages) if len(languages) <= 3 else f"{len(languages)} languages"
        parts = f"; {len(task.languages)} subsets" if len(task.languages) > 1 else ""
        out.append(
            (f"{PREFIX}{name}", f"{task.type}; {said}{parts}; {', '.join(task.splits)}; {task.main_score}")
        )
    return out


def task_of(id: str, repo: str | None) -> str | None:
    """The task that a dataset of the hub is: the one that its name or card says, or the only one whose data are in that
    repository."""
    if is_name(id):
        return id.removeprefix(PREFIX).partition(":")[0]
    from seekbench.datasets import catalogue

    if catalogue.is_known(id):
        return catalogue.card(id).mteb
    found = [task.name for task in tasks().values() if task.repo == repo]
    return found[0] if len(found) == 1 else None


def is_name(name: str) -> bool:
    return name.startswith(PREFIX)


def lines_of(name: str) -> list[str]:
    """What is known of a task, for people. Raises InputError for an unknown one."""
    task, _ = _parts(name)
    subsets = " ".join(
        f"{subset or 'default'} ({', '.join(codes)})" for subset, codes in task.languages.items()
    )
    return [
        f"MTEB's task {task.name}, by mteb 2.26: {task.type}, licence {task.licence}",
        f"  hub:      {task.repo} at {task.revision}",
        f"  splits:   {', '.join(task.splits)}",
        f"  subsets:  {subsets}",
        f"  metric:   {task.main_score}",
        f"  exclude:  {task.exclude}",
    ]


def is_one(name: str) -> bool:
    """Whether a name is that of a task without subsets, or of one subset."""
    try:
        task, subset = _parts(name)
    except InputError:
        return False
    return subset in task.languages


def names_of(name: str) -> list[str]:
    """The datasets that a name means: itself, or, for a task of several subsets, one of each. Raises InputError for an
    unknown task or subset, with the nearest one."""
    task, subset = _parts(name)
    if subset or list(task.languages) == [""]:
        return [name]
    return [f"{PREFIX}{task.name}:{subset}" for subset in task.languages]


def _parts(name: str) -> tuple[Task, str]:
    wanted, _, subset = name.removeprefix(PREFIX).partition(":")
    if wanted not in tasks():
        raise InputError(
            f"MTEB has no task '{wanted}' in its hub layout, as far as is known here",
            remedy=did_you_mean(wanted, tasks()) or "a hub dataset can be named by itself: {hub: owner/name}",
        )
    task = tasks()[wanted]
    if subset and subset not in task.languages:
        raise InputError(f"{wanted} has no subset '{subset}'", remedy=did_you_mean(subset, task.languages))
    return task, subset


def card(name: str) -> Card:
    """The card of one dataset. Raises InputError for an unknown name, and for a task of several subsets."""
    from seekbench.datasets.card import Card
    from seekbench.metrics.measure import parse

    task, subset = _parts(name)
    if subset not in task.languages:
        raise InputError(
            f"{task.name} has {len(task.languages)} subsets",
            remedy=f"choose one: {', '.join(task.languages)}, e.g. {PREFIX}{task.name}:{next(iter(task.languages))}",
        )
    # Programming languages are among them.
    codes = [
        c
        for language in task.languages[subset]
        if 2 <= len(c := language.partition("-")[0]) <= 3 and c.isalpha()
    ]
    split = "test" if "test" in task.splits else task.splits[0]
    counted = {s: found for s in task.splits if (found := counts().get((task.name, s, subset)))}
    return Card.model_validate(
        {
            "id": name,
            "title": f"MTEB's {task.name}" + (f", {subset}" if subset else ""),
            "source": {
                "format": "hub",
                "repo": task.repo,
                "revision": task.revision,
                "subset": subset or None,
            },
            "splits": task.splits,
            "default_split": split,
            "languages": codes,
            "task": task.type,
            "main_metric": parse(task.main_score).name,
            "mteb": task.name,
            "exclude": task.exclude,
            "expected": {
                "documents": counted[split][0] if len(counted) == 1 and split in counted else None,
                "queries": {s: queries for s, (_, queries) in counted.items()},
            },
            "licence": task.licence,
            "citation": "Enevoldsen et al., MMTEB, ICLR 2025, https://arxiv.org/abs/2502.13595",
            "verified": "no",
        }
    )
