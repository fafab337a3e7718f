"""`pydocs`: a code-search collection made from the standard library of the running interpreter.

It needs no download, so it is what a fresh installation is tried on. A document is the source of a public
function or method without its docstring, a query the first sentence of that docstring, as in CodeSearchNet.
Files are parsed, never imported: nothing of the library runs, and optional parts (tkinter, curses) do not
have to work here.

Decisions, each counted in `Extraction.counts`:

- Functions without a docstring are documents too: distractors, as a real code base has them.
- Equal sources are one document (the first place gives the id, the others stand in `aliases`): two rows of
  the same text could only be told apart by their ids.
- A sentence that several functions share is one query with all of them relevant, since each is a right
  answer; one shared by more than MOST_RELEVANT functions is boilerplate and gives no query.
- A function whose source says nothing but its signature (`pass`, `raise NotImplementedError`) gives no query
  of its own: there is nothing to find it by except its name.
- The qualified name is a column, `title`, but not part of what retrievers should be given (`{text}`): a
  sentence often holds words of the name, and the code alone is the task.
- Query ids differ from all document ids, or tools that drop a document of the query's own id would drop
  the answers.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import os
import platform
import re
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seekbench.errors import InputError, MissingError
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

#: Queries of the split `test`; the others are `train`.
TEST_QUERIES = 1000
#: A sentence shared by more functions than this describes none of them.
MOST_RELEVANT = 5
#: Fewer words than this are no description ("Internal.", "Close it").
LEAST_WORDS = 3

#: Folders that are not read. Tests and demonstrations are no library; lib2to3 and ensurepip are programs
#: of their own with vendored parts; `encodings` is one generated file a code page, near-copies of each other.
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "ensurepip", "encodings", "pydoc_data"}
)

#: Keys of `Extraction.counts`, all always there.
COUNTED = (
    "files",  # read, or tried to
    "files_unreadable",
    "files_not_parsed",
    "functions",  # public ones
    "functions_merged",  # into a document of equal source
    "without_docstring",
    "docstring_without_sentence",  # a signature or a doctest only
    "docstring_meaningless",
    "docstring_too_short",
    "functions_without_code",  # described, but their source says nothing
    "functions_boilerplate",  # whose sentence more than MOST_RELEVANT functions have
    "sentences_boilerplate",
    "sentences_shared",  # queries with several functions
    "queries_with_own_name",  # the name of a relevant function is a word of the query
    "train_queries_dropped",  # a relevant document is a test query's too
    "documents",
    "queries",
    "queries_test",
    "queries_train",
)


@dataclass(frozen=True)
class Document:
    """id and title: the qualified name (the id with `#2` where the name is defined again, as setters are)."""

    id: str
    title: str
    text: str
    path: str
    line: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Query:
    id: str
    text: str
    split: str
    relevant: tuple[str, ...]


@dataclass(frozen=True)
class Extraction:
    """What a library folder gives, in the order of modules and positions. `counts` says what was left out."""

    documents: Sequence[Document]
    queries: Sequence[Query]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def judgments(self) -> list[tuple[str, str, str, int]]:
        """(split, query id, document id, grade), in the order of the queries."""
        return [(q.split, q.id, document, 1) for q in self.queries for document in q.relevant]

    def limited(self, limit: int) -> Extraction:
        """A proper smaller collection of `limit` documents, the same on every machine.

        Keeps the same share of each split's queries, in the order of their ids' hashes, every document that
        is relevant to them, and fills up with distractors, in hash order too.
        """
        if limit < 1:
            raise InputError(f"limit must be at least 1, not {limit}")
        if limit >= len(self.documents):
            return self
        share = limit / len(self.documents)
        kept: set[str] = set()
        chosen: set[str] = set()
        for split in ("test", "train"):
            candidates = sorted((q for q in self.queries if q.split == split), key=lambda q: _hash(q.id))
            wanted = max(1, round(share * len(candidates)))
            for query in candidates[:wanted]:
                if len(kept.union(query.relevant)) <= limit:
                    kept.update(query.relevant)
                    chosen.add(query.id)
        for document in sorted(self.documents, key=lambda d: _hash(d.id)):
            if len(kept) >= limit:
                break
            kept.add(document.id)
        documents = [d for d in self.documents if d.id in kept]
        queries = [q for q in self.queries if q.id in chosen]
        return Extraction(documents, queries, {**self.counts, **_sizes(documents, queries), "limit": limit})


def _sizes(documents: Sequence[Document], queries: Sequence[Query]) -> dict[str, int]:
    splits = Counter(q.split for q in queries)
    return {
        "documents": len(documents),
        "queries": len(queries),
        "queries_test": splits["test"],
        "queries_train": splits["train"],
    }


# --- the library's files ---------------------------------------------------------------------------------


def standard_library() -> Path:
    """The folder of the running interpreter's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "argparse.py").is_file():
        raise MissingError(
            f"{folder} holds no sources of the standard library, which the dataset pydocs is made from: "
            "use an interpreter that comes with them"
        )
    return folder


