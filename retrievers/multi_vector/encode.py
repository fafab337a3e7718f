"""Texts to token vectors: a checkpoint's own modules, fed in batches of like length.

sentence-transformers loads the modules and prepares queries (markers, expansion); batching is that of the dense
encoder. A text's vectors are those of the tokens that take part in scoring, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense.encode import Encoder, loading, plain_transformer, quiet, ready, weights_as
from seekbench.retrievers.multi_vector.checkpoint import TokenCheckpoint, TokenRecipe

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenVectors:
    """Vectors of several texts, end to end. vectors: float32 [tokens, dim]; lengths: int64 [texts], vectors of each;
    ids: int64 [tokens], their tokens; read: tokens that went through the encoder; truncated: texts that lost tokens to
    the maximum length."""

    vectors: Floats
    lengths: Ints
    ids: Ints
    read: int = 0
    truncated: int = 0

    def parts(self) -> list[Floats]:
        """float32 [tokens, dim] of each text."""
        return np.split(self.vectors, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


@dataclass(frozen=True)
class _Expanded:
    """Queries that sentence-transformers fills up with [MASK] tokens. rows: as tokenized without them."""

    rows: Any
    texts: Sequence[str]
    prompt: str

    def __getitem__(self, name: str) -> Any:
        return self.rows[name]


class TokenEncoder(Encoder):
    """A loaded multi-vector checkpoint."""

    unit = "tokens"
    recipe: TokenRecipe
    checkpoint: TokenCheckpoint

    def _load(self, dtype: Any) -> Any:
        model = load(self.checkpoint, dtype, self.device)
        if not model[0].tokenizer.is_fast:
            raise InputError(f"{self.name} has no fast tokenizer (tokenizer.json), which this encoder needs")
        return model

    def _takes_plain_text(self) -> bool:
        return False  # maximum lengths are those of queries and documents

    @property
    def dim(self) -> int:
        return int(self.model.get_embedding_dimension() or self.model[0].get_embedding_dimension())

    def set_language(self, language: str | None) -> None:
        """Takes the adapter of a language (XMOD); nothing for other encoders."""
        adapter = self.checkpoint.adapter(language)
        if adapter is not None:
            self.model[0].auto_model.set_default_language(adapter)

    def token_vectors(
        self, texts: list[str], side: str, advance: Callable[[int], None] | None = None
    ) -> TokenVectors:
        """Vectors of texts, in their order. side: query or document."""
        if not texts:
            return TokenVectors(
                np.empty((0, self.dim), np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
            )
        self._use_threads()
        prompt = self.recipe.prompt(side)
        rows, lengths, truncated = self._tokenized(texts, prompt, self.recipe.length(side))
        expanded = side == "query" and self.recipe.expansion is not None
        found: list[tuple[Floats, Ints] | None] = [None] * len(texts)
        if expanded:
            assert self.recipe.expansion is not None
            # Filled up, most queries are of one length.
            lengths = np.maximum(lengths, self.recipe.expansion.length)
            rows = _Expanded(rows, texts, prompt)
        for batch in self._batches(lengths):
            made = self._forward(rows, batch, {"modality": "text"}, side)
            for row, pair in zip(batch.tolist(), made, strict=True):
                found[row] = pair
            if advance:
                advance(len(batch))
        parts = [pair for pair in found if pair is not None]
        return TokenVectors(
            self._checked(np.concatenate([vectors for vectors, _ in parts])),
            np.array([len(ids) for _, ids in parts], dtype=np.int64),
            np.concatenate([ids for _, ids in parts]),
            int(lengths.sum()),
            truncated,
        )

    @property
    def vocabulary(self) -> int:
        """One more than the highest token id."""
        return int(max(self.model[0].tokenizer.get_vocab().values())) + 1

    def token_ids(self, texts: list[str], side: str) -> tuple[Ints, Ints]:
        """(int64 [tokens] ids end to end, int64 [texts] how many of each) as the encoder reads texts; none is left
        out."""
        rows, lengths, _ = self._tokenized(texts, self.recipe.prompt(side), self.recipe.length(side))
        return np.concatenate([np.asarray(ids, dtype=np.int64) for ids in rows["input_ids"]]), lengths

    def _joined(self, first: Any, second: Any) -> Any:
        return [*first, *second]

    def _padded(self, rows: Any, batch: npt.NDArray[np.int64]) -> dict[str, Any]:
        if not isinstance(rows, _Expanded):
            return super()._padded(rows, batch)
        with quiet():
            features = self.model.preprocess(
                [rows.texts[i] for i in batch.tolist()], prompt=rows.prompt or None, task="query"
            )
        return {n: v.to(self.device) if hasattr(v, "to") else v for n, v in features.items()}

    def _vectors(self, features: dict[str, Any], side: str) -> list[tuple[Floats, Ints]]:
        """(float32 [tokens, dim], int64 [tokens] ids) of each text of a batch of padded tokens."""
        import torch

        with torch.inference_mode():
            first, *rest = self.model
            out = first(features, task=side)
            out["token_embeddings"] = out["token_embeddings"].float()
            for module in rest:
                out = (
                    module(out, task=side) if "task" in getattr(module, "forward_kwargs", ()) else module(out)
                )
            keep = out["attention_mask"].bool()
            lengths = keep.sum(dim=1).tolist()
            vectors = out["token_embeddings"][keep].float().cpu().numpy()
            ids = features["input_ids"][keep].cpu().numpy().astype(np.int64)
        ends = np.cumsum(lengths)[:-1]
        return list(zip(np.split(vectors, ends), np.split(ids, ends), strict=True))


def load(checkpoint: TokenCheckpoint, dtype: Any, device: str) -> Any:
    """The checkpoint as a sentence_transformers.MultiVectorEncoder that follows the recipe."""
    from sentence_transformers import MultiVectorEncoder

    recipe, folder = checkpoint.recipe, str(checkpoint.folder)
    with loading(checkpoint, device):
        if recipe.layout in ("pylate", "sentence-transformers"):
            model = MultiVectorEncoder(
                folder,
                device=device,
                local_files_only=True,
                trust_remote_code=checkpoint.settings.trust_remote_code,
                model_kwargs=weights_as(dtype),
            )
        else:
            model = _built(checkpoint, dtype, device)
        _follow(model, recipe)
    return ready(model)


def _built(checkpoint: TokenCheckpoint, dtype: Any, device: str) -> Any:
    """An encoder without modules of sentence-transformers, or with those of a single vector, of which the transformer
    alone is taken."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch import nn

    modules: list[Any] = [plain_transformer(checkpoint, dtype)]
    if checkpoint.recipe.layout == "colbert":
        weight = _projection(checkpoint).float()
        modules.append(
            Dense(
                *weight.shape[::-1],
                bias=False,
                activation_function=nn.Identity(),
                init_weight=weight,
                module_input_name="token_embeddings",
            )
        )
    modules += [MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=device)


