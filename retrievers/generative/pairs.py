"""Documents to training texts: what of a document is given as input for its docid.

Everything here is made of documents alone; queries come from a training split or a generator.

A word is what stands between white space. In scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) it
is a character with the marks and punctuation around it, of which no word begins in the middle of a syllable's cluster;
among keywords it is a pair of neighbouring characters, as search engines index such texts without a dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

#: Blocks of Hiragana and Katakana, Thai and Lao, Myanmar and Khmer: letters, marks, digits and punctuation together.
_BLOCKS = (
    (0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x0E00, 0x0EFF), (0x1000, 0x109F),
    (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x1780, 0x17FF),
)  # fmt: skip
#: Han with its radicals, iteration mark, zero and numerals; planes 2 and 3 hold nothing else.
_HAN = "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


def _in_blocks(kind: str) -> str:
    """All characters of the blocks whose general category begins so, as ranges within [...]."""
    codes = (code for low, high in _BLOCKS for code in range(low, high + 1))
    kept = [code for code in codes if unicodedata.category(chr(code)).startswith(kind)]
    lows = [c for before, c in pairwise([-1, *kept]) if c != before + 1]
    highs = [c for c, after in pairwise([*kept, -1]) if after != c + 1]
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in zip(lows, highs, strict=True))


_LETTER, _MARK = _HAN + _in_blocks("L"), _in_blocks("M")
#: Khmer's coeng and Myanmar's virama: the letter behind is written below the one before.
_STACKER = "\u17d2\u1039"
_UNSPACED = re.compile(f"[{_LETTER}]")
#: Nothing else can be one: many times as fast to look for, so that most texts cost next to nothing.
_NEAR = re.compile("[\u0e00-\u109f\u1780-\u17ff\u2e80-\U0003ffff]")
#: A word: a letter of such a script and what is no word around it, or other characters up to the next such letter.
_PIECE = re.compile(
    rf"[^\w\s{_LETTER}]*[{_LETTER}](?:[{_STACKER}][{_LETTER}]|[^\w\s{_LETTER}])*|[^\s{_LETTER}]+"
)
_CLUSTER = re.compile(f"[{_LETTER}](?:[{_STACKER}][{_LETTER}]|[{_MARK}])*")
#: Runs of such letters, group 1; other words.
_RUN = re.compile(
    rf"((?:[{_LETTER}](?:[{_STACKER}][{_LETTER}]|[{_MARK}])*)+)|[^\W{_LETTER}](?:[^\W{_LETTER}]|['-])*"
)

#: Ends of sentences: a mark, perhaps a closing quote, then white space and no lower-case letter.
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+(?=[^a-z\s])|\n\s*\n")
#: Ends of sentences that need no white space behind: Chinese and Japanese, Khmer, Myanmar; Thai and Lao have none.
_UNSPACED_END = re.compile("[。！？｡។៕။]+[」』”’）)】》〉\\]\"']*")
_WORD = re.compile(r"\w[\w'-]*")


def sentences(text: str, *, least_words: int = 1) -> list[str]:
    """Sentences by their marks; pieces of fewer than `least_words` words are joined to the one before."""
    return [piece for piece, _ in _sentences(text, least_words)]


def _sentences(text: str, least_words: int = 1) -> list[tuple[str, str]]:
    """(sentence, what stands between it and the one before: a space, or nothing in scripts without spaces)."""
    out: list[tuple[str, str]] = []
    for part, between in _parts(text):
        for piece in _SENTENCE.split(part):
            piece = " ".join(piece.split())
            if not piece:
                continue
            if out and count_words(piece) < least_words:
                out[-1] = (f"{out[-1][0]}{between}{piece}", out[-1][1])
            else:
                out.append((piece, between))
            between = " "
    return out


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """(part, what stands before it) of a text, cut at the ends of sentences that have no white space behind them."""
    if not _is_unspaced(text):
        yield text, " "
        return
    begin = 0
    for end in (*(m.end() for m in _UNSPACED_END.finditer(text)), len(text)):
        part = text[begin:end]
        if part.strip():
            yield part, " " if part[0].isspace() else ""
            begin = end


def _stretch(found: Sequence[tuple[str, str]]) -> str:
    """Consecutive sentences as one text."""
    return "".join(f"{between if i else ''}{piece}" for i, (piece, between) in enumerate(found))


def _is_unspaced(text: str) -> bool:
    """Whether a text has a letter of a script without spaces between words."""
    return not text.isascii() and _NEAR.search(text) is not None and _UNSPACED.search(text) is not None


def _words(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, for texts of scripts without spaces."""
    return [m.span() for m in _PIECE.finditer(text)]


