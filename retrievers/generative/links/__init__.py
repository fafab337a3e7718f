"""Links between documents, and what CorpusBrain learns from them: hyperlink pairs (HIP) and lists of titles.

Four forms of link are read. In metadata, under the key `links` or `anchors` (or the one named):

    {"links": [{"target": "d7", "text": "Lima"}]}                        a docid or a title, and the anchor's text
    {"links": [{"target": "Lima", "text": "Lima", "start": 4, "end": 8}]}        characters of the text
    {"anchors": [{"paragraph_id": 1, "start": 4, "end": 8, "text": "Lima", "href": "Lima",
                  "wikipedia_id": "7", "wikipedia_title": "Lima"}]}      KILT's: characters of that paragraph

and, in a document without such a list, in the text:

    near [[Lima]] and [[Lima|the capital]]                               wiki markup
    near <a href="/wiki/Lima">the capital</a>                            HTML

An anchor without offsets is its text's first occurrence. Paragraphs are those of the metadata key `paragraphs` (a list
of strings; KILT's own name for it, `text`, is taken too) where an anchor gives a `paragraph_id`; else pieces of the
text between blank lines, or between line ends where it has no blank line, or between <p> tags where it has those.
Empty pieces are not counted.

A target is resolved by id, then (HTML) by the metadata key `url`, then by exact title, then by title whatever the case
of its first letter, as Wikipedia does. A title that several documents have resolves to none of them. Redirects are not
known, so a link to one is unresolved. Only whole agreement counts: nothing is guessed.

Method: Chen et al., "CorpusBrain" (CIKM 2022), section 3; numbers as in its published preprocessing.
"""

from seekbench.retrievers.generative.links.corpus import DROPPED, Links
from seekbench.retrievers.generative.links.documents import FORMS
from seekbench.retrievers.generative.links.markup import plain
from seekbench.retrievers.generative.links.pairs import anchor_texts, hip, title_list

__all__ = ["DROPPED", "FORMS", "MODULES", "Links", "anchor_texts", "hip", "plain", "title_list"]

#: Code that finds links: part of the key of an index.
MODULES = (
    __name__,
    *(f"{__name__}.{name}" for name in ("corpus", "documents", "markup", "pairs", "reading", "resolving")),
)
