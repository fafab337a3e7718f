"""The model's side of decoding: one token a row and a step, whatever the model.

This module needs torch at import: import it only where a model is about to run. A stepper keeps the model's
key/value cache in a state; `step` first gathers the cache's rows by `parents`, so beams may be reordered,
multiplied and dropped in one go, and queries that are done cost nothing more.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own custom)
from torch import Tensor


@runtime_checkable
class Stepper(Protocol):
    """What decoding needs of a model.

    vocabulary: number of tokens; columns: int64 [columns], the token of each column of the logits, ascending,
    or None where a column is a token.
    """

    vocabulary: int
    columns: Tensor | None

    def start(self, batch: Any) -> tuple[Any, Tensor]:
        """(state, float32 [B, columns]): encodes B inputs; the logits of their first docid token."""

    def step(self, state: Any, parents: Tensor, tokens: Tensor) -> Tensor:
        """float32 [R, columns]: the logits after row parents[i] of the last call went on with tokens[i].

        parents, tokens: int64 [R]; R may differ from call to call. The state is changed.
        """

    def narrow(self, tokens: Tensor) -> Stepper | None:
        """A stepper of the same model that computes the logits of these tokens only (int64, ascending); None
        where the model cannot."""


def _is_identity(parents: Tensor, rows: int) -> bool:
    return len(parents) == rows and bool((parents == torch.arange(rows, device=parents.device)).all())


# -- transformers -------------------------------------------------------------------------------------------


@dataclass
class _Head:
    """A model's output layer or some rows of it (a copy: make a new stepper after training the model further),
    applied to the decoder's hidden states."""

    weight: Tensor
    bias: Tensor | None
    scale: float

    def __call__(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden * self.scale if self.scale != 1 else hidden, self.weight, self.bias)


def _heads(model: Any, tokens: Tensor) -> list[_Head]:
    """What a narrowed output layer may be; the caller tries which one gives the model's own logits."""
    layer = model.get_output_embeddings()
    if layer is None:
        return []
    bias = getattr(layer, "bias", None)
    bias = None if bias is None else bias[tokens]
    extra = getattr(model, "final_logits_bias", None)  # BART
    if extra is not None:
        bias = extra[0, tokens] + (0 if bias is None else bias)
    weight = layer.weight[tokens].contiguous()
    width = int(weight.shape[1])
    # T5 with tied embeddings scales the hidden states.
    return [_Head(weight, bias, 1.0), _Head(weight, bias, width**-0.5)]


