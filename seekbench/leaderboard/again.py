"""The dataset that a result was made on, found again: for texts, judgments and metadata that results don't hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seekbench.collection import Dataset
from seekbench.datasets.folder import Collection, open_collection, open_dataset
from seekbench.datasets.load import KIND, load
from seekbench.errors import InputError, SeekbenchError
from seekbench.leaderboard.records import level_of
from seekbench.store import Store

#: Parts of a dataset that have a hash.
_PARTS = ("corpus", "queries", "qrels")


def in_store(source: Mapping[str, Any], store: Store) -> Path | None:
    """The folder of the collection of a record's `dataset.source`, where the store still has it."""
    folder = store.root / KIND / str(source.get("collection"))
    return folder if source.get("collection") and (folder / "facts.json").is_file() else None


def collection_of(record: Mapping[str, Any], store: Store) -> Collection:
    """As it lies in the store, else read again from where it came, offline and only if the content is the same. Raises
    InputError where it can't be had."""
    source = record["dataset"].get("source") or {}
    stored = in_store(source, store)
    if stored is None:
        stored = store.root / KIND / str(_read(record, store).source["collection"])
    return open_collection(stored)


def dataset_of(record: Mapping[str, Any], store: Store) -> Dataset:
    """The same as a dataset, cut as the record's was; what is excluded, or a candidate, it may not know. Raises
    InputError where it can't be had."""
    told = record["dataset"]
    stored = in_store(told.get("source") or {}, store)
    if stored is None:
        return _read(record, store)
    limited = record.get("limited") or {}
    found = open_dataset(
        stored, id=told["id"], split=told["split"], limit=limited.get("queries"),
        limit_documents=limited.get("documents"), template=told["template"],
        query_template=told["query_template"], language=told.get("language"),
        relevance_level=level_of(record),
    )  # fmt: skip
    refuse_other(found, record)
    return found


def refuse_other(dataset: Dataset, record: Mapping[str, Any], where: Path | None = None) -> None:
    """Raises InputError where the record (where: its folder or run) was made on other documents, queries or judgments
    than the dataset has."""
    told = record["dataset"]["hashes"]
    differ = [name for name in _PARTS if told.get(name) != dataset.hashes[name]]
    if differ:
        raise InputError(
            f"it was made on other {', '.join(differ)} than {dataset.id} ({dataset.split}) has now",
            where="" if where is None else str(where),
            remedy="run it again, or name the dataset it was made on",
        )


def _read(record: Mapping[str, Any], store: Store) -> Dataset:
    told = record["dataset"]
    limited = record.get("limited") or {}
    try:
        found = load(
            {**_entry(told), "split": told["split"]}, store=store, offline=True, limit=limited.get("queries")
        )
    except (SeekbenchError, OSError, KeyError) as error:
        raise InputError(f"its dataset can't be read again ({error})") from None
    refuse_other(found, record)
    return found


def _entry(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a config would hold. Records have it; early ones tell only where the data came from."""
    source = told["source"]
    if source.get("entry"):
        return dict(source["entry"])
    texts = {"template": told["template"], "query_template": told["query_template"]}
    if source.get("card"):
        return {"name": source["card"], **texts}
    if source.get("format") != "hub":
        return {"path": source["subject"], **texts}
    names = {"hub": "repo", **{name: name for name in ("revision", "subset", "qrels_repo", "qrels_revision")}}
    entry = {key: source[of] for key, of in names.items() if source.get(of)}
    return {**entry, **texts, **({"per_split": True} if source.get("split") else {})}
