"""Groups of systems that can't be told apart: the compact letter display."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def groups(means: npt.ArrayLike, significant: npt.ArrayLike) -> list[tuple[int, ...]]:
    """The largest sets of systems of which no two differ, the best system's first; each by descending mean.

    means: float64 [systems]; significant: bool [systems, systems], symmetric: which pairs differ, for instance
    adjusted p-values < 0.05. By insertion and absorption (Piepho 2004): two systems share a group if and only if
    they don't differ. A system is in several groups where differences aren't transitive. No system: no group.
    """
    values, differ = np.asarray(means, dtype=np.float64), np.asarray(significant)
    systems = len(values)
    if differ.shape != (systems, systems) or differ.dtype != np.bool_:
        raise ValueError(f"significant must be bool [{systems}, {systems}]")
    if (differ != differ.T).any() or differ.diagonal().any():
        raise ValueError("significant must be symmetric, and no system differs from itself")
    if not systems:
        return []
    order = [int(i) for i in np.argsort(-values, kind="stable")]
    columns = [frozenset(range(systems))]  # of places in the order
    for i in range(systems):
        for j in range(i + 1, systems):
            if differ[order[i], order[j]]:
                columns = _split(columns, i, j)
    return [tuple(order[i] for i in column) for column in sorted(map(sorted, columns))]


def letters(means: npt.ArrayLike, significant: npt.ArrayLike) -> list[str]:
    """One string a system, in the order given: "a" for the best group, "ab" for a system in the first two.

    Arguments as of `groups`. Two systems share a letter if and only if they don't differ. After z comes a1.
    """
    out = [""] * len(np.asarray(means))
    for place, members in enumerate(groups(means, significant)):
        for i in members:
            out[i] += letter(place)
    return out


def letter(place: int) -> str:
    """a to z, a1 to z1, and so on."""
    return chr(ord("a") + place % 26) + (str(place // 26) if place >= 26 else "")


def _split(columns: list[frozenset[int]], i: int, j: int) -> list[frozenset[int]]:
    """Each column that holds i and j becomes one without i and one without j, unless another column holds it all."""
    untouched = [c for c in columns if not (i in c and j in c)]
    halves = {c - {k} for c in columns if i in c and j in c for k in (i, j)}
    kept = [c for c in halves if not any(c < other for other in halves)]
    return untouched + [c for c in kept if not any(c <= other for other in untouched)]
