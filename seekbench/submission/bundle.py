"""What goes into a submission: the results of one system, its metadata, and the run and judgments of each dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.leaderboard import records
from seekbench.store import Store
from seekbench.submission.metadata import Metadata

if TYPE_CHECKING:
    from seekbench.columns import HitColumns, JudgmentColumns
    from seekbench.submission.known import Known


@dataclass(frozen=True)
class Cell:
    """A result: its folder and record."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        return str(self.record["dataset"]["id"])

    @property
    def split(self) -> str:
        return str(self.record["dataset"]["split"])

    @property
    def system(self) -> str:
        return str(self.record["retriever"]["name"])

    @property
    def k(self) -> int:
        return int(self.record["k"])

    @property
    def label(self) -> str:
        return f"{self.dataset} ({self.split})"

    @property
    def file_stem(self) -> str:
        """Names the dataset's file: `beir__scifact`, with the split where it is not `test`."""
        name = records.dataset_folder(self.dataset)
        return name if self.split == "test" else f"{name}.{self.split}"

    def hits(self) -> HitColumns:
        """The run, in rank order (it was written so). Raises InputError where the file is gone, or is not the one that
        the record is about."""
        from seekbench.trec import read_run

        path = self.folder / records.RUN_FILE
        run = read_run(path, digest=True)
        if run.digest != self.record["files"][records.RUN_FILE]:
            raise InputError(
                "this is not the run file that its result.json is about",
                where=str(path),
                remedy="run it again: what is stored is not searched anew",
            )
        return run


@dataclass(frozen=True)
class Options:
    """tag: of TREC runs, the system's name by default. depth: hits a query, the board's by default. inline: metadata
    inside of the run file."""

    tag: str | None = None
    depth: int | None = None
    inline: bool = False


@dataclass(frozen=True)
class Bundle:
    """cells: results of one system, one a dataset and split. qrels: files of judgments that were given, by dataset."""

    system: str
    cells: Sequence[Cell]
    metadata: Metadata
    options: Options = field(default_factory=Options)
    qrels: Mapping[str, Path] = field(default_factory=dict)
    known: Known | None = None
    store: Store = field(default_factory=Store)

    def judgments(self, cell: Cell) -> JudgmentColumns:
        from seekbench.submission.judgments import judgments_of

        return judgments_of(cell, self.qrels.get(cell.dataset), self.store)


@dataclass(frozen=True)
class Gathered:
    """failures: (dataset as its folder is called, split, cause) of cells of the system that failed."""

    system: str
    cells: list[Cell]
    failures: list[tuple[str, str, str]]


def gather(paths: Sequence[Path], system: str | None) -> Gathered:
    """The results of one system below the paths, in the order of dataset and split.

    Raises InputError where there are none, where they are of several systems and none is named, and for two different
    results of one dataset.
    """
    cells: list[Cell] = []
    failures: list[tuple[str, str, str, str]] = []
    report = Report()
    for path in paths:
        if not path.exists():
            report.error("no-results", "no such file or folder", where=str(path))
            continue
        found = []
        for file in records.find(path):
            record = records.read(file)
            if not {"dataset", "retriever", "files"} <= record.keys():
                report.error("no-record", "this is no seekbench result record", where=str(file))
                continue
            found.append(Cell(file.parent, record))
        failed = list(records.failures(path)) if path.is_dir() else []
        if not found and not failed and not report.errors:
            report.error(
                "no-results",
                "there are no results here",
                where=str(path),
                remedy="it must hold result.json files",
            )
        cells += found
        failures += failed
    report.raise_if_errors()
    systems = sorted({c.system for c in cells} | {f[2] for f in failures})
    if system is None and len(systems) > 1:
        raise InputError(
            f"these are results of {len(systems)} systems, a submission is one's",
            where="--system",
            remedy=f"name one of {', '.join(systems)}",
        )
    if system is not None and system not in systems:
        raise InputError(
            f"there are no results of '{system}'", where="--system", remedy=did_you_mean(system, systems)
        )
    chosen = systems[0] if system is None else system
    by_place: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if cell.system != chosen:
            continue
        other = by_place.setdefault((cell.dataset, cell.split), cell)
        if other.record["key"] != cell.record["key"]:
            report.error(
                "two-results",
                f"{cell.label} has another result of '{chosen}' in {other.folder}",
                where=str(cell.folder),
                remedy="name the folder of one of them",
            )
    report.raise_if_errors()
    return Gathered(
        chosen,
        [by_place[place] for place in sorted(by_place)],
        sorted({(d, s, cause) for d, s, name, cause in failures if name == chosen}),
    )
