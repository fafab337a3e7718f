"""Exact late interaction over a corpus, side by side: seekbench, a padded torch einsum, numpy, PyLate, fast-plaid.

    python benchmarks/multi_vector.py --collection FOLDER --peer-python VENV/bin/python --work FOLDER

Documents of a BEIR folder as MiniLM's token vectors (at most `--max-tokens` each, brought to `--dim` dimensions by a
seeded random projection, at unit length), its first `--queries` queries filled up to 32 vectors; without a collection
random vectors of SciFact's sizes. `--work` keeps these arrays for another run.

Every system runs in a fresh process over the same arrays on `--threads` threads; seconds are for all queries, of the
best of `--repeat` passes (fast-plaid: one), (x) where they were extrapolated from `--few`. Those of seekbench include
the ranking of the top `--k`, those of einsum, numpy and colbert_scores the scores alone. GFLOP/s count the inner
products of all queries with all documents. `cores` is processor time over time: below `--threads` where a system, or
another process, left less. recall@10 and `same` (queries with the same ten in the same order) are against float64.
`first` is the first call, apart from the rest: in the first seekbench line it compiles, later ones load what it
compiled. PyLate pins other versions of its dependencies, so `--peer-python` names an interpreter that has it and
fast-plaid.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

QUERY_TOKENS = 32
#: Documents and queries of one padded product: einsum is slower with fewer of either.
BLOCK, BATCH = 1024, 8
KINDS = ("float32", "float16", "int8")
OURS = tuple(f"seekbench {kind}" for kind in KINDS)
HERE = ("torch padded einsum", "numpy product + reduceat")
PEERS = ("pylate colbert_scores", "pylate rerank", "fast-plaid")
MODULES = {"pylate colbert_scores": "pylate", "pylate rerank": "pylate", "fast-plaid": "fast_plaid"}
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


# -- arrays -----------------------------------------------------------------------------------------------


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def place(options: argparse.Namespace, work: Path) -> Path:
    """A folder of `work` for what the arrays depend on, so that other options never find them."""
    recipe: dict[str, Any] = {"max": options.max_tokens, "dim": options.dim, "queries": options.queries}
    name = "random"
    if options.collection is None:
        recipe["documents"] = options.documents
    else:
        name = options.collection.resolve().name
        for part in ("corpus.jsonl", "queries.jsonl"):
            recipe[part] = hashlib.sha256((options.collection / part).read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return work / f"{name}-{digest[:12]}"


def make(options: argparse.Namespace, folder: Path) -> None:
    """vectors.npy float32 [tokens, dim], lengths.npy int64 [documents], queries.npy float32 [queries, 32, dim]."""
    if (folder / "queries.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    if options.collection is None:
        lengths = rng.integers(min(60, options.max_tokens), options.max_tokens + 1, options.documents)
        vectors = rng.standard_normal((int(lengths.sum()), options.dim), dtype=np.float32)
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
        # An interrupted run leaves what it encoded here, and the next one continues it.
        retriever.index(documents_view(dataset), folder / "index", context=context)
        tokens = Tokens(folder / "index" / "tokens")
        lengths = np.diff(tokens.indptr)
        if not lengths.all():
            raise SystemExit(
                f"{options.collection}: a document without token vectors, which padded peers cannot score"
            )
        turn = rng.standard_normal((tokens.dim, options.dim)).astype(np.float32)
        vectors = np.concatenate([block @ turn for _, _, block in tokens.blocks()])
        texts = queries_view(dataset).texts(0, options.queries)
        queries = retriever.encoder(context).token_vectors(texts, "query").vectors @ turn
    np.save(folder / "vectors.npy", unit(vectors))
    np.save(folder / "lengths.npy", lengths)
    shutil.rmtree(folder / "index", ignore_errors=True)
    np.save(folder / "unfinished.npy", unit(queries).reshape(-1, QUERY_TOKENS, options.dim))
    (folder / "unfinished.npy").rename(folder / "queries.npy")


class Data:
    """The arrays of a folder. Vectors are read by who needs them, so that memory is that of a system's own form."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.npy"
        self.tokens, self.dim = np.load(self.path, mmap_mode="r").shape
        self.lengths, self.queries = np.load(folder / "lengths.npy"), np.load(folder / "queries.npy")
        self.indptr = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    def blocks(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(start, stop, float32 [tokens, dim]) of consecutive documents."""
        with self.path.open("rb") as handle:
            handle.seek(-self.tokens * self.dim * 4, os.SEEK_END)
            for start in range(0, len(self.lengths), BLOCK):
                stop = min(start + BLOCK, len(self.lengths))
                count = int(self.indptr[stop] - self.indptr[start]) * self.dim
                yield start, stop, np.fromfile(handle, np.float32, count).reshape(-1, self.dim)

    def documents(self) -> list[np.ndarray]:
        return np.split(np.load(self.path), self.indptr[1:-1])

    def padded(self) -> tuple[Any, Any]:
        """Tensors float32 [documents, longest, dim] and bool [documents, longest], true where there is a token."""
        import torch

        width = int(self.lengths.max())
        out = np.zeros((len(self.lengths), width, self.dim), dtype=np.float32)
        keep = np.arange(width) < self.lengths[:, None]
        for start, stop, vectors in self.blocks():
            out[start:stop][keep[start:stop]] = vectors
        return torch.from_numpy(out), torch.from_numpy(keep)


def store(data: Data, kind: str, folder: Path) -> float:
    """Writes seekbench's store; seconds."""
    from seekbench.retrievers.multi_vector.tokens import TokenWriter

    folder.mkdir()
    began = time.perf_counter()
    writer = TokenWriter(folder, kind)
    for start, stop, vectors in data.blocks():
        writer.append(vectors, data.lengths[start:stop])
    writer.finish()
    return time.perf_counter() - began


def exact(data: Data, count: int) -> list[list[int]]:
    """The best ten documents of the first queries, in float64."""
    left = data.queries[:count].astype(np.float64).reshape(-1, data.dim)
    scores = np.empty((count, len(data.lengths)))
    for start, stop, vectors in data.blocks():
        at = data.indptr[start:stop] - data.indptr[start]
        best = np.maximum.reduceat(left @ vectors.T.astype(np.float64), at, axis=1)
        scores[:, start:stop] = best.reshape(count, QUERY_TOKENS, -1).sum(axis=1)
    return ten(scores)


def ten(scores: Any) -> list[list[int]]:
    found: list[list[int]] = np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :10].tolist()
    return found


