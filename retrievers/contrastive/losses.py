"""Losses over scores of queries and documents. Functions of tensors that know no model."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own custom)


def contrastive(
    scores: torch.Tensor,
    positive: torch.Tensor,
    excluded: torch.Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Mean softmax cross-entropy over all documents of a batch.

    scores: [queries, documents]; positive: int64 [queries], the column of each query's document; excluded: bool
    [queries, documents], columns that leave a query's denominator, as other answers to it; never the positive.
    """
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    return F.cross_entropy(scores / temperature, positive)


def pairwise(scores: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """Mean softmax cross-entropy over a query's own documents (ColBERT: a positive and a negative).

    scores: [queries, 1 + negatives], the positive first.
    """
    return F.cross_entropy(
        scores / temperature, torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    )


def distillation(
    scores: torch.Tensor, teacher: torch.Tensor, *, scale: float = 1.0, temperature: float = 1.0
) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of softmax(scores / temperature) from softmax(scale * teacher) over a query's
    own documents (ColBERTv2, whose code calls the scale `distillation_alpha`).

    scores, teacher: [queries, n].
    """
    wanted = F.log_softmax(teacher.to(scores.dtype) * scale, dim=1)
    return F.kl_div(
        F.log_softmax(scores / temperature, dim=1), wanted, reduction="batchmean", log_target=True
    )


def margin_mse(scores: torch.Tensor, teacher: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    """Mean squared difference of margins, positive less negative, from the teacher's times `scale` (Hofstätter et al.
    2020, arXiv 2010.02666).

    scores, teacher: [queries, 1 + negatives], the positive first.
    """
    wanted = teacher.to(scores.dtype) * scale
    return F.mse_loss(scores[:, :1] - scores[:, 1:], wanted[:, :1] - wanted[:, 1:])
