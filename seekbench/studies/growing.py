"""The study `growing`: a retriever indexes D0, then D1 is added; what it forgets, and how it finds what is new.

Forgetting is the score of D0's queries before D1 was added minus the score after it, both over the same queries
(Mehta et al. 2022, "DSI++: Updating Transformer Memory with New Documents", https://arxiv.org/abs/2212.09744, with one
update; there it is averaged over several). Part of it is no forgetting: with more documents there are more wrong ones
to find. How much that is, `scratch` says, the same retriever trained on all documents at once, and the baselines,
which forget nothing.

`load` checks a study file as a run config is checked; `execute` cuts each dataset (`grown`), runs D0 and then all
documents by `runner.execute`, and gives a `Result` for `growing_table`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seekbench import config as configs
from seekbench.config import RunConfig
from seekbench.errors import InputError, Report
from seekbench.studies import common
from seekbench.validation import add_validation_errors
from seekbench.yamlfile import Marked, Path_

if TYPE_CHECKING:
    from seekbench.datasets.resolve import DatasetSpec
    from seekbench.plan import CellPlan
    from seekbench.retrievers.protocol import Context
    from seekbench.runner import Outcome
    from seekbench.store import Store
    from seekbench.studies.grown import Grown

#: The retriever without growth: on D0 what the variants go on with, on all documents what they are compared with.
SCRATCH = "scratch"
#: Two-sided level of the paired t-tests, Holm-adjusted over all tests of the study, as in leaderboards.
ALPHA = 0.05
_DEPTH = 10


class GrowingModel(BaseModel):
    """The study file. Parameters of the retriever, datasets and metrics have schemas of their own."""

    model_config = ConfigDict(extra="forbid")

    study: Literal["growing"]
    name: str | None = Field(None, description="Names the results' folder; the file's name by default.")
    description: str | None = Field(None, description="One line about the study.")
    include: str | list[str] | None = Field(None, description="Files that are merged in first.")
    datasets: list[str | dict[str, Any]] = Field(min_length=1, description="As in a run config.")
    first: Any = Field(description="Documents of D0, at random: a number, or a share below 1.")
    retriever: dict[str, Any] = Field(description="Type and parameters that all systems share.")
    growth: dict[str, dict[str, Any]] = Field(
        min_length=1, description="Name -> `growth:` of the retriever, without `first`."
    )
    baselines: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Retrievers that index all documents anew, as in a run config."
    )
    metrics: list[str] = Field(
        list(common.METRICS), min_length=1, description="The first one is plotted first."
    )
    k: int = Field(100, ge=1, description="Hits a query.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the choice of D0 (the retriever has its own seed).")


@dataclass(frozen=True)
class Study:
    """config: all systems on the whole datasets. growth: names of the variants; the other retrievers are `scratch`
    and baselines. first: documents of D0, a number or a share below 1."""

    config: RunConfig
    growth: tuple[str, ...]
    first: float
    seed: int
    marked: Marked = field(repr=False)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def systems(self) -> list[str]:
        """In the order of tables: baselines, `scratch`, the variants."""
        names = [r.name for r in self.config.retrievers]
        learnt = [SCRATCH, *self.growth]
        return [*(n for n in names if n not in learnt), *learnt]

    def kind(self, system: str) -> str:
        return "growth" if system in self.growth else SCRATCH if system == SCRATCH else "baseline"

    def part_config(self, part: str, specs: Sequence[DatasetSpec]) -> RunConfig:
        """The cells of D0 (`first`), where nothing grows, or of `all` documents."""
        kept = [r for r in self.config.retrievers if part == "all" or r.name not in self.growth]
        return replace(self.config, datasets=tuple(specs), retrievers=tuple(kept))


# -- the file -------------------------------------------------------------------------------------------------


def load(path: Path, overrides: Sequence[str] = (), *, shown: str | None = None) -> Study:
    """Reads and checks a study file, with its includes and `--set`. Raises InputError with every mistake found."""
    where = shown or str(path)
    marked = configs._with_includes(path, where, ())
    if not isinstance(marked.value, dict):
        raise InputError("a study is a mapping", where=where, line=1, remedy="it begins with study: growing")
    common.refuse_other(marked, "growing", where)
    report = Report(shown=100_000)  # a mistake of what systems share is found once a system, and said once
    common.set_values(marked, overrides, report)
    raw = marked.value
    model: GrowingModel | None = None
    try:
        model = GrowingModel.model_validate(raw)
    except ValidationError as error:
        add_validation_errors(report, error, marked, (), GrowingModel, what="a study of growing corpora")
    first = _first(raw.get("first"), "first" in raw, marked, report)
    common.refuse_limits(raw.get("datasets"), marked, report, said="this study takes datasets whole")
    run, variants = _run_config(raw, first, marked, report)
    try:
        checked = configs._check(run, path, where, report)
    except InputError as error:
        raise InputError(report=common.said_once(error.report)) from None
    for entry in checked.retrievers:
        for needed in entry.retriever.needs:
            if needed in variants:
                said = f"'{entry.name}' needs '{needed}', which does not exist on D0"
                at: Path_ = ("baselines", entry.name, "of")
                common.report_at(report, marked, at, "study-needs", said, f"name {SCRATCH} or baselines")
    report.raise_if_errors()
    assert model is not None  # or there would be an error
    return Study(checked, variants, first, model.seed, marked)


def check_resolvable(study: Study, context: Context) -> Report:
    """`config.check_resolvable`; what all systems share is said once, without a system's name."""
    found = configs.check_resolvable(study.config, context)
    for i, problem in enumerate(found.problems):
        name, _, rest = problem.message.partition(": ")
        if name in (SCRATCH, *study.growth):
            found.problems[i] = replace(problem, message=rest)
    return common.said_once(found)


