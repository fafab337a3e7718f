"""The module of the family `checkpoint`. It needs torch at import: import it only where a model is about to run.

What new tokens and a forced first token are is said in `checkpoint`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seekbench.retrievers.generative.models.decoder import docid_loss, shifted
from seekbench.retrievers.generative.models.pretrained import quiet
from seekbench.retrievers.generative.steppers import Stepper, stepper_of


@dataclass(frozen=True)
class Head:
    """What a model must know beside its weights. seq2seq: it has an encoder; start: the decoder's first input (None
    without an encoder); forced: the token that is written first at no cost; own, first_own: as in `DocidTokens`;
    dtype: of computing."""

    seq2seq: bool
    start: int | None
    forced: int | None
    pad: int
    own: tuple[str, ...]
    first_own: int
    dtype: str


class CheckpointModel(nn.Module):
    """A `base.Model` around a model of transformers. A batch is that of `TokenInputs`, padded on the left for a
    decoder-only model. In training the checkpoint's own dropout is applied."""

    def __init__(self, inner: Any, head: Head) -> None:
        super().__init__()
        self.inner, self.head = inner, head

    @property
    def device(self) -> Any:
        return self.inner.device

    def loss(self, batch: Mapping[str, Tensor], targets: Tensor, smoothing: float) -> Tensor:
        with computing(self.head.dtype, self.device):
            logits = self.logits(batch, targets)
        return docid_loss(logits.float(), targets.to(self.device), smoothing)

    def logits(self, batch: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """[B, T, vocabulary]: of each target, when those before it have been read. targets: int64 [B, T], -100 after
        the last one."""
        ids, mask, targets = (
            x.to(self.device) for x in (batch["input_ids"], batch["attention_mask"], targets)
        )
        if self.head.start is not None:
            out = self.inner(
                input_ids=ids, attention_mask=mask, decoder_input_ids=shifted(targets, self.head.start),
                use_cache=False, return_dict=True,
            )  # fmt: skip
            logits: Tensor = out.logits
            return logits
        read = targets[:, :-1]
        ids = torch.cat([ids, read.masked_fill(read < 0, self.head.pad)], dim=1)
        mask = torch.cat([mask, (read >= 0).to(mask.dtype)], dim=1)
        more: dict[str, Any] = {}
        takes = inspect.signature(self.inner.forward).parameters
        if "position_ids" in takes:
            more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        if "logits_to_keep" in takes:
            more["logits_to_keep"] = targets.shape[1]
        out = self.inner(input_ids=ids, attention_mask=mask, use_cache=False, return_dict=True, **more)
        kept: Tensor = out.logits[:, -targets.shape[1] :]
        return kept

    def stepper(self) -> Stepper:
        made = stepper_of(self.inner)
        if self.head.forced is None and self.head.dtype == "float32":
            return made
        return _Stepper(made, self.head, self.device)

    def counts(self) -> dict[str, int]:
        tables = {id(m.weight): m.weight for m in self.inner.modules() if isinstance(m, nn.Embedding)}
        output = self.inner.get_output_embeddings()
        tables |= {id(p): p for p in output.parameters()}
        total = sum(p.numel() for p in self.parameters())
        embedding = sum(p.numel() for p in tables.values())
        own = len(self.head.own)
        return {
            "total": total,
            "docid_table": sum(own * table[0].numel() for table in token_tables(self.inner)),
            "embedding": embedding,
            "non_embedding": total - embedding,
            "trained": sum(p.numel() for p in self.parameters() if p.requires_grad),
        }


@contextmanager
def computing(dtype: str, device: Any) -> Iterator[None]:
    """Matrix products in this dtype."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        yield


class _Stepper:
    """A stepper that computes in the model's dtype and whose first token is the forced one."""

    def __init__(self, inner: Any, head: Head, device: Any) -> None:
        self.inner, self.head, self.device = inner, head, device
        self.vocabulary: int = inner.vocabulary
        self.columns: Tensor | None = inner.columns

    def start(self, batch: Any) -> tuple[Any, Tensor]:
        with computing(self.head.dtype, self.device):
            state, logits = self.inner.start(batch)
        if self.head.forced is not None:
            # generate's processor does the same: the forced token's log-probability is 0, all others' -inf.
            forced = self.head.forced
            if self.columns is not None:
                forced = int((self.columns == forced).nonzero()[0, 0])
            logits = logits.new_full(logits.shape, float("-inf"))
            logits[:, forced] = 0.0
        return state, logits

    def step(self, state: Any, parents: Tensor, tokens: Tensor) -> Tensor:
        with computing(self.head.dtype, self.device):
            logits: Tensor = self.inner.step(state, parents, tokens)
        return logits

    def narrow(self, tokens: Tensor) -> _Stepper | None:
        with computing(self.head.dtype, self.device):
            made = self.inner.narrow(tokens)
        return None if made is None else _Stepper(made, self.head, self.device)


def token_tables(model: Any) -> list[Any]:
    """The parameters with a row (or number) a token, each once: the input's table, the output's, its bias."""
    output = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight, output.weight, getattr(output, "bias", None)]
    return list({id(p): p for p in found if p is not None}.values())


def resize(model: Any, rows: int, base: int, seed: int) -> None:
    """Gives the model `rows` tokens in place; rows from `base` on are drawn anew (see `checkpoint`)."""
    given, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if len(given) != rows:
        with quiet():
            model.resize_token_embeddings(rows, mean_resizing=False)
        head = model.get_output_embeddings()
        if output is not given and head.weight is model.get_input_embeddings().weight:
            # transformers 5 says of every T5 that its tables are tied. It loads the two of mT5 and T5 v1.1 all the
            # same, but resizing ties them, and the output's would be lost.
            own = torch.zeros_like(head.weight)
            kept = min(rows, len(output))
            own[:kept] = output.detach()[:kept]
            head.weight = nn.Parameter(own, requires_grad=output.requires_grad)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in token_tables(model):
            known = table[:base].float()
            noise = torch.randn((rows - base, *table.shape[1:]), generator=draw).to(table.device)
            table[base:] = known.mean(0) + known.std(0) * noise
