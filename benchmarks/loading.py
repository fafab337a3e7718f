"""Reading a BEIR folder, side by side: seekbench (checked, into mapped columns) and Hugging Face datasets' JSON loader.

    python benchmarks/loading.py --collection ../shared/collections/wordnet-senses

seekbench's figure includes what the other does not do: duplicates, dangling judgments, content hashes, byte
order of ids. `again` is the second opening, from each one's cache. Every system runs in a fresh process; peak
memory is that of the whole process, own: without pages of mapped files, which the kernel may drop (Linux). Without a
collection, a synthetic one of `--documents` is made. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seekbench(folder: str, cache: str) -> dict[str, float]:
    from seekbench.datasets.load import load
    from seekbench.store import Store

    out = {}
    for name in ("first", "again"):
        start = time.perf_counter()
        dataset = load({"path": folder}, store=Store(Path(cache)))
        out[name] = time.perf_counter() - start
        out["documents"] = len(dataset.corpus)
    return out


def huggingface(folder: str, cache: str) -> dict[str, float]:
    import datasets

    datasets.disable_progress_bars()
    out = {}
    for name in ("first", "again"):
        start = time.perf_counter()
        files = {"corpus": f"{folder}/corpus.jsonl", "queries": f"{folder}/queries.jsonl"}
        loaded = {
            part: datasets.load_dataset("json", data_files=path, split="train", cache_dir=cache)
            for part, path in files.items()
        }
        datasets.load_dataset(
            "csv", data_files=f"{folder}/qrels/test.tsv", sep="\t", split="train", cache_dir=cache
        )
        out[name] = time.perf_counter() - start
        out["documents"] = len(loaded["corpus"])
    return out


def invent(folder: Path, documents: int = 100_000) -> None:
    rng = random.Random(0)
    words = [f"word{i}" for i in range(5000)]
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as out:
        for i in range(documents):
            text = " ".join(rng.choices(words, k=60))
            out.write(json.dumps({"_id": f"d{i}", "title": f"title {i}", "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w") as out, (folder / "qrels" / "test.tsv").open("w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for i in range(1000):
            out.write(json.dumps({"_id": f"q{i}", "text": " ".join(rng.choices(words, k=4))}) + "\n")
            qrels.write(f"q{i}\td{rng.randrange(documents)}\t1\n")


SYSTEMS = {"seekbench": seekbench, "datasets": huggingface}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--collection", action="append")
    parser.add_argument("--documents", type=int, default=100_000, help="of the synthetic collection")
    parser.add_argument("--one", nargs=3, metavar=("SYSTEM", "FOLDER", "CACHE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        system, folder, cache = options.one
        found = SYSTEMS[system](folder, cache)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "peak": peak}))
        return
    with tempfile.TemporaryDirectory() as work:
        folders = options.collection or [str(Path(work) / "synthetic")]
        if not options.collection:
            invent(Path(folders[0]), options.documents)
        print(
            f"{'collection':<40} {'system':<10} {'first s':>8} {'again s':>8} {'docs/s':>10} {'peak MiB':>9}"
        )
        for folder in folders:
            firsts = {}
            for system in SYSTEMS:
                cache = str(Path(work) / f"{system}-{os.path.basename(folder)}")
                command = [sys.executable, __file__, "--one", system, folder, cache]
                ran = subprocess.run(command, check=True, capture_output=True, text=True)
                row = json.loads(ran.stdout.strip().splitlines()[-1])
                firsts[system] = row["first"]
                print(f"{folder[-40:]:<40} {system:<10} {row['first']:8.2f} {row['again']:8.3f} "
                      f"{row['documents'] / row['first']:10,.0f} {row['peak']:9.0f}")  # fmt: skip
            print(
                f"{folder[-40:]:<40} ratio datasets / seekbench: {firsts['datasets'] / firsts['seekbench']:.2f}"
            )


if __name__ == "__main__":
    main()
