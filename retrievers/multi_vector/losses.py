"""Losses of late interaction: MaxSim with a gradient, and what is minimised over its scores. Functions of tensors that
know no model; scores are summed in the precision of the vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own custom)

#: Products of token vectors at a time; what is kept for the gradient is much smaller.
_PRODUCTS = 1 << 25


def maxsim(
    queries: torch.Tensor, query_mask: torch.Tensor, documents: torch.Tensor, document_mask: torch.Tensor
) -> torch.Tensor:
    """[queries, documents]: of each query token the highest product with a token of the document, summed (Khattab and
    Zaharia 2020, equation 3).

    queries: [queries, tokens, dim]; documents: [documents, tokens, dim]; masks: bool [.., tokens], tokens that take
    part. A document without any scores -1 a query token, the lowest that unit vectors have.
    """
    step = max(1, _PRODUCTS // max(1, queries.shape[0] * queries.shape[1] * documents.shape[1]))
    parts = [
        _best(queries, documents[at : at + step], document_mask[at : at + step])
        for at in range(0, len(documents), step)
    ]
    best = torch.cat(parts, dim=2) if parts else queries.new_zeros((*queries.shape[:2], 0))
    return (best * query_mask.unsqueeze(2)).sum(dim=1)


def _best(queries: torch.Tensor, documents: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[queries, tokens, documents]: the highest product of each query token."""
    (count, tokens, dim), (others, width) = queries.shape, documents.shape[:2]
    products = queries.reshape(-1, dim) @ documents.reshape(-1, dim).T
    products = products.view(count, tokens, others, width)
    best = products.masked_fill(~mask, -torch.inf).max(dim=-1).values
    return best.masked_fill(~mask.any(dim=1), -1.0)


def maxsim_own(
    queries: torch.Tensor, query_mask: torch.Tensor, documents: torch.Tensor, document_mask: torch.Tensor
) -> torch.Tensor:
    """[queries, n]: scores of each query's own documents. documents: [queries, n, tokens, dim]; else as `maxsim`."""
    products = torch.einsum("qid,qnjd->qnij", queries, documents)
    best = products.masked_fill(~document_mask.unsqueeze(2), -torch.inf).max(dim=-1).values
    best = best.masked_fill(~document_mask.any(dim=2).unsqueeze(2), -1.0)
    return (best * query_mask.unsqueeze(1)).sum(dim=2)


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
