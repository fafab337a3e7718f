"""The run config: one YAML file of datasets, retrievers and metrics, checked as a whole before anything runs.

`load` reads a file (with its includes and the command line's `--set`), reports every mistake together with
file, line and a suggestion, and gives a `RunConfig` whose sweeps are expanded. Nothing here loads a dataset
or a model, and a config can name types and files but never code.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seekbench import yamlfile
from seekbench.errors import InputError, Report, did_you_mean
from seekbench.metrics import DEFAULT_METRICS
from seekbench.validation import add_validation_errors
from seekbench.yamlfile import Marked, Path_

if TYPE_CHECKING:
    from seekbench.datasets.catalogue import DatasetSpec
    from seekbench.metrics.measure import Measure
    from seekbench.retrievers.protocol import Retriever

#: what a retriever's name may look like: it becomes a folder name and a run tag
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$")
_MOST_VARIANTS = 1000


class ConfigModel(BaseModel):
    """The top level of the file; `datasets` and `retrievers` have schemas of their own, by name and type."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="Names the results' folder; the file's name by default.")
    description: str | None = Field(None, description="One line for `seekbench ls configs`.")
    include: str | list[str] | None = Field(
        None, description="Files (relative to this one) that are merged in first."
    )
    datasets: list[str | dict[str, Any]] = Field(min_length=1, description="Names of cards, or mappings.")
    retrievers: dict[str, dict[str, Any]] = Field(
        min_length=1, description="Name -> {type: ..., parameters}."
    )
    metrics: list[str] = Field(
        list(DEFAULT_METRICS), min_length=1, description="The first one ranks the leaderboard."
    )
    baseline: str | None = Field(None, description="The retriever that others are compared with.")
    k: int = Field(1000, ge=1, description="Hits a query.")
    sweep: dict[str, list[Any]] | None = Field(
        None, description="Dotted path of a retriever's parameter -> values; several make a matrix."
    )


@dataclass(frozen=True)
class RetrieverConfig:
    """A retriever as it will run. params: as given in the file, without `type` and `sweep`. origin: its entry in the
    file, which has another name where a sweep made it."""

    name: str
    type: str
    params: Mapping[str, Any]
    retriever: Retriever
    origin: str


@dataclass(frozen=True)
class RunConfig:
    """retrievers stand in an order in which composites come after what they need."""

    name: str
    path: Path
    datasets: tuple[DatasetSpec, ...]
    retrievers: tuple[RetrieverConfig, ...]
    measures: tuple[Measure, ...]
    baseline: str | None
    k: int
    source: Mapping[str, Any]
    marked: Marked

    def retriever(self, name: str) -> RetrieverConfig:
        return next(r for r in self.retrievers if r.name == name)

    def add_errors(
        self, report: Report, entry: RetrieverConfig, key: str, dataset: str, error: InputError
    ) -> None:
        """What is wrong with a retriever's parameter (`key`, or '' for no single one) on a dataset, at its line; each
        problem once. One with a line of its own, in a file of the dataset, keeps it."""
        path = _parameter(self.marked, entry, key) if key else ("retrievers", entry.origin)
        where, line = self.marked.where(path)
        for problem in error.report.problems:
            if problem.line is None:
                place = problem.where or ("" if dataset in problem.message else dataset)
                said = ": ".join(p for p in (key or entry.name, place, problem.message) if p)
                problem = replace(problem, message=said, where=where, line=line)
            if problem not in report.problems:  # variants of one entry share its line
                report.error(
                    problem.code,
                    problem.message,
                    where=problem.where,
                    line=problem.line,
                    remedy=problem.remedy,
                )


def load(path: Path, overrides: Sequence[str] = (), *, shown: str | None = None) -> RunConfig:
    """Reads and checks a config. Raises InputError with every mistake found."""
    marked = _with_includes(path, shown or str(path), ())
    report = Report(shown=50)
    if marked.value is None:
        marked.value = {}
    if not isinstance(marked.value, dict):
        raise InputError(
            "a config is a mapping", where=shown or str(path), line=1, remedy="see `seekbench ls configs`"
        )
    if isinstance(marked.value.get("study"), str):
        raise InputError(
            "this is the file of a study, not a run config",
            where=shown or str(path),
            line=marked.where(("study",))[1],
            remedy=f"seekbench study {marked.value['study']} {str(shown or path).removesuffix(' (shipped)')}",
        )
    for override in overrides:
        try:
            _override(marked, override)
        except InputError as error:
            report.extend(error.report)
    return _check(marked, path, shown or str(path), report)


