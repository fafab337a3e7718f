"""Leaderboards with published figures: CSV tables and MTEB's result files, suites, ranks, groups, LaTeX."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from seekbench.cli.app import app
from seekbench.datasets import catalogue, suites
from seekbench.errors import InputError
from seekbench.leaderboard import published_csv, render, sources, table

CQA = [d for d in suites.suite("beir").datasets if "cqadupstack" in d]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["leaderboard", *map(str, arguments)])


def told(*arguments: object) -> Any:
    result = run(*arguments, "-f", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_forms_of_a_table(tmp_path: Path) -> None:
    long = write(
        tmp_path / "long.csv", "condition,dataset,metric,value", "a,scifact,nDCG@10,0.5", "a,scifact,R@100,0.9",
        "b,scifact,nDCG@10,0.25",
    )  # fmt: skip
    wide = write(
        tmp_path / "wide.csv", "dataset,model,ndcg_at_10,recall_at_100,remark", "scifact,a,0.5,0.9,x",
        "scifact,b,0.25,,y",
    )  # fmt: skip
    first, second = (
        {
            r["retriever"]["name"]: {m: f["mean"] for m, f in r["metrics"].items()}
            for _, r in published_csv.read(path)
        }
        for path in (long, wide)
    )
    assert first == second == {"a": {"ndcg@10": 0.5, "recall@100": 0.9}, "b": {"ndcg@10": 0.25}}
    board = told(long, "-m", "recall@100")
    assert [(r["system"], r["mean"]) for r in board["rows"]] == [("a", 0.9), ("b", None)]


def test_every_mistake_of_a_table_is_told_with_its_line(tmp_path: Path) -> None:
    bad = write(
        tmp_path / "bad.csv", "system,dataset,ndcg@10", "a,scifact,0.5", "a,scifact,0.6", "b,scifact,high",
        ",scifact,0.1", "c,scifact,0.1,0.2", "d,scifact,nan", "e,scifact,inf",
    )  # fmt: skip
    result = run(bad)
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if "bad.csv" in line]
    assert [line.split("bad.csv:")[1].split(":")[0] for line in lines] == ["3", "4", "5", "6", "8"]
    assert "and 0.5 in line 2" in result.output
    other = write(tmp_path / "other.csv", "modle,dataset,ndcg@10", "a,scifact,0.5")
    result = run(
        other, write(tmp_path / "third.csv", "system,dataset,speed", "a,scifact,3"), tmp_path / "none"
    )
    assert result.exit_code == 2
    assert "no column 'system' among: modle, dataset, ndcg@10" in result.output
    assert "no column is a metric" in result.output
    assert "no such file or folder" in result.output


@pytest.mark.parametrize(("published", "baseline"), [("bm25", "run/bm25"), ("org/bm25", "bm25")])
def test_a_published_system_of_a_like_name_leaves_the_baseline(
    tmp_path: Path, published: str, baseline: str
) -> None:
    from test_leaderboard import BM25, GEN, put

    from seekbench.leaderboard import records

    for system, scores in (("bm25", BM25), ("gen", GEN)):
        folder = put(tmp_path / "run", system, scores)
        records.write(folder, {**records.read(folder), "baseline": "bm25"})
    path = write(tmp_path / "t.csv", "system,dataset,ndcg@10", f"{published},scifact,0.5")
    assert told(tmp_path / "run", path)["baseline"] == baseline


def test_published_systems_leave_the_groups_of_measured_ones(tmp_path: Path) -> None:
    from test_leaderboard import BM25, DENSE, GEN, put

    for system, scores in (("bm25", BM25), ("dense", DENSE), ("gen", GEN)):
        put(tmp_path / "run", system, scores)
    alone = {r["system"]: r["group"] for r in told(tmp_path / "run")["rows"]}
    assert None not in alone.values()
    path = write(tmp_path / "t.csv", "system,dataset,ndcg@10", "theirs,scifact,0.5")
    board = told(tmp_path / "run", path)
    assert board["grouped_by"] == "queries"
    assert {r["system"]: r["group"] for r in board["rows"]} == {**alone, "theirs": None}
    assert "which published systems have not" in run(tmp_path / "run", path).stdout


def test_a_dataset_without_the_metric_is_left_out_and_said(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "system,dataset,ndcg@10,map", "a,x,0.5,0.2", "b,x,0.4,0.3", "a,y,,0.3", "b,y,,0.4"
    )
    board = told(path, "-m", "ndcg@10")
    assert [c["name"] for c in board["columns"]] == ["x"]
    assert "left out: y, of which no result has ndcg@10" in board["notes"]
    assert "no result has the metric 'ndcg@5' (did you mean 'ndcg@10'?)" in run(path, "-m", "ndcg@5").output


def test_some_datasets_and_systems_alone(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "system,dataset,ndcg@10", "a,beir/x,0.5", "b,beir/x,0.4", "a,y,0.3", "ab,z,0.4"
    )
    board = told(path, "--dataset", "beir/*", "--dataset", "z", "--system", "a*")
    assert [c["name"] for c in board["columns"]] == ["beir/x", "z"]
    assert {r["system"] for r in board["rows"]} == {"a", "ab"}
    wrong = run(path, "--dataset", "zz", "--system", "c*")
    assert wrong.exit_code == 2
    assert "--dataset: there are no results of 'zz'" in wrong.output
    assert "--system: there are no results of 'c*'" in wrong.output


def test_a_part_of_a_suite_is_called_so(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "system,dataset,ndcg@10", "a,SciFact,0.5", "a,NFCorpus,0.3", "b,SciFact,0.4",
        "b,NFCorpus,0.2",
    )  # fmt: skip
    shown = run(path, "--suite", "beir", "-f", "csv")
    assert shown.stdout.splitlines()[0] == "system,mean ndcg@10 (2 of 15),beir/nfcorpus,beir/scifact"
    assert "note: suite beir: no results of " in shown.stderr
    assert told(path, "--suite", "beir")["suite_members"] == {"shown": 2, "of": 15}
    assert "mean ndcg@10 (2 of 15)" in run(path, "--suite", "beir").stdout


def test_a_wide_table_is_set_in_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seekbench.cli import figures

    monkeypatch.setattr(figures, "terminal_width", lambda: 80)
    path = beir(tmp_path / "beir.csv", {f"system-{i}": 0.5 + i / 100 for i in range(12)})
    shown = run(path, "--suite", "beir").stdout.splitlines()
    headers = [line for line in shown if line.startswith("system ")]
    rows = [line for line in shown if line.startswith("system-11 ")]
    assert len(headers) == len(rows) >= 4, "no name and no number is folded"
    assert all(len(line) <= 80 for line in headers + rows)


def test_long_names_are_cut_before_figures_are_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seekbench.cli import figures

    monkeypatch.setattr(figures, "terminal_width", lambda: 60)
    long = "organisation/a-model-with-a-very-long-name-that-fills-the-whole-line-of-a-terminal"
    path = beir(tmp_path / "beir.csv", {f"{i}-{long}": 0.5 + i / 100 for i in range(12)})
    shown = run(path, "--suite", "beir").stdout.splitlines()
    rows = [line for line in shown if line.startswith("11-organ")]
    assert rows
    assert all(len(line) <= 60 and "…" in line for line in rows)
    assert sum("0.6100" in line for line in rows) >= 5


def test_percentages_are_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "system,dataset,ndcg@10,num_ret", "a,x,39.7,1000", "b,x,0.4,900", "c,x,-0.1,5"
    )
    result = run(path)
    assert result.exit_code == 2
    assert "t.csv:2: ndcg@10 is 39.7, and must be from 0 to 1 (divide percentages by 100)" in result.output
    assert "t.csv:4: ndcg@10 is -0.1" in result.output


def test_no_figures_no_table(tmp_path: Path) -> None:
    for name, lines, said in (
        ("empty", [], "no figures"),
        ("header", ["system,dataset,ndcg@10"], "no figures"),
        ("nothing", ["system,dataset,ndcg@10", "a,x,-"], "no figures"),
    ):
        with pytest.raises(InputError, match=said):
            published_csv.read(write(tmp_path / f"{name}.csv", *lines))
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no CSV table"):
        published_csv.read(tmp_path / "bytes.csv")


def beir(path: Path, systems: dict[str, float], leave: tuple[str, ...] = ()) -> Path:
    """A table of all BEIR datasets by MTEB's names; each forum of CQADupStack has the system's figure + 0.12, the first
    of them 0.12 more."""
    lines = ["model,task,split,ndcg_at_10,n_parameters"]
    for system, figure in systems.items():
        for dataset in suites.suite("beir").datasets:
            if f"{system}/{dataset}" in leave:
                continue
            card = catalogue.card(dataset)
            value = figure + (0.12 if dataset in CQA else 0) + (0.12 if dataset == CQA[0] else 0)
            lines.append(f"{system},{card.mteb},{card.default_split},{value},{len(system) * 1000}")
    return write(path, *lines)


def test_a_suite_averages_its_groups_first(tmp_path: Path) -> None:
    """Twelve forums of .62 (one of .74) are one column of .63; the mean is over 15 columns."""
    board = told(beir(tmp_path / "beir.csv", {"a": 0.5, "b": 0.4}), "--suite", "beir")
    assert len(board["columns"]) == 15
    row = board["rows"][0]
    assert row["scores"]["beir/cqadupstack"]["mean"] == pytest.approx(0.63)
    assert row["mean"] == pytest.approx((14 * 0.5 + 0.63) / 15)
    assert row["borda"] == {"rank": 1, "points": 15.0, "missing": 0}
    wide = told(beir(tmp_path / "beir.csv", {"a": 0.5, "b": 0.4}), "--suite", "beir", "--expand")
    assert len(wide["columns"]) == 26
    assert wide["rows"][0]["mean"] == pytest.approx((14 * 0.5 + 11 * 0.62 + 0.74) / 26)


def test_means_over_types_of_task(tmp_path: Path) -> None:
    """MTEB's types where all datasets are its tasks: BEIR's are all of one, and so have no such mean."""
    board = told(beir(tmp_path / "beir.csv", {"a": 0.5, "b": 0.4}), "--suite", "beir")
    assert {c["task"] for c in board["columns"]} == {"Retrieval"}
    assert board["rows"][0]["mean_over_task_types"] is None
    path = write(
        tmp_path / "t.csv", "system,dataset,ndcg@10", "a,SciFact,0.4", "a,NFCorpus,0.6", "a,SciDocsRR,0.1",
        "b,SciFact,0.3", "b,NFCorpus,0.3", "b,SciDocsRR,0.9",
    )  # fmt: skip
    board = told(path)
    rows = {r["system"]: r for r in board["rows"]}
    assert rows["a"]["task_types"] == {"Retrieval": pytest.approx(0.5), "Reranking": pytest.approx(0.1)}
    assert rows["a"]["mean_over_task_types"] == pytest.approx(0.3)
    assert rows["b"]["mean_over_task_types"] == pytest.approx(0.6)
    assert "mean over task types" in run(path).stdout


def test_what_is_missing_is_said_and_in_no_mean(tmp_path: Path) -> None:
    leave = (f"b/{CQA[2]}", "b/beir/nq", "c/beir/fiqa")
    board = told(beir(tmp_path / "beir.csv", {"a": 0.4, "b": 0.6, "c": 0.5}, leave), "--suite", "beir")
    rows = {r["system"]: r for r in board["rows"]}
    assert rows["b"]["mean"] is None
    assert rows["b"]["mean_over_task_types"] is None
    assert rows["b"]["scores"]["beir/cqadupstack"] == {
        "mean": None, "interval": None, "delta": None, "p": None, "failure": None, "missing": [CQA[2]],
        "comparable": True, "without_neighbour": None,
    }  # fmt: skip
    assert rows["b"]["borda"]["missing"] == 2
    notes = "\n".join(board["notes"])
    assert f"b lacks 1 of 12 of beir/cqadupstack ({CQA[2]})" in notes
    assert (
        "Borda: a missing column earns no points, so these rank lower than they might: b (2), c (1)" in notes
    )
    gone = tuple(f"{s}/beir/nq" for s in "ab")
    board = told(beir(tmp_path / "beir.csv", {"a": 0.4, "b": 0.6}, gone), "--suite", "beir")
    assert "suite beir: no results of beir/nq" in board["notes"]
    assert len(board["columns"]) == 14


def test_a_dataset_of_a_suite_by_its_name_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "system,dataset,ndcg@10", "a,scifact,0.5", "a,mine,0.5", "b,scifact,0.4")
    board = told(path, "--suite", "beir")
    assert [c["datasets"] for c in board["columns"]] == [[{"id": "beir/scifact", "split": "test"}]]
    assert "suite beir: scifact belong(s) to it by name alone" in board["notes"]
    assert "suite beir: not part of it and left out: mine" in board["notes"]
    assert run(path, "--suite", "bier").exit_code == 2
    both = write(
        tmp_path / "u.csv", "system,dataset,ndcg@10", "a,scifact,0.5", "b,SciFact,0.6", "c,mteb/SciFact,0.7"
    )
    (column,) = told(both, "--suite", "beir")["columns"]
    assert column["name"] == "beir/scifact"
    assert [r["mean"] for r in told(both, "--suite", "beir")["rows"]] == [0.7, 0.6, 0.5], (
        "one column for all names"
    )


def test_subsets_of_a_task_are_its_mean(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        "system,dataset,subset,ndcg@10",
        "a,MIRACL,de,0.5",
        "a,MIRACL,ko,0.7",
        "b,MIRACL,de,0.4",
    )
    board = told(path)
    rows = {r["system"]: r["scores"]["MIRACL"] for r in board["rows"]}
    assert rows["a"]["mean"] == pytest.approx(0.6)
    assert (rows["b"]["mean"], rows["b"]["missing"]) == (None, ["MIRACL:ko"])
    assert [c["name"] for c in told(path, "--expand")["columns"]] == ["MIRACL:de", "MIRACL:ko"]


def test_other_splits_are_left_out_and_said(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "system,task,split,ndcg@10", "a,MSMARCO,dev,0.4", "a,MSMARCO,test,0.7", "a,X,test,0.1",
        "a,X,train,0.9", "a,Y,dev,0.3",
    )  # fmt: skip
    board = told(path)
    assert [c["name"] for c in board["columns"]] == ["beir/msmarco (dev)", "X", "Y (dev)"]
    assert "published figures on other splits are left out: X (train), beir/msmarco" in board["notes"]
    assert len(told(path, "--all-splits")["columns"]) == 5


def test_groups_and_ranks_of_published_figures(tmp_path: Path) -> None:
    """On 15 datasets a difference always in one direction is no chance (Wilcoxon); equal systems share a letter."""
    board = told(beir(tmp_path / "beir.csv", {"a": 0.5, "b": 0.5, "c": 0.4}), "--suite", "beir")
    assert board["grouped_by"] == "datasets"
    assert {r["system"]: r["group"] for r in board["rows"]} == {"a": "a", "b": "a", "c": "b"}
    assert {r["system"]: r["borda"]["rank"] for r in board["rows"]} == {"a": 1, "b": 1, "c": 3}


def test_the_front_of_quality_and_cost(tmp_path: Path) -> None:
    """Parameters of big: 3, 1, 2; small is cheapest, big best, and worse is neither."""
    path = write(
        tmp_path / "t.csv", "system,dataset,ndcg@10,parameters,qps", "big,x,0.9,3000000,1", "small,x,0.5,1000000,9",
        "worse,x,0.4,2000000,9",
    )  # fmt: skip
    rows = {r["system"]: r["front"] for r in told(path)["rows"]}
    assert rows == {
        "big": ["queries_per_second", "parameters"],
        "small": ["queries_per_second", "parameters"],
        "worse": [],
    }
    shown = render.grid(table.build(sources.load([path])))
    assert [c.shown for c in shown.cells()[0][-2:]] == ["–", "3.0 ◆"]


def test_two_sources_of_one_system(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv", "system,dataset,ndcg@10", "s,x,0.5", "t,x,0.4")
    two = write(tmp_path / "b.csv", "system,dataset,ndcg@10,map", "s,x,0.6,0.3")
    board = told(one, two)
    assert {r["system"]: r["mean"] for r in board["rows"]} == {"s": 0.6, "t": 0.4}, (
        "the one with more metrics"
    )
    assert any("s has two published figures on x: ndcg@10 0.6" in note for note in board["notes"])
    write(tmp_path / "b.csv", "system,dataset,revision,ndcg@10", "s,x,abcdef0123,0.6")
    assert {r["system"] for r in told(one, two)["rows"]} == {"s@published", "s@abcdef01", "t"}


@pytest.mark.shared
def test_published_tables_are_read(published: Path) -> None:
    """135 models x 26 tasks of the MTEB leaderboard; the mean of a model by plain arithmetic."""
    path = published / "mteb_beir_main_scores.csv"
    board = told(path, "--suite", "beir", "--expand")
    with path.open(newline="") as handle:
        rows = [
            r for r in csv.DictReader(handle) if r["split"] == ("dev" if r["task"] == "MSMARCO" else "test")
        ]
    assert len(board["rows"]) == len({(r["model"], r["revision"]) for r in rows})
    assert len(board["columns"]) == 26
    name = "intfloat__multilingual-e5-small"
    mine = [float(r["main_score"]) for r in rows if r["model"] == name]
    found = next(r for r in board["rows"] if r["system"] == name)
    assert found["mean"] == pytest.approx(np.mean(mine), abs=1e-12)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        "system,dataset,ndcg@10,parameters",
        "[b]50%_{\\x}&#$~^,x,0.5,10",
        "b <ü>,x,0.4,1000000",
    )
    result = run(path, "-f", "latex", "--baseline", "b <ü>")
    assert result.exit_code == 0, result.output
    packages = r"\usepackage{booktabs}\usepackage{amssymb}"
    text = rf"\documentclass{{article}}{packages}\begin{{document}}{result.stdout}\end{{document}}"
    (tmp_path / "t.tex").write_text(text.replace(r"\end{document}", "\n\\end{document}"), encoding="utf-8")
    made = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, capture_output=True
    )
    assert made.returncode == 0, made.stdout.decode()[-2000:]