class _Transformers:
    """What the two kinds of transformers models share."""

    def __init__(self, model: Any, columns: Tensor | None, head: _Head | None) -> None:
        self.model = model
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        self.columns = columns
        self._head = head

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def _narrowed(self, tokens: Tensor, batch: Mapping[str, Tensor]) -> Any:
        tokens = tokens.to(self.device)
        with torch.inference_mode():
            _, full = self.start(batch)
            wanted = full[:, tokens]
            low = next(self.model.parameters()).dtype != torch.float32
            tolerance = 2e-2 if low else 1e-4
            for head in _heads(self.model, tokens):
                made = self._with(tokens, head)
                try:
                    _, found = made.start(batch)
                except (TypeError, AttributeError, RuntimeError):
                    return None
                if torch.allclose(found, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max())):
                    return made
        return None

    def _check(self) -> None:
        if self.model.training:
            raise ValueError("put the model in evaluation mode first: dropout would change its scores")

    def start(self, batch: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        raise NotImplementedError

    def _with(self, columns: Tensor, head: _Head) -> Any:
        raise NotImplementedError


@dataclass
class _Seq2SeqState:
    cache: Any
    memory: Tensor  # [R, S, d], each row's encoder output
    mask: Tensor | None  # [R, S]; None where no input is padded, which saves making masks at every step
    queries: Tensor  # int64 [R]


class Seq2SeqStepper(_Transformers):
    """An encoder-decoder of transformers (T5, mT5, BART). A batch is a mapping of input_ids and
    attention_mask, [B, S], padded on any side that the model takes."""

    def __init__(
        self,
        model: Any,
        *,
        start_token: int | None = None,
        columns: Tensor | None = None,
        head: _Head | None = None,
    ) -> None:
        super().__init__(model, columns, head)
        token = model.config.decoder_start_token_id if start_token is None else start_token
        if token is None:
            raise ValueError("the model names no decoder_start_token_id: give start_token")
        self.start_token = int(token)

    def _encoded(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor]:
        """(input ids, mask or None where nothing is padded, memory [B, S, d])."""
        self._check()
        ids = batch["input_ids"].to(self.device)
        mask = batch.get("attention_mask")
        mask = None if mask is None or bool((mask != 0).all()) else mask.to(self.device)
        return ids, mask, self.model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True)[0]

    def start(self, batch: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        ids, mask, memory = self._encoded(batch)
        state = _Seq2SeqState(None, memory, mask, torch.arange(len(ids), device=self.device))
        return state, self._forward(state, torch.full_like(state.queries, self.start_token))

    def step(self, state: Any, parents: Tensor, tokens: Tensor) -> Tensor:
        rows = len(state.queries)
        if not _is_identity(parents, rows):
            state.cache.self_attention_cache.reorder_cache(parents)
            queries = state.queries[parents]
            # Keys and values of the input are the same for all beams of a query: they are gathered only where
            # the queries of the rows change, not at each step.
            if len(queries) != rows or not torch.equal(queries, state.queries):
                state.cache.cross_attention_cache.reorder_cache(parents)
                state.memory, state.queries = state.memory[parents], queries
                state.mask = None if state.mask is None else state.mask[parents]
        return self._forward(state, tokens)

    def narrow(self, tokens: Tensor) -> Seq2SeqStepper | None:
        ids = torch.zeros((1, 2), dtype=torch.int64, device=self.device)
        made: Seq2SeqStepper | None = self._narrowed(tokens, {"input_ids": ids})
        return made

    def _with(self, columns: Tensor, head: _Head) -> Seq2SeqStepper:
        return Seq2SeqStepper(self.model, start_token=self.start_token, columns=columns, head=head)

    def _forward(self, state: _Seq2SeqState, tokens: Tensor) -> Tensor:
        if self._head is not None:
            out = self.model.get_decoder()(
                input_ids=tokens[:, None], encoder_hidden_states=state.memory, past_key_values=state.cache,
                encoder_attention_mask=state.mask, use_cache=True, return_dict=True,
            )  # fmt: skip
            logits = self._head(out.last_hidden_state[:, -1])
        else:
            from transformers.modeling_outputs import BaseModelOutput

            out = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=state.memory), attention_mask=state.mask,
                decoder_input_ids=tokens[:, None], past_key_values=state.cache, use_cache=True, return_dict=True,
            )  # fmt: skip
            logits = out.logits[:, -1]
        state.cache = out.past_key_values
        return logits.float()


@dataclass
class _T5State:
    queries: Tensor  # int64 [R], each row's query
    groups: Tensor  # int64 [A]: the queries of A groups of equally many neighbouring rows
    memory: list[tuple[Tensor, Tensor]]  # keys and values of all inputs, [B, heads, S, d], one pair a layer
    mask: Tensor | None  # bool [B, 1, 1, S]
    own: list[tuple[Tensor, Tensor]]  # keys and values of the tokens so far, [R, heads, t, d]
    shown: list[tuple[Tensor, Tensor]]  # `memory` of the groups
    shown_mask: Tensor | None
    bias: Tensor  # [heads, longest], of the last query position towards all keys


