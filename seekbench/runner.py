"""Executes a run config: loads, indexes, searches, scores and records each cell, and survives what goes wrong.

Every step is an artifact of the store or a file written atomically, so the same command after an interruption
continues with what is missing. A cell that fails is reported at the end; those that need it fail with it, all
others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seekbench import environment, hashing, plan
from seekbench.collection import Dataset
from seekbench.config import RetrieverConfig, RunConfig
from seekbench.errors import InputError, Report, SeekbenchError
from seekbench.leaderboard import records
from seekbench.progress import Labelled, NoProgress
from seekbench.recording import record, record_failure
from seekbench.retrievers.protocol import Context, Retriever, TextView, TrainingData
from seekbench.runs import Run
from seekbench.search import Found, made_here, search
from seekbench.store import Artifact, Store
from seekbench.training.queries import training_data

if TYPE_CHECKING:
    from seekbench.datasets.catalogue import DatasetSpec


@dataclass(frozen=True)
class Failure:
    dataset: str
    split: str
    retriever: str
    cause: str
    user_error: bool


@dataclass
class Outcome:
    """What a run did: records by cell, failures, and lines that explain reuse."""

    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)


def execute(
    config: RunConfig,
    *,
    output: Path,
    store: Store,
    context: Context,
    limit: int | None = None,
    anew: bool = False,
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> Outcome:
    """Runs all cells. Raises InputError before any work if a local dataset is defective; nothing else of a cell
    escapes but KeyboardInterrupt and a full disk. anew: searches are made, and timed, again though they are stored.
    `on_error` sees each failure's exception (for tracebacks)."""
    outcome = Outcome()
    if limit is not None:
        _keep_full_results(config, output)
    check_local_data(config, store, context)
    for spec in config.datasets:
        try:
            # What there is to say of a local collection was said by the check above.
            quiet = replace(context, progress=NoProgress()) if spec.is_local else context
            dataset = load_dataset(spec, store=store, context=quiet, limit=limit)
        except Exception as error:
            on_error(error)
            stop_if_hopeless(error)
            for entry in config.retrievers:
                _failed(outcome, output, spec.id, spec.split, entry.name, error)
            continue
        training = training_of(spec, dataset, store, context)
        _run_dataset(config, dataset, training, output, store, context, outcome, on_error, anew)
    return outcome


def _keep_full_results(config: RunConfig, output: Path) -> None:
    """A trial run must not replace results that took hours."""
    for spec in config.datasets:
        for entry in config.retrievers:
            folder = records.cell_folder(output, spec.id, spec.split, entry.name)
            try:
                full = records.read(folder)["comparable"]
            except (InputError, OSError):
                continue
            if full:
                raise InputError(
                    f"{output} holds results of a full run",
                    where="--limit",
                    remedy="give the trial another --output",
                )


def load_dataset(spec: DatasetSpec, *, store: Store, context: Context, limit: int | None = None) -> Dataset:
    from seekbench.datasets.load import load

    progress = Labelled(context.progress, spec.id)
    return load(spec, store=store, progress=progress, offline=context.offline, limit=limit)


def training_of(spec: DatasetSpec, dataset: Dataset, store: Store, context: Context) -> plan.TrainingOf:
    """Gives the training queries of a split of a dataset, without any that the evaluated split has too."""

    def load(split: str) -> TrainingData:
        quiet = replace(context, progress=NoProgress())
        # Documents that are excluded for evaluated queries say nothing of others, and their list names those alone.
        other = load_dataset(
            replace(spec, split=split, limit=None, exclude="none"), store=store, context=quiet
        )
        return training_data(dataset, other)

    return load


def check_local_data(config: RunConfig, store: Store, context: Context) -> None:
    """Loads local collections first, so that all their defects are reported together before a model is touched:
    those of their files, and training splits that they lack or that leave nothing to learn."""
    report = Report()
    for spec in config.datasets:
        if not spec.is_local:
            continue
        try:
            dataset = load_dataset(spec, store=store, context=context)
        except InputError as error:
            report.extend(error.report)
            continue
        _check_training(config, spec, dataset, report, store, context)
    report.raise_if_errors()


