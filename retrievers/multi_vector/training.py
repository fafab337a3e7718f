"""Training of late-interaction models on the common trainer: batches of queries, their documents and negatives; a
teacher's scores; gradients of a batch that does not fit into memory; the look at queries that are held out."""

from __future__ import annotations

import io
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from seekbench import hashing
from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.dense.checkpoint import place
from seekbench.retrievers.dense.encode import quiet
from seekbench.retrievers.generative.embedding import embedded
from seekbench.retrievers.generative.examples import QUERIES, Examples, Kind
from seekbench.retrievers.generative.tasks import distinct
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import atomic_file, write_atomic

if TYPE_CHECKING:
    import torch

    from seekbench.generation.checkpoints import CrossEncoderFiles
    from seekbench.retrievers.multi_vector.checkpoint import TokenRecipe
    from seekbench.training.trainer import Outcome

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
#: Side and texts.
_Chunk = tuple[str, list[str]]

#: Texts of one forward pass of the look at held-out queries.
_WATCH_BATCH = 32
#: Of these losses a query's own documents are what counts, its positive and negatives.
_OWN = frozenset({"pairwise", "distillation", "margin_mse"})
_TAUGHT = frozenset({"distillation", "margin_mse"})


class Teacher(protocol.Params):
    """A model whose scores are learnt from."""

    type: Literal["dense", "cross_encoder"] = Field(
        description="`dense`: the inner product of an encoder's vectors; `cross_encoder`: log-odds of a "
        "*ForSequenceClassification"
    )
    model: str = Field(min_length=1, description="a hub name, or the path of a checkpoint's folder")
    max_length: int | None = Field(
        None, ge=4, description="tokens that a text (cross_encoder: a pair) is cut to; the checkpoint's own"
    )


class TrainingParams(protocol.Params):
    """How a late-interaction model is trained."""

    steps: int = Field(1000, ge=0, description="steps of the optimiser; 0 takes the model as it is")
    batch: int = Field(32, ge=1, description="queries a step, each with its document and negatives")
    micro: int = Field(
        0,
        ge=0,
        description="texts that go through the model at once, with the whole batch's gradient; 0: all of a batch",
    )
    rate: float = Field(2e-5, gt=0, description="highest learning rate")
    warmup: float = Field(
        0.1, ge=0, description="steps in which the rate rises; below 1 their share of all steps"
    )
    decay: Literal["linear", "cosine", "constant"] = Field("linear", description="of the rate after that")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    clip: float = Field(1.0, ge=0, description="of the gradient's norm; 0 for none")
    loss: tuple[Literal["contrastive", "pairwise", "distillation", "margin_mse"], ...] = Field(
        ("contrastive",),
        description="losses that are added up. `contrastive`: against the documents of the batch; `pairwise`: against "
        "the query's own negatives (ColBERT); `distillation`, `margin_mse`: to score these as the teacher does. Beside "
        "another loss `contrastive` leaves the own negatives to it, as ColBERT's code does; (pairwise, contrastive) is "
        "the recipe of ColBERT-XM",
    )
    temperature: float = Field(1.0, gt=0, description="scores are divided by it, except in margin_mse")
    negatives: int = Field(0, ge=0, description="documents beside its own that each query brings along")
    negatives_from: Literal["random", "hard"] = Field(
        "random", description="of the whole corpus, or of those that `miner` finds most like answers"
    )
    pool: int = Field(
        32,
        ge=1,
        description="hard negatives are drawn anew from so many: the best that score below the positive",
    )
    miner: str | None = Field(
        None, description="dense encoder that finds hard negatives; the teacher where it is dense"
    )
    teacher: Teacher | None = Field(None, description="whose scores distillation and margin_mse learn")
    teacher_scale: float = Field(1.0, gt=0, description="the teacher's scores are multiplied by it")
    drop: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of texts cut out of their document that it is shown without (inverse cloze task): to find "
        "a copy teaches nothing else",
    )
    dim: int | None = Field(
        None, ge=1, description="puts a new projection to so many dimensions behind an encoder that has none"
    )
    freeze: tuple[Literal["embeddings", "adapters"], ...] = Field(
        (), description="weights that are not trained; both for ColBERT-XM"
    )
    watched: int = Field(
        256,
        ge=0,
        description="texts held out from training to watch it, at most a tenth of a kind's; none that is all "
        "there is of a document",
    )
    watch_documents: int = Field(
        1000, ge=1, description="documents that they are searched in: their own, then others at random"
    )
    evaluate_every: int = Field(200, ge=1, description="steps between looks at them")
    patience: int = Field(
        0, ge=0, description="looks without a better MRR@10 after which it stops; 0 for never"
    )
    keep: Literal["last", "best"] = Field(
        "last", description="weights: those after the last step, or of the look with the best MRR@10"
    )
    checkpoint_every: int = Field(
        200, ge=1, description="steps that an interruption may lose; changes no result"
    )
    seed: int = Field(0, ge=0, description="of batches, dropout, negatives and a new projection")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        chosen = set(self.loss)
        if not chosen or len(chosen) < len(self.loss):
            raise ValueError("`loss` names at least one loss, and each once")
        if chosen & _OWN and not self.negatives:
            raise ValueError(f"loss {', '.join(sorted(chosen & _OWN))} needs negatives: 1 or more")
        if not self.negatives and self.batch < 2:
            raise ValueError("`contrastive` without negatives needs a batch of 2 or more")
        if chosen & _TAUGHT and self.teacher is None:
            raise ValueError(f"loss {', '.join(sorted(chosen & _TAUGHT))} needs a teacher")
        if self.negatives_from == "hard":
            if not self.negatives:
                raise ValueError("negatives_from: hard needs negatives: 1 or more")
            if self.mining_model is None:
                raise ValueError("hard negatives need a `miner`, or a dense teacher, to find them")
            if self.pool < self.negatives:
                raise ValueError(f"a pool of {self.pool} has no {self.negatives} negatives")
        elif self.miner is not None:
            raise ValueError("`miner` finds hard negatives: negatives_from: hard")
        mines = self.negatives_from == "hard" and self.miner is None
        if self.teacher is not None and not mines and not chosen & _TAUGHT:
            raise ValueError("nothing learns from the teacher: loss: distillation or margin_mse")
        return self

    @property
    def mining_model(self) -> str | None:
        if self.miner is not None or self.teacher is None or self.teacher.type != "dense":
            return self.miner
        return self.teacher.model

    @property
    def taught(self) -> bool:
        """Whether a teacher's scores are needed."""
        return bool(_TAUGHT & set(self.loss))


