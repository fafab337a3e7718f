"""Pyserini's own searcher, in a process of its own: JSON jobs on stdin, its hits as JSON on stdout.

A job: {"documents": [[id, text], ...], "queries": [...], "k": 10, "rm3": bool, "qld": bool, "language": str}.
An answer: {"stats": {...}, "hits": [[[docid, score], ...], ...]}; scores are float32 in hexadecimal.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any


def main() -> None:
    # Pyserini's package imports clients that insist on a key, though nothing is called.
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    from seekbench.retrievers.bm25 import jvm

    jvm.start()  # without the module that Pyserini's own start demands
    print(json.dumps([answer(job) for job in json.load(sys.stdin)]))


def answer(job: dict[str, Any]) -> dict[str, Any]:
    from pyserini.index.lucene import LuceneIndexer, LuceneIndexReader
    from pyserini.search.lucene import LuceneSearcher

    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-index", folder]
        if job.get("rm3"):
            arguments += ["-storePositions", "-storeDocvectors"]
        if job.get("language"):
            arguments += ["-language", job["language"]]
        indexer = LuceneIndexer(args=arguments, threads=1)
        for docid, text in job["documents"]:
            indexer.add_doc_raw(json.dumps({"id": docid, "contents": text}))
        indexer.close()
        searcher = LuceneSearcher(folder)
        if job.get("language"):
            searcher.set_language(job["language"])
        if job.get("rm3"):
            searcher.set_rm3()
        if job.get("qld"):
            searcher.set_qld(1000.0)
        hits = [
            [[hit.docid, float(hit.score).hex()] for hit in searcher.search(query, job["k"])]
            for query in job["queries"]
        ]
        return {"stats": LuceneIndexReader(folder).stats(), "hits": hits}


if __name__ == "__main__":
    main()
