"""A smaller collection that ranks systems as the whole one does: the relevant documents, and hard negatives pooled from
runs.

MMTEB made its large retrieval tasks smaller in this way: the first 250 documents a query of BM25, multilingual-e5-large
and e5-mistral-7b-instruct, all relevant documents, and up to 1,000 queries drawn at random (Enevoldsen et al. 2025,
arXiv 2502.13595; github.com/embeddings-benchmark/mteb pull request 1236). Whatever the runs of the pool find at
their top stays in the collection, so their own scores hardly change: what tells is a system that had no part in the
pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.analysis.cases import Case, rescored
from seekbench.collection import Dataset, byte_order
from seekbench.runs import Run
from seekbench.statistics.correlation import kendall_tau, spearman, swapped

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: MMTEB's depth of the pool.
DEPTH = 250
SEED = 13
#: Systems from which on a correlation of two orders says something.
FEWEST_SYSTEMS = 5


@dataclass(frozen=True)
class Sample:
    """queries: int64 rows of the queries kept, ascending. documents: bool [corpus]; relevant, pooled, random: int64
    rows of the documents that are kept as such, each under the first that applies."""

    queries: Ints
    documents: Mask
    relevant: Ints
    pooled: Ints
    random: Ints


def draw(
    case: Case, pool: Sequence[int], *, depth: int = DEPTH, queries: int | None = None, random: int = 0,
    seed: int = SEED,
) -> Sample:  # fmt: skip
    """Draws queries; takes the documents relevant to them, the first `depth` of the pool's runs, and `random` others.

    case: with its dataset; pool: systems (places). queries, random: drawn without replacement by numpy's PCG64 of the
    seed; all if None or more than there are. Every document of grade 1 or more that the corpus has is kept.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = np.arange(len(case.query_ids))
    if queries is not None and queries < len(chosen):
        chosen = np.sort(rng.choice(chosen, size=queries, replace=False))
    nothing = np.empty(0, np.int64)
    others = np.flatnonzero(~_compose(case, pool, chosen, depth, nothing).documents)
    extra = rng.choice(others, size=min(random, len(others)), replace=False) if random else nothing
    return _compose(case, pool, chosen, depth, extra)


def of_pool(sample: Sample, case: Case, pool: Sequence[int], *, depth: int = DEPTH) -> Sample:
    """The sample with the pool of other systems, the same queries and the same random documents."""
    return _compose(case, pool, sample.queries, depth, sample.random)


def _compose(case: Case, pool: Sequence[int], queries: Ints, depth: int, extra: Ints) -> Sample:
    assert case.dataset is not None
    rows = _corpus_rows(case)
    asked = np.zeros(len(case.query_ids), dtype=np.bool_)
    asked[queries] = True
    wanted = case.qrels.doc_rows[(case.qrels.grades > 0) & asked[case.qrels.query_rows()]]
    found = [np.asarray(case.runs[system].top_rows(depth))[queries].ravel() for system in pool]
    hits = np.concatenate([f[f >= 0] for f in found]) if found else np.empty(0, np.int64)
    kept = np.zeros(len(case.dataset.corpus), dtype=np.bool_)
    parts = [_add(kept, part) for part in (rows[wanted], rows[hits], extra)]
    return Sample(queries, kept, *parts)


def _corpus_rows(case: Case) -> Ints:
    """int64 [documents of the case]: rows of the corpus, -1 for documents that it lacks."""
    assert case.dataset is not None
    return case.dataset.corpus.rows_of(case.doc_ids)


def _add(kept: Mask, rows: Ints) -> Ints:
    """Marks rows as kept; those that were not before, ascending. -1 is no row."""
    new = np.unique(rows[rows >= 0])
    new = new[~kept[new]]
    kept[new] = True
    return new.astype(np.int64)


def restricted(case: Case, sample: Sample) -> Case:
    """The case's runs on the documents of a sample alone, with their scores on its queries (NaN on all others).

    This is what the systems would find there, as deep as the runs go, if a score depends on the query and the document
    alone; one that depends on the corpus (BM25's idf and average length) is approximated.
    """
    rows = _corpus_rows(case)
    there = np.where(rows >= 0, sample.documents[np.maximum(rows, 0)], False)
    order = byte_order(case.doc_ids)
    runs = []
    for run in case.runs:
        keep = (run.doc_rows >= 0) & there[np.maximum(run.doc_rows, 0)]
        runs.append(Run.ranked(np.where(keep, run.doc_rows, -1), run.scores, order))
    found = rescored(replace(case, runs=tuple(runs)))
    scores = np.full(found.scores.shape, np.nan)
    scores[sample.queries] = found.scores[sample.queries]
    return replace(found, scores=scores)


