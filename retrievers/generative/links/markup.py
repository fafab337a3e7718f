"""Markup of texts: links of wikis and of HTML, tags, and paragraphs."""

from __future__ import annotations

import html
import re

WIKI_LINK = re.compile(r"\[\[([^\[\]|\n]+)((?:\|[^\[\]]*)?)\]\]")
A_TAG = re.compile(r"<a\s([^<>]*)>|</a\s*>", re.IGNORECASE)
OPEN_A = re.compile(r"<a\s", re.IGNORECASE)
HREF = re.compile(r"""(?<![\w-])href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))""", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_LINE = re.compile(r"\n")
_P_TAG = re.compile(r"</?p(?:\s[^<>]*)?>|\n[^\S\n]*\n", re.IGNORECASE)
_HAS_P = re.compile(r"<p[\s>]", re.IGNORECASE)
_INLINE = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark math nowiki "
    "q ref s samp script small span strike strong style sub sup time tt u var wbr"
)
_BREAKING = (
    "article aside blockquote body br caption center dd div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6 head "
    "header hr html li main nav ol p pre section table tbody td tfoot th thead title tr ul"
)
# Only names of HTML, or "if i <n and n> 0" would lose its middle.
_TAG = re.compile(rf"</?({'|'.join(f'{_INLINE} {_BREAKING}'.split())})(?:\s[^<>]*|/)?>", re.IGNORECASE)
_BREAKS = frozenset(_BREAKING.split())
#: Links in links (captions of images) are opened so many times.
_NESTED = 5


def plain(text: str, *, entities: bool = False) -> str:
    """A text without wiki links' brackets, tags and comments, and with single spaces. entities: `&amp;` and the like
    become characters, which is right in HTML only."""
    if "[[" in text:
        for _ in range(_NESTED):
            text, changed = WIKI_LINK.subn(_shown, text)
            if not changed:
                break
    if "<" in text:
        text = _TAG.sub(lambda m: " " if m[1].lower() in _BREAKS else "", _without_comments(text))
    if entities and "&" in text:
        text = html.unescape(text)
    return " ".join(text.split())


def _shown(match: re.Match[str]) -> str:
    return match[2].rpartition("|")[2].strip() or match[1]


def _without_comments(text: str) -> str:
    at, out = 0, []
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        out.append(text[at:start])
        at = end + 3
    return "".join([*out, text[at:]])


def paragraphs(text: str) -> list[tuple[int, int]]:
    """(start, end) of the characters of each paragraph that is not empty."""
    separator = _LINE
    if _HAS_P.search(text):
        separator = _P_TAG
    elif _BLANK_LINE.search(text.strip()):
        separator = _BLANK_LINE
    spans, at = [], 0
    for match in separator.finditer(text):
        spans.append((at, match.start()))
        at = match.end()
    spans.append((at, len(text)))
    return [(a, b) for a, b in spans if text[a:b].strip()]
