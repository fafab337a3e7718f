"""The judgments that a record's figures were made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seekbench.errors import InputError
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
    from seekbench.leaderboard.again import collection_of

    try:
        return _columns(collection_of(cell.record, store), cell)
    except InputError as error:
        raise InputError(
            f"{cell.label}: {error}", remedy=f"or give its judgments: --qrels {cell.dataset}=FILE"
        ) from None


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
