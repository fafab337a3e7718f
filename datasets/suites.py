"""Suites: datasets that are reported together, and how they are averaged. One YAML file each below `suites/`.

A member is a dataset of the catalogue, or a group `{id, mean: [datasets]}` whose mean counts as one dataset in the
suite's mean (BEIR's twelve forums of CQADupStack).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from seekbench.errors import InputError, did_you_mean

SUITES = Path(__file__).parent / "suites"


class Group(BaseModel):
    """Datasets whose mean counts as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    mean: tuple[str, ...] = Field(min_length=2)


class Suite(BaseModel):
    """members: in the order in which tables show them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    title: str
    members: tuple[str | Group, ...] = Field(min_length=1)
    citation: str

    @property
    def groups(self) -> list[Group]:
        """Every member as a group; a single dataset is one of its own."""
        return [m if isinstance(m, Group) else Group.model_construct(id=m, mean=(m,)) for m in self.members]

    @property
    def datasets(self) -> list[str]:
        return [d for group in self.groups for d in group.mean]


def names() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


@cache
def suite(name: str) -> Suite:
    """The suite of a name. Raises InputError for an unknown name or a broken file."""
    import yaml
    from pydantic import ValidationError

    if name not in names():
        raise InputError(f"there is no suite '{name}'", remedy=did_you_mean(name, names()))
    path = SUITES / f"{name}.yaml"
    try:
        return Suite.model_validate(yaml.load(path.read_bytes(), yaml.CSafeLoader))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"the suite is broken: {error}", where=str(path)) from error
