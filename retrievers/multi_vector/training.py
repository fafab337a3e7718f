"""Training of late-interaction models: how a batch is scored, and what a checkpoint gets before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seekbench.errors import InputError
from seekbench.retrievers.contrastive import mining
from seekbench.retrievers.contrastive.batches import Batch
from seekbench.retrievers.contrastive.caching import Chunk, cached
from seekbench.retrievers.contrastive.mining import Negatives, Positives
from seekbench.retrievers.contrastive.params import PairTraining
from seekbench.retrievers.contrastive.training import Scoring, frozen, train_pairs
from seekbench.retrievers.dense.encode import quiet
from seekbench.retrievers.generative.examples import Examples, Kind
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context, TextView

if TYPE_CHECKING:
    import torch

    from seekbench.retrievers.multi_vector.checkpoint import TokenRecipe
    from seekbench.training.trainer import Outcome

Floats = npt.NDArray[np.float32]

#: Texts of one forward pass of the look at held-out queries.
_WATCH_BATCH = 32


class TrainingParams(PairTraining):
    """How a late-interaction model is trained."""

    dim: int | None = Field(
        None, ge=1, description="puts a new projection to so many dimensions behind an encoder that has none"
    )
    freeze: tuple[Literal["embeddings", "adapters"], ...] = Field(
        (), description="weights that are not trained; both for ColBERT-XM"
    )


def loss_of(model: Any, batch: Batch, params: TrainingParams, recipe: TokenRecipe) -> torch.Tensor:
    """The sum of the chosen losses: a tensor of one float, with gradient."""
    sides = [("query", batch.queries), ("document", batch.documents)]
    size = params.micro or max(len(texts) for _, texts in sides)
    chunks = [(side, texts[at : at + size]) for side, texts in sides for at in range(0, len(texts), size)]

    def score(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        queries, documents = (
            _joined([part for (of, _), part in zip(chunks, parts, strict=True) if of == side])
            for side, _ in sides
        )
        return _scored(*queries, *documents, batch, params)

    def encode(chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        return token_vectors(model, chunk[1], chunk[0], recipe)

    if len(chunks) == len(sides):
        return score([encode(chunk) for chunk in chunks])
    return cached(chunks, encode, score)


def token_vectors(
    model: Any, texts: list[str], side: str, recipe: TokenRecipe
) -> tuple[torch.Tensor, torch.Tensor]:
    """(float32 [texts, tokens, dim], bool [texts, tokens], which are scored) of a sentence_transformers
    MultiVectorEncoder, as it stands: with gradient and dropout, or without. side: query or document."""
    with quiet():  # each query that is cut by its expansion would be told of
        features = model.preprocess(texts, prompt=recipe.prompt(side) or None, task=side)
    features = {n: v.to(model.device) if hasattr(v, "to") else v for n, v in features.items()}
    out = model(features, task=side)
    return out["token_embeddings"].float(), out["attention_mask"].bool()


def _joined(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded chunks as one, as wide as the widest."""
    import torch
    from torch.nn.functional import pad

    if len(parts) == 1:
        return parts[0]
    width = max(mask.shape[1] for _, mask in parts)
    vectors = [pad(v, (0, 0, 0, width - v.shape[1])) for v, _ in parts]
    return torch.cat(vectors), torch.cat([pad(m, (0, width - m.shape[1])) for _, m in parts])


def _scored(
    queries: torch.Tensor,
    query_mask: torch.Tensor,
    documents: torch.Tensor,
    document_mask: torch.Tensor,
    batch: Batch,
    params: TrainingParams,
) -> torch.Tensor:
    from seekbench.retrievers.contrastive.objective import objective, own_scores
    from seekbench.retrievers.multi_vector.losses import maxsim, maxsim_own

    if "contrastive" in params.loss:
        scores = maxsim(queries, query_mask, documents, document_mask)
        return objective(params, batch, own_scores(scores), scores)
    count, n, (width, dim) = len(queries), len(documents) // len(queries), documents.shape[1:]
    own = maxsim_own(
        queries, query_mask, documents.view(count, n, width, dim), document_mask.view(count, n, width)
    )
    return objective(params, batch, own, None)


def scores_of(model: Any, queries: list[str], documents: list[str], recipe: TokenRecipe) -> Floats:
    """float32 [queries, documents]: exact MaxSim of texts, without gradient."""
    import torch

    from seekbench.retrievers.multi_vector import losses

    # Texts of like length together; what is not read is not padded to.
    order = sorted(range(len(documents)), key=lambda i: (-len(documents[i]), i))
    out = np.empty((len(queries), len(documents)), dtype=np.float32)
    with torch.no_grad():
        asked = _joined(
            [
                token_vectors(model, queries[at : at + _WATCH_BATCH], "query", recipe)
                for at in range(0, len(queries), _WATCH_BATCH)
            ]
        )
        for at in range(0, len(order), _WATCH_BATCH):
            rows = order[at : at + _WATCH_BATCH]
            found = token_vectors(model, [documents[i] for i in rows], "document", recipe)
            out[:, rows] = losses.maxsim(*asked, *found).cpu().numpy()
    return out


def project(model: Any, dim: int, *, seed: int) -> None:
    """Puts a new linear layer (no bias) behind the transformer, in place: weights of standard deviation 0.02, BERT's.

    Raises InputError where there is one already.
    """
    import torch
    from sentence_transformers.base.modules import Dense as Linear

    if any(isinstance(module, Linear) for module in model):
        raise InputError("the checkpoint has a projection already", remedy="leave out training.dim")
    hidden = int(model[0].get_embedding_dimension())
    weight = torch.randn(dim, hidden, generator=torch.Generator().manual_seed(seed)) * 0.02
    layer = Linear(
        hidden, dim, bias=False, activation_function=torch.nn.Identity(), init_weight=weight,
        module_input_name="token_embeddings",
    )  # fmt: skip
    device, kwargs = model.device, model.module_kwargs
    model.insert(1, layer.to(device))
    if kwargs:  # of modules by place
        model.module_kwargs = type(kwargs)(
            (str(int(name) + 1) if name.isdigit() and int(name) else name, value)
            for name, value in kwargs.items()
        )


def train_model(
    model: Any,
    examples: Examples,
    documents: TextView,
    params: TrainingParams,
    folder: Path,
    *,
    identity: str,
    recipe: TokenRecipe,
    context: Context,
    base: Path | None = None,
) -> tuple[Outcome, dict[str, Any]]:
    """Trains a sentence_transformers MultiVectorEncoder in place (see `train_pairs`). recipe: of the checkpoint, whose
    prompts the model gets as its own; base: the folder that paths of teacher and miner are relative to."""
    model.float()
    if params.dim is not None:
        project(model, params.dim, seed=params.seed)
    model.prompts = {**model.prompts, "query": recipe.prompt("query"), "document": recipe.prompt("document")}

    def mine(kind: Kind, positives: Positives, passages: Passages, place: Path, seed: int) -> Negatives:
        return mining.mine(
            kind, positives, documents, passages, params, place, seed=seed, context=context, base=base
        )

    fixed = params.negatives and (params.taught or params.negatives_from == "hard")
    scoring = Scoring(
        loss=lambda model, batch, step: loss_of(model, batch, params, recipe),
        scores=lambda queries, texts: scores_of(model, queries, texts, recipe),
        said=asdict(recipe),
    )
    return train_pairs(
        model, examples, documents, params, folder, identity=identity, scoring=scoring,
        mine=mine if fixed else None, still=frozen(model, params.freeze), context=context,
    )  # fmt: skip
