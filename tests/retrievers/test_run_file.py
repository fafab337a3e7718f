"""TREC runs read in, in every layout that occurs, and refused with file and line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import hashing, trec
from seekbench.collection import Corpus, Queries, Records
from seekbench.errors import InputError, SeekbenchError
from seekbench.progress import NoProgress
from seekbench.retrievers.protocol import Context, Retriever, TextView
from seekbench.retrievers.run_file import RunFile, RunFileParams, RunFileSearcher
from seekbench.runs import Run, write_trec
from seekbench.textfile import TextFile

PLAIN = "q1 Q0 d1 1 3.5 tag\nq1 Q0 d2 2 2.5 tag\nq2 Q0 d1 1 -1e-3 tag\n"
EXPECTED = [("q1", "d1", 3.5), ("q1", "d2", 2.5), ("q2", "d1", -1e-3)]


def rows(run: trec.TrecRun) -> list[tuple[str, str, float]]:
    return [
        (run.query_ids[int(q)].as_py(), d, float(s))
        for q, d, s in zip(run.query, run.doc.to_pylist(), run.scores, strict=True)
    ]


LAYOUTS = {
    "plain": PLAIN,
    "tabs": PLAIN.replace(" ", "\t"),
    "no newline at the end": PLAIN.rstrip("\n"),
    "runs of blanks": PLAIN.replace(" ", "  \t "),
    "blank at both ends": "\n".join(f"  {line} " for line in PLAIN.splitlines()),
    "blank lines": "\n\n" + PLAIN.replace("\n", "\n\n"),
    "comments": "# made by hand, with six words\n" + PLAIN + "  # end\n",
    "windows": PLAIN.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + PLAIN,
    "tags with spaces": PLAIN.replace("tag", "my own tag"),
    "one tag with spaces": PLAIN.replace("tag", "my tag", 1),
    "no tag": PLAIN.replace(" tag", ""),
    "doubled blank and no tag": PLAIN.replace("q1 Q0 d2 2 2.5 tag", "q1  Q0 d2 2 2.5"),
    "leading blank and no tag": PLAIN.replace("q2 Q0 d1 1 -1e-3 tag", " q2 Q0 d1 1 -1e-3"),
    "plus sign": PLAIN.replace(" 3.5", " +3.5"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_run(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(LAYOUTS[layout].encode())
    run = trec.read_run(path)
    assert rows(run) == EXPECTED
    assert run.query.dtype == np.int32
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    for i, (query, document, _) in enumerate(EXPECTED):
        assert lines[run.line(i) - 1].split()[:3:2] == [query, document]


def test_compressed(tmp_path: Path) -> None:
    import zstandard

    packed, zst = tmp_path / "run.gz", tmp_path / "run.zst"
    packed.write_bytes(gzip.compress(PLAIN.encode()))
    zst.write_bytes(zstandard.ZstdCompressor().compress(PLAIN.encode()))
    assert rows(trec.read_run(packed)) == rows(trec.read_run(zst)) == EXPECTED
    packed.write_bytes(packed.read_bytes()[:-20])
    zst.write_bytes(b"not zstd")
    for path in (packed, zst):
        with pytest.raises(InputError, match=str(path)):
            trec.read_run(path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (PLAIN + "q2 0 d1 1\n", 4, "4 column.*qrels"),
        ("q1 Q0 d1\n" + PLAIN, 1, "3 column"),
        (PLAIN + "\n\nq3 Q0 d1 1 nan tag\n", 6, "has no rank"),
        (PLAIN + "q3 Q0 d1 1 NaN tag\n", 4, "has no rank"),
        ("#\n" + PLAIN + "q3 Q0 d1 1 high tag\n", 5, "'high' is not a number"),
        (PLAIN + "q3 Q0 d1 1 1_0 tag\n", 4, "not a number"),
        (PLAIN + "q3 Q0 d1 1 0x10 tag\n", 4, "not a number"),
        (PLAIN + "q1 Q0 d1 3 1 tag\n", 4, "'q1' has document 'd1' a second time .first in line 1"),
        ("\n" + PLAIN + "q2 Q0 d1 3 1 other tag\n", 5, "first in line 4"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "run.trec"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        trec.read_run(path)
    assert [(p.where, p.line) for p in error.value.report.problems] == [(str(path), line)]


def test_all_errors_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text(PLAIN + "".join(f"q9 Q0 d{i} 1 x tag\n" for i in range(25)) + "q\n")
    with pytest.raises(InputError) as error:
        trec.read_run(path)
    assert error.value.report.errors == 26
    path.write_text("".join(f"q Q0 d{i % 5} 1 1 t\n" for i in range(40)))
    with pytest.raises(InputError) as error:
        trec.read_run(path)
    assert error.value.report.errors == 35


def test_bad_bytes_and_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(PLAIN.encode() + b"q3 Q0 d\xff 1 1 tag\n")
    with pytest.raises(InputError, match=r"run.trec:4: not UTF-8"):
        trec.read_run(path)
    for nothing in (b"", b"\n \n", b"# only a comment\n"):
        path.write_bytes(nothing)
        with pytest.raises(InputError, match="no line"):
            trec.read_run(path)
    with pytest.raises(InputError, match="no such run file"):
        trec.read_run(tmp_path / "absent")
    with pytest.raises(InputError, match="folder"):
        trec.read_run(tmp_path)


def test_scores_are_float64_and_ranked_as_float32(tmp_path: Path) -> None:
    """trec_eval: atof to double, then assigned to float."""
    path = tmp_path / "run.trec"
    texts = ["0.1", "16777217", "1e-45", "1e39", "-inf", "INF", "3.4028235677973366e38", "1e400", "1e-400"]
    path.write_text("".join(f"q1 Q0 d{i} 1 {t} x\n" for i, t in enumerate(texts)))
    np.testing.assert_array_equal(trec.read_run(path).scores, [float(t) for t in texts])
    path.write_text("q1 Q0 d1 1 16777217 x\nq1 Q0 d2 1 16777216 x\nq1 Q0 d3 1 1e39 x\n")
    run, _ = search(path)
    assert run.doc_rows[0].tolist() == [2, 1, 0]
    assert run.scores[0].tolist() == [np.inf, 16777216, 16777216]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("abcdeé0,\"'#\\;", min_size=1, max_size=4),
            st.text("xyz0,\"'#\\;|", min_size=1, max_size=4),
            st.floats(allow_nan=False, width=32),
        ),
        min_size=1, max_size=30, unique_by=lambda t: t[:2],
    ),
    st.sampled_from([" ", "\t", "   "]),
)  # fmt: skip
def test_any_ids_come_back(
    tmp_path_factory: pytest.TempPathFactory, hits: list[tuple[str, str, float]], separator: str
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    path.write_text("".join(separator.join([q, "Q0", d, "1", repr(s), "tag"]) + "\n" for q, d, s in hits))
    assert rows(trec.read_run(path)) == [(q, d, s) for q, d, s in hits]


HASHES = [("#1", "d1", 2.5), ("#1", "#d", 1.5), ("#", "d1", -1.0), ("q", "d2", 1.0)]
COMMENTS = [
    "#",
    "# by hand, in 2024",
    "#5 words and a number",
    "# 4 queries of 1000 hits",
    "# q1 Q0 d1 1 2.5 tag",
    "#-----",
]


@pytest.mark.parametrize("separator", [" ", "\t", "  "])
@pytest.mark.parametrize("comments", [[], COMMENTS])
def test_a_hash_begins_a_comment_or_an_id(tmp_path: Path, separator: str, comments: list[str]) -> None:
    """A line with the shape of a hit is one: queries whose ids begin with # were lost otherwise."""
    path = tmp_path / "run.trec"
    lines = [separator.join([q, "Q0", d, "1", str(s), "t"]) for q, d, s in HASHES]
    path.write_text("\n".join([*comments, *lines, *comments]))
    run = trec.read_run(path)
    assert rows(run) == HASHES
    assert [run.line(i) for i in range(4)] == [len(comments) + i for i in range(1, 5)]
    # only what is no plain table leaves the fast path
    assert (trec._fast(TextFile(path, "run")) is None) == (bool(comments) or separator == "  ")


