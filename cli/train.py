"""`seekbench train`: trains the retrievers of a config that train, without evaluating them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from seekbench.cli import cells as cells_
from seekbench.cli import common, options


@common.handled
def train(
    config: options.ConfigName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for checkpoints.  [default: trained/<name>]")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override, as of `run`; repeatable."),
    ] = None,
    json_: options.Json = False,
    offline: options.Offline = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    store: options.Store = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Train every retriever of a config that has `training`, on every dataset; write the checkpoints and their curves.

    A checkpoint is in sentence-transformers' layout: others can load it, and so can `model: PATH` of another config.
    Interrupt it at any time: the same command continues. `run` trains, too, and finds what was trained here.

    Examples:  seekbench train sparse/train   |   seekbench train my.yaml -o checkpoints
    """
    from seekbench import config as configs
    from seekbench.store import Store

    progress: Any = cells_.progress_of(json_)
    path, shown = common.find_config(config)
    loaded = configs.load(path, set_ or [], shown=shown)
    context = cells_.context_of(progress, offline, device, threads, trust_remote_code)
    configs.check_resolvable(loaded, replace(context, offline=True)).raise_if_errors()
    folder = output or Path("trained") / loaded.name
    opened = Store(store)
    common.make_writable(folder, "--output")
    common.make_writable(opened.root, "--store")
    from seekbench.training_runs import train_all

    models, failures = train_all(
        loaded, output=folder, store=opened, context=context, on_error=cells_.traceback
    )
    if json_:
        said = [
            {"dataset": m.dataset, "retriever": m.retriever, "model": str(m.folder), "facts": dict(m.facts)}
            for m in models
        ]
        progress.emit("result", models=said, failures=[vars(f) for f in failures])
    else:
        for model in models:
            typer.echo(_line(model))
    cells_.end(failures, bool(models))


def _line(model: Any) -> str:
    facts = model.facts
    before, after = facts.get("held_out_before"), facts.get("held_out_after")
    look = (
        f", MRR@10 of held-out texts {before['mrr@10']:.3f} -> {after['mrr@10']:.3f}"
        if before and after
        else ""
    )
    steps = f"{facts['steps']} steps in {facts['seconds']:.0f} s"
    return f"{model.dataset} {model.retriever}: {steps}{look}; {model.folder}"
