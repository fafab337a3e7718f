"""Exact search over sparse vectors, side by side: seekbench, scipy, torch, Lucene's impact index, Seismic.

    python benchmarks/sparse.py --peer-python VENV/bin/python --work FOLDER

Documents and queries are seeded random vectors of a vocabulary of 30,522: terms drawn from p(rank) ~ 1 / (rank + 50),
so that some terms are in a third of all documents, weights log(1 + gamma). `--vectors FOLDER` reads others:
documents.npz and queries.npz, each with indptr, terms, weights and width.

Every system runs in a fresh process over the same vectors on `--threads` threads, and gives the top `--k` (seekbench
and Lucene by the ranking rule). Seconds are for all queries, of the best of `--repeat` passes after one that is not
counted; scipy, torch and Lucene answer the first `--few` queries, (x), extrapolated. `cores` is processor time over
time: below `--threads` where a system has one thread (scipy), or another process left less; `per core` is the rate over
it. recall and `same` (queries with the same documents in the same order) are against float64 scores of the vectors as
they are, so rounded weights lose some; `own` is the share of queries equal to a float64 search of the weights that the
index holds. `first` is the first call, which compiles: every system begins with a cold cache of its own. `peak` is that
of searching, with all vectors loaded; an index is built in a process before that. Seismic's search is approximate.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 30_522
#: Documents given to a builder at once; queries of one matrix product.
PART, BATCH = 5000, 20
SYSTEMS = ("seekbench float32", "seekbench uint8", "seekbench integers", "scipy CSR", "torch CSR", "lucene impact",
           "seismic")  # fmt: skip
FACTOR = 100.0


# -- vectors ------------------------------------------------------------------------------------------------


def random_rows(rng: np.random.Generator, count: int, mean: float) -> dict[str, Any]:
    chance = 1 / (np.arange(WIDTH) + 50.0)
    edges = np.cumsum(chance / chance.sum())
    names = np.random.default_rng(5).permutation(WIDTH)
    # Some terms are drawn twice and count once.
    rows = np.repeat(np.arange(count), np.maximum(1, rng.poisson(mean, count)))
    terms = names[np.minimum(np.searchsorted(edges, rng.random(len(rows))), WIDTH - 1)]
    pairs = np.unique(rows * WIDTH + terms)
    weights = np.log1p(rng.gamma(1.5, 0.8, len(pairs))).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(pairs // WIDTH, minlength=count))])
    return {
        "indptr": indptr.astype(np.int64), "terms": (pairs % WIDTH).astype(np.int32),
        "weights": np.maximum(weights, np.float32(1e-3)), "width": WIDTH,
    }  # fmt: skip


def save(path: Path, rows: dict[str, Any]) -> None:
    np.savez(path.with_name("unfinished.npz"), **rows)
    path.with_name("unfinished.npz").rename(path)


def make(options: argparse.Namespace) -> Path:
    if options.vectors:
        given: Path = options.vectors
        return given
    recipe = [options.documents, options.queries, options.non_zeros, options.query_terms]
    folder: Path = options.work / f"random-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "queries.npz").exists():
        rng = np.random.default_rng(0)
        save(folder / "documents.npz", random_rows(rng, options.documents, options.non_zeros))
        save(folder / "queries.npz", random_rows(rng, options.queries, options.query_terms))
    return folder


class Data:
    def __init__(self, folder: Path) -> None:
        from seekbench.retrievers.sparse.vectors import SparseVectors

        def read(name: str) -> SparseVectors:
            with np.load(folder / f"{name}.npz") as found:
                return SparseVectors(found["indptr"], found["terms"], found["weights"], int(found["width"]))

        self.documents, self.queries = read("documents"), read("queries")
        # As if ids stood in another order than rows.
        self.order = np.random.default_rng(1).permutation(len(self.documents))

    def parts(self) -> Iterator[Any]:
        for at in range(0, len(self.documents), PART):
            yield self.documents.take(at, at + PART)


def matrix(rows: Any, dtype: Any) -> Any:
    import scipy.sparse

    return scipy.sparse.csr_matrix(
        (rows.weights.astype(dtype), rows.terms, rows.indptr), shape=(len(rows), rows.width)
    )


def exact(queries: Any, documents: Any, order: Any, k: int) -> list[list[int]]:
    """The best documents in float64, of equal scores those of the higher id."""
    right, found = matrix(documents, np.float64).T.tocsc(), []
    for at in range(0, len(queries), BATCH):
        for scores in (matrix(queries.take(at, at + BATCH), np.float64) @ right).toarray():
            best = np.lexsort((-order, -scores))[:k]
            found.append(best[scores[best] > 0].tolist())
    return found


# -- systems, each in processes of its own ------------------------------------------------------------------


def timed(options: argparse.Namespace, count: int, answer: Callable[[int], Any]) -> dict[str, Any]:
    """Figures of the best pass over `count` queries, and the rows of the last."""
    clock = time.perf_counter()
    answer(min(4, count))
    out: dict[str, Any] = {"first": time.perf_counter() - clock, "queries": count, "seconds": float("inf")}
    answer(count)
    found = None
    for _ in range(options.repeat):
        clock, cpu = time.perf_counter(), time.process_time()
        found = answer(count)
        seconds = time.perf_counter() - clock
        if seconds < out["seconds"]:
            out |= {"seconds": seconds, "cores": (time.process_time() - cpu) / seconds}
    out["memory"] = peak()
    out["top"] = [[int(d) for d in rows if d >= 0] for rows in found]  # type: ignore[union-attr]
    return out


def seekbench(options: argparse.Namespace, data: Data, name: str, build: bool) -> dict[str, Any]:
    from seekbench.retrievers.sparse import columns
    from seekbench.retrievers.sparse.vectors import SparseVectors, quantized

    folder = options.scratch / name.replace(" ", "-")
    integers = name == "seekbench integers"
    kind, factor = ("uint16", FACTOR) if integers else (name.split()[1], None)
    width = data.documents.width
    if build:
        began = time.perf_counter()
        # A first document alone compiles.
        columns.build([data.documents.take(0, 1)], folder, width=width, kind=kind, factor=factor)
        compiled = time.perf_counter() - began
        began = time.perf_counter()
        columns.build(data.parts(), folder, width=width, kind=kind, factor=factor)
        return {"build": time.perf_counter() - began, "compile": compiled}
    index = columns.Columns(folder)
    queries: Any = quantized(data.queries, FACTOR) if integers else data.queries
    few = queries.vectors() if integers else queries

    def answer(count: int) -> Any:
        some = few.take(0, count)
        asked = quantized(some, 1) if integers else some
        return index.search(asked, data.order, options.k, threads=options.threads).doc_rows

    found = timed(options, len(few), answer)
    del data.documents
    held = SparseVectors.stacked([_rows_of(block, width) for block in index.blocks()])
    if index.factor is not None:
        # The integers themselves, of which float64 sums are exact.
        held = quantized(held, index.factor).vectors()
    own = exact(few.take(0, options.check), held, data.order, options.k)
    pairs = list(zip(found["top"], own, strict=False))
    return {**found, "bytes": index.bytes, "own": sum(a == b for a, b in pairs) / len(pairs)}


def _rows_of(block: Any, width: int) -> Any:
    from seekbench.retrievers.sparse.vectors import SparseVectors

    count, starts, places, weights = block
    terms = np.repeat(np.arange(width, dtype=np.int32), np.diff(starts))
    by = np.lexsort((terms, places))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=count))])
    return SparseVectors(indptr, terms[by], weights[by], width)


def top(scores: Any, k: int) -> Any:
    best = np.argpartition(-scores, min(k, scores.shape[1] - 1), axis=1)[:, :k]
    by = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, by, axis=1)


def scipy_csr(options: argparse.Namespace, data: Data, name: str, build: bool) -> dict[str, Any]:
    if build:
        return {}
    right = matrix(data.documents, np.float32).T.tocsr()

    def answer(count: int) -> Any:
        return np.concatenate([
            top((matrix(data.queries.take(at, min(at + BATCH, count)), np.float32) @ right).toarray(), options.k)
            for at in range(0, count, BATCH)
        ])  # fmt: skip

    size = right.data.nbytes + right.indices.nbytes + right.indptr.nbytes
    return {**timed(options, min(options.few, len(data.queries)), answer), "bytes": size}


def torch_csr(options: argparse.Namespace, data: Data, name: str, build: bool) -> dict[str, Any]:
    """Documents CSR x queries dense: the product that torch has threads for."""
    if build:
        return {}
    import warnings

    import torch

    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    torch.set_num_threads(options.threads)
    rows = data.documents
    left = torch.sparse_csr_tensor(
        torch.from_numpy(rows.indptr), torch.from_numpy(rows.terms.astype(np.int64)),
        torch.from_numpy(rows.weights), size=(len(rows), rows.width),
    )  # fmt: skip

    def answer(count: int) -> Any:
        out = []
        for at in range(0, count, BATCH):
            some = torch.from_numpy(data.queries.take(at, min(at + BATCH, count)).dense())
            out.append(torch.topk((left @ some.T).T, options.k, dim=1).indices.numpy())
        return np.concatenate(out)

    size = len(rows.terms) * 12 + rows.indptr.nbytes
    return {**timed(options, min(options.few, len(data.queries)), answer), "bytes": size}


def lucene(options: argparse.Namespace, data: Data, name: str, build: bool) -> dict[str, Any]:
    from seekbench.retrievers.sparse import impact

    folder = options.scratch / "lucene"
    if build:
        began = time.perf_counter()
        impact.build(data.parts(), folder, data.order, width=data.documents.width, factor=FACTOR)
        return {"build": time.perf_counter() - began}
    index = impact.Impact(folder)

    def answer(count: int) -> Any:
        some = data.queries.take(0, count)
        return index.search(some, data.order, options.k, threads=options.threads).doc_rows

    return {**timed(options, min(options.few, len(data.queries)), answer), "bytes": index.bytes}


def seismic(options: argparse.Namespace, data: Data, name: str, build: bool) -> dict[str, Any]:
    """pyseismic-lsr with its readme's parameters."""
    if build:
        return {}
    import seismic as peer

    def rows(vectors: Any) -> Iterator[tuple[Any, Any]]:
        for a, b in zip(vectors.indptr[:-1], vectors.indptr[1:], strict=True):
            yield (
                np.array([str(t) for t in vectors.terms[a:b]], dtype=peer.get_seismic_string()),
                vectors.weights[a:b],
            )

    began = time.perf_counter()
    dataset = peer.SeismicDataset()
    for row, (terms, weights) in enumerate(rows(data.documents)):
        dataset.add_document(str(row), terms, weights)
    index = peer.SeismicIndex.build_from_dataset(dataset)
    built = time.perf_counter() - began
    index.save(str(options.scratch / "seismic"))
    size = sum(p.stat().st_size for p in options.scratch.glob("seismic*") if p.is_file())
    kind = peer.get_seismic_string()
    asked = list(rows(data.queries))

    def answer(count: int) -> Any:
        found = index.batch_search(
            queries_ids=np.array([str(q) for q in range(count)], dtype=kind),
            query_components=[terms for terms, _ in asked[:count]],
            query_values=[weights for _, weights in asked[:count]],
            k=options.k, query_cut=20, heap_factor=0.7, num_threads=options.threads,
        )  # fmt: skip
        of_query = {hits[0][0]: [int(hit[2]) for hit in hits] for hits in found if hits}
        return [of_query.get(str(q), []) for q in range(count)]

    return {**timed(options, len(data.queries), answer), "bytes": size, "build": built}


