"""`seekbench leaderboard`: a table of results that were made before, ours and others'."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from seekbench.cli import common, figures
from seekbench.cli.figures import TableFormat


@common.handled
def leaderboard(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Any mix of result folders of `seekbench run`, folders of MTEB's result files, and .csv tables of "
            "published scores."
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            "-m",
            help="Which metric; `main`: each dataset's own.  [default: the first of the run, or main]",
        ),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The system that others are compared with.")] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A suite's datasets, averaged by its rule, e.g. beir (`seekbench ls suites`)."),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only these datasets; names or patterns (beir/*); repeatable.")
    ] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="Only these systems; names or patterns; repeatable.")
    ] = None,
    expand: Annotated[
        bool,
        typer.Option("--expand", help="A column for each dataset of a group, and each subset of a task."),
    ] = False,
    intervals: Annotated[bool, typer.Option("--intervals", help="95% intervals beside the figures.")] = False,
    all_splits: Annotated[
        bool, typer.Option("--all-splits", help="Published figures on train and dev splits, too.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Write a folder of web pages that open from disk, in place of the table."
        ),
    ] = None,
    html_title: Annotated[
        str | None, typer.Option("--html-title", help="The pages' title.  [default: Leaderboard]")
    ] = None,
    html_queries: Annotated[
        int | None,
        typer.Option(
            "--html-queries", min=0, help="Queries of a dataset whose documents pages show.  [default: 50]"
        ),
    ] = None,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Pages without texts of queries and documents.")
    ] = False,
    format: Annotated[TableFormat, figures.FORMAT] = TableFormat.table,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed", help="Show figures on other data too, in brackets and in no mean or test."
        ),
    ] = False,
) -> None:
    """Show systems x datasets from the results of any runs, beside published scores.

    ▲ ▼ mark significant differences to the baseline; systems with a letter in common (group) can't be told apart;
    ◆ marks the front of quality and cost; Borda is MMTEB's rank. What is missing is said, and in no mean. Where a
    system learnt from another split, a second column (†) compares all systems on the queries that are close to no
    training query.

    Examples:  seekbench leaderboard results/a results/b --metric recall@100 --baseline bm25
    seekbench leaderboard results/mine mteb-results/ scores.csv --suite beir -f latex
    seekbench leaderboard results/mine --html page
    """
    import json

    from seekbench.errors import InputError
    from seekbench.leaderboard import columns, render, sources, table
    from seekbench.metrics.measure import parse

    name = metric if metric in (None, columns.MAIN) else parse(metric).name
    options: dict[str, Any] = {
        "metric": name, "baseline": baseline, "allow_mixed": allow_mixed, "suite": suite, "expand": expand,
        "every_split": all_splits, "datasets": dataset or (), "systems": system or (),
    }  # fmt: skip
    if html is not None:
        if format is not TableFormat.table:
            raise InputError(
                "pages are written, and no table is printed", where="--format", remedy="leave it out"
            )
        _write_pages(
            html, results, options, title=html_title or "Leaderboard", texts=not no_texts,
            most=50 if html_queries is None else html_queries,
        )  # fmt: skip
        return
    if html_title is not None or html_queries is not None or no_texts:
        raise InputError(
            "--html-title, --html-queries and --no-texts belong to --html", remedy="e.g. --html page"
        )
    board = table.build(sources.load(results), **options)
    if format is TableFormat.json:
        typer.echo(json.dumps(render.as_json(board), indent=2, ensure_ascii=False))
        return
    grid = render.grid(board, intervals=intervals)
    if format is TableFormat.table:
        grid.title = board.metric
    figures.show([grid], format)


def _write_pages(
    folder: Path, results: list[Path], options: dict[str, Any], *, title: str, texts: bool, most: int
) -> None:
    from seekbench.leaderboard import sources
    from seekbench.leaderboard.page import boards, write

    write.check_folder(folder)
    made = boards.of_all_metrics(sources.load(results), **options)
    common.make_writable(folder, "--html")
    written = write.write(folder, made, title=title, texts=texts, most=most)
    for name, why in written.without_texts.items() if texts else ():
        typer.echo(f"warning: {name}: no texts: {why}", err=True)
    typer.echo(
        f"{written.pages} pages, {common.size_text(written.bytes)} beside scripts and styles: {written.index}"
    )
