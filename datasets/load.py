"""From an entry of a config to a Dataset: reads the source once into the store, opens the split."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from seekbench import hashing
from seekbench.collection import Dataset
from seekbench.datasets.builder import Builder
from seekbench.datasets.folder import open_collection, open_dataset
from seekbench.datasets.resolve import DatasetSpec, resolve
from seekbench.datasets.source import Source, file_name
from seekbench.datasets.spec import CandidateList, ExcludeList
from seekbench.datasets.statistics import main_language
from seekbench.errors import InputError, MissingError, Report, SeekbenchError
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
    something must be fetched and can't be, SeekbenchError where a file changes while it is read.
    """
    wanted = resolve(spec)
    store, progress = store or Store(), progress or NoProgress()
    # Before the files are hashed: whoever writes to one between here and the end of reading is noticed.
    before = {path: _state(path) for path in wanted.source.files()}
    begun = time.time_ns()
    recipe = _recipe(wanted.source, store, offline)
    _check_files(recipe["files"], wanted)

    def make(folder: Path) -> Mapping[str, Any]:
        try:
            facts = build(wanted.source, folder, Report(), progress=progress, offline=offline)
        except (InputError, MissingError) as error:
            shutil.rmtree(folder)  # there is nothing to continue
            changed = _changed(wanted.source, recipe, before, begun, offline)
            if changed:  # what is wrong in it may be what was being written
                raise SeekbenchError(changed) from error
            raise
        changed = _changed(wanted.source, recipe, before, begun, offline)
        if changed:
            shutil.rmtree(folder)  # or the new content would be found under the old content's key for ever
            raise SeekbenchError(changed)
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
        "entry": dict(wanted.entry),
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
        candidates=_candidates(wanted.candidates),
        language=language,
        main_metric=wanted.main_metric,
        relevance_level=wanted.relevance_level,
        limit=min((n for n in (limit, wanted.limit) if n is not None), default=None),
        limit_documents=wanted.limit_documents,
        source=source,
    )
    unexpected = _unexpected(dataset, wanted)
    dataset = replace(dataset, source={**dataset.source, "unexpected": unexpected})
    for warning in [
        *dataset.statistics["warnings"],
        *(f"{wanted.id}: {line}" for line in unexpected),
    ]:
        progress.note(warning.removeprefix("warning: "))
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
        "files": {file_name(p, source.folder): _hash(p, store) for p in source.files()},
        "code": {"reader": hashing.of_code(*source.modules), "builder": hashing.of_code(*_BUILDER)},
    }


def _check_files(files: Mapping[str, str], wanted: DatasetSpec) -> None:
    """Raises InputError where files are not those that the card was written for."""
    told = {} if wanted.card is None else wanted.card.source.checksums
    if not told:
        return
    report = Report()
    for name in sorted({*told, *files}):
        if name not in files:
            report.error("card-files", f"the card has a file '{name}' that is not there", where=wanted.id)
        elif name not in told:
            report.error("card-files", f"there is a file '{name}' that the card lacks", where=wanted.id)
        elif told[name] != files[name]:
            report.error(
                "card-files", f"'{name}' is not the file that the card was written for (its checksum differs)",
                where=wanted.id, remedy="restore it, or write the card anew: seekbench new dataset",
            )  # fmt: skip
    report.raise_if_errors()


def _hash(path: Path, store: Store) -> str:
    try:
        return store.file_hash(path)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error


def _state(path: Path) -> tuple[int, int, int, int]:
    """What changes with a file's content: inode, size, times of change."""
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _changed(
    source: Source,
    recipe: Mapping[str, Any],
    before: Mapping[Path, tuple[int, int, int, int]],
    begun: int,
    offline: bool,
) -> str | None:
    """Says what is no more as the recipe has it; None where all is."""
    said = "{} changed while it was being read; run again"
    for path, state in before.items():
        try:
            same = _state(path) == state
            # Times are coarse: a file written to just before may have been again without a trace in them.
            if same and max(state[2:]) > begun - 2_000_000_000:
                same = hashing.of_file(path) == recipe["files"][file_name(path, source.folder)]
        except (InputError, OSError):
            same = False
        if not same:
            return said.format(path)
    return (
        None if dict(source.identity(offline=offline)) == recipe["identity"] else said.format(source.subject)
    )


def _candidates(wanted: str | CandidateList | None) -> CandidateList | Mapping[str, list[str]] | str | None:
    """As it is, but a file read."""
    if isinstance(wanted, CandidateList) and wanted.file is not None:
        return _excluded(wanted.file)
    return wanted


def _excluded(path: Path) -> Mapping[str, list[str]]:
    """{query id: document ids} of a JSON file or of `query<TAB>document` lines, in UTF-8."""
    where, lists = str(path), dict[str, list[str]]()
    try:
        data = path.expanduser().read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody
        raise InputError(
            f"can't be read: {getattr(error, 'strerror', None) or error}", where=where
        ) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte 0x{data[error.start]:02x} is no UTF-8",
            where=where,
            line=data.count(b"\n", 0, error.start) + 1,
            remedy="convert the file, e.g. iconv -f latin1 -t utf-8",
        ) from error
    if text.lstrip()[:1] == "{":
        for query, documents in _json_object(text, where):
            if type(documents) is not list or not all(type(d) in (str, int) for d in documents):
                raise InputError(
                    f"query {query!r} has no list of document ids",
                    where=where,
                    remedy='write {"query": ["document"]}',
                )
            lists.setdefault(query, []).extend(str(d) for d in documents)
        return lists
    for number, line in enumerate(text.split("\n"), 1):
        cells = [cell.strip() for cell in line.removesuffix("\r").split("\t")]
        if len(cells) == 2 and cells[0]:
            lists.setdefault(cells[0], []).append(cells[1])
        elif any(cells):
            raise InputError("the line is not query<TAB>document", where=where, line=number)
    return lists


class _Object(list[tuple[str, Any]]):
    """A JSON object's members, so that none is lost where a key stands twice."""


def _json_object(text: str, where: str) -> list[tuple[str, Any]]:
    try:
        orjson.loads(text)  # the stricter one: no NaN, no half surrogate pairs, nothing endless
        found: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise InputError(f"is no JSON: {error.msg}", where=where, line=error.lineno) from error
    return found


def _unexpected(dataset: Dataset, wanted: DatasetSpec) -> list[str]:
    """Counts that are not those of the card: this is another version, or not all of it."""
    if "limited" in dataset.source:
        return []
    counts = {dataset.split: len(dataset.queries)}
    return [] if wanted.card is None else wanted.card.differing(len(dataset.corpus), counts)
