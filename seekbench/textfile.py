"""Text files in columns, plain, .gz or .zst: what the readers of runs and of judgments share.

Each of them reads a file in one of two ways. `plain_columns` lets Arrow parse it while it streams by, and gives up
(None) as soon as there is anything in it of which Arrow's reading could differ from ours. The reader then goes through
`TextFile.lines`, which is slower and defines what is right, and can say what is wrong and where.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import stat
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench.columns import from_buffers, numbers, strings
from seekbench.errors import InputError, Report
from seekbench.zstd import ZstdReader

BOM = b"\xef\xbb\xbf"
#: Bytes that Arrow parses at a time: fewer cost it more overhead a block, more cost memory.
_BLOCK = 2 << 20
#: Bytes checked at a time: they stay in the processor's cache.
_STEP = 1 << 17
#: Items of room beside what a file is thought to need.
_SPARE = 1 << 10
_HASH_LINES = re.compile(rb"^#[^\n]*", re.MULTILINE)
#: What a compressed file begins with.
_PACKED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
#: A decimal number as C's strtod reads it, but for hexadecimal ones and NaN.
NUMBER = re.compile(rb"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?)", re.IGNORECASE)


class TextFile:
    """A file that is read more than once: held in memory where it is a pipe, or `hold` is set.

    what: `run file` or the like, for messages.
    """

    def __init__(self, path: Path, what: str, *, hold: bool = False) -> None:
        self.path, self.what = path, what
        self._held: bytes | None = None
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise InputError(f"this is a folder, not a {what}", where=str(path))
            self._once = not stat.S_ISREG(mode)
            if hold or self._once:
                self._held = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"no such {what}", where=str(path)) from None
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise self._unreadable(error) from error

    @property
    def digest(self) -> str:
        """sha256 (hex) of a held file's bytes, as `hashing.of_file`."""
        assert self._held is not None
        return hashlib.sha256(self._held).hexdigest()

    def let_go(self) -> None:
        """Frees the held bytes of a file that can be opened again."""
        if not self._once:
            self._held = None

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(f"can't read this {self.what} ({error})", where=str(self.path))

    @contextmanager
    def opened(self) -> Iterator[tuple[IO[bytes], Callable[[], float]]]:
        """(the decompressed bytes, what tells the share of the file that was read). Raises InputError for what can't be
        read or decompressed."""
        try:
            with self.path.open("rb") if self._held is None else io.BytesIO(self._held) as raw:
                size = raw.seek(0, io.SEEK_END)
                raw.seek(0)
                yield self._unpacked(raw), lambda: raw.tell() / max(1, size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"this file is damaged or cut off ({error})", where=str(self.path)) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _unpacked(self, raw: IO[bytes]) -> IO[bytes]:
        if self.path.suffix == ".gz":
            return io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 16)
        if self.path.suffix in (".zst", ".zstd"):
            return io.BufferedReader(ZstdReader(raw), 1 << 16)
        head = raw.read(4)
        raw.seek(0)
        for begin, ending in _PACKED.items():
            if head.startswith(begin):
                raise InputError(
                    "this file is compressed, and its name does not say so",
                    where=str(self.path),
                    remedy=f"give it a name that ends in {ending}",
                )
        return raw

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(number from 1, bytes without the line feed) of each line; a byte order mark is left out."""
        with self.opened() as (handle, _):
            for number, line in enumerate(handle, 1):
                yield number, (line.removeprefix(BOM) if number == 1 else line).removesuffix(b"\n")


# --- what can be wrong with a line in either kind of file ---------------------------------------------------


def shown(word: bytes) -> str:
    """A word of a file in quotes, cut where it is long."""
    text = word[:60].decode(errors="replace")
    return repr(text + "..." if len(word) > 60 else text)


def stray_carriage_return(line: bytes, number: int, where: str, report: Report) -> bool:
    """Whether a line has a carriage return before its end: what follows it may have been meant as a line of its own, or
    as a part of a column."""
    if b"\r" not in line.rstrip(b"\r"):
        return False
    report.error(
        "carriage-return",
        "a carriage return inside the line",
        where=where,
        line=number,
        remedy="end lines with a line feed",
    )
    return True


def decoded(ids: Sequence[bytes], line: bytes, number: int, where: str, report: Report) -> list[str] | None:
    """The ids of a line as text; None, with an error in the report, where they can't be."""
    if b"\0" in line:
        report.error(
            "nul-byte",
            "a byte 0 in the line",
            where=where,
            line=number,
            remedy="the file is damaged, or UTF-16: convert it to UTF-8",
        )
        return None
    try:
        return [i.decode() for i in ids]
    except UnicodeDecodeError as error:
        place = line.find(error.object) + error.start + 1
        report.error(
            "encoding",
            f"not UTF-8 (byte {place} of the line is 0x{error.object[error.start]:02x})",
            where=where,
            line=number,
            remedy="convert the file to UTF-8",
        )
        return None


