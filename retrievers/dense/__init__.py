"""Dense retrieval: one vector a text, exact inner-product search.

`Dense` takes any sentence-transformers or plain transformers checkpoint by name or path (`checkpoint`),
encodes texts in token-budget batches (`encode`), keeps the vectors as one float32 matrix that is mapped at
search, and searches it exactly (`exact`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field

from seekbench.errors import SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.checkpoint import Checkpoint, Settings
from seekbench.retrievers.dense.encode import Encoded, Encoder
from seekbench.retrievers.dense.exact import Exact
from seekbench.retrievers.dense.model import Model, ModelParams
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run
from seekbench.store import write_atomic

_MATRIX = "vectors.npy"
_FACTS = "vectors.json"
_SHARDS = "shards"


class DenseParams(ModelParams):
    """Fields of `type: dense`."""

    pooling: Literal["mean", "cls", "last"] | None = Field(
        None, description="for checkpoints without modules.json; mean where not stated"
    )
    normalize: bool | None = Field(
        None, description="scale vectors to length 1; the checkpoint's recipe where not stated"
    )
    query_prompt: str | None = Field(
        None, description="text before each query, or the name of a prompt of the checkpoint; '' for none"
    )
    document_prompt: str | None = Field(None, description="the same before each document")
    max_length: int | None = Field(None, ge=2, description="tokens that a text is cut to")
    truncate_dim: int | None = Field(None, ge=1, description="keep this many dimensions (Matryoshka)")
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32", description="of the transformer; pooling, vectors and scores are float32 always"
    )
    similarity: Literal["auto", "cosine", "dot"] = Field(
        "auto", description="the checkpoint's own, or cosine"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="padded tokens of one batch; rounding differs in the last digits"
    )
    shard: int = Field(
        1024, ge=1, description="documents encoded and saved at a time: what an interruption may lose"
    )


class Dense:
    """One vector a text. See `DenseParams`; the recipe that results is in `describe`."""

    Params: ClassVar[type[protocol.Params]] = DenseParams
    index_params: ClassVar[frozenset[str]] = frozenset(
        {
            "model", "revision", "pooling", "normalize", "document_prompt", "max_length", "truncate_dim",
            "dtype", "similarity", "batch_tokens", "shard",  # the company of a text in a batch moves its last bits
        }
    )  # fmt: skip
    search_params: ClassVar[frozenset[str]] = frozenset({"query_prompt"})
    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.retrievers.dense",
        "seekbench.retrievers.dense.checkpoint",
        "seekbench.retrievers.dense.encode",
        "seekbench.retrievers.dense.exact",
        "seekbench.retrievers.dense.model",
    )
    needs: tuple[str, ...] = ()
    indexes = True

    def __init__(self, params: DenseParams) -> None:
        self.params = params
        self._model = Model(Checkpoint, Encoder)

    # -- facts ------------------------------------------------------------------------------------------

    def _settings(self, context: Context) -> Settings:
        p = self.params
        return Settings(
            model=p.place,
            revision=p.revision,
            pooling=p.pooling,
            normalize=p.normalize,
            query_prompt=p.query_prompt,
            document_prompt=p.document_prompt,
            max_length=p.max_length,
            truncate_dim=p.truncate_dim,
            similarity=p.similarity,
            trust_remote_code=context.trust_remote_code,
        )

    def checkpoint(self, context: Context, *, fetch: bool = False) -> Checkpoint:
        """The resolved files; with `fetch` the weights are on disk."""
        return self._model.checkpoint(self._settings(context), offline=context.offline, fetch=fetch)

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        """Content of the checkpoint and the versions of what computes with it; the same wherever the same
        bytes came from. No model is loaded, and weights that are still on the hub are not downloaded."""
        checkpoint = self.checkpoint(context)
        return {
            "weights": checkpoint.weights_hash,
            "files": checkpoint.files_hash,
            "versions": {
                name: version(name)
                for name in ("torch", "transformers", "tokenizers", "sentence-transformers")
            },
        }

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        """The recipe as applied, where the files came from, and the size of the model."""
        checkpoint = self.checkpoint(context)
        recipe, p = checkpoint.recipe, self.params
        dtype = p.dtype if p.dtype != "auto" else str(recipe.checkpoint_dtype or "float32")
        return {
            "model": p.model if checkpoint.source.kind == "local" else checkpoint.name,
            "source": checkpoint.source.kind,
            "folder": str(checkpoint.folder),
            "revision": checkpoint.source.revision,
            "weights": checkpoint.weights,
            "recipe": "modules.json" if checkpoint.modules else "plain transformers checkpoint",
            "modules": [name for name, _ in recipe.modules] or ["Transformer", "Pooling"],
            "pooling": recipe.pooling,
            "normalize": recipe.normalize,
            "similarity": recipe.similarity,
            "query_prompt": recipe.query_prompt,
            "document_prompt": recipe.document_prompt,
            "prompts": dict(recipe.prompts),
            "max_length": recipe.max_length,
            "dim": recipe.dim if self._model.loaded is None else self._model.loaded.recipe.dim,
            "truncate_dim": recipe.truncate_dim,
            "dtype": dtype.removeprefix("torch."),
            "parameters": checkpoint.parameters,
            "model_type": recipe.model_type,
            "remote_code": context.trust_remote_code,
            "warnings": list(recipe.warnings),
            "search": f"exact, float32, faiss {version('faiss-cpu')}",
        }

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        """Prompt and text, as tokenized (truncation comes after)."""
        prompt = self.checkpoint(context).recipe.prompt(side)
        return [prompt + text for text in texts]

    def encoder(self, context: Context) -> Encoder:
        """The loaded model; loaded once for index and search."""
        p = self.params
        return self._model.encoder(
            self._settings(context), context=context, dtype=p.dtype, batch_tokens=p.batch_tokens
        )

    def encode(
        self, texts: list[str], side: str, advance: Callable[[int], None], context: Context
    ) -> Encoded:
        """Vectors of texts by the model that `identity` names. Raises SeekbenchError where its files changed."""
        encoder = self.encoder(context)
        encoded = encoder.encode(texts, side, advance)
        self._model.checked(encoder.checkpoint.verify_loaded)
        return encoded

    def release(self) -> None:
        """Lets go of the loaded model; it is loaded again when it is needed."""
        self._model.release()

    # -- index ------------------------------------------------------------------------------------------

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Encodes the corpus into `vectors.npy` (float32 [documents, dim]), shard by shard.

        A shard is a function of its own documents alone (it is tokenized, sorted and batched by itself), so
        where an earlier call stopped changes nothing. Shards are joined into the matrix at the end and
        dropped as they go, so the disk holds the vectors about once.
        """
        started = time.monotonic()
        shards = _Shards(folder, len(documents), self.params.shard)
        if not (folder / _FACTS).exists():
            todo = shards.missing()
            done = len(documents) - sum(shards.size(i) for i in todo)
            with context.progress.stage(
                "encode corpus", total=len(documents), unit="docs", done=done
            ) as stage:
                for i in todo:
                    self.encoder(context)  # loading it is no part of the shard's time
                    began = time.monotonic()
                    start, stop = shards.bounds(i)
                    encoded = self.encode(documents.texts(start, stop), "document", stage.advance, context)
                    shards.save(
                        i,
                        encoded.vectors,
                        {
                            "tokens": encoded.tokens,
                            "truncated": encoded.truncated,
                            "seconds": time.monotonic() - began,
                        },
                    )
            shards.join(lambda: _unify(documents, folder / _MATRIX))
        facts: dict[str, Any] = orjson.loads((folder / _FACTS).read_bytes())
        shutil.rmtree(folder / _SHARDS, ignore_errors=True)
        rate = None if facts["truncated"] is None else facts["truncated"] / max(1, len(documents))
        return {
            "bytes": (folder / _MATRIX).stat().st_size,
            "documents": len(documents),
            "dim": facts["dim"],
            "tokens": facts["tokens"],
            "truncated": facts["truncated"],
            "truncation_rate": rate,
            "encode_seconds": facts["seconds"],
            "seconds": time.monotonic() - started,
        }

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> DenseSearcher:
        if folder is None or not (folder / _FACTS).exists():
            raise SeekbenchError(f"no index of dense vectors in {folder}")
        self.encoder(context)  # loading a model is no part of the first query's time
        return DenseSearcher(self, folder, documents)


