"""Docids: the names by which a generative model calls documents, or items of a recommender.

`Docids` holds them in flat arrays; `build` makes them by one of the builders in `registry`; `extend` adds those of
documents that come later; `report` says how good they are before a model is trained. A builder sees the corpus,
vectors, and training data (`BuildInputs`); test queries have no place in its interface.
"""

from seekbench.retrievers.generative.docids.extend import extend
from seekbench.retrievers.generative.docids.inputs import BuildInputs, DocQueries, Interactions
from seekbench.retrievers.generative.docids.registry import Builder, build, known, make, resolve
from seekbench.retrievers.generative.docids.report import report
from seekbench.retrievers.generative.docids.sequences import Docids, Space, positions

__all__ = [
    "MODULES",
    "BuildInputs",
    "Builder",
    "DocQueries",
    "Docids",
    "Interactions",
    "Space",
    "build",
    "extend",
    "known",
    "make",
    "positions",
    "report",
    "resolve",
]

#: All modules whose code makes docids: part of the key of whatever is made with them (`hashing.of_code`).
MODULES = tuple(
    f"seekbench.retrievers.generative.docids.{name}"
    for name in (
        "collaborative", "extend", "extend_codes", "extend_collaborative", "extend_numbers", "extend_parts",
        "extend_semantic", "extend_texts", "extend_vectors", "hybrid", "inputs", "kmeans", "numbers",
        "quantisation", "registry", "rqvae", "semantic", "sequences", "spectral", "texts", "tree",
    )
)  # fmt: skip
