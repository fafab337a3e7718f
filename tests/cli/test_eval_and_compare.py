"""`seekbench eval` and `seekbench compare` on files, as a user calls them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminal import as_json, call, ok

from seekbench.statistics.paired import paired_t

QUERIES = 40


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with qrels.txt, three runs (good, better, tied), queries.jsonl; the working directory."""
    rng = np.random.default_rng(3)
    lines, texts = [], []
    runs: dict[str, list[str]] = {"good": [], "better": [], "tied": []}
    for i in range(QUERIES):
        relevant = rng.permutation(12)[: 1 + i % 3]
        lines += [f"q{i} 0 d{d} {1 + d % 2}" for d in relevant] + [f"q{i} 0 d11x 0"]
        noise = rng.normal(size=12)
        for name, weight in (("good", 1.0), ("better", 2.5)):
            for d in range(12):
                runs[name].append(f"q{i} Q0 d{d} 0 {noise[d] + weight * (d in relevant):.6f} {name}")
        runs["tied"] += [f"q{i} Q0 d{d} 0 1.0 tied" for d in range(12)]
        texts.append(
            {
                "_id": f"q{i}",
                "text": "word " * (1 + i % 7),
                "metadata": {},
                "language": "en" if i % 4 else "de",
            }
        )
    (tmp_path / "qrels.txt").write_text("\n".join(lines) + "\n")
    for name, content in runs.items():
        (tmp_path / f"{name}.trec").write_text("\n".join(content) + "\n")
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, texts)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_json_has_every_run_and_metric(files: Path) -> None:
    out = as_json("eval", "qrels.txt", "good.trec", "better.trec", "-m", "ndcg_cut.10", "-m", "R@5")
    assert list(out) == ["good.trec", "better.trec"]
    entry = out["good.trec"]["ndcg@10"]
    assert entry["interval"][0] < entry["mean"] < entry["interval"][1]
    assert entry["ties"] == {"across": 0, "affected": 0, "worst": entry["mean"], "best": entry["mean"]}
    assert set(out["good.trec"]) == {"ndcg@10", "recall@5", "about"}
    assert out["good.trec"]["about"]["policies"]["missing_queries"].startswith("zero")
    assert out["good.trec"]["about"]["counts"]["queries"] == QUERIES


def test_tables_say_how_they_were_made(files: Path) -> None:
    text = ok("eval", "qrels.txt", "good.trec", "tied.trec", "-m", "ndcg@3")
    assert "float32 descending" in text
    assert "tied: ndcg@3 hangs on ties in" in text


def test_csv_has_full_values(files: Path) -> None:
    out = as_json("eval", "qrels.txt", "good.trec", "-m", "map")
    (row,) = csv.DictReader(io.StringIO(ok("eval", "qrels.txt", "good.trec", "-m", "map", "-f", "csv")))
    assert float(row["map"]) == out["good.trec"]["map"]["mean"]
    assert row["queries"] == str(QUERIES)


def test_per_query_values(files: Path) -> None:
    values = as_json("eval", "qrels.txt", "good.trec", "-m", "map", "--per-query")["good.trec"]["map"]
    assert len(values["per_query"]) == QUERIES
    assert np.mean(list(values["per_query"].values())) == pytest.approx(values["mean"], abs=1e-12)
    text = ok("eval", "qrels.txt", "good.trec", "-m", "map", "-q", "-f", "csv", "--queries", "queries.jsonl")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {r["query"]: float(r["map"]) for r in rows} == values["per_query"]
    assert rows[1]["text"] == "word word"


def test_latex_and_markdown(files: Path) -> None:
    latex = ok("eval", "qrels.txt", "good.trec", "better.trec", "-m", "p(rel=2)@5", "-f", "latex")
    assert r"\begin{tabular}{lrrr}" in latex
    assert r"\textbf{" in latex
    assert "% ranking: score" in latex
    markdown = ok("eval", "qrels.txt", "good.trec", "-m", "mrr", "-f", "md")
    assert markdown.startswith("| run | queries | mrr | 95% CI |")


