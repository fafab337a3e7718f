"""Which generated queries are worth keeping: a cross-encoder's score, or whether the query finds its document.

Both score every query first (`filter.arrow`, shard by shard, continued after an interruption), then choose.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from seekbench import hashing
from seekbench.collection import Records
from seekbench.errors import InputError, SeekbenchError
from seekbench.generation.checkpoints import CrossEncoderFiles, resolve
from seekbench.generation.columns import GeneratedQueries
from seekbench.generation.shards import Shards, read_table, write_table
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.dense.checkpoint import place
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import write_atomic

_SCORES = pa.schema([("score", pa.float32()), ("rank", pa.int32())])
#: Padded tokens of one batch of pairs.
_BATCH_TOKENS = {"cpu": 4096, "cuda": 65_536, "mps": 16_384}
Floats = npt.NDArray[np.float32]


class CrossEncoder(protocol.Params):
    """Keeps the queries that a cross-encoder finds answered by their document.

    The score is the log-odds of relevance: the logit of a checkpoint with one, the last logit minus the first of one
    with two.
    """

    kind: Literal["cross-encoder"]
    model: str = Field(min_length=1, description="a hub name or a folder: any *ForSequenceClassification")
    revision: str | None = None
    template: str = Field("{title} {text}", description="what the model reads of a document")
    keep: int | None = Field(None, ge=1, description="the best so many queries a document and language")
    least: float | None = Field(None, description="queries of a lower score are dropped")
    max_length: int | None = Field(
        None, ge=4, description="tokens of query and document together; the checkpoint's own where not stated"
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    batch_tokens: int | None = Field(None, ge=1, description="padded tokens of one batch")
    shard: int = Field(4096, ge=1, description="pairs whose scores are saved at a time")

    @model_validator(mode="after")
    def _drops(self) -> CrossEncoder:
        if self.keep is None and self.least is None:
            raise ValueError("a cross-encoder filter needs keep, least or both")
        return self


class RoundTrip(protocol.Params):
    """Keeps the queries that find their own document again (Promptagator's consistency filter, Dai et al. 2023,
    arXiv 2209.11755): those whose document has rank `top` or better in a dense encoder's exact search.

    The rank is 1 + the number of documents with a strictly higher score, so a tie is held against nobody.
    """

    kind: Literal["round-trip"]
    encoder: DenseParams = Field(description="as `type: dense`")
    template: str = Field("{title} {text}", description="what the encoder reads of a document")
    top: int = Field(1, ge=1, description="the rank that a document must reach for its query")
    shard: int = Field(8192, ge=1, description="queries whose ranks are saved at a time")


Filter = Annotated[CrossEncoder | RoundTrip, Field(discriminator="kind")]


def identity(params: CrossEncoder | RoundTrip, context: Context, base: Path | None = None) -> dict[str, Any]:
    """JSON facts that a filter's choice depends on beyond its parameters: content of the checkpoint, versions."""
    if isinstance(params, RoundTrip):
        return dict(_dense(params, base).identity(context=context))
    files: dict[str, Any] = dict(_files(params, context, base).content())
    return files | {"versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")}}


