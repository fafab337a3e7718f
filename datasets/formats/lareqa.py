"""LAReQA's XQuAD-R: questions and sentences of several languages in one pool, in SQuAD's JSON with sentence breaks.

One file a language, `de.json`; a question has one id in all of them. Documents are all sentences, queries all
questions; relevant are the sentences that hold the answer, in every language. Ids are `de/<question>` and
`de/<article>.<paragraph>.<sentence>`, each counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from seekbench.datasets.source import file_name
from seekbench.errors import InputError
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

_LANGUAGE = re.compile(r"[a-z]{2}\.json")
_REMEDY = "take the files of github.com/google-research-datasets/lareqa as they are"


class Lareqa:
    """A folder with a file a language."""

    modules: ClassVar[tuple[str, ...]] = ("seekbench.datasets.formats.lareqa",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def subject(self) -> str:
        return str(self.folder)

    def files(self) -> Sequence[Path]:
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        found = sorted(path for path in there if _LANGUAGE.fullmatch(path.name))
        if not found:
            raise InputError("there is no file of a language, as de.json", where=self.subject, remedy=_REMEDY)
        return found

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {"format": "lareqa", "files": [file_name(p, self.folder) for p in self.files()]}

    def splits(self) -> list[str]:
        return ["test"]

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        answers: dict[str, list[str]] = {}
        asked: list[tuple[str, str, str]] = []
        with progress.stage("read documents", unit="paragraphs") as stage:
            for path in self.files():
                language = path.stem
                for number, paragraph in _paragraphs(path, builder):
                    place = f"{language}/{number}"
                    for count, sentence in enumerate(paragraph["sentences"]):
                        builder.document(
                            f"{place}.{count}",
                            None,
                            sentence,
                            {"language": language},
                            where=str(path),
                            line=1,
                        )
                    for question in paragraph["qas"]:
                        asked.append((language, question["id"], question["question"]))
                        at = _sentence(paragraph["sentence_breaks"], question["answers"][0]["answer_start"])
                        if at is None:
                            builder.report.error(
                                "bad-answer", f"the answer of question {question['id']} lies in no sentence",
                                where=str(path), remedy=_REMEDY,
                            )  # fmt: skip
                        else:
                            answers.setdefault(question["id"], []).append(f"{place}.{at}")
                    stage.advance(1)
        with progress.stage("read queries", total=len(asked), unit="queries") as stage:
            for language, id, text in asked:
                where = str(self.folder / f"{language}.json")
                builder.query(f"{language}/{id}", text, {"language": language}, where=where, line=1)
                for document in dict.fromkeys(answers.get(id, ())):
                    builder.judgment("test", f"{language}/{id}", document, 1, where=where, line=1)
                stage.advance(1)


def _paragraphs(path: Path, builder: Builder) -> Iterator[tuple[str, dict[str, Any]]]:
    """(article and paragraph, its content) of those that are as they should be; others are reported."""
    try:
        articles = orjson.loads(path.read_bytes())["data"]
    except (orjson.JSONDecodeError, OSError, LookupError, TypeError) as error:
        builder.report.error("bad-json", f"can't be read ({error!r})", where=str(path), remedy=_REMEDY)
        return
    for first, article in enumerate(articles):
        for second, paragraph in enumerate(article.get("paragraphs", ())):
            lacking = [k for k in ("sentences", "sentence_breaks", "qas") if k not in paragraph]
            if lacking:
                builder.report.error(
                    "missing-key", f"paragraph {second} of article {first} has no {' and no '.join(lacking)}",
                    where=str(path), remedy=_REMEDY,
                )  # fmt: skip
            else:
                yield f"{first}.{second}", paragraph


def _sentence(breaks: Sequence[Sequence[int]], at: int) -> int | None:
    """The number of the sentence that holds a character."""
    return next((n for n, (start, stop) in enumerate(breaks) if start <= at < stop), None)