class T5Stepper(Seq2SeqStepper):
    """T5's decoder, one token a step, computed from the model's own weights without its modules.

    It saves what the modules cost per call, and the input's keys and values are kept once a query instead of
    once a beam. Make it with `of`, which compares it with the model first.
    """

    LONGEST = 64  # positions whose bias is made at once
    _buckets_of = 0
    _buckets: Tensor

    @classmethod
    def of(cls, model: Any, *, start_token: int | None = None) -> T5Stepper | None:
        """None where the model is no plain float32 T5 or its logits would differ."""
        if getattr(model.config, "model_type", "") not in ("t5", "mt5") or model.dtype != torch.float32:
            return None
        attention = [m for block in model.decoder.block for m in block.layer[:2]]
        linear = [getattr(next(m.children()), n, None) for m in attention for n in "qkvo"]
        feeds = [block.layer[2].DenseReluDense for block in model.decoder.block if len(block.layer) > 2]
        linear += [part for feed in feeds for name, part in feed.named_children() if name.startswith("w")]
        # Adapters and hooks would be passed over, now or after a training step.
        if any(type(m) is not torch.nn.Linear for m in linear):
            return None
        if any(m._forward_hooks or m._forward_pre_hooks for m in model.decoder.modules()):
            return None
        plain = Seq2SeqStepper(model, start_token=start_token)
        device = plain.device
        batch = {
            "input_ids": torch.arange(6, device=device).view(2, 3) % plain.vocabulary,
            "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]], device=device),
        }
        moves = [([0, 0, 1, 1], [1, 2, 3, 4]), ([1, 0, 3, 3], [5, 4, 3, 2]), ([2, 3], [2, 5])]
        width = int(model.config.d_model)
        for scale in (1.0, width**-0.5):
            layer = model.get_output_embeddings()
            made = cls(model, start_token=start_token, head=_Head(layer.weight, layer.bias, scale))
            try:
                with torch.inference_mode():
                    ours, theirs = made.start(batch), plain.start(batch)
                    equal = _close(ours[1], theirs[1])
                    for parents, tokens in moves:
                        args = torch.tensor(parents, device=device), torch.tensor(tokens, device=device)
                        args = args[0], args[1] % plain.vocabulary
                        equal &= _close(made.step(ours[0], *args), plain.step(theirs[0], *args))
            except (AttributeError, IndexError, RuntimeError, TypeError):
                return None
            if equal:
                return made
        return None

    def start(self, batch: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        ids, mask, memory = self._encoded(batch)
        blocks = self.model.decoder.block
        keys: list[tuple[Tensor, Tensor]] = []
        for block in blocks:
            cross = block.layer[1].EncDecAttention
            key, value = (self._split(cross, F.linear(memory, w.weight)) for w in (cross.k, cross.v))
            keys.append((key, value))
        seen = None if mask is None else (mask != 0)[:, None, None]
        queries = torch.arange(len(ids), device=ids.device)
        state = _T5State(queries, queries, keys, seen, [], keys, seen, self._bias(self.LONGEST))
        return state, self._next(state, torch.full_like(queries, self.start_token))

    def step(self, state: Any, parents: Tensor, tokens: Tensor) -> Tensor:
        rows = len(state.queries)
        if not _is_identity(parents, rows):
            state.own = [(k.index_select(0, parents), v.index_select(0, parents)) for k, v in state.own]
            queries = state.queries[parents]
            if len(queries) != rows or not torch.equal(queries, state.queries):
                state.queries = queries
                groups, counts = queries.unique_consecutive(return_counts=True)
                if not bool((counts == counts[0]).all()):
                    groups = queries
                if not torch.equal(groups, state.groups):
                    state.groups = groups
                    state.shown = [(k[groups], v[groups]) for k, v in state.memory]
                    state.shown_mask = None if state.mask is None else state.mask[groups]
        return self._next(state, tokens)

    def _next(self, state: _T5State, tokens: Tensor) -> Tensor:
        decoder, rows, groups = self.model.decoder, len(tokens), len(state.groups)
        length = state.own[0][0].shape[2] + 1 if state.own else 1
        if length > state.bias.shape[1]:
            state.bias = self._bias(2 * length)
        bias = state.bias[None, :, None, -length:]
        x = F.embedding(tokens, decoder.embed_tokens.weight)
        own = []
        for i, block in enumerate(decoder.block):
            self_layer, cross_layer, feed = block.layer
            part = self_layer.SelfAttention
            h = _rms(x, self_layer.layer_norm)
            q, k, v = (self._split(part, F.linear(h, w.weight)[:, None]) for w in (part.q, part.k, part.v))
            if state.own:
                k, v = torch.cat([state.own[i][0], k], dim=2), torch.cat([state.own[i][1], v], dim=2)
            own.append((k, v))
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
            x = x + F.linear(seen.reshape(rows, -1), part.o.weight)
            part = cross_layer.EncDecAttention
            h = _rms(x, cross_layer.layer_norm).view(groups, rows // groups, -1)
            q, (k, v) = self._split(part, F.linear(h, part.q.weight)), state.shown[i]
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=state.shown_mask, scale=1.0)
            x = x + F.linear(seen.transpose(1, 2).reshape(rows, -1), part.o.weight)
            x = x + _fed(feed.DenseReluDense, _rms(x, feed.layer_norm))
        state.own = own
        assert self._head is not None
        return self._head(_rms(x, decoder.final_layer_norm)).float()

    def _bias(self, longest: int) -> Tensor:
        """[heads, longest]: the bias of position longest - 1 towards positions 0, 1, ...; it depends on their
        distance alone, so an earlier position's is the tail."""
        part = self.model.decoder.block[0].layer[0].SelfAttention
        if longest != self._buckets_of:
            # Which row of the table each distance has; the rows themselves may be trained further.
            with torch.inference_mode(False):  # these indices outlive the mode of this call
                distance = torch.arange(longest, device=self.device) - (longest - 1)
                self._buckets_of, self._buckets = longest, part._relative_position_bucket(
                    distance, bidirectional=False, num_buckets=part.relative_attention_num_buckets,
                    max_distance=part.relative_attention_max_distance,
                )  # fmt: skip
        return cast(Tensor, part.relative_attention_bias.weight[self._buckets].T)

    def _split(self, part: Any, projected: Tensor) -> Tensor:
        """[N, heads, length, d] of [N, length, heads * d]."""
        rows, length, _ = projected.shape
        return projected.view(rows, length, part.n_heads, -1).transpose(1, 2)

    def _with(self, columns: Tensor, head: _Head) -> T5Stepper:
        return T5Stepper(self.model, start_token=self.start_token, columns=columns, head=head)


def _fed(part: Any, x: Tensor) -> Tensor:
    """A feed-forward layer in evaluation mode: T5's, or the gated one of T5 v1.1 and mT5."""
    if hasattr(part, "wi"):
        inner = part.act(F.linear(x, part.wi.weight))
    else:
        inner = part.act(F.linear(x, part.wi_0.weight)) * F.linear(x, part.wi_1.weight)
    return F.linear(inner, part.wo.weight)


def _rms(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max())))


