"""Parameters of `type: prompt_reps`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from seekbench.retrievers.dense.model import ModelParams
from seekbench.retrievers.prompt_reps.checkpoint import LENGTH, TEXT, PromptSettings
from seekbench.retrievers.protocol import Context

#: Fields that the vectors of documents depend on.
ENCODING = frozenset(
    {
        "model", "revision", "passage_prompt", "system", "assistant", "chat", "length", "normalize", "top",
        "expansion", "factor", "dtype",
        "batch_tokens", "shard",  # the company of a text in a batch moves its last bits
    }
)  # fmt: skip


class PromptRepsParams(ModelParams):
    """Fields of `type: prompt_reps`. Prompts that are not stated are the recipe's."""

    mode: Literal["hybrid", "dense", "sparse"] = Field(
        "hybrid", description="which vectors are searched; one index holds both"
    )
    alpha: float = Field(
        0.5, ge=0, le=1, description="of hybrid: weight of the dense list; the sparse one has 1 - alpha"
    )
    depth: int = Field(1000, ge=1, description="of hybrid: hits of each of the two lists")
    passage_prompt: str | None = Field(None, description="what is said of a passage, with {text} in it")
    query_prompt: str | None = Field(None, description="what is said of a query, with {text} in it")
    system: str | None = Field(None, description="system message of a chat template; '' for none")
    assistant: str | None = Field(
        None, description="how the answer begins; the next word is what the text is represented by"
    )
    chat: Literal["auto"] | bool = Field(
        "auto", description="prompt by the tokenizer's chat template; auto: where it has one"
    )
    length: int | None = Field(
        None,
        ge=1,
        description=f"tokens that a text is cut to, the prompt not counted; {LENGTH}, or what the positions allow",
    )
    normalize: bool = Field(True, description="scale dense vectors to length 1")
    top: int = Field(128, ge=1, description="terms of a text: those of its words with the highest logits")
    expansion: int = Field(0, ge=0, description="terms beside these that are not in the text")
    factor: float | None = Field(
        100.0, gt=0, le=5000, description="weights are multiplied by it and rounded to integers; null: floats"
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32", description="of the model; vectors, weights and scores are float32 always"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="padded tokens of one batch; rounding differs in the last digits"
    )
    shard: int = Field(
        512, ge=1, description="documents encoded and saved at a time: what an interruption may lose"
    )

    @field_validator("passage_prompt", "query_prompt")
    @classmethod
    def _has_the_text(cls, value: str | None) -> str | None:
        if value is not None and value.count(TEXT) != 1:
            raise ValueError(
                f"a prompt has {TEXT} in it once, where the text stands; this one has it {value.count(TEXT)} times"
            )
        return value

    @field_validator("system", "assistant")
    @classmethod
    def _has_no_text(cls, value: str | None) -> str | None:
        if value is not None and TEXT in value:
            raise ValueError(f"{TEXT} belongs into passage_prompt and query_prompt")
        return value

    @model_validator(mode="after")
    def _of_hybrid(self) -> Self:
        stated = sorted({"alpha", "depth"} & self.model_fields_set)
        if self.mode != "hybrid" and stated:
            raise ValueError(f"`{stated[0]}` belongs to mode: hybrid, not to {self.mode}")
        return self

    def settings(self, context: Context) -> PromptSettings:
        """What the checkpoint needs."""
        return PromptSettings(
            model=self.place,
            revision=self.revision,
            normalize=self.normalize,
            query_prompt=self.query_prompt,
            document_prompt=self.passage_prompt,
            trust_remote_code=context.trust_remote_code,
            system=self.system,
            assistant=self.assistant,
            chat=None if self.chat == "auto" else self.chat,
            length=self.length,
        )
