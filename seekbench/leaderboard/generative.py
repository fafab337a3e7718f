"""Notes on systems that write docids: what bounds their figures besides the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seekbench.metrics.measure import Measure, parse

#: Shares from which on a note is made: beams that ended in no docid; docids that repeat another document's.
INVALID, COLLISIONS = 0.01, 0.05


def notes(system: str, record: Mapping[str, Any], measure: Measure) -> list[str]:
    """Lines about one record, [] for other systems. Reads `most_hits` and `invalid_rate` of the retriever's details,
    and the collisions of `docids` of the index."""
    details, dataset = record["retriever"]["details"], record["dataset"]["id"]
    out = []
    most = details.get("most_hits")
    if most is not None and most < depth(record, measure):
        setting = "lists.most" if record["retriever"].get("params", {}).get("lists") else "decoding.beams"
        out.append(f"{system}: at most {_hits(most)} a query ({setting}), fewer than {measure.name} looks at")
    invalid = details.get("invalid_rate") or 0.0
    if invalid > INVALID:
        out.append(f"{system}: {invalid:.0%} of its beams for queries of {dataset} were no docid")
    docids = record["index"].get("docids") or {}
    collisions = docids.get("collisions") or {}
    if collisions.get("rate", 0.0) > COLLISIONS:
        out.append(
            f"{system}: {collisions['documents']:,} of {docids['documents']:,} documents of {dataset} share a docid "
            f"with another one (collision rate {collisions['rate']:.0%})"
        )
    return out


def depth(record: Mapping[str, Any], measure: Measure) -> int:
    """How many hits of a query a figure can come from: the measure's cutoff, or the run's k without one; not more than
    there are documents."""
    of = dict(measure.args).get("of")
    cutoff = parse(str(of)).k if of is not None else measure.k
    return min(int(record["k"] if cutoff is None else cutoff), int(record["dataset"]["documents"]))


def _hits(count: int) -> str:
    return f"{count:,} hit" if count == 1 else f"{count:,} hits"