def stepper_of(model: Any) -> Seq2SeqStepper | CausalStepper:
    """The fastest stepper of a transformers model with a language modelling head."""
    if not model.config.is_encoder_decoder:
        return CausalStepper(model)
    return T5Stepper.of(model) or Seq2SeqStepper(model)


@dataclass
class _CausalState:
    cache: Any
    mask: Tensor  # int64 [R, prompt + tokens so far]


class CausalStepper(_Transformers):
    """A decoder-only model of transformers. A batch is a mapping of input_ids and attention_mask, [B, S], the
    prompts padded on the left."""

    def __init__(self, model: Any, *, columns: Tensor | None = None, head: _Head | None = None) -> None:
        super().__init__(model, columns, head)
        self._takes = frozenset(inspect.signature(model.forward).parameters)

    def start(self, batch: Mapping[str, Tensor]) -> tuple[_CausalState, Tensor]:
        self._check()
        ids = batch["input_ids"].to(self.device)
        mask = batch.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask.to(self.device, torch.int64)
        if not bool(mask[:, -1].all()):
            raise ValueError("prompts of a decoder-only model must be padded on the left")
        state = _CausalState(None, mask)
        return state, self._forward(state, ids, (mask.cumsum(1) - 1).clamp(min=0))

    def step(self, state: _CausalState, parents: Tensor, tokens: Tensor) -> Tensor:
        if not _is_identity(parents, len(state.mask)):
            state.cache.reorder_cache(parents)
            state.mask = state.mask[parents]
        state.mask = torch.cat([state.mask, state.mask.new_ones(len(tokens), 1)], dim=1)
        return self._forward(state, tokens[:, None], state.mask.sum(1, keepdim=True) - 1)

    def narrow(self, tokens: Tensor) -> CausalStepper | None:
        ids = torch.zeros((1, 2), dtype=torch.int64, device=self.device)
        made: CausalStepper | None = self._narrowed(tokens, {"input_ids": ids})
        return made

    def _with(self, columns: Tensor, head: _Head) -> CausalStepper:
        return CausalStepper(self.model, columns=columns, head=head)

    def _forward(self, state: _CausalState, ids: Tensor, positions: Tensor) -> Tensor:
        inputs: dict[str, Any] = {
            "input_ids": ids, "attention_mask": state.mask, "past_key_values": state.cache, "use_cache": True,
            "return_dict": True,
        }  # fmt: skip
        if "position_ids" in self._takes:
            inputs["position_ids"] = positions
        if self._head is not None:
            out = self.model.get_decoder()(**inputs)
            logits = self._head(out.last_hidden_state[:, -1])
        else:
            if "logits_to_keep" in self._takes:
                inputs["logits_to_keep"] = 1
            out = self.model(**inputs)
            logits = out.logits[:, -1]
        state.cache = out.past_key_values
        return logits.float()


