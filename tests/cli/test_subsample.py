"""`seekbench subsample`: what it writes loads, keeps what is relevant, and says how systems are ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminal import ok, refused

from seekbench.api import load_dataset

SYSTEMS, QUERIES, DOCUMENTS = 6, 12, 80


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The collection `whole/` and the runs s0.trec (nearly random) to s5.trec (good) in the working directory."""
    rng = np.random.default_rng(11)
    whole = tmp_path / "whole"
    (whole / "qrels").mkdir(parents=True)
    documents = [
        {
            "_id": f"d{i}",
            "title": f"Title {i}" if i % 2 else "",
            "text": f"Text {i} — ünïcode",
            "metadata": {"n": i},
        }
        for i in range(DOCUMENTS)
    ]
    (whole / "corpus.jsonl").write_text("\n".join(json.dumps(d) for d in documents))
    queries = [{"_id": f"q{i}", "text": f"question {i}", "metadata": {"kind": i % 2}} for i in range(QUERIES)]
    (whole / "queries.jsonl").write_text("\n".join(json.dumps(q) for q in queries))
    grades = {
        (i, int(d)): 1 + int(d) % 2 for i in range(QUERIES) for d in rng.choice(DOCUMENTS, 2, replace=False)
    }
    lines = [f"q{i}\td{d}\t{g}" for (i, d), g in grades.items()]
    lines += [f"q{i}\tabsent{i}\t1" for i in range(2)] + [f"q{i}\td{(7 * i) % DOCUMENTS}\t0" for i in range(QUERIES)
             if (i, (7 * i) % DOCUMENTS) not in grades]  # fmt: skip
    (whole / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    noise = rng.normal(size=(QUERIES, DOCUMENTS))
    for s in range(SYSTEMS):
        out = []
        for i in range(QUERIES):
            score = noise[i] + rng.normal(size=DOCUMENTS) / 2
            for (q, d), g in grades.items():
                score[d] += 0.5 * s * g * (q == i)
            top = np.argsort(-score)[:30]
            out += [f"q{i} Q0 d{d} 0 {score[d]:.5f} s{s}" for d in top]
        (tmp_path / f"s{s}.trec").write_text("\n".join(out) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUNS = tuple(f"s{s}.trec" for s in range(SYSTEMS))


def made(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ok("subsample", "whole", *RUNS, "-o", "small", "--json", *args))
    return found


def test_the_folder_loads_and_holds_what_it_should(files: Path) -> None:
    out = made("--depth", "3", "--queries", "6", "--random", "4", "--pool", "s1", "--pool", "s4")
    whole = load_dataset({"path": str(files / "whole")})
    small = load_dataset({"path": str(files / "small")})
    assert small.hashes == out["made"]["hashes"]
    assert len(small.queries) == out["queries"]["kept"] == 6
    kept = set(small.corpus.ids().to_pylist())
    assert len(kept) == out["documents"]["kept"]
    assert len(kept) == sum(out["documents"][part] for part in ("relevant", "pooled", "random"))
    assert out["documents"]["random"] == 4
    # Every document of grade 1 or more of a kept query is there, and judged as before.
    before, after = (_judged(d) for d in (whole, small))
    for query, judged in after.items():
        relevant = {d for d, g in before[query].items() if g > 0}
        assert relevant == {d for d, g in judged.items() if g > 0}
        assert {d for d in relevant if not d.startswith("absent")} <= kept
        assert judged.items() <= before[query].items()
    # Texts and columns are unchanged.
    at = whole.corpus.rows_of(small.corpus.ids())
    assert small.corpus.texts("{title}|{text}|{n}") == whole.corpus.subset(at).texts("{title}|{text}|{n}")
    assert set(small.queries.column("kind")) == {"0", "1"}
    # What a pooled run found first is kept.
    lines = [line.split() for line in (files / "s4.trec").read_text().splitlines()]
    for query in small.queries.ids().to_pylist():
        assert {line[2] for line in lines if line[0] == query} & kept >= {
            line[2] for line in [x for x in lines if x[0] == query][:3]
        }


def _judged(dataset: Any) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    qrels, corpus = dataset.qrels, dataset.corpus
    for row, query in enumerate(dataset.queries.ids().to_pylist()):
        docs, grades = qrels.of(row)
        names = [
            qrels.absent_ids[d - qrels.corpus_size] if d >= qrels.corpus_size else corpus.ids()[d].as_py()
            for d in docs.tolist()
        ]
        out[query] = dict(zip(names, grades.tolist(), strict=True))
    return out


def test_the_report(files: Path) -> None:
    out = made("--depth", "10", "--pool", "s2", "--pool", "s5")
    report = out["report"]
    scores = json.loads(ok("eval", "whole/qrels/test.tsv", *RUNS, "-m", "ndcg@10", "--json"))
    for name, figures in report["systems"].items():
        assert figures["whole"] == pytest.approx(scores[f"{name}.trec"]["ndcg@10"]["mean"], abs=1e-12)
        assert figures["restricted"] >= figures["whole"] - 1e-12
        assert figures["pooled"] is (name in ("s2", "s5"))
        if figures["pooled"]:  # its first ten hits are all there
            assert figures["restricted"] == pytest.approx(figures["whole"], abs=1e-12)
            assert figures["left_out"] >= figures["whole"]
        else:
            assert figures["left_out"] == figures["restricted"]
    assert report["agreement"]["restricted"]["pairs"] == 15
    assert set(report["pooled_without"]) == {"s2", "s5"}
    text = ok("subsample", "whole", *RUNS, "-o", "small", "--depth", "10", "--pool", "s2", "--pool", "s5")
    assert "against the whole" in text
    assert "pooled without one, worst of 2" in text
    assert "say little" not in text
    few = ok("subsample", "whole", *RUNS[:3], "-o", "few")
    assert "fewer than 5 systems say little" in few
    assert "fewer than 250 hits a query, of which all are taken" in few


def test_the_same_call_is_the_same_and_another_is_refused(files: Path) -> None:
    first = made("--depth", "5", "--queries", "5", "--seed", "3")
    stamp = (files / "small" / "corpus.jsonl").stat().st_mtime_ns
    assert made("--depth", "5", "--queries", "5", "--seed", "3") == first
    assert (files / "small" / "corpus.jsonl").stat().st_mtime_ns == stamp
    line = refused("subsample", "whole", *RUNS, "-o", "small", "--depth", "6")
    assert "it exists already" in line
    (files / "mine").mkdir()
    (files / "mine" / "thesis.txt").write_text("text")
    assert "choose another folder" in refused("subsample", "whole", *RUNS, "-o", "mine")
    assert (files / "mine" / "thesis.txt").read_text() == "text"
    assert [p.name for p in files.iterdir() if p.name.endswith(".part")] == []


def test_runs_anew_are_added(files: Path) -> None:
    made("--depth", "5")
    (files / "c.yaml").write_text(
        "datasets: [{path: small}]\nmetrics: [ndcg@10]\nretrievers:\n"
        + "".join(f"  s{s}: {{type: run_file, path: s{s}.trec, unknown: drop}}\n" for s in range(SYSTEMS))
    )
    ok("run", "c.yaml", "-o", "again")
    out = made("--depth", "5", "--rerun", "again")
    for figures in out["report"]["systems"].values():
        assert figures["run_anew"] == pytest.approx(figures["restricted"], abs=1e-9)
    assert out["report"]["agreement"]["run_anew"] == pytest.approx(out["report"]["agreement"]["restricted"])
    ok("run", "c.yaml", "-o", "other", "--set", "datasets=[{path: whole}]")
    assert "no result on this folder's content" in refused(
        "subsample", "whole", *RUNS, "-o", "small", "--depth", "5", "--rerun", "other"
    )


def test_results_of_other_datasets_are_left_alone(files: Path) -> None:
    (files / "c.yaml").write_text(
        "datasets: [{path: whole}, {path: other}]\nmetrics: [ndcg@10]\nretrievers:\n"
        "  one: {type: run_file, path: s1.trec}\n  two: {type: run_file, path: s2.trec}\n"
    )
    (files / "other" / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (files / "other" / name).write_text((files / "whole" / name).read_text())
    (files / "other/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    ok("run", "c.yaml", "-o", "both")
    out = json.loads(ok("subsample", "whole", "both", "-o", "small", "--json"))
    assert set(out["report"]["systems"]) == {"one", "two"}
    assert "it was made on other" in refused("subsample", "whole", "both/other/test/one", "-o", "no")
    assert not (files / "no").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--pool", "s9"), "no system 's9'"),
        (("-m", "ndgc@10"), "did you mean 'ndcg@10'"),
        (("-m", "gm_map"), "no mean over queries"),
        (("--split", "tset"), "there is no split 'tset'"),
    ],
)
def test_mistakes(files: Path, args: tuple[str, ...], said: str) -> None:
    assert said in refused("subsample", "whole", *RUNS, "-o", "small", *args)
    assert not (files / "small").exists()
