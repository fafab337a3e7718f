"""The study `scaling`: corpus size x docid type x input type, as one table.

The grid is that of Pradeep et al. 2023, "How Does Generative Retrieval Scale to Millions of Passages?"
(https://arxiv.org/abs/2305.11841): how well each kind of docid and of training input does as the corpus grows, and
what it costs in parameters (total, without embeddings, those of the docid table), training tokens and time.

`load` checks a study file as a run config is checked; `execute` cuts each dataset into nested subsets (`subsets`),
runs every cell by `runner.execute`, so that caching, resuming and failures are those of `seekbench run`, and gives a
`Result` for `grids`, `wide_grid`, `as_json`, `plot` and `write`.
"""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seekbench import config as configs
from seekbench import tables
from seekbench.config import RunConfig
from seekbench.errors import InputError, Report
from seekbench.studies.common import (
    METRICS,
    chosen_metrics,
    copy_marks,
    figures,
    number,
    picture,
    refuse_limits,
    refuse_other,
    report_at,
    said_once,
    set_values,
)
from seekbench.tables import Grid, Text, best_shown
from seekbench.validation import add_validation_errors
from seekbench.yamlfile import Marked, Path_

if TYPE_CHECKING:
    from seekbench.datasets.resolve import DatasetSpec
    from seekbench.plan import CellPlan
    from seekbench.retrievers.protocol import Context
    from seekbench.runner import Outcome
    from seekbench.store import Store
    from seekbench.studies.subsets import Nested, Subset

SCHEMA_VERSION = 1
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._=,-]*$")
_UNNAMEABLE = "use letters, digits, . _ = , -"


class ScalingModel(BaseModel):
    """The study file. Parameters of the retriever, datasets and metrics have schemas of their own."""

    model_config = ConfigDict(extra="forbid")

    study: Literal["scaling"]
    name: str | None = Field(None, description="Names the results' folder; the file's name by default.")
    description: str | None = Field(None, description="One line about the study.")
    include: str | list[str] | None = Field(None, description="Files that are merged in first.")
    datasets: list[str | dict[str, Any]] = Field(min_length=1, description="As in a run config.")
    sizes: list[Any] = Field(min_length=1, description="Numbers of documents; `all` takes every one.")
    docids: dict[str, dict[str, Any]] = Field(min_length=1, description="Name -> `docids:` of the retriever.")
    inputs: dict[str, list[Any]] = Field(min_length=1, description="Name -> `inputs:` of the retriever.")
    retriever: dict[str, Any] = Field(description="Type and parameters that all cells share.")
    baselines: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Retrievers that are run at every size, as in a run config."
    )
    metrics: list[str] = Field(list(METRICS), min_length=1, description="The first one is plotted first.")
    k: int = Field(100, ge=1, description="Hits a query.")
    seed: int = Field(
        0, ge=0, lt=2**63, description="Of the documents' order (the retriever has its own seed)."
    )


@dataclass(frozen=True)
class Study:
    """config: the cells and baselines on the whole datasets. sizes: ascending, `None` (all documents) last. cells:
    retriever's name -> (docids, inputs); the other retrievers are baselines."""

    config: RunConfig
    sizes: tuple[int | None, ...]
    cells: Mapping[str, tuple[str, str]]
    seed: int
    marked: Marked = field(repr=False)

    @property
    def name(self) -> str:
        return self.config.name


# -- the file -------------------------------------------------------------------------------------------------


def load(path: Path, overrides: Sequence[str] = (), *, shown: str | None = None) -> Study:
    """Reads and checks a study file, with its includes and `--set`. Raises InputError with every mistake found."""
    where = shown or str(path)
    marked = configs._with_includes(path, where, ())
    if not isinstance(marked.value, dict):
        raise InputError("a study is a mapping", where=where, line=1, remedy="it begins with study: scaling")
    refuse_other(marked, "scaling", where)
    report = Report(shown=100_000)  # a mistake of what cells share is found once a cell, and said once
    set_values(marked, overrides, report)
    raw = marked.value
    model: ScalingModel | None = None
    try:
        model = ScalingModel.model_validate(raw)
    except ValidationError as error:
        add_validation_errors(report, error, marked, (), ScalingModel, what="a scaling study")
    sizes = _sizes(raw.get("sizes"), marked, report)
    said = "a study of sizes takes datasets whole"
    refuse_limits(raw.get("datasets"), marked, report, said=said, remedy="`sizes` cuts them")
    run, cells = _run_config(raw, marked, report)
    try:
        checked = configs._check(run, path, where, report)
    except InputError as error:
        raise InputError(report=said_once(error.report)) from None
    assert model is not None  # or there would be an error
    return Study(checked, sizes, cells, model.seed, marked)


