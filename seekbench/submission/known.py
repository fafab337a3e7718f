"""Scores that are known already: a folder of MTEB results, or a CSV of published figures."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seekbench import mteb_results
from seekbench.errors import InputError, Report
from seekbench.metrics.measure import parse

#: The results repository refuses a main score that differs by more from the one it has.
TOLERANCE = 0.001

#: What the columns of a CSV may be called.
_SYSTEM = ("model", "system", "condition", "retriever")
_DATASET = ("task", "dataset")
MAIN = "main_score"


@dataclass(frozen=True)
class Score:
    """dataset: as the source calls it, a task's name or a dataset's id. metric: canonical name, or `main_score`.
    split, subset: None where the source does not say. revision: of the model, None where the source names none."""

    dataset: str
    split: str | None
    subset: str | None
    metric: str
    value: float
    where: str
    revision: str | None = None

    def is_of(self, split: str, subset: str | None) -> bool:
        """Whether it is the score of a split and, unless None, subset."""
        return self.split in (None, split) and (subset is None or self.subset in (None, subset))


@dataclass(frozen=True)
class Known:
    """asked: names that the system may have there; scores: those of it. systems: all names there, None where the source
    names none."""

    asked: Sequence[str]
    scores: Sequence[Score]
    systems: Sequence[str] | None
    where: str

    def of(self, datasets: Sequence[str], metrics: Sequence[str]) -> list[Score]:
        """Scores of a dataset, by any of its names, and of any of the metrics."""
        names = {name.lower() for name in datasets}
        return [s for s in self.scores if s.dataset.lower() in names and s.metric in metrics]


def load(path: Path, systems: Sequence[str]) -> Known:
    """systems: names that the system may have there, in any case; `org/name` is `org__name` too.

    Raises InputError for what is neither, and for a CSV without the columns that are needed.
    """
    if path.is_dir():
        return _of_folder(path, systems)
    if not path.is_file():
        raise InputError("no such file or folder", where=str(path))
    return _of_csv(path, systems)


def _plain(name: str) -> str:
    return name.lower().replace("__", "/", 1)


def _of_folder(path: Path, asked: Sequence[str]) -> Known:
    wanted = {_plain(name) for name in asked}
    folders = mteb_results.find(path)
    if not folders:
        raise InputError("there are no MTEB results here", where=str(path))
    found = []
    for folder in folders:
        if _plain(folder.model) not in wanted or folder.experiment is not None:
            continue
        for file in folder.files:
            result = mteb_results.read(file)
            for split, entries in result.scores.items():
                for entry in entries:
                    value, place = entry["main_score"], (result.task, split, entry["hf_subset"])
                    if value is not None and math.isfinite(value):
                        found.append(Score(*place, MAIN, value, str(file), folder.revision))
    return Known(asked, found, sorted({f.model for f in folders}), str(path))


def _of_csv(path: Path, asked: Sequence[str]) -> Known:
    where, wanted = str(path), {_plain(name) for name in asked}
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            columns = reader.fieldnames or []
            system = next((c for c in _SYSTEM if c in columns), None)
            dataset = next((c for c in _DATASET if c in columns), None)
            long = {"metric", "value"} <= set(columns)
            if dataset is None or not (long or MAIN in columns):
                raise InputError(
                    "published scores need the columns `task` or `dataset`, and `main_score` or `metric` and `value`",
                    where=where,
                    line=1,
                    remedy=f"it has {', '.join(columns) or 'none'}",
                )
            report, found, names = Report(), list[Score](), set[str]()
            for row in reader:
                line = reader.line_num
                if system is not None:
                    names.add(row[system] or "")
                    if _plain(row[system] or "") not in wanted:
                        continue
                metric, text = (row["metric"] or "", row["value"]) if long else (MAIN, row[MAIN])
                try:
                    value = float(text)
                    if not math.isfinite(value):
                        raise ValueError
                    name = metric if metric == MAIN else parse(metric).name
                except (TypeError, ValueError):
                    report.error("no-number", f"{text!r} is no number", where=where, line=line)
                    continue
                except InputError:
                    continue  # a metric that is none of ours can't be compared
                place = (row[dataset] or "", row.get("split"), row.get("subset"))
                found.append(Score(*place, name, value, f"{where}:{line}", row.get("revision")))
            report.raise_if_errors()
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"can't be read as CSV: {error}", where=where) from None
    return Known(asked, found, None if system is None else sorted(names), where)


def differing(scores: Sequence[Score], value: float) -> Iterator[Score]:
    """Those that differ by more than the tolerance."""
    # Figures are published with few digits: what is .001 in decimals may be a hair more in binary.
    yield from (s for s in scores if abs(s.value - value) > TOLERANCE + 1e-9)
