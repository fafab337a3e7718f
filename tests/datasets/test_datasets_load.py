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
from seekbench.datasets.folder import open_collection
from seekbench.datasets.leakage import leakage
from seekbench.datasets.load import build, describe_source, load, stored
from seekbench.datasets.resolve import resolve
from seekbench.datasets.validate import validate
from seekbench.errors import InputError, MissingError, Report, SeekbenchError
from seekbench.progress import NoProgress, Progress
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


class Notes(NoProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str, **facts: Any) -> None:
        self.said.append(text)


def test_unknown_ids_of_an_exclusion_list_are_counted(make_beir: Make, store: Store, tmp_path: Path) -> None:
    folder = str(make_beir(dev=[("q1", "d2", 1)], test=JUDGMENTS[1:]))
    listed = tmp_path / "excluded.tsv"
    entry = {"path": folder, "exclude": {"file": str(listed)}}
    listed.write_text("q2\td1\nq2\td1\nq2\tnowhere\nq1\td1\nq9\td10\n")
    notes = Notes()
    found = load(entry, store=store, progress=notes)
    assert (found.exclusion.query_rows.tolist(), found.exclusion.doc_rows.tolist()) == ([0], [0])
    assert found.source["exclusion"] == {"given": 4, "applied": 1, "unknown": 3}
    said = (
        "3 of 4 pairs of the exclusion list are unknown in split 'test' and left out: 2 queries that are not "
        "in the split (e.g. 'q1'), 1 documents that are not in the corpus (e.g. 'nowhere')"
    )
    assert found.statistics["warnings"] == [f"warning: collection: {said}"]
    assert f"collection: {said}" in notes.said
    for text, why in (
        (
            "d1\tq2\n",
            "none of the 1 pairs of the exclusion list is known: 1 queries .*'d1'.* 1 documents .*'q2'",
        ),
        ("q2\tnowhere\n", "none of the 1 pairs"),
        ("", "holds no pair"),
        ("q2\tN/A\n", "holds no pair"),
        ("{}", "holds no pair"),
    ):
        listed.write_text(text)
        with pytest.raises(InputError, match=why):
            load(entry, store=store)
    assert "exclusion" not in load({"path": folder}, store=store).source


def test_a_limit_makes_no_pair_unknown(make_beir: Make, store: Store, tmp_path: Path) -> None:
    folder, listed = str(make_beir()), tmp_path / "excluded.tsv"
    listed.write_text("q2\td1\nq2\td10\n")
    entry = {"path": folder, "exclude": {"file": str(listed)}}
    one = load({**entry, "limit": 1}, store=store)
    assert len(one.exclusion) == 0
    assert one.source["exclusion"] == {"given": 2, "applied": 0, "unknown": 0}
    assert one.statistics["warnings"] == []
    only = [{**QUERIES[0]}, {**QUERIES[1], "metadata": {"not": ["d1"]}}]
    keyed = {"path": str(make_beir(queries=only, name="keyed")), "exclude": {"key": "not"}}
    assert len(load({**keyed, "limit": 1}, store=store).exclusion) == 0
    few = load({**keyed, "limit_documents": 2}, store=store)
    assert few.source["exclusion"] == {"given": 1, "applied": 1, "unknown": 0}


def test_exclusion_lists_of_the_metadata(make_beir: Make, store: Store) -> None:
    def entry(*values: Any) -> dict[str, Any]:
        queries = [{**q, "metadata": {"not": v}} for q, v in zip(QUERIES, values, strict=True)]
        return {"path": str(make_beir(queries=queries)), "exclude": {"key": "not"}}

    nothing = load(entry(["N/A"], ["N/A"]), store=store)
    assert nothing.source["exclusion"] == {"given": 0, "applied": 0, "unknown": 0}
    for value in ("d1", "[d1", {"d1": 1}):
        with pytest.raises(InputError, match="'not' of query 'q2' is no list"):
            load(entry(["d1"], value), store=store)


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbfq1\td2\r\nq2\td1\r\n", b" q1 \t d2\n\n  \nq2\td1 ", b'\xef\xbb\xbf{"q1": [" d2"], "q2": ["d1"]}\r\n',
     b'{"q2": ["d1"], "q1": [], "q1": ["d2"], "q1": []}'],
)  # fmt: skip
def test_forms_of_exclusion_files(data: bytes, make_beir: Make, store: Store, tmp_path: Path) -> None:
    (tmp_path / "excluded").write_bytes(data)
    entry = {"path": str(make_beir()), "exclude": {"file": str(tmp_path / "excluded")}}
    found = load(entry, store=store)
    assert list(zip(found.exclusion.query_rows, found.exclusion.doc_rows, strict=True)) == [(0, 1), (1, 0)]
    assert found.source["exclusion"] == {"given": 2, "applied": 2, "unknown": 0}


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [(b"q1\td2\nq2\td\xe9\n", 2, "0xe9 is no UTF-8"), (b'{"q1":\n["d\xff"]}', 2, "no UTF-8"),
     (b"q1 d2\n", 1, "not query"),
     (b"q1\td2\n\td1\n", 2, "not query"), (b'{"q1":\n ["d1"}', 2, "is no JSON"), (b'{"q1": "d1"}', None, "no list"),
     (b'{"q1": [null]}', None, "no list"), (b'{"q1": {}}', None, "no list"), (b'{"q1": ["\\ud800"]}', 1, "is no JSON"),
     (b'{"q1": ' + b"[" * 5000, 1, "is no JSON"), (b'{"q1": [' + b"9" * 5000 + b"]}", 1, "is no JSON")],
)  # fmt: skip
def test_bad_exclusion_files(
    data: bytes, line: int | None, why: str, make_beir: Make, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "excluded").write_bytes(data)
    entry = {"path": str(make_beir()), "exclude": {"file": str(tmp_path / "excluded")}}
    with pytest.raises(InputError, match=why) as caught:
        load(entry, store=store)
    (problem,) = caught.value.report.problems
    assert (problem.where, problem.line) == (str(tmp_path / "excluded"), line)


