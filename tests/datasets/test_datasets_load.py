"""Loading through the store: read once, read again exactly when something that matters has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DOCUMENTS, JUDGMENTS, QUERIES, as_jsonl  # type: ignore[import-not-found]

from seekbench.datasets import formats
from seekbench.datasets.leakage import leakage
from seekbench.datasets.load import build, describe_source, load, stored
from seekbench.datasets.resolve import resolve
from seekbench.datasets.validate import validate
from seekbench.errors import InputError, MissingError, Report
from seekbench.progress import NoProgress
from seekbench.store import Store

Make = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_second_load_only_opens(make_beir: Make, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"path": str(make_beir())}
    assert not describe_source(entry, store).cached
    first = load(entry, store=store)
    assert stored(resolve(entry), store=store) == (True, "same recipe")
    monkeypatch.setattr("seekbench.datasets.load.build", None)  # calling it would fail
    again = load(entry, store=store)
    assert again.hashes == first.hashes
    assert (again.id, again.split, again.source) == ("collection", "test", first.source)


def test_a_changed_document_is_read_again_and_explained(make_beir: Make, store: Store) -> None:
    folder = make_beir()
    entry = {"path": str(folder)}
    first = load(entry, store=store)
    (folder / "corpus.jsonl").write_bytes(as_jsonl([{**DOCUMENTS[0], "text": "changed"}, *DOCUMENTS[1:]]))
    plan = describe_source(entry, store)
    assert not plan.cached
    assert plan.why.startswith("changed: files.corpus.jsonl:")
    second = load(entry, store=store)
    assert second.corpus.texts("{text}")[0] == "changed"
    assert second.hashes["corpus"] != first.hashes["corpus"]
    assert second.hashes["queries"] == first.hashes["queries"]


def test_template_changes_the_hash_but_reads_nothing_again(make_beir: Make, store: Store) -> None:
    folder = str(make_beir())
    first = load({"path": folder}, store=store)
    second = load({"path": folder, "template": "{title}: {text}", "query_template": "q {text}"}, store=store)
    assert second.source["collection"] == first.source["collection"]
    assert second.hashes["dataset"] != first.hashes["dataset"]
    with pytest.raises(InputError, match=r"unknown field.*url.*year"):
        load({"path": folder, "template": "{url}"}, store=store)


def test_refused_data_leaves_nothing_in_the_store(make_beir: Make, store: Store) -> None:
    folder = make_beir(corpus=[*DOCUMENTS, DOCUMENTS[0]])
    with pytest.raises(InputError, match="'d1' is there already"):
        load({"path": str(folder)}, store=store)
    assert not [p for p in (store.root / "collections").iterdir() if p.is_dir()]
    (folder / "corpus.jsonl").write_bytes(as_jsonl(DOCUMENTS))
    assert len(load({"path": str(folder)}, store=store).corpus) == 3


def test_limits_mark_the_dataset(make_beir: Make, store: Store) -> None:
    folder = str(make_beir(test=[*JUDGMENTS, ("q1", "gone", 1), ("q2", "lost", 1)]))
    full = load({"path": folder}, store=store)
    assert "limited" not in full.source
    one = load({"path": folder, "limit": 1}, store=store)
    assert one.queries.ids().to_pylist() == ["q1"]
    assert (len(one.corpus), one.qrels.absent_ids, one.qrels.doc_rows.tolist()) == (3, ("gone",), [0, 3])
    assert one.source["limited"] == {"queries": 1}
    assert load({"path": folder}, store=store, limit=1).hashes == one.hashes
    assert "limited" not in load({"path": folder, "limit": 2}, store=store).source
    few = load({"path": folder, "limit_documents": 2}, store=store)
    assert few.corpus.ids().to_pylist() == ["d1", "d2", "d10"], "judged documents stay"
    less = load({"path": folder, "limit": 1, "limit_documents": 2}, store=store)
    assert less.corpus.ids().to_pylist() == ["d1", "d2"]
    assert (less.qrels.doc_rows.tolist(), less.qrels.absent_ids) == ([0, 2], ("gone",))
    assert less.source["limited"] == {"queries": 1, "documents": 2}
    assert len({d.hashes["dataset"] for d in (full, one, less)}) == 3


def test_exclusions(make_beir: Make, store: Store, tmp_path: Path) -> None:
    queries = [
        {"_id": "d1", "text": "the same id", "metadata": {"excluded_ids": ["d2", "d10", "d2", "nowhere"]}},
        {"_id": "q2", "text": "another", "metadata": {"excluded_ids": ["N/A"]}},
    ]
    folder = str(make_beir(queries=queries, test=[("d1", "d2", 1), ("q2", "d1", 1)]))
    same = load({"path": folder, "exclude": "identical_id"}, store=store).exclusion
    assert (same.kind, same.query_rows.tolist(), same.doc_rows.tolist()) == ("identical_id", [0], [0])
    listed = load({"path": folder, "exclude": {"key": "excluded_ids"}}, store=store).exclusion
    assert (listed.kind, listed.query_rows.tolist(), listed.doc_rows.tolist()) == ("list", [0, 0], [1, 2])
    for text in ('{"d1": ["d2", "d10"], "q9": ["d1"]}', "d1\td10\nd1\td2\n"):
        (tmp_path / "excluded").write_text(text)
        found = load({"path": folder, "exclude": {"file": str(tmp_path / "excluded")}}, store=store).exclusion
        assert found.content_hash == listed.content_hash
    with pytest.raises(InputError, match="no query has a list 'excluded'"):
        load({"path": folder, "exclude": {"key": "excluded"}}, store=store)
    assert load({"path": folder}, store=store).exclusion.kind == "none"


def test_splits(make_beir: Make, store: Store) -> None:
    folder = str(make_beir(train=[("q1", "d2", 1)]))
    train = load({"path": folder, "split": "train"}, store=store)
    assert train.queries.ids().to_pylist() == ["q1"]
    assert train.qrels.doc_rows.tolist() == [1]
    assert load({"path": folder}, store=store).split == "test"
    with pytest.raises(InputError, match=r"no split 'tset'.*did you mean 'test'"):
        load({"path": folder, "split": "tset"}, store=store)


def test_parts_of_a_trec_collection_by_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "1.tsv").write_text("d1\tone\n")
    (tmp_path / "all" / "2.jsonl").write_text('{"id": "d2", "contents": "two"}\n')
    (tmp_path / "asked").write_text("q1\twhich\n")
    (tmp_path / "a").write_text("q1 0 d1 1\n")
    (tmp_path / "b").write_text("q1 0 d2 1\n")
    entry: dict[str, Any] = {"path": str(tmp_path), "documents": "all", "topics": "asked", "id": "mine"}
    entry["qrels"] = {"dev": "a", "test": "b"}
    found = load({**entry, "split": "dev"}, store=store)
    assert (found.id, found.qrels.doc_rows.tolist()) == ("mine", [0])
    assert load(entry, store=store).qrels.doc_rows.tolist() == [1]
    with pytest.raises(InputError, match="no such file"):
        load({**entry, "topics": "questions"}, store=store)


def test_unexpected_counts_of_a_card_are_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from seekbench.datasets import catalogue
    from seekbench.datasets.spec import Expected

    card = catalogue.card("pydocs-small")
    changed = card.model_copy(update={"expected": Expected(documents=7)})
    monkeypatch.setattr(catalogue, "card", lambda name: changed)
    monkeypatch.setattr("seekbench.datasets.formats.pydocs.PyDocs.read", _three_functions)
    monkeypatch.setattr("seekbench.datasets.formats.pydocs.PyDocs.identity", lambda self, offline: {})
    told = load("pydocs-small", store=store).statistics["warnings"]
    assert told == ["warning: pydocs-small: 3 documents where its card expects 7"]


def _three_functions(self: object, builder: Any, *, progress: object, offline: bool = False) -> None:
    for document in DOCUMENTS:
        builder.document(document["_id"], document["title"], document["text"])
    for query in QUERIES:
        builder.query(query["_id"], query["text"])
    for judgment in JUDGMENTS:
        builder.judgment("test", *judgment)


def test_a_hub_that_was_never_fetched_is_said_offline(store: Store) -> None:
    plan = describe_source({"hub": "mteb/tiny"}, store)
    assert not plan.cached
    assert "offline" in plan.why
    pinned = describe_source("beir/scifact", store)
    assert (pinned.cached, pinned.why) == (False, "never made")
    with pytest.raises(MissingError, match="hub:mteb/scifact"):
        load("beir/scifact", store=store, offline=True)


def test_hub_by_the_clients_own_settings(tmp_path: Path) -> None:
    """As a user has it: endpoint and cache from the environment, in a fresh process; then without the hub."""
    from test_datasets_hub import serving  # type: ignore[import-not-found]

    code = (
        "import sys; from pathlib import Path; from seekbench.datasets.load import load;"
        "from seekbench.store import Store; folder, mode = sys.argv[1:];"
        "d = load({'hub': 'mteb/tiny'}, store=Store(Path(folder)), offline=mode == 'offline');"
        "print(d.hashes['dataset'], d.id, d.source['revision'], len(d.statistics['warnings']))"
    )
    outputs = []
    with serving() as (endpoint, _):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")}
        for folder, mode in (("one", "online"), ("one", "offline"), ("two", "offline")):
            done = subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / folder), mode],
                capture_output=True, text=True, env=environment, check=True,
            )  # fmt: skip
            outputs.append(done.stdout)
            assert "Fetching" not in done.stderr
    assert len(set(outputs)) == 1


def test_leakage(make_beir: Make, tmp_path: Path) -> None:
    queries = [
        {"_id": "t1", "text": "Aspirin prevents heart attacks in men"},
        {"_id": "t2", "text": "completely different"},
        {"_id": "t3", "text": "nothing in common"},
        {"_id": "r1", "text": "aspirin prevents heart attacks in men."},
        {"_id": "r2", "text": "Another thing altogether"},
        {"_id": "both", "text": "judged twice"},
    ]
    folder = make_beir(
        queries=queries,
        test=[("t1", "d1", 1), ("t2", "d2", 1), ("t3", "d10", 0), ("both", "d10", 1)],
        train=[("r1", "d1", 1), ("r2", "d2", 2), ("r2", "d10", 1), ("both", "d10", 1)],
    )
    pair = next(p for p in validate(folder).leakage if p["split"] == "test")
    keys = ("queries", "shared_queries", "same_text", "near_duplicate", "shared_relevant")
    assert {k: pair[k] for k in keys} == {
        "queries": 4, "shared_queries": 1, "same_text": 1, "near_duplicate": 1, "shared_relevant": 2,
    }  # fmt: skip
    assert pair["near_duplicate_and_shared"] == 1
    assert pair["examples"] == [{"query": "t1", "other_query": "r1", "cosine": 1.0}]

    def embed(texts: list[str]) -> Any:
        return np.array([[1.0, 0.0] if "thing" in t else [0.0, 2.0] for t in texts], np.float32)

    other = next(p for p in validate(folder, embed=embed).leakage if p["split"] == "test")
    assert (other["near_duplicate"], other["method"]) == (3, "embeddings")
    assert validate(folder, leakage=False).leakage == []


def test_leakage_of_scifact(collections: Path) -> None:
    """300 test queries, 196 of which share a relevant document with a train query (counted independently)."""
    pair = next(p for p in validate(collections / "scifact").leakage if p["split"] == "test")
    assert (pair["queries"], pair["shared_relevant"], pair["shared_queries"]) == (300, 196, 0)
    assert pair["near_duplicate_and_shared"] == pair["near_duplicate"] > 40


def test_blocks_change_no_leakage(
    make_beir: Make, monkeypatch: pytest.MonkeyPatch, collections: Path
) -> None:
    before = validate(collections / "cosqa").leakage
    monkeypatch.setattr("seekbench.datasets.leakage._CELLS", 1)
    assert validate(collections / "cosqa").leakage == before


def test_large_collection_is_quick_and_small(collections: Path, tmp_path: Path) -> None:
    """107,525 documents and 50,024 queries: 1 s and 60 MB here, so a list of objects a row would show."""
    import tracemalloc

    spec = resolve({"path": str(collections / "wordnet-senses")})
    start = time.process_time()
    build(spec.source, tmp_path, Report(), progress=NoProgress())
    assert time.process_time() - start < 15
    (tmp_path / "again").mkdir()
    tracemalloc.start()
    build(spec.source, tmp_path / "again", Report(), progress=NoProgress())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_formats_have_no_package_file() -> None:
    """`datasets/__init__.py` would hide Hugging Face's package from whoever starts Python at the root."""
    assert formats.__file__ is None
    root = Path(__file__).parents[2] / "datasets"
    assert not (root / "__init__.py").exists()
    assert json.dumps(sorted(p.name for p in root.glob("*.py")))
    assert leakage.__module__ == "seekbench.datasets.leakage"
