"""Finds again the collection that results were made on, for texts and judgments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seekbench.datasets.folder import Collection, open_collection
from seekbench.datasets.load import KIND, load
from seekbench.errors import SeekbenchError
from seekbench.store import Store


def find(record: Mapping[str, Any]) -> tuple[Collection | None, str]:
    """(collection, '') of a record's dataset: as it lies in the store, else read again from its card or folder, offline
    and only if the content is the same; (None, why not) otherwise."""
    dataset = record["dataset"]
    source = dataset.get("source") or {}
    root = Store().root / KIND
    stored = root / str(source.get("collection"))
    if source.get("collection") and (stored / "facts.json").is_file():
        return open_collection(stored), ""
    subject = str(source.get("subject") or "")
    entry: dict[str, Any]
    if source.get("card"):
        entry = {"name": source["card"], "split": dataset["split"]}
    elif subject and Path(subject).is_dir():
        entry = {"path": subject, "split": dataset["split"]}
    else:
        return None, "the dataset is not on the machine where this page was written"
    try:
        again = load(entry, offline=True)
    except SeekbenchError as error:
        return None, f"the dataset can't be read where this page was written: {error}"
    collection = open_collection(root / str(again.source["collection"]))
    # A trial's corpus is a part of it, with a hash of its own.
    if not record.get("limited") and again.hashes["corpus"] != dataset["hashes"].get("corpus"):
        return None, "the documents have changed since these results were made"
    return collection, ""


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
