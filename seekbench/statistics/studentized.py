"""The studentized range, Tukey's distribution.

scipy.stats has it too, but takes half a second to import and seconds for twenty systems, and warns of integrals
that don't converge with thousands of degrees of freedom, which is what query sets have.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Quadrature points in each direction.
NODES = 160

#: Mass left out at either end of the deviation's distribution.
TAIL = 1e-14


def studentized_range_sf(q: npt.ArrayLike, systems: int, freedom: int) -> Floats:
    """float64 [values]: P(range of `systems` >= 2 normal variables / deviation > q), q [values] >= 0.

    The deviation is estimated with `freedom` degrees of freedom; for at least systems - 1 of them, which
    any table of two or more queries has, p is right to 1e-9. 1 - E[W(q s)], W the distribution of the
    range in units of the true deviation, s the ratio of estimated to true, that is chi / √freedom (Tukey 1953; as
    in Copenhaver & Holland 1988).
    """
    from scipy.special import gammainccinv, gammaincinv, ndtr

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    # Over log s, since with few degrees of freedom and a large q all happens at a small s. The density needs no
    # constant: the weights are made to sum to 1.
    lowest = np.log(gammaincinv(freedom / 2, TAIL) / (freedom / 2)) / 2
    highest = np.log(gammainccinv(freedom / 2, TAIL) / (freedom / 2)) / 2
    log_s = (lowest + highest) / 2 + (highest - lowest) / 2 * nodes
    s = np.exp(log_s)
    log_density = freedom * (log_s - (s**2 - 1) / 2)
    s_weights = weights * np.exp(log_density - log_density.max())
    s_weights /= s_weights.sum()
    # W(w) = systems * integral of the largest's density at z times the chance of all others in [z - w, z].
    z = 9.0 * nodes
    z_weights = systems * 9.0 * weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    below = ndtr(z)
    out = np.empty(np.shape(q), dtype=np.float64)
    for i, value in enumerate(np.asarray(q, dtype=np.float64)):
        within = (below - ndtr(z - value * s[:, None])) ** (systems - 1)
        out[i] = 1 - s_weights @ (within @ z_weights)
    return np.clip(out, 0.0, 1.0)
