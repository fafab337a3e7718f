"""Fuzzing of the readers of runs and judgments (`make fuzz`): their answers against plain Python ones.

Every input must give what the reference below gives: the same rows with the same line numbers, or an InputError that
names lines which are wrong. Blocks are a few bytes long, so that every boundary between them is met.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zstandard

from seekbench import columns, qrels_file, textfile, trec
from seekbench.columns import HitColumns, JudgmentColumns
from seekbench.errors import InputError

SPACE = rb"[^ \t\r\v\f]+"


class WrongError(Exception):
    """The reference refuses the input. lines: the numbers of the lines that are wrong; damaged: the file can't be
    decompressed, so it has no lines."""

    def __init__(self, *lines: int, damaged: bool = False) -> None:
        self.lines, self.damaged = set(lines), damaged


# --- the reference: one line, one decision --------------------------------------------------------------------


def unpacked(data: bytes, suffix: str) -> bytes:
    try:
        if suffix == ".gz":
            return gzip.decompress(data)
        if suffix == ".zst":
            out = b""
            while data:
                frame = zstandard.ZstdDecompressor().decompressobj()
                out += frame.decompress(data)
                if not frame.eof:
                    raise EOFError
                data = frame.unused_data
            return out
    except Exception:
        raise WrongError(damaged=True) from None
    if data[:2] == b"\x1f\x8b" or data[:4] == b"\x28\xb5\x2f\xfd":
        raise WrongError
    return data


def numbered(data: bytes) -> list[tuple[int, bytes]]:
    data = data[3:] if data[:3] == b"\xef\xbb\xbf" else data
    lines = data.split(b"\n")
    return list(enumerate(lines if lines[-1] else lines[:-1], 1))


def number(word: bytes) -> float | None:
    """C's decimal numbers and infinities."""
    if word.lower().lstrip(b"+-") in (b"inf", b"infinity") and word[1:2] not in (b"+", b"-"):
        return float(word)
    if not set(word) <= set(b"0123456789+-.eE"):
        return None
    try:
        return float(word)
    except ValueError:
        return None


def is_nan(word: bytes) -> bool:
    return word.lower() in (b"nan", b"+nan", b"-nan")


def text(*words: bytes) -> tuple[str, ...] | None:
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError:
        return None


def reference_run(data: bytes) -> list[tuple[int, tuple[Any, ...]]]:
    rows, wrong, read = [], [], False
    for at, line in numbered(data):
        if b"\r" in line.rstrip(b"\r"):
            wrong.append(at)
            continue
        words = re.findall(SPACE, line)
        scored = len(words) > 4 and (number(words[4]) is not None or is_nan(words[4]))
        if not words:
            continue
        if words[0][:1] == b"#" and not (
            scored and (words[0] != b"#" or (len(words) == 6 and words[1] == b"Q0"))
        ):
            continue
        if len(words) < 5 and not read:
            raise WrongError(*wrong, at)  # no run at all
        read = True
        ids = text(words[0], words[2]) if len(words) > 4 and b"\0" not in line else None
        score = number(words[4]) if ids else None
        if ids is None or score is None:
            wrong.append(at)
        else:
            rows.append((at, (*ids, score)))
    return unique(rows, wrong, lambda row: row[:2])


def grade(word: bytes) -> int | None:
    value = number(word) if re.fullmatch(rb"[^.eE]+|[^.eE]*\d\.0*([eE][+-]?0+)?", word) else None
    if value is None or value != value // 1 or not -(2**31) <= value < 2**31:
        return None
    return int(value)


