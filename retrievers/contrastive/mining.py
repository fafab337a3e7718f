"""Documents that training texts are told apart from, and what a teacher scores them with."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench import hashing
from seekbench.errors import InputError
from seekbench.retrievers.contrastive.params import PairTraining, Teacher
from seekbench.retrievers.dense import Dense, DenseParams
from seekbench.retrievers.dense.checkpoint import place
from seekbench.retrievers.generative.embedding import embedded
from seekbench.retrievers.generative.examples import Kind
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import atomic_file, write_atomic

if TYPE_CHECKING:
    from seekbench.generation.checkpoints import CrossEncoderFiles

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def identity(params: PairTraining, *, context: Context, base: Path | None = None) -> dict[str, Any]:
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


def drawn(
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
    params: PairTraining,
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
            rows[row] = drawn(rng, rows.shape[1], passages.of, positives[row])
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
            rows[row] = [*sources[found].tolist(), *drawn(rest, width - len(found), of, taken)]


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
