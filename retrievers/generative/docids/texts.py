"""Docids that are words: titles, URLs, n-grams of the document, descriptions."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import ClassVar, Literal
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from seekbench.collection import Records
from seekbench.errors import InputError, did_you_mean
from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids.inputs import BuildInputs
from seekbench.retrievers.generative.docids.sequences import Docids, Ints, places
from seekbench.retrievers.generative.pairs import first_words

_BLOCK = 2048
_WORD = re.compile(r"\w+")

Disambiguation = Literal["number", "id", "words", "leave"]


def made_unique(
    texts: Sequence[str], how: Disambiguation, records: Records, words: int, casefold: bool
) -> tuple[list[str], int]:
    """Texts of which no two are equal (unless `how` is leave), and how many were changed.

    number: the second gets ` (2)`; id: all of them get their document's ` (id)`; words: all of them get `: ` and
    first words of their documents. What is still equal, or has become so, is numbered. casefold: texts that
    differ by case alone count as equal.
    """
    key: Callable[[str], str] = str.casefold if casefold else str
    out = list(texts)
    if how == "leave":
        return out, 0
    seen = Counter(key(text) for text in out)
    if how in ("id", "words"):
        rows = [row for row, text in enumerate(out) if seen[key(text)] > 1]
        ids = records.ids(np.asarray(rows, dtype=np.int64)).to_pylist() if how == "id" else []
        bodies = _bodies(records, np.asarray(rows, dtype=np.int64), words) if how == "words" else []
        for place, row in enumerate(rows):
            if how == "id":
                out[row] = f"{out[row]} ({ids[place]})"
            elif bodies[place]:
                out[row] = f"{out[row]}: {bodies[place]}"
    # Numbers avoid what any text is called, also one that comes later: it shall keep its own title.
    taken = {key(text) for text in out}
    met: set[str] = set()
    following: dict[str, Iterator[int]] = {}
    for row, text in enumerate(out):
        name = key(text)
        if name in met:
            numbers = following.setdefault(name, count(2))
            out[row] = next(t for t in (f"{text} ({n})" for n in numbers) if key(t) not in taken)
            taken.add(key(out[row]))
        met.add(key(out[row]))
    return out, sum(new != old for new, old in zip(out, texts, strict=True))


def _bodies(records: Records, rows: Ints, words: int) -> list[str]:
    some = records.subset(rows)
    return [first_words(text, words) for _, block in some.blocks("{text}", _BLOCK) for text in block]


def _values(records: Records, params: TitleParams | UrlParams, builder: str) -> list[str | None]:
    """The values of `field`, a column or metadata key. Refused where no document has such a field: all would be
    called by something else. Who says what `missing` means and leaves the field as it is has asked for that."""
    asked = "missing" in params.model_fields_set and "field" not in params.model_fields_set
    if params.field not in records.columns and params.field not in records.metadata_keys and not asked:
        keys = sorted(records.metadata_keys)
        near = did_you_mean(params.field, [*records.columns, *keys])
        # The known names are in the message already.
        if not near.startswith("did you mean"):
            chosen = "field" in params.model_fields_set
            near = (
                "name one of these"
                if chosen
                else "name one of these, or say `missing: words` to use first words"
            )
        raise InputError(
            f"docids '{builder}': no document has the field '{params.field}'; columns: "
            f"{', '.join(records.columns)}; metadata keys: {_shortened(keys)}",
            remedy=near,
        )
    return records.column(params.field)


def _shortened(names: Sequence[str], most: int = 20) -> str:
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more]) or "none"


def _filled(
    texts: list[str], records: Records, words: int, missing: str, what: str, builder: str
) -> tuple[list[str], int]:
    """Empty texts replaced by first words (`missing` is words) or the id (id; also for documents without words);
    refused where it is error."""
    empty = [row for row, text in enumerate(texts) if not text]
    if not empty:
        return texts, 0
    rows = np.asarray(empty, dtype=np.int64)
    ids = records.ids(rows).to_pylist()
    if missing == "error":
        raise InputError(
            f"docids '{builder}': {len(empty)} documents have no {what}, the first is {ids[0]!r}",
            remedy="say `missing: words` to use their first words",
        )
    bodies = _bodies(records, rows, words) if missing == "words" else [""] * len(rows)
    for row, body, id in zip(empty, bodies, ids, strict=True):
        # A document without id and words has nothing at all to be called by but its row.
        texts[row] = body or " ".join(id.split()) or f"document {row}"
    return texts, len(empty)


class TitleParams(protocol.Params):
    """Fields of `title`."""

    disambiguate: Disambiguation = Field(
        "number",
        description="of equal titles: number the second, add ids to all or first words to all, or share",
    )
    missing: Literal["words", "id", "error"] = Field(
        "words", description="documents without a title: their first words, their id, or refuse"
    )
    words: int = Field(8, ge=1, description="first words used by `missing` and `disambiguate`")
    field: str = Field("title", description="column or metadata key that holds titles")
    cut: int | None = Field(None, ge=1, description="words that a title is cut to, before repeats are sought")
    casefold: bool = Field(
        False, description="titles that differ by case alone are equal (uncased tokenizers)"
    )


class Title:
    """The title as text (GENRE), unique unless it is told to leave repeated ones."""

    Params: ClassVar[type[protocol.Params]] = TitleParams
    needs: frozenset[str] = frozenset({"records"})

    def __init__(self, params: TitleParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        records, p = inputs.the_records("title"), self.params
        titles, missing = self.plain(records)
        titles, changed = made_unique(titles, p.disambiguate, records, p.words, p.casefold)
        return Docids.of_texts("title", titles, facts={"missing": missing, "disambiguated": changed})

    def plain(self, records: Records) -> tuple[list[str], int]:
        """Titles before they are made unique, and how many documents had none."""
        p = self.params
        titles = [" ".join((title or "").split()[: p.cut]) for title in _values(records, p, "title")]
        return _filled(titles, records, p.words, p.missing, "title", "title")


class UrlParams(protocol.Params):
    """Fields of `url`."""

    field: str = Field(
        "url", description="column or metadata key that holds URLs, or paths such as `a/b_c.txt`; `id`"
    )
    host: bool = Field(True, description="begin with the host, without www.")
    disambiguate: Disambiguation = Field("number", description="of equal names, as for titles")
    missing: Literal["words", "id", "error"] = Field("error", description="documents without one")
    words: int = Field(8, ge=1, description="first words used by `missing` and `disambiguate`")


class Url:
    """The words of a URL's host and path: `en.example.org big red-fox`. Scheme, query, fragment and the file's
    ending are left out, `%20` and the like decoded."""

    Params: ClassVar[type[protocol.Params]] = UrlParams
    needs: frozenset[str] = frozenset({"records"})

    def __init__(self, params: UrlParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        records, p = inputs.the_records("url"), self.params
        names, missing = self.plain(records)
        names, changed = made_unique(names, p.disambiguate, records, p.words, False)
        return Docids.of_texts("url", names, facts={"missing": missing, "disambiguated": changed})

    def plain(self, records: Records) -> tuple[list[str], int]:
        """Words of URLs before they are made unique, and how many documents had none."""
        p = self.params
        names = [url_words(url or "", host=p.host) for url in _values(records, p, "url")]
        return _filled(names, records, p.words, p.missing, "URL", "url")


def url_words(url: str, *, host: bool) -> str:
    """`https://www.a.org/Big%20red/fox_1.html?x=1` -> `a.org Big red fox 1`; '' for nothing."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # a bracket without its pair; the whole is a path then
        parts = urlsplit("")._replace(path=url)
    path = unquote(parts.path)
    folder, slash, last = path.rpartition("/")
    path = folder + slash + re.sub(r"(?<=.)\.[A-Za-z]{1,5}$", "", last)
    words = re.sub(r"[/_+\-\s]+", " ", path).split()
    name = parts.netloc.rpartition("@")[2].removeprefix("www.")
    return " ".join([name, *words] if host and name else words)


