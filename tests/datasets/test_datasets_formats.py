"""The readers: one content in many forms is one collection, and no bytes make them fail in another way."""

# ruff: noqa: E501, PT017 (lists of samples; a property may hold with and without the error)

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DOCUMENTS, JUDGMENTS, QUERIES, as_jsonl, as_tsv, write  # type: ignore[import-not-found]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seekbench.datasets.builder import Builder
from seekbench.datasets.folder import open_collection, open_dataset
from seekbench.datasets.formats.beir import Beir
from seekbench.datasets.formats.trec import Trec, split_of
from seekbench.datasets.resolve import sniff
from seekbench.datasets.source import Source
from seekbench.errors import InputError
from seekbench.progress import NoProgress

Make = Callable[..., Path]

SGML = """<DOC>
<DOCNO> d1 </DOCNO>
<HEADLINE>First</HEADLINE>
<TEXT>
one  <B>text</B>
</TEXT>
</DOC>
<doc><docno>d2</docno><text>another &lt;text&gt;</text></doc>
<DOC><DOCNO>d10</DOCNO><TITLE>Third</TITLE><TEXT>with ümlauts</TEXT><TEXT>and 漢字</TEXT></DOC>
"""
TOPICS = """<top>
<num> Number: q1
<title> which is one

<desc> Description:
The one.
<narr> Narrative: Only the
one counts.
</top>

<top><num>q2</num><title>which is other</title><desc>The other.</desc><narr></narr></top>
"""
QRELS = "".join(f"{q} 0 {d} {g}\n" for q, d, g in JUDGMENTS).encode()


def build(source: Source, tmp_path: Path) -> tuple[Path, Builder]:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    builder = Builder(folder)
    source.read(builder, progress=NoProgress())
    builder.close()
    return folder, builder


def hashes(source: Source, tmp_path: Path) -> dict[str, str]:
    return open_dataset(build(source, tmp_path)[0], id="x").hashes


@pytest.mark.parametrize("ending", [".gz", ".zst", ".parquet"])
def test_one_content_one_hash(ending: str, make_beir: Make, tmp_path: Path) -> None:
    plain = hashes(Beir(make_beir(name="plain")), tmp_path)
    assert hashes(Beir(make_beir(name="other", ending=ending)), tmp_path) == plain


def test_every_part_of_the_content_is_in_the_hash(make_beir: Make, tmp_path: Path) -> None:
    plain = hashes(Beir(make_beir(name="plain")), tmp_path)
    for number, change in enumerate(
        [
            {"corpus": [{**DOCUMENTS[0], "title": "first"}, *DOCUMENTS[1:]]},
            {"corpus": [{**DOCUMENTS[0], "metadata": {"year": 2002}}, *DOCUMENTS[1:]]},
            {"corpus": [{**DOCUMENTS[0], "title": "", "text": "First one text"}, *DOCUMENTS[1:]]},
            {"queries": [{**QUERIES[0], "text": "which is one?"}, QUERIES[1]]},
            {"test": [*JUDGMENTS[:2], ("q2", "d10", 1)]},
        ]
    ):
        found = hashes(Beir(make_beir(name=str(number), **change)), tmp_path)
        assert found["dataset"] != plain["dataset"]
        assert sum(found[k] != plain[k] for k in plain) == 2


def test_harmless_leftovers_change_nothing(make_beir: Make, tmp_path: Path) -> None:
    plain = hashes(Beir(make_beir(name="plain")), tmp_path)
    odd = make_beir(
        name="odd",
        corpus=b"\xef\xbb\xbf" + as_jsonl(DOCUMENTS).replace(b"\n", b"\r\n\r\n").removesuffix(b"\r\n\r\n"),
        test=as_tsv(JUDGMENTS).replace(b"\n", b"\r\n"),
    )
    assert hashes(Beir(odd), tmp_path) == plain


