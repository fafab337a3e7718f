"""`seekbench fetch`, by the real client from a local hub: sizes first, then verified files; offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent.parent / "datasets"))
import test_datasets_hub as hub

from seekbench.cli.app import app
from seekbench.datasets import mteb_tasks
from seekbench.datasets.formats.hub import Hub
from seekbench.datasets.load import load


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Two tasks of MTEB on a hub of this machine; yields the paths that it is asked for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    tiny = {
        name: mteb_tasks.Task(
            name, "Retrieval", repo, hub.commit_of(repo), ("test",), {"": ("eng-Latn",)}, "ndcg_at_10", "none", "mit"
        )
        for name, repo in (("Tiny", "mteb/tiny"), ("Ranked", "mteb/ranked"))
    }  # fmt: skip
    monkeypatch.setattr(mteb_tasks, "tasks", lambda: tiny)
    from seekbench.datasets import catalogue

    catalogue.card.cache_clear()
    with hub.serving() as (endpoint, requests):

        class Here(Hub):
            """The client reads $HF_ENDPOINT when it is imported, which is too early for a test."""

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options, endpoint=endpoint, cache=tmp_path / "hub")

        monkeypatch.setattr("seekbench.datasets.formats.hub.Hub", Here)
        yield requests
    catalogue.card.cache_clear()


def fetch(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fetch", *arguments])


def needs(*arguments: str) -> dict[str, Any]:
    result = fetch(*arguments, "--json", "--dry-run")
    told = json.loads(result.stdout.splitlines()[0])
    return {row.pop("dataset"): row for row in told["datasets"]}


def test_sizes_come_first_and_later_runs_ask_nobody(served: list[str]) -> None:
    files = [name for name in hub.MTEB if name != "model.py"]
    size = sum(len(hub.MTEB[name]) for name in files)
    assert needs("mteb/Tiny", "mteb/Ranked")["mteb/Tiny"] == {
        "stored": False, "files": len(files), "bytes": size, "problem": "",
    }  # fmt: skip
    assert not [path for path in served if "/resolve/" in path], "a dry run fetches nothing"
    result = fetch("mteb/Tiny", "mteb/Ranked")
    assert result.exit_code == 0, result.output
    assert "2 of 2 datasets are missing" in result.output
    asked = len(served)
    assert len(load("mteb/Tiny", offline=True).corpus) == 3
    assert load("mteb/Ranked", offline=True).candidates is not None
    again = fetch("mteb/Tiny", "--offline")
    assert again.exit_code == 0
    assert "0 of 1 datasets are missing" in again.output
    assert len(served) == asked


def test_offline_says_what_is_missing(served: list[str]) -> None:
    result = fetch("mteb/Tiny", "--offline")
    assert result.exit_code == 1
    assert "not in the store" in result.output
    assert not served, "offline never touches the network"


def test_one_that_fails_leaves_the_others(served: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(hub.REPOS, "mteb/ranked")
    result = fetch("mteb/Ranked", "mteb/Tiny")
    assert result.exit_code == 1
    assert "failed: mteb/Ranked:" in result.output
    assert load("mteb/Tiny", offline=True).id == "mteb/Tiny"


def test_a_file_that_is_not_the_commits(served: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing has another checksum than what comes: a damaged mirror, or cache."""
    monkeypatch.setattr(hub, "blob_of", lambda data: "0" * 40)
    result = fetch("mteb/Tiny")
    assert result.exit_code == 1
    assert "is not the file of this commit (its checksum differs)" in result.output


def test_wrong_names_are_told_together() -> None:
    result = fetch("mteb/Scifact", "beer", "nanobier")
    assert result.exit_code == 2
    for said in ("did you mean 'SciFact'", "did you mean 'beir'", "did you mean 'nanobeir'"):
        assert said in result.output
