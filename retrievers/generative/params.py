"""Parameters of `type: generative`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from seekbench.errors import InputError
from seekbench.retrievers import protocol
from seekbench.retrievers.generative.docids import make
from seekbench.retrievers.generative.examples import Input
from seekbench.retrievers.generative.growth import Growth
from seekbench.retrievers.generative.models.family import ModelParams
from seekbench.retrievers.generative.models.vector import VectorParams
from seekbench.retrievers.generative.targets import Lists


class Training(protocol.Params):
    """How the model is trained."""

    steps: int = Field(4000, ge=0, description="steps of the optimiser; 0 takes a checkpoint as it is")
    batch: int = Field(256, ge=1, description="examples a step")
    micro: int = Field(0, ge=0, description="examples that go through the model at once; 0: the whole batch")
    rate: float = Field(1e-3, gt=0, description="highest learning rate")
    warmup: float = Field(0.05, ge=0, description="share of the steps in which the rate rises")
    decay: Literal["linear", "cosine", "constant"] = Field("cosine", description="of the rate after that")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, ge=0, description="of the gradient's norm; 0 for none")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing over the model's vocabulary")
    watched: int = Field(
        256,
        ge=0,
        description="texts held out from training to watch it, at most a tenth of a kind's; none that is all "
        "there is of a document",
    )
    evaluate_every: int = Field(500, ge=1, description="steps between looks at them")
    patience: int = Field(
        0, ge=0, description="looks without a better MRR@10 after which it stops; 0 for never"
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="weights of the index: those after the last step, or of the look with the best MRR@10",
    )


class Decoding(protocol.Params):
    """How docids are searched for."""

    mode: Literal["trie", "per-position", "none"] = Field("trie", description="what a beam may write")
    beams: int = Field(
        20, ge=1, description="beams; at most so many docids are found (for lists: so many lists)"
    )
    length_penalty: float = Field(1.0, description="a docid's score is its sum / length^penalty")
    normalisation: Literal["full", "docid", "children"] = Field(
        "full",
        description="what log-probabilities are over: the vocabulary, docid tokens, or what may follow",
    )
    stop: Literal["exact", "heuristic", "first"] = Field("exact", description="when a search ends")
    merge: Literal["best", "all"] = Field(
        "best", description="for `lists`: the best list alone, or followed by what the others add"
    )


class GenerativeParams(protocol.Params):
    """Fields of `type: generative`."""

    docids: dict[str, Any] = Field(
        default_factory=lambda: {"type": "semantic"}, description="the builder (`type`) and its parameters"
    )
    inputs: tuple[Input, ...] = Field(
        (Input.model_validate({"kind": "sentences"}), Input.model_validate({"kind": "keywords"})),
        description="kinds of training texts, and their shares",
    )
    train: str | None = Field(
        None, description="split whose queries may be learnt from; never the evaluated one"
    )
    lists: Lists | None = Field(None, description="the model writes ranked lists of docids")
    model: ModelParams = Field(
        default_factory=lambda: VectorParams.model_validate({}),
        description="what writes docids: `vector`, `encoder` or `checkpoint`",
        discriminator="type",
    )
    encoder: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="frozen encoder: of documents for docids, and of what `model: vector` reads",
    )
    query_prefix: str = Field("", description="stands before each query in search, e.g. 'Query: ' (SE-DSI)")
    training: Training = Field(
        default_factory=lambda: Training.model_validate({}), description="of the model"
    )
    decoding: Decoding = Field(default_factory=lambda: Decoding.model_validate({}), description="of docids")
    growth: Growth | None = Field(
        None, description="index the first documents, then add the others by continued training"
    )
    seed: int = Field(0, ge=0)
    batch_queries: int = Field(
        64, ge=1, description="queries decoded at a time; changes no score but the last bits"
    )

    _base: Any = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._base = (context or {}).get("base")

    @field_validator("docids")
    @classmethod
    def _known_docids(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            make(str(value.get("type", "semantic")), {k: v for k, v in value.items() if k != "type"})
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _vector_by_default(cls, value: Any) -> Any:
        return {"type": "vector", **value} if isinstance(value, dict) else value

    @field_validator("inputs", mode="before")
    @classmethod
    def _some_inputs(cls, value: Any) -> Any:
        # A least length of the tuple would be complained of too where an entry is wrong.
        if isinstance(value, list | tuple) and not value:
            raise ValueError("it needs at least one kind of training text")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train is None:
            if any(entry.kind == "queries" for entry in self.inputs):
                raise ValueError("the input `queries` needs a training split, e.g. train: train")
            kind = str(self.docids.get("type", "semantic"))
            builder = make(kind, {k: v for k, v in self.docids.items() if k != "type"})
            if "interactions" in builder.needs:
                raise ValueError(f"docids '{kind}' need the queries of a training split, e.g. train: train")
        if self.training.steps == 0 and self.model.type != "checkpoint":
            raise ValueError("training.steps 0 takes a model as it is, which only a checkpoint can be")
        if self.lists and self.decoding.mode != "trie":
            raise ValueError("lists are decoded in mode `trie` only")
        if self.lists and (self.decoding.normalisation != "full" or self.decoding.stop != "exact"):
            raise ValueError("lists take no `normalisation` and no `stop`")
        return self
