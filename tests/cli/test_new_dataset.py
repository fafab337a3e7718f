"""`seekbench new dataset`: a card from a folder, which then stands for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from seekbench.cli.app import app
from seekbench.datasets.load import load
from seekbench.errors import InputError


def new(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["new", "dataset", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    (root / "qrels").mkdir(parents=True)
    text = "der Hund und die Katze sind auf dem Weg nach Hause, und es ist nicht weit von hier"
    rows = [{"_id": f"d{i}", "title": "", "text": f"{text} {i}"} for i in range(30)]
    (root / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "queries.jsonl").write_text('{"_id": "q", "text": "Hund"}\n')
    (root / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    return root


def test_a_card_stands_for_its_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = new("mine", "--title", "Mine")
    assert result.exit_code == 0, result.output
    card = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert card["languages"] == ["de"]
    assert card["expected"] == {"documents": 30, "queries": {"dev": 1}}
    assert set(card["source"]["checksums"]) == {"corpus.jsonl", "queries.jsonl", "qrels/dev.tsv"}
    assert "TODO" in card["licence"]
    found, plain = (
        load("./mine.yaml"),
        load({"path": folder, "split": "dev", "language": "de", "template": "{text}"}),
    )
    assert found.id == "mine"
    assert found.split == "dev"
    assert found.hashes == plain.hashes
    assert load({"card": tmp_path / "mine.yaml", "limit": 1}).source["card"] == "mine"
    (tmp_path / "config.yaml").write_text("datasets: [./mine.yaml]\nretrievers: {bm25: {type: bm25}}\n")
    assert CliRunner().invoke(app, ["validate", "config.yaml"]).exit_code == 0
    assert new("mine").exit_code == 2, "a card is never overwritten"


def test_another_file_than_the_cards_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new("mine").exit_code == 0
    with (folder / "queries.jsonl").open("a") as handle:
        handle.write('{"_id": "q2", "text": "Katze"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    with pytest.raises(InputError) as caught:
        load("./mine.yaml")
    assert "'queries.jsonl' is not the file that the card was written for" in str(caught.value)
    assert "there is a file 'qrels/test.tsv' that the card lacks" in str(caught.value)


def test_mistakes_of_a_card_have_lines(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new("mine").exit_code == 0
    text = (tmp_path / "mine.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(
        text.replace("licence:", "license:").replace("layout: beir", "layout: bier")
    )
    with pytest.raises(InputError) as caught:
        load("./mine.yaml")
    said = str(caught.value)
    assert (
        "mine.yaml:6: source.layout: input should be 'auto', 'beir', 'trec' or 'tables', not 'bier'" in said
    )
    assert "a card has no key 'license' (did you mean 'licence'?)" in said
    assert "the key 'licence' is missing" in said


def test_defects_are_told_and_no_card_is_written(folder: Path, tmp_path: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": ""}\n')
    result = new(folder)
    assert result.exit_code == 2
    assert "queries.jsonl:1: query 'q' is empty" in result.output
    assert not (tmp_path / "mine.yaml").exists()
    assert new(tmp_path / "nothing").exit_code == 2
