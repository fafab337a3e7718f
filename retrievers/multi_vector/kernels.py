"""Compiled loops of late interaction.

A score is a function of one query and one document alone: every inner product is one chain of multiply-adds over the
dimensions and every score one sum over the query vectors, wherever the pair stands, so a re-ranked document has bit for
bit the score that exhaustive search gives it.

Query vectors come in groups of LANES, transposed, so that a register holds one dimension of a whole group. The
innermost loop, a *tile*, keeps the inner products of a few document vectors with two groups in registers from the first
dimension to the last and writes only the highest of each lane. Its instructions are written out for numba's compiler,
which keeps no tile in registers by itself. It stands in this file since numba's cache sees no change of another.

of_query: int64 [queries, 2], the first and one past the last lane of each query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numba as nb
import numpy as np
from llvmlite import binding, ir
from numba.core import types
from numba.extending import intrinsic


def _registers() -> tuple[int, int]:
    """(lanes of a vector register, document vectors of a tile) that this machine's registers hold best."""
    # What numba was told to compile for, else what there is.
    features = nb.config.CPU_FEATURES  # type: ignore[attr-defined]
    if features is None:
        try:
            features = binding.get_host_cpu_features().flatten()
        except RuntimeError:  # of a processor that LLVM can't ask
            features = ""
    return (16, 8) if "+avx512f" in features.split(",") else (8, 6)


#: Query vectors of a group, which lie side by side in memory; document vectors of the largest tile.
LANES, ROWS = _registers()
#: Groups of a tile.
GROUPS = 2
#: Document vectors of a tile of documents that are shorter than ROWS.
_SHORT = 4

_I64, _I32, _I16, _F32 = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.FloatType()


def _tile(kind: str, rows: int, groups: int) -> Callable[..., None]:
    """tile(lanes, group, vectors, row, highest): raises `highest` [lanes] from `group` x LANES on to the highest inner
    products of `groups` groups of query vectors with document vectors row .. row + rows - 1.

    float32: lanes float32 [groups, dim, LANES], vectors float32 [tokens, dim], highest float32.
    int16: lanes int16 [groups, dim / 2, LANES, 2], vectors int16 [tokens, dim], highest int32; dim is even, and sums
    must fit in int32.
    """
    emit = _Float() if kind == "float32" else _Int()

    def tile(typing: Any, lanes: Any, group: Any, vectors: Any, row: Any, highest: Any) -> Any:
        signature = types.void(lanes, types.int64, vectors, types.int64, highest)

        def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            arrays = [
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args, args, strict=True)
                if isinstance(kind, types.Array)
            ]
            queries, documents, out = arrays
            dim = builder.extract_value(documents.shape, 1)
            steps = builder.sdiv(dim, _number(emit.width))
            size = builder.mul(dim, _number(LANES))
            starts = [
                builder.gep(queries.data, [builder.mul(size, builder.add(args[1], _number(g)))])
                for g in range(groups)
            ]
            tokens = [
                builder.gep(documents.data, [builder.mul(dim, builder.add(args[3], _number(r)))])
                for r in range(rows)
            ]
            sums = _loop(builder, emit, steps, starts, tokens)
            where = builder.gep(out.data, [builder.mul(args[1], _number(LANES))])
            for g in range(groups):
                place = builder.bitcast(builder.gep(where, [_number(g * LANES)]), emit.sums.as_pointer())
                best = builder.load(place, align=4)
                for r in range(rows):
                    best = builder.select(emit.above(builder, sums[r][g], best), sums[r][g], best)
                builder.store(best, place, align=4)
            return context.get_dummy_value()

        return signature, code

    made: Callable[..., None] = intrinsic(tile)
    return made


