"""TREC run files as arrays: `query Q0 document rank score tag`, plain, .gz or .zst.

A well-formed file is parsed column by column by Arrow; one that is not plain (runs of blanks, comments, tags
with spaces, Windows line ends) is first reduced to its three columns. Only when a value is wrong are lines
looked at one by one, to say which. Columns 2, 4 and 6 are ignored, as trec_eval does.

A line that begins with `#` is a comment, unless it has the shape of a hit: ids may begin with it too, and a hit
must not be lost.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.errors import InputError, Report

Codes = npt.NDArray[np.int32]

_NUMBER = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|inf(inity)?)", re.IGNORECASE | re.ASCII)
#: Five columns and whatever follows (the tag, which may hold spaces, or be missing in old files).
_LINE = re.compile(
    rb"^[ \t\r]*([^ \t\r\n]+)[ \t\r]+[^ \t\r\n]+[ \t\r]+([^ \t\r\n]+)"
    rb"[ \t\r]+[^ \t\r\n]+[ \t\r]+([^ \t\r\n]+)[^\n]*$",
    re.MULTILINE,
)
#: What follows the `#` of a hit: five columns of which the fifth is a score (or NaN, which is refused then). Of
#: a query `#`, six with `Q0`, which tells it from a hit that was commented out with `# `.
_AFTER_HASH = (
    rb"(?:[^ \t\r\n]+(?:[ \t\r]+[^ \t\r\n]+){3}[ \t\r]+SCORE(?![^ \t\r\n])"
    rb"|[ \t\r]+Q0(?:[ \t\r]+[^ \t\r\n]+){2}[ \t\r]+SCORE[ \t\r]+[^ \t\r\n]+[ \t\r]*(?![^\n]))"
).replace(b"SCORE", rb"(?i:[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan))")
#: Blank lines and comments.
_SKIPPED = re.compile(rb"^[ \t\r]*(#(?!" + _AFTER_HASH + rb")[^\n]*)?$")
_COMMENT = re.compile(rb"\n#(?!" + _AFTER_HASH + rb")")


@dataclass(frozen=True)
class TrecRun:
    """Lines of a run file in columns; line i says that document `doc_ids[doc[i]]` has `scores[i]` for query
    `query_ids[query[i]]`.

    query_ids, doc_ids: Arrow strings without duplicates, in order of first appearance; query, doc: int32
    [lines]; scores: float32 [lines], parsed as float64 and rounded, as trec_eval does. digest: sha256 (hex) of
    the file's bytes that this was read from (`hashing.of_file`).
    """

    path: Path
    query_ids: pa.Array
    query: Codes
    doc_ids: pa.Array
    doc: Codes
    scores: npt.NDArray[np.float32]
    digest: str = ""

    def __len__(self) -> int:
        return len(self.query)

    @cached_property
    def _numbers(self) -> npt.NDArray[np.int64]:
        data = _normal(_unpacked(self.path, _bytes(self.path)))
        kept = [n for n, line in enumerate(data.split(b"\n"), 1) if not _SKIPPED.match(line)]
        return np.asarray(kept, dtype=np.int64)

    def line(self, row: int) -> int:
        """The 1-based line number of a row (the file is read again: this is for messages)."""
        return int(self._numbers[row])


def read_run(path: Path) -> TrecRun:
    """Reads and checks a run file. Raises InputError with file and line: wrong number of columns, a score
    that is no number or NaN, bad UTF-8, a (query, document) pair that occurs twice, no line at all."""
    raw = _bytes(path)
    digest = hashlib.sha256(raw).hexdigest()
    data = _normal(_unpacked(path, raw))
    del raw
    table = _fast(data)
    if table is None:
        reduced = _reduced(data)
        table = None if reduced is None else _parse(reduced, b"\t", 3, (0, 1, 2))
    if table is None:
        _explain(path, data)
        raise InputError("this run file can't be read", where=str(path))  # pragma: no cover
    if not len(table):
        raise InputError("no line in this run file", where=str(path))
    query_ids, query = _coded(table.column(0))
    doc_ids, doc = _coded(table.column(1))
    wide = table.column(2).to_numpy()
    if np.isnan(wide).any():
        _explain(path, data)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, in trec_eval too
        run = TrecRun(path, query_ids, query, doc_ids, doc, wide.astype(np.float32), digest)
    _refuse_duplicates(run)
    return run


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such run file", where=str(path)) from None
    except IsADirectoryError:
        raise InputError("this is a folder, not a run file", where=str(path)) from None
    except OSError as error:
        raise InputError(f"can't read this run file ({error})", where=str(path)) from error


def _unpacked(path: Path, raw: bytes) -> bytes:
    try:
        if path.suffix == ".gz":
            import gzip

            return gzip.decompress(raw)
        if path.suffix in (".zst", ".zstd"):
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as z:
                data: bytes = z.read()
                return data
        return raw
    except (OSError, EOFError) as error:
        raise InputError(f"can't read this run file ({error})", where=str(path)) from error
    except Exception as error:
        if type(error).__name__ in ("ZstdError", "error"):  # of zstandard and zlib
            raise InputError(f"this file is damaged ({error})", where=str(path)) from error
        raise


def _normal(data: bytes) -> bytes:
    """Without a byte order mark, with \\n as line end."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data


