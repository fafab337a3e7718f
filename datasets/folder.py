"""Opens a collection folder: the whole of it, or one split as the Dataset that retrievers and metrics see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from seekbench.collection import Candidates, Corpus, Dataset, Exclusion, Qrels, Queries, Records, taken
from seekbench.datasets.builder import rows_of
from seekbench.datasets.spec import CandidateList
from seekbench.errors import InputError, did_you_mean

IntArray = npt.NDArray[np.int64]

#: What lists of excluded documents hold where there is none (BRIGHT).
_NOTHING = frozenset({"", "N/A"})


@dataclass(frozen=True)
class Collection:
    """A collection folder with all its queries and splits."""

    folder: Path
    facts: Mapping[str, Any]
    corpus: Corpus
    queries: Queries

    @property
    def splits(self) -> list[str]:
        return sorted(self.facts["splits"])

    @property
    def default_split(self) -> str | None:
        """`test` where there is one, else the only one."""
        names = self.splits
        return "test" if "test" in names else names[0] if len(names) == 1 else None

    def split(self, name: str | None) -> str:
        """The split to use. Raises InputError for one that is not there, or where one must be chosen."""
        chosen = name or self.default_split
        if chosen is None:
            raise InputError(
                f"{self.folder.name}: there are several splits and none is called 'test'",
                remedy=f"choose one with 'split:', known: {', '.join(self.splits)}",
            )
        if chosen not in self.splits:
            raise InputError(f"there is no split '{chosen}'", remedy=did_you_mean(chosen, self.splits))
        return chosen

    def qrels(self, split: str) -> Qrels:
        """Judgments of a split over the rows of all queries (those without judgments have empty rows)."""
        # Copied out of the file's map: judgments are small beside texts, and outlive the open file.
        table = pa.ipc.open_file(str(self.folder / f"qrels.{split}.arrow")).read_all()
        return Qrels.from_triples(
            table.column("query_row").to_numpy(),
            table.column("doc_row").to_numpy(),
            table.column("grade").to_numpy(),
            queries=len(self.queries),
            corpus_size=len(self.corpus),
            absent_ids=self.facts["splits"][split]["absent_ids"],
        )

    @cached_property
    def judged(self) -> dict[str, IntArray]:
        """Rows of the queries that each split judges."""
        return {name: np.flatnonzero(np.diff(self.qrels(name).indptr)) for name in self.splits}


def open_collection(folder: Path) -> Collection:
    facts = orjson.loads((folder / "collection.json").read_bytes())
    corpus, queries = Corpus.open(folder / "corpus.arrow"), Queries.open(folder / "queries.arrow")
    for records, name in ((corpus, "corpus"), (queries, "queries")):
        # Hashed once, when the folder was made; set as the cached property's value, so that nobody reads all
        # texts again for it.
        records.__dict__["content_hash"] = facts["hashes"][name]
    return Collection(folder, facts, corpus, queries)  # type: ignore[arg-type]


def open_dataset(
    folder: Path,
    *,
    id: str,
    split: str | None = None,
    template: str = "{title} {text}",
    query_template: str = "{text}",
    exclude: str | Mapping[str, Sequence[str]] = "none",
    exclude_key: str | None = None,
    candidates: CandidateList | Mapping[str, Sequence[str]] | str | None = None,
    language: str | None = None,
    main_metric: str = "ndcg@10",
    relevance_level: int = 1,
    limit: int | None = None,
    limit_documents: int | None = None,
    source: Mapping[str, Any] | None = None,
) -> Dataset:
    """One split of a collection folder.

    Queries are those that the split judges, in the order of the queries' file. exclude: `none`,
    `identical_id`, or {query id: ids of documents}; exclude_key instead: the metadata key of queries that
    holds such a list (BRIGHT: `excluded_ids`). Pairs of a list whose query the split lacks, or whose document
    the corpus lacks, are left out, counted in `source["exclusion"]` and warned of.
    candidates: the only documents of each query: {query id: ids of documents}, or where to find them; `none` to search
    the whole corpus of a collection that brings candidates; `judged`: those that are judged for the query; None: those
    that it brings, if it does.
    relevance_level: the lowest grade that counts as relevant for measures of binary relevance.
    limit: the first so many queries. limit_documents: that many documents, the judged ones of the kept
    queries before all others (so at least as many as those are). Both mark the dataset: `source["limited"]`.
    Raises InputError for an unknown split, a template that names an unknown field or makes all texts empty,
    and a list of which no pair is known.
    """
    collection = open_collection(folder)
    split = collection.split(split)
    corpus, facts = collection.corpus, collection.facts
    full = collection.qrels(split)
    asked = chosen = np.flatnonzero(np.diff(full.indptr))
    limited: dict[str, int] = {}
    if limit is not None and limit < len(chosen):
        chosen = chosen[:limit]
        limited["queries"] = limit
    queries = Queries(taken(collection.queries.table, chosen))
    counts = np.diff(full.indptr)[chosen]
    picks = np.repeat(
        full.indptr[chosen] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts
    ) + np.arange(counts.sum())
    query_rows = np.repeat(np.arange(len(chosen)), counts)
    doc_rows, grades = full.doc_rows[picks], full.grades[picks]
    absent = list(full.absent_ids)
    if limit_documents is not None and limit_documents < len(corpus):
        corpus, doc_rows = _fewer_documents(corpus, doc_rows, limit_documents)
        limited["documents"] = len(corpus)
    if limited:  # virtual rows of queries that were left out go too
        used, inverse = np.unique(doc_rows[doc_rows >= len(corpus)], return_inverse=True)
        base = full.corpus_size if "documents" not in limited else len(corpus)
        absent = [absent[int(r) - base] for r in used]
        doc_rows[doc_rows >= len(corpus)] = len(corpus) + inverse
    qrels = Qrels.from_triples(
        query_rows, doc_rows, grades, queries=len(queries), corpus_size=len(corpus), absent_ids=absent,
        relevance_level=relevance_level,
    )  # fmt: skip
    corpus.check_template(template)
    queries.check_template(query_template)
    described = dict(source or {})
    if limited:
        described["limited"] = limited
    warnings = _check_texts(corpus, queries, template, query_template)
    exclusion = Exclusion()
    if exclude == "identical_id" and exclude_key is None:
        rows = rows_of(queries.ids(), corpus.ids())
        found = np.flatnonzero(rows >= 0)
        exclusion = Exclusion("identical_id", found, rows[found])
    elif exclude_key is not None or not isinstance(exclude, str):
        # Against the whole split and corpus: what a limit cuts off is not unknown.
        everyone = Queries(taken(collection.queries.table, asked)) if limited else queries
        if exclude_key is not None:
            exclude = _lists_of(everyone, exclude_key)
        assert not isinstance(exclude, str)
        listed = _Listed.of(exclude, everyone, collection.corpus, allow_none=exclude_key is not None)
        exclusion = listed.exclusion(queries, corpus)
        described["exclusion"] = listed.counts(len(exclusion))
        warnings += listed.warnings(split)
    own = _candidates_of(candidates, collection, queries, corpus, qrels, warnings)
    return Dataset(
        id=id,
        split=split,
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        template=template,
        query_template=query_template,
        exclusion=exclusion,
        candidates=own,
        language=language,
        main_metric=main_metric,
        source=described,
        statistics={
            "documents": len(corpus),
            "queries": len(queries),
            "judgments": len(qrels),
            "absent_documents": len(absent),
            "empty_documents": facts["empty_documents"],
            "identical_documents": facts["identical_documents"],
            "queries_without_positive": facts["splits"][split]["without_positive"],
            "warnings": [*facts["warnings"], *(f"warning: {id}: {text}" for text in warnings)],
        },
    )


def _fewer_documents(corpus: Corpus, doc_rows: IntArray, most: int) -> tuple[Corpus, IntArray]:
    """The corpus cut to `most` documents, judged ones first, and the judgments' rows in it.

    Judged documents that are absent keep a virtual row behind the smaller corpus.
    """
    real = doc_rows < len(corpus)
    keep = np.zeros(len(corpus), dtype=bool)
    keep[doc_rows[real]] = True
    others = np.flatnonzero(~keep)
    keep[others[: max(0, most - int(keep.sum()))]] = True
    rows = np.flatnonzero(keep)
    moved = np.where(real, np.searchsorted(rows, np.minimum(doc_rows, len(corpus) - 1)), 0)
    moved[~real] = doc_rows[~real] - len(corpus) + len(rows)
    return Corpus(taken(corpus.table, rows)), moved


def _check_texts(corpus: Records, queries: Records, template: str, query_template: str) -> list[str]:
    """What is to be warned of in the rendered texts. Raises InputError where all of them are empty."""
    # A block with a text in it ends the search, so this costs one block unless there is something to say.
    if not any(any(texts) for _, texts in corpus.blocks(template, size=1024)):
        raise InputError(
            f"template {template!r} makes the text of every document empty",
            remedy=f"there are {', '.join(_fields(corpus))}",
        )
    if query_template == "{text}":  # the builder refuses queries without a text
        return []
    empty = [row for row, text in enumerate(queries.texts(query_template)) if not text]
    if len(empty) == len(queries):
        raise InputError(
            f"query template {query_template!r} makes the text of every query empty",
            remedy=f"there are {', '.join(_fields(queries))}",
        )
    if not empty:
        return []
    examples = ", ".join(repr(i) for i in queries.ids(np.array(empty[:3])).to_pylist())
    return [
        f"query template {query_template!r} makes the text of {len(empty):,} of {len(queries):,} queries "
        f"empty: {examples}" + (", ..." if len(empty) > 3 else "")
    ]


def _fields(records: Records) -> list[str]:
    return [name for name in (*records.columns, *sorted(records.metadata_keys)) if name != "id"]


def _lists_of(queries: Records, key: str) -> dict[str, list[str]]:
    """The lists of ids in the queries' metadata, by query id."""
    lists: dict[str, list[str]] = {}
    for id, value in zip(queries.ids().to_pylist(), queries.column(key), strict=True):
        if value is None or value.strip() in _NOTHING:
            continue
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, list):
            raise InputError(
                f"the '{key}' of query {id!r} is no list: {value[:40]}",
                remedy="an exclusion list is an array of document ids",
            )
        lists[id] = [str(document) for document in found]
    if not lists:
        raise InputError(f"no query has a list '{key}' in its metadata", remedy="check the key of 'exclude'")
    return lists


