"""BM25, side by side: seekbench, Pyserini (one by one and batch), bm25s (numba), tantivy.

    python benchmarks/bm25.py --collection ../shared/collections/wordnet-senses:5000 \
                              --collection ../shared/collections/acl-titles:2000

A collection is a BEIR folder, with a number of queries after the colon; without one, a synthetic collection
is searched. Every system, collection and k runs in a fresh process. Texts are in memory before the clock
starts; a few queries go ahead untimed (JIT compilers); queries/s include the analysis of the query and all
hits in Python as (document, score). k1 .9, b .4; tantivy's are fixed at 1.2 and .75. Peak memory is that of
the whole process, texts included. Peers analyse text in other ways than Lucene does: their nDCG@10 tells how
near that is; seekbench's must equal Pyserini's. Needs the extras `dev` and `bench`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

WARM_UP = 64


class Collection:
    """ids, texts (title and text), queries, judgments: plain lists, the same for every system."""

    def __init__(self, name: str, limit: int) -> None:
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.queries: dict[str, str] = {}
        self.qrels: dict[str, dict[str, int]] = {}
        if name == "synthetic":
            self._invent(limit or 500)
            return
        folder = Path(name)
        for record in _lines(folder / "corpus.jsonl"):
            self.ids.append(record["_id"])
            self.texts.append(f"{record.get('title') or ''} {record.get('text') or ''}".strip())
        split = next(
            p
            for p in [folder / "qrels" / "test.tsv", *sorted((folder / "qrels").glob("*.tsv"))]
            if p.exists()
        )
        for line in split.read_text(encoding="utf-8").splitlines()[1:]:
            query, document, grade = line.split("\t")
            self.qrels.setdefault(query, {})[document] = int(grade)
        for record in _lines(folder / "queries.jsonl"):
            if record["_id"] in self.qrels and (not limit or len(self.queries) < limit):
                self.queries[record["_id"]] = record["text"]

    def _invent(self, queries: int) -> None:
        choose = random.Random(0)
        words = [
            "".join(choose.choices("abcdefghijklmnoprstu", k=choose.randint(3, 9))) for _ in range(30_000)
        ]
        weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
        for number in range(20_000):
            self.ids.append(f"d{number}")
            self.texts.append(" ".join(choose.choices(words, cum_weights=weights, k=choose.randint(5, 60))))
        for number in range(queries):
            document = choose.randrange(len(self.texts))
            terms = self.texts[document].split()
            self.queries[f"q{number}"] = " ".join(choose.sample(terms, min(4, len(terms))))
            self.qrels[f"q{number}"] = {f"d{document}": 1}


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def with_seekbench(collection: Collection, folder: Path, threads: int) -> tuple[float, Any]:
    from seekbench.collection import Corpus, Queries
    from seekbench.retrievers.bm25 import BM25, BM25Params
    from seekbench.retrievers.protocol import Context, TextView

    documents = TextView(Corpus.from_lists(collection.ids, collection.texts), "{text}")
    context = Context(threads=threads)
    retriever = BM25(BM25Params())
    began = time.perf_counter()
    retriever.index(documents, folder, context=context)
    seconds = time.perf_counter() - began
    searcher = retriever.open(folder, documents, context=context)

    def search(texts: list[str], k: int) -> Any:
        queries = TextView(Queries.from_lists([str(i) for i in range(len(texts))], texts), "{text}")
        return searcher.search(queries, k, context=context)

    def listed(run: Any) -> list[list[tuple[str, float]]]:
        ids = collection.ids
        return [
            [(ids[row], float(score)) for row, score in zip(rows, scores, strict=True) if row >= 0]
            for rows, scores in zip(run.doc_rows[:, :40].tolist(), run.scores[:, :40].tolist(), strict=True)
        ]

    return seconds, (search, listed)


def _pyserini(collection: Collection, folder: Path, threads: int) -> tuple[float, Any]:
    # Pyserini's own JVM settings, but for the module that this Java lacks.
    import jnius_config

    from seekbench.retrievers.bm25 import jvm

    os.environ["JAVA_HOME"] = str(jvm.java_home())
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    jnius_config.add_classpath(str(jvm.jar()))
    import jnius  # noqa: F401
    from pyserini.index.lucene import LuceneIndexer
    from pyserini.search.lucene import LuceneSearcher

    began = time.perf_counter()
    indexer = LuceneIndexer(str(folder), threads=threads)
    step = 5000
    for at in range(0, len(collection.ids), step):
        block = zip(collection.ids[at : at + step], collection.texts[at : at + step], strict=True)
        indexer.add_batch_raw([json.dumps({"id": docid, "contents": text}) for docid, text in block])
    indexer.close()
    seconds = time.perf_counter() - began
    return seconds, LuceneSearcher(str(folder))


def with_pyserini(collection: Collection, folder: Path, threads: int) -> tuple[float, Any]:
    seconds, searcher = _pyserini(collection, folder, threads)

    def search(texts: list[str], k: int) -> Any:
        # All hits are read, the first 40 kept: the rest would only count against its memory.
        return [[(hit.docid, hit.score) for hit in searcher.search(text, k)][:40] for text in texts]

    return seconds, (search, list)


def with_pyserini_batch(collection: Collection, folder: Path, threads: int) -> tuple[float, Any]:
    seconds, searcher = _pyserini(collection, folder, threads)

    def search(texts: list[str], k: int) -> Any:
        names = [str(number) for number in range(len(texts))]
        found = searcher.batch_search(texts, names, k=k, threads=threads)
        return [[(hit.docid, hit.score) for hit in found.get(name, [])][:40] for name in names]

    return seconds, (search, list)


def with_bm25s(collection: Collection, folder: Path, threads: int) -> tuple[float, Any]:
    import bm25s

    try:
        import Stemmer

        stemmer = Stemmer.Stemmer("english")
    except ImportError:
        print("bm25s: PyStemmer is not installed, words are not stemmed", file=sys.stderr)
        stemmer = None
    began = time.perf_counter()
    tokens = bm25s.tokenize(collection.texts, stopwords="en", stemmer=stemmer, show_progress=False)
    retriever = bm25s.BM25(k1=0.9, b=0.4, backend="numba")
    retriever.index(tokens, show_progress=False)
    seconds = time.perf_counter() - began

    def search(texts: list[str], k: int) -> Any:
        asked = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
        return retriever.retrieve(asked, k=k, n_threads=threads, show_progress=False)

    def listed(found: Any) -> list[list[tuple[str, float]]]:
        rows, scores = found
        return [
            [(collection.ids[row], float(score)) for row, score in zip(r, s, strict=True) if score > 0]
            for r, s in zip(rows[:, :40].tolist(), scores[:, :40].tolist(), strict=True)
        ]

    return seconds, (search, listed)


def with_tantivy(collection: Collection, folder: Path, threads: int) -> tuple[float, Any]:
    import re

    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=False, tokenizer_name="en_stem", index_option="freq")
    began = time.perf_counter()
    index = tantivy.Index(builder.build(), path=str(folder))
    # One thread, one segment: its document numbers are then rows.
    writer = index.writer(heap_size=512_000_000, num_threads=1)
    for text in collection.texts:
        writer.add_document(tantivy.Document(text=text))
    writer.commit()
    writer.wait_merging_threads()
    seconds = time.perf_counter() - began
    index.reload()
    searcher = index.searcher()
    word = re.compile(r"\w+")

    def search(texts: list[str], k: int) -> Any:
        out = []
        for text in texts:
            # Query syntax is taken out: only words, any of them.
            query = index.parse_query(" ".join(word.findall(text.lower())), ["text"])
            hits = [(address.doc, score) for score, address in searcher.search(query, k).hits]
            out.append(hits[:40])
        return out

    def listed(found: Any) -> list[list[tuple[str, float]]]:
        if searcher.num_segments != 1:
            return [[] for _ in found]
        return [[(collection.ids[row], score) for row, score in hits] for hits in found]

    return seconds, (search, listed)


SYSTEMS: dict[str, tuple[Callable[[Collection, Path, int], tuple[float, Any]], bool]] = {
    "seekbench": (with_seekbench, True),
    "seekbench 1 thread": (with_seekbench, False),
    "pyserini one by one": (with_pyserini, True),
    "pyserini batch": (with_pyserini_batch, True),
    "bm25s numba": (with_bm25s, True),
    "tantivy": (with_tantivy, True),
}


def measure(system: str, name: str, limit: int, k: int, threads: int) -> dict[str, Any]:
    """One system in this process."""
    collection = Collection(name, limit)
    build, parallel = SYSTEMS[system]
    texts = list(collection.queries.values())
    with tempfile.TemporaryDirectory() as folder:
        index_seconds, (search, listed) = build(collection, Path(folder), threads if parallel else 1)
        search(texts[:WARM_UP], k)
        began, cpu = time.perf_counter(), time.process_time()
        found = search(texts, k)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        # Before the evaluation, which is not the system's.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ranked = {query: dict(hits) for query, hits in zip(collection.queries, listed(found), strict=True)}
    import pytrec_eval

    evaluator = pytrec_eval.RelevanceEvaluator(collection.qrels, {"ndcg_cut.10"})
    scores = evaluator.evaluate({query: hits for query, hits in ranked.items() if hits})
    return {
        "collection": Path(name).name, "k": k, "system": system, "documents": len(collection.ids),
        "queries": len(texts), "index_s": index_seconds, "docs_per_s": len(collection.ids) / index_seconds,
        "search_s": seconds, "search_cpu_s": cpu, "queries_per_s": len(texts) / seconds, "peak_mib": peak,
        "ndcg@10": sum(s["ndcg_cut_10"] for s in scores.values()) / len(texts),
    }  # fmt: skip


def in_fresh_process(arguments: list[str]) -> dict[str, Any]:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--child", *arguments], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        message = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {
            "error": message,
            "system": arguments[0],
            "collection": Path(arguments[1]).name,
            "k": int(arguments[3]),
        }
    result: dict[str, Any] = json.loads(lines[-1])
    return {**result, "wall_s": time.perf_counter() - began}


def table(rows: list[dict[str, Any]]) -> list[str]:
    out = []
    for name, k in dict.fromkeys((row["collection"], row["k"]) for row in rows):
        part = [row for row in rows if (row["collection"], row["k"]) == (name, k)]
        good = [row for row in part if "error" not in row]
        head = f"{name}, k {k}"
        if good:
            head += f": {good[0]['documents']:,} documents, {good[0]['queries']:,} queries"
        out += ["", head, "", "| system | index docs/s | queries/s | CPU s | peak MiB | wall s | nDCG@10 |",
                "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
        for row in part:
            if "error" in row:
                out.append(f"| {row['system']} | failed: {row['error'][:80]} | | | | | |")
                continue
            out.append(
                f"| {row['system']} | {row['docs_per_s']:,.0f} | {row['queries_per_s']:,.1f} |"
                f" {row['search_cpu_s']:.1f} | {row['peak_mib']:,.0f} | {row['wall_s']:.1f} |"
                f" {row['ndcg@10']:.4f} |"
            )
        out += [f"  {line}" for line in ratios({row["system"]: row for row in good})]
    return out


def ratios(by: dict[str, dict[str, Any]]) -> list[str]:
    ours = by.get("seekbench")
    if ours is None:
        return []
    lines = []
    for name in ("pyserini one by one", "pyserini batch"):
        if name in by:
            speed = ours["queries_per_s"] / by[name]["queries_per_s"]
            memory = ours["peak_mib"] / by[name]["peak_mib"]
            equal = abs(ours["ndcg@10"] - by[name]["ndcg@10"]) < 1e-9
            lines.append(
                f"to {name}: {speed:.1f} times the queries/s, {memory:.2f} of the memory,"
                f" nDCG@10 {'equal' if equal else 'DIFFERS'}"
            )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--collection", action="append", metavar="PATH[:QUERIES]")
    parser.add_argument("--k", type=int, action="append", help="default: 10 and 1000")
    parser.add_argument("--system", action="append", choices=list(SYSTEMS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, help="figures as JSON")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        system, name, limit, k, threads = options.child
        print(json.dumps(measure(system, name, int(limit), int(k), int(threads))))
        return 0
    rows = []
    for entry in options.collection or ["synthetic:500"]:
        name, _, limit = entry.partition(":")
        for k in options.k or [10, 1000]:
            for system in options.system or list(SYSTEMS):
                print(f"{name} k {k}: {system} ...", file=sys.stderr, flush=True)
                rows.append(in_fresh_process([system, name, limit or "0", str(k), str(options.threads)]))
    print("\n".join(table(rows)))
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 1 if any("DIFFERS" in line for line in table(rows)) or any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
