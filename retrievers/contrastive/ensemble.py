"""Several retrievers as one teacher: their scores of a text's candidates, brought to one scale and averaged
(heterogeneous ensemble distillation of inference-free sparse retrievers, arXiv 2411.04403).

Each retriever searches the corpus with the training texts. The candidates of a text are the documents that the ensemble
puts first, its own answers apart; of each retriever the scores of the answer and the candidates are brought to 0..1 by
the text's lowest and highest, then averaged by weight. A document that a retriever did not find counts as its last hit.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from seekbench.collection import Queries
from seekbench.errors import InputError, did_you_mean
from seekbench.retrievers import protocol
from seekbench.retrievers.contrastive.mining import Negatives, Positives, drawn
from seekbench.retrievers.generative.examples import Kind
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run
from seekbench.store import write_atomic

Floats = npt.NDArray[np.float32]

#: Training texts that are searched with at a time.
_BLOCK = 2048


class TeachingRetriever(protocol.Params):
    """A retriever of the same config that teaches."""

    of: str = Field(description="its name")
    weight: float = Field(1.0, gt=0, description="of its scores in the mean")

    #: Its fields in the config, `type` included.
    _fields: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _base: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _known(self, info: ValidationInfo) -> TeachingRetriever:
        context = info.context or {}
        others: Mapping[str, Mapping[str, Any]] = context.get("retrievers", {})
        if self.of not in others:
            near = did_you_mean(self.of, others)
            raise ValueError(
                f"no other retriever of this config is called '{self.of}'" + (f"; {near}" if near else "")
            )
        fields = others[self.of]
        if fields.get("training") is not None or fields.get("type") in ("fusion", "run_file"):
            raise ValueError(f"'{self.of}' can't teach: one that searches by itself and is not trained can")
        self._fields, self._base = fields, context.get("base")
        return self

    def retriever(self) -> Any:
        from seekbench.retrievers import registry

        fields = {name: value for name, value in self._fields.items() if name != "type"}
        cls = registry.resolve(str(self._fields["type"]))
        found = cls(cls.Params.model_validate(fields, context={"base": self._base}))
        if found.needs:
            raise InputError(f"'{self.of}' can't teach: it needs {', '.join(found.needs)}")
        return found

    @property
    def type(self) -> str:
        return str(self._fields["type"])

    def identity(self, context: Context) -> dict[str, Any]:
        """JSON: what its scores depend on."""
        found = self.retriever()
        values = found.params.model_dump(mode="json")
        chosen = sorted(found.index_params | found.search_params)
        return {
            "type": self.type,
            "params": {name: values[name] for name in chosen},
            "identity": dict(found.identity(context=context)),
        }


def mine(
    kind: Kind,
    positives: Positives,
    documents: TextView,
    passages: Passages,
    teachers: Sequence[TeachingRetriever],
    folder: Path,
    *,
    pool: int,
    depth: int,
    seed: int,
    context: Context,
) -> Negatives:
    """`pool` candidates of each learnt text, and the ensemble's scores (0..1) of its answer and of these. Kept in
    `folder`; the teachers' runs of an interrupted call, too."""
    path = folder / "negatives.npz"
    if path.exists():
        with np.load(path) as saved:
            return Negatives(saved["rows"], saved["teacher"])
    if pool + positives.most > len(passages):
        raise InputError(
            f"a pool of {pool} candidates beside up to {positives.most} answers needs more than the corpus' "
            f"{len(passages)} different texts",
            remedy="a smaller `pool`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    learnt, doc = kind.learnt, kind.made.doc
    texts = [kind.made.texts[row] for row in learnt.tolist()]
    runs = [_run(t, texts, documents, depth, folder / f"run-{i}", context) for i, t in enumerate(teachers)]
    weights = np.array([t.weight for t in teachers]) / sum(t.weight for t in teachers)
    of = np.asarray(passages.of)
    rows = np.full((len(doc), pool), -1, dtype=np.int64)
    scores = np.zeros((len(doc), 1 + pool), dtype=np.float32)
    for i, row in enumerate(learnt.tolist()):
        lists = [_by_passage(run, i, of) for run in runs]
        found = np.unique(np.concatenate([places for places, _ in lists]))
        answer = int(of[doc[row]])
        found = found[~np.isin(found, positives[row])]
        mean = _mean(lists, np.concatenate([[answer], found]), weights)
        best = np.lexsort((found, -mean[1:]))[:pool]
        chosen = passages.sources[found[best]]
        rest = np.random.default_rng([seed, 8, row])
        more = drawn(rest, pool - len(best), of, np.concatenate([positives[row], found[best]]))
        rows[row] = [*chosen.tolist(), *more]
        scores[row] = _mean(lists, np.concatenate([[answer], of[rows[row]]]), weights)
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows, teacher=scores)
    write_atomic(path, buffer.getvalue())
    return Negatives(rows, scores)


def _run(
    teacher: TeachingRetriever,
    texts: list[str],
    documents: TextView,
    depth: int,
    folder: Path,
    context: Context,
) -> Run:
    """The teacher's hits for the training texts, over its index from the store or one made here."""
    if (folder / "run.npz").exists():
        with np.load(folder / "run.npz") as saved:
            return Run(saved["rows"], saved["scores"])
    folder.mkdir(parents=True, exist_ok=True)
    retriever = teacher.retriever()
    if not retriever.indexes:
        index = None
    elif context.shared is not None:
        index, _ = context.shared(teacher.type, retriever, documents)
    else:
        index = folder / "index"
        retriever.index(documents, index, context=context)
    searcher = retriever.open(index, documents, context=context)
    asked = TextView(
        Queries.from_lists([str(i) for i in range(len(texts))], texts), "{text}", documents.language
    )
    parts = []
    for at in range(0, len(texts), _BLOCK):
        part = asked.take(np.arange(at, min(at + _BLOCK, len(texts))))
        found = searcher.search(part, depth, context=context)
        parts.append(
            found if found.k == min(depth, len(documents)) else _wide(found, min(depth, len(documents)))
        )
    searcher.close()
    if hasattr(retriever, "release"):
        retriever.release()
    run = Run.stacked(parts)
    buffer = io.BytesIO()
    np.savez(buffer, rows=np.asarray(run.doc_rows), scores=np.asarray(run.scores))
    write_atomic(folder / "run.npz", buffer.getvalue())
    return run


def _wide(run: Run, k: int) -> Run:
    """With as many columns, whatever the searcher gave."""
    out, width = Run.empty(len(run.doc_rows), k), min(k, run.k)
    out.doc_rows[:, :width], out.scores[:, :width] = run.doc_rows[:, :width], run.scores[:, :width]
    return out


def _by_passage(run: Run, row: int, of: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], Floats]:
    """(passages, each once, ascending; their scores) of a text's hits."""
    rows = np.asarray(run.doc_rows[row])
    hit = rows >= 0
    places, first = np.unique(of[rows[hit]].astype(np.int64), return_index=True)
    return places, np.asarray(run.scores[row])[hit][first].astype(np.float32)


def _mean(
    lists: Sequence[tuple[npt.NDArray[np.int64], Floats]],
    wanted: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
) -> Floats:
    """float32 [wanted]: the weighted mean of each list's scores of these passages, brought to 0..1 among them."""
    total = np.zeros(len(wanted))
    for (places, scores), weight in zip(lists, weights, strict=True):
        if not len(places):
            continue
        at = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
        own = np.where(places[at] == wanted, scores[at], scores.min())
        spread = own.max() - own.min()
        if spread > 0:
            total += weight * (own - own.min()) / spread
    return total.astype(np.float32)