def check_resolvable(study: Study, context: Context) -> Report:
    """`config.check_resolvable`; what all cells share is said once, without a cell's name."""
    found = configs.check_resolvable(study.config, context)
    for i, problem in enumerate(found.problems):
        name, _, rest = problem.message.partition(": ")
        if name in study.cells:
            found.problems[i] = replace(problem, message=rest)
    return said_once(found)


def _sizes(raw: Any, marked: Marked, report: Report) -> tuple[int | None, ...]:
    found: list[int | None] = []
    for i, size in enumerate(raw if isinstance(raw, list) else []):
        value = None if size == "all" else size
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            said = f"sizes: a size is a number of documents or `all`, not {size!r}"
            report_at(report, marked, ("sizes", i), "study-size", said)
        elif value in found:
            report_at(
                report, marked, ("sizes", i), "study-size", f"sizes: {size} is there already", "keep one"
            )
        else:
            found.append(value)
    return tuple(sorted(found, key=lambda n: math.inf if n is None else n))


def _run_config(
    raw: Mapping[str, Any], marked: Marked, report: Report
) -> tuple[Marked, dict[str, tuple[str, str]]]:
    """The study as a run config over whole datasets, every part marked with the study's line; and its cells.

    What is malformed is left out, so that the rest can be checked too.
    """
    value: dict[str, Any] = {n: raw[n] for n in ("name", "datasets") if n in raw}
    out = Marked(value, {(): marked.marks[()]})
    value |= {"metrics": raw.get("metrics", list(METRICS)), "k": raw.get("k", 100), "retrievers": {}}
    for key in ("name", "datasets", "metrics", "k"):
        copy_marks(marked, (key,), out, (key,))
    if "metrics" not in raw:  # where the default ones are too deep, it is k that is wrong
        out.marks["metrics",] = marked.where(("k",))
    shared, named = raw.get("retriever"), {}
    for key in ("docids", "inputs", "baselines"):
        given = raw.get(key)
        wanted = list if key == "inputs" else dict
        named[key] = {
            n: v for n, v in (given if isinstance(given, dict) else {}).items() if isinstance(v, wanted)
        }
        if key != "baselines":  # those become retrievers' names as they are, which a run config checks
            for name in [n for n in named[key] if not _NAME.match(n)]:
                report_at(
                    report, marked, (key, name), "study-name", f"'{name}' can't name {key}", _UNNAMEABLE
                )
                del named[key][name]
    cells: dict[str, tuple[str, str]] = {}
    if isinstance(shared, dict) and _shared_is_good(shared, marked, report):
        kept = {n: v for n, v in shared.items() if n not in ("docids", "inputs", "sweep")}
        for docids, builder in named["docids"].items():
            for inputs, kinds in named["inputs"].items():
                name = f"{docids}+{inputs}"
                cells[name] = (docids, inputs)
                value["retrievers"][name] = {**copy.deepcopy(kept), "docids": builder, "inputs": kinds}
                at: Path_ = ("retrievers", name)
                copy_marks(marked, ("retriever",), out, at)
                copy_marks(marked, ("docids", docids), out, (*at, "docids"))
                copy_marks(marked, ("inputs", inputs), out, (*at, "inputs"))
    for name, fields in named["baselines"].items():
        if name in cells:
            said = f"the cell of docids and inputs '{name}' has this name too"
            report_at(report, marked, ("baselines", name), "study-name", said, "rename the baseline")
            continue
        value["retrievers"][name] = fields
        copy_marks(marked, ("baselines", name), out, ("retrievers", name))
    if not value["retrievers"]:  # reported above; datasets and metrics are still to be checked
        value["retrievers"] = {"none": {"type": "bm25"}}
    return out, cells


