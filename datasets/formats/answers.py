"""Documents that hold an answer: judgments of open-domain question answering, as DPR's top-k accuracy takes them.

A text holds an answer if the answer's words stand in it one after the other, whatever their case and the composition of
their letters (Karpukhin et al., DPR, EMNLP 2020: tokens are runs of letters, numbers and marks, or single other signs;
NFD, lower case).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import regex

_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """The words and signs of a text."""
    return tuple(_TOKEN.findall(unicodedata.normalize("NFD", text).lower()))


def holding(texts: Iterable[tuple[str, str]], answers: Iterable[str]) -> dict[Words, list[str]]:
    """An answer's words -> ids of the texts that hold it, in their order. texts: (id, text), read once."""
    by_first: dict[str, list[Words]] = {}
    for wanted in dict.fromkeys(map(words_of, answers)):
        if wanted:
            by_first.setdefault(wanted[0], []).append(wanted)
    found: dict[Words, list[str]] = {}
    for id, text in texts:
        for wanted in dict.fromkeys(_in(words_of(text), by_first)):
            found.setdefault(wanted, []).append(id)
    return found


def _in(words: Sequence[str], by_first: dict[str, list[Words]]) -> Iterator[Words]:
    for place, word in enumerate(words):
        for wanted in by_first.get(word, ()):
            if tuple(words[place : place + len(wanted)]) == wanted:
                yield wanted
