"""Names of retriever types. A new one is a module and a line here; third parties use the entry point group
`seekbench.retrievers`. Classes are imported on first use."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from seekbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from seekbench.retrievers.protocol import Retriever

#: type -> ("module:Class", one line for `seekbench ls`)
BUILTIN: dict[str, tuple[str, str]] = {
    "bm25": ("seekbench.retrievers.bm25:BM25", "Lucene BM25 (Anserini's analysis), RM3, query likelihood"),
    "dense": (
        "seekbench.retrievers.dense:Dense",
        "sentence-transformers or transformers encoder, exact search",
    ),
    "fusion": (
        "seekbench.retrievers.fusion:Fusion",
        "RRF, weighted min-max or a ranx method over other retrievers",
    ),
    "generative": (
        "seekbench.retrievers.generative.retriever:Generative",
        "a decoder that writes docids (DSI and its descendants), constrained beam search",
    ),
    "multi_vector": (
        "seekbench.retrievers.multi_vector.retriever:MultiVector",
        "a vector a token, late interaction (ColBERT); MUVERA, PLAID and other candidates",
    ),
    "prompt_reps": (
        "seekbench.retrievers.prompt_reps.retriever:PromptReps",
        "one prompt to a causal language model gives a dense and a sparse vector (PromptReps), or their hybrid",
    ),
    "run_file": ("seekbench.retrievers.run_file:RunFile", "an existing TREC run as a system"),
    "sparse": (
        "seekbench.retrievers.sparse.retriever:Sparse",
        "learned weights of terms (SPLADE family, inference-free, uniCOIL), exact index or Lucene's",
    ),
}


@cache
def known() -> dict[str, tuple[str, str]]:
    """All types: ours and those of installed packages. An entry point may not take a name of ours."""
    types = dict(BUILTIN)
    for point in entry_points(group="seekbench.retrievers"):
        if point.name in types:
            raise InputError(
                f"entry point {point.value} takes the retriever type '{point.name}' that exists already"
            )
        types[point.name] = (point.value, f"from the package {point.dist.name if point.dist else '?'}")
    return types


def resolve(name: str) -> type[Retriever]:
    """The class of a type. Raises InputError for an unknown name."""
    types = known()
    if name not in types:
        raise InputError(f"unknown retriever type '{name}'", remedy=did_you_mean(name, types))
    module, _, attribute = types[name][0].partition(":")
    return cast("type[Retriever]", getattr(importlib.import_module(module), attribute))
