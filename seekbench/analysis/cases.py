"""Runs of systems on the same queries and judgments, in rows: what `diff`, `inspect` and `subsample` look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench import query_info
from seekbench.analysis.cells import RunCell
from seekbench.collection import Dataset, Qrels, byte_order
from seekbench.columns import HitColumns, JudgmentColumns, coded, large_strings
from seekbench.errors import InputError, Report, did_you_mean
from seekbench.metrics.evaluate import score
from seekbench.metrics.measure import Measure
from seekbench.query_info import QueryInfo
from seekbench.runs import Run

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """Systems on the queries of one dataset.

    label: the dataset, or the judgments' file. query_ids, doc_ids: of the rows; documents are those that a run or a
    judgment names. runs: one a system, in the ranking rule's order. scores: float64 [queries, measures, systems], NaN
    where a measure is not defined for a query. info: what is known of the queries; dataset: where texts come from, if
    known. notes: what a reader of the figures should know.
    """

    label: str
    systems: tuple[str, ...]
    query_ids: list[str]
    doc_ids: pa.Array
    runs: tuple[Run, ...]
    qrels: Qrels
    measures: tuple[Measure, ...]
    scores: Floats
    info: QueryInfo
    dataset: Dataset | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {query: row for row, query in enumerate(self.query_ids)}

    def row_of(self, query_id: str) -> int:
        """The row of a query. Raises InputError for one that has no judgments."""
        if query_id not in self._rows:
            raise InputError(
                f"no judged query '{query_id}' in {self.label}", remedy=did_you_mean(query_id, self.query_ids)
            )
        return self._rows[query_id]

    def means(self, measure: int) -> Floats:
        """float64 [systems]."""
        return np.array([self.measures[measure].aggregate(column) for column in self.scores[:, measure, :].T])

    def place(self, measure: str) -> int:
        """Which of the measures is called so. Raises InputError for another."""
        names = [m.name for m in self.measures]
        if measure not in names:
            raise InputError(f"'{measure}' is not among the metrics", remedy=did_you_mean(measure, names))
        return names.index(measure)

    def doc_id(self, row: int) -> str:
        return str(self.doc_ids[row].as_py())

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Title and text of documents as a retriever is given them; '' where no text is known."""
        if self.dataset is None or not len(rows):
            return [""] * len(rows)
        corpus = self.dataset.corpus
        at = corpus.rows_of(self.doc_ids.take(pa.array(rows)))
        found = corpus.subset(at[at >= 0]).texts(self.dataset.template)
        texts = iter(found)
        return [next(texts) if row >= 0 else "" for row in at.tolist()]

    def ranks(self, query: int, system: int) -> dict[int, int]:
        """Rank (from 1) of each document row that a system found for a query."""
        rows = np.asarray(self.runs[system].doc_rows[query])
        return {int(row): rank for rank, row in enumerate(rows[rows >= 0].tolist(), 1)}

    def grades(self, query: int) -> dict[int, int]:
        """Grade of each judged document row of a query."""
        rows, grades = self.qrels.of(query)
        return dict(zip(rows.tolist(), grades.tolist(), strict=True))


@dataclass(frozen=True)
class Judged:
    """Which queries count, and their judgments by id. query_ids: in the order of rows; query: int64 [judgments],
    rows of queries; doc: arrow large_string [judgments]; grades: int32 [judgments]."""

    query_ids: list[str]
    query: Ints
    doc: pa.Array
    grades: npt.NDArray[np.int32]

    @classmethod
    def of_columns(cls, table: JudgmentColumns) -> Judged:
        """Of a file. Of the grades that a document has for several subtopics, the highest counts."""
        table.refuse_repeated()
        query, doc, grades = table.query.astype(np.int64), table.doc, table.grades
        if table.subtopic is not None:
            codes = coded(doc)[1]
            by = np.lexsort((-grades.astype(np.int64), codes, query))
            first = np.ones(len(by), dtype=np.bool_)
            first[1:] = (query[by][1:] != query[by][:-1]) | (codes[by][1:] != codes[by][:-1])
            by = by[first]
            query, doc, grades = query[by], doc.take(pa.array(by)), grades[by]
        return cls(table.query_ids.to_pylist(), query, doc, grades)

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> Judged:
        qrels = dataset.qrels
        known = pa.concat_arrays(
            [large_strings(dataset.corpus.ids()), pa.array(qrels.absent_ids, pa.large_string())]
        )
        return cls(
            dataset.queries.ids().to_pylist(), qrels.query_rows(), known.take(pa.array(qrels.doc_rows)), qrels.grades
        )  # fmt: skip

    def columns(self) -> JudgmentColumns:
        return JudgmentColumns(
            pa.array(self.query_ids, pa.large_string()), self.query.astype(np.int32), self.doc, self.grades
        )


