"""The model of a system that trains: made once for a corpus, kept in sentence-transformers' layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from seekbench import hashing
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.retriever import MultiVector

MODEL, FACTS, CURVES = "model", "training.json", "curves.png"


def depends_on(retriever: MultiVector, *, context: Context) -> dict[str, Any]:
    """JSON: what a training depends on beyond the checkpoint and the documents."""
    from seekbench.generation.queries import MODULES as GENERATION
    from seekbench.generation.queries import identity as generator_identity
    from seekbench.retrievers.contrastive import MODULES as CONTRASTIVE
    from seekbench.retrievers.contrastive.mining import identity as teachers
    from seekbench.retrievers.dense import Dense
    from seekbench.retrievers.generative.links import MODULES as LINKS

    p, data = retriever.params, retriever.training
    assert p.training is not None
    code = (
        __name__, "seekbench.retrievers.multi_vector.losses", "seekbench.retrievers.multi_vector.training",
        *CONTRASTIVE,
        "seekbench.retrievers.generative.examples", "seekbench.retrievers.generative.pairs",
        "seekbench.retrievers.generative.tasks", "seekbench.retrievers.generative.embedding",
        "seekbench.training.trainer", "seekbench.training.schedule", *LINKS, *GENERATION, *Dense.modules,
    )  # fmt: skip
    return {
        "training": p.training.model_dump(mode="json", exclude={"checkpoint_every"}),
        "inputs": [entry.model_dump(mode="json") for entry in p.inputs],
        "models": teachers(p.training, context=context, base=p._base),
        "generators": [
            dict(generator_identity(e.generator, context=context, base=e._base)) if e.generator else None
            for e in p.inputs
        ],
        "split": None if data is None else {"split": data.split, "content": data.content_hash},
        "code": {name: hashing.of_code(name) for name in dict.fromkeys(code)},
    }


def trained(
    retriever: MultiVector, documents: TextView, folder: Path, *, context: Context
) -> tuple[Path, Mapping[str, Any]]:
    """(the folder of the trained checkpoint, facts of its training): from the store where there is one, since all
    systems of one encoding share it; else made in `folder`."""

    def make(place: Path) -> Mapping[str, Any]:
        if not (place / FACTS).exists():
            write_atomic(place / FACTS, orjson.dumps(_train(retriever, documents, place, context)))
        facts: Mapping[str, Any] = orjson.loads((place / FACTS).read_bytes())
        return facts

    if context.stored is None:
        place = folder / "trained"
        place.mkdir(parents=True, exist_ok=True)
        return place / MODEL, make(place)
    checkpoint, p = retriever.base_checkpoint(context), retriever.params
    recipe = {
        "subject": "late-interaction model",
        "documents": documents.content_hash,
        "checkpoint": {"weights": checkpoint.weights_hash, "files": checkpoint.files_hash},
        "fields": p.model_dump(
            mode="json",
            include={
                "query_prompt",
                "document_prompt",
                "query_length",
                "document_length",
                "expansion",
                "skip",
            },
        ),
        "adapter": checkpoint.adapter(documents.language),
        **depends_on(retriever, context=context),
    }
    place = context.stored("model", recipe, make)
    return place / MODEL, orjson.loads((place / FACTS).read_bytes())


def _train(retriever: MultiVector, documents: TextView, place: Path, context: Context) -> Mapping[str, Any]:
    """Trains in `place`, continuing what an interrupted call left there; only the model and its curves stay."""
    import shutil

    import torch

    from seekbench.retrievers.contrastive.training import save
    from seekbench.retrievers.dense.encode import pick_device
    from seekbench.retrievers.generative import examples as examples_
    from seekbench.retrievers.multi_vector.encode import load
    from seekbench.retrievers.multi_vector.training import train_model
    from seekbench.training.trainer import plot

    p = retriever.params
    assert p.training is not None
    found = examples_.make(
        documents, p.inputs, retriever.training, place / "examples", seed=p.training.seed, watched=p.training.watched,
        context=context,
    )  # fmt: skip
    found.save(place / "examples.arrow")
    checkpoint = retriever.base_checkpoint(context, fetch=True)
    model = load(checkpoint, torch.float32, pick_device(context.device))
    adapter = checkpoint.adapter(documents.language)
    if adapter is not None:
        model[0].auto_model.set_default_language(adapter)
    outcome, facts = train_model(
        model, found, documents, p.training, place / "work",
        identity=hashing.of_json([checkpoint.weights_hash, checkpoint.files_hash]),
        recipe=checkpoint.recipe, context=context, base=p._base,
    )  # fmt: skip
    save(model, place / MODEL)
    write_atomic(place / "log.jsonl", b"".join(orjson.dumps(entry) + b"\n" for entry in outcome.log))
    if outcome.log:
        plot(outcome.log, place / CURVES, title=f"{checkpoint.name}: {outcome.steps} steps")
    shutil.rmtree(place / "work", ignore_errors=True)
    shutil.rmtree(place / "examples", ignore_errors=True)
    return {**facts, "examples": found.facts()}
