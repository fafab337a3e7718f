"""What a multi-vector checkpoint's files say: its layout, and the recipe of its token vectors.

Four layouts are read: ColBERT's own (`artifact.metadata`, the projection `linear.weight` beside the encoder's
weights; also over XMOD, as ColBERT-XM), PyLate's and sentence-transformers' (`modules.json`), and any other encoder,
whose token vectors are taken as they are (a zero-shot baseline). No model is loaded here.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import orjson

from seekbench.errors import InputError, did_you_mean
from seekbench.retrievers.dense.checkpoint import Checkpoint, Recipe, Settings

Layout = Literal["colbert", "pylate", "sentence-transformers", "encoder"]

#: Its code writes these in vocabularies that have them (colbert/infra/config/settings.py).
_MARKERS = {"query": "[unused0]", "document": "[unused1]"}
_METADATA = "artifact.metadata"
_POOLINGS = (
    "Pooling",
    "StaticEmbedding",
    "BoW",
    "WordEmbeddings",
    "CLIPModel",
    "Router",
    "Asym",
    "WeightedLayerPooling",
)


@dataclass(frozen=True)
class Expansion:
    """Query augmentation: [MASK] tokens fill a query up to `length` tokens and take part in scoring.

    attend: whether other tokens attend to them in the encoder (their own vectors are made either way).
    fixed: a longer query is cut to `length`, too; else only shorter ones are filled up. token: another one than [MASK].
    """

    length: int
    attend: bool = False
    fixed: bool = True
    token: str | None = None

    def as_st(self) -> dict[str, Any]:
        """As sentence-transformers writes it."""
        strategy = "fixed" if self.fixed else "min"
        return {"strategy": strategy, "length": self.length, "attend": self.attend, "token": self.token}


@dataclass(frozen=True)
class TokenSettings(Settings):
    """Parameters that change token vectors; None: what the checkpoint says. expansion: False for none; skip: tokens of
    documents whose vectors are dropped."""

    query_length: int | None = None
    document_length: int | None = None
    expansion: Expansion | Literal[False] | None = None
    skip: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TokenRecipe(Recipe):
    """How a text becomes token vectors. query_prompt and document_prompt hold the markers; query_length,
    document_length: tokens that a text is cut to, markers included; skip: words of the vocabulary whose vectors are
    dropped from documents; projected: whether a linear layer follows the encoder; languages: adapters (XMOD)."""

    layout: Layout = "encoder"
    query_length: int | None = None
    document_length: int | None = None
    expansion: Expansion | None = None
    skip: tuple[str, ...] = ()
    projected: bool = False
    languages: tuple[str, ...] = ()

    def length(self, side: str) -> int | None:
        return self.query_length if side == "query" else self.document_length


class TokenCheckpoint(Checkpoint):
    """The files of an encoder that gives a vector a token. Raises InputError where they are of another kind."""

    conversion: ClassVar[str] = "sentence_transformers.MultiVectorEncoder(name).save_pretrained(folder)"
    small_files: ClassVar[tuple[str, ...]] = (*Checkpoint.small_files, _METADATA)
    recipe: TokenRecipe
    settings: TokenSettings

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        types = [part.type for part in self.parts]
        saved_as = str(self.st_config.get("model_type", ""))
        if saved_as == "ColBERT" or any(t.startswith("pylate.") for t in types):
            return "pylate"
        if self.modules:
            classes = {part.kind for part in self.parts}
            multi = saved_as == "MultiVectorEncoder" or any("multi_vector" in t for t in types)
            return "sentence-transformers" if multi or not classes & set(_POOLINGS) else "encoder"
        return "colbert" if self._is_colbert else "encoder"

    @property
    def _is_colbert(self) -> bool:
        architectures = [str(a).lower() for a in self.config.get("architectures") or []]
        linear = [name for _, name in self.tensors if name.startswith("linear.")]
        return (
            (self.folder / _METADATA).exists()
            or any("colbert" in a for a in architectures)
            or linear == ["linear.weight"]
        )

    def _refuse_other_kinds(self) -> None:
        types = [part.type for part in self.parts]
        saved_as = str(self.st_config.get("model_type", ""))
        architectures = [str(a) for a in self.config.get("architectures") or []]
        if saved_as == "SparseEncoder" or any("sparse_encoder" in t for t in types):
            raise InputError(
                f"{self.name} is a learned sparse encoder, not a multi-vector one", remedy="type: sparse"
            )
        cross = saved_as == "CrossEncoder" or any("cross_encoder" in t for t in types)
        if cross or any(a.endswith("ForSequenceClassification") for a in architectures):
            raise InputError(f"{self.name} is a cross-encoder or classifier, which gives no vectors")
        if any(a.endswith("ForRetrieval") for a in architectures):
            raise InputError(
                f"{self.name} ({architectures[0]}) encodes pictures of pages, which this version does not read"
            )
        if not self.config and not self.modules:
            raise InputError(
                f"{self.name}: {self.folder} holds neither modules.json nor config.json, so it is no checkpoint"
            )
        if self.config.get("is_encoder_decoder"):
            raise InputError(
                f"{self.name} is an encoder-decoder ({architectures}), which has no recipe of token vectors"
            )
        if self.layout == "encoder" and self.parts[0].type and self.parts[0].kind != "Transformer":
            raise InputError(
                f"{self.name}: its first module is {self.parts[0].kind}, which has no token vectors"
            )
        self._refuse_code([t for t in types if not t.startswith("pylate.models.")])

    # -- recipe -------------------------------------------------------------------------------------------------

    def _recipe(self) -> TokenRecipe:
        said = {
            "colbert": self._colbert,
            "pylate": self._pylate,
            "sentence-transformers": self._sentence_transformers,
        }
        layout = self.layout
        recipe: TokenRecipe = said[layout]() if layout in said else self._encoder()
        s = self.settings
        recipe = replace(
            recipe,
            query_prompt=recipe.query_prompt if s.query_prompt is None else s.query_prompt,
            document_prompt=recipe.document_prompt if s.document_prompt is None else s.document_prompt,
            query_length=s.query_length or recipe.query_length,
            document_length=s.document_length or recipe.document_length,
            skip=recipe.skip if s.skip is None else s.skip,
            languages=tuple(self.transformer_config.get("languages") or ()) if self._is_xmod else (),
        )
        expansion = recipe.expansion if s.expansion is None else (s.expansion or None)
        if expansion is not None and expansion.fixed:
            if s.query_length and s.expansion:
                raise InputError(
                    f"query_length {s.query_length} and an expansion to {expansion.length} tokens can't both hold",
                    remedy="state expansion.length alone, or expansion.fixed: false",
                )
            if s.query_length:
                expansion = replace(expansion, length=s.query_length)
            recipe = replace(recipe, query_length=expansion.length)
        recipe = replace(recipe, expansion=expansion)
        self._check_lengths(recipe)
        return recipe

    def _check_lengths(self, recipe: TokenRecipe) -> None:
        positions = self._positions
        for name, length in (("query", recipe.query_length), ("document", recipe.document_length)):
            if positions and length and length > positions:
                raise InputError(
                    f"{name}_length {length} is more than the {positions} positions of {self.name}"
                )

    @property
    def _is_xmod(self) -> bool:
        return bool(self.transformer_config.get("model_type") == "xmod")

    def _base(self, **said: Any) -> TokenRecipe:
        config = self.transformer_config
        defaults: dict[str, Any] = {
            "modules": tuple((part.kind, part.folder) for part in self.parts if part.type),
            "pooling": "",
            "normalize": True,
            "drop_normalize": False,
            "similarity": "maxsim",
            "query_prompt": "",
            "document_prompt": "",
            "prompts": {},
            "max_length": None,
            "truncate_dim": None,
            "dim": None,
            "checkpoint_dtype": config.get("dtype") or config.get("torch_dtype"),
            "model_type": str(config.get("model_type", "")),
        }
        return TokenRecipe(**(defaults | said))

    def _encoder(self) -> TokenRecipe:
        """Any encoder: its last hidden states at unit length, [CLS] and [SEP] included, nothing added."""
        longest = self._max_length()
        return self._base(
            layout="encoder",
            dim=self.transformer_config.get("hidden_size"),
            query_prompt=self._prompt(None, "query"),
            document_prompt=self._prompt(None, "document"),
            prompts=self._prompts,
            query_length=longest,
            document_length=longest,
        )

    def _colbert(self) -> TokenRecipe:
        """ColBERT's own layout (colbert/infra/config/settings.py, colbert/modeling/tokenization)."""
        said = self._metadata()
        if str(said.get("similarity", "cosine")) != "cosine":
            raise InputError(
                f"{self.name} was trained with {said['similarity']} distance, which this search does not have"
            )
        markers, warnings = {}, []
        for side, key in (("query", "query_token_id"), ("document", "doc_token_id")):
            marker = str(said.get(key) or _MARKERS[side])
            known = self._in_vocabulary(marker)
            if known is False:
                # ColBERT's tokenizer asks for the id of the marker and gets that of the unknown token.
                unknown = self._unknown_token()
                warnings.append(
                    f"{self.name}: its vocabulary lacks the marker {marker}, so {unknown} stands there"
                )
                marker = unknown
            markers[side] = marker + " "
        shapes = {name: shape for (_, name), (_, shape) in self.tensors.items()}
        if self.tensors and "linear.weight" not in shapes:
            raise InputError(f"{self.name}: the weights lack ColBERT's projection 'linear.weight'")
        dim = shapes["linear.weight"][0] if self.tensors else said.get("dim")
        return self._base(
            layout="colbert",
            dim=dim,
            query_prompt=markers["query"],
            document_prompt=markers["document"],
            query_length=int(said.get("query_maxlen") or 32),
            document_length=int(said.get("doc_maxlen") or 220),
            expansion=Expansion(int(said.get("query_maxlen") or 32), bool(said.get("attend_to_mask_tokens"))),
            skip=tuple(string.punctuation) if said.get("mask_punctuation", True) else (),
            projected=True,
            warnings=tuple(warnings),
        )

    def _metadata(self) -> dict[str, Any]:
        found = self._json(_METADATA)
        if not isinstance(found, dict):
            raise InputError("this file must hold a JSON object", where=str(self.folder / _METADATA))
        return found

    def _pylate(self) -> TokenRecipe:
        """PyLate's layout (pylate/models/colbert.py): settings in config_sentence_transformers.json."""
        said = self.st_config
        expansion: Expansion | None = None
        length = int(said.get("query_length") or 32)
        if said.get("do_query_expansion") is not False:
            expansion = Expansion(length, bool(said.get("attend_to_expansion_tokens")))
        skip = said.get("skiplist_words")
        return self._base(
            layout="pylate",
            dim=self._projected_to(),
            query_prompt=self._with_prompt("query_prefix", "[Q] ", "query"),
            document_prompt=self._with_prompt("document_prefix", "[D] ", "document"),
            query_length=length,
            document_length=int(said.get("document_length") or 180),
            expansion=expansion,
            skip=tuple(string.punctuation if skip is None else skip),
            projected=len(self.modules) > 1,
        )

    def _with_prompt(self, key: str, default: str, side: str) -> str:
        prefix = self.st_config.get(key)
        prefix = default if prefix is None else str(prefix)
        prompt = str((self.st_config.get("prompts") or {}).get(side) or "")
        return prefix + prompt.removeprefix(prefix)

    def _sentence_transformers(self) -> TokenRecipe:
        """sentence-transformers' MultiVectorEncoder: settings with the modules that they are for."""
        said = self._transformer_said()
        mask: Mapping[str, Any] = {}
        for part in self.parts:
            if part.kind == "MultiVectorMask":
                mask = self._json(os.path.join(part.folder, "config.json"))
        if list(mask.get("skiplist_tasks") or ["document"]) != ["document"] or mask.get(
            "keep_only_token_ids"
        ):
            raise InputError(
                f"{self.name}: its mask skips tokens of queries or keeps some only, which is not read yet"
            )
        longest = self._max_length()
        expansion = said.get("query_expansion")
        similarity = str(self.st_config.get("similarity_fn_name") or "maxsim")
        if similarity not in ("maxsim", "MaxSim"):
            raise InputError(f"{self.name} scores by {similarity}, not by MaxSim")
        return self._base(
            layout="sentence-transformers",
            dim=self._projected_to(),
            query_prompt=self._prompt(None, "query"),
            document_prompt=self._prompt(None, "document"),
            prompts=self._prompts,
            query_length=said.get("query_length") or longest,
            document_length=said.get("document_length") or longest,
            expansion=None
            if not expansion
            else Expansion(
                int(expansion["length"]),
                bool(expansion.get("attend")),
                expansion.get("strategy") == "fixed",
                expansion.get("token"),
            ),
            skip=tuple(mask.get("skiplist_words") or ()),
            projected=any(part.kind == "Dense" for part in self.parts),
            normalize=any(part.kind == "Normalize" for part in self.parts),
        )

    def _transformer_said(self) -> dict[str, Any]:
        for path in sorted((self.folder / self.transformer_folder).glob("sentence_*_config.json")):
            found = self._json(os.path.join(self.transformer_folder, path.name))
            if isinstance(found, dict):
                return found
        return {}

    def _projected_to(self) -> int | None:
        dim: int | None = self.transformer_config.get("hidden_size")
        for part in self.parts:
            if part.kind == "Dense":
                dim = self._json(os.path.join(part.folder, "config.json")).get("out_features", dim)
        return dim

    # -- vocabulary ---------------------------------------------------------------------------------------------

    def _in_vocabulary(self, token: str) -> bool | None:
        """Whether the tokenizer has this token; None where its files don't say."""
        plain = self.folder / "vocab.txt"
        if plain.exists():
            return token in plain.read_text(encoding="utf-8").splitlines()
        path = self.folder / "tokenizer.json"
        if not path.exists():
            return None
        saved = orjson.loads(path.read_bytes())
        vocabulary = saved.get("model", {}).get("vocab")
        if any(entry.get("content") == token for entry in saved.get("added_tokens", [])):
            return True
        if isinstance(vocabulary, dict):
            return token in vocabulary
        return any(pair[0] == token for pair in vocabulary or [])

    def _unknown_token(self) -> str:
        said = self._json("tokenizer_config.json").get("unk_token", "[UNK]")
        return str(said["content"] if isinstance(said, dict) else said)

    def adapter(self, language: str | None) -> str | None:
        """The name of a language's adapter, e.g. fr -> fr_XX; None where the encoder has none.

        Raises InputError for a language that it was not trained for, or where none is stated: a wrong adapter gives
        plausible but worse vectors.
        """
        languages = self.recipe.languages
        if not languages:
            return None
        if language is None:
            raise InputError(
                f"{self.name} has an adapter a language, and the language of these texts is not known",
                remedy="state the dataset's `language`",
            )
        for name in languages:
            if language == name or language.partition("-")[0].lower() == name.partition("_")[0].lower():
                return name
        short = [name.partition("_")[0] for name in languages]
        raise InputError(f"{self.name} has no adapter for '{language}'", remedy=did_you_mean(language, short))
