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
    from seekbench.datasets.formats.table_rows import Found
    from seekbench.datasets.layout import RowsOf, TablesLayout


class HubTables(Hub):
    """A repository whose files are tables; only those that the layout names are fetched. qrels_repo: where queries and
    judgments are, if not in `repo`."""

    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.datasets.formats.hub_tables", "seekbench.datasets.formats.hub", *tables.MODULES,
    )  # fmt: skip

    def __init__(
        self,
        repo: str,
        layout: TablesLayout,
        *,
        revision: str | None = None,
        qrels_repo: str | None = None,
        qrels_revision: str | None = None,
        endpoint: str | None = None,
        cache: Path | None = None,
    ) -> None:
        super().__init__(
            repo, revision=revision, qrels_repo=qrels_repo or "", qrels_revision=qrels_revision, endpoint=endpoint,
            cache=cache,
        )  # fmt: skip
        self.layout = layout

    def splits(self) -> list[str]:
        return sorted(self.layout.qrels)

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        facts = super().identity(offline=offline)
        return {**facts, "format": "hub tables", "layout": self.layout.model_dump(mode="json")}

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        facts = self.identity(offline=offline)
        self._warn_unpinned(builder.report, self.repo, self.revision, facts["revision"])
        first = second = self._snapshot(self.repo, facts["revision"], progress, offline)
        if self.qrels_repo:
            self._warn_unpinned(builder.report, self.qrels_repo, self.qrels_revision, facts["qrels_revision"])
            second = self._snapshot(self.qrels_repo, facts["qrels_revision"], progress, offline)

        def files(part: RowsOf) -> list[Found]:
            of_documents = any(part is one for one in self.layout.documents)
            return tables.files_of(first if of_documents else second, part, builder.report)

        tables.read(self.layout, files, builder, progress)

    def _patterns(self, repo: str, commit: str, *, offline: bool) -> list[str]:
        parts = self.layout.parts
        if self.qrels_repo:
            count = len(self.layout.documents)
            parts = parts[:count] if repo == self.repo else parts[count:]
        return list(dict.fromkeys(tables.glob_of(p) for part in parts for p in part.patterns))