# -- systems, each in a process of its own ------------------------------------------------------------------


def timed(repeat: int, answer: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Figures of the best pass, and what the last gave."""
    best, found = {"seconds": float("inf")}, None
    for _ in range(repeat):
        clock, cpu = time.perf_counter(), time.process_time()
        found = answer()
        seconds = time.perf_counter() - clock
        best = min(
            best,
            {"seconds": seconds, "cores": (time.process_time() - cpu) / seconds},
            key=lambda b: b["seconds"],
        )
    return best, found


def scored(
    options: argparse.Namespace, data: Data, score: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Figures of a system that scores all documents for float32 [queries, 32, dim]; a first call is not counted."""
    few = min(options.few, len(data.queries))
    score(data.queries[: min(BATCH, few)])
    best, found = timed(
        options.repeat,
        lambda: [score(data.queries[at : min(at + BATCH, few)]) for at in range(0, few, BATCH)],
    )
    return {**best, "queries": few, "top": ten(np.concatenate(found))}


def seekbench(options: argparse.Namespace, data: Data, kind: str) -> dict[str, Any]:
    import numba  # noqa: F401  (its import is no part of the first call)
    import torch  # noqa: F401

    from seekbench.retrievers.multi_vector.maxsim import Packed, search
    from seekbench.retrievers.multi_vector.passages import Passages
    from seekbench.retrievers.multi_vector.tokens import Tokens

    tokens = Tokens(options.scratch / kind)
    passages, order = Passages(np.arange(len(tokens), dtype=np.int32)), np.arange(len(tokens))
    queries = Packed.of(list(data.queries))

    def answer(some: Packed, k: int) -> Any:
        return search(some, tokens, passages, order, k, threads=options.threads)

    began = time.perf_counter()
    # A small k and all documents may take different compiled loops.
    answer(queries.take(0, 1), options.k)
    answer(queries.take(0, 1), len(tokens))
    first = time.perf_counter() - began
    best, run = timed(options.repeat, lambda: answer(queries, options.k))
    return {
        **best, "queries": len(queries), "first": first, "bytes": tokens.bytes_per_token,
        "top": run.doc_rows[:, :10].tolist(),
    }  # fmt: skip


def einsum(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    import torch

    documents, keep = data.padded()

    def score(queries: np.ndarray) -> np.ndarray:
        left, parts = torch.from_numpy(queries), []
        for at in range(0, len(documents), BLOCK):
            products = torch.einsum("qid,pjd->qpij", left, documents[at : at + BLOCK])
            products.masked_fill_(~keep[None, at : at + BLOCK, None], -torch.inf)
            parts.append(products.amax(dim=3).sum(dim=2))
        scores: np.ndarray = torch.cat(parts, dim=1).numpy()
        return scores

    return {**scored(options, data, score), "bytes": documents.nbytes / data.tokens}


def reduceat(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    vectors = np.load(data.path)

    def score(queries: np.ndarray) -> np.ndarray:
        left, parts = queries.reshape(-1, data.dim), []
        for at in range(0, len(data.lengths), BLOCK):
            ends = data.indptr[at : at + BLOCK + 1]
            products = left @ vectors[ends[0] : ends[-1]].T
            best = np.maximum.reduceat(products, ends[:-1] - ends[0], axis=1)
            parts.append(best.reshape(len(queries), QUERY_TOKENS, -1).sum(axis=1))
        return np.concatenate(parts, axis=1)

    return {**scored(options, data, score), "bytes": vectors.nbytes / data.tokens}


def colbert_scores(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    import torch
    from pylate import scores

    documents, keep = data.padded()

    def score(queries: np.ndarray) -> np.ndarray:
        left = torch.from_numpy(queries)
        parts = [
            scores.colbert_scores(
                left, documents[at : at + BLOCK], documents_mask=keep[at : at + BLOCK]
            )
            for at in range(0, len(documents), BLOCK)
        ]  # fmt: skip
        found: np.ndarray = torch.cat(parts, dim=1).numpy()
        return found

    return {**scored(options, data, score), "bytes": documents.nbytes / data.tokens}


def rerank(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    import torch
    from pylate import rank

    documents = [torch.from_numpy(d) for d in data.documents()]
    queries = [torch.from_numpy(q) for q in data.queries[: options.few]]
    ids: list[int | str] = list(range(len(documents)))

    def answer(some: list[Any]) -> Any:
        return rank.rerank(
            documents_ids=[ids] * len(some), queries_embeddings=some, documents_embeddings=[documents] * len(some)
        )  # fmt: skip

    answer(queries[:1])
    best, found = timed(options.repeat, lambda: answer(queries))
    return {
        **best, "queries": len(queries), "bytes": 4.0 * data.dim,
        "top": [[hit["id"] for hit in hits[:10]] for hits in found],
    }  # fmt: skip


def fast_plaid(options: argparse.Namespace, data: Data) -> dict[str, Any]:
    import torch
    from fast_plaid import search

    folder = options.scratch / "fast-plaid"
    began = time.perf_counter()
    # Ends the process, compiled code included; `run` reads it from the exit status.
    signal.alarm(options.build_limit)
    index = search.FastPlaid(index=str(folder), device="cpu")
    index.create(documents_embeddings=[torch.from_numpy(d) for d in data.documents()])
    signal.alarm(0)
    build = time.perf_counter() - began
    print(f"built {build:.1f} s", flush=True)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    queries = torch.from_numpy(data.queries)
    index.search(queries_embeddings=queries[:1], top_k=options.k)
    best, found = timed(1, lambda: index.search(queries_embeddings=queries, top_k=options.k))
    return {
        **best, "queries": len(queries), "build": build, "bytes": size / data.tokens,
        "top": [[row for row, _ in hits[:10]] for hits in found],
    }  # fmt: skip


SYSTEMS = {
    "torch padded einsum": einsum, "numpy product + reduceat": reduceat, "pylate colbert_scores": colbert_scores,
    "pylate rerank": rerank, "fast-plaid": fast_plaid,
}  # fmt: skip


def one(options: argparse.Namespace) -> None:
    """A system's figures as a line of JSON."""
    name, data = options.one, Data(options.work)
    if name in OURS:
        found = seekbench(options, data, name.split()[1])
    else:
        if name != "numpy product + reduceat":
            import torch

            torch.set_num_threads(options.threads)
        found = SYSTEMS[name](options, data)
    # Not getrusage: its peak begins with that of the process that started this one.
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    found["memory"] = int(peak.split()[1]) / 1024
    print("figures " + json.dumps(found))


# -- the table ----------------------------------------------------------------------------------------------


def run(options: argparse.Namespace, folder: Path, scratch: Path, name: str) -> dict[str, Any] | str:
    """Figures of a system, or why there are none."""
    python = options.peer_python if name in PEERS else sys.executable
    if name in PEERS:
        module = MODULES[name]
        probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        try:
            if subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
                return "not installed"
        except OSError as error:
            raise SystemExit(f"--peer-python {python}: {error.strerror}") from None
    command = [python, __file__, "--one", name, "--work", str(folder), "--scratch", str(scratch)]
    for option in ("threads", "few", "k", "repeat", "build-limit"):
        command += [f"--{option}", str(getattr(options, option.replace("-", "_")))]
    pools = ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON")
    variables = {
        **os.environ,
        **{f"{pool}_NUM_THREADS": str(options.threads) for pool in pools},
        "NUMBA_CACHE_DIR": str(scratch / "numba"),
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        # A session of its own: peers start processes, which a limit has to end too.
        process = subprocess.Popen(command, stdout=out, stderr=err, env=variables, start_new_session=True)
        try:
            code: int | None = process.wait(options.limit)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        lines, errors = out.read().splitlines(), err.read().strip().splitlines()
    built = "".join(f" ({line})" for line in lines if line.startswith("built "))
    if code is None:
        return f"not finished within {options.limit} s{built}"
    if code == -signal.SIGALRM:
        return f"build not finished within {options.build_limit} s"
    figures = [line for line in lines if line.startswith("figures ")]
    if code or not figures:
        return f"failed ({code}){built}: {(errors or ['no output'])[-1][:100]}"
    found: dict[str, Any] = json.loads(figures[-1].removeprefix("figures "))
    return found


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


def table(options: argparse.Namespace, folder: Path, scratch: Path) -> None:
    make(options, folder)
    data = Data(folder)
    queries = len(data.queries)
    # Every system answers at least these.
    best = exact(data, min(20, options.few, queries))
    print(
        f"{len(data.lengths):,} documents, {data.tokens:,} vectors of {data.dim}, {queries} queries x {QUERY_TOKENS}, "
        f"k {options.k}, {options.threads} threads; float64 for {len(best)} queries; {load()}"
    )
    print(
        f"{'system':<25}{'s':>11}{'queries/s':>11}{'GFLOP/s':>9}{'cores':>7}{'recall@10':>11}{'same':>7}"
        f"{'peak MiB':>10}{'B/vector':>10}  other",
        flush=True,
    )
    products = 2.0 * queries * QUERY_TOKENS * data.tokens * data.dim
    builds = {f"seekbench {kind}": store(data, kind, scratch / kind) for kind in KINDS}
    taken: dict[str, float] = {}
    for name in (*OURS, *HERE, *PEERS):
        found = run(options, folder, scratch, name)
        if isinstance(found, str):
            print(f"{name:<25}  {found}", flush=True)
            continue
        seconds = found["seconds"] * queries / found["queries"]
        taken[name] = seconds
        mark = "" if found["queries"] == queries else " (x)"
        pairs = [(t, b) for t, b in zip(found["top"], best, strict=False)]
        recall = sum(len(set(t) & set(b)) / len(b) for t, b in pairs) / len(pairs)
        same = f"{sum(t == b for t, b in pairs)}/{len(pairs)}"
        # An approximate search leaves out products.
        rate = "-" if name == "fast-plaid" else f"{products / seconds / 1e9:.1f}"
        build = builds.get(name, found.get("build"))
        other = [f"{part} {s:.1f} s" for part, s in (("build", build), ("first", found.get("first"))) if s]
        print(
            f"{name:<25}{f'{seconds:.2f}{mark}':>11}{queries / seconds:>11.1f}{rate:>9}{found['cores']:>7.1f}"
            f"{recall:>11.3f}{same:>7}{found['memory']:>10,.0f}{found['bytes']:>10.1f}  {', '.join(other)}",
            flush=True,
        )
    print(load())
    for name in (*HERE, *PEERS):
        if name in taken and OURS[0] in taken:
            print(f"{name} / {OURS[0]}: {taken[name] / taken[OURS[0]]:.1f}")


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
    parser.add_argument("--few", type=int, default=24, help="queries of systems that are extrapolated")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=300, help="seconds that a system may take")
    parser.add_argument("--build-limit", type=int, default=150, help="seconds that fast-plaid may build")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter with PyLate and fast-plaid"
    )
    parser.add_argument("--work", type=Path, help="where arrays are kept for another run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary) / "scratch"
        scratch.mkdir()
        table(options, place(options, options.work or Path(temporary)), scratch)


if __name__ == "__main__":
    main()
