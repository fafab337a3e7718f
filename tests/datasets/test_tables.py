"""Collections in tables of any layout, by what an entry says of their columns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_datasets_hub as hub

from seekbench.datasets.builder import Builder
from seekbench.datasets.formats.hub_tables import HubTables
from seekbench.datasets.layout import TablesLayout
from seekbench.datasets.load import load
from seekbench.errors import InputError
from seekbench.progress import NoProgress


def entry(folder: Path, **parts: Any) -> dict[str, Any]:
    return {"path": folder, "format": "tables", "tables": parts}


def judged(dataset: Any) -> set[tuple[str, str, int]]:
    rows = dataset.qrels.query_rows()
    queries, documents = dataset.queries.ids(), dataset.corpus.ids()
    return {
        (queries[int(q)].as_py(), documents[int(d)].as_py(), int(g))
        for q, d, g in zip(rows, dataset.qrels.doc_rows, dataset.qrels.grades, strict=True)
    }


def test_one_table_of_several_datasets(tmp_path: Path) -> None:
    """The layout of LoCoV1: rows of all tasks in one file, chosen by a column; relevant documents as a list."""
    passages = [
        {"pid": f"p{i}", "passage": f"text {i}", "dataset": "gov" if i % 2 else "qa"} for i in range(6)
    ]
    asked = [
        {"qid": "q1", "query": "one", "answer_pids": ["p1", "p3"], "dataset": "gov"},
        {"qid": "q2", "query": "two", "answer_pids": ["p2"], "dataset": "qa"},
    ]
    pq.write_table(pa.Table.from_pylist(passages), tmp_path / "documents.parquet")
    pq.write_table(pa.Table.from_pylist(asked), tmp_path / "queries.parquet")
    found = load(
        entry(
            tmp_path,
            documents={
                "files": "documents.parquet",
                "id": "pid",
                "text": "passage",
                "where": {"dataset": "gov"},
            },
            queries={"files": "queries.parquet", "id": "qid", "text": "query", "where": {"dataset": "gov"}},
            qrels={
                "test": {
                    "files": "queries.parquet",
                    "query": "qid",
                    "document": "answer_pids",
                    "grade": 1,
                    "where": {"dataset": ["gov", "court"]},
                }
            },
        )
    )
    assert found.corpus.ids().to_pylist() == ["p1", "p3", "p5"]
    assert judged(found) == {("q1", "p1", 1), ("q1", "p3", 1)}


def test_graded_pairs_with_their_texts(tmp_path: Path) -> None:
    """The layout of ESCI: one row a pair, with both texts; grades are letters; products come again and again."""
    lines = [
        "query_id,query,product_id,product_title,esci_label,split",
        '7,"red, shoes",B1,Red shoes,E,test',
        '7,"red, shoes",B2,"Blue ""shoes""",S,test',
        "8,hats,B1,Red shoes,I,test",
        "9,socks,B3,Socks,E,train",
    ]
    (tmp_path / "pairs.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    part = {"files": "pairs.csv.gz", "where": {"split": "test"}}
    found = load(
        entry(
            tmp_path,
            documents={
                "files": "pairs.csv.gz",
                "id": "product_id",
                "text": "product_title",
                "first": True,
                "keep": [],
            },
            queries={**part, "id": "query_id", "text": "query", "first": True, "keep": ["split"]},
            qrels={
                "test": {
                    **part,
                    "query": "query_id",
                    "document": "product_id",
                    "grade": "esci_label",
                    "grades": {"E": 3, "S": 2, "C": 1, "I": 0},
                }
            },
        )
    )
    assert found.corpus.texts("{text}") == ["Red shoes", 'Blue "shoes"', "Socks"]
    assert found.queries.texts("{text}") == ["red, shoes", "hats"]
    assert judged(found) == {("7", "B1", 3), ("7", "B2", 2), ("8", "B1", 0)}
    assert found.corpus.metadata_keys == set()


def test_json_objects_templates_and_nested_keys(tmp_path: Path) -> None:
    """Tools by name in one object, queries in an array somewhere in another, ids made of two columns."""
    (tmp_path / "tools.json").write_text(json.dumps({"Maps": "finds ways", "Mail": "sends letters"}))
    data = {"data": {"items": [{"n": 1, "year": 2024, "info": {"text": "a letter"}, "tool": "Mail"}]}}
    (tmp_path / "asked.json").write_text(json.dumps(data))
    part = {"files": "asked.json", "at": "data.items"}
    found = load(
        entry(
            tmp_path,
            documents={"files": "tools.json", "id": "key", "title": "key", "text": "value"},
            queries={**part, "id": "{year}-{n}", "text": "info.text"},
            qrels={"test": {**part, "query": "{year}-{n}", "document": "tool", "grade": 1}},
        )
    )
    assert found.corpus.texts("{title}: {text}") == ["Maps: finds ways", "Mail: sends letters"]
    assert judged(found) == {("2024-1", "Mail", 1)}
    assert found.queries.column("year") == ["2024"]


def test_lines_without_header_and_row_numbers(tmp_path: Path) -> None:
    """Bitext: line i of one file is the translation of line i of the other."""
    (tmp_path / "de.txt").write_text("Hallo\nGuten Tag\n")
    (tmp_path / "en.txt").write_text("Hello\nGood day\n")
    part = {"columns": ["line"]}
    found = load(
        entry(
            tmp_path,
            documents={**part, "files": "en.txt", "id": "{#}", "text": "line"},
            queries={**part, "files": "de.txt", "id": "{#}", "text": "line"},
            qrels={"test": {**part, "files": "de.txt", "query": "{#}", "document": "{#}", "grade": 1}},
        )
    )
    assert judged(found) == {("0", "0", 1), ("1", "1", 1)}


def test_candidates_of_a_column(tmp_path: Path) -> None:
    rows = [{"id": "1", "question": "one", "pool": ["a", "b"], "gold": "a"}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"id": d, "text": d}) + "\n" for d in "abc"))
    found = load(
        entry(
            tmp_path,
            documents={"files": "d.jsonl", "id": "id"},
            queries={"files": "q.jsonl", "id": "id", "text": "question", "candidates": "pool"},
            qrels={"test": {"files": "q.jsonl", "query": "id", "document": "gold", "grade": 1}},
        )
    )
    assert found.candidates is not None
    assert found.candidates.doc_rows.tolist() == [0, 1]