def _projection(checkpoint: TokenCheckpoint) -> Any:
    from safetensors import safe_open

    for name in checkpoint.weight_files:
        with safe_open(str(checkpoint.folder / name), framework="pt") as tensors:
            if "linear.weight" in tensors.keys():  # noqa: SIM118  (no mapping)
                return tensors.get_tensor("linear.weight")
    raise SeekbenchError(f"{checkpoint.name}: no 'linear.weight' in its weights")


def _follow(model: Any, recipe: TokenRecipe) -> None:
    """Sets a model's own settings to the recipe's, so that what is recorded is what computes."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from tokenizers import AddedToken

    first = model[0]
    vocabulary = first.tokenizer.get_vocab()
    # A marker of the vocabulary ([unused0]) would be cut to pieces as text; as a special token it stays whole.
    for prompt in (recipe.query_prompt, recipe.document_prompt):
        for marker in (prompt, *prompt.split()[:1]):
            if marker in vocabulary and first.tokenizer.tokenize(marker) != [marker]:
                first.tokenizer.add_tokens(
                    [AddedToken(marker, normalized=False, special=True)], special_tokens=True
                )
                break
    first.query_expansion = None
    first.query_length, first.document_length = recipe.query_length, recipe.document_length
    if recipe.expansion is not None:
        first.query_expansion = recipe.expansion.as_st()
    masks = [m for m in model if isinstance(m, MultiVectorMask)]
    if not masks:
        raise SeekbenchError("the checkpoint's modules have no MultiVectorMask, which says what is scored")
    for mask in masks:
        mask.skiplist_words = list(recipe.skip)
        mask.resolve_with_tokenizer(first.tokenizer)
