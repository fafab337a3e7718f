"""Vectors of texts by a frozen encoder, made once for all systems that need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.dense import Dense
from seekbench.retrievers.dense.encode import Encoded
from seekbench.retrievers.protocol import Context, TextView


def embedded(
    dense: Dense, texts: TextView, side: str, folder: Path, *, context: Context
) -> tuple[npt.NDArray[np.float32], Mapping[str, Any]]:
    """(float32 [texts, dim], mapped; facts of the encoding).

    They come from the store where there is one: those of a corpus are the index of the dense retriever of the same
    encoder. Without a store they are kept in `folder`, which an interrupted call continues. side: `document`, or
    `query` for texts that stand for queries, which get the encoder's query prompt.
    """
    encoder = dense if side == "document" else _for_queries(dense, context)
    if context.shared is not None:
        folder, facts = context.shared("dense", encoder, texts)
    else:
        facts = encoder.index(texts, folder, context=context)
    vectors: npt.NDArray[np.float32] = np.load(folder / "vectors.npy", mmap_mode="r")
    return vectors, facts


class _AsQueries(Dense):
    """An encoder that takes documents as queries: their prompt, and their way through a model that has two."""

    def encode(
        self, texts: list[str], side: str, advance: Callable[[int], None], context: Context
    ) -> Encoded:
        return super().encode(texts, "query", advance, context)

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        return {**super().identity(context=context), "side": "query"}


def _for_queries(dense: Dense, context: Context) -> Dense:
    """The encoder itself where it treats both sides alike, so that its vectors are shared."""
    recipe = dense.checkpoint(context).recipe
    routed = any("Router" in kind or "Asym" in kind for kind, _ in recipe.modules)
    if recipe.prompt("query") == recipe.prompt("document") and not routed:
        return dense
    return _AsQueries(dense.params)