def test_templates_that_leave_nothing_to_search_are_refused(make_beir: Make, store: Store) -> None:
    narrated = [{**QUERIES[0], "metadata": {"narrative": "", "hint": "x"}}, QUERIES[1]]
    folder = str(make_beir(queries=narrated))
    with pytest.raises(InputError, match=r"names unknown field.* title"):
        load({"path": folder, "query_template": "{title}"}, store=store)
    with pytest.raises(InputError, match=r"'\{narrative\} \{title\}' makes the text of every query empty"):
        load({"path": folder, "query_template": "{narrative} {title}"}, store=store)
    notes = Notes()
    some = load({"path": folder, "query_template": "{hint}"}, store=store, progress=notes)
    said = "query template '{hint}' makes the text of 1 of 2 queries empty: 'q2'"
    assert some.statistics["warnings"] == [f"warning: collection: {said}"]
    assert f"collection: {said}" in notes.said
    assert load({"path": folder, "query_template": "q: {hint}"}, store=store).statistics["warnings"] == []

    untitled = [{"_id": d["_id"], "text": "x " + d["_id"], "url": " "} for d in DOCUMENTS]
    folder = str(make_beir(corpus=untitled, name="untitled"))
    assert load({"path": folder}, store=store).corpus.texts("{title} {text}")[0] == "x d1"
    with pytest.raises(InputError, match=r"names unknown field.* title"):
        load({"path": folder, "template": "{title}"}, store=store)
    with pytest.raises(InputError, match=r"'\{url\}' makes the text of every document empty"):
        load({"path": folder, "template": "{url}"}, store=store)
    blank = [{"_id": d["_id"], "title": "", "text": " "} for d in DOCUMENTS]
    with pytest.raises(InputError, match="every document empty"):
        load({"path": str(make_beir(corpus=blank, name="blank"))}, store=store)


def test_files_of_one_name_are_told_apart(store: Store, tmp_path: Path) -> None:
    """Parts of a TREC collection may be called the same in their folders."""
    files = {
        "docs/one/data.txt": "d1\tone\n",
        "docs/two/data.txt": "d2\ttwo\n",
        "topics/data.txt": "q1\twhich\n",
        "qrels/dev/data.txt": "q1 0 d2 1\n",
        "qrels/test/data.txt": "q1 0 d1 1\n",
    }
    root = tmp_path / "trec"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    outside = tmp_path / "data.txt"
    outside.write_text("q1 0 d1 2\n")
    qrels = {"dev": "qrels/dev/data.txt", "test": "qrels/test/data.txt", "other": str(outside)}
    entry = {"path": str(root), "documents": "docs", "topics": "topics/data.txt", "qrels": qrels}
    first = load(entry, store=store)
    assert set(first.source["files"]) == {*files, outside.as_posix()}
    assert first.source["qrels"] == {**qrels, "other": outside.as_posix()}
    for path, text in (
        (root / "docs/one/data.txt", "d1\tanother\n"),
        (root / "topics/data.txt", "q1\twhat\n"),
        (root / "qrels/dev/data.txt", "q1 0 d2 3\n"),
        (outside, "q1 0 d2 2\n"),
    ):
        path.write_text(text)
        assert not describe_source(entry, store).cached, path
        load(entry, store=store)
        assert describe_source(entry, store).cached
    exchanged = {**entry, "qrels": {**qrels, "dev": qrels["test"], "test": qrels["dev"]}}
    assert not describe_source(exchanged, store).cached
    assert load(exchanged, store=store).qrels.doc_rows.tolist() == [1]
    assert load(entry, store=store).qrels.doc_rows.tolist() == [0]


