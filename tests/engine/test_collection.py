"""Templates, rows, hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import hashing
from seekbench.collection import Corpus, Exclusion, Qrels, Template
from seekbench.errors import InputError


@pytest.mark.parametrize(
    ("pattern", "title", "text", "expected"),
    [
        ("{title} {text}", "T", "x", "T x"),
        ("{title} {text}", None, "x", "x"),
        ("{title} {text}", "", " x ", "x"),
        ("{{{title}}}: {text}", "T", "x", "{T}: x"),
        ("passage: {text}", None, "x", "passage: x"),
    ],
)
def test_templates(pattern: str, title: str | None, text: str, expected: str) -> None:
    assert Corpus.from_lists(["1"], [text], [title]).texts(pattern) == [expected]


@pytest.mark.parametrize("pattern", ["plain", "{title", "{a b}", "{}"])
def test_bad_templates(pattern: str) -> None:
    with pytest.raises(InputError):
        Template(pattern)


def test_unknown_fields_are_named() -> None:
    corpus = Corpus.from_lists(["1"], ["x"])
    corpus.check_template("{title} {text}")
    with pytest.raises(InputError, match="unknown field"):
        corpus.check_template("{tilte} {text}")


def test_metadata_can_be_rendered() -> None:
    corpus = Corpus(
        pa.table(
            {"id": ["1", "2"], "text": ["x", "y"], "metadata": ['{"year": 1999, "venue": "SIGIR"}', None]}
        )
    )
    assert corpus.texts("{venue} {year} {text}") == ["SIGIR 1999 x", "y"]
    corpus.check_template("{venue}")


def test_rows_and_order() -> None:
    corpus = Corpus.from_lists(["b", "é", "a", "10", "9"], [""] * 5)
    assert corpus.rows_of(["a", "?", "b"]).tolist() == [2, -1, 0]
    assert [corpus.ids().to_pylist()[i] for i in np.argsort(corpus.order)] == sorted(
        ["b", "é", "a", "10", "9"], key=str.encode
    )
    assert corpus.subset(np.array([3, 0])).ids().to_pylist() == ["10", "b"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=40), st.integers(1, 7))
def test_hash_does_not_depend_on_chunks(values: list[str | None], size: int) -> None:
    values = [v if v is None else v.encode("utf-8", "ignore").decode() for v in values]
    whole = pa.chunked_array([pa.array(values, pa.string())])
    parts = pa.chunked_array(
        [pa.array(values[i : i + size], pa.string()) for i in range(0, len(values), size)], type=pa.string()
    )
    assert hashing.of_columns([("x", whole)]) == hashing.of_columns([("x", parts)])
    assert hashing.of_columns([("x", whole.cast(pa.large_string()))]) == hashing.of_columns([("x", whole)])


def test_hash_tells_null_from_empty_and_moved_text() -> None:
    seen = {
        hashing.of_columns([("x", pa.chunked_array([pa.array(v, pa.string())]))])
        for v in ([None, "a"], ["", "a"], ["a", ""], ["a", None], ["a"])
    }
    assert len(seen) == 5


def test_qrels_rows() -> None:
    qrels = Qrels.from_triples(
        np.array([1, 0, 1]),
        np.array([5, 2, 0]),
        np.array([1, 2, 0]),
        queries=3,
        corpus_size=5,
        absent_ids=["gone"],
    )
    assert qrels.indptr.tolist() == [0, 1, 3, 3]
    assert qrels.of(1)[0].tolist() == [0, 5]
    assert qrels.query_rows().tolist() == [0, 1, 1]


def test_exclusion_most() -> None:
    assert Exclusion().most == 0
    assert Exclusion("list", np.array([0, 0, 2]), np.array([1, 2, 3])).most == 2


@given(st.lists(st.integers(0, 11), max_size=20), st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_rows_taken_of_chunks_are_arrows(rows: list[int], sizes: list[int]) -> None:
    """In any order, repeated or none, of a table in chunks of any sizes."""
    from seekbench.collection import taken

    count = sum(sizes)
    values = [f"v{i}" for i in range(count)]
    chunks, at = [], 0
    for size in sizes:
        chunks.append(pa.array(values[at : at + size], pa.large_string()))
        at += size
    table = pa.table({"id": pa.chunked_array(chunks), "text": pa.chunked_array(chunks)})
    chosen = np.array([row % count for row in rows], dtype=np.int64)
    assert taken(table, chosen).to_pylist() == table.take(pa.array(chosen)).to_pylist()


@given(
    st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.text(max_size=9))), max_size=60),
    st.integers(1, 9),
)
def test_a_files_hash_is_its_columns(rows: list[tuple[str, str | None]], size: int) -> None:
    import tempfile

    schema = pa.schema([("id", pa.large_string()), ("metadata", pa.large_string())])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.arrow"
        with pa.ipc.new_file(str(path), schema) as writer:
            for at in range(0, len(rows), size):
                part = rows[at : at + size]
                columns = [pa.array([row[i] for row in part], pa.large_string()) for i in range(2)]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        assert hashing.of_arrow_file(path) == Corpus.open(path).content_hash
