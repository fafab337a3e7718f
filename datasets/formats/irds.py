"""Collections of the package ir_datasets, by its ids: `irds:beir/scifact/test`.

The package fetches and verifies files by its own list of checksums, so that an id and a version of the package fix the
content. What has been read is in the store, and needs neither again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seekbench.errors import InputError, MissingError, did_you_mean
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

#: What names of these datasets begin with.
PREFIX = "irds:"
#: Fields that hold a text, in the order of preference; a class without them says what its text is (`default_text`).
_TEXT = ("text", "body", "contents")
_STEP = 512


class IrDatasets:
    """One dataset of ir_datasets, with its judgments as the only split. split: what that is called, if not by the id's
    last part."""

    modules: ClassVar[tuple[str, ...]] = ("seekbench.datasets.formats.irds",)

    def __init__(self, name: str, *, split: str | None = None) -> None:
        self.name, self._split = name, split

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.name}"

    @property
    def folder(self) -> None:
        return None

    def files(self) -> Sequence[Path]:
        return ()

    @property
    def split(self) -> str:
        """The last part of the id, where it is the name of a split."""
        if self._split is not None:
            return self._split
        last = self.name.rpartition("/")[2]
        return last if last in ("train", "dev", "validation", "test") else "test"

    def splits(self) -> list[str]:
        return [self.split]

    def check(self) -> None:
        """Raises InputError for an unknown id, and for one that lacks documents, queries or judgments."""
        found = self._dataset()
        lacking = [what for what in ("docs", "queries", "qrels") if not getattr(found, f"has_{what}")()]
        if lacking:
            raise InputError(
                f"ir_datasets' '{self.name}' has no {' and no '.join(lacking)}",
                remedy="name one of its parts, e.g. " + ", ".join(self._parts()[:5]) if self._parts() else "",
            )

    def to_fetch(self) -> tuple[int, int | None]:
        """(files, bytes): ir_datasets does not say what it will fetch."""
        return 0, None

    def language(self) -> str | None:
        found: str | None = self._dataset().docs_lang()
        return found

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {
            "format": "ir_datasets",
            "id": self.name,
            "version": version("ir_datasets"),
            "split": self.split,
        }

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        if offline:
            raise MissingError(
                f"{self.subject} is not in the store yet, and this is offline: run once with the network"
            )
        found = self._dataset()
        with progress.stage("read documents", total=_count(found, "docs"), unit="docs") as stage:
            for number, document in enumerate(found.docs_iter(), 1):
                fields = document._asdict()
                id, title, body = fields.pop("doc_id"), fields.pop("title", None), _text(document, fields)
                builder.document(id, title, body, _metadata(fields), where=self.subject, line=number)
                if number % _STEP == 0:
                    stage.advance(_STEP)
        with progress.stage("read queries", total=_count(found, "queries"), unit="queries") as stage:
            for number, query in enumerate(found.queries_iter(), 1):
                fields = query._asdict()
                id, body = fields.pop("query_id"), _text(query, fields)
                builder.query(id, body, _metadata(fields), where=self.subject, line=number)
                stage.advance(1)
        for number, judged in enumerate(found.qrels_iter(), 1):
            builder.judgment(
                self.split, judged.query_id, judged.doc_id, judged.relevance, where=self.subject, line=number
            )

    def _dataset(self) -> Any:
        import ir_datasets

        try:
            return ir_datasets.load(self.name)
        except KeyError:
            known = sorted(ir_datasets.registry._registered)
            raise InputError(
                f"ir_datasets has no '{self.name}'", remedy=did_you_mean(self.name, known)
            ) from None

    def _parts(self) -> list[str]:
        import ir_datasets

        return [name for name in sorted(ir_datasets.registry._registered) if name.startswith(f"{self.name}/")]


def _count(found: Any, what: str) -> int | None:
    """As the package's metadata have it."""
    told = (found.metadata() or {}).get(what) or {}
    count = told.get("count")
    return int(count) if count else None


def _text(record: Any, fields: dict[str, Any]) -> str:
    """The record's text; the field that it was in is taken out."""
    for name in _TEXT:
        if isinstance(fields.get(name), str):
            return str(fields.pop(name))
    return str(record.default_text())


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if isinstance(value, str | int | float | list | tuple | bool)
    }
