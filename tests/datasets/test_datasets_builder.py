"""What the builder writes, and what it refuses whatever the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seekbench.collection import BLOCK, Qrels, byte_order
from seekbench.datasets import builder as module
from seekbench.datasets.builder import Builder
from seekbench.datasets.folder import open_collection, open_dataset
from seekbench.errors import InputError


def small(folder: Path) -> Builder:
    builder = Builder(folder)
    for n in range(4):
        builder.document(f"d{n}", "", f"text {n}", line=n + 1, where="c")
    builder.query("q0", "what", line=1, where="q")
    builder.query("q1", "who", line=2, where="q")
    builder.judgment("test", "q0", "d1", 1, line=1, where="r")
    return builder


def codes(builder: Builder) -> dict[str, int]:
    return {code: n for (code, _, _), n in builder.report.counts.items()}


def test_columns_appear_only_where_somebody_has_them(tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.close()
    assert open_collection(tmp_path).corpus.table.column_names == ["id", "text"]


def test_a_late_column_keeps_the_rows_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    builder = small(tmp_path)
    builder.document("t", "Title", "text t", {"year": 1, "none": None})
    builder.close()
    corpus = open_collection(tmp_path).corpus
    assert corpus.table.column_names == ["id", "text", "title", "metadata"]
    assert corpus.column("title") == ["", "", "", "", "Title"]
    assert corpus.column("metadata") == [None, None, None, None, '{"year":1}']
    assert corpus.texts("{title} {text} {year}")[-1] == "Title text t 1"
    assert not list(tmp_path.glob("*.old"))


def test_hash_does_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []
    for size in (BLOCK, 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        monkeypatch.setattr(module, "BLOCK", size)
        hashes.append(small(folder).close()["hashes"])
    assert hashes[0] == hashes[1]


def test_stored_order_and_hash_are_the_computed_ones(tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.document("d10", None, "after d1 in byte order")
    builder.close()
    corpus = open_collection(tmp_path).corpus
    assert corpus.order.tolist() == byte_order(corpus.ids()).tolist() == [0, 1, 3, 4, 2]
    stored = corpus.content_hash
    del corpus.__dict__["content_hash"]
    assert corpus.content_hash == stored


def test_absent_documents_count_and_do_not_depend_on_line_order(tmp_path: Path) -> None:
    found = []
    for name, order in (("a", ["x9", "x1"]), ("b", ["x1", "x9"])):
        folder = tmp_path / name
        folder.mkdir()
        builder = small(folder)
        for line, document in enumerate(order, 2):
            builder.judgment("test", "q0", document, 3, where="r", line=line)
        builder.close()
        assert codes(builder) == {"absent-document": 2, "unjudged-query": 1}
        found.append(open_dataset(folder, id="x"))
    qrels = found[0].qrels
    assert qrels.absent_ids == ("x1", "x9")
    assert qrels.doc_rows.tolist() == [1, 4, 5]
    assert found[0].hashes == found[1].hashes


def test_only_judged_queries_are_in_a_split(tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.judgment("train", "q1", "d3", -1)
    builder.close()
    train = open_dataset(tmp_path, id="x", split="train")
    assert train.queries.ids().to_pylist() == ["q1"]
    assert train.qrels.grades.tolist() == [-1]
    assert [p.code for p in builder.report.problems] == ["no-positives"]


@pytest.mark.parametrize(
    ("id", "code"),
    [("", "empty-id"), ("a b", "bad-id"), ("a\tb", "bad-id"), (" d1", "bad-id"), ("d\u00a01", "bad-id"),
     ("a\x00", "bad-id")],
)  # fmt: skip
def test_ids_that_run_files_cannot_hold(id: str, code: str, tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.document(id, "", "other", where="c", line=5)
    with pytest.raises(InputError):
        builder.close()
    assert (builder.report.problems[0].code, builder.report.problems[0].line) == (code, 5)
    assert ("id-differs-by-space" in codes(builder)) == (id in (" d1", "d\u00a01"))


def test_duplicates_name_both_places(tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.document("d1", "", "again", where="c", line=5)
    builder.document("d1", "", "and again", where="other", line=1)
    builder.query("q0", "what else", where="q", line=3)
    with pytest.raises(InputError) as caught:
        builder.close()
    said = [str(p) for p in caught.value.report.problems]
    assert "c:5: document id 'd1' is there already, at line 2 (ids are unique: remove or rename one)" in said
    assert any(s.startswith("other:1: document id 'd1' is there already, at c:2") for s in said)
    assert any(s.startswith("q:3: query id 'q0' is there already, at line 1") for s in said)


def test_many_equal_duplicates_are_counted(tmp_path: Path) -> None:
    builder = small(tmp_path)
    for n in range(200):
        builder.document("d1", "", f"again {n}", where="c", line=5 + n)
    with pytest.raises(InputError):
        builder.close()
    assert codes(builder)["duplicate-document-id"] == 200


def test_judgments_twice(tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.judgment("test", "q0", "d1", 1, where="r", line=2)
    builder.judgment("test", "q0", "d1", 2, where="r", line=3)
    builder.judgment("train", "q0", "d1", 2, where="r2", line=1)
    with pytest.raises(InputError):
        builder.close()
    assert [(p.code, p.line) for p in builder.report.problems if p.severity == "error"] == [
        ("duplicate-judgment", 2),
        ("contradicting-judgment", 3),
    ]


@pytest.mark.parametrize(
    ("grade", "read"),
    [(1, 1), ("2", 2), ("-1", -1), ("+3", 3), (1.0, 1), ("1.0", 1), ("2.", 2), ("0.5", None), ("", None),
     ("x", None), ("1e2", None), (True, None), (float("nan"), None), ("99999999999", None),
     (2**31, None), ("1_0", None)],
)  # fmt: skip
def test_grades(grade: float | str, read: int | None, tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.judgment("test", "q1", "d2", grade, where="r", line=2)
    if read is None:
        with pytest.raises(InputError, match="grade"):
            builder.close()
    else:
        builder.close()
        assert open_dataset(tmp_path, id="x").qrels.of(1)[1].tolist() == [read]
        assert ("float-grade" in codes(builder)) == ("." in str(grade))


def test_half_a_surrogate_pair_is_named(tmp_path: Path) -> None:
    builder = small(tmp_path)
    builder.document("bad", "", "half \ud800 pair", where="c", line=5)
    with pytest.raises(InputError):
        builder.close()
    assert [(p.code, p.line) for p in builder.report.problems if p.severity == "error"] == [("bad-utf8", 5)]


def test_an_interrupted_attempt_leaves_nothing(tmp_path: Path) -> None:
    first = Builder(tmp_path)
    first.document("old", "Title", "old")
    first.judgment("gone", "q", "d", 1)
    (tmp_path / "corpus.order.npy").write_bytes(b"")
    small(tmp_path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "collection.json", "corpus.arrow", "corpus.order.npy", "qrels.test.arrow", "queries.arrow",
        "queries.order.npy",
    ]  # fmt: skip
    assert open_collection(tmp_path).splits == ["test"]


def test_empty_collections_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no documents"):
        Builder(tmp_path).close()


def test_qrels_are_those_of_triples(tmp_path: Path) -> None:
    """Against the plain constructor, on random judgments in random order."""
    random = np.random.default_rng(7)
    pairs = random.permutation(200)[:60]
    queries, documents = pairs // 20, pairs % 20
    grades = random.integers(-1, 4, 60)
    builder = Builder(tmp_path)
    for n in range(20):
        builder.document(f"d{n}", None, f"text {n}")
    for n in range(10):
        builder.query(f"q{n}", f"query {n}")
    for q, d, g in zip(queries, documents, grades, strict=True):
        builder.judgment("test", f"q{q}", f"d{d}", int(g))
    builder.close()
    qrels = open_collection(tmp_path).qrels("test")
    expected = Qrels.from_triples(queries, documents, grades, queries=10, corpus_size=20)
    assert qrels.indptr.tolist() == expected.indptr.tolist()
    assert qrels.doc_rows.tolist() == expected.doc_rows.tolist()
    assert qrels.grades.tolist() == expected.grades.tolist()
