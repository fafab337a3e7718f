"""What a card of a dataset holds, and what a suite's does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from seekbench.datasets.layout import Strict, TablesLayout
from seekbench.datasets.spec import Among, Exclude
from seekbench.errors import InputError, did_you_mean

#: Or the abbreviation of one, as a few of MTEB's tasks have it: the hub says which commit that is.
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{7,41}$")]


class CardSource(Strict):
    """Where a card's collection comes from: the format's name and what it takes. Of a folder: its path, from the card's
    own place, its layout, and the sha256 of its files, which are refused where they differ. get: of a folder without a
    path, which the user brings: one line that says how to get it. irds: an id of the package ir_datasets."""

    format: Literal["pydocs", "hub", "folder", "irds"]
    path: Path | None = None
    get: str | None = None
    irds: str | None = None
    layout: Literal["auto", "beir", "trec", "tables"] = "auto"
    checksums: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    tables: TablesLayout | None = None
    repo: str | None = None
    revision: Commit | None = None
    qrels_repo: str | None = None
    qrels_revision: Commit | None = None
    subset: str | None = None
    per_split: bool = False
    documents: PositiveInt | None = None
    variant: Literal["code", "prose"] = "code"

    @model_validator(mode="after")
    def _pinned(self) -> CardSource:
        if (self.format == "folder") != (self.path is not None or self.get is not None):
            raise ValueError("'format: folder' has a 'path', or 'get', which says how to come by it")
        if self.path is not None and self.get is not None:
            raise ValueError("a folder with a 'path' is there: leave out 'get'")
        if self.format == "folder" and (self.layout == "tables") != (self.tables is not None):
            raise ValueError("'layout: tables' and 'tables' come together")
        if (self.format == "irds") != (self.irds is not None):
            raise ValueError("'format: irds' and 'irds' come together")
        if self.format == "hub" and (self.repo is None or self.revision is None):
            raise ValueError("a hub source has a 'repo' and a 'revision'")
        if self.qrels_repo is not None and self.qrels_revision is None:
            raise ValueError("'qrels_repo' has a 'qrels_revision'")
        return self


class Expected(Strict):
    """Counts that the collection must have; queries are those that the split judges."""

    documents: PositiveInt | None = None
    queries: dict[str, PositiveInt] = Field(default_factory=dict)


class Subset(Strict):
    """A part of a card's collections. language: of its documents. documents, queries: how many it must have, in the
    default split. values: what `<name>` stands for in the card's source."""

    title: str | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    documents: PositiveInt | None = None
    queries: PositiveInt | None = None
    values: dict[str, str] = Field(default_factory=dict)


class Card(Strict):
    """A dataset of the catalogue. verified: whether its counts and a published score were seen to hold with
    this very source (`offline`: here, without a network; `online`; `no`: taken from publications). mteb: its name as a
    task of MTEB. subsets: parts of one layout that are datasets of their own, e.g. one a language: `card:subset`.
    `<subset>`, and each of a subset's `values`, stand for what differs in the source; `<split>` for the split, where
    each has documents of its own."""

    id: str
    title: str
    source: CardSource
    splits: tuple[str, ...]
    default_split: str
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...]
    task: str
    main_metric: str = "ndcg@10"
    relevance_level: PositiveInt = 1
    mteb: str | None = None
    template: str = "{title} {text}"
    query_template: str = "{text}"
    exclude: Exclude = "none"
    candidates: Among | None = None
    expected: Expected = Field(default_factory=Expected)
    licence: str
    citation: str
    homepage: str | None = None
    note: str | None = None
    verified: Literal["offline", "online", "no"]
    subsets: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], Subset] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _default_is_a_split(self) -> Card:
        if self.default_split not in self.splits:
            raise ValueError(f"default_split '{self.default_split}' is none of the splits")
        return self

    def layout(self, split: str) -> TablesLayout | None:
        """What of which tables is what, for a split."""
        found = self.source.tables
        if found is None:
            return None
        dumped = found.model_dump(mode="json", exclude_defaults=True)
        return TablesLayout.model_validate(_filled(dumped, {"split": split}))

    def differing(self, documents: int, queries: Mapping[str, int]) -> list[str]:
        """What of these counts (queries: by split) is not as the card expects it, a line each."""
        out = []
        expected = self.expected
        if expected.documents not in (None, documents):
            out.append(f"{documents:,} documents where its card expects {expected.documents:,}")
        for split, count in queries.items():
            if split in expected.queries and expected.queries[split] != count:
                out.append(f"{count:,} queries of {split} where its card expects {expected.queries[split]:,}")
        return out

    def of(self, subset: str) -> Card:
        """The card of one subset. Raises InputError for an unknown one, with the nearest."""
        if subset not in self.subsets:
            raise InputError(
                f"'{self.id}' has no subset '{subset}'", remedy=did_you_mean(subset, self.subsets)
            )
        chosen = self.subsets[subset]
        values = {"subset": subset, **chosen.values}
        filled = _filled(self.model_dump(mode="json", exclude={"subsets"}, exclude_defaults=True), values)
        filled["id"], filled["title"] = f"{self.id}:{subset}", f"{self.title}: {chosen.title or subset}"
        if chosen.language:
            filled["languages"] = [chosen.language]
        queries = {self.default_split: chosen.queries} if chosen.queries else {}
        filled["expected"] = {"documents": chosen.documents, "queries": queries}
        return Card.model_validate(filled)


def _filled(found: Any, values: Mapping[str, str]) -> Any:
    """With `<name>` of all texts replaced."""
    if isinstance(found, str):
        return re.sub(r"<(\w+)>", lambda match: values.get(match[1], match[0]), found)
    if isinstance(found, dict):
        return {_filled(key, values): _filled(value, values) for key, value in found.items()}
    return [_filled(value, values) for value in found] if isinstance(found, list | tuple) else found


class Group(Strict):
    """Datasets whose mean counts as one in the mean of a suite (BEIR's twelve forums of CQADupStack)."""

    id: str
    mean: tuple[str, ...] = Field(min_length=2)


class Suite(Strict):
    """Datasets that are reported together. members: a dataset of the catalogue or a group, in the order of tables."""

    id: str
    title: str
    members: tuple[str | Group, ...] = Field(min_length=1)
    citation: str

    @property
    def groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """(id, datasets) of every member; a dataset is alone in its own."""
        return [(m.id, m.mean) if isinstance(m, Group) else (m, (m,)) for m in self.members]

    @property
    def datasets(self) -> list[str]:
        return [dataset for _, members in self.groups for dataset in members]