class LineNumbers:
    """Row -> 1-based line of a file in which some lines hold no row. The file is read again when the first one is
    asked for: this is for messages.

    skipped: the numbers of the lines without a row, in order.
    """

    def __init__(self, skipped: Callable[[], Iterator[int]]) -> None:
        self._skipped = skipped

    @cached_property
    def _rows_before(self) -> npt.NDArray[np.int64]:
        numbers = np.fromiter(self._skipped(), dtype=np.int64)
        return numbers - 1 - np.arange(len(numbers))

    def __call__(self, row: int) -> int:
        return row + 1 + int(np.searchsorted(self._rows_before, row, side="right"))


# --- plain files --------------------------------------------------------------------------------------------

#: The kinds of columns, as Arrow reads them: few distinct strings, any strings, numbers.
CODES, TEXT, NUMBERS = pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.float64()


@dataclass(frozen=True)
class Layout:
    """How the lines of a plain file look. columns: their number, one separator between; wanted: name -> (place, kind);
    header: whether the first line names the columns; blanks: whether a space is text, as in files that have tabs for
    separators by definition."""

    separator: bytes
    columns: int
    wanted: dict[str, tuple[int, pa.DataType]]
    header: bool = False
    blanks: bool = False


#: Blocks that are parsed or wait for it.
_AHEAD = pa.cpu_count()


class _NotPlainError(Exception):
    """There is something in the file that Arrow might read otherwise than we do."""


def plain_columns(
    file: TextFile, layout_of: Callable[[bytes], Layout | None], is_skipped: Callable[[bytes], bool]
) -> dict[str, Any] | None:
    """The wanted columns of a plain file: (Arrow large_string without duplicates, int32 codes) for CODES, Arrow
    large_string for TEXT, float64 for NUMBERS. None where the file is not plain, has no row, or can't be read.

    Plain is a file whose lines have one and the same number of columns with one separator between, after the lines at
    its head that are skipped. Strings in wanted columns are not empty.
    layout_of: the layout that the first line tells; is_skipped: whether a line is blank or a comment.
    """
    try:
        with file.opened() as (handle, share_of), ThreadPoolExecutor(pa.cpu_count()) as threads:
            blocks = _blocks(handle, share_of)
            first, stop, share = next(blocks, (b"", 0, 1.0))
            layout, begin = _head(bytes(memoryview(first)[:stop]), layout_of, is_skipped)
            parser = _Parser(layout, is_skipped)
            into = {name: _COLUMNS[kind]() for name, (_, kind) in layout.wanted.items()}
            # A few blocks ahead keep the threads busy; all of them would be the file in memory.
            rows, ahead = 0, deque([(threads.submit(parser, first, stop, begin), share)])
            while ahead:
                while len(ahead) <= _AHEAD and (following := next(blocks, None)):
                    ahead.append((threads.submit(parser, *following[:2]), following[2]))
                parsed, share = ahead.popleft()
                arrays = parsed.result()
                rows += len(arrays[0])
                for column, values in zip(into.values(), arrays, strict=True):
                    column.add(values, share)
            return {name: column.finished() for name, column in into.items()} if rows else None
    except (_NotPlainError, pa.ArrowException, InputError):
        return None  # the exact reader meets it again, and says what it is


