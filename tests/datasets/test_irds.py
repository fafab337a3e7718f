"""Datasets of the package ir_datasets by their ids; a tiny one is registered with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seekbench.datasets import catalogue
from seekbench.datasets.load import load
from seekbench.errors import InputError, MissingError


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[str]:
    import ir_datasets

    (tmp_path / "docs.tsv").write_text("d1\tone text\nd2\tanother text\n")
    (tmp_path / "queries.tsv").write_text("q1\twhich is one\nq2\twhich is other\n")
    (tmp_path / "qrels").write_text("q1 0 d1 2\nq2 0 d2 1\nq2 0 d1 0\n")
    made = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels"),
    )
    ir_datasets.registry.register("tests/tiny/dev", made)
    yield "tests/tiny/dev"
    del ir_datasets.registry._registered["tests/tiny/dev"]


def test_documents_queries_and_judgments(registered: str) -> None:
    with pytest.raises(MissingError, match="this is offline"):
        load(f"irds:{registered}", offline=True)
    found = load(f"irds:{registered}")
    assert (found.id, found.split) == ("irds/tests/tiny/dev", "dev")
    assert found.corpus.texts("{text}") == ["one text", "another text"]
    assert found.queries.ids().to_pylist() == ["q1", "q2"]
    assert found.qrels.grades.tolist() == [2, 0, 1]
    assert load({"irds": registered, "limit": 1}, offline=True).source["limited"] == {"queries": 1}


def test_ids_of_the_package_are_known_without_a_download() -> None:
    (spec,) = catalogue.parse("irds:beir/scifact/test")
    assert (spec.id, spec.split, spec.language) == ("irds/beir/scifact/test", "test", "en")
    (spec,) = catalogue.parse("irds:vaswani")
    assert spec.split == "test"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("irds:beir/scifakt/test", "did you mean 'beir/scifact/test'"),
        ("irds:msmarco-passage", "has no queries and no qrels"),
        ({"irds": "vaswani", "split": "dev"}, "there is no split 'dev'"),
    ],
)
def test_wrong_ids(entry: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        catalogue.parse(entry)
