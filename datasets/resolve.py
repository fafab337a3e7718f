"""An entry with all that it leaves out filled in, from its card or by default, and its source found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seekbench import archives
from seekbench.datasets import catalogue
from seekbench.datasets.card import Card
from seekbench.datasets.source import Source
from seekbench.datasets.spec import (
    TREC_OPTIONS,
    CandidateList,
    CardSpec,
    ExcludeList,
    HubSpec,
    IrdsSpec,
    NamedSpec,
    PathSpec,
    Spec,
    UrlSpec,
    below,
    parse_spec,
)
from seekbench.errors import InputError, did_you_mean


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset that a config names, before it is read.

    is_local: a folder of the user's. limited_source: documents that the source itself cuts to. entry: what a config in
    any folder may hold to mean the same.
    """

    id: str
    split: str
    source: Source
    template: str
    query_template: str
    exclude: str | ExcludeList
    candidates: str | CandidateList | None
    language: str | None
    main_metric: str
    relevance_level: int = 1
    card: Card | None = None
    is_local: bool = False
    limit: int | None = None
    limit_documents: int | None = None
    limited_source: int | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)


def resolve(entry: DatasetSpec | Any, *, base: Path | None = None, any_split: bool = False) -> DatasetSpec:
    """Resolves what a config holds; relative paths are taken from `base` (the working folder by default).

    any_split: where several splits are possible and none is named, take one of them instead of refusing.
    Raises InputError, whose problems' `where` is the entry's key. Reads the card and folders' listings only.
    """
    if isinstance(entry, DatasetSpec):
        return entry
    spec = parse_spec(entry)
    if base is not None:
        spec = below(spec, base)
    card: Card | None = None
    if isinstance(spec, NamedSpec):
        card = catalogue.card(spec.name)
    elif isinstance(spec, CardSpec):
        card = catalogue.read_card(spec.card)
        card = card if spec.subset is None else card.of(spec.subset)
    if card is not None and card.subsets:
        first = next(iter(card.subsets))
        named = isinstance(spec, NamedSpec)
        raise InputError(
            f"'{card.id}' has {len(card.subsets)} subsets, of which one is needed here",
            where="name" if named else "card",
            remedy=f"e.g. {card.id}:{first}" if named else f"e.g. subset: {first}",
        )
    source, name = _source(spec, card)
    cut = spec.limit_documents if card and card.source.format == "pydocs" else None
    return DatasetSpec(
        id=spec.id or name,
        split=_split(spec, card, source, any_split),
        source=source,
        template=spec.template or (card.template if card else "{title} {text}"),
        query_template=spec.query_template or (card.query_template if card else "{text}"),
        exclude=spec.exclude or (card.exclude if card else "none"),
        candidates=spec.candidates or _candidates(spec, card),
        language=spec.language or _language(card, source),
        main_metric=spec.main_metric or (card.main_metric if card else "ndcg@10"),
        relevance_level=spec.relevance_level or (card.relevance_level if card else 1),
        card=card,
        is_local=isinstance(spec, PathSpec) or (card is not None and card.source.format == "folder"),
        limit=spec.limit,
        limit_documents=spec.limit_documents if cut is None else None,
        limited_source=cut,
        entry=below(spec, Path.cwd()).model_dump(mode="json", exclude_defaults=True),
    )


def _candidates(spec: Spec, card: Card | None) -> str | CandidateList | None:
    """Those of the card; a file of it lies in the folder of the data."""
    found = card.candidates if card else None
    folder = spec.path if isinstance(spec, NamedSpec | CardSpec) else None
    if folder is not None and isinstance(found, CandidateList) and found.file is not None:
        return CandidateList(file=folder / found.file)
    return found


def _language(card: Card | None, source: Source) -> str | None:
    """What the card, or the source itself, declares."""
    if card is not None:
        return card.languages[0] if len(card.languages) == 1 else None
    told = getattr(source, "language", None)
    return told() if told is not None else None


def sniff(folder: Path) -> str:
    """`beir` or `trec`, by the names of files in a folder. Raises InputError where it looks like neither."""
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}", where="path", remedy="give the folder of a collection")
    try:
        present = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} can't be read: {error.strerror or error}", where="path") from error
    if not present:
        raise InputError(f"{folder} is empty", where="path", remedy="give the folder of a collection")
    if any(n.startswith("topics") for n in present):
        return "trec"
    if (folder / "qrels").is_dir() or any(
        n.startswith(("corpus.", "queries.jsonl", "queries.parquet")) for n in present
    ):
        return "beir"
    if any(n.startswith(("qrels", "documents", "docs")) for n in present):
        return "trec"
    raise InputError(
        f"no collection is recognised in {folder} (there is {', '.join(present[:10]) or 'nothing'})",
        where="path",
        remedy="a BEIR folder has corpus.jsonl, queries.jsonl and qrels/*.tsv; a TREC collection's parts are "
        "named with 'documents:', 'topics:' and 'qrels:'",
    )


def _split(spec: Spec, card: Card | None, source: Source, any_split: bool) -> str:
    """The split that is meant: the given one, the card's default, `test`, or the only one of a folder."""
    if card:
        known = list(card.splits)
        default: str | None = card.default_split
    else:
        known = source.splits() if hasattr(source, "splits") else []
        default = "test" if "test" in known or not known else known[0] if len(known) == 1 else None
    chosen = spec.split or default or (known[0] if any_split else None)
    if chosen is None:
        raise InputError(
            "there are several splits and none is called 'test'",
            where="path",
            remedy=f"choose one with 'split:': {', '.join(known)}",
        )
    if known and chosen not in known:
        raise InputError(f"there is no split '{chosen}'", where="split", remedy=did_you_mean(chosen, known))
    return chosen