def _blocks(handle: IO[bytes], share: Callable[[], float]) -> Iterator[tuple[bytes | bytearray, int, float]]:
    """(buffer, end of the whole lines in it, share of the file that was read so far); the last line may lack its line
    feed. Buffers are used again after `_AHEAD` + 2 blocks: fresh memory for each would take a tenth of the time."""
    buffers = [bytearray(_BLOCK) for _ in range(_AHEAD + 3)]
    rest = b""
    for turn in count():
        buffer, end = buffers[turn % len(buffers)], len(rest)
        buffer[:end] = rest
        while end < _BLOCK and (got := handle.readinto(memoryview(buffer)[end:])):  # type: ignore[attr-defined]
            end += got
        last = end < _BLOCK
        stop = end if last else buffer.rfind(b"\n") + 1
        if not stop and not last:
            raise _NotPlainError  # a line as long as a block
        rest = bytes(memoryview(buffer)[stop:end])
        if buffer.find(b"\r", 0, stop) >= 0:
            # Arrow knows either line end; the exact reader allows a carriage return at the end of a line only.
            block = bytes(memoryview(buffer)[:stop]).replace(b"\r\n", b"\n")
            if b"\r" in block:  # Arrow would begin a row after it
                raise _NotPlainError
            yield block, len(block), share()
        elif stop:
            yield buffer, stop, share()
        if last:
            return


def _head(
    block: bytes, layout_of: Callable[[bytes], Layout | None], is_skipped: Callable[[bytes], bool]
) -> tuple[Layout, int]:
    """(layout of the file that begins with a block, place of the first line that is parsed)"""
    end = len(BOM) if block.startswith(BOM) else 0
    while end < len(block):
        at, end = end, block.find(b"\n", end) + 1 or len(block)
        line = block[at:end].removesuffix(b"\n")
        if not is_skipped(line):
            layout = layout_of(line)
            if layout is None:
                break
            return layout, end if layout.header else at
    raise _NotPlainError


