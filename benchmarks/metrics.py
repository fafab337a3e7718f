"""Scoring a run of 6,980 queries x 1,000 hits, side by side: seekbench, pytrec_eval, ir_measures, ranx, beir and
the C trec_eval, where they are installed.

    python benchmarks/metrics.py                        from files: reading + scoring, whole processes
    python benchmarks/metrics.py --arrays               scoring alone: arrays here, dictionaries there
    python benchmarks/metrics.py --growth 1 2 5 10      seekbench's cost by the number of queries
    python benchmarks/metrics.py --start                starting `seekbench eval` on a tiny file

Every system runs in a fresh process (`--peer-python` names an interpreter that has the peers); seconds are of the
whole process, the best of `--repeat`; peak memory too. All figures are compared with seekbench's. Needs the extra
`dev`; ir_measures and beir are no dependencies: `pip install ir_measures beir` where they shall be measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

METRICS = ("ndcg@10", "map", "mrr@10", "recall@100", "recall@1000")
SEEKBENCH = [sys.executable, "-c", "from seekbench.cli.app import main; main()", "eval"]


def seekbench(qrels: str, run: str) -> list[str]:
    """The command; a peer is a function of this file instead, run by itself."""
    options = [x for m in METRICS for x in ("-m", m)]
    return [*SEEKBENCH, qrels, run, *options, "--no-intervals", "--json"]


def _nested(path: str, document: int, value: int, kind: Callable[[str], Any]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    with open(path) as lines:
        for line in lines:
            cells = line.split()
            out.setdefault(cells[0], {})[cells[document]] = kind(cells[value])
    return out


def pytrec_eval(qrels: str, run: str) -> dict[str, float]:
    import pytrec_eval as peer

    with open(qrels) as judged, open(run) as hits:
        evaluator = peer.RelevanceEvaluator(
            peer.parse_qrel(judged), {"ndcg_cut.10", "map", "recip_rank", "recall.100,1000"}
        )
        found = evaluator.evaluate(peer.parse_run(hits))
    names = ("ndcg_cut_10", "map", "recip_rank", "recall_100", "recall_1000")
    # It has no reciprocal rank cut at 10.
    return {
        ours: sum(q[name] for q in found.values()) / len(found)
        for ours, name in zip(METRICS, names, strict=True)
        if ours != "mrr@10"
    }


def ir_measures(qrels: str, run: str) -> dict[str, float]:
    import ir_measures as peer
    from ir_measures import AP, RR, R, nDCG

    asked = [nDCG @ 10, AP, RR @ 10, R @ 100, R @ 1000]
    found = peer.calc_aggregate(asked, peer.read_trec_qrels(qrels), peer.read_trec_run(run))
    return {ours: float(found[m]) for ours, m in zip(METRICS, asked, strict=True)}


def ranx(qrels: str, run: str) -> dict[str, float]:
    from ranx import Qrels, Run, evaluate

    names = ["ndcg@10", "map", "mrr@10", "recall@100", "recall@1000"]
    found = evaluate(
        Qrels.from_file(qrels, kind="trec"), Run.from_file(run, kind="trec"), names, make_comparable=True
    )
    return {ours: float(found[name]) for ours, name in zip(METRICS, names, strict=True)}


def beir(qrels: str, run: str) -> dict[str, float]:
    from beir.retrieval.evaluation import EvaluateRetrieval

    judged, hits = _nested(qrels, 2, 3, int), _nested(run, 2, 4, float)
    ndcg, _map, recall, _ = EvaluateRetrieval.evaluate(judged, hits, [10, 100, 1000])
    mrr = EvaluateRetrieval.evaluate_custom(judged, hits, [10], metric="mrr")
    return {
        "ndcg@10": ndcg["NDCG@10"], "mrr@10": mrr["MRR@10"], "recall@100": recall["Recall@100"],
        "recall@1000": recall["Recall@1000"],
    }  # fmt: skip


def trec_eval(qrels: str, run: str) -> list[str]:
    asked = [x for m in ("ndcg_cut.10", "map", "recip_rank", "recall.100,1000") for x in ("-m", m)]
    return ["trec_eval", "-c", *asked, qrels, run]


SYSTEMS: dict[str, Callable[[str, str], Any]] = {
    "seekbench": seekbench, "pytrec_eval": pytrec_eval, "ir_measures": ir_measures, "ranx": ranx, "beir": beir,
    "trec_eval": trec_eval,
}  # fmt: skip


def invent(folder: Path, queries: int, hits: int = 1000) -> tuple[str, str]:
    """MS MARCO's shape: 8.8M passages with ids of up to 7 digits, about one relevant passage a query, scores of six
    decimals in rank order."""
    import numpy as np

    rng = np.random.default_rng(0)
    run, qrels = folder / f"run-{queries}.trec", folder / f"qrels-{queries}.txt"
    ids = rng.choice(2_000_000, queries, replace=False)
    with run.open("wb") as out, qrels.open("w") as judged:
        for query in ids.tolist():
            documents = np.unique(rng.integers(0, 8_841_823, hits + 50))
            rng.shuffle(documents)
            documents = documents[:hits]
            scores = np.sort(rng.normal(20, 3, len(documents)).astype(np.float32))[::-1]
            out.write(
                "".join(
                    f"{query} Q0 {d} {i} {s:.6f} made\n"
                    for i, (d, s) in enumerate(zip(documents.tolist(), scores.tolist(), strict=True), 1)
                ).encode()
            )
            # Two queries of three have a relevant document somewhere among the hits, near the top.
            for place in {int(rng.exponential(30)) for _ in range(1 + int(rng.random() < 0.07))}:
                found = place < len(documents) and rng.random() < 0.85
                judged.write(f"{query} 0 {documents[place] if found else 9_000_000 + place} 1\n")
    return str(qrels), str(run)


def measured(command: list[str]) -> tuple[float, float, str]:
    """(seconds, peak MiB, standard output) of a process."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            err.seek(0)
            raise RuntimeError(f"{command}: {err.read()[-800:]}")
        out.seek(0)
        return seconds, usage.ru_maxrss / 1024, out.read()


