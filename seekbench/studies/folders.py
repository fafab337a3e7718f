"""Parts of a test collection, written as ordinary BEIR folders: everything else treats them like any dataset.

The same part has the same bytes whenever and wherever it is written. A manifest with the part's recipe and the hashes
of its files is written last, so that a folder that was left half done, or changed, is seen and written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from seekbench import hashing
from seekbench.collection import BLOCK, Corpus, Dataset, Qrels, Records
from seekbench.datasets.folder import Collection
from seekbench.leaderboard.records import dataset_folder
from seekbench.store import atomic_file, write_atomic

if TYPE_CHECKING:
    from seekbench.datasets.resolve import DatasetSpec

IntArray = npt.NDArray[np.int64]

#: Holds the recipe and the hashes of a written part; it vouches for the other files.
MANIFEST = "subset.json"
_EXCLUDED = "exclude.json"


@dataclass(frozen=True)
class Judgments:
    """Judgments of a split, over rows of the collection's queries. query, doc, grade: int64 [judgments]; documents
    that the corpus lacks have the rows behind it (`collection.Qrels`)."""

    qrels: Qrels
    query: IntArray
    doc: IntArray
    grade: IntArray

    @classmethod
    def chosen(
        cls, qrels: Qrels, queries: npt.NDArray[np.bool_], documents: npt.NDArray[np.bool_]
    ) -> Judgments:
        """Those of the queries (bool [queries]) of the documents (bool [corpus]), and of documents that the corpus
        lacks: they count in a metric's ideal, as in the whole."""
        query, doc = qrels.query_rows(), qrels.doc_rows
        inside = np.concatenate([documents, np.ones(len(qrels.absent_ids), dtype=np.bool_)])
        keep = queries[query] & inside[doc]
        return cls(qrels, query[keep], doc[keep], qrels.grades[keep].astype(np.int64))

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class Part:
    """documents: int64, rows of the collection in the order in which they are written. splits: by name. excluded:
    query id -> ids of documents that must not be found for it. recipe: JSON, all that the part depends on but this
    module's code."""

    collection: Collection
    documents: IntArray
    splits: Mapping[str, Judgments]
    excluded: Mapping[str, list[str]]
    recipe: Mapping[str, Any]

    def is_written(self, folder: Path) -> bool:
        """Whether the folder holds this part, whole and unchanged."""
        try:
            manifest = orjson.loads((folder / MANIFEST).read_bytes())
            if manifest["recipe"] != self._full_recipe or _splits_of(folder) != set(manifest["splits"]):
                return False
            return all(hashing.of_file(folder / name) == sha for name, sha in manifest["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def write(self, folder: Path, *, advance: Callable[[int], object] = lambda documents: None) -> bool:
        """Writes the BEIR folder; True if it was not there yet. A split without judgments is left out; queries.jsonl
        holds the queries that any split judges. advance: told how many documents were written."""
        if self.is_written(folder):
            return False
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        splits = {name: rows for name, rows in self.splits.items() if len(rows)}
        for path in (folder / "qrels").iterdir():  # of an earlier part, or left by a killed writer
            if path not in [_qrels_file(folder, name) for name in splits]:
                path.unlink()
        _write_records(folder / "corpus.jsonl", self.collection.corpus, self.documents, advance)
        asked = np.unique(np.concatenate([rows.query for rows in splits.values()]))
        _write_records(folder / "queries.jsonl", self.collection.queries, asked)
        for name, rows in splits.items():
            _write_judgments(_qrels_file(folder, name), self.collection, rows)
        files = [folder / "corpus.jsonl", folder / "queries.jsonl"]
        files += [_qrels_file(folder, name) for name in splits]
        if self.excluded:
            write_atomic(folder / _EXCLUDED, orjson.dumps(self.excluded))
            files.append(folder / _EXCLUDED)
        else:
            (folder / _EXCLUDED).unlink(missing_ok=True)
        manifest = {
            "recipe": self._full_recipe,
            "splits": sorted(splits),
            "files": {f.relative_to(folder).as_posix(): hashing.of_file(f) for f in files},
        }
        write_atomic(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        return True

    @property
    def _full_recipe(self) -> dict[str, Any]:
        return {**self.recipe, "written_by": hashing.of_code(__name__)}

    def spec(self, whole: DatasetSpec, dataset: Dataset, id: str, folder: Path) -> DatasetSpec:
        """The part as a dataset of a run: all that `whole` says (split, templates, main metric) but the source.

        dataset: the whole one, loaded. The language is that of the whole corpus, also where it was guessed: it must
        not change with the part.
        """
        from seekbench.datasets.formats.beir import Beir
        from seekbench.datasets.spec import ExcludeList

        exclude: Any = dataset.exclusion.kind
        if exclude == "list":
            exclude = ExcludeList(file=folder / _EXCLUDED) if self.excluded else "none"
        return replace(
            whole,
            id=id,
            source=Beir(folder),
            language=dataset.language,
            exclude=exclude,
            card=None,
            is_local=True,
        )


def part_folder(output: Path, dataset: str, split: str, name: str) -> Path:
    """OUTPUT/subsets/<dataset id, "/" as "__">/<split>/<name>"""
    return output / "subsets" / dataset_folder(dataset) / split / name


def excluded(
    dataset: Dataset, collection: Collection, queries: IntArray, documents: IntArray
) -> dict[str, list[str]]:
    """The dataset's list of excluded documents by query, of the queries and documents (rows of the collection) that
    are named; {} where there is no list."""
    exclusion, lists = dataset.exclusion, dict[str, list[str]]()
    if exclusion.kind != "list":
        return lists
    # Rows of the split's queries become those of the collection's.
    query = collection.judged[dataset.split][exclusion.query_rows]
    keep = np.isin(query, queries) & np.isin(exclusion.doc_rows, documents)
    asked = collection.queries.ids(query[keep]).to_pylist()
    named = collection.corpus.ids(exclusion.doc_rows[keep]).to_pylist()
    for q, d in zip(asked, named, strict=True):
        lists.setdefault(q, []).append(d)
    return lists


def _qrels_file(folder: Path, split: str) -> Path:
    return folder / "qrels" / f"{split}.tsv"


def _splits_of(folder: Path) -> set[str]:
    return {p.name.removesuffix(".tsv") for p in (folder / "qrels").iterdir() if not p.name.startswith(".")}


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    with atomic_file(path) as part, part.open("wb") as handle:
        yield handle


def _write_records(
    path: Path, records: Records, rows: IntArray, advance: Callable[[int], object] = lambda count: None
) -> None:
    """Lines of `_id`, `title` (of documents that have one), `text`, and `metadata` as one object, whose keys can
    then be called like a field."""
    titled = isinstance(records, Corpus) and "title" in records.columns
    with _writing(path) as handle:
        for start in range(0, len(rows), BLOCK):
            table = records.table.take(pa.array(rows[start : start + BLOCK]))
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
            nothing: list[Any] = [None] * table.num_rows
            titles = columns["title"] if titled else nothing
            for id, title, text, metadata in zip(
                columns["id"], titles, columns["text"], columns.get("metadata", nothing), strict=True
            ):
                row: dict[str, Any] = {"_id": id}
                if title:
                    row["title"] = title
                row["text"] = text
                if metadata:
                    row["metadata"] = orjson.Fragment(metadata)
                handle.write(orjson.dumps(row) + b"\n")
            advance(table.num_rows)


def _write_judgments(path: Path, collection: Collection, rows: Judgments) -> None:
    doc, qrels = rows.doc, rows.qrels
    present = doc < qrels.corpus_size
    names = np.empty(len(doc), dtype=object)
    names[present] = collection.corpus.ids(doc[present]).to_pylist()
    names[~present] = [qrels.absent_ids[d - qrels.corpus_size] for d in doc[~present].tolist()]
    queries = collection.queries.ids(rows.query).to_pylist()
    with _writing(path) as handle:
        handle.write(b"query-id\tcorpus-id\tscore\n")
        for q, d, g in zip(queries, names.tolist(), rows.grade.tolist(), strict=True):
            handle.write(f"{q}\t{d}\t{g}\n".encode())