def build(
    label: str,
    cells: Sequence[RunCell],
    judged: Judged,
    measures: Sequence[Measure],
    *,
    names: Sequence[str] | None = None,
    info: QueryInfo | None = None,
    dataset: Dataset | None = None,
) -> Case:
    """Reads the runs, ranks and scores them. names: of the systems, where the cells' own won't do.

    Raises InputError with what is wrong in all runs.
    """
    from seekbench.scoring import evaluate_columns, refuse_foreign
    from seekbench.trec import read_run

    names = list(names or [cell.name for cell in cells])
    report, hits, notes = Report(), [], []
    columns = judged.columns()
    for name, cell in zip(names, cells, strict=True):
        try:
            found = read_run(cell.run)
            checked = evaluate_columns(found, columns, [])
            refuse_foreign(found, columns, checked)
            notes += [f"{name}: {line}" for line in checked.warnings if "no relevant document" not in line]
            hits.append(found)
        except InputError as error:
            report.extend(error.report)
    report.raise_if_errors()
    doc_ids, codes = coded(pa.concat_arrays([*(h.doc for h in hits), judged.doc]))
    ends = np.cumsum([len(h) for h in hits])
    parts = np.split(codes.astype(np.int64), ends)
    order = byte_order(doc_ids)
    rows = {query: row for row, query in enumerate(judged.query_ids)}
    runs = tuple(_run(h, docs, rows, order) for h, docs in zip(hits, parts[:-1], strict=True))
    qrels = Qrels.from_triples(
        judged.query, parts[-1], judged.grades, queries=len(judged.query_ids), corpus_size=len(doc_ids),
        relevance_level=_level(cells, dataset),
    )  # fmt: skip
    case = Case(
        label, tuple(names), judged.query_ids, doc_ids, runs, qrels, tuple(measures), np.empty((0, 0, 0)),
        info or (query_info.of_dataset(dataset) if dataset is not None else QueryInfo({})), dataset, notes,
    )  # fmt: skip
    return rescored(case)


def _level(cells: Sequence[RunCell], dataset: Dataset | None) -> int:
    """The relevance level that the systems' records state, else the dataset's."""
    from seekbench.leaderboard.records import level_of

    told = [level_of(cell.record) for cell in cells if cell.record is not None]
    return told[0] if told else dataset.qrels.relevance_level if dataset is not None else 1


def rescored(case: Case) -> Case:
    """The case with the scores of its runs."""
    found = [score(run, case.qrels, case.measures, query_ids=case.query_ids).values for run in case.runs]
    return replace(case, scores=np.stack(found, axis=2))


def _run(hits: HitColumns, docs: Ints, rows: Mapping[str, int], order: npt.NDArray[Any]) -> Run:
    """Hits in the rows of queries and documents; queries without judgments are left out."""
    of_query = np.array([rows.get(query, -1) for query in hits.query_ids.to_pylist()], dtype=np.int64)
    query = of_query[hits.query] if len(hits) else np.empty(0, np.int64)
    by = np.argsort(query, kind="stable")
    by = by[query[by] >= 0]
    counts = np.bincount(query[by], minlength=len(rows))
    place = np.arange(len(by)) - np.repeat(np.cumsum(counts) - counts, counts)
    doc_rows = np.full((len(rows), int(counts.max(initial=0))), -1, dtype=np.int64)
    scores = np.full(doc_rows.shape, -np.inf, dtype=np.float32)
    doc_rows[query[by], place] = docs[by]
    with np.errstate(over="ignore"):  # beyond float32's range a score is infinite, as when it is ranked
        scores[query[by], place] = hits.scores[by].astype(np.float32)
    return Run.ranked(doc_rows, scores, order)
