"""Generative retrieval: a model that writes the docid of the document that answers a query.

An index is a set of docids, a trie over them, and a model that was trained to write a document's docid when it is
given texts of the document or queries for it. A search is constrained beam search (`decoding`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson

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
from seekbench.retrievers.generative.growth import restricted, shares
from seekbench.retrievers.generative.links import MODULES as LINK_MODULES
from seekbench.retrievers.generative.models.base import DocidTokens
from seekbench.retrievers.generative.models.family import MODULES as MODEL_MODULES
from seekbench.retrievers.generative.models.family import family_of
from seekbench.retrievers.generative.params import Decoding, GenerativeParams
from seekbench.retrievers.generative.searcher import GenerativeSearcher
from seekbench.retrievers.generative.targets import Targets
from seekbench.retrievers.generative.tasks import WATCHING, WATCHING_LISTS, Task, Watch, distinct, mean_length
from seekbench.retrievers.generative.trie import DocidTrie
from seekbench.retrievers.generative.work import Work
from seekbench.retrievers.protocol import Context, TextView, TrainingData
from seekbench.store import write_atomic

_FACTS = "generative.json"
_HELD_OUT = "held_out.json"


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
        *(
            f"seekbench.retrievers.generative.{name}"
            for name in ("params", "searcher", "tasks", "work", "targets")
        ),
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
        work = Work(folder)
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
                "tokens_seen": round(outcome.examples * mean_length(found, taught)),
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

    def _parent(self, documents: TextView, folder: Path, work: Work, context: Context) -> _Parent:
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
        self, documents: TextView, parent: _Parent | None, folder: Path, work: Work, context: Context
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
        self, documents: TextView, folder: Path, work: Work, context: Context
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
        work: Work,
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
        work: Work,
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
        names = distinct([kind.entry.kind for kind in found.kinds])
        weights = [kind.entry.weight for kind in found.kinds]
        learnt = [kind.learnt for kind in found.kinds]
        tasks = []
        if parent is None or p.growth is None:
            for i, name in enumerate(names):
                tasks.append(Task(name, weights[i], learnt[i], inputs[i], taught[i], t.smoothing))
        else:
            docs = [kind.made.doc[rows] for kind, rows in zip(found.kinds, learnt, strict=True)]
            for i, which, rows, share in shares(weights, docs, parent.known, p.growth.replay):
                tasks.append(
                    Task(f"{names[i]} {which}", share, learnt[i][rows], inputs[i], taught[i], t.smoothing)
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
            watch = Watch(
                lambda: self._decoder(model, tokens, trie, WATCHING_LISTS if p.lists else WATCHING),
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