def from_files(options: argparse.Namespace, work: Path) -> None:
    qrels, run = invent(work, options.queries)
    print(
        f"{options.queries:,} queries, run file {Path(run).stat().st_size / 1e6:.0f} MB, metrics {', '.join(METRICS)}"
    )
    rows: dict[str, tuple[float, float]] = {}
    ours: dict[str, float] = {}
    for name in options.systems:
        python = sys.executable if name == "seekbench" else options.peer_python
        if name == "trec_eval" and not shutil.which("trec_eval"):
            print(f"{name:<12} not installed")
            continue
        if (
            name not in ("seekbench", "trec_eval")
            and subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode
        ):
            print(f"{name:<12} not installed")
            continue
        command = [python, __file__, "--one", name, qrels, run]
        if name in ("seekbench", "trec_eval"):
            command = SYSTEMS[name](qrels, run)
        best = min(measured(command) for _ in range(options.repeat))
        rows[name] = best[:2]
        if name == "seekbench":
            found = next(iter(json.loads(best[2]).values()))
            ours = {m: found[m]["mean"] for m in METRICS}
            far = ""
        elif name == "trec_eval":
            far = "figures not compared"
        else:
            theirs = json.loads(best[2].strip().splitlines()[-1])
            far = f"largest difference {max(abs(ours[m] - v) for m, v in theirs.items()):.1e}" if ours else ""
        print(f"{name:<12} {best[0]:7.2f} s  {best[1]:7.0f} MiB   {far}", flush=True)
    peers = {n: r for n, r in rows.items() if n not in ("seekbench", "trec_eval")}
    if "seekbench" in rows and peers:
        fastest = min(peers, key=lambda n: peers[n][0])
        print(f"ratio to the fastest Python peer ({fastest}): {peers[fastest][0] / rows['seekbench'][0]:.1f}x; "
              f"least peer memory / ours: {min(r[1] for r in peers.values()) / rows['seekbench'][1]:.2f}")  # fmt: skip
    print("ours:", {m: round(v, 6) for m, v in ours.items()})