def one(options: argparse.Namespace) -> None:
    """A system's figures as a line of JSON."""
    name = options.one
    systems = {"scipy CSR": scipy_csr, "torch CSR": torch_csr, "lucene impact": lucene, "seismic": seismic}
    found = systems.get(name, seekbench)(options, Data(options.data), name, options.build)
    print("figures " + json.dumps(found))


def peak() -> float:
    """MiB; not getrusage, whose peak begins with that of the process that started this one."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


# -- the table ----------------------------------------------------------------------------------------------


def run(options: argparse.Namespace, data: Path, name: str, build: bool) -> dict[str, Any] | str:
    """Figures of a system, or why there are none."""
    python = options.peer_python if name == "seismic" else sys.executable
    if name == "seismic":
        probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('seismic') is None)"
        if subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
            return "not installed"
    command = [python, __file__, "--one", name, "--data", str(data), "--scratch", str(options.scratch)]
    for option in ("threads", "few", "k", "repeat", "check"):
        command += [f"--{option}", str(getattr(options, option))]
    command += ["--build"] if build else []
    root = str(Path(__file__).resolve().parent.parent)
    variables = {
        **os.environ,
        **{
            f"{pool}_NUM_THREADS": str(options.threads)
            for pool in ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON")
        },
        "NUMBA_CACHE_DIR": str(options.scratch / f"numba-{name}-{build}".replace(" ", "-")),
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=variables, start_new_session=True)
        try:
            code: int | None = process.wait(options.limit)
        except subprocess.TimeoutExpired:
            code = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        lines, errors = out.read().splitlines(), err.read().strip().splitlines()
    if code is None:
        return f"not finished within {options.limit} s"
    figures = [line for line in lines if line.startswith("figures ")]
    if code or not figures:
        return f"failed ({code}): {(errors or ['no output'])[-1][:100]}"
    found: dict[str, Any] = json.loads(figures[-1].removeprefix("figures "))
    return found


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


def table(options: argparse.Namespace) -> None:
    from seekbench.retrievers.sparse.vectors import flops, mean_nonzeros

    folder = make(options)
    data = Data(folder)
    queries = len(data.queries)
    options.check = min(options.check, options.few, queries)
    best = exact(data.queries.take(0, options.check), data.documents, data.order, options.k)
    print(
        f"{len(data.documents):,} documents x {mean_nonzeros(data.documents):.1f} non-zeros, {queries:,} queries x "
        f"{mean_nonzeros(data.queries):.1f} of {data.documents.width:,} terms, FLOPS "
        f"{flops(data.queries, data.documents):.2f}, k {options.k}, {options.threads} threads; float64 for "
        f"{len(best)} queries; {load()}"
    )
    print(
        f"{'system':<20}{'s':>11}{'queries/s':>11}{'per core':>10}{'cores':>7}{'recall':>8}{'same':>9}{'own':>6}"
        f"{'peak MiB':>10}{'index MB':>10}{'build s':>9}{'first s':>9}",
        flush=True,
    )
    rates: dict[str, float] = {}
    for name in options.systems or SYSTEMS:
        built = run(options, folder, name, build=True)
        found = built if isinstance(built, str) else run(options, folder, name, build=False)
        if isinstance(found, str) or isinstance(built, str):
            print(f"{name:<20}  {found}", flush=True)
            continue
        found = {**built, **found}
        rate = found["queries"] / found["seconds"]
        rates[name] = rate
        mark = "" if found["queries"] == queries else " (x)"
        pairs = list(zip(found["top"], best, strict=False))
        recall = sum(len(set(t) & set(b)) / max(1, len(b)) for t, b in pairs) / len(pairs)
        own = f"{found['own']:.2f}" if "own" in found else "-"
        same = f"{sum(t == b for t, b in pairs)}/{len(pairs)}"
        print(
            f"{name:<20}{f'{queries / rate:.3f}{mark}':>11}{rate:>11,.0f}{rate / found['cores']:>10,.0f}"
            f"{found['cores']:>7.2f}{recall:>8.3f}{same:>9}{own:>6}{found['memory']:>10,.0f}"
            f"{found['bytes'] / 1e6:>10.1f}{found.get('build', 0):>9.1f}{found['first']:>9.2f}",
            flush=True,
        )
    print(load())
    for name, rate in rates.items():
        if name != SYSTEMS[0] and SYSTEMS[0] in rates:
            print(f"{SYSTEMS[0]} / {name}: {rates[SYSTEMS[0]] / rate:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=Path, help="folder of documents.npz and queries.npz")
    parser.add_argument("--documents", type=int, default=107_525)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--non-zeros", type=int, default=124, help="drawn a document; some are drawn twice")
    parser.add_argument("--query-terms", type=int, default=25)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--few", type=int, default=200, help="queries of systems that are extrapolated")
    parser.add_argument("--check", type=int, default=100, help="queries compared with float64")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=600, help="seconds that a process may take")
    parser.add_argument("--systems", nargs="*", help=f"some of: {', '.join(SYSTEMS)}")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter with pyseismic-lsr and numpy"
    )
    parser.add_argument("--work", type=Path, help="where random vectors are kept for another run")
    for hidden in ("--one", "--data", "--scratch"):
        parser.add_argument(hidden, help=argparse.SUPPRESS, type=str if hidden == "--one" else Path)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        options.scratch = Path(temporary) / "scratch"
        options.scratch.mkdir()
        options.work = options.work or Path(temporary)
        table(options)


if __name__ == "__main__":
    main()
