"""The `seekbench` command: registers the commands; each lives in a module of its own and imports what it needs
when it runs, so that `--help` is instant."""

from __future__ import annotations

import os

import typer

from seekbench.cli import (
    check,
    compare,
    diff,
    doctor,
    evaluate,
    fetch,
    inspect,
    leaderboard,
    ls,
    new,
    run,
    select_tasks,
    show,
    study,
    submit,
    subsample,
    train,
    validate,
)

app = typer.Typer(
    name="seekbench",
    help="Evaluate retrievers: one YAML of datasets x systems in, a leaderboard that can be trusted out.",
    epilog="Start with: seekbench run quickstart   |   your own data: seekbench validate dataset PATH",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: half the start-up time
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from seekbench import __version__

        typer.echo(f"seekbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_version, is_eager=True
    ),
) -> None:
    return


app.command("run")(run.run)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("diff")(diff.diff)
app.command("inspect")(inspect.inspect)
app.command("subsample")(subsample.subsample)
app.command("select-tasks")(select_tasks.select_tasks)
app.command("validate")(validate.validate)
app.command("ls")(ls.ls)
app.command("show")(show.show)
app.command("fetch")(fetch.fetch)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("check")(check.check)
app.command("submit")(submit.submit)
app.command("doctor")(doctor.doctor)
app.add_typer(new.app, name="new")
app.add_typer(study.app, name="study")


def main() -> None:
    # Typer checks options with pydantic, which would look through all installed packages for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    app()


if __name__ == "__main__":
    main()