def _shared_is_good(shared: Mapping[str, Any], marked: Marked, report: Report) -> bool:
    for key in ("docids", "inputs"):
        if key in shared:
            said = f"retriever: '{key}' differs by cell"
            report_at(
                report, marked, ("retriever", key), "study-retriever", said, f"it stands under '{key}:'"
            )
    if "sweep" in shared:
        said = "retriever: a study has no sweep"
        report_at(report, marked, ("retriever", "sweep"), "study-retriever", said, "`seekbench run` sweeps")
    if not isinstance(shared.get("type"), str):
        report_at(
            report, marked, ("retriever",), "study-retriever", "the retriever has no type", "type: generative"
        )
        return False
    return True


# -- subsets --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A whole dataset and its subsets by number of documents, ascending."""

    spec: DatasetSpec
    nested: Nested
    subsets: Mapping[int, Subset]

    @property
    def common(self) -> list[str]:
        """Ids of the queries of all sizes: those of the smallest, since subsets are nested."""
        return self.nested.query_ids(self.subsets[min(self.subsets)])

    def folder(self, output: Path, size: int) -> Path:
        from seekbench.studies.subsets import subset_folder

        return subset_folder(output, self.spec.id, self.spec.split, size)


def cut(study: Study, spec: DatasetSpec, report: Report, store: Store, context: Context) -> Cut:
    """Loads a dataset and finds its subsets; sizes that can't be had go to the report, with the study's line."""
    from seekbench.runner import load_dataset
    from seekbench.studies.subsets import Nested

    nested = Nested.of(load_dataset(spec, store=store, context=context), store, study.seed)
    found: dict[int, Subset] = {}
    written = study.marked.value["sizes"]
    for size in study.sizes:
        try:
            subset = nested.of_size(len(nested) if size is None else size)
        except InputError as error:
            place = written.index("all" if size is None else size)
            for problem in error.report.problems:
                report_at(
                    report, study.marked, ("sizes", place), "study-size", problem.message, problem.remedy
                )
            continue
        found[len(subset.documents)] = subset  # `all` may be one of the numbers
    return Cut(spec, nested, found)


def cuts(study: Study, store: Store, context: Context) -> list[Cut]:
    """All datasets, loaded and cut; local ones first, so that their defects are said before any work. Raises
    InputError with every size that is too large, or leaves no query."""
    from seekbench.progress import NoProgress
    from seekbench.runner import check_local_data

    check_local_data(study.config, store, context)
    report, out = Report(shown=50), []
    for spec in study.config.datasets:
        # What there is to say of a local collection was said by the check above.
        own = replace(context, progress=NoProgress()) if spec.is_local else context
        out.append(cut(study, spec, report, store, own))
    report.raise_if_errors()
    return out


# -- running --------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A cell of the table. docids, inputs: None for a baseline. scores: metric -> figures over `all` queries of this
    size, over the `common` queries of all sizes, and where a system learnt from another split, over both without the
    queries that are close to what was learnt (`all_apart`, `common_apart`); None where there is no figure."""

    dataset: str
    split: str
    documents: int
    system: str
    docids: str | None
    inputs: str | None
    queries: dict[str, int]
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    failure: str | None = None
    parameters: int | None = None
    parameters_non_embedding: int | None = None
    parameters_docid_table: int | None = None
    docid_tokens: float | None = None
    examples: int | None = None
    training_tokens: int | None = None
    training_seconds: float | None = None
    index_seconds: float | None = None
    queries_per_second: float | None = None
    invalid_rate: float | None = None


@dataclass
class Result:
    """rows: by dataset, size, and the order of the study. notes: of the datasets, said below their tables."""

    name: str
    metrics: tuple[str, ...]
    seed: int
    rows: list[Row]
    notes: dict[tuple[str, str], list[str]]
    outcome: Outcome

    @property
    def datasets(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((r.dataset, r.split) for r in self.rows))


def execute(
    study: Study,
    *,
    output: Path,
    store: Store,
    context: Context,
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> Result:
    """Cuts, runs and gathers. Raises InputError before any cell runs for defective data and impossible sizes,
    MissingError where a dataset can't be fetched; a failing cell is a row that says so."""
    from seekbench import runner
    from seekbench.studies import subsets

    found = cuts(study, store, context)
    for one in found:
        for line in subsets.describe(one.nested, one.subsets):
            context.progress.note(line)
        for size, subset in one.subsets.items():
            name = f"write {subsets.subset_id(one.spec.id, size)}"
            if one.nested.is_written(subset, one.folder(output, size)):
                continue
            with context.progress.stage(name, total=size, unit="docs") as stage:
                one.nested.write(subset, one.folder(output, size), advance=stage.advance)
    specs = [
        one.nested.spec(one.spec, s, one.folder(output, n)) for one in found for n, s in one.subsets.items()
    ]
    config = replace(study.config, datasets=tuple(specs))
    outcome = runner.execute(config, output=output, store=store, context=context, on_error=on_error)
    return _gather(study, found, outcome, output)