def test_slices(files: Path) -> None:
    options = ("--by", "relevant", "--by", "length", "--by", "language", "--queries", "queries.jsonl")
    entry = as_json("eval", "qrels.txt", "good.trec", "-m", "map", *options)["good.trec"]["map"]
    for parts in entry["slices"].values():
        assert sum(p["queries"] for p in parts.values()) == QUERIES
        whole = sum(p["queries"] * p["mean"] for p in parts.values()) / QUERIES
        assert whole == pytest.approx(entry["mean"], abs=1e-12)
    assert set(entry["slices"]["relevant"]) == {"1 relevant", "2 relevant", "3 relevant"}
    assert set(entry["slices"]["language"]) == {"en", "de"}
    assert "map by language" in ok("eval", "qrels.txt", "good.trec", "-m", "map", *options)


def test_packed_files_and_beir_judgments(files: Path) -> None:
    expected = as_json("eval", "qrels.txt", "good.trec", "-m", "map")["good.trec"]["map"]["mean"]
    import zstandard

    (files / "run.gz").write_bytes(gzip.compress((files / "good.trec").read_bytes()))
    (files / "run.zst").write_bytes(zstandard.compress((files / "good.trec").read_bytes()))
    judged = [line.split() for line in (files / "qrels.txt").read_text().splitlines()]
    (files / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, _, d, g in judged)
    )
    for run in ("run.gz", "run.zst"):
        assert as_json("eval", "test.tsv", run, "-m", "map")[run]["map"]["mean"] == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r, q: (r.replace("d3 0 ", "d3 0 nan", 1), q), ":4: "),
        (lambda r, q: (r + "q0 Q0 d3 0 1.0 x\n", q), "a second time (first in line 4)"),
        (lambda r, q: (r + "q0 Q0 d3\n", q), f"run:{QUERIES * 12 + 1}: 3 column"),
        (lambda r, q: (r.replace("q", "x"), q), "none of the run's"),
        (lambda r, q: (r, q.replace("q1 0 ", "q1 ", 1)), "qrels:"),
        (lambda r, q: (r, q + "q1 0 dx 0.5\n"), "0.5"),
        (lambda r, q: (r, ""), "no "),
    ],
    ids=["nan", "twice", "columns", "other-queries", "qrels-columns", "float-grade", "empty-qrels"],
)
def test_wrong_files_are_said_with_line_and_exit_2(files: Path, change: Any, said: str) -> None:
    run, qrels = change((files / "good.trec").read_text(), (files / "qrels.txt").read_text())
    (files / "run").write_text(run)
    (files / "qrels").write_text(qrels)
    result = call("eval", "qrels", "run", "-m", "map")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_all_mistakes_of_all_files_at_once(files: Path) -> None:
    (files / "bad1").write_text("q0 Q0 d1 0 x t\n")
    (files / "bad2").write_text("q0 Q0 d1 0 y t\n")
    result = call("eval", "qrels.txt", "bad1", "good.trec", "bad2", "absent")
    assert result.exit_code == 2
    for said in ("bad1:1: the score 'x'", "bad2:1: the score 'y'", "absent: no such run file"):
        assert said in result.stderr


def test_unknown_metrics_and_slices_exit_2(files: Path) -> None:
    result = call("eval", "qrels.txt", "good.trec", "-m", "ndgc@10", "-m", "recal@5")
    assert result.exit_code == 2
    assert "'ndcg@10'" in result.stderr
    assert "'recall@5'" in result.stderr
    result = call("eval", "qrels.txt", "good.trec", "--by", "langage", "--queries", "queries.jsonl")
    assert result.exit_code == 2
    assert "did you mean 'language'?" in result.stderr


def test_compare_has_differences_and_tests(files: Path) -> None:
    out = as_json("compare", "good.trec", "better.trec", "--qrels", "qrels.txt", "-m", "map", "-q")
    entry = out["metrics"]["map"]
    (pair,) = entry["comparisons"]
    a, b = (np.array(list(entry["per_query"][r].values())) for r in ("good.trec", "better.trec"))
    assert pair["delta"] == pytest.approx((b - a).mean(), abs=1e-12)
    assert pair["p"] == pair["p_adjusted"] == paired_t(b, a).p
    assert pair["wins"] + pair["ties"] + pair["losses"] == QUERIES
    assert pair["wins"] == int((b > a + 1e-12).sum())
    changed = [abs(c["run"] - c["baseline"]) for c in pair["changed_most"]]
    assert changed == sorted(changed, reverse=True)
    assert len(changed) == 10
    assert changed[0] == np.abs(b - a).max()
    assert entry["groups"] is None