def _source(spec: Spec, card: Card | None, get: str = "") -> tuple[Source, str]:
    """The source of a spec, and its name in results. get: how a card's files are got."""
    if isinstance(spec, PathSpec):
        try:
            folder = spec.path.expanduser()
        except RuntimeError as error:
            raise InputError(f"{spec.path}: there is no such user", where="path") from error
        given = {n: getattr(spec, n) for n in TREC_OPTIONS if getattr(spec, n) is not None}
        packed = archives.is_archive(folder) and not folder.is_dir()
        if packed and spec.tables is None:
            return _archived(folder, given)
        if spec.tables is not None:
            from seekbench.datasets.formats.tables import Tables

            if not folder.is_dir():
                remedy = "unpack it first" if packed and folder.exists() else get
                raise InputError(f"{folder} is no folder", where="path", remedy=remedy)
            return Tables(folder, spec.tables, get=get), folder.resolve().name
        kind = spec.format if spec.format != "auto" else "trec" if given else sniff(folder)
        if kind == "trec":
            from seekbench.datasets.formats.trec import Trec

            for name in ("documents", "topics"):
                if name in given:
                    given[name] = folder / given[name].expanduser()
            if "qrels" in given:
                qrels = given["qrels"]
                given["qrels"] = (
                    {s: folder / p for s, p in qrels.items()} if isinstance(qrels, dict) else folder / qrels
                )
            return Trec(folder, **given), folder.resolve().name
        from seekbench.datasets.formats.beir import Beir

        return Beir(folder), folder.resolve().name
    if isinstance(spec, IrdsSpec):
        from seekbench.datasets.formats.irds import IrDatasets

        found = IrDatasets(spec.irds)
        found.check()
        return found, f"irds/{spec.irds}"
    if isinstance(spec, UrlSpec):
        from seekbench.datasets.formats.archived import Download

        return Download(spec.url, spec.checksum), archives.stem(Path(spec.url.rstrip("/")))
    if isinstance(spec, HubSpec) and spec.tables is not None:
        from seekbench.datasets.formats.hub_tables import HubTables

        hub_tables = HubTables(
            spec.hub, spec.tables, revision=spec.revision, qrels_repo=spec.qrels_repo,
            qrels_revision=spec.qrels_revision,
        )  # fmt: skip
        return hub_tables, spec.hub
    if isinstance(spec, HubSpec):
        from seekbench.datasets.formats.hub import Hub

        hub = Hub(
            spec.hub,
            revision=spec.revision,
            qrels_repo=spec.qrels_repo,
            qrels_revision=spec.qrels_revision,
            subset=spec.subset,
            only_split=(spec.split or "test") if spec.per_split else None,
        )
        return hub, spec.hub + (f"/{spec.subset}" if spec.subset else "")
    assert card is not None  # a named spec
    origin = card.source
    split = spec.split if spec.split in card.splits else card.default_split
    brought = spec.path if isinstance(spec, NamedSpec | CardSpec) else None
    if origin.format == "folder":
        return _source(_folder_of(card, brought, split), None, get=origin.get or "")[0], card.id
    if brought is not None:
        raise InputError(
            f"the data of '{card.id}' come from elsewhere", where="path",
            remedy="leave 'path' out; a folder of your own is `{path: …}`",
        )  # fmt: skip
    if origin.irds is not None:
        from seekbench.datasets.formats.irds import IrDatasets

        return IrDatasets(origin.irds, split=card.default_split), card.id
    if origin.format == "pydocs":
        from seekbench.datasets.formats.pydocs import PyDocs

        return PyDocs(spec.limit_documents or origin.documents, variant=origin.variant), card.id
    if origin.format == "hub":
        assert origin.repo is not None  # the card was checked
        of_hub = HubSpec(
            hub=origin.repo, revision=origin.revision, qrels_repo=origin.qrels_repo,
            qrels_revision=origin.qrels_revision, subset=origin.subset, per_split=origin.per_split, split=split,
            tables=card.layout(split),
        )  # fmt: skip
        return _source(of_hub, None)[0], card.id
    raise InputError(f"the card '{card.id}' has no source that a card may have")


def _folder_of(card: Card, given: Path | None, split: str) -> PathSpec:
    """Where a card's folder is: as it says, or where the user has brought it."""
    origin = card.source
    if origin.path is not None and given is not None:
        raise InputError(f"'{card.id}' says where its data are: leave 'path' out", where="path")
    path = origin.path or given
    if path is None:
        raise InputError(
            f"'{card.id}' takes data that you bring: {origin.get}", where="path",
            remedy=f"then say where they are: {{name: {card.id}, path: FOLDER}}",
        )  # fmt: skip
    packed = archives.is_archive(path) and path.exists()
    if given is not None and not path.is_dir() and not packed:
        raise InputError(
            f"{path} {'is no folder' if path.exists() else 'does not exist'}", where="path",
            remedy=f"'{card.id}' needs: {origin.get}",
        )  # fmt: skip
    return PathSpec(path=path, format=origin.layout, tables=card.layout(split))


def _archived(path: Path, given: Mapping[str, Any]) -> tuple[Source, str]:
    from seekbench.datasets.formats.archived import Archived

    if given:
        raise InputError(
            f"'{next(iter(given))}' can't be said of an archive",
            where=next(iter(given)),
            remedy="unpack it first",
        )
    if not path.is_file():
        raise InputError(f"{path} does not exist", where="path", remedy="give the folder of a collection")
    return Archived(path), archives.stem(path)
