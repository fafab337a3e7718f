"""Checks a collection as loading would; tells all that is wrong, what it looks like, what splits share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seekbench.datasets import catalogue, mteb_tasks
from seekbench.datasets.folder import open_collection
from seekbench.datasets.leakage import THRESHOLD, Embed
from seekbench.datasets.leakage import leakage as find_leakage
from seekbench.datasets.load import build
from seekbench.datasets.resolve import DatasetSpec, resolve
from seekbench.datasets.statistics import statistics
from seekbench.errors import InputError, Report
from seekbench.progress import NoProgress, Progress


@dataclass(frozen=True)
class ValidationResult:
    """report: every defect. statistics and leakage are empty where errors left no collection to look at."""

    subject: str
    report: Report
    statistics: Mapping[str, Any] = field(default_factory=dict)
    leakage: list[dict[str, Any]] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        return not self.report.errors

    def summary(self) -> list[str]:
        """The statistics and the leakage as lines of text."""
        if not self.statistics:
            return []
        out = []
        for what in ("documents", "queries"):
            s = self.statistics[what]
            tokens = s["tokens"]
            spoken = ", ".join(
                f"{code} {share:.0%}" for code, share in list(s["languages"].items())[:4] if share >= 0.01
            )
            out.append(
                f"{what}: {s['count']:,}; tokens mean {tokens['mean']:,.1f}, median {tokens['p50']:,.0f}, "
                f"95% {tokens['p95']:,.0f}, most {tokens['max']:,.0f}; language {spoken or 'unknown'}"
            )
        for name, s in self.statistics["splits"].items():
            grades = _grades(s["grades"])
            out.append(
                f"split {name}: {s['queries']:,} queries, {s['judgments']:,} judgments "
                f"({s['judgments_per_query']['mean']:.1f} a query), grades {grades}"
            )
        for pair in self.leakage:
            out += _leakage_lines(pair)
        return out


def _grades(counts: Mapping[str, int]) -> str:
    if len(counts) > 20:  # real numbers in whole parts
        values = [int(grade) for grade in counts]
        return f"{len(values)} from {min(values):,} to {max(values):,}"
    return ", ".join(f"{grade}: {count:,}" for grade, count in counts.items())


def _leakage_lines(pair: Mapping[str, Any]) -> list[str]:
    said = []
    if pair["shared_queries"]:
        said.append(f"{pair['shared_queries']:,} are judged in both")
    if pair["shared_relevant"]:
        said.append(f"{pair['shared_relevant']:,} share a relevant document with another query there")
    if pair["near_duplicate"]:
        said.append(
            f"{pair['near_duplicate']:,} have a near-duplicate there (cosine >= {pair['threshold']:g}, "
            f"{pair['method']}; {pair['same_text']:,} the same text"
            f"; {pair['near_duplicate_and_shared']:,} with a relevant document in common)"
        )
    seen = f"of {pair['queries']:,} queries of '{pair['split']}', seen from '{pair['other']}'"
    return [f"leakage: {seen}: {'; '.join(said)}"]


def validate(
    dataset: DatasetSpec | str | Path | Mapping[str, Any],
    *,
    progress: Progress | None = None,
    offline: bool = False,
    leakage: bool = True,
    threshold: float = THRESHOLD,
    embed: Embed | None = None,
) -> ValidationResult:
    """Validates a folder (a path) or an entry as in a config; never raises InputError for its defects.

    A string that is a folder or looks like a path is taken for one, otherwise for a card's name. Loading
    refuses exactly
    what is an error here, since both read through `load.build`. embed: what near-duplicates are compared by,
    in place of TF-IDF. Raises MissingError where something must be fetched and can't be.
    """
    progress = progress or NoProgress()
    report = Report()
    entry: Any = dataset
    if isinstance(dataset, str):
        if not dataset.strip():
            report.error("dataset", "nothing is named", remedy="give a folder, or a name of `seekbench ls`")
        elif dataset.endswith((".yaml", ".yml")) and Path(dataset).is_file():
            entry = {"card": dataset}
        elif _looks_like_a_path(dataset):
            entry = {"path": dataset}
        elif not dataset.startswith("irds:"):
            _check_name(dataset, report)
        if report.errors:
            return ValidationResult(dataset, report)
    try:
        # Which split is meant matters to what is searched, not to whether the collection is good.
        wanted = resolve(entry, any_split=True)
    except InputError as error:
        return ValidationResult(str(dataset), error.report)
    with tempfile.TemporaryDirectory(prefix="seekbench-validate-") as name:
        folder = Path(name)
        try:
            build(wanted.source, folder, report, progress=progress, offline=offline)
        except InputError as error:
            if error.report is not report:
                report.extend(error.report)
            return ValidationResult(wanted.source.subject, report)
        collection = open_collection(folder)
        if wanted.card is not None:
            counts = {split: len(rows) for split, rows in collection.judged.items()}
            for line in wanted.card.differing(len(collection.corpus), counts):
                report.warning(
                    "counts", line, where=wanted.source.subject, remedy="is it all of it, and this version?"
                )
        with progress.stage("statistics", total=1, unit="collection") as stage:
            figures = statistics(collection)
            stage.advance(1)
        shared = []
        if leakage and len(collection.splits) > 1:
            with progress.stage("leakage", total=1, unit="collection") as stage:
                shared = find_leakage(collection, threshold=threshold, embed=embed)
                stage.advance(1)
    return ValidationResult(wanted.source.subject, report, figures, shared)


def _check_name(name: str, report: Report) -> None:
    """Whether it means one dataset; else what it means, or what is near it."""
    try:
        found = catalogue.expanded(name)
    except InputError as error:
        (problem,) = error.report.problems
        said = problem.message.replace("there is no dataset", "there is no folder and no dataset")
        report.error("dataset", said, remedy=problem.remedy)
        return
    if len(found) > 1:
        report.error("dataset", f"'{name}' is {len(found)} datasets", remedy=f"name one, e.g. {found[0]}")


def _looks_like_a_path(text: str) -> bool:
    """Whether a string means a folder: it is there, is written as a path, or is below no suite of cards."""
    if text.startswith((".", "/", "~")) or Path(text).is_dir():
        return True
    if mteb_tasks.is_name(text) or text.startswith("irds:"):
        return False
    known = catalogue.names()
    suites = {name.split("/")[0] for name in known if "/" in name}
    return text not in known and (Path(text).exists() or ("/" in text and text.split("/")[0] not in suites))
