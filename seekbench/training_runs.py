"""Trains the retrievers of a config that train, and hands over their checkpoints without evaluating them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from seekbench import plan
from seekbench.config import RunConfig
from seekbench.errors import InputError
from seekbench.progress import Labelled
from seekbench.retrievers.protocol import Context
from seekbench.runner import (
    Failure,
    check_local_data,
    failure,
    load_dataset,
    stop_if_hopeless,
    training_of,
    with_store,
)
from seekbench.store import Store, write_atomic

#: What stands beside a checkpoint in the store and is handed over, too.
_BESIDE = ("curves.png", "log.jsonl")


@dataclass(frozen=True)
class TrainedModel:
    """folder: where the checkpoint is; facts: of its training."""

    dataset: str
    retriever: str
    folder: Path
    facts: Mapping[str, Any]


def train_all(
    config: RunConfig,
    *,
    output: Path,
    store: Store,
    context: Context,
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> tuple[list[TrainedModel], list[Failure]]:
    """Trains each retriever that has `training` on each dataset, or takes the training from the store where there is
    one; the checkpoint is copied to output/<dataset>/<retriever>/model. Raises InputError where nothing trains."""
    chosen = [e for e in config.retrievers if getattr(e.retriever.params, "training", None) is not None]
    chosen = [e for e in chosen if hasattr(e.retriever, "train_model")]
    if not chosen:
        raise InputError(
            "no retriever of this config trains a checkpoint",
            where=str(config.path),
            remedy="add `training` to one of type sparse or multi_vector",
        )
    check_local_data(config, store, context)
    models: list[TrainedModel] = []
    failures: list[Failure] = []
    for spec in config.datasets:
        dataset = load_dataset(spec, store=store, context=context)
        for entry in chosen:
            try:
                own = replace(context, progress=Labelled(context.progress, f"{dataset.id} {entry.name}"))
                retriever: Any = plan.bound(entry, dataset, training_of(spec, dataset, store, context))
                place = output / dataset.id / entry.name
                made, facts = retriever.train_model(
                    plan.documents_view(dataset), place, context=with_store(own, store, dataset.id)
                )
                retriever.release()
                models.append(TrainedModel(dataset.id, entry.name, _handed_over(made, place, facts), facts))
            except Exception as error:
                on_error(error)
                stop_if_hopeless(error)
                failures.append(failure(dataset.id, dataset.split, entry.name, error))
    return models, failures


def _handed_over(made: Path, place: Path, facts: Mapping[str, Any]) -> Path:
    """A copy of a stored checkpoint and of what stands beside it."""
    target, part = place / "model", place / "model.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(made, part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    for name in _BESIDE:
        if (made.parent / name).exists():
            shutil.copyfile(made.parent / name, place / name)
    write_atomic(place / "training.json", orjson.dumps(dict(facts), option=orjson.OPT_INDENT_2))
    return target