def library_files(stdlib: Path, unreadable: list[str] | None = None) -> list[Path]:
    """The public modules below a folder, sorted by module name.

    A part that is private (`_pyio.py`, `__pycache__`) or no identifier (`site-packages`, `lib-dynload`)
    can't be in a public function's name.
    """

    def failed(error: OSError) -> None:
        if unreadable is not None:
            unreadable.append(str(error.filename))

    found: list[tuple[tuple[str, ...], Path]] = []
    for parent, folders, files in os.walk(stdlib, onerror=failed):
        folders[:] = [f for f in folders if _is_public(f) and f not in SKIPPED_FOLDERS]
        for file in files:
            stem, extension = os.path.splitext(file)
            if extension == ".py" and (stem == "__init__" or _is_public(stem)):
                path = Path(parent, file)
                found.append((_module(path.relative_to(stdlib)), path))
    return [path for _, path in sorted(found)]


def identity(stdlib: Path) -> dict[str, str]:
    """What the content depends on besides this module's code: the interpreter and the bytes of all files.

    The bytes and not their sizes and times: distributions patch the library, and reading it takes a tenth of
    a second. The interpreter too, since its parser decides where a function begins and ends.
    """
    digest = hashlib.sha256()
    for path in library_files(stdlib):
        digest.update(path.relative_to(stdlib).as_posix().encode() + b"\0")
        try:
            data = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(b"%d\0" % len(data) + data)
        except OSError:
            digest.update(b"unreadable\0")
    return {"interpreter": interpreter(), "sha256": digest.hexdigest()}


def interpreter() -> str:
    """The dataset's version, e.g. `cpython-3.11.7`."""
    return f"{sys.implementation.name}-{platform.python_version()}"


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _module(relative: Path) -> tuple[str, ...]:
    parts = relative.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _hash(id: str) -> bytes:
    return hashlib.sha256(id.encode()).digest()


# --- functions and their sources -------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A public function: source without docstring, dedented; docstring None where there is none."""

    name: str
    line: int
    source: str
    docstring: str | None
    has_code: bool


def decode(data: bytes) -> str:
    """A file's text by its declared encoding, without byte order mark, lines ended by \\n.

    Raises SyntaxError for an unknown encoding and UnicodeDecodeError.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def functions(text: str, prefix: tuple[str, ...] = ()) -> Iterator[Function]:
    """The public functions and methods of a module's text, in the order of their positions.

    Functions inside functions are part of the outer one's source and no documents of their own. Raises what
    ast.parse raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are no concern of the user
        tree = ast.parse(text)
    # Positions are in UTF-8 bytes of lines as the tokenizer sees them: \f and others do not end a line.
    lines = [line + b"\n" for line in text.encode().split(b"\n")]
    for names, node in _definitions(tree.body, prefix):
        yield Function(
            ".".join(names),
            node.lineno,
            source_without_docstring(lines, node),
            ast.get_docstring(node, clean=False),
            _has_code(node),
        )


