"""What a collection looks like: counts, lengths, judgments, languages. Reads texts block by block."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.collection import Qrels, Records, taken
from seekbench.datasets.folder import Collection
from seekbench.datasets.languages import guess_language

#: Records whose language is guessed, spread evenly: enough for shares of a few percent.
SAMPLE = 500


def statistics(collection: Collection) -> dict[str, Any]:
    """JSON figures of a whole collection.

    documents, queries: count, characters and tokens (split at white space) as mean, p50, p95, max, empty
    ones, languages (share of a sample; `unknown` where no guess is safe); splits: judgments, queries, those
    a query (mean, min, max), grades, negative ones, judged documents that are absent.
    """
    splits = {name: _split(collection.qrels(name)) for name in collection.splits}
    return {
        "documents": {
            **_records(collection.corpus),
            "without_text": collection.facts["empty_documents"],
            "identical_to_another": collection.facts["identical_documents"],
        },
        "queries": {**_records(collection.queries), "unjudged": collection.facts["unjudged_queries"]},
        "splits": splits,
    }


def _records(records: Records) -> dict[str, Any]:
    characters = np.zeros(len(records), dtype=np.int64)
    tokens = np.zeros(len(records), dtype=np.int64)
    at = 0
    names = [n for n in ("title", "text") if n in records.table.column_names]
    for batch in records.table.select(names).to_batches():
        for name in names:
            column = batch.column(name)
            characters[at : at + len(column)] += np.asarray(pc.utf8_length(column))
            tokens[at : at + len(column)] += _tokens(column)
        at += batch.num_rows
    return {
        "count": len(records),
        "with_title": int(_filled(records, "title")),
        "characters": _distribution(characters),
        "tokens": _distribution(tokens),
        "languages": languages(records),
    }


def _tokens(column: Any) -> npt.NDArray[np.int64]:
    """Number of words between white space in each value."""
    trimmed = pc.utf8_trim_whitespace(column)
    gaps = np.asarray(pc.count_substring_regex(trimmed, r"\s+"), dtype=np.int64)
    filled = np.asarray(pc.greater(pc.utf8_length(trimmed), 0).cast(pa.int64()), dtype=np.int64)
    words: npt.NDArray[np.int64] = gaps + filled
    return words


def _filled(records: Records, name: str) -> int:
    if name not in records.table.column_names:
        return 0
    return int(pc.sum(pc.greater(pc.binary_length(records.table.column(name)), 0)).as_py() or 0)


def _distribution(values: npt.NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {"mean": 0.0, "p50": 0.0, "p95": 0.0, "max": 0.0}
    return {
        "mean": round(float(values.mean()), 2),
        "p50": float(np.percentile(values, 50)),
        "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }


def _split(qrels: Qrels) -> dict[str, Any]:
    counts = np.diff(qrels.indptr)
    counts = counts[counts > 0]
    positive = np.bincount(qrels.query_rows()[qrels.grades > 0], minlength=qrels.num_queries)
    values, times = np.unique(qrels.grades, return_counts=True)
    return {
        "queries": len(counts),
        "judgments": len(qrels),
        "judgments_per_query": {
            "mean": round(float(counts.mean()), 2) if len(counts) else 0.0,
            "min": int(counts.min()) if len(counts) else 0,
            "max": int(counts.max()) if len(counts) else 0,
        },
        "relevant_per_query": round(float(positive.sum() / max(1, len(counts))), 2),
        "queries_without_positive": int(len(counts) - (positive > 0).sum()),
        "grades": {str(v): int(n) for v, n in zip(values.tolist(), times.tolist(), strict=True)},
        "negative_grades": int((qrels.grades < 0).sum()),
        "absent_documents": len(qrels.absent_ids),
    }


def languages(records: Records, sample: int = SAMPLE) -> dict[str, float]:
    """Share of each language in an evenly spread sample of texts, the largest first."""
    if not len(records):
        return {}
    rows = np.unique(np.linspace(0, len(records) - 1, min(sample, len(records))).astype(np.int64))
    texts = taken(records.table.select(["text"]), rows).column("text").to_pylist()
    found = Counter(guess_language(text[:2000]) for text in texts if text and text.strip())
    total = sum(found.values())
    return {code: round(n / total, 3) for code, n in found.most_common()}


def main_language(records: Records, sample: int = SAMPLE) -> str | None:
    """The language of most texts, None where no guess is safe: known for half of the sample at least, and the
    same for nine in ten of those."""
    shares = languages(records, sample)
    known = {code: share for code, share in shares.items() if code != "unknown"}
    total = sum(known.values())
    best = max(known, key=known.__getitem__, default=None)
    return best if best is not None and total >= 0.5 and known[best] >= 0.9 * total else None
