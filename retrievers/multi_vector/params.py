"""Parameters of `type: multi_vector`."""

from __future__ import annotations

import string
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from seekbench.retrievers import protocol
from seekbench.retrievers.contrastive.params import TrainedParams
from seekbench.retrievers.dense import ann
from seekbench.retrievers.multi_vector.candidates import CandidatesParams, ExactParams
from seekbench.retrievers.multi_vector.checkpoint import Expansion, TokenSettings
from seekbench.retrievers.multi_vector.pooling import Pooling, Pruning
from seekbench.retrievers.multi_vector.training import TrainingParams
from seekbench.retrievers.protocol import Context


class ExpansionParams(protocol.Params):
    """Query augmentation with [MASK] tokens."""

    length: int = Field(32, ge=1, description="tokens that a query is filled up to, markers included")
    attend: bool = Field(False, description="whether the query's own tokens attend to them")
    fixed: bool = Field(True, description="longer queries are cut to `length`; else they keep their tokens")


class Compression(protocol.Params):
    """How token vectors are stored for scoring."""

    type: Literal["int8", "residual"] = Field(
        "residual",
        description="a byte a dimension, or nearest centroid and a few bits a dimension (ColBERTv2)",
    )
    bits: Literal[1, 2, 4] = Field(2, description="of `residual`: bits a dimension")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type == "int8" and "bits" in self.model_fields_set:
            raise ValueError("`bits` belongs to `residual`; int8 has 8")
        return self


class MultiVectorParams(TrainedParams):
    """Fields of `type: multi_vector`. What is not stated is the checkpoint's own."""

    query_prompt: str | None = Field(None, description="marker or text before each query, e.g. '[unused0] '")
    document_prompt: str | None = Field(None, description="the same before each document")
    query_length: int | None = Field(None, ge=2, description="tokens that a query is cut to")
    document_length: int | None = Field(None, ge=2, description="tokens that a document is cut to")
    expansion: ExpansionParams | Literal[False] | None = Field(
        None, description="query augmentation with [MASK] tokens, or false for none"
    )
    skip: Literal["punctuation", False] | tuple[str, ...] | None = Field(
        None,
        description="tokens whose vectors are dropped from documents: punctuation, a list, or false for none",
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32", description="of the transformer; projection, vectors and scores are float32 always"
    )
    pooling: Pooling | None = Field(None, description="clusters of a document's vectors become one each")
    pruning: Pruning | None = Field(None, description="some of a document's vectors are dropped")
    vectors: Literal["float32", "float16", "bfloat16"] = Field(
        "float16", description="precision of the stored vectors; products are summed in float32"
    )
    compression: Compression | None = Field(
        None,
        description="documents are scored on compressed vectors: int8, or residual codes of 1, 2 or 4 bits",
    )
    candidates: CandidatesParams = Field(
        default_factory=lambda: ExactParams.model_validate({}),
        description="which documents are scored: exact (all), muvera, plaid, heuristic, or rerank another retriever's; "
        "more than another depth or search option is a new index of candidates, over the same vectors",
        discriminator="type",
    )
    training: TrainingParams | None = Field(
        None, description="trains the checkpoint on this corpus before it encodes"
    )
    compare: bool = Field(
        True,
        description="state what an approximation loses: exact search over uncompressed vectors is run once, too",
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="padded tokens of one batch; rounding differs in the last digits"
    )
    shard: int = Field(
        512, ge=1, description="documents encoded and saved at a time: what an interruption may lose"
    )

    _candidates = field_validator("candidates", mode="before")(ann.by_name)

    @field_validator("compression", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return None if value == "none" else ann.by_name(value)

    @property
    def plain(self) -> bool:
        """Whether the index is the token vectors as stored first, and nothing else."""
        return self.candidates.type in ("exact", "rerank") and self.compression is None

    def settings(self, context: Context) -> TokenSettings:
        """What `checkpoint` needs."""
        named: dict[Any, tuple[str, ...]] = {"punctuation": tuple(string.punctuation), False: ()}
        skip = self.skip if isinstance(self.skip, tuple) else named.get(self.skip)
        e = self.expansion
        return TokenSettings(
            model=self.place,
            revision=self.revision,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            trust_remote_code=context.trust_remote_code,
            query_length=self.query_length,
            document_length=self.document_length,
            expansion=Expansion(e.length, e.attend, e.fixed) if isinstance(e, ExpansionParams) else e,
            skip=skip,
        )
