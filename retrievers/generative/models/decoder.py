"""The small decoder that the families `vector` and `encoder` share, and the numbering of its tokens.

It attends to memory vectors of an encoder; its vocabulary is that of the docids and nothing else, so its output layer
costs little even on a CPU. torch is imported where a class is used, so this module needs it at import: import it only
where a model is about to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.generative.models.base import DocidTokens

#: Builders whose docids are numbers: they are cut into digits, which word pieces would join as they like.
NUMBERS = ("naive", "random", "sequential")


def dense_tokens(
    docids: Docids, cut: Callable[[list[str]], Sequence[Sequence[int]]] | None, *, lists: bool
) -> DocidTokens:
    """Tokens 0 .. n - 1 are those that occur in docids, then a separator where lists are written, then the end.

    cut: the tokenizer of text docids; None cuts into characters.
    """
    flat, indptr = docids.sequences((cut or _characters) if docids.kind == "text" else None)
    known, dense = np.unique(flat, return_inverse=True)
    if docids.kind == "text":
        names = tuple(f"{'token' if cut else 'character'} {number}" for number in known.tolist())
    else:
        names = tuple(docids.symbol_names(known))
    end = len(known) + lists
    return DocidTokens(
        flat=dense.astype(np.int32),
        indptr=np.asarray(indptr),
        vocabulary=end + 1,
        end=end,
        separator=end - 1 if lists else None,
        own=(*names, *(["separator"] if lists else []), "end"),
        first_own=0,
    )


def _characters(texts: list[str]) -> list[list[int]]:
    return [[ord(c) for c in text] for text in texts]


class DocidDecoder(nn.Module):
    """Tokens are 0 .. vocabulary - 1; `start_token` = vocabulary is its first input and never an output.

    longest: the most tokens of a target, the closing one included.
    """

    def __init__(
        self, vocabulary: int, longest: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.vocabulary, self.start_token, self.longest = vocabulary, vocabulary, longest
        self.tokens = nn.Embedding(vocabulary + 1, width)
        self.positions = nn.Embedding(longest, width)
        blocks = [_Block(width, heads, dropout) for _ in range(layers)]
        self.blocks: Any = nn.ModuleList(blocks)  # iterating it gives modules of no type
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=width**-0.5)

    def _logits(self, hidden: Tensor) -> Tensor:
        # The output layer is the table of docid tokens itself, which halves what a docid token costs.
        return functional.linear(self.norm(hidden), self.tokens.weight[:-1], self.bias)

    def forward(self, memory: Tensor, mask: Tensor | None, tokens: Tensor) -> Tensor:
        """float32 [B, T, vocabulary]: logits of each token. memory: float32 [B, S, width]; mask: bool [B, S], False
        where the memory is padding, or None; tokens: int64 [B, T], what was read before each (`shifted`)."""
        return self._logits(self._hidden(memory, mask, tokens))

    def _hidden(self, memory: Tensor, mask: Tensor | None, tokens: Tensor) -> Tensor:
        seen = _seen(mask)
        hidden: Tensor = self.drop(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])
        for block in self.blocks:
            hidden = block(hidden, memory, seen)
        return hidden

    def loss(self, memory: Tensor, mask: Tensor | None, targets: Tensor, smoothing: float) -> Tensor:
        """Cross entropy: the mean over all target tokens. targets: int64 [B, T], -100 after the closing token."""
        hidden = self._hidden(memory, mask, shifted(targets, self.start_token))
        # Padding needs no logits, which are most of the work where docids are texts.
        real = targets >= 0
        return functional.cross_entropy(self._logits(hidden[real]), targets[real], label_smoothing=smoothing)

    def begin(self, memory: Tensor, mask: Tensor | None) -> Any:
        seen = _seen(mask)
        return {"at": 0, "layers": [block.begin(memory) for block in self.blocks], "seen": seen}

    def decode_step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        at = cache["at"]
        hidden = self.tokens(tokens) + self.positions.weight[at]
        layers = []
        for block, state in zip(self.blocks, cache["layers"], strict=True):
            hidden, state = block.step(hidden, state, cache["seen"])
            layers.append(state)
        return self._logits(hidden), {"at": at + 1, "layers": layers, "seen": cache["seen"]}

    @property
    def table(self) -> int:
        """Parameters that exist for docid tokens."""
        return self.tokens.weight.numel() + self.bias.numel()

    @torch.no_grad()
    def take_over(self, other: DocidDecoder, known: DocidTokens, tokens: DocidTokens) -> None:
        """The weights of `other`; rows of tokens go by their names, new tokens and positions keep their own."""
        mine, theirs = self.state_dict(), other.state_dict()
        for name, value in theirs.items():
            if value.shape == mine[name].shape and not name.startswith(("tokens.", "bias")):
                mine[name].copy_(value)
        kept = min(self.longest, other.longest)
        self.positions.weight[:kept] = other.positions.weight[:kept]
        place = {name: i for i, name in enumerate(known.own)}
        pairs = [(i, place[name]) for i, name in enumerate(tokens.own) if name in place]
        here, there = (torch.tensor(x) for x in zip(*pairs, strict=True))
        self.tokens.weight[here] = other.tokens.weight[there]
        self.tokens.weight[-1] = other.tokens.weight[-1]  # the start
        self.bias[here] = other.bias[there]


def _seen(mask: Tensor | None) -> Tensor | None:
    """bool [B, 1, 1, S] for attention."""
    return None if mask is None else mask[:, None, None]


class _Block(nn.Module):
    """Self-attention over the docid so far, attention to the memory, a feed-forward layer; norms come first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.asked = nn.Linear(width, width)
        self.given = nn.Linear(width, 2 * width)
        self.given_out = nn.Linear(width, width)
        self.forward_in = nn.Linear(width, 4 * width)
        self.forward_out = nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def _split(self, x: Tensor) -> Tensor:
        """[B, heads, T, width / heads] of [B, T, width]."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def _fed(self, hidden: Tensor) -> Tensor:
        inner = functional.gelu(self.forward_in(self.norms[2](hidden)))
        made: Tensor = hidden + self.drop(self.forward_out(self.drop(inner)))
        return made

    def forward(self, hidden: Tensor, memory: Tensor, seen: Tensor | None) -> Tensor:
        rate = self.rate if self.training else 0.0
        q, k, v = (self._split(x) for x in self.own(self.norms[0](hidden)).chunk(3, dim=-1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)
        hidden = hidden + self.drop(self.own_out(self._joined(mixed)))
        k, v = (self._split(x) for x in self.given(memory).chunk(2, dim=-1))
        q = self._split(self.asked(self.norms[1](hidden)))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=rate)
        return self._fed(hidden + self.drop(self.given_out(self._joined(mixed))))

    def begin(self, memory: Tensor) -> dict[str, Tensor]:
        k, v = (self._split(x) for x in self.given(memory).chunk(2, dim=-1))
        none = k[:, :, :0]
        return {"memory_k": k, "memory_v": v, "k": none, "v": none}

    def step(
        self, hidden: Tensor, state: dict[str, Tensor], seen: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """hidden: [R, width], of one more token."""
        one = hidden[:, None]
        q, k, v = (self._split(x) for x in self.own(self.norms[0](one)).chunk(3, dim=-1))
        state = {**state, "k": torch.cat([state["k"], k], dim=2), "v": torch.cat([state["v"], v], dim=2)}
        one = one + self.own_out(
            self._joined(functional.scaled_dot_product_attention(q, state["k"], state["v"]))
        )
        q = self._split(self.asked(self.norms[1](one)))
        mixed = functional.scaled_dot_product_attention(
            q, state["memory_k"], state["memory_v"], attn_mask=seen
        )
        return self._fed(one + self.given_out(self._joined(mixed)))[:, 0], state


def docid_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross entropy, the mean over all tokens of all docids of the batch.

    logits: [B, T, V]; targets: int64 [B, T], -100 after the docid's end. smoothing: label smoothing over V.
    """
    return functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, label_smoothing=smoothing
    )


def shifted(targets: Tensor, start: int) -> Tensor:
    """int64 [B, T]: what a decoder has read before each target: the start token, then the target before it. After the
    docid's end it is the start token again, which no loss looks at."""
    read = torch.full_like(targets, start)
    read[:, 1:] = torch.where(targets[:, :-1] >= 0, targets[:, :-1], read[:, :-1])
    return read