def _definitions(
    body: Iterable[ast.AST], names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_"):
                yield (*names, node.name), node
        elif isinstance(node, ast.ClassDef):
            if not node.name.startswith("_"):
                yield from _definitions(node.body, (*names, node.name))
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            # Below `if`, `try` or `with` it is still this level.
            yield from _definitions(ast.iter_child_nodes(node), names)


def source_without_docstring(lines: Sequence[bytes], node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The function's source from its first decorator on, minus exactly the docstring, dedented.

    The docstring's lines go where nothing else stands on them; comments, `; statement` after it and all
    other layout stay. lines: the module's lines in UTF-8.
    """
    # Whole lines: nothing but comments can share one with a definition.
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    pieces = list(lines[first - 1 : node.end_lineno])
    if ast.get_docstring(node, clean=False) is not None:
        # The statement and not its constant: it spans parentheses and implicit concatenation.
        statement = node.body[0]
        top, bottom = statement.lineno - first, (statement.end_lineno or statement.lineno) - first
        before = pieces[top][: statement.col_offset]
        after = pieces[bottom][statement.end_col_offset :].strip().removeprefix(b";").lstrip()
        rest = before + after if after else before.rstrip()
        pieces[top : bottom + 1] = [rest + b"\n"] if rest else []
    pieces[0] = pieces[0].lstrip(b"\f")
    indent = pieces[0][: len(pieces[0]) - len(pieces[0].lstrip(b" \t"))]
    # Not textwrap.dedent: a string's lines may begin further left than the code, and must not stop the rest.
    return b"".join(piece.removeprefix(indent) for piece in pieces).decode().rstrip()


def _has_code(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the body does anything besides `pass`, constants, and raising NotImplementedError."""
    for statement in node.body:
        if isinstance(statement, ast.Pass):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.Raise):
            raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
            if isinstance(raised, ast.Name) and raised.id == "NotImplementedError":
                continue
        return True
    return False


# --- first sentences -------------------------------------------------------------------------------------

_ROLE = re.compile(r":[A-Za-z][\w.+:-]*:`[~!]?([^`<]+?)(?:\s*<[^`>]*>)?`")
_LITERAL = re.compile(r"``(.+?)``|`([^`']+?)(?:`_{0,2}|')")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
_BREAK = re.compile(
    r"\s*(?:>>> |\.\. |[-*+o] |\d+[.)] |[@:](?:param|arg|return|rtype|raise|type|keyword)"
    r"|(?:args|arguments|parameters|params|returns?|raises|yields|examples?|usage|notes?|options)\s*:?\s*$"
    r"|([-=~^*_#])\1{2,}\s*$)",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:(?:[A-Za-z]\.)+[A-Za-z]|eg|ie|vs|cf|resp|viz|al|approx|incl|esp|fig|sec|no|nos)$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]\w*")
#: Says nothing of what the function does: points elsewhere, or is a label.
_MEANINGLESS = re.compile(
    r"(?:see(?! (?:if|whether|that))|refer to|undocumented|not documented|no docstring|docstring|deprecated"
    r"|obsolete|todo|xxx|fixme|not (?:yet )?implemented|(?:please )?overrid(?:e|es|den|ing)"
    r"|alias (?:for|of)|same as|identical to|inherit|implements? abstract)\b"
    r"|(?:for )?(?:internal|private|abstract|dummy|stub|placeholder|helper)"
    r"(?: (?:use|only|function|method))*[.!]?$",
    re.IGNORECASE,
)
_ASSIGNED_CALL = re.compile(r"[\w\s,()\[\]]+ = [\w.<>]+\(.*\)\s*$")
_DANGLING = re.compile(
    r"(?:[,;(/-]|\b(?:a|an|the|of|to|for|and|or|with|in|by|is|are|as|on|at|from|that|if|when|not))$"
)


def first_sentence(docstring: str, name: str) -> str:
    """The first sentence of a docstring as plain text, '' where it holds none.

    name: the function's own, to know its signature where the docstring begins with it, as those of methods
    written in C do.
    """
    text = _without_signatures(inspect.cleandoc(docstring), name)
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.strip():
            if lines:
                break
            continue
        if _BREAK.match(line) or (lines and _is_new_start(lines[-1], line)):
            break
        lines.append(line.strip())
    joined = _plain(" ".join(lines))
    # An escape in a docstring can stand for half a character or a control character.
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", _cut(joined).encode(errors="replace").decode()).split())


