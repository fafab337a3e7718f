"""An existing TREC run file as a system of the matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from seekbench import hashing, trec
from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.protocol import Context, TextView
from seekbench.run import Run


class RunFileParams(protocol.Params):
    """Fields of `type: run_file`."""

    path: str = Field(
        min_length=1,
        description="a TREC run, plain, .gz or .zst; may hold {dataset} and {split} ('/' of a name as '__')",
    )
    unknown: Literal["error", "drop"] = Field(
        "error",
        description="documents that the corpus lacks: refuse the run, or drop them (ranks below move up)",
    )

    @field_validator("path")
    @classmethod
    def _from_the_config(cls, value: str, info: ValidationInfo) -> str:
        """Relative to the file that names it, which the config gives as `base`."""
        base = (info.context or {}).get("base")
        return value if base is None or value.startswith("~") else str(Path(base) / value)


class RunFile:
    """Serves the hits of a file; queries and documents are matched by id."""

    #: Reading a file tells nothing of how fast the system was.
    timed = False

    Params: ClassVar[type[protocol.Params]] = RunFileParams
    index_params: ClassVar[frozenset[str]] = frozenset()
    # The path is none: its content is in `identity`, and a moved file is the same run.
    search_params: ClassVar[frozenset[str]] = frozenset({"unknown"})
    modules: ClassVar[tuple[str, ...]] = ("seekbench.retrievers.run_file", "seekbench.trec")
    needs: tuple[str, ...] = ()
    indexes = False

    def __init__(self, params: RunFileParams) -> None:
        self.params = params

    @property
    def path(self) -> Path:
        return Path(self.params.path).expanduser()

    def for_dataset(self, dataset: str, split: str) -> RunFile:
        """The run of one dataset, where the path holds `{dataset}` or `{split}`."""
        path = self.params.path.replace("{dataset}", dataset.replace("/", "__")).replace("{split}", split)
        return RunFile(self.params.model_copy(update={"path": path}))

    def check_files(self, datasets: Sequence[tuple[str, str]]) -> list[str]:
        """A line for each run file that is not there. datasets: (id, split)."""
        paths = dict.fromkeys(self.for_dataset(name, split).path for name, split in datasets)
        return [f"no such run file {path}" for path in paths if not path.is_file()]

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        if not self.path.is_file():
            raise InputError("no such run file", where=self.params.path)
        return {"file": hashing.of_file(self.path)}

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        return {"bytes": 0, "documents": len(documents)}

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> RunFileSearcher:
        return RunFileSearcher(trec.read_run(self.path), documents, self.params.unknown)

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        return {"path": self.params.path, "unknown": self.params.unknown}

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        return texts


class RunFileSearcher:
    """An open run file. `facts` (after a search): queries of the file that are not asked, asked queries that
    the file lacks, and dropped hits."""

    def __init__(self, run: trec.TrecRun, documents: TextView, unknown: str) -> None:
        self._run, self._documents, self._unknown = run, documents, unknown
        self._rows = documents.records.rows_of(run.doc_ids)
        self.facts: dict[str, int] = {}

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        run = self._run
        asked = queries.records.rows_of(run.query_ids)
        query, rows, scores = asked[run.query], self._rows[run.doc], run.scores
        kept = query >= 0
        unknown = kept & (rows < 0)
        dropped = int(unknown.sum())
        if dropped and self._unknown != "drop":
            self._refuse(unknown, int(kept.sum()))
        found = int((asked >= 0).sum())
        self.facts = {
            "queries_not_asked": len(asked) - found,
            "queries_without_hits": len(queries) - found,
            "unknown_documents_dropped": dropped,
        }
        if dropped:
            context.progress.note(
                f"{run.path}: {dropped} hits on documents that the corpus lacks were dropped; ranks below "
                "moved up"
            )
        if len(asked) - found or len(queries) - found:
            context.progress.note(
                f"{run.path}: {len(asked) - found} of its {len(asked)} queries are not asked here, "
                f"{len(queries) - found} asked ones have no hits"
            )
        kept &= rows >= 0
        return _packed(query[kept], rows[kept], scores[kept], len(queries), k, self._documents)

    def _refuse(self, unknown: npt.NDArray[np.bool_], of: int) -> None:
        run = self._run
        lines = np.flatnonzero(unknown)
        first = int(lines[0])
        names = run.doc_ids.take(pa.array(run.doc[lines[:3]])).to_pylist()
        raise InputError(
            f"{len(lines)} of {of} hits are documents that the corpus lacks ({', '.join(map(repr, names))}"
            f"{', ...' if len(lines) > 3 else ''})",
            where=str(run.path),
            line=run.line(first),
            remedy="is it the run of another corpus or version? `unknown: drop` leaves them out, which "
            "moves what is below them up",
        )

    def finish(self, run: Run) -> dict[str, int]:
        """Called with the whole run, which no single block knows."""
        if not (run.doc_rows >= 0).any():
            first = ", ".join(repr(i) for i in self._run.query_ids[:3].to_pylist())
            raise InputError(
                f"none of its {len(self._run.query_ids)} queries ({first}, ...) is a query of this dataset",
                where=str(self._run.path),
                remedy="is it the run of another dataset or split?",
            )
        return self.facts

    def close(self) -> None:
        return


def _packed(
    query: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32],
    queries: int, k: int, documents: TextView,
) -> Run:  # fmt: skip
    """Lines in any order to [queries, k], by the ranking rule (before the cut, so that any line order is
    right)."""
    order = documents.order
    by = np.lexsort((-order[rows].astype(np.int64), -scores, query))
    query, rows, scores = query[by], rows[by], scores[by]
    counts = np.bincount(query, minlength=queries)
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = min(k, int(counts.max(initial=0)))
    keep = place < width
    out_rows = np.full((queries, width), -1, dtype=np.int32 if len(order) < 2**31 else np.int64)
    out_scores = np.full((queries, width), -np.inf, dtype=np.float32)
    out_rows[query[keep], place[keep]] = rows[keep]
    out_scores[query[keep], place[keep]] = scores[keep]
    return Run(out_rows, out_scores)