def plan(study: Study, *, output: Path, store: Store, context: Context) -> tuple[list[str], list[CellPlan]]:
    """(lines about the subsets, plan of every cell), without writing a subset or reading a dataset that the store
    lacks. Raises InputError for sizes that are known to be impossible."""
    from seekbench.collection import Dataset
    from seekbench.datasets.load import stored
    from seekbench.plan import plan_cells
    from seekbench.runner import load_dataset, training_of
    from seekbench.studies import subsets

    lines: list[str] = []
    specs: list[DatasetSpec] = []
    datasets: dict[int, Dataset | str] = {}
    report = Report(shown=50)

    def add(spec: DatasetSpec, there: bool, why: str) -> None:
        if there:
            there, why = stored(spec, store=store, offline=context.offline)
        datasets[len(specs)] = load_dataset(spec, store=store, context=context) if there else why
        specs.append(spec)

    for spec in study.config.datasets:
        there, why = stored(spec, store=store, offline=context.offline)
        if not there:
            lines.append(f"{spec.id} ({spec.split}): not read yet, so its sizes' queries are not known")
            for size in study.sizes:
                add(replace(spec, id=subsets.subset_id(spec.id, size or "all")), False, why)
            continue
        one = cut(study, spec, report, store, context)
        lines += subsets.describe(one.nested, one.subsets)
        for size, subset in one.subsets.items():
            folder = one.folder(output, size)
            is_written = one.nested.is_written(subset, folder)
            named = one.nested.spec(spec, subset, folder)
            add(named, is_written, "the subset is not written yet")
    report.raise_if_errors()
    config = replace(study.config, datasets=tuple(specs))
    return lines, plan_cells(
        config, datasets, store, context, lambda i, dataset: training_of(specs[i], dataset, store, context)
    )


def _gather(study: Study, found: Sequence[Cut], outcome: Outcome, output: Path) -> Result:
    """The rows. A cell has a record or a failure."""
    from seekbench.leaderboard import records
    from seekbench.studies.subsets import subset_id

    made = {(r["dataset"]["id"], r["dataset"]["split"], r["retriever"]["name"]): r for r in outcome.records}
    failed = {(f.dataset, f.split, f.retriever): f.cause for f in outcome.failures}
    rows: list[Row] = []
    notes: dict[tuple[str, str], list[str]] = {}
    for one in found:
        split, sizes = one.spec.split, list(one.subsets)
        names = {n: subset_id(one.spec.id, n) for n in sizes}
        of_size = {
            n: [made[k] for e in study.config.retrievers if (k := (names[n], split, e.name)) in made]
            for n in sizes
        }
        near = {
            n: {q for r in of_size[n] if r["training"] for q in r["training"]["with_neighbour"]}
            for n in sizes
        }
        learnt = {r["retriever"]["name"] for found_ in of_size.values() for r in found_ if r["training"]}
        common = set(one.common)
        asked = {n: set(one.nested.query_ids(s)) for n, s in one.subsets.items()}
        everywhere = common - set().union(*near.values())
        for n in sizes:
            parts = {"all": asked[n], "common": common}
            if learnt:
                parts |= {"all_apart": asked[n] - near[n], "common_apart": everywhere}
            for entry in study.config.retrievers:
                docids, inputs = study.cells.get(entry.name, (None, None))
                counts = {name: len(ids) for name, ids in parts.items()}
                row = Row(one.spec.id, split, n, entry.name, docids, inputs, counts)
                key = (names[n], split, entry.name)
                row.failure = failed.get(key)
                if key in made:
                    folder = records.cell_folder(output, names[n], split, entry.name)
                    row.scores = figures(study.config.measures, made[key], folder, parts)
                    _fill_costs(row, made[key])
                rows.append(row)
        notes[one.spec.id, split] = _notes(study, one, learnt)
    return Result(study.name, tuple(m.name for m in study.config.measures), study.seed, rows, notes, outcome)


