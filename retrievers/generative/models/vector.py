"""A small decoder of docids on the vector of a frozen sentence encoder.

The encoder's vectors of all training texts are computed once, so a step of training costs the decoder alone: real runs
on a CPU. The vector is projected to a few memory slots, which the decoder attends to.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from seekbench.collection import Records
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import Dense
from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.generative.embedding import embedded
from seekbench.retrievers.generative.models.base import DocidTokens, Side
from seekbench.retrievers.protocol import Context, TextView

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.vector_model import VectorModel

_WEIGHTS = "model.pt"


class VectorParams(protocol.Params):
    """Fields of `model: {type: vector}`."""

    type: Literal["vector"] = "vector"
    width: int = Field(256, ge=8, description="of the decoder")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    slots: int = Field(4, ge=1, description="memory vectors that are made of a sentence vector")
    dropout: float = Field(0.1, ge=0, lt=1)
    noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of noise on the input vectors in training, relative to their length",
    )
    docid_tokens: Literal["auto", "characters", "wordpieces"] = Field(
        "auto", description="how text docids are cut; auto: numbers into digits, other texts into word pieces"
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        return self


class VectorInputs:
    """vectors: float32 [texts, dim], mapped or in memory."""

    def __init__(self, vectors: npt.NDArray[np.float32], seconds: float = 0.0) -> None:
        self.vectors, self.seconds = vectors, seconds

    def __len__(self) -> int:
        return len(self.vectors)

    def batch(self, rows: npt.NDArray[np.int64]) -> Any:
        import torch

        return torch.from_numpy(np.asarray(self.vectors[rows]))


class VectorFamily:
    """See `base.Family`. dense: the encoder, shared with who else embeds texts for the same retriever."""

    def __init__(self, params: VectorParams, dense: Dense) -> None:
        self.params, self.dense = params, dense

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        return {"versions": {"torch": version("torch")}}

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        return {}

    def release(self) -> None:
        """The encoder is the retriever's."""

    def tokens(self, docids: Docids, *, lists: bool, context: Context) -> DocidTokens:
        from seekbench.retrievers.generative.models import decoder

        how = self.params.docid_tokens
        if how == "auto":
            how = "characters" if docids.builder in decoder.NUMBERS else "wordpieces"
        if how == "characters" or docids.kind != "text":
            return decoder.dense_tokens(docids, None, lists=lists)
        tokenizer = self.dense.encoder(context).model.tokenizer
        return decoder.dense_tokens(
            docids, lambda texts: list(tokenizer(texts, add_special_tokens=False)["input_ids"]), lists=lists
        )

    def inputs(self, texts: list[str], side: Side, folder: Path | None, *, context: Context) -> VectorInputs:
        if folder is None:
            return VectorInputs(self.dense.encode(texts, side, lambda n: None, context).vectors)
        records = Records(pa.table({"id": pa.array(map(str, range(len(texts))), pa.string()), "text": texts}))
        vectors, facts = embedded(self.dense, TextView(records, "{text}"), side, folder, context=context)
        return VectorInputs(vectors, float(facts.get("encode_seconds") or 0.0))

    def make(self, tokens: DocidTokens, longest: int, *, seed: int, context: Context) -> VectorModel:
        import torch

        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.vector_model import VectorModel

        torch.manual_seed(seed)
        dim = self.dense.encoder(context).recipe.dim
        assert dim is not None  # known once the model is loaded
        return VectorModel(self.params, dim, tokens.vocabulary, longest).to(pick_device(context.device))

    def grown(
        self,
        model: VectorModel,
        known: DocidTokens,
        tokens: DocidTokens,
        longest: int,
        *,
        seed: int,
        context: Context,
    ) -> VectorModel:
        made = self.make(tokens, longest, seed=seed, context=context)
        made.memory.load_state_dict(model.memory.state_dict())
        made.memory_norm.load_state_dict(model.memory_norm.state_dict())
        made.decoder.take_over(model.decoder, known, tokens)
        return made

    def save(self, model: VectorModel, folder: Path) -> None:
        import torch

        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"dim": model.dim, "weights": model.state_dict()}, folder / _WEIGHTS)

    def load(self, folder: Path, tokens: DocidTokens, longest: int, *, context: Context) -> VectorModel:
        import torch

        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.vector_model import VectorModel

        saved = torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True)
        model = VectorModel(self.params, saved["dim"], tokens.vocabulary, longest)
        model.load_state_dict(saved["weights"])
        return model.to(pick_device(context.device)).eval()
