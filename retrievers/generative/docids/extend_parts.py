"""What the extensions of all builders use: their result, the state of known docids, errors, added texts.

An extension is a function of the known docids, their builder (with its parameters) and the inputs of the whole corpus.
It returns `Grown`, docids of all documents; `extend.extend` says what they are and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seekbench.errors import InputError
from seekbench.retrievers.generative.docids.inputs import Ints
from seekbench.retrievers.generative.docids.sequences import Docids


@dataclass(frozen=True)
class Grown:
    """What the extension of one builder made, before it is checked. facts: of this step."""

    docids: Docids
    facts: dict[str, Any] = field(default_factory=dict)


def state_of(known: Docids, *names: str) -> Mapping[str, npt.NDArray[Any]]:
    """The builder's arrays. Raises InputError where the docids came without."""
    if any(name not in known.state for name in names):
        raise InputError(
            f"these docids '{known.builder}' hold no {', '.join(names)}, by which documents would be placed",
            remedy="build the known documents' docids again, which saves them",
        )
    return known.state


def foreign(known: Docids, what: str, row: int) -> InputError:
    """The error of a known document whose docid these inputs and parameters do not give. what: goes on after `its`."""
    return InputError(
        f"docids '{known.builder}': document {row} has the docid {known.names([row])[0]!r}, and its {what}",
        remedy="give the documents in the order and the parameters with which the docids were built",
    )


def added_texts(known: Docids, names: Sequence[str], doc: Ints | None = None) -> Docids:
    """The known texts and then these; doc: their rows, where it isn't one docid a document."""
    assert known.texts is not None
    texts = pa.concat_arrays([known.texts, pa.array(names, pa.large_string())])
    if doc is None:
        doc = np.arange(known.documents, known.documents + len(names), dtype=np.int64)
    documents = max(known.documents, int(doc.max(initial=-1)) + 1)
    return Docids.of_texts(
        known.builder, texts, doc=np.concatenate([known.doc, doc]), documents=documents, state=known.state
    )