def reference_qrels(data: bytes) -> list[tuple[int, tuple[Any, ...]]]:
    rows, wrong, header, names = [], [], None, [b"corpus-id", b"query-id", b"score"]
    first = True
    for at, line in numbered(data):
        if b"\r" in line.rstrip(b"\r"):
            wrong.append(at)
            first = False
            continue
        words, cells = re.findall(SPACE, line), line.rstrip(b"\r").split(b"\t")
        if not words:
            continue
        if words[0][:1] == b"#":
            beir = len(cells) == 3 and number(cells[2].strip()) is not None
            four = len(words) == 4 and number(words[3]) is not None
            if not beir and not (four and (words[0] != b"#" or re.fullmatch(rb"Q0|\d+", words[1]))):
                continue
        if first:
            first = False
            cleaned = [cell.strip().strip(b'"') for cell in cells]
            if sorted(cleaned) == names:
                header = cleaned
                continue
            if sorted({word.strip(b'"') for word in re.split(rb"[\s,;]+", line.strip())}) == names:
                raise WrongError(*wrong, at)  # they are not separated by tabs
            if len(words) > 4 and number(words[4]) is not None:
                raise WrongError(*wrong, at)  # a run
            if len(line.strip().split(b"\t")) == 3:
                header = [b"query-id", b"corpus-id", b"score"]
                wrong.append(at)  # BEIR's without its header
                if number(line.strip().split(b"\t")[2]) is None:
                    continue
        if header is None:
            ok = len(words) == 4
            query, iteration, doc, value = words if ok else [b""] * 4
        else:
            ok = len(cells) == 3
            named = dict(zip(header, cells, strict=False))
            query, iteration, doc, value = (
                named[b"query-id"], None, named[b"corpus-id"], named[b"score"].strip()
            ) if ok else [b""] * 4  # fmt: skip
        ids = text(query, doc, iteration or b"") if query and doc and b"\0" not in line else None
        if ids is None or (judged := grade(value)) is None:
            wrong.append(at)
        else:
            rows.append((at, (*ids[:2], ids[2] if header is None else None, judged)))
    several = len({row[2] for _, row in rows}) > 1 and header is None
    rows = unique(rows, wrong, lambda row: row[:3] if several else row[:2])
    return [(at, (*row[:2], row[2] if several else None, row[3])) for at, row in rows]


def unique(
    rows: list[tuple[int, tuple[Any, ...]]], wrong: list[int], key: Callable[[tuple[Any, ...]], Any]
) -> list[tuple[int, tuple[Any, ...]]]:
    if wrong or not rows:
        raise WrongError(*wrong)
    seen = Counter(key(row) for _, row in rows)
    if len(seen) < len(rows):
        firsts: set[Any] = set()
        for at, row in rows:
            if key(row) in firsts:
                wrong.append(at)
            firsts.add(key(row))
        raise WrongError(*wrong)
    return rows


# --- the readers ------------------------------------------------------------------------------------------------


def rows_of(table: HitColumns | JudgmentColumns) -> list[tuple[int, tuple[Any, ...]]]:
    """Line numbers and values of all rows."""
    ids, line_of = table.query_ids.to_pylist(), table.source.line_of
    assert len(set(ids)) == len(ids)
    assert line_of is not None
    table.doc.validate(full=True)
    if isinstance(table, HitColumns):
        values = [table.scores.tolist()]
    else:
        topics = [None] * len(table) if table.subtopic is None else table.subtopic.to_pylist()
        values = [topics, table.grades.tolist()]
    rows = zip(table.query.tolist(), table.doc.to_pylist(), *values, strict=True)
    return [(line_of(row), (ids[query], *rest)) for row, (query, *rest) in enumerate(rows)]


READERS = {"run": (trec.read_run, reference_run), "qrels": (qrels_file.read_qrels, reference_qrels)}
MODULES: dict[str, Any] = {"run": trec, "qrels": qrels_file}


def bits(rows: list[tuple[int, tuple[Any, ...]]]) -> list[Any]:
    """Rows that are equal where every bit is: 0.0 is not -0.0."""
    return [(at, tuple(struct.pack("d", v) if isinstance(v, float) else v for v in row)) for at, row in rows]


def check(kind: str, data: bytes, path: Path) -> str:
    """Raises AssertionError where reader and reference differ; tells what became of the input."""
    read, reference = READERS[kind]
    path.write_bytes(data)
    wanted, wrong = outcome(lambda: reference(unpacked(data, path.suffix)), WrongError)
    got, error = outcome(lambda: rows_of(read(path)), InputError)
    if wrong is not None:
        assert error is not None, f"read as {got}, and the lines {wrong.lines} are wrong"
        told = {problem.line for problem in error.report.problems} - {None}
        all_told = told == wrong.lines or (told and told < wrong.lines and len(wrong.lines) > 10)
        assert all_told or wrong.damaged, f"{wrong.lines} are wrong, and it was said: {error}"
        return "refused"
    assert error is None, f"refused ({error}), and it is {wanted}"
    assert bits(got) == bits(wanted), f"read as {got}, and it is {wanted}"
    fast = MODULES[kind]._fast
    if fast(textfile.TextFile(path, kind)) is None:
        return "read line by line"
    MODULES[kind]._fast = lambda file: None
    try:
        got = rows_of(read(path))
    finally:
        MODULES[kind]._fast = fast
    assert bits(got) == bits(wanted), f"read as {got} line by line, and it is {wanted}"
    return "read by Arrow"


