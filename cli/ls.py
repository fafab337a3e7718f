"""`seekbench ls`: what can be named in a config."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from seekbench.cli import common


class Kind(enum.StrEnum):
    datasets = "datasets"
    suites = "suites"
    mteb = "mteb"
    retrievers = "retrievers"
    metrics = "metrics"
    configs = "configs"


@common.handled
def ls(
    kind: Annotated[Kind | None, typer.Argument(help="Only these.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List datasets, suites, retriever types, metrics and shipped configs; with `mteb` the tasks of MTEB that can be
    named. `seekbench show NAME` tells more of one."""
    # MTEB's tasks are too many to be listed with all the rest.
    found = {k.value: _entries(k) for k in ([kind] if kind else [k for k in Kind if k is not Kind.mteb])}
    if json_:
        import json

        typer.echo(
            json.dumps({k: [{"name": n, "about": a} for n, a in v] for k, v in found.items()}, indent=2)
        )
        return
    for name, entries in found.items():
        width = max((len(n) for n, _ in entries), default=0)
        typer.echo(typer.style(name, bold=True))
        for entry, about in entries:
            typer.echo(f"  {entry:<{width}}  {about}".rstrip())


def _entries(kind: Kind) -> list[tuple[str, str]]:
    if kind is Kind.datasets:
        from seekbench.datasets import catalogue

        entries: list[tuple[str, str]] = catalogue.listing()
        return entries
    if kind is Kind.mteb:
        from seekbench.datasets import mteb_tasks

        return mteb_tasks.listing()
    if kind is Kind.suites:
        from seekbench.datasets import suites

        return suites.listing()
    if kind is Kind.retrievers:
        from seekbench.retrievers import registry

        return [(name, about) for name, (_, about) in registry.known().items()]
    if kind is Kind.metrics:
        return metric_entries()
    return [(name, _description(path)) for name, path in common.shipped_configs()]


def metric_entries() -> list[tuple[str, str]]:
    """Metric names as they are shown, with the first sentence of their definition."""
    import os

    # numpy's BLAS starts a thread a core when it is loaded, which costs a listing more than everything else.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from seekbench.metrics import measure

    return measure.listing()


def _description(path: object) -> str:
    from pathlib import Path

    for line in Path(str(path)).read_text(encoding="utf-8").splitlines():
        if line.startswith("description:"):
            return line.partition(":")[2].strip().strip("\"'")
    return ""