def _first(raw: Any, given: bool, marked: Marked, report: Report) -> float:
    """The value of `first`; 0.5 after a mistake, so that the rest can be checked."""
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if is_number and (0 < raw < 1 or (isinstance(raw, int) and raw >= 1)):
        good: float = raw
        return good
    if given:
        said = f"first: a number of documents, or a share between 0 and 1, not {raw!r}"
        common.report_at(report, marked, ("first",), "study-first", said)
    return 0.5


def _run_config(
    raw: Mapping[str, Any], first: float, marked: Marked, report: Report
) -> tuple[Marked, tuple[str, ...]]:
    """The study as a run config over whole datasets, every part marked with the study's line; and the variants' names.

    What is malformed is left out, so that the rest can be checked too.
    """
    value: dict[str, Any] = {n: raw[n] for n in ("name", "datasets") if n in raw}
    out = Marked(value, {(): marked.marks[()]})
    retrievers: dict[str, Any] = {}
    value |= {
        "metrics": raw.get("metrics", list(common.METRICS)),
        "k": raw.get("k", 100),
        "retrievers": retrievers,
    }
    for key in ("name", "datasets", "metrics", "k"):
        common.copy_marks(marked, (key,), out, (key,))
    if "metrics" not in raw:  # where the default ones are too deep, it is k that is wrong
        out.marks["metrics",] = marked.where(("k",))
    shared, named = raw.get("retriever"), {}
    for key in ("growth", "baselines"):
        given = raw.get(key)
        named[key] = {
            n: v for n, v in (given if isinstance(given, dict) else {}).items() if isinstance(v, dict)
        }
    for key in ("growth", "baselines"):
        if SCRATCH in named[key]:
            said = f"'{SCRATCH}' is the retriever that is trained on all documents at once"
            common.report_at(report, marked, (key, SCRATCH), "study-name", said, "choose another name")
            del named[key][SCRATCH]
    if isinstance(shared, dict) and _can_grow(shared, marked, report):
        kept = {n: v for n, v in shared.items() if n not in ("growth", "sweep")}
        retrievers[SCRATCH] = copy.deepcopy(kept)
        common.copy_marks(marked, ("retriever",), out, ("retrievers", SCRATCH))
        for name, fields in named["growth"].items():
            if "first" in fields:
                said = f"growth: '{name}' has a `first` of its own, but all variants go on from one D0"
                common.report_at(
                    report, marked, ("growth", name, "first"), "study-first", said, "it stands at the top"
                )
            at: Path_ = ("retrievers", name)
            retrievers[name] = {**copy.deepcopy(kept), "growth": {**fields, "first": first}}
            common.copy_marks(marked, ("retriever",), out, at)
            common.copy_marks(marked, ("growth", name), out, (*at, "growth"))
            out.marks[(*at, "growth", "first")] = marked.where(("first",))
    for name, fields in named["baselines"].items():
        if name in named["growth"]:
            said = f"a variant of growth is called '{name}' too"
            common.report_at(report, marked, ("baselines", name), "study-name", said, "rename the baseline")
            continue
        retrievers[name] = fields
        common.copy_marks(marked, ("baselines", name), out, ("retrievers", name))
    if not retrievers:  # reported above; datasets and metrics are still to be checked
        retrievers["none"] = {"type": "bm25"}
    return out, tuple(named["growth"])


