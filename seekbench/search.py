"""The search of one cell: in blocks of queries that survive an interruption, timed, joined into one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench import environment, plan
from seekbench.candidates import search_among
from seekbench.collection import Dataset
from seekbench.progress import NoProgress
from seekbench.retrievers.protocol import Context, Retriever
from seekbench.runs import Run
from seekbench.store import Artifact, atomic_file

Rows = npt.NDArray[np.int64]

#: Hits (queries x k) of one block of a search: what an interruption may lose, and what bounds memory.
BLOCK_HITS = 2_000_000
#: Queries that are asked one at a time for the latency figures, and the seconds that may take.
_LATENCY_QUERIES, _LATENCY_SECONDS = 50, 10.0
_WARM_UP = 16
#: Seconds of the processor for searches, once a process, until a runtime has compiled what it will (measured: Lucene's
#: searches get three times faster in the first two or three); and the most seconds that may take.
_RUNTIME_SECONDS = {"java": 5.0}
_MOST_WARM_UP = 15.0
_warm: set[str] = set()
#: A search that takes less is repeated until so many seconds are spent, but not more often; its speed is the median of
#: the later half: the first ones pay for caches.
_TIMED_SECONDS, _MOST_PASSES = 1.0, 200
_SHOWN_INPUTS = 3


@dataclass
class Found:
    """What later steps of a dataset need of a finished search. system: hash of what makes it this system."""

    recipe: dict[str, Any]
    identity: Mapping[str, Any]
    system: str
    artifact: Artifact
    run: Run


def search(
    retriever: Retriever,
    index: Path | None,
    dataset: Dataset,
    k: int,
    cells: Mapping[str, Found],
    folder: Path,
    context: Context,
) -> dict[str, Any]:
    """Searches in blocks of queries, each kept in `folder` when it is done, and joins them at the end.

    cells: finished searches of the same dataset by retriever. Returns facts for the record; the run lies in `folder`.
    """
    queries = plan.queries_view(dataset)
    documents = plan.documents_view(dataset)
    total = len(queries)
    fetch = min(k + dataset.exclusion.most, len(documents))
    among = dataset.candidates
    size = max(1, BLOCK_HITS // max(1, fetch))
    timed = getattr(retriever, "timed", True)  # a run file's speed is nobody's
    memory = environment.PeakMemory()
    queries_shown = retriever.render(queries.texts(0, min(_SHOWN_INPUTS, total)), "query", context=context)
    documents_shown = retriever.render(
        documents.texts(0, min(_SHOWN_INPUTS, len(documents))), "document", context=context
    )

    opened = time.perf_counter()
    searcher = retriever.open(index, documents, context=context)
    open_seconds = time.perf_counter() - opened
    quiet = replace(context, progress=NoProgress())

    def ask(rows: Rows, depth: int, inner: Context) -> Run:
        return searcher.search(queries.take(rows), depth, context=_with_runs(inner, retriever, cells, rows))

    def block(at: int, stop: int, inner: Context) -> tuple[Run, dict[str, float]]:
        """The hits of a block of queries; its seconds, in all and by part of the work."""
        rows = np.arange(at, stop)
        before = dict(getattr(searcher, "timings", {}))
        begin = time.perf_counter()
        if among is None:
            run = ask(rows, fetch, inner)
        else:
            run = search_among(
                lambda some, depth: ask(rows[some], depth, inner), among.between(at, stop), stop - at, fetch,
                len(documents),
            )  # fmt: skip
        spent = {"all": time.perf_counter() - begin}
        for part, total_so_far in getattr(searcher, "timings", {}).items():
            spent[part] = total_so_far - before.get(part, 0.0)
        return run, spent

    try:
        if timed and total:  # compilers and caches warm up on a few queries that are asked again, timed
            _warm_up(searcher, lambda rows: ask(rows, fetch, quiet), total)
        starts = range(0, total, size)
        done = sum(min(size, total - at) for at in starts if (folder / f"block-{at}.npz").exists())
        # One block: the retriever shows its own stages. Several: one bar over all of them says more.
        many = len(starts) > 1
        inner = quiet if many else context
        shown_by = context.progress if many else NoProgress()
        with shown_by.stage("search", total=total, unit="queries", done=done) as stage:
            for at in starts:
                path = folder / f"block-{at}.npz"
                if path.exists():
                    continue
                stop = min(at + size, total)
                counted = dict(getattr(searcher, "counts", {}))
                run, spent = block(at, stop, inner)
                counts = {n: c - counted.get(n, 0) for n, c in getattr(searcher, "counts", {}).items()}
                _check(run, stop - at)
                _save_block(path, run.without(dataset.exclusion.between(at, stop), k), spent, counts)
                stage.advance(stop - at)
        run, timings, counts = _joined(folder, starts, k)
        passes = [timings]
        while (
            timed and total and len(passes) < _MOST_PASSES and sum(p["all"] for p in passes) < _TIMED_SECONDS
        ):
            passes.append(_sums(block(at, min(at + size, total), quiet)[1] for at in starts))
        timings = _median(passes)
        latencies = _latencies(searcher, retriever, queries, fetch, cells, quiet) if timed else np.empty(0)
        if hasattr(searcher, "counts"):
            searcher.counts |= counts  # of no query that was asked for the sake of time alone
        finish = getattr(searcher, "finish", None)
        details = finish(run) if finish else {}
    finally:
        searcher.close()

    # A composite's answer takes the time of its parts too; unknown where one of them is not timed.
    own = timings.pop("all", 0.0)
    inherited = [cells[name].artifact.facts["total_seconds"] for name in retriever.needs]
    seconds = own + sum(inherited) if timed and None not in inherited else None
    run.save(folder)
    np.save(folder / "latencies.npy", latencies)
    for at in starts:
        (folder / f"block-{at}.npz").unlink()
    return {
        "seconds": own if timed else None,
        "total_seconds": seconds,
        "open_seconds": open_seconds,
        "timings": timings,
        "passes": len(passes),
        "units": total,
        "rate": None if seconds is None else total / max(seconds, 1e-9),
        "latency_ms": _quantiles(latencies),
        "hits": int(run.lengths().sum()),
        "queries_without_hits": int((run.lengths() == 0).sum()),
        "peak_memory_bytes": memory.bytes(),
        "threads": context.threads,
        "inputs": {"query": queries_shown, "document": documents_shown},
        "details": details,
        "describe": dict(retriever.describe(context=context)),
        **made_here(),
    }


def _check(run: Run, queries: int) -> None:
    """Refuses what no retriever may return: too few queries, or a document twice (which would score double)."""
    if run.num_queries != queries:
        raise RuntimeError(f"the retriever answered {run.num_queries} of {queries} queries")
    ordered = np.sort(run.doc_rows, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        raise RuntimeError(
            f"the retriever returned a document twice for {int(twice.any(axis=1).sum())} queries"
        )


def _save_block(path: Path, run: Run, spent: Mapping[str, float], counts: Mapping[str, float]) -> None:
    with atomic_file(path) as part, part.open("wb") as handle:
        timings = {f"seconds.{name}": np.float64(seconds) for name, seconds in spent.items()}
        counted = {f"counts.{name}": np.float64(count) for name, count in counts.items()}
        np.savez(handle, allow_pickle=False, rows=run.doc_rows, scores=run.scores, **timings, **counted)


def _joined(folder: Path, starts: range, k: int) -> tuple[Run, dict[str, float], dict[str, float]]:
    """The whole run; the seconds of all blocks by part of the work, and their counts."""
    runs: list[Run] = []
    sums: dict[str, dict[str, float]] = {"seconds": {}, "counts": {}}
    for at in starts:
        with np.load(folder / f"block-{at}.npz") as block:
            runs.append(Run(block["rows"], block["scores"]))
            for name in block.files:
                kind, _, part = name.partition(".")
                if kind in sums:
                    sums[kind][part] = sums[kind].get(part, 0.0) + float(block[name])
    joined = Run.stacked(runs) if runs else Run.empty(0, k)
    return joined, sums["seconds"], sums["counts"]


def _warm_up(searcher: Any, ask: Callable[[Rows], Run], total: int) -> None:
    """Some queries, and as many again as a runtime needs that compiles what runs."""
    begin, spent = time.perf_counter(), time.process_time()
    ask(np.arange(min(_WARM_UP, total)))
    runtime = getattr(searcher, "runtime", None)
    if runtime is None or runtime in _warm:
        return
    _warm.add(runtime)
    at, size = 0, min(_WARM_UP * 4, total)
    while (
        time.process_time() - spent < _RUNTIME_SECONDS[runtime]
        and time.perf_counter() - begin < _MOST_WARM_UP
    ):
        ask(np.arange(at, at + size) % total)
        at += size


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            sums[name] = sums.get(name, 0.0) + seconds
    return sums


def _median(passes: Sequence[dict[str, float]]) -> dict[str, float]:
    """The seconds of the median pass by its whole time, of the later half."""
    warm = sorted(passes[len(passes) // 2 :], key=lambda seconds: seconds.get("all", 0.0))
    return dict(warm[len(warm) // 2])


def _with_runs(context: Context, retriever: Retriever, cells: Mapping[str, Found], rows: Any) -> Context:
    """With the runs of a composite's parts, of these query rows (int64, or a slice)."""
    if not retriever.needs:
        return context
    runs = {
        name: Run(cells[name].run.doc_rows[rows], cells[name].run.scores[rows]) for name in retriever.needs
    }
    return replace(context, runs=runs)


def _latencies(
    searcher: Any, retriever: Retriever, queries: Any, k: int, cells: Mapping[str, Found], context: Context
) -> Any:
    """Seconds of queries asked one at a time, warm, after the batch; the same queries for every retriever.

    A composite's figure adds those of the retrievers it needs.
    """
    total = len(queries)
    chosen: Any = np.unique(np.linspace(0, total - 1, min(_LATENCY_QUERIES, total)).astype(np.int64))
    seconds: list[float] = []
    needed = [np.load(cells[name].artifact.folder / "latencies.npy") for name in retriever.needs]
    begin = time.perf_counter()
    for place, row in enumerate(chosen):
        one = queries.take(np.array([row]))
        inner = _with_runs(context, retriever, cells, slice(int(row), int(row) + 1))
        start = time.perf_counter()
        searcher.search(one, k, context=inner)
        took = time.perf_counter() - start
        for of_needed in needed:
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


def made_here() -> dict[str, Any]:
    """Time, hardware and versions, for facts."""
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": {**environment.hardware(), "gpus": environment.gpus()},
        "versions": environment.versions(),
    }
