"""Finds again the collection that results were made on, for texts and judgments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seekbench.datasets.folder import Collection
from seekbench.errors import InputError
from seekbench.leaderboard.again import collection_of
from seekbench.store import Store


def find(record: Mapping[str, Any]) -> tuple[Collection | None, str]:
    """(collection, '') of a record's dataset; (None, why not) where it can't be had."""
    try:
        return collection_of(record, Store()), ""
    except InputError as error:
        return None, str(error)


def grades(collection: Collection, split: str, query_ids: list[str]) -> dict[str, dict[str, int]]:
    """Grades by document id, of each query that has judgments."""
    if split not in collection.splits:
        return {}
    judged = collection.qrels(split)
    out: dict[str, dict[str, int]] = {}
    for id, row in zip(query_ids, collection.queries.rows_of(query_ids).tolist(), strict=True):
        if row < 0:
            continue
        rows, values = judged.of(row)
        present = rows < judged.corpus_size
        ids = [*collection.corpus.ids(rows[present]).to_pylist()]
        ids += [judged.absent_ids[r - judged.corpus_size] for r in rows[~present].tolist()]
        out[id] = dict(zip(ids, np.concatenate([values[present], values[~present]]).tolist(), strict=True))
    return out


def texts(collection: Collection, ids: list[str]) -> dict[str, tuple[str, str]]:
    """(title, text) of documents by id; those that the corpus lacks are left out."""
    rows = collection.corpus.rows_of(ids)
    known = [(id, row) for id, row in zip(ids, rows.tolist(), strict=True) if row >= 0]
    part = collection.corpus.subset(np.array([row for _, row in known], np.int64))
    titles = part.column("title")
    return {
        id: (title or "", text or "")
        for (id, _), title, text in zip(known, titles, part.column("text"), strict=True)
    }
