"""Fields of a training on pairs, and of the model whose scores are learnt."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from seekbench.retrievers import protocol
from seekbench.retrievers.dense.model import ModelParams
from seekbench.retrievers.generative.examples import Input

#: Of these losses a query's own documents are what counts, its positive and negatives.
OWN = frozenset({"pairwise", "distillation", "margin_mse"})
TAUGHT = frozenset({"distillation", "margin_mse"})


class Teacher(protocol.Params):
    """A model whose scores are learnt from."""

    type: Literal["dense", "cross_encoder"] = Field(
        description="`dense`: the inner product of an encoder's vectors; `cross_encoder`: log-odds of a "
        "*ForSequenceClassification"
    )
    model: str = Field(min_length=1, description="a hub name, or the path of a checkpoint's folder")
    max_length: int | None = Field(
        None, ge=4, description="tokens that a text (cross_encoder: a pair) is cut to; the checkpoint's own"
    )


class PairTraining(protocol.Params):
    """How an encoder is trained on pairs."""

    steps: int = Field(1000, ge=0, description="steps of the optimiser; 0 takes the model as it is")
    batch: int = Field(32, ge=1, description="queries a step, each with its document and negatives")
    micro: int = Field(
        0,
        ge=0,
        description="texts that go through the model at once, with the whole batch's gradient; 0: all of a batch",
    )
    rate: float = Field(2e-5, gt=0, description="highest learning rate")
    warmup: float = Field(
        0.1, ge=0, description="steps in which the rate rises; below 1 their share of all steps"
    )
    decay: Literal["linear", "cosine", "constant"] = Field("linear", description="of the rate after that")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    clip: float = Field(1.0, ge=0, description="of the gradient's norm; 0 for none")
    loss: tuple[Literal["contrastive", "pairwise", "distillation", "margin_mse"], ...] = Field(
        ("contrastive",),
        description="losses that are added up. `contrastive`: against the documents of the batch; `pairwise`: against "
        "the query's own negatives (ColBERT); `distillation`, `margin_mse`: to score these as the teacher does. Beside "
        "another loss `contrastive` leaves the own negatives to it, as ColBERT's code does; (pairwise, contrastive) is "
        "the recipe of ColBERT-XM",
    )
    temperature: float = Field(1.0, gt=0, description="scores are divided by it, except in margin_mse")
    negatives: int = Field(0, ge=0, description="documents beside its own that each query brings along")
    negatives_from: Literal["random", "hard"] = Field(
        "random", description="of the whole corpus, or of those that `miner` finds most like answers"
    )
    pool: int = Field(
        32,
        ge=1,
        description="hard negatives are drawn anew from so many: the best that score below the positive",
    )
    miner: str | None = Field(
        None, description="dense encoder that finds hard negatives; the teacher where it is dense"
    )
    teacher: Teacher | None = Field(None, description="whose scores distillation and margin_mse learn")
    teacher_scale: float = Field(1.0, gt=0, description="the teacher's scores are multiplied by it")
    drop: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of texts cut out of their document that it is shown without (inverse cloze task): to find "
        "a copy teaches nothing else",
    )
    watched: int = Field(
        256,
        ge=0,
        description="texts held out from training to watch it, at most a tenth of a kind's; none that is all "
        "there is of a document",
    )
    watch_documents: int = Field(
        1000, ge=1, description="documents that they are searched in: their own, then others at random"
    )
    evaluate_every: int = Field(200, ge=1, description="steps between looks at them")
    patience: int = Field(
        0, ge=0, description="looks without a better MRR@10 after which it stops; 0 for never"
    )
    keep: Literal["last", "best"] = Field(
        "last", description="weights: those after the last step, or of the look with the best MRR@10"
    )
    checkpoint_every: int = Field(
        200, ge=1, description="steps that an interruption may lose; changes no result"
    )
    seed: int = Field(0, ge=0, description="of batches, dropout, negatives and new weights")

    @field_validator("loss", mode="before")
    @classmethod
    def _one_loss(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        chosen = set(self.loss)
        if not chosen or len(chosen) < len(self.loss):
            raise ValueError("`loss` names at least one loss, and each once")
        if chosen & OWN and not self.negatives:
            raise ValueError(f"loss {', '.join(sorted(chosen & OWN))} needs negatives: 1 or more")
        if not self.negatives and self.batch < 2:
            raise ValueError("`contrastive` without negatives needs a batch of 2 or more")
        if chosen & TAUGHT and self.teacher is None and not self.ensemble:
            raise ValueError(f"loss {', '.join(sorted(chosen & TAUGHT))} needs a teacher")
        if self.negatives_from == "hard":
            if not self.negatives:
                raise ValueError("negatives_from: hard needs negatives: 1 or more")
            if self.mining_model is None and not self.ensemble:
                raise ValueError("hard negatives need a `miner`, or a dense teacher, to find them")
            if self.pool < self.negatives:
                raise ValueError(f"a pool of {self.pool} has no {self.negatives} negatives")
        elif self.miner is not None:
            raise ValueError("`miner` finds hard negatives: negatives_from: hard")
        mines = self.negatives_from == "hard" and self.miner is None
        if self.teacher is not None and not mines and not chosen & TAUGHT:
            raise ValueError("nothing learns from the teacher: loss: distillation or margin_mse")
        return self

    @property
    def ensemble(self) -> bool:
        """Whether other retrievers teach, which also find the negatives."""
        return False

    @property
    def mining_model(self) -> str | None:
        if self.miner is not None or self.teacher is None or self.teacher.type != "dense":
            return self.miner
        return self.teacher.model

    @property
    def taught(self) -> bool:
        """Whether a teacher's scores are needed."""
        return bool(TAUGHT & set(self.loss))


class TrainedParams(ModelParams):
    """Fields of a retriever whose checkpoint may be trained on pairs; a subclass adds `training`."""

    train: str | None = Field(
        None, description="split whose queries may be learnt from; never the evaluated one"
    )
    inputs: tuple[Input, ...] = Field(
        (),
        description="kinds of training texts, as of `generative`; queries of the split, or sentences and keywords of "
        "documents, where not stated",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_inputs(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("training") is not None and not value.get("inputs"):
            kinds = ["queries"] if value.get("train") else ["sentences", "keywords"]
            return {**value, "inputs": [{"kind": kind} for kind in kinds]}
        return value

    @model_validator(mode="after")
    def _training_is_whole(self) -> Self:
        if getattr(self, "training", None) is None:
            for name in ("train", "inputs"):
                if getattr(self, name):
                    raise ValueError(f"`{name}` is of a system that trains; add `training`, or leave it out")
        elif self.train is None and any(entry.kind == "queries" for entry in self.inputs):
            raise ValueError("the input `queries` needs a training split, e.g. train: train")
        return self
