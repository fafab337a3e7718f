"""From an entry of a config to a Dataset: reads the source once into the store, opens the split."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from seekbench import hashing
from seekbench.collection import Dataset
from seekbench.datasets.builder import Builder
from seekbench.datasets.folder import open_collection, open_dataset
from seekbench.datasets.resolve import DatasetSpec, resolve
from seekbench.datasets.source import Source
from seekbench.datasets.spec import ExcludeList
from seekbench.datasets.statistics import main_language
from seekbench.errors import InputError, MissingError, Report
from seekbench.progress import NoProgress, Progress
from seekbench.store import Store

#: Kind of the store's artifacts that are made here.
KIND = "collections"
_BUILDER = ("seekbench.datasets.builder", "seekbench.collection")


@dataclass(frozen=True)
class SourcePlan:
    """What loading would do. cached: the collection is in the store; why: the reason if it must be read."""

    id: str
    subject: str
    split: str
    cached: bool
    why: str
    key: str | None


def load(
    spec: DatasetSpec | str | Path | Mapping[str, Any],
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    offline: bool = False,
    limit: int | None = None,
) -> Dataset:
    """The dataset of an entry: resolved, or as a config holds it (a name, a path, a mapping).

    The collection is read once; later calls only open it, as long as no file, revision, parameter and no
    code that matters has changed. limit: at most so many queries, besides the entry's own limit. Raises
    InputError where the entry or the data is wrong (with a report of every defect), MissingError where
    something must be fetched and can't be.
    """
    wanted = resolve(spec)
    store, progress = store or Store(), progress or NoProgress()
    recipe = _recipe(wanted.source, store, offline)

    def make(folder: Path) -> Mapping[str, Any]:
        try:
            facts = build(wanted.source, folder, Report(), progress=progress, offline=offline)
        except (InputError, MissingError):
            shutil.rmtree(folder)  # there is nothing to continue
            raise
        return {name: facts[name] for name in ("documents", "queries")}

    artifact = store.get(KIND, recipe, make, on_wait=lambda: progress.note("another process is reading it"))
    exclude: Any = wanted.exclude
    key: str | None = None
    if isinstance(wanted.exclude, ExcludeList):
        key = wanted.exclude.key
        exclude = _excluded(wanted.exclude.file) if wanted.exclude.file else "none"
    source = {
        "subject": wanted.source.subject,
        "card": wanted.card.id if wanted.card else None,
        "collection": artifact.key,
        **recipe["identity"],
        "files": recipe["files"],
    }
    language, guessed = wanted.language, False
    if language is None:
        # A collection that declares none would be analysed as English, and silently so where it is Chinese.
        language = main_language(open_collection(artifact.folder).corpus)
        guessed = language is not None
    source["language"] = "guessed" if guessed else "declared" if language else "unknown"
    if guessed and language != "en":
        progress.note(
            f"no language is declared; the texts look like '{language}' (say 'language:' to be sure)"
        )
    if wanted.limited_source is not None:
        source["limited"] = {"documents": wanted.limited_source}
    dataset = open_dataset(
        artifact.folder,
        id=wanted.id,
        split=wanted.split,
        template=wanted.template,
        query_template=wanted.query_template,
        exclude=exclude,
        exclude_key=key,
        language=language,
        main_metric=wanted.main_metric,
        limit=min((n for n in (limit, wanted.limit) if n is not None), default=None),
        limit_documents=wanted.limit_documents,
        source=source,
    )
    _check_expected(dataset, wanted)
    return dataset


def describe_source(
    spec: DatasetSpec | str | Path | Mapping[str, Any], store: Store, *, offline: bool = True
) -> SourcePlan:
    """What loading would do, without doing it. Asks no network unless `offline` is False."""
    wanted = resolve(spec)
    try:
        recipe = _recipe(wanted.source, store, offline)
    except MissingError as error:
        return SourcePlan(wanted.id, wanted.source.subject, wanted.split, False, str(error), None)
    cached = store.find(KIND, recipe) is not None
    key = store.folder(KIND, recipe).name
    why = store.explain(KIND, recipe)
    return SourcePlan(wanted.id, wanted.source.subject, wanted.split, cached, why, key)


def stored(spec: DatasetSpec, *, store: Store, offline: bool = True) -> tuple[bool, str]:
    """Whether the collection is in the store already, and why or why not."""
    plan = describe_source(spec, store, offline=offline)
    return plan.cached, plan.why


def build(
    source: Source, folder: Path, report: Report, *, progress: Progress, offline: bool = False
) -> dict[str, Any]:
    """Reads a source into a folder; returns what collection.json holds. Raises InputError with the report.

    Loading and validation both come through here, so that one refuses what the other calls an error.
    """
    source.files()  # complains about all missing parts before anything is read
    builder = Builder(folder, report)
    source.read(builder, progress=progress, offline=offline)
    return builder.close()


def _recipe(source: Source, store: Store, offline: bool) -> dict[str, Any]:
    return {
        "subject": source.subject,
        "identity": dict(source.identity(offline=offline)),
        "files": {
            p.name if p.parent.name != "qrels" else f"qrels/{p.name}": _hash(p, store) for p in source.files()
        },
        "code": {"reader": hashing.of_code(*source.modules), "builder": hashing.of_code(*_BUILDER)},
    }


def _hash(path: Path, store: Store) -> str:
    try:
        return store.file_hash(path)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error


def _excluded(path: Path) -> Mapping[str, list[str]]:
    """{query id: document ids} of a JSON file or of `query<TAB>document` lines."""
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    where, lists = str(path), dict[str, list[str]]()
    if data.lstrip()[:1] == b"{":
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InputError(f"is no JSON: {error}", where=where) from error
        if not all(isinstance(v, list) for v in found.values()):
            raise InputError(
                "has values that are no lists", where=where, remedy='write {"query": ["document"]}'
            )
        return {str(k): [str(d) for d in v] for k, v in found.items()}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) == 2:
            lists.setdefault(cells[0], []).append(cells[1])
        elif line.strip():
            raise InputError("the line is not query<TAB>document", where=where, line=number)
    return lists


def _check_expected(dataset: Dataset, wanted: DatasetSpec) -> None:
    """Warns where the counts are not those of the card: another version than its figures were made with."""
    if wanted.card is None or "limited" in dataset.source:
        return
    expected = wanted.card.expected
    for name, found, count in (
        ("documents", len(dataset.corpus), expected.documents),
        ("queries", len(dataset.queries), expected.queries.get(dataset.split)),
    ):
        if count is not None and count != found:
            dataset.statistics["warnings"].append(
                f"warning: {dataset.id}: {found:,} {name} where its card expects {count:,}"
            )
