"""`seekbench study growing` as a user calls it, with a generative retriever on a tiny encoder."""

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
study: growing
datasets: [{path: ./data, language: en}]
first: 0.75
retriever:
  type: generative
  encoder: ./encoder
  docids: {type: naive}
  model: {width: 32, layers: 1, heads: 2, dropout: 0.0}
  training: {steps: 40, batch: 32, rate: 0.01, smoothing: 0.0, watched: 0}
  decoding: {beams: 10}
growth:
  naive: {steps: 0}
  replay: {steps: 30, replay: 0.5}
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
    """24 documents, each with a test query; the working directory."""
    tiny.bert(tmp_path / "encoder")
    texts = tiny.texts(24, seed=1, longest=20)
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": t} for i, t in enumerate(texts)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries = [{"_id": f"q{i}", "text": " ".join(texts[i].split()[:6])} for i in range(24)]
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    header = "query-id\tcorpus-id\tscore\n"
    (data / "qrels" / "test.tsv").write_text(header + "".join(f"q{i}\td{i}\t1\n" for i in range(24)))
    (tmp_path / "s.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["study", "growing", *args])


def ok(*args: str) -> str:
    result = call(*args, "--threads", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_study_from_file_to_table(folder: Path) -> None:
    """And in every format: later calls make nothing anew, so they show the same table."""
    plan = ok("s.yaml", "--dry-run")
    assert "not read yet" in plan
    assert "6 cells: 0 stored, 6 to do" in plan
    assert not (folder / "results").exists()
    table = json.loads(ok("s.yaml", "--format", "json", "--metric", "MRR@10"))
    out = folder / "results" / "s"
    assert table == json.loads((out / "growing.json").read_bytes()) | {
        "metrics": ["mrr@10"],
        "rows": table["rows"],
    }
    rows = {r["system"]: r for r in table["rows"]}
    assert list(rows) == ["words", "scratch", "naive", "replay"]
    assert table["datasets"][0]["first"] == 18
    assert table["datasets"][0]["unseen_document_rate"] == 6 / 24
    for row in rows.values():
        assert set(row["scores"]) == {"mrr@10"}
        assert row["queries"] == {"old": 18, "new": 6, "all": 24}
    assert rows["naive"]["scores"]["mrr@10"]["before"] == rows["scratch"]["scores"]["mrr@10"]["before"]
    assert rows["replay"]["examples_seen"] == 30 * 32
    assert rows["replay"]["invalid_rate"] == 0
    assert (out / "growing-mrr@10.png").stat().st_size > 10_000
    assert "6 cells: 6 stored, 0 to do" in ok("s.yaml", "--dry-run")
    assert json.loads(ok("s.yaml", "--dry-run", "-f", "json"))["cuts"][0].startswith("data (test): 18 of 24")
    shown = ok("s.yaml")
    assert "s: data (test), mrr@10" in shown
    assert "s: data (test), hits and costs" in shown
    csv_rows = list(csv.DictReader(io.StringIO(ok("s.yaml", "-f", "csv"))))
    assert [float(r["mrr@10"]) for r in csv_rows] == [r["scores"]["mrr@10"]["all"] for r in table["rows"]]
    assert "| D1@10 old |" in ok("s.yaml", "-f", "md")
    assert r"\toprule" in ok("s.yaml", "-f", "latex")


def test_mistakes_exit_with_2_each_on_its_line(folder: Path) -> None:
    text = STUDY.replace("type: naive", "type: niave").replace("replay: 0.5", "repaly: 0.5")
    (folder / "s.yaml").write_text(text.replace("steps: 40", "stpes: 40").replace("first: 0.75", "first: 0"))
    result = call("s.yaml")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    wanted = (("s.yaml:3", "not 0"), ("s.yaml:7", "niave"), ("s.yaml:9", "stpes"), ("s.yaml:13", "repaly"))
    for start, said in wanted:
        found = [line for line in lines if line.startswith(f"error: {start}: ") and said in line]
        assert len(found) == 1, (start, lines)
    assert "did you mean 'replay'" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--set", "first=24"), "24 of 24 documents leave none in D0, or none in D1"),
        (("--set", "retriever.type=bm25"), "the retriever type 'bm25' can't grow"),
        (("--metric", "map"), "the study has no metric 'map'"),
        (("--format", "trec"), "'trec' is not one of 'table', 'md', 'latex', 'csv', 'json'"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(folder: Path, args: tuple[str, ...], said: str) -> None:
    result = call("s.yaml", *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not list(folder.rglob("result.json"))


def test_a_mistake_that_systems_share_is_said_once(folder: Path) -> None:
    result = call("s.yaml", "--set", "retriever.encoder=./absent")
    assert result.exit_code == 2
    assert result.stderr.count("absent") == result.stderr.count("error: ") == 1
    assert "scratch" not in result.stderr


def test_a_failing_cell_exits_with_1_and_the_others_complete(folder: Path) -> None:
    result = call("s.yaml", "--set", "baselines.words.fail=search", "--threads", "1", "--device", "cpu")
    assert result.exit_code == 1
    assert "failed: data/first (test) words: ValueError: broken inside" in result.stderr
    assert "words: failed on D0: ValueError: broken inside" in result.stdout
    assert len(list(folder.rglob("result.json"))) == 4


def test_the_shipped_study_is_good() -> None:
    result = call("studies/growing", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "pydocs-small" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from seekbench.cli.app import app\n"
        "try:\n    app(['study', 'growing', '--help'], standalone_mode=False)\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & {"torch", "transformers", "pyarrow", "numpy", "matplotlib"}
