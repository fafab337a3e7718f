"""`seekbench check` on real small runs: a worsened BM25, changed data, what is missing, and every output."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest
from typer.testing import CliRunner, Result

from seekbench.cli import check as module
from seekbench.cli.app import app

#: Each query is one of these words. The judgments are made so that BM25 needs the frequency of terms for the first
#: eight: the relevant document has the word four times, three others once. With k1 = 0 all tie, and its id comes last.
WORDS = [
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "foxtrot",
    "hotel",
    "kilo",
    "lima",
    "november",
    "oscar",
    "papa",
    "quebec",
]
HARD = 8
CONFIG = """\
datasets: [{path: ./data}]
retrievers:
  bm25: {type: bm25, k1: 0.9, b: 0.4}
  other: {type: bm25, k1: 1.2, b: 0.4}
  both: {type: fusion, method: rrf, of: [bm25, other]}
metrics: [ndcg@10, unj@10, num_rel_ret]
k: 20
"""


def collection(folder: Path, extra: str = "") -> None:
    filler = ["filler", "padding", "nothing", "stuffing", "wadding", "packing", "lining"]
    rows, qrels = [], ["query-id\tcorpus-id\tscore"]
    for i, word in enumerate(WORDS):
        rows.append((f"z{i}", " ".join([word] * 4 + filler[:4])))
        rows += [(f"a{i}-{j}", " ".join([word if i < HARD else "else", *filler])) for j in range(3)]
        qrels.append(f"q{i}\tz{i}\t1")
    rows[0] = (rows[0][0], rows[0][1] + extra)
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in rows))
    (folder / "queries.jsonl").write_text(
        # A text that Markdown, XML and a terminal's table must show as it is.
        "".join(json.dumps({"_id": f"q{i}", "text": f"{w} <b>@you|"}) + "\n" for i, w in enumerate(WORDS))
    )
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")


def invoke(*args: str | Path, code: int = 0, **more: Any) -> Result:
    out = CliRunner().invoke(app, [str(a) for a in args], **more)
    assert out.exit_code == code, out.output
    return out


class Work:
    """A folder with data, a config, results of it, and a baseline made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.results = folder, folder / "store", folder / "results"
        self.config, self.base = folder / "run.yaml", folder / "base"

    def run(self, output: str, *options: str) -> Path:
        invoke("run", self.config, "-o", self.folder / output, "--store", self.store, *options)
        return self.folder / output

    def check(self, *options: str | Path, results: Path | None = None, code: int = 0, **more: Any) -> Result:
        given = [results or self.results, "--against", self.base, "--store", self.store]
        return invoke("check", *given, *options, code=code, **more)

    def json(self, *options: str | Path, results: Path | None = None, code: int = 0) -> Any:
        return json.loads(self.check("-f", "json", *options, results=results, code=code).stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = Work(tmp_path_factory.mktemp("gate"))
    collection(work.folder / "data")
    work.config.write_text(CONFIG)
    work.run("results")
    work.run("worse", "--set", "retrievers.bm25.k1=0")
    work.run("deep", "--set", "k=10")
    out = work.check("--update", "--yes")
    assert "added" in out.output
    return work


@pytest.fixture
def work(made: Work, tmp_path: Path) -> Work:
    """A copy, which a test may change."""
    shutil.copytree(made.folder, tmp_path / "work", dirs_exist_ok=True)
    out = Work(tmp_path / "work")
    out.store = made.store
    return out


def by_cell(report: Any) -> dict[tuple[str, str], Any]:
    return {(c["system"], c["metric"]): c for c in report["cells"]}


def test_unchanged_results_pass(made: Work) -> None:
    out = made.check()
    assert "PASS: 9 figures: 9 equal" in out.stdout
    assert made.json("--test", "t", "--tolerance", "num_rel_ret=0")["verdict"] == "pass"
    # A results folder serves as a baseline too.
    invoke("check", made.results, "--against", made.results)


def test_a_worsened_bm25_fails_and_the_queries_that_lost_are_named(made: Work) -> None:
    out = made.check(results=made.folder / "worse", code=1)
    assert "changed: bm25: params.k1: 0.9 -> 0.0 [data (test)]" in out.stdout
    assert "data (test) bm25 ndcg@10: the queries that lost most" in out.stdout
    assert re.search(r"q0 +│ 1.0000 │ 0.4307 │ -0.5693 │ alpha <b>@you\|", out.stdout)
    report = made.json("-n", "3", results=made.folder / "worse", code=1)
    found = by_cell(report)["bm25", "ndcg@10"]
    assert found["status"] == "fail"
    assert found["queries"] == {"better": 0, "same": len(WORDS) - HARD, "worse": HARD}
    assert found["lost"][0] == {
        "query": "q0", "before": 1.0, "after": pytest.approx(0.430677, abs=1e-6), "text": "alpha <b>@you|",
    }  # fmt: skip
    assert [q["query"] for q in found["lost"]] == ["q0", "q1", "q2"]
    assert found["changes"] == [{"field": "params.k1", "baseline": 0.9, "now": 0.0}]
    assert by_cell(report)["other", "ndcg@10"]["status"] == "ok"
    changes = by_cell(report)["both", "ndcg@10"]["changes"]
    assert [c["field"] for c in changes] == ["parts.bm25.params.k1"]


def test_a_test_decides_as_well(made: Work) -> None:
    options = ["--test", "wilcoxon", "-m", "ndcg@10"]
    found = by_cell(made.json(*options, results=made.folder / "worse", code=1))["bm25", "ndcg@10"]
    assert found["status"] == "fail"
    assert found["p"] < found["p_adjusted"] < 0.05
    # More than the loss of .38.
    made.check(*options, "--min-effect", ".5", results=made.folder / "worse")
    out = made.check(*options, "--min-effect", ".5", results=made.folder / "worse").stdout
    assert "not significant" in out
    assert "within the limit" in out


def test_an_improvement_passes(work: Work) -> None:
    invoke("check", work.folder / "worse", "--against", work.folder / "low", "--update", "--yes")
    out = invoke("check", work.results, "--against", work.folder / "low").stdout
    assert "improved" in out


def test_a_changed_dataset_is_refused(work: Work) -> None:
    shutil.rmtree(work.folder / "data")
    collection(work.folder / "data", extra=" more")
    other = work.run("changed")
    out = work.check(results=other, code=2)
    assert "data (test) bm25, both, other: not comparable: dataset.hashes.corpus: " in out.stderr
    assert "--update" in out.stderr
    assert "REFUSED: 9 figures: 9 not comparable" in out.stdout
    assert "queries" not in out.stderr, "only what differs is named"
    report = work.json(results=other, code=2)
    assert {c["status"] for c in report["cells"]} == {"refused"}
    work.check("--update", "--yes", results=other)
    work.check(results=other)


def test_another_k_is_refused(made: Work) -> None:
    out = made.check(results=made.folder / "deep", code=2)
    assert "not comparable: k: 20 -> 10" in out.stderr


def test_what_is_missing_or_failed_fails(work: Work) -> None:
    cell = work.results / "data" / "test"
    shutil.rmtree(cell / "other")
    (cell / "bm25" / "failure.json").write_text('{"cause": "no memory left"}')
    (cell / "bm25" / "result.json").rename(cell / "bm25" / "result.previous.json")
    found = by_cell(work.json(code=1))
    assert {found["other", m]["status"] for m in ("ndcg@10", "unj@10")} == {"missing"}
    assert found["bm25", "ndcg@10"]["reason"] == "no memory left"
    assert found["both", "ndcg@10"]["status"] == "ok"
    out = work.check(code=1).stdout
    assert "MISSING: the results lack this cell [data (test) other]" in out
    assert "FAILED: no memory left [data (test) bm25]" in out
    # Asked for alone, what is there passes, and that it is a part is said.
    out = work.check("--system", "both").stdout
    assert "only 1 of the 3 cells of the baseline were asked for" in out


def test_a_metric_that_is_gone_fails(work: Work) -> None:
    fewer = work.run("fewer", "--set", "metrics=[ndcg@10]")
    found = by_cell(work.json(results=fewer, code=1))
    assert found["bm25", "unj@10"]["status"] == "missing"
    assert found["bm25", "unj@10"]["reason"] == "the result lacks this metric"
    work.check("-m", "ndcg@10", results=fewer)


def test_lower_is_better(work: Work) -> None:
    """unj@10 counts documents without a judgment: with fewer hits there are fewer of them."""
    found = by_cell(work.json())["bm25", "unj@10"]
    assert found["lower_is_better"]
    file = work.base / "data" / "test" / "bm25.csv"
    stored = json.loads((work.base / "baseline.json").read_text())
    rows = list(csv.reader(file.read_text().splitlines()))
    place = rows[0].index("unj@10")
    for row in rows[1:]:
        row[place] = "0"
    file.write_text("".join(",".join(r) + "\n" for r in rows))
    next(c for c in stored["cells"] if c["system"] == "bm25")["metrics"]["unj@10"] = 0.0
    (work.base / "baseline.json").write_text(json.dumps(stored))
    found = by_cell(work.json(code=1))["bm25", "unj@10"]
    assert found["status"] == "fail"
    assert found["delta"] > 0


def test_a_config_is_run_first(work: Work) -> None:
    options = ["--against", work.base, "--store", work.store, "-o", work.folder / "new"]
    out = invoke("check", work.config, *options)
    assert "PASS" in out.stdout
    assert (work.folder / "new" / "leaderboard.md").is_file()
    out = invoke("check", work.config, *options, "--set", "retrievers.bm25.k1=0", code=1)
    assert "params.k1" in out.stdout
    # A cell of an earlier run that the config lacks now does not stand in for it.
    smaller = work.folder / "smaller.yaml"
    smaller.write_text(re.sub(r"  (both|other):.*\n", "", CONFIG))
    out = invoke("check", smaller, *options, code=1)
    assert "MISSING: the results lack this cell [data (test) both; data (test) other]" in out.stdout


def test_of_a_config_only_what_is_asked_for_runs(work: Work) -> None:
    options = ["--against", work.base, "--store", work.store, "-o", work.folder / "part"]
    invoke("check", work.config, *options, "--system", "both", "--dataset", "data")
    cells = sorted(p.parent.name for p in (work.folder / "part").rglob("result.json"))
    assert cells == ["bm25", "both", "other"], "and what it is made of"
    invoke("check", work.config, *options[:4], "-o", work.folder / "one", "--system", "other")
    assert [p.parent.name for p in (work.folder / "one").rglob("result.json")] == ["other"]
    assert not (work.folder / "one" / "leaderboard.json").exists()


# --- outputs ------------------------------------------------------------------------------------------------

KEYS = {"schema_version", "verdict", "exit_code", "rule", "counts", "cells", "notes"}
RULE = {"tolerance", "tolerances", "test", "alpha", "min_effect", "correction"}
CELL = {
    "dataset", "split", "system", "metric", "status", "baseline", "now", "delta", "lower_is_better", "tolerance", "p",
    "p_adjusted", "detectable", "queries", "lost", "changes", "reason",
}  # fmt: skip
STATUSES = {"ok", "within", "improved", "new", "fail", "missing", "failed", "refused"}


def test_json_keeps_its_keys(made: Work) -> None:
    report = made.json(results=made.folder / "worse", code=1)
    assert (set(report), set(report["rule"]), set(report["counts"])) == (KEYS, RULE, STATUSES)
    assert all(set(c) == CELL for c in report["cells"])
    assert (report["schema_version"], report["verdict"], report["exit_code"]) == (1, "fail", 1)
    assert sum(report["counts"].values()) == len(report["cells"]) == 9


def junit_problems(document: bytes) -> list[str]:
    """What the Ant JUnit schema (windyroad/JUnit-Schema, JUnit.xsd) asks for: elements, order, required attributes and
    their types."""
    out = []
    root = Tree.fromstring(document)
    if root.tag != "testsuites" or root.attrib:
        out.append("root")
    for i, suite in enumerate(root):
        tags = [e.tag for e in suite]
        cases = suite.findall("testcase")
        if tags != ["properties", *["testcase"] * len(cases), "system-out", "system-err"]:
            out.append(f"order {tags}")
        wanted = {"package", "id", "name", "timestamp", "hostname", "tests", "failures", "errors", "time"}
        if set(suite.attrib) - {"skipped"} != wanted or suite.get("id") != str(i):
            out.append("suite attributes")
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", "")):
            out.append("timestamp")
        counts = [len(cases), *(len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error"))]
        if counts != [int(suite.get(name, "-1")) for name in ("tests", "failures", "errors")]:
            out.append("counts")
        for case in cases:
            if set(case.attrib) != {"name", "classname", "time"} or not case.get("name"):
                out.append("case attributes")
            if len(case) > 1 or any(
                e.tag not in ("failure", "error") or not e.get("type") or len(e) for e in case
            ):
                out.append("case content")
    return out


def test_junit(work: Work) -> None:
    shutil.rmtree(work.folder / "worse" / "data" / "test" / "other")
    file = work.folder / "new" / "check.xml"
    work.check("--junit", file, results=work.folder / "worse", code=1)
    document = file.read_bytes()
    assert junit_problems(document) == []
    cases = {(c.get("classname"), c.get("name")): c for c in Tree.fromstring(document).iter("testcase")}
    assert len(cases) == 9
    failure = cases["data.test.bm25", "ndcg@10"].find("failure")
    assert failure is not None
    assert failure.get("type") == "fail"
    assert "q0: 1.0000 -> 0.4307  alpha <b>@you|" in (failure.text or "")
    assert "params.k1: 0.9 -> 0.0" in (failure.text or "")
    missing = cases["data.test.other", "ndcg@10"].find("failure")
    assert missing is not None
    assert missing.get("type") == "missing"
    assert not len(cases["data.test.bm25", "num_rel_ret"])
    work.check("--junit", file, results=work.folder / "deep", code=2)
    assert junit_problems(file.read_bytes()) == []
    assert {e.get("type") for e in Tree.fromstring(file.read_bytes()).iter("error")} == {"refused"}


def test_text_that_xml_cannot_hold() -> None:
    from seekbench.gate import junit
    from seekbench.gate.compare import Finding, Lost, Rule, Status, Verdict

    bad = "a\x00\x1b[31m\ufffe\ud800 é 😀 <&]]>"
    finding = Finding(bad, bad, bad, "map", Status.FAIL, 1.0, 0.5, lost=[Lost(bad, 1.0, 0.0)], reason=bad)
    document = junit.xml(Verdict([finding], Rule()), {(bad, bad): {bad: bad}})
    assert junit_problems(document) == []
    assert "é 😀 <&]]>" in (Tree.fromstring(document).findtext(".//failure") or "")


def test_markdown(made: Work) -> None:
    out = made.check("-f", "md", results=made.folder / "worse", code=1).stdout
    assert out.startswith("### seekbench check: FAIL: 9 figures: ")
    assert "| data | bm25 | ndcg@10 | 1.0000 | 0.6205 | -0.3795 | 0/4/8 | **FAIL** |" in out
    assert "| q0 | 1.0000 | 0.4307 | -0.5693 | alpha &lt;b>@\u200byou\\| |" in out, (
        "nobody is called, no HTML"
    )
    assert out.count("<details>") == out.count("</details>") > 1
    assert "that pass</summary>" in out


def test_markdown_fits_into_a_comment() -> None:
    from seekbench.gate import report
    from seekbench.gate.compare import Finding, Lost, Rule, Status, Verdict

    lost = [Lost(f"q{i}", 1.0, 0.0) for i in range(10)]
    findings = [Finding("d", "test", f"s{i}", "map", Status.FAIL, 1.0, 0.5, lost=lost) for i in range(300)]
    text = report.markdown(
        Verdict(findings, Rule()), {("d", "test"): {f"q{i}": "x" * 200 for i in range(10)}}
    )
    assert len(text) <= report.MOST_MARKDOWN
    assert "This is shortened" in text
    assert "| d | s299 | map |" in text


def test_csv(made: Work) -> None:
    rows = list(
        csv.DictReader(io.StringIO(made.check("-f", "csv", results=made.folder / "worse", code=1).stdout))
    )
    assert len(rows) == 9
    (row,) = [r for r in rows if (r["system"], r["metric"]) == ("bm25", "ndcg@10")]
    assert (row["status"], row["worse"], row["changes"]) == ("fail", "8", "params.k1: 0.9 -> 0.0")
    assert float(row["delta"]) == pytest.approx(float(row["now"]) - float(row["baseline"]))


def test_github(made: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    out = made.check("--github", "-f", "json", results=made.folder / "worse", code=1)
    json.loads(out.stdout)
    (line,) = [text for text in out.stderr.splitlines() if "bm25 ndcg" in text]
    assert line.startswith(
        "::error title=data (test) bm25 ndcg@10::FAIL 1.0000 -> 0.6205 (-0.3795), 8 queries worse"
    )
    assert "lost most: q0 (1.000 -> 0.431)" in line
    assert "%0Achanged: params.k1: 0.9 -> 0.0" in line
    text = summary.read_text()
    assert text.startswith("before\n### seekbench check: FAIL")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert "::error" not in made.check("--github").stderr


def test_github_shows_ten_annotations() -> None:
    from seekbench.gate import github
    from seekbench.gate.compare import Finding, Rule, Status, Verdict

    findings = [Finding("a:b,c%", "test", f"s{i}", "map", Status.FAIL, 1.0, 0.5) for i in range(30)]
    lines = github.commands(Verdict(findings, Rule()))
    assert len(lines) == 10
    assert lines[0].startswith("::error title=a%3Ab%2Cc%25 (test) s0 map::FAIL 1.0000 -> 0.5000")
    assert lines[-1] == "::error title=seekbench check::and 21 more: 21 FAIL"
    assert len(github.commands(Verdict(findings[:10], Rule()))) == 10
    better = [Finding("d", "test", "s", "map", Status.IMPROVED, 0.5, 1.0)]
    assert github.commands(Verdict(better, Rule())) == [
        "::notice title=1 improved::d (test) s map: improved 0.5000 -> 1.0000 (+0.5000)"
    ]


def test_several_outputs_at_once(made: Work, tmp_path: Path) -> None:
    names = ["a.md", "a.json", "a.csv", "a.xml"]
    saved = [item for n in names for item in ("--save", str(tmp_path / "out" / n))]
    out = made.check(*saved, "--junit", tmp_path / "b.xml", "-f", "md")
    assert (tmp_path / "out" / "a.md").read_text() == out.stdout
    assert json.loads((tmp_path / "out" / "a.json").read_text())["verdict"] == "pass"
    assert len((tmp_path / "out" / "a.csv").read_text().splitlines()) == 10
    for file in (tmp_path / "out" / "a.xml", tmp_path / "b.xml"):
        assert junit_problems(file.read_bytes()) == []


# --- the baseline -------------------------------------------------------------------------------------------


def test_a_baseline_is_small_text_without_paths_or_texts(made: Work) -> None:
    files = [p for p in made.base.rglob("*") if p.is_file()]
    assert len(files) == 4
    content = "".join(p.read_text() for p in files)
    assert str(made.folder) not in content
    assert "alpha" not in content


def test_an_update_of_nothing_writes_nothing(made: Work) -> None:
    before = (made.base / "baseline.json").stat()
    assert "nothing changes" in made.check("--update", "--yes").stdout
    assert (made.base / "baseline.json").stat() == before


def test_an_update_asks(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    worse = work.folder / "worse"
    out = work.check("--update", results=worse, code=2)
    assert "there is nobody to ask (--yes writes without asking)" in out.stderr
    monkeypatch.setattr(module, "_can_ask", lambda: True)
    before = (work.base / "baseline.json").read_text()
    out = work.check("--update", results=worse, code=1, input="n\n")
    assert re.search(r"data \(test\) bm25 +│ changed │ ndcg@10 +│ +1.0000 │ 0.6205", out.stdout)
    assert re.search(r"│ params.k1 +│ +0.9000 │ 0.0000", out.stdout)
    assert "scores of 8 queries" in out.stdout
    assert "not written" in out.stderr
    assert (work.base / "baseline.json").read_text() == before
    work.check("--update", results=worse, input="y\n")
    work.check(results=worse)
    work.check(results=work.results)


def test_an_update_keeps_what_the_results_lack_unless_pruned(work: Work) -> None:
    part = work.folder / "worse" / "data" / "test" / "bm25"
    out = work.check("--update", "--yes", results=part)
    assert "kept: data (test) other, which the results lack" in out.stderr
    stored = json.loads((work.base / "baseline.json").read_text())
    assert [c["system"] for c in stored["cells"]] == ["bm25", "both", "other"]
    work.check("--update", "--yes", "--prune", "--system", "other", "--system", "bm25", results=part)
    stored = json.loads((work.base / "baseline.json").read_text())
    assert [c["system"] for c in stored["cells"]] == ["bm25", "both"], "what was not asked for stays"
    assert not (work.base / "data" / "test" / "other.csv").exists()


def test_a_failed_cell_is_not_stored(work: Work) -> None:
    cell = work.folder / "worse" / "data" / "test" / "bm25"
    (cell / "result.json").unlink()
    (cell / "failure.json").write_text('{"cause": "no memory"}')
    out = work.check("--update", "--yes", results=work.folder / "worse", code=1)
    assert "failed: data (test) bm25: no memory; not stored" in out.stderr
    work.check("--system", "bm25")


def test_an_update_writes_over_nothing_else(work: Work) -> None:
    out = invoke("check", work.results, "--against", work.folder / "worse", "--update", "--yes", code=2)
    assert "is there already and is no stored baseline" in out.stderr


def test_efficiency(work: Work) -> None:
    options = ["--efficiency", "queries_per_second", "--reference", "bm25", "--efficiency", "index_bytes"]
    found = by_cell(work.json(*options))
    assert found["other", "queries_per_second / bm25"]["status"] == "ok"
    assert ("bm25", "queries_per_second / bm25") not in found
    assert found["bm25", "index_bytes"]["status"] == "ok"
    stored = json.loads((work.base / "baseline.json").read_text())
    for cell in stored["cells"]:
        # A machine ten times as fast, on which `other` was five times faster still.
        cell["efficiency"]["queries_per_second"] *= 50 if cell["system"] == "other" else 10
        if cell["efficiency"]["index_bytes"]:
            cell["efficiency"]["index_bytes"] //= 2
    (work.base / "baseline.json").write_text(json.dumps(stored))
    report = work.json(*options, code=1)
    found = by_cell(report)
    assert found["other", "queries_per_second / bm25"]["reason"] == "5.00 times, 1.5 allowed"
    assert "queries_per_second: more than 1.5 times slower beside bm25 fails" in report["notes"]
    assert any("speeds of 3 cell(s) are not of now" in note for note in report["notes"])
    assert "FAIL: 5.00 times, 1.5 allowed [data (test) other" in work.check(*options, code=1).stdout
    assert found["both", "queries_per_second / bm25"]["status"] in ("ok", "within"), "but for rounding"
    assert found["bm25", "index_bytes"]["status"] == "fail"
    work.check(*options, "--max-slowdown", "6", "--max-growth", "3")
    assert "nothing changes" in work.check("--update", "--yes").stdout, "figures of speed alone are no change"
    work.check("--update", "--yes", "--efficiency", "index_bytes")
    work.check(*options)


def test_the_speeds_of_a_config_are_measured_now(work: Work) -> None:
    given = [work.config, "--against", work.base, "--store", work.store, "-o", work.folder / "again"]
    options = ["--efficiency", "queries_per_second", "--reference", "bm25", "--max-slowdown", "1000"]
    invoke("check", *given)
    stored = {p: p.read_bytes() for p in work.store.glob("run/*/facts.json")}
    report = json.loads(invoke("check", *given, *options, "-f", "json").stdout)
    assert not any("not of now" in note for note in report["notes"])
    changed = [p for p, was in stored.items() if p.read_bytes() != was]
    assert len(changed) == 3, "the three systems of the config, and no other run of the store"


# --- mistakes -----------------------------------------------------------------------------------------------


def test_all_mistakes_at_once(made: Work, tmp_path: Path) -> None:
    (tmp_path / "a.trec").write_text("q0 Q0 d0 1 1 t\n")
    out = invoke(
        "check", "nowhere", tmp_path / "a.trec", "--against", tmp_path / "none", "-m", "ndgc@10", "--tolerance", "x",
        "--tolerance", "-1", "--alpha", ".1", "--efficiency", "qps", "--save", "a.foo", "--prune", "--set", "a=1",
        code=2,
    )  # fmt: skip
    for said in [
        "no results and no config 'nowhere'", "checked through a config", "no such baseline", "did you mean 'ndcg@10'",
        "'x' is no tolerance", "'-1' is no tolerance", "--alpha: this belongs to --test", "no figure 'qps'", ".xml",
        "--prune: this belongs to --update", "--set: this is for a run config",
    ]:  # fmt: skip
        assert said in out.stderr, said
    assert "Traceback" not in out.output


def test_a_report_that_cannot_be_written_is_said_first(made: Work, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = made.check("--save", tmp_path / "file" / "a.md", "--junit", tmp_path, code=2)
    assert "--save: can't write to " in out.stderr
    assert "is a folder" in out.stderr
    assert not out.stdout


def test_two_results_of_a_cell_are_refused(made: Work) -> None:
    out = made.check(made.folder / "worse", code=2)
    assert "data (test) bm25 has two results: " in out.stderr
    made.check(made.results)  # the same folder twice is one


def test_damaged_results_are_refused(work: Work) -> None:
    cell = work.results / "data" / "test" / "bm25"
    record = json.loads((cell / "result.json").read_text())
    record["metrics"]["ndcg@10"]["mean"] += 0.1
    (cell / "result.json").write_text(json.dumps(record))
    assert "were not made together" in work.check(code=2).stderr
    (cell / "per_query.parquet").unlink()
    assert "scores per query are gone" in work.check(code=2).stderr
