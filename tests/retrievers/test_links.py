"""Links: every form finds a planted graph, anchors stand in their paragraphs, hostile input is counted or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.api import load_dataset
from seekbench.collection import Records
from seekbench.errors import InputError
from seekbench.retrievers.generative.links import (
    DROPPED,
    Links,
    anchor_texts,
    documents,
    hip,
    plain,
    title_list,
)

Edge = tuple[int, int]
FILL = "some plain words that surround a link"


def corpus(
    texts: Sequence[str],
    metadata: Sequence[Any] | None = None,
    titles: Sequence[str | None] | None = None,
    ids: Sequence[str] | None = None,
) -> Records:
    """Records with metadata: an object, a raw string, or None a row."""
    n = len(texts)
    columns = {
        "id": pa.array(ids or [f"d{i}" for i in range(n)], pa.string()),
        "text": pa.array(texts, pa.string()),
        "title": pa.array(titles or [f"Page {i}" for i in range(n)], pa.string()),
    }
    if metadata is not None:
        raw = [m if m is None or isinstance(m, str) else orjson.dumps(m).decode() for m in metadata]
        columns["metadata"] = pa.array(raw, pa.string())
    return Records(pa.table(columns))


def edges(links: Links) -> list[Edge]:
    return list(zip(links.doc.tolist(), links.target.tolist(), strict=True))


def lost(links: Links) -> dict[str, int]:
    return {reason: n for reason, n in links.dropped.items() if n}


# --- one graph in every form: document i links its targets in order, one a paragraph ----------------------


def by_list(graph: list[list[int]], *, offsets: bool, ids: bool) -> Records:
    texts, metadata = [], []
    for targets in graph:
        text, found = FILL, []
        for k, target in enumerate(targets):
            anchor = f"anchor {k} here"
            entry: dict[str, Any] = {"target": f"d{target}" if ids else f"Page {target}", "text": anchor}
            if offsets:
                start = len(text) + len("\n\nthe ")
                entry |= {"start": start, "end": start + len(anchor)}
            found.append(entry)
            text += f"\n\nthe {anchor} and {FILL}"
        texts.append(text)
        metadata.append({"links": found})
    return corpus(texts, metadata)


def by_kilt(graph: list[list[int]], *, joined: str | None, ids: bool) -> Records:
    """joined: how paragraphs are made one text; None: they are given as a list, and the text is empty."""
    texts, metadata = [], []
    for targets in graph:
        paragraphs, found = [f"{FILL}\n"], []
        for k, target in enumerate(targets):
            paragraphs += [f"  anchor {k} here {FILL}\n"]
            found.append(
                {
                    "paragraph_id": k + 1,
                    "start": 2,
                    "end": 2 + len(f"anchor {k} here"),
                    "text": f"anchor {k} here",
                    "href": f"Page%20{target}",
                    **({"wikipedia_id": f"d{target}"} if ids else {}),
                    **({} if ids else {"wikipedia_title": f"Page {target}"}),
                }
            )
        texts.append("" if joined is None else joined.join(paragraphs))
        metadata.append({"anchors": found} | ({"paragraphs": paragraphs} if joined is None else {}))
    return corpus(texts, metadata)


def by_markup(graph: list[list[int]], link: Callable[[int, int], str], separator: str = "\n\n") -> Records:
    texts = [
        separator.join([FILL, *(f"the {link(k, t)} and {FILL}" for k, t in enumerate(targets))])
        for targets in graph
    ]
    return corpus(texts, [{"url": f"https://example.org/doc?{i}"} for i in range(len(graph))])


FORMS: dict[str, Callable[[list[list[int]]], Records]] = {
    "list, first occurrence, ids": lambda g: by_list(g, offsets=False, ids=True),
    "list, offsets, titles": lambda g: by_list(g, offsets=True, ids=False),
    "kilt, list of paragraphs": lambda g: by_kilt(g, joined=None, ids=True),
    "kilt, one line a paragraph": lambda g: by_kilt(g, joined="", ids=False),
    "kilt, blank lines": lambda g: by_kilt(g, joined="\n", ids=True),
    "wiki": lambda g: by_markup(g, lambda k, t: f"[[Page {t}|anchor {k} here]]"),
    "wiki, lower case": lambda g: by_markup(g, lambda k, t: f"[[page_{t}#Part|anchor {k} here]]", "\n"),
    "html, titles": lambda g: by_markup(
        g, lambda k, t: f"<a class='x' href='/wiki/Page_{t}#p'>anchor {k} here</a>"
    ),
    "html, ids, <p>": lambda g: by_markup(g, lambda k, t: f"<A HREF=d{t}>anchor {k} here</A>", "</p> <p>"),
    "html, addresses": lambda g: by_markup(g, lambda k, t: f'<a href="doc?{t}">anchor {k} here</a >'),
}
GRAPHS = st.integers(2, 7).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=5), min_size=n, max_size=n)
)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(graph=GRAPHS)
def test_a_planted_graph_is_found_in_every_form(form: str, graph: list[list[int]]) -> None:
    records = FORMS[form](graph)
    links = Links.of(records)
    wanted = [(d, t, k) for d, targets in enumerate(graph) for k, t in enumerate(targets) if d != t]
    assert edges(links) == [(d, t) for d, t, _ in wanted]
    assert anchor_texts(records, links) == [f"anchor {k} here" for _, _, k in wanted]
    assert links.paragraph.tolist() == [k + 1 for _, _, k in wanted]
    selfs = sum(d == t for d, targets in enumerate(graph) for t in targets)
    assert lost(links) == ({"self": selfs} if selfs else {})
    facts = links.facts()
    assert facts["links"] == len(links) == sum(facts["forms"].values())
    assert (facts["skipped"] is None) == bool(len(links))
    orjson.dumps(facts)


@pytest.mark.parametrize("form", FORMS)
def test_hip_gives_the_paragraph_of_the_anchor_between_its_neighbours(form: str) -> None:
    records = FORMS[form]([[1, 2], [0], [0, 1, 0], []])
    rows, texts = hip(records, Links.of(records), seed=3, per_document=9)
    assert rows.dtype == np.int64
    assert rows.tolist() == [1, 2, 0, 0, 1, 0]
    part = [f"anchor {k} here" for k in range(3)]
    assert [t.replace("the ", "").replace(" and some", " some") for t in texts] == [
        f"{FILL} {part[0]} {FILL} {part[1]} {FILL}",
        f"{part[0]} {FILL} {part[1]} {FILL}",
        f"{FILL} {part[0]} {FILL}",
        f"{FILL} {part[0]} {FILL} {part[1]} {FILL}",
        f"{part[0]} {FILL} {part[1]} {FILL} {part[2]} {FILL}",
        f"{part[1]} {FILL} {part[2]} {FILL}",
    ]
    assert not any(mark in t for t in texts for mark in ("[[", "]]", "|", "<", ">"))


# --- blocks and seeds ------------------------------------------------------------------------------------


def random_graph(n: int, degree: int, seed: int = 0) -> list[list[int]]:
    graph: list[list[int]] = np.random.default_rng(seed).integers(0, n, (n, degree)).tolist()
    return graph


@pytest.mark.parametrize("form", ["list, offsets, titles", "kilt, list of paragraphs", "html, addresses"])
def test_blocks_do_not_matter(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records = FORMS[form](random_graph(40, 6))
    whole = Links.of(records)
    pairs = hip(records, whole, seed=5)
    for block in (1, 7, 39):
        monkeypatch.setattr(documents, "_BLOCK", block)
        parts = Links.of(records)
        for name in ("doc", "target", "paragraph", "start", "end", "form"):
            assert np.array_equal(getattr(parts, name), getattr(whole, name)), name
        assert parts.facts() == whole.facts()
        rows, texts = hip(records, parts, seed=5)
        assert np.array_equal(rows, pairs[0])
        assert texts == pairs[1]


def test_hip_draws_at_most_so_many_a_document_with_the_seed() -> None:
    records = FORMS["wiki"](random_graph(60, 9))
    links = Links.of(records)
    rows, texts = hip(records, links, seed=1)
    everything = set(zip(*hip(records, links, seed=1, per_document=99), strict=True))
    assert len(rows) == 60 * 3
    assert set(zip(rows.tolist(), texts, strict=True)) <= {(int(r), t) for r, t in everything}
    assert texts == hip(records, links, seed=1)[1]
    assert texts != hip(records, links, seed=2)[1]
    # A document's draw is its own: emptying the others changes nothing.
    only = corpus([t if i == 17 else "" for i, t in enumerate(records.texts("{text}"))])
    again = hip(only, Links.of(only), seed=1)
    assert again[1] == texts[17 * 3 : 18 * 3]


def test_every_anchor_is_drawn_equally_often() -> None:
    records = FORMS["wiki"]([[1, 2, 3, 4, 5], [], [], [], [], []])
    links = Links.of(records)
    counts = np.zeros(6)
    for seed in range(600):
        np.add.at(counts, hip(records, links, seed=seed, per_document=2)[0], 1)
    assert counts[0] == 0
    assert np.abs(counts[1:] / 600 - 2 / 5).max() < 0.08


def test_short_paragraphs_titles_and_markup_do_not_count() -> None:
    text = (
        "Page 0 has four words\n\nSee [[Page 1]]\n\nfirst real paragraph of it\n\nSection::::More of [[Page 2]] it.\n\n"
        "a paragraph with [[Page 3|a link]] and [[Page 3]] &amp; more\n\nHeading\n\nlast paragraph, by <b>words</b>"
    )
    records = corpus([text, "", "", ""], titles=["Page 0 has four words", "Page 1", "Page 2", "Page 3"])
    links = Links.of(records)
    assert edges(links) == [(0, 1), (0, 2), (0, 3), (0, 3)]
    rows, texts = hip(records, links, seed=0)
    assert rows.tolist() == [3]
    assert texts == [
        "first real paragraph of it a paragraph with a link and Page 3 &amp; more last paragraph, by words"
    ]
    rows, _ = hip(records, links, seed=0, least_words=1)
    assert rows.tolist() == [1, 3]


# --- resolving -------------------------------------------------------------------------------------------


def test_targets_resolve_by_id_then_title_then_first_letter() -> None:
    titles = ["Start", "d3", "lima", "Lima", "Twin", "Twin", "éire", "iPod", "IPod"]
    wanted = {
        "d3": 3,
        "d7": 7,
        "Lima": 3,
        "lima": 2,
        "LIMA": -1,
        "Twin": -2,
        "twin": -2,
        "Éire": 6,
        "IPod": 8,
    }
    wanted |= {" Lima ": 3, "nothing": -1}
    records = corpus(
        ["word"] * 9,
        [{"links": [{"target": t, "text": "word"} for t in wanted]}, *[None] * 8],
        titles,
    )
    links = Links.of(records)
    assert links.target.tolist() == [t for t in wanted.values() if t >= 0]
    assert lost(links) == {"unresolved": 2, "ambiguous": 2}
    # Both have the folded title, neither the exact one.
    records = corpus(["[[twin]]"] * 3, titles=["x", "Twin", "Twin"])
    assert lost(Links.of(records)) == {"ambiguous": 3}


def test_a_year_is_no_docid_where_there_are_titles() -> None:
    text = "[[1984]] <a href='/wiki/1984'>x</a> [[2]] <a href='2'>y</a>"
    records = corpus([text, "", ""], titles=["Start", "1984", "Other"], ids=["0", "2", "1984"])
    assert edges(Links.of(records)) == [(0, 1), (0, 1), (0, 1)]
    untitled = Records.from_lists(["0", "2", "1984"], [text, "", ""])
    assert edges(Links.of(untitled)) == [(0, 2), (0, 2), (0, 1), (0, 1)]


def test_kilt_ids_are_no_titles() -> None:
    entry = {"paragraph_id": 0, "start": 0, "end": 4, "text": "word"}
    records = corpus(
        ["word", "", ""],
        [
            {
                "anchors": [
                    entry | {"wikipedia_id": "99", "wikipedia_title": t} for t in ("5", "Page", "gone")
                ]
            },
            None,
            None,
        ],
        titles=["Start", "99", "Page"],
        ids=["0", "5", "7"],
    )
    links = Links.of(records)
    assert edges(links) == [(0, 2)]
    assert lost(links) == {"unresolved": 2}


def test_a_foreign_address_is_not_a_title_and_addresses_are_joined() -> None:
    text = (
        "<a href='https://other.net/Page_1'>a</a> <a href='https://here.org/w/Page_1'>b</a> <a href='../x/y'>c</a> "
        "<a href='mailto:Page_1'>d</a> <a href='#part'>e</a> <a href='http://[bad'>f</a> <a href='AC%2FDC'>g</a> "
        "<a href='/q?a=1&amp;b=2'>h</a> <a href=''>i</a>"
    )
    urls = ["https://here.org/w/Page_0", None, "https://here.org/x/y#top", None, "https://here.org/q?a=1&b=2"]
    records = corpus(
        [text, *[""] * 4], [{"url": u} if u else None for u in urls], ["S", "Page 1", "T", "AC/DC", "U"]
    )
    links = Links.of(records)
    assert edges(links) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert anchor_texts(records, links) == ["b", "c", "g", "h"]
    assert lost(links) == {"unresolved": 3, "self": 1, "malformed": 1}
    same = corpus(["<a href='u'>x</a>", "", ""], [None, {"url": "u"}, {"url": "u"}])
    assert lost(Links.of(same)) == {"ambiguous": 1}


def test_the_annotation_goes_before_the_text_and_a_named_key_is_the_only_one() -> None:
    text = "one [[Page 1]]"
    anchor = {"text": "one"}
    records = corpus(
        [text] * 4,
        [
            {"links": [{"target": "d2", **anchor}], "mine": [{"target": "d3", **anchor}]},
            {"anchors": [{"wikipedia_id": "d2", "paragraph_id": 0, **anchor}]},
            {"links": 7, "anchors": ["https://a.b"]},
            None,
        ],
    )
    links = Links.of(records)
    assert edges(links) == [(0, 2), (1, 2), (2, 1), (3, 1)]
    assert links.facts()["forms"] == {"links": 1, "anchors": 1, "wiki": 2}
    assert lost(links) == {"malformed": 2}
    assert edges(Links.of(records, field="mine")) == [(0, 3)]
    with pytest.raises(InputError, match=r"metadata key 'mein'.*'mine'"):
        Links.of(records, field="mein")
    with pytest.raises(InputError, match="'links' of document 'd2' is no list"):
        Links.of(records, field="links")


def test_links_come_through_a_folder_of_json_lines(tmp_path: Path) -> None:
    anchors = [{"paragraph_id": 1, "start": 4, "end": 8, "text": "Lima", "wikipedia_title": "Lima"}]
    documents = [
        {"_id": "a", "title": "Peru", "text": "A country."},
        {"_id": "b", "title": "Lima", "text": "the capital", "links": [{"target": "a", "text": "capital"}]},
        {"_id": "c", "title": "Coast", "text": "", "anchors": anchors, "paragraphs": ["Coast", "The Lima."]},
        {"_id": "d", "title": "Sea", "text": "near [[Lima]]", "metadata": {"links": []}},
    ]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_bytes(b"\n".join(orjson.dumps(d) for d in documents))
    (tmp_path / "queries.jsonl").write_bytes(b'{"_id": "q", "text": "capital of Peru"}')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tb\t1\n")
    records = load_dataset(str(tmp_path), split="test", store=tmp_path / "store").corpus
    links = Links.of(records)
    assert edges(links) == [(1, 0), (2, 1), (3, 1)]
    assert anchor_texts(records, links) == ["capital", "Lima", "Lima"]
    assert links.facts()["forms"] == {"links": 1, "anchors": 1, "wiki": 1}


def test_a_corpus_without_links_says_so() -> None:
    for records in (corpus(["no link", "none"]), corpus([]), Records.from_lists(["a"], ["b"])):
        links = Links.of(records)
        assert len(links) == 0
        assert str(links.skipped).startswith("no hyperlink pairs: no document has a link; searched: the")
        rows, texts = hip(records, links, seed=0)
        assert (rows.tolist(), texts) == ([], [])
        assert rows.dtype == np.int64
    links = Links.of(corpus(["[[nowhere]] [[Page 0]]"]))
    assert "none could be taken (1 unresolved, 1 self)" in str(links.facts()["skipped"])


# --- hostile ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", ["{", "[1]", "7", '"x"', "null", "[" * 5000, '{"a": "\\ud800"}'])
def test_metadata_that_is_no_object_is_refused_with_the_document(raw: str) -> None:
    records = corpus(["a", "b"], [None, raw])
    with pytest.raises(InputError, match="metadata of document 'd1'"):
        Links.of(records)


ENTRIES: list[tuple[Any, str]] = [
    (7, "malformed"),
    (None, "malformed"),
    ([], "malformed"),
    ({}, "malformed"),
    ({"target": 7, "text": "word"}, "malformed"),
    ({"target": " ", "text": "word"}, "malformed"),
    ({"target": "d1", "text": ["word"]}, "malformed"),
    ({"target": "d1", "text": "word", "start": "0"}, "malformed"),
    ({"target": "d1", "text": "word", "start": True}, "malformed"),
    ({"target": "d1", "text": "word", "start": 0.0, "end": 4}, "malformed"),
    ({"target": "d1", "text": "absent"}, "unplaced"),
    ({"target": "d1", "text": ""}, "unplaced"),
    ({"target": "d1"}, "unplaced"),
    ({"target": "d1", "text": "word", "start": 1, "end": 5}, "unplaced"),
    ({"target": "d1", "text": "word", "start": -4, "end": 0}, "unplaced"),
    ({"target": "d1", "start": 0, "end": 99}, "unplaced"),
    ({"target": "d1", "start": 2**63, "end": 2**64 - 1}, "unplaced"),
    ({"target": "d1", "start": 3, "end": 1}, "unplaced"),
    ({"target": "d1", "start": 4, "end": 5}, "unplaced"),
    ({"target": "d1", "text": "word", "end": 4}, "unplaced"),
    ({"target": "d1", "start": 5, "end": 16}, "unplaced"),  # over a blank line
    ({"wikipedia_id": "d1", "paragraph_id": 2, "text": "word"}, "unplaced"),
    ({"wikipedia_id": "d1", "paragraph_id": -1, "text": "word"}, "unplaced"),
    ({"wikipedia_id": 1, "paragraph_id": 0, "text": "word"}, "malformed"),
    ({"target": "d9", "text": "word"}, "unresolved"),
]


@pytest.mark.parametrize(("entry", "reason"), ENTRIES)
def test_wrong_entries_are_counted(entry: Any, reason: str) -> None:
    good = {"target": "d1", "start": 0, "text": "word"}
    links = Links.of(corpus(["word word\n\nmore words", ""], [{"links": [entry, good]}, None]))
    assert edges(links) == [(0, 1)]
    assert lost(links) == {reason: 1}


@pytest.mark.parametrize(
    ("text", "anchors", "reasons"),
    [
        ("[[Page 1|a [[Page 2|b]] c]]", ["b"], {}),
        ("[[File:x.png|thumb|an [[Page 1]] in it]]", ["Page 1"], {}),
        ("[[[Page 1]]] [[Page 2|x|y]] [[Page 1|]]", ["Page 1", "y", "Page 1"], {}),
        ("[[]] [[ ]] [[|x]] [[Page 1 [[Page\n1]] a[[0]]", [], {"malformed": 1, "unresolved": 1}),
        ("[[#Part]] [[Page 1|over\n\nparagraphs]]", [], {"self": 1, "unplaced": 1}),
        ("<a href='d1'>never closed", [], {"malformed": 1}),
        ("<a href='d1'>one <a href='d2'>two</a></a>", ["two"], {"malformed": 1}),
        ("<a href='d1' never ends", [], {"malformed": 1}),
        ("</a><a>x</a><a name='d1'>x</a><abbr href='d1'>x</abbr>", [], {}),
        ("<a data-href='d2' href='d1'><b>x</b></a> <a href='d1'><img></a>", ["<b>x</b>"], {"unplaced": 1}),
    ],
)
def test_odd_markup(text: str, anchors: list[str], reasons: dict[str, int]) -> None:
    records = corpus([text, "", ""])
    links = Links.of(records)
    assert anchor_texts(records, links) == anchors
    assert lost(links) == reasons
    hip(records, links, seed=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "target": st.sampled_from(["d0", "d1", "Page 1"]) | JSON,
        "text": st.sampled_from(["word", "a", ""]) | JSON,
        "start": st.integers(-3, 30) | JSON,
        "end": st.integers(-3, 30) | JSON,
        "paragraph_id": st.integers(-1, 4) | JSON,
        "wikipedia_id": st.just("d1") | JSON,
        "wikipedia_title": st.just("Page 1") | JSON,
        "href": st.text(max_size=12) | JSON,
    },
)
MARKUP = st.lists(
    st.sampled_from(
        [
            "[[",
            "]]",
            "|",
            "[",
            "[:",
            "Page 1",
            "<a href=",
            "<a ",
            "'",
            '"',
            "d1",
            ">",
            "</a>",
            "<",
            "<p>",
            "<!--",
        ]
    )
    | st.sampled_from(["-->", "\n", "\n\n", "word", "#", "&amp;", "\x00", "%", "//", "\u2028", "😀"]),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    text=MARKUP,
    metadata=st.none()
    | st.dictionaries(
        st.sampled_from(["links", "anchors", "url", "paragraphs", "text"]),
        st.lists(ENTRY, max_size=4) | JSON | st.lists(MARKUP, max_size=3),
    ),
)
def test_nothing_raises_and_every_anchor_stands_in_its_paragraph(text: str, metadata: Any) -> None:
    records = corpus([text, "word"], [metadata, {"url": "word"}])
    links = Links.of(records)
    found = anchor_texts(records, links)
    assert [len(a) for a in found] == (links.end - links.start).tolist()
    assert all(a.strip() for a in found)
    assert set(links.target.tolist()) <= {0, 1}
    assert (links.doc != links.target).all()
    assert set(links.dropped) == set(DROPPED)
    rows, texts = hip(records, links, seed=0, least_words=1)
    assert len(rows) == len(texts)
    assert all(texts)


@pytest.mark.parametrize(
    "piece", ["[[", "[[a", "]]", "[[a|", "<a ", "<a href=", "<!--", "</a ", "\n ", " ", "<p ", "&", "|"]
)
def test_hostile_repetition_takes_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    before = time.perf_counter()
    records = corpus([text + " [[Page 1]] <a href=d1>" + text + "</a> x", ""])
    hip(records, Links.of(records), seed=0)
    assert time.perf_counter() - before < 2


def test_plain() -> None:
    assert plain("a  [[b]]\n[[c|d]] <b>e</b>f<br/>g <!-- h --> i <j k> if x <n and n> 0") == (
        "a b d ef g i <j k> if x <n and n> 0"
    )
    assert plain("[[File:x|thumb|a [[b]] c]] &amp; [[") == "a b c &amp; [["
    assert plain("<i>x</i> &amp; &lt;b&gt;", entities=True) == "x & <b>"


def test_bad_parameters_are_refused() -> None:
    records = FORMS["wiki"]([[1], []])
    links = Links.of(records)
    with pytest.raises(InputError, match="anchors per document are 0"):
        hip(records, links, seed=0, per_document=0)
    with pytest.raises(InputError, match="seed"):
        hip(records, links, seed=-1)
    with pytest.raises(InputError, match="links of 2 documents, but the corpus has 1"):
        hip(corpus(["a"]), links, seed=0)
    for weights in ([], [0, 0], [-1, 2], [np.nan]):
        with pytest.raises(InputError, match="weights of title lists"):
            title_list(links, np.array([0]), seed=0, weights=weights)
    with pytest.raises(InputError, match="outside the corpus"):
        title_list(links, np.array([2]), seed=0)
    with pytest.raises(InputError, match="numbers"):
        title_list(links, np.array([0]), seed=0, numbers=np.array([-1]))


# --- lists of titles -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(graph=GRAPHS, seed=st.integers(0, 99), data=st.data())
def test_title_lists_are_distinct_linked_documents_in_order(
    graph: list[list[int]], seed: int, data: st.DataObject
) -> None:
    links = Links.of(FORMS["list, first occurrence, ids"](graph))
    rows = np.array(data.draw(st.lists(st.integers(0, len(graph) - 1), max_size=20)), dtype=np.int64)
    indptr, docs = title_list(links, rows, seed=seed, weights=(1, 1, 1, 1, 1))
    assert len(indptr) == len(rows) + 1
    assert indptr.dtype == docs.dtype == np.int64
    for i, row in enumerate(rows.tolist()):
        listed = docs[indptr[i] : indptr[i + 1]].tolist()
        linked = [t for t in dict.fromkeys(graph[row]) if t != row]
        assert listed[0] == row
        assert listed[1:] == [t for t in linked if t in listed[1:]]
        assert len(listed) <= 5
    # Cut anywhere, the parts give the same, given which example of its document each is.
    numbers = np.array([int((rows[:i] == r).sum()) for i, r in enumerate(rows)], dtype=np.int64)
    cut = len(rows) // 3
    parts = [
        title_list(links, rows[p], seed=seed, weights=(1, 1, 1, 1, 1), numbers=numbers[p])[1]
        for p in (slice(cut), slice(cut, None))
    ]
    assert np.array_equal(np.concatenate(parts), docs)


def test_title_list_sizes_follow_the_weights() -> None:
    links = Links.of(FORMS["wiki"]([[1, 2, 3, 4, 5], [0], [], [], [], []]))
    rows = np.array([0, 1, 2] * 4000)
    indptr, docs = title_list(links, rows, seed=4)
    extra = np.diff(indptr) - 1
    share = np.bincount(extra[rows == 0], minlength=5) / 4000
    assert np.abs(share - np.array([0.70, 0.20, 0.05, 0.03, 0.02])).max() < 0.03
    assert abs(extra[rows == 1].mean() - 0.3) < 0.03
    assert extra[rows == 1].max() == 1
    assert not extra[rows == 2].any()
    others = np.bincount(np.delete(docs, indptr[:-1]), minlength=6)
    assert others[1:].min() / others[1:].max() > 0.85
    assert not np.array_equal(title_list(links, rows, seed=5)[0], indptr)
    assert title_list(links, rows, seed=4, weights=(1,))[1].tolist() == rows.tolist()


# --- speed -----------------------------------------------------------------------------------------------


def test_ten_thousand_documents_take_a_second_or_two() -> None:
    records = FORMS["wiki"](random_graph(10_000, 5))
    before = time.perf_counter()
    links = Links.of(records)
    rows, _ = hip(records, links, seed=0)
    title_list(links, np.repeat(np.arange(10_000), 10), seed=0)
    assert time.perf_counter() - before < 8
    assert len(links) > 49_000
    assert len(rows) > 29_000
