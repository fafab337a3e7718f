"""`Docids`: which sequence of codes or which text names which document, in flat arrays and files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from seekbench import hashing
from seekbench.errors import InputError, SeekbenchError
from seekbench.store import write_atomic

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
#: A model's tokenizer for text docids: no special tokens, no truncation.
Encode = Callable[[list[str]], Sequence[Sequence[int]]]

FORMAT = 1
_FACTS = "docids.json"
_BLOCK = 8192


@dataclass(frozen=True)
class Space:
    """A range of code symbols that are used alike, e.g. those of one level; `name` as in `<a_12>`.

    size: symbols of the space. Spaces follow each other: the first symbol of one is the number of symbols
    before it.
    """

    name: str
    size: int


@dataclass(frozen=True, eq=False)
class Docids:
    """Docids of a corpus, ordered by document; of one document, the preferred one first.

    builder: the name of what made them. documents: how many documents there are; each has a docid at least.
    doc: int64 [docids], ascending: the row of the document that each docid names. Several docids may name one
    document (n-grams, several queries), and one docid several documents (a collision).

    A docid is a sequence of *codes* (symbols of its own, which a model gets as new tokens) or a *text* (which
    the model's tokenizer cuts later):
    tokens: int32 [all codes], indptr: int64 [docids + 1]: docid i is tokens[indptr[i]:indptr[i + 1]], numbers
    below `symbols`; spaces: what these symbols are. texts: Arrow large_string [docids].

    facts: JSON facts of the builder (parameters, curves, sources). They are saved, and no part of the content.
    state: arrays that a builder needs to place further documents (`extend`), such as centres of clusters; names
    of letters, digits, `_` and `.`. Saved as well, and no part of the content either.
    """

    builder: str
    documents: int
    doc: Ints
    tokens: Codes | None = None
    indptr: Ints | None = None
    spaces: tuple[Space, ...] = ()
    texts: pa.LargeStringArray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    # -- making ---------------------------------------------------------------------------------------------

    @classmethod
    def of_codes(
        cls,
        builder: str,
        tokens: npt.NDArray[Any],
        indptr: npt.NDArray[Any],
        spaces: Sequence[Space],
        *,
        facts: Mapping[str, Any] | None = None,
        state: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Docids:
        """One docid a document. tokens: flat symbols; indptr: [documents + 1]."""
        made = cls(
            builder,
            len(indptr) - 1,
            np.arange(len(indptr) - 1, dtype=np.int64),
            np.ascontiguousarray(tokens, dtype=np.int32),
            np.ascontiguousarray(indptr, dtype=np.int64),
            tuple(spaces),
            facts=dict(facts or {}),
            state=dict(state or {}),
        )
        made.check()
        return made

    @classmethod
    def of_matrix(
        cls,
        builder: str,
        codes: npt.NDArray[Any],
        sizes: Sequence[int],
        *,
        facts: Mapping[str, Any] | None = None,
        state: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Docids:
        """One docid of equal length a document, each level with symbols of its own.

        codes: integers [documents, levels]; sizes: how many codes each level has.
        """
        documents, levels = codes.shape
        start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls.of_codes(
            builder,
            (codes + start).reshape(-1),
            np.arange(documents + 1, dtype=np.int64) * levels,
            [Space(letters(level), int(size)) for level, size in enumerate(sizes)],
            facts=facts,
            state=state,
        )

    @classmethod
    def of_texts(
        cls,
        builder: str,
        texts: Sequence[str] | pa.Array,
        *,
        doc: npt.NDArray[Any] | None = None,
        documents: int | None = None,
        facts: Mapping[str, Any] | None = None,
        state: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Docids:
        """Text docids. doc: ascending rows of documents, where it isn't one docid a document."""
        array = (
            texts.cast(pa.large_string())
            if isinstance(texts, pa.Array)
            else pa.array(texts, pa.large_string())
        )
        made = cls(
            builder,
            len(array) if documents is None else documents,
            np.arange(len(array), dtype=np.int64)
            if doc is None
            else np.ascontiguousarray(doc, dtype=np.int64),
            texts=array,
            facts=dict(facts or {}),
            state=dict(state or {}),
        )
        made.check()
        return made

    def check(self) -> None:
        """Raises ValueError unless every document has a docid and every docid can be written."""
        docids = len(self.doc)
        if docids and (np.any(np.diff(self.doc) < 0) or self.doc[0] < 0 or self.doc[-1] >= self.documents):
            raise ValueError("doc: rows of documents, ascending")
        if len(np.unique(self.doc)) != self.documents:
            raise ValueError(f"{self.documents - len(np.unique(self.doc))} documents have no docid")
        if (self.tokens is None) == (self.texts is None):
            raise ValueError("docids are codes or texts")
        if self.texts is not None:
            if len(self.texts) != docids or self.texts.null_count or pc.any(pc.equal(self.texts, "")).as_py():
                raise ValueError("texts: one that is not empty for each docid")
            return
        assert self.tokens is not None
        assert self.indptr is not None
        if len(self.indptr) != docids + 1 or self.indptr[0] != 0 or self.indptr[-1] != len(self.tokens):
            raise ValueError("indptr: compressed rows of tokens")
        if np.any(np.diff(self.indptr) < 1):
            raise ValueError("a docid has at least one symbol")
        if len(self.tokens) and (self.tokens.min() < 0 or self.tokens.max() >= self.symbols):
            raise ValueError(f"tokens lie below the number of symbols, {self.symbols}")

    # -- reading --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.doc)

    @property
    def kind(self) -> Literal["codes", "text"]:
        return "text" if self.tokens is None else "codes"

    @property
    def symbols(self) -> int:
        """Symbols that a model must learn anew; 0 for text."""
        return sum(space.size for space in self.spaces)

    @cached_property
    def space_start(self) -> Ints:
        """int64 [spaces + 1]: the first symbol of each space, and the number of symbols."""
        return np.concatenate([[0], np.cumsum([s.size for s in self.spaces])]).astype(np.int64)

    def of(self, row: int) -> range:
        """Docids (their numbers) of one document."""
        first, last = np.searchsorted(self.doc, [row, row + 1])
        return range(int(first), int(last))

    def sequences(self, encode: Encode | None = None) -> tuple[Codes, Ints]:
        """All docids as tokens: (int32 flat, int64 indptr [docids + 1]).

        Codes are given as they are (symbol s is the number s: a model adds its own base). Texts are cut by
        `encode`. Raises ValueError for texts without `encode`, InputError for one that it makes nothing of.
        """
        if self.tokens is not None and self.indptr is not None:
            return self.tokens, self.indptr
        if encode is None or self.texts is None:
            raise ValueError("text docids need the model's tokenizer")
        flat: list[npt.NDArray[Any]] = []
        lengths = np.empty(len(self), dtype=np.int64)
        for at in range(0, len(self), _BLOCK):
            texts = self.texts.slice(at, _BLOCK).to_pylist()
            cut = encode(texts)
            lengths[at : at + len(texts)] = [len(tokens) for tokens in cut]
            flat += [np.asarray(tokens, dtype=np.int32) for tokens in cut]
        if len(lengths) and lengths.min() == 0:
            row = int(np.argmin(lengths))
            raise InputError(
                f"the docid {self.texts[row].as_py()!r} of document {int(self.doc[row])} has no tokens",
                remedy="the tokenizer knows none of its characters; use another tokenizer or docid type",
            )
        tokens = np.concatenate(flat) if flat else np.empty(0, np.int32)
        return tokens.astype(np.int32, copy=False), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @cached_property
    def groups(self) -> Ints:
        """int64 [docids]: equal docids have equal numbers, which are 0, 1, ... in the docids' order (of codes;
        of bytes), a shorter one before those that continue it."""
        if self.texts is not None:
            return group_texts(self.texts)
        assert self.tokens is not None
        assert self.indptr is not None
        return group(self.tokens, self.indptr)

    def names(self, rows: npt.NDArray[Any] | Sequence[int] | None = None) -> list[str]:
        """Printable docids (of these numbers, or all): `<a_12><b_7>`, `<12><7>` of one shared space, or the
        text."""
        wanted = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        if self.texts is not None:
            found: list[str] = self.texts.take(pa.array(wanted)).to_pylist()
            return found
        assert self.tokens is not None
        assert self.indptr is not None
        return ["".join(self.symbol_names(self.tokens[self.indptr[r] : self.indptr[r + 1]])) for r in wanted]

    def symbol_names(self, symbols: npt.NDArray[Any] | None = None) -> list[str]:
        """Names of symbols (all by default), unique: what a model's tokenizer can add as tokens."""
        wanted = np.arange(self.symbols) if symbols is None else np.asarray(symbols, dtype=np.int64)
        where = np.searchsorted(self.space_start, wanted, side="right") - 1
        codes = wanted - self.space_start[where]
        return [
            f"<{self.spaces[s].name}_{c}>" if self.spaces[s].name else f"<{c}>"
            for s, c in zip(where.tolist(), codes.tolist(), strict=True)
        ]

    @cached_property
    def content_hash(self) -> str:
        """sha256 over what the docids are; not over who made them, nor the facts."""
        digest = hashlib.sha256(f"docids\0{FORMAT}\0{self.documents}\0{self.kind}\0".encode())
        digest.update(np.ascontiguousarray(self.doc, dtype="<i8").tobytes())
        if self.texts is not None:
            digest.update(hashing.of_columns([("text", pa.chunked_array([self.texts]))]).encode())
        else:
            digest.update(orjson.dumps([[s.name, s.size] for s in self.spaces]))
            digest.update(np.ascontiguousarray(self.indptr, dtype="<i8").tobytes())
            digest.update(np.ascontiguousarray(self.tokens, dtype="<i4").tobytes())
        return digest.hexdigest()

    # -- files ----------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Writes docids.json, doc.npy, tokens.npy and indptr.npy or texts.arrow, and state.NAME.npy for each
        array of `state`; equal docids, equal bytes. docids.json comes last and vouches for the others."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "doc.npy", self.doc)
        if self.texts is not None:
            table = pa.table({"text": self.texts})
            with pa.ipc.new_file(str(folder / "texts.arrow"), table.schema) as writer:
                # One batch: `load` then maps it without copying.
                writer.write_table(table.combine_chunks())
        else:
            np.save(folder / "tokens.npy", np.asarray(self.tokens))
            np.save(folder / "indptr.npy", np.asarray(self.indptr))
        for name, array in self.state.items():
            # Not one .npz: its members carry the time of writing.
            np.save(folder / f"state.{name}.npy", np.ascontiguousarray(array))
        head: dict[str, Any] = {
            "format": FORMAT,
            "builder": self.builder,
            "documents": self.documents,
            "docids": len(self),
            "kind": self.kind,
            "spaces": [[s.name, s.size] for s in self.spaces],
            "hash": self.content_hash,
            "facts": dict(self.facts),
        }
        if self.state:
            head["state"] = {name: _hash_of(array) for name, array in self.state.items()}
        write_atomic(folder / _FACTS, orjson.dumps(head, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))

    @classmethod
    def load(cls, folder: Path, *, verify: bool = False) -> Docids:
        """Maps what `save` wrote. verify: read it all and compare with the hash.

        Raises SeekbenchError where the folder holds no docids, those of another format, or damaged ones.
        """
        try:
            head = orjson.loads((folder / _FACTS).read_bytes())
        except FileNotFoundError:
            raise SeekbenchError(f"{folder} holds no docids") from None
        except orjson.JSONDecodeError as error:
            raise SeekbenchError(f"{folder}: damaged docids ({error}); build them again") from error
        if head["format"] != FORMAT:
            raise SeekbenchError(
                f"{folder} holds docids of format {head['format']}, not {FORMAT}; build them again"
            )
        try:
            if head["kind"] == "text":
                column = (
                    pa.ipc.open_file(pa.memory_map(str(folder / "texts.arrow"))).read_all().column("text")
                )
                texts = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
                tokens = indptr = None
            else:
                texts = None
                tokens = np.load(folder / "tokens.npy", mmap_mode="r")
                indptr = np.load(folder / "indptr.npy", mmap_mode="r")
            doc = np.load(folder / "doc.npy", mmap_mode="r")
            state = {
                name: np.load(folder / f"state.{name}.npy", mmap_mode="r") for name in head.get("state", ())
            }
        except (OSError, EOFError, ValueError, pa.ArrowInvalid) as error:
            raise SeekbenchError(f"{folder}: damaged docids ({error}); build them again") from error
        spaces = tuple(Space(name, size) for name, size in head["spaces"])
        found = cls(
            head["builder"], head["documents"], doc, tokens, indptr, spaces, texts, head["facts"], state
        )
        whole = len(doc) == head["docids"] == (len(indptr) - 1 if indptr is not None else len(texts))
        if whole and verify:
            whole = found.content_hash == head["hash"] and all(
                _hash_of(array) == head["state"][name] for name, array in state.items()
            )
        if not whole:
            raise SeekbenchError(f"{folder}: damaged docids; build them again")
        return found


def _hash_of(array: npt.NDArray[Any]) -> str:
    """sha256 of an array's type, shape and content."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def packed(docids: Docids) -> dict[str, npt.NDArray[Any]]:
    """Docids as arrays, so that they can be part of another's `state`. Only where each document has one docid;
    facts are left out."""
    found = {f"state.{name}": array for name, array in docids.state.items()}
    if docids.texts is not None:
        encoded = [text.encode("utf-8", "surrogatepass") for text in docids.names()]
        bounds = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.int64)
        return {"bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8), "indptr": bounds, **found}
    assert docids.tokens is not None
    assert docids.indptr is not None
    return {
        "tokens": docids.tokens,
        "indptr": docids.indptr,
        "names": np.asarray([space.name for space in docids.spaces]),
        "sizes": np.asarray([space.size for space in docids.spaces], dtype=np.int64),
        **found,
    }


def unpacked(builder: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Docids:
    """Docids that `packed` took apart."""
    state = {
        name.removeprefix("state."): array for name, array in arrays.items() if name.startswith("state.")
    }
    if "bytes" in arrays:
        whole, bounds = arrays["bytes"].tobytes(), arrays["indptr"].tolist()
        texts = [whole[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(bounds)]
        return Docids.of_texts(builder, texts, state=state)
    spaces = [
        Space(str(name), int(size)) for name, size in zip(arrays["names"], arrays["sizes"], strict=True)
    ]
    return Docids.of_codes(builder, arrays["tokens"], arrays["indptr"], spaces, state=state)


def positions(
    tokens: npt.NDArray[Any], indptr: npt.NDArray[Any]
) -> tuple[list[Codes], npt.NDArray[np.bool_]]:
    """What per-position constraints allow (LC-Rec): for each position the sorted distinct tokens that stand
    there in any docid, int32; and bool [longest + 1]: whether a docid may have ended before that position.

    tokens, indptr: as of `Docids.sequences`.
    """
    lengths = np.diff(indptr)
    longest = int(lengths.max(initial=0))
    allowed = [
        np.unique(tokens[indptr[:-1][lengths > at] + at]).astype(np.int32, copy=False)
        for at in range(longest)
    ]
    ends = np.zeros(longest + 1, dtype=np.bool_)
    ends[np.unique(lengths)] = True
    return allowed, ends


def group(tokens: npt.NDArray[Any], indptr: npt.NDArray[Any]) -> Ints:
    """int64 [sequences]: the rank of each sequence among the distinct ones, in lexicographic order.

    Level by level, so memory is a few times 8 bytes a sequence.
    """
    lengths = np.diff(indptr)
    rank = np.zeros(len(lengths), dtype=np.int64)
    width = int(tokens.max(initial=0)) + 2
    for at in range(int(lengths.max(initial=0))):
        # 0 stands for a sequence that has ended, and sorts first.
        symbol = np.zeros(len(lengths), dtype=np.int64)
        live = lengths > at
        symbol[live] = tokens[indptr[:-1][live] + at].astype(np.int64) + 1
        rank = (
            np.unique(rank * width + symbol, return_inverse=True)[1].reshape(-1).astype(np.int64, copy=False)
        )
    return rank


def group_texts(texts: pa.Array) -> Ints:
    """int64 [texts]: the rank of each text among the distinct ones, in order of bytes."""
    encoded = pc.dictionary_encode(texts)
    by_bytes = np.asarray(pc.array_sort_indices(encoded.dictionary), dtype=np.int64)
    rank = np.empty(len(by_bytes), dtype=np.int64)
    rank[by_bytes] = np.arange(len(by_bytes))
    return rank[np.asarray(encoded.indices, dtype=np.int64)]


def letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ...: the name of level `number`."""
    name = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("a") + digit) + name
    return name


