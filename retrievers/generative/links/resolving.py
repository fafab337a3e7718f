"""What links link to: documents by id, address and title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.collection import IntArray, Records
from seekbench.retrievers.generative.links.documents import blocks, documents
from seekbench.retrievers.generative.links.reading import ID, TITLE, URL, Found

_ABSENT, _SEVERAL = -1, -2


class _Names:
    """distinct: Arrow strings, the names of documents; rows: int64, the document of each, or _SEVERAL."""

    def __init__(self, names: Sequence[str | None]) -> None:
        array = pa.array(names, pa.large_string())
        known = np.flatnonzero(np.asarray(pc.fill_null(pc.greater(pc.utf8_length(array), 0), False)))
        encoded = array.take(pa.array(known)).dictionary_encode()
        codes = np.asarray(encoded.indices)
        self.distinct = encoded.dictionary
        self.rows = np.full(len(self.distinct), _SEVERAL, dtype=np.int64)
        once = np.bincount(codes, minlength=len(self.distinct))[codes] == 1
        self.rows[codes[once]] = known[once]

    def find(self, names: pa.Array) -> IntArray:
        """int64 [names]: the document of each, _ABSENT or _SEVERAL."""
        at = np.asarray(pc.fill_null(pc.index_in(names, value_set=self.distinct), -1), dtype=np.int64)
        out = np.full(len(at), _ABSENT, dtype=np.int64)
        out[at >= 0] = self.rows[at[at >= 0]]
        return out


def _first_letter_folded(title: str) -> str:
    return title[:1].casefold() + title[1:]


@dataclass(frozen=True)
class Resolved:
    """columns: int64 [6, links], (doc, paragraph, start, end, form, target); dropped: counts by reason."""

    columns: IntArray
    dropped: Counter[str]
    has_field: bool


class Resolver:
    """What documents are called; each table is made when a link first asks for it."""

    def __init__(self, records: Records) -> None:
        self.records = records

    @cached_property
    def _title_column(self) -> list[str]:
        if "title" not in self.records.columns:
            return []
        return [(title or "").strip() for title in self.records.column("title")]

    @cached_property
    def _titles(self) -> _Names:
        return _Names(self._title_column)

    @cached_property
    def _folded(self) -> _Names:
        return _Names([_first_letter_folded(title) for title in self._title_column])

    @cached_property
    def _urls(self) -> _Names:
        found: list[str | None] = []
        for start, _ in blocks(len(self.records)):
            for document in documents(self.records, None, start):
                url = document.metadata.get("url")
                found.append(url.partition("#")[0] if isinstance(url, str) else None)
        return _Names(found)

    def metadata_keys(self) -> set[str]:
        return self.records.metadata_keys

    def resolve(self, found: Found) -> Resolved:
        """The links whose target is one document other than their own, sorted by document and place."""
        target = np.full(len(found.rows), _ABSENT, dtype=np.int64)
        names = np.array(found.names, dtype=object)
        kinds, owner = np.array(found.kinds, dtype=np.int64), np.array(found.owner, dtype=np.int64)
        for kind, table in ((ID, "ids"), (URL, "urls"), (TITLE, "titles"), (TITLE, "folded")):
            asked = np.flatnonzero((kinds & kind > 0) & (target[owner] == _ABSENT))
            if len(asked):
                rows = self._find(table, names[asked].tolist())
                hits = rows != _ABSENT
                # Written backwards, so that of a link's names the first that is known remains.
                target[owner[asked[hits]][::-1]] = rows[hits][::-1]
        dropped = Counter(found.dropped)
        dropped["unresolved"] += int((target == _ABSENT).sum())
        dropped["ambiguous"] += int((target == _SEVERAL).sum())
        columns = np.array(found.rows, dtype=np.int64).reshape(-1, 5).T
        dropped["self"] += int((target == columns[0]).sum())
        kept = np.flatnonzero((target >= 0) & (target != columns[0]))
        columns = np.concatenate([columns[:, kept], target[None, kept]])
        columns = columns[:, np.lexsort((columns[2], columns[1], columns[0]))]
        return Resolved(columns, dropped, found.has_field)

    def _find(self, table: str, names: list[str]) -> IntArray:
        if table == "folded":
            names = [_first_letter_folded(name) for name in names]
        wanted = pa.array(names, pa.large_string())
        if table == "ids":
            return self.records.rows_of(wanted)
        tables: dict[str, Any] = {"urls": "_urls", "titles": "_titles", "folded": "_folded"}
        looked_up: _Names = getattr(self, tables[table])
        return looked_up.find(wanted)