@dataclass(frozen=True)
class _Listed:
    """A list of excluded documents: its pairs, and their rows in the whole split and corpus (-1: unknown)."""

    pairs: list[tuple[str, str]]
    query_rows: IntArray
    doc_rows: IntArray

    @classmethod
    def of(
        cls, lists: Mapping[str, Sequence[str]], queries: Records, corpus: Records, *, allow_none: bool
    ) -> _Listed:
        """allow_none: a list without any pair is good (BRIGHT has tasks where every query says N/A)."""
        given = [(str(q).strip(), str(d).strip()) for q, documents in lists.items() for d in documents]
        pairs = list(dict.fromkeys((q, d) for q, d in given if d not in _NOTHING))
        if not pairs and not allow_none:
            raise InputError(
                "the exclusion list holds no pair", remedy="leave out 'exclude', or fill the list"
            )
        listed = cls(pairs, *_rows_of_pairs(pairs, queries, corpus))
        if pairs and not listed._known.any():
            raise InputError(
                f"none of the {len(pairs):,} pairs of the exclusion list is known: {listed._unknown()}",
                remedy="it belongs to another dataset or split, or its columns are swapped",
            )
        return listed

    @property
    def _known(self) -> npt.NDArray[np.bool_]:
        known: npt.NDArray[np.bool_] = (self.query_rows >= 0) & (self.doc_rows >= 0)
        return known

    def exclusion(self, queries: Records, corpus: Records) -> Exclusion:
        """The pairs in rows of these queries and this corpus, which may be parts of the whole."""
        query_rows, doc_rows = _rows_of_pairs(self.pairs, queries, corpus)
        known = (query_rows >= 0) & (doc_rows >= 0)
        query_rows, doc_rows = query_rows[known], doc_rows[known]
        by = np.lexsort((doc_rows, query_rows))
        return Exclusion("list", query_rows[by], doc_rows[by])

    def counts(self, applied: int) -> dict[str, int]:
        """For the record. What is neither applied nor unknown was cut off by a limit."""
        return {"given": len(self.pairs), "applied": applied, "unknown": int((~self._known).sum())}

    def warnings(self, split: str) -> list[str]:
        unknown = int((~self._known).sum())
        if not unknown:
            return []
        return [
            f"{unknown:,} of {len(self.pairs):,} pairs of the exclusion list are unknown in split '{split}' "
            f"and left out: {self._unknown()}"
        ]

    def _unknown(self) -> str:
        """Says how many queries and documents are unknown, with an example of each."""
        said = []
        for rows, at, what in (
            (self.query_rows, 0, "queries that are not in the split"),
            (self.doc_rows, 1, "documents that are not in the corpus"),
        ):
            ids = list(dict.fromkeys(self.pairs[row][at] for row in np.flatnonzero(rows < 0)))
            if ids:
                said.append(f"{len(ids):,} {what} (e.g. {ids[0]!r})")
        return ", ".join(said)