def _without_signatures(text: str, name: str) -> str:
    """Drops leading lines such as `S.find(sub) -> int` or `b(reak) [line]` (a command's synopsis).

    Keeps what is said behind `--`, and behind a `->` that gives more than a type or an example.
    """
    while True:
        text = text.lstrip()
        line, _, below = text.partition("\n")
        if not re.search(r"\w", line) and below:
            text = below
            continue
        if _ASSIGNED_CALL.match(line) or _is_synopsis(line, below.lstrip(), name):
            text = below
            continue
        match = re.match(r"(?:[\w.\[\]]+\.)?(\w+)\(", text)
        end = _closing(text, match.end() - 1) if match else -1
        if match is None or end < 0:
            return text
        said = re.match(r"\s*(->|=>)\s*|[ \t]*(--|-|:)[ \t]+(?=\S)", text[end:])
        if said is None:
            rest, _, below = text[end:].partition("\n")
            if rest.strip() not in ("", ".", ":"):
                return text
            text = below
        elif said.group(1):
            value = re.sub(r"^\w+ --? ", "", text[end + said.end() :])
            closed = _closing(value, 0) if value.startswith("(") else 0
            line, _, below = value[max(closed, 0) :].partition("\n")
            if closed > 0 or value[:1] in "[{\"'" or (len(line.split()) <= 4 and not line.endswith(",")):
                text = below
            else:
                return value
        elif match.group(1) == name:
            text = text[end + said.end() :]
        else:
            return text


def _is_synopsis(line: str, below: str, name: str) -> bool:
    """Whether a line shows how a command is typed, e.g. `b(reak) [line]` of the method do_break."""
    command, _, arguments = line.partition(" ")
    if command.replace("(", "").replace(")", "") != name.removeprefix("do_") or not below:
        return False
    return not arguments.endswith((".", ",")) and (below[0].isupper() or below.startswith(command))


