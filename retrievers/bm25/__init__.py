"""BM25 and query likelihood by Lucene, with Anserini's analysis, feedback and scores.

Equal to Pyserini's LuceneSearcher in scores and hits (tests/retrievers/test_bm25.py), without its cost a hit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from seekbench.errors import InputError
from seekbench.generation.queries import Generator
from seekbench.retrievers.bm25 import jvm
from seekbench.retrievers.bm25.analysis import LANGUAGES, Settings, analyze, check_language
from seekbench.retrievers.protocol import Context, Params, TextView

if TYPE_CHECKING:
    from seekbench.retrievers.bm25.search import BM25Searcher

__all__ = ["BM25", "LANGUAGES", "BM25Params", "RM3Params"]


class RM3Params(Params):
    """Relevance feedback (Abdul-Jaleel et al., TREC 2004; Anserini's Rm3Reranker, its defaults)."""

    fb_docs: int = Field(10, ge=1, description="documents that feedback terms are taken from")
    fb_terms: int = Field(10, ge=1, description="terms of the expanded query")
    original_query_weight: float = Field(0.5, ge=0, le=1, description="share of the original query")


class BM25Params(Params):
    """`{type: bm25}` in a run config. Defaults are Anserini's."""

    k1: float = Field(0.9, ge=0, description="BM25 saturation of term frequency")
    b: float = Field(0.4, ge=0, le=1, description="BM25 length normalisation")
    similarity: Literal["bm25", "qld"] = Field("bm25", description="BM25, or Dirichlet query likelihood")
    mu: float = Field(1000.0, gt=0, description="prior of query likelihood")
    rm3: RM3Params | None = Field(None, description="pseudo-relevance feedback; {} for its defaults")

    language: str = Field(
        "auto",
        description="analyzer: a code such as de; auto = the dataset's language, English if it has none",
    )
    stemmer: Literal["porter", "krovetz", "none"] = Field("porter", description="English only")
    stopwords: bool | tuple[str, ...] | Path = Field(
        True, description="English only: Lucene's list, none, a list, or a file with a word a line"
    )
    pretokenized: bool = Field(False, description="split at white space only (Anserini's -pretokenized)")
    fields: dict[str, float] | None = Field(
        None, description="fields indexed apart, with their boosts; else the rendered text as one"
    )
    expansion: Generator | None = Field(
        None,
        description="queries that a model writes for each document are indexed with it (doc2query, docT5query)",
    )
    docvectors: bool = Field(False, description="store document vectors, which rm3 needs (set by rm3 itself)")

    #: Folder of the file that names the stop words'. The path stays as written: its words are in `identity`.
    _base: Path = PrivateAttr(Path())

    def model_post_init(self, context: Any, /) -> None:
        self._base = Path((context or {}).get("base") or "").absolute()

    @property
    def stopwords_file(self) -> Path | None:
        """The file of stop words, relative to the file that names it."""
        return self._base / self.stopwords.expanduser() if isinstance(self.stopwords, Path) else None

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        try:
            return check_language(value)
        except InputError as error:
            raise ValueError(str(error)) from None

    @field_validator("fields")
    @classmethod
    def _some_fields(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and not value:
            raise ValueError("name at least one field, e.g. {title: 1.0, text: 1.0}")
        if value is not None and any(boost <= 0 for boost in value.values()):
            raise ValueError("a field's boost must be above 0")
        return value

    @model_validator(mode="before")
    @classmethod
    def _vectors_for_feedback(cls, data: Any) -> Any:
        # The index depends on whether there is feedback, not on its parameters: those must not re-index.
        if isinstance(data, Mapping) and data.get("rm3") is not None and "docvectors" not in data:
            return {**data, "docvectors": True}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> BM25Params:
        if self.rm3 is not None and self.fields is not None:
            raise ValueError("rm3 works on one flat field (Anserini's Rm3Reranker); leave out fields")
        if self.expansion is not None and self.fields is not None:
            raise ValueError("expansion adds queries to one flat field; leave out fields")
        if self.rm3 is not None and not self.docvectors:
            raise ValueError("rm3 needs docvectors: true")
        english = self.language in ("en", "auto") and not self.pretokenized
        if not english and (self.stemmer != "porter" or self.stopwords is not True):
            raise ValueError("stemmer and stopwords belong to English; other analyzers bring their own")
        if self.pretokenized and self.language != "auto":
            raise ValueError("pretokenized text has no language; leave one of the two out")
        return self


class BM25:
    """See seekbench.retrievers.protocol.Retriever."""

    Params: ClassVar[type[BM25Params]] = BM25Params
    index_params: ClassVar[frozenset[str]] = frozenset(
        {"language", "stemmer", "stopwords", "pretokenized", "fields", "docvectors", "expansion"}
    )
    search_params: ClassVar[frozenset[str]] = frozenset({"k1", "b", "similarity", "mu", "rm3"})
    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.retrievers.bm25",
        *(
            f"seekbench.retrievers.bm25.{name}"
            for name in ("analysis", "expansion", "handles", "index", "jvm", "search", "ties")
        ),
    )

    def __init__(self, params: BM25Params) -> None:
        self.params = params

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    @property
    def indexes(self) -> bool:
        return True

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        facts: dict[str, Any] = dict(jvm.versions())
        if self._stopwords is not None:
            # A file's words may change under the same name.
            facts["stopwords"] = Settings("", stopwords=self._stopwords).summary()["stopwords"]
        return facts

    def recipe(self, documents: TextView, *, context: Context) -> Mapping[str, Any]:
        """What `auto` and this Java make of the collection's language: a part of the index's recipe. Starts no
        Java. Raises MissingError for a language that this Java can't do."""
        said: dict[str, Any] = {"analysis": self.settings(documents.language).summary()}
        if self.params.expansion is not None:
            from seekbench.generation import queries

            said["expansion"] = queries.recipe(documents, self.params.expansion, context, self.params._base)
        return said

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        """Facts: documents, non_empty, total_terms, unique_terms (of each field where there are several),
        analyzer, bytes. Raises InputError for fields that the collection lacks."""
        from seekbench.retrievers.bm25 import index

        fields = tuple(self.params.fields or ())
        for name in fields:
            documents.records.check_template("{" + name + "}")
        settings = self.settings(documents.language)
        if self.params.language == "auto" and settings.without_analyzer:
            context.progress.note(
                f"bm25: no analyzer for the language '{documents.language}' here; its text is indexed as"
                f" {settings.without_analyzer}"
            )
        expansion = None
        if self.params.expansion is not None:
            from seekbench.generation import queries
            from seekbench.retrievers.bm25.expansion import Expansion

            folder.mkdir(parents=True, exist_ok=True)
            made = queries.stored(
                documents, self.params.expansion, folder / "queries", context=context, base=self.params._base
            )
            expansion = Expansion(made, len(documents))
        facts = index.build(
            documents,
            folder,
            settings=settings,
            fields=fields,
            docvectors=self.params.docvectors,
            context=context,
            expansion=expansion,
        )
        return facts if expansion is None else {**facts, "expansion": expansion.facts()}

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> BM25Searcher:
        from seekbench.retrievers.bm25.search import BM25Searcher

        if folder is None:
            raise ValueError("bm25 searches an index; it was given no folder")
        return BM25Searcher(folder, documents, self.params)

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        model = (
            {"similarity": "BM25", "k1": self.params.k1, "b": self.params.b}
            if self.params.similarity == "bm25"
            else {"similarity": "LMDirichlet", "mu": self.params.mu}
        )
        feedback = None if self.params.rm3 is None else self.params.rm3.model_dump()
        return {
            **jvm.versions(),
            **model,
            "rm3": feedback,
            "scores": "rounded and tie-adjusted as by Anserini",
        }

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        return texts

    def settings(self, language: str | None = None) -> Settings:
        """The analysis of a collection that declares this language."""
        return Settings.resolve(
            self.params.language, language, stemmer=self.params.stemmer,
            stopwords=self._stopwords, pretokenized=self.params.pretokenized,
        )  # fmt: skip

    def analyze(self, texts: list[str], language: str | None = None) -> list[list[str]]:
        """The terms of each text, as indexed and as searched (`seekbench show`); starts Java."""
        return analyze(self.settings(language), texts)

    @cached_property
    def _stopwords(self) -> tuple[str, ...] | None:
        """The user's words: None for Lucene's list, () for none. Raises InputError for a missing file."""
        wanted, file = self.params.stopwords, self.params.stopwords_file
        if isinstance(wanted, bool):
            return None if wanted else ()
        if isinstance(wanted, tuple):
            return wanted
        assert file is not None
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the stop words: {error}", where=str(file)) from error
        return tuple(word for line in lines if (word := line.strip()))