def _with_includes(path: Path, shown: str, seen: tuple[Path, ...]) -> Marked:
    if path.resolve() in seen:
        raise InputError("it includes itself", where=shown)
    marked = yamlfile.load(path, shown)
    if not isinstance(marked.value, dict) or not marked.value.get("include"):
        return marked
    names = marked.value.pop("include")
    names = [names] if isinstance(names, str) else names
    merged = Marked({}, {})
    for name in names:
        if not isinstance(name, str):
            raise InputError("`include` takes file names", where=shown, line=marked.where(("include",))[1])
        other = path.parent / name
        if not other.exists():
            raise InputError(
                f"included file '{name}' is not there",
                where=shown,
                line=marked.where(("include",))[1],
                remedy="paths are relative to the file that names them",
            )
        _merge(merged, _with_includes(other, str(other), (*seen, path.resolve())))
    _merge(merged, marked)
    merged.marks[()] = marked.marks[()]
    return merged


def _merge(base: Marked, top: Marked) -> None:
    """Mappings are merged, everything else (lists too) is replaced."""

    def into(a: dict[str, Any], b: dict[str, Any], path: Path_) -> None:
        for key, value in b.items():
            here = (*path, key)
            if isinstance(value, dict) and isinstance(a.get(key), dict):
                into(a[key], value, here)
                continue
            for old in [p for p in base.marks if p[: len(here)] == here]:
                del base.marks[old]
            base.marks.update({p: m for p, m in top.marks.items() if p[: len(here)] == here})
            a[key] = value

    into(base.value, top.value or {}, ())
    for path, mark in top.marks.items():
        base.marks.setdefault(path, mark)


def _override(marked: Marked, text: str) -> None:
    """Applies one `--set a.b.0=value`; the value is YAML."""
    key, sep, raw = text.partition("=")
    where = f"--set {text}"
    if not sep or not key.strip():
        raise InputError("give it as key=value", where=where, remedy="e.g. --set retrievers.bm25.k1=1.2")
    try:
        value = yamlfile.parse_value(raw)
    except InputError as error:
        raise InputError(str(error), where=where) from None
    steps = _steps(marked.value, key.strip())
    node = marked.value
    path: Path_ = ()
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        if isinstance(node, list):
            if not isinstance(step, str) or not step.isdigit() or int(step) >= len(node):
                raise InputError(
                    f"'{'.'.join(steps[:i])}' is a list of {len(node)}: '{step}' is no place in it",
                    where=where,
                )
            at: str | int = int(step)
        elif isinstance(node, dict):
            at = step
            if not last and at not in node:
                if i > 0 and steps[0] in ("retrievers",) and i == 1:
                    raise InputError(
                        f"there is no retriever '{step}'", where=where, remedy=did_you_mean(step, node)
                    )
                node[at] = {}
        else:
            raise InputError(f"'{'.'.join(steps[:i])}' is a single value and has no '{step}'", where=where)
        path = (*path, at)
        if last:
            node[at] = value
            for old in [p for p in marked.marks if p[: len(path)] == path]:
                del marked.marks[old]
            marked.marks[path] = (where, None)
        else:
            node = node[at]


def _steps(value: Any, dotted: str) -> list[str]:
    """Splits a dotted path; a retriever's name may itself hold dots, so the longest key that exists wins."""
    parts, out, node = dotted.split("."), [], value
    while parts:
        for n in range(len(parts), 0, -1):
            key = ".".join(parts[:n])
            if isinstance(node, dict) and key in node:
                out.append(key)
                node, parts = node[key], parts[n:]
                break
        else:
            out.append(parts[0])
            node = (
                node[int(parts[0])]
                if isinstance(node, list) and parts[0].isdigit() and int(parts[0]) < len(node)
                else None
            )
            parts = parts[1:]
    return out