def count_words(text: str) -> int:
    """As `first_words` counts them."""
    return len(_words(text) if _is_unspaced(text) else text.split())


def _terms(text: str) -> list[str]:
    """Words in lower case, without punctuation; of runs of letters of scripts without spaces their bigrams."""
    if not _is_unspaced(text):
        return [w.lower() for w in _WORD.findall(text)]
    out: list[str] = []
    for match in _RUN.finditer(text):
        if match[1] is None:
            out.append(match[0].lower())
            continue
        letters = _CLUSTER.findall(match[1])
        out += [a + b for a, b in pairwise(letters)] or letters
    return out


def first(title: str, text: str, rng: np.random.Generator, *, words: int = 64) -> list[str]:
    """First-P: the first words of title and text (DSI's direct indexing took 32 tokens, the scaling study 64)."""
    return [first_words(f"{title} {text}", words)]


def first_words(text: str, words: int) -> str:
    """The first words of a text, as they stand, single spaces between them; of scripts that are written without spaces
    each letter counts as a word."""
    if not _is_unspaced(text):
        return " ".join(text.split(None, words)[:words])
    end = max((m.end() for m in islice(_PIECE.finditer(text), words)), default=0)
    return " ".join(text[:end].split())


def chunks(title: str, text: str, rng: np.random.Generator, *, words: int = 64, count: int = 10) -> list[str]:
    """`count` windows of `words` words at random places (DaQ of the scaling study); fewer where the text is short."""
    whole = f"{title} {text}"
    tokens = None if _is_unspaced(whole) else whole.split()
    spans = _words(whole) if tokens is None else []
    places = max(1, len(tokens or spans) - words + 1)
    chosen = np.sort(rng.choice(places, size=min(count, places), replace=False))
    if tokens is not None:
        return [" ".join(tokens[at : at + words]) for at in chosen.tolist()]
    cuts = [(spans[at][0], spans[at : at + words][-1][1]) for at in chosen.tolist()]
    return [" ".join(whole[low:high].split()) for low, high in cuts]


def inner_sentences(
    title: str, text: str, rng: np.random.Generator, *, count: int = 11, least_words: int = 4
) -> list[str]:
    """Sentences at random (CorpusBrain's inner sentence selection, at most 11 a document), and the title."""
    found = sentences(text, least_words=least_words)
    if len(found) > count:
        found = [found[i] for i in np.sort(rng.choice(len(found), size=count, replace=False)).tolist()]
    return ([title] if title else []) + found


def lead(title: str, text: str, rng: np.random.Generator, *, paragraphs: int = 3, size: int = 3) -> list[str]:
    """Lead paragraphs (CorpusBrain's LPS): the first `paragraphs` stretches of `size` sentences."""
    found = _sentences(text)
    out = [_stretch(found[i : i + size]) for i in range(0, paragraphs * size, size)]
    return [p for p in out if p] or ([title] if title else [])


def passages(text: str, *, size: int = 5, stride: int = 2) -> list[str]:
    """Stretches of `size` sentences, each `stride` sentences after the one before (SE-DSI; whether it means 2 or 5 + 2
    is not clear from the paper)."""
    found = _sentences(text)
    if len(found) <= size:
        return [_stretch(found)] if found else []
    return [
        _stretch(found[i : i + size])
        for i in range(0, len(found) - size + stride, stride)
        if found[i : i + size]
    ]


def rehearsal(
    title: str, text: str, rng: np.random.Generator, *, leading_passages: int = 3, leading_sentences: int = 6
) -> list[str]:
    """SE-DSI's rehearsal contents, Lead: the whole document, its first passages and its first sentences. With fewer
    than three passages the first one, with fewer than six sentences all of them."""
    whole = " ".join(f"{title} {text}".split())
    parts, single = passages(text), sentences(text)
    kept = parts[:leading_passages] if len(parts) >= leading_passages else parts[:1]
    return list(dict.fromkeys([whole, *kept, *single[:leading_sentences]]))


def central(
    title: str, text: str, rng: np.random.Generator, *, passages_kept: int = 1, sentences_kept: int = 6
) -> list[str]:
    """SE-DSI's rehearsal contents, Sum: the whole document, and the passages and sentences that TextRank finds most
    central (Mihalcea & Tarau 2004: similarity is words in common over the logarithms of the lengths)."""
    whole = " ".join(f"{title} {text}".split())
    top = [
        _central(found, n)
        for found, n in ((passages(text), passages_kept), (sentences(text), sentences_kept))
    ]
    return list(dict.fromkeys([whole, *top[0], *top[1]]))


