"""Tables of MTEB's result files beside those that mteb's own code makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from seekbench.cli.app import app
from seekbench.datasets import suites
from seekbench.datasets.task_names import by_mteb_task
from seekbench.errors import InputError
from seekbench.leaderboard import sources


def told(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["leaderboard", *map(str, arguments), "-f", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def theirs(root: Path, tasks: list[str]) -> Any:
    """mteb's summary of these tasks: a polars frame."""
    import mteb
    from mteb.benchmarks._create_table import _create_summary_table
    from mteb.results import BenchmarkResults, ModelResult, TaskResult

    models = []
    for folder in sorted(root.glob("*/*")):
        files = [f for f in sorted(folder.glob("*.json")) if f.name != "model_meta.json"]
        models.append(
            ModelResult(
                model_name=folder.parent.name.replace("__", "/"),
                model_revision=folder.name,
                task_results=[TaskResult.from_disk(f) for f in files],
            )
        )
    frame = BenchmarkResults(model_results=models)._to_results_df(mteb.get_tasks(tasks=tasks))
    return _create_summary_table(frame).df


@pytest.mark.shared
def test_means_and_borda_ranks_equal_mtebs(published: Path) -> None:
    """20 models on 26 BEIR tasks, one of which has only two of them."""
    root = published / "mteb_results"
    board = told(root, "--metric", "main")
    ours = {r["system"]: r for r in board["rows"]}
    table = theirs(root, sorted(by_mteb_task()))
    assert len(table) == len(ours) == 20
    assert len(board["columns"]) == 26
    for name, rank, mean in table.select("Model", "Rank (Borda)", "Mean (Task)").iter_rows():
        assert ours[name]["borda"]["rank"] == rank
        assert ours[name]["mean"] == (None if mean is None else pytest.approx(mean, abs=1e-12))
    assert sum(r["mean"] is None for r in ours.values()) == 1


@pytest.mark.shared
def test_forums_as_one_dataset_equal_mtebs(published: Path) -> None:
    """The group of twelve forums of the suite, by mteb over the twelve tasks alone."""
    root = published / "mteb_results"
    ours = {r["system"]: r["scores"]["beir/cqadupstack"] for r in told(root, "--suite", "beir")["rows"]}
    forums = [
        task for task, id in by_mteb_task().items() if id in suites.suite("beir").datasets and "cqa" in id
    ]
    assert len(forums) == 12
    for name, mean in theirs(root, forums).select("Model", "Mean (Task)").iter_rows():
        assert ours[name]["mean"] == (None if mean is None else pytest.approx(mean, abs=1e-12))


def test_a_models_files(tmp_path: Path) -> None:
    """Current and legacy layout, two languages, parameters of model_meta.json, carbon of each file once."""
    folder = tmp_path / "org__m" / "abc"
    folder.mkdir(parents=True)
    entries = [
        {
            "hf_subset": code,
            "languages": [f"{code}-Latn"],
            "main_score": s,
            "ndcg_at_10": s,
            "recall_at_100": 0.9,
        }
        for code, s in (("deu", 0.5), ("fra", 0.7))
    ]
    current = {
        "task_name": "MIRACLRetrieval", "dataset_revision": "r1", "mteb_version": "2.0.0", "evaluation_time": 1.0,
        "kg_co2_emissions": 0.25, "scores": {"dev": entries},
    }  # fmt: skip
    (folder / "MIRACLRetrieval.json").write_text(json.dumps(current))
    legacy = {
        "mteb_dataset_name": "SciFact", "mteb_version": "1.0.2", "dataset_revision": None,
        "test": {"ndcg_at_10": 0.6, "recall_at_100": 0.8, "evaluation_time": 3.0},
    }  # fmt: skip
    (folder / "SciFact.json").write_text(json.dumps(legacy))
    (folder / "model_meta.json").write_text(
        json.dumps({"name": "org/m", "revision": "abc", "n_parameters": 5})
    )
    board = told(tmp_path, "-m", "ndcg@10")
    assert [(c["name"], c["languages"]) for c in board["columns"]] == [
        ("mteb/MIRACLRetrieval (dev) (2 of 18)", ["de", "fr"]),
        ("beir/scifact", []),
    ]
    (row,) = board["rows"]
    assert (row["system"], row["mean"]) == ("org/m", pytest.approx((0.6 + 0.6) / 2))
    assert row["efficiency"]["parameters"] == 5
    assert row["efficiency"]["kg_co2"] is None, "the legacy file states none"
    (folder / "SciFact.json").unlink()
    assert told(tmp_path)["rows"][0]["efficiency"]["kg_co2"] == 0.25
    (folder / "Broken.json").write_text("{")
    (folder / "Other.json").write_text('{"task_name": "Other", "scores": 3}')
    result = CliRunner().invoke(app, ["leaderboard", str(tmp_path)])
    assert result.exit_code == 2
    assert "Broken.json" in result.output
    assert "Other.json" in result.output


def test_single_files(tmp_path: Path) -> None:
    """One result file of MTEB's and one record of ours, beside others that are not named."""
    from test_leaderboard import BM25, put

    folder = tmp_path / "org__m" / "abc"
    folder.mkdir(parents=True)
    for task in ("SciFact", "NFCorpus"):
        entry = {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.6, "ndcg_at_10": 0.6}
        told = {"task_name": task, "dataset_revision": "r", "mteb_version": "2.0.0", "evaluation_time": 1.0}
        (folder / f"{task}.json").write_text(json.dumps({**told, "scores": {"test": [entry]}}))
    record = put(tmp_path / "run", "bm25", BM25, dataset="beir/scifact") / "result.json"
    put(tmp_path / "run", "bm25", BM25, dataset="beir/fiqa")
    found = sources.load([folder / "SciFact.json", record])
    assert [(r["retriever"]["name"], r["dataset"]["id"]) for _, r in found] == [
        ("org/m", "beir/scifact"),
        ("bm25", "beir/scifact"),
    ]
    variant = folder / "experiments" / "dim-64"
    variant.mkdir(parents=True)
    (variant / "SciFact.json").write_text((folder / "SciFact.json").read_text().replace("0.6", "0.5"))
    names = {r["retriever"]["name"] for _, r in sources.load([tmp_path / "org__m"])}
    assert names == {"org/m", "org/m (dim-64)"}
    record.write_text("{")
    with pytest.raises(InputError, match=r"result\.json:1: no valid JSON"):
        sources.load([record])
