"""Names of model families: `model: {type: vector | encoder | checkpoint, ...}`."""

from __future__ import annotations

from typing import cast

from seekbench.retrievers.dense import Dense
from seekbench.retrievers.generative.models.base import Family
from seekbench.retrievers.generative.models.checkpoint import CheckpointFamily, CheckpointParams
from seekbench.retrievers.generative.models.encoder import EncoderFamily, EncoderParams
from seekbench.retrievers.generative.models.vector import VectorFamily, VectorParams

ModelParams = VectorParams | EncoderParams | CheckpointParams

#: Code that makes and runs models: part of the key of an index.
MODULES = (
    "seekbench.retrievers.generative.models",
    *(
        f"seekbench.retrievers.generative.models.{name}"
        for name in (
            "base", "checkpoint", "checkpoint_model", "decoder", "encoder", "encoder_model", "family",
            "pretrained", "text_checkpoint", "token_inputs", "vector", "vector_model",
        )
    ),
)  # fmt: skip


def family_of(params: ModelParams, dense: Dense) -> Family:
    """dense: the retriever's frozen encoder, which `vector` reads and `encoder` starts from by default."""
    if isinstance(params, VectorParams):
        return cast(Family, VectorFamily(params, dense))
    if isinstance(params, EncoderParams):
        return cast(Family, EncoderFamily(params, dense))
    return cast(Family, CheckpointFamily(params))
