"""How tables hold a collection: which files and columns are documents, queries and judgments (`format: tables`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

#: A column in a template.
FIELD = re.compile(r"\{([^{}]+)\}")


class Strict(BaseModel):
    """Of entries, layouts and cards: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RowsOf(Strict):
    """Rows of tables (`formats.tables`). files: names or patterns, below the folder or repository; `{name}` in one is a
    part of the name, which becomes a column. where: columns and the value, or values, that a row must have. columns,
    separator: of a CSV or TSV file without header, or of another separator. at: of a JSON file, where its array is;
    `*` in it goes through all elements (`data.*.paragraphs`). kind: where a file's name does not say it;
    `text` has a column `line`. group, take: of the rows of one file with one value of `group`, the first alone, or the
    rest. quotes: whether `"` in a CSV or TSV file encloses a field; false where it is a sign like any other."""

    files: str | tuple[str, ...]
    where: dict[str, str | int | bool | tuple[str | int, ...]] = Field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    at: str | None = None
    kind: Literal["json", "lines", "csv", "tsv", "text", "parquet"] | None = None
    group: str | None = None
    take: Literal["first", "rest"] | None = None
    quotes: bool = True

    @model_validator(mode="after")
    def _both(self) -> RowsOf:
        if (self.group is None) != (self.take is None):
            raise ValueError("'group' and 'take' come together")
        return self

    @property
    def instead(self) -> list[str]:
        """What says which documents are judged in place of a column."""
        return []

    #: Fields of subclasses that are columns or templates of them.
    EXPRESSIONS: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _templates(self) -> RowsOf:
        for name in self.EXPRESSIONS:
            text = getattr(self, name)
            if isinstance(text, str) and set("{}") & set(FIELD.sub("", text)):
                raise ValueError(f"'{name}' has a brace without its other one: {text}")
        return self

    @property
    def fields(self) -> dict[str, str]:
        """Columns that some row must have: those of templates, a title's and those of `where`; which key names each."""
        found = dict.fromkeys(self.where, "where")
        for name in self.EXPRESSIONS:
            text = getattr(self, name)
            if name == "document" and self.instead:
                continue
            if isinstance(text, str) and ("{" in text or name == "title"):
                found |= dict.fromkeys(FIELD.findall(text) if "{" in text else [text], name)
        return found

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

    EXPRESSIONS = ("id", "title", "text")
    title: str | None = None


class QueryRows(_TextRows):
    """candidates: a column with the only documents of the query."""

    EXPRESSIONS = ("id", "text")
    candidates: str | None = None


class Span(Strict):
    """Columns: a place in a text (`offset`), and the begin and end of each of its parts (`spans`)."""

    offset: str
    spans: str


class Labels(Strict):
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
    `document`, all documents are relevant that share a label with the row (a patent's classes). answers: instead of it,
    a column with one or a list of answers; all documents are relevant whose text holds one (`formats.answers`)."""

    EXPRESSIONS = ("query", "document")
    query: str = "query-id"
    document: str = "corpus-id"
    grade: str | int = "score"
    grades: dict[str, int] = Field(default_factory=dict)
    first: bool = False
    scale: PositiveInt | None = None
    rounded: bool = False
    span: Span | None = None
    labels: Labels | None = None
    answers: str | None = None

    @property
    def instead(self) -> list[str]:
        return [name for name in ("labels", "answers") if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _scaled(self) -> JudgmentRows:
        default = type(self).model_fields["document"].default
        given = [*(["document"] if self.document != default else []), *self.instead]
        if len(given) > 1:
            raise ValueError(f"give either '{given[0]}' or '{given[1]}'")
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


class TablesLayout(Strict):
    """What of which tables are documents, queries, and the judgments of each split: one part each, or a list of parts
    where tables differ. spaces: what white space in ids becomes (run files separate by it)."""

    documents: Documents
    queries: Questions
    qrels: dict[str, Judgments] = Field(min_length=1)
    spaces: str | None = Field(default=None, pattern=r"^[^\s\x00-\x1f]{1,8}$")

    @property
    def parts(self) -> list[RowsOf]:
        return [*self.documents, *self.queries, *(part for parts in self.qrels.values() for part in parts)]


def fields_below(keys: Sequence[str]) -> list[str]:
    """Keys that may stand where a path of keys in an entry ends: of its part of the tables, or of the tables."""
    of: dict[str, type[BaseModel]] = {
        "documents": DocumentRows,
        "queries": QueryRows,
        "qrels": JudgmentRows,
        "span": Span,
        "labels": Labels,
    }
    known = [of[key] for key in keys[:-1] if key in of]
    return list((known[-1] if known else TablesLayout).model_fields)
