"""Lines of text files, plain or compressed, with what an editor or an export may have left in them.

A byte order mark, CR LF and blank lines are read as they were meant and reported as warnings: other tools
stumble over them, and no score depends on them. Bytes that are no UTF-8, and a compressed file that ends
early, are errors.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from seekbench.errors import Report
from seekbench.zstd import ZstdReader

#: Endings of compressed files.
COMPRESSED = (".gz", ".zst")
_BOM = b"\xef\xbb\xbf"


def open_bytes(path: Path) -> IO[bytes]:
    """The decompressed bytes of a file, by its ending."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"), 1 << 16)
    if path.suffix == ".zst":
        return io.BufferedReader(ZstdReader(path.open("rb")), 1 << 16)
    return path.open("rb")


def lines(path: Path, report: Report, *, keep_blank: bool = False) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without its end) of every line that is not blank.

    What can't be read at all ends the lines, with an error in the report.
    """
    where, number, with_cr = str(path), 0, 0
    try:
        with open_bytes(path) as handle:
            for number, raw in enumerate(handle, 1):
                line = raw
                if number == 1 and line.startswith(_BOM):
                    report.warning(
                        "byte-order-mark",
                        "the file begins with a byte order mark",
                        where=where,
                        line=1,
                        remedy="save it as UTF-8 without BOM; other tools fail on it",
                    )
                    line = line[3:]
                if line.endswith(b"\n"):
                    line = line[:-1]
                if line.endswith(b"\r"):
                    line = line[:-1]
                    with_cr += 1
                    if with_cr == 1:
                        report.warning(
                            "crlf",
                            "lines end with CR LF",
                            where=where,
                            line=number,
                            remedy="save it with LF ends; other tools take the CR into the last field",
                        )
                if not line.strip() and not keep_blank:
                    report.warning("blank-line", "blank line", where=where, line=number, remedy="remove it")
                    continue
                yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        report.error(
            "bad-compression",
            f"can't be decompressed behind this line: {error}",
            where=where,
            line=number or None,
            remedy="the file is damaged or cut off: fetch it again",
        )
    except OSError as error:
        report.error("unreadable", f"can't be read: {error.strerror or error}", where=where)


def refuse_bad_bytes(path: Path, report: Report) -> bool:
    """Reports the first line that is no UTF-8; whether there is one."""
    try:
        with open_bytes(path) as handle:
            return any(text(line, number, str(path), report) is None for number, line in enumerate(handle, 1))
    except (OSError, EOFError):
        return False


def text(line: bytes, number: int, where: str, report: Report, encoding: str = "utf-8") -> str | None:
    """A line as text; None, with an error in the report, where its bytes are not of the encoding."""
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        report.error(
            "bad-utf8" if encoding == "utf-8" else "bad-encoding",
            f"byte {error.start + 1} of the line is no {encoding.upper()} (0x{line[error.start]:02x})",
            where=where,
            line=number,
            remedy="convert the file, e.g. iconv -f latin1 -t utf-8",
        )
        return None
