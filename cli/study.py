"""`seekbench study`: a question over a grid of datasets and systems, each study a command of its own."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import common, figures
from seekbench.cli import run as run_command
from seekbench.cli.figures import Format

if TYPE_CHECKING:
    from seekbench.plan import CellPlan
    from seekbench.runner import Outcome
    from seekbench.studies import growing as growing_
    from seekbench.studies.scaling import Result

app = typer.Typer(
    help="Studies: a grid of datasets and systems from one file, and its table.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_OUTPUT = typer.Option("--output", "-o", help="Folder for results.  [default: results/<name>]")
_METRIC = typer.Option(
    "--metric", "-m", help="Which of the study's metrics to show; repeatable.  [default: all]"
)
_SET = typer.Option(
    "--set", metavar="KEY=VALUE", help="Override, e.g. retriever.training.steps=500; repeatable."
)
_DRY_RUN = typer.Option("--dry-run", help="Show the cells, and what of them is stored; write nothing.")
_EXPLAIN = typer.Option("--explain", help="Say for each artifact why it was reused or made.")
_OFFLINE = typer.Option("--offline", help="Never touch the network.", envvar="SEEKBENCH_OFFLINE")
_DEVICE = typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")
_THREADS = typer.Option(min=1, help="Threads.  [default: all cores]")
_STORE = typer.Option(help="Folder of cached artifacts.  [default: $SEEKBENCH_HOME or ~/.cache/seekbench]")
_TRUST = typer.Option("--trust-remote-code", help="Let checkpoints run their own Python code.")


@app.callback()
def _main() -> None:
    return


@app.command("scaling")
@common.handled
def scaling(
    study: Annotated[
        str, typer.Argument(help="A study file (`study: scaling`), or the name of a shipped one.")
    ],
    output: Annotated[Path | None, _OUTPUT] = None,
    metric: Annotated[list[str] | None, _METRIC] = None,
    common_: Annotated[
        bool,
        typer.Option(
            "--common/--no-common",
            help="Show figures over the queries of all sizes beside those over all queries.",
        ),
    ] = True,
    format: Annotated[Format, figures.FORMAT] = Format.table,
    set_: Annotated[list[str] | None, _SET] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
    explain: Annotated[bool, _EXPLAIN] = False,
    offline: Annotated[bool, _OFFLINE] = False,
    device: Annotated[str, _DEVICE] = "auto",
    threads: Annotated[int | None, _THREADS] = None,
    store: Annotated[Path | None, _STORE] = None,
    trust_remote_code: Annotated[bool, _TRUST] = False,
) -> None:
    """Corpus size x docids x inputs: how retrieval scales, with parameters, training tokens and times.

    Each dataset is cut into nested subsets, every cell runs on each. Interrupt it at any time: the same command
    continues. Exit codes: 0 all good, 1 a cell failed, 2 the file or the data is wrong, 130 interrupted.

    Example:  seekbench study scaling studies/scaling --set sizes=[200,all] --dry-run
    """
    from seekbench.store import Store
    from seekbench.studies import common as studies_common
    from seekbench.studies import scaling as studies

    _refuse_trec(format)
    path, shown = common.find_config(study)
    loaded = studies.load(path, set_ or [], shown=shown)
    if metric:
        studies_common.chosen_metrics([m.name for m in loaded.config.measures], metric)
    context = run_command._context(run_command._progress(False), offline, device, threads, trust_remote_code)
    studies.check_resolvable(loaded, replace(context, offline=True)).raise_if_errors()
    opened = Store(store)
    folder = output or Path("results") / loaded.name
    if dry_run:
        _dry_run(studies.plan, "subsets", loaded, folder, opened, context, format)
        return
    common.make_writable(folder, "--output")
    common.make_writable(opened.root, "--store")
    result = studies.execute(
        loaded, output=folder, store=opened, context=context, on_error=run_command._traceback
    )
    if explain:
        for line in result.outcome.explained:
            context.progress.note(line)
    _print_result(result, metric, common_, format)
    written = studies.write(folder, result)
    if format is Format.table:
        typer.echo(f"\ntables and pictures: {', '.join(str(p) for p in written)}")
        typer.echo(f"records, scores per query, runs: {folder}/<dataset>__<documents>/<split>/<system>/")
    _exit(result.outcome)


@app.command("growing")
@common.handled
def growing(
    study: Annotated[
        str, typer.Argument(help="A study file (`study: growing`), or the name of a shipped one.")
    ],
    output: Annotated[Path | None, _OUTPUT] = None,
    metric: Annotated[list[str] | None, _METRIC] = None,
    format: Annotated[Format, figures.FORMAT] = Format.table,
    set_: Annotated[list[str] | None, _SET] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
    explain: Annotated[bool, _EXPLAIN] = False,
    offline: Annotated[bool, _OFFLINE] = False,
    device: Annotated[str, _DEVICE] = "auto",
    threads: Annotated[int | None, _THREADS] = None,
    store: Annotated[Path | None, _STORE] = None,
    trust_remote_code: Annotated[bool, _TRUST] = False,
) -> None:
    """A corpus that grows: what an index of its first documents forgets when others are added, and finds of those.

    Each dataset is cut into first documents and later ones; the first are indexed, the others added by continued
    training. Interrupt it at any time: the same command continues. Exit codes: 0 all good, 1 a cell failed, 2 the
    file or the data is wrong, 130 interrupted.

    Example:  seekbench study growing studies/growing --set first=0.5 --dry-run
    """
    from seekbench.store import Store
    from seekbench.studies import common as studies_common
    from seekbench.studies import growing as studies
    from seekbench.studies import growing_table

    _refuse_trec(format)
    path, shown = common.find_config(study)
    loaded = studies.load(path, set_ or [], shown=shown)
    if metric:
        studies_common.chosen_metrics([m.name for m in loaded.config.measures], metric)
    context = run_command._context(run_command._progress(False), offline, device, threads, trust_remote_code)
    studies.check_resolvable(loaded, replace(context, offline=True)).raise_if_errors()
    opened = Store(store)
    folder = output or Path("results") / loaded.name
    if dry_run:
        _dry_run(studies.plan, "cuts", loaded, folder, opened, context, format)
        return
    common.make_writable(folder, "--output")
    common.make_writable(opened.root, "--store")
    result = studies.execute(
        loaded, output=folder, store=opened, context=context, on_error=run_command._traceback
    )
    if explain:
        for line in result.outcome.explained:
            context.progress.note(line)
    _print_grown(result, metric, format)
    written = growing_table.write(folder, result)
    if format is Format.table:
        typer.echo(f"\ntables and pictures: {', '.join(str(p) for p in written)}")
        typer.echo(f"records, scores per query, runs: {folder}/<dataset>__<first or all>/<split>/<system>/")
    _exit(result.outcome)


def _print_grown(result: growing_.Result, metrics: list[str] | None, format: Format) -> None:
    from seekbench.studies import growing_table

    if format is Format.json:
        _echo_json(growing_table.as_json(result, metrics))
    elif format is Format.csv:
        figures.show([growing_table.wide_grid(result, metrics)], format)
    else:
        figures.show(growing_table.grids(result, metrics), format)


def _refuse_trec(format: Format) -> None:
    if format is Format.trec:
        figures.show([], format)  # which says what formats there are


def _print_result(result: Result, metrics: list[str] | None, common_: bool, format: Format) -> None:
    from seekbench.studies import scaling as studies

    if format is Format.json:
        _echo_json(studies.as_json(result, metrics))
    elif format is Format.csv:
        figures.show([studies.wide_grid(result, metrics, common=common_)], format)
    else:
        figures.show(studies.grids(result, metrics, common=common_), format)


def _dry_run(
    plan: Any, what: str, study: Any, folder: Path, store: Any, context: Any, format: Format
) -> None:
    """Prints a study's plan, also where something in it can't be run, which is then said."""
    from seekbench.plan import WrongPlanError

    metrics = [m.name for m in study.config.measures]
    try:
        lines, cells = plan(study, output=folder, store=store, context=context)
    except WrongPlanError as error:
        _print_plan(what, [], error.cells, metrics, format)
        raise
    _print_plan(what, lines, cells, metrics, format)


def _print_plan(
    what: str, lines: list[str], cells: list[CellPlan], metrics: list[str], format: Format
) -> None:
    """lines: what is said of the datasets' parts, which JSON calls `what`."""
    if format is Format.json:
        _echo_json({what: lines, "cells": [asdict(c) for c in cells]})
        return
    for line in lines:
        typer.echo(line)
    for cell in cells:
        typer.echo(f"{cell.dataset} ({cell.split})  {cell.retriever}")
        for stage in cell.stages:
            work = f"  [{stage.work}]" if stage.work else ""
            typer.echo(f"    {stage.kind:<10} {stage.state:<8} {stage.why}{work}")
        if cell.problem:
            typer.echo(f"    problem    {cell.problem}")
    todo = sum(any(s.state != "cached" for s in c.stages) or bool(c.problem) for c in cells)
    typer.echo(f"{len(cells)} cells: {len(cells) - todo} stored, {todo} to do; metrics: {', '.join(metrics)}")


def _echo_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))


def _exit(outcome: Outcome) -> None:
    """Says what failed, and exits as `seekbench run` does."""
    for failure in outcome.failures:
        typer.echo(
            f"failed: {failure.dataset} ({failure.split}) {failure.retriever}: {failure.cause}", err=True
        )
    if outcome.failures:
        all_wrong_input = not outcome.records and all(f.user_error for f in outcome.failures)
        raise typer.Exit(common.WRONG_INPUT if all_wrong_input else common.FAILED)
