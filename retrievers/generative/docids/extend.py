"""Docids for a corpus that grows: documents that are added get docids, and those that are known keep theirs.

Documents are placed one after another in the order of their rows, by what was built and by the documents before
them. A docid therefore does not depend on which documents come later, and two steps give what one gives. (Only
`sequential` along training histories numbers the documents of a step in the order of a walk through all of them.)
What decides is computed in float64 for each document by itself, so neither the size of a step nor the number of
threads changes a docid.

A name never changes. Where a space of symbols needs more of them it grows at its end, and the numbers of later
symbols move: a model that is trained further carries its embeddings over by `Docids.symbol_names`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seekbench.errors import InputError
from seekbench.retrievers.generative.docids.extend_codes import pq, rqvae
from seekbench.retrievers.generative.docids.extend_collaborative import collaborative
from seekbench.retrievers.generative.docids.extend_numbers import atomic, naive, random, sequential
from seekbench.retrievers.generative.docids.extend_parts import Grown, state_of
from seekbench.retrievers.generative.docids.extend_semantic import semantic
from seekbench.retrievers.generative.docids.extend_texts import description, ngram, titles
from seekbench.retrievers.generative.docids.hybrid import origins
from seekbench.retrievers.generative.docids.inputs import BuildInputs
from seekbench.retrievers.generative.docids.registry import make
from seekbench.retrievers.generative.docids.sequences import Docids, Space, packed, unpacked


def extend(known: Docids, builder_name: str, params: Mapping[str, Any] | None, inputs: BuildInputs) -> Docids:
    """Docids of a grown corpus, of which `known` names the first documents.

    known: docids that `build` (or `extend`) made with this builder and these parameters, from memory or from
    files. inputs: the whole corpus, known.documents rows of known documents in their order, then those that are
    added. Vectors, interactions and queries cover all rows, too.

    Every known docid keeps its text or the names of its symbols. Added documents are named as the method would:

    - atomic: new symbols. naive, sequential: the next numbers. random: numbers that nobody has.
    - title, url, description: their own text; equal ones are told apart as the builder does, but never by
      changing a text that is given. ngram: n-grams that are frequent in the document and rare in those before it.
    - semantic, semantic_2d: the nearest centre on each level, then the next number in the leaf. No leaf is
      divided: one that is full goes on counting with new symbols, so no docid continues another.
    - collaborative: on each level the cluster with most co-occurrences with documents before it, then the next
      number. Without any: the node's rest cluster, which is made where there is none yet.
    - pq: nearest codewords. rqvae: nearest codes of the saved network; where an earlier document has these, the
      nearest last code that is free (the builder divides such groups by Sinkhorn, which would move known
      documents). What still collides is counted in the last digit, whose first place grows; where known docids
      have no such digit, only added documents get one, and their docids continue those of known ones.
    - hybrid: part by part.

    The facts gain one entry of `extensions`: documents `known` and `added`; `in_known_leaves`, added documents in
    a leaf (or under codes) that known ones have, None for methods without leaves; `collisions`, added documents
    that have no docid of their own but share those of earlier ones; `symbols`, how many are new; and what the
    method adds.

    Raises InputError where the builder is another one or cannot be extended, the corpus has become smaller, an
    input is missing, or the inputs do not agree with the known docids.
    """
    if builder_name != known.builder:
        raise InputError(
            f"docids '{known.builder}' can't be extended as '{builder_name}'",
            remedy=f"extend them as '{known.builder}', or build '{builder_name}' for the whole corpus",
        )
    if inputs.documents < known.documents:
        raise InputError(
            f"{known.documents} documents have docids, and the corpus has {inputs.documents}",
            remedy="give known and added documents together; docids of removed documents can only be built anew",
        )
    builder = make(builder_name, params)
    if builder_name not in _EXTENDERS:
        raise InputError(
            f"docids '{builder_name}' can't be extended",
            remedy=f"build them for the whole corpus, or use one of {', '.join(_EXTENDERS)}",
        )
    grown = _EXTENDERS[builder_name](known, builder, inputs)
    made = grown.docids
    made.check()
    if not _kept(known, made):
        raise InputError(
            f"docids '{builder_name}' of known documents are not what these parameters give",
            remedy="extend with the parameters they were built with",
        )
    step = {
        "known": known.documents,
        "added": inputs.documents - known.documents,
        "in_known_leaves": None,
        "collisions": _collisions(known, made),
        "symbols": made.symbols - known.symbols,
        **grown.facts,
    }
    facts = {**known.facts, "extensions": [*known.facts.get("extensions", []), step]}
    return dataclasses.replace(made, facts=facts)


def _kept(known: Docids, made: Docids) -> bool:
    """Whether the first docids are those that are known, by name."""
    docids = len(known)
    if known.kind != made.kind or not np.array_equal(known.doc, made.doc[:docids]):
        return False
    if known.texts is not None:
        assert made.texts is not None
        return bool(known.texts.equals(made.texts.slice(0, docids)))
    assert known.tokens is not None
    assert known.indptr is not None
    assert made.tokens is not None
    assert made.indptr is not None
    where = {space.name: at for at, space in enumerate(made.spaces)}
    moved = np.zeros(len(known.spaces), dtype=np.int64)
    for at, space in enumerate(known.spaces):
        if space.name not in where or made.spaces[where[space.name]].size < space.size:
            return False
        moved[at] = made.space_start[where[space.name]] - known.space_start[at]
    of = np.searchsorted(known.space_start, known.tokens, side="right") - 1
    return np.array_equal(known.indptr, made.indptr[: docids + 1]) and np.array_equal(
        known.tokens + moved[of], made.tokens[: len(known.tokens)]
    )


def _collisions(known: Docids, made: Docids) -> int:
    """Added documents all of whose docids an earlier document has."""
    groups = made.groups
    earliest = np.full(int(groups.max(initial=-1)) + 1, made.documents, dtype=np.int64)
    np.minimum.at(earliest, groups, made.doc)
    own = np.zeros(made.documents, dtype=np.bool_)
    own[made.doc[earliest[groups] == made.doc]] = True
    return int((~own[known.documents :]).sum())


def _hybrid(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    parts = []
    for number, part in enumerate(builder.params.parts):
        state_of(known, f"part{number}.indptr")
        prefix = f"part{number}."
        arrays = {
            name.removeprefix(prefix): array for name, array in known.state.items() if name.startswith(prefix)
        }
        parts.append(extend(unpacked(part.type, arrays), part.type, part.params, inputs))
    steps = [{"builder": one.builder, **one.facts["extensions"][-1]} for one in parts]
    facts = {"parts": steps}
    state = {f"part{n}.{name}": array for n, one in enumerate(parts) for name, array in packed(one).items()}
    if known.texts is not None:
        return Grown(Docids.of_texts("hybrid", builder.joined_texts(parts), state=state), facts)
    for step in steps[:-1] if builder.params.drop_last else ():
        if step.get("continuing"):
            raise InputError(
                f"docids 'hybrid': with `drop_last`, added documents can't be told by a digit of '{step['builder']}'"
                " that known documents do not have",
                remedy="build docids for all documents anew",
            )
    tokens, indptr, spaces = builder.joined_codes(parts)
    given = {
        (int(part), str(name)): space.name
        for part, name, space in zip(known.state["parts"], known.state["names"], known.spaces, strict=True)
    }
    # A space that is new is called by its part's number, too: no other space is, whatever was added before.
    named = [
        Space(given.get((part, space.name), f"{part}.{space.name}"), space.size) for part, space in spaces
    ]
    made = Docids.of_codes("hybrid", tokens, indptr, named, state={**state, **origins(spaces)})
    return Grown(made, facts)


_EXTENDERS: dict[str, Callable[[Docids, Any, BuildInputs], Grown]] = {
    "atomic": atomic,
    "naive": naive,
    "random": random,
    "sequential": sequential,
    "title": titles,
    "url": titles,
    "ngram": ngram,
    "description": description,
    "semantic": semantic,
    "semantic_2d": semantic,
    "pq": pq,
    "rqvae": rqvae,
    "collaborative": collaborative,
    "hybrid": _hybrid,
}
