"""`type: prompt_reps`: a causal language model is asked for one word, and both what it thinks and what it would say
are indexed."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.model import Model
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.prompt_reps.checkpoint import PromptCheckpoint
from seekbench.retrievers.prompt_reps.encode import PromptEncoder, Prompter, Represented, is_english
from seekbench.retrievers.prompt_reps.params import ENCODING, PromptRepsParams
from seekbench.retrievers.prompt_reps.searcher import PromptRepsSearcher
from seekbench.retrievers.protocol import Context, Matches, TextView
from seekbench.retrievers.sparse.indexes import NativeIndex, build
from seekbench.retrievers.sparse.matches import shared_terms
from seekbench.retrievers.sparse.store import WeightStore
from seekbench.store import atomic_file, write_atomic

FACTS, MATRIX, COLUMNS = "prompt_reps.json", "vectors.npy", "columns"
_ENCODED = "encoded"
_OWN = "seekbench.retrievers.prompt_reps"
_DENSE = "seekbench.retrievers.dense"
_SPARSE = "seekbench.retrievers.sparse"


class PromptReps:
    """Dense and sparse vectors of one prompt; see docs/retrievers.md."""

    Params: ClassVar[type[protocol.Params]] = PromptRepsParams
    index_params: ClassVar[frozenset[str]] = ENCODING
    search_params: ClassVar[frozenset[str]] = frozenset({"mode", "alpha", "depth", "query_prompt"})
    modules: ClassVar[tuple[str, ...]] = (
        _OWN,
        *(f"{_OWN}.{name}" for name in ("checkpoint", "encode", "params", "retriever")),
        *(f"{_DENSE}{name}" for name in ("", ".checkpoint", ".encode", ".model")),
        _SPARSE,
        *(f"{_SPARSE}.{name}" for name in ("columns", "columns_kernels", "indexes", "store", "vectors")),
        "seekbench.retrievers.multi_vector.passages",
        "seekbench.retrievers.multi_vector.ragged",
    )
    search_modules: ClassVar[tuple[str, ...]] = (
        f"{_OWN}.searcher",
        f"{_DENSE}.exact",
        "seekbench.retrievers.fusion",
    )
    indexes = True
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: PromptRepsParams) -> None:
        self.params = params
        self.model = Model(PromptCheckpoint, PromptEncoder)
        self._prompter: tuple[PromptCheckpoint, Prompter] | None = None

    # -- facts --------------------------------------------------------------------------------------------------

    def checkpoint(self, context: Context) -> PromptCheckpoint:
        """The resolved files."""
        return self.model.checkpoint(self.params.settings(context), offline=context.offline)

    def prompter(self, context: Context) -> Prompter:
        """What makes prompts; it loads the tokenizer alone."""
        if self.model.loaded is not None:
            return self.model.loaded.prompter
        checkpoint = self.checkpoint(context)
        if self._prompter is None or self._prompter[0] is not checkpoint:
            self._prompter = checkpoint, Prompter(checkpoint)
        return self._prompter[1]

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        checkpoint = self.checkpoint(context)
        names = ("torch", "transformers", "tokenizers", "jinja2", "numba", "faiss-cpu")
        return {
            "weights": checkpoint.weights_hash,
            "files": checkpoint.files_hash,
            "versions": {name: version(name) for name in names},
        }

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        """The recipe as applied, prompts as rendered, where the files came from, and the size of the model."""
        checkpoint, prompter, p = self.checkpoint(context), self.prompter(context), self.params
        recipe = checkpoint.recipe
        dtype = p.dtype if p.dtype != "auto" else str(recipe.checkpoint_dtype or "float32")
        return {
            "model": p.model if checkpoint.source.kind == "local" else checkpoint.name,
            "source": checkpoint.source.kind,
            "folder": str(checkpoint.folder),
            "revision": checkpoint.source.revision,
            "weights": checkpoint.weights,
            "model_type": recipe.model_type,
            "mode": p.mode,
            "chat": recipe.chat,
            "query_prompt": prompter.template("query"),
            "document_prompt": prompter.template("document"),
            "length": prompter.length,
            "dim": recipe.dim,
            "normalize": recipe.normalize,
            "top": p.top,
            "expansion": p.expansion,
            "factor": p.factor,
            "fusion": {"alpha": p.alpha, "depth": p.depth, "norm": "min-max"} if p.mode == "hybrid" else None,
            "dtype": dtype.removeprefix("torch."),
            "parameters": checkpoint.parameters,
            "remote_code": context.trust_remote_code,
            "warnings": list(recipe.warnings),
        }

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        """The prompts as tokenized, with the texts cut to their length."""
        return self.prompter(context).prompted(texts, side).prompts

    # -- encoding -----------------------------------------------------------------------------------------------

    def encoder(self, context: Context) -> PromptEncoder:
        """The loaded model; loaded once for index and search."""
        p = self.params
        return self.model.encoder(
            p.settings(context), context=context, dtype=p.dtype, batch_tokens=p.batch_tokens
        )

    def encode(
        self,
        texts: list[str],
        side: str,
        language: str | None,
        advance: Callable[[int], None],
        context: Context,
    ) -> Represented:
        """Both vectors of texts of a language by the model that `identity` names. Raises SeekbenchError where its files
        changed."""
        p, encoder = self.params, self.encoder(context)
        made = encoder.represent(
            texts, side, english=is_english(language), top=p.top, expansion=p.expansion, advance=advance
        )
        self.model.checked(encoder.checkpoint.verify_loaded)
        return made

    def explain(self, query: str, document: str, documents: TextView, *, context: Context) -> Matches:
        """The terms that a query and a document share, of the sparse vectors."""
        if self.params.mode == "dense":
            raise InputError("dense vectors have no terms", remedy="mode: sparse or hybrid")
        left, right = (
            self.encode([text], side, documents.language, lambda _: None, context).weights
            for text, side in ((query, "query"), (document, "document"))
        )
        tokenizer = self.encoder(context).tokenizer

        def names(terms: npt.NDArray[Any]) -> list[str]:
            return [str(word) for word in tokenizer.convert_ids_to_tokens(terms.tolist())]

        found = shared_terms(left, right, self.columns, names)
        if self.params.mode == "hybrid":
            found = replace(found, note=f"{found.note}; of the sparse half alone".lstrip("; "))
        return found

    def release(self) -> None:
        """Lets go of the loaded model; it is loaded again when it is needed."""
        self.model.release()

    # -- index --------------------------------------------------------------------------------------------------

    @property
    def columns(self) -> NativeIndex:
        """How weights are stored: as integers, or as they are."""
        factor = self.params.factor
        if factor is None:
            return NativeIndex(weights="float32", factor=None)
        return NativeIndex(weights="uint16", factor=factor)

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """`vectors.npy` (float32 [documents, dim]) and columns of weights, from shards of the distinct texts that are
        dropped in the end. What an interrupted call encoded is used."""
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / FACTS).exists():
            write_atomic(folder / FACTS, orjson.dumps(self._index(documents, folder, context)))
        shutil.rmtree(folder / _ENCODED, ignore_errors=True)
        facts: dict[str, Any] = orjson.loads((folder / FACTS).read_bytes())
        return facts

    def _index(self, documents: TextView, folder: Path, context: Context) -> dict[str, Any]:
        passages = Passages.find(documents)
        store = WeightStore(folder / _ENCODED, len(passages), self.params.shard)
        self._write(documents, passages, store, context)
        encoder = self.encoder(context)
        made = store.finish(encoder.width)
        began = time.monotonic()
        largest = _join(store, passages, folder / MATRIX, encoder.dim)
        order = documents.order if len(documents) else np.empty(0, np.int32)
        columns = dict(
            build(self.columns, store.blocks(passages.of), order, encoder.width, folder / COLUMNS, context)
        )
        parts = {"encode": float(made["seconds"]), "index": time.monotonic() - began}
        size = {"vectors": (folder / MATRIX).stat().st_size, "columns": int(columns["bytes"])}
        total = sum(size.values())
        return {
            "bytes": total,
            "bytes_of": size,
            "bytes_per_document": total / max(1, len(documents)),
            "documents": len(documents),
            "passages": len(passages),
            "dim": encoder.dim,
            "vocabulary": encoder.width,
            "largest_norm": largest,
            "mean_non_zeros": columns["mean_non_zeros"],
            "terms_used": columns["terms_used"],
            "tokens": int(made["read"]),
            "truncated": int(made["truncated"]),
            "truncation_rate": made["truncated"] / max(1, len(passages)),
            "parts_seconds": parts,
            "seconds": sum(parts.values()),
        }

    def _write(self, documents: TextView, passages: Passages, store: WeightStore, context: Context) -> None:
        """Encodes what is missing. A shard is a function of its own passages alone, so where an earlier call stopped
        changes nothing; its vectors are on disk before its weights, which complete it."""
        missing = store.missing()
        todo = sum(store.bounds(i)[1] - store.bounds(i)[0] for i in missing)
        with context.progress.stage(
            "encode corpus", total=len(passages), unit="docs", done=len(passages) - todo
        ) as stage:
            for shard in missing:
                self.encoder(context)  # loading it is no part of the shard's time
                began = time.monotonic()
                start, stop = store.bounds(shard)
                texts = documents.take(passages.sources[start:stop]).texts()
                made = self.encode(texts, "document", documents.language, stage.advance, context)
                buffer = io.BytesIO()
                np.save(buffer, np.ascontiguousarray(made.vectors, dtype="<f4"))
                write_atomic(_vectors_of(store, shard), buffer.getvalue())
                seconds = time.monotonic() - began
                store.save(
                    shard, made.weights, {"read": made.read, "truncated": made.truncated, "seconds": seconds}
                )

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> PromptRepsSearcher:
        if folder is None or not (folder / FACTS).exists():
            raise SeekbenchError(f"no index of prompted vectors in {folder}")
        self.encoder(context)  # loading a model is no part of the first query's time
        return PromptRepsSearcher(self, folder, documents, facts=FACTS, matrix=MATRIX, columns=COLUMNS)


def _vectors_of(store: WeightStore, shard: int) -> Path:
    return store.folder / f"{shard:07d}.npy"


def _join(store: WeightStore, passages: Passages, path: Path, dim: int) -> float:
    """Writes the vectors of all documents in their order, those of equal texts alike; the largest norm."""
    largest, per = 0.0, store.per_shard
    with atomic_file(path) as part, part.open("wb") as handle:
        np.lib.format.write_array_header_1_0(
            handle, {"descr": "<f4", "fortran_order": False, "shape": (len(passages.of), dim)}
        )
        for at in range(0, len(passages.of), per):
            rows = np.asarray(passages.of[at : at + per], dtype=np.int64)
            block = np.empty((len(rows), dim), dtype="<f4")
            for shard in np.unique(rows // per).tolist():
                here = np.flatnonzero(rows // per == shard)
                block[here] = np.load(_vectors_of(store, shard), mmap_mode="r")[rows[here] - shard * per]
            norms = np.linalg.norm(block.astype(np.float64), axis=1)
            largest = max(largest, float(norms.max(initial=0.0)))
            handle.write(block.tobytes())
    return largest