def test_two_zstd_frames_and_two_gzip_members_are_one_file(make_beir: Make, tmp_path: Path) -> None:
    import gzip

    import zstandard

    plain = hashes(Beir(make_beir(name="plain")), tmp_path)
    parts = [as_jsonl(DOCUMENTS[:1]), as_jsonl(DOCUMENTS[1:])]
    for ending, compress in ((".zst", zstandard.compress), (".gz", gzip.compress)):
        folder = make_beir(name="frames" + ending)
        (folder / "corpus.jsonl").unlink()
        (folder / f"corpus.jsonl{ending}").write_bytes(b"".join(compress(p) for p in parts))
        assert hashes(Beir(folder), tmp_path) == plain


def test_keys_beside_the_known_ones_are_metadata(make_beir: Make, tmp_path: Path) -> None:
    rows = [{**DOCUMENTS[0], "url": "u", "n": None}, *DOCUMENTS[1:]]
    folder, _ = build(Beir(make_beir(corpus=rows)), tmp_path)
    assert open_collection(folder).corpus.texts("{url} {year} {text}")[0] == "u 2001 one text"


def trec(folder: Path, documents: bytes, topics: bytes, suffix: str = "") -> Trec:
    write(folder / f"documents.x{suffix}", documents)
    write(folder / f"topics.y{suffix}", topics)
    write(folder / f"qrels.txt{suffix}", QRELS)
    return Trec(folder)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_trec_forms_give_one_collection(suffix: str, tmp_path: Path) -> None:
    texts = {
        "d1": ("First", "one text"),
        "d2": ("", "another <text>"),
        "d10": ("Third", "with ümlauts and 漢字"),
    }
    tsv = "".join(f"{id}\t{title}\t{text}\n" for id, (title, text) in texts.items())
    documents = [
        SGML.encode(),
        tsv.encode(),
        as_jsonl([{"id": id, "title": title, "contents": text} for id, (title, text) in texts.items()]),
    ]
    topics = [b"q1\twhich is one\nq2\twhich is other\n", as_jsonl(QUERIES)]
    found = [
        hashes(trec(tmp_path / f"{n}-{m}", d, t, suffix), tmp_path)
        for n, d in enumerate(documents)
        for m, t in enumerate(topics)
    ]
    assert all(f == found[0] for f in found)


def test_classic_topics(tmp_path: Path) -> None:
    folder, _ = build(trec(tmp_path / "trec", SGML.encode(), TOPICS.encode()), tmp_path)
    dataset = open_dataset(folder, id="x", query_template="{text}|{description}|{narrative}")
    assert dataset.queries.texts(dataset.query_template) == [
        "which is one|The one.|Only the one counts.",
        "which is other|The other.|",
    ]
    assert dataset.split == "test"
    assert dataset.qrels.grades.tolist() == [2, 1, 0]


def test_topic_fields(tmp_path: Path) -> None:
    trec(tmp_path / "trec", SGML.encode(), TOPICS.encode())
    folder, _ = build(Trec(tmp_path / "trec", topic_fields=("title", "description")), tmp_path)
    assert open_collection(folder).queries.texts("{text}") == [
        "which is one The one.", "which is other The other.",
    ]  # fmt: skip
    with pytest.raises(InputError, match="topic q2 has no narrative"):
        build(Trec(tmp_path / "trec", topic_fields=("narrative",)), tmp_path)


def test_latin1_documents(tmp_path: Path) -> None:
    data = "<DOC><DOCNO>d1</DOCNO><TEXT>café</TEXT></DOC>".encode("latin-1")
    source = trec(tmp_path / "trec", data, TOPICS.encode())
    with pytest.raises(InputError, match="no UTF-8"):
        build(source, tmp_path)
    builder = Builder(tmp_path)
    documents = Trec(tmp_path / "trec", encoding="latin-1")._documents(
        tmp_path / "trec/documents.x", builder.report
    )
    assert [row for _, row in documents] == [{"docid": "d1", "title": "", "contents": "café"}]


