"""The index over the weights of a corpus: columns of our own, or Lucene's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from seekbench.retrievers import protocol
from seekbench.retrievers.protocol import Context
from seekbench.retrievers.sparse.vectors import SparseVectors, quantized
from seekbench.runs import Run

_FREQUENCY = "frequency.npy"


class NativeIndex(protocol.Params):
    """Columns of postings, searched exactly."""

    type: Literal["native"] = "native"
    weights: Literal["float32", "float16", "uint8", "uint16"] = Field(
        "float32",
        description="how a document's weights are stored; integers are weight x factor, rounded, as are the query's",
    )
    factor: float | Literal["auto"] | None = Field(
        None,
        description="of integers; `auto` (also where not stated): the largest weight becomes the largest integer",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.factor is not None and not self.weights.startswith("uint"):
            raise ValueError("`factor` belongs to integer weights: weights: uint8 or uint16")
        if isinstance(self.factor, float) and not 0 < self.factor < 1e6:
            raise ValueError("`factor` is above 0 and below a million")
        return self


class LuceneIndex(protocol.Params):
    """A Lucene impact index, as Anserini makes it."""

    type: Literal["lucene"] = "lucene"
    factor: float = Field(
        100.0, gt=0, lt=1e6, description="weights of documents and queries are multiplied by it and rounded"
    )


def build(
    params: NativeIndex | LuceneIndex,
    blocks: Iterable[SparseVectors],
    order: npt.NDArray[Any],
    width: int,
    folder: Path,
    context: Context,
) -> Mapping[str, Any]:
    """Builds the index of all documents' vectors in `folder`; JSON facts. order: int [documents], rank of each id."""
    folder.mkdir(parents=True, exist_ok=True)
    frequency = np.zeros(width, dtype=np.int64)

    def counted() -> Iterator[SparseVectors]:
        for block in blocks:
            np.add(frequency, np.bincount(block.terms, minlength=width), out=frequency)
            yield block

    with context.progress.stage("index weights", total=len(order), unit="docs") as stage:
        if isinstance(params, LuceneIndex):
            from seekbench.retrievers.sparse import impact

            opened = impact.build(
                counted(), folder, order, width=width, factor=params.factor, advance=stage.advance
            )
            facts = opened.facts
            opened.close()
        else:
            from seekbench.retrievers.sparse import columns

            facts = columns.build(
                counted(),
                folder,
                width=width,
                kind=params.weights,
                factor=params.factor,
                advance=stage.advance,
            ).facts
    np.save(folder / _FREQUENCY, frequency)
    return {**facts, "terms_used": int(np.count_nonzero(frequency))}


def open_index(params: NativeIndex | LuceneIndex, folder: Path) -> Index:
    if isinstance(params, LuceneIndex):
        from seekbench.retrievers.sparse.impact import Impact

        return Index(Impact(folder), folder, whole=True)
    from seekbench.retrievers.sparse.columns import Columns

    columns = Columns(folder)
    return Index(columns, folder, whole=columns.factor is not None)


class Index:
    """An opened index. frequency: int64 [vocabulary], documents that have each term; whole: weights are integers, and
    so are those of queries and the scores."""

    def __init__(self, inner: Any, folder: Path, *, whole: bool) -> None:
        self._inner, self._whole = inner, whole
        self.frequency: npt.NDArray[np.int64] = np.load(folder / _FREQUENCY)
        self.runtime: str | None = getattr(inner, "runtime", None)

    def search(
        self,
        queries: SparseVectors,
        order: npt.NDArray[Any],
        k: int,
        *,
        context: Context,
        advance: Callable[[int], None] | None = None,
    ) -> Run:
        """The top k of every query by the ranking rule; a document without a common term is never a hit."""
        asked = quantized(queries, self._inner.factor) if self._whole else queries
        run: Run = self._inner.search(asked, order, k, threads=context.threads, advance=advance)
        return run

    def close(self) -> None:
        if hasattr(self._inner, "close"):
            self._inner.close()
