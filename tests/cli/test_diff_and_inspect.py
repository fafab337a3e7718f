"""`seekbench diff` and `seekbench inspect` on files and on result folders, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from terminal import as_json, ok, refused

from seekbench.leaderboard import records
from seekbench.metrics.evaluate import POLICIES

#: Relevant documents of each query, and what two systems find.
QRELS = {"q1": {"d1": 2, "d9": 1}, "q2": {"d2": 1}, "q3": {"d3": 1, "d4": 0}}
OLD = {"q1": ["d1", "d2", "d3"], "q2": ["d1", "d3", "d2"], "q3": ["d3", "d4"]}
NEW = {"q1": ["d4", "d3", "d9", "d1"], "q2": ["d2", "d1", "d3"], "q3": ["d3", "d4"]}


def trec(run: dict[str, list[str]]) -> str:
    return "".join(f"{q} Q0 {d} {i + 1} {9 - i} t\n" for q, found in run.items() for i, d in enumerate(found))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """old.trec, new.trec, qrels.txt and the collection `small/` in the working directory."""
    (tmp_path / "old.trec").write_text(trec(OLD))
    (tmp_path / "new.trec").write_text(trec(NEW))
    lines = [(q, d, g) for q, judged in QRELS.items() for d, g in judged.items()]
    (tmp_path / "qrels.txt").write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in lines))
    small = tmp_path / "small"
    (small / "qrels").mkdir(parents=True)
    texts = [
        {"_id": f"d{i}", "title": f"Title {i}", "text": f"text number {i} " + "word " * 40} for i in range(10)
    ]
    texts[1]["text"] = "\x1b[31mred\x1b[0m | <b>bold</b>"
    (small / "corpus.jsonl").write_text("\n".join(map(json.dumps, texts)))
    asked = [{"_id": q, "text": f"what is {q}"} for q in QRELS]
    (small / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (small / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in lines)
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results(files: Path) -> Path:
    """Results of two `seekbench run`s: `one/` and `two/`, each with the systems kept and changed on `small`."""
    for output, changed in (("one", "old"), ("two", "new")):
        (files / f"{output}.yaml").write_text(
            "datasets: [{path: small}]\nmetrics: [ndcg@3, rr, map]\nk: 10\nretrievers:\n"
            "  kept: {type: run_file, path: old.trec}\n"
            f"  changed: {{type: run_file, path: {changed}.trec}}\n"
        )
        ok("run", f"{output}.yaml", "-o", output)
    return files


def test_diff_of_two_files(files: Path) -> None:
    out = as_json("diff", "old.trec", "new.trec", "--qrels", "qrels.txt", "-m", "rr", "-m", "ndcg@3")
    (cell,) = out["cells"]
    assert cell["systems"] == ["old", "new"]
    rr = cell["metrics"]["mrr"]
    assert (rr["a"], rr["b"]) == pytest.approx(((1 + 1 / 3 + 1) / 3, (1 / 3 + 1 + 1) / 3))
    assert (rr["wins"], rr["ties"], rr["losses"]) == (1, 1, 1)
    assert rr["p"] == pytest.approx(1.0)
    fell, rose = cell["changed_most"]
    assert (fell["query_id"], fell["a"], fell["b"], fell["new_at_the_top"]) == (
        "q1",
        1.0,
        pytest.approx(1 / 3),
        2,
    )
    assert [(d["doc_id"], d["rank_a"], d["rank_b"], d["change"]) for d in fell["documents"]] == [
        ("d1", 1, 4, "down"), ("d9", None, 3, "gained"),
    ]  # fmt: skip
    assert rose["query_id"] == "q2"
    assert cell["same_top"] == 1
    assert cell["overlap"]["overlap@1"] == pytest.approx(1 / 3)
    assert fell["text"] is None


def test_diff_agrees_with_compare(files: Path) -> None:
    one = as_json("diff", "old.trec", "new.trec", "--qrels", "qrels.txt", "-m", "ndcg@3")["cells"][0][
        "metrics"
    ]["ndcg@3"]
    other = as_json("compare", "old.trec", "new.trec", "--qrels", "qrels.txt", "-m", "ndcg@3")["metrics"][
        "ndcg@3"
    ]
    (pair,) = other["comparisons"]
    for name in ("delta", "p", "interval", "wins", "ties", "losses"):
        assert one[name] == pytest.approx(pair[name], abs=1e-12)


def test_texts_come_from_the_dataset(files: Path) -> None:
    text = ok("diff", "before=old.trec", "after=new.trec", "--dataset", "small", "-m", "rr")
    assert "before → after on small (3 queries)" in text
    assert "what is q1" in text
    assert "Title 9 text number 9" in text
    # Nothing from a text may reach the terminal as a command.
    assert "\x1b[31m" not in text
    assert "gained" in text
    markdown = ok("diff", "old.trec", "new.trec", "--dataset", "small", "-m", "rr", "-f", "md")
    assert "&lt;b>bold" in markdown
    assert "| d9 | 1 | – | 3 | gained |" in markdown.replace("  d9", "d9")


def test_diff_of_results_takes_the_dataset_from_the_record(results: Path) -> None:
    out = as_json("diff", "one/small/test/changed", "two/small/test/changed")
    (cell,) = out["cells"]
    assert cell["systems"] == ["one", "two"]
    assert list(cell["metrics"]) == ["ndcg@3", "mrr", "map"]
    recorded = records.read(results / "two" / "small" / "test" / "changed")["metrics"]
    for name, figure in cell["metrics"].items():
        assert figure["b"] == pytest.approx(recorded[name]["mean"], abs=1e-12)
    assert cell["changed_most"][0]["documents"][0]["text"].startswith("Title")
    beside = as_json("diff", "one/small/test/kept/result.json", "two/small/test/changed")["cells"][0]
    assert beside["systems"] == ["kept", "changed"]


def test_diff_of_two_folders_takes_all_cells(results: Path) -> None:
    out = as_json("diff", "one", "two")
    assert [c["system"] for c in out["cells"]] == ["changed", "kept"]
    changed, kept = out["cells"]
    assert kept["metrics"]["ndcg@3"]["delta"] == 0.0
    assert kept["overlap"]["RBO (p 0.9)"] == pytest.approx(1.0)
    assert list(changed["metrics"]) == ["ndcg@3"]
    text = ok("diff", "one", "two")
    assert "2 cells in both" in text
    assert "Holm-corrected over 2 cells" in text


def test_a_gone_dataset_is_found_in_the_store_or_asked_for(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (results / "small").rename(results / "moved")
    whole = as_json("diff", "one", "two")
    assert whole["cells"][0]["changed_most"][0]["documents"][0]["text"].startswith("Title")
    monkeypatch.setenv("SEEKBENCH_HOME", str(results / "other-store"))
    line = refused("diff", "one", "two")
    assert "its dataset can't be read" in line
    assert "--dataset" in line
    assert (
        as_json("diff", "one", "two", "--dataset", "moved")["cells"][0]["metrics"]
        == whole["cells"][0]["metrics"]
    )
    assert (
        as_json("diff", "one", "two", "--qrels", "qrels.txt")["cells"][0]["metrics"]
        == whole["cells"][0]["metrics"]
    )


def test_other_data_is_refused(results: Path) -> None:
    path = results / "two" / "small" / "test" / "changed" / "result.json"
    record = orjson.loads(path.read_bytes())
    record["dataset"]["hashes"]["qrels"] = "0" * 64
    path.write_bytes(orjson.dumps(record))
    line = refused("diff", "one/small/test/changed", "two/small/test/changed")
    assert "different qrels" in line
    assert "--allow-mixed" in line
    text = ok("diff", "one/small/test/changed", "two/small/test/changed", "--allow-mixed")
    assert "NOT COMPARABLE" in text
    # The collection has changed since, and is not what was searched.
    (results / "small" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    line = refused("diff", "one/small/test/kept", "old.trec", "--dataset", "small")
    assert "it was made on other queries, qrels than small (test) has now" in line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("diff", "old.trec", "old.trec", "--qrels", "qrels.txt"), "two different rankings"),
        (("diff", "old.trec", "new.trec"), "--qrels FILE or --dataset NAME"),
        (("diff", "old.trec", "gone.trec", "--qrels", "qrels.txt"), "gone.trec"),
        (("diff", "old.trec", "small", "--qrels", "qrels.txt"), "there are no runs here"),
        (("diff", "old.trec", "new.trec", "--qrels", "qrels.txt", "-m", "ndgc@3"), "did you mean 'ndcg@3'"),
        (("diff", "old.trec", "new.trec", "--qrels", "qrels.txt", "-m", "gm_map"), "no mean over queries"),
        (
            ("diff", "old.trec", "new.trec", "--qrels", "qrels.txt", "--by", "languge"),
            "can't slice by 'languge'",
        ),
        (
            ("diff", "old.trec", "new.trec", "--dataset", "small", "--by", "first wrd"),
            "did you mean 'first word'",
        ),
        (("inspect", "old.trec", "--qrels", "qrels.txt", "-q", "q11"), "did you mean 'q1'"),
        (("inspect", "old.trec", "--dataset", "smal"), "smal"),
    ],
)
def test_mistakes_are_told_on_a_line(files: Path, args: tuple[str, ...], said: str) -> None:
    line = refused(*args)
    assert said in line
    assert "Traceback" not in line


def test_mistakes_of_all_runs_are_told_at_once(files: Path) -> None:
    (files / "old.trec").write_text("q1 Q0 d1 1 high t\n")
    (files / "new.trec").write_text("q1 Q0 d1\n")
    line = refused("diff", "old.trec", "new.trec", "--qrels", "qrels.txt")
    assert "old.trec:1" in line
    assert "new.trec:1" in line


def test_results_of_other_datasets_share_nothing(results: Path) -> None:
    folder = records.cell_folder(results / "three", "other", "test", "changed")
    folder.mkdir(parents=True)
    (folder / "run.trec.gz").write_bytes((results / "one/small/test/changed/run.trec.gz").read_bytes())
    record = records.read(results / "one" / "small" / "test" / "changed")
    record["dataset"]["id"] = "other"
    records.write(folder, {**record, "policies": dict(POLICIES)})
    line = refused("diff", "one", "three")
    assert "changed on small, kept on small; and changed on other" in line
    assert "of small" in refused("diff", "one/small/test/kept", "three")


def test_inspect_puts_runs_side_by_side(results: Path) -> None:
    out = as_json("inspect", "one/small/test/kept", "two/small/test/changed", "--query", "q1", "-k", "2")
    (query,) = out["queries"]
    assert query["text"] == "what is q1"
    assert [(j["doc_id"], j["grade"], j["ranks"]) for j in query["judged"]] == [
        ("d1", 2, {"kept": 1, "changed": 4}), ("d9", 1, {"kept": None, "changed": 3}),
    ]  # fmt: skip
    assert [h["doc_id"] for h in query["hits"]["changed"]] == ["d4", "d3"]
    assert query["scores"]["mrr"] == {"kept": 1.0, "changed": pytest.approx(1 / 3)}
    text = ok("inspect", "one/small/test/kept", "two/small/test/changed", "--query", "q1")
    assert "query q1: what is q1" in text
    assert "not found" in text
    assert "\x1b" not in text


def test_inspect_picks_queries(files: Path) -> None:
    def picked(*args: str) -> list[str]:
        found = as_json("inspect", "old.trec", "--qrels", "qrels.txt", "-m", "rr", *args)["queries"]
        return [q["query_id"] for q in found]

    assert picked("--worst", "1") == ["q2"]
    assert picked("--best", "2") == ["q1", "q3"]
    assert picked("--worst", "2", "--best", "1") == ["q2", "q1"]
    assert picked("-q", "q3", "--worst", "1") == ["q3", "q2"]
    assert picked() == ["q2", "q1", "q3"]


def test_inspect_without_texts_has_no_column_of_them(files: Path) -> None:
    text = ok("inspect", "old.trec", "--qrels", "qrels.txt", "-q", "q1", "-f", "md")
    assert "| rank | old | grade | score |" in text
    assert "text" in ok("inspect", "old.trec", "--dataset", "small", "-q", "q1", "-f", "md")


def test_slices_name_the_failing_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries in German find nothing."""
    monkeypatch.chdir(tmp_path)
    asked = [
        {"_id": f"q{i}", "text": f"what is {i}", "lang": "de" if i % 3 == 0 else "en"} for i in range(60)
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (tmp_path / "qrels.txt").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(60)))
    (tmp_path / "good.trec").write_text("".join(f"q{i} Q0 d{i} 1 1 t\n" for i in range(60)))
    bad = "".join(f"q{i} Q0 {'x' if i % 3 == 0 else 'd'}{i} 1 1 t\n" for i in range(60))
    (tmp_path / "bad.trec").write_text(bad)
    options = ("--qrels", "qrels.txt", "--queries", "queries.jsonl", "-m", "rr")
    (cell,) = as_json("diff", "good.trec", "bad.trec", *options, "--slices")["cells"]
    failing = [s for s in cell["slices"]["slices"] if s["fails"]]
    assert [(s["by"], s["label"], s["queries"], s["delta"]) for s in failing] == [("lang", "de", 20, -1.0)]
    found = as_json("inspect", "bad.trec", *options, "--by", "lang")
    (worst, other) = found["slices"]["bad"]["slices"]
    assert (worst["label"], worst["mean"], worst["elsewhere"], worst["fails"]) == ("de", 0.0, 1.0, True)
    assert not other["fails"]
    assert found["queries"] == []
    text = ok("diff", "good.trec", "bad.trec", *options, "--slices")
    assert "bad fails on one slice of" in text
    assert "lang: de" in text
    assert "Holm-corrected" in text
