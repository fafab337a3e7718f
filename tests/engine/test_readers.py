"""The readers of runs and judgments: every line of METRICS.md's table of what readers get wrong, and properties."""

from __future__ import annotations

import gzip
import os
import random
import threading
from pathlib import Path
from typing import Any

import fuzz_readers
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import textfile
from seekbench.columns import JudgmentColumns
from seekbench.errors import InputError
from seekbench.qrels_file import read_qrels
from seekbench.trec import TrecRun, read_run

RUN = "q1 Q0 d1 1 3.5 tag\nq1 Q0 d2 2 2.5 tag\nq2 Q0 d1 1 1 tag\n"
QRELS = "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n"
BEIR = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n"
JUDGED = [("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d1", 2)]


def hits(run: TrecRun) -> list[tuple[str, str, float]]:
    return [(*run.pair(row), score) for row, score in enumerate(run.scores.tolist())]


def judgments(table: JudgmentColumns) -> list[tuple[str, str, int]]:
    return [(*table.pair(row), grade) for row, grade in enumerate(table.grades.tolist())]


def written(folder: Path, text: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(read: Any, path: Path) -> list[tuple[int | None, str]]:
    with pytest.raises(InputError) as error:
        read(path)
    assert all(p.where == str(path) for p in error.value.report.problems)
    return [(p.line, str(p)) for p in error.value.report.problems]


def refused(read: Any, path: Path, line: int | None, *words: str) -> None:
    """One problem is told, of this line, with these words."""
    [(told, message)] = problems(read, path)
    assert told == line
    for word in words:
        assert word in message


# --- METRICS.md, section 8 --------------------------------------------------------------------------------------


def test_a_document_twice_in_a_query_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "# made by hand\r\n\r\n" + RUN.replace("\n", "\r\n") + "q1 Q0 d2 9 0 tag\n")
    refused(read_run, path, 6, "query 'q1' has document 'd2' a second time (first in line 4)", "remove one")


def test_the_score_counts_and_not_the_rank(tmp_path: Path) -> None:
    path = written(tmp_path, "q1 Q0 d1 1 1.5 t\nq1 Q0 d2 0 2.5 t\nq1 Q0 d3 first 3.5 t\n")
    assert hits(read_run(path)) == [("q1", "d1", 1.5), ("q1", "d2", 2.5), ("q1", "d3", 3.5)]


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \t\n", "\n\n\n", "\v\f\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff", "# comment\n"])
def test_blank_lines_are_no_lines(tmp_path: Path, blank: str, begin: str) -> None:
    run = read_run(written(tmp_path, begin + blank + RUN.replace("\n", "\n" + blank)))
    step = 1 + blank.count("\n")
    first = begin.count("\n") + blank.count("\n") + 1
    assert hits(run) == [("q1", "d1", 3.5), ("q1", "d2", 2.5), ("q2", "d1", 1)]
    assert [run.line(row) for row in range(3)] == [first, first + step, first + 2 * step]
    assert (
        judgments(read_qrels(written(tmp_path, begin + blank + QRELS.replace("\n", blank + "\n")))) == JUDGED
    )
    assert (
        judgments(read_qrels(written(tmp_path, begin + blank + BEIR.replace("\n", "\n" + blank)))) == JUDGED
    )


@pytest.mark.parametrize("tag", ["", " my own tag", " Q0", " caf\u00e9", " 1 2"])
def test_tags_may_be_missing_or_hold_spaces(tmp_path: Path, tag: str) -> None:
    wanted = hits(read_run(written(tmp_path, RUN)))
    assert hits(read_run(written(tmp_path, RUN.replace(" tag", tag)))) == wanted
    assert hits(read_run(written(tmp_path, RUN.replace(" tag", tag, 1)))) == wanted
    assert hits(read_run(written(tmp_path, RUN.replace(" tag", tag).encode("latin-1")))) == wanted


