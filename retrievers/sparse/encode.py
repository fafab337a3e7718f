"""Texts to weights of terms: a checkpoint's own modules, fed in batches of like length.

sentence-transformers loads the modules; batching is that of the dense encoder. A text of a masked language model gets
for each word of the vocabulary the highest (or the summed) log(1 + ReLU(logit)) over its tokens (SPLADE v2, Formal et
al. 2021, https://arxiv.org/abs/2109.10086); where queries have a table, a query gets the weight of each of its tokens,
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense.checkpoint import Checkpoint
from seekbench.retrievers.dense.encode import Encoder, loading, plain_transformer, quiet, ready, weights_as
from seekbench.retrievers.sparse.checkpoint import TOKEN_HEAD, SparseCheckpoint, SparseRecipe
from seekbench.retrievers.sparse.vectors import SparseVectors, pruned

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

#: Bytes of the logits of one batch, [tokens, vocabulary] in float32.
LOGIT_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30, "mps": 1 << 30}


@dataclass(frozen=True)
class Weighted:
    """vectors: of the texts, in their order; read: tokens that were encoded; truncated: texts that lost tokens to the
    maximum length."""

    vectors: SparseVectors
    read: int
    truncated: int


class SparseEncoder(Encoder):
    """A loaded learned sparse checkpoint. Raises InputError where its tokenizer is not a fast one."""

    recipe: SparseRecipe
    checkpoint: SparseCheckpoint

    def __init__(
        self, checkpoint: Checkpoint, *, dtype: str, device: str, threads: int, batch_tokens: int | None
    ) -> None:
        super().__init__(checkpoint, dtype=dtype, device=device, threads=threads, batch_tokens=batch_tokens)
        self.whole = self.model
        self._sides = {side: modules_of(self.whole, side) for side in ("query", "document")}
        self.table: Floats | None = None
        if self.recipe.queries != "model":
            self.table = self._query_table()
        first = self._sides["document"][0]
        if not getattr(first.tokenizer, "is_fast", False):
            raise InputError(f"{self.name} has no fast tokenizer (tokenizer.json), which this encoder needs")
        if batch_tokens is None:
            per = LOGIT_BYTES[self.device.partition(":")[0]] // (4 * self.width)
            self.batch_tokens = min(self.batch_tokens, max(64, per))

    def _load(self, dtype: Any) -> Any:
        return load(self.checkpoint, dtype, self.device)

    def _takes_plain_text(self) -> bool:
        return False  # maximum lengths are those of queries and documents

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.whole.parameters())

    @property
    def tokenizer(self) -> Any:
        """Of documents."""
        return self._sides["document"][0].tokenizer

    @property
    def width(self) -> int:
        """Terms of the vocabulary (or latent ones)."""
        for module in reversed(self._sides["document"]):
            for name in ("hidden_dim", "num_dimensions", "width"):
                if isinstance(getattr(module, name, None), int):
                    return int(getattr(module, name))
        config = self._sides["document"][0].auto_model.config
        return int(config.get_text_config().vocab_size)

    @property
    def latent(self) -> bool:
        """Whether terms are no words (autoencoders)."""
        return any(type(m).__name__ == "SparseAutoEncoder" for m in self._sides["document"])

    def words(self, terms: npt.NDArray[Any]) -> list[str]:
        """Names of terms."""
        if self.latent:
            return [f"#{term}" for term in terms.tolist()]
        return [str(word) for word in self.tokenizer.convert_ids_to_tokens(terms.tolist())]

    def _query_table(self) -> Floats:
        """float32 [width]: what a token of a query weighs; special tokens 0."""
        if self.recipe.queries == "binary":
            table = np.ones(self.width, dtype=np.float32)
            table[self.tokenizer.all_special_ids] = 0
        else:
            table = table_of(self.checkpoint, self.whole, self.tokenizer)
        if not np.isfinite(table).all() or (table < 0).any():  # a checkpoint's own
            raise InputError(f"{self.name}: query weights must be finite and not below 0")
        if len(table) < self.width:
            table = np.pad(table, (0, self.width - len(table)))
        return table

    def weights(
        self,
        texts: list[str],
        side: str,
        *,
        top: int | None = None,
        threshold: float | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Weighted:
        """Weights of texts. side: query or document; top, threshold: see `pruned`."""
        if not texts:
            return Weighted(SparseVectors.empty(self.width), 0, 0)
        self._use_threads()
        if side == "query" and self.table is not None:
            found = self._looked_up(texts)
            if advance:
                advance(len(texts))
            return Weighted(pruned(found.vectors, top, threshold), found.read, found.truncated)
        self.model = self._sides[side]
        if self.recipe.most:
            top = min(top or self.recipe.most, self.recipe.most)
        rows, lengths, truncated = self._tokenized(texts, self.recipe.prompt(side), self.recipe.length(side))
        made: list[SparseVectors] = []
        order: list[npt.NDArray[np.int64]] = []
        for batch in self._batches(lengths):
            dense = self._forward(rows, batch, {"modality": "text"}, side)
            made.append(pruned(SparseVectors.of_dense(self._checked(dense)), top, threshold))
            order.append(batch)
            if advance:
                advance(len(batch))
        place = np.empty(len(texts), dtype=np.int64)
        place[np.concatenate(order)] = np.arange(len(texts))
        return Weighted(SparseVectors.stacked(made).some(place), int(lengths.sum()), truncated)

    def _looked_up(self, texts: list[str]) -> Weighted:
        """Each distinct token of a text with its weight in the table; no model is asked."""
        assert self.table is not None
        tokenizer = getattr(self._sides["query"][0], "tokenizer", None) or self.tokenizer
        prompt, most = self.recipe.prompt("query"), self.recipe.length("query")
        with quiet():
            rows = tokenizer(
                [prompt + text for text in texts] if prompt else texts,
                add_special_tokens=False, truncation=bool(most), max_length=most, padding=False,
            )  # fmt: skip
        read, truncated, terms = 0, 0, []
        for i, ids in enumerate(rows["input_ids"]):
            read += len(ids)
            truncated += bool(most and len(ids) >= most and rows.encodings[i].overflowing)
            found = np.unique(np.asarray(ids, dtype=np.int32))
            terms.append(found[self.table[found] > 0])
        flat = np.concatenate(terms) if terms else np.empty(0, np.int32)
        indptr = np.concatenate([[0], np.cumsum([len(t) for t in terms])])
        return Weighted(SparseVectors(indptr, flat, self.table[flat], self.width), read, truncated)

    def _vectors(self, features: dict[str, Any], side: str) -> Floats:
        """float32 [texts, width] of padded tokens."""
        import torch

        with torch.inference_mode():
            first, *rest = self.model
            if _is_splade(self.model):
                pool = rest[0]
                out = first(features, task=side)
                vectors = pooled(
                    out["token_embeddings"], out["attention_mask"], pool.pooling_strategy, pool.activation_function
                )  # fmt: skip
            else:
                features = first(features, task=side)
                for module in rest:
                    wants_side = "task" in getattr(module, "forward_kwargs", ())
                    features = module(features, task=side) if wants_side else module(features)
                vectors = features["sentence_embedding"].float()
            if self.recipe.normalize:
                vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
            array: Floats = vectors.cpu().numpy()
            return array


def pooled(logits: Any, mask: Any, aggregation: str, activation: str) -> Any:
    """float32 [texts, vocabulary]: log(1 + ReLU(logit)), once or (`log1p_relu`) twice, over the tokens of each text.

    logits: [texts, tokens, vocabulary]; mask: [texts, tokens]. The highest is taken before the logarithm, which keeps
    the order, so it is taken of one number a word.
    """

    def saturated(values: Any) -> Any:
        values = values.float().relu().log1p()
        return values.log1p() if activation == "log1p_relu" else values

    logits = logits * mask.unsqueeze(-1).to(logits.dtype)
    return saturated(logits.amax(dim=1)) if aggregation == "max" else saturated(logits).sum(dim=1)


def _is_splade(modules: list[Any]) -> bool:
    """A masked language model and a pooling of its logits, and nothing else."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    return len(modules) == 2 and isinstance(modules[0], Transformer) and type(modules[1]) is SpladePooling


