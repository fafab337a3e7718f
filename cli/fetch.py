"""`seekbench fetch`: brings datasets here before they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seekbench.cli import cells, common, options

if TYPE_CHECKING:
    from seekbench.datasets.fetch import Need
    from seekbench.datasets.resolve import DatasetSpec
    from seekbench.tables import Grid


@common.handled
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(help="Datasets or suites by name (`seekbench ls`), e.g. nanobeir or mteb/SciFact."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is missing, and how large it is.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", envvar="SEEKBENCH_OFFLINE", help="Never touch the network: say what is missing."
        ),
    ] = False,
    store: options.Store = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Progress and result as JSON events on stdout.")
    ] = False,
) -> None:
    """Fetch datasets, verify them, and read them into the store, so that later runs need no network.

    The size is said first. Interrupt it at any time: the same command continues. Another hub: HF_ENDPOINT=https://mirror;
    a token for private ones: HF_TOKEN.

    Examples:  seekbench fetch nanobeir   |   seekbench fetch beir --dry-run
    """
    from seekbench.datasets.fetch import need_of
    from seekbench.datasets.load import load
    from seekbench.errors import SeekbenchError
    from seekbench.progress import Labelled
    from seekbench.store import Store

    specs = _specs(names)
    kept = Store(store)
    needs = [need_of(spec, kept, offline=offline) for spec in specs]
    missing = [need for need in needs if not need.stored]
    _say(needs, json_)
    if dry_run or (offline and missing):
        unknown = any(need.problem for need in missing)
        raise typer.Exit(common.FAILED if unknown or (missing and offline) else 0)
    failed = []
    progress = cells.progress_of(json_)
    for need in missing:
        try:
            load(need.spec, store=kept, progress=Labelled(progress, need.spec.id))
        except SeekbenchError as error:
            failed.append((need.spec.id, str(error)))
    for id, cause in failed:
        typer.echo(f"failed: {id}: {cause}", err=True)
    if failed:
        raise typer.Exit(common.FAILED)


def _specs(names: list[str]) -> list[DatasetSpec]:
    """Raises InputError with every name that is wrong."""
    from seekbench.datasets import catalogue
    from seekbench.errors import InputError, Report

    report = Report()
    found: dict[str, DatasetSpec] = {}
    for name in names:
        try:
            known = catalogue.expanded(name)
        except InputError:
            known = [name]  # a path, an id of ir_datasets, or nothing: `parse` says which
        for member in known:
            try:
                for spec in catalogue.parse(member, base=Path.cwd()):
                    found.setdefault(spec.id, spec)
            except InputError as error:
                report.extend(error.report)
    report.raise_if_errors()
    return list(found.values())


def _say(needs: list[Need], json_: bool) -> None:
    import json

    from seekbench.cli import figures

    if json_:
        rows = [
            {
                "dataset": n.spec.id,
                "stored": n.stored,
                "files": n.files,
                "bytes": n.bytes,
                "problem": n.problem,
            }
            for n in needs
        ]
        typer.echo(json.dumps({"event": "needs", "datasets": rows}))
        return
    figures.show([_table(needs)], figures.TableFormat.table)


def _table(needs: list[Need]) -> Grid:
    from seekbench.tables import Grid, Text

    rows = [
        [
            Text(n.spec.id),
            Text(
                "stored"
                if n.stored
                else n.problem or ("to fetch" if n.files or n.bytes is None else "to read")
            ),
            Text(f"{n.files:,}" if n.files else ""),
            Text(
                "" if n.stored or n.problem else "not stated" if n.bytes is None else f"{n.bytes / 1e6:,.1f}"
            ),
        ]
        for n in needs
    ]
    missing = [n for n in needs if not n.stored]
    told = [n.bytes for n in missing if n.bytes is not None and not n.problem]
    note = f"{len(missing)} of {len(needs)} datasets are missing"
    if told:
        note += f"; {sum(told) / 1e6:,.1f} MB to fetch" + (
            " of those whose size is known" if len(told) < len(missing) else ""
        )
    return Grid(["dataset", "state", "files", "MB"], rows, notes=[note], left=frozenset({0, 1}))
