"""Writes what a cell gave: `result.json`, scores per query and the run file; or what went wrong.

Several runs may write into one folder: each holds it alone while it writes, and the record holds the hashes of
the files beside it, so that a mixture is seen and written anew.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from seekbench import hashing
from seekbench.approximation import compared
from seekbench.collection import Dataset
from seekbench.config import RetrieverConfig, RunConfig
from seekbench.errors import InputError
from seekbench.leaderboard import records
from seekbench.metrics.correlation import OF_PAIRS, pairs_without_hit
from seekbench.metrics.measure import FAMILIES
from seekbench.retrievers.protocol import Context, Retriever
from seekbench.runs import write_trec
from seekbench.search import Found
from seekbench.store import Artifact, atomic_file, write_atomic

if TYPE_CHECKING:
    from seekbench.metrics.evaluate import Scores

_FILES = (records.PER_QUERY_FILE, records.RUN_FILE)


def record(
    config: RunConfig,
    entry: RetrieverConfig,
    retriever: Retriever,
    dataset: Dataset,
    cell: Found,
    index: Artifact | None,
    output: Path,
    *,
    context: Context,
    parts: Sequence[Mapping[str, Any]] = (),
    exact: Found | None = None,
) -> dict[str, Any]:
    """Scores a cell and writes its record, or reads back the one that is there if it would be the same.

    exact: of an approximate system, the search that it is compared with. parts: of a composite, `training` of the
    records of those retrievers that it needs and that learnt from a split.
    """
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
            "baseline": config.baseline,
            **({"exact": exact.artifact.key} if exact else {}),
            "code": hashing.of_code(
                __name__,
                "seekbench.approximation",
                "seekbench.runs",
                "seekbench.metrics.judged",
                "seekbench.metrics.evaluate",
                "seekbench.metrics.measure",
                "seekbench.metrics.prefix",
                "seekbench.metrics.ties",
                "seekbench.statistics.correlation",
                "seekbench.statistics.intervals",
                "seekbench.statistics.resampling",
                "seekbench.training.queries",
                "seekbench.datasets.leakage",
                *(f"seekbench.metrics.{family}" for family in FAMILIES),
            ),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        known = _same(folder, key, str(cell.artifact.facts["made_at"]))
        if known:
            (folder / "failure.json").unlink(missing_ok=True)
            return known
        return _write(config, entry, retriever, dataset, cell, index, folder, key, context, parts, exact)


def _write(
    config: RunConfig,
    entry: RetrieverConfig,
    retriever: Retriever,
    dataset: Dataset,
    cell: Found,
    index: Artifact | None,
    folder: Path,
    key: str,
    context: Context,
    parts: Sequence[Mapping[str, Any]],
    exact: Found | None,
) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from seekbench.metrics.evaluate import POLICIES, score

    limited = dataset.source.get("limited")
    names = [m.name for m in config.measures]
    start = time.perf_counter()
    ids = dataset.queries.ids().to_pylist()
    scores = score(cell.run, dataset.qrels, config.measures, query_ids=ids, exclusion=dataset.exclusion)
    score_seconds = time.perf_counter() - start
    approximation: dict[str, Any] | None = None
    if exact is not None:
        best = score(exact.run, dataset.qrels, config.measures, query_ids=ids, exclusion=dataset.exclusion)
        approximation = {
            **compared(cell.run, scores, exact.run, best),
            "exact_run": exact.artifact.key,
            "exact_latency_ms": exact.artifact.facts["latency_ms"],
        }
    facts = cell.artifact.facts
    index_facts = dict(index.facts) if index else {}
    judged, level = dataset.qrels, dataset.qrels.relevance_level
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
            "candidates": None
            if dataset.candidates is None
            else {"kind": dataset.candidates.kind, "pairs": len(dataset.candidates)},
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
            "system": cell.system,
            "config": dict(entry.params),
            "params": retriever.params.model_dump(mode="json"),
            "identity": dict(cell.identity),
            "needs": list(retriever.needs),
            "describe": facts.get("describe", {}),
            "details": facts.get("details", {}),
            "inputs": facts.get("inputs", {}),
        },
        "k": config.k,
        "metrics": _figures(scores),
        "pairs": _pairs(scores),
        "training": _trained(retriever, dataset, scores, context, parts),
        "approximation": approximation,
        "primary_metric": names[0],
        "baseline": config.baseline,
        "policies": {
            **POLICIES,
            "exclusion": dataset.exclusion.kind,
            **({"relevance_level": level} if level != 1 else {}),
        },
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
            "search_passes": facts.get("passes"),
            "queries_per_second": facts["rate"],
            "latency_ms": facts["latency_ms"],
            "score_seconds": round(score_seconds, 6),
            "peak_memory_bytes": {
                "index": index_facts.get("peak_memory_bytes"),
                "search": facts["peak_memory_bytes"],
            },
            "threads": facts.get("threads"),
        },
        "index": {k: v for k, v in index_facts.items() if k not in ("hardware", "versions", "_files")},
        "queries_without_hits": facts["queries_without_hits"],
        "hardware": facts["hardware"],
        "versions": facts["versions"],
        "made_at": facts["made_at"],
        "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # result.json is the last file written, so it vouches for the others.
    (folder / "result.json").unlink(missing_ok=True)
    with atomic_file(folder / "per_query.parquet") as part:
        pq.write_table(scores.per_query, part)
    write_trec(cell.run, dataset.corpus, dataset.queries, folder / records.RUN_FILE, tag=entry.name)
    record["files"] = {name: hashing.of_file(folder / name) for name in _FILES}
    records.write(folder, record)
    (folder / "failure.json").unlink(missing_ok=True)
    return records.read(folder)


def _figures(scores: Scores) -> dict[str, Any]:
    """Per metric: mean (None where it is not defined, as a figure of the whole run may be), std over queries, a 95%
    bootstrap interval, and what the order of tied documents is worth."""
    out: dict[str, Any] = {}
    intervals = scores.intervals()
    for i, m in enumerate(scores.measures):
        values = scores.values[:, i]
        values = values[~np.isnan(values)]
        mean, tie = scores.mean[m.name], scores.ties[m.name]
        out[m.name] = {
            "mean": mean if math.isfinite(mean) else None,
            "aggregate": m.definition.aggregate,
            "std": float(values.std(ddof=1)) if len(values) > 1 else None,
            "interval": intervals[m.name],
            "ties": None if tie is None else asdict(tie),
        }
    return out


def _pairs(scores: Scores) -> dict[str, Any] | None:
    """Of correlations over judged pairs: how many there are, and how many of them no retrieved document answers."""
    if not any(m.base in OF_PAIRS for m in scores.measures):
        return None
    assert scores.judged is not None
    return {
        "judged": len(scores.qrels),
        "without_hit": pairs_without_hit(scores.judged),
        "policy": "a pair without a hit counts with score 0",
    }


def _trained(
    retriever: Retriever,
    dataset: Dataset,
    scores: Scores,
    context: Context,
    parts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any] | None:
    """Of a system that learnt from another split: what, and its figures on two parts of the queries, beside which
    those over all queries say little. without_neighbour: those whose neighbour it did not learn from (with_neighbour
    has the ids of the others; `training.queries.with_neighbour`); unseen: those none of whose relevant documents a
    training query names (`training.queries.unseen_documents`; seen has the ids of the others).

    A composite knows what its parts know: a query has a neighbour, or a seen document, where it has for any of them.
    """
    from seekbench.datasets.leakage import THRESHOLD
    from seekbench.training.queries import unseen_documents, with_neighbour

    facts: dict[str, Any]
    data = getattr(retriever, "training", None)
    if data is not None:
        embed = getattr(retriever, "embed_queries", None)
        near = with_neighbour(dataset, data, partial(embed, context=context) if embed else None)
        new = unseen_documents(dataset, data)
        seen = ~new.queries
        facts = {
            "split": data.split,
            "pairs": len(data.query),
            "left_out": data.left_out,
            "threshold": THRESHOLD,
            "method": "embeddings" if embed else "tf-idf of character 4-grams",
            "relevant_documents": new.relevant,
            "relevant_documents_unseen": new.unseen,
        }
    elif parts:
        ids = scores.query_ids
        near, seen = (
            np.isin(ids, [i for part in parts for i in part[name]]) for name in ("with_neighbour", "seen")
        )
        facts = {
            "split": ", ".join(dict.fromkeys(str(part["split"]) for part in parts)),
            "threshold": THRESHOLD,
        }
    else:
        return None

    def means(chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for i, m in enumerate(scores.measures):
            if m.definition.aggregate == "mean" and chosen.any():
                mean = m.aggregate(scores.values[chosen, i])
                out[m.name] = {"mean": mean if math.isfinite(mean) else None}
        return out

    return {
        **facts,
        "queries_with_neighbour": int(near.sum()),
        "queries_without_neighbour": int((~near).sum()),
        "with_neighbour": [scores.query_ids[i] for i in np.flatnonzero(near).tolist()],
        "without_neighbour": means(~near),
        "queries_unseen": int((~seen).sum()),
        "seen": [scores.query_ids[i] for i in np.flatnonzero(seen).tolist()],
        "unseen": means(~seen),
    }


def record_failure(output: Path, dataset: str, split: str, retriever: str, cause: str) -> None:
    """Writes `failure.json`; an earlier record of the cell is kept as `result.previous.json`, so that no
    leaderboard shows it for the run that failed."""
    folder = records.cell_folder(output, dataset, split, retriever)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if (folder / "result.json").exists():
            (folder / "result.json").replace(folder / "result.previous.json")
        failed = {"cause": cause, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomic(folder / "failure.json", orjson.dumps(failed, option=orjson.OPT_INDENT_2))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds a lock on the folder; it dies with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in folder.glob(".*.part"):  # by a killed writer: who writes here holds the lock
            left.unlink()
        yield
    finally:
        os.close(descriptor)


def _same(folder: Path, key: str, made_at: str) -> dict[str, Any] | None:
    """The record that is there, if it is the one that would be written and its files are whole. made_at: of the run; a
    later one has other speeds."""
    try:
        known = records.read(folder)
        whole = all(hashing.of_file(folder / name) == known["files"][name] for name in _FILES)
    except (InputError, OSError, KeyError, TypeError):
        return None
    return known if whole and (known.get("key"), known.get("made_at")) == (key, made_at) else None