@pytest.mark.parametrize("test", ["t", "wilcoxon", "randomization", "bootstrap", "tukey"])
def test_compare_groups_and_every_test(files: Path, test: str) -> None:
    args = (
        "compare",
        "good.trec",
        "better.trec",
        "tied.trec",
        "--qrels",
        "qrels.txt",
        "-m",
        "map",
        "--test",
        test,
    )
    out = as_json(*args, "--baseline", "tied")
    assert out["baseline"] == "tied.trec"
    entry = out["metrics"]["map"]
    assert {p["run"] for p in entry["comparisons"]} == {"good.trec", "better.trec"}
    assert all(p["p_adjusted"] >= p["p"] for p in entry["comparisons"])
    assert "a" in entry["groups"]["better.trec"]
    assert "a" not in entry["groups"]["tied.trec"]


def test_compare_prints_texts_and_slices(files: Path) -> None:
    text = ok(
        "compare", "good.trec", "better.trec", "--qrels", "qrels.txt", "-m", "map", "-n", "2", "--by", "length",
        "--queries", "queries.jsonl", "-f", "md",
    )  # fmt: skip
    assert "| query | Δ | good | better | text |" in text
    assert "map: queries that changed most" in text
    assert "map by length" in text
    assert "paired t-test, Holm's correction, two-sided" in text


def test_compare_needs_two_runs_and_a_known_baseline(files: Path) -> None:
    assert call("compare", "good.trec", "good.trec", "--qrels", "qrels.txt").exit_code == 2
    result = call("compare", "good.trec", "better.trec", "--qrels", "qrels.txt", "--baseline", "god")
    assert result.exit_code == 2
    assert "did you mean 'good'?" in result.stderr


def test_dropped_queries_are_compared_where_both_have_them(files: Path) -> None:
    lines = (files / "better.trec").read_text().splitlines(keepends=True)
    (files / "half.trec").write_text("".join(lines[: len(lines) // 2]))
    args = ("compare", "good.trec", "half.trec", "--qrels", "qrels.txt", "-m", "map")
    assert as_json(*args)["queries"] == QUERIES
    assert as_json(*args, "--missing-queries", "drop")["queries"] == QUERIES // 2


def test_a_dataset_brings_texts(files: Path) -> None:
    folder = files / "data"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{d}", "text": "x"}) + "\n" for d in range(12))
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i}", "text": f"question {i}"}) + "\n" for i in range(QUERIES))
    )
    judged = [line.split() for line in (files / "qrels.txt").read_text().splitlines()]
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, _, d, g in judged if d != "d11x")
    )
    args = ("compare", "good.trec", "better.trec", "--qrels", "data/qrels/test.tsv", "-m", "map")
    (pair,) = as_json(*args, "--dataset", "data")["metrics"]["map"]["comparisons"]
    assert pair["changed_most"][0]["text"].startswith("question ")


def test_runs_are_named_by_what_tells_them_apart(files: Path) -> None:
    for name in ("bm25", "dense"):
        folder = files / "results" / "data" / "test" / name
        folder.mkdir(parents=True)
        source = (files / ("good.trec" if name == "bm25" else "better.trec")).read_bytes()
        (folder / "run.trec.gz").write_bytes(gzip.compress(source))
    folders = ("results/data/test/bm25", "results/data/test/dense/run.trec.gz")
    text = ok("compare", *folders, "--qrels", "qrels.txt", "-m", "map", "-f", "csv", "--baseline", "dense")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [r["run"] for r in rows] == ["bm25", "dense"]
    assert float(rows[0]["delta"]) < 0
    assert float(rows[0]["delta_lower"]) < float(rows[0]["delta"]) < float(rows[0]["delta_upper"])
    assert list(as_json("eval", "qrels.txt", f"old={folders[0]}", "-m", "map")) == ["old"]
    assert "old" in ok("eval", "qrels.txt", f"old={folders[0]}", "-m", "map", "-f", "csv")
    assert call("eval", "qrels.txt", "a=good.trec", "a=better.trec").exit_code == 2


