"""What studies share: mistakes of their files, figures over parts of the queries, cells of their tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.tables import Text
from seekbench.yamlfile import Marked, Path_

if TYPE_CHECKING:
    from seekbench.metrics.measure import Measure

#: What a study's file may say under `study:`, each the name of a command.
STUDIES = ("scaling", "growing", "muvera")

#: As in "How Does Generative Retrieval Scale": hits and reciprocal rank, here with nDCG beside them.
METRICS = ("success@1", "success@10", "mrr@10", "ndcg@10")


def report_at(report: Report, marked: Marked, path: Path_, code: str, message: str, remedy: str = "") -> None:
    """An error with the file and line of a path of the study's file."""
    where, line = marked.where(path)
    report.error(code, message, where=where, line=line, remedy=remedy)


def refuse_other(marked: Marked, study: str, where: str) -> None:
    """Raises InputError, in one line, for the file of another study than the named one."""
    given = marked.value.get("study")
    if given in STUDIES and given != study:
        shown, line = marked.where(("study",))
        file = where.removesuffix(" (shipped)")
        raise InputError(
            f"this is a {given} study", where=shown, line=line, remedy=f"seekbench study {given} {file}"
        )


def copy_marks(source: Marked, old: Path_, target: Marked, new: Path_) -> None:
    """What lies below `old` in one file gets the same lines below `new` in the other."""
    for path, mark in source.marks.items():
        if path[: len(old)] == old:
            target.marks[(*new, *path[len(old) :])] = mark


def said_once(report: Report) -> Report:
    """Without repetitions: a mistake of what cells share is found once a cell."""
    out = Report(shown=50)
    for problem in dict.fromkeys(report.problems):
        out.add(
            problem.code,
            problem.message,
            where=problem.where,
            line=problem.line,
            remedy=problem.remedy,
            severity=problem.severity,
        )
    return out


def refuse_limits(raw: Any, marked: Marked, report: Report, *, said: str, remedy: str = "") -> None:
    """Datasets of a study are whole. raw: the file's `datasets`; said: why, behind the key's name."""
    for i, entry in enumerate(raw if isinstance(raw, list) else []):
        for key in ("limit", "limit_documents") if isinstance(entry, dict) else ():
            if entry.get(key) is not None:
                report_at(report, marked, ("datasets", i, key), "study-limit", f"{key}: {said}", remedy)


def figures(
    measures: Sequence[Measure], record: Mapping[str, Any], folder: Path, parts: Mapping[str, set[str]]
) -> dict[str, dict[str, float | None]]:
    """Metric -> part of the queries -> figure, from a cell's scores per query.

    parts: name -> ids of queries; `all`, which is always there, has the record's figure. None where a part has no
    query, where the metric is not defined, and for parts of a metric that is a figure of the whole run only.
    """
    values = per_query(folder, [m.name for m in measures if m.definition.aggregate != "run"])
    ids = values["query_id"].tolist()
    chosen = {name: np.array([i in wanted for i in ids], dtype=np.bool_) for name, wanted in parts.items()}
    out: dict[str, dict[str, float | None]] = {}
    for measure in measures:
        found: dict[str, float | None] = dict.fromkeys(parts)
        found["all"] = record["metrics"][measure.name]["mean"]
        if measure.name in values:
            for name in parts:
                if name != "all" and chosen[name].any():
                    figure = measure.aggregate(values[measure.name][chosen[name]])
                    found[name] = figure if math.isfinite(figure) else None
        out[measure.name] = found
    return out


def per_query(folder: Path, metrics: Sequence[str]) -> dict[str, Any]:
    """`query_id` (object [queries]) and the named metrics (float64 [queries]) of a cell's folder."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "per_query.parquet", columns=["query_id", *metrics])
    return {name: table.column(name).to_numpy() for name in table.column_names}


def chosen_metrics(known: Sequence[str], metrics: Sequence[str] | None) -> tuple[str, ...]:
    """Canonical names of those that are asked for, in any spelling; all known ones by default. Raises InputError for
    one that the study lacks."""
    from seekbench.metrics.measure import parse_all

    if not metrics:
        return tuple(known)
    chosen = [m.name for m in parse_all(list(metrics), where="--metric")]
    report = Report()
    for name in chosen:
        if name not in known:
            said = f"the study has no metric '{name}'"
            report.error("study-metric", said, where="--metric", remedy=did_you_mean(name, known))
    report.raise_if_errors()
    return tuple(dict.fromkeys(chosen))


def number(value: float | None, digits: int) -> Text:
    """A cell of a table; a dash where there is none (an empty field in CSV)."""
    return Text("–", value=float("nan")) if value is None else Text(f"{value:,.{digits}f}", value=value)


def picture(study: str, metric: str) -> str:
    """The name of a metric's picture."""
    return f"{study}-{re.sub(r'[^A-Za-z0-9._@=+-]+', '_', metric)}.png"


def set_values(marked: Marked, overrides: Sequence[str], report: Report) -> None:
    """Applies `--set KEY=VALUE`s; what is wrong with them goes to the report."""
    from seekbench import config

    for text in overrides:
        try:
            config._override(marked, text)
        except InputError as error:
            report.extend(error.report)
