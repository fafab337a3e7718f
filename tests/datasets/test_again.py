"""The dataset of a result, found again from what its record says, with and without the store that had it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seekbench.collection import Dataset
from seekbench.datasets.load import load
from seekbench.errors import InputError
from seekbench.leaderboard import again
from seekbench.store import Store


def record_of(dataset: Dataset) -> dict[str, Any]:
    """As a record has it, of what is looked at."""
    names = ("id", "split", "hashes", "template", "query_template", "language")
    told = {name: getattr(dataset, name) for name in names}
    return {"dataset": {**told, "source": dict(dataset.source)}, "limited": dataset.source.get("limited")}


@pytest.fixture
def places(make_beir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a collection in several forms, entered by relative paths."""
    folder = make_beir(train=[("q1", "d2", 1)])
    shutil.copytree(folder, tmp_path / "work" / "mine")
    monkeypatch.chdir(tmp_path / "work")
    shutil.make_archive("packed", "zip", "mine")
    card = {
        "id": "carded", "title": "t", "source": {"format": "folder", "path": "mine"}, "splits": ["test", "train"],
        "default_split": "test", "languages": ["en"], "task": "t", "licence": "none", "citation": "none",
        "verified": "no",
    }  # fmt: skip
    Path("card.yaml").write_text(yaml.safe_dump(card))
    Path("lists.json").write_text('{"q1": ["d1"]}')
    return tmp_path / "work"


ENTRIES: dict[str, Any] = {
    "folder": {"path": "mine"},
    "split": {"path": "mine", "split": "train"},
    "archive": {"path": "packed.zip"},
    "card": "./card.yaml",
    "lists": {"path": "mine", "candidates": {"file": "lists.json"}, "exclude": {"file": "lists.json"}},
    "template": {"path": "mine", "template": "{text}", "id": "other/name", "language": "de"},
    "limited": {"path": "mine", "limit": 1, "limit_documents": 2},
    "tables": {
        "path": "mine", "format": "tables",
        "tables": {
            "documents": {"files": "corpus.jsonl"}, "queries": {"files": "queries.jsonl"},
            "qrels": {"test": {"files": "qrels/test.tsv"}},
        },
    },
    "brought": {"name": "beir/robust04", "path": "mine"},
    "by name": {"name": "pydocs-prose-small", "limit_documents": 100},
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_it_is_found_again(entry: Any, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    made = load(entry, store=store)
    record = record_of(made)
    monkeypatch.chdir(tmp_path)  # a record is read from anywhere
    for kept in (store, Store(tmp_path / "empty")):
        found = again.dataset_of(record, kept)
        for part in ("corpus", "queries", "qrels"):
            assert found.hashes[part] == made.hashes[part]
        assert (found.id, found.split, found.template) == (made.id, made.split, made.template)
        collection = again.collection_of(record, kept)
        assert set(made.queries.ids().to_pylist()) <= set(collection.queries.ids().to_pylist())


def test_an_early_record_tells_where_its_folder_is(places: Path, tmp_path: Path) -> None:
    made = load({"path": places / "mine"}, store=Store(tmp_path / "store"))
    record = record_of(made)
    del record["dataset"]["source"]["entry"]
    assert again.dataset_of(record, Store(tmp_path / "empty")).hashes == made.hashes


def test_what_is_gone_or_changed_is_said(places: Path, tmp_path: Path) -> None:
    record = record_of(load({"path": "mine"}, store=Store(tmp_path / "store")))
    queries = places / "mine" / "queries.jsonl"
    queries.write_text(queries.read_text().replace("text", "text", 1).replace('": "', '": "now ', 2))
    with pytest.raises(InputError, match=r"made on other queries|can't be read again"):
        again.dataset_of(record, Store(tmp_path / "empty"))
    assert again.dataset_of(record, Store(tmp_path / "store")).hashes == record["dataset"]["hashes"]
    shutil.rmtree(places / "mine")
    with pytest.raises(InputError, match="its dataset can't be read again"):
        again.collection_of(record, Store(tmp_path / "empty"))
