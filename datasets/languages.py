"""A light guess at a text's language, by script and stop words; `unknown` where neither is safe.

Good enough to say what a collection is made of; never used to choose a stemmer by itself.
"""

# (words of other alphabets are meant; one line a language is easier to check than wrapped ones)

from __future__ import annotations

import re

#: Below this share of its words among a language's stop words, a text's language stays unknown.
_LEAST_SHARE = 0.12

#: A few of the most frequent words of languages in Latin, Cyrillic or Arabic letters.
_STOP_WORDS: dict[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the of and to in a is that for it was on are as with be by at this from have or an not which what",
        "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden",
        "fr": "le la les de des et en un une du que qui dans pour pas sur au est ce il par plus avec sont été",
        "es": "el la los las de y en que un una del se por con no para es al lo como más fue su o entre",
        "pt": "o a os as de e em que um uma do da dos das não para com por se no na mais foi é ao",
        "it": "il lo la i gli le di e in che un una del della per con non si è da al dei sono nel come",
        "nl": "de het een en van in is dat op te zijn voor met die niet aan er om ook als bij door naar wordt",
        "ro": "și de în la a cu pe o un care din nu este pentru mai fost sunt prin că se al ale au",
        "pl": "w z na nie się jest że jak po przez od za dla są był oraz przy które został jego tym",
        "tr": "ve bir bu da de için ile olarak en çok daha olan ne gibi kadar sonra ise olduğu hangi nedir",
        "vi": "của và là có trong được cho một những các với không người này từ đã ra khi như đến vào",
        "sv": "och i att det som en på är av för med den till inte ett om har de var från",
        "fi": "ja on ei se että oli hän mutta joka ovat kun myös tai niin sekä mitä",
        "id": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ke karena adalah oleh",
        "ru": "и в не на что он с как это по но из у за от о для был к также его",
        "uk": "і в не на що він з як це по але із у за від до для був та є",
        "bg": "и в на да се от за не че с по като са е до но този който",
        "ar": "في من على إلى أن التي هذا عن مع هو كان ما لا هذه بين بعد كل",
        "fa": "و در به از که این را با است برای آن یک می های تا بر",
    }.items()
}
_LATIN = ("en", "de", "fr", "es", "pt", "it", "nl", "ro", "pl", "tr", "vi", "sv", "fi", "id")
#: Scripts, and the language(s) that they leave possible.
_SCRIPTS: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = (
    ("ja", re.compile(r"[\u3040-\u30ff]"), ("ja",)),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"), ("ko",)),
    ("zh", re.compile(r"[\u4e00-\u9fff]"), ("zh",)),
    ("th", re.compile(r"[\u0e00-\u0e7f]"), ("th",)),
    ("hi", re.compile(r"[\u0900-\u097f]"), ("hi",)),
    ("bn", re.compile(r"[\u0980-\u09ff]"), ("bn",)),
    ("ta", re.compile(r"[\u0b80-\u0bff]"), ("ta",)),
    ("te", re.compile(r"[\u0c00-\u0c7f]"), ("te",)),
    ("el", re.compile(r"[\u0370-\u03ff]"), ("el",)),
    ("he", re.compile(r"[\u0590-\u05ff]"), ("he",)),
    ("cyrillic", re.compile(r"[\u0400-\u04ff]"), ("ru", "uk", "bg")),
    ("arabic", re.compile(r"[\u0600-\u06ff]"), ("ar", "fa")),
    ("latin", re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"), _LATIN),
)
_WORD = re.compile(r"[^\W\d_]+")


def guess_language(text: str) -> str:
    """ISO 639-1 code by script and stop words; `unknown` where neither tells, as in very short texts."""
    counts = [(len(pattern.findall(text)), name, codes) for name, pattern, codes in _SCRIPTS]
    letters = sum(n for n, _, _ in counts)
    if not letters:
        return "unknown"
    if counts[0][0] and counts[0][0] + counts[2][0] > letters / 2:  # kana beside Chinese characters
        return "ja"
    most, _, codes = max(counts, key=lambda c: c[0])
    if most < letters / 2:
        return "unknown"
    if len(codes) == 1:
        return codes[0]
    words = [w.lower() for w in _WORD.findall(text)]
    hits = sorted(((sum(w in _STOP_WORDS[c] for w in words), c) for c in codes), reverse=True)
    (best, code), (second, _) = hits[0], hits[1]
    if best < max(1, _LEAST_SHARE * len(words)) or best == second:
        return "unknown"
    return code
