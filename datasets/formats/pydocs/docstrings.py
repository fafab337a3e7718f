"""Docstrings as plain text: the first sentence, and the prose below it.

What these say of reStructuredText, Google's and NumPy's sections, doctests and signatures was learnt from the
library itself: most of its docstrings follow no convention throughout.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator

from seekbench.datasets.formats.pydocs.library import parse

#: Fewer words than this are no description ("Internal.", "Close it").
LEAST_WORDS = 3
#: A paragraph of at most so many words that ends with a colon is the label of what follows.
LABEL_WORDS = 8

_ROLE = re.compile(r":[A-Za-z][\w.+:-]*:`[~!]?([^`<]+?)(?:\s*<[^`>]*>)?`")
_LITERAL = re.compile(r"``(.+?)``|`([^`']+?)(?:`_{0,2}|')")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
_BREAK = re.compile(
    r"\s*(?:>>> |\.\. |[-*+o] |\d+[.)] |[@:](?:param|arg|return|rtype|raise|type|keyword)"
    r"|(?:args|arguments|parameters|params|returns?|raises|yields|examples?|usage|notes?|options"
    r"|(?:(?:instance|class|data|public) )?attributes)\s*:?\s*$"
    r"|([-=~^*_#])\1{2,}\s*$)",
    re.IGNORECASE,
)
_RULER = re.compile(r"[^\w\s]{2,}(?:\s+[^\w\s]{2,})*|[-=~^*_#+|]")
_ITEM = re.compile(r"[-*+o] |\(?\w[.)] |\d+[.)] ")
_DIRECTIVE = re.compile(r"\.\. .*|:\w+:")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(?: *(?:->|=>) *.*)?:?|[\w\s,.()\[\]]+ = [\w.<>]+\(.*\)")
_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:(?:[A-Za-z]\.)+[A-Za-z]|eg|ie|vs|cf|resp|viz|al|approx|incl|esp|fig|sec|no|nos)$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]\w*")
#: Says nothing of what the function does: points elsewhere, or is a label.
_MEANINGLESS = re.compile(
    r"(?:see(?! (?:if|whether|that))|refer to|undocumented|not documented|no docstring|docstring|deprecated"
    r"|obsolete|todo|xxx|fixme|not (?:yet )?implemented|(?:please )?overrid(?:e|es|den|ing)"
    r"|alias (?:for|of)|same as|identical to|inherit|implements? abstract)\b"
    r"|(?:for )?(?:internal|private|abstract|dummy|stub|placeholder|helper)"
    r"(?: (?:use|only|function|method))*[.!]?$",
    re.IGNORECASE,
)
_ASSIGNED_CALL = re.compile(r"[\w\s,()\[\]]+ = [\w.<>]+\(.*\)\s*$")
_DANGLING = re.compile(
    r"(?:[,;(/-]|\b(?:a|an|the|of|to|for|and|or|with|in|by|is|are|as|on|at|from|that|if|when|not))$"
)


def first_sentence(docstring: str, name: str) -> str:
    """The first sentence of a docstring as plain text, '' where it holds none (see `split`)."""
    return split(docstring, name)[0]


def split(docstring: str, name: str) -> tuple[str, str]:
    """The first sentence of a docstring and the prose below it as plain text, each '' where there is none.

    name: the definition's own, to know its signature where the docstring begins with it, as those of methods
    written in C do. The prose's paragraphs are parted by blank lines.
    """
    lines = _without_signatures(inspect.cleandoc(docstring), name).split("\n")
    start = next((n for n, line in enumerate(lines) if line.strip()), len(lines))
    end = start
    while end < len(lines) and lines[end].strip() and not _BREAK.match(lines[end]):
        if end > start and _is_new_start(lines[end - 1].strip(), lines[end]):
            break
        end += 1
    paragraph = _plain(" ".join(line.strip() for line in lines[start:end]))
    sentence = _cut(paragraph)
    literal = _indent(lines[end - 1]) if paragraph.endswith("::") else None
    rest = [paragraph[len(sentence) :], *_paragraphs(lines[end:], literal)]
    return _printable(sentence), "\n\n".join(filter(None, map(_printable, rest)))


def _paragraphs(lines: Iterable[str], literal: int | None) -> Iterator[str]:
    """Paragraphs and items of lists, without examples, code, literal blocks, rulers and mere markup.

    A label of what is left out ("Example:") goes with it. literal: a block that is indented by more than that
    begins with the first line.
    """
    held: list[str] = []
    label = ""
    example = False
    for line in [*lines, ""]:
        said = line.strip()
        if literal is not None and said and _indent(line) <= literal:
            literal = None
        example = (example and bool(said)) or said.startswith(">>>")
        block = bool(said) and (example or literal is not None)
        ends = not said or block or _RULER.fullmatch(said) is not None
        if held and (ends or _ITEM.match(said)):
            paragraph = _plain(" ".join(line.strip() for line in held))
            if not _ITEM.match(paragraph) and _is_code("\n".join(held)):
                label = ""
            else:
                yield from filter(None, [label])
                label = ""
                if paragraph.endswith(":") and len(paragraph.split()) <= LABEL_WORDS:
                    label = paragraph
                else:
                    yield re.sub("::$", ":", paragraph)
            held = []
        if block:
            label = ""
        if ends or _DIRECTIVE.fullmatch(said) or (not held and _SIGNATURE.fullmatch(said)):
            continue
        if said.endswith("::"):
            literal = _indent(line)
        held.append(line)
    if label and not label.endswith("::"):
        yield label


def _is_code(text: str) -> bool:
    """Whether a paragraph is Python and not just one word of it. Code is seldom marked as such."""
    try:
        body = parse(textwrap.dedent(text + ("pass" if text.endswith(":") else ""))).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return not (len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Name))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _printable(text: str) -> str:
    """An escape in a docstring can stand for half a character or a control character."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text.encode(errors="replace").decode()).split())


