"""Suites: datasets that are reported together, and how they are averaged.

One YAML file each below `suite_cards/`, and the retrieval part of MTEB's benchmarks in `mteb_suites.tsv`, whose facts
are those of the package mteb (a test compares the two). Listing them reads no YAML and imports nothing heavy.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from seekbench.datasets import catalogue, mteb_tasks
from seekbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from seekbench.datasets.card import Suite

SUITES = Path(__file__).parent / "suite_cards"
TABLE = Path(__file__).parent / "mteb_suites.tsv"


def names() -> list[str]:
    return sorted([*(path.stem for path in SUITES.glob("*.yaml")), *_of_mteb()])


def listing() -> list[tuple[str, str]]:
    """(name, title) of all suites."""
    return [
        (name, _title(name) if name in _of_mteb() else catalogue.title_of(SUITES / f"{name}.yaml"))
        for name in names()
    ]


def text(name: str) -> str:
    """The suite as it is written. Raises InputError for an unknown name, with the nearest one."""
    _check(name)
    if name not in _of_mteb():
        return (SUITES / f"{name}.yaml").read_text(encoding="utf-8")
    return "\n".join([_title(name), *(f"  {member}" for member in suite(name).datasets)]) + "\n"


@cache
def suite(name: str) -> Suite:
    """The suite of a name, checked. Raises InputError for an unknown name, a broken file or an unknown dataset."""
    import yaml
    from pydantic import ValidationError

    from seekbench.datasets.card import Suite

    _check(name)
    if name in _of_mteb():
        return _mteb_suite(name)
    path = SUITES / f"{name}.yaml"
    try:
        found = Suite.model_validate(yaml.load(path.read_bytes(), yaml.CSafeLoader))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"the suite is broken: {error}", where=str(path)) from error
    for dataset in found.datasets:
        if not catalogue.is_known(dataset):
            catalogue.path_of(dataset)  # says what is near
    return found


def _check(name: str) -> None:
    if name not in names():
        raise InputError(f"there is no suite '{name}'", remedy=did_you_mean(name, names()))


@cache
def _of_mteb() -> dict[str, tuple[str, list[str], list[str]]]:
    """name -> (the benchmark's name, its tasks, those that are not known here)"""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]:
        name, benchmark, members, lacking = line.split("\t")
        found[name] = (benchmark, members.split(), lacking.split())
    return found


def _title(name: str) -> str:
    benchmark, members, lacking = _of_mteb()[name]
    without = f"; without {', '.join(lacking)}, of another layout" if lacking else ""
    return f"the {len(members)} retrieval and re-ranking tasks of MTEB's {benchmark}{without}"


def _mteb_suite(name: str) -> Suite:
    """A task of several subsets is a group, as in MTEB."""
    from seekbench.datasets.card import Group, Suite

    members: list[str | Group] = []
    for member in _of_mteb()[name][1]:
        task, _, chosen = member.partition(":")
        whole = f"{mteb_tasks.PREFIX}{task}"
        subsets = (
            [f"{whole}:{subset}" for subset in chosen.split(",")] if chosen else mteb_tasks.names_of(whole)
        )
        members.append(Group(id=whole, mean=tuple(subsets)) if len(subsets) > 1 else subsets[0])
    return Suite(
        id=name, title=_title(name), members=tuple(members),
        citation="Enevoldsen et al., MMTEB, ICLR 2025, https://arxiv.org/abs/2502.13595",
    )  # fmt: skip
