"""The judgments that a record's figures were made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seekbench.errors import InputError, MissingError
from seekbench.store import Store

if TYPE_CHECKING:
    from seekbench.columns import JudgmentColumns
    from seekbench.datasets.folder import Collection
    from seekbench.submission.bundle import Cell


def judgments_of(cell: Cell, given: Path | None, store: Store) -> JudgmentColumns:
    """From the file that was given, else from the stored collection of the record, else from the dataset's source if
    its content is still the same. Raises InputError where they can't be had."""
    if given is not None:
        from seekbench.qrels_file import read_qrels

        return read_qrels(given)
    from seekbench.datasets.folder import open_collection
    from seekbench.datasets.load import KIND

    stored = store.root / KIND / str(cell.record["dataset"]["source"].get("collection"))
    if not (stored / "collection.json").is_file():
        stored = store.root / KIND / _read_again(cell, store)
    return _columns(open_collection(stored), cell)


def _read_again(cell: Cell, store: Store) -> str:
    """Key of the collection, read from its source once more."""
    from seekbench.datasets.load import load

    remedy = f"give its judgments: --qrels {cell.dataset}=FILE"
    try:
        dataset = load(_entry(cell), store=store, offline=True)
    except (InputError, MissingError) as error:
        raise InputError(
            f"{cell.label}: its collection can't be read again: {error}", remedy=remedy
        ) from None
    for part in ("corpus", "queries", "qrels"):
        if dataset.hashes[part] != cell.record["dataset"]["hashes"][part]:
            raise InputError(
                f"{cell.label}: the {part} of {cell.record['dataset']['source']['subject']} changed since the result "
                "was made",
                remedy=f"run it again, or {remedy}",
            )
    return str(dataset.source["collection"])


def _entry(cell: Cell) -> dict[str, Any]:
    source = cell.record["dataset"]["source"]
    if source.get("card"):
        entry = {"name": source["card"]}
    elif source.get("format") == "hub":
        entry = {
            key: source[of]
            for key, of in (
                ("hub", "repo"), ("revision", "revision"), ("subset", "subset"), ("qrels_repo", "qrels_repo"),
                ("qrels_revision", "qrels_revision"),
            )
            if source.get(of)
        }  # fmt: skip
        entry |= {"per_split": True} if source.get("split") else {}
    else:
        entry = {"path": source["subject"]}
    return {**entry, "split": cell.split}


def _columns(collection: Collection, cell: Cell) -> JudgmentColumns:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from seekbench.columns import JudgmentColumns, Source

    qrels = collection.qrels(cell.split)
    rows = collection.judged[cell.split]
    number = np.zeros(qrels.num_queries, dtype=np.int32)
    number[rows] = np.arange(len(rows))
    present = qrels.doc_rows < qrels.corpus_size
    ids = collection.corpus.ids(np.where(present, qrels.doc_rows, 0))
    if not present.all():
        absent = pa.array(qrels.absent_ids, pa.large_string())
        ids = pc.if_else(
            pa.array(present), ids, absent.take(pa.array(qrels.doc_rows - qrels.corpus_size, mask=present))
        )
    return JudgmentColumns(
        collection.queries.ids(rows),
        number[qrels.query_rows()],
        ids,
        grades=qrels.grades,
        source=Source(f"judgments of {cell.label}"),
    )
