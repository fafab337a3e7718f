"""CSV tables of published scores as records.

One line a figure (columns system, dataset, metric, value), or one a system and dataset (a column a metric, in any
tool's spelling). Other names of these columns stand in `SYSTEM` and what follows it; further columns are left alone.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.leaderboard.published import NOTHING, main_of, out_of_range, record_of

#: What a line is about, each by the first of these columns that the table has.
SYSTEM = ("system", "model", "retriever", "condition", "run")
DATASET = ("dataset", "task", "collection")
ROLES = {
    "system": SYSTEM,
    "dataset": DATASET,
    "split": ("split", "topics"),
    "subset": ("subset", "hf_subset"),
    "revision": ("revision",),
    "dataset_revision": ("dataset_revision",),
    "metric": ("metric",),
    "value": ("value", "score", "mean"),
    "main": ("main_score",),
}
#: Facts of a system that are shown beside its scores.
FACTS = {
    "parameters": ("parameters", "n_parameters"),
    "queries_per_second": ("queries_per_second", "qps"),
    "latency_p95_ms": ("latency_p95_ms", "p95_ms"),
    "index_bytes": ("index_bytes",),
    "kg_co2": ("kg_co2", "kg_co2_emissions"),
}


@dataclass
class _Entry:
    """The figures of one system on one dataset and split; lines: where each metric's stands."""

    task: str
    dataset_revision: str
    metrics: dict[str, float] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    main: str | None = None


class _Header:
    """Which column has what. Mistakes go into the report."""

    def __init__(self, names: list[str], path: Path, report: Report) -> None:
        from seekbench.metrics.measure import parse

        self.names, self.path, self.report = names, path, report
        place = {name.strip().lower(): i for i, name in reversed(list(enumerate(names)))}
        mark = next((c for c in ";\t|" if len(names) == 1 and c in names[0]), None)
        if mark is not None:
            said = "tabs" if mark == "\t" else f"'{mark}'"
            raise InputError(
                f"fields are separated by {said}", where=str(path), line=1, remedy="separate them by commas"
            )
        twice = [
            name for name, n in Counter(name.strip().lower() for name in names).items() if n > 1 and name
        ]
        if twice:
            report.error("csv-header", f"two columns are called '{twice[0]}'", where=str(path), line=1)
        self.at: dict[str, int] = {}
        for role, known in (ROLES | FACTS).items():
            found = next((place[name] for name in known if name in place), None)
            if found is not None:
                self.at[role] = found
        for role in ("system", "dataset"):
            if role not in self.at:
                near = did_you_mean(role, names)
                report.error(
                    "csv-header", f"no column '{role}' among: {', '.join(names) or '(nothing)'}", where=str(path),
                    line=1, remedy=near if near.startswith("did") else f"one of {', '.join(ROLES[role])} is needed",
                )  # fmt: skip
        self.long = "metric" in self.at and "value" in self.at
        self.measures: dict[int, str] = {}
        for i, name in enumerate(names):
            if self.long or i in self.at.values():
                continue
            try:
                self.measures[i] = parse(name).name
            except InputError:
                continue
        if not self.long and not self.measures:
            report.error(
                "csv-header", "no column is a metric, and there is no pair of columns 'metric' and 'value'",
                where=str(path), line=1, remedy="e.g. a column ndcg@10",
            )  # fmt: skip

    def text(self, row: list[str], role: str) -> str:
        return row[self.at[role]].strip() if role in self.at else ""

    def figures(self, row: list[str], line: int) -> dict[str, float]:
        """By our metrics' names."""
        from seekbench.metrics.measure import parse

        if self.long:
            value = self.number(self.text(row, "value"), line)
            try:
                return {} if value is None else {parse(self.text(row, "metric")).name: value}
            except InputError as error:
                self.report.error("csv-metric", str(error), where=str(self.path), line=line)
                return {}
        found = {name: self.number(row[i], line) for i, name in self.measures.items()}
        return {name: value for name, value in found.items() if value is not None}

    def number(self, text: str, line: int) -> float | None:
        """None where there is no figure, and where what stands there is none, which is reported."""
        if text.strip().lower() in NOTHING:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.report.error("csv-number", f"'{text}' is no number", where=str(self.path), line=line)
            return None
        return value


def read(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """(file, record) of each system, dataset and split. Raises InputError with the lines of all mistakes; two figures
    for the same thing are one."""
    from seekbench.datasets.task_names import by_mteb_task

    ours, report = by_mteb_task(), Report()
    entries: dict[tuple[str, str, str, str], _Entry] = {}
    header: _Header | None = None
    for line, row in _lines(path):
        if header is None:
            header = _Header(row, path, report)
            report.raise_if_errors()
            continue
        if len(row) != len(header.names):
            report.error(
                "csv-fields", f"{len(row)} fields where the header has {len(header.names)}", where=str(path), line=line
            )  # fmt: skip
            continue
        system, task = header.text(row, "system"), header.text(row, "dataset")
        if not system or not task:
            report.error("csv-names", "no system or no dataset in this line", where=str(path), line=line)
            continue
        subset = header.text(row, "subset")
        dataset = ours.get(task, task) + (f":{subset}" if subset not in ("", "default") else "")
        key = (system, header.text(row, "revision"), dataset, header.text(row, "split") or "test")
        entry = entries.setdefault(key, _Entry(task, header.text(row, "dataset_revision")))
        figures = header.figures(row, line)
        for metric, value in figures.items():
            if out_of_range(metric, value):
                report.error(
                    "csv-range", f"{metric} is {value:g}, and must be from 0 to 1", where=str(path), line=line,
                    remedy="divide percentages by 100" if value > 1 else "",
                )  # fmt: skip
        for metric, value in figures.items():
            if entry.metrics.setdefault(metric, value) != value:
                report.error(
                    "csv-twice", f"{system} has {metric} {value:g} on {task} ({key[3]}), and {entry.metrics[metric]:g} "
                    f"in line {entry.lines[metric]}", where=str(path), line=line,
                    remedy="keep one of them, or tell them apart by a column `split`",
                )  # fmt: skip
            entry.lines.setdefault(metric, line)
        score = header.number(header.text(row, "main"), line)
        if score is not None:
            entry.main = main_of(name for name, value in figures.items() if value == score)
        for fact in FACTS:
            number = header.number(header.text(row, fact), line)
            if number is not None and number < 0:
                report.error("csv-range", f"{fact} is {number:g}, less than 0", where=str(path), line=line)
            elif number is not None:
                entry.facts[fact] = number
    report.raise_if_errors()
    if not any(entry.metrics for entry in entries.values()):
        raise InputError("this table has no figures", where=str(path))
    return [
        (path, record_of(
            system=system, dataset=dataset, split=split, metrics=entry.metrics, main_metric=entry.main, file=path,
            format="csv", revision=revision or None, dataset_revision=entry.dataset_revision, task=entry.task,
            facts=entry.facts,
        ))
        for (system, revision, dataset, split), entry in entries.items()
    ]  # fmt: skip


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields), without empty lines. Raises InputError for what is no CSV text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            for row in reader:
                if any(field.strip() for field in row):
                    yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"this is no CSV table ({error})", where=str(path)) from None