class NgramParams(protocol.Params):
    """Fields of `ngram`."""

    n: int = Field(3, ge=1, le=16, description="words of an n-gram")
    most: int = Field(5, ge=1, description="n-grams of a document, at most")
    template: str = Field("{title} {text}", description="what a document's words are")
    slots: int = Field(
        1 << 24,
        ge=1 << 10,
        le=1 << 30,
        description="of the two tables that count documents of hashed n-grams and words (4 bytes each)",
    )


class Ngram:
    """Several docids a document: its n-grams of words (case folded) with the highest tf-idf that do not overlap.

    Of equal ones that with the rarer words comes first, then the earlier one. Documents with fewer words are named
    by all of them, those with none by their id. Frequencies are counted in tables of hashes, so memory does not
    grow with the corpus; two n-grams that fall on one slot are taken for more frequent than they are.
    """

    Params: ClassVar[type[protocol.Params]] = NgramParams
    needs: frozenset[str] = frozenset({"records"})

    def __init__(self, params: NgramParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        records, p = inputs.the_records("ngram"), self.params
        found, rare = np.zeros((2, p.slots), dtype=np.int32)
        with inputs.context.progress.stage("count n-grams", total=inputs.documents, unit="docs") as stage:
            for _, texts in records.blocks(p.template, _BLOCK):
                for text in texts:
                    self.count(text, found, rare)
                stage.advance(len(texts))
        ids = records.ids()
        names: list[str] = []
        doc: list[int] = []
        with inputs.context.progress.stage("choose n-grams", total=inputs.documents, unit="docs") as stage:
            for start, texts in records.blocks(p.template, _BLOCK):
                for row, text in enumerate(texts, start):
                    own = self.chosen(text, found, rare, inputs.documents, ids, row)
                    names += own
                    doc += [row] * len(own)
                stage.advance(len(texts))
        return Docids.of_texts("ngram", names, doc=np.asarray(doc), documents=inputs.documents)

    def count(self, text: str, found: npt.NDArray[np.int32], rare: npt.NDArray[np.int32]) -> None:
        """Adds a document's n-grams and words to the two tables, int32 [slots]."""
        words = _words(text)
        found[np.unique(self._slots(words, self.params.n))] += 1
        rare[np.unique(self._slots(words, 1))] += 1

    def chosen(
        self,
        text: str,
        found: npt.NDArray[np.int32],
        rare: npt.NDArray[np.int32],
        documents: int,
        ids: pa.Array,
        row: int,
    ) -> list[str]:
        """The names of a document of this text, the best first. found, rare: counts of `documents` documents, of
        which this is one; ids: all ids, row: this document's."""
        words = _words(text)
        best = self._best(words, found, rare, documents)
        own = list(dict.fromkeys(" ".join(words[at : at + self.params.n]) for at in best))
        return own or [" ".join(words) or " ".join(ids[row].as_py().split()) or f"document {row}"]

    def _slots(self, words: list[str], n: int) -> npt.NDArray[np.int64]:
        """int64 [n-grams]: the slot of each n-gram, in order of the text."""
        if len(words) < n:
            return np.empty(0, dtype=np.int64)
        codes = np.fromiter((_crc(word) for word in words), dtype=np.uint64, count=len(words))
        mixed = np.zeros(len(words) - n + 1, dtype=np.uint64)
        for at in range(n):
            mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[at : at + len(mixed)]
        mixed ^= mixed >> np.uint64(31)
        return (mixed % np.uint64(self.params.slots)).astype(np.int64)

    def _best(
        self, words: list[str], found: npt.NDArray[np.int32], rare: npt.NDArray[np.int32], documents: int
    ) -> list[int]:
        """Where the chosen n-grams begin, the best first. found, rare: documents of each n-gram and word."""
        slots = self._slots(words, self.params.n)
        if not len(slots):
            return []
        _, inverse, times = np.unique(slots, return_inverse=True, return_counts=True)
        score = times[inverse.reshape(-1)] * np.log((1 + documents) / found[slots])
        # In a short corpus most n-grams are unique. Of those, words that are rare themselves make the better name:
        # `blue whale`, not `the blue`.
        weight = np.log((1 + documents) / rare[self._slots(words, 1)])
        inside = np.sum([weight[at : at + len(slots)] for at in range(self.params.n)], axis=0)
        chosen: list[int] = []
        covered = np.zeros(len(words), dtype=np.bool_)
        for at in np.lexsort((-inside, -score)).tolist():
            if len(chosen) == self.params.most:
                break
            if not covered[at : at + self.params.n].any():
                chosen.append(at)
                for same in np.flatnonzero(slots == slots[at]).tolist():
                    covered[same : same + self.params.n] = True
        return chosen


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=1 << 18)
def _crc(word: str) -> int:
    # Python's own hash differs from process to process.
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


