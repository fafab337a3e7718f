"""What commands that run cells share: the context, the plan as text, how failures end a command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seekbench.cli import common

if TYPE_CHECKING:
    from seekbench.config import RunConfig
    from seekbench.plan import CellPlan
    from seekbench.progress import Progress
    from seekbench.runner import Failure, Outcome


def context_of(progress: Progress, offline: bool, device: str, threads: int | None, trust: bool) -> Any:
    import os
    import re

    from seekbench.errors import InputError
    from seekbench.retrievers.protocol import Context

    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", device):
        raise InputError(
            f"unknown device '{device}'", where="--device", remedy="auto, cpu, cuda, cuda:1 or mps"
        )
    if offline:
        # The hub's libraries read these when they are imported, which happens after this point.
        os.environ["HF_HUB_OFFLINE"] = "1"
    context = Context(progress=progress, device=device, offline=offline, trust_remote_code=trust)
    if threads:
        context.threads = threads
    return context


def load_config(config: str, set_: Sequence[str], context: Any) -> RunConfig:
    """A config by path or by the name of a shipped one, with everything checked that needs no network."""
    from dataclasses import replace

    from seekbench import config as configs

    path, shown = common.find_config(config)
    loaded = configs.load(path, set_, shown=shown)
    configs.check_resolvable(loaded, replace(context, offline=True)).raise_if_errors()
    return loaded


def boards_of(config: RunConfig, outcome: Outcome, folder: Path) -> list[Any]:
    """The leaderboard of each metric of a run that wrote to this folder."""
    from seekbench.leaderboard import records, table

    found = [
        (records.cell_folder(folder, r["dataset"]["id"], r["dataset"]["split"], r["retriever"]["name"]), r)
        for r in outcome.records
    ]
    failures = {(f.dataset, f.split, f.retriever): f.cause for f in outcome.failures}
    return [
        table.build(found, metric=m.name, baseline=config.baseline, failures=failures)
        for m in config.measures
    ]


def progress_of(json_: bool) -> Progress:
    from seekbench.progress import JsonProgress, PlainProgress, RichProgress

    if json_:
        return JsonProgress(sys.stdout)
    return RichProgress() if common.is_terminal() else PlainProgress()


def traceback(error: BaseException) -> None:
    import os
    import traceback as traces

    if os.environ.get("SEEKBENCH_TRACEBACK"):
        traces.print_exception(error)


def show(cells: Sequence[CellPlan], metrics: Sequence[str]) -> None:
    """Prints a plan."""
    for cell in cells:
        typer.echo(f"{cell.dataset} ({cell.split})  {cell.retriever}")
        for stage in cell.stages:
            work = f"  [{stage.work}]" if stage.work else ""
            typer.echo(f"    {stage.kind:<10} {stage.state:<8} {stage.why}{work}")
        if cell.problem:
            typer.echo(f"    problem    {cell.problem}")
    todo = sum(any(s.state != "cached" for s in c.stages) or bool(c.problem) for c in cells)
    typer.echo(f"{len(cells)} cells: {len(cells) - todo} stored, {todo} to do; metrics: {', '.join(metrics)}")


def end(failures: Sequence[Failure], done: bool) -> None:
    """Says what failed, and exits accordingly. done: whether anything succeeded."""
    for failure in failures:
        typer.echo(
            f"failed: {failure.dataset} ({failure.split}) {failure.retriever}: {failure.cause}", err=True
        )
    if failures:
        all_wrong_input = not done and all(f.user_error for f in failures)
        raise typer.Exit(common.WRONG_INPUT if all_wrong_input else common.FAILED)
