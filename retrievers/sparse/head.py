"""Puts a head of terms behind an encoder that has none: a masked language model's head, tied to the encoder's own word
embeddings and fitted in closed form, so that a token's weight begins as its own word's and its near neighbours'.

A trained sentence encoder keeps the words of a text in its last layer: a linear map fitted on a few hundred texts finds
each token's word again. The head holds that map (ridge regression from hidden states to word embeddings), and a bias a
word that lets it pass only where its logit is unusually high. Training goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seekbench.errors import InputError

#: Tokens of one word that the fit learns from, and of its ridge.
_PER_WORD, _RIDGE = 8, 1.0
#: Added before the activation, which is the identity that far from zero, and taken away by the layer norm after it.
_SHIFT = 8.0
#: Mean logit of a token's own word, and of a text's terms those that are beside its own, when training begins.
_OWN_LOGIT, _BESIDE = 3.0, 1.0
_POSITIONS = 4096


@dataclass(frozen=True)
class Fit:
    """found: share of tokens, not fitted on, whose own word has the highest logit beside its usual one; nonzeros: terms
    of a text then; words: different ones in a text, both in the mean."""

    found: float
    nonzeros: float
    words: float


def parts_of(model: Any) -> tuple[Any, Any, Any]:
    """(linear layer, layer norm, bias of words) of a masked language model's head. Raises InputError for one that is
    built in another way."""
    if hasattr(model, "cls") and hasattr(model.cls, "predictions"):  # BERT
        head = model.cls.predictions
        return head.transform.dense, head.transform.LayerNorm, head.decoder.bias
    if hasattr(model, "vocab_transform"):  # DistilBERT
        return model.vocab_transform, model.vocab_layer_norm, model.vocab_projector.bias
    if hasattr(model, "lm_head") and hasattr(model.lm_head, "layer_norm"):  # RoBERTa
        return model.lm_head.dense, model.lm_head.layer_norm, model.lm_head.decoder.bias
    raise InputError(
        f"a head of terms can't be put behind {type(model).__name__}",
        remedy="an encoder of BERT's, DistilBERT's or RoBERTa's kind, or one that has such a head",
    )


def fit(model: Any, tokenizer: Any, texts: list[str], *, length: int, batch: int = 16, seed: int = 0) -> Fit:
    """Fits the head of a masked language model in place. texts: a sample of the corpus, read to `length` tokens."""
    import torch

    dense, norm, bias = parts_of(model)
    embeddings = model.get_input_embeddings().weight.detach()
    if dense.weight.shape[0] != embeddings.shape[1]:
        raise InputError(
            "the word embeddings are of another width than the encoder, so that they can't be tied"
        )
    states, words, texts_of = _states(model, tokenizer, texts, length, batch)
    ordinary = ~torch.isin(words, torch.tensor(tokenizer.all_special_ids, device=words.device))
    chosen = _sample(words, ordinary, seed)
    if len(chosen) < 2 * dense.weight.shape[1]:
        raise InputError(
            f"{len(chosen)} tokens are too few to fit a head of {dense.weight.shape[1]} dimensions to: it takes "
            f"{2 * dense.weight.shape[1]} (at most {_PER_WORD} of one word)",
            remedy="a larger corpus, or more `head_texts`",
        )
    held, used = chosen[: len(chosen) // 10], chosen[len(chosen) // 10 :]
    wanted = embeddings - embeddings.mean(dim=0)
    wanted = wanted / wanted.norm(dim=1, keepdim=True).clamp_min(1e-6)
    inputs = torch.cat([states[used], states.new_ones(len(used), 1)], dim=1).double()
    square = inputs.T @ inputs + _RIDGE * torch.eye(
        inputs.shape[1], dtype=torch.float64, device=inputs.device
    )
    found = torch.linalg.solve(square, inputs.T @ wanted[words[used]].double()).float()
    spread = float((states[used] @ found[:-1] + found[-1]).std())
    with torch.no_grad():
        dense.weight.copy_(found[:-1].T / spread)
        dense.bias.copy_(found[-1] / spread + _SHIFT)
        norm.weight.fill_(1.0)
        norm.bias.zero_()
        bias.zero_()
        outputs = _outputs(dense, norm, states)
        mean, deviation = _usual(outputs, embeddings, seed)
        own = (outputs[held] * embeddings[words[held]]).sum(dim=1)
        standing = (own - mean[words[held]]) / deviation[words[held]]
        best = torch.stack([((o @ embeddings.T - mean) / deviation).max() for o in outputs[held]])
        distinct = _distinct(words, ordinary, texts_of, len(texts))
        level, nonzeros = _level(outputs, embeddings, mean, deviation, texts_of, distinct * (1 + _BESIDE))
        above = own - mean[words[held]] - level * deviation[words[held]]
        scale = _OWN_LOGIT / max(1e-3, float(above[above > 0].mean()))
        norm.weight.fill_(scale)
        bias.copy_(-scale * (mean + level * deviation))
    return Fit(float((standing >= best - 1e-4).float().mean()), nonzeros, distinct)


def _states(model: Any, tokenizer: Any, texts: list[str], length: int, batch: int) -> tuple[Any, Any, Any]:
    """(float32 [tokens, hidden] last hidden states, int64 [tokens] words, int64 [tokens] text) end to end."""
    import torch

    hidden, words, of = [], [], []
    with torch.no_grad():
        for at in range(0, len(texts), batch):
            rows = tokenizer(
                texts[at : at + batch], truncation=True, max_length=length, padding=True, return_tensors="pt"
            ).to(model.device)
            out = model.base_model(**rows).last_hidden_state
            keep = rows["attention_mask"].bool()
            hidden.append(out[keep].float())
            words.append(rows["input_ids"][keep])
            of.append((at + torch.arange(len(keep), device=model.device))[:, None].expand_as(keep)[keep])
    return torch.cat(hidden), torch.cat(words), torch.cat(of)


def _sample(words: Any, ordinary: Any, seed: int) -> Any:
    """Positions in random order, at most a few of each word."""
    import torch

    order = np.random.default_rng([seed, 91]).permutation(len(words))
    shuffled = words.cpu().numpy()[order]
    by = np.argsort(shuffled, kind="stable")
    starts = np.searchsorted(shuffled[by], shuffled[by])
    place = np.empty(len(by), dtype=np.int64)
    place[by] = np.arange(len(by)) - starts
    chosen = order[(place < _PER_WORD) & ordinary.cpu().numpy()[order]]
    return torch.from_numpy(chosen).to(words.device)


def _outputs(dense: Any, norm: Any, states: Any) -> Any:
    """What the head multiplies word embeddings with: the activation is the identity there."""
    return norm(dense(states))


def _usual(outputs: Any, embeddings: Any, seed: int) -> tuple[Any, Any]:
    """Mean and standard deviation of each word's logit over tokens: those of the outputs' mean and covariance."""
    mean = outputs.mean(dim=0)
    centred = outputs - mean
    covariance = centred.T @ centred / max(1, len(outputs) - 1)
    deviation = ((embeddings @ covariance) * embeddings).sum(dim=1).clamp_min(1e-12).sqrt()
    return embeddings @ mean, deviation


def _distinct(words: Any, ordinary: Any, of: Any, texts: int) -> float:
    pairs = np.unique(np.stack([of[ordinary].cpu().numpy(), words[ordinary].cpu().numpy()]), axis=1)
    return float(pairs.shape[1] / max(1, texts))


def _level(
    outputs: Any, embeddings: Any, mean: Any, deviation: Any, of: Any, wanted: float
) -> tuple[float, float]:
    """(how many deviations above its mean a word's logit must be so that a text has `wanted` terms, and how many it has
    then), on some of the texts."""
    import torch

    last = int(of.max()) + 1
    some = np.unique(np.linspace(0, last - 1, min(last, 64)).astype(int))
    highest = []
    for text in some.tolist():
        logits = outputs[of == text] @ embeddings.T
        highest.append(((logits.amax(dim=0) - mean) / deviation).sort(descending=True).values)
    table = torch.stack(highest)
    low, high = 0.0, float(table.max())
    for _ in range(40):
        level = (low + high) / 2
        count = float((table > level).sum(dim=1).float().mean())
        low, high = (level, high) if count > wanted else (low, level)
    return high, float((table > high).sum(dim=1).float().mean())
