"""Texts of the queries that lost, where the dataset is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seekbench.errors import SeekbenchError
from seekbench.gate.compare import FAILING, Finding
from seekbench.gate.results import Result
from seekbench.store import Store

#: (dataset, split) -> text by query id
Texts = Mapping[tuple[str, str], Mapping[str, str]]


def load(results: Sequence[Result], findings: Iterable[Finding], store: Store) -> Texts:
    """Of the datasets of failing findings, where the store has the collection that the result was made on. They are
    shown beside ids and decide nothing, so nothing is read or downloaded for them."""
    wanted = {(f.dataset, f.split) for f in findings if f.status in FAILING and f.lost}
    out = {}
    for key in sorted(wanted):
        source = next((r.source for r in results if (r.dataset, r.split) == key), {})
        texts = _texts(source, key[1], store)
        if texts is not None:
            out[key] = texts
    return out


def _texts(source: Mapping[str, Any], split: str, store: Store) -> Mapping[str, str] | None:
    from seekbench.datasets import catalogue
    from seekbench.datasets.load import load as load_dataset
    from seekbench.datasets.load import stored
    from seekbench.query_info import of_dataset

    entry: dict[str, Any]
    if source.get("card"):
        entry = {"name": source["card"], "split": split}
    elif source.get("subject") and Path(source["subject"]).is_dir():
        entry = {"path": source["subject"], "split": split}
    else:
        return None
    documents = (source.get("limited") or {}).get("documents")
    if documents is not None:  # an embedded dataset is another collection then
        entry["limit_documents"] = documents
    try:
        (spec,) = catalogue.parse(entry, base=Path.cwd())
        if not stored(spec, store=store, offline=True)[0]:
            return None
        dataset = load_dataset(spec, store=store, offline=True)
    except (SeekbenchError, OSError):
        return None
    if dataset.source.get("collection") != source.get("collection"):
        return None  # it has changed since
    info = of_dataset(dataset)
    return {query: info.text(query) for query in info.columns["text"]}
