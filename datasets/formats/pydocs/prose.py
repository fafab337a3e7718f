"""The variant `prose`: a document is what a docstring says below its first sentence.

Of modules and classes as well as functions. It is retrieval of prose by prose, like abstracts by titles: each
query has a known item, which need not repeat its words.

- A document has at least LEAST_REST words. Below that it is "See also PEP 8." or "Returns None.", of which
  many answer a sentence as well as the right one does.
- A docstring without a usable first sentence is a document nevertheless where its rest is long enough: a
  distractor of the very same kind. One that is but a sentence is none: it would be a query among documents,
  often nearer to other queries than their answers are, and whether it answers them nobody has judged.
- A sentence counts towards boilerplate wherever it stands, also where nothing is said below it.
- A sentence of the rest that begins with the query is cut, or finding it would be a matter of equal strings.
  A query that still stands word for word in any document is none: modules list what their functions say,
  and such a list answers as well as the function does.
- A heading that is the name and nothing else is no sentence.
- Examples, code, literal blocks and signatures are cut (see `docstrings`): the task is prose.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

from seekbench.datasets.formats.pydocs import docstrings
from seekbench.datasets.formats.pydocs.collection import Definition
from seekbench.datasets.formats.pydocs.library import definitions, parse

#: Fewer words below the first sentence than this are no description.
LEAST_REST = 12

#: Keys of `Extraction.counts` besides those that all variants have.
COUNTED = (
    "without_rest",  # the docstring is but a sentence
    "rest_too_short",
    "rest_without_repetition",  # held the first sentence again, which was cut
    "documents_without_sentence",  # distractors
    "sentences_in_a_document",  # word for word
)


def descriptions(text: str, prefix: tuple[str, ...] = ()) -> Iterator[Definition]:
    """A module, and the public classes, functions and methods in it. Raises what ast.parse raises."""
    tree = parse(text)
    if prefix:
        yield _described(prefix, 1, ast.get_docstring(tree, clean=False))
    for names, node in definitions(tree.body, prefix):
        yield _described(names, node.lineno, ast.get_docstring(node, clean=False))


def _described(names: tuple[str, ...], line: int, docstring: str | None) -> Definition:
    name = ".".join(names)
    if docstring is None:
        return Definition(name, line, None, "", ("without_docstring",))
    docstring = inspect.cleandoc(docstring)
    heading, _, below = docstring.partition("\n")
    if heading in (name, names[-1]):
        docstring = below
    sentence, said = docstrings.split(docstring, names[-1])
    rest = without_repetition(said, sentence)
    left_out = []
    if rest != said:
        left_out.append("rest_without_repetition")
    why = docstrings.defect(sentence)
    if why:
        left_out.append(why)
    if docstrings.words(rest) < LEAST_REST:
        left_out.append("rest_too_short" if rest else "without_rest")
        return Definition(name, line, None, "" if why else sentence, tuple(left_out))
    if why:
        left_out.append("documents_without_sentence")
    return Definition(name, line, rest, "" if why else sentence, tuple(left_out))


def without_repetition(rest: str, sentence: str) -> str:
    """The rest without those of its sentences that begin with the words of `sentence`, in any case."""
    said = sentence.rstrip(".!?: ")
    if not said:
        return rest
    begins = re.compile(rf"(?:^|(?<=[.!?:] )){re.escape(said)}(?!\w)", re.IGNORECASE)
    paragraphs = []
    for paragraph in rest.split("\n\n"):
        kept = paragraph
        while match := begins.search(kept):
            end = match.start() + docstrings.ends_sentence(kept[match.start() :])
            kept = " ".join((kept[: match.start()] + kept[end:]).split())
        paragraphs.append(kept)
    return "\n\n".join(filter(None, paragraphs))
