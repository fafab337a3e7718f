"""Numbers for added documents: atomic, naive, random and sequential."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from seekbench.errors import InputError
from seekbench.retrievers.generative.docids.extend_parts import Grown, added_texts, foreign
from seekbench.retrievers.generative.docids.inputs import BuildInputs
from seekbench.retrievers.generative.docids.sequences import Docids


def atomic(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """New symbols."""
    return Grown(builder.build(inputs))


def naive(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """The numbers of the builder, which must be those of known documents, too."""
    made = builder.build(inputs)
    row = _first_difference(known, made)
    if row is not None:
        raise foreign(known, f"{builder.params.of} gives {made.names([row])[0]!r}", row)
    return Grown(made)


def _first_difference(known: Docids, made: Docids) -> int | None:
    assert known.texts is not None
    assert made.texts is not None
    differ = np.asarray(pc.not_equal(known.texts, made.texts.slice(0, len(known))))
    return int(np.argmax(differ)) if differ.any() else None


def random(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """Numbers that nobody has, of as many digits."""
    names = known.names()
    taken, digits = set(names), len(names[0])
    if builder.params.digits not in (None, digits):
        raise foreign(known, f"number would have {builder.params.digits} digits", 0)
    if inputs.documents > 10**digits:
        raise InputError(
            f"{inputs.documents} documents have no distinct numbers of {digits} digits",
            remedy="build docids for all of them anew, with larger `digits`",
        )
    added = []
    for row in range(known.documents, inputs.documents):
        # Each row draws from its own numbers, so they do not depend on the step in which it came.
        rng, drawn, most = np.random.default_rng([builder.params.seed, row + 1]), "", 4
        while not drawn:
            some = (f"{number:0{digits}d}" for number in rng.integers(10**digits, size=most).tolist())
            drawn, most = next((name for name in some if name not in taken), ""), min(most * 2, 1 << 16)
        taken.add(drawn)
        added.append(drawn)
    return Grown(added_texts(known, added))


def sequential(known: Docids, builder: Any, inputs: BuildInputs) -> Grown:
    """The next numbers, in the order of the builder's walk."""
    first, start = known.documents, builder.params.start
    assert known.texts is not None
    given = {str(number) for number in range(start, start + first)}
    odd = next((row for row, name in enumerate(known.names()) if name not in given), None)
    if odd is not None:
        raise foreign(known, f"number would be one of {start} to {start + first - 1}", odd)
    order, facts = builder.walk(inputs)
    number = np.empty(inputs.documents, dtype=np.int64)
    number[order[order >= first]] = np.arange(start + first, start + inputs.documents)
    return Grown(added_texts(known, [str(one) for one in number[first:].tolist()]), facts)