def _check_training(
    config: RunConfig, spec: DatasetSpec, dataset: Dataset, report: Report, store: Store, context: Context
) -> None:
    """Loads the splits that retrievers learn from, each once; what is wrong with one goes to the report."""
    load = training_of(spec, dataset, store, context)
    wrong: dict[str, InputError | None] = {}
    for entry in config.retrievers:
        split = getattr(entry.retriever, "trains_on", None)
        if split is None:
            continue
        if split not in wrong:
            wrong[split] = None
            try:
                load(split)
            except InputError as error:
                wrong[split] = error
        found = wrong[split]
        if found is not None:
            config.add_errors(report, entry, "train", spec.id, found)


def _run_dataset(
    config: RunConfig,
    dataset: Dataset,
    training: plan.TrainingOf,
    output: Path,
    store: Store,
    context: Context,
    outcome: Outcome,
    on_error: Callable[[BaseException], None],
    anew: bool,
) -> None:
    cells: dict[str, Found] = {}
    trained: dict[str, Mapping[str, Any]] = {}
    # One model stays loaded for all datasets; several would fill the memory, so each goes after its cell.
    several = sum(hasattr(entry.retriever, "release") for entry in config.retrievers) > 1
    for entry in config.retrievers:
        label = f"{dataset.id} {entry.name}"
        try:
            retriever = plan.bound(entry, dataset, training)
            lost = [n for n in retriever.needs if n not in cells]
            if lost:
                raise SeekbenchError(f"needs {', '.join(lost)}, which failed")
            own = replace(context, progress=Labelled(context.progress, label))
            cell, index = _find(
                entry, retriever, dataset, config.k, cells, store, own, outcome, label, anew=anew
            )
            cells[entry.name] = cell
            exact = None
            reference: Retriever | None = getattr(retriever, "reference", None)
            # Its run is that of the exact system of the same config, where there is one.
            if reference is not None:
                compared = f"{label} (exact, to compare)"
                exact, _ = _find(entry, reference, dataset, config.k, cells, store, own, outcome, compared)
            learnt = [trained[n] for n in retriever.needs if n in trained]
            made = record(
                config, entry, retriever, dataset, cell, index, output, context=own, parts=learnt, exact=exact
            )
            outcome.records.append(made)
            if made["training"]:
                trained[entry.name] = made["training"]
            if several:
                getattr(retriever, "release", lambda: None)()
        except Exception as error:
            on_error(error)
            stop_if_hopeless(error)
            _failed(outcome, output, dataset.id, dataset.split, entry.name, error)


def failure(dataset: str, split: str, retriever: str, error: Exception) -> Failure:
    """What is said of an error at the end."""
    cause = str(error) if isinstance(error, SeekbenchError) else f"{type(error).__name__}: {error}"
    return Failure(dataset, split, retriever, cause, isinstance(error, InputError))


def _failed(
    outcome: Outcome, output: Path, dataset: str, split: str, retriever: str, error: Exception
) -> None:
    failed = failure(dataset, split, retriever, error)
    outcome.failures.append(failed)
    record_failure(output, dataset, split, retriever, failed.cause)


def stop_if_hopeless(error: Exception) -> None:
    """A full disk fails every further cell too; better to stop at once, with what is done safely on disk."""
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise SeekbenchError(
            f"the disk is full ({error.filename or 'while writing'}); make room and run the same command again, "
            "it continues"
        ) from error


def _waiting(context: Context) -> Callable[[], None]:
    return lambda: context.progress.note("another run is making this; waiting for it")


def with_store(context: Context, store: Store, label: str) -> Context:
    """The context of a retriever whose parts come from a store. label: of what is made, for the store's listing."""
    wait = _waiting(context)

    def shared(type: str, other: Retriever, texts: TextView) -> tuple[Path, Mapping[str, Any]]:
        """The index of a part of this retriever, which other systems may need too."""
        own = plan.index_recipe(type, other, texts, other.identity(context=context), context)
        made = store.get(
            "index", own, lambda folder: indexed(other, texts, folder, context), on_wait=wait, label=label
        )
        return made.folder, made.facts

    def stored(kind: str, recipe: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]) -> Path:
        return store.get(kind, recipe, make, on_wait=wait, label=label).folder

    return replace(context, shared=shared, stored=stored)