def _can_grow(shared: Mapping[str, Any], marked: Marked, report: Report) -> bool:
    from seekbench.retrievers import registry

    if "growth" in shared:
        said = "retriever: 'growth' differs by variant"
        common.report_at(
            report, marked, ("retriever", "growth"), "study-retriever", said, "it stands under 'growth:'"
        )
    if "sweep" in shared:
        said = "retriever: a study has no sweep"
        common.report_at(
            report, marked, ("retriever", "sweep"), "study-retriever", said, "`seekbench run` sweeps"
        )
    kind = shared.get("type")
    if not isinstance(kind, str):
        said = "the retriever has no type"
        common.report_at(report, marked, ("retriever",), "study-retriever", said, "type: generative")
        return False
    try:
        fields = registry.resolve(kind).Params.model_fields
    except (InputError, ImportError):
        return True  # the check of the run config says it
    if "growth" not in fields:
        said = f"the retriever type '{kind}' can't grow: it has no parameter `growth`"
        common.report_at(
            report, marked, ("retriever", "type"), "study-retriever", said, "e.g. type: generative"
        )
        return False
    return True


# -- running --------------------------------------------------------------------------------------------------


@dataclass
class Corpus:
    """A dataset of the study. queries: of each set. learnt: systems that were trained on queries of another split."""

    dataset: str
    split: str
    documents: int
    first: int
    queries: dict[str, int]
    unanswerable: int
    unseen_document_rate: float
    notes: list[str]
    learnt: list[str] = field(default_factory=list)


@dataclass
class Row:
    """A system on a dataset. kind: growth, scratch or baseline.

    scores: metric -> `before` (old queries, on D0), `old`, `new`, `mixed`, `all` (on all documents), `forgetting`
    (before - old; turned round where lower is better), `p` of its paired t-test and `adjusted`, Holm's over the study.
    Where a system learnt from another split, the same with `_apart`, without the queries that are close to what was
    learnt. None where there is no figure. queries: of each set, by the same names.

    new_share: of the D1 documents among the first `depth` hits, over `old` and over `new` queries. first_seconds: the
    index of D0; update_seconds: what D1's arrival took, which is continued training for a variant, a whole new index
    for the others. examples_seen, training_seconds: of that training. parameters_first: of D0's model.
    """

    dataset: str
    split: str
    system: str
    kind: str
    queries: dict[str, int]
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    failure: str | None = None
    new_share: dict[str, float | None] = field(default_factory=dict)
    parameters_first: int | None = None
    parameters: int | None = None
    examples_seen: int | None = None
    training_seconds: float | None = None
    first_seconds: float | None = None
    update_seconds: float | None = None
    queries_per_second: float | None = None
    invalid_rate: float | None = None


