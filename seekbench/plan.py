"""From a config to cells (dataset x retriever): what each depends on, what is in the store, and why not.

The recipes made here are the whole truth about caching: an artifact is reused exactly when its recipe is
equal. They name content, not files: document and query hashes, templates, the parameters that matter to that
stage, what the retriever says of itself (model revision, weights' hash, library versions) and the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seekbench import hashing
from seekbench.collection import Dataset
from seekbench.config import RetrieverConfig, RunConfig
from seekbench.errors import InputError, Report
from seekbench.retrievers.protocol import Context, Retriever, TextView, TrainingData
from seekbench.store import Store

#: Code that every run passes through.
_SHARED_MODULES = ("seekbench.runs", "seekbench.collection", "seekbench.retrievers.protocol")


def documents_view(dataset: Dataset) -> TextView:
    return TextView(dataset.corpus, dataset.template, dataset.language)


def queries_view(dataset: Dataset) -> TextView:
    return TextView(dataset.queries, dataset.query_template, dataset.language)


#: Split -> the training queries of a dataset.
TrainingOf = Callable[[str], TrainingData]


def bound(config: RetrieverConfig, dataset: Dataset, training_of: TrainingOf) -> Retriever:
    """The retriever for this dataset: some (run files) have a path that holds the dataset's name, some learn from a
    split of it. Raises InputError for one that would learn from the split that is evaluated."""
    bind = getattr(config.retriever, "for_dataset", None)
    retriever: Retriever = bind(dataset.id, dataset.split) if bind else config.retriever
    split = getattr(retriever, "trains_on", None)
    if split is None:
        return retriever
    if split == dataset.split:
        raise InputError(
            f"'{config.name}' would learn from the split '{split}', which is evaluated",
            remedy="train on another split, or on documents alone (train: null)",
        )
    trained: Retriever = retriever.with_training(training_of(split))  # type: ignore[attr-defined]
    return trained


def _chosen(retriever: Retriever, names: frozenset[str]) -> dict[str, Any]:
    values = retriever.params.model_dump(mode="json")
    return {name: values[name] for name in sorted(names)}


def index_recipe(
    type: str,
    retriever: Retriever,
    documents: TextView,
    identity: Mapping[str, Any],
    context: Context,
) -> dict[str, Any]:
    """What an index depends on.

    A retriever's `recipe(documents, context=...)`, where it has one, adds what its parameters resolve to here.
    """
    resolve = getattr(retriever, "recipe", None)
    return {
        "resolved": dict(resolve(documents, context=context)) if resolve else {},
        "subject": type,
        "documents": {
            "content": documents.records.content_hash,
            "template": documents.template,
            "language": documents.language,
        },
        "params": _chosen(retriever, retriever.index_params),
        "identity": dict(identity),
        "code": {m: hashing.of_code(m) for m in (*retriever.modules, *_SHARED_MODULES)},
    }


def run_recipe(
    type: str,
    retriever: Retriever,
    dataset: Dataset,
    identity: Mapping[str, Any],
    k: int,
    needed: Mapping[str, Mapping[str, Any]],
    context: Context,
) -> dict[str, Any]:
    """What a run depends on. needed: the run recipes of the retrievers that a composite names."""
    documents, queries = documents_view(dataset), queries_view(dataset)
    return {
        "subject": f"{type} run",
        "index": index_recipe(type, retriever, documents, identity, context),
        "queries": {
            "content": queries.records.content_hash,
            "template": queries.template,
            "language": queries.language,
        },
        "params": _chosen(retriever, retriever.search_params),
        "k": k,
        "exclude": {"kind": dataset.exclusion.kind, "content": dataset.exclusion.content_hash},
        **({"candidates": dataset.candidates.content_hash} if dataset.candidates is not None else {}),
        "needs": {name: hashing.of_json(recipe) for name, recipe in needed.items()},
        "code": {
            m: hashing.of_code(m)
            for m in (
                *getattr(retriever, "search_modules", ()),
                "seekbench.search",
                "seekbench.candidates",
                "seekbench.plan",
            )
        },
    }


@dataclass
class Stage:
    """One artifact of a cell: `state` is cached, partial or missing; `why` says what differs."""

    kind: str
    state: str
    why: str
    work: str = ""


@dataclass
class CellPlan:
    dataset: str
    split: str
    retriever: str
    stages: list[Stage] = field(default_factory=list)
    problem: str | None = None


def status(store: Store, kind: str, recipe: Mapping[str, Any], units: int, what: str, label: str) -> Stage:
    """What the store holds of a recipe, and what making it means: so many units of `what`."""
    if store.find(kind, recipe):
        return Stage(kind, "cached", "same recipe")
    why = store.explain(kind, recipe, label)
    state = "partial" if why.startswith("interrupted") else "missing"
    rate = _last_rate(store, kind, recipe)
    cost = f", about {_duration(units / rate)} at the last measured rate" if rate else ""
    return Stage(kind, state, why, f"{units:,} {what}{cost}")


def _last_rate(store: Store, kind: str, recipe: Mapping[str, Any]) -> float | None:
    """Units a second of the newest artifact of the same kind and type; of an index with the same parameters and
    model, too, since those say how much work a document is."""
    import orjson

    rates: list[tuple[float, float]] = []
    for path in (store.root / kind).glob("*/facts.json"):
        try:
            other = orjson.loads((path.parent / "recipe.json").read_bytes())
            facts = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if other.get("subject") != recipe.get("subject") or not facts.get("rate"):
            continue
        if kind == "index" and any(other.get(n) != recipe.get(n) for n in ("identity", "params")):
            continue
        rates.append((path.stat().st_mtime, float(facts["rate"])))
    return max(rates)[1] if rates else None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


class WrongPlanError(InputError):
    """Some cells can't run because of the user's input. `cells`: the whole plan, with those."""

    def __init__(self, cells: list[CellPlan], report: Report) -> None:
        super().__init__(report=report)
        self.cells = cells


def plan_cells(
    config: RunConfig,
    datasets: Mapping[int, Dataset | str],
    store: Store,
    context: Context,
    training_of: Callable[[int, Dataset], TrainingOf],
) -> list[CellPlan]:
    """The plan of a config. datasets: by position, loaded ones, or a line that says why one is not loaded yet.
    training_of: of a position and its dataset. Raises WrongPlanError if a cell can't run because of the input.
    """
    cells: list[CellPlan] = []
    report = Report(shown=50)
    for i, spec in enumerate(config.datasets):
        dataset = datasets[i]
        recipes: dict[str, dict[str, Any]] = {}
        for entry in config.retrievers:
            cell = CellPlan(spec.id, spec.split, entry.name)
            cells.append(cell)
            if isinstance(dataset, str):
                cell.stages.append(Stage("collection", "missing", dataset))
                continue
            key = "train" if getattr(entry.retriever, "trains_on", None) is not None else ""
            try:
                retriever, key = bound(entry, dataset, training_of(i, dataset)), ""
                identity = retriever.identity(context=context)
            except InputError as error:
                cell.problem = str(error)
                config.add_errors(report, entry, key, spec.id, error)
                continue
            except (
                Exception
            ) as error:  # a plan tells of what can't be resolved now; running reports it in full
                cell.problem = str(error)
                continue
            if retriever.indexes:
                recipe = index_recipe(entry.type, retriever, documents_view(dataset), identity, context)
                cell.stages.append(
                    status(store, "index", recipe, len(dataset.corpus), "documents to index", dataset.id)
                )
            missing = [n for n in retriever.needs if n not in recipes]
            if missing:
                cell.problem = f"needs {', '.join(missing)}"
                continue
            k = min(config.k, len(dataset.corpus))
            recipes[entry.name] = run_recipe(
                entry.type, retriever, dataset, identity, k, {n: recipes[n] for n in retriever.needs}, context
            )
            cell.stages.append(
                status(
                    store, "run", recipes[entry.name], len(dataset.queries), "queries to search", dataset.id
                )
            )
    if report.errors:
        raise WrongPlanError(cells, report)
    return cells
