"""`seekbench leaderboard`: a table of results that were made before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seekbench.cli import common, figures
from seekbench.cli.figures import Format


@common.handled
def leaderboard(
    results: Annotated[
        list[Path], typer.Argument(help="Result folders (or result.json files) of one or more runs.")
    ],
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="Which metric.  [default: the first of the run]")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The system that others are compared with.")] = None,
    format: Annotated[Format, figures.FORMAT] = Format.table,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Show figures of different data in one column, marked.")
    ] = False,
) -> None:
    """Show systems x datasets from the results of any runs.

    Where a system learnt from another split, a second column (†) compares all systems on the queries that are close
    to no training query with the same answer.

    Example:  seekbench leaderboard results/a results/b --metric recall@100 --baseline bm25
    """
    import json

    from seekbench.leaderboard import table
    from seekbench.metrics.measure import parse

    name = parse(metric).name if metric else None
    board = table.build(table.load(results), metric=name, baseline=baseline, allow_mixed=allow_mixed)
    if format is Format.json:
        typer.echo(json.dumps(table.as_json(board), indent=2))
        return
    grid = table.grid(board)
    if format is Format.table:
        grid.title = board.metric
    figures.show([grid], format)
