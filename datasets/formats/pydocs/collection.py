"""What the variants share: documents, queries, splits and smaller collections from what they read of a file.

Decisions, each counted in `Extraction.counts`:

- Equal texts are one document (the first place gives the id, the others stand in `aliases`): two rows of
  the same text could only be told apart by their ids.
- A sentence that several definitions share is one query with all their documents relevant, since each is a
  right answer; one shared by more than MOST_RELEVANT definitions is boilerplate and gives no query.
- Query ids differ from all document ids, or tools that drop a document of the query's own id would drop
  the answers.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seekbench.datasets.formats.pydocs.library import decode, library_files, module_name
from seekbench.errors import InputError

#: Queries of the split `test`; the others are `train`.
TEST_QUERIES = 1000
#: A sentence shared by more definitions than this describes none of them.
MOST_RELEVANT = 5

#: Keys of `Extraction.counts`, all always there; a variant's own and those of `_sizes` follow.
COUNTED = (
    "files",  # read, or tried to
    "files_unreadable",
    "files_not_parsed",
    "definitions",  # public ones
    "definitions_merged",  # into a document of equal text
    "without_docstring",
    "docstring_without_sentence",  # a signature or a doctest only
    "docstring_meaningless",
    "docstring_too_short",
    "definitions_without_answer",  # described, but no document says anything more
    "definitions_boilerplate",  # whose sentence more than MOST_RELEVANT definitions have
    "sentences_boilerplate",
    "sentences_shared",  # queries with several definitions
    "queries_with_own_name",  # the name of a relevant definition is a word of the query
    "train_queries_dropped",  # a relevant document is a test query's too
)


@dataclass(frozen=True)
class Definition:
    """What a variant makes of one public definition of a file.

    text: the document, None where it gives none. sentence: the query, '' where it gives none; what it leaves
    out stands in `left_out`, as keys of the counts. answers: whether the text says enough to be asked for.
    """

    name: str
    line: int
    text: str | None
    sentence: str
    left_out: tuple[str, ...] = ()
    answers: bool = True


#: Reads a module's text, given the parts of its name. Raises what ast.parse raises.
Reader = Callable[[str, tuple[str, ...]], Iterable[Definition]]


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


def collect(
    stdlib: Path,
    read: Reader,
    counted: Iterable[str] = (),
    *,
    unsaid: bool = False,
    on_file: Callable[[], object] = lambda: None,
) -> Extraction:
    """The whole collection of a library folder. Never fails on a file: what can't be read is counted.

    counted: the variant's own keys of the counts. unsaid: leaves out queries that a document holds word for
    word. on_file: called before each file.
    """
    unreadable: list[str] = []
    counts = Counter(dict.fromkeys((*COUNTED, *counted), 0))
    places: Counter[str] = Counter()
    documents: dict[str, tuple[Document, list[str]]] = {}  # by text
    sentences: dict[str, _Sentence] = {}
    for path in library_files(stdlib, unreadable):
        on_file()
        counts["files"] += 1
        relative = path.relative_to(stdlib)
        try:
            found = list(read(decode(path.read_bytes()), module_name(relative)))
        except OSError:
            unreadable.append(str(relative))
            continue
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            counts["files_not_parsed"] += 1
            continue
        for definition in found:
            name, text = definition.name, definition.text
            counts["definitions"] += 1
            counts.update(definition.left_out)
            places[name] += 1
            id = name if places[name] == 1 else f"{name}#{places[name]}"
            if text in documents:
                documents[text][1].append(id)
                counts["definitions_merged"] += 1
            elif text is not None:
                documents[text] = (Document(id, name, text, relative.as_posix(), definition.line), [])
            if definition.sentence:
                group = sentences.setdefault(_normal(definition.sentence), _Sentence())
                group.definitions += 1
                if text is not None:
                    group.id = group.id or f"q:{id}"
                    group.text = group.text or definition.sentence
                    group.relevant.setdefault(documents[text][0].id)
                    group.answers |= definition.answers
                    group.names.append(name.rpartition(".")[2])
    counts["files_unreadable"] = len(unreadable)
    kept = []
    whole = "\0".join(documents).casefold() if unsaid else ""
    for normal, group in sentences.items():
        if not group.answers:
            counts["definitions_without_answer"] += group.definitions
        elif group.definitions > MOST_RELEVANT:
            counts["sentences_boilerplate"] += 1
            counts["definitions_boilerplate"] += group.definitions
        elif normal in whole:
            counts["sentences_in_a_document"] += 1
        else:
            kept.append(group)
            counts["sentences_shared"] += group.definitions > 1
            counts["queries_with_own_name"] += group.names_itself()
    queries = _split(kept, counts)
    merged = [replace(document, aliases=tuple(aliases)) for document, aliases in documents.values()]
    return Extraction(merged, queries, {**counts, **_sizes(merged, queries)})


@dataclass
class _Sentence:
    """A sentence, the definitions that are described by it, and the documents of those that have one."""

    id: str = ""
    text: str = ""
    definitions: int = 0
    answers: bool = False
    relevant: dict[str, None] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def names_itself(self) -> bool:
        return any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.text, re.IGNORECASE) for name in self.names
        )


def _hash(id: str) -> bytes:
    return hashlib.sha256(id.encode()).digest()


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