def _loop(
    builder: ir.IRBuilder, emit: Any, steps: Any, starts: list[Any], tokens: list[Any]
) -> list[list[Any]]:
    """[rows][groups] registers of sums over all dimensions."""
    before = builder.block
    body, after = builder.append_basic_block("dimension"), builder.append_basic_block("summed")
    empty = builder.icmp_signed(">", steps, _number(0))
    zero = ir.Constant(emit.sums, [ir.Constant(emit.sums.element, 0)] * LANES)
    builder.cbranch(empty, body, after)
    builder.position_at_end(body)
    step = builder.phi(_I64)
    step.add_incoming(_number(0), before)
    held = [[builder.phi(emit.sums) for _ in starts] for _ in tokens]
    offset = builder.mul(step, _number(LANES * emit.width))
    left = [
        builder.load(builder.bitcast(builder.gep(start, [offset]), emit.loaded.as_pointer()), align=emit.size)
        for start in starts
    ]
    new: list[list[Any]] = []
    for token in tokens:
        right = emit.spread(builder, builder.gep(token, [builder.mul(step, _number(emit.width))]))
        new.append([emit.add(builder, held[len(new)][g], left[g], right) for g in range(len(starts))])
    following = builder.add(step, _number(1))
    step.add_incoming(following, body)
    for row, sums in zip(held, new, strict=True):
        for phi, value in zip(row, sums, strict=True):
            phi.add_incoming(zero, before)
            phi.add_incoming(value, body)
    builder.cbranch(builder.icmp_signed("<", following, steps), body, after)
    builder.position_at_end(after)
    out = []
    for sums in new:
        out.append([builder.phi(emit.sums) for _ in sums])
        for phi, value in zip(out[-1], sums, strict=True):
            phi.add_incoming(zero, before)
            phi.add_incoming(value, body)
    return out


class _Float:
    """One dimension a step."""

    width, size = 1, 4
    sums = loaded = ir.VectorType(_F32, LANES)

    def spread(self, builder: ir.IRBuilder, pointer: Any) -> Any:
        return _everywhere(builder, builder.load(pointer, align=4), self.sums)

    def add(self, builder: ir.IRBuilder, sums: Any, left: Any, right: Any) -> Any:
        # Contracted to one rounding where the machine can, in tiles of all sizes alike.
        product = builder.fmul(left, right, flags=("contract",))
        return builder.fadd(sums, product, flags=("contract",))

    def above(self, builder: ir.IRBuilder, one: Any, other: Any) -> Any:
        return builder.fcmp_ordered(">", one, other)


class _Int:
    """Two dimensions a step: the form of the instructions that multiply 16 bits and add pairs."""

    width, size = 2, 2
    sums, loaded = ir.VectorType(_I32, LANES), ir.VectorType(_I16, 2 * LANES)

    def spread(self, builder: ir.IRBuilder, pointer: Any) -> Any:
        pair = builder.load(builder.bitcast(pointer, _I32.as_pointer()), align=2)
        return builder.bitcast(_everywhere(builder, pair, self.sums), self.loaded)

    def add(self, builder: ir.IRBuilder, sums: Any, left: Any, right: Any) -> Any:
        wide = ir.VectorType(_I32, 2 * LANES)
        products = builder.mul(builder.sext(left, wide), builder.sext(right, wide), flags=("nsw",))
        even, odd = (
            builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), _mask(range(at, 2 * LANES, 2)))
            for at in (0, 1)
        )
        return builder.add(sums, builder.add(even, odd))

    def above(self, builder: ir.IRBuilder, one: Any, other: Any) -> Any:
        return builder.icmp_signed(">", one, other)


def _everywhere(builder: ir.IRBuilder, value: Any, kind: Any) -> Any:
    """A register with one value in all lanes."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, _mask([0] * LANES))


def _mask(places: Iterable[int]) -> ir.Constant:
    numbers = [ir.Constant(_I32, place) for place in places]
    return ir.Constant(ir.VectorType(_I32, len(numbers)), numbers)


def _number(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _over(kind: str, groups: int) -> Any:
    """A loop over the vectors of a document. What does not fill a tile goes into one that overlaps with the last: a
    product taken twice changes no maximum."""
    large, short, one = (_tile(kind, rows, groups) for rows in (ROWS, _SHORT, 1))

    @nb.njit(nogil=True)
    def over(
        lanes: Any, group: Any, vectors: Any, start: Any, stop: Any, highest: Any
    ) -> None:  # pragma: no cover (compiled)
        if stop - start >= ROWS:
            j = start
            while j + ROWS <= stop:
                large(lanes, group, vectors, j, highest)
                j += ROWS
            if j < stop:
                large(lanes, group, vectors, stop - ROWS, highest)
        elif stop - start >= _SHORT:
            short(lanes, group, vectors, start, highest)
            short(lanes, group, vectors, stop - _SHORT, highest)
        else:
            for j in range(start, stop):
                one(lanes, group, vectors, j, highest)

    return over


_float_groups, _float_group = _over("float32", GROUPS), _over("float32", 1)
_int_groups, _int_group = _over("int16", GROUPS), _over("int16", 1)


@nb.njit(cache=True, nogil=True)
def _highest(
    lanes: Any, first: Any, last: Any, vectors: Any, start: Any, stop: Any, highest: Any
) -> None:  # pragma: no cover (compiled)
    """highest float32 [lanes]: of each lane of groups first..last - 1 the highest product with vectors start..stop."""
    highest[first * LANES : last * LANES] = -np.inf
    group = first
    while group + GROUPS <= last:
        _float_groups(lanes, group, vectors, start, stop, highest)
        group += GROUPS
    while group < last:
        _float_group(lanes, group, vectors, start, stop, highest)
        group += 1


@nb.njit(cache=True, nogil=True)
def _sum(highest: Any, first: Any, last: Any) -> Any:  # pragma: no cover (compiled)
    total = np.float32(0)
    for i in range(first, last):
        total += highest[i]
    return total


@nb.njit(cache=True, nogil=True, parallel=True)
def score_block(
    lanes: Any, of_query: Any, vectors: Any, of_document: Any, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [queries, documents]: all scores; -inf for a document without vectors.

    lanes: float32 [groups, dim, LANES]; vectors: float32 [tokens, dim]; of_document: int64 indptr.
    """
    groups = len(lanes)
    for d in nb.prange(len(of_document) - 1):
        start, stop = of_document[d], of_document[d + 1]
        if start == stop:
            out[:, d] = -np.inf
        else:
            highest = np.empty(groups * LANES, dtype=np.float32)
            _highest(lanes, 0, groups, vectors, start, stop, highest)
            for q in range(len(of_query)):
                out[q, d] = _sum(highest, of_query[q, 0], of_query[q, 1])


