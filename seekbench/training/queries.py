"""Training queries of a dataset: those of another split, none of which the evaluated split has; and which of the
evaluated ones are close to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench.collection import Dataset, Records
from seekbench.datasets.leakage import THRESHOLD, Embed, close_pairs, unit_vectors
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
    view = TextView(Records(other.queries.table.take(pa.array(kept))), other.query_template, other.language)
    return TrainingData(
        other.split, evaluated.split, view, place[query[chosen]], doc[chosen], left_out=len(ids) - len(kept)
    )


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


def with_neighbour(evaluated: Dataset, data: TrainingData, embed: Embed) -> npt.NDArray[np.bool_]:
    """bool [queries of `evaluated`]: which have a training query of cosine THRESHOLD or more that shares a relevant
    document with them. A system that was trained on that query knows the answer."""
    asked = evaluated.queries.texts(evaluated.query_template)
    known = data.queries.texts()
    positive = evaluated.qrels.grades > 0
    relevant = _sets(evaluated.qrels.query_rows()[positive], evaluated.qrels.doc_rows[positive], len(asked))
    answers = _sets(data.query, data.doc, len(known))
    vectors = unit_vectors(asked + known, embed)
    rows, others, _ = close_pairs(
        vectors, np.arange(len(asked)), np.arange(len(asked), len(vectors)), THRESHOLD
    )
    out = np.zeros(len(asked), dtype=np.bool_)
    for row, other in zip(rows.tolist(), others.tolist(), strict=True):
        out[row] |= not relevant[row].isdisjoint(answers[other])
    return out


def _sets(query: npt.NDArray[Any], doc: npt.NDArray[Any], queries: int) -> list[set[int]]:
    out: list[set[int]] = [set() for _ in range(queries)]
    for q, d in zip(query.tolist(), doc.tolist(), strict=True):
        out[q].add(d)
    return out