def _fast(data: bytes) -> pa.Table | None:
    """The table of a file whose lines all have six columns with one separator between, else None.

    Bytes are searched for whatever could make columns shift unseen; that costs a hundredth of the parsing.
    """
    if b"\r" in data or _has_comments(data):
        return None
    head = data[: data.find(b"\n")] if b"\n" in data else data
    for separator, other in ((b" ", b"\t"), (b"\t", b" ")):
        if head.count(separator) == 5 and other not in data and not _doubled(data, separator):
            return _parse(data, separator, 6, (0, 2, 4))
    return None


def _has_comments(data: bytes) -> bool:
    """Whether any line is a comment; looks at the lines that begin with `#` only."""
    if b"#" not in data:  # a line feed is slow to search for: it is everywhere
        return False
    if data.startswith(b"#") and _COMMENT.match(b"\n" + data.split(b"\n", 1)[0]):
        return True
    return b"\n#" in data and _COMMENT.search(data) is not None


def _doubled(data: bytes, separator: bytes) -> bool:
    """Whether a separator follows itself anywhere. Compares 16-bit pairs, at even and at odd places:
    searching bytes is slow for what is common in them."""
    pair = np.uint16(separator[0] * 257)
    places = (np.frombuffer(data, np.uint16, (len(data) - first) // 2, first) for first in (0, 1))
    return any(bool((pairs == pair).any()) for pairs in places)


def _parse(data: bytes, separator: bytes, columns: int, wanted: tuple[int, int, int]) -> pa.Table | None:
    """Query, document and score of each line; None where any line does not fit."""
    import pyarrow.csv

    if not data or data.isspace():
        return pa.table(
            {"q": pa.array([], pa.string()), "d": pa.array([], pa.string()), "s": pa.array([], pa.float64())}
        )
    names = [str(i) for i in range(columns)]
    text, number = pa.dictionary(pa.int32(), pa.string()), pa.float64()
    types = dict(zip((names[i] for i in wanted), (text, text, number), strict=True))
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=16 << 20),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=separator.decode(), quote_char=False, double_quote=False, escape_char=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    # A line that begins with a blank has an empty first column.
    table = table.unify_dictionaries()
    for name in list(types)[:2]:
        column = table.column(name)
        if column.num_chunks and pc.any(pc.equal(pc.binary_length(column.chunk(0).dictionary), 0)).as_py():
            return None
    return table


def _reduced(data: bytes) -> bytes | None:
    """`query TAB document TAB score` lines of a file in any layout that trec_eval reads; None where a line
    does not have the columns."""
    lines = _LINE.findall(b"\n".join(line for line in data.split(b"\n") if not _SKIPPED.match(line)))
    expected = sum(not _SKIPPED.match(line) for line in data.split(b"\n"))
    if len(lines) != expected:
        return None
    # Arrow's parser knows no plus sign.
    return b"\n".join(q + b"\t" + d + b"\t" + s.removeprefix(b"+") for q, d, s in lines)


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, Codes]:
    """(distinct values in order of appearance, int32 code of each line) of a column with one dictionary."""
    if not column.num_chunks:
        return pa.array([], pa.string()), np.empty(0, np.int32)
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
    return column.chunk(0).dictionary, codes.astype(np.int32, copy=False)


def _refuse_duplicates(run: TrecRun) -> None:
    keys = run.query.astype(np.int64) * max(1, len(run.doc_ids)) + run.doc
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    by = np.argsort(keys, kind="stable")
    again = by[1:][keys[by][1:] == keys[by][:-1]]
    report = Report()
    for row in np.sort(again).tolist():
        if report.errors >= report.shown:
            report.counts[("duplicate-hit", str(run.path), "error")] += 1
            continue
        first = int(np.flatnonzero(keys == keys[row])[0])
        query, doc = run.query_ids[int(run.query[row])].as_py(), run.doc_ids[int(run.doc[row])].as_py()
        report.error(
            "duplicate-hit",
            f"query '{query}' has document '{doc}' a second time (first in line {run.line(first)})",
            where=str(run.path),
            line=run.line(row),
            remedy="a document can have one rank only; remove one of the lines",
        )
    report.raise_if_errors()


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(io.BytesIO(data), 1):
        yield number, line.rstrip(b"\n")


def _explain(path: Path, data: bytes) -> None:
    """Raises InputError with the lines that can't be read; the exact path, taken only when something is
    wrong."""
    report = Report()

    def wrong(code: str, message: str, number: int, remedy: str = "") -> None:
        report.error(code, message, where=str(path), line=number, remedy=remedy)

    for number, raw in _lines(data):
        if _SKIPPED.match(raw):
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            wrong("encoding", f"not UTF-8 (byte {error.start + 1})", number, "convert the file to UTF-8")
            continue
        columns: list[Any] = re.split(r"[ \t\r]+", text.strip(" \t\r"))
        if len(columns) < 5:
            wrong(
                "columns",
                f"{len(columns)} column(s) where `query Q0 document rank score tag` has 6",
                number,
                "this looks like a qrels file" if len(columns) == 4 else "",
            )
            continue
        score = columns[4]
        if score.lower() in ("nan", "+nan", "-nan"):
            wrong("score", f"the score is {score}, which has no rank", number)
        elif not _NUMBER.fullmatch(score):
            wrong(
                "score",
                f"the score {score!r} is not a number",
                number,
                "column 5 is the score, column 4 the rank",
            )
    report.raise_if_errors()
