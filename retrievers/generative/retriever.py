"""Generative retrieval: a model that writes the docid of the document that answers a query.

An index is a set of docids, a trie over them, and a decoder that was trained to write a document's docid when it is
given texts of the document or queries for it. A search is constrained beam search (`decoding`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator, model_validator

from seekbench import hashing
from seekbench.collection import Records
from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.generative import examples as examples_
from seekbench.retrievers.generative.docids import MODULES as DOCID_MODULES
from seekbench.retrievers.generative.docids import BuildInputs, Docids, DocQueries, make, report
from seekbench.retrievers.generative.examples import Examples, Input
from seekbench.retrievers.generative.trie import DocidTrie
from seekbench.retrievers.protocol import Context, TextView, TrainingData
from seekbench.runs import Run
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.vector import VectorDecoder

_FACTS = "generative.json"
_SHARD = 4096


class Training(protocol.Params):
    """How the decoder is trained."""

    steps: int = Field(4000, ge=1, description="steps of the optimiser")
    batch: int = Field(256, ge=1, description="examples a step")
    rate: float = Field(1e-3, gt=0, description="highest learning rate")
    warmup: float = Field(0.05, ge=0, description="share of the steps in which the rate rises")
    decay: Literal["linear", "cosine", "constant"] = Field("cosine", description="of the rate after that")
    weight_decay: float = Field(0.01, ge=0)
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing over the docid tokens")
    noise: float = Field(
        0.0, ge=0, description="standard deviation of noise on the input vectors, relative to their length"
    )
    watched: int = Field(256, ge=0, description="queries held out from training to watch it")
    evaluate_every: int = Field(500, ge=1, description="steps between looks at them")
    patience: int = Field(
        0, ge=0, description="looks without a better hits@1 after which it stops; 0 for never"
    )


class Decoding(protocol.Params):
    """How docids are searched for."""

    mode: Literal["trie", "per-position", "none"] = Field("trie", description="what a beam may write")
    beams: int = Field(20, ge=1, description="beams; at most so many docids are found")
    length_penalty: float = Field(1.0, description="a docid's score is its sum / length^penalty")
    normalisation: Literal["full", "docid", "children"] = Field(
        "full",
        description="what log-probabilities are over: the vocabulary, docid tokens, or what may follow",
    )
    stop: Literal["exact", "heuristic", "first"] = Field("exact", description="when a search ends")


class GenerativeParams(protocol.Params):
    """Fields of `type: generative`."""

    docids: dict[str, Any] = Field(
        default_factory=lambda: {"type": "semantic"}, description="the builder (`type`) and its parameters"
    )
    inputs: tuple[Input, ...] = Field(
        (Input.model_validate({"kind": "sentences"}), Input.model_validate({"kind": "keywords"})),
        min_length=1,
        description="kinds of training texts, and their shares",
    )
    train: str | None = Field(
        None, description="split whose queries may be learnt from; never the evaluated one"
    )
    encoder: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2", description="frozen encoder whose vectors the decoder reads"
    )
    docid_tokens: Literal["auto", "characters", "wordpieces"] = Field(
        "auto", description="how text docids are cut; auto: numbers into digits, other texts into word pieces"
    )
    width: int = Field(256, ge=8, description="of the decoder")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    slots: int = Field(4, ge=1, description="memory vectors that are made of a sentence vector")
    dropout: float = Field(0.1, ge=0, lt=1)
    training: Training = Field(
        default_factory=lambda: Training.model_validate({}), description="of the decoder"
    )
    decoding: Decoding = Field(default_factory=lambda: Decoding.model_validate({}), description="of docids")
    seed: int = Field(0, ge=0)
    batch_queries: int = Field(
        64, ge=1, description="queries decoded at a time; changes no score but the last bits"
    )

    _base: Any = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._base = (context or {}).get("base")

    @field_validator("docids")
    @classmethod
    def _known_docids(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            make(str(value.get("type", "semantic")), {k: v for k, v in value.items() if k != "type"})
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        return self


class Generative:
    """A decoder on vectors of a frozen encoder writes docids; see docs/retrievers.md."""

    Params: ClassVar[type[protocol.Params]] = GenerativeParams
    index_params: ClassVar[frozenset[str]] = frozenset(
        {
            "docids", "inputs", "train", "encoder", "docid_tokens", "width", "layers", "heads", "slots", "dropout",
            "training", "seed",
        }
    )  # fmt: skip
    search_params: ClassVar[frozenset[str]] = frozenset({"decoding", "batch_queries"})
    modules: ClassVar[tuple[str, ...]] = (
        __name__,
        "seekbench.retrievers.generative.examples",
        "seekbench.retrievers.generative.pairs",
        "seekbench.retrievers.generative.trie",
        "seekbench.retrievers.generative.decoding",
        "seekbench.retrievers.generative.steppers",
        "seekbench.retrievers.generative.models.vector",
        "seekbench.training.trainer",
        "seekbench.training.schedule",
        "seekbench.retrievers.generative",
        "seekbench.retrievers.generative.docids",
        "seekbench.retrievers.generative.docids.report",
        *DOCID_MODULES,
        *Dense.modules,
    )
    needs: tuple[str, ...] = ()
    indexes = True

    def __init__(self, params: GenerativeParams, training: TrainingData | None = None) -> None:
        self.params, self.training = params, training
        self.dense = Dense(
            DenseParams.model_validate(
                {"model": params.encoder, "shard": _SHARD}, context={"base": params._base}
            )
        )

    @property
    def trains_on(self) -> str | None:
        return self.params.train

    def with_training(self, data: TrainingData) -> Generative:
        """The retriever of one dataset. It shares the loaded encoder."""
        bound = Generative(self.params, data)
        bound.dense = self.dense
        return bound

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        data = self.training
        if self.params.train and data is None:
            raise SeekbenchError("the training split was not given to this retriever")
        return {
            "encoder": dict(self.dense.identity(context=context)),
            "training": None if data is None else {"split": data.split, "content": data.content_hash},
            "versions": {name: version(name) for name in ("torch", "numpy")},
        }

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        return {
            "encoder": dict(self.dense.describe(context=context)),
            "training": None
            if self.training is None
            else {
                "split": self.training.split,
                "pairs": len(self.training.query),
                "left_out": self.training.left_out,
            },
            "decoding": self.params.decoding.model_dump(),
        }

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        return self.dense.render(texts, "query", context=context)

    def embed_queries(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """float32 [texts, dim] of the frozen encoder, to tell which queries are close to training queries."""
        return self.dense.encode(texts, "query", lambda n: None, Context()).vectors

    def release(self) -> None:
        self.dense.release()

    # -- index ------------------------------------------------------------------------------------------------

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Docids, examples, their vectors, training; each step is kept in `folder`, and an interrupted call goes on."""
        started = time.perf_counter()
        docids = self._docids(documents, folder, context)
        tokens, vocabulary = self._tokens(docids, context)
        trie = DocidTrie.build(tokens[0], tokens[1], end=vocabulary - 1)
        trie.save(folder / "trie")
        found = examples_.make(
            documents.records, self.params.inputs, self.training, seed=self.params.seed,
            watched=self.params.training.watched,
        )  # fmt: skip
        found.save(folder / "examples.arrow")
        vectors = self._vectors(found.texts.to_pylist(), folder / "vectors", context)
        model, outcome = self._train(found, vectors, tokens, vocabulary, trie, docids, folder, context)
        facts = {
            "documents": len(documents),
            "docids": report(docids, encode=None, width=self.params.width),
            "trie": {"bytes_per_docid": trie.bytes_per_docid, "nodes": trie.nodes, "depth": trie.depth},
            "examples": found.facts(),
            "parameters": model.counts(),
            "training": {
                "steps": outcome.steps,
                "seconds": round(outcome.seconds, 3),
                "examples_seen": outcome.examples,
                "tokens_seen": int(outcome.examples * float(np.diff(tokens[1]).mean() + 1)),
                "best_step": outcome.best_step,
                "best_hits@1_held_out": outcome.best,
                "stopped_early": outcome.stopped_early,
                "last_loss": next((e["loss"] for e in reversed(outcome.log) if "loss" in e), None),
            },
        }
        self._save(model, vocabulary, folder, facts, outcome.log)
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        return {**facts, "bytes": size, "seconds": time.perf_counter() - started}

    def _docids(self, documents: TextView, folder: Path, context: Context) -> Docids:
        place = folder / "docids"
        if (place / "docids.json").exists():
            return Docids.load(place)
        chosen = dict(self.params.docids)
        builder = make(str(chosen.pop("type", "semantic")), chosen)
        embeddings = None
        if "embeddings" in builder.needs:
            self.dense.index(documents, folder / "documents", context=context)
            embeddings = np.load(folder / "documents" / "vectors.npy", mmap_mode="r")
        made = builder.build(
            BuildInputs(
                len(documents),
                records=documents.records,
                embeddings=embeddings,
                queries=self._doc_queries(builder.needs, documents.records),
                context=context,
            )
        )
        made.save(place)
        return made

    def _doc_queries(self, needs: frozenset[str], records: Records) -> DocQueries | None:
        """Queries that docids are made of: those of the training split, before keywords of the document."""
        if "queries" not in needs:
            return None
        rows, texts = examples_.of_kind(
            records,
            Input.model_validate({"kind": "keywords", "options": {"count": 1}}),
            None,
            seed=self.params.seed + 5,
        )
        source = "keywords"
        if self.training is not None:
            asked = self.training.queries.texts()
            rows = np.concatenate([self.training.doc, rows])
            texts = [asked[q] for q in self.training.query.tolist()] + texts
            source = f"queries of {self.training.split}, else keywords"
        return DocQueries.of(rows, texts, source)

    def _tokens(
        self, docids: Docids, context: Context
    ) -> tuple[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]], int]:
        """((flat tokens, indptr) of all docids, vocabulary): tokens 0 .. n - 1 are those of docids, n ends one."""
        flat, indptr = docids.sequences(self._cut(docids, context) if docids.kind == "text" else None)
        known, dense = np.unique(flat, return_inverse=True)
        return (dense.astype(np.int32), np.asarray(indptr)), len(known) + 1

    def _cut(self, docids: Docids, context: Context) -> Callable[[list[str]], Sequence[Sequence[int]]]:
        how = self.params.docid_tokens
        if how == "auto":
            numbers = docids.builder in ("naive", "random", "sequential")
            how = "characters" if numbers else "wordpieces"
        if how == "characters":
            return lambda texts: [[ord(c) for c in text] for text in texts]
        tokenizer = self.dense.encoder(context).model.tokenizer
        return lambda texts: list(tokenizer(texts, add_special_tokens=False)["input_ids"])

    def _vectors(self, texts: list[str], folder: Path, context: Context) -> npt.NDArray[np.float32]:
        """float32 [texts, dim] of the frozen encoder, mapped; in shards, as an index of documents."""
        records = Records(pa.table({"id": pa.array(map(str, range(len(texts))), pa.string()), "text": texts}))
        self.dense.index(TextView(records, "{text}"), folder, context=context)
        vectors: npt.NDArray[np.float32] = np.load(folder / "vectors.npy", mmap_mode="r")
        return vectors

    def _train(
        self,
        found: Examples,
        vectors: npt.NDArray[np.float32],
        tokens: tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]],
        vocabulary: int,
        trie: DocidTrie,
        docids: Docids,
        folder: Path,
        context: Context,
    ) -> tuple[VectorDecoder, Any]:
        import torch

        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.vector import Shape, VectorDecoder
        from seekbench.training.trainer import Settings, train

        p, t = self.params, self.params.training
        device = pick_device(context.device)
        torch.set_num_threads(context.threads)
        shape = Shape(
            vectors.shape[1], vocabulary, trie.depth, p.width, p.layers, p.heads, p.slots, p.dropout
        )
        torch.manual_seed(p.seed)
        model = VectorDecoder(shape).to(device)
        targets = _Targets(tokens, docids, vocabulary, trie.depth, device)
        tasks = [
            _Task(
                found.inputs[kind].kind, weight, np.flatnonzero((found.kind == kind) & ~found.held_out), found.doc,
                vectors, targets, t.smoothing, t.noise,
            )
            for kind, weight in examples_.weights(found).items()
        ]  # fmt: skip
        settings = Settings(
            steps=t.steps, batch=t.batch, peak_rate=t.rate, warmup=t.warmup, decay=t.decay,
            weight_decay=t.weight_decay, seed=p.seed, evaluate_every=t.evaluate_every, patience=t.patience,
            checkpoint_every=max(100, t.evaluate_every),
        )  # fmt: skip
        held = np.flatnonzero(found.held_out & (found.kind == examples_.watched_kind(found.inputs)))
        watch = (
            _Watch(model, trie, docids, np.asarray(vectors[held]), found.doc[held], device)
            if len(held)
            else None
        )
        identity = hashing.of_json(
            [shape.as_json(), p.model_dump(mode="json"), docids.content_hash, len(found)]
        )
        outcome = train(
            model,
            tasks,
            settings,
            folder / "training",
            identity=identity,
            evaluate=watch,
            progress=context.progress,
        )
        return model, outcome

    def _save(
        self,
        model: VectorDecoder,
        vocabulary: int,
        folder: Path,
        facts: Mapping[str, Any],
        log: Sequence[Any],
    ) -> None:
        import shutil

        import torch

        from seekbench.training.trainer import plot

        torch.save({"shape": model.shape.as_json(), "weights": model.state_dict()}, folder / "model.pt")
        write_atomic(folder / "log.jsonl", b"".join(orjson.dumps(e) + b"\n" for e in log))
        plot(log, folder / "curves.png", title=f"{self.params.docids.get('type', 'semantic')} docids")
        write_atomic(folder / _FACTS, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        for part in ("documents", "vectors", "training"):
            shutil.rmtree(folder / part, ignore_errors=True)

    # -- search -----------------------------------------------------------------------------------------------

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> GenerativeSearcher:
        import torch

        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.vector import Shape, VectorDecoder

        if folder is None or not (folder / _FACTS).exists():
            raise SeekbenchError(f"no generative index in {folder}")
        saved = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        model = VectorDecoder(Shape(**saved["shape"]))
        model.load_state_dict(saved["weights"])
        model.to(pick_device(context.device)).eval()
        docids = Docids.load(folder / "docids")
        if docids.documents != len(documents):
            raise SeekbenchError(
                f"{folder} holds docids of {docids.documents} documents, not of {len(documents)}"
            )
        return GenerativeSearcher(self, model, DocidTrie.load(folder / "trie"), docids, documents)


class _Targets:
    """Documents' docids as padded tensors. A document of several docids is taught the preferred one."""

    def __init__(self, tokens: Any, docids: Docids, vocabulary: int, depth: int, device: str) -> None:
        import torch

        flat, indptr = tokens
        first = np.searchsorted(docids.doc, np.arange(docids.documents))
        length = np.diff(indptr)[first]
        inside = np.arange(depth) < length[:, None]
        table = np.full((docids.documents, depth), -100, dtype=np.int64)
        table[inside] = flat[(indptr[first][:, None] + np.arange(depth))[inside]]
        table[np.arange(docids.documents), length] = vocabulary - 1  # the end
        self.target = torch.from_numpy(table).to(device)
        read = np.full_like(table, vocabulary)  # the start token, and padding, which no loss looks at
        read[:, 1:] = np.where(table[:, :-1] >= 0, table[:, :-1], vocabulary)
        self.read = torch.from_numpy(read).to(device)
        self.device = device


class _Task:
    """`trainer.Task` of one kind of training text."""

    def __init__(
        self, name: str, weight: float, rows: npt.NDArray[np.int64], doc: npt.NDArray[np.int64],
        vectors: npt.NDArray[np.float32], targets: _Targets, smoothing: float, noise: float,
    ) -> None:  # fmt: skip
        self.name, self.weight, self.rows, self.doc = name, weight, rows, doc
        self.vectors, self.targets, self.smoothing, self.noise = vectors, targets, smoothing, noise

    def __len__(self) -> int:
        return len(self.rows)

    def loss(self, model: Any, rows: npt.NDArray[np.int64]) -> Any:
        import torch

        from seekbench.retrievers.generative.models.vector import docid_loss

        chosen = self.rows[rows]
        given = torch.from_numpy(np.asarray(self.vectors[chosen])).to(self.targets.device)
        if self.noise:
            given = given + torch.randn_like(given) * (
                self.noise * given.norm(dim=1, keepdim=True) / given.shape[1] ** 0.5
            )
        at = torch.from_numpy(self.doc[chosen]).to(self.targets.device)
        return docid_loss(model(given, self.targets.read[at]), self.targets.target[at], self.smoothing)


class _Watch:
    """hits@1 and hits@10 of examples that training does not see, by constrained beam search."""

    def __init__(
        self, model: Any, trie: DocidTrie, docids: Docids, vectors: npt.NDArray[np.float32],
        doc: npt.NDArray[np.int64], device: str,
    ) -> None:  # fmt: skip
        self.model, self.trie, self.docids, self.vectors, self.doc, self.device = (
            model,
            trie,
            docids,
            vectors,
            doc,
            device,
        )

    def __call__(self) -> Mapping[str, float]:
        import torch

        from seekbench.retrievers.generative.decoding import Decoder
        from seekbench.retrievers.generative.steppers import ModuleStepper

        hits = {1: 0, 10: 0}
        with torch.inference_mode():
            decoder = Decoder(ModuleStepper(self.model), self.trie, beams=10)
            for at in range(0, len(self.doc), 64):
                found = decoder(torch.from_numpy(self.vectors[at : at + 64]).to(self.device))
                docs = np.where(found.rows >= 0, self.docids.doc[np.maximum(found.rows, 0)], -1)
                right = docs == self.doc[at : at + 64, None]
                for k in hits:
                    hits[k] += int(right[:, :k].any(axis=1).sum())
        return {f"hits@{k}": count / len(self.doc) for k, count in hits.items()}


class GenerativeSearcher:
    """An opened index. `timings`: seconds of `encode` and `decode`; `finish` gives the counts of decoding."""

    def __init__(
        self,
        retriever: Generative,
        model: VectorDecoder,
        trie: DocidTrie,
        docids: Docids,
        documents: TextView,
    ) -> None:
        from seekbench.retrievers.generative.decoding import Decoder
        from seekbench.retrievers.generative.steppers import ModuleStepper

        self._retriever, self._docids, self._order = retriever, docids, documents.order
        p = retriever.params.decoding
        self._device = next(model.parameters()).device
        self._decoder = Decoder(
            ModuleStepper(model), trie, beams=p.beams, mode=p.mode, normalisation=p.normalisation,
            length_penalty=p.length_penalty, stop=p.stop,
        )  # fmt: skip
        self.timings: dict[str, float] = {"encode": 0.0, "decode": 0.0}
        self._counts = dict.fromkeys(("queries", "invalid", "duplicate", "tied", "tokens"), 0)

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        import torch

        size = self._retriever.params.batch_queries
        began = time.perf_counter()
        encoded = self._retriever.dense.encode(queries.texts(), "query", lambda n: None, context).vectors
        self.timings["encode"] += time.perf_counter() - began
        began = time.perf_counter()
        found = []
        with (
            torch.inference_mode(),
            context.progress.stage("decode", total=len(queries), unit="queries") as stage,
        ):
            for at in range(0, len(queries), size):
                found.append(self._decoder(torch.from_numpy(encoded[at : at + size]).to(self._device)))
                stage.advance(min(size, len(queries) - at))
        for part in found:
            self._counts["queries"] += len(part.rows)
            for name in ("invalid", "duplicate", "tied", "tokens"):
                self._counts[name] += int(getattr(part, name).sum())
        self.timings["decode"] += time.perf_counter() - began
        if not found:
            return Run.empty(0, k)
        width = max(part.rows.shape[1] for part in found)
        rows = np.concatenate([_padded(part.rows, width, -1) for part in found])
        scores = np.concatenate([_padded(part.scores, width, -np.inf) for part in found])
        docs = np.where(rows >= 0, self._docids.doc[np.maximum(rows, 0)], -1)
        docs, scores = _first_of_each(docs, scores)
        return Run.ranked(docs, scores, self._order).cut(k)

    def finish(self, run: Run) -> Mapping[str, Any]:
        """Counts over all queries that this process decoded."""
        queries = max(1, self._counts["queries"])
        p = self._retriever.params.decoding
        return {
            "decoding": p.model_dump(),
            "queries_decoded": self._counts["queries"],
            "invalid_rate": self._counts["invalid"] / (queries * p.beams),
            **{f"{n}_per_query": self._counts[n] / queries for n in ("duplicate", "tied", "tokens")},
        }

    def close(self) -> None:
        return


def _padded(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    out = np.full((len(values), width), fill, dtype=values.dtype)
    out[:, : values.shape[1]] = values
    return out


def _first_of_each(
    docs: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """A document that several docids found counts once, with its best score, which comes first."""
    by = np.argsort(docs, axis=1, kind="stable")
    ordered = np.take_along_axis(docs, by, axis=1)
    again = np.zeros(docs.shape, dtype=np.bool_)
    again[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    repeated = np.zeros(docs.shape, dtype=np.bool_)
    np.put_along_axis(repeated, by, again, axis=1)
    return np.where(repeated, -1, docs), np.where(repeated, np.float32(-np.inf), scores)
