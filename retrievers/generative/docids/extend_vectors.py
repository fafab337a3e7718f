"""Vectors of a grown corpus: distances that depend on no other row, and whether known docids agree with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Floats, Ints
from seekbench.retrievers.generative.docids.sequences import Docids

Doubles = npt.NDArray[np.float64]

#: Rows of vectors that are placed at a time.
BLOCK = 2048
#: float64 numbers of a block of differences in memory at once.
_DIFFERENCES = 1 << 22
#: Known documents whose vectors are compared with their docids, at most.
_CHECKED = 256
#: A vector may be this much further from its centre, as a share of the largest distance, than from the nearest.
_ROUNDING = 1e-3


def distances_to(points: Doubles, centres: Doubles) -> Doubles:
    """float64 [n, centres]: squared distances. Sums of differences, whose order depends on no other row (as it may
    in a product of matrices)."""
    out = np.empty((len(points), len(centres)), dtype=np.float64)
    step = max(1, _DIFFERENCES // max(1, centres.size))
    for at in range(0, len(points), step):
        out[at : at + step] = np.square(points[at : at + step, None] - centres).sum(axis=-1)
    return out


def vectors_of(known: Docids, inputs: BuildInputs, dim: int) -> Floats:
    """The vectors of all documents. Raises InputError where they have other than `dim` dimensions."""
    vectors = inputs.the_embeddings(known.builder)
    if vectors.shape[1] != dim:
        raise InputError(
            f"docids '{known.builder}' were built of vectors of {dim} dimensions, these have {vectors.shape[1]}",
            remedy="encode with the same encoder",
        )
    return vectors


def checked_rows(known: Docids) -> Ints:
    """Some known documents, evenly spaced."""
    return np.unique(np.linspace(0, known.documents - 1, min(_CHECKED, known.documents)).astype(np.int64))


def is_near(distances: Doubles, codes: Ints) -> npt.NDArray[np.bool_]:
    """bool [n]: whether each code is that of the nearest centre, or one as near but for rounding."""
    own = distances[np.arange(len(codes)), codes]
    near: npt.NDArray[np.bool_] = own - distances.min(axis=1) <= _ROUNDING * distances.max(axis=1)
    return near


def check_vectors(known: Docids, agree: npt.NDArray[np.bool_]) -> None:
    """agree: bool [documents]. Other vectors than those of the build agree by chance only."""
    if len(agree) and agree.mean() < 0.9:
        raise InputError(
            f"docids '{known.builder}': {int((~agree).sum())} of {len(agree)} known documents that were looked at "
            "have vectors that lead elsewhere",
            remedy="give the same encoder's vectors, of known documents in the same order",
        )
