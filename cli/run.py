"""`seekbench run`: executes a config and prints the leaderboard."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import cells as cells_
from seekbench.cli import common, options

if TYPE_CHECKING:
    from seekbench.config import RunConfig
    from seekbench.plan import CellPlan
    from seekbench.progress import Progress
    from seekbench.runner import Outcome


@common.handled
def run(
    config: options.ConfigName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for results.  [default: results/<name>]")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. retrievers.bm25.k1=1.2; repeatable."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only the first N queries of each dataset: a trial run, marked as not comparable."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan: cells, what is stored and why not, expected cost."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for each artifact why it was reused or made.")
    ] = False,
    json_: options.Json = False,
    offline: options.Offline = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    store: options.Store = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Run every retriever of a config on every dataset; print and write the leaderboard.

    Interrupt it at any time: the same command continues. Exit codes: 0 all good, 1 a cell failed,
    2 the config or the data is wrong, 130 interrupted.

    Examples:  seekbench run quickstart   |   seekbench run my.yaml --set k=100 --dry-run
    """
    from seekbench.store import Store

    progress = cells_.progress_of(json_)
    with _reported(progress if json_ else None):
        context = cells_.context_of(progress, offline, device, threads, trust_remote_code)
        loaded = cells_.load_config(config, set_ or [], context)
    opened = Store(store)
    name = loaded.name if limit is None else f"{loaded.name}.limit-{limit}"
    folder = output or Path("results") / name
    if dry_run:
        with _reported(progress if json_ else None):
            _print_plan(loaded, opened, context, json_)
        return
    common.make_writable(folder, "--output")
    common.make_writable(opened.root, "--store")
    from seekbench.runner import execute

    outcome = execute(
        loaded, output=folder, store=opened, context=context, limit=limit, on_error=cells_.traceback
    )
    _finish(loaded, outcome, folder, explain, json_, progress)


@contextmanager
def _reported(events: Any) -> Iterator[None]:
    """With --json, mistakes of the input are an event too."""
    from seekbench.errors import InputError

    try:
        yield
    except InputError as error:
        if events is not None:
            events.emit("error", problems=[asdict(p) for p in error.report.problems])
        raise


def _finish(
    config: RunConfig, outcome: Outcome, folder: Path, explain: bool, json_: bool, progress: Progress
) -> None:
    from seekbench.leaderboard import render

    if explain:
        for line in outcome.explained:
            progress.note(line)
    # Also where everything failed: an older table must not stand there as if it were this run's.
    boards = cells_.boards_of(config, outcome, folder)
    if not json_:
        _print_board(boards[0], config, outcome)
    written = render.write(folder, boards)
    if json_:
        _json_result(progress, boards, outcome, folder)
    else:
        typer.echo(
            f"\nall metrics: {written[1]}\nrecords, scores per query, runs: {folder}/<dataset>/<split>/<system>/"
        )
    cells_.end(outcome.failures, bool(outcome.records))


def _json_result(progress: Any, boards: list[Any], outcome: Outcome, folder: Path) -> None:
    from seekbench.leaderboard import render

    progress.emit(
        "result",
        output=str(folder),
        leaderboard=render.as_json(boards[0]),
        failures=[vars(f) for f in outcome.failures],
        explained=outcome.explained,
    )


def _print_board(board: Any, config: RunConfig, outcome: Outcome) -> None:
    from rich.console import Console

    from seekbench import tables
    from seekbench.leaderboard import render

    console = Console(width=None if sys.stdout.isatty() else 160)
    sizes = {
        r["dataset"][
            "id"
        ]: f"{r['dataset']['id']} ({r['dataset']['split']}): {r['dataset']['documents']:,} documents, "
        f"{r['dataset']['queries']:,} queries"
        for r in outcome.records
    }
    console.print()
    console.print(f"{config.name}: {board.metric}", style="bold", markup=False, highlight=False)
    grid = render.grid(board)
    for part in tables.split(grid, console.width):
        console.print(tables.as_rich(part, console.width))
    for line in [*grid.notes, *sizes.values()]:
        console.print(line, style="dim", markup=False, highlight=False)


def _print_plan(config: RunConfig, store: Any, context: Any, json_: bool) -> None:
    from seekbench import plan
    from seekbench.collection import Dataset
    from seekbench.datasets.load import stored
    from seekbench.runner import load_dataset, training_of

    datasets: dict[int, Dataset | str] = {}
    for i, spec in enumerate(config.datasets):
        there, why = stored(spec, store=store, offline=context.offline)
        datasets[i] = load_dataset(spec, store=store, context=context) if there else why

    def training(i: int, dataset: Dataset) -> plan.TrainingOf:
        return training_of(config.datasets[i], dataset, store, context)

    try:
        cells = plan.plan_cells(config, datasets, store, context, training)
    except plan.WrongPlanError as error:
        _show_plan(config, error.cells, context, json_)
        raise
    _show_plan(config, cells, context, json_)


def _show_plan(config: RunConfig, cells: list[CellPlan], context: Any, json_: bool) -> None:
    if json_:
        context.progress.emit("plan", cells=[asdict(c) for c in cells])
        return
    cells_.show(cells, [m.name for m in config.measures])
