"""Reciprocal rank fusion of two runs, side by side: seekbench on arrays, ranx on its own Run objects.

    python benchmarks/fusion.py --queries 2000 --k 1000

ranx's `build` is the making of its Run objects from dictionaries, `fuse` the fusion alone, after one untimed
call that compiles it. Every system runs in a fresh process. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

DOCUMENTS = 100_000


def runs(queries: int, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(2):
        rows = np.stack([rng.permutation(DOCUMENTS // 20)[:k] for _ in range(queries)]).astype(np.int32)
        scores = np.sort(rng.random((queries, k), dtype=np.float32), axis=1)[:, ::-1].copy()
        made.append((rows, scores))
    return made


def seekbench(queries: int, k: int) -> dict[str, float]:
    from seekbench.collection import Corpus, Queries
    from seekbench.retrievers.fusion import Fusion, FusionParams
    from seekbench.retrievers.protocol import Context, TextView
    from seekbench.runs import Run

    corpus = Corpus.from_lists([f"d{i}" for i in range(DOCUMENTS)], [""] * DOCUMENTS)
    asked = Queries.from_lists([f"q{i}" for i in range(queries)], [""] * queries)
    made = {name: Run(*run) for name, run in zip("ab", runs(queries, k), strict=True)}
    searcher = Fusion(FusionParams(of=["a", "b"])).open(None, TextView(corpus), context=Context())
    context = Context(runs=made)
    searcher.search(TextView(asked.subset(np.arange(1)), "{text}"), k, context=Context(
        runs={n: Run(r.doc_rows[:1], r.scores[:1]) for n, r in made.items()}))  # fmt: skip
    start = time.perf_counter()
    searcher.search(TextView(asked, "{text}"), k, context=context)
    return {"build": 0.0, "fuse": time.perf_counter() - start}


def ranx(queries: int, k: int) -> dict[str, float]:
    import ranx as library

    start = time.perf_counter()
    made = [
        library.Run({f"q{q}": {f"d{d}": float(s) for d, s in zip(r, v, strict=True)}
                     for q, (r, v) in enumerate(zip(rows, scores, strict=True))})
        for rows, scores in runs(queries, k)
    ]  # fmt: skip
    build = time.perf_counter() - start
    small = [library.Run({"q0": {"d0": 1.0, "d1": 0.5}}) for _ in range(2)]
    library.fuse(small, method="rrf", params={"k": 60})
    start = time.perf_counter()
    library.fuse(made, method="rrf", params={"k": 60})
    return {"build": build, "fuse": time.perf_counter() - start}


SYSTEMS = {"seekbench": seekbench, "ranx": ranx}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--one", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = SYSTEMS[options.one](options.queries, options.k)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "peak": peak}))
        return
    rows = {}
    print(f"{'system':<10} {'build s':>8} {'fuse s':>8} {'queries/s':>10} {'peak MiB':>9}")
    for system in SYSTEMS:
        command = [
            sys.executable,
            __file__,
            "--one",
            system,
            "--queries",
            str(options.queries),
            "--k",
            str(options.k),
        ]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        rows[system] = row = json.loads(ran.stdout.strip().splitlines()[-1])
        speed = options.queries / row["fuse"]
        print(f"{system:<10} {row['build']:8.2f} {row['fuse']:8.3f} {speed:10,.0f} {row['peak']:9.0f}")
    ours, theirs = rows["seekbench"], rows["ranx"]
    print(f"ratio ranx / seekbench: fuse {theirs['fuse'] / ours['fuse']:.1f}, "
          f"build + fuse {(theirs['build'] + theirs['fuse']) / ours['fuse']:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
