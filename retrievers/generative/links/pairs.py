"""What CorpusBrain learns from links: hyperlink pairs (HIP) and lists of titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from seekbench.collection import IntArray, Records
from seekbench.errors import InputError
from seekbench.retrievers.generative.links.corpus import Links
from seekbench.retrievers.generative.links.documents import HTML, Document, blocks, documents
from seekbench.retrievers.generative.links.markup import plain
from seekbench.retrievers.generative.pairs import count_words


def anchor_texts(records: Records, links: Links) -> list[str]:
    """The anchors of all links as they stand in the documents, in the order of `links`."""
    out: list[str] = []
    for document, at in _linking(records, links):
        for i in at:
            paragraph = document.paragraphs(int(links.form[i]))[int(links.paragraph[i])]
            out.append(paragraph[int(links.start[i]) : int(links.end[i])])
    return out


def hip(
    records: Records, links: Links, *, seed: int, per_document: int = 3, least_words: int = 4
) -> tuple[IntArray, list[str]]:
    """CorpusBrain's hyperlink pairs: (target row int64 [pairs], text [pairs]).

    Of each document up to `per_document` anchors, drawn at random without replacement, in the order of the text. The
    text is the anchor's paragraph between the nearest ones before and after that count, without markup; the target is
    the linked document. Paragraphs that do not count, neither for anchors nor as neighbours: those of fewer than
    `least_words` words, the title itself, and KILT's markup (`::::`, headings and bullets). Of several anchors to the
    same target in one paragraph the first is taken. The draw depends on the seed and the document's row alone.

    Differs from the published preprocessing, which leaves out anchors without a neighbour on both sides (and so every
    document of one or two paragraphs): here a missing neighbour is missing.
    """
    _check(seed=seed, per_document=per_document)
    rows: list[int] = []
    texts: list[str] = []
    for document, at in _linking(records, links):
        title = " ".join(document.title.split())
        cleaned: dict[bool, list[str]] = {}
        distinct: dict[tuple[int, int], tuple[int, bool]] = {}
        is_html = bool((links.form[at] == HTML).any())
        for i in at.tolist():
            form, paragraph = int(links.form[i]), int(links.paragraph[i])
            listed = document.is_listed(form)
            if listed not in cleaned:
                cleaned[listed] = [
                    _counting(plain(p, entities=is_html), title, least_words)
                    for p in document.paragraphs(form)
                ]
            if cleaned[listed][paragraph]:
                distinct.setdefault((paragraph, int(links.target[i])), (i, listed))
        eligible = list(distinct.values())
        if len(eligible) > per_document:
            rng = np.random.default_rng([seed, document.row])
            kept = np.sort(rng.choice(len(eligible), size=per_document, replace=False))
            eligible = [eligible[k] for k in kept.tolist()]
        for i, listed in eligible:
            rows.append(int(links.target[i]))
            texts.append(_with_neighbours(cleaned[listed], int(links.paragraph[i])))
    return np.array(rows, dtype=np.int64), texts


def title_list(
    links: Links,
    rows: IntArray,
    *,
    seed: int,
    weights: Sequence[float] = (70, 20, 5, 3, 2),
    numbers: IntArray | None = None,
) -> tuple[IntArray, IntArray]:
    """CorpusBrain's targets of several titles: (indptr int64 [examples + 1], document rows int64).

    rows: int64 [examples], the document that each example is of. Its targets are that document, then as many distinct
    documents that it links as are drawn with `weights` (of 0, 1, 2, ... of them), at most all: drawn at random, in the
    order in which they are first linked. numbers: int64 [examples], which example of its document each is, from 0; by
    default the order in `rows`. An example's targets depend on seed, row and number alone.
    """
    _check(seed=seed)
    share = np.asarray(weights, dtype=np.float64)
    if (
        share.ndim != 1
        or not len(share)
        or not np.isfinite(share).all()
        or (share < 0).any()
        or not share.sum()
    ):
        raise InputError(
            f"weights of title lists are {list(weights)}",
            remedy="numbers >= 0, not all 0, e.g. 70, 20, 5, 3, 2",
        )
    rows = np.asarray(rows, dtype=np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= links.documents):
        raise InputError(f"rows of title lists lie outside the corpus of {links.documents} documents")
    bounds = np.cumsum(share) / share.sum()
    # The last bound may be rounded to below 1, and zero weights at the end must stay impossible.
    bounds[np.flatnonzero(share)[-1] :] = 1.0
    if numbers is not None and (len(numbers) != len(rows) or (len(rows) and np.min(numbers) < 0)):
        raise InputError("numbers of title lists must be one a row, from 0")
    order = np.argsort(rows, kind="stable")
    found, first = np.unique(rows[order], return_index=True)
    ends = np.append(first, len(rows))[1:]
    more: dict[int, list[int]] = {}
    for row, low, high in zip(found.tolist(), first.tolist(), ends.tolist(), strict=True):
        linked = list(dict.fromkeys(links.target[links.indptr[row] : links.indptr[row + 1]].tolist()))
        if not linked:
            continue
        examples = order[low:high]
        number = np.arange(high - low) if numbers is None else np.asarray(numbers, dtype=np.int64)[examples]
        # So many numbers an example whatever is drawn, so that each example has its own.
        rng = np.random.default_rng([seed, row, 1])
        draws = rng.random((int(number.max()) + 1, len(share)))[number]
        counts = np.minimum(np.searchsorted(bounds, draws[:, 0], side="right"), len(linked))
        for i in np.flatnonzero(counts).tolist():
            left = list(range(len(linked)))
            chosen = sorted(left.pop(int(u * len(left))) for u in draws[i, 1 : 1 + counts[i]].tolist())
            more[int(examples[i])] = [linked[c] for c in chosen]
    sizes = np.ones(len(rows), dtype=np.int64)
    for example, extra in more.items():
        sizes[example] += len(extra)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    docs = np.empty(int(indptr[-1]), dtype=np.int64)
    docs[indptr[:-1]] = rows
    for example, extra in more.items():
        docs[indptr[example] + 1 : indptr[example + 1]] = extra
    return indptr, docs


def _counting(paragraph: str, title: str, least_words: int) -> str:
    """The paragraph, or "" where it is no paragraph to learn from."""
    if "::::" in paragraph or paragraph == title or count_words(paragraph) < least_words:
        return ""
    return paragraph


def _with_neighbours(paragraphs: list[str], at: int) -> str:
    before = next((p for p in reversed(paragraphs[:at]) if p), "")
    after = next((p for p in paragraphs[at + 1 :] if p), "")
    return " ".join(p for p in (before, paragraphs[at], after) if p)


def _check(*, seed: int, per_document: int = 1) -> None:
    if seed < 0:
        raise InputError(f"the seed of links is {seed}", remedy="an integer >= 0")
    if per_document < 1:
        raise InputError(f"anchors per document are {per_document}", remedy="an integer >= 1")


def _linking(records: Records, links: Links) -> Iterator[tuple[Document, IntArray]]:
    """The documents that have links, and the places of these in `links`."""
    if len(records) != links.documents:
        raise InputError(f"links of {links.documents} documents, but the corpus has {len(records)}")
    for start, stop in blocks(len(records)):
        low, high = links.indptr[start], links.indptr[stop]
        if low == high:
            continue
        for document in documents(records, np.unique(links.doc[low:high]), start):
            yield document, np.arange(links.indptr[document.row], links.indptr[document.row + 1])
