"""Codes of quantisers for added documents: pq and rqvae."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError
from seekbench.retrievers.generative.docids.extend_parts import Grown, state_of
from seekbench.retrievers.generative.docids.extend_vectors import (
    BLOCK,
    Doubles,
    check_vectors,
    checked_rows,
    distances_to,
    is_near,
    vectors_of,
)
from seekbench.retrievers.generative.docids.inputs import BuildInputs, Floats, Ints
from seekbench.retrievers.generative.docids.sequences import Docids, Space, group, letters, places


def pq(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """The nearest codeword of each piece."""
    state, first = state_of(known, "centres_0"), known.documents
    centres: list[Doubles] = []
    while f"centres_{len(centres)}" in state:
        centres.append(np.asarray(state[f"centres_{len(centres)}"], dtype=np.float64))
    bounds = np.cumsum([0, *(centre.shape[1] for centre in centres)])
    vectors = vectors_of(known, inputs, int(bounds[-1]))
    turn = np.asarray(state["rotation"], dtype=np.float64) if "rotation" in state else None

    def pieces(rows: Ints) -> list[Doubles]:
        block = vectors[rows].astype(np.float64)
        if turn is not None:
            # One by one: rows of a product of matrices may be rounded otherwise when there are more of them.
            for point in block:
                point[:] = point @ turn
        return [
            distances_to(np.ascontiguousarray(block[:, a:b]), centre)
            for centre, (a, b) in zip(centres, pairwise(bounds.tolist()), strict=True)
        ]

    codes = np.empty((inputs.documents, len(centres)), dtype=np.int64)
    codes[:first] = _known_codes(known, len(centres))
    rows = checked_rows(known)
    near = [is_near(distances, codes[rows, piece]) for piece, distances in enumerate(pieces(rows))]
    check_vectors(known, np.all(near, axis=0))
    for at in range(first, inputs.documents, BLOCK):
        some = np.arange(at, min(at + BLOCK, inputs.documents))
        for piece, distances in enumerate(pieces(some)):
            codes[some, piece] = distances.argmin(axis=1)
    return _of_codes(known, codes, len(centres), builder.params.collisions)


def rqvae(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """The nearest codes of the saved network, and a free last one where an earlier document has them."""
    state, first, p = (
        state_of(known, "codebooks", "factor", "weight_0", "bias_0"),
        known.documents,
        builder.params,
    )
    books = np.asarray(state["codebooks"], dtype=np.float64)
    levels = len(books)
    vectors = vectors_of(known, inputs, state["weight_0"].shape[1])
    codes = np.empty((inputs.documents, levels), dtype=np.int64)
    codes[:first] = _known_codes(known, levels)
    rows = checked_rows(known)
    _, distances = _quantised(_encoded(state, vectors[rows]), books)
    # Sinkhorn has a say in the last level.
    near = [is_near(distances[level], codes[rows, level]) for level in range(levels - 1)]
    check_vectors(known, np.all(near, axis=0) if near else np.ones(0, dtype=np.bool_))
    divide, moved = bool(p.sinkhorn and p.rounds), 0
    used: dict[bytes, set[int]] = {}
    if divide:
        for code in codes[:first]:
            used.setdefault(code[:-1].tobytes(), set()).add(int(code[-1]))
    for at in range(first, inputs.documents, BLOCK):
        some = slice(at, min(at + BLOCK, inputs.documents))
        codes[some], distances = _quantised(_encoded(state, vectors[some]), books)
        for code, last in zip(codes[some], distances[-1], strict=True) if divide else ():
            taken = used.setdefault(code[:-1].tobytes(), set())
            if int(code[-1]) in taken and len(taken) < len(last):
                code[-1] = next(c for c in np.argsort(last, kind="stable").tolist() if c not in taken)
                moved += 1
            taken.add(int(code[-1]))
    grown = _of_codes(known, codes, levels, p.collisions)
    return Grown(grown.docids, {**grown.facts, "moved": moved})


def _known_codes(known: Docids, levels: int) -> Ints:
    """int64 [documents, levels]: the first codes of each docid, without digits."""
    assert known.tokens is not None
    assert known.indptr is not None
    if len(known.spaces) < levels or int(np.diff(known.indptr).min()) < levels:
        raise InputError(
            f"docids '{known.builder}' have fewer than {levels} codes", remedy="build them again"
        )
    places_of = known.indptr[:-1, None] + np.arange(levels)
    codes: Ints = known.tokens[places_of].astype(np.int64) - known.space_start[:levels]
    return codes


def _of_codes(known: Docids, codes: Ints, levels: int, mode: str) -> Grown:
    """Docids from codes of all documents, int64 [documents, levels]; mode: leave or digit, as in parameters."""
    if ("digits" in known.state) != (mode == "digit"):
        raise InputError(
            f"docids '{known.builder}' were not built with `collisions: {mode}`",
            remedy="extend with the parameters they were built with",
        )
    n, first = len(codes), known.documents
    numbers = group(codes.reshape(-1), np.arange(n + 1, dtype=np.int64) * levels)
    facts: dict[str, Any] = {
        "in_known_leaves": int(np.isin(numbers[first:], numbers[:first]).sum()),
        "continuing": 0,
    }
    sizes = [space.size for space in known.spaces]
    if mode == "leave":
        return Grown(Docids.of_matrix(known.builder, codes, sizes, state=known.state), facts)
    place, digits = places(numbers), int(known.state["digits"][0])
    if digits:
        # As `with_digits` writes them; the first, which counts most, has no upper end.
        base = max(2, *sizes[:levels])
        added: list[Ints] = []
        for _ in range(digits - 1):
            added.insert(0, place % base)
            place = place // base
        sizes[levels] = max(sizes[levels], int(place.max()) + 1)
        whole = np.column_stack([codes, place, *added])
        return Grown(Docids.of_matrix(known.builder, whole, sizes, state=known.state), facts)
    more = place > 0
    facts["continuing"] = int(more[first:].sum())
    if more.any():
        sizes = [*sizes[:levels], int(place.max())]
    indptr = np.concatenate([[0], np.cumsum(levels + more)]).astype(np.int64)
    start = np.cumsum([0, *sizes])
    tokens = np.empty(indptr[-1], dtype=np.int64)
    tokens[indptr[:-1, None] + np.arange(levels)] = codes + start[:levels]
    tokens[indptr[1:][more] - 1] = start[levels] + place[more] - 1
    spaces = [Space(letters(level), size) for level, size in enumerate(sizes)]
    return Grown(Docids.of_codes(known.builder, tokens, indptr, spaces, state=known.state), facts)


def _encoded(state: Mapping[str, npt.NDArray[Any]], vectors: Floats) -> Doubles:
    """float64 [n, latent]: what the saved encoder makes of vectors, each by itself."""
    layers: list[tuple[Doubles, ...]] = []
    while f"weight_{len(layers)}" in state:
        layers.append(
            tuple(np.asarray(state[f"{kind}_{len(layers)}"], dtype=np.float64) for kind in ("weight", "bias"))
        )
    factor = float(state["factor"][0])
    out = np.empty((len(vectors), layers[-1][0].shape[0]), dtype=np.float64)
    for at, vector in enumerate(vectors):
        point = vector.astype(np.float64) * factor
        for number, (weight, bias) in enumerate(layers):
            point = weight @ (np.maximum(point, 0) if number else point) + bias
        out[at] = point
    return out


def _quantised(latent: Doubles, books: Doubles) -> tuple[Ints, list[Doubles]]:
    """(int64 [n, levels] nearest codes, distances to all codes of each level)."""
    codes, distances = [], []
    residual = latent
    for book in books:
        distances.append(distances_to(residual, book))
        codes.append(distances[-1].argmin(axis=1))
        residual = residual - book[codes[-1]]
    return np.column_stack(codes), distances
