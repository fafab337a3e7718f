"""Runs and judgments by id, one row a line, before documents have row numbers: what files, frames and
dictionaries are read into.

Document ids stay what Arrow read: bytes end to end. To be matched they become 64-bit hashes, and every match is
verified by the bytes, so that a figure never hangs on a hash. Nothing here is a Python object a hit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.errors import Report

Codes = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]

#: Rows sorted at a time, about.
_SORTED = 1 << 18
#: Rows hashed at a time: the temporaries stay in the processor's cache.
_BLOCK = 1 << 16
#: Bytes of a string that are hashed word by word; no id is longer.
_LONG = 256


@dataclass(frozen=True)
class Source:
    """Where rows came from, for messages. name: as the user wrote it; line_of: row -> 1-based line, where the
    source has lines."""

    name: str = ""
    line_of: Callable[[int], int] | None = field(default=None, compare=False)

    def line(self, row: int) -> int | None:
        return None if self.line_of is None else self.line_of(row)


@dataclass(frozen=True)
class Columns:
    """Row i is about the pair (`query_ids[query[i]]`, `doc[i]`).

    query_ids: Arrow large_string without duplicates, in order of first appearance; query: int32 [rows]; doc:
    Arrow large_string [rows], one chunk, no nulls.
    """

    query_ids: pa.Array
    query: Codes
    doc: pa.Array
    source: Source = field(default_factory=Source, kw_only=True)

    def __len__(self) -> int:
        return len(self.query)

    @cached_property
    def keys(self) -> Keys:
        """uint64 [rows]: a hash of (query id, document id) that is the same in every table."""
        return pair_keys(hash_strings(self.query_ids), self.query, self.doc)

    @cached_property
    def repeated(self) -> npt.NDArray[np.int64]:
        """Rows whose pair stood in an earlier row, in order."""
        return repeated(self.keys, self.query, self.doc)

    def pair(self, row: int) -> tuple[str, str]:
        """(query id, document id) of a row."""
        return self.query_ids[int(self.query[row])].as_py(), self.doc[row].as_py()

    def unique(self, row: int) -> tuple[str, ...]:
        """What must not occur in a second row."""
        return self.pair(row)


@dataclass(frozen=True)
class HitColumns(Columns):
    """A run: scores float64 [rows], as given; they become float32 when they are ranked. NaN is refused."""

    scores: npt.NDArray[np.float64]

    def refuse_repeated(self) -> None:
        """Raises InputError for each (query, document) that occurs twice."""
        again = self.repeated
        if len(again):
            _raise_repeated(self, again, "duplicate-hit", "has document", "a document can have one rank only")

    @cached_property
    def finite(self) -> bool:
        """Whether all scores are numbers and finite."""
        return bool(np.isfinite(self.scores).all())

    def refuse_nan(self) -> None:
        """Raises InputError for scores that are NaN."""
        if self.finite:
            return
        bad = np.flatnonzero(np.isnan(self.scores))
        if not len(bad):
            return
        report = Report()
        for row in bad[: report.shown + 1].tolist():
            query, doc = self.pair(row)
            report.error(
                "nan-score",
                f"query '{query}', document '{doc}': the score is NaN, which has no rank",
                where=self.source.name,
                line=self.source.line(row),
            )
        report.counts[("nan-score", self.source.name, "error")] = len(bad)
        report.raise_if_errors()


@dataclass(frozen=True)
class JudgmentColumns(Columns):
    """Judgments: grades int32 [rows]. subtopic: Arrow large_string [rows] where the qrels tell subtopics apart (TREC
    diversity tracks; column 2), else None; a pair may then occur once a subtopic."""

    grades: npt.NDArray[np.int32]
    subtopic: pa.Array | None = None

    def refuse_repeated(self) -> None:
        """Raises InputError for each (query, document) that is judged twice (for the same subtopic)."""
        again = self.repeated
        if self.subtopic is not None and len(again):
            topic = coded(self.subtopic)[1]
            again = repeated(_mix(self.keys ^ _mix(topic.astype(np.uint64))), self.query, self.doc, topic)
        if len(again):
            _raise_repeated(self, again, "duplicate-judgment", "has a judgment of", "keep one grade only")

    def unique(self, row: int) -> tuple[str, ...]:
        return (*self.pair(row), *([] if self.subtopic is None else [self.subtopic[row].as_py()]))


def _raise_repeated(table: Columns, again: npt.NDArray[np.int64], code: str, verb: str, why: str) -> None:
    report = Report()
    for row in again[: report.shown].tolist():
        query, doc = table.pair(row)
        same = np.flatnonzero(table.keys == table.keys[row])
        first = next(int(r) for r in same if table.unique(int(r)) == table.unique(row))
        line = table.source.line(first)
        report.error(
            code,
            f"query '{query}' {verb} '{doc}' a second time" + (f" (first in line {line})" if line else ""),
            where=table.source.name,
            line=table.source.line(row),
            remedy=f"{why}; remove one of them",
        )
    report.counts[(code, table.source.name, "error")] = len(again)
    report.raise_if_errors()


def repeated(keys: Keys, query: Codes, doc: pa.Array, extra: Codes | None = None) -> npt.NDArray[np.int64]:
    """Rows whose (query, document[, extra]) stood in an earlier row; keys are their hashes."""
    with ThreadPoolExecutor(pa.cpu_count()) as threads:
        if not any(threads.map(_has_equals, _query_blocks(keys, query))):
            return np.empty(0, np.int64)
    by = np.argsort(keys, kind="stable")
    same = keys[by[1:]] == keys[by[:-1]]
    rows, before = by[1:][same], by[:-1][same]
    equal = (query[rows] == query[before]).all() and (extra is None or (extra[rows] == extra[before]).all())
    if equal and doc.take(integers(rows)).equals(doc.take(integers(before))):
        return np.sort(rows)
    # Two pairs with one hash: one by one.
    out, seen = [], set()
    for row in np.union1d(rows, before).tolist():
        unique = (int(query[row]), doc[row].as_py(), None if extra is None else int(extra[row]))
        if unique in seen:
            out.append(row)
        seen.add(unique)
    return np.asarray(out, dtype=np.int64)


def _has_equals(block: Keys) -> bool:
    ordered = np.sort(block)
    return bool((ordered[1:] == ordered[:-1]).any())


def _query_blocks(keys: Keys, query: Codes) -> Iterator[Keys]:
    """The keys in blocks that hold all rows of their queries: sorting these is faster than sorting all at once. One
    block where a query's rows do not stand together."""
    first = (
        np.concatenate([[0], np.flatnonzero(query[1:] != query[:-1]) + 1]) if len(query) else np.empty(0, int)
    )
    if len(np.unique(query[first])) < len(first):
        yield keys
        return
    at = 0
    while at < len(keys):
        # The last border within reach, or the end of a query that is longer.
        reach = int(np.searchsorted(first, at + _SORTED, side="right"))
        stop = int(first[reach - 1]) if reach and first[reach - 1] > at else 0
        if not stop:
            stop = int(first[reach]) if reach < len(first) else len(keys)
        if at + _SORTED >= len(keys):
            stop = len(keys)
        yield keys[at:stop]
        at = stop