def _check(marked: Marked, path: Path, shown: str, report: Report) -> RunConfig:
    from seekbench.metrics.measure import parse

    raw = copy.deepcopy(marked.value)
    try:
        model = ConfigModel.model_validate(raw)
    except ValidationError as error:
        add_validation_errors(report, error, marked, (), ConfigModel)
        # What is well-formed is still checked below, so that all mistakes come out at once.
        model = _salvage(raw)
    name = model.name or path.stem
    if not _NAME.match(name):
        _at(
            report,
            marked,
            ("name",),
            "name",
            f"'{name}' can't name a folder",
            "use letters, digits, . _ + = , -",
        )

    measures: list[Measure] = []
    for i, text in enumerate(model.metrics):
        try:
            measure = parse(str(text))
            if measure.k is not None and measure.k > model.k:
                _at(
                    report,
                    marked,
                    ("metrics", i),
                    "metric-depth",
                    f"{measure} looks deeper than k={model.k} hits",
                    "raise k or lower the cutoff",
                )
            if "subtopics" in measure.definition.needs:
                _at(
                    report,
                    marked,
                    ("metrics", i),
                    "metric-needs",
                    f"{measure} needs judgments by subtopic, which datasets don't have",
                    "`seekbench eval` scores it from TREC diversity qrels",
                )
            if measure not in measures:
                measures.append(measure)
        except InputError as error:
            _at(
                report,
                marked,
                ("metrics", i),
                "metric",
                error.report.problems[0].message,
                error.report.problems[0].remedy,
            )

    datasets = _datasets(model, marked, path, report)
    retrievers = _retrievers(model, marked, path, report)
    known = list(_swept(model, marked, Report()))
    if model.baseline is not None and model.baseline not in known:
        _at(
            report,
            marked,
            ("baseline",),
            "baseline",
            f"the baseline '{model.baseline}' is no retriever of this config",
            did_you_mean(model.baseline, known),
        )
    for entry in retrievers:
        learnt = getattr(entry.retriever, "trains_on", None)
        evaluated = [d.id for d in datasets if d.split == learnt]
        if evaluated:
            _at(
                report,
                marked,
                _parameter(marked, entry, "train"),
                "training-split",
                f"train: '{learnt}' is the split that {', '.join(evaluated)} is evaluated on",
                "train on another split, or on documents alone (train: null)",
            )
        check = getattr(entry.retriever, "check_files", None)
        for message in check([(d.id, d.split) for d in datasets]) if check else []:
            _at(
                report,
                marked,
                _parameter(marked, entry, "path"),
                "run-file",
                message,
                "paths are relative to the config",
            )
    report.raise_if_errors()
    return RunConfig(
        name, path, tuple(datasets), tuple(retrievers), tuple(measures), model.baseline, model.k, raw, marked
    )


def _salvage(raw: dict[str, Any]) -> ConfigModel:
    datasets = raw.get("datasets")
    retrievers = raw.get("retrievers")
    metrics = raw.get("metrics", list(DEFAULT_METRICS))
    k = raw.get("k", 1000)
    baseline = raw.get("baseline")
    sweep = raw.get("sweep")
    return ConfigModel.model_construct(
        name=raw["name"] if isinstance(raw.get("name"), str) else None,
        datasets=[d for d in datasets if isinstance(d, str | dict)] if isinstance(datasets, list) else [],
        retrievers={n: r for n, r in retrievers.items() if isinstance(r, dict)}
        if isinstance(retrievers, dict)
        else {},
        metrics=[m for m in metrics if isinstance(m, str)] if isinstance(metrics, list) else [],
        baseline=baseline if isinstance(baseline, str) else None,
        k=k if isinstance(k, int) and not isinstance(k, bool) and k > 0 else 10**9,
        sweep=sweep if isinstance(sweep, dict) and all(isinstance(v, list) for v in sweep.values()) else None,
    )


def _datasets(model: ConfigModel, marked: Marked, path: Path, report: Report) -> list[DatasetSpec]:
    from seekbench.datasets import catalogue

    specs: list[DatasetSpec] = []
    seen: dict[tuple[str, str], int] = {}
    for i, entry in enumerate(model.datasets):
        base = _base(marked, ("datasets", i), path)
        try:
            found = catalogue.parse(entry, base=base)
        except InputError as error:
            for problem in error.report.problems:
                key = problem.where
                at: Path_ = ("datasets", i, *([key] if key else []))
                said = problem.message if not key or key in problem.message else f"{key}: {problem.message}"
                _at(report, marked, at, problem.code, said, problem.remedy)
            continue
        for spec in found:
            # Where results go: two names must not share a folder, not even where case does not count.
            folder = (spec.id.replace("/", "__").casefold(), spec.split.casefold())
            if folder in seen:
                _at(
                    report,
                    marked,
                    ("datasets", i),
                    "dataset-repeated",
                    f"'{spec.id}' split '{spec.split}' is there already",
                    "give one of them another `id`",
                )
                continue
            seen[folder] = i
            specs.append(spec)
    return specs


