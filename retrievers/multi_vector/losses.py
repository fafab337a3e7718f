"""MaxSim with a gradient; scores are summed in the precision of the vectors."""

from __future__ import annotations

import torch

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
