"""Documents of a corpus while their links are read: text, title, metadata and paragraphs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from seekbench.collection import IntArray, Records
from seekbench.errors import InputError
from seekbench.retrievers.generative.links.markup import paragraphs

#: Forms of links, in the order of their numbers in `Links.form`.
FORMS = ("links", "anchors", "wiki", "html")
LINKS, ANCHORS, WIKI, HTML = range(4)
#: Documents read at a time. Nothing depends on it but memory and the times that the names are looked up.
_BLOCK = 1 << 15


class Document:
    """One record while its links are read. metadata: {} where it has none."""

    __slots__ = ("_listed", "_spans", "metadata", "row", "text", "title")

    def __init__(self, row: int, title: str, text: str, metadata: dict[str, Any]) -> None:
        self.row, self.title, self.text, self.metadata = row, title, text, metadata
        self._spans: list[tuple[int, int]] | None = None
        self._listed: list[str] | None = None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where the text's paragraphs start and end."""
        if self._spans is None:
            self._spans = paragraphs(self.text)
        return self._spans

    @property
    def listed(self) -> list[str] | None:
        """Paragraphs of the metadata, if it has such a list."""
        if self._listed is None:
            for key in ("paragraphs", "text"):
                value = self.metadata.get(key)
                if isinstance(value, list) and value and all(isinstance(p, str) for p in value):
                    self._listed = value
                    break
        return self._listed

    def is_listed(self, form: int) -> bool:
        return form == ANCHORS and self.listed is not None

    def paragraphs(self, form: int) -> list[str]:
        """The paragraphs that a link of this form counts and is placed in."""
        if form == ANCHORS and self.listed is not None:
            return self.listed
        return [self.text[a:b] for a, b in self.spans]

    def place(self, start: int, end: int) -> tuple[int, int, int] | None:
        """(paragraph, start, end in it) of characters of the text; None where no paragraph has them all."""
        at = bisect_right(self.spans, (start, len(self.text))) - 1
        if at < 0:
            return None
        low, high = self.spans[at]
        return (at, start - low, end - low) if end <= high else None


def blocks(total: int) -> Iterator[tuple[int, int]]:
    """(its first row, the row after its last) of each block of a corpus of so many documents."""
    for start in range(0, total, _BLOCK):
        yield start, min(start + _BLOCK, total)


def documents(records: Records, rows: IntArray | None, start: int) -> Iterator[Document]:
    """The documents of the block that begins with row `start`: all, or those of ascending `rows` in it."""
    table = records.table.slice(start, _BLOCK)
    if rows is None:
        rows = np.arange(start, start + table.num_rows)
    else:
        # Of the block alone, since Arrow joins a column's chunks before it takes from them.
        table = table.take(pa.array(rows - start))
    texts = table.column("text").to_pylist()
    absent = [None] * len(rows)
    titles = table.column("title").to_pylist() if "title" in table.column_names else absent
    metadata = table.column("metadata").to_pylist() if "metadata" in table.column_names else absent
    for row, title, text, raw in zip(rows.tolist(), titles, texts, metadata, strict=True):
        yield Document(row, title or "", text or "", _metadata(records, row, raw) if raw else {})


def _metadata(records: Records, row: int, raw: str) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"the metadata of document {id_of(records, row)!r} is no JSON: {error.msg}"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"the metadata of document {id_of(records, row)!r} is no JSON object")
    return value


def id_of(records: Records, row: int) -> str:
    """The docid of a row, for messages."""
    return str(records.ids(np.array([row]))[0].as_py())
