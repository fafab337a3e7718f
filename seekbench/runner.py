"""Executes a run config: loads, indexes, searches, scores and records each cell, and survives what goes wrong.

Every step is an artifact of the store or a file written atomically, so the same command after an interruption
continues with what is missing. A cell that fails is reported at the end; those that need it fail with it, all
others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from seekbench import environment, hashing, plan
from seekbench.collection import Dataset, Exclusion
from seekbench.config import RetrieverConfig, RunConfig
from seekbench.errors import InputError, Report, SeekbenchError
from seekbench.leaderboard import records
from seekbench.progress import Labelled, NoProgress
from seekbench.retrievers.protocol import Context, Retriever
from seekbench.run import Run, write_trec
from seekbench.store import Artifact, Store, atomic_file

if TYPE_CHECKING:
    from seekbench.datasets.catalogue import DatasetSpec

#: Hits (queries x k) of one block of a search: what an interruption may lose, and what bounds memory.
_BLOCK_HITS = 2_000_000
#: Queries that are asked one at a time for the latency figures, and the seconds that may take.
_LATENCY_QUERIES, _LATENCY_SECONDS = 50, 10.0
_SHOWN_INPUTS = 3


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


@dataclass
class _Cell:
    """What later steps of a dataset need of a finished search."""

    recipe: dict[str, Any]
    artifact: Artifact
    run: Run


def execute(
    config: RunConfig,
    *,
    output: Path,
    store: Store,
    context: Context,
    limit: int | None = None,
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> Outcome:
    """Runs all cells. Raises InputError before any work if a local dataset is defective; nothing else of a cell
    escapes but KeyboardInterrupt and a full disk. `on_error` sees each failure's exception (for tracebacks)."""
    outcome = Outcome()
    output.mkdir(parents=True, exist_ok=True)
    _check_local_data(config, store, context)
    for spec in config.datasets:
        try:
            # What there is to say of a local collection was said by the check above.
            quiet = replace(context, progress=NoProgress()) if spec.is_local else context
            dataset = load_dataset(spec, store=store, context=quiet, limit=limit)
        except Exception as error:
            on_error(error)
            _stop_if_hopeless(error)
            for entry in config.retrievers:
                outcome.failures.append(_failure(spec.id, spec.split, entry.name, error))
            continue
        _run_dataset(config, dataset, output, store, context, outcome, on_error)
    return outcome


def load_dataset(spec: DatasetSpec, *, store: Store, context: Context, limit: int | None = None) -> Dataset:
    from seekbench.datasets.load import load

    progress = Labelled(context.progress, spec.id)
    return load(spec, store=store, progress=progress, offline=context.offline, limit=limit)


def _check_local_data(config: RunConfig, store: Store, context: Context) -> None:
    """Loads local collections first, so that all their defects are reported together before a model is touched."""
    report = Report()
    for spec in config.datasets:
        if not spec.is_local:
            continue
        try:
            load_dataset(spec, store=store, context=context)
        except InputError as error:
            report.problems += error.report.problems
            report.counts.update(error.report.counts)
    report.raise_if_errors()


def _run_dataset(
    config: RunConfig,
    dataset: Dataset,
    output: Path,
    store: Store,
    context: Context,
    outcome: Outcome,
    on_error: Callable[[BaseException], None],
) -> None:
    cells: dict[str, _Cell] = {}
    # One model stays loaded for all datasets; several would fill the memory, so each goes after its cell.
    several = sum(hasattr(entry.retriever, "release") for entry in config.retrievers) > 1
    for entry in config.retrievers:
        label = f"{dataset.id} {entry.name}"
        try:
            retriever = plan.bound(entry, dataset)
            lost = [n for n in retriever.needs if n not in cells]
            if lost:
                raise SeekbenchError(f"needs {', '.join(lost)}, which failed")
            own = replace(context, progress=Labelled(context.progress, label))
            cell, index = _search(entry, retriever, dataset, config.k, cells, store, own, outcome, label)
            cells[entry.name] = cell
            record = _record(config, entry, retriever, dataset, cell, index, output, context)
            outcome.records.append(record)
            if several:
                getattr(retriever, "release", lambda: None)()
        except Exception as error:
            on_error(error)
            _stop_if_hopeless(error)
            outcome.failures.append(_failure(dataset.id, dataset.split, entry.name, error))


def _failure(dataset: str, split: str, retriever: str, error: Exception) -> Failure:
    cause = str(error) if isinstance(error, SeekbenchError) else f"{type(error).__name__}: {error}"
    return Failure(dataset, split, retriever, cause, isinstance(error, InputError))


