"""Exact late interaction over a corpus, side by side: seekbench, a padded torch einsum, numpy, PyLate, fast-plaid.

    python benchmarks/multi_vector.py --collection FOLDER --peer-python VENV/bin/python

Documents of a BEIR folder as MiniLM's token vectors (at most `--max-tokens` each, brought to `--dim` dimensions by a
seeded random projection, at unit length), its first `--queries` queries filled up to 32 vectors; without a collection
random vectors of SciFact's sizes. Every system runs in a fresh process over the same arrays on `--threads` threads;
seconds are for all queries, (x) where they were extrapolated from `--few`. recall@10 is against float64. PyLate pins
other versions of its dependencies, so `--peer-python` names an interpreter that has it, and fast-plaid.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

QUERY_TOKENS = 32
OURS = (
    "seekbench float32",
    "seekbench float16",
    "seekbench int8",
    "torch padded einsum",
    "numpy product + reduceat",
)
PEERS = ("pylate colbert_scores", "pylate rerank", "fast-plaid")
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make(options: argparse.Namespace, work: Path) -> None:
    """vectors.npy float32 [tokens, dim], lengths.npy int64 [documents], queries.npy float32 [queries, 32, dim]."""
    if (work / "queries.npy").exists():
        return
    rng = np.random.default_rng(0)
    if options.collection is None:
        lengths = rng.integers(60, options.max_tokens + 1, options.documents)
        np.save(
            work / "vectors.npy",
            unit(rng.standard_normal((int(lengths.sum()), options.dim), dtype=np.float32)),
        )
        np.save(work / "lengths.npy", lengths)
        queries = rng.standard_normal((options.queries * QUERY_TOKENS, options.dim), dtype=np.float32)
    else:
        from seekbench import load_dataset
        from seekbench.plan import documents_view, queries_view
        from seekbench.progress import PlainProgress
        from seekbench.retrievers.multi_vector.params import MultiVectorParams
        from seekbench.retrievers.multi_vector.retriever import MultiVector
        from seekbench.retrievers.multi_vector.tokens import Tokens
        from seekbench.retrievers.protocol import Context

        dataset = load_dataset(str(options.collection))
        fields = {"model": MINILM, "document_length": options.max_tokens, "vectors": "float32"}
        retriever = MultiVector(
            MultiVectorParams.model_validate(fields | {"expansion": {"length": QUERY_TOKENS}})
        )
        context = Context(progress=PlainProgress(), threads=options.threads, device="cpu")
        retriever.index(documents_view(dataset), work / "index", context=context)
        tokens = Tokens(work / "index" / "tokens")
        turn = rng.standard_normal((tokens.dim, options.dim)).astype(np.float32)
        np.save(work / "vectors.npy", unit(np.concatenate([block @ turn for _, _, block in tokens.blocks()])))
        np.save(work / "lengths.npy", np.diff(tokens.indptr))
        texts = queries_view(dataset).texts(0, options.queries)
        queries = retriever.encoder(context).token_vectors(texts, "query").vectors @ turn
    np.save(work / "queries.npy", unit(queries).reshape(-1, QUERY_TOKENS, options.dim))


class Data:
    def __init__(self, work: Path) -> None:
        self.vectors, self.lengths = np.load(work / "vectors.npy"), np.load(work / "lengths.npy")
        self.queries = np.load(work / "queries.npy")
        self.indptr = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    def documents(self) -> list[np.ndarray]:
        return np.split(self.vectors, self.indptr[1:-1])


def exact(data: Data, count: int) -> np.ndarray:
    """int64 [count, 10]: the best documents in float64."""
    vectors = data.vectors.astype(np.float64)
    rows = []
    for query in data.queries[:count].astype(np.float64):
        scores = np.maximum.reduceat(query @ vectors.T, data.indptr[:-1], axis=1).sum(axis=0)
        rows.append(np.argsort(-scores)[:10])
    return np.array(rows)


def ten(scores: Any) -> np.ndarray:
    return np.argsort(-np.asarray(scores), axis=1)[:, :10]


def seekbench(options: argparse.Namespace, data: Data, kind: str) -> dict[str, Any]:
    from seekbench.retrievers.multi_vector.maxsim import Packed, search
    from seekbench.retrievers.multi_vector.passages import Passages
    from seekbench.retrievers.multi_vector.tokens import TokenWriter

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        writer = TokenWriter(Path(folder), kind)
        for at in range(0, len(data.lengths), 512):
            part = slice(int(data.indptr[at]), int(data.indptr[min(at + 512, len(data.lengths))]))
            writer.append(data.vectors[part], data.lengths[at : at + 512])
        tokens = writer.finish()
        build = time.perf_counter() - began
        data.vectors = data.vectors[:0]  # what is measured is read from the store
        passages, order = Passages(np.arange(len(tokens), dtype=np.int32)), np.arange(len(tokens))
        queries = Packed.of(list(data.queries))
        began = time.perf_counter()
        search(queries.take(0, 1), tokens, passages, order, options.k, threads=options.threads)
        first = time.perf_counter() - began
        began = time.perf_counter()
        run = search(queries, tokens, passages, order, options.k, threads=options.threads)
        seconds = time.perf_counter() - began
        return {
            "seconds": seconds, "queries": len(queries), "build": build, "first": first,
            "bytes": tokens.bytes_per_token, "top": run.doc_rows[:, :10].tolist(),
        }  # fmt: skip


def einsum(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    width = int(data.lengths.max())
    padded = np.zeros((len(data.lengths), width, data.vectors.shape[1]), dtype=np.float32)
    keep = np.arange(width) < data.lengths[:, None]
    padded[keep] = data.vectors
    documents, mask = torch.from_numpy(padded), torch.from_numpy(~keep)
    few = min(options.few, len(data.queries))
    began, top = time.perf_counter(), []
    for query in torch.from_numpy(data.queries[:few]):
        scores = []
        for at in range(0, len(documents), 1024):
            products = torch.einsum("qd,ptd->pqt", query, documents[at : at + 1024])
            products.masked_fill_(mask[at : at + 1024, None], -9999)
            scores.append(products.amax(dim=2).sum(dim=1))
        top.append(torch.cat(scores).numpy())
    return {"seconds": time.perf_counter() - began, "queries": few, "top": ten(np.stack(top)).tolist()}


def reduceat(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    few = min(options.few, len(data.queries))
    began = time.perf_counter()
    top = [
        np.maximum.reduceat(query @ data.vectors.T, data.indptr[:-1], axis=1).sum(axis=0)
        for query in data.queries[:few]
    ]
    return {"seconds": time.perf_counter() - began, "queries": few, "top": ten(np.stack(top)).tolist()}


def pylate(options: argparse.Namespace, data: Data, how: str) -> dict[str, Any]:
    import torch
    from pylate import rank, scores

    torch.set_num_threads(options.threads)
    few = min(options.few, len(data.queries))
    documents = [torch.from_numpy(d) for d in data.documents()]
    top: Any
    if how == "pylate rerank":
        ids = [list(range(len(documents)))] * few
        began = time.perf_counter()
        found = rank.rerank(
            documents_ids=ids, queries_embeddings=[torch.from_numpy(q) for q in data.queries[:few]],
            documents_embeddings=[documents] * few,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        top = [[hit["id"] for hit in hits[:10]] for hits in found]
    else:
        padded = torch.nn.utils.rnn.pad_sequence(documents, batch_first=True)
        mask = torch.arange(padded.shape[1]) < torch.from_numpy(data.lengths)[:, None]
        began, parts = time.perf_counter(), []
        for query in torch.from_numpy(data.queries[:few]):
            made = [
                scores.colbert_scores(
                    query[None], padded[at : at + 1024], documents_mask=mask[at : at + 1024]
                )
                for at in range(0, len(padded), 1024)
            ]
            parts.append(torch.cat(made, dim=1)[0].numpy())
        seconds = time.perf_counter() - began
        top = ten(np.stack(parts)).tolist()
    return {"seconds": seconds, "queries": few, "top": top}


def fast_plaid(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    import torch
    from fast_plaid import search

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        index = search.FastPlaid(index=folder, device="cpu")
        index.create(documents_embeddings=[torch.from_numpy(d) for d in data.documents()])
        build = time.perf_counter() - began
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
        began = time.perf_counter()
        found = index.search(queries_embeddings=torch.from_numpy(data.queries), top_k=options.k)
        return {
            "seconds": time.perf_counter() - began, "queries": len(data.queries), "build": build,
            "bytes": size / len(data.vectors), "top": [[row for row, _ in hits[:10]] for hits in found],
        }  # fmt: skip


def one(options: argparse.Namespace, work: Path, name: str) -> None:
    """A system's figures as a line of JSON."""
    data = Data(work)
    if name.startswith("seekbench"):
        found = seekbench(options, data, name.split()[1])
    elif name.startswith("pylate"):
        found = pylate(options, data, name)
    else:
        found = {
            "torch padded einsum": einsum,
            "numpy product + reduceat": reduceat,
            "fast-plaid": fast_plaid,
        }[name](options, data)
    # Not getrusage: its peak begins with that of the process that started this one.
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    found["memory"] = int(peak.split()[1]) / 1024
    print("figures " + json.dumps(found))