def test_trec_evals_three_columns(files: Path) -> None:
    lines = ok("eval", "qrels.txt", "good.trec", "-m", "map", "-m", "num_q", "-f", "trec", "-q").splitlines()
    cells = [line.split() for line in lines]
    assert ["runid", "all", "good"] in cells
    assert ["num_q", "all", f"{QUERIES}.0000"] in cells
    assert sum(c[0] == "map" for c in cells) == QUERIES + 1


def test_judgments_and_texts_of_another_collection_are_refused(files: Path) -> None:
    judged = (files / "qrels.txt").read_text()
    (files / "other.txt").write_text(judged.replace(" d", " x"))
    result = call("eval", "other.txt", "good.trec", "-m", "map")
    assert result.exit_code == 2
    assert f"not one of its {QUERIES * 12} hits is judged" in result.stderr
    (files / "other.jsonl").write_text((files / "queries.jsonl").read_text().replace('"q', '"z'))
    result = call("eval", "qrels.txt", "good.trec", "-m", "map", "--queries", "other.jsonl")
    assert result.exit_code == 2
    assert "none of the judged queries is in it" in result.stderr


def test_figures_that_are_no_means_are_said_not_to_be_compared(files: Path) -> None:
    args = ("compare", "good.trec", "better.trec", "--qrels", "qrels.txt", "-m", "num_ret", "-m", "map")
    assert as_json(*args)["not_compared"] == ["num_ret"]
    assert "num_ret is a sum and no mean over queries" in call(*args).stderr


def test_compare_from_python(files: Path) -> None:
    import seekbench

    found = seekbench.compare(
        {"good": "good.trec", "better": files / "better.trec"}, "qrels.txt", ["MAP", "ndcg@3"]
    )
    (pair,) = found["map"].pairs
    out = as_json("compare", "good.trec", "better.trec", "--qrels", "qrels.txt", "-m", "map")
    assert pair.p == out["metrics"]["map"]["comparisons"][0]["p"]
    scores = seekbench.evaluate("good.trec", "qrels.txt", ["nDCG@10"])
    assert scores.mean["nDCG@10"] == scores.mean["ndcg_cut_10"] == scores.mean["ndcg@10"]
    assert "Scores of 40 queries: ndcg@10: " in repr(scores)


def test_queries_with_unicode_line_ends_and_numbers_in_a_table(files: Path) -> None:
    lines = [f"q{i}\thello\u2028world {i}\t{(5, 15, 100)[i % 3]}" for i in range(QUERIES)]
    (files / "q.tsv").write_text("_id\ttext\tn\n" + "\n".join(lines) + "\n")
    entry = as_json("eval", "qrels.txt", "good.trec", "-m", "map", "--queries", "q.tsv", "--by", "n")
    assert list(entry["good.trec"]["map"]["slices"]["n"]) == ["5", "15", "100"]


def test_lower_is_better_where_it_is(files: Path) -> None:
    lines = (files / "good.trec").read_text().splitlines()
    (files / "holes.trec").write_text(
        "\n".join(line.replace(" d", " z") for line in lines[:60]) + "\n" + "\n".join(lines[60:])
    )
    out = as_json("compare", "good.trec", "holes.trec", "--qrels", "qrels.txt", "-m", "unj@5")
    (pair,) = out["metrics"]["unj@5"]["comparisons"]
    assert pair["delta"] > 0
    assert pair["losses"] > 0
    assert not pair["wins"]


def test_what_is_not_defined_is_neither_zero_nor_nan(files: Path) -> None:
    (files / "one").write_text("q0 0 d1 1\n")
    for run in ("a", "b"):
        (files / run).write_text("q0 Q0 d1 1 1.0 t\n")
    assert as_json("eval", "one", "a", "-m", "roc_auc")["a"]["roc_auc"]["mean"] is None
    out = as_json("compare", "a", "b", "--qrels", "one", "-m", "roc_auc")
    assert out["metrics"]["roc_auc"]["means"] == {"a": None, "b": None}
    text = ok("compare", "a", "b", "--qrels", "one", "-m", "roc_auc")
    assert "nan" not in text


def test_trec_evals_columns_are_evals_alone(files: Path) -> None:
    result = call("compare", "good.trec", "better.trec", "--qrels", "qrels.txt", "-m", "map", "-f", "trec")
    assert result.exit_code == 2
    assert "'trec' is not one of 'table', 'md', 'latex', 'csv', 'json'" in result.stderr
