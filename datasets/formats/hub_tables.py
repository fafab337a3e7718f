"""Any tables of the hub, read by a layout that a card or an entry states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seekbench.datasets.formats import tables
from seekbench.datasets.formats.hub import Hub
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder
    from seekbench.datasets.spec import TablesLayout


class HubTables(Hub):
    """A repository whose files are tables; only those that the layout names are fetched."""

    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.datasets.formats.hub_tables", "seekbench.datasets.formats.hub", *tables.MODULES,
    )  # fmt: skip

    def __init__(
        self,
        repo: str,
        layout: TablesLayout,
        *,
        revision: str | None = None,
        endpoint: str | None = None,
        cache: Path | None = None,
    ) -> None:
        super().__init__(repo, revision=revision, qrels_repo="", endpoint=endpoint, cache=cache)
        self.layout = layout

    def splits(self) -> list[str]:
        return sorted(self.layout.qrels)

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        facts = super().identity(offline=offline)
        return {**facts, "format": "hub tables", "layout": self.layout.model_dump(mode="json")}

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        commit = self.identity(offline=offline)["revision"]
        self._warn_unpinned(builder.report, self.repo, self.revision, commit)
        folder = self._snapshot(self.repo, commit, progress, offline)
        tables.read(
            self.layout, lambda part: tables.files_of(folder, part, builder.report), builder, progress
        )

    def _patterns(self, repo: str, commit: str, *, offline: bool) -> list[str]:
        return list(dict.fromkeys(tables.glob_of(p) for part in self.layout.parts for p in part.patterns))