def test_every_mistake_is_told(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("docid,body\n1,x\n2\n")
    (tmp_path / "q.csv").write_text("qid,text,gold,label\n1,x,1,good\n")
    layout: dict[str, Any] = {
        "documents": {"files": "d.csv", "id": "docid", "text": "bdy"},
        "queries": {"files": "q.csv", "id": "qid"},
        "qrels": {"test": {"files": "q.csv", "query": "qid", "document": "gold", "grade": "label",
                           "grades": {"bad": 0}}},
    }  # fmt: skip
    with pytest.raises(InputError) as caught:
        load(entry(tmp_path, **layout))
    said = str(caught.value)
    assert "d.csv:2: there is no 'bdy' (for text) in this row (did you mean 'body'?)" in said
    assert "d.csv:3: 1 fields where there are 2 columns" in said
    assert "q.csv:2: grade 'good' is none of bad" in said
    layout["queries"]["files"] = "queries.csv"
    with pytest.raises(InputError, match=r"no file is called queries.csv"):
        load(entry(tmp_path, **layout))
    with pytest.raises(InputError, match="come together"):
        load({"path": tmp_path, "format": "tables"})


def test_tables_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    files = {
        "data/docs.tsv": b"pid\tbody\np1\tone\n",
        "data/asked.jsonl": hub.jsonl([{"qid": "q", "query": "x", "hit": "p1"}]),
        "other/big.parquet": b"not fetched",
    }
    monkeypatch.setitem(hub.REPOS, "own/tables", files)
    layout = TablesLayout.model_validate(
        {
            "documents": {"files": "data/docs.tsv", "id": "pid", "text": "body"},
            "queries": {"files": "data/*.jsonl", "id": "qid", "text": "query"},
            "qrels": {"test": {"files": "data/*.jsonl", "query": "qid", "document": "hit", "grade": 1}},
        }
    )
    with hub.serving() as (endpoint, requests):
        source = HubTables(
            "own/tables",
            layout,
            revision=hub.commit_of("own/tables"),
            endpoint=endpoint,
            cache=tmp_path / "cache",
        )
        assert source.to_fetch() == (2, sum(len(files[n]) for n in files if n.startswith("data")))
        (tmp_path / "out").mkdir()
        builder = Builder(tmp_path / "out")
        source.read(builder, progress=NoProgress())
        builder.close()
        assert builder.report.lines() == []
        assert not [path for path in requests if path.endswith("big.parquet")]


def test_brights_cards_read_brights_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns and file names of the hub's BRIGHT, with two domains; excluded documents of the card's list."""
    from seekbench.datasets import catalogue, suites
    from seekbench.datasets.formats import hub as hub_format

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    documents = [{"id": f"web/{i}.txt", "content": f"page {i}"} for i in range(4)]
    asked = [
        {
            "id": "0", "query": "why is it so", "reasoning": "because", "excluded_ids": ["web/3.txt"],
            "gold_ids_long": ["web"], "gold_ids": ["web/0.txt", "web/2.txt"], "gold_answer": "N/A",
        },
        {
            "id": "1", "query": "what is it", "reasoning": "", "excluded_ids": ["N/A"],
            "gold_ids_long": ["web"], "gold_ids": ["web/1.txt"], "gold_answer": "N/A",
        },
    ]  # fmt: skip
    whole = [{"id": "web", "content": "all pages"}]
    files = {
        "documents/biology-00000-of-00001.parquet": hub.parquet(documents),
        "long_documents/biology-00000-of-00001.parquet": hub.parquet(whole),
        "examples/biology-00000-of-00001.parquet": hub.parquet(asked),
        "documents/pony-00000-of-00001.parquet": b"not fetched",
    }
    revision = catalogue.card("bright/biology").source.revision
    assert revision is not None
    monkeypatch.setitem(hub.REPOS, "mteb/BRIGHT", files)
    commit_of = hub.commit_of
    monkeypatch.setattr(hub, "commit_of", lambda repo: revision if repo == "mteb/BRIGHT" else commit_of(repo))
    with hub.serving() as (endpoint, requests):
        before = hub_format.Hub.__init__

        def here(self: Any, *args: Any, **options: Any) -> None:
            before(self, *args, **{**options, "endpoint": endpoint, "cache": tmp_path / "cache"})

        monkeypatch.setattr(hub_format.Hub, "__init__", here)
        short, long = load("bright/biology"), load("bright/biology-long")
        assert not [path for path in requests if "pony" in path]
    assert judged(short) == {("0", "web/0.txt", 1), ("0", "web/2.txt", 1), ("1", "web/1.txt", 1)}
    assert (short.exclusion.kind, short.exclusion.doc_rows.tolist()) == ("list", [3])
    assert judged(long) == {("0", "web", 1), ("1", "web", 1)}
    assert len(suites.suite("bright").datasets) == 12
    assert len(suites.suite("bright-long").datasets) == 8


def test_a_column_that_no_row_has_is_named(tmp_path: Path) -> None:
    """Also in a template, of a title and of a condition, where a row may lack it."""
    put(tmp_path)
    for part, change, said in (
        ("documents", {"text": "{boddy}"}, r"no row has 'boddy' \(for text\)"),
        ("documents", {"title": "nope"}, r"no row has 'nope' \(for title\)"),
        ("queries", {"where": {"splt": "x"}}, r"no row has 'splt' \(for where\)"),
        ("qrels", {"document": "{dok}"}, r"no row has 'dok' \(for document\)"),
    ):
        layout = base()
        target = layout["qrels"]["test"] if part == "qrels" else layout[part]
        target.update(change)
        with pytest.raises(InputError, match=said):
            load({"path": tmp_path, "format": "tables", "tables": layout})
    layout = base()
    layout["documents"]["text"] = "{body"
    with pytest.raises(InputError, match="has a brace without its other one"):
        load({"path": tmp_path, "format": "tables", "tables": layout})


def put(folder: Path) -> None:
    (folder / "d.csv").write_text("id,body\n1,alpha\n2,beta\n3,gamma\n")
    (folder / "q.csv").write_text("id,body\na,alpha\n")
    (folder / "j.csv").write_text("q,d,g\na,1,1\n")


def base() -> dict[str, Any]:
    return {
        "documents": {"files": "d.csv", "id": "id", "text": "body"},
        "queries": {"files": "q.csv", "id": "id", "text": "body"},
        "qrels": {"test": {"files": "j.csv", "query": "q", "document": "d", "grade": "g"}},
    }


def test_quotes_that_do_not_end(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "d.csv").write_text('id,body\n1,alpha\n2,"beta\n3,gamma\n')
    entry: dict[str, Any] = {"path": tmp_path, "format": "tables", "tables": base()}
    with pytest.raises(InputError, match=r"d\.csv:3: a quoted field does not end as it should"):
        load(entry)
    entry["tables"]["documents"]["quotes"] = False
    assert load(entry).corpus.texts("{text}") == ["alpha", '"beta', "gamma"]


def test_bytes_that_are_no_utf8_have_a_line(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "d.csv").write_bytes(b"id,body\n1,alpha\n2,b\xffta\n3,gamma\n")
    with pytest.raises(InputError, match=r"d\.csv:3: byte 4 of the line is no UTF-8 \(0xff\)"):
        load({"path": tmp_path, "format": "tables", "tables": base()})
    (tmp_path / "d.csv").write_text("id,body,body\n1,alpha,x\n")
    with pytest.raises(InputError, match=r"d\.csv:1: two columns are called 'body'"):
        load({"path": tmp_path, "format": "tables", "tables": base()})


def test_a_wrong_key_of_a_layout_has_its_place(tmp_path: Path) -> None:
    put(tmp_path)
    layout = base()
    layout["documents"]["titel"] = "body"
    with pytest.raises(InputError, match=r"unknown key 'titel' in tables\.documents.*did you mean 'title'"):
        load({"path": tmp_path, "format": "tables", "tables": layout})


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    put(tmp_path)
    layout = base()
    layout["documents"] = {"files": "d.json", "id": "key", "text": "value"}
    (tmp_path / "d.json").write_text('{"1": "alpha", "2": "beta", "1": "other"}')
    with pytest.raises(InputError, match=r"d\.json: the key '1' stands twice in one object"):
        load({"path": tmp_path, "format": "tables", "tables": layout})
    (tmp_path / "d.json").write_text('{"1": "alpha", "2": "beta"}')
    assert load({"path": tmp_path, "format": "tables", "tables": layout}).corpus.ids().to_pylist() == [
        "1",
        "2",
    ]
