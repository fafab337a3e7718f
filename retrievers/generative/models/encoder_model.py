"""The module of the family `encoder`. It needs torch at import: import it only where a model is about to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from seekbench.retrievers.generative.models.decoder import DocidDecoder
from seekbench.retrievers.generative.steppers import ModuleStepper, Stepper

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.encoder import EncoderParams


class EncoderModel(nn.Module):
    """A `base.Model` and a `steppers.DocidModule`; a batch is that of `TokenInputs`, padded on the right."""

    def __init__(self, encoder: Any, params: EncoderParams, vocabulary: int, longest: int) -> None:

        super().__init__()
        self.frozen = params.freeze
        self.encoder = encoder.requires_grad_(not params.freeze)
        self.project = nn.Linear(_hidden(encoder), params.width)
        self.norm = nn.LayerNorm(params.width)
        self.decoder = DocidDecoder(
            vocabulary, longest, params.width, params.layers, params.heads, params.dropout
        )
        self.vocabulary, self.start_token = vocabulary, self.decoder.start_token

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()  # its dropout would be noise that it never learns to bear
        return self

    def loss(self, batch: Mapping[str, Tensor], targets: Tensor, smoothing: float) -> Tensor:
        targets = targets.to(self.project.weight.device)
        memory, mask = self.encode(batch)
        return self.decoder.loss(memory, mask, targets, smoothing)

    def stepper(self) -> Stepper:
        return ModuleStepper(self)

    def encode(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """(float32 [B, S, width], bool [B, S] or None where no text is padded)."""
        ids, mask = (batch[name].to(self.project.weight.device) for name in ("input_ids", "attention_mask"))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = self.encoder(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state
        memory: Tensor = self.norm(self.project(hidden))
        seen = mask != 0
        return memory, None if bool(seen.all()) else seen

    def begin(self, memory: Tensor, mask: Any) -> Any:
        return self.decoder.begin(memory, mask)

    def decode_step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        return self.decoder.decode_step(tokens, cache)

    def counts(self) -> dict[str, int]:
        tables = {id(m.weight): m.weight for m in self.modules() if isinstance(m, nn.Embedding)}
        total = sum(p.numel() for p in self.parameters())
        embedding = sum(p.numel() for p in tables.values()) + self.decoder.bias.numel()
        return {
            "total": total,
            "docid_table": self.decoder.table,
            "embedding": embedding,
            "non_embedding": total - embedding,
            "trained": sum(p.numel() for p in self.parameters() if p.requires_grad),
        }

    def saved(self) -> Any:
        """The module whose weights are no copy of the checkpoint's."""
        if not self.frozen:
            return self
        return nn.ModuleDict({"project": self.project, "norm": self.norm, "decoder": self.decoder})


def _hidden(encoder: Any) -> int:
    config = encoder.config
    return int(getattr(config, "hidden_size", None) or config.d_model)