def test_names_of_files(tmp_path: Path) -> None:
    from seekbench.datasets.source import file_name

    assert file_name(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert file_name(tmp_path / "x" / ".." / "b", tmp_path) == f"{tmp_path}/x/../b"
    assert file_name(tmp_path / "b", tmp_path / "a") == f"{tmp_path}/b"
    assert file_name(Path("b"), Path()) == "b"
    assert file_name(Path("b"), None) == str(Path("b").absolute())


@pytest.mark.parametrize(
    "how", ["rewritten", "same size and time", "replaced", "broken", "removed", "back again"]
)
@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_changes_while_it_is_read(
    how: str, old: bool, make_beir: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New content must never be found under the key of the old one."""
    from seekbench.datasets.formats.beir import Beir

    folder = make_beir()
    path = folder / "corpus.jsonl"
    before = path.read_bytes()
    after = before.replace(b"one text", b"two text")
    if old:  # so that the store remembers its hash
        now = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now() + 10**11)
    entry = {"path": str(folder)}
    read = Beir.read

    def meddling(self: Beir, builder: Any, *, progress: Progress, offline: bool = False) -> None:
        stat = path.stat()
        time.sleep(0.02 if old else 0)  # times of change are coarse
        if how == "replaced":
            (folder / "new").write_bytes(after)
            (folder / "new").replace(path)
        elif how == "broken":
            path.write_bytes(before[:-9])
        else:
            path.write_bytes(after)
        if how == "same size and time":
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        try:
            read(self, builder, progress=progress, offline=offline)
        finally:
            if how == "removed":
                path.unlink()
            if how == "back again":
                time.sleep(0.02)
                path.write_bytes(before)

    with monkeypatch.context() as patch:
        patch.setattr(Beir, "read", meddling)
        with pytest.raises(SeekbenchError, match=r"corpus.jsonl changed while it was being read; run again"):
            load(entry, store=store)
    assert not [p for p in (store.root / "collections").iterdir() if p.is_dir()]
    for data in (before, after):
        time.sleep(0.02)
        path.write_bytes(data)
        assert load(entry, store=store).corpus.texts("{text}")[0] == data[30:60].decode().split('"')[3]


def test_a_library_that_changes_while_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter("ab")
    monkeypatch.setattr("seekbench.datasets.formats.pydocs.PyDocs.read", _three_functions)
    monkeypatch.setattr(
        "seekbench.datasets.formats.pydocs.PyDocs.identity", lambda self, offline: {"sha256": next(states)}
    )
    with pytest.raises(SeekbenchError, match="pydocs changed while"):
        load("pydocs-small", store=store)


def test_nothing_writes_to_a_collection_after_it_was_made(make_beir: Make, store: Store) -> None:
    entry = {"path": str(make_beir(dev=JUDGMENTS[:1]))}
    first = load(entry, store=store)

    def state() -> dict[str, tuple[int, int]]:
        root = store.root / "collections"
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*")}

    before = state()
    folder = store.root / "collections" / first.source["collection"]
    assert {p.name for p in folder.iterdir()} == {
        "collection.json", "corpus.arrow", "corpus.order.npy", "facts.json", "qrels.dev.arrow", "qrels.test.arrow",
        "queries.arrow", "queries.order.npy", "recipe.json",
    }  # fmt: skip
    for change in ({}, {"split": "dev"}, {"limit": 1}, {"limit_documents": 1}, {"exclude": "identical_id"}):
        dataset = load({**entry, **change}, store=store)
        for records in (dataset.corpus, dataset.queries):
            assert len(records.order) == len(records)
            assert records.content_hash
            assert records.metadata_keys is not None
        assert dataset.hashes
    assert state() == before
    (folder / "corpus.order.npy").unlink()
    corpus = open_collection(folder).corpus
    assert corpus.order.tolist() == first.corpus.order.tolist()
    assert not (folder / "corpus.order.npy").exists(), "computed, and not stored"


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
    from seekbench.datasets.card import Expected

    card = catalogue.card("pydocs-small")
    changed = card.model_copy(update={"expected": Expected(documents=7)})
    monkeypatch.setattr(catalogue, "card", lambda name: changed)
    monkeypatch.setattr("seekbench.datasets.formats.pydocs.PyDocs.read", _three_functions)
    monkeypatch.setattr("seekbench.datasets.formats.pydocs.PyDocs.identity", lambda self, offline: {})
    told = load("pydocs-small", store=store).source["unexpected"]
    assert told == ["3 documents where its card expects 7"]


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