def _fill_costs(row: Row, record: Mapping[str, Any]) -> None:
    """What a record says of parameters, docids, training and time; a retriever without docids has its times only."""
    index, made = record["index"], record["efficiency"]
    row.index_seconds, row.queries_per_second = made["index_seconds"], made["queries_per_second"]
    row.invalid_rate = record["retriever"]["details"].get("invalid_rate")
    if "parameters" in index:
        row.parameters = index["parameters"]["total"]
        row.parameters_non_embedding = index["parameters"]["non_embedding"]
        row.parameters_docid_table = index["parameters"]["docid_table"]
    if "docids" in index:
        row.docid_tokens = index["docids"]["lengths"]["mean"]
    if "examples" in index:
        row.examples = sum(kind["texts"] - kind["held_out"] for kind in index["examples"]["kinds"])
    if "training" in index:
        row.training_tokens = index["training"]["tokens_seen"]
        row.training_seconds = index["training"]["seconds"]


def _notes(study: Study, one: Cut, learnt: Iterable[str]) -> list[str]:
    from seekbench.studies.subsets import describe

    smallest = min(one.subsets)
    out = [line.partition(": ")[2] for line in describe(one.nested, one.subsets)]
    if all(len(s.queries) == len(one.common) for s in one.subsets.values()):
        out.append("every size has the same queries, so figures of one system differ by the documents alone")
    else:
        out.append(
            f"common: the {len(one.common):,} queries of {smallest:,} documents, which every size has; the other "
            "figures of one system differ by the queries too"
        )
    out.append(
        f"subsets are nested: of one random order of the documents (seed {study.seed}), relevant ones before others"
    )
    if learnt:
        out.append(
            "†: without the queries that are close to a training query with the same answer, which taught "
            + ", ".join(sorted(learnt))
        )
    return out


# -- tables ---------------------------------------------------------------------------------------------------

_PARTS = {"all": "", "common": " common", "all_apart": "†", "common_apart": " common†"}
_COSTS = (
    ("parameters", "parameters", 0),
    ("parameters_non_embedding", "non-embedding", 0),
    ("parameters_docid_table", "docid table", 0),
    ("docid_tokens", "tokens/docid", 2),
    ("examples", "examples", 0),
    ("training_tokens", "training tokens", 0),
    ("training_seconds", "training s", 1),
    ("index_seconds", "index s", 1),
    ("queries_per_second", "queries/s", 1),
    ("invalid_rate", "invalid rate", 4),
)