def _central(texts: Sequence[str], count: int) -> list[str]:
    """The `count` texts of the highest TextRank, in the order of the document."""
    if len(texts) <= count:
        return list(texts)
    words = [set(_terms(t)) for t in texts]
    size = np.array([len(w) for w in words], dtype=np.float64)
    common = _shared(words)
    np.fill_diagonal(common, 0)
    logs = np.log(np.maximum(size, 1))
    weights = common / np.maximum(logs[:, None] + logs[None, :], 1e-9)
    total = weights.sum(axis=1, keepdims=True)
    step = np.divide(weights, total, out=np.full_like(weights, 1 / len(texts)), where=total > 0)
    rank = np.full(len(texts), 1 / len(texts))
    for _ in range(50):
        rank = 0.15 / len(texts) + 0.85 * rank @ step
    return [texts[i] for i in sorted(np.argsort(-rank, kind="stable")[:count].tolist())]


def _shared(words: Sequence[set[str]]) -> npt.NDArray[np.float64]:
    """float64 [n, n]: how many words each two sets have in common."""
    from scipy.sparse import csr_array

    known: dict[str, int] = {}
    columns = [known.setdefault(w, len(known)) for own in words for w in sorted(own)]
    indptr = np.concatenate([[0], np.cumsum([len(own) for own in words])])
    table = csr_array((np.ones(len(columns)), columns, indptr), shape=(len(words), max(1, len(known))))
    shared: npt.NDArray[np.float64] = (table @ table.T).toarray()
    return shared


class KeywordQueries:
    """Pseudo-queries where no generator is at hand: samples of a document's words, drawn by tf-idf.

    A stand-in for generated queries that needs no model: the words that tell a document from others, in the order in
    which they stand there, as a searcher would type them. Its document frequencies come from the corpus alone.
    """

    def __init__(self, texts: Iterator[list[str]]) -> None:
        self.frequency: dict[str, int] = {}
        self.documents = 0
        for block in texts:
            for text in block:
                self.documents += 1
                for word in set(_terms(text)):
                    self.frequency[word] = self.frequency.get(word, 0) + 1

    def __call__(
        self,
        title: str,
        text: str,
        rng: np.random.Generator,
        *,
        count: int = 10,
        words: tuple[int, int] = (3, 9),
    ) -> list[str]:
        """`count` queries of a few words each; fewer where there are too few words."""
        tokens = _terms(f"{title} {text}")
        distinct = list(dict.fromkeys(tokens))
        if not distinct:
            return []
        many: Mapping[str, int] = Counter(tokens)
        weight = np.array(
            [
                (1 + np.log(many[w])) * np.log((1 + self.documents) / self.frequency.get(w, 1))
                for w in distinct
            ]
        )
        weight = np.maximum(weight, 1e-6)
        # Nobody searches for the words that every document has.
        weight = weight**2 / (weight**2).sum()
        out = []
        for _ in range(count):
            size = min(len(distinct), int(rng.integers(words[0], words[1] + 1)))
            chosen = rng.choice(len(distinct), size=size, replace=False, p=weight)
            out.append(" ".join(distinct[i] for i in np.sort(chosen).tolist()))
        return list(dict.fromkeys(out))


#: Kinds of training texts that need nothing but the document.
KINDS: Mapping[str, Callable[..., list[str]]] = {
    "first": first,
    "chunks": chunks,
    "sentences": inner_sentences,
    "lead": lead,
    "rehearsal": rehearsal,
    "rehearsal_sum": central,
}


def make(
    kind: str,
    titles: Sequence[str],
    texts: Sequence[str],
    *,
    seed: int,
    start: int = 0,
    maker: Any = None,
    **options: Any,
) -> tuple[list[int], list[str]]:
    """(document row, text) of the training texts of documents start .. start + len(texts). A document's texts depend on
    the seed and its row alone, not on the blocks that a corpus is read in."""
    rows: list[int] = []
    out: list[str] = []
    function = maker or KINDS[kind]
    for i, (title, text) in enumerate(zip(titles, texts, strict=True), start):
        made = function(title, text, np.random.default_rng([seed, i]), **options)
        rows += [i] * len(made)
        out += made
    return rows, out