def apply(
    queries: GeneratedQueries,
    documents: TextView | Records,
    params: CrossEncoder | RoundTrip,
    folder: Path,
    *,
    context: Context,
    base: Path | None = None,
) -> GeneratedQueries:
    """The queries that the filter keeps, with `filter_score` (a cross-encoder's log-odds, or the similarity of query
    and document), and with `rank` for a round trip; written to queries.arrow and queries.json of `folder`.

    filter.arrow has the scores of all `queries`, row by row (rank 0: worse than `top`). facts `filter`: kind, before,
    after, dropped, documents_without (documents that had queries and have none now), and for a cross-encoder
    truncated. Raises as `queries.generate`.
    """
    records = documents.records if isinstance(documents, TextView) else documents
    language = documents.language if isinstance(documents, TextView) else None
    view = TextView(records, params.template, language)
    records.check_template(params.template)
    if len(queries) and int(queries.doc.max()) >= len(records):
        raise InputError(
            f"queries of document row {int(queries.doc.max())}, but only {len(records)} documents"
        )
    folder.mkdir(parents=True, exist_ok=True)
    key = hashing.of_json(
        [
            params.model_dump(mode="json", exclude={"shard", "batch_tokens", "keep", "least"}),
            identity(params, context, base),
            hashing.of_columns(
                [
                    ("doc", pa.chunked_array([pa.array(queries.doc)])),
                    ("text", pa.chunked_array([queries.texts])),
                ]
            ),
            view.content_hash,
        ]
    )
    shards = Shards(folder, "filter", rows=len(queries), size=params.shard, key=key)
    if not shards.done:
        if shards.missing():
            if isinstance(params, CrossEncoder):
                _cross_encoder(queries, view, params, shards, context, base)
            else:
                _round_trip(queries, view, params, shards, folder, context, base)
        shards.join(_total, _SCORES)
        shutil.rmtree(folder / "round-trip", ignore_errors=True)
    table = read_table(shards.union).combine_chunks()
    scores = table.column("score").to_numpy().astype(np.float32)
    rank = table.column("rank").to_numpy().astype(np.int32)
    if isinstance(params, CrossEncoder):
        kept = _best(queries, scores, params.keep, params.least)
    else:
        kept = np.flatnonzero(rank > 0)
    facts: dict[str, Any] = orjson.loads(shards.facts.read_bytes())
    for internal in ("rows", "size", "key"):
        facts.pop(internal)
    facts |= {
        "kind": params.kind,
        "before": len(queries),
        "after": len(kept),
        "dropped": len(queries) - len(kept),
        "documents_without": len(np.unique(queries.doc)) - len(np.unique(queries.doc[kept])),
    }
    chosen = queries.take(kept)
    result = GeneratedQueries(
        chosen.doc,
        chosen.texts,
        chosen.language,
        chosen.score,
        chosen.languages,
        scores[kept],
        rank[kept] if isinstance(params, RoundTrip) else None,
        {**queries.facts, "languages": list(queries.languages), "filter": facts},
    )
    write_table(folder / "queries.arrow", [result.table()])
    write_atomic(folder / "queries.json", orjson.dumps(result.facts, option=orjson.OPT_INDENT_2))
    return result


def _total(facts: list[dict[str, Any]]) -> dict[str, Any]:
    names = set().union(*facts)
    return {name: sum(f[name] for f in facts) for name in sorted(names)}


def _best(
    queries: GeneratedQueries, scores: Floats, keep: int | None, least: float | None
) -> npt.NDArray[np.int64]:
    """Rows, ascending: of each document and language the best `keep`, the earlier of equal ones, not below `least`."""
    chosen = np.ones(len(queries), dtype=np.bool_) if least is None else scores >= least
    if keep is not None:
        by = np.lexsort((-scores, queries.language, queries.doc))  # stable, so equal scores stay in order
        doc, language = queries.doc[by], queries.language[by]
        new = np.ones(len(by), dtype=np.bool_)
        new[1:] = (doc[1:] != doc[:-1]) | (language[1:] != language[:-1])
        first = np.maximum.accumulate(np.where(new, np.arange(len(by)), 0))
        chosen[by[np.arange(len(by)) - first >= keep]] = False
    return np.flatnonzero(chosen)


# -- cross-encoder --------------------------------------------------------------------------------------


def _files(
    params: CrossEncoder, context: Context, base: Path | None, *, fetch: bool = False
) -> CrossEncoderFiles:
    return resolve(
        CrossEncoderFiles,
        place(params.model, base),
        params.revision,
        offline=context.offline,
        trust_remote_code=context.trust_remote_code,
        max_length=params.max_length,
        fetch=fetch,
    )


def _cross_encoder(
    queries: GeneratedQueries,
    view: TextView,
    params: CrossEncoder,
    shards: Shards,
    context: Context,
    base: Path | None,
) -> None:
    scorer = PairScorer(_files(params, context, base, fetch=True), params, context)
    with context.progress.stage(
        "score queries", total=shards.rows, unit="pairs", done=shards.rows_done()
    ) as stage:
        for i in shards.missing():
            began = time.monotonic()
            start, stop = shards.bounds(i)
            docs, place_of = np.unique(queries.doc[start:stop], return_inverse=True)
            texts = view.take(docs).texts()
            scores, truncated = scorer(
                queries.texts[start:stop].to_pylist(), [texts[p] for p in place_of], stage.advance
            )
            rank = np.full(len(scores), -1, np.int32)
            facts = {"truncated": truncated, "seconds": time.monotonic() - began}
            shards.save(i, pa.table([scores, rank], schema=_SCORES), facts)


