"""What docids look like before a model is trained on them: collisions, lengths, balance, parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from seekbench.retrievers.generative.docids.sequences import Docids, Encode, group


def report(
    docids: Docids,
    *,
    encode: Encode | None = None,
    cut: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
    width: int | None = None,
) -> dict[str, Any]:
    """JSON facts about docids.

    encode: the model's tokenizer; with it, texts are measured in tokens and compared as such (a tokenizer may make
    two texts equal). cut: the same done before, (tokens, indptr) of all docids. width: the model's, for the
    parameters that docid symbols cost.

    docids, documents, distinct; per_document {min, mean, max};
    collisions: `documents` that share a docid with another one, `without_own` docid that is theirs alone, `docids`
    so shared, the `largest` group of documents, `rate` = 1 - distinct/docids (LC-Rec's collision rate);
    lengths {unit, min, mean, max}; levels: for each position of codes (or tokens) the docids that reach it,
    distinct symbols `used` there, `entropy` in bits, `balance` = entropy over that of equally used symbols of
    the level's space (1 = all used equally; for tokens: of those used), and the `largest` share;
    parameters: `symbols`, and times width, `table`.
    """
    tokens: npt.NDArray[Any] | None = None
    indptr: npt.NDArray[Any] | None = None
    if cut is not None:
        tokens, indptr = cut
    elif docids.kind == "codes" or encode is not None:
        tokens, indptr = docids.sequences(encode)
    groups = (
        docids.groups if docids.kind == "codes" or tokens is None or indptr is None else group(tokens, indptr)
    )
    facts: dict[str, Any] = {
        "builder": docids.builder,
        "kind": docids.kind,
        "documents": docids.documents,
        "docids": len(docids),
        "distinct": int(groups.max(initial=-1)) + 1,
        "per_document": _spread(np.bincount(docids.doc, minlength=docids.documents)),
        "collisions": _collisions(docids, groups),
        "parameters": {
            "symbols": docids.symbols,
            "width": width,
            "table": None if width is None else docids.symbols * width,
        },
    }
    if tokens is None or indptr is None:
        assert docids.texts is not None
        lengths = np.asarray(pc.utf8_length(docids.texts))
        return {**facts, "lengths": {"unit": "characters", **_spread(lengths)}, "levels": []}
    unit = "codes" if docids.kind == "codes" else "tokens"
    facts["lengths"] = {"unit": unit, **_spread(np.diff(indptr))}
    facts["levels"] = _levels(docids, tokens, indptr)
    return facts


def _spread(values: npt.NDArray[Any]) -> dict[str, float]:
    return {"min": int(values.min()), "mean": float(values.mean()), "max": int(values.max())}


def _collisions(docids: Docids, groups: npt.NDArray[np.int64]) -> dict[str, Any]:
    # A document that carries a docid twice does not collide with itself.
    pairs = np.unique(groups * np.int64(docids.documents) + docids.doc)
    number, doc = np.divmod(pairs, docids.documents)
    members = np.bincount(number)
    shared = members[number] > 1
    own = np.zeros(docids.documents, dtype=np.bool_)
    own[doc[~shared]] = True
    return {
        "documents": len(np.unique(doc[shared])),
        "without_own": int((~own).sum()),
        "docids": int((members > 1).sum()),
        "largest": int(members.max()),
        "rate": 1 - len(members) / len(pairs),
    }


def _levels(docids: Docids, tokens: npt.NDArray[Any], indptr: npt.NDArray[Any]) -> list[dict[str, Any]]:
    lengths = np.diff(indptr)
    levels = []
    for at in range(int(lengths.max())):
        here = tokens[indptr[:-1][lengths > at] + at]
        used, counts = np.unique(here, return_counts=True)
        shares = counts / counts.sum()
        # 0.0 - x: no minus zero where one symbol has all
        entropy = float(0.0 - (shares * np.log2(shares)).sum())
        size = len(used)
        if docids.kind == "codes":
            spaces = np.unique(np.searchsorted(docids.space_start, used, side="right") - 1)
            size = sum(docids.spaces[s].size for s in spaces)
        levels.append(
            {
                "docids": len(here),
                "used": len(used),
                "size": size,
                "entropy": entropy,
                "balance": entropy / float(np.log2(size)) if size > 1 else 1.0,
                "largest": float(shares.max()),
            }
        )
    return levels