class DescriptionParams(protocol.Params):
    """Fields of `description`."""

    per_document: int = Field(
        1, ge=1, description="queries that name a document, each by itself; SE-DSI's is 1"
    )
    words: int = Field(20, ge=1, description="a query is cut to this many; SE-DSI's has below 20 tokens")
    missing: Literal["words", "id", "error"] = Field("words", description="documents without a query")
    repeated: Literal["leave", "number"] = Field(
        "leave", description="let documents share a description, as SE-DSI does, or number them"
    )

    @model_validator(mode="after")
    def _one(self) -> DescriptionParams:
        if self.repeated == "number" and self.per_document > 1:
            raise ValueError("`repeated: number` is for one query a document")
        return self


class Description:
    """A query of the document as its docid (SE-DSI's elaborative description), the first one that is given.

    About 5 % of them repeat on MS MARCO, 3 % on NQ (methods/generative.md §4): `report` says how many do here,
    and a search returns such a group as a whole.
    """

    Params: ClassVar[type[protocol.Params]] = DescriptionParams
    needs: frozenset[str] = frozenset({"queries", "records"})

    def __init__(self, params: DescriptionParams) -> None:
        self.params = params

    def build(self, inputs: BuildInputs) -> Docids:
        p, records = self.params, inputs.the_records("description")
        names, doc, missing = self.plain(inputs)
        changed = 0
        if p.repeated == "number":
            names, changed = made_unique(names, "number", records, p.words, False)
        source = inputs.the_queries("description").source
        facts = {"queries": source, "missing": missing, "disambiguated": changed}
        return Docids.of_texts("description", names, doc=doc, documents=inputs.documents, facts=facts)

    def plain(self, inputs: BuildInputs, first: int = 0) -> tuple[list[str], Ints, int]:
        """(descriptions of the documents from row `first` on, before they are numbered; int64 their rows,
        ascending; how many documents had no query)."""
        queries, p = inputs.the_queries("description"), self.params
        records = inputs.the_records("description")
        texts = [first_words(text or "", p.words) for text in queries.texts.to_pylist()]
        # A query that a document has twice names it once.
        once: dict[tuple[int, str], int] = {}
        for at, text in enumerate(texts):
            if text and queries.doc[at] >= first:
                once.setdefault((int(queries.doc[at]), text), at)
        kept = np.fromiter(once.values(), dtype=np.int64, count=len(once))
        by = kept[np.argsort(queries.doc[kept], kind="stable")]
        by = by[places(queries.doc[by]) < p.per_document]
        doc = queries.doc[by]
        lacking = np.setdiff1d(np.arange(first, inputs.documents), doc)
        names = [texts[at] for at in by]
        if len(lacking):
            filled, _ = _filled(
                [""] * len(lacking), records.subset(lacking), p.words, p.missing, "query", "description"
            )
            names += filled
            doc = np.concatenate([doc, lacking])
            by = np.argsort(doc, kind="stable")
            doc, names = doc[by], [names[at] for at in by]
        return names, doc, len(lacking)
