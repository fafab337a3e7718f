"""`type: multi_vector`: token vectors, late interaction, and what finds documents to score.

Token vectors of a corpus are made once, in the index of the exact system (every document scored, vectors as stored
first); compressed stores and indexes of candidates are derived from it and lie in indexes of their own. The exact
system is also what an approximation is compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson

from seekbench import hashing
from seekbench.errors import SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.model import Model
from seekbench.retrievers.multi_vector import candidates as candidates_
from seekbench.retrievers.multi_vector.candidates import ExactParams
from seekbench.retrievers.multi_vector.checkpoint import TokenCheckpoint, TokenSettings
from seekbench.retrievers.multi_vector.encode import TokenEncoder, TokenVectors
from seekbench.retrievers.multi_vector.params import MultiVectorParams
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.multi_vector.searcher import MultiVectorSearcher
from seekbench.retrievers.multi_vector.tokens import Tokens
from seekbench.retrievers.multi_vector.writing import write_tokens
from seekbench.retrievers.protocol import Context, TextView, TrainingData
from seekbench.store import write_atomic

_FACTS = "multi_vector.json"
#: Fields that the vectors of documents depend on.
_ENCODING = frozenset(
    {
        "model", "revision", "document_prompt", "document_length", "skip", "dtype", "pooling", "pruning", "vectors",
        "train", "inputs", "training",
        "batch_tokens", "shard",  # the company of a text in a batch moves its last bits
    }
)  # fmt: skip


def _named(*names: str) -> tuple[str, ...]:
    return tuple(f"seekbench.retrievers.multi_vector.{name}" for name in names)


#: Modules that make what is derived from token vectors; a change of theirs leaves the vectors.
DERIVING = _named(
    "candidates", "centroids", "compression", "fde", "fde_kernels", "heuristic", "muvera", "plaid", "plaid_kernels",
    "residual",
)  # fmt: skip


class MultiVector:
    """A vector a token, scored by late interaction; see docs/retrievers.md."""

    Params: ClassVar[type[protocol.Params]] = MultiVectorParams
    index_params: ClassVar[frozenset[str]] = _ENCODING | {"compression"}
    search_params: ClassVar[frozenset[str]] = frozenset(
        {"query_prompt", "query_length", "expansion", "candidates"}
    )
    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.retrievers.dense",
        "seekbench.retrievers.dense.checkpoint",
        "seekbench.retrievers.dense.encode",
        "seekbench.retrievers.dense.model",
        "seekbench.retrievers.dense.ann",
        *_named("checkpoint", "encode", "params", "passages", "pooling", "ragged", "retriever", "tokens", "writing"),
        "seekbench.retrievers.multi_vector",
    )  # fmt: skip
    derived_modules: ClassVar[tuple[str, ...]] = DERIVING
    search_modules: ClassVar[tuple[str, ...]] = (
        "seekbench.retrievers.dense.exact",
        *_named("kernels", "lanes", "maxsim", "searcher"),
    )
    indexes = True

    def __init__(self, params: MultiVectorParams, training: TrainingData | None = None) -> None:
        self.params, self.training = params, training
        #: Folder of the model that was trained on the documents, once they were seen.
        self._trained: Path | None = None
        #: Shared with the exact system, and by those that a study makes of one model.
        self.model = Model(TokenCheckpoint, TokenEncoder)
        self._exact: MultiVector | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        chosen = self.params.candidates
        return (chosen.of,) if chosen.type == "rerank" else ()

    # -- the exact system of the same vectors -----------------------------------------------------------------

    @property
    def exact(self) -> MultiVector:
        """The system that scores every document on the vectors as stored first; it shares what is loaded."""
        if self.params.plain and self.params.candidates.type == "exact":
            return self
        if self._exact is None:
            params = self.params.model_copy(
                update={"candidates": ExactParams.model_validate({}), "compression": None}
            )
            self._exact = MultiVector(params, self.training)
        self._exact.model = self.model
        return self._exact

    @property
    def reference(self) -> MultiVector | None:
        """What an approximation is compared with; None where there is nothing to compare."""
        approximate = (
            self.params.candidates.type in candidates_.METHODS or self.params.compression is not None
        )
        return self.exact if self.params.compare and approximate else None

    # -- training -----------------------------------------------------------------------------------------------

    @property
    def trains_on(self) -> str | None:
        return self.params.train

    def with_training(self, data: TrainingData) -> MultiVector:
        """The retriever of one dataset. It shares what is loaded."""
        bound = MultiVector(self.params, data)
        bound.model = self.model
        return bound

    def train_model(
        self, documents: TextView, folder: Path, *, context: Context
    ) -> tuple[Path, Mapping[str, Any]]:
        """(folder of the trained checkpoint, facts of its training): from the store, or made in `folder`."""
        from seekbench.retrievers.multi_vector.trained import trained

        if self.params.train and self.training is None:
            raise SeekbenchError("the training split was not given to this retriever")
        return trained(self, documents, folder, context=context)

    def _prepare(self, documents: TextView, folder: Path, context: Context) -> Mapping[str, Any] | None:
        """Trains the model, or finds the one that was trained on these documents; facts of its training."""
        if self.params.training is None:
            return None
        self._trained, facts = self.train_model(documents, folder, context=context)
        return facts

    # -- facts --------------------------------------------------------------------------------------------------

    def base_checkpoint(self, context: Context, *, fetch: bool = False) -> TokenCheckpoint:
        """The resolved files of `model`; with `fetch` the weights are on disk."""
        return self.model.checkpoint(self.params.settings(context), offline=context.offline, fetch=fetch)

    def _settings(self, context: Context) -> TokenSettings:
        """Of the model that encodes: `model`, or what was trained from it."""
        settings = self.params.settings(context)
        if self._trained is None:
            return settings
        return replace(settings, model=str(self._trained), revision=None)

    def checkpoint(self, context: Context) -> TokenCheckpoint:
        """The files of the model that encodes."""
        return self.model.checkpoint(self._settings(context), offline=context.offline)

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        checkpoint, data = self.base_checkpoint(context), self.training
        names = ("torch", "transformers", "tokenizers", "sentence-transformers", "numba", "faiss-cpu")
        return {
            "weights": checkpoint.weights_hash,
            "files": checkpoint.files_hash,
            "training": None if data is None else {"split": data.split, "content": data.content_hash},
            "versions": {name: version(name) for name in names},
        }

    def recipe(self, documents: TextView, *, context: Context) -> Mapping[str, Any]:
        """What the index depends on beyond its parameters: the adapter of the documents' language, what of the
        parameters of the candidates their index depends on, and the code of what is derived from the vectors."""
        learnt: dict[str, Any] = {}
        if self.params.training is not None:
            from seekbench.retrievers.multi_vector.trained import depends_on

            learnt = {"training": depends_on(self, context=context)}
        return {
            **learnt,
            "adapter": self.base_checkpoint(context).adapter(documents.language),
            "candidates": candidates_.index_part(self.params.candidates),
            **({} if self.params.plain else {"code": {m: hashing.of_code(m) for m in DERIVING}}),
        }

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        """The recipe as applied, where the files came from, and the size of the model."""
        checkpoint = self.checkpoint(context)
        recipe, p = checkpoint.recipe, self.params
        expansion = recipe.expansion
        return {
            "model": p.model if p.training or checkpoint.source.kind == "local" else checkpoint.name,
            "trained": p.training is not None,
            "source": checkpoint.source.kind,
            "folder": str(checkpoint.folder),
            "revision": checkpoint.source.revision,
            "weights": checkpoint.weights,
            "layout": recipe.layout,
            "model_type": recipe.model_type,
            "dim": recipe.dim,
            "projected": recipe.projected,
            "query_prompt": recipe.query_prompt,
            "document_prompt": recipe.document_prompt,
            "query_length": recipe.query_length,
            "document_length": recipe.document_length,
            "expansion": expansion and expansion.as_st(),
            "skip": "".join(recipe.skip) if all(len(s) == 1 for s in recipe.skip) else list(recipe.skip),
            "languages": len(recipe.languages),
            "dtype": p.dtype,
            "vectors": p.vectors,
            "compression": p.compression and p.compression.model_dump(),
            "candidates": p.candidates.model_dump(mode="json"),
            "parameters": checkpoint.parameters,
            "remote_code": context.trust_remote_code,
            "warnings": list(recipe.warnings),
            "similarity": "maxsim",
        }

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        """Marker and text, as tokenized (truncation and expansion come after)."""
        prompt = self.checkpoint(context).recipe.prompt(side)
        return [prompt + text for text in texts]

    def encoder(self, context: Context) -> TokenEncoder:
        """The loaded model; loaded once for index and search."""
        p = self.params
        return self.model.encoder(
            self._settings(context), context=context, dtype=p.dtype, batch_tokens=p.batch_tokens
        )

    def encode(
        self,
        texts: list[str],
        side: str,
        language: str | None,
        advance: Callable[[int], None],
        context: Context,
    ) -> TokenVectors:
        """Token vectors of texts of a language by the model that `identity` names. Raises SeekbenchError where its
        files changed."""
        encoder = self.encoder(context)
        encoder.set_language(language)
        made = encoder.token_vectors(texts, side, advance)
        self.model.checked(encoder.checkpoint.verify_loaded)
        return made

    def release(self) -> None:
        """Lets go of the loaded model; it is loaded again when it is needed."""
        self.model.release()

    # -- index --------------------------------------------------------------------------------------------------

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Token vectors (of the exact system), or what is derived from them."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.params.plain:
            return self._index_vectors(documents, folder, context=context)
        return self._index_derived(documents, folder, context=context)

    def _index_vectors(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """`tokens/` and passages.npy, which says which documents share vectors."""
        learnt = self._prepare(documents, folder, context)
        passages = Passages.find(documents)
        np.save(folder / "passages.npy", passages.of)
        tokens = write_tokens(self, documents, passages, folder, context=context)
        facts = dict(tokens.facts)
        read = max(1, len(passages))
        # Over all calls that an interrupted corpus took.
        parts = {"encode": float(facts.get("seconds", 0.0))}
        if learnt is not None:
            parts["training"] = float(learnt["seconds"])
        return {
            "bytes": tokens.bytes + (folder / "passages.npy").stat().st_size,
            "documents": len(documents),
            "passages": len(passages),
            "dim": tokens.dim,
            "vectors": tokens.count,
            "bytes_per_document": tokens.bytes / max(1, len(documents)),
            "bytes_per_vector": tokens.bytes_per_token,
            "tokens": int(facts.get("read", 0)),
            "truncated": int(facts.get("truncated", 0)),
            "truncation_rate": facts.get("truncated", 0) / read,
            **({} if learnt is None else {"training": learnt}),
            "parts_seconds": parts,
            "seconds": sum(parts.values()),
        }

    def _base(self, documents: TextView, folder: Path, context: Context) -> tuple[Path, Mapping[str, Any]]:
        """The index of the exact system, from the store or made in `folder`."""
        exact = self.exact
        if context.shared is not None:
            return context.shared("multi_vector", exact, documents)
        place = folder / "vectors"
        place.mkdir(parents=True, exist_ok=True)
        known = place / _FACTS
        if not known.exists():
            write_atomic(known, orjson.dumps(dict(exact.index(documents, place, context=context))))
        return place, orjson.loads(known.read_bytes())

    def _index_derived(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        from seekbench.retrievers.multi_vector.compression import compress

        base, vectors = self._base(documents, folder, context)
        tokens = Tokens(base / "tokens")
        p, parts = self.params, dict(vectors["parts_seconds"])
        facts: dict[str, Any] = {
            name: vectors[name]
            for name in ("documents", "passages", "dim", "vectors", "tokens", "truncated", "truncation_rate")
        }
        size = {"vectors": int(vectors["bytes"])}
        began = time.monotonic()
        if p.compression is not None:
            stored, compressed = compress(tokens, p.compression, folder / "compressed", context=context)
            size["vectors"] = stored.bytes
            facts["compression"] = {"bytes_per_vector": stored.bytes_per_token, **compressed}
            parts["compress"] = time.monotonic() - began
        began = time.monotonic()
        if p.candidates.type in candidates_.METHODS:
            made = dict(candidates_.build(p.candidates, tokens, folder / "candidates", context=context))
            size["candidates"] = int(made["bytes"])
            facts["candidates"] = made
            parts["candidates"] = time.monotonic() - began
        return {
            **facts,
            "bytes": sum(size.values()),
            "bytes_by_part": size,
            "bytes_per_document": sum(size.values()) / max(1, len(documents)),
            "parts_seconds": parts,
            "seconds": sum(parts.values()),
        }

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> MultiVectorSearcher:
        if folder is None:
            raise SeekbenchError("no index of token vectors")
        base = folder if self.params.plain else self._base(documents, folder, context)[0]
        full = Tokens(base / "tokens")
        tokens = full if self.params.compression is None else Tokens(folder / "compressed")
        method = None
        if self.params.candidates.type in candidates_.METHODS:
            method = candidates_.open_method(
                self.params.candidates, full, folder / "candidates", context=context
            )
        self._prepare(documents, base if context.stored is None else folder, context)
        self.encoder(context)  # loading a model is no part of the first query's time
        return MultiVectorSearcher(self, tokens, Passages.load(base / "passages.npy"), documents, method)
