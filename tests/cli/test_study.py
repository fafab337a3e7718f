"""`seekbench study scaling` as a user calls it, with a generative retriever on a tiny encoder."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
sys.path.insert(0, str(Path(__file__).parents[1] / "retrievers"))
import tiny_checkpoints as tiny
import words

from seekbench.cli.app import app
from seekbench.retrievers import registry

STUDY = """\
study: scaling
datasets: [{path: ./data, language: en}]
sizes: [14, all]
docids: {naive: {type: naive}}
inputs:
  text: [{kind: first}]
  queries: [{kind: sentences}, {kind: keywords, options: {count: 4}}]
retriever:
  type: generative
  encoder: ./encoder
  model: {width: 32, layers: 1, heads: 2, dropout: 0.0}
  training: {steps: 20, batch: 32, rate: 0.01, smoothing: 0.0, watched: 0}
  decoding: {beams: 5}
baselines:
  words: {type: words}
metrics: [mrr@10, success@1]
k: 10
"""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "BUILTIN", dict(registry.BUILTIN))
    words.register()
    yield
    registry.known.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 documents, 12 training queries, 8 test queries of two relevant documents each; the working directory."""
    tiny.bert(tmp_path / "encoder")
    texts = tiny.texts(24, seed=1, longest=20)
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": t} for i, t in enumerate(texts)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries = [{"_id": f"q{i}", "text": " ".join(texts[i % 24].split()[:6])} for i in range(20)]
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    header = "query-id\tcorpus-id\tscore\n"
    (data / "qrels" / "train.tsv").write_text(header + "".join(f"q{i}\td{i}\t1\n" for i in range(12)))
    test = [f"q{i}\td{j}\t1\n" for i in range(12, 20) for j in (i, i - 12)]
    (data / "qrels" / "test.tsv").write_text(header + "".join(test))
    (tmp_path / "s.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["study", "scaling", *args])


def ok(*args: str) -> str:
    result = call(*args, "--threads", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_study_from_file_to_table(folder: Path) -> None:
    plan = ok("s.yaml", "--dry-run")
    assert "not read yet" in plan
    assert "6 cells: 0 stored, 6 to do" in plan
    assert not (folder / "results").exists()
    table = json.loads(ok("s.yaml", "--format", "json", "--metric", "MRR@10"))
    assert table == json.loads((folder / "results" / "s" / "scaling.json").read_bytes()) | {
        "metrics": ["mrr@10"],
        "rows": table["rows"],
    }
    rows = {(r["documents"], r["system"]): r for r in table["rows"]}
    assert list(rows) == [(n, s) for n in (14, 24) for s in ("naive+text", "naive+queries", "words")]
    for (documents, system), row in rows.items():
        assert set(row["scores"]) == {"mrr@10"}
        assert 0 < row["queries"]["common"] <= row["queries"]["all"]
        if system != "words":
            assert row["parameters"] >= row["parameters_non_embedding"] > 0
            assert row["parameters_docid_table"] > 0
            assert row["invalid_rate"] == 0
            assert 1 <= row["docid_tokens"] <= 2
            assert row["training_tokens"] >= 20 * 32
            assert row["examples"] == documents if system == "naive+text" else row["examples"] > documents
    assert rows[24, "naive+text"]["queries"]["all"] == 8
    assert (folder / "results" / "s" / "scaling-mrr@10.png").stat().st_size > 10_000
    assert "6 cells: 6 stored, 0 to do" in ok("s.yaml", "--dry-run")


def test_every_format(folder: Path) -> None:
    """The second run makes nothing anew, so it is the same table."""
    only = ("s.yaml", "--set", "inputs={text: [{kind: first}]}")
    shown = ok(*only)
    assert "s: data (test), costs" in shown
    assert "14 of 24 documents: " in shown
    rows = json.loads(ok(*only, "-f", "json"))["rows"]
    csv_rows = list(csv.DictReader(io.StringIO(ok(*only, "-f", "csv"))))
    assert [float(r["mrr@10"]) for r in csv_rows] == [r["scores"]["mrr@10"]["all"] for r in rows]
    assert "mrr@10 common" in ok(*only, "-f", "md")
    assert "mrr@10 common" not in ok(*only, "-f", "md", "--no-common")
    assert r"\toprule" in ok(*only, "-f", "latex")


def test_a_training_split_gives_figures_apart(folder: Path) -> None:
    """The subset keeps the training queries of its documents."""
    ok(
        "s.yaml",
        "-o",
        "out",
        "--set",
        "retriever.train=train",
        "--set",
        "inputs={queries: [{kind: queries}]}",
    )
    table = json.loads((folder / "out" / "scaling.json").read_bytes())
    assert not [r["failure"] for r in table["rows"] if r["failure"]]
    row = next(r for r in table["rows"] if r["system"] == "naive+queries" and r["documents"] == 24)
    assert row["examples"] == 12
    assert set(row["scores"]["mrr@10"]) == {"all", "common", "all_apart", "common_apart"}


def test_mistakes_exit_with_2_each_on_its_line(folder: Path) -> None:
    text = STUDY.replace("type: naive", "type: niave").replace("kind: first", "kind: frist")
    (folder / "s.yaml").write_text(text.replace("steps: 20", "stpes: 20").replace("sizes: [14", "sizes: [99"))
    result = call("s.yaml")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    for start, said in (("s.yaml:4", "niave"), ("s.yaml:6", "frist"), ("s.yaml:12", "stpes")):
        assert sum(line.startswith(f"error: {start}: ") and said in line for line in lines) == 1, (
            start,
            lines,
        )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--set", "sizes=[1, 99]"), "there is no subset of 99"),
        (("--metric", "map"), "the study has no metric 'map'"),
        (("--set", "retriever.encoder=./absent"), "absent"),
        (("--format", "trec"), "'trec' is not one of 'table', 'md', 'latex', 'csv', 'json'"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(folder: Path, args: tuple[str, ...], said: str) -> None:
    result = call("s.yaml", *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not list(folder.rglob("result.json"))


def test_a_mistake_that_cells_share_is_said_once(folder: Path) -> None:
    result = call("s.yaml", "--set", "retriever.encoder=./absent")
    assert result.stderr.count("absent") == result.stderr.count("error: ") == 1
    assert "naive+text" not in result.stderr


def test_a_failing_cell_exits_with_1_and_the_others_complete(folder: Path) -> None:
    changes = ("--set", "baselines.words.fail=search", "--set", "inputs={text: [{kind: first}]}")
    result = call("s.yaml", *changes, "--threads", "1", "--device", "cpu")
    assert result.exit_code == 1
    assert "failed: data/24 (test) words: ValueError: broken inside" in result.stderr
    assert len(list(folder.rglob("result.json"))) == 2


def test_the_shipped_study_is_good() -> None:
    result = call("studies/scaling", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "pydocs-small" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from seekbench.cli.app import app\n"
        "try:\n    app(['study', 'scaling', '--help'], standalone_mode=False)\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & {"torch", "transformers", "pyarrow", "numpy", "matplotlib"}
