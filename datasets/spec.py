"""What a run config may hold under `datasets:`.

An entry is a string (a card's name; a path that begins with `.`, `/` or `~`; a card's path, which ends with .yaml;
`irds:` and an id) or a mapping that says where the collection is with exactly one of `name` (a card), `path` (a folder
or an archive of one), `hub` (a hub repository), `url` (an archive at an address), `card` (a card of the user's own) or
`irds` (an id of the package ir_datasets). The rest is optional and goes before what the card says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from seekbench.datasets.layout import Strict, TablesLayout, fields_below
from seekbench.errors import InputError, Report, did_you_mean

TopicField = Literal["title", "description", "narrative"]


class ExcludeList(Strict):
    """Documents that must not be retrieved for a query, listed in the queries' metadata or in a file.

    key: the metadata key of each query that holds a list of document ids (BRIGHT: `excluded_ids`).
    file: JSON {query id: [document ids]}, or lines `query<TAB>document`.
    """

    key: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> ExcludeList:
        if (self.key is None) == (self.file is None):
            raise ValueError("give either 'key' or 'file'")
        return self


Exclude = Literal["none", "identical_id"] | ExcludeList


class CandidateList(Strict):
    """The only documents that may be retrieved for a query, listed in the queries' metadata or in a file, or found by
    what both have in common.

    key: the metadata key of each query that holds a list of document ids.
    file: JSON {query id: [document ids]}, or lines `query<TAB>document`.
    same: a metadata key of queries and documents; candidates are the documents that have the query's value.
    prefix: a separator in ids; candidates are the documents whose id has the query's part before it (Backtracing's
    `#`: the sentences of its own lecture).
    """

    key: str | None = None
    file: Path | None = None
    same: str | None = None
    prefix: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one(self) -> CandidateList:
        if sum(value is not None for value in (self.key, self.file, self.same, self.prefix)) != 1:
            raise ValueError("give one of 'key', 'file', 'same' and 'prefix'")
        return self


#: None: those that the collection itself brings, if it does. judged: the documents that are judged for the query
#: (pairs with a gold value; re-ranking of what was pooled).
Among = Literal["none", "judged"] | CandidateList


class _Spec(Strict):
    """What all kinds have. id: the name in results, if not the card's, the folder's or the repository's.
    relevance_level: the lowest grade that counts as relevant for measures of binary relevance that name none."""

    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")
    split: str | None = None
    template: str | None = None
    query_template: str | None = None
    exclude: Exclude | None = None
    candidates: Among | None = None
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}$")
    main_metric: str | None = None
    relevance_level: PositiveInt | None = None
    limit: PositiveInt | None = None
    limit_documents: PositiveInt | None = None

    @field_validator("template", "query_template")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            from seekbench.collection import Template

            try:
                Template(value)
            except InputError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("main_metric")
    @classmethod
    def _metric(cls, value: str | None) -> str | None:
        return None if value is None else metric_name(value)


def metric_name(value: str) -> str:
    """The canonical name of a metric. Raises ValueError for what is none, with the nearest one."""
    from seekbench.metrics.measure import parse

    try:
        return parse(value).name
    except InputError as error:
        raise ValueError(str(error)) from error


class NamedSpec(_Spec):
    """A dataset of the catalogue, e.g. `{name: beir/scifact, split: test}`, one subset of it (`tatoeba:deu`), a suite
    (`beir`), or a task of MTEB (`mteb/SciFact`, `mteb/MIRACLRetrieval:de`). path: the folder with the files of a card
    whose data the user brings."""

    name: str
    path: Path | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        from seekbench.datasets import catalogue

        try:
            catalogue.expanded(value)
        except InputError as error:
            (problem,) = error.report.problems
            raise ValueError(f"{problem.message}; {problem.remedy}".rstrip("; ")) from error
        return value


class PathSpec(_Spec):
    """A folder, e.g. `{path: ./my-collection, format: beir}`, or a .zip or .tar archive of one. The parts of a
    TREC collection may be named, relative to the folder."""

    path: Path
    format: Literal["auto", "beir", "trec", "tables"] = "auto"
    tables: TablesLayout | None = None
    documents: Path | None = None
    topics: Path | None = None
    qrels: Path | dict[str, Path] | None = None
    topic_fields: tuple[TopicField, ...] | None = None
    encoding: str | None = None

    @model_validator(mode="after")
    def _parts_are_trec(self) -> PathSpec:
        given = [n for n in TREC_OPTIONS if getattr(self, n) is not None]
        if (self.format == "tables") != (self.tables is not None):
            raise ValueError("'format: tables' and 'tables: {documents, queries, qrels}' come together")
        if self.format in ("beir", "tables") and given:
            raise ValueError(f"{', '.join(given)} belong to 'format: trec'")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise ValueError(f"there is no encoding '{self.encoding}'") from error
        return self


#: Keys that say where a collection is.
KINDS = ("name", "path", "hub", "url", "card", "irds")
TREC_OPTIONS = ("documents", "topics", "qrels", "topic_fields", "encoding")


class UrlSpec(_Spec):
    """An archive at an address, e.g. `{url: https://…/scifact.zip, sha256: …}`: a BEIR folder or a TREC collection."""

    url: str = Field(pattern=r"^https?://[^/\s]+/\S+$")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    md5: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{32}$")

    @model_validator(mode="after")
    def _verified(self) -> UrlSpec:
        if (self.sha256 is None) == (self.md5 is None):
            raise ValueError(
                "give the archive's 'sha256' (or 'md5'), so that it is known to be the one that is meant"
            )
        return self

    @property
    def checksum(self) -> str:
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}"


class HubSpec(_Spec):
    """A dataset of the Hugging Face hub, e.g. `{hub: mteb/scifact, revision: <commit>}`.

    qrels_repo: where judgments are, if elsewhere; with `tables`, the queries too.
    per_split: each split has a corpus and queries of its own (else they are common to all).
    """

    hub: str = Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")
    revision: str | None = None
    qrels_repo: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")
    qrels_revision: str | None = None
    subset: str | None = None
    per_split: bool = False
    tables: TablesLayout | None = None

    @model_validator(mode="after")
    def _one_layout(self) -> HubSpec:
        if self.tables is not None and (self.subset or self.per_split):
            raise ValueError("'tables' says all of the layout: leave out subset and per_split")
        return self


class CardSpec(_Spec):
    """A card of the user's own, e.g. `{card: ./mine.yaml}`; `seekbench new dataset FOLDER` writes one. subset: of
    a card that has some. path: the folder with the files of a card that does not say where they are."""

    card: Path
    subset: str | None = None
    path: Path | None = None


class IrdsSpec(_Spec):
    """A dataset of the package ir_datasets by its id, e.g. `irds:beir/scifact/test` or `{irds: vaswani}`."""

    irds: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")


Spec = NamedSpec | PathSpec | HubSpec | UrlSpec | CardSpec | IrdsSpec


_MODELS: dict[str, type[BaseModel]] = {
    "name": NamedSpec, "path": PathSpec, "hub": HubSpec, "url": UrlSpec, "card": CardSpec, "irds": IrdsSpec,
}  # fmt: skip


def _from_string(value: Any) -> Any:
    if isinstance(value, Path):
        return {"card" if value.suffix in (".yaml", ".yml") else "path": value}
    if isinstance(value, str):
        if value.endswith((".yaml", ".yml")):
            return {"card": value}
        if value.startswith("irds:"):
            return {"irds": value.removeprefix("irds:")}
        return {"path": value} if value.startswith((".", "/", "~")) else {"name": value}
    return value


def _kind(value: Any) -> str | None:
    for kind, model in _MODELS.items():
        if isinstance(value, model):
            return kind
    found = [k for k in KINDS if isinstance(value, dict) and k in value]
    # The path beside a name or a card is where the data are that the user brings.
    if len(found) == 2 and "path" in found and ("name" in found or "card" in found):
        found.remove("path")
    return found[0] if len(found) == 1 else None


#: The type of an entry, for the run config's schema.
Entry = Annotated[
    Annotated[NamedSpec, Tag("name")]
    | Annotated[PathSpec, Tag("path")]
    | Annotated[HubSpec, Tag("hub")]
    | Annotated[UrlSpec, Tag("url")]
    | Annotated[CardSpec, Tag("card")]
    | Annotated[IrdsSpec, Tag("irds")],
    Discriminator(
        _kind,
        custom_error_type="dataset_kind",
        custom_error_message="a dataset is a name, a path, or a mapping with one of 'name', 'path', 'hub', 'url', "
        "'card', 'irds'",
    ),
    BeforeValidator(
        _from_string, json_schema_input_type=str | NamedSpec | PathSpec | HubSpec | UrlSpec | CardSpec
    ),
]
ADAPTER: TypeAdapter[Spec] = TypeAdapter(Entry)


def parse_spec(value: Any) -> Spec:
    """An entry as a spec. Raises InputError with all that is wrong in it; a problem's `where` is the key."""
    try:
        return ADAPTER.validate_python(value)
    except ValidationError as error:
        report = Report()
        for found in error.errors():
            # The first part is the union's tag.
            keys = [str(p) for p in found["loc"][1:]]
            message, remedy = found["msg"].removeprefix("Value error, "), ""
            if found["type"] == "extra_forbidden" and len(keys) > 1:
                message = f"unknown key '{keys[-1]}' in {'.'.join(keys[:-1])}"
                remedy = did_you_mean(keys[-1], fields_below(keys))
            elif found["type"] == "extra_forbidden":
                message, remedy = f"unknown key '{keys[-1]}'", did_you_mean(keys[-1], _fields(value))
            elif len(keys) > 1 and found["type"] != "dataset_kind":
                message = f"{'.'.join(keys[1:])}: {message[:1].lower()}{message[1:]}"
            elif found["type"] == "dataset_kind":
                have = list(value) if isinstance(value, dict) else []
                near = [did_you_mean(k, KINDS) for k in map(str, have)]
                remedy = next((n for n in near if n.startswith("did")), "")
            report.error("dataset", message, where=".".join(keys[:1]), remedy=remedy)
        raise InputError(report=report) from error


def _fields(value: Any) -> list[str]:
    kind = _kind(value)
    return list(_MODELS[kind].model_fields) if kind else []


def below(spec: Spec, base: Path) -> Spec:
    """The spec with relative paths taken from `base` (the folder of the config that holds it)."""
    changes: dict[str, Any] = {}
    if isinstance(spec, PathSpec | NamedSpec | CardSpec) and spec.path is not None:
        changes["path"] = _from(base, spec.path)
    if isinstance(spec, CardSpec):
        changes["card"] = _from(base, spec.card)
    if isinstance(spec.exclude, ExcludeList) and spec.exclude.file is not None:
        changes["exclude"] = ExcludeList(file=_from(base, spec.exclude.file))
    if isinstance(spec.candidates, CandidateList) and spec.candidates.file is not None:
        changes["candidates"] = CandidateList(file=_from(base, spec.candidates.file))
    return spec.model_copy(update=changes)


def _from(base: Path, path: Path) -> Path:
    try:
        return base / path.expanduser()
    except RuntimeError as error:  # ~nobody
        raise InputError(f"{path}: there is no such user", where="path") from error