class DenseSearcher:
    """An opened matrix. `timings` holds the seconds that all searches spent on `encode` and `search`;
    `facts` the tokens and truncated texts of the last one's queries."""

    def __init__(self, dense: Dense, folder: Path, documents: TextView) -> None:
        facts = orjson.loads((folder / _FACTS).read_bytes())
        if facts["documents"] != len(documents):
            raise SeekbenchError(
                f"{folder} holds {facts['documents']} vectors, the corpus {len(documents)} documents"
            )
        self._dense = dense
        # An empty corpus has no id that could be ordered.
        self._order = documents.order if len(documents) else np.empty(0, np.int32)
        self._vectors: npt.NDArray[np.float32] | None = _mapped(folder / _MATRIX)
        self._largest = float(facts["largest_norm"])
        self.timings: dict[str, float] = {"encode": 0.0, "search": 0.0}
        self.facts: dict[str, Any] = {}

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        if self._vectors is None:
            raise SeekbenchError("this index is closed")
        if not len(queries) or not len(self._vectors):
            return Run.empty(len(queries), min(k, len(self._vectors)))
        encoder = self._dense.encoder(context)
        began = time.monotonic()
        parts, tokens, truncated = [], 0, 0
        with context.progress.stage("encode queries", total=len(queries), unit="queries") as stage:
            # As with shards, blocks have fixed borders: memory stays bounded and a query keeps its company.
            for _, texts in queries.blocks(4096):
                encoded = self._dense.encode(texts, "query", stage.advance, context)
                parts.append(encoded.vectors)
                tokens += encoded.tokens or 0
                truncated += encoded.truncated or 0
        encoded_at = time.monotonic()
        exact = Exact(self._vectors, self._order, self._largest, encoder.device, context.threads)
        with context.progress.stage("search", total=len(queries), unit="queries") as stage:
            run = exact.search(np.concatenate(parts), k, stage.advance)
        self.timings["encode"] += encoded_at - began
        self.timings["search"] += time.monotonic() - encoded_at
        self.facts = {"queries": len(queries), "tokens": tokens, "truncated": truncated}
        return run

    def close(self) -> None:
        self._vectors = None


