"""Results for tests of pages: two datasets whose texts, ids and names try to break out of a page, four systems."""

from __future__ import annotations

import json
import random
from pathlib import Path

import orjson

import seekbench.api
from seekbench.leaderboard import records

#: What must show as text: it would set `window.broken`, end a script or a comment, or a line of one.
SCRIPT = "<script>window.broken = 1</script>"
IMAGE = '<img src=x onerror="window.broken = 2">'
NASTY = f"{SCRIPT} </script> <!-- {IMAGE} ]]> & &amp; \u2028\u2029 {{{{ 7 * 7 }}}} <b>bold</b>"
QUERIES = 24


def _folder(folder: Path, odd: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    texts = [
        {"_id": f"d{i}", "title": f"Title {i} {odd}", "text": f"document number {i} {odd}"} for i in range(60)
    ]
    queries = [{"_id": f"q{i}", "text": f"query number {i} {odd}"} for i in range(QUERIES)]
    (folder / "corpus.jsonl").write_bytes(b"".join(orjson.dumps(t) + b"\n" for t in texts))
    (folder / "queries.jsonl").write_bytes(b"".join(orjson.dumps(q) + b"\n" for q in queries))
    lines = [f"q{i}\td{i}\t2\nq{i}\td{i + 1}\t1\nq{i}\td{i + 2}\t0\n" for i in range(QUERIES)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def _run(file: Path, skill: float, seed: int) -> None:
    """A run that has the best document first with this probability, else somewhere or nowhere."""
    choose = random.Random(seed)
    lines = []
    for q in range(QUERIES):
        others = [d for d in choose.sample(range(60), 12) if d != q]
        found = (
            [q, *others] if choose.random() < skill else [*others[:3], q] if choose.random() < 0.5 else others
        )
        lines += [f"q{q} Q0 d{d} {rank} {100 - rank} t\n" for rank, d in enumerate(found, 1)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines))


def results(folder: Path) -> Path:
    """Results of systems good, middling, poor and one with an odd name, of the types dense, bm25 and run_file, on the
    datasets odd (English) and plain (German)."""
    for name, odd in (("odd", NASTY), ("plain", "")):
        _folder(folder / "collections" / name, odd)
    for seed, (name, skill) in enumerate([("good", 0.95), ("middling", 0.6), ("poor", 0.1), ("odd", 0.5)]):
        for offset, dataset in ((0, "odd"), (100, "plain")):
            _run(folder / "runs" / f"{name}.{dataset}", skill, seed + offset)
    config = folder / "run.yaml"
    config.write_text(
        json.dumps(
            {
                "datasets": [
                    {"path": str(folder / "collections" / "odd"), "language": "en"},
                    {"path": str(folder / "collections" / "plain"), "language": "de"},
                ],
                "retrievers": {
                    name: {"type": "run_file", "path": str(folder / "runs" / f"{name}.{{dataset}}")}
                    for name in ("good", "middling", "poor", "odd")
                },
                "metrics": ["ndcg@10", "recall@100", "mrr@10"],
                "baseline": "middling",
                "k": 100,
            }
        )
    )
    made = folder / "results"
    seekbench.api.run(config, output=made)
    types = {
        "good": ("dense", 20.0),
        "middling": ("bm25", 2.0),
        "poor": ("bm25", 8.0),
        "odd": ("run_file", None),
    }
    for file in records.find(made):
        record = json.loads(file.read_bytes())
        kind, latency = types[record["retriever"]["name"]]
        record["retriever"]["type"] = kind
        record["efficiency"]["latency_ms"] = {"p50": latency, "p95": latency, "queries": 50}
        if record["retriever"]["name"] == "odd":
            record["retriever"]["name"] = IMAGE
            record["retriever"]["inputs"] = {"query": [NASTY], "document": [NASTY]}
        file.write_bytes(orjson.dumps(record))
    return made