def _retrievers(model: ConfigModel, marked: Marked, path: Path, report: Report) -> list[RetrieverConfig]:
    from seekbench.retrievers import registry

    entries = _swept(model, marked, report)
    built: dict[str, RetrieverConfig] = {}
    variants: dict[str, list[str]] = {}
    for name, (origin, fields) in entries.items():
        variants.setdefault(origin, []).append(name)
        at: Path_ = ("retrievers", origin)
        if not _NAME.match(name):
            _at(
                report,
                marked,
                at,
                "retriever-name",
                f"'{name}' can't name a retriever",
                "use letters, digits, . _ + = , -",
            )
            continue
        kind = fields.get("type")
        if not isinstance(kind, str):
            _at(
                report,
                marked,
                at,
                "retriever-type",
                f"retriever '{name}' has no type",
                "known: " + ", ".join(registry.known()),
            )
            continue
        params = {key: value for key, value in fields.items() if key != "type"}
        try:
            cls = registry.resolve(kind)
        except InputError as error:
            problem = error.report.problems[0]
            _at(report, marked, (*at, "type"), "retriever-type", problem.message, problem.remedy)
            continue
        except ImportError as error:
            _at(
                report,
                marked,
                (*at, "type"),
                "retriever-type",
                f"the type '{kind}' can't be imported: {error}",
                "",
            )
            continue
        try:
            others = {other: given for other, (_, given) in entries.items() if other != name}
            validated = cls.Params.model_validate(
                params, context={"base": _base(marked, at, path), "retrievers": others}
            )
            built[name] = RetrieverConfig(name, kind, params, cls(validated), origin)
        except ValidationError as error:
            add_validation_errors(report, error, marked, at, cls.Params, f"type '{kind}'", params)
        except InputError as error:
            for problem in error.report.problems:
                _at(report, marked, at, problem.code, problem.message, problem.remedy)
    return _in_order(built, entries, variants, marked, report)


def _swept(model: ConfigModel, marked: Marked, report: Report) -> dict[str, tuple[str, dict[str, Any]]]:
    """name -> (the name it came from, fields), with every sweep expanded: `bm25` with k1 in [.9, 1.2] gives
    `bm25-k1=0.9` and `bm25-k1=1.2`."""
    axes: dict[str, dict[str, list[Any]]] = {}
    for dotted, values in (model.sweep or {}).items():
        prefix, _, rest = dotted.partition(".")
        owner = max((n for n in model.retrievers if rest.startswith(n + ".")), key=len, default=None)
        if prefix != "retrievers" or owner is None:
            _at(
                report,
                marked,
                ("sweep", dotted),
                "sweep",
                f"'{dotted}' names no parameter of a retriever",
                did_you_mean(dotted, [f"retrievers.{n}." for n in model.retrievers])
                or "e.g. retrievers.bm25.k1: [0.9, 1.2]",
            )
            continue
        axes.setdefault(owner, {})[rest[len(owner) + 1 :]] = values
    out: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, fields in model.retrievers.items():
        fields = dict(fields)
        own = fields.pop("sweep", None)
        grid = dict(axes.get(name, {}))
        if own is not None:
            if not isinstance(own, dict) or not all(isinstance(v, list) for v in own.values()):
                _at(
                    report,
                    marked,
                    ("retrievers", name, "sweep"),
                    "sweep",
                    "a sweep maps parameters to lists of values",
                    "e.g. sweep: {k1: [0.9, 1.2]}",
                )
                continue
            grid |= own
        empty = [key for key, values in grid.items() if not values]
        if empty:
            _at(
                report,
                marked,
                ("retrievers", name),
                "sweep",
                f"the sweep over '{empty[0]}' has no values",
                "",
            )
            continue
        if not grid:
            if name in out:
                _at(
                    report,
                    marked,
                    ("retrievers", name),
                    "sweep",
                    f"a sweep makes a '{name}' too",
                    "rename this one",
                )
            out[name] = (name, fields)
            continue
        combinations = list(itertools.product(*grid.values()))
        if len(combinations) > _MOST_VARIANTS:
            _at(
                report,
                marked,
                ("retrievers", name),
                "sweep",
                f"the sweep makes {len(combinations)} variants of '{name}'",
                f"at most {_MOST_VARIANTS}",
            )
            continue
        for combination in combinations:
            chosen = dict(zip(grid, combination, strict=True))
            label = "-".join(f"{key}={_label(value)}" for key, value in chosen.items())
            variant = copy.deepcopy(fields)
            for key, value in chosen.items():
                target = variant
                *parents, leaf = key.split(".")
                for parent in parents:
                    target = target.setdefault(parent, {})
                target[leaf] = value
            if f"{name}-{label}" in out:
                _at(
                    report,
                    marked,
                    ("retrievers", name),
                    "sweep",
                    f"the sweep over '{name}' repeats {label}",
                    "",
                )
            out[f"{name}-{label}"] = (name, variant)
    return out