def _candidates_of(
    wanted: CandidateList | Mapping[str, Sequence[str]] | str | None,
    collection: Collection,
    queries: Records,
    corpus: Records,
    qrels: Qrels,
    warnings: list[str],
) -> Candidates | None:
    """The candidates of these queries, as rows of this corpus; warnings are added to."""
    kind = "list"
    if wanted == "none" or (wanted is None and not collection.facts.get("candidates")):
        return None
    if wanted == "judged":
        there = qrels.doc_rows < len(corpus)
        return Candidates("judged", qrels.query_rows()[there], qrels.doc_rows[there])
    assert not isinstance(wanted, str)
    if wanted is None:
        table = pa.ipc.open_file(str(collection.folder / "candidates.arrow")).read_all()
        query_rows = _rows_of_column(table.column("query_id"), queries)
        doc_rows = _rows_of_column(table.column("doc_id"), corpus)
    elif isinstance(wanted, CandidateList) and (wanted.same or wanted.prefix) is not None:
        kind = "same"
        query_rows, doc_rows = _alike(
            *(_shared(wanted, records, name) for records, name in ((queries, "query"), (corpus, "document")))
        )
    else:
        lists = _lists_of(queries, wanted.key or "") if isinstance(wanted, CandidateList) else wanted
        pairs = [(str(q).strip(), str(d).strip()) for q, documents in lists.items() for d in documents]
        query_rows, doc_rows = _rows_of_pairs(pairs, queries, corpus)
    mine = query_rows >= 0  # lists may be of all splits
    unknown = int((mine & (doc_rows < 0)).sum())
    if unknown:
        warnings.append(f"{unknown:,} of {int(mine.sum()):,} candidates are not in the corpus and left out")
    known = np.unique(np.stack([query_rows, doc_rows], axis=1)[mine & (doc_rows >= 0)], axis=0)
    found = Candidates(kind, known[:, 0].copy(), known[:, 1].copy())
    without = len(queries) - len(np.unique(found.query_rows))
    if without == len(queries):
        raise InputError(
            "no query of the split has a candidate that is in the corpus",
            remedy="they belong to another dataset or split; `candidates: none` searches the whole corpus",
        )
    if without:
        warnings.append(f"{without:,} of {len(queries):,} queries have no candidates and find nothing")
    return found


