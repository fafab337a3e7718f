"""The search of datasets whose queries have candidates of their own: re-ranking tasks, small galleries, a query's own
source.

Every retriever ranks the whole corpus, so its ranking is asked for deeper until all candidates of a query are in it;
what is no candidate is left out. Scores that depend on the corpus (idf) are those of the whole corpus.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seekbench.collection import Candidates
from seekbench.runs import Run

Rows = npt.NDArray[np.int64]

#: Hits (queries x depth) that are held at a time.
MOST_HITS = 2_000_000
#: By how much the depth grows where candidates are still missing.
_DEEPER = 8


def search_among(
    search: Callable[[Rows, int], Run], candidates: Candidates, queries: int, k: int, documents: int
) -> Run:
    """The first k candidates of each query, by the retriever's scores.

    search: (rows of queries, depth) -> their Run. candidates: of rows 0 to queries. A query has fewer hits than
    candidates where its ranking ends before (BM25 ranks no document without a word of the query).
    """
    wanted = np.minimum(candidates.counts(queries), k)
    out = Run.empty(queries, k)
    pending = np.flatnonzero(wanted)
    depth = min(documents, max(k, 2 * candidates.most))
    while len(pending):
        incomplete = []
        step = max(1, MOST_HITS // max(1, depth))
        for at in range(0, len(pending), step):
            rows = pending[at : at + step]
            run = search(rows, depth)
            kept = run.only(_of(candidates, rows), k)
            ended = (run.lengths() < depth) | (depth >= documents)
            out.doc_rows[rows, : kept.k], out.scores[rows, : kept.k] = kept.doc_rows, kept.scores
            incomplete.append(rows[(kept.lengths() < wanted[rows]) & ~ended])
        pending = np.concatenate(incomplete)
        depth = min(documents, depth * _DEEPER)
    return out


def _of(candidates: Candidates, rows: Rows) -> Candidates:
    """The candidates of some queries, whose rows then count from 0."""
    place = np.full(int(rows.max()) + 1 if len(rows) else 0, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    chosen = np.isin(candidates.query_rows, rows)
    return Candidates(candidates.kind, place[candidates.query_rows[chosen]], candidates.doc_rows[chosen])