# -- teacher and miner ---------------------------------------------------------------------------------------------


def identity(params: TrainingParams, *, context: Context, base: Path | None = None) -> dict[str, Any]:
    """JSON facts of the models that training learns from, for the key of an index; none is loaded."""
    out: dict[str, Any] = {}
    if params.negatives_from == "hard":
        out["miner"] = dict(_dense(str(params.mining_model), None, base).identity(context=context))
    if params.taught and params.teacher is not None:
        teacher = params.teacher
        if teacher.type == "dense":
            out["teacher"] = dict(_dense(teacher.model, teacher.max_length, base).identity(context=context))
        else:
            out["teacher"] = dict(_cross_files(teacher, context, base, fetch=False).content())
    return out


def _dense(model: str, max_length: int | None, base: Path | None) -> Dense:
    said = {"model": model} if max_length is None else {"model": model, "max_length": max_length}
    return Dense(DenseParams.model_validate(said, context={"base": base}))


def _cross_files(teacher: Teacher, context: Context, base: Path | None, *, fetch: bool) -> CrossEncoderFiles:
    from seekbench.generation.checkpoints import CrossEncoderFiles, resolve

    return resolve(
        CrossEncoderFiles, place(teacher.model, base), None, offline=context.offline,
        trust_remote_code=context.trust_remote_code, max_length=teacher.max_length, fetch=fetch,
    )  # fmt: skip


@dataclass(frozen=True)
class Negatives:
    """Documents that the texts of a kind are told apart from. rows: int64 [texts, width], -1 for texts that are not
    learnt; teacher: float32 [texts, 1 + width], scores of the positive and of these, or None."""

    rows: Ints
    teacher: Floats | None


@dataclass(frozen=True)
class Positives:
    """passages: all that answer a text, of equal texts together; group: int64 [texts]; indptr: of the groups."""

    group: Ints
    indptr: Ints
    passages: Ints

    @classmethod
    def of_kind(cls, kind: Kind, passage_of: npt.NDArray[np.int32]) -> Positives:
        known: dict[str, int] = {}
        made = kind.made
        group = np.array([known.setdefault(text, len(known)) for text in made.texts], dtype=np.int64)
        who, docs = group, made.doc
        if made.more is not None:
            who, docs = np.repeat(group, np.diff(made.more[0])), made.more[1]
        pairs = np.unique(np.stack([who, passage_of[docs].astype(np.int64)], axis=1), axis=0)
        indptr = np.searchsorted(pairs[:, 0], np.arange(len(known) + 1)).astype(np.int64)
        return cls(group, indptr, pairs[:, 1].copy())

    def __getitem__(self, row: int) -> Ints:
        at = self.group[row]
        return self.passages[self.indptr[at] : self.indptr[at + 1]]

    @property
    def most(self) -> int:
        return int(np.diff(self.indptr).max(initial=0))


