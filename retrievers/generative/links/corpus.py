"""The links of a corpus, in arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.collection import IntArray, Records
from seekbench.errors import InputError, did_you_mean
from seekbench.retrievers.generative.links.documents import FORMS, blocks
from seekbench.retrievers.generative.links.reading import Found
from seekbench.retrievers.generative.links.resolving import Resolver

#: Why a link was dropped: `unresolved` no such document; `ambiguous` several of that title; `self` to itself;
#: `malformed` no object, no target, offsets that are no integers, a tag without an end; `unplaced` its anchor is not
#: where it is said to be, is empty, or goes over the end of a paragraph.
DROPPED = ("unresolved", "ambiguous", "self", "malformed", "unplaced")


@dataclass(frozen=True)
class Links:
    """Links of a corpus whose target is in the corpus, in the order of document and place; [links] arrays.

    doc: int64, the row of the document that links; target: int64, the row of the document that is linked.
    paragraph: int64, the paragraph (from 0) that the anchor is in; start, end: int64, the anchor's characters in that
    paragraph as it stands, markup and all. form: int8, the place in FORMS. documents: of the corpus.
    dropped: how many links were not taken, by the reasons DROPPED. searched: where links were looked for, in words.
    """

    doc: IntArray
    target: IntArray
    paragraph: IntArray
    start: IntArray
    end: IntArray
    form: npt.NDArray[np.int8]
    documents: int
    dropped: Mapping[str, int]
    searched: str

    @classmethod
    def of(cls, records: Records, *, field: str | None = None) -> Links:
        """All links of a corpus. field: the one metadata key to read, with entries of either shape; then texts are not
        searched. Without it, a document's links are those of its key `links`, else `anchors`, else of its text.

        Raises InputError where no document has `field`, or its value is no list, or metadata is no JSON object; the
        message names the document. Single links that are wrong are counted in `dropped`.
        """
        names = Resolver(records)
        found = [names.resolve(Found.of(records, start, field=field)) for start, _ in blocks(len(records))]
        if field is not None and not any(block.has_field for block in found):
            raise InputError(
                f"no document has the metadata key '{field}' for links",
                remedy=did_you_mean(field, names.metadata_keys()) or "leave it out to search all forms",
            )
        columns = np.concatenate([np.empty((6, 0), np.int64), *(block.columns for block in found)], axis=1)
        dropped: Counter[str] = Counter(dict.fromkeys(DROPPED, 0))
        for block in found:
            dropped.update(block.dropped)
        searched = (
            f"the metadata key '{field}'"
            if field is not None
            else "the metadata keys 'links' and 'anchors', and [[...]] and <a href=...> in texts"
        )
        doc, paragraph, start, end, form, target = columns
        return cls(
            doc,
            target,
            paragraph,
            start,
            end,
            form.astype(np.int8),
            len(records),
            dict(dropped),
            searched,
        )

    def __len__(self) -> int:
        return len(self.doc)

    @cached_property
    def indptr(self) -> IntArray:
        """int64 [documents + 1]: document d's links are indptr[d]:indptr[d + 1]."""
        return np.searchsorted(self.doc, np.arange(self.documents + 1)).astype(np.int64)

    @property
    def skipped(self) -> str | None:
        """Why there is nothing to learn from, one line; None where there are links."""
        if len(self):
            return None
        lost = ", ".join(f"{n} {reason}" for reason, n in self.dropped.items() if n)
        why = f"of the links found none could be taken ({lost})" if lost else "no document has a link"
        return f"no hyperlink pairs: {why}; searched: {self.searched}"

    def facts(self) -> dict[str, Any]:
        """JSON: links, documents that link and are linked, links by form, dropped ones by reason, `skipped` or null."""
        forms = np.bincount(self.form, minlength=len(FORMS)).tolist()
        return {
            "links": len(self),
            "documents": self.documents,
            "documents_with_links": len(np.unique(self.doc)),
            "targets": len(np.unique(self.target)),
            "forms": {name: n for name, n in zip(FORMS, forms, strict=True) if n},
            "dropped": dict(self.dropped),
            "skipped": self.skipped,
        }
