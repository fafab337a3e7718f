"""Vectors of texts by a frozen encoder, made once for all systems that need them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.dense import Dense
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


def _for_queries(dense: Dense, context: Context) -> Dense:
    """An encoder that treats documents as queries. Without prompts, or with equal ones, it is the encoder itself."""
    recipe = dense.checkpoint(context).recipe
    if recipe.prompt("query") == recipe.prompt("document"):
        return dense
    return Dense(dense.params.model_copy(update={"document_prompt": recipe.prompt("query")}))
