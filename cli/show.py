"""`seekbench show`: one dataset, suite, retriever type, docid builder, metric or config in full."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from seekbench.cli import common, options


@common.handled
def show(
    name: Annotated[
        str, typer.Argument(help="A dataset, suite, retriever type, docid builder, metric or config.")
    ],
    query: Annotated[
        str | None,
        typer.Option(help="Of a config: id of a query, with --document; the terms that match are shown."),
    ] = None,
    document: Annotated[str | None, typer.Option(help="Id of the document.")] = None,
    system: Annotated[
        str | None, typer.Option(help="Retriever of the config, where several can explain.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset of the config, where it has several.")] = None,
    store: options.Store = None,
) -> None:
    """Tell all about one name: a dataset's card, a suite's members, a retriever's or docid builder's parameters, a
    metric's definition, a config's text. With --query and --document: why a system of a config gives that score.

    Examples:  seekbench show sparse   |   seekbench show my.yaml --system splade --query q1 --document d7
    """
    if query is not None or document is not None:
        _explain(name, query, document, system, dataset, store)
        return
    from seekbench.datasets import catalogue, mteb_tasks, suites
    from seekbench.errors import InputError, did_you_mean
    from seekbench.metrics import measure
    from seekbench.retrievers import registry

    found = False
    if catalogue.is_known(name) and not mteb_tasks.is_name(name):
        typer.echo(catalogue.card_text(name))
        found = True
    if mteb_tasks.is_name(name):
        typer.echo("\n".join(mteb_tasks.lines_of(name)))
        found = True
    if name in suites.names():
        typer.echo(suites.text(name), nl=False)
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
    try:
        typer.echo(measure.describe(name))
        return
    except InputError:
        pass
    # Last, since this module loads columns, which metrics need not wait for.
    from seekbench.retrievers.generative.docids import registry as docids

    if name in docids.known():
        _show_docids(name)
        return
    known = [
        *catalogue.names(),
        *suites.names(),
        *registry.known(),
        *docids.known(),
        *shipped,
        *measure.definitions(),
        *measure.SHOWN.values(),
    ]
    (said,) = catalogue.unknown(name).report.problems  # of datasets, other spellings are known, too
    near = said.remedy if said.remedy.startswith("did") else did_you_mean(name, known)
    raise InputError(f"nothing is named '{name}'", remedy=near or "see `seekbench ls`")


def _explain(
    config: str,
    query: str | None,
    document: str | None,
    system: str | None,
    dataset: str | None,
    store: Path | None,
) -> None:
    from seekbench import config as configs
    from seekbench.cli import cells
    from seekbench.errors import InputError
    from seekbench.store import Store

    if query is None or document is None:
        raise InputError("--query and --document come together")
    path, shown = common.find_config(config)
    loaded = configs.load(path, [], shown=shown)
    context = cells.context_of(cells.progress_of(False), False, "auto", None, False)
    from seekbench.explaining import explain

    found = explain(
        loaded,
        system=system,
        dataset=dataset,
        query=query,
        document=document,
        store=Store(store),
        context=context,
    )
    typer.echo(f"{found.dataset} {found.retriever}")
    typer.echo(f"query {found.query}: {_one_line(found.query_text)}")
    typer.echo(f"document {found.document}: {_one_line(found.document_text)}\n")
    m = found.matches
    typer.echo(f"{'term':<20}{'query':>10}{'document':>10}{'product':>10}{'share':>8}")
    for match in m.matches:
        share = match.product / m.score
        typer.echo(
            f"{match.term:<20}{match.query:>10.4f}{match.document:>10.4f}{match.product:>10.4f}{share:>8.1%}"
        )
    typer.echo(f"{'score':<40}{m.score:>10.4f}")
    typer.echo(
        f"\n{len(m.matches)} of {m.query_terms} terms of the query, of {m.document_terms} of the document"
    )
    if m.only_query:
        lacking = ", ".join(f"{term} {weight:.3f}" for term, weight in m.only_query[:20])
        typer.echo(f"not in the document: {lacking}" + (", ..." if len(m.only_query) > 20 else ""))
    if m.note:
        typer.echo(m.note)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"


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
        typer.echo(f"  {field:<18} {_default(info):<22} {kind:<11} {info.description or ''}".rstrip())
    _show_nested(cls.Params, "")
    if "docids" in cls.Params.model_fields:
        from seekbench.retrievers.generative.docids import registry as docids

        typer.echo("docids, by type (`seekbench show TYPE` for its parameters):")
        for builder, line in docids.known().items():
            typer.echo(f"  {builder:<18} {line}")


def _show_docids(name: str) -> None:
    from seekbench.retrievers.generative.docids import registry

    cls = registry.resolve(name)
    typer.echo(f"docid builder {name}: {registry.known()[name]}")
    doc = inspect.getdoc(cls)
    if doc:
        typer.echo(doc)
    fields = cls.Params.model_fields
    typer.echo(
        f"parameters under `docids: {{type: {name}}}` (default):" if fields else "it has no parameters"
    )
    _show_fields(cls.Params)
    _show_nested(cls.Params, "docids.")


def _show_fields(params: Any, besides: str = "") -> None:
    """besides: a field that was said already."""
    for field, info in params.model_fields.items():
        if field != besides:
            said = "; ".join(x for x in (info.description, _choices(info.annotation)) if x)
            typer.echo(f"  {field:<18} {_default(info):<22} {said}".rstrip())


def _show_nested(params: Any, prefix: str) -> None:
    """The parameters of models within a model, each below its dotted path; `[]` stands for a place in a list."""
    from seekbench.validation import tag_of, union_members

    for field, info in params.model_fields.items():
        for model, places in _models(info.annotation):
            path = f"{prefix}{field}{places}"
            among = len(union_members(info.annotation)) > 1
            tag = tag_of(model) if among else None
            typer.echo(f"{path}, {tag[0]}: {tag[1]} (default):" if tag else f"{path} (default):")
            _show_fields(model, besides=tag[0] if tag else "")
            _show_options(model)
            _show_nested(model, f"{path}.")


def _models(kind: Any, places: str = "") -> list[tuple[Any, str]]:
    """The models in a type annotation, each with `[]` for every list around it."""
    from seekbench.validation import is_model, union_members

    out: list[tuple[Any, str]] = []
    for member in union_members(kind):
        if is_model(member):
            out.append((member, places))
        else:
            inner = [a for a in get_args(member) if a is not Ellipsis and not isinstance(a, str)]
            out += [found for a in inner[-1:] for found in _models(a, f"{places}[]")]
    return out


def _show_options(model: Any) -> None:
    """Of models whose `options` differ by `kind`: the names that each kind takes."""
    of_kind = getattr(inspect.getmodule(model), "options_of", None)
    if of_kind is None or not {"kind", "options"} <= set(model.model_fields):
        return
    for kind in get_args(model.model_fields["kind"].annotation):
        typer.echo(f"    options of {kind}: {', '.join(of_kind(kind)) or 'none'}")


def _choices(kind: Any) -> str:
    """The words that a field takes, where it takes no other."""
    from seekbench.validation import union_members

    values = [v for m in union_members(kind) for v in get_args(m) if isinstance(v, str)]
    return f"one of {', '.join(values)}" if len(values) > 1 else ""


def _default(info: Any) -> str:
    return "required" if info.is_required() else _short(info.get_default(call_default_factory=True))


def _short(value: Any) -> str:
    """As in YAML; of nested parameters only what the default sets itself, since they are shown on their own."""
    from pydantic import BaseModel

    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        given = value.model_dump(exclude_unset=True)
        return _short(given) if given else "see below"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    text = str(value)
    return text if text.strip() == text != "" else f"'{text}'"
