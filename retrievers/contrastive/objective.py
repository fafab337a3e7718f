"""The sum of the losses that a training names, over the scores of a batch."""

from __future__ import annotations

import torch

from seekbench.retrievers.contrastive import losses
from seekbench.retrievers.contrastive.batches import Batch
from seekbench.retrievers.contrastive.params import PairTraining


def own_scores(scores: torch.Tensor) -> torch.Tensor:
    """[queries, n]: of scores [queries, queries * n] those of each query's own documents, the positive first."""
    count, n = len(scores), scores.shape[1] // len(scores)
    first = torch.arange(count, device=scores.device)[:, None] * n
    return scores.gather(1, first + torch.arange(n, device=scores.device))


def objective(
    params: PairTraining, batch: Batch, own: torch.Tensor, scores: torch.Tensor | None
) -> torch.Tensor:
    """A tensor of one float, with gradient. own: [queries, n], scores of each query's own documents; scores: [queries,
    queries * n], of all documents of the batch, which `contrastive` alone needs."""
    device, total = own.device, own.new_zeros(())
    if "contrastive" in params.loss:
        assert scores is not None
        positive = torch.arange(len(own), device=device) * own.shape[1]
        excluded = torch.from_numpy(batch.excluded).to(device)
        total = total + losses.contrastive(scores, positive, excluded, temperature=params.temperature)
    if "pairwise" in params.loss:
        total = total + losses.pairwise(own, temperature=params.temperature)
    if params.taught:
        assert batch.teacher is not None
        teacher, scale = torch.from_numpy(batch.teacher).to(device), params.teacher_scale
        if "distillation" in params.loss:
            total = total + losses.distillation(own, teacher, scale=scale, temperature=params.temperature)
        if "margin_mse" in params.loss:
            total = total + losses.margin_mse(own, teacher, scale=scale)
    return total
