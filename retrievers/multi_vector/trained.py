"""The late-interaction model of a system that trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seekbench import hashing
from seekbench.retrievers.contrastive import trained as common
from seekbench.retrievers.protocol import Context, TextView

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.retriever import MultiVector

_FIELDS = {"query_prompt", "document_prompt", "query_length", "document_length", "expansion", "skip"}


def depends_on(retriever: MultiVector, *, context: Context) -> dict[str, Any]:
    """JSON: what a training depends on beyond the checkpoint and the documents."""
    own = "seekbench.retrievers.multi_vector"
    return common.depends_on(retriever, (__name__, f"{own}.losses", f"{own}.training"), context=context)


def trained(
    retriever: MultiVector, documents: TextView, folder: Path, *, context: Context
) -> tuple[Path, Mapping[str, Any]]:
    """(the folder of the trained checkpoint, facts of its training)."""

    def recipe() -> Mapping[str, Any]:
        return {
            "subject": "late-interaction model",
            "fields": retriever.params.model_dump(mode="json", include=_FIELDS),
            "adapter": retriever.base_checkpoint(context).adapter(documents.language),
            **depends_on(retriever, context=context),
        }

    def train(place: Path) -> Mapping[str, Any]:
        return _train(retriever, documents, place, context)

    return common.stored(retriever, documents, folder, train, recipe, context=context)


def _train(retriever: MultiVector, documents: TextView, place: Path, context: Context) -> Mapping[str, Any]:
    """Trains in `place`, continuing what an interrupted call left there; only the model and its curves stay."""
    import torch

    from seekbench.retrievers.dense.encode import pick_device
    from seekbench.retrievers.multi_vector.encode import load
    from seekbench.retrievers.multi_vector.training import train_model

    p = retriever.params
    assert p.training is not None
    found = common.examples_of(retriever, documents, place, context)
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
    common.keep(model, outcome, place, checkpoint.name)
    return {**facts, "examples": found.facts()}
