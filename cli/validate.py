"""`seekbench validate`: finds every mistake of a config or a dataset without running anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from seekbench.cli import cells, common, options


@common.handled
def validate(
    target: Annotated[
        list[str] | None, typer.Argument(help="A config, or `dataset` and a folder, file or name.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as in `run`.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a config, for editors.")
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Configs: also read the local datasets, and report their defects.")
    ] = False,
    offline: options.Offline = False,
    embed: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Datasets: compare queries across splits by this encoder.  [default: TF-IDF of character 4-grams]",
        ),
    ] = None,
    leakage: Annotated[bool, typer.Option(help="Datasets: look for leakage across splits.")] = True,
    path: Annotated[
        Path | None, typer.Option(help="Datasets by name whose data you bring: the folder they are in.")
    ] = None,
) -> None:
    """Check a config or a dataset. Errors exit with 2, warnings don't.

    Examples:  seekbench validate my.yaml   |   seekbench validate dataset ./my-collection
    """
    from seekbench.errors import InputError, did_you_mean

    if schema:
        import json

        from seekbench.config import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
        return
    words = target or []
    if len(words) == 2 and words[0] in ("dataset", "config"):
        kind, name = words
    elif len(words) == 1:
        kind, name = ("dataset" if Path(words[0]).is_dir() else "config"), words[0]
    else:
        near = did_you_mean(words[0], ["dataset", "config"]) if len(words) == 2 else ""
        example = "e.g. seekbench validate dataset ./my-collection"
        raise InputError("name a config, or `dataset PATH`", remedy=near or example)
    if kind == "dataset":
        _dataset(name, json_, leakage, offline, embed, path)
    else:
        _config(name, set_ or [], json_, data)


def _config(name: str, overrides: list[str], json_: bool, data: bool) -> None:
    from seekbench import config as configs
    from seekbench.retrievers.protocol import Context

    path, shown = common.find_config(name)
    loaded = configs.load(path, overrides, shown=shown)
    report = configs.check_resolvable(loaded, Context(offline=True))
    report.raise_if_errors()
    common.print_report(report)
    if data:
        from seekbench.runner import check_local_data
        from seekbench.store import Store

        check_local_data(loaded, Store(), Context(offline=True, progress=cells.progress_of(json_)))
    if json_:
        import json

        typer.echo(
            json.dumps(
                {
                    "valid": True,
                    "datasets": [d.id for d in loaded.datasets],
                    "retrievers": [r.name for r in loaded.retrievers],
                    "metrics": [m.name for m in loaded.measures],
                }
            )
        )
        return
    typer.echo(
        f"{shown}: good: {len(loaded.datasets)} datasets x {len(loaded.retrievers)} retrievers, "
        f"metrics {', '.join(m.name for m in loaded.measures)}"
    )


def _dataset(
    name: str, json_: bool, leakage: bool, offline: bool, embed: str | None, path: Path | None
) -> None:
    from seekbench.datasets.validate import validate as check
    from seekbench.progress import NoProgress, PlainProgress, RichProgress

    progress = NoProgress() if json_ else RichProgress() if common.is_terminal() else PlainProgress()
    entry = name if path is None else {"name": name, "path": path}
    result = check(entry, progress=progress, leakage=leakage, offline=offline, embed=_encoder(embed, offline))
    if json_:
        import json
        from dataclasses import asdict

        problems = [asdict(p) for p in result.report.problems]
        typer.echo(
            json.dumps(
                {
                    "valid": result.report.errors == 0,
                    "errors": result.report.errors,
                    "warnings": result.report.warnings,
                    "problems": problems,
                    "statistics": result.statistics,
                    "leakage": result.leakage,
                },
                indent=2,
            )
        )
    else:
        for line in result.summary():
            typer.echo(line)
        common.print_report(result.report)
        verdict = "defective" if result.report.errors else "good"
        typer.echo(f"{name}: {verdict}: {result.report.errors} errors, {result.report.warnings} warnings")
    if result.report.errors:
        raise typer.Exit(common.WRONG_INPUT)


def _encoder(model: str | None, offline: bool) -> Callable[[list[str]], Any] | None:
    """texts -> float32 [texts, dim] by a dense checkpoint."""
    if model is None:
        return None
    from seekbench.retrievers.dense import Dense, DenseParams
    from seekbench.retrievers.protocol import Context

    dense, context = Dense(DenseParams.model_validate({"model": model})), Context(offline=offline)
    dense.identity(context=context)
    return lambda texts: dense.encode(texts, "query", lambda n: None, context).vectors
