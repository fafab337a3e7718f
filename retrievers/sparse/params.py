"""Parameters of `type: sparse`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from seekbench.retrievers.contrastive.params import TrainedParams
from seekbench.retrievers.dense import ann
from seekbench.retrievers.dense.checkpoint import place
from seekbench.retrievers.protocol import Context
from seekbench.retrievers.sparse.checkpoint import SparseSettings
from seekbench.retrievers.sparse.indexes import LuceneIndex, NativeIndex
from seekbench.retrievers.sparse.training import SparseTraining

#: Fields that the weights of documents depend on.
ENCODING = frozenset(
    {
        "model", "revision", "document_prompt", "document_length", "aggregation", "activation", "top_document",
        "threshold", "dtype", "train", "inputs", "training",
        "batch_tokens", "shard",  # the company of a text in a batch moves its last bits
    }
)  # fmt: skip


class SparseParams(TrainedParams):
    """Fields of `type: sparse`. What is not stated is the checkpoint's own."""

    query_model: str | None = Field(
        None, min_length=1, description="another checkpoint for queries, of the same vocabulary"
    )
    query_revision: str | None = Field(None, description="of the query model")
    queries: str | None = Field(
        None,
        description="`model`; `binary`: each token of a query weighs 1 (SPLADE-doc); or a file of weights (idf.json, "
        "or lines of token, tab, weight)",
    )
    query_prompt: str | None = Field(None, description="text before each query")
    document_prompt: str | None = Field(None, description="text before each document")
    query_length: int | None = Field(None, ge=3, description="tokens that a query is cut to")
    document_length: int | None = Field(None, ge=3, description="tokens that a document is cut to")
    aggregation: Literal["max", "sum"] | None = Field(
        None, description="over the tokens of a text, of a plain masked language model; max where not stated"
    )
    activation: Literal["relu", "log1p_relu"] | None = Field(
        None,
        description="of a plain masked language model's logits x: log(1 + relu(x)), or log(1 + log(1 + relu(x))) "
        "(OpenSearch's doc-v3); relu where not stated",
    )
    top_query: int | None = Field(None, ge=1, description="terms of a query: those of the highest weights")
    top_document: int | None = Field(None, ge=1, description="the same of a document")
    threshold: float | None = Field(None, ge=0, description="weights of documents below it are dropped")
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32", description="of the transformer; weights and scores are float32 always"
    )
    index: NativeIndex | LuceneIndex = Field(
        default_factory=lambda: NativeIndex.model_validate({}),
        description="native (exact, on these weights or integers) or lucene (integers)",
        discriminator="type",
    )
    training: SparseTraining | None = Field(
        None, description="trains the checkpoint on this corpus before it encodes"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="padded tokens of one batch; rounding differs in the last digits"
    )
    shard: int = Field(
        512, ge=1, description="documents encoded and saved at a time: what an interruption may lose"
    )

    @field_validator("index", mode="before")
    @classmethod
    def _native_by_default(cls, value: object) -> object:
        value = ann.by_name(value)
        return {"type": "native", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _one_kind_of_queries(self) -> Self:
        if self.query_model is not None and self.queries not in (None, "model"):
            raise ValueError("a `query_model` and a table of query weights can't both hold")
        if self.training is not None and (self.query_model is not None or self.queries is not None):
            raise ValueError(
                "a trained system's queries are `training.queries`; leave out queries and query_model"
            )
        if self.query_revision is not None and self.query_model is None:
            raise ValueError("`query_revision` is of a `query_model`")
        return self

    @property
    def table(self) -> Path | None:
        """The file of query weights, where one is named."""
        if self.queries in (None, "model", "binary"):
            return None
        return Path(place(str(self.queries), self._base)).expanduser().absolute()

    def settings(self, context: Context) -> SparseSettings:
        """What the documents' checkpoint needs."""
        return SparseSettings(
            model=self.place,
            revision=self.revision,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            trust_remote_code=context.trust_remote_code,
            query_length=self.query_length,
            document_length=self.document_length,
            aggregation=self.aggregation,
            activation=self.activation,
            queries=str(self.table) if self.table else self.queries,
        )

    def query_settings(self, context: Context) -> SparseSettings:
        """What the queries' checkpoint needs: the documents' own, where no other is named."""
        said = self.settings(context)
        if self.query_model is None:
            return said
        return replace(said, model=place(self.query_model, self._base), revision=self.query_revision)