def _base(marked: Marked, at: Path_, path: Path) -> Path:
    """The folder that relative paths start from: that of the file which says them (perhaps an included one), or
    the working folder for `--set`."""
    file, _ = marked.where(at)
    if file.startswith("--set"):
        return Path.cwd()
    return path.parent if file == marked.marks[()][0] else Path(file).parent


def _parameter(marked: Marked, entry: RetrieverConfig, key: str) -> Path_:
    """Where the file gives a parameter of a retriever: in a sweep, or in its entry."""
    own = ("retrievers", entry.origin)
    swept = ((*own, "sweep", key), ("sweep", f"retrievers.{entry.origin}.{key}"))
    return next((path for path in swept if path in marked.marks), (*own, key))


def _label(value: Any) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", str(value)) or "_"


def _in_order(
    built: dict[str, RetrieverConfig],
    entries: Mapping[str, tuple[str, Any]],
    variants: Mapping[str, list[str]],
    marked: Marked,
    report: Report,
) -> list[RetrieverConfig]:
    """Composites after what they need; unknown names and circles are errors."""
    for name, (origin, fields) in entries.items():
        # Also of those whose parameters are wrong, so that a second mistake does not wait for the first.
        of = fields.get("of")
        needs = built[name].retriever.needs if name in built else of if isinstance(of, list) else ()
        for needed in needs:
            if needed in entries or not isinstance(needed, str):
                continue
            if needed in variants:
                message = f"'{needed}' is swept, so '{name}' must name its variants"
                remedy = "one or more of " + ", ".join(variants[needed][:6])
            else:
                message = f"'{name}' needs '{needed}', which is no retriever of this config"
                remedy = did_you_mean(needed, [n for n in entries if n != name])
            _at(report, marked, ("retrievers", origin, "of"), "retriever-reference", message, remedy)
    out: list[RetrieverConfig] = []
    done: set[str] = set()
    waiting = dict(built)
    while waiting:
        ready = [n for n, c in waiting.items() if all(x in done or x not in built for x in c.retriever.needs)]
        if not ready:
            circle = ", ".join(waiting)
            first = next(iter(waiting))
            _at(
                report,
                marked,
                ("retrievers", entries[first][0]),
                "retriever-circle",
                f"these need each other: {circle}",
                "",
            )
            break
        for name in ready:
            out.append(waiting.pop(name))
            done.add(name)
    return out


def _at(report: Report, marked: Marked, path: Path_, code: str, message: str, remedy: str) -> None:
    where, line = marked.where(path)
    report.error(code, message, where=where, line=line, remedy=remedy)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config, with each retriever type's parameters, for editors."""
    from seekbench.datasets import catalogue
    from seekbench.retrievers import registry

    schema = ConfigModel.model_json_schema()
    choices = []
    for kind in registry.known():
        params = registry.resolve(kind).Params.model_json_schema()
        params["properties"] = {
            "type": {"const": kind},
            "sweep": {"type": "object", "additionalProperties": {"type": "array"}},
            **params.get("properties", {}),
        }
        params["required"] = ["type", *params.get("required", [])]
        definitions = params.pop("$defs", {})
        schema.setdefault("$defs", {}).update(definitions)
        choices.append(params)
    schema["properties"]["retrievers"]["additionalProperties"] = {"oneOf": choices}
    schema["properties"]["datasets"]["items"] = catalogue.json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "seekbench run config"
    return schema


def check_resolvable(config: RunConfig, context: Any) -> Report:
    """What can be known of models and files without a network: errors for what can't be used, warnings for what
    would have to be fetched."""
    from seekbench.errors import MissingError

    report = Report(shown=50)
    for entry in config.retrievers:
        if hasattr(entry.retriever, "for_dataset"):
            continue  # its files were checked one by one
        where, line = config.marked.where(("retrievers", entry.origin))
        try:
            entry.retriever.identity(context=context)
        except InputError as error:
            for problem in error.report.problems:
                place = f"{problem.where}: " if problem.where else ""
                report.error(
                    problem.code,
                    f"{entry.name}: {place}{problem.message}",
                    where=where,
                    line=line,
                    remedy=problem.remedy,
                )
        except MissingError as error:
            report.warning("missing", f"{entry.name}: {error}", where=where, line=line)
    return report