@pytest.mark.parametrize("score", ["nan", "NaN", "-nan"])
def test_nan_is_refused(tmp_path: Path, score: str) -> None:
    refused(read_run, written(tmp_path, RUN.replace("2.5", score)), 2, f"the score is {score}", "no rank")


def test_comments(tmp_path: Path) -> None:
    header = "# ir_metadata.start\n# method: x\n#\n"
    run = read_run(written(tmp_path, header + RUN))
    assert len(run) == 3
    assert [run.line(row) for row in range(3)] == [4, 5, 6]
    assert judgments(read_qrels(written(tmp_path, header + QRELS + "# end"))) == JUDGED
    table = read_qrels(written(tmp_path, header + BEIR))
    assert judgments(table) == JUDGED
    assert table.source.line(0) == 5
    odd = [("#1", "#d", 1), ("#", "d", 2)]
    assert judgments(read_qrels(written(tmp_path, "#1 0 #d 1\n# 0 d 2\n# 0 d 2 was here\n"))) == odd
    assert judgments(read_qrels(written(tmp_path, BEIR[:25] + "#1\t#d\t1\n#\td\t2\n# d 2\n"))) == odd


@pytest.mark.parametrize("nothing", ["", "\n\n", "# comment\n", "\ufeff", "\r\n"])
def test_an_empty_file_is_refused(tmp_path: Path, nothing: str) -> None:
    refused(read_run, written(tmp_path, nothing), None, "no line in this run file")
    refused(read_qrels, written(tmp_path, nothing), None, "no judgment in this qrels file")
    refused(read_qrels, written(tmp_path, nothing + BEIR[:25]), None, "no judgment")


def test_a_judgment_twice_is_refused(tmp_path: Path) -> None:
    refused(read_qrels, written(tmp_path, QRELS + "\nq1 0 d2 0\n"), 5, "a second time (first in line 2)")
    refused(read_qrels, written(tmp_path, BEIR + "q1\td2\t3\n"), 5, "a second time (first in line 3)")


def test_three_columns_need_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, "\n" + BEIR[25:])
    refused(read_qrels, path, 2, "the first line is a judgment, not the header", "add the line query-id<TAB>")
    refused(read_qrels, written(tmp_path, "qid\tpid\trel\n" + BEIR[25:]), 1, "the header is", "query-id<TAB>")
    for separator in (" ", ","):
        refused(read_qrels, written(tmp_path, BEIR.replace("\t", separator)), 1, "not separated by tabs")
    told = problems(read_qrels, written(tmp_path, BEIR[25:].replace("\t", " ")))
    assert [line for line, _ in told] == [1, 2, 3]
    assert "query-id<TAB>" in told[0][1]


def test_columns_of_beir_are_found_by_name(tmp_path: Path) -> None:
    text = 'score\t"query-id"\tcorpus-id\n1\tq1\td1\n0\tq1\td2\n2\tq2\td1\n'
    for end in ("\n", "\r\n"):
        assert judgments(read_qrels(written(tmp_path, text.replace("\n", end)))) == JUDGED
    spaced = read_qrels(written(tmp_path, BEIR + "a query\ta document\t 1 \n"))
    assert judgments(spaced) == [*JUDGED, ("a query", "a document", 1)]


@pytest.mark.parametrize("text", [QRELS, BEIR])
@pytest.mark.parametrize(
    ("grade", "wanted"),
    [("1.0", 1), ("-1", -1), ("+2", 2), ("2147483647", 2**31 - 1), ("0.5", None), ("1e1", None), ("0x1", None),
     ("2147483648", None), ("-2147483649", None), ("x", None), ("nan", None), ("9" * 6000, None)],
)  # fmt: skip
def test_grades_are_whole_numbers(tmp_path: Path, text: str, grade: str, wanted: int | None) -> None:
    end = 25 if text is BEIR else 0
    path = written(tmp_path, text[:end] + text[end:].replace("2\n", grade + "\n"))
    if wanted is not None:
        assert judgments(read_qrels(path))[-1] == ("q2", "d1", wanted)
        return
    refused(
        read_qrels,
        path,
        3 + (text is BEIR),
        "the grade",
        "beyond" if "21474" in grade or "99" in grade else "whole",
    )


