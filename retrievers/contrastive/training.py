"""Trains an encoder on pairs: the common trainer, with a look at held-out texts."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench import hashing
from seekbench.errors import InputError
from seekbench.retrievers.contrastive.batches import Batch, Task
from seekbench.retrievers.contrastive.mining import Negatives, Positives
from seekbench.retrievers.contrastive.params import PairTraining
from seekbench.retrievers.contrastive.watch import Watch
from seekbench.retrievers.dense.encode import quiet
from seekbench.retrievers.generative.examples import Examples, Kind
from seekbench.retrievers.generative.tasks import distinct
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, TextView

if TYPE_CHECKING:
    import torch

    from seekbench.training.trainer import Outcome

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scoring:
    """What a kind of encoder adds. loss: of (model, batch, step), a tensor of one float with gradient; scores: of
    (queries, documents), float32 [queries, documents] without; said: JSON, what both depend on beyond the
    parameters."""

    loss: Callable[[Any, Batch, int], torch.Tensor]
    scores: Callable[[list[str], list[str]], Floats]
    said: Mapping[str, Any]


def train_pairs(
    model: Any,
    examples: Examples,
    documents: TextView,
    params: PairTraining,
    folder: Path,
    *,
    identity: str,
    scoring: Scoring,
    mine: Callable[[Kind, Positives, Passages, Path, int], Negatives] | None,
    still: Sequence[torch.nn.Parameter] = (),
    context: Context,
) -> tuple[Outcome, dict[str, Any]]:
    """Trains a model in place, in float32.

    model: as loaded, on its device; examples: as `examples.make` gives them, with `watched` of `params`; folder: where
    negatives, checkpoints and the log are kept, and an interrupted training of the same `identity` (a hash of the
    checkpoint, and of those that teach), examples, documents, scoring and parameters is continued, and another one
    refused, whose negatives and teacher's scores are not taken either; mine: gives the negatives of (kind, its
    positives, passages, folder, seed); None: they are drawn in each step; still: weights that are not trained.
    Returns the trainer's outcome and JSON facts. Without held-out texts nothing is watched.
    """
    import torch

    from seekbench.training.trainer import Outcome, Settings, train

    torch.set_num_threads(context.threads)
    model.eval()
    if not params.steps:
        return Outcome([], 0, 0.0, 0), {"steps": 0, "seconds": 0.0}
    key = _key(identity, params, documents, examples, scoring.said)
    passages = Passages.find(documents)
    names = distinct([kind.entry.kind for kind in examples.kinds])
    tasks = [
        _task(name, i, kind, documents, passages, params, folder / f"taught-{key[:16]}", scoring.loss, mine)
        for i, (name, kind) in enumerate(zip(names, examples.kinds, strict=True))
    ]
    watch = None
    if examples.watched.held_out.any():
        watch = Watch(
            scoring.scores,
            examples.watched,
            documents,
            passages,
            count=params.watch_documents,
            seed=params.seed,
        )
    settings = Settings(
        steps=params.steps, batch=params.batch, peak_rate=params.rate, warmup=params.warmup, decay=params.decay,
        weight_decay=params.weight_decay, clip=params.clip, seed=params.seed, evaluate_every=params.evaluate_every,
        patience=params.patience, watch="mrr@10", keep=params.keep, checkpoint_every=params.checkpoint_every,
        micro=0,  # the losses need the whole batch; `micro` of the parameters is `cached`'s
    )  # fmt: skip
    before = dict(watch()) if watch else None
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
    identity: str, params: PairTraining, documents: TextView, examples: Examples, scoring: Mapping[str, Any]
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
    return hashing.of_json([identity, said, documents.content_hash, dict(scoring), kinds])


def _task(
    name: str, place_: int, kind: Kind, documents: TextView, passages: Passages, params: PairTraining, folder: Path,
    loss: Callable[[Any, Batch, int], torch.Tensor],
    mine: Callable[[Kind, Positives, Passages, Path, int], Negatives] | None,
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
    if mine is not None:
        negatives = mine(kind, positives, passages, folder / f"negatives-{place_}", seed)
    return Task(
        name, kind, documents, passages, params, loss, positives=positives, negatives=negatives, seed=seed
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


def save(model: Any, folder: Path) -> None:
    """Writes a model in sentence-transformers' layout; what was in `folder` is replaced."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with quiet():
        model.save_pretrained(str(part), create_model_card=False)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
