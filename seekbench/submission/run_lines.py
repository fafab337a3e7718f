"""Runs cut to what a board takes, and as lines of a TREC run file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from seekbench.columns import HitColumns

_BLOCK = 500_000


def ranks(hits: HitColumns) -> npt.NDArray[np.int64]:
    """int64 [rows]: the rank of each hit, from 1. The rows stand in rank order, query after query."""
    query = hits.query
    first = np.concatenate([[True], query[1:] != query[:-1]]) if len(query) else np.empty(0, np.bool_)
    start = np.flatnonzero(first)
    return np.asarray(np.arange(len(query)) - np.repeat(start, np.diff(start, append=len(query))) + 1)


def cut(hits: HitColumns, depth: int) -> HitColumns:
    """The first `depth` hits of each query."""
    import pyarrow as pa

    keep = ranks(hits) <= depth
    if keep.all():
        return hits
    return replace(
        hits, query=hits.query[keep], doc=hits.doc.filter(pa.array(keep)), scores=hits.scores[keep]
    )


def lines(hits: HitColumns, tag: str) -> Iterator[bytes]:
    """`qid Q0 docid rank score tag`, block after block. Scores are those of the file (float64 of what has at least 9
    digits), so they bring every float32 back."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from seekbench.runs import nine_digits

    def text(value: str) -> pa.Scalar:
        return pa.scalar(value, pa.large_string())

    place = ranks(hits)
    for at in range(0, len(hits), _BLOCK):
        part = slice(at, at + _BLOCK)
        block = pc.binary_join_element_wise(
            hits.query_ids.take(pa.array(hits.query[part])),
            text("Q0"),
            hits.doc[part],
            pa.array(place[part]).cast(pa.large_string()),
            pa.array(nine_digits(hits.scores[part].astype(np.float32))).cast(pa.large_string()),
            text(tag + "\n"),
            text(" "),
        )
        # The lines lie end to end in the array's data, each with its line feed.
        yield block.buffers()[2].to_pybytes()