def modules_of(model: Any, side: str) -> list[Any]:
    """The modules that a text of a side goes through."""
    from sentence_transformers.base.modules import Router

    modules: list[Any] = []
    for module in model:
        if isinstance(module, Router):
            name = side if side in module.sub_modules else str(module.default_route)
            modules += list(module.sub_modules[name])
        else:
            modules.append(module)
    return modules


def table_of(checkpoint: SparseCheckpoint, model: Any, tokenizer: Any) -> Floats:
    """float32 [vocabulary]: weights of query tokens, of a checkpoint whose queries are looked up. model: it, loaded."""
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    if checkpoint.recipe.table is not None:
        path = Path(checkpoint.recipe.table)
        return read_table(path if path.is_absolute() else checkpoint.folder / path, tokenizer)
    static = modules_of(model, "query")[0]
    if not isinstance(static, SparseStaticEmbedding):
        raise SeekbenchError(f"{checkpoint.name} has no table of query weights")
    table: Floats = static.weight.detach().float().cpu().numpy().copy()
    return table


def table_pairs(path: Path) -> list[tuple[str, float, str]]:
    """(token, weight, where it stands) of a table of query weights: JSON {token: weight}, or lines of token, tab,
    weight. Raises InputError with file and line for what is not that.
    """
    found: list[tuple[str, Any, str]] = []
    try:
        if path.suffix == ".json":
            table = orjson.loads(path.read_bytes())
            if not isinstance(table, dict):
                raise InputError("a table of query weights is an object {token: weight}", where=str(path))
            found = [(token, weight, str(path)) for token, weight in table.items()]
        else:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                token, tab, weight = line.partition("\t")
                if line and not tab:
                    raise InputError("token, tab, weight are expected", where=f"{path}:{number}")
                if line:
                    found.append((token, weight, f"{path}:{number}"))
    except (OSError, ValueError) as error:
        raise InputError(f"can't read this table of query weights ({error})", where=str(path)) from error
    out = []
    for token, weight, where in found:
        try:
            value = float(weight)
        except (TypeError, ValueError):
            value = float("nan")
        if not 0 <= value < float("inf"):
            raise InputError(f"the weight of '{token}' is no number from 0 on: {weight!r}", where=where)
        out.append((token, value, where))
    return out


