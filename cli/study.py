"""`seekbench study`: a question over a grid of datasets and systems, each study a command of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import cells as cells_
from seekbench.cli import common, figures, options
from seekbench.cli.figures import TableFormat

if TYPE_CHECKING:
    from seekbench.plan import CellPlan
    from seekbench.progress import Progress
    from seekbench.retrievers.protocol import Context

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
    format: Annotated[TableFormat, figures.FORMAT] = TableFormat.table,
    set_: Annotated[list[str] | None, _SET] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
    explain: Annotated[bool, _EXPLAIN] = False,
    offline: options.Offline = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    store: options.Store = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Corpus size x docids x inputs: how retrieval scales, with parameters, training tokens and times.

    Each dataset is cut into nested subsets, every cell runs on each. Interrupt it at any time: the same command
    continues. Exit codes: 0 all good, 1 a cell failed, 2 the file or the data is wrong, 130 interrupted.

    Example:  seekbench study scaling studies/scaling --set sizes=[200,all] --dry-run
    """
    from seekbench.studies import scaling as studies

    context = partial(
        cells_.context_of, offline=offline, device=device, threads=threads, trust=trust_remote_code
    )
    _run(
        studies, studies, study, output, metric, format, set_, dry_run, explain, store, context,
        parts="subsets", part="<documents>", common=common_,
    )  # fmt: skip


@app.command("growing")
@common.handled
def growing(
    study: Annotated[
        str, typer.Argument(help="A study file (`study: growing`), or the name of a shipped one.")
    ],
    output: Annotated[Path | None, _OUTPUT] = None,
    metric: Annotated[list[str] | None, _METRIC] = None,
    format: Annotated[TableFormat, figures.FORMAT] = TableFormat.table,
    set_: Annotated[list[str] | None, _SET] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
    explain: Annotated[bool, _EXPLAIN] = False,
    offline: options.Offline = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    store: options.Store = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """A corpus that grows: what an index of its first documents forgets when others are added, and finds of those.

    Each dataset is cut into first documents and later ones; the first are indexed, the others added by continued
    training. Interrupt it at any time: the same command continues. Exit codes: 0 all good, 1 a cell failed, 2 the
    file or the data is wrong, 130 interrupted.

    Example:  seekbench study growing studies/growing --set first=0.5 --dry-run
    """
    from seekbench.studies import growing as studies
    from seekbench.studies import growing_table

    context = partial(
        cells_.context_of, offline=offline, device=device, threads=threads, trust=trust_remote_code
    )
    _run(
        studies, growing_table, study, output, metric, format, set_, dry_run, explain, store, context,
        parts="cuts", part="<first or all>",
    )  # fmt: skip


@app.command("muvera")
@common.handled
def muvera(
    study: Annotated[
        str, typer.Argument(help="A study file (`study: muvera`), or the name of a shipped one.")
    ],
    output: Annotated[Path | None, _OUTPUT] = None,
    metric: Annotated[list[str] | None, _METRIC] = None,
    format: Annotated[TableFormat, figures.FORMAT] = TableFormat.table,
    set_: Annotated[list[str] | None, _SET] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
    explain: Annotated[bool, _EXPLAIN] = False,
    offline: options.Offline = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    store: options.Store = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Candidates of late interaction: recall of MUVERA's encodings, the single-vector heuristic and PLAID.

    Every method proposes documents over the same token vectors; the table says how many of the exact search's first
    documents are among N of them, and what re-ranking those loses. Interrupt it at any time: the same command
    continues. Exit codes: 0 all good, 1 a cell failed, 2 the file or the data is wrong, 130 interrupted.

    Example:  seekbench study muvera studies/muvera --set candidates=[10,100] --dry-run
    """
    from seekbench.studies import muvera as studies
    from seekbench.studies import muvera_table

    context = partial(
        cells_.context_of, offline=offline, device=device, threads=threads, trust=trust_remote_code
    )
    _run(
        studies, muvera_table, study, output, metric, format, set_, dry_run, explain, store, context,
        parts="measured", part=None,
    )  # fmt: skip


def _run(
    studies: Any,
    tables: Any,
    study: str,
    output: Path | None,
    metrics: list[str] | None,
    format: TableFormat,
    overrides: list[str] | None,
    dry_run: bool,
    explain: bool,
    store: Path | None,
    context_of: Callable[[Progress], Context],
    *,
    parts: str,
    part: str | None,
    **shown: bool,
) -> None:
    """Runs a study and prints its tables.

    studies, tables: the study's modules. parts: what JSON calls the datasets' parts; part: how a folder of results
    names one, None where there are no such folders. shown: options of the tables.
    """
    from seekbench.store import Store
    from seekbench.studies.common import chosen_metrics

    path, named = common.find_config(study)
    loaded = studies.load(path, overrides or [], shown=named)
    if metrics:
        chosen_metrics([m.name for m in loaded.config.measures], metrics)
    context = context_of(cells_.progress_of(False))
    studies.check_resolvable(loaded, replace(context, offline=True)).raise_if_errors()
    opened = Store(store)
    folder = output or Path("results") / loaded.name
    if dry_run:
        _dry_run(studies.plan, parts, loaded, folder, opened, context, format)
        return
    common.make_writable(folder, "--output")
    common.make_writable(opened.root, "--store")
    result = studies.execute(loaded, output=folder, store=opened, context=context, on_error=cells_.traceback)
    if explain:
        for line in result.outcome.explained:
            context.progress.note(line)
    if format is TableFormat.json:
        _echo_json(tables.as_json(result, metrics))
    elif format is TableFormat.csv:
        figures.show([tables.wide_grid(result, metrics, **shown)], format)
    else:
        figures.show(tables.grids(result, metrics, **shown), format)
    written = tables.write(folder, result)
    if format is TableFormat.table:
        typer.echo(f"\ntables and pictures: {', '.join(str(p) for p in written)}")
        if part is not None:
            typer.echo(f"records, scores per query, runs: {folder}/<dataset>__{part}/<split>/<system>/")
    cells_.end(result.outcome.failures, bool(result.outcome.records))


def _dry_run(
    plan: Any, what: str, study: Any, folder: Path, store: Any, context: Any, format: TableFormat
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
    what: str, lines: list[str], cells: list[CellPlan], metrics: list[str], format: TableFormat
) -> None:
    """lines: what is said of the datasets' parts, which JSON calls `what`."""
    if format is TableFormat.json:
        _echo_json({what: lines, "cells": [asdict(c) for c in cells]})
        return
    for line in lines:
        typer.echo(line)
    cells_.show(cells, metrics)


def _echo_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))
