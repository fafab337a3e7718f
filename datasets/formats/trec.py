"""TREC collections: documents (JSON lines, TSV, SGML), topics (TSV, JSON lines, `<top>`), four-column qrels.

The kind of a file is seen from its first character, not its name: TREC files have no agreed endings.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seekbench.datasets.formats import qrels
from seekbench.datasets.formats.beir import feed
from seekbench.datasets.formats.lines import COMPRESSED, lines, open_bytes, text
from seekbench.datasets.formats.records import ID_KEYS, Reader, json_rows
from seekbench.datasets.source import file_name
from seekbench.errors import InputError, Report
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

#: What documents' and topics' texts are called in JSON lines, in the order of preference.
_CONTENTS = ("contents", "text", "body", "passage")
_QUESTIONS = ("text", "query", "title", "question")
#: SGML elements that hold a document's title, and its text.
_TITLES = ("title", "headline", "hl", "head", "ti")
_TEXTS = ("text", "body", "leadpara", "lp")

_TAG = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")
_TOPIC_FIELD = re.compile(r"<(num|title|desc|narr)\b[^>]*>", re.IGNORECASE)
_LABEL = re.compile(r"\s*(?:number|topic|description|narrative)\s*:", re.IGNORECASE)
_FIELD_NAMES = {"title": "title", "desc": "description", "narr": "narrative"}


class Trec:
    """A TREC collection, its parts named or found in a folder.

    Found are files (or folders of files) whose names begin with `documents`, `docs`, `corpus` or
    `collection`; with `topics` or `queries`; with `qrels`. `qrels.<split>.txt` is the split's name's place,
    a bare `qrels.txt` is the split `test`. topic_fields: which parts of a classic topic are the query's text,
    joined by a space; all parts are metadata, so that a query template can use `{description}`.
    """

    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.datasets.formats.trec",
        "seekbench.datasets.formats.qrels",
        "seekbench.datasets.formats.records",
        "seekbench.datasets.formats.lines",
    )

    def __init__(
        self,
        folder: Path,
        *,
        documents: Path | None = None,
        topics: Path | None = None,
        qrels: Path | Mapping[str, Path] | None = None,
        topic_fields: Sequence[str] = ("title",),
        encoding: str = "utf-8",
    ) -> None:
        self.folder = folder
        self._named = (documents, topics, qrels)
        self.topic_fields = tuple(topic_fields)
        self.encoding = encoding

    @property
    def subject(self) -> str:
        return str(self.folder)

    def files(self) -> Sequence[Path]:
        documents, topics, splits = self._parts
        return [*documents, topics, *splits.values()]

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        documents, topics, splits = self._parts
        return {
            "format": "trec",
            "documents": [file_name(p, self.folder) for p in documents],
            "topics": file_name(topics, self.folder),
            "qrels": {split: file_name(p, self.folder) for split, p in splits.items()},
            "topic_fields": self.topic_fields,
            "encoding": self.encoding,
        }

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        documents, topics, splits = self._parts
        with progress.stage("read documents", unit="docs") as stage:
            for path in documents:
                reader = Reader(builder, str(path), id_keys=_ids("docid"), text_keys=_CONTENTS)
                feed(self._documents(path, builder.report), reader.document, stage)
        with progress.stage("read queries", unit="queries") as stage:
            reader = Reader(builder, str(topics), id_keys=_ids("qid"), text_keys=_QUESTIONS)
            feed(self._topics(topics, builder.report), reader.query, stage)
        for split, path in splits.items():
            qrels.read_trec(path, split, builder, self.encoding)

    # --- parts ---------------------------------------------------------------------------------------

    @cached_property
    def _parts(self) -> tuple[list[Path], Path, dict[str, Path]]:
        report = Report()
        if not self.folder.is_dir():
            raise InputError("there is no such folder", where=self.subject)
        documents, topics, judged = self._named
        found = documents or self._find("documents", ("documents", "docs", "corpus", "collection"), report)
        asked = topics or self._find("topics", ("topics", "queries"), report)
        splits = self._splits(judged, report)
        for path in [p for p in (found, asked, *splits.values()) if p is not None]:
            if not path.exists():
                report.error("missing-file", "there is no such file", where=str(path))
        report.raise_if_errors()
        assert found is not None  # or there would be an error
        assert asked is not None
        if found.is_dir():
            files = sorted(p for p in found.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not files:
                raise InputError("the folder of documents is empty", where=str(found))
            return files, asked, splits
        return [found], asked, splits

    def _find(self, part: str, stems: Sequence[str], report: Report) -> Path | None:
        for stem in stems:
            found = [p for p in sorted(self.folder.iterdir()) if p.name.split(".")[0] == stem]
            if len(found) == 1:
                return found[0]
            if found:
                report.error(
                    "ambiguous-files",
                    f"there are {' and '.join(p.name for p in found)}",
                    where=self.subject,
                    remedy=f"name one with '{part}:'",
                )
                return None
        report.error(
            "missing-file",
            f"no {part} were found ({', '.join(f'{s}.*' for s in stems)})",
            where=self.subject,
            remedy=f"name the file with '{part}:'",
        )
        return None

    def _splits(self, named: Path | Mapping[str, Path] | None, report: Report) -> dict[str, Path]:
        if isinstance(named, Mapping):
            return dict(named)
        paths = [named] if named else sorted(p for p in self.folder.glob("qrel*") if p.is_file())
        folder = self.folder / "qrels"
        if not paths and folder.is_dir():
            paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        splits: dict[str, Path] = {}
        for path in paths:
            split = split_of(path)
            if split in splits:
                report.error(
                    "ambiguous-files",
                    f"{splits[split].name} and {path.name} are both split '{split}'",
                    where=self.subject,
                    remedy="name them with 'qrels: {split: file}'",
                )
            splits[split] = path
        if not splits:
            report.error(
                "missing-file",
                "no judgments were found (qrels.*)",
                where=self.subject,
                remedy="name the file with 'qrels:'",
            )
        return splits

    def splits(self) -> list[str]:
        """Names of the splits, as far as they can be told from the files' names."""
        return sorted(self._splits(self._named[2], Report()))

    def _documents(self, path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
        match _first_character(path):
            case "{":
                return json_rows(path, report)
            case "<":
                return _sgml_documents(path, report, self.encoding)
            case _:
                return _tsv(path, report, self.encoding, "document", "contents")

    def _topics(self, path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
        match _first_character(path):
            case "{":
                return json_rows(path, report)
            case "<":
                return _sgml_topics(path, report, self.encoding, self.topic_fields)
            case _:
                return _tsv(path, report, self.encoding, "topic", "text")


def split_of(path: Path) -> str:
    """`dev` of qrels.dev.txt, qrels-dev.txt, qrels/dev.tsv.gz; `test` of qrels.txt."""
    name = path.name
    for suffix in (*COMPRESSED, ".txt", ".tsv", ".qrels", ".qrel", ".trec"):
        name = name.removesuffix(suffix)
    name = re.sub(r"^qrels?[._-]?", "", name)
    return name or "test"


def _ids(own: str) -> tuple[str, ...]:
    return (own, *(k for k in ID_KEYS if k != own))


def _first_character(path: Path) -> str:
    """The first character that is no white space nor byte order mark; '' where there is none."""
    try:
        with open_bytes(path) as handle:
            head = handle.read(4096)
    except Exception:  # whatever is wrong is reported by the reader, with its place
        return ""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1].decode("ascii", "replace")


def _tsv(
    path: Path, report: Report, encoding: str, kind: str, key: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """`id<TAB>text` lines; a third column (of documents) makes it `id<TAB>title<TAB>text`."""
    where = str(path)
    for number, line in lines(path, report):
        decoded = text(line, number, where, report, encoding)
        if decoded is None:
            continue
        cells = decoded.split("\t")
        if len(cells) == 2:
            yield number, {"_id": cells[0], key: cells[1]}
        elif len(cells) == 3 and kind == "document":
            yield number, {"_id": cells[0], "title": cells[1], key: cells[2]}
        else:
            report.error(
                "bad-columns",
                f"the {kind} has {len(cells)} column(s)",
                where=where,
                line=number,
                remedy="write id<TAB>text" + (" or id<TAB>title<TAB>text" if kind == "document" else ""),
            )


def _blocks(path: Path, report: Report, encoding: str, tag: str) -> Iterator[tuple[int, str]]:
    """(line, content) of each `<tag> ... </tag>`; one is in memory at a time."""
    where, opening, closing = (
        str(path),
        re.compile(rf"<{tag}\b[^>]*>", re.I),
        re.compile(rf"</{tag}\s*>", re.I),
    )
    start, parts = 0, [""]
    for number, line in lines(path, report, keep_blank=True):
        decoded = text(line, number, where, report, encoding)
        rest = "" if decoded is None else decoded + "\n"
        while rest:
            if not start:
                found = opening.search(rest)
                if not found:
                    break
                start, parts, rest = number, [], rest[found.end() :]
                continue
            ends, begins = closing.search(rest), opening.search(rest)
            if begins and (ends is None or begins.start() < ends.start()):
                _not_closed(tag, start, where, report)
                start, parts, rest = number, [], rest[begins.end() :]
                continue
            if ends:
                parts.append(rest[: ends.start()])
                yield start, "".join(parts)
                start, rest = 0, rest[ends.end() :]
                continue
            parts.append(rest)
            rest = ""
    if start:
        _not_closed(tag, start, where, report)


def _not_closed(tag: str, line: int, where: str, report: Report) -> None:
    report.error(
        "not-closed", f"<{tag.upper()}> has no </{tag.upper()}>", where=where, line=line, remedy="close it"
    )


def _element(content: str, name: str) -> list[str]:
    """What stands between each `<name>` and `</name>`."""
    return re.findall(rf"<{name}\b[^>]*>(.*?)</{name}\s*>", content, re.I | re.S)


def _plain(content: str) -> str:
    """Text without tags, with entities resolved and white space squeezed."""
    return _SPACE.sub(" ", html.unescape(_TAG.sub(" ", content))).strip()


def _sgml_documents(path: Path, report: Report, encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    found = False
    for line, content in _blocks(path, report, encoding, "DOC"):
        found = True
        ids = _element(content, "DOCNO")
        if not ids:
            report.error(
                "missing-key", "the document has no <DOCNO>", where=str(path), line=line, remedy="add <DOCNO>"
            )
            continue
        titles = [_plain(t) for name in _TITLES for t in _element(content, name)]
        bodies = [t for name in _TEXTS for t in _element(content, name)]
        if not bodies:
            # Web collections mark no text: all is text but the head and the number.
            bodies = [re.sub(r"(?is)<(DOCNO|DOCHDR|DOCOLDNO)\b.*?</\1\s*>", " ", content)]
            titles = titles[:1] if titles else []
        yield (
            line,
            {
                "docid": _plain(ids[0]),
                "title": next((t for t in titles if t), ""),
                "contents": _plain(" ".join(bodies)),
            },
        )
    if not found and not report.errors:
        report.error("no-documents", "there is no <DOC> in the file", where=str(path))


def _sgml_topics(
    path: Path, report: Report, encoding: str, fields: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    found = False
    for line, content in _blocks(path, report, encoding, "top"):
        found = True
        marks = list(_TOPIC_FIELD.finditer(content))
        parts: dict[str, str] = {}
        for mark, after in zip(marks, [*marks[1:], None], strict=True):
            value = content[mark.end() : after.start() if after else len(content)]
            parts[mark.group(1).lower()] = _plain(
                _LABEL.sub("", value, count=1) if _LABEL.match(value) else value
            )
        if not parts.get("num"):
            report.error(
                "missing-key", "the topic has no <num>", where=str(path), line=line, remedy="add <num>"
            )
            continue
        named = {_FIELD_NAMES[k]: v for k, v in parts.items() if k != "num" and v}
        lacking = [f for f in fields if f not in named]
        if lacking:
            report.error(
                "missing-key",
                f"topic {parts['num']} has no {' and no '.join(lacking)}",
                where=str(path),
                line=line,
                remedy="choose other 'topic_fields'",
            )
            continue
        yield line, {"qid": parts["num"], "text": " ".join(named[f] for f in fields), **named}
    if not found and not report.errors:
        report.error("no-queries", "there is no <top> in the file", where=str(path))