def _drawn(
    rng: np.random.Generator, count: int, passage_of: npt.NDArray[np.int32], without: Sequence[int] | Ints
) -> list[int]:
    """Documents of `count` different passages, none of `without`."""
    out: list[int] = []
    taken = {int(p) for p in without}
    while len(out) < count:
        for row in rng.integers(0, len(passage_of), size=2 * count).tolist():
            passage = int(passage_of[row])
            if passage not in taken and len(out) < count:
                taken.add(passage)
                out.append(row)
    return out


def mine(
    kind: Kind,
    positives: Positives,
    documents: TextView,
    passages: Passages,
    params: TrainingParams,
    folder: Path,
    *,
    seed: int,
    context: Context,
    base: Path | None = None,
) -> Negatives:
    """The negatives of a kind's texts and the teacher's scores of them. They are kept in `folder`, whose vectors and
    scores an interrupted call continues with."""
    path = folder / "negatives.npz"
    if path.exists():
        with np.load(path) as saved:
            return Negatives(saved["rows"], saved.get("teacher"))
    folder.mkdir(parents=True, exist_ok=True)
    learnt, doc = kind.learnt, kind.made.doc
    hard = params.negatives_from == "hard"
    rows = np.full((len(doc), params.pool if hard else params.negatives), -1, dtype=np.int64)
    if rows.shape[1] + positives.most > len(passages):
        raise InputError(
            f"{rows.shape[1]} negatives beside up to {positives.most} answers need more than the corpus' "
            f"{len(passages)} different texts",
            remedy="fewer `negatives`" + (", a smaller `pool`" if hard else ""),
        )
    if hard:
        dense = _dense(str(params.mining_model), None, base)
        near = _Near(dense, kind, learnt, documents, folder.parent, context)
        _fill_hard(rows, near, positives, passages, doc, seed)
        dense.release()
    else:
        for row in learnt.tolist():
            rng = np.random.default_rng([seed, 5, row])
            rows[row] = _drawn(rng, rows.shape[1], passages.of, positives[row])
    teacher = None
    if params.taught and params.teacher is not None:
        teacher = np.zeros((len(doc), 1 + rows.shape[1]), dtype=np.float32)
        columns = np.concatenate([doc[learnt, None], rows[learnt]], axis=1)
        teacher[learnt] = _teach(params.teacher, kind, learnt, columns, documents, folder, context, base)
    buffer = io.BytesIO()
    if teacher is None:
        np.savez(buffer, rows=rows)
    else:
        np.savez(buffer, rows=rows, teacher=teacher)
    write_atomic(path, buffer.getvalue())
    return Negatives(rows, teacher)


class _Near:
    """Inner products of texts and all documents by a dense encoder."""

    def __init__(
        self, dense: Dense, kind: Kind, learnt: Ints, documents: TextView, folder: Path, context: Context
    ) -> None:
        key = hashing.of_json(dense.params.model_dump(mode="json"))[:16]
        self.documents, _ = embedded(
            dense, documents, "document", folder / f"documents-{key}", context=context
        )
        self.learnt = learnt
        texts = [kind.made.texts[row] for row in learnt.tolist()]
        with context.progress.stage("texts for negatives", total=len(texts), unit="texts") as stage:
            self.texts = dense.encode(texts, "query", stage.advance, context).vectors

    def own(self, columns: Ints) -> Floats:
        """float32 [texts, n]: scores of the documents `columns` of each learnt text."""
        out = np.empty(columns.shape, dtype=np.float32)
        for at in range(0, len(columns), 1024):
            part = columns[at : at + 1024]
            vectors = np.asarray(self.documents[part.ravel()]).reshape(*part.shape, -1)
            out[at : at + 1024] = np.einsum("td,tnd->tn", self.texts[at : at + 1024], vectors)
        return out


