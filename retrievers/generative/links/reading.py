"""Links as they are written in documents, before it is known what they link to."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from seekbench.collection import Records
from seekbench.errors import InputError
from seekbench.retrievers.generative.links.documents import (
    ANCHORS,
    HTML,
    LINKS,
    WIKI,
    Document,
    documents,
    id_of,
)
from seekbench.retrievers.generative.links.markup import A_TAG, HREF, OPEN_A, WIKI_LINK, plain

#: What a name may be: a docid, a title, an address.
ID, TITLE, URL = 1, 2, 4


class Found:
    """Links of one block, before it is known what they link to.

    rows: (doc, paragraph, start, end, form) of each; names, kinds, owner: what its target may be called, as what, and
    which link (a place in `rows`) calls it so; a link's names stand in the order of preference.
    """

    def __init__(self, digits_are_ids: bool) -> None:
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.names: list[str] = []
        self.kinds: list[int] = []
        self.owner: list[int] = []
        self.dropped: Counter[str] = Counter()
        self.has_field = False
        self.digits_are_ids = digits_are_ids

    @classmethod
    def of(cls, records: Records, start: int, *, field: str | None) -> Found:
        # [[1984]] is a year, not the document of that number, unless documents have no titles to be linked by.
        self = cls("title" not in records.columns)
        for document in documents(records, None, start):
            if field is not None:
                value = document.metadata.get(field)
                self.has_field = self.has_field or value is not None
                if value is not None and not isinstance(value, list):
                    raise InputError(
                        f"'{field}' of document {id_of(records, document.row)!r} is no list of links",
                        remedy='e.g. [{"target": "docid", "text": "anchor"}]',
                    )
                self._list(document, value or [])
            elif not any(self._annotated(document, key) for key in ("links", "anchors")):
                self._wiki(document)
                self._html(document)
        return self

    def _annotated(self, document: Document, key: str) -> bool:
        """Reads the key, and says whether it holds links at all: a corpus may use these names for other things."""
        value = document.metadata.get(key)
        if value is None:
            return False
        self._list(document, value if isinstance(value, list) else [value])
        return isinstance(value, list) and any(isinstance(entry, dict) for entry in value)

    def _add(
        self,
        document: Document,
        form: int,
        place: tuple[int, int, int] | None,
        names: Sequence[tuple[str, int]],
    ) -> None:
        if place is None:
            self.dropped["unplaced"] += 1
            return
        for name, kinds in names:
            self.names.append(name)
            self.kinds.append(kinds)
            self.owner.append(len(self.rows))
        self.rows.append((document.row, *place, form))

    def _list(self, document: Document, entries: list[Any]) -> None:
        for entry in entries:
            self._entry(document, entry)

    def _entry(self, document: Document, entry: Any) -> None:
        names = self._entry_names(document, entry) if isinstance(entry, dict) else []
        if not names:
            self.dropped["malformed"] += 1
            return
        numbers = [entry.get(key) for key in ("paragraph_id", "start", "end")]
        anchor = entry.get("text")
        if any(n is not None and type(n) is not int for n in numbers) or not isinstance(anchor, str | None):
            self.dropped["malformed"] += 1
            return
        paragraph, start, end = numbers
        if paragraph is None:
            span = _span(document.text, anchor, start, end)
            self._add(document, LINKS, span and document.place(*span), names)
            return
        paragraphs = document.paragraphs(ANCHORS)
        span = _span(paragraphs[paragraph], anchor, start, end) if 0 <= paragraph < len(paragraphs) else None
        self._add(document, ANCHORS, span and (paragraph, *span), names)

    def _entry_names(self, document: Document, entry: dict[str, Any]) -> list[tuple[str, int]]:
        """Names of the target in an entry of either shape; none where there is no string."""
        target = entry.get("target")
        if isinstance(target, str) and target.strip():
            return [(target, ID | TITLE), (target.strip(), TITLE)]
        names: list[tuple[str, int]] = []
        id, title, href = (entry.get(key) for key in ("wikipedia_id", "wikipedia_title", "href"))
        if isinstance(id, str) and id:
            names.append((id, ID))
        if isinstance(title, str) and title.strip():
            # With an id beside it, a page called "1984" is not the document of that number.
            names.append((title.strip(), TITLE if names else TITLE | ID))
        if not names and isinstance(href, str):
            names += self._href_names(document, href)
        return names

    def _wiki(self, document: Document) -> None:
        if "[[" not in document.text:
            return
        for match in WIKI_LINK.finditer(document.text):
            whole, _, section = match[1].partition("#")
            title = " ".join(whole.replace("_", " ").split()).removeprefix(":")
            if not title:
                self.dropped["self" if section else "malformed"] += 1
                continue
            start, end = match.span(2)
            start += match[2].rfind("|") + 1
            if not document.text[start:end].strip():
                start, end = match.span(1)
            names = [(name, self._name_kinds(name)) for name in dict.fromkeys((whole.strip(), title))]
            self._add(document, WIKI, document.place(start, end), names)

    def _html(self, document: Document) -> None:
        if "<a" not in document.text and "<A" not in document.text:
            return
        text = document.text
        tags = list(A_TAG.finditer(text))
        # Tags that never end with ">" are none of `tags`.
        self.dropped["malformed"] += len(OPEN_A.findall(text)) - sum(m[1] is not None for m in tags)
        opened: tuple[int, str] | None = None
        for match in tags:
            if match[1] is None:
                if opened is not None:
                    self._html_link(document, opened[1], opened[0], match.start())
                opened = None
                continue
            self.dropped["malformed"] += opened is not None
            href = HREF.search(match[1])
            value = next((g for g in href.groups() if g is not None), "") if href else ""
            opened = (match.end(), value) if href else None
        self.dropped["malformed"] += opened is not None

    def _html_link(self, document: Document, href: str, start: int, end: int) -> None:
        href = html.unescape(href).strip()
        if href.startswith("#"):
            self.dropped["self"] += 1
            return
        names = self._href_names(document, href)
        if not names:
            self.dropped["malformed"] += 1
            return
        visible = bool(plain(document.text[start:end]))
        self._add(document, HTML, document.place(start, end) if visible else None, names)

    def _href_names(self, document: Document, href: str) -> list[tuple[str, int]]:
        """What an address may name: a docid, an address of a document, or the title that it ends with."""
        address = href.strip().partition("#")[0]
        if not address:
            return []
        names = [(address, ID | URL)]
        own = document.metadata.get("url")
        base = own if isinstance(own, str) else ""
        try:
            parts = urlsplit(address)
            if base and not parts.scheme:
                names.append((urljoin(base, address).partition("#")[0], URL))
            # "Apple" at the end of a foreign host's address is not this corpus's Apple.
            foreign = bool(base and parts.netloc) and urlsplit(base).netloc != parts.netloc
        except ValueError:
            # No address by RFC 3986 (of the document itself, or linked), so it has no last part to be read as a title.
            return names
        last = unquote(parts.path.rstrip("/").rpartition("/")[2])
        if last and not foreign and parts.scheme.lower() in ("", "http", "https"):
            title = " ".join(last.replace("_", " ").split())
            names += [(last, self._name_kinds(last)), (title, TITLE)]
        return names

    def _name_kinds(self, name: str) -> int:
        return TITLE if name.isdecimal() and not self.digits_are_ids else ID | TITLE


def _span(text: str, anchor: str | None, start: int | None, end: int | None) -> tuple[int, int] | None:
    """Where an anchor stands in a text; None where it does not stand there, or has no visible character."""
    if start is None:
        start = text.find(anchor) if anchor and end is None else -1
    if end is None:
        end = start + len(anchor or "")
    if not 0 <= start < end <= len(text) or not text[start:end].strip():
        return None
    return (start, end) if anchor is None or text[start:end] == anchor else None