def outcome(call: Callable[[], Any], kind: type[Exception]) -> tuple[Any, Any]:
    """(result, None) or (None, the exception of this kind)."""
    try:
        return call(), None
    except kind as error:
        return None, error


# --- inputs -----------------------------------------------------------------------------------------------------

# fmt: off
IDS = [
    "q1", "q2", "d1", "d10", "#1", "#", "é", "x" * 40, "x" * 300, "\u3000", "a\u00a0b", "\ufeff", "'", '"a', "\\", "Q0",
    "0", "clueweb09-en0000-00-00000", "12345678", "123456789", "nan", "a,b", "\x1c", "\x7f", "\u2028", "\U0001f600",
]
SCORES = [
    "1", "2.5", "-1e-3", "+1.5", "0", "-0.0", "inf", "-INF", "Infinity", "1e400", "1e-400", "1.", ".5", "16777217",
    "0.1", "1E+05", "3.4028235677973366e38", "1" * 40, "0." + "0" * 50 + "1", "4.9e-324", "00012", "2" * 5000,
]
BAD_SCORES = [
    "nan", "NaN", "-nan", "+nan", "nan(1)", "0x10", "1_0", "1e", "e5", ".", "-", "+-1", "++1", "1f", "1d5", "1,5",
    "infi", "\u0661", "high", "1\u00a0", "\u30001", "--1", "1e5.0", "1e+", "0x1p3", "true", "null", "NA", "''",
]
GRADES = [
    "0", "1", "2", "3", "-1", "-2", "+1", "1.0", "2.", "1.0e0", "0.0", "007", "2147483647", "-2147483648", "-0",
]
BAD_GRADES = [
    "0.5", "1e1", "2147483648", "-2147483649", "9" * 30, "0x10", "1_0", "x", "nan", "inf", "1.0e1", ".0", "9" * 5000,
    "\u0661", "--1", "1.5.0", "true", "relevant",
]
COMMENTS = [
    "#", "# a comment", "# q1 Q0 d1 1 2.5 tag", "#5 words and a number", "# top 10 4", "  # end", "# 0 d1 1",
    "#1\td1\t1", "# q1\td1\tx", "#c Q0 d 1 nan", "#\tQ0\td\t1\t1\tt", "# Q0 d 1 1 t", "# Q0 d 1 1 t t", "#x 0 d 0.5",
]
BLANKS = ["", " ", "\t", " \t ", "\v", "\f ", "\r"]
NOISE = [
    b"\0", b"\r", b"\n", b"\n\n", b"\r\n", b" ", b"  ", b"\t", b"\v", b"\f", b"\xff", b"\xc3", b"#", b"\n#", b"\n ",
    b'"', b"\x1c", b"\x85", b"\xc2\xa0", b"e", b".", b"-", b"9" * 30, b"\n\r", b"\r\r\n", b"\x1a", b"\\", b" \n",
    b"\xef\xbb\xbf",
]
# fmt: on


def a_line(kind: str, rng: random.Random, style: dict[str, Any]) -> str:
    odd = style["odd"]
    if rng.random() < odd:
        return rng.choice(COMMENTS + BLANKS)

    def one(good: list[str], bad: list[str]) -> str:
        return rng.choice(bad) if rng.random() < style["bad"] else rng.choice(good)

    def some_id(letter: str) -> str:
        return rng.choice(IDS) if rng.random() < style["ids"] else f"{letter}{rng.randrange(1000)}"

    query, doc = some_id("q"), some_id("d")
    if kind == "run":
        cells = [query, "Q0", doc, str(rng.randrange(9)), one(SCORES, BAD_SCORES), *style["tag"]]
    elif style["beir"]:
        cells = [(query, doc, one(GRADES, BAD_GRADES))[i] for i in style["order"]]
    else:
        cells = [query, rng.choice(style["topics"]), doc, one(GRADES, BAD_GRADES)]
    if rng.random() < odd:
        place = rng.randrange(len(cells) + 1)
        cells[place : place + rng.randrange(2)] = rng.choice([[], [""], ["more"], ["two", "more"], [" "]])
    line = style["separator"].join(cells)
    if rng.random() < odd:
        changed = [" " + line, line + " ", "\t" + line, line + "\t", line + "\r", line.replace(" ", "  ", 1)]
        changed += [line.replace(a, b, 1) for a, b in ((" ", "\t"), ("\t", " "), ("\t", "\t\t"))]
        line = rng.choice(changed)
    return line


