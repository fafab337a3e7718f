"""What the page of a dataset shows of single queries: scores of all systems, and for some queries what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.datasets.folder import Collection
from seekbench.errors import InputError
from seekbench.leaderboard.board import Key
from seekbench.leaderboard.page import collections
from seekbench.leaderboard.per_query import PerQuery
from seekbench.leaderboard.records import RUN_FILE
from seekbench.leaderboard.sources import is_published
from seekbench.statistics.corrections import holm
from seekbench.statistics.paired import paired_t

Floats = npt.NDArray[np.float64]
Place = Mapping[tuple[str, str, str], tuple[Path, dict[str, Any]]]

#: Hits of each system that are shown of a query; judged relevant documents that are listed; characters of a document
#: and of a query.
HITS, RELEVANT, DOCUMENT_CHARACTERS, QUERY_CHARACTERS = 10, 10, 600, 300


@dataclass
class QueryData:
    """Of one dataset. systems: those with scores of the same queries, in the board's order; folders: of their records.
    ids: of the queries. scores: metric -> float64 [systems, queries], NaN where a metric is not defined. collection:
    for texts and judgments, None with the reason in `without`. chosen: queries whose documents are shown."""

    key: Key
    systems: list[str]
    ids: list[str]
    scores: dict[str, Floats]
    folders: list[Path]
    collection: Collection | None
    without: str
    chosen: list[int]


def of_dataset(
    place: Place, key: Key, systems: Sequence[str], metrics: Sequence[str], *, most: int
) -> QueryData | None:
    """None where no system has scores per query. metrics: those that are no means over queries are left out. most:
    queries whose documents are shown, by the first metric."""
    readers = [reader for m in metrics if (reader := PerQuery(m)).measure.definition.aggregate == "mean"]
    folders = {
        system: entry[0]
        for system in systems
        if (entry := place.get((*key, system))) and not is_published(entry[1])
    }
    ids: Any = None
    scores: dict[str, dict[str, Floats]] = {system: {} for system in folders}
    for system, folder in folders.items():
        for reader in readers:
            try:
                if ids is None:
                    ids = reader.all(folder)[0]
                values = reader.on(folder, ids)
            except InputError:  # the file is gone or damaged, or an early one lacks the metric
                continue
            # A system that was asked other queries can't stand beside the first.
            if values is not None:
                scores[system][reader.measure.name] = values
    there = [system for system in folders if scores[system]]
    names = [r.measure.name for r in readers if all(r.measure.name in scores[s] for s in there)]
    if not there or not names:
        return None
    collection, without = collections.find(place[(*key, there[0])][1])
    stacked = {name: np.stack([scores[system][name] for system in there]) for name in names}
    return QueryData(
        key,
        there,
        ids.to_pylist(),
        stacked,
        [folders[system] for system in there],
        collection,
        without,
        most_different(stacked[names[0]], most),
    )


def most_different(scores: Floats, most: int) -> list[int]:
    """At most so many queries: in turn the next one that is hardest for all systems, and that on which each two systems
    differ most. scores: [systems, queries]."""
    filled = np.nan_to_num(scores)
    lists = [np.argsort(filled.mean(axis=0), kind="stable")]
    for a, b in combinations(range(len(filled)), 2):
        apart = np.abs(filled[a] - filled[b])
        order = np.argsort(-apart, kind="stable")
        lists.append(order[apart[order] > 0])
    chosen: dict[int, None] = {}
    for turn in range(filled.shape[1]):
        for order in lists:
            if len(chosen) >= most:
                return list(chosen)
            if turn < len(order):
                chosen.setdefault(int(order[turn]))
    return list(chosen)


def pairs(scores: Floats) -> list[list[float | int]]:
    """[a, b, p] of all pairs of systems: paired t-test, Holm-adjusted over the pairs."""
    found = list(combinations(range(len(scores)), 2))
    adjusted = holm([paired_t(scores[a], scores[b]).p for a, b in found])
    return [[a, b, float(p)] for (a, b), p in zip(found, adjusted, strict=True)]


def scores_json(data: QueryData, metric: str) -> dict[str, Any]:
    """Of one metric: {scores: [systems][queries], null where not defined; pairs}. Four decimals, as tables show."""
    values = data.scores[metric]
    rounded = np.round(values, 4)
    return {
        "scores": [
            [None if np.isnan(v) else int(v) if v == int(v) else v for v in row] for row in rounded.tolist()
        ],
        "pairs": pairs(values),
    }


def queries_json(data: QueryData, *, texts: bool) -> dict[str, Any]:
    """{ids, texts: null without}."""
    found: list[str | None] | None = None
    if texts and data.collection is not None:
        records = data.collection.queries
        rows = records.rows_of(data.ids)
        if (rows >= 0).any():
            part = iter(records.subset(rows[rows >= 0]).column("text"))
            found = [
                _clipped(next(part) or "", QUERY_CHARACTERS) if row >= 0 else None for row in rows.tolist()
            ]
    return {"ids": data.ids, "texts": found}


def documents_json(data: QueryData, *, texts: bool) -> dict[str, Any]:
    """What was found for the chosen queries: {documents: [[id, title, text]], hits: {query: [systems][[document,
    grade]]}, relevant: {query: [[document, grade, rank of each system]]}, judged}. Queries and documents are numbers. A
    grade is null for a document without a judgment, and all are where the judgments are not known (`judged` false); a
    rank is 0 where the document was not found, and null where a system's run is gone."""
    wanted = {data.ids[i]: i for i in data.chosen}
    runs = [_hits(folder / RUN_FILE, set(wanted)) for folder in data.folders]
    judged: dict[str, dict[str, int]] = {}
    if data.collection is not None:
        judged = collections.grades(data.collection, data.key[1], list(wanted))
    number: dict[str, int] = {}

    def of(document: str) -> int:
        return number.setdefault(document, len(number))

    hits, relevant = {}, {}
    for id, i in wanted.items():
        known = judged.get(id, {})
        hits[str(i)] = [
            None if run is None else [[of(d), known.get(d)] for d in run.get(id, [])[:HITS]] for run in runs
        ]
        best = sorted(((g, d) for d, g in known.items() if g > 0), key=lambda pair: (-pair[0], pair[1]))
        relevant[str(i)] = [
            [of(d), g, [None if run is None else _rank(run.get(id, []), d) for run in runs]]
            for g, d in best[:RELEVANT]
        ]
    stored: dict[str, tuple[str, str]] = {}
    if texts and data.collection is not None:
        stored = collections.texts(data.collection, list(number))
    documents = []
    for id in number:
        title, text = stored.get(id, ("", ""))
        documents.append(
            [id, _clipped(title, QUERY_CHARACTERS), _clipped(text, DOCUMENT_CHARACTERS)]
            if id in stored
            else [id]
        )
    return {"documents": documents, "hits": hits, "relevant": relevant, "judged": bool(judged)}


def _hits(path: Path, queries: set[str]) -> dict[str, list[str]] | None:
    """Documents by rank of these queries; files of ours are in that order. None where the file is gone or damaged."""
    import pyarrow as pa

    from seekbench.trec import read_run

    try:
        run = read_run(path)
    except (InputError, OSError, EOFError):
        return None
    out: dict[str, list[str]] = {}
    ids = run.query_ids.to_pylist()
    wanted = np.isin(run.query, [i for i, id in enumerate(ids) if id in queries])
    rows = np.flatnonzero(wanted)
    for query, document in zip(
        run.query[rows].tolist(), run.doc.take(pa.array(rows)).to_pylist(), strict=True
    ):
        out.setdefault(ids[query], []).append(document)
    return out


def _rank(found: Sequence[str], document: str) -> int:
    """From 1; 0 where it was not found."""
    return found.index(document) + 1 if document in found else 0


def _clipped(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most].rstrip() + " …"