# -- any module ---------------------------------------------------------------------------------------------


class DocidModule(Protocol):
    """The small interface of an own model.

    vocabulary: number of tokens of the logits; start_token: the decoder's first input.
    Optional: `reorder(cache, parents)` returns the cache of the rows `parents` (int64 [R]), for caches that are
    no nesting of dicts, lists and tuples of tensors whose first dimension is the row, or that can do it
    cheaper; `narrow(tokens)` returns a module of this interface whose logits have only these columns.
    """

    vocabulary: int
    start_token: int

    def encode(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(memory [B, S, d], mask [B, S]) of B inputs (texts, or whatever the module takes)."""

    def begin(self, memory: Tensor, mask: Tensor) -> Any:
        """The cache before the first token, one row an input."""

    def decode_step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """([R, vocabulary] logits, cache) after one more token a row; tokens: int64 [R]."""


@dataclass
class _ModuleState:
    cache: Any
    rows: int


class ModuleStepper:
    """A stepper of a `DocidModule`."""

    def __init__(self, module: DocidModule, *, columns: Tensor | None = None) -> None:
        self.module = module
        self.vocabulary = int(module.vocabulary)
        self.columns = columns

    def start(self, batch: Any) -> tuple[_ModuleState, Tensor]:
        memory, mask = self.module.encode(batch)
        tokens = torch.full((len(memory),), self.module.start_token, dtype=torch.int64, device=memory.device)
        logits, cache = self.module.decode_step(tokens, self.module.begin(memory, mask))
        return _ModuleState(cache, len(memory)), logits.float()

    def step(self, state: _ModuleState, parents: Tensor, tokens: Tensor) -> Tensor:
        if not _is_identity(parents, state.rows):
            reorder = getattr(self.module, "reorder", _gathered)
            state.cache, state.rows = reorder(state.cache, parents), len(parents)
        logits, state.cache = self.module.decode_step(tokens, state.cache)
        return logits.float()

    def narrow(self, tokens: Tensor) -> ModuleStepper | None:
        make = getattr(self.module, "narrow", None)
        if make is None:
            return None
        made = ModuleStepper(make(tokens), columns=tokens)
        made.vocabulary = self.vocabulary
        return made


def _gathered(cache: Any, parents: Tensor) -> Any:
    """The rows `parents` of every tensor of a nested cache."""
    if isinstance(cache, Tensor):
        return cache.index_select(0, parents)
    if isinstance(cache, dict):
        return {key: _gathered(value, parents) for key, value in cache.items()}
    if isinstance(cache, list | tuple):
        made = [_gathered(value, parents) for value in cache]
        return tuple(made) if isinstance(cache, tuple) else made
    if hasattr(cache, "reorder_cache"):
        cache.reorder_cache(parents)
        return cache
    if cache is None or isinstance(cache, int | float | str):
        return cache
    raise TypeError(f"a cache of {type(cache).__name__} needs the module's own `reorder`")
