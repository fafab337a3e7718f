"""The catalogue: one YAML card a dataset below `cards/`, found by its file's name.

Listing it reads no YAML and imports nothing heavy, so that `ls` and shell completion answer at once.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seekbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from seekbench.datasets.card import Card
    from seekbench.datasets.resolve import DatasetSpec as DatasetSpec

CARDS = Path(__file__).parent / "cards"


@cache
def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(CARDS):
        folders.sort()
        for file in sorted(files):
            if file.endswith(".yaml"):
                path = Path(parent, file)
                found[path.relative_to(CARDS).with_suffix("").as_posix()] = path
    return dict(sorted(found.items()))


def names() -> list[str]:
    """Names of all datasets, e.g. `beir/scifact`."""
    return list(_files())


def titles() -> dict[str, str]:
    """Name -> one line that says what it is."""
    return {name: title_of(path) for name, path in _files().items()}


def title_of(path: Path) -> str:
    """The `title:` line of a card or suite, without reading its YAML."""
    with path.open(encoding="utf-8") as handle:
        line = next((text for text in handle if text.startswith("title:")), "title:")
    return line.removeprefix("title:").strip().strip("\"'")


def listing() -> list[tuple[str, str]]:
    """(name, title) of all datasets."""
    return list(titles().items())


def is_known(name: str) -> bool:
    """Whether a name is that of one dataset: of a card, one subset of a card, or a task of MTEB."""
    from seekbench.datasets import mteb_tasks

    if mteb_tasks.is_name(name):
        return mteb_tasks.is_one(name)
    base, colon, subset = name.partition(":")
    return base in _files() and (subset in card(base).subsets if colon else True)


def expanded(name: str) -> list[str]:
    """The datasets that a name means: itself, a suite's, or the subsets of a card or a task of MTEB. Raises InputError
    for an unknown name, with the nearest one."""
    from seekbench.datasets import mteb_tasks, suites

    base, colon, _ = name.partition(":")
    if base in _files() and not mteb_tasks.is_name(name):
        if colon:
            return [card(name).id]
        return [f"{name}:{subset}" for subset in card(name).subsets] or [name]
    if name in suites.names():
        return suites.suite(name).datasets
    if mteb_tasks.is_name(name):
        return mteb_tasks.names_of(name)
    raise unknown(name)


#: Names that people use for what is called otherwise here.
ALSO = {
    "dl19": "trec-dl-2019",
    "dl20": "trec-dl-2020",
    "trec-dl-19": "trec-dl-2019",
    "trec-dl-20": "trec-dl-2020",
    "msmarco-passage": "msmarco",
    "msmarco-passages": "msmarco",
    "msmarco-dev": "msmarco",
    "locov1": "loco",
    "shopping-queries": "esci",
    "lareqa": "xquad-r",
    "xor": "xor-retrieve",
    "xor-tydi": "xor-retrieve",
    "xorqa": "xor-retrieve",
    "xor-qa": "xor-retrieve",
}


def unknown(name: str) -> InputError:
    """What is said of a name that no dataset has: what is near it."""
    from seekbench.datasets import mteb_tasks, suites

    known = [*_files(), *suites.names()]
    wanted = _plain(name)
    tasks = [f"{mteb_tasks.PREFIX}{task}" for task in mteb_tasks.tasks()]
    same = [
        other for other in [*known, *tasks] if wanted in (_plain(other), _plain(other.rpartition("/")[2]))
    ]
    same += [other for alias, other in ALSO.items() if _plain(alias) == wanted]
    same = list(dict.fromkeys(same))[:3]
    remedy = f"did you mean {' or '.join(map(repr, same))}?" if same else did_you_mean(name, known)
    return InputError(f"there is no dataset '{name}'", remedy=remedy)


def _plain(name: str) -> str:
    """Letters and digits alone, so that spellings of one name are equal."""
    return "".join(c for c in name.lower() if c.isalnum())


def path_of(name: str) -> Path:
    """The card's file, also of a subset's name. Raises InputError for an unknown name, with the nearest one."""
    files = _files()
    name = name.partition(":")[0]
    if name not in files:
        raise InputError(f"there is no dataset '{name}'", remedy=did_you_mean(name, files))
    return files[name]


@cache
def card(name: str) -> Card:
    """The card of a name, checked; of `card:subset`, the card of that subset. Raises InputError for an unknown name or
    a broken card."""
    import yaml
    from pydantic import ValidationError

    from seekbench.datasets import mteb_tasks
    from seekbench.datasets.card import Card

    if mteb_tasks.is_name(name):
        return mteb_tasks.card(name)
    base, colon, subset = name.partition(":")
    if colon:
        return card(base).of(subset)
    path = path_of(name)
    try:
        found = Card.model_validate(yaml.load(path.read_bytes(), yaml.CSafeLoader))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"the card is broken: {error}", where=str(path)) from error
    if found.id != name:
        raise InputError(f"the card's id is '{found.id}', its file's name says '{name}'", where=str(path))
    return found


def read_card(path: Path) -> Card:
    """A card of the user's own; the path of its folder is taken from where it lies. Raises InputError with the lines of
    all mistakes."""
    from pydantic import ValidationError

    from seekbench import yamlfile
    from seekbench.datasets.card import Card
    from seekbench.datasets.spec import metric_name
    from seekbench.errors import Report
    from seekbench.validation import add_validation_errors

    if not path.is_file():
        raise InputError(
            f"{path} does not exist", where="card", remedy="seekbench new dataset FOLDER writes one"
        )
    marked = yamlfile.load(path)
    if not isinstance(marked.value, dict):
        raise InputError("a card is a mapping", where=str(path), line=1)
    try:
        found = Card.model_validate(marked.value)
    except ValidationError as error:
        report = Report()
        add_validation_errors(report, error, marked, (), Card, what="a card")
        raise InputError(report=report) from error
    try:
        metric_name(found.main_metric)
    except ValueError as error:
        where, line = marked.where(("main_metric",))
        raise InputError(f"main_metric: {error}", where=where, line=line) from None
    if found.source.path is None:
        return found
    source = found.source.model_copy(update={"path": path.parent / found.source.path.expanduser()})
    return found.model_copy(update={"source": source})


def card_text(name: str) -> str:
    """The card as it is written. Raises InputError for an unknown name."""
    return path_of(name).read_text(encoding="utf-8").rstrip()


def parse(entry: Any, *, base: Path | None = None) -> list[DatasetSpec]:
    """The datasets that an entry of a config means: one, or those of a suite or of a task with subsets.

    base: the folder that relative paths start from. Raises InputError with all mistakes of the entry; each
    problem's `where` is the key that is wrong, or '' for the entry as a whole.
    """
    from seekbench.datasets.resolve import resolve
    from seekbench.datasets.spec import NamedSpec, parse_spec

    spec = parse_spec(entry)
    if not isinstance(spec, NamedSpec):
        return [resolve(spec, base=base)]
    names = expanded(spec.name)
    if len(names) > 1 and spec.id is not None:
        raise InputError(
            f"'{spec.name}' means {len(names)} datasets, which can't have one id",
            where="id",
            remedy="leave it out",
        )
    return [resolve(spec.model_copy(update={"name": name}), base=base) for name in names]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an entry, without `$defs` of its own (all is inlined), for editors."""
    from seekbench.datasets.spec import ADAPTER

    return _inlined(ADAPTER.json_schema())


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    definitions = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return walk(definitions[node["$ref"].rsplit("/", 1)[1]])
            return {key: walk(value) for key, value in node.items()}
        return [walk(value) for value in node] if isinstance(node, list) else node

    found: dict[str, Any] = walk(schema)
    return found
