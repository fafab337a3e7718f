"""Why a retriever gives a document its score: the terms that a query and a document share, and their weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from seekbench import plan
from seekbench.config import RetrieverConfig, RunConfig
from seekbench.errors import InputError, did_you_mean
from seekbench.progress import NoProgress
from seekbench.retrievers.protocol import Context, Matches
from seekbench.runner import load_dataset, training_of, with_store
from seekbench.store import Store


@dataclass(frozen=True)
class Explained:
    """The ids and texts of both, and the terms they share."""

    dataset: str
    retriever: str
    query: str
    query_text: str
    document: str
    document_text: str
    matches: Matches


def explain(
    config: RunConfig,
    *,
    system: str | None,
    dataset: str | None,
    query: str,
    document: str,
    store: Store,
    context: Context,
) -> Explained:
    """The matches of a query and a document, by their ids. system, dataset: of the config, needed where it has several.
    Raises InputError for names and ids that there are not, and for retrievers that can't explain."""
    able = {e.name: e for e in config.retrievers if hasattr(e.retriever, "explain")}
    if not able:
        raise InputError(
            "no retriever of this config can explain a score",
            remedy="those of type sparse and prompt_reps can: the terms that match",
        )
    entry: RetrieverConfig = _one("--system", system, able, {e.name for e in config.retrievers})
    spec: Any = _one("--dataset", dataset, {s.id: s for s in config.datasets}, set())
    quiet = replace(context, progress=NoProgress())
    found = load_dataset(spec, store=store, context=quiet)
    rows = []
    for kind, records, id in (("query", found.queries, query), ("document", found.corpus, document)):
        row = int(records.rows_of([id])[0])
        if row < 0:
            near = did_you_mean(id, records.ids().to_pylist()) if len(records) <= 100_000 else ""
            raise InputError(f"{found.id} has no {kind} '{id}'", where=f"--{kind}", remedy=near)
        rows.append(row)
    retriever: Any = plan.bound(entry, found, training_of(spec, found, store, context))
    documents, queries = plan.documents_view(found), plan.queries_view(found)
    texts = queries.texts(rows[0], rows[0] + 1)[0], documents.texts(rows[1], rows[1] + 1)[0]
    matches = retriever.explain(*texts, documents, context=with_store(context, store, found.id))
    retriever.release()
    return Explained(found.id, entry.name, query, texts[0], document, texts[1], matches)


def _one(option: str, name: str | None, known: dict[str, Any], others: set[str]) -> Any:
    if name is None:
        if len(known) > 1:
            raise InputError(f"which one: {', '.join(known)}?", where=option)
        return next(iter(known.values()))
    if name not in known:
        if name in others:
            raise InputError(
                f"'{name}' can't explain a score", where=option, remedy=", ".join(known) + " can"
            )
        raise InputError(f"nothing is named '{name}'", where=option, remedy=did_you_mean(name, known))
    return known[name]
