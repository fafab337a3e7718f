"""The embedded dataset: what is taken out of sources and docstrings, and the real library as a whole."""

from __future__ import annotations

import ast
import textwrap
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from seekbench.datasets.builder import Builder
from seekbench.datasets.formats import pydocs
from seekbench.datasets.formats.pydocs import code, collection, docstrings, prose
from seekbench.datasets.formats.pydocs import library as files
from seekbench.datasets.resolve import resolve
from seekbench.errors import InputError, MissingError
from seekbench.progress import NoProgress


def write(root: Path, name: str, text: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
    return path


def sources(text: str) -> dict[str, str]:
    return {f.name: f.text or "" for f in code.functions(textwrap.dedent(text))}


def source(text: str) -> str:
    (only,) = sources(text).values()
    return only


# --- first sentences --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return the sum. Never fails.", "Return the sum."),
        ("Return the sum", "Return the sum"),
        ("Return the sum\n    of all items.\n\n    More.", "Return the sum of all items."),
        ("Join cities, e.g. Paris, into one. Then stop.", "Join cities, e.g. Paris, into one."),
        ("Join i.e. Concatenate them. Stop.", "Join i.e. Concatenate them."),
        ("Use the old one, cf. Smith et al. Paris. Stop.", "Use the old one, cf. Smith et al. Paris."),
        ("Copy files, links, etc. from here. Stop.", "Copy files, links, etc. from here."),
        ("Is it open? If not, open it.", "Is it open?"),
        ("Parse version 3.11 of a file. Stop.", "Parse version 3.11 of a file."),
        ("Write it (or not. Who knows.) to disk. Stop.", "Write it (or not. Who knows.) to disk."),
        ("Never closed (here is one. Then another", "Never closed (here is one."),
        ("Open :class:`~io.TextIO` with ``mode`` on `path`. Stop.", "Open io.TextIO with mode on path."),
        ("Find a :func:`way <os.walk>` of *all* **ways** by **kw.", "Find a way of all ways by **kw."),
        ("Quote `like this' as it was. Stop.", "Quote like this as it was."),
        ("f(a, b) -> int\n\nAdd two numbers. Stop.", "Add two numbers."),
        ("S.f(a[, b]) -> (list of\n  pairs, int)\n\nAdd two numbers.", "Add two numbers."),
        ("f(a,\n  b)\n\nAdd two numbers.", "Add two numbers."),
        ("f(a)\nf(a, b) -> int\nAdd two numbers.", "Add two numbers."),
        ("S.f(a) -- add a number to it", "add a number to it"),
        ("D.f() -> a set-like object providing a view", "a set-like object providing a view"),
        ("f(a) returns the sum of all. Stop.", "f(a) returns the sum of all."),
        ("year (1-9999)", "year (1-9999)"),
        ("(typ, [data]) = <instance>.f(x)\nRetrieve the notes.", "Retrieve the notes."),
        ("+\n    Fold the header lines.", "Fold the header lines."),
        ("Return a name\n    Raises an error.", "Return a name"),
        ("Return what is given by\n    INDEX in the list.", "Return what is given by INDEX in the list."),
        ("Return these:\n  - one\n  - two", "Return these:"),
        ("Frob it\n    :param x: the thing", "Frob it"),
        ("Title of it\n===========\n\nText.", "Title of it"),
        (">>> f(1)\n1", ""),
        ("f(a, b) -> int", ""),
        ("", ""),
        ("Half \ud800 and\x00null \x1b[0m here.", "Half ? and null [0m here."),
    ],
)  # fmt: skip
def test_first_sentence(docstring: str, sentence: str) -> None:
    assert docstrings.first_sentence(docstring, "f") == sentence


def test_first_sentence_skips_a_commands_synopsis() -> None:
    assert docstrings.first_sentence("b(reak) [line]\nSet a break. Stop.", "do_break") == "Set a break."
    assert (
        docstrings.first_sentence("break the line in two.\nOr not.", "do_break") == "break the line in two."
    )


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("Return the sum.", None),
        ("See if it is open.", None),
        ("Internal: read binary data.", None),
        ("Overridable: return a file.", None),
        ("Abstract method which returns the name.", None),
        ("See os.path.join for more.", "docstring_meaningless"),
        ("Internal function.", "docstring_meaningless"),
        ("Undocumented and unsupported.", "docstring_meaningless"),
        ("Override this in a subclass.", "docstring_meaningless"),
        ("Same as a + b.", "docstring_meaningless"),
        ("Stop serving.", "docstring_too_short"),
        ("1 + 2 == 3", "docstring_too_short"),
        ("", "docstring_without_sentence"),
    ],
)
def test_defects_of_sentences(sentence: str, why: str | None) -> None:
    assert docstrings.defect(sentence) == why