# --- what else is known of files ------------------------------------------------------------------------------


def test_subtopics(tmp_path: Path) -> None:
    table = read_qrels(written(tmp_path, "q1 1 d1 1\nq1 2 d1 0\nq1 2 d2 1\n"))
    assert judgments(table) == [("q1", "d1", 1), ("q1", "d1", 0), ("q1", "d2", 1)]
    assert table.subtopic is not None
    assert table.subtopic.to_pylist() == ["1", "2", "2"]
    path = written(tmp_path, "q1 1 d1 1\nq1 2 d1 0\nq1 2 d2 1\nq1 2 d1 1\n")
    refused(read_qrels, path, 4, "query 'q1' has a judgment of 'd1' a second time (first in line 2)")
    # one value of column 2, as in ordinary qrels, tells nothing apart
    assert read_qrels(written(tmp_path, "q1 7 d1 1\nq1 7 d2 0\n")).subtopic is None


def test_swapped_files_are_recognised(tmp_path: Path) -> None:
    refused(read_qrels, written(tmp_path, RUN), 1, "looks like a run file", "swapped")
    assert [line for line, _ in problems(read_qrels, written(tmp_path, QRELS + RUN))] == [4, 5, 6]
    assert "looks like a qrels file" in problems(read_run, written(tmp_path, QRELS))[0][1]
    assert "looks like a qrels file" in problems(read_run, written(tmp_path, BEIR))[0][1]
    assert "TREC qrels" in problems(read_qrels, written(tmp_path, BEIR[:25] + QRELS))[0][1]


@pytest.mark.parametrize(("read", "text"), [(read_run, RUN), (read_qrels, QRELS), (read_qrels, BEIR)])
def test_every_mistake_is_told_at_once(tmp_path: Path, read: Any, text: str) -> None:
    separator = "\t" if text is BEIR else " "
    lines = text.splitlines()
    lines[2:2] = [separator.join(["q", "Q0", "d"][: 2 if text is BEIR else 3])]
    data = "\n".join(lines).encode() + b"\n" + lines[-1].replace("d1", "d\0").encode() + b"\n"
    data += lines[-1].replace("d1", "d!").encode().replace(b"!", b"\xff") + b"\n"
    data += lines[-1].replace("d1", "d\r").encode() + b"\r\n"
    at = len(lines)
    told = problems(read, written(tmp_path, b"\xef\xbb\xbf" + data))
    assert [line for line, _ in told] == [3, at + 1, at + 2, at + 3]
    for (_, message), word in zip(told, ["column", "byte 0", "not UTF-8", "carriage return"], strict=True):
        assert word in message


