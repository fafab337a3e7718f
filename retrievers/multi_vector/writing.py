"""Writes the token vectors of a corpus: encodes its passages shard by shard and continues an interrupted call."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.multi_vector.encode import TokenVectors
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.multi_vector.pooling import document_frequency, pooled, pruned
from seekbench.retrievers.multi_vector.tokens import Tokens, TokenWriter
from seekbench.retrievers.protocol import Context, TextView

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.retriever import MultiVector

_FREQUENCY = "document_frequency.npy"


def write_tokens(
    retriever: MultiVector, documents: TextView, passages: Passages, folder: Path, *, context: Context
) -> Tokens:
    """The store `folder / "tokens"`. A shard is a function of its own passages alone (it is tokenized, sorted and
    batched by itself), so where an earlier call stopped changes nothing."""
    place = folder / "tokens"
    if Tokens.complete(place):
        return Tokens(place)
    place.mkdir(parents=True, exist_ok=True)
    p = retriever.params
    writer = TokenWriter(place, p.vectors)
    sources = passages.sources
    retriever.encoder(context)  # loading it is no part of a shard's time
    frequency = None
    if p.pruning is not None and p.pruning.method == "idf" and len(sources):
        frequency = _frequencies(retriever, documents, passages, folder, context)
    with context.progress.stage(
        "encode corpus", total=len(sources), unit="docs", done=writer.written
    ) as stage:
        for at in range(writer.written, len(sources), p.shard):
            began = time.monotonic()
            rows = sources[at : at + p.shard]
            texts = _texts(documents, rows)
            made = retriever.encode(texts, "document", documents.language, stage.advance, context)
            made = _fewer(retriever, made, frequency)
            facts = {"read": made.read, "truncated": made.truncated, "seconds": time.monotonic() - began}
            writer.append(made.vectors, made.lengths, facts)
    return writer.finish()


def _texts(documents: TextView, rows: npt.NDArray[np.int64]) -> list[str]:
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return documents.texts(int(rows[0]), int(rows[-1]) + 1)
    return documents.take(rows).texts()


def _fewer(
    retriever: MultiVector, made: TokenVectors, frequency: npt.NDArray[np.int64] | None
) -> TokenVectors:
    """Pruned, then pooled, as the parameters say."""
    p = retriever.params
    if p.pruning is not None:
        made = pruned(made, p.pruning, frequency)
    return made if p.pooling is None else pooled(made, p.pooling)


def _frequencies(
    retriever: MultiVector, documents: TextView, passages: Passages, folder: Path, context: Context
) -> npt.NDArray[np.int64]:
    """int64 [vocabulary]: passages that hold each token, as the encoder reads them."""
    path = folder / _FREQUENCY
    if path.exists():
        known: npt.NDArray[np.int64] = np.load(path)
        return known
    encoder = retriever.encoder(context)
    counts = np.zeros(encoder.vocabulary, dtype=np.int64)
    with context.progress.stage("count tokens", total=len(passages), unit="docs") as stage:
        for at in range(0, len(passages), 4096):
            rows = passages.sources[at : at + 4096]
            ids, lengths = encoder.token_ids(_texts(documents, rows), "document")
            document_frequency(counts, ids, lengths)
            stage.advance(len(rows))
    np.save(path, counts)
    return counts