# --- sources ----------------------------------------------------------------------------------------------


def test_docstring_is_removed_and_nothing_else() -> None:
    text = '''
        class A:
            @property
            # why
            def f(self,
                  x="Say it."):  # here
                # before

                """Say it.

                Größe: ünïcode moves the columns.
                """
                # after
                y = """Say it."""

                def inner():
                    """Kept."""
                return y
    '''
    assert source(text) == textwrap.dedent('''
        @property
        # why
        def f(self,
              x="Say it."):  # here
            # before

            # after
            y = """Say it."""

            def inner():
                """Kept."""
            return y
    ''').strip()  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(): 'Doc.'\n", "def f():"),
        ("def f(): 'Doc.'; return 1\n", "def f(): return 1"),
        ("def f():\n    'Doc.'; return 1\n", "def f():\n    return 1"),
        ("def f():\n    'Doc.';\n    return 1\n", "def f():\n    return 1"),
        ("def f():\n    ('Do'\n     'c.')\n    return 1\n", "def f():\n    return 1"),
        ("def f():\n    'Do' \\\n    'c.'\n    return 1\n", "def f():\n    return 1"),
        ("def f():\n    'Doc.'  # why\n    return 1\n", "def f():\n    # why\n    return 1"),
        ("def f():\n\tr'''Doc.\n\\d'''\n\treturn 1", "def f():\n\treturn 1"),
        ("def f(): '''é\né'''; return 'é'\n", "def f(): return 'é'"),
        ("def f():\n    b'no docstring'\n", "def f():\n    b'no docstring'"),
        ("def f():\n    f'no docstring'\n", "def f():\n    f'no docstring'"),
        ("x = 1\n\x0c\ndef f():\n    '''Doc.'''\n    return '\x0c'\ny = 2\n", "def f():\n    return '\x0c'"),
        ("async def f():\n    'Doc.'\n    await g()\n", "async def f():\n    await g()"),
        ("if x:\n    def f():\n        return '''\nleft\n'''\n", "def f():\n    return '''\nleft\n'''"),
    ],
)
def test_source_layouts(text: str, expected: str) -> None:
    assert source(text) == expected


def test_which_functions_are_public() -> None:
    found = sources("""
        def a(): pass
        def _b(): pass
        def __c__(): pass
        class D:
            def __init__(self): pass
            def e(self):
                def inner(): pass
            class F:
                async def g(self): pass
            class _H:
                def i(self): pass
        try:
            import x
        except ImportError:
            def j(): pass
        else:
            if 1:
                pass
            elif 2:
                with y:
                    def k(): pass
        """)
    assert list(found) == ["a", "D.e", "D.F.g", "j", "k"]


def test_invalid_escapes_do_not_warn() -> None:
    # Warnings are errors in this run.
    assert source("def f():\n    return '\\d'\n") == "def f():\n    return '\\d'"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "# -*- coding: latin-1 -*-\nx = 'é'\n"),
        (b"\xef\xbb\xbfx = 1\r\ny = 2\r", "x = 1\ny = 2\n"),
    ],
)
def test_decode(data: bytes, text: str) -> None:
    assert files.decode(data) == text