def test_a_hash_with_a_score_without_rank_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text(PLAIN + "#1 Q0 d1 1 nan t\n")
    with pytest.raises(InputError, match=r"run.trec:4: the score is nan"):
        trec.read_run(path)
    path.write_text("#1 Q0 d1 1 3\n")  # no tag
    assert rows(trec.read_run(path)) == [("#1", "d1", 3.0)]


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.gz"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    assert trec.read_run(path, digest=True).digest == hashing.of_file(path)
    assert trec.read_run(path).digest == ""


# -- as a retriever ---------------------------------------------------------------------------------------

DOCS = Records.from_lists(["d1", "d2", "d3"], ["a", "b", "c"])
ASKED = Records.from_lists(["q1", "q2", "q3"], ["a", "b", "c"])


def search(path: Path, k: int = 10, **params: Any) -> tuple[Run, dict[str, int]]:
    retriever = RunFile(RunFileParams(path=str(path), **params))
    assert isinstance(retriever, Retriever)
    context = Context()
    assert set(retriever.identity(context=context)) == {"file"}
    searcher = retriever.open(None, TextView(DOCS), context=context)
    run = searcher.search(TextView(ASKED, "{text}"), k, context=context)
    return run, searcher.finish(run)


def test_hits_are_ranked_by_score_not_by_line_or_rank(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 d1 1 1.0 t\nq2 Q0 d2 9 5 t\nq1 Q0 d3 2 2.0 t\nq1 Q0 d2 3 2.0 t\n")
    run, facts = search(path)
    assert run.doc_rows.tolist() == [[2, 1, 0], [1, -1, -1], [-1, -1, -1]]
    assert facts == {"queries_not_asked": 0, "queries_without_hits": 1, "unknown_documents_dropped": 0}
    assert search(path, k=2)[0].doc_rows.tolist() == [[2, 1], [1, -1], [-1, -1]]


def test_unknown_documents_are_refused_or_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 d1 1 3 t\nq1 Q0 x9 2 2 t\nq1 Q0 d2 3 1 t\nq9 Q0 x8 1 1 t\n")
    with pytest.raises(InputError, match=r"run.trec:2: 1 of 3 hits .*'x9'.*unknown: drop"):
        search(path)
    run, facts = search(path, unknown="drop")
    assert run.doc_rows[0].tolist() == [0, 1]
    assert facts == {"queries_not_asked": 1, "queries_without_hits": 2, "unknown_documents_dropped": 1}


class Notes(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str, **facts: object) -> None:
        self.lines.append(message)


def ask(searcher: RunFileSearcher, *rows: int) -> Run:
    """As the runner asks for a block: with a context that shows nothing."""
    return searcher.search(TextView(ASKED, "{text}").take(np.array(rows)), 10, context=Context())


def test_counts_are_of_the_whole_run_and_told_once(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 d1 1 3 t\nq1 Q0 x9 2 2 t\nq3 Q0 d2 3 1 t\nq8 Q0 d1 1 1 t\nq9 Q0 x8 1 1 t\n")
    notes = Notes()
    retriever = RunFile(RunFileParams(path=str(path), unknown="drop"))
    searcher = retriever.open(None, TextView(DOCS), context=Context(progress=notes))
    blocks = [ask(searcher, 0, 1), ask(searcher, 2)]
    for row in (0, 1, 2, 1):
        ask(searcher, row)  # for other purposes
    assert not notes.lines
    whole = Run(np.concatenate([b.doc_rows for b in blocks]), np.concatenate([b.scores for b in blocks]))
    assert searcher.finish(whole) == {
        "queries_without_hits": 1, "queries_not_asked": 2, "unknown_documents_dropped": 1,
    }  # fmt: skip
    assert [line.removeprefix(f"{path}: ") for line in notes.lines] == [
        "1 hits on documents that the corpus lacks were dropped; ranks below moved up",
        "2 of its 4 queries are not asked here, 1 asked ones have no hits",
    ]

    # The first block was searched by an earlier process: what it asked is not known here.
    notes.lines.clear()
    later = retriever.open(None, TextView(DOCS), context=Context(progress=notes))
    ask(later, 2)
    assert later.finish(whole) == {"queries_without_hits": 1}
    assert [line.removeprefix(f"{path}: ") for line in notes.lines] == ["1 asked ones have no hits"]


def test_a_run_without_hits_says_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("z1 Q0 d1 1 3 t\n")
    with pytest.raises(InputError, match=r"none of its 1 queries .'z1'"):
        search(path)
    path.write_text("q1 Q0 x1 1 3 t\n")
    with pytest.raises(InputError, match="none of its hits is a document of this corpus"):
        search(path, unknown="drop")


@pytest.mark.parametrize("new", ["q1 Q0 d2 1 3 t\n", "q1 Q0 d1 1 "])
def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, new: str) -> None:
    path = tmp_path / "run-a.trec"
    path.write_text("q1 Q0 d1 1 3 t\n")
    family = RunFile(RunFileParams(path=str(tmp_path / "run-{dataset}.trec")))
    first, context = family.for_dataset("a", "test"), Context()
    first.identity(context=context)
    first.open(None, TextView(DOCS), context=context)
    path.write_text(new)
    for retriever in (first, family.for_dataset("a", "test")):
        with pytest.raises(SeekbenchError, match=r"run-a.trec changed while it was being read; run again"):
            retriever.open(None, TextView(DOCS), context=context)
    if new.endswith("\n"):
        again = family.for_dataset("a", "test")
        again.identity(context=context)
        again.open(None, TextView(DOCS), context=context)
        with pytest.raises(SeekbenchError, match="changed"):  # what it said itself counts
            first.open(None, TextView(DOCS), context=context)


def test_a_written_run_comes_back_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    order = Corpus(DOCS.table).order
    scores = rng.standard_normal((3, 3)).astype(np.float32) * 1e-3
    run = Run.ranked(np.argsort(rng.random((3, 3)), axis=1).astype(np.int32), scores, order)
    for name in ("run.trec", "run.trec.gz"):
        path = tmp_path / name
        write_trec(run, Corpus(DOCS.table), Queries(ASKED.table), path, "a tag")
        back, _ = search(path)
        np.testing.assert_array_equal(back.doc_rows, run.doc_rows)
        np.testing.assert_array_equal(back.scores, run.scores)


def test_queries_that_begin_with_a_hash_survive_the_file(tmp_path: Path) -> None:
    queries = Records.from_lists(["#1", "#", "# x".replace(" ", "_")], ["a", "b", "c"])
    run = Run.ranked(np.int32([[0], [1], [2]]), np.float32([[3], [2], [1]]), Corpus(DOCS.table).order)
    path = tmp_path / "run.trec.gz"
    write_trec(run, Corpus(DOCS.table), Queries(queries.table), path, "tag")
    searcher = RunFile(RunFileParams(path=str(path))).open(None, TextView(DOCS), context=Context())
    back = searcher.search(TextView(queries, "{text}"), 10, context=Context())
    np.testing.assert_array_equal(back.doc_rows, run.doc_rows)
    assert searcher.finish(back)["queries_without_hits"] == 0