def with_digits(codes: Ints, sizes: Sequence[int]) -> tuple[Ints, list[int]]:
    """Makes equal code sequences differ by last digits that enumerate them, in order of rows.

    codes: int64 [documents, levels]; sizes: codes a level has. Every document gets the digits (0 where it is
    alone), so all docids stay equally long; there are as many as the largest group needs, each no larger than
    the largest level. Nothing is added where nothing collides.
    """
    documents, levels = codes.shape
    numbers = group(codes.reshape(-1), np.arange(documents + 1, dtype=np.int64) * levels)
    place = places(numbers)
    most = int(place.max(initial=0)) + 1
    base = max(2, *sizes)
    added: list[Ints] = []
    added_sizes: list[int] = []
    while most > 1:
        added.insert(0, place % base)
        added_sizes.insert(0, min(base, most))
        place, most = place // base, -(-most // base)
    return np.column_stack([codes, *added]), [*sizes, *added_sizes]


def places(numbers: Ints) -> Ints:
    """int64: how many equal numbers stand before each."""
    by = np.argsort(numbers, kind="stable")
    ordered = numbers[by]
    first = np.searchsorted(ordered, ordered)
    place = np.empty(len(numbers), dtype=np.int64)
    place[by] = np.arange(len(numbers)) - first
    return place