def _fill_hard(
    rows: Ints, near: _Near, positives: Positives, passages: Passages, doc: Ints, seed: int
) -> None:
    """Of each learnt text the documents of the highest scores below its positive's, a passage once; where there are
    too few, others at random."""
    width, of = rows.shape[1], np.asarray(passages.of)
    documents, sources = np.asarray(near.documents), passages.sources
    size = max(1, (1 << 25) // max(1, len(sources)))
    vectors = documents[sources] if passages.repeated else documents
    for at in range(0, len(near.learnt), size):
        scores = near.texts[at : at + size] @ vectors.T
        for row, line in zip(near.learnt[at : at + size].tolist(), scores, strict=True):
            allowed = line < line[of[doc[row]]]
            allowed[positives[row]] = False
            found = np.flatnonzero(allowed)
            if len(found) > width:
                least = np.partition(line[found], len(found) - width)[len(found) - width]
                found = found[line[found] >= least]
            found = found[np.lexsort((found, -line[found]))][:width]
            rest = np.random.default_rng([seed, 6, row])
            taken = np.concatenate([positives[row], found])
            rows[row] = [*sources[found].tolist(), *_drawn(rest, width - len(found), of, taken)]


def _teach(
    teacher: Teacher,
    kind: Kind,
    learnt: Ints,
    columns: Ints,
    documents: TextView,
    folder: Path,
    context: Context,
    base: Path | None,
) -> Floats:
    """float32 [learnt texts, n]: the teacher's scores of the documents `columns`, which it reads whole."""
    if teacher.type == "dense":
        dense = _dense(teacher.model, teacher.max_length, base)
        scores = _Near(dense, kind, learnt, documents, folder.parent, context).own(columns)
        dense.release()
        return scores
    from seekbench.generation.filters import CrossEncoder, PairScorer

    said = {"kind": "cross-encoder", "model": teacher.model, "keep": 1, "max_length": teacher.max_length}
    files = _cross_files(teacher, context, base, fetch=True)
    scorer = PairScorer(files, CrossEncoder.model_validate(said), context)
    out = np.empty(columns.shape, dtype=np.float32)
    texts = kind.made.texts
    # A cross-encoder takes hours: blocks of texts are kept.
    block = max(1, 4096 // columns.shape[1])
    with context.progress.stage("teacher", total=columns.size, unit="pairs") as stage:
        for at in range(0, len(columns), block):
            part, kept = columns[at : at + block], folder / f"teacher-{at}.npy"
            if kept.exists():
                out[at : at + block] = np.load(kept)
                stage.advance(part.size)
                continue
            asked = np.repeat(learnt[at : at + block], part.shape[1]).tolist()
            read, where = np.unique(part, return_inverse=True)
            bodies = documents.take(read).texts()
            found, _ = scorer([texts[i] for i in asked], [bodies[i] for i in where.ravel()], stage.advance)
            out[at : at + block] = found.reshape(part.shape)
            with atomic_file(kept) as temporary, temporary.open("wb") as handle:
                np.save(handle, out[at : at + block])
    return out


# -- batches -------------------------------------------------------------------------------------------------------


def without(document: str, text: str) -> str:
    """The document without one occurrence of a text, white space apart; as it is where the text does not occur or
    nothing would be left."""
    words = text.split()
    at = document.find(text) if words else -1
    if at >= 0:
        stop = at + len(text)
    else:
        found = re.search(r"\s+".join(map(re.escape, words)), document) if words else None
        if found is None:
            return document
        at, stop = found.span()
    rest = f"{document[:at].rstrip()} {document[stop:].lstrip()}".strip()
    return rest if re.search(r"\w", rest) else document


@dataclass(frozen=True)
class Batch:
    """queries: [queries]; documents: [queries * n], each query's positive and its negatives, one query after the other;
    excluded: bool [queries, documents], what leaves a query's in-batch denominator; teacher: float32 [queries, n]."""

    queries: list[str]
    documents: list[str]
    excluded: npt.NDArray[np.bool_]
    teacher: Floats | None


class Task:
    """`trainer.Task` of one kind of training text, over those that are learnt."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        documents: TextView,
        passages: Passages,
        params: TrainingParams,
        recipe: TokenRecipe,
        *,
        positives: Positives,
        negatives: Negatives | None,
        seed: int,
    ) -> None:
        self.name, self.weight, self.rows, self.kind = name, kind.entry.weight, kind.learnt, kind
        self.documents, self.passages, self.params, self.recipe = documents, passages, params, recipe
        self.positives, self.negatives, self.seed = positives, negatives, seed
        self.cut = cut_out(kind)

    def __len__(self) -> int:
        return len(self.rows)

    def units(self, rows: Ints) -> int:
        return len(rows)

    def loss(self, model: Any, rows: Ints) -> torch.Tensor:
        """The mean over the examples. With `micro` its gradient comes by `backward` alone (see `_cached`)."""
        import torch

        # The trainer seeds each step: negatives are new in each, and the same in a continued training.
        rng = np.random.default_rng([torch.initial_seed(), zlib.crc32(self.name.encode())])
        return loss_of(model, self.batch(self.rows[rows], rng), self.params, self.recipe)

    def batch(self, chosen: Ints, rng: np.random.Generator) -> Batch:
        """Of texts of the kind, by row."""
        p, made, of = self.params, self.kind.made, np.asarray(self.passages.of)
        columns = np.empty((len(chosen), 1 + p.negatives), dtype=np.int64)
        columns[:, 0] = made.doc[chosen]
        teacher = None
        if self.negatives is not None:
            width = self.negatives.rows.shape[1]
            picked = np.stack([rng.permutation(width)[: p.negatives] for _ in chosen])
            columns[:, 1:] = np.take_along_axis(self.negatives.rows[chosen], picked, axis=1)
            if self.negatives.teacher is not None:
                scores, first = self.negatives.teacher[chosen], np.zeros((len(chosen), 1), np.int64)
                teacher = np.take_along_axis(scores, np.concatenate([first, 1 + picked], axis=1), axis=1)
        elif p.negatives:
            for i, row in enumerate(chosen.tolist()):
                columns[i, 1:] = _drawn(rng, p.negatives, of, self.positives[row])
        flat = columns.ravel()
        texts = self.documents.take(flat).texts()
        shown = of[flat]
        excluded = np.stack([np.isin(shown, self.positives[row]) for row in chosen.tolist()])
        for i, row in enumerate(chosen.tolist()):
            own = i * columns.shape[1]
            excluded[i, own] = False
            if set(p.loss) & _OWN:
                excluded[i, own + 1 : own + columns.shape[1]] = True
            if self.cut and np.random.default_rng([self.seed, 4, row]).random() < p.drop:
                texts[own] = without(texts[own], self.kind.bare(row))
        return Batch([made.texts[row] for row in chosen.tolist()], texts, excluded, teacher)


def cut_out(kind: Kind) -> bool:
    """Whether texts of a kind are parts of their documents."""
    return kind.entry.kind not in QUERIES and kind.entry.kind != "links"


# -- loss of a batch -----------------------------------------------------------------------------------------------


def loss_of(model: Any, batch: Batch, params: TrainingParams, recipe: TokenRecipe) -> torch.Tensor:
    """The sum of the chosen losses: a tensor of one float, with gradient."""
    sides = [("query", batch.queries), ("document", batch.documents)]
    size = params.micro or max(len(texts) for _, texts in sides)
    chunks = [(side, texts[at : at + size]) for side, texts in sides for at in range(0, len(texts), size)]

    def score(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        queries, documents = (
            _joined([part for (of, _), part in zip(chunks, parts, strict=True) if of == side])
            for side, _ in sides
        )
        return _scored(*queries, *documents, batch, params)

    def encode(chunk: _Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        return token_vectors(model, chunk[1], chunk[0], recipe)

    if len(chunks) == len(sides):
        return score([encode(chunk) for chunk in chunks])
    return _cached(chunks, encode, score)


def token_vectors(
    model: Any, texts: list[str], side: str, recipe: TokenRecipe
) -> tuple[torch.Tensor, torch.Tensor]:
    """(float32 [texts, tokens, dim], bool [texts, tokens], which are scored) of a sentence_transformers
    MultiVectorEncoder, as it stands: with gradient and dropout, or without. side: query or document."""
    with quiet():  # each query that is cut by its expansion would be told of
        features = model.preprocess(texts, prompt=recipe.prompt(side) or None, task=side)
    features = {n: v.to(model.device) if hasattr(v, "to") else v for n, v in features.items()}
    out = model(features, task=side)
    return out["token_embeddings"].float(), out["attention_mask"].bool()


def _joined(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded chunks as one, as wide as the widest."""
    import torch
    from torch.nn.functional import pad

    if len(parts) == 1:
        return parts[0]
    width = max(mask.shape[1] for _, mask in parts)
    vectors = [pad(v, (0, 0, 0, width - v.shape[1])) for v, _ in parts]
    return torch.cat(vectors), torch.cat([pad(m, (0, width - m.shape[1])) for _, m in parts])


def _scored(
    queries: torch.Tensor,
    query_mask: torch.Tensor,
    documents: torch.Tensor,
    document_mask: torch.Tensor,
    batch: Batch,
    params: TrainingParams,
) -> torch.Tensor:
    import torch

    from seekbench.retrievers.multi_vector import losses

    count, n = len(queries), len(documents) // len(queries)
    device, total = queries.device, queries.new_zeros(())
    positive = torch.arange(count, device=device) * n
    if "contrastive" in params.loss:
        scores = losses.maxsim(queries, query_mask, documents, document_mask)
        excluded = torch.from_numpy(batch.excluded).to(device)
        total = total + losses.contrastive(scores, positive, excluded, temperature=params.temperature)
        own = scores.gather(1, positive[:, None] + torch.arange(n, device=device))
    else:
        width, dim = documents.shape[1:]
        own = losses.maxsim_own(
            queries, query_mask, documents.view(count, n, width, dim), document_mask.view(count, n, width)
        )
    if "pairwise" in params.loss:
        total = total + losses.pairwise(own, temperature=params.temperature)
    if params.taught:
        assert batch.teacher is not None
        teacher, scale = torch.from_numpy(batch.teacher).to(device), params.teacher_scale
        if "distillation" in params.loss:
            total = total + losses.distillation(own, teacher, scale=scale, temperature=params.temperature)
        if "margin_mse" in params.loss:
            total = total + losses.margin_mse(own, teacher, scale=scale)
    return total


def _cached(
    chunks: Sequence[_Chunk],
    encode: Callable[[_Chunk], tuple[torch.Tensor, torch.Tensor]],
    score: Callable[[Sequence[tuple[torch.Tensor, torch.Tensor]]], torch.Tensor],
) -> torch.Tensor:
    """The loss of all chunks, whose `backward` encodes them again one at a time (gradient caching, Gao et al. 2021,
    arXiv 2101.06983).

    The gradient is that of the whole: of the loss for the vectors, then of each chunk's vectors for the weights, under
    the chunk's own dropout. It is added to the weights' `grad`; torch.autograd.grad sees nothing of it.
    """
    import torch

    states, parts = [], []
    for chunk in chunks:
        states.append(_random_state())
        with torch.no_grad():
            vectors, mask = encode(chunk)
        parts.append((vectors.detach().requires_grad_(), mask))
    with torch.enable_grad():
        value = score(parts)
        gradients = torch.autograd.grad(value, [vectors for vectors, _ in parts])
    out = value.detach().requires_grad_()

    def replay(factor: torch.Tensor) -> None:
        after = _random_state()
        for chunk, state, gradient in zip(chunks, states, gradients, strict=True):
            _set_random_state(state)
            with torch.enable_grad():
                vectors, _ = encode(chunk)
            vectors.backward(gradient * factor)  # type: ignore[no-untyped-call]
        _set_random_state(after)

    out.register_hook(replay)  # type: ignore[no-untyped-call]
    return out


def _random_state() -> tuple[torch.Tensor, list[torch.Tensor]]:
    import torch

    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    import torch

    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


# -- looking at held-out queries -----------------------------------------------------------------------------------


class Watch:
    """hits@1 and MRR@10 of texts that training does not see, by exact MaxSim among their own documents and others.

    A document is searched without the held-out texts that were cut out of it. Of equal scores the lower row is first.
    """

    def __init__(
        self,
        model: Any,
        kind: Kind,
        documents: TextView,
        passages: Passages,
        recipe: TokenRecipe,
        *,
        count: int,
        seed: int,
    ) -> None:
        self.model, self.recipe = model, recipe
        held, of = np.flatnonzero(kind.held_out), np.asarray(passages.of)
        positives = Positives.of_kind(kind, passages.of)
        self.queries = [kind.made.texts[row] for row in held.tolist()]
        own = np.unique(of[kind.made.doc[held]])
        others = np.setdiff1d(np.arange(len(passages)), own)
        more = np.random.default_rng([seed, 78]).permutation(others)[: max(0, count - len(own))]
        shown = np.sort(np.concatenate([own, more]))
        self.texts = documents.take(passages.sources[shown]).texts()
        if cut_out(kind):
            for row in held.tolist():
                at = int(np.searchsorted(shown, of[kind.made.doc[row]]))
                self.texts[at] = without(self.texts[at], kind.bare(row))
        self.right = np.stack([np.isin(shown, positives[row]) for row in held.tolist()])

    def scores(self) -> Floats:
        """float32 [queries, documents]."""
        import torch

        from seekbench.retrievers.multi_vector import losses

        # Texts of like length together; what is not read is not padded to.
        order = sorted(range(len(self.texts)), key=lambda i: (-len(self.texts[i]), i))
        out = np.empty((len(self.queries), len(self.texts)), dtype=np.float32)
        with torch.no_grad():
            asked = _joined(
                [
                    token_vectors(self.model, self.queries[at : at + _WATCH_BATCH], "query", self.recipe)
                    for at in range(0, len(self.queries), _WATCH_BATCH)
                ]
            )
            for at in range(0, len(order), _WATCH_BATCH):
                rows = order[at : at + _WATCH_BATCH]
                found = token_vectors(self.model, [self.texts[i] for i in rows], "document", self.recipe)
                out[:, rows] = losses.maxsim(*asked, *found).cpu().numpy()
        return out

    def __call__(self) -> Mapping[str, float]:
        scores = self.scores()
        best = np.argmax(np.where(self.right, scores, -np.inf), axis=1)[:, None]
        reached = np.take_along_axis(scores, best, axis=1)
        before = (scores > reached) | ((scores == reached) & (np.arange(scores.shape[1]) < best))
        rank = 1 + before.sum(axis=1)
        return {
            "hits@1": float((rank == 1).mean()),
            "mrr@10": float(np.where(rank <= 10, 1 / rank, 0.0).mean()),
        }


# -- training ------------------------------------------------------------------------------------------------------


def project(model: Any, dim: int, *, seed: int) -> None:
    """Puts a new linear layer (no bias) behind the transformer, in place: weights of standard deviation 0.02, BERT's.

    Raises InputError where there is one already.
    """
    import torch
    from sentence_transformers.base.modules import Dense as Linear

    if any(isinstance(module, Linear) for module in model):
        raise InputError("the checkpoint has a projection already", remedy="leave out training.dim")
    hidden = int(model[0].get_embedding_dimension())
    weight = torch.randn(dim, hidden, generator=torch.Generator().manual_seed(seed)) * 0.02
    layer = Linear(
        hidden, dim, bias=False, activation_function=torch.nn.Identity(), init_weight=weight,
        module_input_name="token_embeddings",
    )  # fmt: skip
    device, kwargs = model.device, model.module_kwargs
    model.insert(1, layer.to(device))
    if kwargs:  # of modules by place
        model.module_kwargs = type(kwargs)(
            (str(int(name) + 1) if name.isdigit() and int(name) else name, value)
            for name, value in kwargs.items()
        )


def frozen(model: Any, parts: Sequence[str]) -> list[torch.nn.Parameter]:
    """Parameters of the transformer that `freeze` names. Raises InputError where it has none of them."""
    marks = {"embeddings": r"(^|\.)(\w*_?embeddings|embed_tokens)\.", "adapters": r"(^|\.)adapter_"}
    out = []
    for part in parts:
        found = [p for name, p in model[0].named_parameters() if re.search(marks[part], name)]
        if not found:
            raise InputError(f"freeze: the encoder has no {part}", remedy=f"leave {part} out")
        out += found
    return out


def train_model(
    model: Any,
    examples: Examples,
    documents: TextView,
    params: TrainingParams,
    folder: Path,
    *,
    identity: str,
    recipe: TokenRecipe,
    context: Context,
    base: Path | None = None,
) -> tuple[Outcome, dict[str, Any]]:
    """Trains a sentence_transformers MultiVectorEncoder in place, in float32.

    model: as loaded, on its device; examples: as `examples.make` gives them, with `watched` of `params`; folder: where
    negatives, checkpoints and the log are kept, and an interrupted training of the same `identity` (a hash of the
    checkpoint, and of the teacher's and miner's), examples, documents, recipe and parameters is continued, and another
    one refused, whose negatives and teacher's scores are not taken either; recipe: of the checkpoint,
    whose prompts the model gets as its own; base: the folder that paths of teacher and miner are relative to.
    Returns the trainer's outcome and JSON facts. Without held-out texts nothing is watched.
    """
    import torch

    from seekbench.training.trainer import Outcome, Settings, train

    torch.set_num_threads(context.threads)
    model.float()
    if params.dim is not None:
        project(model, params.dim, seed=params.seed)
    model.prompts = {**model.prompts, "query": recipe.prompt("query"), "document": recipe.prompt("document")}
    model.eval()
    if not params.steps:
        return Outcome([], 0, 0.0, 0), {"steps": 0, "seconds": 0.0}
    key = _key(identity, params, documents, examples, recipe)
    passages = Passages.find(documents)
    names = distinct([kind.entry.kind for kind in examples.kinds])
    tasks = [
        _task(
            name, i, kind, documents, passages, params, folder / f"taught-{key[:16]}", recipe, context, base
        )
        for i, (name, kind) in enumerate(zip(names, examples.kinds, strict=True))
    ]
    watch = None
    if examples.watched.held_out.any():
        watch = Watch(
            model,
            examples.watched,
            documents,
            passages,
            recipe,
            count=params.watch_documents,
            seed=params.seed,
        )
    settings = Settings(
        steps=params.steps, batch=params.batch, peak_rate=params.rate, warmup=params.warmup, decay=params.decay,
        weight_decay=params.weight_decay, clip=params.clip, seed=params.seed, evaluate_every=params.evaluate_every,
        patience=params.patience, watch="mrr@10", keep=params.keep, checkpoint_every=params.checkpoint_every,
        micro=0,  # the losses need the whole batch; `micro` of the parameters is `_cached`'s
    )  # fmt: skip
    before = dict(watch()) if watch else None
    still = frozen(model, params.freeze)
    changed = [p for p in still if p.requires_grad]
    try:
        for parameter in changed:
            parameter.requires_grad_(False)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        outcome = train(
            model, tasks, settings, folder / "steps", identity=key, evaluate=watch, progress=context.progress
        )
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)
    looks = [entry for entry in outcome.log if "mrr@10" in entry]
    if params.keep == "best":
        looks = [entry for entry in looks if entry["step"] == outcome.best_step]
    facts = {
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 3),
        "examples_seen": outcome.examples,
        "texts": {task.name: len(task) for task in tasks},
        "loss": list(params.loss),
        "parameters_trained": trained,
        "parameters_frozen": sum(p.numel() for p in model.parameters()) - trained,
        "best_step": outcome.best_step,
        "best_mrr@10_held_out": outcome.best,
        "held_out_before": before,
        "held_out_after": {n: looks[-1][n] for n in ("hits@1", "mrr@10")} if looks else None,
        "held_out_queries": len(watch.queries) if watch else 0,
        "held_out_documents": len(watch.texts) if watch else 0,
        "weights": params.keep,
        "stopped_early": outcome.stopped_early,
        "last_loss": next((e["loss"] for e in reversed(outcome.log) if "loss" in e), None),
    }
    return outcome, facts


