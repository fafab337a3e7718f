"""The runs that a user names: run files, result folders of one cell, and folders that hold many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seekbench.errors import InputError
from seekbench.leaderboard import records
from seekbench.leaderboard.records import RUN_FILE

#: A dataset, its split, and the name of a system.
CellKey = tuple[str, str, str]


@dataclass(frozen=True)
class RunCell:
    """name: of the system; run: its run file; record: its result record, None for a run file that stands alone."""

    name: str
    run: Path
    record: Mapping[str, Any] | None = None

    @property
    def dataset(self) -> tuple[str, str] | None:
        """(id, split), None where no record tells."""
        return (
            None if self.record is None else (self.record["dataset"]["id"], self.record["dataset"]["split"])
        )

    @property
    def key(self) -> CellKey | None:
        return None if self.dataset is None else (*self.dataset, self.name)


def below(path: Path, name: str | None = None) -> list[RunCell]:
    """The cells that a path stands for: a run file, a cell's folder, or all cells below a folder of results.

    name: of the system, where the user gave one; it is for a single cell. Raises InputError where there is no run, or
    several cells share one name.
    """
    if path.name == "result.json" and path.is_file():
        path = path.parent
    if path.is_dir():
        files = list(records.find(path))
        if not files and (path / RUN_FILE).is_file():
            return [RunCell(name or path.name, path / RUN_FILE)]
        cells = [_of_record(file.parent) for file in files]
        if not cells:
            raise InputError(
                "there are no runs here",
                where=str(path),
                remedy=f"it must hold result.json and {RUN_FILE} files",
            )
        if name is not None and len(cells) > 1:
            raise InputError(f"'{name}' can't name {len(cells)} cells at once", where=str(path))
        return [RunCell(name, cells[0].run, cells[0].record)] if name is not None else cells
    if path.name == RUN_FILE and (path.parent / "result.json").is_file():
        cell = _of_record(path.parent)
        return [cell if name is None else RunCell(name, cell.run, cell.record)]
    return [RunCell(name or path.name, path)]


def _of_record(folder: Path) -> RunCell:
    record = records.read(folder)
    if not (folder / RUN_FILE).is_file():
        raise InputError(
            "its run file is gone", where=str(folder / RUN_FILE),
            remedy="run it again: what is stored is not searched anew",
        )  # fmt: skip
    return RunCell(record["retriever"]["name"], folder / RUN_FILE, record)


def by_key(cells: Sequence[RunCell], where: str) -> dict[CellKey, RunCell]:
    """Cells with a record, by dataset, split and system. Raises InputError where two share them."""
    out: dict[CellKey, RunCell] = {}
    for cell in cells:
        if cell.key is None:
            continue
        if cell.key in out:
            raise InputError(
                f"two results of '{cell.name}' on {cell.key[0]} ({cell.key[1]}): {out[cell.key].run.parent} and "
                f"{cell.run.parent}", where=where, remedy="name one of the two folders",
            )  # fmt: skip
        out[cell.key] = cell
    return out


def pairs(
    a: Sequence[RunCell], b: Sequence[RunCell], where: tuple[str, str]
) -> list[tuple[RunCell, RunCell]]:
    """What of two sides belongs together: two single cells, or the cells of the same dataset, split and system.

    where: what the user calls the sides. Raises InputError where nothing does.
    """
    if len(a) == len(b) == 1:
        if a[0].dataset and b[0].dataset and a[0].dataset != b[0].dataset:
            raise InputError(
                f"{where[0]} is of {_said(a[0].dataset)}, {where[1]} of {_said(b[0].dataset)}",
                remedy="two rankings of the same queries are compared",
            )
        return [(a[0], b[0])]
    first, second = by_key(a, where[0]), by_key(b, where[1])
    shared = [key for key in first if key in second]
    if not shared:
        raise InputError(
            f"{where[0]} and {where[1]} share no dataset and system: there are {_names(first)}; and {_names(second)}",
            remedy="name two cells' folders to compare systems of different names",
        )
    return [(first[key], second[key]) for key in shared]


def _said(dataset: tuple[str, str]) -> str:
    return dataset[0] if dataset[1] == "test" else f"{dataset[0]} ({dataset[1]})"


def _names(cells: Mapping[CellKey, RunCell]) -> str:
    names = [f"{cell.name} on {_said(cell.dataset)}" for cell in cells.values() if cell.dataset]
    return (
        ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "runs without a result.json"
    )