@dataclass
class Result:
    """rows: by dataset, and the order of the study's systems. depth: of `new_share`."""

    name: str
    metrics: tuple[str, ...]
    first: float
    seed: int
    depth: int
    corpora: list[Corpus]
    rows: list[Row]
    outcome: Outcome


def cuts(study: Study, store: Store, context: Context) -> list[Grown]:
    """All datasets, loaded and cut; local ones are checked first, so that their defects are said before any work.
    Raises InputError with the study's line where D0 or D1 is left without documents or queries."""
    from seekbench.progress import NoProgress
    from seekbench.runner import check_local_data

    check_local_data(study.config, store, context)
    report, out = Report(shown=50), []
    for spec in study.config.datasets:
        # What there is to say of a local collection was said by the check above.
        own = replace(context, progress=NoProgress()) if spec.is_local else context
        out += _cut(study, spec, report, store, own)
    report.raise_if_errors()
    return out


def _cut(study: Study, spec: DatasetSpec, report: Report, store: Store, context: Context) -> list[Grown]:
    """One, or none and an error."""
    from seekbench.runner import load_dataset
    from seekbench.studies.grown import Grown

    dataset = load_dataset(spec, store=store, context=context)
    try:
        return [Grown.of(dataset, spec, store, study.first, study.seed)]
    except InputError as error:
        for problem in error.report.problems:
            common.report_at(report, study.marked, ("first",), "study-first", problem.message, problem.remedy)
        return []