def short_lists(before: Case, after: Case, sample: Sample, k: int) -> Ints:
    """int64 [systems]: queries whose restricted list is shorter than k, and than the sample has documents, though the
    whole one was not: there the score may be too low."""
    out = []
    for whole, part in zip(before.runs, after.runs, strict=True):
        full, rest = whole.lengths()[sample.queries], part.lengths()[sample.queries]
        wanted = min(k, int(sample.documents.sum()))
        out.append(int(((full >= wanted) & (rest < wanted)).sum()))
    return np.array(out, dtype=np.int64)


@dataclass(frozen=True)
class Agreement:
    """How alike systems are ranked by two arrays of scores. tau: Kendall's tau-b; rho: Spearman's; NaN where not
    defined. swaps: pairs in opposite order, of `pairs`; largest: the largest absolute change of a score."""

    tau: float
    rho: float
    swaps: int
    pairs: int
    largest: float


def agreement(before: npt.ArrayLike, after: npt.ArrayLike) -> Agreement:
    """Of two arrays float64 [systems]; systems with a NaN are left out."""
    one, other = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    known = ~(np.isnan(one) | np.isnan(other))
    count = int(known.sum())
    largest = float(np.abs(one - other)[known].max(initial=0.0))
    pairs = count * (count - 1) // 2
    return Agreement(kendall_tau(one, other), spearman(one, other), swapped(one, other), pairs, largest)


@dataclass(frozen=True)
class Report:
    """Mean scores, float64 [systems], of the first measure. before: on the whole collection; same_queries: on it, with
    the sample's queries alone; after: restricted to the sample; left_out: restricted to the sample whose pool lacks the
    system (what `after` is for a system that was in no pool); NaN where that leaves no pool. without: per system of
    the pool, the agreement of all systems' scores on the sample pooled without it. short: `short_lists`."""

    before: Floats
    same_queries: Floats
    after: Floats
    left_out: Floats
    without: dict[int, Agreement]
    short: Ints


def report(case: Case, sample: Sample, pool: Sequence[int], *, depth: int = DEPTH) -> Report:
    """What becomes of the systems' scores and of their order."""
    measure = case.measures[0]
    narrowed = restricted(case, sample)
    before, after = _means(case), _means(narrowed)
    same = np.array([measure.aggregate(column) for column in case.scores[sample.queries, 0, :].T])
    left_out, without = after.copy(), {}
    for system in pool:
        others = [other for other in pool if other != system]
        if not others:
            left_out[system] = np.nan
            continue
        alone = _means(restricted(case, of_pool(sample, case, others, depth=depth)))
        left_out[system] = alone[system]
        without[system] = agreement(before, alone)
    return Report(
        before, same, after, left_out, without, short_lists(case, narrowed, sample, measure.k or depth)
    )


def _means(case: Case) -> Floats:
    """float64 [systems]: of the first measure, over the queries that have a score."""
    measure = case.measures[0]
    columns = (column[~np.isnan(column)] for column in case.scores[:, 0, :].T)
    return np.array([measure.aggregate(column) for column in columns])


def write(folder: Path, case: Case, sample: Sample) -> dict[str, int]:
    """Writes corpus.jsonl, queries.jsonl and qrels/<split>.tsv in BEIR's layout; how many judgments were kept and left
    out. Judgments of documents that are not kept go too: all are of grade 0 or less. Relevant documents that the corpus
    lacked from the start stay judged, as they count in recall."""
    dataset = case.dataset
    assert dataset is not None
    (folder / "qrels").mkdir(parents=True)
    _write_lines(folder / "corpus.jsonl", dataset, np.flatnonzero(sample.documents), documents=True)
    _write_lines(folder / "queries.jsonl", dataset, sample.queries, documents=False)
    ids, qrels = dataset.queries.ids(), dataset.qrels
    kept = left = 0
    with (folder / "qrels" / f"{dataset.split}.tsv").open("w", encoding="utf-8", newline="\n") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        for query in sample.queries.tolist():
            rows, grades = qrels.of(query)
            for row, grade in zip(rows.tolist(), grades.tolist(), strict=True):
                absent = row >= qrels.corpus_size
                if not absent and not sample.documents[row]:
                    left += 1
                    continue
                kept += 1
                id = (
                    qrels.absent_ids[row - qrels.corpus_size] if absent else dataset.corpus.ids()[row].as_py()
                )
                out.write(f"{ids[query].as_py()}\t{id}\t{grade}\n")
    return {"kept": kept, "left_out": left}


def _write_lines(path: Path, dataset: Dataset, rows: Ints, *, documents: bool) -> None:
    records = dataset.corpus if documents else dataset.queries
    with path.open("wb") as out:
        for at in range(0, len(rows), 4096):
            for line in _lines(records.subset(rows[at : at + 4096]).table.to_pylist()):
                out.write(line)


def _lines(rows: Iterable[dict[str, Any]]) -> Iterable[bytes]:
    for row in rows:
        line = {"_id": row["id"], "title": row.get("title"), "text": row["text"]}
        if row.get("metadata"):
            line["metadata"] = orjson.loads(row["metadata"])
        yield orjson.dumps({k: v for k, v in line.items() if v is not None}, option=orjson.OPT_APPEND_NEWLINE)
