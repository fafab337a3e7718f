"""`type: sparse`: learned weights of vocabulary terms, searched exactly."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson

from seekbench import hashing
from seekbench.errors import InputError, SeekbenchError, did_you_mean
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.checkpoint import Checkpoint, Settings
from seekbench.retrievers.dense.encode import Encoder
from seekbench.retrievers.dense.model import Model
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, Matches, TextView, TrainingData
from seekbench.retrievers.sparse.checkpoint import SparseCheckpoint, SparseSettings
from seekbench.retrievers.sparse.encode import SparseEncoder, Weighted, table_pairs
from seekbench.retrievers.sparse.indexes import build, open_index
from seekbench.retrievers.sparse.matches import shared_terms
from seekbench.retrievers.sparse.params import ENCODING, SparseParams
from seekbench.retrievers.sparse.searcher import SparseSearcher
from seekbench.retrievers.sparse.store import WeightStore

_OWN = "seekbench.retrievers.sparse"
_DENSE = "seekbench.retrievers.dense"
#: Modules that make weights of documents.
_ENCODING_MODULES = (
    _DENSE, f"{_DENSE}.checkpoint", f"{_DENSE}.encode", f"{_DENSE}.model", _OWN, f"{_OWN}.checkpoint",
    f"{_OWN}.encode", f"{_OWN}.params", f"{_OWN}.retriever", f"{_OWN}.store", f"{_OWN}.vectors",
    "seekbench.retrievers.multi_vector.passages", "seekbench.retrievers.multi_vector.ragged",
)  # fmt: skip


class Sparse:
    """Learned sparse retrieval; see docs/retrievers.md."""

    Params: ClassVar[type[protocol.Params]] = SparseParams
    index_params: ClassVar[frozenset[str]] = ENCODING | {"index"}
    search_params: ClassVar[frozenset[str]] = frozenset(
        {"query_model", "query_revision", "queries", "query_prompt", "query_length", "top_query"}
    )
    modules: ClassVar[tuple[str, ...]] = (
        *_ENCODING_MODULES,
        *(f"{_OWN}.{name}" for name in ("columns", "columns_kernels", "impact", "indexes")),
        "seekbench.retrievers.bm25.handles",
        "seekbench.retrievers.bm25.jvm",
    )
    search_modules: ClassVar[tuple[str, ...]] = (f"{_OWN}.searcher",)
    indexes = True
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: SparseParams, training: TrainingData | None = None) -> None:
        self.params, self.training = params, training
        #: Folder of the model that was trained on the documents, once they were seen.
        self._trained: Path | None = None
        #: An encoder that training begins with, where it has no head of terms.
        self._headless = Model(Checkpoint, Encoder)
        self.model = Model(SparseCheckpoint, SparseEncoder)
        #: Of queries, where they have another checkpoint.
        self.query_side = Model(SparseCheckpoint, SparseEncoder)

    # -- training -----------------------------------------------------------------------------------------------

    @property
    def trains_on(self) -> str | None:
        return self.params.train

    def with_training(self, data: TrainingData) -> Sparse:
        """The retriever of one dataset. It shares what is loaded."""
        bound = Sparse(self.params, data)
        bound.model, bound.query_side, bound._headless = self.model, self.query_side, self._headless
        return bound

    def base_checkpoint(self, context: Context, *, fetch: bool = False) -> Checkpoint:
        """The resolved files of `model`, as it is before training; with `fetch` the weights are on disk."""
        p = self.params
        if p.training is not None and p.training.head:
            settings = Settings(
                model=p.place,
                revision=p.revision,
                pooling="mean",
                trust_remote_code=context.trust_remote_code,
            )
            try:
                return self._headless.checkpoint(settings, offline=context.offline, fetch=fetch)
            except InputError as error:
                if "brings its own recipe" not in str(error):
                    raise
            return self._headless.checkpoint(
                replace(settings, pooling=None), offline=context.offline, fetch=fetch
            )
        return self.model.checkpoint(p.settings(context), offline=context.offline, fetch=fetch)

    def train_model(
        self, documents: TextView, folder: Path, *, context: Context
    ) -> tuple[Path, Mapping[str, Any]]:
        """(folder of the trained checkpoint, facts of its training): from the store, or made in `folder`."""
        from seekbench.retrievers.sparse.trained import trained

        if self.params.train and self.training is None:
            raise SeekbenchError("the training split was not given to this retriever")
        return trained(self, documents, folder, context=context)

    def _prepare(self, documents: TextView, folder: Path, context: Context) -> Mapping[str, Any] | None:
        """Trains the model, or finds the one that was trained on these documents; facts of its training."""
        if self.params.training is None:
            return None
        self._trained, facts = self.train_model(documents, folder, context=context)
        return facts

    def recipe(self, documents: TextView, *, context: Context) -> Mapping[str, Any]:
        """What the index depends on beyond its parameters: the training."""
        if self.params.training is None:
            return {}
        from seekbench.retrievers.sparse.trained import depends_on

        return {"training": depends_on(self, context=context)}

    # -- facts --------------------------------------------------------------------------------------------------

    def settings(self, side: str, context: Context) -> SparseSettings:
        p = self.params
        said = p.query_settings(context) if side == "query" else p.settings(context)
        if self._trained is None:
            return said
        return replace(said, model=str(self._trained), revision=None, aggregation=None, activation=None)

    def _model(self, side: str) -> Model[SparseCheckpoint, SparseEncoder]:
        return self.query_side if side == "query" and self.params.query_model else self.model

    def checkpoint(self, context: Context, side: str = "document") -> SparseCheckpoint:
        """The resolved files of a side's model."""
        return self._model(side).checkpoint(self.settings(side, context), offline=context.offline)

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        data = self.training
        split = None if data is None else {"split": data.split, "content": data.content_hash}
        names = ("torch", "transformers", "tokenizers", "sentence-transformers", "numba", "pyserini")
        versions = {name: version(name) for name in names}
        if self.params.training is not None:
            base = self.base_checkpoint(context)
            if isinstance(base, SparseCheckpoint):
                base.refuse_training()
            elif any(str(a).endswith("ForMaskedLM") for a in base.config.get("architectures") or []):
                raise InputError(
                    f"{base.name} has a head of terms already, which `head: fitted` would replace",
                    remedy="leave out training.head",
                )
            return {
                "weights": base.weights_hash,
                "files": base.files_hash,
                "training": split,
                "versions": versions,
            }
        checkpoint, query = self.checkpoint(context), self.checkpoint(context, "query")
        if query is not checkpoint:
            checkpoint.refuse_other_vocabulary(query)
        return {
            "weights": checkpoint.weights_hash,
            "files": checkpoint.files_hash,
            "query": None if query is checkpoint else [query.weights_hash, query.files_hash],
            "table": self._table_hash(query),
            "versions": versions,
        }

    def _table_hash(self, checkpoint: SparseCheckpoint) -> str | None:
        if checkpoint.recipe.table is None:
            return None
        path = checkpoint.folder / checkpoint.recipe.table
        if not path.is_file():
            near = did_you_mean(str(self.params.queries), ("model", "binary"))
            raise InputError(
                f"queries: no file {checkpoint.recipe.table}", remedy=near if near.startswith("did") else ""
            )
        table_pairs(path)  # a damaged one is told before documents are encoded
        return hashing.of_file(path)

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        """The recipe as applied, where the files came from, and the size of the model."""
        p = self.params
        if p.training is not None:
            # What the training writes; the model itself may not be there yet.
            base = self.base_checkpoint(context)
            return {
                "model": p.model,
                "trained": True,
                "source": base.source.kind,
                "revision": base.source.revision,
                "weights": base.weights,
                "layout": "sentence-transformers",
                "head": p.training.head,
                "queries": p.training.queries or "own table, or idf",
                "query_prompt": p.query_prompt,
                "document_prompt": p.document_prompt,
                "query_length": p.query_length,
                "document_length": p.document_length,
                "top_query": p.top_query,
                "top_document": p.top_document,
                "threshold": p.threshold,
                "dtype": p.dtype,
                "index": p.index.model_dump(mode="json"),
                "parameters": base.parameters,
                "remote_code": context.trust_remote_code,
                "warnings": [],
            }
        checkpoint = self.checkpoint(context)
        recipe, query = checkpoint.recipe, self.checkpoint(context, "query").recipe
        return {
            "model": p.model if checkpoint.source.kind == "local" else checkpoint.name,
            "trained": False,
            "query_model": p.query_model,
            "source": checkpoint.source.kind,
            "folder": str(checkpoint.folder),
            "revision": checkpoint.source.revision,
            "weights": checkpoint.weights,
            "layout": recipe.layout,
            "model_type": recipe.model_type,
            "modules": [name for name, _ in recipe.modules],
            "aggregation": {"query": query.aggregation[0], "document": recipe.aggregation[1]},
            "activation": recipe.activation,
            "queries": query.queries,
            "query_table": query.table,
            "query_prompt": query.query_prompt,
            "document_prompt": recipe.document_prompt,
            "query_length": query.query_length,
            "document_length": recipe.document_length,
            "top_query": p.top_query,
            "top_document": p.top_document,
            "threshold": p.threshold,
            "similarity": recipe.similarity,
            "dtype": p.dtype,
            "index": p.index.model_dump(mode="json"),
            "parameters": checkpoint.parameters,
            "remote_code": context.trust_remote_code,
            "warnings": list(recipe.warnings),
        }

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        """Prompt and text, as tokenized (truncation comes after)."""
        prompt = self.checkpoint(context, side).recipe.prompt(side)
        return [prompt + text for text in texts]

    # -- encoding -----------------------------------------------------------------------------------------------

    def encoder(self, context: Context, side: str = "document") -> SparseEncoder:
        """The loaded model of a side; loaded once for index and search."""
        p = self.params
        return self._model(side).encoder(
            self._as_loaded(side, context), context=context, dtype=p.dtype, batch_tokens=p.batch_tokens
        )

    def _as_loaded(self, side: str, context: Context) -> SparseSettings:
        return self.settings(side if self.params.query_model else "document", context)

    def encode(
        self, texts: list[str], side: str, advance: Callable[[int], None], context: Context
    ) -> Weighted:
        """Weights of texts by the model that `identity` names. Raises SeekbenchError where its files changed."""
        p, encoder = self.params, self.encoder(context, side)
        made = encoder.weights(
            texts,
            side,
            top=p.top_query if side == "query" else p.top_document,
            threshold=None if side == "query" else p.threshold,
            advance=advance,
        )
        self._model(side).checked(encoder.checkpoint.verify_loaded)
        return made

    def explain(self, query: str, document: str, documents: TextView, *, context: Context) -> Matches:
        """The terms that a query and a document of a corpus share."""
        with tempfile.TemporaryDirectory() as place:
            self._prepare(documents, Path(place), context)
            encoder = self.encoder(context)
            left = self.encode([query], "query", lambda _: None, context).vectors
            right = self.encode([document], "document", lambda _: None, context).vectors
        return shared_terms(left, right, self.params.index, encoder.words)

    def release(self) -> None:
        """Lets go of the loaded models; they are loaded again when they are needed."""
        self.model.release()
        self.query_side.release()

    # -- index --------------------------------------------------------------------------------------------------

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Weights of all documents (kept apart, for other indexes of them) and the index over these."""
        folder.mkdir(parents=True, exist_ok=True)
        learnt = self._prepare(documents, folder, context)
        passages = Passages.find(documents)
        place, weights = self._weights(documents, passages, folder, context)
        began = time.monotonic()
        store = WeightStore(place, len(passages), self.params.shard)
        width = int(weights["width"])
        order = documents.order if len(documents) else np.empty(0, np.int32)
        facts = dict(
            build(self.params.index, store.blocks(passages.of), order, width, folder / "index", context)
        )
        self._refuse_nothing(weights, facts)
        parts = {"encode": float(weights["seconds"]), "index": time.monotonic() - began}
        if learnt is not None:
            parts["training"] = float(learnt["seconds"])
        read = max(1, len(passages))
        return {
            **facts,
            **({} if learnt is None else {"training": learnt}),
            "documents": len(documents),
            "passages": len(passages),
            "dim": width,
            "bytes_per_document": facts["bytes"] / max(1, len(documents)),
            "tokens": int(weights["read"]),
            "truncated": int(weights["truncated"]),
            "truncation_rate": weights["truncated"] / read,
            "parts_seconds": parts,
            "seconds": sum(parts.values()),
        }

    def _refuse_nothing(self, weights: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Raises InputError where documents had terms and the index has none."""
        factor = getattr(self.params.index, "factor", None)
        if weights["nonzeros"] and not facts["non_zeros"]:
            raise InputError(f"every weight x {factor:g} rounds to 0", remedy="a larger `index.factor`")
        if weights["passages"] and not weights["nonzeros"] and self.params.threshold:
            raise InputError(
                f"no document has a weight of {self.params.threshold:g} or more", remedy="a lower `threshold`"
            )

    def _weights(
        self, documents: TextView, passages: Passages, folder: Path, context: Context
    ) -> tuple[Path, Mapping[str, Any]]:
        """(folder of the weights, their facts): from the store, or made in `folder`."""

        def make(place: Path) -> Mapping[str, Any]:
            return self._write_weights(documents, passages, place, context)

        if context.stored is None:
            place = folder / "weights"
            facts = make(place)
        else:
            said = self.params.model_dump(mode="json")
            recipe = {
                "subject": "weights of terms",
                "documents": documents.content_hash,
                "params": {name: said[name] for name in sorted(ENCODING)},
                "model": self._document_identity(context),
                "code": {name: hashing.of_code(name) for name in _ENCODING_MODULES},
            }
            place = context.stored("weights", recipe, make)
            facts = orjson.loads((place / "weights.json").read_bytes())
        return place, facts

    def _document_identity(self, context: Context) -> dict[str, Any]:
        checkpoint = self.checkpoint(context)
        versions = {n: version(n) for n in ("torch", "transformers", "tokenizers", "sentence-transformers")}
        return {"weights": checkpoint.weights_hash, "files": checkpoint.files_hash, "versions": versions}

    def _write_weights(
        self, documents: TextView, passages: Passages, place: Path, context: Context
    ) -> Mapping[str, Any]:
        """A shard is a function of its own passages alone, so where an earlier call stopped changes nothing."""
        store = WeightStore(place, len(passages), self.params.shard)
        if store.facts is not None:
            return store.facts
        encoder = self.encoder(context)
        missing = store.missing()
        todo = sum(store.bounds(i)[1] - store.bounds(i)[0] for i in missing)
        with context.progress.stage(
            "encode corpus", total=len(passages), unit="docs", done=len(passages) - todo
        ) as stage:
            for shard in missing:
                began = time.monotonic()
                start, stop = store.bounds(shard)
                texts = documents.take(passages.sources[start:stop]).texts()
                made = self.encode(texts, "document", stage.advance, context)
                seconds = time.monotonic() - began
                store.save(
                    shard, made.vectors, {"read": made.read, "truncated": made.truncated, "seconds": seconds}
                )
        return store.finish(encoder.width)

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> SparseSearcher:
        if folder is None:
            raise SeekbenchError("no index of weights")
        self._prepare(documents, folder, context)
        self.encoder(context, "query")  # loading a model is no part of the first query's time
        index = open_index(self.params.index, folder / "index")
        return SparseSearcher(self, index, documents)
