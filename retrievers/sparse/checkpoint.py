"""Which learned sparse encoder a checkpoint's files hold, and its recipe: which layout, which activation and pooling,
whether queries go through a model or a table of weights.

Layouts: `sentence-transformers` (SparseEncoder: SPLADE, Router with a table for queries, autoencoders); `mlm`, a plain
masked language model as naver/splade's and OpenSearch's first ones; `token-weights` (uniCOIL), a weight a token of the
text itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import orjson

from seekbench import hashing
from seekbench.errors import InputError
from seekbench.retrievers.dense.checkpoint import Checkpoint, Recipe, Settings

Layout = Literal["sentence-transformers", "mlm", "token-weights"]
Activation = Literal["relu", "log1p_relu"]
Aggregation = Literal["max", "sum"]
#: How queries become weights: by the model; 1 for each of their tokens; by a table of the checkpoint or of a file.
Queries = Literal["model", "binary", "table"]

#: Tables of query weights that lie beside a checkpoint (OpenSearch's).
TABLES = ("idf.json", "query_token_weights.txt")
#: Heads that give a weight a token, by the name of their weight.
TOKEN_HEAD = "tok_proj.weight"


@dataclass(frozen=True)
class SparseSettings(Settings):
    """The parameters that change what a checkpoint computes. Beside those of `Settings`: query_length, document_length:
    tokens that a text is cut to; aggregation, activation: of a plain masked language model; queries: `model`, `binary`,
    or the path of a table; top_query, top_document: the most terms of a text; threshold: the lowest weight."""

    query_length: int | None = None
    document_length: int | None = None
    aggregation: Aggregation | None = None
    activation: Activation | None = None
    queries: str | None = None


@dataclass(frozen=True)
class SparseRecipe(Recipe):
    """How a text becomes weights of terms. aggregation: over the tokens of a text, of queries and of documents;
    queries: where a query's weights come from; table: the file of them, relative to the checkpoint or a path; most:
    terms that the checkpoint itself allows a text."""

    layout: Layout = "mlm"
    aggregation: tuple[Aggregation, Aggregation] = ("max", "max")
    activation: Activation = "relu"
    queries: Queries = "model"
    table: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    most: int | None = None

    def length(self, side: str) -> int | None:
        return self.query_length if side == "query" else self.document_length


class SparseCheckpoint(Checkpoint):
    """The files of a learned sparse encoder. Raises InputError where they are of another kind."""

    conversion: ClassVar[str] = "sentence_transformers.SparseEncoder(name).save_pretrained(folder)"
    organisation: ClassVar[str | None] = None
    recipe: SparseRecipe
    settings: SparseSettings

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def _is_ours(self) -> bool:
        """Whether modules.json is that of a SparseEncoder."""
        return self.st_config.get("model_type") == "SparseEncoder" or any(
            "sparse_encoder" in part.type for part in self.parts
        )

    @property
    def layout(self) -> Layout:
        if self._is_ours:
            return "sentence-transformers"
        return "token-weights" if self._has_token_head else "mlm"

    @property
    def _has_token_head(self) -> bool:
        return any(name == TOKEN_HEAD for _, name in self.tensors)

    def _refuse_other_kinds(self) -> None:
        types = [part.type for part in self.parts]
        classes = {part.kind for part in self.parts}
        saved_as = str(self.st_config.get("model_type", ""))
        architectures = [str(a) for a in self.config.get("architectures") or []]
        multi = any("multi_vector" in t or t.startswith("pylate.") for t in types)
        if saved_as in ("ColBERT", "MultiVectorEncoder") or multi:
            raise InputError(f"{self.name} is a multi-vector encoder", remedy="type: multi_vector")
        if saved_as == "CrossEncoder" or any(a.endswith("ForSequenceClassification") for a in architectures):
            raise InputError(f"{self.name} is a cross-encoder or classifier, which gives no terms")
        if not self.config and not self.modules:
            raise InputError(
                f"{self.name}: {self.folder} holds neither modules.json nor config.json, so it is no checkpoint"
            )
        self._refuse_code(types)
        if self._is_ours:
            if classes & {"IDF", "CSRSparsity"}:
                raise InputError(
                    f"{self.name} was saved by an early version of sentence-transformers ({sorted(classes)})",
                    remedy=f"save it again: {self.conversion}",
                )
            return
        if self._has_token_head or any(a.endswith("ForMaskedLM") for a in architectures):
            return
        if any(a.endswith(("ForCausalLM", "ForConditionalGeneration")) for a in architectures):
            raise InputError(
                f"{self.name} is a generative model ({architectures[0]})",
                remedy="for the next word's weights (PromptReps): type: prompt_reps",
            )
        if {"Pooling", "Normalize"} & classes or saved_as == "SentenceTransformer":
            raise InputError(
                f"{self.name} is a dense encoder, which has no weights of terms",
                remedy="type: dense; or `training`, which puts a head of terms behind it",
            )
        raise InputError(
            f"{self.name} ({', '.join(architectures) or 'no architecture'}) has no head that gives terms a weight: "
            "neither *ForMaskedLM nor uniCOIL's tok_proj"
        )

    def refuse_training(self) -> None:
        """Raises InputError where this is not a masked language model and the pooling of its logits, alone or as the
        documents' route: what the trainer knows."""
        kinds = {part.kind for part in self.parts if part.type}
        known = {"Transformer", "MLMTransformer", "SpladePooling", "Router", "SparseStaticEmbedding"}
        if self.layout == "token-weights" or kinds - known:
            what = "uniCOIL's head" if self.layout == "token-weights" else ", ".join(sorted(kinds - known))
            raise InputError(
                f"{self.name} can't be trained here: it has {what}",
                remedy="a masked language model (SPLADE), or an encoder with `head: fitted`",
            )

    def refuse_other_vocabulary(self, queries: SparseCheckpoint) -> None:
        """Raises InputError where a checkpoint for queries numbers its tokens differently."""
        own, other = self._vocabulary(), queries._vocabulary()
        if own is not None and other is not None and own != other:
            raise InputError(
                f"query_model {queries.name} has another vocabulary than {self.name}, whose terms documents have",
                remedy="a query model of the same tokenizer",
            )

    def _vocabulary(self) -> str | None:
        """Hash of token -> number; None where the files do not tell."""
        folder = self.folder / self.transformer_folder
        if (folder / "tokenizer.json").exists():
            found = orjson.loads((folder / "tokenizer.json").read_bytes()).get("model", {}).get("vocab")
            if isinstance(found, list):  # unigram: [token, score]
                found = {str(entry[0]): i for i, entry in enumerate(found)}
            if isinstance(found, dict):
                return hashing.of_json(found)
        plain = folder / "vocab.txt"
        if plain.exists():
            tokens = plain.read_text(encoding="utf-8").splitlines()
            return hashing.of_json({token: i for i, token in enumerate(tokens)})
        return None

    # -- recipe -------------------------------------------------------------------------------------------------

    def _recipe(self) -> SparseRecipe:
        s, layout = self.settings, self.layout
        stated = [n for n in ("aggregation", "activation") if getattr(s, n) is not None]
        if layout != "mlm" and stated:
            raise InputError(
                f"{self.name} brings its own recipe, so `{stated[0]}` would make another model of it",
                remedy=f"leave {stated[0]} out; it is for plain masked language models",
            )
        said: dict[str, Any] = {f.name: getattr(self._common(), f.name) for f in fields(Recipe)}
        recipe = SparseRecipe(**said, layout=layout)
        if layout == "sentence-transformers":
            recipe = self._of_modules(recipe)
        elif layout == "token-weights":
            # Pyserini's UniCoilDocumentEncoder and UniCoilQueryEncoder.
            recipe = replace(recipe, aggregation=("sum", "max"))
        else:
            both = s.aggregation or "max"
            table = next((name for name in TABLES if (self.folder / name).exists()), None)
            recipe = replace(
                recipe, aggregation=(both, both), activation=s.activation or "relu", table=table,
                queries="table" if table else "model",
            )  # fmt: skip
        if s.queries not in (None, "model") and any(part.kind == "SparseAutoEncoder" for part in self.parts):
            raise InputError(
                f"{self.name}: the terms of an autoencoder are no tokens, so a query's tokens have no weights",
                remedy="leave out `queries`",
            )
        if s.queries in ("model", "binary"):
            if (
                s.queries == "model"
                and recipe.layout == "sentence-transformers"
                and recipe.queries == "table"
            ):
                raise InputError(f"{self.name} has no model for queries, only a table of weights")
            recipe = replace(recipe, queries="model" if s.queries == "model" else "binary", table=None)
        elif s.queries is not None:
            recipe = replace(recipe, queries="table", table=s.queries)
        length = recipe.max_length
        return replace(
            recipe,
            query_length=self._fits(s.query_length, "query") or length,
            document_length=self._fits(s.document_length, "document") or length,
        )

    def _fits(self, length: int | None, side: str) -> int | None:
        positions = self._positions
        if length and positions and length > positions:
            raise InputError(f"{side}_length {length} is more than the {positions} positions of {self.name}")
        return length

    def _common(self) -> Recipe:
        s = self.settings
        similarity = str(self.st_config.get("similarity_fn_name") or "dot")
        if similarity not in ("dot", "cosine"):
            raise InputError(f"{self.name} was made for {similarity} distance, which is not a similarity")
        return Recipe(
            modules=tuple((part.kind, part.folder) for part in self.parts if part.type),
            pooling="",
            normalize=similarity == "cosine",
            drop_normalize=False,
            similarity=similarity,
            query_prompt=self._prompt(s.query_prompt, "query"),
            document_prompt=self._prompt(s.document_prompt, "document"),
            prompts=self._prompts,
            max_length=self._max_length(),
            truncate_dim=None,
            dim=None,
            checkpoint_dtype=self.transformer_config.get("dtype")
            or self.transformer_config.get("torch_dtype"),
            model_type=str(self.transformer_config.get("model_type", "")),
        )

    def _of_modules(self, recipe: SparseRecipe) -> SparseRecipe:
        pooled = [part for part in self.parts if part.kind == "SpladePooling"]
        found = [self._json(os.path.join(part.folder, "config.json")) for part in pooled]
        aggregation: Aggregation = "sum" if found and found[0].get("pooling_strategy") == "sum" else "max"
        twice = bool(found) and found[0].get("activation_function") == "log1p_relu"
        activation: Activation = "log1p_relu" if twice else "relu"
        static = any(part.kind == "SparseStaticEmbedding" for part in self.parts)
        most = self.st_config.get("max_active_dims")
        return replace(
            recipe,
            aggregation=(aggregation, aggregation),
            activation=activation,
            queries="table" if static else "model",
            most=int(most) if most else None,
        )

    @property
    def transformer_folder(self) -> str:
        """That of the first module that transformers reads; a Router's lie below it."""
        return next((p.folder for p in self.parts if p.kind.endswith("Transformer")), self.parts[0].folder)
