"""The module of the family `vector`. It needs torch at import: import it only where a model is about to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seekbench.retrievers.generative.models.decoder import DocidDecoder
from seekbench.retrievers.generative.steppers import ModuleStepper

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.vector import VectorParams


class VectorModel(nn.Module):
    """A `base.Model` and a `steppers.DocidModule`; a batch is float32 [B, dim].

    longest: the most tokens of a target, the closing one included.
    """

    def __init__(self, params: VectorParams, dim: int, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.dim, self.slots, self.width, self.noise = dim, params.slots, params.width, params.noise
        self.memory = nn.Linear(dim, params.slots * params.width)
        self.memory_norm = nn.LayerNorm(params.width)
        self.decoder = DocidDecoder(
            vocabulary, longest, params.width, params.layers, params.heads, params.dropout
        )
        self.vocabulary, self.start_token = vocabulary, self.decoder.start_token

    def _slots(self, vectors: Tensor) -> Tensor:
        vectors = vectors.to(self.memory.weight.device)
        if self.noise and self.training:
            length = vectors.norm(dim=1, keepdim=True) / self.dim**0.5
            vectors = vectors + torch.randn_like(vectors) * (self.noise * length)
        made = self.memory(vectors).view(len(vectors), self.slots, self.width)
        normed: Tensor = self.memory_norm(made)
        return normed

    def forward(self, vectors: Tensor, tokens: Tensor) -> Tensor:
        """float32 [B, T, vocabulary] of int64 [B, T] tokens, `start_token` first."""
        logits: Tensor = self.decoder(self._slots(vectors), None, tokens)
        return logits

    def loss(self, batch: Any, targets: Tensor, smoothing: float) -> Tensor:
        targets = targets.to(self.memory.weight.device)
        return self.decoder.loss(self._slots(batch), None, targets, smoothing)

    def stepper(self) -> ModuleStepper:
        return ModuleStepper(self)

    def encode(self, batch: Any) -> tuple[Tensor, Tensor]:
        memory = self._slots(batch)
        return memory, torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)

    def begin(self, memory: Tensor, mask: Tensor) -> Any:
        return self.decoder.begin(memory, None)

    def decode_step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        return self.decoder.decode_step(tokens, cache)

    def counts(self) -> dict[str, int]:
        total = sum(p.numel() for p in self.parameters())
        table = self.decoder.table
        embedding = table + self.decoder.positions.weight.numel()
        return {
            "total": total,
            "docid_table": table,
            "embedding": embedding,
            "non_embedding": total - embedding,
            "trained": total,
        }