@pytest.mark.parametrize(
    ("documents", "code", "line"),
    [
        (b"<DOC>\n<DOCNO>d1</DOCNO>\n<TEXT>x</TEXT>\n", "not-closed", 1),
        (b"<DOC><DOCNO>d1</DOCNO>\n<DOC><DOCNO>d2</DOCNO>x</DOC>", "not-closed", 1),
        (b"<DOC>\n<TEXT>x</TEXT></DOC>\n", "missing-key", 1),
        (b"<HTML>\n</HTML>\n", "no-documents", None),
        (b"d1\tx\n\nd2 x\n", "bad-columns", 3),
    ],
)
def test_defects_of_trec_documents(documents: bytes, code: str, line: int | None, tmp_path: Path) -> None:
    source = trec(tmp_path / "trec", documents, TOPICS.encode())
    with pytest.raises(InputError) as caught:
        build(source, tmp_path)
    first = next(p for p in caught.value.report.problems if p.severity == "error")
    assert (first.code, first.line) == (code, line)


def test_names_of_splits() -> None:
    names = {"qrels.txt": "test", "qrels.dev.txt": "dev", "qrels-dl19.tsv.gz": "dl19", "qrels": "test", "dev.tsv": "dev",
             "qrel_a.b.txt": "a.b"}  # fmt: skip
    assert {name: split_of(Path(name)) for name in names} == names


def test_formats_are_told_apart(make_beir: Make, tmp_path: Path) -> None:
    assert sniff(make_beir()) == "beir"
    trec(tmp_path / "trec", b"", b"")
    assert sniff(tmp_path / "trec") == "trec"


#: Bytes that come near to what the readers look for.
PIECES = st.sampled_from(
    [b'{"_id": "a", "text": "x"}\n', b'{"_id": "q", "text": "x"}\n', b"query-id\tcorpus-id\tscore\n", b"q\ta\t1\n", b"<DOC>",
     b"</DOC>", b"<DOCNO>", b"</DOCNO>", b"<TEXT>", b"<top>", b"</top>", b"<num>", b"<title>", b"q 0 a 1\n", b"\n", b"\r\n",
     b"\t", b"{", b"}", b"\xef\xbb\xbf", b"\xff", b"\\ud800", b"PAR1", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"NaN", b"1e999"]
)  # fmt: skip
BYTES = st.lists(PIECES | st.binary(max_size=12), max_size=12).map(b"".join)


def only_input_errors(source: Source) -> None:
    with tempfile.TemporaryDirectory() as name:
        builder = Builder(Path(name))
        try:
            source.files()
            source.read(builder, progress=NoProgress())
            builder.close()
        except InputError as error:
            assert error.report.errors
            assert all("\n" not in line for line in error.report.lines())
        else:
            assert open_dataset(Path(name), id="x", split=open_collection(Path(name)).splits[0]).hashes


@settings(max_examples=60, deadline=None)
@given(BYTES, BYTES, BYTES, st.sampled_from(["", ".gz", ".zst", ".parquet"]), st.booleans())
@example(
    b'{"_id": "a", "text": "x"}\n',
    b'{"_id": "q", "text": "x"}\n',
    b"query-id\tcorpus-id\tscore\nq\ta\t1\n",
    "",
    True,
)
def test_any_bytes_in_a_beir_folder(
    corpus: bytes, queries: bytes, qrels: bytes, ending: str, raw: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put = (lambda path, data: path.write_bytes(data)) if raw else write
        (folder / "qrels").mkdir()
        if ending == ".parquet":
            put(folder / "corpus.parquet", corpus)
            write(folder / "queries.jsonl", queries)
            put(folder / "qrels" / "test.parquet", qrels)
        else:
            put(folder / f"corpus.jsonl{ending}", corpus)
            put(folder / f"queries.jsonl{ending}", queries)
            put(folder / "qrels" / f"test.tsv{ending}", qrels)
        only_input_errors(Beir(folder))


@settings(max_examples=60, deadline=None)
@given(BYTES, BYTES, BYTES, st.sampled_from(["", ".gz", ".zst"]), st.booleans())
@example(b"a\tx\n", b"q\tx\n", b"q 0 a 1\n", "", True)
def test_any_bytes_in_a_trec_folder(
    documents: bytes, topics: bytes, qrels: bytes, ending: str, raw: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem, data in (("documents", documents), ("topics", topics), ("qrels", qrels)):
            path = folder / f"{stem}.txt{ending}"
            if raw:
                path.write_bytes(data)
            else:
                write(path, data)
        only_input_errors(Trec(folder))