def grids(result: Result, metrics: Sequence[str] | None = None, *, common: bool = True) -> list[Grid]:
    """Two tables a dataset, one row a cell: figures, the best of each size marked, and costs.

    metrics: all by default. common: whether the figures over the queries that all sizes have stand beside those over
    all queries of a size, where these are not the same. Raises InputError for a metric that the study lacks.
    """
    shown = chosen_metrics(result.metrics, metrics)
    out = []
    for dataset, split in result.datasets:
        rows = [r for r in result.rows if (r.dataset, r.split) == (dataset, split)]
        columns = [(m, part) for m in shown for part in _parts_of(rows, common and _sizes_differ(rows))]
        marked = _best(rows, columns)
        lines = [
            [Text(f"{r.documents:,}"), Text(r.system), Text(f"{r.queries['all']:,}")]
            + [_score(r, m, part, (i, m, part) in marked) for m, part in columns]
            for i, r in enumerate(rows)
        ]
        headers = ["documents", "system", "queries", *(m + _PARTS[part] for m, part in columns)]
        failures = [f"{r.documents:,} documents, {r.system}: failed: {r.failure}" for r in rows if r.failure]
        title, left = f"{result.name}: {dataset} ({split})", frozenset({1})
        out.append(Grid(headers, lines, title, [*result.notes[dataset, split], *failures], left))
        costs = [c for c in _COSTS if any(getattr(r, c[0]) is not None for r in rows)]
        lines = [
            [Text(f"{r.documents:,}"), Text(r.system), *(number(getattr(r, n), d) for n, _, d in costs)]
            for r in rows
        ]
        headers = ["documents", "system", *(header for _, header, _ in costs)]
        out.append(Grid(headers, lines, f"{result.name}: {dataset} ({split}), costs", (), left))
    return out


def wide_grid(result: Result, metrics: Sequence[str] | None = None, *, common: bool = True) -> Grid:
    """One table with all there is a cell, for CSV."""
    shown = chosen_metrics(result.metrics, metrics)
    parts = _parts_of(result.rows, common)
    headers = ["dataset", "split", "documents", "system", "docids", "inputs"]
    headers += [f"queries_{part}" for part in parts]
    headers += [m if part == "all" else f"{m}_{part}" for m in shown for part in parts]
    headers += [*(name for name, _, _ in _COSTS), "failure"]
    lines = [
        [
            *map(Text, (r.dataset, r.split, str(r.documents), r.system, r.docids or "", r.inputs or "")),
            *(Text(str(r.queries.get(part, ""))) for part in parts),
            *(_score(r, m, part, False) for m in shown for part in parts),
            *(number(getattr(r, name), digits) for name, _, digits in _COSTS),
            Text(r.failure or ""),
        ]
        for r in result.rows
    ]
    return Grid(headers, lines)


def _parts_of(rows: Sequence[Row], common: bool) -> list[str]:
    there = set().union(*(r.queries for r in rows))
    return [p for p in _PARTS if p in there and (common or not p.startswith("common"))]


def _sizes_differ(rows: Sequence[Row]) -> bool:
    """Whether a size has queries that another one lacks."""
    return any(r.queries["all"] != r.queries["common"] for r in rows)