def _find(
    entry: RetrieverConfig,
    retriever: Retriever,
    dataset: Dataset,
    k: int,
    cells: Mapping[str, Found],
    store: Store,
    context: Context,
    outcome: Outcome,
    label: str,
    *,
    anew: bool = False,
) -> tuple[Found, Artifact | None]:
    """The run of a cell from the store, or made now (with its index)."""
    identity = retriever.identity(context=context)
    documents = plan.documents_view(dataset)
    system = _system(entry, retriever, identity, k, cells)
    k = min(k, len(dataset.corpus))
    index_recipe = plan.index_recipe(entry.type, retriever, documents, identity, context)
    recipe = plan.run_recipe(
        entry.type, retriever, dataset, identity, k, {n: cells[n].recipe for n in retriever.needs}, context
    )
    index: Artifact | None = store.find("index", index_recipe) if retriever.indexes else None

    wait = _waiting(context)
    context = with_store(context, store, dataset.id)

    def make_run(folder: Path) -> dict[str, Any]:
        nonlocal index
        if retriever.indexes:
            index = store.get(
                "index",
                index_recipe,
                lambda folder: indexed(retriever, documents, folder, context),
                on_wait=wait,
                label=dataset.id,
            )
            outcome.explained.append(f"{label}: index {_how(index)}")
        return search(retriever, index.folder if index else None, dataset, k, cells, folder, context)

    found = None if anew else store.find("run", recipe)
    artifact = found or store.get("run", recipe, make_run, on_wait=wait, label=dataset.id, anew=anew)
    if retriever.indexes and index is None:
        index = store.find("index", index_recipe)  # another process made both while this one waited
    if retriever.indexes and found:
        outcome.explained.append(
            f"{label}: index {'reused (same recipe)' if index else 'not needed (its run is stored)'}"
        )
    outcome.explained.append(f"{label}: run {_how(artifact)}")
    return Found(recipe, identity, system, artifact, Run.load(artifact.folder)), index


def indexed(retriever: Retriever, documents: TextView, folder: Path, context: Context) -> dict[str, Any]:
    """Makes an index; its facts."""
    memory, start = environment.PeakMemory(), time.perf_counter()
    facts = dict(retriever.index(documents, folder, context=context))
    cut = facts.get("truncation_rate") or 0.0
    if cut > 0.01:
        context.progress.note(f"{cut:.0%} of the documents are longer than the model takes and were cut")
    # An interrupted corpus took the time of all calls, which only the retriever knows.
    seconds = facts.get("encode_seconds") or facts.get("seconds", time.perf_counter() - start)
    return {
        **facts,
        "seconds": seconds,
        "units": len(documents),
        "rate": len(documents) / max(seconds, 1e-9),
        "peak_memory_bytes": memory.bytes(),
        **made_here(),
    }


def _system(
    entry: RetrieverConfig,
    retriever: Retriever,
    identity: Mapping[str, Any],
    k: int,
    cells: Mapping[str, Found],
) -> str:
    """Tells systems of equal name apart in a leaderboard: type, parameters that matter, model, k, parts. Library
    versions are left out, as are the contents of run files and of training splits, which differ by dataset."""
    matters = retriever.index_params | retriever.search_params
    params = entry.retriever.params.model_dump(mode="json")
    facts = {} if hasattr(retriever, "for_dataset") else _without(identity, {"versions", "training"})
    parts = {name: cells[name].system for name in retriever.needs}
    chosen = {name: params[name] for name in sorted(matters)}
    return hashing.of_json([entry.type, chosen, facts, k, parts])[:16]


def _without(facts: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Nested facts without some keys, at every depth."""
    return {
        name: _without(value, names) if isinstance(value, Mapping) else value
        for name, value in facts.items()
        if name not in names
    }


def _how(artifact: Artifact) -> str:
    return f"reused ({artifact.why})" if artifact.reused else f"made ({artifact.why})"
