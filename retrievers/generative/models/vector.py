"""A small decoder of docids on the vector of a frozen sentence encoder.

The encoder's vectors of all training texts are computed once, so a step of training costs the decoder alone: real runs
on a CPU. The vector is projected to a few memory slots, which the decoder attends to; its vocabulary is that of the
docids and nothing else.

This module needs torch at import: import it only where a model is about to run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """dim: of the encoder's vectors; vocabulary: docid tokens and the end token; slots: memory vectors made of one
    sentence vector; length: the most tokens of a docid, the end token included."""

    dim: int
    vocabulary: int
    length: int
    width: int = 256
    layers: int = 2
    heads: int = 4
    slots: int = 4
    dropout: float = 0.1

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class VectorDecoder(nn.Module):
    """A `steppers.DocidModule`. Tokens are 0 .. vocabulary - 1; `start_token` = vocabulary is the decoder's first input
    and never an output."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.vocabulary, self.start_token = shape.vocabulary, shape.vocabulary
        self.memory = nn.Linear(shape.dim, shape.slots * shape.width)
        self.memory_norm = nn.LayerNorm(shape.width)
        self.tokens = nn.Embedding(shape.vocabulary + 1, shape.width)
        self.positions = nn.Embedding(shape.length, shape.width)
        blocks = [_Block(shape) for _ in range(shape.layers)]
        self.blocks: Any = nn.ModuleList(blocks)  # iterating it gives modules of no type
        self.norm = nn.LayerNorm(shape.width)
        self.drop = nn.Dropout(shape.dropout)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        nn.init.normal_(self.tokens.weight, std=shape.width**-0.5)
        nn.init.normal_(self.positions.weight, std=shape.width**-0.5)

    def _logits(self, hidden: Tensor) -> Tensor:
        # The output layer is the table of docid tokens itself, which halves what a docid token costs.
        return functional.linear(self.norm(hidden), self.tokens.weight[:-1], self.bias)

    def _slots(self, vectors: Tensor) -> Tensor:
        made = self.memory(vectors).view(len(vectors), self.shape.slots, self.shape.width)
        normed: Tensor = self.memory_norm(made)
        return normed

    def forward(self, vectors: Tensor, tokens: Tensor) -> Tensor:
        """float32 [B, T, vocabulary]: logits of each token of the docids. vectors: float32 [B, dim]; tokens: int64
        [B, T], what the decoder has read before each, so `start_token` first."""
        memory = self._slots(vectors)
        hidden = self.drop(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])
        for block in self.blocks:
            hidden = block(hidden, memory)
        return self._logits(hidden)

    # -- what decoding needs ----------------------------------------------------------------------------------

    def encode(self, batch: Any) -> tuple[Tensor, Tensor]:
        memory = self._slots(batch)
        return memory, torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)

    def begin(self, memory: Tensor, mask: Tensor) -> Any:
        return {"at": 0, "layers": [block.begin(memory) for block in self.blocks]}

    def decode_step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        at = cache["at"]
        hidden = self.tokens(tokens) + self.positions.weight[at]
        layers = []
        for block, state in zip(self.blocks, cache["layers"], strict=True):
            hidden, state = block.step(hidden, state)
            layers.append(state)
        return self._logits(hidden), {"at": at + 1, "layers": layers}

    def counts(self) -> dict[str, int]:
        """Parameters: total, of the table of docid tokens, and of the rest."""
        total = sum(p.numel() for p in self.parameters())
        table = self.tokens.weight.numel() + self.bias.numel()
        return {
            "total": total,
            "docid_table": table,
            "non_embedding": total - table - self.positions.weight.numel(),
        }


class _Block(nn.Module):
    """Self-attention over the docid so far, attention to the memory, a feed-forward layer; norms come first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.rate = shape.heads, shape.dropout
        width = shape.width
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.asked = nn.Linear(width, width)
        self.given = nn.Linear(width, 2 * width)
        self.given_out = nn.Linear(width, width)
        self.forward_in = nn.Linear(width, 4 * width)
        self.forward_out = nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(shape.dropout)

    def _split(self, x: Tensor) -> Tensor:
        """[B, heads, T, width / heads] of [B, T, width]."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def _fed(self, hidden: Tensor) -> Tensor:
        inner = functional.gelu(self.forward_in(self.norms[2](hidden)))
        made: Tensor = hidden + self.drop(self.forward_out(self.drop(inner)))
        return made

    def forward(self, hidden: Tensor, memory: Tensor) -> Tensor:
        rate = self.rate if self.training else 0.0
        q, k, v = (self._split(x) for x in self.own(self.norms[0](hidden)).chunk(3, dim=-1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)
        hidden = hidden + self.drop(self.own_out(self._joined(mixed)))
        k, v = (self._split(x) for x in self.given(memory).chunk(2, dim=-1))
        q = self._split(self.asked(self.norms[1](hidden)))
        mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return self._fed(hidden + self.drop(self.given_out(self._joined(mixed))))

    def begin(self, memory: Tensor) -> dict[str, Tensor]:
        k, v = (self._split(x) for x in self.given(memory).chunk(2, dim=-1))
        none = k[:, :, :0]
        return {"memory_k": k, "memory_v": v, "k": none, "v": none}

    def step(self, hidden: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """hidden: [R, width], of one more token."""
        one = hidden[:, None]
        q, k, v = (self._split(x) for x in self.own(self.norms[0](one)).chunk(3, dim=-1))
        state = {**state, "k": torch.cat([state["k"], k], dim=2), "v": torch.cat([state["v"], v], dim=2)}
        one = one + self.own_out(
            self._joined(functional.scaled_dot_product_attention(q, state["k"], state["v"]))
        )
        q = self._split(self.asked(self.norms[1](one)))
        mixed = functional.scaled_dot_product_attention(q, state["memory_k"], state["memory_v"])
        return self._fed(one + self.given_out(self._joined(mixed)))[:, 0], state


def docid_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross entropy, the mean over all tokens of all docids of the batch.

    logits: [B, T, V]; targets: int64 [B, T], -100 after the docid's end. smoothing: label smoothing over V.
    """
    return functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, label_smoothing=smoothing
    )
