"""`seekbench submit`: results as a board takes them, after a pre-flight check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seekbench.cli import common, figures, options

if TYPE_CHECKING:
    from seekbench.submission.targets import File, Submission
    from seekbench.tables import Grid


@common.handled
def submit(
    target: Annotated[str, typer.Argument(help="mteb, beir, air-bench, trec or ir-metadata.")],
    results: Annotated[
        list[Path], typer.Argument(help="Result folders (or result.json files) of one or more runs.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder.  [default: submissions/TARGET]")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="Which system, where there are several.")
    ] = None,
    meta: Annotated[
        Path | None,
        typer.Option("--meta", help="YAML file of what records can't know: the model's sheet ..."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="DATASET=TASK", help="MTEB's name of a dataset; repeatable."),
    ] = None,
    dataset_revision: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset-revision",
            metavar="DATASET=COMMIT",
            help="Of a dataset's data, on the hub; repeatable.",
        ),
    ] = None,
    qrels: Annotated[
        list[str] | None,
        typer.Option(
            "--qrels", metavar="DATASET=FILE", help="Judgments, where the dataset can't be read; repeatable."
        ),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option("--known", help="Known scores to compare with: a folder of MTEB results, or a CSV."),
    ] = None,
    known_as: Annotated[
        str | None, typer.Option("--known-as", metavar="NAME", help="What the system is called there.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of TREC runs.  [default: the system's name]")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Hits a query.  [default: the board's]")] = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="ir-metadata: inside of the run file, not beside it.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check; write nothing.")] = False,
    store: options.Store = None,
) -> None:
    """Write the files that a board takes, if nothing in them would be rejected. Nothing is uploaded.

    Exit codes: 0 ready, 1 the board would reject it (nothing is written), 2 the input is wrong.

    Example:  seekbench submit mteb results/my --system minilm --meta minilm.yaml --known ../mteb-results/results
    """
    from seekbench.errors import Report
    from seekbench.store import Store
    from seekbench.submission import bundle as bundles
    from seekbench.submission import known as known_scores
    from seekbench.submission import metadata, preflight, targets

    export = targets.resolve(target)
    given = {
        "--task": task, "--dataset-revision": dataset_revision, "--known": known, "--known-as": known_as,
        "--tag": tag, "--depth": depth, "--inline": inline or None,
    }  # fmt: skip
    _refuse_others(target, [name for name, value in given.items() if value is not None])
    gathered = bundles.gather(results, system)
    datasets = sorted({c.dataset for c in gathered.cells})
    loaded = metadata.load(meta, datasets=datasets, tasks=task or (), revisions=dataset_revision or ())
    names = [n for n in (known_as, loaded.model.name, gathered.system) if n]
    bundle = bundles.Bundle(
        gathered.system,
        [c for c in gathered.cells if c.record["comparable"]],  # of a trial run nothing else is worth saying
        loaded,
        bundles.Options(tag, depth, inline),
        metadata.paths("--qrels", qrels or (), datasets),
        None if known is None else known_scores.load(known, names[:1] if known_as else names),
        Store(store),
    )
    folder = output or Path("submissions") / target
    report = Report()
    preflight.check_records(gathered, report)
    made = export(bundle, report)
    if made.rows:
        figures.show([_summary(made)], figures.TableFormat.table)
    common.print_report(report)
    said = f"{report.errors} errors, {report.warnings} warnings"
    if report.errors:
        typer.echo(f"not ready for {target}: {said}; nothing is written")
        raise typer.Exit(common.FAILED)
    if check:
        typer.echo(f"ready for {target}: {said}; nothing is written (--check)")
        return
    common.make_writable(folder, "--output")
    for file in made.files:
        _write(folder / file.path, file)
    typer.echo(f"ready for {target}: {said}; {len(made.files)} files in {folder}")
    typer.echo("next:")
    for i, step in enumerate(made.next_steps, 1):
        typer.echo(f"  {i}. {step}")


#: Options that have a meaning for some boards alone.
_FOR = {
    "--task": ("mteb",),
    "--dataset-revision": ("mteb",),
    "--known": ("mteb", "beir"),
    "--known-as": ("mteb", "beir"),
    "--tag": ("beir", "trec", "ir-metadata"),
    "--depth": ("air-bench", "trec", "ir-metadata"),
    "--inline": ("ir-metadata",),
}


def _refuse_others(target: str, given: list[str]) -> None:
    """Raises InputError for options that would do nothing."""
    from seekbench.errors import Report

    report = Report()
    for name in given:
        if target not in _FOR[name]:
            have = " and ".join(_FOR[name])
            report.error("option", f"it means nothing for {target}; {have} take it", where=name)
    report.raise_if_errors()


def _write(path: Path, file: File) -> None:
    from seekbench.store import atomic_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as part, part.open("wb") as out:
        for block in file.blocks():
            out.write(block)


def _summary(made: Submission) -> Grid:
    from seekbench.tables import Grid, Text

    rows = []
    for row in made.rows:
        delta = None if row.score is None or row.known is None else row.score - row.known
        rows.append(
            [
                Text(row.dataset),
                Text(row.file),
                Text(f"{row.queries:,}"),
                Text(f"{row.depth:,}"),
                *([Text(row.figure), Text(figures.number(row.score, 5))] if row.figure else []),
                *(
                    [Text(figures.number(row.known, 5)), Text(figures.number(delta, 5, sign=True))]
                    if row.figure
                    else []
                ),
            ]
        )
    columns = ["dataset", "file", "queries", "depth"]
    if any(row.figure for row in made.rows):
        columns += ["main score", "score", "known", "Δ"]
    return Grid(columns, rows, left=frozenset({0, 1, 4}))
