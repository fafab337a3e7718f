"""`seekbench show`: one dataset, retriever type, metric or config in full."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from seekbench.cli import common


@common.handled
def show(
    name: Annotated[str, typer.Argument(help="A dataset, retriever type, metric or config.")],
) -> None:
    """Tell all about one name: a dataset's card, a retriever's parameters, a metric's definition, a config's text."""
    from seekbench.datasets import catalogue
    from seekbench.errors import InputError, did_you_mean
    from seekbench.retrievers import registry

    found = False
    if name in catalogue.names():
        typer.echo(catalogue.card_text(name))
        found = True
    if name in registry.known():
        _show_retriever(name)
        found = True
    shipped = dict(common.shipped_configs())
    if name in shipped:
        typer.echo(shipped[name].read_text(encoding="utf-8"), nl=False)
        found = True
    if found:
        return
    from seekbench.metrics import measure

    try:
        typer.echo(measure.describe(name))
    except InputError:
        known = [
            *catalogue.names(),
            *registry.known(),
            *shipped,
            *measure.definitions(),
            *measure.SHOWN.values(),
        ]
        raise InputError(
            f"nothing is named '{name}'", remedy=did_you_mean(name, known) or "see `seekbench ls`"
        ) from None


def _show_retriever(name: str) -> None:
    from seekbench.retrievers import registry

    cls = registry.resolve(name)
    typer.echo(f"retriever type {name}: {registry.known()[name][1]}")
    doc = inspect.getdoc(cls)
    if doc:
        typer.echo(doc)
    typer.echo("parameters (default; what a change costs):")
    for field, info in cls.Params.model_fields.items():
        kind = (
            "new index"
            if field in cls.index_params
            else "new search"
            if field in cls.search_params
            else "no score"
        )
        default = "required" if info.is_required() else _short(info.get_default(call_default_factory=True))
        typer.echo(f"  {field:<18} {default:<22} {kind:<11} {info.description or ''}".rstrip())


def _short(value: Any) -> str:
    return "none" if value is None else str(value)
