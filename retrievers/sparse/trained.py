"""The learned sparse model of a system that trains."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from seekbench import hashing
from seekbench.retrievers.contrastive import trained as common
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.sparse.retriever import Sparse

_FIELDS = {"query_prompt", "document_prompt", "aggregation", "activation"}


def depends_on(retriever: Sparse, *, context: Context) -> dict[str, Any]:
    """JSON: what a training depends on beyond the checkpoint and the documents."""
    own = (f"seekbench.retrievers.sparse.{n}" for n in ("losses", "training", "head", "encode", "checkpoint"))
    return common.depends_on(retriever, (__name__, *own), context=context)


def trained(
    retriever: Sparse, documents: TextView, folder: Path, *, context: Context
) -> tuple[Path, Mapping[str, Any]]:
    """(the folder of the trained checkpoint, facts of its training)."""

    def recipe() -> Mapping[str, Any]:
        return {
            "subject": "learned sparse model",
            "fields": retriever.params.model_dump(mode="json", include=_FIELDS),
            **depends_on(retriever, context=context),
        }

    def train(place: Path) -> Mapping[str, Any]:
        return _train(retriever, documents, place, context)

    return common.stored(retriever, documents, folder, train, recipe, context=context)


def _train(retriever: Sparse, documents: TextView, place: Path, context: Context) -> Mapping[str, Any]:
    """Trains in `place`, continuing what an interrupted call left there; only the model and its curves stay."""
    import torch

    from seekbench.retrievers.dense.checkpoint import resolve_as
    from seekbench.retrievers.dense.encode import pick_device
    from seekbench.retrievers.multi_vector.passages import Passages
    from seekbench.retrievers.sparse.checkpoint import SparseCheckpoint, SparseSettings
    from seekbench.retrievers.sparse.encode import load, modules_of, table_of
    from seekbench.retrievers.sparse.training import Trained, idf_of, train_model

    p = retriever.params
    assert p.training is not None
    device = pick_device(context.device)
    torch.set_num_threads(context.threads)
    base = retriever.base_checkpoint(context, fetch=True)
    fit: dict[str, Any] | None = None
    checkpoint = base
    if p.training.head:
        start = place / "start"
        if not (start / "fit.json").exists():
            shutil.rmtree(start, ignore_errors=True)
            write_atomic(
                start / "fit.json", orjson.dumps(_with_head(base, start, documents, p.training, device))
            )
        fit = orjson.loads((start / "fit.json").read_bytes())
        settings = SparseSettings(
            model=str(start), query_prompt=p.query_prompt, document_prompt=p.document_prompt,
            aggregation=p.aggregation, activation=p.activation,
        )  # fmt: skip
        checkpoint = resolve_as(SparseCheckpoint, settings, offline=True, fetch=True)
    assert isinstance(checkpoint, SparseCheckpoint)
    model = load(checkpoint, torch.float32, device)
    modules = modules_of(model, "document")
    passages = Passages.find(documents)
    table = None
    if p.training.queries is None and checkpoint.recipe.queries == "table":
        table = table_of(checkpoint, model, modules[0].tokenizer)
    elif p.training.queries != "model":
        table = idf_of(documents, modules[0].tokenizer, passages, context)
    idf = (
        idf_of(documents, modules[0].tokenizer, passages, context) if p.training.regularization.idf else None
    )
    learning = Trained(model, modules, checkpoint.recipe, p.training, table, idf)
    found = common.examples_of(retriever, documents, place, context)
    taught_by = [teacher.identity(context) for teacher in p.training.teachers]
    outcome, facts = train_model(
        learning, found, documents, place / "work",
        identity=hashing.of_json([base.weights_hash, base.files_hash, taught_by]),
        said=asdict(checkpoint.recipe), context=context, base=p._base,
    )  # fmt: skip
    common.keep(_whole(learning, device), outcome, place, base.name)
    return {**facts, "head": fit, "examples": found.facts()}


def _with_head(base: Any, start: Path, documents: TextView, params: Any, device: str) -> dict[str, Any]:
    """Writes a masked language model of the encoder and a head fitted to a sample of the corpus; facts of the fit."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from seekbench.retrievers.dense.encode import quiet, weights_as
    from seekbench.retrievers.sparse import head

    source = str(base.folder / base.transformer_folder)
    with quiet():
        model = AutoModelForMaskedLM.from_pretrained(
            source, local_files_only=True, **weights_as(torch.float32)
        )
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    model.to(device).eval()
    rows = np.sort(np.random.default_rng([params.seed, 90]).permutation(len(documents))[: params.head_texts])
    made = head.fit(
        model, tokenizer, documents.take(rows).texts(), length=params.text_length, seed=params.seed
    )
    with quiet():
        model.save_pretrained(start)
        tokenizer.save_pretrained(start)
    return asdict(made)


def _whole(learning: Any, device: str) -> Any:
    """The model to save: a Router, where queries are looked up."""
    import torch
    from sentence_transformers import SparseEncoder as Library
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    modules = [learning.transformer, learning.pool]
    prompts = {side: learning.recipe.prompt(side) for side in ("query", "document")}
    if learning.table is not None:
        weight = torch.from_numpy(learning.table)
        static = SparseStaticEmbedding(tokenizer=learning.tokenizer, weight=weight, frozen=True)
        modules = [Router.for_query_document(query_modules=[static], document_modules=modules)]
    return Library(modules=modules, device=device, prompts=prompts)