def _best(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> set[tuple[int, str, str]]:
    """(row, metric, part) of the best figures of each size, as they are shown."""
    from seekbench.metrics.measure import parse

    out = set()
    for metric, part in columns:
        lower = parse(metric).definition.lower
        for size in {r.documents for r in rows}:
            values = {
                i: r.scores.get(metric, {}).get(part) for i, r in enumerate(rows) if r.documents == size
            }
            best = best_shown(values.values(), lower)
            out |= {(i, metric, part) for i, v in values.items() if v is not None and round(v, 4) == best}
    return out


def _score(row: Row, metric: str, part: str, best: bool) -> Text:
    value = row.scores.get(metric, {}).get(part)
    if value is None:
        # CSV has an empty field, and the cause in a column of its own.
        return Text("failed" if row.failure else "–", value=float("nan"))
    return Text(f"{value:.4f}", best, value)


def as_json(result: Result, metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole table; figures of the chosen metrics."""
    shown = chosen_metrics(result.metrics, metrics)
    rows = []
    for row in result.rows:
        entry = asdict(row)
        entry["scores"] = {name: figures for name, figures in row.scores.items() if name in shown}
        rows.append(entry)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": "scaling",
        "name": result.name,
        "seed": result.seed,
        "metrics": list(shown),
        "rows": rows,
        "notes": {f"{dataset} ({split})": notes for (dataset, split), notes in result.notes.items()},
    }


# -- the picture ----------------------------------------------------------------------------------------------


def plot(result: Result, path: Path, *, metric: str) -> None:
    """A PNG: the metric against the number of documents (logarithmic), a line a system; a row of pictures a dataset,
    left over all queries of each size, right over the common ones, unless these are the same. Docids have colours,
    inputs have dashes and marks, baselines are grey. Where a system learnt from another split, without the queries
    close to that."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    datasets = result.datasets
    systems = list(dict.fromkeys(r.system for r in result.rows))
    looks = _looks(result.rows)
    views = ("all", "common") if _sizes_differ(result.rows) else ("all",)
    height = 0.8 + 3.7 * len(datasets) + 0.22 * len(systems) / 4
    figure = Figure(figsize=(5.5 * max(1.4, len(views)), height), dpi=120, layout="constrained")
    axes = figure.subplots(len(datasets), len(views), sharey="row", squeeze=False)
    for (dataset, split), line_of_axes in zip(datasets, axes, strict=True):
        rows = [r for r in result.rows if (r.dataset, r.split) == (dataset, split)]
        apart = any("all_apart" in r.queries for r in rows)
        for axis, view in zip(line_of_axes, views, strict=True):
            if view == "common" and not _sizes_differ(rows):
                axis.set_axis_off()
                continue
            part = f"{view}_apart" if apart else view
            _draw(axis, rows, systems, looks, metric, part)
            counts = sorted({r.queries[part] for r in rows})
            span = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
            which = "all queries of each size" if view == "all" else "queries of every size"
            axis.set_title(f"{dataset} ({split}): {which} ({span})" + (" †" if apart else ""), fontsize=9)
        line_of_axes[0].set_ylabel(metric)
    lines = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()}
    figure.legend(
        [lines[s] for s in systems if s in lines],
        [s for s in systems if s in lines],
        loc="outside lower center",
        ncol=min(4, max(1, len(lines))),
        frameon=False,
        fontsize=8,
    )
    figure.suptitle(result.name, fontsize=10)
    from seekbench.store import atomic_file

    with atomic_file(path) as part_file:
        figure.savefig(part_file, format="png")


def _looks(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """System -> how its line is drawn."""
    docids = list(dict.fromkeys(r.docids for r in rows if r.docids is not None))
    inputs = list(dict.fromkeys(r.inputs for r in rows if r.inputs is not None))
    others = list(dict.fromkeys(r.system for r in rows if r.docids is None))
    out: dict[str, dict[str, Any]] = {}
    for r in rows:
        if r.docids is None or r.inputs is None:
            at = others.index(r.system)
            grey = str(0.25 + 0.4 * at / max(1, len(others) - 1))
            out[r.system] = {"color": grey, "linestyle": ":", "marker": "xP*+"[at % 4], "linewidth": 1.5}
        else:
            at = inputs.index(r.inputs)
            out[r.system] = {
                "color": f"C{docids.index(r.docids) % 10}",
                "linestyle": ("-", "--", "-.", (0, (1, 1)))[at % 4],
                "marker": "osD^v"[at % 5],
            }
    return out


def _draw(
    axis: Any,
    rows: Sequence[Row],
    systems: Sequence[str],
    looks: Mapping[str, Mapping[str, Any]],
    metric: str,
    part: str,
) -> None:
    sizes = sorted({r.documents for r in rows})
    for system in systems:
        found = {r.documents: r.scores.get(metric, {}).get(part) for r in rows if r.system == system}
        values = [found.get(n) for n in sizes]
        # A cell without a figure is a gap in its line.
        heights = [math.nan if v is None else v for v in values]
        axis.plot(sizes, heights, label=system, markersize=4, **looks[system])
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes], rotation=30 if len(sizes) > 4 else 0)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("documents")
    axis.grid(alpha=0.25)
    axis.set_ylim(bottom=0)


def write(output: Path, result: Result) -> list[Path]:
    """scaling.json, scaling.md, scaling.csv with all metrics, and scaling-<metric>.png of each, below the output."""
    from seekbench.store import write_atomic

    table = orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2)
    texts = {
        "scaling.json": table,
        "scaling.md": tables.render(grids(result), "md").encode(),
        "scaling.csv": tables.as_csv(wide_grid(result)).encode(),
    }
    for name, data in texts.items():
        write_atomic(output / name, data)
    pictures = {output / picture("scaling", m): m for m in result.metrics}
    for path, metric in pictures.items():
        plot(result, path, metric=metric)
    return [*(output / name for name in texts), *pictures]