def _stop_if_hopeless(error: Exception) -> None:
    """A full disk fails every further cell too; better to stop at once, with what is done safely on disk."""
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise SeekbenchError(
            f"the disk is full ({error.filename or 'while writing'}); make room and run the same command again, "
            "it continues"
        ) from error


def _search(
    entry: RetrieverConfig,
    retriever: Retriever,
    dataset: Dataset,
    k: int,
    cells: Mapping[str, _Cell],
    store: Store,
    context: Context,
    outcome: Outcome,
    label: str,
) -> tuple[_Cell, Artifact | None]:
    """The run of a cell from the store, or made now (with its index)."""
    identity = retriever.identity(context=context)
    documents = plan.documents_view(dataset)
    k = min(k, len(dataset.corpus))
    index_recipe = plan.index_recipe(entry, retriever, documents, identity)
    recipe = plan.run_recipe(
        entry, retriever, dataset, identity, k, {n: cells[n].recipe for n in retriever.needs}
    )
    index: Artifact | None = store.find("index", index_recipe) if retriever.indexes else None

    def wait() -> None:
        context.progress.note("another run is making this; waiting for it")

    def make_index(folder: Path) -> dict[str, Any]:
        memory, start = environment.PeakMemory(), time.perf_counter()
        facts = dict(retriever.index(documents, folder, context=context))
        # An interrupted corpus took the time of all calls, which only the retriever knows.
        seconds = facts.get("encode_seconds") or facts.get("seconds", time.perf_counter() - start)
        return {
            **facts,
            "seconds": seconds,
            "units": len(documents),
            "rate": len(documents) / max(seconds, 1e-9),
            "peak_memory_bytes": memory.bytes(),
            **_made_here(),
        }

    def make_run(folder: Path) -> dict[str, Any]:
        nonlocal index
        if retriever.indexes:
            index = store.get("index", index_recipe, make_index, on_wait=wait)
            outcome.explained.append(f"{label}: index {_how(index)}")
        return _make_run(retriever, index.folder if index else None, dataset, k, cells, folder, context)

    found = store.find("run", recipe)
    artifact = found or store.get("run", recipe, make_run, on_wait=wait)
    if retriever.indexes and found:
        outcome.explained.append(
            f"{label}: index {'reused (same recipe)' if index else 'not needed (its run is stored)'}"
        )
    outcome.explained.append(f"{label}: run {_how(artifact)}")
    return _Cell(recipe, artifact, Run.load(artifact.folder)), index


def _how(artifact: Artifact) -> str:
    return f"reused ({artifact.why})" if artifact.reused else f"made ({artifact.why})"


def _made_here() -> dict[str, Any]:
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": {**environment.hardware(), "gpus": environment.gpus()},
        "versions": environment.versions(),
    }


