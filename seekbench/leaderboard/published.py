"""Published figures as records: MTEB's result files, and what tables (`published_csv`) share with them. They have means
and nothing per query.

A record of a published figure has the fields that tables read, `published` (where it stands, of which format), and no
content hash of its data: whether two such figures were made on the same data, only their dataset revisions tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from seekbench import hashing
from seekbench.errors import InputError, Report
from seekbench.leaderboard.records import SCHEMA_VERSION

#: Measures that are from 0 to 1.
_SHARES = {"ndcg", "recall", "p", "ap", "rr", "success", "rprec", "f", "judged", "r_cap"}
#: How files write that there is no figure, and that a revision is not known.
NOTHING = {"", "nan", "na", "n/a", "none", "null", "-", "–"}


def record_of(
    *,
    system: str,
    dataset: str,
    split: str,
    metrics: Mapping[str, float],
    main_metric: str | None,
    file: Path,
    format: str,
    revision: str | None = None,
    dataset_revision: str | None = None,
    languages: list[str] | None = None,
    task: str | None = None,
    facts: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """A record of one system's published figures on one dataset and split. metrics: by our names."""
    facts = facts or {}
    known = list(metrics)
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": {
            "id": dataset,
            "split": split,
            "hashes": {"dataset": None},
            "queries": None,
            "language": languages[0] if languages else None,
            "main_metric": main_metric,
        },
        "retriever": {
            "name": system,
            "type": "published",
            "system": hashing.of_json({"system": system, "revision": revision}),
            "details": {},
            "describe": {"parameters": facts.get("parameters"), "revision": revision},
        },
        "metrics": {name: {"mean": value, "aggregate": "mean"} for name, value in metrics.items()},
        "training": None,
        "primary_metric": main_metric or (known[0] if known else ""),
        "comparable": True,
        "recorded_at": "",
        "efficiency": {
            "queries_per_second": facts.get("queries_per_second"),
            "latency_ms": {"p95": facts.get("latency_p95_ms")},
            "index_bytes": facts.get("index_bytes"),
            "kg_co2": facts.get("kg_co2"),
        },
        "published": {
            "format": format,
            "file": str(file),
            "task": task or dataset,
            "revision": revision,
            "dataset_revision": None if (dataset_revision or "").lower() in NOTHING else dataset_revision,
        },
    }


def mteb(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """(file, record) of every split and subset of all MTEB result files below a folder. Raises InputError with all
    files that can't be read."""
    from seekbench import mteb_results
    from seekbench.datasets.task_names import by_mteb_task
    from seekbench.language_codes import canonical

    ours, found, report = by_mteb_task(), [], Report()
    for model in mteb_results.find(root):
        model_file = model.files[0].parent / mteb_results.META_FILE
        for file in model.files:
            try:
                result = mteb_results.read(file)
            except InputError as error:
                report.extend(error.report)
                continue
            id = ours.get(result.task, result.task)
            for split, entries in result.scores.items():
                for entry in entries:
                    metrics, main = figures(entry)
                    subset = str(entry.get("hf_subset") or "default")
                    for name, value in metrics.items():
                        if out_of_range(name, value):
                            report.error(
                                "mteb-range", f"{name} of {split} is {value:g}, and must be from 0 to 1",
                                where=str(file),
                            )  # fmt: skip
                    record = record_of(
                        # A variant of a model's run is a system of its own.
                        system=model.model + (f" ({model.experiment})" if model.experiment else ""),
                        dataset=id if subset == "default" else f"{id}:{subset}",
                        split=split,
                        metrics=metrics,
                        main_metric=main,
                        file=file,
                        format="mteb",
                        revision=model.revision,
                        dataset_revision=result.dataset_revision,
                        languages=[
                            canonical(str(code))
                            for code in entry.get("languages") or []
                            if not str(code).startswith("und")
                        ],
                        task=result.task,
                        facts={
                            "parameters": _number(model.meta or {}, "n_parameters", model_file, report),
                            "kg_co2": _number(result.other, "kg_co2_emissions", file, report),
                        },
                    )
                    found.append((file, record))
    report.raise_if_errors()
    return found


def _number(facts: Mapping[str, Any], name: str, file: Path, report: Report) -> float | None:
    """A fact that is a number from 0 on, or not stated; anything else is reported."""
    value = facts.get(name)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    if value is None or good:
        return value
    if not (isinstance(value, float) and math.isnan(value)):
        report.error("mteb-fact", f"'{name}' is {value!r}, and no number from 0 on", where=str(file))
    return None


def figures(entry: Mapping[str, Any]) -> tuple[dict[str, float], str | None]:
    """(figures by our metrics' names, which of them is the main score) of one entry of an MTEB file; names that are no
    metric of ours are left out. The files don't name the metric of `main_score`; it repeats one of the others."""
    out: dict[str, float] = {}
    main = entry.get("main_score")
    same = []
    for name, value in entry.items():
        if name == "main_score" or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value) or name.startswith("nauc_"):
            continue
        known = _metric(name)
        if known is None:
            continue
        out[known] = float(value)
        if value == main:
            same.append(known)
    return out, main_of(same)


def out_of_range(metric: str, value: float) -> bool:
    """Whether a figure is none that the metric, by our name, can have: percentages, mostly."""
    return not 0 <= value <= 1 and _base(metric) in _SHARES


@cache
def _base(metric: str) -> str:
    from seekbench.metrics.measure import parse

    return parse(metric).base


@cache
def _metric(name: str) -> str | None:
    """Our name of a metric, None for what is none; files have the same hundred names again and again."""
    from seekbench.metrics.measure import parse

    try:
        return parse(name).name
    except InputError:
        return None


def main_of(same: Iterable[str]) -> str | None:
    """Which of the metrics whose figure equals a main score it is: that of nearly all retrieval tasks, or the first."""
    names = list(same)
    return "ndcg@10" if "ndcg@10" in names else next(iter(names), None)