def large_strings(values: Any) -> pa.Array:
    """One chunk of large_string of an Arrow array, a chunked array, or a sequence of str."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = values.chunk(0) if values.num_chunks else pa.array([], values.type)
    if not isinstance(values, pa.Array):
        values = pa.array(values, pa.large_string())
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if values.type == pa.large_string() else values.cast(pa.large_string())


def strings(values: Sequence[str]) -> pa.Array:
    """Strings as large_string. `pa.array` of Python objects would import pandas, which takes longer than reading a
    small file."""
    encoded = [value.encode() for value in values]
    ends = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(value) for value in encoded], out=ends[1:])
    return from_buffers(ends, b"".join(encoded))


def integers(values: npt.NDArray[Any]) -> pa.Array:
    """int32 or int64 values in Arrow, not copied; `pa.array` would import pandas here too."""
    kind = pa.int32() if values.dtype == np.int32 else pa.int64()
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def from_buffers(ends: npt.NDArray[np.int64], data: Any) -> pa.Array:
    """The large_string array of int64 [n + 1] offsets and UTF-8 bytes."""
    return pa.Array.from_buffers(
        pa.large_string(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(data)]
    )


def coded(values: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, Codes]:
    """(distinct values as large_string in order of appearance, int32 code of each row)."""
    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries() if pa.types.is_dictionary(values.type) else values
        if not values.num_chunks:
            return pa.array([], pa.large_string()), np.empty(0, np.int32)
        if not pa.types.is_dictionary(values.type):
            values = large_strings(values)
    if isinstance(values, pa.ChunkedArray):
        codes = np.concatenate([_indices(chunk) for chunk in values.chunks])
        return large_strings(values.chunk(0).dictionary), codes
    encoded = values if pa.types.is_dictionary(values.type) else pc.dictionary_encode(values)
    return large_strings(encoded.dictionary), _indices(encoded)


def _indices(values: pa.DictionaryArray) -> Codes:
    return numbers(values.indices.cast(pa.int32()), np.int32)


def numbers(values: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    """Numbers without nulls, of the dtype that they have in Arrow; like `strings`, without pandas."""
    if not len(values):  # there may be no buffer
        return np.empty(0, dtype)
    return np.frombuffer(values.buffers()[1], dtype)[values.offset : values.offset + len(values)]


def pair_keys(query_hashes: Keys, query: Codes, doc: pa.Array) -> Keys:
    """uint64 [rows]: hashes of pairs, from hashes of the distinct query ids."""
    out = hash_strings(doc)
    # Hashed once more, or all pairs of a query and the document of its own id would be alike.
    salted = _mix(query_hashes)

    def mix(part: slice) -> None:
        # A bijection for each query, so that different short ids have different keys. Low bits are used apart.
        value = out[part] ^ salted[query[part]]
        value *= np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(32)
        out[part] = value

    _in_blocks(mix, len(out))
    return out


def hash_strings(strings: pa.Array) -> Keys:
    """uint64 [n]: a hash of each string's bytes, of short ones the bytes themselves (their bits are not spread). Not
    against an adversary: matches are verified."""
    data, offsets = _buffers(strings)
    out = np.empty(len(strings), dtype=np.uint64)

    def block(part: slice) -> None:
        ends = offsets[part.start : part.stop + 1]
        start, length = ends[:-1], np.diff(ends)
        # Most ids are of 8 bytes or fewer: the word itself, which is nobody else's.
        value = _word(data, start, length)
        left = np.flatnonzero(length > 8)
        value[left] = _mix(value[left] + length[left].astype(np.uint64))
        place = 8
        while len(left) and place < _LONG:
            value[left] = _mix(value[left] ^ _word(data, start[left] + place, length[left] - place))
            place += 8
            left = left[length[left] > place]
        for row in left.tolist():
            rest = hashlib.blake2b(
                data[start[row] + place : start[row] + length[row]].tobytes(), digest_size=8
            )
            value[row] ^= np.uint64(int.from_bytes(rest.digest(), "little"))
        out[part] = value

    _in_blocks(block, len(strings))
    return out


def _in_blocks(work: Callable[[slice], None], rows: int) -> None:
    """Calls `work` with each block of rows, in threads where there are many: numpy works beside itself."""
    parts = [slice(at, min(at + _BLOCK, rows)) for at in range(0, rows, _BLOCK)]
    if len(parts) < 4:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(pa.cpu_count()) as threads:
        list(threads.map(work, parts))


def words(strings: pa.Array, most: int) -> list[Keys] | None:
    """The strings' bytes as big-endian words, first word first, which compare as the bytes do; None where more than
    `most` words or the byte 0 (the padding) would be needed."""
    data, offsets = _buffers(strings)
    start, length = offsets[:-1], np.diff(offsets)
    count = -(-int(length.max(initial=1)) // 8)
    used = data[int(offsets[0]) : int(offsets[-1])] if len(offsets) > 1 else data[:0]
    if count > most or (used == 0).any():
        return None
    out = []
    for j in range(count):
        rest = np.clip(length - 8 * j, 0, 8)
        inside = rest > 0
        word = np.zeros(len(start), dtype=np.uint64)
        word[inside] = _word(data, start[inside] + 8 * j, rest[inside]).byteswap()
        out.append(word)
    return out


def _buffers(strings: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(bytes, int64 [n + 1] offsets) of a large_string array."""
    if strings.type != pa.large_string():
        raise TypeError(f"large_string is needed, not {strings.type}")
    _, ends, raw = strings.buffers()
    if ends is None or not len(strings):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(ends, dtype=np.int64)[strings.offset : strings.offset + len(strings) + 1]
    data = np.frombuffer(raw, dtype=np.uint8) if raw is not None else np.empty(0, np.uint8)
    return data, offsets


def _word(data: npt.NDArray[np.uint8], start: Any, length: Any) -> Keys:
    """uint64: up to 8 bytes at `start`, little-endian, zero above `length` bytes."""
    if len(data) < 8:
        data = np.concatenate([data, np.zeros(8 - len(data), np.uint8)])
    # Every byte is the start of a word of this view; the last seven would reach over the end.
    view = np.ndarray((len(data) - 7,), dtype="<u8", buffer=data.data, strides=(1,))
    if len(start) and int(start[-1]) > len(data) - 8:  # starts ascend
        at = np.minimum(start, len(data) - 8)
        value = view[at]
        value >>= ((start - at) * 8).clip(0, 63).astype(np.uint64)
    else:
        value = view[start]
    value &= _MASKS[np.minimum(length, 8)]
    return np.asarray(value, dtype=np.uint64)


_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)


def _mix(x: Keys) -> Keys:
    """A bijection that spreads every bit over all (the finaliser of splitmix64, Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