def run(options: argparse.Namespace, work: Path, name: str) -> dict[str, Any] | str:
    peer = name in PEERS
    if peer and options.peer_python is None:
        return "not measured: --peer-python names no interpreter"
    command = [options.peer_python if peer else sys.executable, __file__, "--one", name, "--work", str(work)]
    for option in ("threads", "few", "k"):
        command += [f"--{option}", str(getattr(options, option))]
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "MKL_NUM_THREADS": str(options.threads),
    }
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=options.limit, env=variables
        )
    except subprocess.TimeoutExpired:
        return f"not finished within {options.limit} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith("figures ")]
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return ("not installed" if "ModuleNotFoundError" in last else f"failed ({done.returncode}): {last}")[
            :100
        ]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("figures "))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--collection", type=Path, help="a BEIR folder; random vectors where not stated")
    parser.add_argument("--documents", type=int, default=5183, help="of random vectors")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--few", type=int, default=20, help="queries of systems that are extrapolated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=300, help="seconds that a system may take")
    parser.add_argument("--peer-python", help="interpreter with PyLate and fast-plaid")
    parser.add_argument("--work", type=Path, help="where arrays are kept for another run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options, options.work, options.one)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        make(options, work)
        data = Data(work)
        tokens, queries = len(data.vectors), len(data.queries)
        print(
            f"{len(data.lengths):,} documents, {tokens:,} vectors of {data.vectors.shape[1]}, {queries} queries x 32"
        )
        best = exact(data, min(10, queries))
        work_done = 2.0 * queries * QUERY_TOKENS * tokens * data.vectors.shape[1]
        dim = data.vectors.shape[1]
        del data
        print(
            f"{'system':26}{'s':>10}{'queries/s':>11}{'GFLOP/s':>9}{'recall@10':>11}{'MiB':>8}{'B/vector':>10}  other"
        )
        taken: dict[str, float] = {}
        for name in (*OURS, *PEERS):
            found = run(options, work, name)
            if isinstance(found, str):
                print(f"{name:26}{found}")
                continue
            seconds = found["seconds"] * queries / found["queries"]
            taken[name] = seconds
            mark = "" if found["queries"] == queries else " (x)"
            share = np.mean(
                [len(set(a) & set(b)) / 10 for a, b in zip(found["top"], best.tolist(), strict=False)]
            )
            other = [f"{part} {found[part]:.1f} s" for part in ("build", "first") if part in found]
            print(
                f"{name:26}{f'{seconds:.2f}{mark}':>10}{queries / seconds:>11.1f}{work_done / seconds / 1e9:>9.1f}"
                f"{share:>11.3f}{found['memory']:>8.0f}{found.get('bytes', 4.0 * dim):>10.1f}  {', '.join(other)}"
            )
        ours = taken.get("seekbench float32")
        for name, seconds in taken.items():
            if ours and not name.startswith("seekbench"):
                print(f"{name} / seekbench float32: {seconds / ours:.1f}")


if __name__ == "__main__":
    main()
