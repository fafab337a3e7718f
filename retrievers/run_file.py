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
from seekbench.errors import InputError, SeekbenchError
from seekbench.progress import NoProgress, Progress
from seekbench.retrievers import protocol
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run


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
    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.retrievers.run_file",
        "seekbench.trec",
        "seekbench.textfile",
        "seekbench.zstd",
        "seekbench.columns",
    )
    needs: tuple[str, ...] = ()
    indexes = False

    def __init__(self, params: RunFileParams) -> None:
        self.params = params
        self._said: str | None = None
        #: Path -> the hash that `identity` told last, of this and of all instances `for_dataset`.
        self._told: dict[Path, str] = {}

    @property
    def path(self) -> Path:
        return Path(self.params.path).expanduser()

    def for_dataset(self, dataset: str, split: str) -> RunFile:
        """The run of one dataset, where the path holds `{dataset}` or `{split}`."""
        path = self.params.path.replace("{dataset}", dataset.replace("/", "__")).replace("{split}", split)
        bound = RunFile(self.params.model_copy(update={"path": path}))
        bound._told = self._told
        return bound

    def check_files(self, datasets: Sequence[tuple[str, str]]) -> list[str]:
        """A line for each run file that is not there. datasets: (id, split)."""
        paths = dict.fromkeys(self.for_dataset(name, split).path for name, split in datasets)
        return [f"no such run file {path}" for path in paths if not path.is_file()]

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        if not self.path.is_file():
            raise InputError("no such run file", where=self.params.path)
        self._said = self._told[self.path] = hashing.of_file(self.path)
        return {"file": self._said}

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        return {"bytes": 0, "documents": len(documents)}

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> RunFileSearcher:
        """Raises SeekbenchError where the file is no longer the one that `identity` named."""
        said = self._said or self._told.get(self.path)
        try:
            run = trec.read_run(self.path, digest=True)
        except InputError:
            # Half of a file that is being written has defects that the whole one has not.
            if said and self.path.is_file() and hashing.of_file(self.path) != said:
                raise self._changed() from None
            raise
        if said and run.digest != said:
            raise self._changed()
        return RunFileSearcher(run, documents, self.params.unknown, context.progress)

    def _changed(self) -> SeekbenchError:
        return SeekbenchError(f"{self.path} changed while it was being read; run again")

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        return {"path": self.params.path, "unknown": self.params.unknown}

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        return texts


class RunFileSearcher:
    """An open run file. A search knows its own queries alone, so what there is to tell is told by `finish`."""

    def __init__(
        self, run: trec.TrecRun, documents: TextView, unknown: str, progress: Progress | None = None
    ) -> None:
        self._run, self._documents, self._unknown = run, documents, unknown
        self._progress = progress or NoProgress()
        self._rows = documents.records.rows_of(run.doc)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, in trec_eval too
            self._scores = run.scores.astype(np.float32)
        #: Which queries of the file were asked so far, and the ids of asked ones that it lacks.
        self._asked = np.zeros(len(run.query_ids), dtype=np.bool_)
        self._lacking: set[str] = set()

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        run = self._run
        asked = queries.records.rows_of(run.query_ids)
        query, rows, scores = asked[run.query], self._rows, self._scores
        kept = query >= 0
        unknown = kept & (rows < 0)
        if self._unknown != "drop" and unknown.any():
            self._refuse(unknown, int(kept.sum()))
        self._asked |= asked >= 0
        lacking = np.ones(len(queries), dtype=np.bool_)
        lacking[asked[asked >= 0]] = False
        self._lacking.update(queries.records.ids(np.flatnonzero(lacking)).to_pylist())
        kept &= rows >= 0
        return _packed(query[kept], rows[kept], scores[kept], len(queries), k, self._documents)

    def _refuse(self, unknown: npt.NDArray[np.bool_], of: int) -> None:
        run = self._run
        lines = np.flatnonzero(unknown)
        first = int(lines[0])
        names = run.doc.take(pa.array(lines[:3])).to_pylist()
        raise InputError(
            f"{len(lines)} of {of} hits are documents that the corpus lacks ({', '.join(map(repr, names))}"
            f"{', ...' if len(lines) > 3 else ''})",
            where=str(run.path),
            line=run.line(first),
            remedy="is it the run of another corpus or version? `unknown: drop` leaves them out, which "
            "moves what is below them up",
        )

    def finish(self, run: Run) -> dict[str, int]:
        """Counts over the whole run: asked queries without hits, the file's queries that were not asked, and
        dropped hits. The last two only where all queries went through here, none through an earlier process.
        Raises InputError for a run without a hit."""
        file = self._run
        whole = int(self._asked.sum()) + len(self._lacking) == run.num_queries
        dropped = int((self._asked[file.query] & (self._rows < 0)).sum())
        if not (run.doc_rows >= 0).any():
            first = ", ".join(repr(i) for i in file.query_ids[:3].to_pylist())
            problem = f"none of its {len(file.query_ids)} queries ({first}, ...) is a query of this dataset"
            if self._asked.any() or not whole:
                problem = "none of its hits is a document of this corpus for a query of this dataset"
            raise InputError(
                problem, where=str(file.path), remedy="is it the run of another dataset or split?"
            )
        without = int((run.lengths() == 0).sum())
        facts = {"queries_without_hits": without}
        if whole:
            facts |= {
                "queries_not_asked": int((~self._asked).sum()),
                "unknown_documents_dropped": dropped,
            }
        self._tell(facts)
        return facts

    def _tell(self, facts: dict[str, int]) -> None:
        dropped, others = facts.get("unknown_documents_dropped"), facts.get("queries_not_asked")
        without = facts["queries_without_hits"]
        if dropped:
            self._progress.note(
                f"{self._run.path}: {dropped} hits on documents that the corpus lacks were dropped; ranks "
                "below moved up"
            )
        said = [f"{others} of its {len(self._asked)} queries are not asked here"] if others else []
        said += [f"{without} asked ones have no hits"] if without else []
        if said:
            self._progress.note(f"{self._run.path}: {', '.join(said)}")

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
