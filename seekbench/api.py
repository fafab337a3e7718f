"""The Python API; `import seekbench` loads it on first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seekbench.collection import Dataset, Qrels
from seekbench.metrics.evaluate import Scores
from seekbench.runs import Run

if TYPE_CHECKING:
    from seekbench.retrievers.protocol import Retriever

RunLike = Run | Mapping[str, Mapping[str, float]]
QrelsLike = Qrels | Mapping[str, Mapping[str, int]]


def load_dataset(
    dataset: str | Mapping[str, Any],
    *,
    split: str | None = None,
    store: Path | None = None,
    offline: bool = False,
    limit: int | None = None,
) -> Dataset:
    """A dataset by card name, or by a mapping as in a config: `{"path": "./folder", "split": "test"}`.

    Raises InputError for an unknown name or defective data, MissingError where a download is needed and can't be had.
    """
    from seekbench.datasets import catalogue
    from seekbench.datasets.load import load
    from seekbench.progress import NoProgress
    from seekbench.store import Store

    entry: Any = dataset if isinstance(dataset, str) else dict(dataset)
    if split is not None:
        is_path = isinstance(entry, str) and entry.startswith((".", "/", "~"))
        entry = {
            **({"path" if is_path else "name": entry} if isinstance(entry, str) else entry),
            "split": split,
        }
    (spec,) = catalogue.parse(entry, base=Path.cwd())
    return load(spec, store=Store(store), progress=NoProgress(), offline=offline, limit=limit)


def load_retriever(type: str, /, **params: Any) -> Retriever:
    """A retriever by type and parameters, e.g. `load_retriever("bm25", k1=1.2)`; nothing is loaded yet.

    Raises InputError for an unknown type or parameter.
    """
    from pydantic import ValidationError

    from seekbench.config import add_validation_errors
    from seekbench.errors import Report
    from seekbench.retrievers import registry
    from seekbench.yamlfile import Marked

    cls = registry.resolve(type)
    try:
        return cls(cls.Params.model_validate(params))
    except ValidationError as error:
        report = Report()
        add_validation_errors(report, error, Marked(params), (), cls.Params, what=f"type '{type}'")
        report.raise_if_errors()
        raise


def run(
    config: str | Path,
    *,
    output: Path | None = None,
    set: Sequence[str] = (),
    store: Path | None = None,
    limit: int | None = None,
    offline: bool = False,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Runs a config (path or shipped name) like `seekbench run`; the result records, one a cell.

    Raises SeekbenchError if a cell failed, after all others are done and written.
    """
    from seekbench.cli.common import find_config
    from seekbench.config import load
    from seekbench.errors import SeekbenchError
    from seekbench.retrievers.protocol import Context
    from seekbench.runner import execute
    from seekbench.store import Store

    path, shown = find_config(str(config))
    loaded = load(path, set, shown=shown)
    outcome = execute(
        loaded,
        output=output or Path("results") / loaded.name,
        store=Store(store),
        context=Context(offline=offline, device=device),
        limit=limit,
    )
    if outcome.failures:
        raise SeekbenchError("; ".join(f"{f.dataset} {f.retriever}: {f.cause}" for f in outcome.failures))
    return outcome.records


def evaluate(run: RunLike, qrels: QrelsLike, metrics: str | Sequence[str]) -> Scores:
    """Scores a run: `evaluate(run, qrels, ["ndcg@10"]).mean["ndcg@10"]`; `.per_query` is an Arrow table.

    run, qrels: `{query: {document: score}}` and `{query: {document: grade}}`, or a Run and the Qrels of the
    same rows. The mean is over all judged queries; one without hits counts 0. Raises InputError for an unknown
    metric, a NaN score, or a grade that is no integer.
    """
    from seekbench.metrics.evaluate import score
    from seekbench.metrics.measure import parse_all

    measures = parse_all([metrics] if isinstance(metrics, str) else metrics)
    if isinstance(run, Run) and isinstance(qrels, Qrels):
        return score(run, qrels, measures, query_ids=[str(i) for i in range(qrels.num_queries)])
    if isinstance(run, Run) or isinstance(qrels, Qrels):
        raise TypeError("give both as arrays (Run and Qrels) or both by id")
    arrays, judgments, ids = from_dicts(run, qrels)
    return score(arrays, judgments, measures, query_ids=ids)


def from_dicts(
    run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]
) -> tuple[Run, Qrels, list[str]]:
    """(run, qrels, ids of the judged queries) as arrays. Queries of the run without judgments are left out."""
    import math

    import numpy as np
    import pyarrow as pa

    from seekbench.collection import byte_order
    from seekbench.errors import InputError

    ids = [query for query in qrels if qrels[query]]  # trec_eval knows no query without judgments
    documents = list(dict.fromkeys([d for q in ids for d in (*qrels[q], *run.get(q, {}))]))
    row = {d: i for i, d in enumerate(documents)}
    order = byte_order(pa.array(documents, pa.large_string()))
    k = max([len(run.get(q, {})) for q in ids], default=0) or 1
    rows = np.full((len(ids), k), -1, np.int64)
    scores = np.full((len(ids), k), -np.inf, np.float32)
    triples: list[tuple[int, int, int]] = []
    for i, query in enumerate(ids):
        hits = run.get(query, {})
        rows[i, : len(hits)] = [row[d] for d in hits]
        for document, value in hits.items():
            if math.isnan(value):
                raise InputError(f"query '{query}', document '{document}': the score is NaN")
        scores[i, : len(hits)] = np.array(list(hits.values()), dtype=np.float64).astype(np.float32)
        for document, grade in qrels[query].items():
            if int(grade) != grade:
                raise InputError(f"query '{query}', document '{document}': the grade {grade} is no integer")
            triples.append((i, row[document], int(grade)))
    q, d, g = (
        (np.array(column, dtype=np.int64) for column in zip(*triples, strict=True))
        if triples
        else ([np.empty(0, np.int64)] * 3)
    )
    judgments = Qrels.from_triples(q, d, g, queries=len(ids), corpus_size=len(documents))
    return Run.ranked(rows, scores, order), judgments, ids