def _make_run(
    retriever: Retriever,
    index: Path | None,
    dataset: Dataset,
    k: int,
    cells: Mapping[str, _Cell],
    folder: Path,
    context: Context,
) -> dict[str, Any]:
    """Searches in blocks of queries, each kept on disk when it is done, and joins them at the end."""
    queries = plan.queries_view(dataset)
    documents = plan.documents_view(dataset)
    total = len(queries)
    fetch = min(k + dataset.exclusion.most, len(documents))
    size = max(1, _BLOCK_HITS // max(1, fetch))
    timed = getattr(retriever, "timed", True)  # a run file's speed is nobody's
    memory = environment.PeakMemory()
    queries_shown = retriever.render(queries.texts(0, min(_SHOWN_INPUTS, total)), "query", context=context)
    documents_shown = retriever.render(
        documents.texts(0, min(_SHOWN_INPUTS, len(documents))), "document", context=context
    )

    opened = time.perf_counter()
    searcher = retriever.open(index, documents, context=context)
    open_seconds = time.perf_counter() - opened
    try:
        starts = range(0, total, size)
        done = sum(min(size, total - at) for at in starts if (folder / f"block-{at}.npz").exists())
        # One block: the retriever shows its own stages. Several: one bar over all of them says more.
        many = len(starts) > 1
        inner = replace(context, progress=NoProgress()) if many else context
        shown_by = context.progress if many else NoProgress()
        with shown_by.stage("search", total=total, unit="queries", done=done) as stage:
            for at in starts:
                path = folder / f"block-{at}.npz"
                if path.exists():
                    continue
                stop = min(at + size, total)
                rows = np.arange(at, stop)
                begin = time.perf_counter()
                run = searcher.search(
                    queries.take(rows), fetch, context=_with_runs(inner, retriever, cells, at, stop)
                )
                seconds = time.perf_counter() - begin
                if run.num_queries != stop - at:
                    raise RuntimeError(f"the retriever answered {run.num_queries} of {stop - at} queries")
                run = run.without(_exclusion_of(dataset.exclusion, at, stop), k)
                _save_block(path, run, seconds)
                stage.advance(stop - at)
        timings = dict(getattr(searcher, "timings", {}))  # of the batch alone
        quiet = replace(context, progress=NoProgress())
        latencies = _latencies(searcher, retriever, queries, fetch, cells, quiet) if timed else np.empty(0)
        run = _joined(folder, starts, k)
        finish = getattr(searcher, "finish", None)
        details = finish(run) if finish else {}
    finally:
        searcher.close()

    seconds = sum(_load_block(folder / f"block-{at}.npz")[2] for at in starts)
    run.save(folder)
    np.save(folder / "latencies.npy", latencies)
    for at in starts:
        (folder / f"block-{at}.npz").unlink()
    return {
        "seconds": seconds if timed else None,
        "open_seconds": open_seconds,
        "timings": timings,
        "units": total,
        "rate": total / max(seconds, 1e-9) if timed else None,
        "latency_ms": _quantiles(latencies),
        "hits": int(run.lengths().sum()),
        "queries_without_hits": int((run.lengths() == 0).sum()),
        "peak_memory_bytes": memory.bytes(),
        "threads": context.threads,
        "inputs": {"query": queries_shown, "document": documents_shown},
        "details": details,
        "describe": dict(retriever.describe(context=context)),
        **_made_here(),
    }


def _with_runs(
    context: Context, retriever: Retriever, cells: Mapping[str, _Cell], start: int, stop: int
) -> Context:
    if not retriever.needs:
        return context
    runs = {
        name: Run(cells[name].run.doc_rows[start:stop], cells[name].run.scores[start:stop])
        for name in retriever.needs
    }
    return replace(context, runs=runs)


def _exclusion_of(exclusion: Exclusion, start: int, stop: int) -> Exclusion:
    left, right = np.searchsorted(exclusion.query_rows, [start, stop])
    return Exclusion(exclusion.kind, exclusion.query_rows[left:right] - start, exclusion.doc_rows[left:right])


def _save_block(path: Path, run: Run, seconds: float) -> None:
    with atomic_file(path) as part, part.open("wb") as handle:
        np.savez(handle, rows=run.doc_rows, scores=run.scores, seconds=np.float64(seconds))


def _load_block(path: Path) -> tuple[Any, Any, float]:
    with np.load(path) as block:
        return block["rows"], block["scores"], float(block["seconds"])


def _joined(folder: Path, starts: range, k: int) -> Run:
    blocks = [_load_block(folder / f"block-{at}.npz") for at in starts]
    if not blocks:
        return Run.empty(0, k)
    width = max(b[0].shape[1] for b in blocks)
    return Run(
        np.concatenate([_padded(b[0], width, -1) for b in blocks]),
        np.concatenate([_padded(b[1], width, -np.inf) for b in blocks]),
    )


def _padded(array: Any, width: int, fill: float) -> Any:
    missing = width - array.shape[1]
    return array if not missing else np.pad(array, ((0, 0), (0, missing)), constant_values=fill)


def _latencies(
    searcher: Any, retriever: Retriever, queries: Any, k: int, cells: Mapping[str, _Cell], context: Context
) -> Any:
    """Seconds of queries asked one at a time, warm, after the batch; the same queries for every retriever.

    A composite's figure adds those of the retrievers it needs.
    """
    total = len(queries)
    chosen: Any = np.unique(np.linspace(0, total - 1, min(_LATENCY_QUERIES, total)).astype(np.int64))
    seconds: list[float] = []
    begin = time.perf_counter()
    for place, row in enumerate(chosen):
        one = queries.take(np.array([row]))
        inner = _with_runs(context, retriever, cells, int(row), int(row) + 1)
        start = time.perf_counter()
        searcher.search(one, k, context=inner)
        took = time.perf_counter() - start
        for name in retriever.needs:
            of_needed = np.load(cells[name].artifact.folder / "latencies.npy")
            took += float(of_needed[place]) if place < len(of_needed) else float("nan")
        seconds.append(took)
        if time.perf_counter() - begin > _LATENCY_SECONDS and len(seconds) >= 5:
            break
    return np.array(seconds)


def _quantiles(seconds: Any) -> dict[str, float | int | None]:
    known = seconds[~np.isnan(seconds)] * 1000
    if not len(known):
        return {"p50": None, "p95": None, "queries": 0}
    p50, p95 = np.percentile(known, [50, 95])
    return {"p50": round(float(p50), 4), "p95": round(float(p95), 4), "queries": len(known)}


def _record(
    config: RunConfig,
    entry: RetrieverConfig,
    retriever: Retriever,
    dataset: Dataset,
    cell: _Cell,
    index: Artifact | None,
    output: Path,
    context: Context,
) -> dict[str, Any]:
    """Scores a cell and writes its record, or reads back the one that is there if it would be the same."""
    from seekbench.metrics.evaluate import POLICIES, score

    folder = records.cell_folder(output, dataset.id, dataset.split, entry.name)
    limited = dataset.source.get("limited")  # by --limit, or by the config
    names = [m.name for m in config.measures]
    key = hashing.of_json(
        {
            "schema": records.SCHEMA_VERSION,
            "run": cell.artifact.key,
            "dataset": dataset.hashes,
            "metrics": names,
            "k": config.k,
            "name": config.name,
            "params": entry.params,
            "limited": limited,
            "code": hashing.of_code(
                "seekbench.runner",
                "seekbench.metrics.judged",
                "seekbench.metrics.evaluate",
                "seekbench.metrics.gain",
                "seekbench.metrics.binary",
                "seekbench.run",
            ),
        }
    )
    known = _same_record(folder, key)
    if known:
        return known
    start = time.perf_counter()
    ids = dataset.queries.ids().to_pylist()
    scores = score(cell.run, dataset.qrels, config.measures, query_ids=ids, exclusion=dataset.exclusion)
    score_seconds = time.perf_counter() - start
    facts = cell.artifact.facts
    index_facts = dict(index.facts) if index else {}
    judged = dataset.qrels
    positives = np.bincount(judged.query_rows()[judged.grades > 0], minlength=judged.num_queries)
    record: dict[str, Any] = {
        "key": key,
        "name": config.name,
        "dataset": {
            "id": dataset.id,
            "split": dataset.split,
            "hashes": dataset.hashes,
            "source": dict(dataset.source),
            "template": dataset.template,
            "query_template": dataset.query_template,
            "language": dataset.language,
            "exclusion": dataset.exclusion.kind,
            "documents": len(dataset.corpus),
            "queries": len(dataset.queries),
            "judgments": len(judged),
            "judged_documents_absent": len(judged.absent_ids),
            "queries_without_positives": int((positives == 0).sum()),
            "main_metric": dataset.main_metric,
        },
        "retriever": {
            "name": entry.name,
            "type": entry.type,
            "config": dict(entry.params),
            "params": retriever.params.model_dump(mode="json"),
            "identity": dict(retriever.identity(context=context)),
            "needs": list(retriever.needs),
            "describe": facts.get("describe", {}),
            "details": facts.get("details", {}),
            "inputs": facts.get("inputs", {}),
        },
        "k": config.k,
        "metrics": {
            m.name: {"mean": mean, "std": float(scores.values[:, i].std(ddof=1)) if len(ids) > 1 else None}
            for i, (m, mean) in enumerate(zip(config.measures, scores.mean.values(), strict=True))
        },
        "primary_metric": names[0],
        "policies": {**POLICIES, "exclusion": dataset.exclusion.kind},
        "comparable": limited is None,
        "limited": limited,
        "keys": {"run": cell.artifact.key, "index": index.key if index else None},
        "efficiency": {
            "index_seconds": index_facts.get("seconds"),
            "index_bytes": index_facts.get("bytes"),
            "index_documents_per_second": index_facts.get("rate"),
            "encode_corpus_seconds": index_facts.get("encode_seconds"),
            "open_seconds": facts["open_seconds"],
            "search_seconds": facts["seconds"],
            "search_parts_seconds": facts.get("timings", {}),
            "queries_per_second": facts["rate"],
            "latency_ms": facts["latency_ms"],
            "score_seconds": round(score_seconds, 6),
            "peak_memory_bytes": {
                "index": index_facts.get("peak_memory_bytes"),
                "search": facts["peak_memory_bytes"],
            },
            "threads": facts.get("threads"),
        },
        "index": {k: v for k, v in index_facts.items() if k not in ("hardware", "versions")},
        "queries_without_hits": facts["queries_without_hits"],
        "hardware": facts["hardware"],
        "versions": facts["versions"],
        "made_at": facts["made_at"],
        "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(
        missing_ok=True
    )  # it is the last file written, so it vouches for the others
    _write_parquet(folder / "per_query.parquet", scores.per_query)
    write_trec(cell.run, dataset.corpus, dataset.queries, folder / "run.trec.gz", tag=entry.name)
    records.write(folder, record)
    return records.read(folder)


def _same_record(folder: Path, key: str) -> dict[str, Any] | None:
    if not (folder / "per_query.parquet").exists() or not (folder / "run.trec.gz").exists():
        return None
    try:
        record = records.read(folder)
    except (InputError, orjson.JSONDecodeError, OSError):
        return None
    return record if record.get("key") == key else None


def _write_parquet(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    with atomic_file(path) as part:
        pq.write_table(table, part)
