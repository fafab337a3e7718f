"""Every defect that a collection may have: found with its place, and refused by loading if it is an error."""

# ruff: noqa: E501 (one line a defect)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import DOCUMENTS, HEADER, JUDGMENTS, QUERIES, as_jsonl, as_tsv  # type: ignore[import-not-found]

from seekbench.datasets.load import load
from seekbench.datasets.validate import validate
from seekbench.errors import InputError

Make = Callable[..., Path]
GOOD = as_jsonl(DOCUMENTS)
LINES = GOOD.splitlines(keepends=True)


def corpus(extra: Any) -> dict[str, bytes]:
    """The good corpus with a fourth line."""
    return {"corpus": GOOD + (extra if isinstance(extra, bytes) else as_jsonl([extra]))}


def judged(*extra: tuple[str, str, Any], header: str = HEADER) -> dict[str, bytes]:
    return {"test": as_tsv([*JUDGMENTS, *extra], header)}


#: name -> (what is made, code, severity, file, line)
DEFECTS: dict[str, tuple[dict[str, Any], str, str, str, int | None]] = {
    "id for _id": (corpus({"id": "d4", "text": "x"}), "wrong-id-key", "error", "corpus.jsonl", 4),
    "no id": (corpus({"text": "x"}), "missing-key", "error", "corpus.jsonl", 4),
    "integer id": (corpus({"_id": 4, "text": "x"}), "integer-id", "error", "corpus.jsonl", 4),
    "null id": (corpus({"_id": None, "text": "x"}), "bad-id-type", "error", "corpus.jsonl", 4),
    "empty id": (corpus({"_id": "", "text": "x"}), "empty-id", "error", "corpus.jsonl", 4),
    "duplicate id": (corpus({"_id": "d2", "text": "x"}), "duplicate-document-id", "error", "corpus.jsonl", 4),
    "null text": (corpus({"_id": "d4", "text": None}), "null-text", "error", "corpus.jsonl", 4),
    "no text": (corpus({"_id": "d4", "title": "x"}), "missing-key", "error", "corpus.jsonl", 4),
    "number for text": (corpus({"_id": "d4", "text": 7}), "not-a-string", "error", "corpus.jsonl", 4),
    "list for title": (corpus({"_id": "d4", "title": ["a"], "text": "x"}), "not-a-string", "error", "corpus.jsonl", 4),
    "space in id": (corpus({"_id": "d 4", "text": "x"}), "bad-id", "error", "corpus.jsonl", 4),
    "ids differ by space": (corpus({"_id": "d2 ", "text": "x"}), "id-differs-by-space", "error", "corpus.jsonl", 4),
    "bad JSON": (corpus(b'{"_id": "d4", "text": }\n'), "bad-json", "error", "corpus.jsonl", 4),
    "JSON array": (corpus(b"[1, 2]\n"), "not-an-object", "error", "corpus.jsonl", 4),
    "bad UTF-8": (corpus(b'{"_id": "d4", "text": "caf\xe9"}\n'), "bad-utf8", "error", "corpus.jsonl", 4),
    "empty text": (corpus({"_id": "d4", "text": " "}), "empty-text", "warning", "corpus.jsonl", 4),
    "identical text": (corpus({**DOCUMENTS[0], "_id": "d4"}), "identical-document", "warning", "corpus.jsonl", 4),
    "BOM": ({"corpus": b"\xef\xbb\xbf" + GOOD}, "byte-order-mark", "warning", "corpus.jsonl", 1),
    "CR LF": ({"corpus": GOOD.replace(b"\n", b"\r\n")}, "crlf", "warning", "corpus.jsonl", 1),
    "blank line": ({"corpus": b"".join([*LINES[:2], b"\n", *LINES[2:]])}, "blank-line", "warning", "corpus.jsonl", 3),
    "empty query": ({"queries": [*QUERIES, {"_id": "q3", "text": " "}]}, "empty-query", "error", "queries.jsonl", 3),
    "duplicate query": ({"queries": [*QUERIES, QUERIES[0]]}, "duplicate-query-id", "error", "queries.jsonl", 3),
    "integer query id": ({"queries": [*QUERIES, {"_id": 3, "text": "x"}]}, "integer-id", "error", "queries.jsonl", 3),
    "unjudged query": ({"queries": [*QUERIES, {"_id": "q3", "text": "x"}]}, "unjudged-query", "warning", "queries.jsonl", 3),
    "query id with #": (
        {"queries": [*QUERIES, {"_id": "#3", "text": "x"}], "test": as_tsv([*JUDGMENTS, ("#3", "d1", 1)])},
        "hash-id", "warning", "queries.jsonl", 3,
    ),
    "unknown query": (judged(("q9", "d1", 1)), "unknown-query", "error", "qrels/test.tsv", 5),
    "absent document": (judged(("q1", "d9", 1)), "absent-document", "warning", "qrels/test.tsv", 5),
    "judged again": (judged(JUDGMENTS[0]), "duplicate-judgment", "error", "qrels/test.tsv", 5),
    "contradiction": (judged(("q1", "d1", 0)), "contradicting-judgment", "error", "qrels/test.tsv", 5),
    "grade 0.5": (judged(("q1", "d2", 0.5)), "bad-grade", "error", "qrels/test.tsv", 5),
    "grade 1.0": (judged(("q1", "d2", 1.0)), "float-grade", "warning", "qrels/test.tsv", 5),
    "no header": (judged(header=""), "missing-header", "error", "qrels/test.tsv", 1),
    "other header": (judged(header="qid\tdocid\trel\n"), "odd-header", "warning", "qrels/test.tsv", 1),
    "TREC qrels": ({"test": b"q1 0 d1 1\nq2 0 d2 1\n"}, "trec-qrels", "error", "qrels/test.tsv", 1),
    "TREC qrels, tabs": ({"test": b"q1\t0\td1\t1\n"}, "trec-qrels", "error", "qrels/test.tsv", 1),
    "spaces": ({"test": HEADER.encode() + b"q1 d1 1\n"}, "not-tab-separated", "error", "qrels/test.tsv", 2),
    "commas": ({"test": HEADER.encode() + b"q1,d1,1\n"}, "not-tab-separated", "error", "qrels/test.tsv", 2),
    "too few columns": ({"test": HEADER.encode() + b"q1\td1\n"}, "bad-columns", "error", "qrels/test.tsv", 2),
    "qrels CR LF": ({"test": as_tsv(JUDGMENTS).replace(b"\n", b"\r\n")}, "crlf", "warning", "qrels/test.tsv", 1),
    "no positives": ({"test": [("q1", "d1", 0), ("q2", "d1", -1)]}, "no-positives", "warning", "qrels/test.tsv", None),
    "a query without": (
        {"test": [("q1", "d1", 1), ("q2", "d1", 0)]}, "query-without-positive", "warning", "qrels/test.tsv", None,
    ),
    "empty split": ({"dev": HEADER.encode()}, "no-judgments-in-file", "warning", "qrels/dev.tsv", None),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_is_found_with_its_place(name: str, make_beir: Make) -> None:
    parts, code, severity, file, line = DEFECTS[name]
    folder = make_beir(**parts)
    result = validate(folder)
    found = [p for p in result.report.problems if p.code == code]
    assert found, result.report.lines()
    assert (found[0].severity, found[0].where, found[0].line) == (severity, str(folder / file), line)
    assert found[0].remedy
    assert result.valid == (severity == "warning")
    if severity == "error":
        with pytest.raises(InputError) as caught:
            load({"path": str(folder)})
        assert caught.value.report.problems == result.report.problems
    else:
        assert result.statistics
        assert load({"path": str(folder)}).statistics["warnings"] == result.report.lines()


def test_all_defects_are_reported_at_once(make_beir: Make) -> None:
    folder = make_beir(
        corpus=[{"id": "d1", "text": "x"}, {"_id": 2, "text": None}, *DOCUMENTS, DOCUMENTS[0]],
        queries=[*QUERIES, {"_id": "q3", "text": ""}],
        test=[*JUDGMENTS, ("q1", "d2", "high")],
    )
    codes = {p.code for p in validate(folder).report.problems if p.severity == "error"}
    assert codes == {"wrong-id-key", "integer-id", "duplicate-document-id", "empty-query", "bad-grade"}


def test_a_file_full_of_one_defect_is_cut_and_counted(make_beir: Make) -> None:
    folder = make_beir(corpus=[*DOCUMENTS, *({"_id": n, "text": "x"} for n in range(500))])
    report = validate(folder).report
    assert len(report.problems) < 20
    assert report.errors == 500
    assert any("490 more like this" in line for line in report.lines())


def test_good_collection(make_beir: Make) -> None:
    result = validate(str(make_beir()))
    assert result.report.lines() == []
    assert result.valid
    assert result.statistics["documents"]["tokens"] == {"mean": 4.33, "p50": 5.0, "p95": 5.0, "max": 5.0}
    assert result.statistics["splits"]["test"] == {
        "queries": 2, "judgments": 3, "judgments_per_query": {"mean": 1.5, "min": 1, "max": 2},
        "relevant_per_query": 1.0, "queries_without_positive": 0, "grades": {"0": 1, "1": 1, "2": 1},
        "negative_grades": 0, "absent_documents": 0,
    }  # fmt: skip
    assert len(result.summary()) == 3
    json.dumps([result.statistics, result.leakage])


def test_splits_without_a_default_are_no_defect_of_the_data(make_beir: Make) -> None:
    folder = make_beir(dev=JUDGMENTS, train=JUDGMENTS)
    (folder / "qrels" / "test.tsv").unlink()
    assert validate(folder).valid
    with pytest.raises(InputError, match=r"several splits.*dev, train"):
        load({"path": str(folder)})


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_missing_files(missing: str, make_beir: Make) -> None:
    folder = make_beir()
    (folder / missing).unlink()
    result = validate(folder)
    assert [p.code for p in result.report.problems] == ["missing-file"]


def test_not_a_collection(tmp_path: Path) -> None:
    assert "does not exist" in str(validate(str(tmp_path / "nothing")).report.problems[0])
    (tmp_path / "notes.txt").write_text("x")
    assert "notes.txt" in str(validate(str(tmp_path)).report.problems[0])
    (tmp_path / "corpus.jsonl").write_text("")
    (tmp_path / "corpus.jsonl.gz").write_text("")
    codes = [p.code for p in validate(str(tmp_path)).report.problems]
    assert codes == ["ambiguous-files", "missing-file", "missing-file"]
    assert "did you mean 'pydocs'" in str(validate("pydoks").report.problems[0])
    assert "did you mean 'beir/scifact'" in str(validate("beir/scifct").report.problems[0])


def test_no_folder_to_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line and exit 2, however the path is written."""
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("data").mkdir()
    Path("data/file.tsv").write_text("x")
    gone, file, empty = "does not exist", "is no folder", "is empty"
    for name, why in (
        ("./nothing", gone), ("data/nothing", gone), (str(tmp_path / "nothing"), gone), ("~/no/such/folder", gone),
        ("~nobody-of-this-name/x", "no such user"), ("nothing", "there is no folder and no dataset 'nothing'"),
        ("data/file.tsv", file), ("./data/file.tsv", file), (str(tmp_path / "data/file.tsv"), file),
        ("empty", empty), ("./empty", empty), ("empty/", empty), (str(tmp_path / "empty"), empty), ("", "nothing is named"),
    ):  # fmt: skip
        report = validate(name).report
        assert len(report.lines()) == 1, name
        assert why in report.lines()[0], name
        done = CliRunner().invoke(app, ["validate", "dataset", name])
        assert done.exit_code == 2, name
        assert done.output.count("error:") == 1, done.output
        assert why in done.output


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_cut_off_compressed_file(ending: str, make_beir: Make) -> None:
    folder = make_beir(ending=ending)
    path = folder / f"corpus.jsonl{ending}"
    path.write_bytes(path.read_bytes()[:-9])
    found = validate(folder).report.problems[0]
    assert (found.code, found.severity) == ("bad-compression", "error")


def test_real_collections_are_good(collections: Path) -> None:
    """Two empty documents are Cranfield's own."""
    for name, warnings in (("scifact", {}), ("cranfield", {"empty-text": 2}), ("wikiqa", {})):
        report = validate(collections / name, leakage=False).report
        assert {code: n for (code, _, _), n in report.counts.items()} == warnings
