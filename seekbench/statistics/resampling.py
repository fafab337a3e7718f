"""Bootstrap resamples of queries, drawn in blocks so that memory stays bounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Seed of every resampling that is not given another; its value means nothing.
SEED = 20_250_101

#: Draws held at once: 2^20 of them with their counts take about 30 MB and stay near the processor's cache.
BLOCK = 1 << 20


def resampled_sums(values: Floats, *, samples: int, seed: int) -> Floats:
    """float64 [samples, columns]: column sums of `samples` bootstrap resamples of the rows of values [rows, columns].

    All columns share the resamples. Equal for any BLOCK up to the order in which a sum is rounded. At least one
    row is required.
    """
    rows, columns = values.shape
    rng = np.random.Generator(np.random.PCG64(seed))
    out = np.empty((samples, columns), dtype=np.float64)
    step = max(1, min(samples, BLOCK // rows))
    # Counts times values is one matrix product for all columns, where gathering would take one pass a column.
    offsets = (np.arange(step, dtype=np.int64) * rows)[:, None]
    for start in range(0, samples, step):
        size = min(step, samples - start)
        # 32 bits a draw: narrower draws throw bits away at the end of a call, so blocks would change the stream.
        drawn = rng.integers(0, rows, size=(size, rows), dtype=np.uint32) + offsets[:size]
        counts = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        out[start : start + size] = counts.astype(np.float64) @ values
    return out