def _closing(text: str, start: int) -> int:
    """Position after the parenthesis that closes the one at `start`, -1 where none does."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        elif text.startswith("\n\n", at):
            return -1
    return -1


def _is_new_start(previous: str, line: str) -> bool:
    """Whether a line begins anew: capitalised, though its first word had room on the line before."""
    first = line.split()[0]
    return first[0].isupper() and len(previous) + 1 + len(first) < 60 and not _DANGLING.search(previous)


def _plain(text: str) -> str:
    """Without reStructuredText roles, literals and emphasis, white space collapsed."""
    text = _ROLE.sub(r"\1", text)
    text = _LITERAL.sub(lambda m: m.group(1) or m.group(2), text)
    text = _EMPHASIS.sub(r"\2", text)
    return " ".join(text.split())


def _cut(text: str) -> str:
    for match in _END.finditer(text):
        head = text[: match.start()]
        rest = text[match.end() :].lstrip()
        if not rest:
            return text
        inside = head.count("(") - head.count(")") - match.group().count(")")
        if inside > 0 and ")" in rest:
            continue
        if match.group().endswith(")") and rest[0].islower():
            continue
        if match.group().startswith("."):
            if _ABBREVIATION.search(head):
                continue
            if head.endswith((".", " etc")) and not rest[0].isupper():
                continue
        return text[: match.end()]
    return text


def defect(sentence: str) -> str | None:
    """Why a sentence is no query (a key of `counts`), or None."""
    if not sentence:
        return "docstring_without_sentence"
    if _MEANINGLESS.match(sentence):
        return "docstring_meaningless"
    if len(_WORD.findall(sentence)) < LEAST_WORDS:
        return "docstring_too_short"
    return None


# --- the collection --------------------------------------------------------------------------------------


def extract(stdlib: Path, on_file: Callable[[], object] = lambda: None) -> Extraction:
    """The whole collection of a library folder. Never fails on a file: what can't be read is counted.

    on_file: called before each file.
    """
    unreadable: list[str] = []
    counts = Counter(dict.fromkeys(COUNTED, 0))
    places: Counter[str] = Counter()
    documents: dict[str, tuple[Document, list[str]]] = {}  # by source
    sentences: dict[str, _Sentence] = {}
    for path in library_files(stdlib, unreadable):
        on_file()
        counts["files"] += 1
        relative = path.relative_to(stdlib)
        try:
            found = list(functions(decode(path.read_bytes()), _module(relative)))
        except OSError:
            unreadable.append(str(relative))
            continue
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            counts["files_not_parsed"] += 1
            continue
        for function in found:
            counts["functions"] += 1
            places[function.name] += 1
            id = function.name if places[function.name] == 1 else f"{function.name}#{places[function.name]}"
            if function.source in documents:
                documents[function.source][1].append(id)
                counts["functions_merged"] += 1
            else:
                document = Document(id, function.name, function.source, relative.as_posix(), function.line)
                documents[function.source] = (document, [])
            owner = documents[function.source][0].id
            if function.docstring is None:
                counts["without_docstring"] += 1
                continue
            own = function.name.rpartition(".")[2]
            sentence = first_sentence(function.docstring, own)
            why = defect(sentence)
            if why:
                counts[why] += 1
                continue
            group = sentences.setdefault(_normal(sentence), _Sentence(f"q:{id}", sentence))
            group.functions += 1
            group.relevant.setdefault(owner)
            group.has_code |= function.has_code
            group.names.append(own)
    counts["files_unreadable"] = len(unreadable)
    kept = []
    for group in sentences.values():
        if not group.has_code:
            counts["functions_without_code"] += group.functions
        elif group.functions > MOST_RELEVANT:
            counts["sentences_boilerplate"] += 1
            counts["functions_boilerplate"] += group.functions
        else:
            kept.append(group)
            counts["sentences_shared"] += group.functions > 1
            counts["queries_with_own_name"] += group.names_itself()
    queries = _split(kept, counts)
    merged = [replace(document, aliases=tuple(aliases)) for document, aliases in documents.values()]
    return Extraction(merged, queries, {**counts, **_sizes(merged, queries)})


@dataclass
class _Sentence:
    """A sentence and the functions that are described by it."""

    id: str
    text: str
    functions: int = 0
    has_code: bool = False
    relevant: dict[str, None] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def names_itself(self) -> bool:
        return any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.text, re.IGNORECASE) for name in self.names
        )


def _normal(sentence: str) -> str:
    return sentence.casefold().rstrip(".!? ")


def _split(sentences: Sequence[_Sentence], counts: Counter[str]) -> list[Query]:
    """`test`: the first TEST_QUERIES by their ids' hashes; `train`: those that share no document with it.

    By hash, so that a query keeps its split in other versions of the interpreter.
    """
    order = sorted(sentences, key=lambda s: _hash(s.id))
    test = {s.id for s in order[:TEST_QUERIES]}
    taken = {document for s in sentences if s.id in test for document in s.relevant}
    queries = []
    for s in sentences:
        split = "test" if s.id in test else "train"
        if split == "train" and not taken.isdisjoint(s.relevant):
            counts["train_queries_dropped"] += 1
            continue
        queries.append(Query(s.id, s.text, split, tuple(s.relevant)))
    return queries


class PyDocs:
    """The source `pydocs`. limit: a smaller collection of that many documents (see Extraction.limited).

    stdlib: another folder than the running interpreter's library. `counts` is filled by `read`.
    """

    modules: ClassVar[tuple[str, ...]] = ("seekbench.datasets.formats.pydocs",)

    def __init__(self, limit: int | None = None, *, stdlib: Path | None = None) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit must be at least 1, not {limit}")
        self.limit = limit
        self.stdlib = stdlib
        self.counts: dict[str, int] = {}

    @property
    def subject(self) -> str:
        return "pydocs"

    def files(self) -> Sequence[Path]:
        """None: `identity` holds the hash of all, which is quicker than several hundred keys of files."""
        return ()

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {**identity(self._folder()), "limit": self.limit}

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        stdlib = self._folder()
        with progress.stage("parse", total=len(library_files(stdlib)), unit="files") as stage:
            extraction = extract(stdlib, stage.advance)
        if self.limit is not None:
            extraction = extraction.limited(self.limit)
        self.counts = counts = extraction.counts
        places = {}
        for d in extraction.documents:
            places[d.id] = d.path, d.line
            metadata = {"path": d.path, "line": d.line, "aliases": list(d.aliases) or None}
            builder.document(d.id, d.title, d.text, metadata, where=d.path, line=d.line)
        for query in extraction.queries:
            where, line = places[query.relevant[0]]
            builder.query(query.id, query.text, where=where, line=line)
        for split, query_id, document_id, grade in extraction.judgments:
            where, line = places[document_id]
            builder.judgment(split, query_id, document_id, grade, where=where, line=line)
        skipped = counts["files_unreadable"] + counts["files_not_parsed"]
        progress.note(
            f"pydocs: {len(extraction.documents):,} functions and {len(extraction.queries):,} queries from "
            f"{counts['files']:,} files of {interpreter()}"
            + (f", {skipped:,} files left out" if skipped else ""),
            **counts,
        )

    def _folder(self) -> Path:
        return standard_library() if self.stdlib is None else self.stdlib
