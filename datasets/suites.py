"""Suites: datasets that are reported together, and how they are averaged. One YAML file each below `suite_cards/`.

Listing them reads no YAML and imports nothing heavy.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from seekbench.datasets import catalogue
from seekbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from seekbench.datasets.spec import Suite

SUITES = Path(__file__).parent / "suite_cards"


def names() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def listing() -> list[tuple[str, str]]:
    """(name, title) of all suites."""
    return [(name, catalogue.title_of(path_of(name))) for name in names()]


def path_of(name: str) -> Path:
    """The suite's file. Raises InputError for an unknown name, with the nearest one."""
    if name not in names():
        raise InputError(f"there is no suite '{name}'", remedy=did_you_mean(name, names()))
    return SUITES / f"{name}.yaml"


@cache
def suite(name: str) -> Suite:
    """The suite of a name, checked. Raises InputError for an unknown name, a broken file or an unknown dataset."""
    import yaml
    from pydantic import ValidationError

    from seekbench.datasets.spec import Suite

    path = path_of(name)
    try:
        found = Suite.model_validate(yaml.load(path.read_bytes(), yaml.CSafeLoader))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"the suite is broken: {error}", where=str(path)) from error
    for dataset in found.datasets:
        catalogue.path_of(dataset)
    return found
