"""What a run config may hold under `datasets:`, and what a card holds.

An entry is a string (a card's name; a path that begins with `.`, `/` or `~`; a card's path, which ends with .yaml;
`irds:` and an id) or a mapping that says where the collection is with exactly one of `name` (a card), `path` (a folder
or an archive of one), `hub` (a hub repository), `url` (an archive at an address), `card` (a card of the user's own) or
`irds` (an id of the package ir_datasets). The rest is optional and goes before what the card says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from seekbench.errors import InputError, Report, did_you_mean

TopicField = Literal["title", "description", "narrative"]
#: Or the abbreviation of one, as a few of MTEB's tasks have it: the hub says which commit that is.
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{7,41}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExcludeList(_Model):
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


class CandidateList(_Model):
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


class RowsOf(_Model):
    """Rows of tables (`formats.tables`). files: names or patterns, below the folder or repository; `{name}` in one is a
    part of the name, which becomes a column. where: columns and the value, or values, that a row must have. columns,
    separator: of a CSV or TSV file without header, or of another separator. at: of a JSON file, where its array is;
    `*` in it goes through all elements (`data.*.paragraphs`). kind: where a file's name does not say it;
    `text` has a column `line`. group, take: of the rows of one file with one value of `group`, the first alone, or the
    rest."""

    files: str | tuple[str, ...]
    where: dict[str, str | int | bool | tuple[str | int, ...]] = Field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    at: str | None = None
    kind: Literal["json", "lines", "csv", "tsv", "text", "parquet"] | None = None
    group: str | None = None
    take: Literal["first", "rest"] | None = None

    @model_validator(mode="after")
    def _both(self) -> RowsOf:
        if (self.group is None) != (self.take is None):
            raise ValueError("'group' and 'take' come together")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.files,) if isinstance(self.files, str) else self.files


class _TextRows(RowsOf):
    """Documents or queries. id, text: columns or templates of them. keep: columns that become metadata; all, if not
    stated. first: of rows with one id only the first counts (else that is an error). extract: a regular expression
    whose group is the text, where a column holds more than that."""

    id: str = "_id"
    text: str = "text"
    keep: tuple[str, ...] | None = None
    first: bool = False
    extract: str | None = None

    @field_validator("extract")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"is no regular expression: {error}") from error
            if groups != 1:
                raise ValueError(f"has {groups} groups; the one that is the text must be its only one")
        return value


class DocumentRows(_TextRows):
    """title: a column or template, too."""

    title: str | None = None


class QueryRows(_TextRows):
    """candidates: a column with the only documents of the query."""

    candidates: str | None = None


class Span(_Model):
    """Columns: a place in a text (`offset`), and the begin and end of each of its parts (`spans`)."""

    offset: str
    spans: str


class Labels(_Model):
    """What a row's labels are: a column with one or a list of them, or the columns whose names a regular expression
    describes and whose value is 1."""

    column: str | None = None
    columns: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Labels:
        if (self.column is None) == (self.columns is None):
            raise ValueError("give either 'column' or 'columns'")
        if self.columns is not None:
            try:
                re.compile(self.columns)
            except re.error as error:
                raise ValueError(f"'columns' is no regular expression: {error}") from error
        return self


class JudgmentRows(RowsOf):
    """query, document: columns or templates; a document's may be a list of ids, an object of ids and grades, or hold a
    list in its template. grade: a column, or one number for all rows. grades: words and their numbers. first: of rows
    with one pair only the first counts (else that is an error). scale: grades are real numbers, kept as whole ones of
    this many parts: 1000 for gold values of three decimals. rounded: decimals beyond that are rounded (else an error).
    span: the number of the part that holds a place, as `{span}` (the sentence that holds an answer). labels: instead of
    `document`, all documents are relevant that share a label with the row (a patent's classes)."""

    query: str = "query-id"
    document: str = "corpus-id"
    grade: str | int = "score"
    grades: dict[str, int] = Field(default_factory=dict)
    first: bool = False
    scale: PositiveInt | None = None
    rounded: bool = False
    span: Span | None = None
    labels: Labels | None = None

    @model_validator(mode="after")
    def _scaled(self) -> JudgmentRows:
        if self.labels is not None and "document" in self.model_fields_set:
            raise ValueError("give either 'document' or 'labels'")
        if self.scale is not None and (self.grades or isinstance(self.grade, int)):
            raise ValueError("'scale' is for a column of numbers")
        if self.rounded and self.scale is None:
            raise ValueError("'rounded' goes with 'scale'")
        return self


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("the list of parts is empty")
    return [value] if isinstance(value, dict | RowsOf) else value


#: One part, or a list of them.
Documents = Annotated[
    tuple[DocumentRows, ...],
    BeforeValidator(_listed, json_schema_input_type=DocumentRows | list[DocumentRows]),
]
Questions = Annotated[
    tuple[QueryRows, ...], BeforeValidator(_listed, json_schema_input_type=QueryRows | list[QueryRows])
]
Judgments = Annotated[
    tuple[JudgmentRows, ...],
    BeforeValidator(_listed, json_schema_input_type=JudgmentRows | list[JudgmentRows]),
]


class TablesLayout(_Model):
    """What of which tables are documents, queries, and the judgments of each split: one part each, or a list of parts
    where tables differ. spaces: what white space in ids becomes (run files separate by it)."""

    documents: Documents
    queries: Questions
    qrels: dict[str, Judgments] = Field(min_length=1)
    spaces: str | None = Field(default=None, pattern=r"^[^\s\x00-\x1f]{1,8}$")

    @property
    def parts(self) -> list[RowsOf]:
        return [*self.documents, *self.queries, *(part for parts in self.qrels.values() for part in parts)]


class _Spec(_Model):
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
            if found["type"] == "extra_forbidden":
                message, remedy = f"unknown key '{keys[-1]}'", did_you_mean(keys[-1], _fields(value))
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


# --- cards --------------------------------------------------------------------------------------------------


class CardSource(_Model):
    """Where a card's collection comes from: the format's name and what it takes. Of a folder: its path, from the card's
    own place, its layout, and the sha256 of its files, which are refused where they differ. get: of a folder without a
    path, which the user brings: one line that says how to get it. irds: an id of the package ir_datasets."""

    format: Literal["pydocs", "hub", "folder", "irds"]
    path: Path | None = None
    get: str | None = None
    irds: str | None = None
    layout: Literal["auto", "beir", "trec", "tables"] = "auto"
    checksums: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    tables: TablesLayout | None = None
    repo: str | None = None
    revision: Commit | None = None
    qrels_repo: str | None = None
    qrels_revision: Commit | None = None
    subset: str | None = None
    per_split: bool = False
    documents: PositiveInt | None = None
    variant: Literal["code", "prose"] = "code"

    @model_validator(mode="after")
    def _pinned(self) -> CardSource:
        if (self.format == "folder") != (self.path is not None or self.get is not None):
            raise ValueError("'format: folder' has a 'path', or 'get', which says how to come by it")
        if self.path is not None and self.get is not None:
            raise ValueError("a folder with a 'path' is there: leave out 'get'")
        if self.format == "folder" and (self.layout == "tables") != (self.tables is not None):
            raise ValueError("'layout: tables' and 'tables' come together")
        if (self.format == "irds") != (self.irds is not None):
            raise ValueError("'format: irds' and 'irds' come together")
        if self.format == "hub" and (self.repo is None or self.revision is None):
            raise ValueError("a hub source has a 'repo' and a 'revision'")
        if self.qrels_repo is not None and self.qrels_revision is None:
            raise ValueError("'qrels_repo' has a 'qrels_revision'")
        return self


class Expected(_Model):
    """Counts that the collection must have; queries are those that the split judges."""

    documents: PositiveInt | None = None
    queries: dict[str, PositiveInt] = Field(default_factory=dict)


class Subset(_Model):
    """A part of a card's collections. language: of its documents. documents, queries: how many it must have, in the
    default split. values: what `<name>` stands for in the card's source."""

    title: str | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    documents: PositiveInt | None = None
    queries: PositiveInt | None = None
    values: dict[str, str] = Field(default_factory=dict)


class Card(_Model):
    """A dataset of the catalogue. verified: whether its counts and a published score were seen to hold with
    this very source (`offline`: here, without a network; `online`; `no`: taken from publications). mteb: its name as a
    task of MTEB. subsets: parts of one layout that are datasets of their own, e.g. one a language: `card:subset`.
    `<subset>`, and each of a subset's `values`, stand for what differs in the source; `<split>` for the split, where
    each has documents of its own."""

    id: str
    title: str
    source: CardSource
    splits: tuple[str, ...]
    default_split: str
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...]
    task: str
    main_metric: str = "ndcg@10"
    relevance_level: PositiveInt = 1
    mteb: str | None = None
    template: str = "{title} {text}"
    query_template: str = "{text}"
    exclude: Exclude = "none"
    candidates: Among | None = None
    expected: Expected = Field(default_factory=Expected)
    licence: str
    citation: str
    homepage: str | None = None
    note: str | None = None
    verified: Literal["offline", "online", "no"]
    subsets: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], Subset] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _default_is_a_split(self) -> Card:
        if self.default_split not in self.splits:
            raise ValueError(f"default_split '{self.default_split}' is none of the splits")
        return self

    def layout(self, split: str) -> TablesLayout | None:
        """What of which tables is what, for a split."""
        found = self.source.tables
        if found is None:
            return None
        dumped = found.model_dump(mode="json", exclude_defaults=True)
        return TablesLayout.model_validate(_filled(dumped, {"split": split}))

    def of(self, subset: str) -> Card:
        """The card of one subset. Raises InputError for an unknown one, with the nearest."""
        if subset not in self.subsets:
            raise InputError(
                f"'{self.id}' has no subset '{subset}'", remedy=did_you_mean(subset, self.subsets)
            )
        chosen = self.subsets[subset]
        values = {"subset": subset, **chosen.values}
        filled = _filled(self.model_dump(mode="json", exclude={"subsets"}, exclude_defaults=True), values)
        filled["id"], filled["title"] = f"{self.id}:{subset}", f"{self.title}: {chosen.title or subset}"
        if chosen.language:
            filled["languages"] = [chosen.language]
        queries = {self.default_split: chosen.queries} if chosen.queries else {}
        filled["expected"] = {"documents": chosen.documents, "queries": queries}
        return Card.model_validate(filled)


def _filled(found: Any, values: Mapping[str, str]) -> Any:
    """With `<name>` of all texts replaced."""
    if isinstance(found, str):
        return re.sub(r"<(\w+)>", lambda match: values.get(match[1], match[0]), found)
    if isinstance(found, dict):
        return {_filled(key, values): _filled(value, values) for key, value in found.items()}
    return [_filled(value, values) for value in found] if isinstance(found, list | tuple) else found


class Group(_Model):
    """Datasets whose mean counts as one in the mean of a suite (BEIR's twelve forums of CQADupStack)."""

    id: str
    mean: tuple[str, ...] = Field(min_length=2)


class Suite(_Model):
    """Datasets that are reported together. members: a dataset of the catalogue or a group, in the order of tables."""

    id: str
    title: str
    members: tuple[str | Group, ...] = Field(min_length=1)
    citation: str

    @property
    def groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """(id, datasets) of every member; a dataset is alone in its own."""
        return [(m.id, m.mean) if isinstance(m, Group) else (m, (m,)) for m in self.members]

    @property
    def datasets(self) -> list[str]:
        return [dataset for _, members in self.groups for dataset in members]