def read_table(path: Path, tokenizer: Any) -> Floats:
    """float32 [vocabulary] of a table of query weights. Raises InputError as `table_pairs`, and where it has no token
    of this vocabulary."""
    vocabulary = tokenizer.get_vocab()
    out = np.zeros(max(vocabulary.values()) + 1, dtype=np.float32)
    known = 0
    for token, weight, _ in table_pairs(path):
        if token in vocabulary:
            out[vocabulary[token]] = weight
            known += 1
    if not known:
        raise InputError("no token of this table is in the checkpoint's vocabulary", where=str(path))
    return out


def load(checkpoint: SparseCheckpoint, dtype: Any, device: str) -> Any:
    """The checkpoint as a sentence_transformers.SparseEncoder that follows the recipe."""
    import sentence_transformers

    recipe, folder = checkpoint.recipe, str(checkpoint.folder)
    with loading(checkpoint, device):
        if recipe.layout == "sentence-transformers":
            model = sentence_transformers.SparseEncoder(
                folder,
                device=device,
                local_files_only=True,
                trust_remote_code=checkpoint.settings.trust_remote_code,
                model_kwargs=weights_as(dtype),
            )
        elif recipe.layout == "token-weights":
            transformer = plain_transformer(checkpoint, dtype)
            head = _token_weights(checkpoint, transformer.tokenizer.cls_token_id)
            model = sentence_transformers.SparseEncoder(modules=[transformer, head], device=device)
        else:
            model = sentence_transformers.SparseEncoder(
                modules=masked_modules(checkpoint, dtype), device=device
            )
    return ready(model)


def masked_modules(checkpoint: SparseCheckpoint, dtype: Any) -> list[Any]:
    """A plain masked language model and its pooling."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    recipe = checkpoint.recipe
    common = {"local_files_only": True, "trust_remote_code": checkpoint.settings.trust_remote_code}
    transformer = Transformer(
        str(checkpoint.folder / checkpoint.transformer_folder),
        transformer_task="fill-mask",
        model_kwargs=weights_as(dtype) | common,
        processor_kwargs=dict(common),
        config_kwargs=dict(common),
    )
    return [transformer, SpladePooling(recipe.aggregation[1], recipe.activation)]


def _token_weights(checkpoint: SparseCheckpoint, cls_token: int | None) -> Any:
    """The head of uniCOIL: ReLU of a linear layer gives each token of the text its weight; of equal tokens the highest
    counts in documents and their sum in queries; [CLS] has none (pyserini/encode/_unicoil.py)."""
    import torch
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for name in checkpoint.weight_files:
        with safe_open(str(checkpoint.folder / name), framework="pt") as tensors:
            names = tensors.keys()
            found |= {n: tensors.get_tensor(n) for n in (TOKEN_HEAD, "tok_proj.bias") if n in names}
    config = checkpoint.transformer_config
    aggregation = dict(zip(("query", "document"), checkpoint.recipe.aggregation, strict=True))

    class TokenWeights(torch.nn.Module):
        forward_kwargs = ("task",)

        def __init__(self) -> None:
            super().__init__()
            self.width = int(config["vocab_size"])
            hidden = int(found[TOKEN_HEAD].shape[1])
            self.tok_proj = torch.nn.Linear(hidden, 1, bias="tok_proj.bias" in found)
            self.tok_proj.load_state_dict({n.removeprefix("tok_proj."): t for n, t in found.items()})

        def forward(self, features: dict[str, Any], task: str = "document") -> dict[str, Any]:
            weights = self.tok_proj(features["token_embeddings"].float()).relu().squeeze(-1)
            ids = features["input_ids"]
            weights = weights * features["attention_mask"] * (ids != (-1 if cls_token is None else cls_token))
            out = weights.new_zeros((len(ids), self.width))
            reduce = "amax" if aggregation[task] == "max" else "sum"
            features["sentence_embedding"] = out.scatter_reduce(1, ids, weights, reduce=reduce)
            return features

    return TokenWeights()
