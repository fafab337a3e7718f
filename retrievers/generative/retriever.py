"""Generative retrieval: a model that writes the docid of the document that answers a query.

An index is a set of docids, a trie over them, and a model that was trained to write a document's docid when it is
given texts of the document or queries for it. A search is constrained beam search (`decoding`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field, PrivateAttr, field_validator, model_validator

from seekbench import hashing
from seekbench.errors import InputError, SeekbenchError
from seekbench.generation.queries import MODULES as GENERATION_MODULES
from seekbench.generation.queries import identity as generator_identity
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.generative import examples as examples_
from seekbench.retrievers.generative import targets as targets_
from seekbench.retrievers.generative.docids import MODULES as DOCID_MODULES
from seekbench.retrievers.generative.docids import (
    BuildInputs,
    Docids,
    DocQueries,
    Interactions,
    make,
    report,
)
from seekbench.retrievers.generative.docids.extend import extend
from seekbench.retrievers.generative.embedding import embedded
from seekbench.retrievers.generative.examples import Examples, Input, Known
from seekbench.retrievers.generative.growth import Growth, restricted, shares
from seekbench.retrievers.generative.links import MODULES as LINK_MODULES
from seekbench.retrievers.generative.models.base import DocidTokens, Inputs
from seekbench.retrievers.generative.models.family import MODULES as MODEL_MODULES
from seekbench.retrievers.generative.models.family import ModelParams, family_of
from seekbench.retrievers.generative.models.vector import VectorParams
from seekbench.retrievers.generative.targets import Lists, Targets
from seekbench.retrievers.generative.trie import DocidTrie
from seekbench.retrievers.protocol import Context, TextView, TrainingData
from seekbench.runs import Run
from seekbench.store import write_atomic

_FACTS = "generative.json"
_SECONDS = "seconds.json"
_HELD_OUT = "held_out.json"
#: Counts of decoding, by query (`decoding.Decoded`).
_COUNTED = ("invalid", "duplicate", "tied", "tokens")


class Training(protocol.Params):
    """How the model is trained."""

    steps: int = Field(4000, ge=0, description="steps of the optimiser; 0 takes a checkpoint as it is")
    batch: int = Field(256, ge=1, description="examples a step")
    micro: int = Field(0, ge=0, description="examples that go through the model at once; 0: the whole batch")
    rate: float = Field(1e-3, gt=0, description="highest learning rate")
    warmup: float = Field(0.05, ge=0, description="share of the steps in which the rate rises")
    decay: Literal["linear", "cosine", "constant"] = Field("cosine", description="of the rate after that")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, ge=0, description="of the gradient's norm; 0 for none")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing over the model's vocabulary")
    watched: int = Field(
        256,
        ge=0,
        description="texts held out from training to watch it, at most a tenth of a kind's; none that is all "
        "there is of a document",
    )
    evaluate_every: int = Field(500, ge=1, description="steps between looks at them")
    patience: int = Field(
        0, ge=0, description="looks without a better MRR@10 after which it stops; 0 for never"
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="weights of the index: those after the last step, or of the look with the best MRR@10",
    )


class Decoding(protocol.Params):
    """How docids are searched for."""

    mode: Literal["trie", "per-position", "none"] = Field("trie", description="what a beam may write")
    beams: int = Field(
        20, ge=1, description="beams; at most so many docids are found (for lists: so many lists)"
    )
    length_penalty: float = Field(1.0, description="a docid's score is its sum / length^penalty")
    normalisation: Literal["full", "docid", "children"] = Field(
        "full",
        description="what log-probabilities are over: the vocabulary, docid tokens, or what may follow",
    )
    stop: Literal["exact", "heuristic", "first"] = Field("exact", description="when a search ends")
    merge: Literal["best", "all"] = Field(
        "best", description="for `lists`: the best list alone, or followed by what the others add"
    )


#: How watched texts are searched: an index must not depend on how it will be searched.
_WATCHING = Decoding.model_validate({"beams": 10})
_WATCHING_LISTS = Decoding.model_validate({"beams": 1})


class GenerativeParams(protocol.Params):
    """Fields of `type: generative`."""

    docids: dict[str, Any] = Field(
        default_factory=lambda: {"type": "semantic"}, description="the builder (`type`) and its parameters"
    )
    inputs: tuple[Input, ...] = Field(
        (Input.model_validate({"kind": "sentences"}), Input.model_validate({"kind": "keywords"})),
        description="kinds of training texts, and their shares",
    )
    train: str | None = Field(
        None, description="split whose queries may be learnt from; never the evaluated one"
    )
    lists: Lists | None = Field(None, description="the model writes ranked lists of docids")
    model: ModelParams = Field(
        default_factory=lambda: VectorParams.model_validate({}),
        description="what writes docids: `vector`, `encoder` or `checkpoint`",
        discriminator="type",
    )
    encoder: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="frozen encoder: of documents for docids, and of what `model: vector` reads",
    )
    query_prefix: str = Field("", description="stands before each query in search, e.g. 'Query: ' (SE-DSI)")
    training: Training = Field(
        default_factory=lambda: Training.model_validate({}), description="of the model"
    )
    decoding: Decoding = Field(default_factory=lambda: Decoding.model_validate({}), description="of docids")
    growth: Growth | None = Field(
        None, description="index the first documents, then add the others by continued training"
    )
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

    @field_validator("model", mode="before")
    @classmethod
    def _vector_by_default(cls, value: Any) -> Any:
        return {"type": "vector", **value} if isinstance(value, dict) else value

    @field_validator("inputs", mode="before")
    @classmethod
    def _some_inputs(cls, value: Any) -> Any:
        # A least length of the tuple would be complained of too where an entry is wrong.
        if isinstance(value, list | tuple) and not value:
            raise ValueError("it needs at least one kind of training text")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train is None:
            if any(entry.kind == "queries" for entry in self.inputs):
                raise ValueError("the input `queries` needs a training split, e.g. train: train")
            kind = str(self.docids.get("type", "semantic"))
            builder = make(kind, {k: v for k, v in self.docids.items() if k != "type"})
            if "interactions" in builder.needs:
                raise ValueError(f"docids '{kind}' need the queries of a training split, e.g. train: train")
        if self.training.steps == 0 and self.model.type != "checkpoint":
            raise ValueError("training.steps 0 takes a model as it is, which only a checkpoint can be")
        if self.lists and self.decoding.mode != "trie":
            raise ValueError("lists are decoded in mode `trie` only")
        if self.lists and (self.decoding.normalisation != "full" or self.decoding.stop != "exact"):
            raise ValueError("lists take no `normalisation` and no `stop`")
        return self


class Generative:
    """A model writes docids; see docs/retrievers.md."""

    Params: ClassVar[type[protocol.Params]] = GenerativeParams
    index_params: ClassVar[frozenset[str]] = frozenset(
        {"docids", "inputs", "train", "lists", "model", "encoder", "training", "growth", "seed"}
    )
    search_params: ClassVar[frozenset[str]] = frozenset({"decoding", "batch_queries", "query_prefix"})
    modules: ClassVar[tuple[str, ...]] = (
        __name__,
        "seekbench.retrievers.generative.embedding",
        "seekbench.retrievers.generative.examples",
        "seekbench.retrievers.generative.pairs",
        *LINK_MODULES,
        "seekbench.retrievers.generative.targets",
        "seekbench.retrievers.generative.growth",
        "seekbench.retrievers.generative.trie",
        "seekbench.retrievers.generative.decoding",
        "seekbench.retrievers.generative.steppers",
        *GENERATION_MODULES,
        "seekbench.training.trainer",
        "seekbench.training.schedule",
        "seekbench.retrievers.generative",
        "seekbench.retrievers.generative.docids",
        "seekbench.retrievers.generative.docids.report",
        *MODEL_MODULES,
        *DOCID_MODULES,
        *Dense.modules,
    )
    needs: tuple[str, ...] = ()
    indexes = True

    def __init__(self, params: GenerativeParams, training: TrainingData | None = None) -> None:
        self.params, self.training = params, training
        self.dense = Dense(
            DenseParams.model_validate({"model": params.encoder}, context={"base": params._base})
        )
        self.family = family_of(params.model, self.dense)

    @property
    def trains_on(self) -> str | None:
        return self.params.train

    def with_training(self, data: TrainingData) -> Generative:
        """The retriever of one dataset. It shares what is loaded."""
        bound = Generative(self.params, data)
        bound.dense, bound.family = self.dense, self.family
        return bound

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        data = self.training
        generators = [
            dict(generator_identity(e.generator, context=context, base=e._base)) if e.generator else None
            for e in self.params.inputs
        ]
        return {
            "encoder": dict(self.dense.identity(context=context)),
            "model": dict(self.family.identity(context=context)),
            **({"generators": generators} if any(generators) else {}),
            "training": None if data is None else {"split": data.split, "content": data.content_hash},
            "versions": {name: version(name) for name in ("torch", "numpy")},
        }

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        return {
            "encoder": dict(self.dense.describe(context=context)),
            "model": {"type": self.params.model.type, **self.family.describe(context=context)},
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
        return [self.params.query_prefix + text for text in texts] if side == "query" else texts

    def embed_queries(self, texts: list[str], *, context: Context) -> npt.NDArray[np.float32]:
        """float32 [texts, dim] of the frozen encoder, to tell which queries are close to training queries."""
        return self.dense.encode(texts, "query", lambda n: None, context).vectors

    def release(self) -> None:
        self.dense.release()
        self.family.release()

    # -- index ------------------------------------------------------------------------------------------------

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Docids, examples, training; each step is kept in `folder`, and an interrupted call goes on."""
        if self.params.train and self.training is None:
            raise SeekbenchError("the training split was not given to this retriever")
        work = _Work(folder)
        p, family = self.params, self.family
        parent = self._parent(documents, folder, work, context) if p.growth else None
        docids = self._docids(documents, parent, folder, work, context)
        began = time.perf_counter()
        found = examples_.make(
            documents, p.inputs, self.training, folder, seed=p.seed, watched=p.training.watched, context=context,
            known=parent.seen() if parent else None,
        )  # fmt: skip
        found.save(folder / "examples.arrow")
        write_atomic(folder / _HELD_OUT, orjson.dumps(found.held_out_texts()))
        took, generation = time.perf_counter() - began, found.generation_seconds
        # Queries that another system generated, or an earlier call, took no time of this one, but they are a cost.
        work.take("generation", generation)
        work.take("examples", took - generation if took >= generation else took)
        tokens = family.tokens(docids, lists=p.lists is not None, context=context)
        tokens.save(folder / "tokens")
        trie = DocidTrie.build(tokens.flat, tokens.indptr, end=None if p.lists else tokens.end)
        trie.save(folder / "trie")
        taught = self._targets(documents, docids, tokens, found, folder, work, context)
        longest = max(trie.depth, *(t.longest for t in taught), self._longest_list(tokens))
        outcome, model = self._train(
            found, taught, tokens, trie, docids, longest, parent, folder, work, context
        )
        work.take("training", outcome.seconds)
        facts = {
            "documents": len(documents),
            "docids": {
                **report(docids, cut=(tokens.flat, tokens.indptr) if docids.kind == "text" else None),
                "parameters": {"own_tokens": len(tokens.own), "table": model.counts()["docid_table"]},
                "builder_facts": dict(docids.facts),
            },
            "trie": {"bytes_per_docid": trie.bytes_per_docid, "nodes": trie.nodes, "depth": trie.depth},
            "examples": found.facts(),
            "parameters": model.counts(),
            "longest": longest,
            "training": {
                "steps": outcome.steps,
                "seconds": round(outcome.seconds, 3),
                "examples_seen": outcome.examples,
                "tokens_seen": round(outcome.examples * _mean_length(found, taught)),
                "best_step": outcome.best_step,
                "best_mrr@10_held_out": outcome.best,
                "weights": p.training.keep,
                "stopped_early": outcome.stopped_early,
                "last_loss": next((e["loss"] for e in reversed(outcome.log) if "loss" in e), None),
            },
            "parts_seconds": work.rounded(),
            **({"growth": parent.facts} if parent else {}),
        }
        family.save(model, folder / "model")
        self._log(outcome.log, folder)
        write_atomic(folder / _FACTS, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        for part in ("documents", "training", "first", *(f"inputs-{i}" for i in range(len(p.inputs)))):
            shutil.rmtree(folder / part, ignore_errors=True)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        return {**facts, "bytes": size, "seconds": work.total()}

    def _parent(self, documents: TextView, folder: Path, work: _Work, context: Context) -> _Parent:
        """The index of the first documents, from the store or made in `folder`."""
        growth = self.params.growth
        assert growth is not None
        known = growth.known(len(documents))
        own = Generative(self.params.model_copy(update={"growth": None}), restricted(self.training, known))
        own.dense, own.family = self.dense, self.family
        view = documents.take(np.arange(known))
        if context.shared is not None:
            place, facts = context.shared("generative", own, view)
        else:
            place = folder / "first"
            facts = own.index(view, place, context=context)
        work.take("first documents", float(facts["seconds"]))
        return _Parent(place, known, {"first": known, "added": len(documents) - known})

    def _docids(
        self, documents: TextView, parent: _Parent | None, folder: Path, work: _Work, context: Context
    ) -> Docids:
        place = folder / "docids"
        if (place / "docids.json").exists():
            return Docids.load(place)
        chosen = dict(self.params.docids)
        builder = make(str(chosen.pop("type", "semantic")), chosen)
        embeddings = None
        if "embeddings" in builder.needs:
            embeddings = self._embeddings(documents, folder, work, context)
        with work.timed("docids"):
            inputs = BuildInputs(
                len(documents),
                records=documents.records,
                embeddings=embeddings,
                queries=self._doc_queries(builder.needs, documents, folder, context),
                interactions=self._interactions(builder.needs),
                context=context,
            )
            if parent is None:
                made = builder.build(inputs)
            else:
                name = str(self.params.docids.get("type", "semantic"))
                made = extend(Docids.load(parent.folder / "docids"), name, chosen, inputs)
            made.save(place)
        return made

    def _embeddings(
        self, documents: TextView, folder: Path, work: _Work, context: Context
    ) -> npt.NDArray[np.float32]:
        vectors, facts = embedded(self.dense, documents, "document", folder / "documents", context=context)
        work.encoded("documents", facts)
        return vectors

    def _doc_queries(
        self, needs: frozenset[str], documents: TextView, folder: Path, context: Context
    ) -> DocQueries | None:
        """Queries that docids are made of: generated ones where the inputs have them, then keywords of the document.
        Never labelled queries: a docid that repeats one gives its near-duplicates away."""
        if "queries" not in needs:
            return None
        plain = Input.model_validate({"kind": "keywords", "options": {"count": 1}})
        rows, texts, names = [], [], []
        for i, entry in [*enumerate(self.params.inputs), (0, plain)]:
            if entry.kind == "generated" or entry is plain:
                made = examples_.of_kind(
                    documents, entry.model_copy(update={"prefix": ""}), None, folder / f"generated-{i}",
                    seed=self.params.seed + 5, context=context,
                )  # fmt: skip
                # The best first.
                by = (
                    np.arange(len(made.doc)) if made.score is None else np.argsort(-made.score, kind="stable")
                )
                rows.append(made.doc[by])
                texts += [made.texts[i] for i in by.tolist()]
                names.append(entry.kind)
        return DocQueries.of(np.concatenate(rows), texts, ", else ".join(names))

    def _interactions(self, needs: frozenset[str]) -> Interactions | None:
        """Documents that a training query has in common."""
        if "interactions" not in needs or self.training is None:
            return None
        data = self.training
        by = np.argsort(data.query, kind="stable")
        _, counts = np.unique(data.query[by], return_counts=True)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Interactions(data.doc[by], indptr, f"answers of a query of {data.split}")

    def _longest_list(self, tokens: DocidTokens) -> int:
        if self.params.lists is None:
            return 0
        return max(self.params.lists.most, self.params.lists.length) * (tokens.longest + 1)

    def _targets(
        self,
        documents: TextView,
        docids: Docids,
        tokens: DocidTokens,
        found: Examples,
        folder: Path,
        work: _Work,
        context: Context,
    ) -> list[Targets]:
        """What each kind's texts are taught to bring up."""
        lists, seed = self.params.lists, self.params.seed
        if lists is None:
            return [targets_.of_docids(docids, tokens, kind.made) for kind in found.kinds]
        if lists.source == "similar":
            vectors = self._embeddings(documents, folder, work, context)
            near = targets_.similar(np.asarray(vectors), lists.length - 1)
            followers: list[Sequence[npt.NDArray[np.int64]]] = [near[k.made.doc] for k in found.kinds]  # type: ignore[misc]
        else:
            from seekbench.retrievers.generative.links import Links, title_list

            links = Links.of(documents.records)
            if links.skipped:
                raise InputError(
                    f"lists of linked documents need a corpus with links ({links.searched})",
                    remedy="source: similar, or no `lists`",
                )
            followers = []
            for kind in found.kinds:
                if kind.entry.side == "query" or kind.entry.kind == "links":
                    # CorpusBrain's lists are those of a page's own texts; what links to a page brings up it alone.
                    followers.append([np.empty(0, np.int64)] * len(kind.made.doc))
                    continue
                indptr, rows = title_list(links, kind.made.doc, seed=seed)
                followers.append(np.split(rows, indptr[1:-1]))
        return [
            targets_.of_lists(docids, tokens, targets_.lists_of(kind.made, more, docids, lists.length))
            for kind, more in zip(found.kinds, followers, strict=True)
        ]

    def _train(
        self,
        found: Examples,
        taught: Sequence[Targets],
        tokens: DocidTokens,
        trie: DocidTrie,
        docids: Docids,
        longest: int,
        parent: _Parent | None,
        folder: Path,
        work: _Work,
        context: Context,
    ) -> tuple[Any, Any]:
        import torch

        from seekbench.training.trainer import Outcome, Settings, train

        p, t = self.params, self.params.training
        torch.set_num_threads(context.threads)
        steps, rate, warmup = t.steps, t.rate, t.warmup
        if parent is None or p.growth is None:
            model = self.family.make(tokens, longest, seed=p.seed, context=context)
        else:
            model = self._grown(parent, tokens, longest, context)
            steps, rate, warmup = p.growth.steps, p.growth.rate or t.rate, p.growth.warmup
        if not steps:
            model.eval()
            return Outcome([], 0, 0.0, 0), model
        inputs = []
        for i, kind in enumerate(found.kinds):
            given = self.family.inputs(
                kind.made.texts, kind.entry.side, folder / f"inputs-{i}", context=context
            )
            work.take(f"inputs {i} {kind.entry.kind}", given.seconds)
            inputs.append(given)
        names = _distinct([kind.entry.kind for kind in found.kinds])
        weights = [kind.entry.weight for kind in found.kinds]
        learnt = [kind.learnt for kind in found.kinds]
        tasks = []
        if parent is None or p.growth is None:
            for i, name in enumerate(names):
                tasks.append(_Task(name, weights[i], learnt[i], inputs[i], taught[i], t.smoothing))
        else:
            docs = [kind.made.doc[rows] for kind, rows in zip(found.kinds, learnt, strict=True)]
            for i, which, rows, share in shares(weights, docs, parent.known, p.growth.replay):
                tasks.append(
                    _Task(f"{names[i]} {which}", share, learnt[i][rows], inputs[i], taught[i], t.smoothing)
                )
        settings = Settings(
            steps=steps, batch=t.batch, peak_rate=rate, warmup=warmup, decay=t.decay,
            weight_decay=t.weight_decay, clip=t.clip, seed=p.seed, evaluate_every=t.evaluate_every,
            patience=t.patience, watch="mrr@10", keep=t.keep, checkpoint_every=max(100, t.evaluate_every),
            micro=t.micro,
        )  # fmt: skip
        watched = found.kinds.index(found.watched)
        held = np.flatnonzero(found.watched.held_out)
        watch = None
        if len(held):
            watch = _Watch(
                lambda: self._decoder(model, tokens, trie, _WATCHING_LISTS if p.lists else _WATCHING),
                model, docids, inputs[watched], held, found.watched.made.doc[held],
            )  # fmt: skip
        outcome = train(
            model,
            tasks,
            settings,
            folder / "training",
            identity=hashing.of_json(
                [p.model_dump(mode="json", include=set(self.index_params)), docids.content_hash, len(found)]
            ),
            evaluate=watch,
            progress=context.progress,
        )
        return outcome, model

    def _grown(self, parent: _Parent, tokens: DocidTokens, longest: int, context: Context) -> Any:
        known = DocidTokens.load(parent.folder / "tokens")
        facts = orjson.loads((parent.folder / _FACTS).read_bytes())
        model = self.family.load(parent.folder / "model", known, facts["longest"], context=context)
        return self.family.grown(model, known, tokens, longest, seed=self.params.seed, context=context)

    def _decoder(self, model: Any, tokens: DocidTokens, trie: DocidTrie, decoding: Decoding) -> Any:
        from seekbench.retrievers.generative.decoding import Decoder, ListDecoder

        d = decoding
        if self.params.lists:
            assert tokens.separator is not None
            return ListDecoder(
                model.stepper(), trie, separator=tokens.separator, end=tokens.end, docids=self.params.lists.most,
                beams=d.beams, length_penalty=d.length_penalty, merge=d.merge,
            )  # fmt: skip
        return Decoder(
            model.stepper(), trie, beams=d.beams, mode=d.mode, normalisation=d.normalisation,
            length_penalty=d.length_penalty, stop=d.stop,
        )  # fmt: skip

    def _log(self, log: Sequence[Any], folder: Path) -> None:
        from seekbench.training.trainer import plot

        write_atomic(folder / "log.jsonl", b"".join(orjson.dumps(e) + b"\n" for e in log))
        if log:
            plot(log, folder / "curves.png", title=f"{self.params.docids.get('type', 'semantic')} docids")

    # -- search -----------------------------------------------------------------------------------------------

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> GenerativeSearcher:
        if folder is None or not (folder / _FACTS).exists():
            raise SeekbenchError(f"no generative index in {folder}")
        facts = orjson.loads((folder / _FACTS).read_bytes())
        docids, tokens = Docids.load(folder / "docids"), DocidTokens.load(folder / "tokens")
        if docids.documents != len(documents):
            raise SeekbenchError(
                f"{folder} holds docids of {docids.documents} documents, not of {len(documents)}"
            )
        model = self.family.load(folder / "model", tokens, facts["longest"], context=context)
        trie, decoding = DocidTrie.load(folder / "trie"), self.params.decoding
        decoder = self._decoder(model, tokens, trie, decoding)
        written = decoding.beams
        if self.params.lists:
            written = self.params.lists.most * (decoding.beams if decoding.merge == "all" else 1)
        # Documents that share a docid are found together, and take no place from other docids.
        sizes = np.sort(np.diff(trie.leaf_indptr))[::-1]
        return GenerativeSearcher(self, decoder, docids, documents, most=int(sizes[:written].sum()))


@dataclass(frozen=True)
class _Parent:
    """An index of the first `known` documents."""

    folder: Path
    known: int
    facts: Mapping[str, Any]

    def seen(self) -> Known:
        return Known(self.known, frozenset(orjson.loads((self.folder / _HELD_OUT).read_bytes())))


class _Work:
    """Seconds of the parts of an index, over all calls that it took."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _SECONDS
        self.seconds: dict[str, float] = {}
        if self.path.exists():
            self.seconds = orjson.loads(self.path.read_bytes())

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of the block."""
        before, began = self.seconds.get(part, 0.0), time.perf_counter()
        try:
            yield
        finally:
            self.take(part, before + time.perf_counter() - began)

    def take(self, part: str, seconds: float) -> None:
        self.seconds[part] = seconds
        write_atomic(self.path, orjson.dumps(self.seconds))

    def encoded(self, part: str, facts: Mapping[str, Any]) -> None:
        """The time of an encoding, which another system may have made."""
        self.take(f"encoding of {part}", float(facts.get("encode_seconds") or facts.get("seconds") or 0.0))

    def total(self) -> float:
        return sum(self.seconds.values())

    def rounded(self) -> dict[str, float]:
        return {part: round(seconds, 3) for part, seconds in self.seconds.items()}


def _distinct(names: Sequence[str]) -> list[str]:
    """Equal names get their number."""
    return [
        name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]


def _mean_length(found: Examples, taught: Sequence[Targets]) -> float:
    """Tokens of a target, over the mixture."""
    weights = np.array([k.entry.weight for k in found.kinds])
    lengths = np.array([np.diff(t.indptr)[t.of].mean() for t in taught])
    return float((weights * lengths).sum() / weights.sum())


class _Task:
    """`trainer.Task` of one kind of training text."""

    def __init__(
        self,
        name: str,
        weight: float,
        rows: npt.NDArray[np.int64],
        inputs: Inputs,
        targets: Targets,
        smoothing: float,
    ) -> None:
        self.name, self.weight, self.rows = name, weight, rows
        self.inputs, self.targets, self.smoothing = inputs, targets, smoothing

    def __len__(self) -> int:
        return len(self.rows)

    def loss(self, model: Any, rows: npt.NDArray[np.int64]) -> Any:
        import torch

        chosen = self.rows[rows]
        target = torch.from_numpy(self.targets.batch(chosen))
        return model.loss(self.inputs.batch(chosen), target, self.smoothing)

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """Target tokens."""
        return int(np.diff(self.targets.indptr)[self.targets.of[self.rows[rows]]].sum())


class _Watch:
    """hits@1, hits@10 and MRR@10 of texts that training does not see, by constrained search."""

    def __init__(
        self, decoder: Any, model: Any, docids: Docids, inputs: Inputs, rows: npt.NDArray[np.int64],
        doc: npt.NDArray[np.int64],
    ) -> None:  # fmt: skip
        self.decoder, self.model, self.docids = decoder, model, docids
        self.inputs, self.rows, self.doc = inputs, rows, doc

    def __call__(self) -> Mapping[str, float]:
        import torch

        ranks = []
        with torch.inference_mode():
            decoder = self.decoder()
            for at in range(0, len(self.rows), 64):
                found = decoder(self.inputs.batch(self.rows[at : at + 64]))
                docs = np.where(found.rows >= 0, self.docids.doc[np.maximum(found.rows, 0)], -1)
                right = docs[:, :10] == self.doc[at : at + 64, None]
                ranks.append(np.where(right.any(axis=1), right.argmax(axis=1) + 1.0, np.inf))
        rank = np.concatenate(ranks)
        return {
            "hits@1": float((rank == 1).mean()),
            "hits@10": float((rank <= 10).mean()),
            "mrr@10": float((1 / rank).mean()),
        }


class GenerativeSearcher:
    """An opened index. `timings`: seconds of `encode` and `decode`; `counts`: of decoding; `finish` makes rates.

    most: hits that a query may have.
    """

    def __init__(
        self, retriever: Generative, decoder: Any, docids: Docids, documents: TextView, *, most: int
    ) -> None:
        self._retriever, self._decoder, self._docids, self._most = retriever, decoder, docids, most
        self._order = documents.order
        self.timings: dict[str, float] = {"encode": 0.0, "decode": 0.0}
        self.counts: dict[str, float] = dict.fromkeys((*_COUNTED, "queries", "several_docids"), 0)

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        import torch

        size, family = self._retriever.params.batch_queries, self._retriever.family
        began = time.perf_counter()
        texts = self._retriever.render(queries.texts(), "query", context=context)
        given = family.inputs(texts, "query", None, context=context) if texts else None
        self.timings["encode"] += time.perf_counter() - began
        began = time.perf_counter()
        found = []
        with (
            torch.inference_mode(),
            context.progress.stage("decode", total=len(queries), unit="queries") as stage,
        ):
            for at in range(0, len(queries), size):
                rows = np.arange(at, min(at + size, len(queries)))
                assert given is not None
                found.append(self._decoder(given.batch(rows), self._most))
                stage.advance(len(rows))
        self.timings["decode"] += time.perf_counter() - began
        if not found:
            return Run.empty(0, k)
        width = max(part.rows.shape[1] for part in found)
        rows = np.concatenate([_padded(part.rows, width, -1) for part in found])
        scores = np.concatenate([_padded(part.scores, width, -np.inf) for part in found])
        docs = np.where(rows >= 0, self._docids.doc[np.maximum(rows, 0)], -1)
        docs, scores, again = _first_of_each(docs, scores)
        self.counts["queries"] += len(rows)
        self.counts["several_docids"] += again
        for name in _COUNTED:
            self.counts[name] += sum(int(getattr(part, name).sum()) for part in found)
        return Run.ranked(docs, scores, self._order).cut(k)

    def finish(self, run: Run) -> Mapping[str, Any]:
        """Means over the queries that were decoded; invalid_rate: of all that beams finished; several_docids: hits
        that another docid of the same document had found."""
        queries = max(1, self.counts["queries"])
        beams = self._retriever.params.decoding.beams
        return {
            "decoding": self._decoder.settings,
            "queries_decoded": int(self.counts["queries"]),
            "most_hits": self._most,
            "invalid_rate": self.counts["invalid"] / (queries * beams),
            **{
                f"{n}_per_query": self.counts[n] / queries
                for n in ("duplicate", "tied", "tokens", "several_docids")
            },
        }

    def close(self) -> None:
        return


def _padded(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    out = np.full((len(values), width), fill, dtype=values.dtype)
    out[:, : values.shape[1]] = values
    return out


def _first_of_each(
    docs: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """A document that several docids found counts once, with its best score, which comes first; and how many hits
    that leaves out."""
    by = np.argsort(docs, axis=1, kind="stable")
    ordered = np.take_along_axis(docs, by, axis=1)
    again = np.zeros(docs.shape, dtype=np.bool_)
    again[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    repeated = np.zeros(docs.shape, dtype=np.bool_)
    np.put_along_axis(repeated, by, again, axis=1)
    return np.where(repeated, -1, docs), np.where(repeated, np.float32(-np.inf), scores), int(repeated.sum())