def arrays(options: argparse.Namespace) -> None:
    """Scoring alone, both from what they take: Run and Qrels arrays, and dictionaries."""
    import numpy as np
    import pytrec_eval as peer

    from seekbench.collection import Qrels
    from seekbench.metrics.evaluate import score
    from seekbench.metrics.measure import parse_all
    from seekbench.runs import Run

    rng, queries, hits, size = np.random.default_rng(0), options.queries, 1000, 8_841_823
    rows = np.stack(
        [rng.permutation(np.unique(rng.integers(0, size, hits + 60)))[:hits] for _ in range(queries)]
    )
    values = np.sort(rng.normal(20, 3, rows.shape).astype(np.float32), axis=1)[:, ::-1]
    run = Run(rows.astype(np.int32), np.ascontiguousarray(values))
    judged = rows[np.arange(queries), rng.integers(0, 100, queries)]
    qrels = Qrels.from_triples(
        np.arange(queries), judged, np.ones(queries), queries=queries, corpus_size=size
    )
    measures, ids = parse_all(METRICS), [str(i) for i in range(queries)]
    seconds = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        found = score(run, qrels, measures, query_ids=ids)
        seconds.append(time.perf_counter() - start)
    nested = {
        str(i): dict(zip(map(str, rows[i].tolist()), map(float, values[i].tolist()), strict=True))
        for i in range(queries)
    }
    evaluator = peer.RelevanceEvaluator(
        {str(i): {str(int(d)): 1} for i, d in enumerate(judged)},
        {"ndcg_cut.10", "map", "recip_rank", "recall.100,1000"},
    )
    gc.collect()
    theirs = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        answer = evaluator.evaluate(nested)
        theirs.append(time.perf_counter() - start)
    far = max(abs(found.of("ndcg@10")[i] - answer[str(i)]["ndcg_cut_10"]) for i in range(queries))
    print(f"seekbench, from arrays            {min(seconds):7.3f} s")
    print(f"pytrec_eval, from dictionaries    {min(theirs):7.3f} s   largest difference of ndcg@10 {far:.1e}")
    print(f"ratio {min(theirs) / min(seconds):.1f}x")


def growth(options: argparse.Namespace, work: Path) -> None:
    print(f"{'queries':>10} {'s':>7} {'us a hit':>9} {'peak MiB':>9}")
    for times in options.growth:
        queries = options.queries * times
        qrels, run = invent(work, queries)
        best = min(measured(seekbench(qrels, run)) for _ in range(options.repeat))
        print(f"{queries:>10,} {best[0]:7.2f} {best[0] / queries * 1e3:9.3f} {best[1]:9.0f}", flush=True)
        Path(run).unlink()


def start(options: argparse.Namespace, work: Path) -> None:
    (work / "qrels").write_text("q1 0 d1 1\n")
    (work / "run").write_text("q1 Q0 d1 1 1.0 made\n")
    command = [*SEEKBENCH, str(work / "qrels"), str(work / "run")]
    seconds = sorted(measured(command)[0] for _ in range(max(5, options.repeat)))
    print(f"seekbench eval on one line: median {seconds[len(seconds) // 2]:.3f} s, best {seconds[0]:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--arrays", action="store_true")
    parser.add_argument("--growth", nargs="+", type=int)
    parser.add_argument("--start", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, qrels, run = options.one
        print(json.dumps(SYSTEMS[name](qrels, run)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.arrays:
            arrays(options)
        elif options.growth:
            growth(options, Path(folder))
        elif options.start:
            start(options, Path(folder))
        else:
            from_files(options, Path(folder))


if __name__ == "__main__":
    main()