def _key(
    identity: str, params: TrainingParams, documents: TextView, examples: Examples, recipe: TokenRecipe
) -> str:
    """Of all that a training depends on: as many other texts, or others held out, make another one."""
    import pyarrow as pa

    kinds = []
    for kind in examples.kinds:
        made = kind.made
        columns = {
            "text": pa.array(made.texts, pa.large_string()),
            "doc": pa.array(made.doc),
            "held_out": pa.array(kind.held_out.astype(np.int8)),
        }
        if made.more is not None:
            columns["more_indptr"], columns["more"] = (pa.array(part) for part in made.more)
        content = hashing.of_columns((name, pa.chunked_array([column])) for name, column in columns.items())
        kinds.append([kind.entry.model_dump(mode="json"), content])
    said = params.model_dump(mode="json", exclude={"checkpoint_every"})
    return hashing.of_json([identity, said, documents.content_hash, asdict(recipe), kinds])


def _task(
    name: str, place_: int, kind: Kind, documents: TextView, passages: Passages, params: TrainingParams, folder: Path,
    recipe: TokenRecipe, context: Context, base: Path | None,
) -> Task:  # fmt: skip
    # Kinds draw apart from each other.
    seed = params.seed + zlib.crc32(name.encode()) % 10_007
    positives = Positives.of_kind(kind, passages.of)
    if params.negatives + positives.most > len(passages):
        raise InputError(
            f"{params.negatives} negatives beside up to {positives.most} answers need more than the corpus' "
            f"{len(passages)} different texts",
            remedy="fewer `negatives`",
        )
    negatives = None
    if params.negatives and (params.taught or params.negatives_from == "hard"):
        negatives = mine(
            kind, positives, documents, passages, params, folder / f"negatives-{place_}", seed=seed, context=context,
            base=base,
        )  # fmt: skip
    return Task(
        name, kind, documents, passages, params, recipe, positives=positives, negatives=negatives, seed=seed
    )


def save(model: Any, folder: Path) -> None:
    """Writes the model in sentence-transformers' layout, which `TokenCheckpoint` and MultiVectorEncoder read; what was
    in `folder` is replaced."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with quiet():
        model.save_pretrained(str(part), create_model_card=False)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
