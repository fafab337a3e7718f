"""The Python API; `import seekbench` loads it on first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from seekbench.collection import Dataset
    from seekbench.comparison import Comparison, Correction, Test
    from seekbench.metrics.evaluate import Scores
    from seekbench.ranking import MissingQueries, TieBreak
    from seekbench.retrievers.protocol import Retriever


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
    from seekbench.errors import InputError
    from seekbench.progress import NoProgress
    from seekbench.store import Store

    entry: Any = dataset if isinstance(dataset, str) else dict(dataset)
    if split is not None:
        is_path = isinstance(entry, str) and entry.startswith((".", "/", "~"))
        entry = {
            **({"path" if is_path else "name": entry} if isinstance(entry, str) else entry),
            "split": split,
        }
    found = catalogue.parse(entry, base=Path.cwd())
    if len(found) > 1:
        raise InputError(
            f"this means {len(found)} datasets",
            remedy="name one: " + ", ".join(spec.id for spec in found[:5]),
        )
    return load(found[0], store=Store(store), progress=NoProgress(), offline=offline, limit=limit)


def load_retriever(type: str, /, **params: Any) -> Retriever:
    """A retriever by type and parameters, e.g. `load_retriever("bm25", k1=1.2)`; nothing is loaded yet.

    Raises InputError for an unknown type or parameter.
    """
    from pydantic import ValidationError

    from seekbench.errors import Report
    from seekbench.retrievers import registry
    from seekbench.validation import add_validation_errors
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


def evaluate(
    run: Any,
    qrels: Any,
    metrics: str | Sequence[str],
    *,
    tie_break: TieBreak = "trec_eval",
    missing_queries: MissingQueries = "zero",
    exclude_identical: bool = False,
    most_unjudged: float = 0.9,
) -> Scores:
    """Scores a run: `evaluate(run, qrels, ["ndcg@10"]).mean["ndcg@10"]`; `.per_query` is an Arrow table,
    `.intervals()`, `.ties` and `.warnings` tell how far the figure can be trusted.

    run: `{query: {document: score}}`, the path of a TREC file, a pandas, polars or Arrow frame, a ranx Run, an iterable
    of ir_measures' ScoredDoc, or a `Run`. qrels: likewise, or a `Qrels` of the same rows as the `Run`. Ids are strings;
    whole numbers become their digits. The mean is over all judged queries; one without hits counts 0.

    tie_break: `trec_eval` (docid bytes descending), `docid_asc`, `file` (the order given) or `error`; missing_queries:
    `zero` or `drop`; exclude_identical: takes out hits on the document that has the query's id; most_unjudged: the
    share of the run's queries that may lack judgments.
    Raises InputError for an unknown metric, a NaN score, a grade that is no integer, a pair that occurs twice, a run of
    other queries.
    """
    from seekbench.collection import Qrels
    from seekbench.interchange import hits_of, judgments_of
    from seekbench.metrics.evaluate import score
    from seekbench.metrics.measure import parse_all
    from seekbench.runs import Run
    from seekbench.scoring import Policies, evaluate_columns

    measures = parse_all([metrics] if isinstance(metrics, str) else metrics)
    if isinstance(run, Run) and isinstance(qrels, Qrels):
        if (tie_break, missing_queries, exclude_identical) != ("trec_eval", "zero", False):
            raise TypeError("a Run is ranked already: its policies can't be chosen here")
        return score(run, qrels, measures, query_ids=[str(i) for i in range(qrels.num_queries)])
    if isinstance(run, Run) or isinstance(qrels, Qrels):
        raise TypeError("give both as arrays (Run and Qrels) or both by id")
    policies = Policies(tie_break, missing_queries, exclude_identical, most_unjudged)
    return evaluate_columns(hits_of(run), judgments_of(qrels), measures, policies).released()


def compare(
    runs: Mapping[str, Any],
    qrels: Any,
    metrics: str | Sequence[str],
    *,
    baseline: str | None = None,
    test: Test = "t",
    correction: Correction = "holm",
    alpha: float = 0.05,
    tie_break: TieBreak = "trec_eval",
    missing_queries: Literal["zero"] = "zero",
    exclude_identical: bool = False,
    most_unjudged: float = 0.9,
) -> dict[str, Comparison]:
    """Systems side by side on the same judgments: `compare({"bm25": ..., "dense": ...}, qrels, "ndcg@10")["ndcg@10"]`.

    runs: by name, each as `evaluate` takes it; the first is the baseline unless another is named. test: t, wilcoxon,
    randomization, bootstrap or tukey; correction: holm, bonferroni, bh or none, over the comparisons of a metric. A
    `Comparison` has means, intervals, pairs (delta, p, adjusted, effect, wins ...) and groups. Every judged query
    counts, as 0 where a run lacks it. Raises InputError as `evaluate` does, and for a metric that is no mean over
    queries.
    """
    import numpy as np

    from seekbench.comparison import compare as compared
    from seekbench.errors import InputError, did_you_mean
    from seekbench.interchange import hits_of, judgments_of
    from seekbench.metrics.measure import parse_all
    from seekbench.scoring import Policies, evaluate_columns

    measures = parse_all([metrics] if isinstance(metrics, str) else metrics)
    names = list(runs)
    if len(names) < 2:
        raise InputError("compare needs two runs")
    if baseline is not None and baseline not in names:
        raise InputError(f"no run '{baseline}' among these", remedy=did_you_mean(baseline, names))
    for measure in measures:
        if measure.definition.aggregate != "mean":
            raise InputError(f"{measure.name} is no mean over queries, so there is nothing to test")
    policies = Policies(tie_break, missing_queries, exclude_identical, most_unjudged)
    judgments = judgments_of(qrels)
    values = np.stack(
        [
            evaluate_columns(hits_of(run, name=name), judgments, measures, policies).values
            for name, run in runs.items()
        ],
        axis=2,
    )
    first = names.index(baseline) if baseline is not None else 0
    return {
        m.name: compared(
            m.name, names, values[:, i, :], baseline=first, test=test, correction=correction, alpha=alpha
        )
        for i, m in enumerate(measures)
    }
