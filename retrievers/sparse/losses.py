"""What keeps sparse vectors sparse. Functions of tensors that know no model; vectors: [texts, vocabulary], none below
0."""

from __future__ import annotations

import torch


def flops(vectors: torch.Tensor, *, least: int = 0, idf: torch.Tensor | None = None) -> torch.Tensor:
    """The sum over terms of the squared mean weight (Paria et al. 2020, https://arxiv.org/abs/2004.05665; SPLADE).

    least: texts of at most so many terms count as 0 (l0 masking, https://arxiv.org/abs/2504.14839); idf: [vocabulary],
    weights are divided by it first, so that rare terms may weigh more (our reading of arXiv 2411.04403).
    """
    if least:
        vectors = vectors * ((vectors != 0).sum(dim=1, keepdim=True) > least)
    if idf is not None:
        vectors = vectors / idf.clamp_min(1e-3)
    return (vectors.mean(dim=0) ** 2).sum()


def l1(vectors: torch.Tensor) -> torch.Tensor:
    """The mean sum of weights of a text."""
    return vectors.sum(dim=1).mean()