class _Parser:
    """Block -> Arrow arrays of the wanted columns. Raises _NotPlainError."""

    def __init__(self, layout: Layout, is_skipped: Callable[[bytes], bool]) -> None:
        from pyarrow import csv

        self._layout, self._is_skipped, self._read = layout, is_skipped, csv.read_csv
        names = [str(i) for i in range(layout.columns)]
        types = {names[place]: kind for place, kind in layout.wanted.values()}
        self._options = {
            # A block is one chunk; a line feed may be missing at its end.
            "read_options": csv.ReadOptions(column_names=names, block_size=_BLOCK, use_threads=False),
            "parse_options": csv.ParseOptions(
                delimiter=layout.separator.decode(), quote_char=False, double_quote=False, escape_char=False
            ),
            "convert_options": csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[], strings_can_be_null=False
            ),
        }

    def __call__(self, block: bytes | bytearray, stop: int, begin: int = 0) -> list[pa.Array]:
        controls = self._check(block, stop, begin)
        table = self._read(pa.BufferReader(memoryview(block)[begin:stop]), **self._options)
        # One line feed a row, and nothing else; else they are counted one kind by one.
        if begin or controls != table.num_rows - (block[stop - 1] != 10):
            data = np.frombuffer(block, np.uint8, stop)
            controls -= int(np.count_nonzero(data == 10))
            if controls and (self._layout.separator != b"\t" or controls != np.count_nonzero(data == 9)):
                raise _NotPlainError
        return [column.chunk(0) for column in table.columns]

    def _check(self, block: bytes | bytearray, stop: int, begin: int) -> int:
        """How many control characters there are. Raises _NotPlainError where columns could shift unseen, or a line may
        be a comment. The bytes before `begin` are looked at too, for carriage returns and the like."""
        separator = self._layout.separator
        # Arrow leaves a byte order mark out at the beginning of a block; here it is text.
        if block.startswith(BOM, begin, stop):
            raise _NotPlainError
        if separator == b"\t" and not self._layout.blanks and block.find(b" ", 0, stop) >= 0:
            raise _NotPlainError
        # Searching bytes for what is everywhere in them is slow, so they are compared as arrays.
        data = np.frombuffer(block, np.uint8, stop)
        pair = np.uint16(separator[0] * 257)
        controls = 0
        for at in range(0, len(data), _STEP):
            part = data[at : at + _STEP + 1]
            controls += int(np.count_nonzero(part[:_STEP] < 32))
            for first in (0, 1):
                if (part[first : first + (len(part) - first) // 2 * 2].view(np.uint16) == pair).any():
                    raise _NotPlainError
        if block.find(b"#", begin, stop) >= 0 and any(
            self._is_skipped(m[0]) for m in _HASH_LINES.finditer(block, begin, stop)
        ):
            raise _NotPlainError
        return controls


class _Growing:
    """A numpy array that blocks are appended to; room for all is made at the first block, as its share of the file
    tells. Memory is touched once, which is a third of the time of reading."""

    def __init__(self, dtype: Any) -> None:
        self._room, self._used = np.empty(0, dtype), 0

    def add(self, values: npt.NDArray[Any], share: float) -> None:
        self.room(len(values), share)[:] = values

    def room(self, size: int, share: float) -> npt.NDArray[Any]:
        """Room at the end, to be filled."""
        begin, end = self._used, self._used + size
        if end > len(self._room):
            room = np.empty(max(int(end / share * 1.02) + _SPARE, len(self._room) * 3 // 2), self._room.dtype)
            room[: self._used] = self._room[: self._used]
            self._room = room
        self._used = end
        return self._room[begin:end]

    def finished(self) -> npt.NDArray[Any]:
        return self._room[: self._used]


class _Codes:
    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._codes = _Growing(np.int32)

    def add(self, values: pa.DictionaryArray, share: float) -> None:
        ids = values.dictionary.to_pylist()
        if "" in ids:  # of a line that begins with a separator
            raise _NotPlainError
        self._codes.add(self._of(ids)[numbers(values.indices, np.int32)], share)

    def extend(self, values: Sequence[str]) -> None:
        self._codes.add(self._of(values), 1.0)

    def _of(self, ids: Sequence[str]) -> npt.NDArray[np.int32]:
        known = self._known
        return np.fromiter((known.setdefault(i, len(known)) for i in ids), np.int32, len(ids))

    def finished(self) -> tuple[pa.Array, npt.NDArray[np.int32]]:
        return strings(list(self._known)), self._codes.finished()


class _Text:
    def __init__(self) -> None:
        self._bytes, self._ends, self._last = _Growing(np.uint8), _Growing(np.int64), 0
        self._ends.add(np.zeros(1, np.int64), 1.0)

    def add(self, values: pa.Array, share: float) -> None:
        _, ends, data = values.buffers()
        offsets = np.frombuffer(ends, np.int64)[values.offset : values.offset + len(values) + 1]
        if (offsets[1:] == offsets[:-1]).any():
            raise _NotPlainError
        self._bytes.add(np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]], share)
        np.add(offsets[1:], self._last - offsets[0], out=self._ends.room(len(values), share))
        self._last += int(offsets[-1] - offsets[0])

    def extend(self, values: Sequence[str]) -> None:
        self.add(strings(values), 1.0)

    def finished(self) -> pa.Array:
        return from_buffers(self._ends.finished(), self._bytes.finished())


class _Numbers(_Growing):
    def __init__(self) -> None:
        super().__init__(np.float64)

    def add(self, values: Any, share: float) -> None:
        super().add(numbers(values, np.float64), share)

    def extend(self, values: Sequence[float]) -> None:
        super().add(np.array(values), 1.0)


_COLUMNS: dict[pa.DataType, Callable[[], Any]] = {CODES: _Codes, TEXT: _Text, NUMBERS: _Numbers}


def columns_of(rows: Iterator[tuple[Any, ...]], kinds: Sequence[pa.DataType]) -> list[Any]:
    """Rows in columns, as `plain_columns` gives them; Python objects of a block of rows are alive at a time."""
    into = [_COLUMNS[kind]() for kind in kinds]
    while block := list(islice(rows, 1 << 16)):
        for column, values in zip(into, zip(*block, strict=True), strict=True):
            column.extend(values)
    return [column.finished() for column in into]