def an_input(kind: str, rng: random.Random) -> tuple[bytes, str]:
    """(bytes, ending of the name) of a file that is well-formed, or nearly, or not at all."""
    if rng.random() < 0.1:
        alphabet = rng.choice([bytes(range(256)), b"q1 Q0d\t\n\r#.", b"#q0 1\t\n"])
        return bytes(rng.choices(alphabet, k=rng.randrange(200))), rng.choice(["", "", ".gz", ".zst"])
    clean = rng.random() < 0.3
    style = {
        "odd": 0 if clean else rng.choice([0, 0, 0.02, 0.3]), "bad": 0 if clean else rng.choice([0, 0, 0.02, 0.3]),
        "ids": rng.choice([0, 0.1, 0.8]), "separator": rng.choice([" ", " ", "\t", "  ", " \t"]),
        "tag": rng.choice([["t"], ["t"], [], ["my", "tag"], ["\u00e9"]]),
        "beir": kind == "qrels" and rng.random() < 0.5,
        "order": rng.choice([(0, 1, 2), (0, 1, 2), (2, 0, 1), (1, 2, 0)]),
        "topics": rng.choice([["0"], ["Q0"], ["0", "1"], ["1", "2", "3"]]),
    }  # fmt: skip
    lines = [a_line(kind, rng, style) for _ in range(rng.choice([0, 1, 2, 3, 5, 10, 40]))]
    if style["beir"]:
        style["separator"] = "\t" if rng.random() < 0.9 else style["separator"]
        lines = [a_line(kind, rng, style) for _ in lines]
        if rng.random() < 0.9:
            names = ["query-id", "corpus-id", "score"]
            lines.insert(
                0, rng.choice(["\t", "\t", "\t", "\t", " ", ","]).join(names[i] for i in style["order"])
            )
    if rng.random() < 0.1 and lines:
        lines.insert(rng.choice([0, rng.randrange(len(lines))]), rng.choice(COMMENTS + BLANKS))
    if rng.random() < 0.05 and lines:
        lines.append(rng.choice(lines))
    data = (rng.choice(["\n", "\n", "\n", "\r\n"]).join(lines) + rng.choice(["", "\n", "\n"])).encode()
    if rng.random() < 0.05:
        data = b"\xef\xbb\xbf" * rng.choice([1, 1, 2]) + data
    if not clean and rng.random() < 0.5:
        for _ in range(rng.randrange(1, 4)):
            data = mutated(data, rng)
    suffix = rng.choice(["", "", "", "", "", "", ".gz", ".zst"])
    if suffix:
        data = packed(data, suffix, rng)
    return data, suffix


def mutated(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice([0, 0, 1, 1, 2, 8]))
    what = rng.randrange(6)
    if what == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if what == 1:
        return data[:at]
    if what == 2:
        return data[:end] + data[at:end] + data[end:]
    if what == 3:
        return data[:at] + data[end:]
    return data[:at] + rng.choice(NOISE) + data[end:]


def packed(data: bytes, suffix: str, rng: random.Random) -> bytes:
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    half = rng.randrange(len(data) + 1)
    data = pack(data[:half]) + pack(data[half:]) if rng.random() < 0.3 else pack(data)
    return mutated(data, rng) if rng.random() < 0.3 else data


def small_blocks(rng: random.Random, set: Callable[[Any, str, int], None] = setattr) -> None:
    """Sets the sizes that the readers work in."""
    set(textfile, "_BLOCK", rng.choice([64, 100, 256, 1 << 12, 1 << 20]))
    set(textfile, "_STEP", rng.choice([2, 8, 64, 1 << 17]))
    set(textfile, "_SPARE", rng.choice([0, 0, 3, 1 << 10]))
    set(columns, "_BLOCK", rng.choice([1, 2, 16, 1 << 16]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shared = Path("/dev/shm")
    became: Counter[str] = Counter()
    began = time.perf_counter()
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        for i in range(args.seed, args.seed + args.inputs):
            rng = random.Random(i)
            kind = rng.choice(["run", "qrels"])
            data, suffix = an_input(kind, rng)
            small_blocks(rng)
            try:
                became[f"{kind} {check(kind, data, Path(folder, 'file' + suffix))}"] += 1
            except Exception:
                print(
                    f"input {i}, a {kind} file{suffix} with blocks of {textfile._BLOCK}: {data!r}",
                    file=sys.stderr,
                )
                raise
    parts = ", ".join(f"{name} {count:,}" for name, count in sorted(became.items()))
    print(f"{args.inputs:,} inputs in {time.perf_counter() - began:.0f} s: {parts}")


if __name__ == "__main__":
    main()