# --- a small library --------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    write(tmp_path, "zeta.py", '''
        def add(a, b):
            """Add two numbers. Or more."""
            return a + b

        def plain(x):
            return x * 2

        class Thing:
            @property
            def size(self):
                """Tell how large it is."""
                return self._size

            @size.setter
            def size(self, value):
                self._size = value

            def stub(self):
                """Do what subclasses want."""
                raise NotImplementedError("later")
    ''')  # fmt: skip
    write(tmp_path, "pack/__init__.py", '''
        def add(a, b):
            """Sum up both arguments."""
            return a + b
    ''')  # fmt: skip
    write(tmp_path, "pack/inner.py", '''
        def tell(self):
            """tell how large it is"""
            return len(self)

        def internal():
            """Internal."""
            return 0

        def example():
            """
            >>> example()
            """
            return 1
    ''')  # fmt: skip
    for n in range(collection.MOST_RELEVANT + 1):
        write(tmp_path, f"emit{n}.py", f"def emit():\n    'Emit one record.'\n    return {n}\n")
    function = "def lost():\n    'Never to be seen.'\n    return 1\n"
    ignored = """
        _private.py test/a.py pack/tests/a.py pack/_private/a.py pack/__main__.py idlelib/a.py lib2to3/a.py
        a.txt site-packages/a.py __pycache__/a.py encodings/a.py not-a-module.py lib-dynload/a.py
    """
    for name in ignored.split():
        write(tmp_path, name, function)
    write(tmp_path, "broken.py", "def f(:\n")
    write(tmp_path, "nul.py", b"x = 1\0\n")
    write(tmp_path, "coding.py", b"# coding: no-such-thing\n")
    write(tmp_path, "bytes.py", b"x = '\xff'\n")
    write(tmp_path, "deep.py", "(" * 5000 + ")" * 5000)
    write(tmp_path, "empty.py", "")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "folder.py").mkdir()
    return tmp_path


def test_extract(library: Path) -> None:
    extraction = pydocs.extract(library)
    assert [d.id for d in extraction.documents if not d.id.startswith("emit")] == [
        "pack.add",
        "pack.inner.tell",
        "pack.inner.internal",
        "pack.inner.example",
        "zeta.plain",
        "zeta.Thing.size",
        "zeta.Thing.size#2",
        "zeta.Thing.stub",
    ]
    documents = {d.id: d for d in extraction.documents}
    assert documents["pack.add"].aliases == ("zeta.add",)
    assert documents["pack.add"].path == "pack/__init__.py"
    assert documents["pack.add"].line == 2
    assert documents["zeta.Thing.size#2"].title == "zeta.Thing.size"
    assert [(q.id, q.text, q.relevant) for q in extraction.queries] == [
        ("q:pack.add", "Sum up both arguments.", ("pack.add",)),
        ("q:pack.inner.tell", "tell how large it is", ("pack.inner.tell", "zeta.Thing.size")),
        ("q:zeta.add", "Add two numbers.", ("pack.add",)),
    ]
    counts = extraction.counts
    assert tuple(counts)[: len(collection.COUNTED)] == collection.COUNTED
    assert counts["files"] == 16
    assert counts["files_not_parsed"] == 5
    assert counts["files_unreadable"] == 1
    assert counts["definitions_merged"] == 1
    assert counts["definitions_without_answer"] == 1
    assert counts["definitions_boilerplate"] == collection.MOST_RELEVANT + 1
    assert counts["docstring_meaningless"] == 1
    assert counts["docstring_without_sentence"] == 1
    assert counts["queries_with_own_name"] == 2


def test_splits_share_no_document(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "TEST_QUERIES", 1)
    cases = {"q:zeta.add": ["q:pack.inner.tell"], "q:pack.inner.tell": ["q:pack.add", "q:zeta.add"]}
    for first, others in cases.items():
        monkeypatch.setattr(collection, "_hash", lambda q, first=first: b"" if q == first else q.encode())
        extraction = pydocs.extract(library)
        assert [q.id for q in extraction.queries if q.split == "test"] == [first]
        assert [q.id for q in extraction.queries if q.split == "train"] == others
        assert extraction.counts["train_queries_dropped"] == 2 - len(others)


def test_limit(library: Path) -> None:
    for n in range(40):
        write(library, f"more{n}.py", f"def f():\n    'Give the number {n}.'\n    return {n + 100}\n")
    whole = pydocs.extract(library)
    for limit in (1, 2, 3, 10, 25):
        small = whole.limited(limit)
        ids = [d.id for d in small.documents]
        assert len(ids) == limit
        assert ids == [d.id for d in whole.documents if d.id in set(ids)]
        assert small.queries
        assert {document for q in small.queries for document in q.relevant} <= set(ids)
        assert set(small.queries) < set(whole.queries)
        assert small.counts["documents"] == limit
        assert small.counts["queries"] == len(small.queries)
    assert whole.limited(10_000) is whole
    with pytest.raises(InputError, match="limit"):
        pydocs.PyDocs(limit=0)


def test_identity_follows_content(library: Path) -> None:
    before = pydocs.identity(library)
    write(library, "test/a.py", "x = 1\n")  # not part of the collection
    assert pydocs.identity(library) == before
    path = library / "zeta.py"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\n", b"\r\n"))  # nor is the way that lines end
    assert pydocs.identity(library) == before
    path.write_bytes(data.replace(b"a + b", b"a - b"))  # the same size
    assert pydocs.identity(library) != before
    path.write_bytes(data)
    path.rename(library / "eta.py")
    assert pydocs.identity(library) != before
    assert before["interpreter"].startswith(("cpython-3.", "pypy-"))


def test_source_feeds_a_builder(library: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = pydocs.PyDocs(stdlib=library)
    assert source.files() == ()
    assert source.identity()["limit"] is None
    builder = Builder(tmp_path_factory.mktemp("collection"))
    source.read(builder, progress=NoProgress())
    facts = builder.close()
    assert facts["documents"] == source.counts["documents"]
    assert facts["queries"] == 3
    assert facts["splits"]["test"]["judgments"] == 4
    assert facts["warnings"] == []


def test_library_without_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sysconfig", SimpleNamespace(get_path=lambda name: str(tmp_path)))
    with pytest.raises(MissingError, match="no sources"):
        pydocs.PyDocs().identity()


# --- prose ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docstring", "rest"),
    [
        ("Return it.", ""),
        ("Return it. At\nonce.\n\n\n  Or   later.", "At once.\n\nOr later."),
        ("Return it\nMaybe at\nonce.", "Maybe at once."),
        ("f(a) -> b\n\nReturn it.\n\nf(a, b)\nf(a) -> c\nNever fails.", "Never fails."),
        ("Return it.\n\n(typ, [data, ...]) = <instance>.f(x)\nNow.", "Now."),
        ("Return it.\n\nWhy.\n>>> f(1)\n2\n\nWho.", "Why.\n\nWho."),
        ("Return it.\n\nExample (of a thing):\n\n>>> f(1)\n2\n", ""),
        ("Return it.\n\nArguments:\n\n- a\n  and b\n- c", "Arguments:\n\n- a and b\n\n- c"),
        ("Return it.\n\nUsage::\n\n    it is not\n\n    prose\n\nBut this.", "But this."),
        ("Return it. So::\n\n    it is not\n\nBut this.", "So::\n\nBut this."),
        (
            "Return it.\n\nThis is what a longer piece of prose could say::\n\n  x\n",
            "This is what a longer piece of prose could say:",
        ),
        ("Return it.\n\nThus:\n\n    with f(1) as x:\n        y = x\n\nDone.", "Done."),
        ("Return it.\n\n    class A(B):\n\nyes", "yes"),
        ("Title\n=====\n\nText of `it`.\n\n.. note::\n   Mind *this*.\n", "Text of it.\n\nMind this."),
        ("Return it.\n\n===  ===\na    b\n===  ===\n\n+---+", "a b"),
        ("Return it.\n\nHalf \ud800 and\x00null.", "Half ? and null."),
        (">>> f(1)\n1\n\nWhat it says.", "What it says."),
        ("", ""),
    ],
)  # fmt: skip
def test_rest(docstring: str, rest: str) -> None:
    assert docstrings.split(docstring, "f")[1] == rest


@pytest.mark.parametrize(
    ("rest", "left"),
    [
        ("Open the file. Then close it.", "Then close it."),
        ("First this: OPEN THE FILE, and read it! Then close it.", "First this: Then close it."),
        ("Why.\n\nOpen the file", "Why."),
        ("To open the file is easy.", "To open the file is easy."),
        ("Open the filesystem.", "Open the filesystem."),
    ],
)
def test_rest_without_repetition(rest: str, left: str) -> None:
    assert prose.without_repetition(rest, "Open the file.") == left
    assert prose.without_repetition(rest, "") == rest


LONG = "It goes on for a while, since a description has at least a dozen words of which this is number"


@pytest.fixture
def described(tmp_path: Path) -> Path:
    write(tmp_path, "alpha.py", f'''
        """alpha

        Tools of the first kind. {LONG} one.
        """

        class Box:
            """Something that holds things.

            {LONG} two.

            >>> Box()
            """

            def open(self):
                """Open it for all. {LONG} three."""

            def shut(self):
                """Shut it again. Never fails."""

            def lock(self):
                """Lock it for good."""

            def _hidden(self):
                """Hide from all. {LONG} four."""

        def no_sentence():
            """Deprecated.

            {LONG} five.
            """
    ''')  # fmt: skip
    write(tmp_path, "beta.py", f'''
        def unlock():
            """open it for all

            {LONG} six.
            """

        def copy():
            """Copy what is given. {LONG} three."""

        def listed():
            """Do as listed here. {LONG} seven."""

        def lists():
            """List some of them. {LONG} eight: do as listed here, and so on."""
    ''')  # fmt: skip
    for n in range(collection.MOST_RELEVANT):
        write(tmp_path, f"emit{n}.py", "def emit():\n    'Emit one record.'\n")
    write(tmp_path, "emit.py", f"def emit():\n    'Emit one record. {LONG} nine.'\n")
    write(tmp_path, "__init__.py", f"'Be nameless here. {LONG} ten.'\n")
    return tmp_path


def test_extract_prose(described: Path) -> None:
    extraction = pydocs.extract(described, "prose")
    texts = {d.id: (d.text.removeprefix(LONG).strip(), d.aliases, d.line) for d in extraction.documents}
    assert texts == {
        "alpha": ("one.", (), 1),
        "alpha.Box": ("two.", (), 7),
        "alpha.Box.open": ("three.", ("beta.copy",), 15),
        "alpha.no_sentence": ("five.", (), 27),
        "beta.unlock": ("six.", (), 2),
        "beta.listed": ("seven.", (), 11),
        "beta.lists": ("eight: do as listed here, and so on.", (), 14),
        "emit.emit": ("nine.", (), 1),
    }
    assert [(q.text, q.relevant) for q in extraction.queries] == [
        ("Tools of the first kind.", ("alpha",)),
        ("Something that holds things.", ("alpha.Box",)),
        ("Open it for all.", ("alpha.Box.open", "beta.unlock")),
        ("Copy what is given.", ("alpha.Box.open",)),
        ("List some of them.", ("beta.lists",)),
    ]
    counts = extraction.counts
    sizes = ("documents", "queries", "queries_test", "queries_train")
    assert tuple(counts) == (*collection.COUNTED, *prose.COUNTED, *sizes)
    told = {name: n for name, n in counts.items() if n and name not in ("files", "definitions", *sizes)}
    assert told == {
        "definitions_merged": 1,
        "without_docstring": 7,
        "docstring_meaningless": 1,
        "definitions_without_answer": 2,
        "definitions_boilerplate": collection.MOST_RELEVANT + 1,
        "sentences_boilerplate": 1,
        "sentences_shared": 1,
        "queries_with_own_name": 2,  # open, copy
        "without_rest": collection.MOST_RELEVANT + 1,
        "rest_too_short": 1,
        "documents_without_sentence": 1,
        "sentences_in_a_document": 1,
    }


def test_prose_source(described: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = pydocs.PyDocs(variant="prose", stdlib=described)
    assert source.subject == "pydocs-prose"
    assert source.identity() != pydocs.PyDocs(stdlib=described).identity()
    builder = Builder(tmp_path_factory.mktemp("collection"))
    source.read(builder, progress=NoProgress())
    facts = builder.close()
    assert (facts["documents"], facts["queries"], facts["warnings"]) == (8, 5, [])


def test_all_code_is_part_of_the_key() -> None:
    folder = Path(pydocs.__file__).parent
    names = {f".{p.stem}" if p.stem != "__init__" else "" for p in folder.glob("*.py")}
    assert set(pydocs.PyDocs.modules) == {f"seekbench.datasets.formats.pydocs{n}" for n in names}


@pytest.mark.parametrize("name", ["pydocs", "pydocs-small", "pydocs-prose", "pydocs-prose-small"])
def test_cards(name: str) -> None:
    spec = resolve(name)
    assert isinstance(spec.source, pydocs.PyDocs)
    assert spec.source.variant == ("prose" if "prose" in name else "code")
    assert (spec.source.limit is not None) == name.endswith("-small")
    assert spec.template == "{text}"


# --- the real library -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> pydocs.Extraction:
    return pydocs.extract(pydocs.standard_library())


def test_real_library_has_a_size(real: pydocs.Extraction) -> None:
    assert 4_000 < len(real.documents) < 12_000
    assert 2_000 < len(real.queries) < 6_000
    assert sum(q.split == "test" for q in real.queries) == collection.TEST_QUERIES
    assert real.counts["files_unreadable"] == 0
    assert real.counts["files_not_parsed"] <= 2


def test_real_library_is_a_sound_collection(real: pydocs.Extraction, tmp_path: Path) -> None:
    ids = [d.id for d in real.documents]
    assert len(set(ids)) == len(ids)
    assert len({d.text for d in real.documents}) == len(ids)
    assert all(len(q.text.split()) >= 2 for q in real.queries)
    assert len({q.text.casefold() for q in real.queries}) == len(real.queries)
    assert {document for q in real.queries for document in q.relevant} <= set(ids)
    assert all(1 <= len(q.relevant) <= collection.MOST_RELEVANT for q in real.queries)
    assert not {q.id for q in real.queries} & set(ids)
    train = {d for q in real.queries if q.split == "train" for d in q.relevant}
    assert train.isdisjoint(d for q in real.queries if q.split == "test" for d in q.relevant)


def test_real_documents_are_code_without_their_sentence(real: pydocs.Extraction) -> None:
    texts = {d.id: d.text for d in real.documents}
    for text in texts.values():
        assert not text[0].isspace()
        try:
            ast.parse(text)
        except SyntaxError:  # the docstring was the whole body
            ast.parse(text + "\n    pass")
    held = [q.id for q in real.queries if any(q.text in texts[document] for document in q.relevant)]
    assert len(held) < 0.005 * len(real.queries), held  # comments and help texts that say the same


def test_real_library_twice_and_fast_enough(real: pydocs.Extraction) -> None:
    start = time.process_time()
    again = pydocs.extract(pydocs.standard_library())
    assert time.process_time() - start < 20  # 1.5 s on one core; the bound only catches a mistake of order
    assert again == real
    assert pydocs.identity(pydocs.standard_library()) == pydocs.identity(pydocs.standard_library())


def test_real_library_limited(real: pydocs.Extraction) -> None:
    small = real.limited(1000)
    splits = Counter(q.split for q in small.queries)
    assert len(small.documents) == 1000
    assert 80 < splits["test"] < 300
    assert splits["train"] > splits["test"]


@pytest.fixture(scope="module")
def real_prose() -> pydocs.Extraction:
    return pydocs.extract(pydocs.standard_library(), "prose")


def test_real_prose_is_a_sound_collection(real_prose: pydocs.Extraction) -> None:
    assert 1_200 < len(real_prose.documents) < 4_000
    assert sum(q.split == "test" for q in real_prose.queries) == collection.TEST_QUERIES
    ids = [d.id for d in real_prose.documents]
    assert len(set(ids)) == len(ids)
    assert len({d.text for d in real_prose.documents}) == len(ids)
    assert {document for q in real_prose.queries for document in q.relevant} <= set(ids)
    assert all(1 <= len(q.relevant) <= collection.MOST_RELEVANT for q in real_prose.queries)
    assert not {q.id for q in real_prose.queries} & set(ids)
    train = {d for q in real_prose.queries if q.split == "train" for d in q.relevant}
    assert train.isdisjoint(d for q in real_prose.queries if q.split == "test" for d in q.relevant)


def test_real_prose_is_prose(real_prose: pydocs.Extraction) -> None:
    whole = "\0".join(d.text for d in real_prose.documents).casefold()
    assert ">>>" not in whole
    assert not any(q.text.rstrip(".!? ").casefold() in whole for q in real_prose.queries)
    for d in real_prose.documents:
        assert docstrings.words(d.text) >= prose.LEAST_REST
        assert all(p == " ".join(p.split()) != "" for p in d.text.split("\n\n"))


def test_small_cards_stay_small(real: pydocs.Extraction, real_prose: pydocs.Extraction) -> None:
    for name, whole in (("pydocs-small", real), ("pydocs-prose-small", real_prose)):
        source = resolve(name).source
        assert isinstance(source, pydocs.PyDocs)
        assert source.limit is not None
        small = whole.limited(source.limit)
        assert sum(q.split == "test" for q in small.queries) >= 150
        # MiniLM reads 256 tokens of a text; four characters are about one. It encodes 6,000 a second.
        assert sum(min(256, len(d.text) / 4) for d in small.documents) < 130_000
