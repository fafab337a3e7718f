"""A dataset's relevance level: measures of binary relevance take it, the record says so, and tables tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytrec_eval
from typer.testing import CliRunner

import seekbench
from seekbench.analysis import cases, cells
from seekbench.cli.app import app
from seekbench.leaderboard.again import dataset_of
from seekbench.metrics.measure import definitions, parse
from seekbench.store import Store

GRADES = {"q1": {"a": 1, "b": 2, "c": 0, "d": 3}, "q2": {"a": 1, "c": 1}, "q3": {"d": 2}}
RUN = {"q1": {"a": 4.0, "c": 3.0, "d": 2.0}, "q2": {"a": 1.0}, "q3": {"b": 2.0, "d": 1.0}}
NAMES = {"ndcg@10": "ndcg_cut_10", "map": "map", "mrr@10": "recip_rank", "recall@10": "recall_10", "p@5": "P_5",
         "bpref": "bpref"}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKBENCH_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(f'{{"_id": "{d}", "text": "text {d}"}}\n' for d in "abcd"))
    (data / "queries.jsonl").write_text("".join(f'{{"_id": "{q}", "text": "query {q}"}}\n' for q in GRADES))
    judged = "".join(f"{q}\t{d}\t{g}\n" for q, row in GRADES.items() for d, g in row.items())
    (data / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    lines = [f"{q} Q0 {d} 1 {s} x" for q, row in RUN.items() for d, s in row.items()]
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n")
    for level in (1, 2):
        (tmp_path / f"level{level}.yaml").write_text(
            f"datasets: [{{path: ./data, relevance_level: {level}}}]\nmetrics: [{', '.join(NAMES)}, map(rel=3)]\n"
            "retrievers: {x: {type: run_file, path: run.trec}}\nk: 10\n"
        )
    return tmp_path


def test_a_run_takes_the_level_of_its_dataset(folder: Path) -> None:
    (record,) = seekbench.run("level2.yaml")
    reference = pytrec_eval.RelevanceEvaluator(GRADES, set(NAMES.values()), relevance_level=2).evaluate(RUN)
    for ours, theirs in NAMES.items():
        want = sum(reference[q][theirs] for q in GRADES) / 3
        assert record["metrics"][ours]["mean"] == pytest.approx(want, abs=1e-9)
        assert record["metrics"][ours]["ties"]["best"] == pytest.approx(want, abs=1e-9)
    assert record["metrics"]["map(rel=3)"]["mean"] == pytest.approx(1 / 9), "what is named goes before"
    assert record["policies"]["relevance_level"] == 2
    (plain,) = seekbench.run("level1.yaml")
    assert "relevance_level" not in plain["policies"]
    assert plain["metrics"]["map"]["mean"] != record["metrics"]["map"]["mean"]
    assert plain["metrics"]["ndcg@10"]["mean"] == record["metrics"]["ndcg@10"]["mean"]
    assert plain["dataset"]["hashes"]["qrels"] == record["dataset"]["hashes"]["qrels"]


def test_tables_tell_and_do_not_mix(folder: Path) -> None:
    for level in (1, 2):
        seekbench.run(f"level{level}.yaml")
    said = "data: map counts grades from 2 as relevant, by the dataset's rule"
    for metric in ("map", "ndcg@10"):
        shown = CliRunner().invoke(app, ["leaderboard", "results/level2", "-m", metric])
        assert (said in " ".join(shown.output.split())) == (metric == "map")
    both = CliRunner().invoke(app, ["leaderboard", "results/level1", "results/level2", "-m", "map"])
    assert both.exit_code == 2
    assert "data" in both.output


def test_inspection_has_the_runs_figures(folder: Path) -> None:
    (record,) = seekbench.run("level2.yaml")
    (cell,) = cells.below(folder / "results/level2")
    dataset = dataset_of(record, Store())
    assert dataset.qrels.relevance_level == 2
    case = cases.build("data", [cell], cases.Judged.of_dataset(dataset), [parse("map")], dataset=dataset)
    assert case.means(0)[0] == pytest.approx(record["metrics"]["map"]["mean"])


def test_every_measure_at_a_level() -> None:
    for base, definition in definitions().items():
        if "rel" in definition.parameters and definition.cutoff != "required":
            name = {"rbp": "rbp(p=0.8)", "iprec": "iprec(recall=0.5)"}.get(base, base)
            assert parse(name).at(1) == parse(name)
            raised = parse(name).at(2)
            assert raised == parse(raised.name)
            assert dict(raised.args)["rel"] == 2
    assert parse("p(rel=3)@5").at(2).name == "p(rel=3)@5"
    assert parse("ndcg@10").at(2).name == "ndcg@10"
    assert parse("nauc(of=map,by=max)").at(2).name == "nauc(of=map(rel=2),by=max)"