def execute(
    study: Study,
    *,
    output: Path,
    store: Store,
    context: Context,
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> Result:
    """Cuts, runs D0, then all documents, and gathers. Raises InputError before any cell runs for defective data and an
    impossible `first`, MissingError where a dataset can't be fetched; a failing cell is a row that says so."""
    from seekbench import runner
    from seekbench.studies.grown import PARTS, describe

    found = cuts(study, store, context)
    specs: dict[str, list[DatasetSpec]] = {name: [] for name in PARTS}
    for one in found:
        for line in describe(one):
            context.progress.note(f"{one.spec.id} ({one.spec.split}): {line}")
        for name in PARTS:
            part, folder = one.part(name, store, context), one.folder(output, name)
            if not part.is_written(folder):
                with context.progress.stage(
                    f"write {one.id(name)}", total=len(part.documents), unit="docs"
                ) as stage:
                    part.write(folder, advance=stage.advance)
            specs[name].append(part.spec(one.spec, one.dataset, one.id(name), folder))
    outcome = runner.Outcome()
    for name in PARTS:
        config = study.part_config(name, specs[name])
        done = runner.execute(config, output=output, store=store, context=context, on_error=on_error)
        outcome.records += done.records
        outcome.failures += done.failures
        outcome.explained += done.explained
    return _gather(study, found, outcome, output, store)


def plan(study: Study, *, output: Path, store: Store, context: Context) -> tuple[list[str], list[CellPlan]]:
    """(lines about the cuts, plan of every cell), without writing a part or reading a dataset that the store lacks.
    Raises InputError where `first` is known to be impossible."""
    from seekbench.collection import Dataset
    from seekbench.datasets.load import stored
    from seekbench.plan import plan_cells
    from seekbench.runner import load_dataset, training_of
    from seekbench.studies.grown import PARTS, describe

    lines: list[str] = []
    specs: dict[str, list[DatasetSpec]] = {name: [] for name in PARTS}
    datasets: dict[str, dict[int, Dataset | str]] = {name: {} for name in PARTS}
    report = Report(shown=50)
    for i, spec in enumerate(study.config.datasets):
        there, why = stored(spec, store=store, offline=context.offline)
        found = _cut(study, spec, report, store, context) if there else []
        if not there:
            lines.append(f"{spec.id} ({spec.split}): not read yet, so its queries are not known")
        for name in PARTS:
            datasets[name][i] = why
            part_spec = replace(spec, id=f"{spec.id}/{name}")
            for one in found:
                part, folder = one.part(name, store, context), one.folder(output, name)
                part_spec = part.spec(spec, one.dataset, one.id(name), folder)
                datasets[name][i] = "the part is not written yet"
                if part.is_written(folder):
                    known, reason = stored(part_spec, store=store, offline=context.offline)
                    datasets[name][i] = (
                        load_dataset(part_spec, store=store, context=context) if known else reason
                    )
            specs[name].append(part_spec)
        for one in found:
            lines += [f"{spec.id} ({spec.split}): {line}" for line in describe(one)]
    report.raise_if_errors()
    cells: list[CellPlan] = []
    for name in PARTS:
        own = specs[name]
        cells += plan_cells(
            study.part_config(name, own),
            datasets[name],
            store,
            context,
            lambda i, dataset, own=own: training_of(own[i], dataset, store, context),  # type: ignore[misc]
        )
    return lines, cells


# -- gathering ------------------------------------------------------------------------------------------------


def _gather(study: Study, found: Sequence[Grown], outcome: Outcome, output: Path, store: Store) -> Result:
    """The rows. A cell has a record or a failure."""
    from seekbench.studies.grown import describe

    made = {(r["dataset"]["id"], r["dataset"]["split"], r["retriever"]["name"]): r for r in outcome.records}
    failed = {(f.dataset, f.split, f.retriever): f.cause for f in outcome.failures}
    depth = min(_DEPTH, study.config.k)
    corpora, rows = [], []
    for one in found:
        split = one.spec.split
        corpus = Corpus(
            one.spec.id,
            split,
            len(one.first),
            one.known,
            one.counts,
            one.unanswerable,
            one.unseen_rate,
            describe(one),
        )
        corpora.append(corpus)
        records = {
            (name, system): made[key]
            for name in ("first", "all")
            for system in study.systems
            if (key := (one.id(name), split, system)) in made
        }
        near: set[str] = set()
        for (_, system), record in records.items():
            if record["training"]:
                near |= set(record["training"]["with_neighbour"])
                corpus.learnt = list(dict.fromkeys([*corpus.learnt, system]))
        sets = {name: one.query_ids(name) for name in one.counts}
        sets["all"] = set().union(*sets.values())
        if corpus.learnt:
            sets |= {f"{name}_apart": ids - near for name, ids in sets.items()}
        for system in study.systems:
            row = Row(
                one.spec.id, split, system, study.kind(system), {name: len(ids) for name, ids in sets.items()}
            )
            rows.append(row)
            before = records.get(("first", SCRATCH if row.kind == "growth" else system))
            after = records.get(("all", system))
            causes = [
                f"on {said}: {failed[one.id(name), split, system]}"
                for name, said in (("first", "D0"), ("all", "all documents"))
                if (one.id(name), split, system) in failed
            ]
            row.failure = "; ".join(causes) or None
            row.scores = _scores(study, output, before, after, sets)
            _fill_costs(row, before, after)
            if after is not None:
                row.new_share = _new_share(after, output, store, one.known, sets, depth)
    _adjust(rows)
    names = tuple(m.name for m in study.config.measures)
    return Result(study.name, names, study.first, study.seed, depth, corpora, rows, outcome)


def _cell_folder(output: Path, record: Mapping[str, Any]) -> Path:
    from seekbench.leaderboard import records

    dataset = record["dataset"]
    return records.cell_folder(output, dataset["id"], dataset["split"], record["retriever"]["name"])


def _scores(
    study: Study,
    output: Path,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    sets: Mapping[str, set[str]],
) -> dict[str, dict[str, float | None]]:
    """Metric -> figures, as `Row.scores` has them, without `adjusted`."""
    measures = study.config.measures
    old = {name: ids for name, ids in sets.items() if name.startswith("old")}
    out: dict[str, dict[str, float | None]] = {m.name: {} for m in measures}
    if before is not None:
        parts = {"all": old["old"], **old}
        for metric, found in common.figures(measures, before, _cell_folder(output, before), parts).items():
            out[metric] |= {"before": found["all"]}
            out[metric] |= {f"before{n.removeprefix('old')}": found[n] for n in old if n != "old"}
    if after is not None:
        for metric, found in common.figures(measures, after, _cell_folder(output, after), sets).items():
            out[metric] |= found
    if before is None or after is None:
        return {metric: figures for metric, figures in out.items() if figures}
    names = [m.name for m in measures if m.definition.aggregate == "mean"]
    left, right = (common.per_query(_cell_folder(output, r), names) for r in (before, after))
    for measure in measures:
        figures = out[measure.name]
        for part, ids in old.items():
            ending = part.removeprefix("old")
            was, is_now = figures[f"before{ending}"], figures[part]
            lost = None if was is None or is_now is None else was - is_now
            figures[f"forgetting{ending}"] = -lost if lost is not None and measure.definition.lower else lost
            figures[f"p{ending}"] = (
                _p_value(left, right, measure.name, ids) if measure.name in names else None
            )
    return out


def _p_value(left: Mapping[str, Any], right: Mapping[str, Any], metric: str, ids: set[str]) -> float | None:
    """Of the paired t-test over the queries `ids`, which both sides have; None without any."""
    from seekbench.statistics.paired import paired_t

    if not ids:
        return None
    values = []
    for side in (left, right):
        by_id = dict(zip(side["query_id"].tolist(), side[metric].tolist(), strict=True))
        values.append([by_id[i] for i in sorted(ids)])
    return paired_t(*values).p


def _adjust(rows: Sequence[Row]) -> None:
    """Holm's correction over all tests of the study."""
    from seekbench.statistics.corrections import holm

    tests = [
        (figures, ending)
        for row in rows
        for figures in row.scores.values()
        for ending in ("", "_apart")
        if figures.get(f"p{ending}") is not None
    ]
    for (figures, ending), p in zip(tests, holm([f[f"p{e}"] or 0.0 for f, e in tests]), strict=True):
        figures[f"adjusted{ending}"] = p


def _new_share(
    record: Mapping[str, Any],
    output: Path,
    store: Store,
    known: int,
    sets: Mapping[str, set[str]],
    depth: int,
) -> dict[str, float | None]:
    """Set of queries -> share of D1's documents, which are the rows from `known` on, among their first hits."""
    from seekbench.runs import Run

    ids = common.per_query(_cell_folder(output, record), [])["query_id"].tolist()
    run = Run.load(store.root / "run" / str(record["keys"]["run"])).cut(depth)
    hits = np.asarray(run.doc_rows)
    out: dict[str, float | None] = {}
    for name in ("old", "new"):
        chosen = hits[np.array([i in sets[name] for i in ids], dtype=np.bool_)]
        there = int((chosen >= 0).sum())
        out[name] = float((chosen >= known).sum()) / there if there else None
    return out


def _fill_costs(row: Row, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
    """What records say of parameters, training and time; a retriever without a model has its times only."""
    if before is not None:
        row.parameters_first = before["index"].get("parameters", {}).get("total")
        row.first_seconds = before["efficiency"]["index_seconds"]
    if after is None:
        return
    index, made = after["index"], after["efficiency"]
    row.update_seconds, row.queries_per_second = made["index_seconds"], made["queries_per_second"]
    row.invalid_rate = after["retriever"]["details"].get("invalid_rate")
    row.parameters = index.get("parameters", {}).get("total")
    if "training" in index:
        row.examples_seen = index["training"]["examples_seen"]
        row.training_seconds = index["training"]["seconds"]
    inherited = index.get("parts_seconds", {}).get("first documents")
    if row.kind == "growth" and inherited is not None:
        # The index counts what it took from D0's.
        row.update_seconds = made["index_seconds"] - inherited
