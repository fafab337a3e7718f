"""Training queries of a dataset: those of another split, none of which the evaluated split has; which of the
evaluated ones are close to them, and which ask for documents that they do not name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seekbench.collection import Dataset, Records, taken
from seekbench.datasets.leakage import THRESHOLD, Embed, close_pairs, normal, unit_vectors
from seekbench.errors import InputError
from seekbench.retrievers.protocol import TextView, TrainingData


def training_data(evaluated: Dataset, other: Dataset) -> TrainingData:
    """Queries of `other` with the documents that answer them (grade 1 or higher).

    A query that `evaluated` has, by id or by its words, is left out and counted: it would be a test query. Raises
    InputError where none is left.
    """
    known_ids = set(evaluated.queries.ids().to_pylist())
    known_texts = {_words(t) for t in evaluated.queries.texts(evaluated.query_template)}
    ids, texts = other.queries.ids().to_pylist(), other.queries.texts(other.query_template)
    keep = [i not in known_ids and _words(t) not in known_texts for i, t in zip(ids, texts, strict=True)]
    kept = np.flatnonzero(keep)
    place = np.full(len(ids), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    query, doc = other.qrels.query_rows(), other.qrels.doc_rows
    chosen = (place[query] >= 0) & (other.qrels.grades > 0) & (doc < len(evaluated.corpus))
    if not chosen.any():
        raise InputError(
            f"the split '{other.split}' of {other.id} has no query to learn from that '{evaluated.split}' lacks"
        )
    view = TextView(Records(taken(other.queries.table, kept)), other.query_template, other.language)
    return TrainingData(
        other.split, evaluated.split, view, place[query[chosen]], doc[chosen], left_out=len(ids) - len(kept)
    )


def _words(text: str) -> str:
    return normal(text) or text  # of a text of marks alone no word is left


def with_neighbour(evaluated: Dataset, data: TrainingData, embed: Embed | None) -> npt.NDArray[np.bool_]:
    """bool [queries of `evaluated`]: which have a training query of cosine THRESHOLD or more that shares a relevant
    document with them. A system that was trained on that query knows the answer.

    embed: (texts) -> float32 [texts, dim]; None: TF-IDF over character 4-grams, as `leakage` does without a model.
    """
    queries = evaluated.qrels.num_queries
    out = np.zeros(queries, dtype=np.bool_)
    query, doc = _relevant(evaluated)
    # Only training queries that share a relevant document with an evaluated one can count, most often a small part.
    candidates = np.unique(data.query[np.isin(data.doc, doc)])
    if not len(candidates):
        return out
    asked = evaluated.queries.texts(evaluated.query_template)
    if embed is None:
        # Weights of n-grams are those of all queries, so that a figure agrees with `validate dataset`.
        vectors, theirs = unit_vectors(asked + data.queries.texts(), None), candidates + queries
    else:
        vectors = unit_vectors(asked + data.queries.take(candidates).texts(), embed)
        theirs = np.arange(queries, queries + len(candidates))
    rows, others, _ = close_pairs(vectors, np.arange(queries), theirs, THRESHOLD)
    out[rows[_share(rows, candidates[others], query, doc, data)]] = True
    return out


@dataclass(frozen=True)
class UnseenDocuments:
    """relevant: distinct documents of the corpus that are relevant to an evaluated query; unseen: those of them that
    no training query names; queries: bool [queries], which have relevant documents in the corpus, all unseen."""

    relevant: int
    unseen: int
    queries: npt.NDArray[np.bool_]


def unseen_documents(evaluated: Dataset, data: TrainingData) -> UnseenDocuments:
    """What the training queries do not say of the evaluated ones' answers. Documents that the corpus lacks, which no
    system can find, and queries without relevant documents do not count."""
    query, doc = _relevant(evaluated)
    present = doc < len(evaluated.corpus)
    query, doc = query[present], doc[present]
    named = np.isin(doc, data.doc)
    has = np.zeros(evaluated.qrels.num_queries, dtype=np.bool_)
    has[query] = True
    has[query[named]] = False
    return UnseenDocuments(len(np.unique(doc)), len(np.unique(doc[~named])), has)


def _relevant(evaluated: Dataset) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(query, doc): int64 [relevant judgments], by query."""
    positive = evaluated.qrels.grades > 0
    return evaluated.qrels.query_rows()[positive], evaluated.qrels.doc_rows[positive]


def _share(
    rows: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    query: npt.NDArray[np.int64],
    doc: npt.NDArray[np.int64],
    data: TrainingData,
) -> npt.NDArray[np.bool_]:
    """bool [pairs]: whether evaluated query rows[i] and training query others[i] have a relevant document in common.
    query, doc: the relevant judgments, by query."""
    first, last = np.searchsorted(query, rows), np.searchsorted(query, rows, side="right")
    counts = last - first
    pair = np.repeat(np.arange(len(rows)), counts)
    # The judgments of each pair's query, one after the other.
    at = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts) + first[pair]
    # One number for (training query, document).
    width = int(max(doc.max(initial=0), data.doc.max(initial=0))) + 1
    common = np.isin(others[pair] * width + doc[at], data.query * width + data.doc)
    out = np.zeros(len(rows), dtype=np.bool_)
    out[pair[common]] = True
    return out
