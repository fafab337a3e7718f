"""Pyserini's own searcher, in a process of its own: prints its hits as JSON.

Input on stdin: {"documents": [[id, text], ...], "queries": [...], "k": 10, "rm3": bool, "qld": bool, "language"}.
Output, last line: {"stats": {...}, "hits": [[[docid, score], ...], ...]}; scores as float32 in hexadecimal.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile


def main() -> None:
    # Pyserini's package imports clients that insist on a key, though nothing is called.
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    from seekbench.retrievers.bm25 import jvm

    jvm.start()  # without the module that Pyserini's own start demands
    from pyserini.index.lucene import LuceneIndexer, LuceneIndexReader
    from pyserini.search.lucene import LuceneSearcher

    job = json.load(sys.stdin)
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
        stats = LuceneIndexReader(folder).stats()
    print(json.dumps({"stats": stats, "hits": hits}))


if __name__ == "__main__":
    main()