class _Shards:
    """Vectors of consecutive documents, one file a shard, and their union.

    A shard is complete when `<i>.npy` exists: it appears by a rename, after `<i>.json` (tokens, truncated
    texts, seconds). The number of documents a shard is fixed by the first call in `layout.json`, so that a
    call with another size continues the same shards.
    """

    def __init__(self, folder: Path, documents: int, size: int) -> None:
        self.root, self.folder, self.documents = folder, folder / _SHARDS, documents
        self.per_shard = size
        layout = folder / _SHARDS / "layout.json"
        try:
            known = orjson.loads(layout.read_bytes())
        except (OSError, ValueError):
            known = None
        if known and known["documents"] == documents:
            self.per_shard = int(known["shard"])
        elif not (folder / _FACTS).exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            (folder / _MATRIX).unlink(missing_ok=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(layout, orjson.dumps({"documents": documents, "shard": size}))

    @property
    def count(self) -> int:
        return -(-self.documents // self.per_shard)

    def bounds(self, i: int) -> tuple[int, int]:
        return i * self.per_shard, min((i + 1) * self.per_shard, self.documents)

    def size(self, i: int) -> int:
        start, stop = self.bounds(i)
        return stop - start

    def _path(self, i: int, suffix: str) -> Path:
        return self.folder / f"{i:07d}.{suffix}"

    def missing(self) -> list[int]:
        """Shards that are neither on disk nor joined already (joined ones have facts but no vectors)."""
        joined = self._joined()
        return [i for i in range(joined, self.count) if not self._path(i, "npy").exists()]

    def _joined(self) -> int:
        """How many leading shards are in the matrix already: their vectors were dropped after being
        synced."""
        try:
            return int(orjson.loads((self.folder / "joined.json").read_bytes()))
        except (OSError, ValueError):
            return 0

    def save(self, i: int, vectors: npt.NDArray[np.float32], facts: Mapping[str, Any]) -> None:
        import io

        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        largest = float(norms.max(initial=0.0))
        write_atomic(
            self._path(i, "json"), orjson.dumps({**facts, "largest_norm": largest, "dim": vectors.shape[1]})
        )
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors, dtype="<f4"))
        write_atomic(self._path(i, "npy"), buffer.getvalue())

    def join(self, finish: Callable[[], None]) -> None:
        """Moves all shards into one matrix, which `finish` completes; can be interrupted anywhere and called again."""
        import os

        facts = [orjson.loads(self._path(i, "json").read_bytes()) for i in range(self.count)]
        dims = {f["dim"] for f in facts} or {0}
        if len(dims) > 1:
            raise SeekbenchError(f"shards of different widths in {self.folder}: {sorted(dims)}")
        dim = dims.pop()
        matrix = self.root / _MATRIX
        first = self._joined()
        if first == 0:
            # The header alone; the rows follow shard by shard.
            with matrix.open("wb") as handle:
                np.lib.format.write_array_header_1_0(
                    handle, {"descr": "<f4", "fortran_order": False, "shape": (self.documents, dim)}
                )
        with matrix.open("r+b") as handle:
            np.lib.format.read_magic(handle)
            np.lib.format.read_array_header_1_0(handle)
            header = handle.tell()
            for i in range(first, self.count):
                handle.seek(header + self.bounds(i)[0] * dim * 4)
                handle.write(np.load(self._path(i, "npy")).tobytes())
                handle.flush()
                os.fsync(handle.fileno())
                write_atomic(self.folder / "joined.json", orjson.dumps(i + 1))
                self._path(i, "npy").unlink()
        finish()
        counted = all(f["tokens"] is not None for f in facts)
        total = {
            "documents": self.documents,
            "dim": dim,
            "tokens": sum(f["tokens"] for f in facts) if counted else None,
            "truncated": sum(f["truncated"] for f in facts) if counted else None,
            "seconds": sum(f["seconds"] for f in facts),
            "largest_norm": max((f["largest_norm"] for f in facts), default=0.0),
        }
        write_atomic(self.root / _FACTS, orjson.dumps(total, option=orjson.OPT_INDENT_2))


def _unify(documents: TextView, matrix: Path) -> None:
    """Gives documents of the same text the same vector, the first one's.

    In batches of other company a text's vector differs in its last bits, and that noise would decide ties that
    belong to the ranking rule.
    """
    source = documents.first_equals()
    repeated = np.flatnonzero(source != np.arange(len(source)))
    if not len(repeated):
        return
    vectors = np.load(matrix, mmap_mode="r+")
    for at in range(0, len(repeated), 1024):
        rows = repeated[at : at + 1024]
        vectors[rows] = vectors[source[rows]]
    vectors.flush()


def _mapped(path: Path) -> npt.NDArray[np.float32]:
    """The matrix, mapped read-only. A mapping of no bytes is not possible, so an empty one is read."""
    vectors: npt.NDArray[np.float32] = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None)
    return vectors