def _shared(wanted: CandidateList, records: Records, what: str) -> Any:
    """Arrow strings: what a record and its candidates, or queries, have in common; null where there is nothing."""
    if wanted.prefix is not None:
        parts = [id.rpartition(wanted.prefix)[0] or None for id in records.ids().to_pylist()]
        where, key = "ids", wanted.prefix
    else:
        parts = records.column(wanted.same or "")
        where, key = "metadata", wanted.same or ""
    values = pa.array(parts, pa.large_string())
    if values.null_count == len(values):
        raise InputError(f"no {what} has '{key}' in its {where}", remedy="check 'candidates'")
    return values


def _alike(asked: Any, there: Any) -> tuple[IntArray, IntArray]:
    """(query rows, document rows) of the pairs that have the same value, of Arrow strings."""
    values = there.dictionary_encode()
    wanted = np.asarray(pc.index_in(asked, value_set=values.dictionary).fill_null(-1), dtype=np.int64)
    codes = np.asarray(values.indices.fill_null(-1), dtype=np.int64)
    by = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[by], wanted, side="left")
    counts = np.where(wanted >= 0, np.searchsorted(codes[by], wanted, side="right") - first, 0)
    query_rows = np.repeat(np.arange(len(asked)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return query_rows, by[np.repeat(first, counts) + offsets]


def _rows_of_column(column: Any, records: Records) -> IntArray:
    """int64: the row of each id of a column, -1 where there is none."""
    unique = column.combine_chunks().cast(pa.large_string()).dictionary_encode()
    if isinstance(unique, pa.ChunkedArray):
        unique = unique.chunk(0) if unique.num_chunks else pa.array([], pa.large_string()).dictionary_encode()
    return rows_of(unique.dictionary, records.ids())[np.asarray(unique.indices, dtype=np.int64)]


def _rows_of_pairs(
    pairs: list[tuple[str, str]], queries: Records, corpus: Records
) -> tuple[IntArray, IntArray]:
    columns = ([q for q, _ in pairs], queries), ([d for _, d in pairs], corpus)
    asked, found = (_rows_of_column(pa.chunked_array([ids], pa.large_string()), r) for ids, r in columns)
    return asked, found
