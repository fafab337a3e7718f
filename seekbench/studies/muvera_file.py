"""The file of the study `muvera`: which token vectors, the grid of encodings, and what they are compared with; every
mistake with file and line."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seekbench import config as configs
from seekbench.config import RunConfig
from seekbench.errors import InputError, Report
from seekbench.studies.common import copy_marks, refuse_other, report_at, said_once, set_values
from seekbench.validation import add_validation_errors
from seekbench.yamlfile import Marked, Path_

if TYPE_CHECKING:
    from seekbench.retrievers.protocol import Context

METHODS = ("fde", "heuristic", "plaid")
#: The name of the exact search among the systems.
EXACT = "exact"
#: Levels of recall that candidates are counted for.
TARGETS = (0.8, 0.9, 0.95)

_TYPE = {"fde": "muvera", "heuristic": "heuristic", "plaid": "plaid"}
#: Short for parameters in names.
_SHORT = {"repetitions": "R", "simhash_bits": "b", "projection_dim": "p", "final_dim": "final"}
_MOST_POINTS = 200


class MuveraModel(BaseModel):
    """The study file. The system's and the methods' parameters, datasets and metrics have schemas of their own."""

    model_config = ConfigDict(extra="forbid")

    study: Literal["muvera"]
    name: str | None = Field(None, description="Names the results' folder; the file's name by default.")
    description: str | None = Field(None, description="One line about the study.")
    include: str | list[str] | None = Field(None, description="Files that are merged in first.")
    datasets: list[str | dict[str, Any]] = Field(min_length=1, description="As in a run config.")
    system: dict[str, Any] = Field(description="Fields of `type: multi_vector`, without candidates.")
    candidates: list[Any] = Field(
        [10, 20, 50, 100, 200, 500, 1000], min_length=1, description="Numbers of candidates."
    )
    recall_at: list[Any] = Field([1, 10, 100], min_length=1, description="k of the exact search's top k.")
    fde: dict[str, Any] | list[dict[str, Any]] = Field(
        description="Fields of `muvera`; those that are lists are combined. A list of such grids, too."
    )
    heuristic: dict[str, Any] | list[dict[str, Any]] | None = Field(
        None,
        description="Fields of `heuristic`, or a list of them; the first one is what others are compared with.",
    )
    plaid: dict[str, Any] | list[dict[str, Any]] | None = Field(
        None, description="Fields of `plaid`, or a list of them."
    )
    metrics: list[str] = Field(["ndcg@10"], min_length=1, description="Of the re-ranked candidates.")
    k: int = Field(100, ge=1, description="Hits a query that metrics look at.")


@dataclass(frozen=True)
class Point:
    """A method with its parameters. apart: asked for each number of candidates anew."""

    name: str
    method: str
    apart: bool
    chosen: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """config: the exact search and every point as a retriever. candidates, recall_at: ascending."""

    config: RunConfig
    candidates: tuple[int, ...]
    recall_at: tuple[int, ...]
    points: Mapping[str, Point]
    marked: Marked = field(repr=False)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def reference(self) -> str | None:
        """The heuristic that others are compared with."""
        return next((p.name for p in self.points.values() if p.method == "heuristic"), None)


# -- the file -------------------------------------------------------------------------------------------------


def load(path: Path, overrides: Sequence[str] = (), *, shown: str | None = None) -> Study:
    """Reads and checks a study file, with its includes and `--set`. Raises InputError with every mistake found."""
    where = shown or str(path)
    marked = configs._with_includes(path, where, ())
    if not isinstance(marked.value, dict):
        raise InputError("a study is a mapping", where=where, line=1, remedy="it begins with study: muvera")
    refuse_other(marked, "muvera", where)
    report = Report(shown=100_000)  # a mistake of what points share is found once a point, and said once
    set_values(marked, overrides, report)
    raw = marked.value
    try:
        MuveraModel.model_validate(raw)
    except ValidationError as error:
        add_validation_errors(report, error, marked, (), MuveraModel, what="a muvera study")
    default = {name: MuveraModel.model_fields[name].default for name in ("candidates", "recall_at")}
    numbers = {n: _numbers(n, raw.get(n, d), marked, report) for n, d in default.items()}
    run, points = _run_config(raw, marked, report)
    try:
        checked = configs._check(run, path, where, report)
    except InputError as error:
        raise InputError(report=said_once(_named(error.report, marked))) from None
    _share(checked)
    return Study(checked, numbers["candidates"], numbers["recall_at"], points, marked)


def check_resolvable(study: Study, context: Context) -> Report:
    """`config.check_resolvable` of the model, which all systems share."""
    only = replace(study.config, retrievers=(study.config.retriever(EXACT),))
    found = configs.check_resolvable(only, context)
    for i, problem in enumerate(found.problems):
        found.problems[i] = replace(problem, message=problem.message.removeprefix(f"{EXACT}: "))
    return found


def _named(report: Report, marked: Marked) -> Report:
    """The same with the names of the study's sections in place of the retriever's `candidates`."""
    for i, problem in enumerate(report.problems):
        there = {
            str(path[0])
            for path, mark in marked.marks.items()
            if mark == (problem.where, problem.line) and path[:1] and path[0] in METHODS
        }
        rest = problem.message.removeprefix("candidates")
        if len(there) == 1 and rest != problem.message and rest[:1] in (".", " ", ":"):
            report.problems[i] = replace(problem, message=there.pop() + rest)
    return report


def _share(config: RunConfig) -> None:
    """One checkpoint for all systems: it is found and hashed once."""
    first: Any = config.retriever(EXACT).retriever
    for entry in config.retrievers:
        other: Any = entry.retriever
        other.model = first.model


def _numbers(key: str, raw: Any, marked: Marked, report: Report) -> tuple[int, ...]:
    found: list[int] = []
    for i, number in enumerate(raw if isinstance(raw, list) else []):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            said = f"{key}: a whole number from 1 on, not {number!r}"
            report_at(report, marked, (key, i), "study-number", said)
        elif number in found:
            report_at(
                report, marked, (key, i), "study-number", f"{key}: {number} is there already", "keep one"
            )
        else:
            found.append(number)
    return tuple(sorted(found))


def _run_config(raw: Mapping[str, Any], marked: Marked, report: Report) -> tuple[Marked, dict[str, Point]]:
    """The study as a run config, every part marked with the study's line; and its points.

    What is malformed is left out, so that the rest can be checked too.
    """
    fields = MuveraModel.model_fields
    value: dict[str, Any] = {n: raw[n] for n in ("name", "datasets") if n in raw}
    out = Marked(value, {(): marked.marks[()]})
    value |= {n: raw.get(n, fields[n].default) for n in ("metrics", "k")}
    value["retrievers"] = {}
    for key in ("name", "datasets", "metrics", "k"):
        copy_marks(marked, (key,), out, (key,))
    if "metrics" not in raw:  # where the default ones are too deep, it is k that is wrong
        out.marks["metrics",] = marked.where(("k",))
    points: dict[str, Point] = {}
    system = raw.get("system")
    if isinstance(system, dict):
        _check_system(system, marked, report)
        kept = {n: v for n, v in system.items() if n not in _REFUSED and n != "type"}
        for point, places in _points(raw, marked, report):
            points[point.name] = point
            chosen = {"type": _TYPE[point.method], **copy.deepcopy(dict(point.chosen))}
            value["retrievers"][point.name] = {
                **copy.deepcopy(kept), "type": "multi_vector", "candidates": chosen, "compare": False,
            }  # fmt: skip
            at: Path_ = ("retrievers", point.name)
            copy_marks(marked, ("system",), out, at)
            for key, place in places.items():
                copy_marks(marked, place, out, (*at, "candidates", *((key,) if key else ())))
        value["retrievers"] = {
            EXACT: {**copy.deepcopy(kept), "type": "multi_vector"}, **value["retrievers"],
        }  # fmt: skip
        copy_marks(marked, ("system",), out, ("retrievers", EXACT))
    else:  # reported above; datasets and metrics are still to be checked
        value["retrievers"] = {"none": {"type": "bm25"}}
    return out, points


_REFUSED = {
    "candidates": ("the methods differ by point", "they stand under fde:, heuristic: and plaid:"),
    "compression": (
        "candidates are compared with, and ranked by, the exact scores of uncompressed vectors",
        "leave it out",
    ),
    "compare": ("every point is compared with the exact search", "leave it out"),
    "sweep": ("a study has no sweep", "lists under `fde:` are combined"),
}


def _check_system(system: Mapping[str, Any], marked: Marked, report: Report) -> None:
    for key, (said, remedy) in _REFUSED.items():
        if key in system:
            report_at(report, marked, ("system", key), "study-system", f"system: no '{key}': {said}", remedy)
    if system.get("type", "multi_vector") != "multi_vector":
        said = f"system: the type is multi_vector, not {system['type']!r}"
        report_at(report, marked, ("system", "type"), "study-system", said, "leave it out")


def _points(
    raw: Mapping[str, Any], marked: Marked, report: Report
) -> Iterator[tuple[Point, Mapping[str, Path_]]]:
    """Points, and where the file says each of their parameters ('' for all of them)."""
    seen: set[str] = set()
    for method in METHODS:
        given = raw.get(method)
        entries = given if isinstance(given, list) else [given]
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict):
                continue
            at: Path_ = (method, i) if isinstance(given, list) else (method,)
            wrong = [key for key in ("type", "depth") if key in entry]
            for key in wrong:
                said = {"type": "the section's name says it", "depth": "`candidates:` says how many"}[key]
                report_at(
                    report,
                    marked,
                    (*at, key),
                    "study-method",
                    f"{method}: no '{key}': {said}",
                    "leave it out",
                )
            entry = {key: v for key, v in entry.items() if key not in wrong}
            axes = {key: v for key, v in entry.items() if isinstance(v, list)}
            count = math.prod(map(len, axes.values()))
            if not count or count > _MOST_POINTS:
                said = f"{method}: {count:,} combinations; 1 to {_MOST_POINTS} can be had"
                report_at(report, marked, at, "study-grid", said)
                continue
            for places in itertools.product(*(range(len(v)) for v in axes.values())):
                which = dict(zip(axes, places, strict=True))
                chosen = {key: v[which[key]] if key in which else v for key, v in entry.items()}
                name = _name(method, chosen)
                if name.casefold() in seen:
                    said = f"{method}: '{name}' is there already"
                    report_at(report, marked, at, "study-point", said, "keep one")
                    continue
                seen.add(name.casefold())
                lines: dict[str, Path_] = {"": at}
                lines |= {key: (*at, key, which[key]) for key in which}
                yield Point(name, method, _is_apart(method, chosen), chosen), lines


def _is_apart(method: str, chosen: Mapping[str, Any]) -> bool:
    """Whether the first n candidates depend on how many are asked for."""
    if method == "plaid":  # `ndocs` says how many stages keep
        return chosen.get("ndocs") is None
    return method == "heuristic" and chosen.get("dedup") is False


def _name(method: str, chosen: Mapping[str, Any]) -> str:
    """E.g. muvera-R20-b5-p16-index=pq; of characters that a retriever's name may have."""
    parts = [_TYPE[method]]
    parts += [
        f"{_SHORT[key]}{_word(chosen[key])}" for key in _SHORT if chosen.get(key) is not None
    ]  # the order of the paper
    parts += [f"{key}={_word(v)}" for key, v in chosen.items() if key not in _SHORT and v is not None]
    return "-".join(parts)


def _word(value: Any) -> str:
    if isinstance(value, dict):
        first = [str(value["type"])] if "type" in value else []
        value = ",".join([*first, *(f"{k}={_word(v)}" for k, v in value.items() if k != "type")])
    if isinstance(value, bool):
        value = str(value).lower()
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "_", str(value))