@pytest.mark.parametrize(("read", "text"), [(read_run, RUN), (read_qrels, QRELS), (read_qrels, BEIR)])
def test_compressed_files(tmp_path: Path, read: Any, text: str) -> None:
    data = text.encode()
    zst = zstandard.ZstdCompressor().compress
    wanted = fuzz_readers.bits(fuzz_readers.rows_of(read(written(tmp_path, data))))
    for name, packed in {
        "a.gz": gzip.compress(data), "b.gz": gzip.compress(data[:30]) + gzip.compress(data[30:]),
        "a.zst": zst(data), "b.zst": zst(data[:30]) + zst(data[30:]),
    }.items():  # fmt: skip
        assert fuzz_readers.bits(fuzz_readers.rows_of(read(written(tmp_path, packed, name)))) == wanted
        for cut in (packed[:-3], packed[: len(packed) // 2], b"plain" + packed):
            refused(read, written(tmp_path, cut, name), None, "damaged or cut off")
        refused(read, written(tmp_path, packed, "plain"), None, "compressed", f"ends in .{name[2:]}")


def test_other_forms_of_judgments_are_named(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.jsonl", "a.json.gz"):
        refused(read_qrels, tmp_path / name, None, "read from text files")
    refused(read_qrels, tmp_path / "absent", None, "no such qrels file")
    refused(read_qrels, tmp_path, None, "this is a folder")


@pytest.mark.parametrize("text", [RUN, "# comment\n" + RUN])
def test_a_pipe_can_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    run = read_run(path)
    writer.join()
    assert len(run) == 3
    assert run.line(2) == text.count("\n")


def test_a_run_that_stands_twice_in_a_file(tmp_path: Path) -> None:
    """The usual accident: appended instead of written."""
    rows = "".join(f"q{i // 1000} Q0 d{i % 1000} 1 {i} t\n" for i in range(30_000))
    with pytest.raises(InputError) as error:
        read_run(written(tmp_path, rows * 2))
    assert error.value.report.errors == 30_000
    assert [p.line for p in error.value.report.problems] == list(range(30_001, 30_011))


def test_many_blocks_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "_BLOCK", 1 << 12)
    rng = np.random.default_rng(0)
    rows = [
        (f"q{i // 50}", f"d{rng.integers(10 ** int(rng.integers(1, 12)))}-{i}", float(rng.normal()))
        for i in range(9000)
    ]
    for name, packed in (
        ("a", bytes),
        ("a.gz", gzip.compress),
        ("a.zst", zstandard.ZstdCompressor().compress),
    ):
        data = "".join(f"{q} Q0 {d} 1 {s!r} t\n" for q, d, s in rows).encode()
        assert hits(read_run(written(tmp_path, packed(data), name))) == rows


def test_a_byte_order_mark_is_left_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow leaves out one at the beginning of each block; it may also be the beginning of an id."""
    text = "\ufeffq Q0 d 1 1 t\n" * 2
    assert [q for q, _, _ in hits(read_run(written(tmp_path, text.replace("d", "e", 1))))] == ["q", "\ufeffq"]
    assert [q for q, _, _ in hits(read_run(written(tmp_path, "\ufeff" + text[:14])))] == ["\ufeffq"]
    monkeypatch.setattr(textfile, "_BLOCK", 24)  # one line
    assert [q for q, _, _ in hits(read_run(written(tmp_path, text.replace("d", "e", 1))))] == ["q", "\ufeffq"]


# --- properties -------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["run", "qrels"]))
def test_files_are_read_as_plain_python_reads_them(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str
) -> None:
    rng = random.Random(seed)
    data, suffix = fuzz_readers.an_input(kind, rng)
    with pytest.MonkeyPatch.context() as patch:
        fuzz_readers.small_blocks(rng, patch.setattr)
        fuzz_readers.check(kind, data, tmp_path_factory.getbasetemp() / f"fuzz{suffix}")


words = st.sampled_from(
    [*fuzz_readers.IDS, *fuzz_readers.SCORES, *fuzz_readers.BAD_SCORES, *fuzz_readers.GRADES]
)
gaps = st.sampled_from([" ", "\t", "  ", "\n", "\n", "\r\n", " \n", "\n#", "\x0b", "\0"])


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=80)
    | st.lists(st.one_of(words, gaps, gaps), max_size=40).map(lambda parts: "".join(parts).encode()),
    kind=st.sampled_from(["run", "qrels"]),
)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str
) -> None:
    fuzz_readers.check(kind, data, tmp_path_factory.getbasetemp() / "fuzz")


def test_a_carriage_return_in_a_line_makes_no_row(tmp_path: Path) -> None:
    """With as many control characters as rows: one line feed is missing at the end, one row too many is read."""
    path = written(tmp_path, "q1 0 d1 1\r\nq1 0 d2 1\rq1 0 d3 1\r\nq1 0 d4 1")
    refused(read_qrels, path, 2, "a carriage return inside the line")
