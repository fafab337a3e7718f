"""What one split tells about another: queries that are nearly the same, and relevant documents in common.

A system trained or tuned on one split knows such queries of the other already, so a score on them says less
about new queries. Nothing is wrong with the data in the sense of an error; users should be told.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from array import array
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.datasets.folder import Collection

IntArray = npt.NDArray[np.int64]
#: (texts) -> float32 [texts, dim] embeddings, e.g. of a sentence encoder.
Embed = Callable[[list[str]], npt.NDArray[np.float32]]

#: Cosine from which two queries count as near-duplicates.
THRESHOLD = 0.9
#: Characters of an n-gram, taken over words with a space on each side.
_GRAM = 4
#: Cosines that are in memory at once: bounds the product's memory, whatever the number of queries.
_CELLS = 1 << 23
_EXAMPLES = 5
#: Hash space of n-grams; collisions only blur weights a little.
_BUCKETS = 1 << 20
_NOT_WORD = re.compile(r"[\W_]+")


def leakage(
    collection: Collection, *, threshold: float = THRESHOLD, embed: Embed | None = None
) -> list[dict[str, Any]]:
    """One JSON record for each ordered pair of splits: `split` is examined, `other` may be trained on.

    shared_queries: queries that both splits judge; same_text: queries whose text, without case, punctuation
    and spacing, is one of the other split's; near_duplicate: queries with a cosine of at least `threshold` to
    one of the other's (those of `same_text` among them), by TF-IDF over character 4-grams or by `embed`;
    shared_relevant: queries with a document that is relevant in both splits (for different queries);
    near_duplicate_and_shared: queries with a near-duplicate that shares a relevant document with them.
    Queries that both splits judge are in shared_queries alone. Pairs with nothing in common are left out.
    """
    names = collection.splits
    if len(names) < 2:
        return []
    judged = collection.judged
    rows = np.unique(np.concatenate([judged[n] for n in names]))
    texts = collection.queries.texts("{text}")
    words = {int(r): normal(texts[int(r)]) for r in rows}
    vectors = unit_vectors([texts[int(r)] for r in rows], embed)
    place = np.full(len(collection.queries), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    relevant = {n: _relevant(collection, n) for n in names}
    found = []
    for first, second in combinations(names, 2):
        own = np.setdiff1d(judged[first], judged[second])
        theirs = np.setdiff1d(judged[second], judged[first])
        at, to, cosine = close_pairs(vectors, place[own], place[theirs], threshold)
        for split, other, rows, others, mine, its in (
            (first, second, own, theirs, at, to),
            (second, first, theirs, own, to, at),
        ):
            known = {words[int(r)] for r in others} - {""}
            same = np.array([words[int(r)] in known for r in rows], dtype=bool)
            near = same.copy()
            near[mine] = True
            a, b = relevant[split][rows], relevant[other][others]
            shares = (a @ (b.sum(axis=0) > 0).astype(np.int32)) > 0
            both = np.zeros(len(rows), dtype=bool)
            both[mine[_any_common(a, b, mine, its)]] = True
            record = {
                "split": split,
                "other": other,
                "queries": len(judged[split]),
                "shared_queries": len(judged[split]) - len(rows),
                "same_text": int(same.sum()),
                "near_duplicate": int(near.sum()),
                "shared_relevant": int(shares.sum()),
                "near_duplicate_and_shared": int(both.sum()),
            }
            if any(record[k] for k in ("shared_queries", "near_duplicate", "shared_relevant")):
                record |= {
                    "threshold": threshold,
                    "method": "embeddings" if embed else "tf-idf of character 4-grams",
                    "examples": [
                        {
                            "query": _id(collection, rows[mine[n]]),
                            "other_query": _id(collection, others[its[n]]),
                            "cosine": round(float(cosine[n]), 4),
                        }
                        for n in np.argsort(-cosine, kind="stable")[:_EXAMPLES]
                    ],
                }
                found.append(record)
    return found


def _any_common(a: Any, b: Any, at: IntArray, to: IntArray) -> npt.NDArray[np.bool_]:
    """Whether row at[i] of `a` and row to[i] of `b` have a column in common."""
    out = np.zeros(len(at), dtype=bool)
    for start in range(0, len(at), 1 << 16):
        part = slice(start, start + (1 << 16))
        out[part] = np.asarray(a[at[part]].multiply(b[to[part]]).sum(axis=1)).ravel() > 0
    return out


def _id(collection: Collection, row: Any) -> str:
    return str(collection.queries.ids(np.array([row])).to_pylist()[0])


def _relevant(collection: Collection, split: str) -> Any:
    """Sparse [queries, documents] of 1 where a document is relevant (grade above 0)."""
    from scipy.sparse import csr_array

    qrels = collection.qrels(split)
    keep = qrels.grades > 0
    rows, columns = qrels.query_rows()[keep], qrels.doc_rows[keep]
    # Absent documents have rows of their own in each split; by id they might be common, but nobody sees them.
    present = columns < len(collection.corpus)
    ones = np.ones(int(present.sum()), dtype=np.int32)
    return csr_array(
        (ones, (rows[present], columns[present])), shape=(len(collection.queries), len(collection.corpus))
    )


def normal(text: str) -> str:
    """The words of a text: without case, marks and forms of the same character."""
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def unit_vectors(texts: list[str], embed: Embed | None) -> Any:
    """One row of length 1 a text: dense float32 of `embed`, or sparse TF-IDF."""
    if embed is not None:
        dense = np.asarray(embed(texts), dtype=np.float32)
        return dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-12)
    return _tfidf(texts)


def _tfidf(texts: list[str]) -> Any:
    """TF-IDF over character n-grams within word boundaries, rows of length 1."""
    from scipy.sparse import csr_array, diags_array

    indptr, indices, values = [0], array("i"), array("f")
    for text in texts:
        counts: dict[int, int] = {}
        padded = f" {normal(text)} "
        for at in range(max(1, len(padded) - _GRAM + 1)):
            gram = zlib.crc32(padded[at : at + _GRAM].encode()) % _BUCKETS
            counts[gram] = counts.get(gram, 0) + 1
        indices.extend(counts)
        values.extend(counts.values())
        indptr.append(len(indices))
    matrix = csr_array(
        (np.frombuffer(values, np.float32), np.frombuffer(indices, np.int32), np.array(indptr, np.int64)),
        shape=(len(texts), _BUCKETS),
    )
    frequency = np.bincount(matrix.indices, minlength=_BUCKETS)
    inverse = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
    matrix = matrix.multiply(inverse[None, :]).tocsr()
    lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    return (diags_array(1 / np.maximum(lengths, 1e-12)) @ matrix).tocsr().astype(np.float32)


def close_pairs(
    vectors: Any, own: IntArray, theirs: IntArray, threshold: float
) -> tuple[IntArray, IntArray, npt.NDArray[np.float32]]:
    """(own, theirs, cosine) of all pairs at or above the threshold, a block of queries at a time."""
    found: list[tuple[Any, Any, Any]] = [
        (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    ]
    targets = vectors[theirs].T
    targets = targets.tocsr() if hasattr(targets, "tocsr") else targets
    step = max(1, _CELLS // max(1, len(theirs)))
    for start in range(0, len(own) if len(theirs) else 0, step):
        product = vectors[own[start : start + step]] @ targets
        if hasattr(product, "tocoo"):
            product = product.tocoo()
            keep = product.data >= threshold - 1e-6
            at, to, cosine = product.row[keep], product.col[keep], product.data[keep]
        else:
            at, to = np.nonzero(product >= threshold - 1e-6)
            cosine = product[at, to]
        found.append((at.astype(np.int64) + start, to.astype(np.int64), cosine))
    at, to, cosine = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return at, to, cosine
