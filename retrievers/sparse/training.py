"""Training of learned sparse encoders on the common trainer: how a batch is scored, what keeps its vectors sparse, and
where an encoder without a head of terms begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from seekbench.retrievers import protocol
from seekbench.retrievers.contrastive import ensemble, mining
from seekbench.retrievers.contrastive.batches import Batch
from seekbench.retrievers.contrastive.caching import Chunk, cached
from seekbench.retrievers.contrastive.ensemble import TeachingRetriever
from seekbench.retrievers.contrastive.mining import Negatives, Positives
from seekbench.retrievers.contrastive.params import PairTraining
from seekbench.retrievers.contrastive.training import Scoring, train_pairs
from seekbench.retrievers.dense.encode import quiet
from seekbench.retrievers.generative.examples import Examples, Kind
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, TextView
from seekbench.retrievers.sparse.encode import pooled

if TYPE_CHECKING:
    import torch

    from seekbench.retrievers.sparse.checkpoint import SparseRecipe
    from seekbench.training.trainer import Outcome

Floats = npt.NDArray[np.float32]

#: Texts of one forward pass of the look at held-out queries.
_WATCH_BATCH = 16


class Regularization(protocol.Params):
    """Weights of the terms that keep vectors sparse; they grow with the square of the step until `warmup`."""

    flops_document: float = Field(0.0, ge=0, description="of FLOPS over the documents of a batch")
    flops_query: float = Field(0.0, ge=0, description="the same over queries, where a model encodes them")
    l1_document: float = Field(0.0, ge=0, description="of the mean sum of a document's weights")
    l1_query: float = Field(0.0, ge=0, description="the same of a query")
    idf: bool = Field(False, description="FLOPS of documents is of weights divided by their terms' idf")
    least_terms: int = Field(
        0, ge=0, description="documents of at most so many terms are left alone by FLOPS (l0 masking)"
    )
    warmup: float = Field(
        0.3, ge=0, description="steps until the weights are whole; below 1 their share of all steps"
    )

    def at(self, step: int, steps: int) -> float:
        """The share of the weights at a step (0-based)."""
        whole = self.warmup * steps if self.warmup < 1 else self.warmup
        return min(1.0, ((step + 1) / whole) ** 2) if whole >= 1 else 1.0


class SparseTraining(PairTraining):
    """How a learned sparse encoder is trained."""

    head: Literal["fitted"] | None = Field(
        None,
        description="`fitted` puts a head of terms behind an encoder that has none, tied to its word embeddings and "
        "fitted to the corpus in closed form; with steps: 0 that is all",
    )
    head_texts: int = Field(400, ge=20, description="documents that the head is fitted to")
    queries: Literal["model", "idf"] | None = Field(
        None,
        description="idf: inference-free, the weight of a query's token is its idf in this corpus; not stated: the "
        "checkpoint's own table of query weights, where it has one, else idf",
    )
    text_length: int = Field(128, ge=8, description="tokens that a text is cut to in training")
    teachers: tuple[TeachingRetriever, ...] = Field(
        (),
        description="retrievers of this config whose scores are learnt as a mean, and who find the candidates",
    )
    teacher_depth: int = Field(100, ge=1, description="hits of each of the teachers that count")
    regularization: Regularization = Field(
        default_factory=lambda: Regularization.model_validate({}), description="what keeps vectors sparse"
    )

    @model_validator(mode="after")
    def _sparse_fits(self) -> Self:
        if self.teachers and self.teacher is not None:
            raise ValueError("`teacher` (a model) and `teachers` (retrievers) can't both be learnt from")
        if self.teachers and not self.taught:
            raise ValueError("nothing learns from the teachers: loss: distillation or margin_mse")
        if self.teachers and self.pool < self.negatives:
            raise ValueError(f"a pool of {self.pool} has no {self.negatives} negatives")
        r = self.regularization
        if self.queries != "model" and (r.flops_query or r.l1_query):
            raise ValueError(
                "queries are looked up in a table, which nothing makes sparser: leave out flops_query and l1_query, or "
                "set queries: model"
            )
        return self

    @property
    def ensemble(self) -> bool:
        return bool(self.teachers)


class Trained:
    """A sentence_transformers.SparseEncoder in training. documents: modules that a document goes through; table:
    float32 [vocabulary], weights of a query's tokens (their idf, or the checkpoint's own), or None where the modules
    encode queries, too; idf: float32 [vocabulary], for FLOPS that divides by it."""

    def __init__(
        self,
        model: Any,
        documents: Sequence[Any],
        recipe: SparseRecipe,
        params: SparseTraining,
        table: Floats | None,
        idf: Floats | None = None,
    ) -> None:
        self.model, self.recipe, self.params = model, recipe, params
        self.transformer, self.pool = documents
        self.tokenizer = self.transformer.tokenizer
        self.table, self.idf = table, idf

    def vectors(self, texts: list[str], side: str) -> torch.Tensor:
        """float32 [texts, vocabulary] as the model stands: with gradient and dropout, or without."""
        import torch

        device, prompt = self.model.device, self.recipe.prompt(side)
        texts = [prompt + text for text in texts] if prompt else texts
        if side == "query" and self.table is not None:
            out = torch.zeros(len(texts), len(self.table))
            with quiet():
                rows = self.tokenizer(
                    texts, add_special_tokens=False, truncation=True, max_length=self.params.text_length
                )
            for i, ids in enumerate(rows["input_ids"]):
                out[i, ids] = torch.from_numpy(self.table[ids])
            return out.to(device)
        with quiet():
            rows = self.tokenizer(
                texts, truncation=True, max_length=self.params.text_length, padding=True, return_tensors="pt"
            ).to(device)
        found = self.transformer({**rows, "modality": "text"})
        vectors: torch.Tensor = pooled(
            found["token_embeddings"], rows["attention_mask"], self.pool.pooling_strategy,
            self.pool.activation_function,
        )  # fmt: skip
        return vectors

    # -- loss ---------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, step: int) -> torch.Tensor:
        """The sum of the chosen losses and of what keeps vectors sparse: a tensor of one float, with gradient."""
        import torch

        sides = [("query", batch.queries), ("document", batch.documents)]
        size = self.params.micro or max(len(texts) for _, texts in sides)
        chunks: list[Chunk] = [
            (side, texts[at : at + size]) for side, texts in sides for at in range(0, len(texts), size)
        ]

        def score(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
            queries, documents = (
                torch.cat([p for (of, _), (p, _) in zip(chunks, parts, strict=True) if of == side])
                for side, _ in sides
            )
            return self._scored(queries, documents, batch, step)

        def encode(chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
            vectors = self.vectors(chunk[1], chunk[0])
            return vectors, vectors.new_ones(())

        if len(chunks) == len(sides):
            return score([encode(chunk) for chunk in chunks])
        return cached(chunks, encode, score)

    def _scored(
        self, queries: torch.Tensor, documents: torch.Tensor, batch: Batch, step: int
    ) -> torch.Tensor:
        import torch

        from seekbench.retrievers.contrastive.objective import objective, own_scores
        from seekbench.retrievers.sparse.losses import flops, l1

        p, device = self.params, queries.device
        scores = queries @ documents.T
        total = objective(p, batch, own_scores(scores), scores)
        r = p.regularization
        share = r.at(step, p.steps)
        if r.flops_document:
            idf = torch.from_numpy(self.idf).to(device) if r.idf and self.idf is not None else None
            total = total + share * r.flops_document * flops(documents, least=r.least_terms, idf=idf)
        if r.l1_document:
            total = total + share * r.l1_document * l1(documents)
        if r.flops_query:
            total = total + share * r.flops_query * flops(queries)
        if r.l1_query:
            total = total + share * r.l1_query * l1(queries)
        return total

    def scores(self, queries: list[str], documents: list[str]) -> Floats:
        """float32 [queries, documents], without gradient."""
        import torch

        with torch.no_grad():
            asked = torch.cat(
                [
                    self.vectors(queries[at : at + _WATCH_BATCH], "query")
                    for at in range(0, len(queries), _WATCH_BATCH)
                ]
            )
            order = sorted(range(len(documents)), key=lambda i: (-len(documents[i]), i))
            out = np.empty((len(queries), len(documents)), dtype=np.float32)
            for at in range(0, len(order), _WATCH_BATCH):
                rows = order[at : at + _WATCH_BATCH]
                found = self.vectors([documents[i] for i in rows], "document")
                out[:, rows] = (asked @ found.T).cpu().numpy()
        return out


def train_model(
    trained: Trained,
    examples: Examples,
    documents: TextView,
    folder: Path,
    *,
    identity: str,
    said: dict[str, Any],
    context: Context,
    base: Path | None = None,
) -> tuple[Outcome, dict[str, Any]]:
    """Trains in place (see `train_pairs`). said: JSON, the recipe; base: the folder that paths of teacher and miner are
    relative to."""
    p = trained.params
    trained.model.float()

    def mine(kind: Kind, positives: Positives, passages: Passages, place: Path, seed: int) -> Negatives:
        if p.teachers:
            return ensemble.mine(
                kind, positives, documents, passages, p.teachers, place, pool=p.pool, depth=p.teacher_depth,
                seed=seed, context=context,
            )  # fmt: skip
        return mining.mine(
            kind, positives, documents, passages, p, place, seed=seed, context=context, base=base
        )

    fixed = p.negatives and (p.taught or p.negatives_from == "hard")
    scoring = Scoring(loss=lambda _, batch, step: trained.loss(batch, step), scores=trained.scores, said=said)
    return train_pairs(
        trained.model, examples, documents, p, folder, identity=identity, scoring=scoring,
        mine=mine if fixed else None, context=context,
    )  # fmt: skip


def idf_of(documents: TextView, tokenizer: Any, passages: Passages, context: Context) -> Floats:
    """float32 [vocabulary]: ln(1 + (N - df + .5) / (df + .5)), Lucene's, over the distinct texts of a corpus, tokenized
    whole; special tokens weigh 0."""
    vocabulary = int(max(tokenizer.get_vocab().values())) + 1
    frequency = np.zeros(vocabulary, dtype=np.int64)
    with context.progress.stage("count tokens", total=len(passages), unit="docs") as stage:
        for at in range(0, len(passages), 4096):
            rows = passages.sources[at : at + 4096]
            with quiet():
                found = tokenizer(documents.take(rows).texts(), add_special_tokens=False)["input_ids"]
            for ids in found:
                frequency[np.unique(np.asarray(ids, dtype=np.int64))] += 1
            stage.advance(len(rows))
    count = len(passages)
    idf = np.log1p((count - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    idf[tokenizer.all_special_ids] = 0
    return idf