def _without_signatures(text: str, name: str) -> str:
    """Drops leading lines such as `S.find(sub) -> int` or `b(reak) [line]` (a command's synopsis).

    Keeps what is said behind `--`, and behind a `->` that gives more than a type or an example.
    """
    while True:
        text = text.lstrip()
        line, _, below = text.partition("\n")
        if not re.search(r"\w", line) and below:
            text = below
            continue
        if _ASSIGNED_CALL.match(line) or _is_synopsis(line, below.lstrip(), name):
            text = below
            continue
        match = re.match(r"(?:[\w.\[\]]+\.)?(\w+)\(", text)
        end = _closing(text, match.end() - 1) if match else -1
        if match is None or end < 0:
            return text
        said = re.match(r"\s*(->|=>)\s*|[ \t]*(--|-|:)[ \t]+(?=\S)", text[end:])
        if said is None:
            rest, _, below = text[end:].partition("\n")
            if rest.strip() not in ("", ".", ":"):
                return text
            text = below
        elif said.group(1):
            value = re.sub(r"^\w+ --? ", "", text[end + said.end() :])
            closed = _closing(value, 0) if value.startswith("(") else 0
            line, _, below = value[max(closed, 0) :].partition("\n")
            if closed > 0 or value[:1] in "[{\"'" or (len(line.split()) <= 4 and not line.endswith(",")):
                text = below
            else:
                return value
        elif match.group(1) == name:
            text = text[end + said.end() :]
        else:
            return text


def _is_synopsis(line: str, below: str, name: str) -> bool:
    """Whether a line shows how a command is typed, e.g. `b(reak) [line]` of the method do_break."""
    command, _, arguments = line.partition(" ")
    if command.replace("(", "").replace(")", "") != name.removeprefix("do_") or not below:
        return False
    return not arguments.endswith((".", ",")) and (below[0].isupper() or below.startswith(command))


def _closing(text: str, start: int) -> int:
    """Position after the parenthesis that closes the one at `start`, -1 where none does."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        elif text.startswith("\n\n", at):
            return -1
    return -1


def _is_new_start(previous: str, line: str) -> bool:
    """Whether a line begins anew: capitalised, though its first word had room on the line before."""
    first = line.split()[0]
    return first[0].isupper() and len(previous) + 1 + len(first) < 60 and not _DANGLING.search(previous)


def _plain(text: str) -> str:
    """Without reStructuredText roles, literals and emphasis, white space collapsed."""
    text = _ROLE.sub(r"\1", text)
    text = _LITERAL.sub(lambda m: m.group(1) or m.group(2), text)
    text = _EMPHASIS.sub(r"\2", text)
    return " ".join(text.split())


def _cut(text: str) -> str:
    for match in _END.finditer(text):
        head = text[: match.start()]
        rest = text[match.end() :].lstrip()
        if not rest:
            return text
        inside = head.count("(") - head.count(")") - match.group().count(")")
        if inside > 0 and ")" in rest:
            continue
        if match.group().endswith(")") and rest[0].islower():
            continue
        if match.group().startswith("."):
            if _ABBREVIATION.search(head):
                continue
            if head.endswith((".", " etc")) and not rest[0].isupper():
                continue
        return text[: match.end()]
    return text


def words(text: str) -> int:
    """How many words there are, not counting numbers."""
    return len(_WORD.findall(text))


def ends_sentence(text: str) -> int:
    """Where the first sentence of a plain text ends."""
    return len(_cut(text))


def defect(sentence: str) -> str | None:
    """Why a sentence is no query (a key of `counts`), or None."""
    if not sentence:
        return "docstring_without_sentence"
    if _MEANINGLESS.match(sentence):
        return "docstring_meaningless"
    if words(sentence) < LEAST_WORDS:
        return "docstring_too_short"
    return None