@nb.njit(cache=True, nogil=True, parallel=True)
def score_pairs(
    lanes: Any, of_query: Any, vectors: Any, of_document: Any, who: Any, where: Any, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [pairs]: scores of (query who[i], document where[i]). Each query begins a group of its own."""
    for i in nb.prange(len(who)):
        start, stop = of_document[where[i]], of_document[where[i] + 1]
        if start == stop:
            out[i] = -np.inf
        else:
            first, last = of_query[who[i], 0], of_query[who[i], 1]
            group, groups = first // LANES, -(-(last - first) // LANES)
            highest = np.empty(groups * LANES, dtype=np.float32)
            _highest(lanes[group : group + groups], 0, groups, vectors, start, stop, highest)
            out[i] = _sum(highest, 0, last - first)


@nb.njit(cache=True, nogil=True, parallel=True)
def scan_block(
    lanes: Any, scales: Any, of_query: Any, vectors: Any, of_document: Any, out: Any
) -> None:  # pragma: no cover (compiled)
    """out float32 [queries, documents]: scores of rounded vectors; -inf for a document without vectors.

    lanes: int16 [groups, dim / 2, LANES, 2]; scales: float32 [lanes], what a product is worth; vectors: int16
    [tokens, dim].
    """
    groups = len(lanes)
    for d in nb.prange(len(of_document) - 1):
        start, stop = of_document[d], of_document[d + 1]
        if start == stop:
            out[:, d] = -np.inf
        else:
            highest = np.full(groups * LANES, np.int32(-(2**31) + 1), dtype=np.int32)
            group = 0
            while group + GROUPS <= groups:
                _int_groups(lanes, group, vectors, start, stop, highest)
                group += GROUPS
            while group < groups:
                _int_group(lanes, group, vectors, start, stop, highest)
                group += 1
            for q in range(len(of_query)):
                total = np.float32(0)
                for i in range(of_query[q, 0], of_query[q, 1]):
                    total += np.float32(highest[i]) * scales[i]
                out[q, d] = total


@nb.njit(cache=True, nogil=True, parallel=True)
def largest(vectors: Any, out: Any) -> None:  # pragma: no cover (compiled)
    """out float32 [parts, 2]: the largest absolute number and the largest squared length of equal parts of the rows."""
    parts = len(out)
    for part in nb.prange(parts):
        number = length = np.float32(0)
        for i in range(len(vectors) * part // parts, len(vectors) * (part + 1) // parts):
            square = np.float32(0)
            for x in vectors[i]:
                number = max(number, abs(x))
                square += x * x
            length = max(length, square)
        out[part, 0], out[part, 1] = number, length


@nb.njit(cache=True, nogil=True, parallel=True)
def rounded(vectors: Any, scale: Any, out: Any) -> None:  # pragma: no cover (compiled)
    """out int16 [tokens, even dim]: vectors float32 [tokens, dim] x scale, rounded. A last column beyond dim stays."""
    dim = vectors.shape[1]
    for i in nb.prange(len(vectors)):
        for j in range(dim):
            out[i, j] = np.int16(np.rint(vectors[i, j] * scale))
