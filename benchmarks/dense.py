"""Dense retrieval against its peers: encoding (documents a second) and exact search (queries a second).

    python benchmarks/dense.py encode [--documents 400] [--collection FOLDER] [--repeat 2]
    python benchmarks/dense.py search [--documents 300000] [--queries 2000] [--dim 384] [--k 100 1000]

Every system runs in a fresh process, in turn, `--repeat` times; the table shows the median, its ratio to
ours, and the peak memory of the process. Encoding uses the packaged all-MiniLM-L6-v2 on the abstracts of
`../shared` beside the checkout (acl-titles), or a BEIR folder, or, where there is neither, on pydocs-like
texts made from this interpreter's library. Search uses random unit vectors (its answer is compared with
faiss' own).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
REPOSITORY = Path(__file__).resolve().parent.parent


def texts(arguments: argparse.Namespace) -> list[str]:
    """Documents of more than 200 characters, drawn with a seed."""
    import random

    folder = arguments.collection or REPOSITORY.parent / "shared" / "collections" / "acl-titles"
    corpus = Path(folder) / "corpus.jsonl"
    if corpus.exists():
        rows = [json.loads(line) for line in corpus.open(encoding="utf-8")]
        found = [f"{r.get('title') or ''} {r['text']}".strip() for r in rows]
    else:
        import ast

        found = []
        for path in sorted(Path(os.__file__).parent.glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
            found += [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    found = [t for t in found if len(t) > 200]
    return random.Random(1).sample(found, min(arguments.documents, len(found)))


# -- encoding ---------------------------------------------------------------------------------------------


def encode_ours(arguments: argparse.Namespace, dtype: str = "float32") -> tuple[float, float, Any]:
    from seekbench.retrievers.dense import Dense, DenseParams
    from seekbench.retrievers.protocol import Context

    context = Context(device=arguments.device, offline=True)
    retriever = Dense(DenseParams.model_validate({"model": MODEL, "dtype": dtype}))
    encoder = retriever.encoder(context)
    rows = texts(arguments)
    encoder.encode(rows[:8], "document")
    clock, cpu = time.perf_counter(), time.process_time()
    # in shards, as an index is made
    shard = retriever.params.shard
    parts = [encoder.encode(rows[at : at + shard], "document").vectors for at in range(0, len(rows), shard)]
    return time.perf_counter() - clock, time.process_time() - cpu, parts


def encode_library(arguments: argparse.Namespace, dtype: str = "float32") -> tuple[float, float, Any]:
    import torch
    from sentence_transformers import SentenceTransformer

    from seekbench.retrievers.dense import Dense, DenseParams
    from seekbench.retrievers.protocol import Context

    folder = Dense(DenseParams.model_validate({"model": MODEL})).checkpoint(Context(offline=True)).folder
    device = None if arguments.device == "auto" else arguments.device
    model = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)})
    rows = texts(arguments)
    model.encode(rows[:8])
    clock, cpu = time.perf_counter(), time.process_time()
    vectors = model.encode(rows, batch_size=32, show_progress_bar=False, convert_to_tensor=True)
    return time.perf_counter() - clock, time.process_time() - cpu, [vectors.float().cpu().numpy()]


# -- exact search -----------------------------------------------------------------------------------------


def vectors(arguments: argparse.Namespace) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    made = []
    for rows in (arguments.documents, arguments.queries):
        block = rng.standard_normal((rows, arguments.dim), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        made.append(block)
    return made[0], made[1]


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    clock, cpu = time.perf_counter(), time.process_time()
    out = run()
    return time.perf_counter() - clock, time.process_time() - cpu, out


def search_ours(arguments: argparse.Namespace) -> tuple[float, float, Any]:
    """Over a matrix that is mapped from a file, as an index is."""
    import tempfile

    import numpy as np

    from seekbench.retrievers.dense.exact import Exact

    documents, queries = vectors(arguments)
    order = np.random.default_rng(1).permutation(len(documents)).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "v.npy", documents)
        mapped = np.load(Path(folder) / "v.npy", mmap_mode="r")
        del documents
        exact = Exact(mapped, order, 1.0, threads=len(os.sched_getaffinity(0)))
        exact.search(queries[:32], 10)
        seconds, cpu, run = timed(lambda: exact.search(queries, arguments.k))
    return seconds, cpu, run.doc_rows


def search_faiss(arguments: argparse.Namespace) -> tuple[float, float, Any]:
    import faiss

    documents, queries = vectors(arguments)
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    index = faiss.IndexFlatIP(arguments.dim)
    index.add(documents)
    del documents
    index.search(queries[:32], 10)
    seconds, cpu, found = timed(lambda: index.search(queries, arguments.k))
    return seconds, cpu, found[1]


def search_torch(arguments: argparse.Namespace) -> tuple[float, float, Any]:
    import torch

    documents, queries = (torch.from_numpy(v) for v in vectors(arguments))

    def run() -> Any:
        values: Any = torch.empty((len(queries), 0))
        rows: Any = torch.empty((len(queries), 0), dtype=torch.int64)
        for at in range(0, len(documents), 16_384):
            new, where = (queries @ documents[at : at + 16_384].T).topk(arguments.k, dim=1)
            values, keep = torch.cat([values, new], dim=1).topk(arguments.k, dim=1)
            rows = torch.cat([rows, where + at], dim=1).gather(1, keep)
        return rows.numpy()

    return timed(run)


def search_library(arguments: argparse.Namespace) -> tuple[float, float, Any]:
    import torch
    from sentence_transformers.util import semantic_search

    documents, queries = (torch.from_numpy(v) for v in vectors(arguments))
    score = torch.nn.functional.linear  # the vectors have length 1: dot product is the cosine
    seconds, cpu, hits = timed(
        lambda: semantic_search(queries, documents, top_k=arguments.k, score_function=score)
    )
    return seconds, cpu, [[h["corpus_id"] for h in row] for row in hits]


SYSTEMS: dict[str, dict[str, Callable[[argparse.Namespace], tuple[float, float, Any]]]] = {
    "encode": {
        "seekbench float32": encode_ours,
        "sentence-transformers float32, batches of 32": encode_library,
        "seekbench bfloat16": lambda a: encode_ours(a, "bfloat16"),
        "sentence-transformers bfloat16, batches of 32": lambda a: encode_library(a, "bfloat16"),
    },
    "search": {
        "seekbench": search_ours,
        "faiss IndexFlatIP": search_faiss,
        "torch matmul + topk, 16k blocks": search_torch,
        "sentence_transformers.util.semantic_search": search_library,
    },
}


def worker(arguments: argparse.Namespace) -> None:
    """One system, once; prints a JSON line and leaves its answer in a file for comparison."""
    import numpy as np

    seconds, cpu, out = SYSTEMS[arguments.task][arguments.worker](arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.answer:
        np.save(arguments.answer, np.concatenate(out) if arguments.task == "encode" else np.asarray(out))
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mib": peak}))


def compare(arguments: argparse.Namespace) -> None:
    import tempfile

    import numpy as np

    chosen = [n for n in SYSTEMS[arguments.task] if not arguments.only or any(o in n for o in arguments.only)]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeat):
            for number, name in enumerate(chosen):
                command = [sys.executable, __file__, arguments.task, "--worker", name]
                for option in ("documents", "queries", "dim", "device"):
                    command += [f"--{option}", str(getattr(arguments, option))]
                if arguments.collection:
                    command += ["--collection", arguments.collection]
                answer = Path(folder) / f"{number}.npy"
                command += ["--k", str(arguments.k), "--answer", str(answer)]
                environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
                environment["PYTHONPATH"] = str(REPOSITORY)
                out = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=environment
                ).stdout
                results[name].append(json.loads(out.strip().splitlines()[-1]))
                answers[name] = np.load(answer)
    count = arguments.documents if arguments.task == "encode" else arguments.queries
    unit = "docs/s" if arguments.task == "encode" else "queries/s"
    title = f"{arguments.task}: {arguments.documents:,} documents"
    if arguments.task == "search":
        title += f" x {arguments.dim}, {arguments.queries:,} queries, k {arguments.k}"
    load = os.getloadavg()[0]
    print(f"\n{title}; median of {arguments.repeat}, {len(os.sched_getaffinity(0))} cores, load {load:.1f}")
    print(f"{'system':<48} {unit:>10} {'speed-up':>9} {'CPU s':>8} {'peak MiB':>9}  agreement with ours")
    first = chosen[0]
    base = statistics.median(r["seconds"] for r in results[first])
    for name in chosen:
        seconds = statistics.median(r["seconds"] for r in results[name])
        cpu = statistics.median(r["cpu"] for r in results[name])
        peak = max(r["peak_mib"] for r in results[name])
        if arguments.task == "encode":
            cosine = (answers[name] * answers[first]).sum(axis=1)
            agreement = f"cosine at least {cosine.min():.6f}"
        else:
            same = [len(np.intersect1d(a, b)) for a, b in zip(answers[name], answers[first], strict=True)]
            agreement = f"{np.mean(same) / arguments.k:.6f} of the hits"
        rate, ratio = count / seconds, seconds / base
        print(f"{name:<48} {rate:>10,.1f} {ratio:>8.2f}x {cpu:>8.1f} {peak:>9,.0f}  {agreement}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=sorted(SYSTEMS))
    parser.add_argument("--documents", type=int)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--k", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--collection", help="a BEIR folder whose documents are encoded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="systems whose name holds one of these")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.documents = arguments.documents or (400 if arguments.task == "encode" else 300_000)
    depths = arguments.k if arguments.task == "search" else arguments.k[:1]
    for k in depths:
        arguments.k = k
        if arguments.worker:
            worker(arguments)
        else:
            compare(arguments)


if __name__ == "__main__":
    main()
