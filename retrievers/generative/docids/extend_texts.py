"""Texts for added documents: title, url, description and ngram."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from seekbench.retrievers.generative.docids.extend_parts import Grown, added_texts, foreign
from seekbench.retrievers.generative.docids.inputs import BuildInputs
from seekbench.retrievers.generative.docids.sequences import Docids
from seekbench.retrievers.generative.pairs import first_words

_BLOCK = 2048


class _Names:
    """Texts that are given, and a new one for each document, as `texts.made_unique` would."""

    def __init__(self, known: Docids, how: str, inputs: BuildInputs, words: int, casefold: bool) -> None:
        self.how, self.words = how, words
        self.records = inputs.the_records(known.builder)
        self.key: Callable[[str], str] = str.casefold if casefold else str
        self.taken = {self.key(name) for name in known.names()} if how != "leave" else set()
        self.plain: set[str] = set()
        self.following: dict[str, Any] = {}
        self.changed = 0

    def of(self, row: int, plain: str) -> str:
        name = plain
        if self.how == "leave":
            return name
        if self.how in ("id", "words") and self.key(plain) in self.plain:
            one = self.records.subset(np.asarray([row]))
            if self.how == "id":
                name = f"{plain} ({one.ids()[0].as_py()})"
            elif body := first_words(one.texts("{text}")[0], self.words):
                name = f"{plain}: {body}"
        self.plain.add(self.key(plain))
        if self.key(name) in self.taken:
            numbers = self.following.setdefault(self.key(name), count(2))
            name = next(t for t in (f"{name} ({n})" for n in numbers) if self.key(t) not in self.taken)
        self.taken.add(self.key(name))
        self.changed += name != plain
        return name


def titles(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """title and url."""
    p, first = builder.params, known.documents
    plain, _ = builder.plain(inputs.the_records(known.builder))
    for row, (name, own) in enumerate(zip(known.names(), plain, strict=False)):
        if not name.startswith(own):
            raise foreign(known, f"{known.builder} is {own!r}", row)
    names = _Names(known, p.disambiguate, inputs, p.words, getattr(p, "casefold", False))
    names.plain.update(names.key(own) for own in plain[:first])
    added = [names.of(row, own) for row, own in enumerate(plain[first:], first)]
    return Grown(added_texts(known, added), {"disambiguated": names.changed})


def description(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """The queries of added documents."""
    p = builder.params
    plain, doc, missing = builder.plain(inputs, known.documents)
    names = _Names(known, "number" if p.repeated == "number" else "leave", inputs, p.words, False)
    added = [names.of(row, own) for row, own in zip(doc.tolist(), plain, strict=True)]
    source = inputs.the_queries("description").source
    facts = {"queries": source, "missing": missing, "disambiguated": names.changed}
    return Grown(added_texts(known, added, doc), facts)


def ngram(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """N-grams that are frequent in a document and rare in those before it."""
    records, p, first = inputs.the_records("ngram"), builder.params, known.documents
    found, rare = np.zeros((2, p.slots), dtype=np.int32)
    ids = records.ids()
    names: list[str] = []
    doc: list[int] = []
    with inputs.context.progress.stage("extend n-grams", total=inputs.documents, unit="docs") as stage:
        for start, texts in records.blocks(p.template, _BLOCK):
            for row, text in enumerate(texts, start):
                builder.count(text, found, rare)
                if row >= first:
                    own = builder.chosen(text, found, rare, row + 1, ids, row)
                    names += own
                    doc += [row] * len(own)
            stage.advance(len(texts))
    return Grown(added_texts(known, names, np.asarray(doc, dtype=np.int64)))
