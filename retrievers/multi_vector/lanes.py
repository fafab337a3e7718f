"""Query vectors side by side, as the compiled loops of late interaction take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.multi_vector import kernels
from seekbench.retrievers.multi_vector.kernels import LANES
from seekbench.retrievers.multi_vector.ragged import Floats, Ints, spans

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.maxsim import Packed


def side_by_side(queries: Packed, *, apart: bool = False) -> tuple[Floats, Ints]:
    """(float32 [groups, dim, LANES], int64 [queries, 2]): vectors of all queries, a lane each, and the first and one
    past the last lane of each query. With `apart` a query begins a group of its own."""
    of_query = _lanes_of(queries.lengths(), apart)
    vectors = _grouped(queries.vectors, of_query)
    return np.ascontiguousarray(vectors.transpose(0, 2, 1)), of_query


class Rounded:
    """Queries in 16 bits, and the scores that they give documents in 16 bits: twice as fast as float32, and off by at
    most `slack`.

    A vector is scaled so that neither a number exceeds 16 bits nor an inner product 32.
    """

    def __init__(self, queries: Packed) -> None:
        vectors = queries.vectors.astype(np.float64)
        self._queries, self._dim = queries, vectors.shape[1]
        self._lengths = np.linalg.norm(vectors, axis=1)
        scales = _scales(np.abs(vectors).max(axis=1, initial=0.0), self._lengths, self._dim)
        numbers = np.rint(vectors * scales[:, None])
        self._errors = np.linalg.norm(numbers / scales[:, None] - vectors, axis=1)
        self._of_query = _lanes_of(queries.lengths(), False)
        padded = np.zeros((len(numbers), self._dim + self._dim % 2), dtype=np.int16)
        padded[:, : self._dim] = numbers
        grouped = _grouped(padded, self._of_query)
        pairs = grouped.reshape(len(grouped), LANES, -1, 2).transpose(0, 2, 1, 3)
        self._lanes = np.ascontiguousarray(pairs)
        self._worth = np.zeros(len(grouped) * LANES, dtype=np.float64)
        self._worth[spans(self._of_query[:, 0], queries.lengths())] = 1 / scales
        #: Of the documents seen: the longest vector, the largest error of one.
        self._longest = self._coarsest = 0.0

    def __call__(self, vectors: Floats, indptr: Ints) -> Floats:
        """float32 [queries, documents]; vectors: float32 [tokens, dim] of documents, end to end."""
        extremes = np.zeros((64, 2), dtype=np.float32)
        kernels.largest(vectors, extremes)
        number = float(extremes[:, 0].max())
        # The squares were summed in float32.
        length = float(np.sqrt(extremes[:, 1].max() * (1 + self._dim * 2.0**-23)))
        scale = np.float32(_scales(np.array([number]), np.array([length]), self._dim)[0])
        numbers = np.zeros((len(vectors), self._dim + self._dim % 2), dtype=np.int16)
        kernels.rounded(vectors, scale, numbers)
        self._longest = max(self._longest, length)
        self._coarsest = max(self._coarsest, _STEP * np.sqrt(self._dim) / float(scale))
        out = np.empty((len(self._queries), len(indptr) - 1), dtype=np.float32)
        worth = (self._worth / float(scale)).astype(np.float32)
        kernels.scan_block(self._lanes, worth, self._of_query, numbers, indptr, out)
        return out

    def slack(self) -> npt.NDArray[np.float64]:
        """float64 [queries]: how far a score can lie from the float32 score of the same pair.

        With e the error of rounding a vector, an inner product errs by at most |q| e_d + |d| e_q + e_q e_d
        (Cauchy-Schwarz), and so does a maximum. A float32 inner product errs by at most dim x 2^-24 x |q| |d| (Higham
        2002, eq. 3.5), and sums of n of them by n x 2^-24 times the sum of their sizes on top.
        """
        n = np.repeat(self._queries.lengths(), self._queries.lengths())
        sizes = self._lengths * self._longest
        each = (
            self._lengths * self._coarsest
            + (self._longest + self._coarsest) * self._errors
            + 2.02 * (self._dim + n + 8) * 2.0**-24 * sizes
        )
        ends = np.concatenate([[0.0], np.cumsum(each)])
        slack: npt.NDArray[np.float64] = ends[self._queries.indptr[1:]] - ends[self._queries.indptr[:-1]]
        return slack


#: What a number can be off by after scaling and rounding in float32, in steps.
_STEP = 0.505


def _scales(
    numbers: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64], dim: int
) -> npt.NDArray[np.float64]:
    """What vectors are multiplied by. numbers: their largest absolute numbers; lengths: their lengths."""
    room = np.sqrt(2.0**31 - 1) - _STEP * np.sqrt(dim)
    with np.errstate(divide="ignore"):
        scales: npt.NDArray[np.float64] = np.minimum(32_767 / numbers, room / lengths)
    return np.where(np.isfinite(scales), scales, 1.0)


def _lanes_of(lengths: Ints, apart: bool) -> Ints:
    room = -(-lengths // LANES) * LANES if apart else lengths
    first = np.cumsum(room) - room
    return np.stack([first, first + lengths], axis=1)


def _grouped(vectors: npt.NDArray[Any], of_query: Ints) -> npt.NDArray[Any]:
    """[groups, LANES, dim]: vectors in their lanes, zeros in all others."""
    groups = -(-int(of_query[-1, 1]) // LANES) if len(of_query) else 0
    out = np.zeros((groups * LANES, vectors.shape[1]), dtype=vectors.dtype)
    out[spans(of_query[:, 0], of_query[:, 1] - of_query[:, 0])] = vectors
    return out.reshape(groups, LANES, vectors.shape[1])
