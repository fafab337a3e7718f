"""`seekbench new`: writes what a user would otherwise write by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seekbench.cli import cells, common

app = typer.Typer(help="Write a dataset's card from its folder.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _new() -> None:
    return


@app.command("dataset")
@common.handled
def dataset(
    folder: Annotated[Path, typer.Argument(help="A BEIR folder or a TREC collection.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The card.  [default: <folder>.yaml beside it]")
    ] = None,
    id: Annotated[
        str | None, typer.Option(help="The dataset's name in results.  [default: the folder's]")
    ] = None,
    title: Annotated[str | None, typer.Option(help="One line that says what it is.")] = None,
) -> None:
    """Write a dataset's card: its counts, its files' checksums and the language of its texts.

    The collection is checked as `seekbench validate dataset` does; defects are reported, and no card is written. What
    only you know (licence, citation, task) is marked in the card. Use it in a config: `datasets: [./mine.yaml]`.

    Example:  seekbench new dataset ./my-collection
    """
    from seekbench.datasets import new_card
    from seekbench.errors import InputError

    target = output or folder.resolve().with_suffix(".yaml")
    if target.exists():
        raise InputError(f"{target} is there already", where="--output", remedy="name another file")
    common.make_writable(target.resolve().parent, "--output")
    text, notes = new_card.of_folder(
        folder, target.resolve().parent, id=id, title=title, progress=cells.progress_of(False)
    )
    target.write_text(text, encoding="utf-8")
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(f"{target}: fill in what is marked with TODO; then `datasets: [{target}]` in a config")