class PairScorer:
    """A loaded cross-encoder."""

    def __init__(self, files: CrossEncoderFiles, params: CrossEncoder, context: Context) -> None:
        import torch

        from seekbench.generation.batches import Batches
        from seekbench.retrievers.dense.encode import pick_device

        self.device = pick_device(context.device)
        if self.device == "cpu" and context.threads and torch.get_num_threads() != context.threads:
            torch.set_num_threads(context.threads)
        self.name, self.max_length = files.name, files.recipe.max_length
        self.model, self.tokenizer = files.load(params.dtype, self.device)
        logits = int(self.model.config.num_labels)
        if logits > 2:
            raise InputError(
                f"{files.name} has {logits} classes; a cross-encoder of relevance has one logit or two"
            )
        if self.tokenizer.pad_token_id is None:
            raise InputError(f"{files.name}: its tokenizer has no padding token")
        self.batches = Batches(
            params.batch_tokens or _BATCH_TOKENS[self.device.partition(":")[0]],
            1024,
            name=files.name,
            device=self.device,
            remedy="state a smaller max_length, or dtype: bfloat16",
        )

    def __call__(
        self, queries: list[str], documents: list[str], advance: Callable[[int], None] = lambda n: None
    ) -> tuple[Floats, int]:
        """(float32 [pairs], log-odds that each document answers its query; pairs that were cut).

        A pair that is too long loses the end of the longer text, as in sentence-transformers' CrossEncoder.
        """
        from seekbench.retrievers.dense.encode import unwarned

        with unwarned():
            rows = self.tokenizer(
                queries, documents, truncation=self.max_length is not None and "longest_first",
                max_length=self.max_length, padding=False,
            )  # fmt: skip
        lengths = np.array([len(ids) for ids in rows["input_ids"]], dtype=np.int64)
        truncated = 0
        if self.max_length is not None:
            truncated = sum(
                bool(rows.encodings[i].overflowing) for i in np.flatnonzero(lengths >= self.max_length)
            )
        out = np.empty(len(queries), dtype=np.float32)

        def work(batch: npt.NDArray[np.int64]) -> None:
            out[batch] = self._log_odds({name: [rows[name][i] for i in batch] for name in rows})

        self.batches.run(lengths, work, advance)
        if not np.isfinite(out).all():
            raise SeekbenchError(f"{self.name} gave scores that are not numbers in {self.model.dtype}")
        return out, truncated

    def _log_odds(self, features: dict[str, list[list[int]]]) -> Floats:
        import torch

        padded = self.tokenizer.pad(features, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            logits = self.model(**padded).logits.float()
        odds = logits[:, -1] if logits.shape[1] == 1 else logits[:, -1] - logits[:, 0]
        array: Floats = odds.cpu().numpy()
        return array


# -- round trip -----------------------------------------------------------------------------------------


def _dense(params: RoundTrip, base: Path | None) -> Dense:
    if base is None:
        return Dense(params.encoder)
    stated = params.encoder.model_dump(exclude_unset=True)
    return Dense(DenseParams.model_validate(stated, context={"base": base}))


def _round_trip(
    queries: GeneratedQueries,
    view: TextView,
    params: RoundTrip,
    shards: Shards,
    folder: Path,
    context: Context,
    base: Path | None,
) -> None:
    """Scores and ranks by one exact search for `top` documents.

    A document is among the best `top` by strictly higher scores exactly when its score reaches the `top`-th one; its
    own score comes from the function that the search's scores come from, so equality means equality.
    """
    from seekbench.retrievers.dense.exact import Exact

    dense, index = _dense(params, base), folder / "round-trip"
    index.mkdir(exist_ok=True)
    dense.index(view, index, context=context)
    vectors: Floats = np.load(index / "vectors.npy", mmap_mode="r")
    largest = float(orjson.loads((index / "vectors.json").read_bytes())["largest_norm"])
    exact = Exact(vectors, view.order, largest, dense.encoder(context).device, context.threads)
    with context.progress.stage(
        "find documents again", total=shards.rows, unit="queries", done=shards.rows_done()
    ) as stage:
        for i in shards.missing():
            began = time.monotonic()
            start, stop = shards.bounds(i)
            texts = queries.texts[start:stop].to_pylist()
            encoded = dense.encode(texts, "query", stage.advance, context).vectors
            doc = queries.doc[start:stop]
            own = exact.pairs(encoded, np.arange(len(doc)), doc)
            found = exact.search(encoded, params.top).scores
            higher = (found > own[:, None]).sum(axis=1)
            # Fewer hits than `top` are all documents there are.
            rank = np.where(own >= found[:, -1], higher + 1, 0).astype(np.int32)
            facts = {"seconds": time.monotonic() - began}
            shards.save(i, pa.table([own, rank], schema=_SCORES), facts)
    dense.release()
