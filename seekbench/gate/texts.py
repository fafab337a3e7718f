"""Texts of the queries that lost, where the dataset is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
        texts = _texts(source, store)
        if texts is not None:
            out[key] = texts
    return out


def _texts(source: Mapping[str, Any], store: Store) -> Mapping[str, str] | None:
    from seekbench.datasets.folder import open_collection
    from seekbench.leaderboard.again import in_store

    folder = in_store(source, store)
    if folder is None:
        return None
    queries = open_collection(folder).queries
    texts = (" ".join(str(text or "").split()) for text in queries.column("text"))
    return dict(zip(queries.ids().to_pylist(), texts, strict=True))
