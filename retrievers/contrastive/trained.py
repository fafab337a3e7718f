"""The model of a system that trains on pairs: made once for a corpus, kept in sentence-transformers' layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from seekbench import hashing
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.generative.examples import Examples
    from seekbench.training.trainer import Outcome

MODEL, FACTS, CURVES = "model", "training.json", "curves.png"


def depends_on(retriever: Any, own: Sequence[str], *, context: Context) -> dict[str, Any]:
    """JSON: what a training depends on beyond the checkpoint and the documents. own: modules of its kind."""
    from seekbench.generation.queries import MODULES as GENERATION
    from seekbench.generation.queries import identity as generator_identity
    from seekbench.retrievers.contrastive import MODULES as CONTRASTIVE
    from seekbench.retrievers.contrastive.mining import identity as teachers
    from seekbench.retrievers.dense import Dense
    from seekbench.retrievers.generative.links import MODULES as LINKS

    p, data = retriever.params, retriever.training
    code = (
        *own, *CONTRASTIVE, "seekbench.retrievers.generative.examples", "seekbench.retrievers.generative.pairs",
        "seekbench.retrievers.generative.tasks", "seekbench.retrievers.generative.embedding",
        "seekbench.training.trainer", "seekbench.training.schedule", *LINKS, *GENERATION, *Dense.modules,
    )  # fmt: skip
    return {
        "training": p.training.model_dump(mode="json", exclude={"checkpoint_every"}),
        "inputs": [entry.model_dump(mode="json") for entry in p.inputs],
        "models": teachers(p.training, context=context, base=p._base),
        "teachers": [t.identity(context) for t in getattr(p.training, "teachers", ())],
        "generators": [
            dict(generator_identity(e.generator, context=context, base=e._base)) if e.generator else None
            for e in p.inputs
        ],
        "split": None if data is None else {"split": data.split, "content": data.content_hash},
        "code": {name: hashing.of_code(name) for name in dict.fromkeys(code)},
    }


def stored(
    retriever: Any,
    documents: TextView,
    folder: Path,
    train: Callable[[Path], Mapping[str, Any]],
    recipe: Callable[[], Mapping[str, Any]],
    *,
    context: Context,
) -> tuple[Path, Mapping[str, Any]]:
    """(the folder of the trained checkpoint, facts of its training): from the store where there is one, since all
    systems of one training share it; else made in `folder` by `train`. recipe: what of the retriever it depends on
    beside the base checkpoint and the documents."""

    def make(place: Path) -> Mapping[str, Any]:
        if not (place / FACTS).exists():
            write_atomic(place / FACTS, orjson.dumps(train(place)))
        facts: Mapping[str, Any] = orjson.loads((place / FACTS).read_bytes())
        return facts

    if context.stored is None:
        place = folder / "trained"
        place.mkdir(parents=True, exist_ok=True)
        return place / MODEL, make(place)
    checkpoint = retriever.base_checkpoint(context)
    depends = {
        "documents": documents.content_hash,
        "checkpoint": {"weights": checkpoint.weights_hash, "files": checkpoint.files_hash},
        **recipe(),
    }
    place = context.stored("model", depends, make)
    return place / MODEL, orjson.loads((place / FACTS).read_bytes())


def examples_of(retriever: Any, documents: TextView, place: Path, context: Context) -> Examples:
    """The training texts, which are kept beside the model."""
    from seekbench.retrievers.generative import examples

    p = retriever.params
    found = examples.make(
        documents, p.inputs, retriever.training, place / "examples", seed=p.training.seed, watched=p.training.watched,
        context=context,
    )  # fmt: skip
    found.save(place / "examples.arrow")
    return found


def keep(model: Any, outcome: Outcome, place: Path, name: str) -> None:
    """Writes the model, its log and its curves; what only training needed goes."""
    from seekbench.retrievers.contrastive.training import save
    from seekbench.training.trainer import plot

    save(model, place / MODEL)
    write_atomic(place / "log.jsonl", b"".join(orjson.dumps(entry) + b"\n" for entry in outcome.log))
    if outcome.log:
        plot(outcome.log, place / CURVES, title=f"{name}: {outcome.steps} steps")
    for part in ("work", "examples", "start"):
        shutil.rmtree(place / part, ignore_errors=True)
