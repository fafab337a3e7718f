"""Texts to vectors: a checkpoint's own modules, fed in batches of like length within a budget of tokens.

sentence-transformers loads the modules (pooling, heads, normalisation); the batching is ours: a block of
texts is tokenized once, sorted by tokens, and cut into batches whose padded size stays below the budget, so
little is computed on padding. What comes after the transformer (pooling, heads, normalisation) runs in
float32 whatever the transformer's dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense.checkpoint import Checkpoint, Recipe

Floats = npt.NDArray[np.float32]

#: Padded tokens of one batch: what fits a CPU's caches, and what keeps an accelerator busy.
BATCH_TOKENS = {"cpu": 4096, "cuda": 65_536, "mps": 16_384}
#: No batch has more texts than this (very short queries would make rows by the thousand).
BATCH_TEXTS = 1024


@dataclass(frozen=True)
class Encoded:
    """vectors: float32 [texts, dim]; tokens: encoded ones, special tokens included; truncated: texts that
    lost tokens to the maximum length. Both counts are None where the checkpoint does not go through a
    tokenizer of ours.
    """

    vectors: Floats
    tokens: int | None
    truncated: int | None


def pick_device(wanted: str) -> str:
    """`auto` -> cuda, mps or cpu, whichever is there first. Raises InputError for one that is not there."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    kind = wanted.partition(":")[0]
    if not {"cpu": True, "cuda": cuda, "mps": mps}.get(kind, False):
        raise InputError(
            f"device {wanted!r} is not available here", remedy="cpu, cuda, cuda:1 or mps; or auto"
        )
    return wanted


class Encoder:
    """A loaded checkpoint.

    dtype: of the transformer: float32, float16, bfloat16, or auto (the checkpoint's own). batch_tokens:
    padded tokens a batch, None for the device's default.
    """

    #: What a vector stands for, in messages.
    unit = "texts"

    def __init__(
        self, checkpoint: Checkpoint, *, dtype: str, device: str, threads: int, batch_tokens: int | None
    ) -> None:
        import torch

        self.checkpoint = checkpoint
        self.recipe: Recipe = checkpoint.recipe
        self.name = checkpoint.name
        self.device = pick_device(device)
        self.threads = threads
        self.batch_tokens = batch_tokens or BATCH_TOKENS[self.device.partition(":")[0]]
        if dtype == "auto":
            dtype = str(self.recipe.checkpoint_dtype or "float32").removeprefix("torch.")
        self.dtype = dtype
        self.model = self._load(getattr(torch, dtype))
        self._plain = self._takes_plain_text()
        if self.recipe.max_length and self._plain:
            self.model[0].max_seq_length = self.recipe.max_length

    def _load(self, dtype: Any) -> Any:
        return _load(self.checkpoint, dtype, self.device)

    @property
    def modules(self) -> list[str]:
        return [type(m).__name__ for m in self.model]

    def _takes_plain_text(self) -> bool:
        """Whether the first module is a text transformer with a fast tokenizer and no processing of its own;
        the others (Router, StaticEmbedding, chat templates, ...) go through sentence-transformers' encode."""
        from sentence_transformers.base.modules import Transformer

        first = self.model[0]
        return (
            type(first) is Transformer
            and set(first.modality_config) == {"text"}
            and not first.processing_kwargs
            and first.query_expansion is None
            and first.query_length is None
            and first.document_length is None
            and first.tokenizer is not None
            and first.tokenizer.is_fast
            and not first.can_flatten_inputs
        )

    def encode(self, texts: list[str], side: str, advance: Callable[[int], None] | None = None) -> Encoded:
        """Vectors of texts, in their order. side: query or document (its prompt is put before each text)."""
        if not texts:
            return Encoded(np.empty((0, self.recipe.dim or 0), np.float32), 0, 0)
        self._use_threads()
        prompt = self.recipe.prompt(side)
        if not self._plain:
            return self._encode_by_library(texts, prompt, side, advance)
        rows, lengths, truncated = self._tokenized(texts, prompt, self.recipe.max_length)
        extra: dict[str, Any] = {"modality": "text"}
        if prompt:
            extra["prompt_length"] = self._prompt_length(prompt)
        out: Floats | None = None
        for batch in self._batches(lengths):
            vectors = self._forward(rows, batch, extra, side)
            if out is None:
                out = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
            out[batch] = vectors
            if advance:
                advance(len(batch))
        assert out is not None
        return Encoded(self._checked(out), int(lengths.sum()), truncated)

    def _use_threads(self) -> None:
        import torch

        if self.threads and self.device == "cpu" and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def _tokenized(
        self, texts: list[str], prompt: str, max_length: int | None
    ) -> tuple[Any, npt.NDArray[np.int64], int]:
        """(the tokenizer's output, int64 [texts] tokens of each, how many texts were cut)."""
        tokenizer = self.model[0].tokenizer
        with unwarned():
            rows = tokenizer(
                [prompt + text for text in texts] if prompt else texts,
                truncation=bool(max_length),
                padding=False,
                max_length=max_length,
                return_attention_mask=False,
            )
        lengths = np.array([len(ids) for ids in rows["input_ids"]], dtype=np.int64)
        truncated = 0
        if max_length:
            # Only a text of full length can have lost something; the tokenizer keeps what it cut off.
            for row in np.flatnonzero(lengths >= max_length):
                truncated += bool(rows.encodings[row].overflowing)
        return rows, lengths, truncated

    def _batches(self, lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Rows of texts of like length, longest first, each batch within the budget of padded tokens."""
        by_length = np.argsort(-lengths, kind="stable")
        at = 0
        while at < len(by_length):
            count = max(1, min(BATCH_TEXTS, self.batch_tokens // max(1, int(lengths[by_length[at]]))))
            yield by_length[at : at + count]
            at += count

    def _forward(self, rows: Any, batch: npt.NDArray[np.int64], extra: dict[str, Any], side: str) -> Any:
        """float32 vectors of one batch; where memory runs out, of its halves, and batches stay that small."""
        try:
            return self._vectors(self._padded(rows, batch) | extra, side)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise SeekbenchError(
                    f"{self.name}: one text of {len(rows['input_ids'][batch[0]])} tokens does not fit into "
                    f"the memory of {self.device}; state a smaller max_length, or dtype: bfloat16"
                ) from error
        free_memory(self.device)
        self.batch_tokens = max(1, self.batch_tokens // 2)
        half = len(batch) // 2
        return self._joined(
            self._forward(rows, batch[:half], extra, side), self._forward(rows, batch[half:], extra, side)
        )

    def _joined(self, first: Any, second: Any) -> Any:
        return np.concatenate([first, second])

    def _padded(self, rows: Any, batch: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Tensors of a batch, padded to its longest text on the tokenizer's side."""
        import torch

        tokenizer = self.model[0].tokenizer
        pad = tokenizer.pad_token_id
        if pad is None:
            # Decoders often have none; what stands there is masked.
            pad = tokenizer.eos_token_id or 0
        lists = [rows["input_ids"][i] for i in batch]
        width = max(len(ids) for ids in lists)
        shape = (len(batch), width)
        arrays = {"input_ids": np.full(shape, pad, np.int64), "attention_mask": np.zeros(shape, np.int64)}
        types = rows.get("token_type_ids")
        if types is not None:
            arrays["token_type_ids"] = np.full(shape, tokenizer.pad_token_type_id, np.int64)
        left = tokenizer.padding_side == "left"
        for line, (row, ids) in enumerate(zip(batch, lists, strict=True)):
            where = slice(width - len(ids), width) if left else slice(0, len(ids))
            arrays["input_ids"][line, where] = ids
            arrays["attention_mask"][line, where] = 1
            if types is not None:
                arrays["token_type_ids"][line, where] = types[row]
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def _vectors(self, features: dict[str, Any], side: str) -> Any:
        """float32 [texts, dim] of padded tokens, normalised where the recipe says so."""
        import torch

        with torch.inference_mode():
            first, *rest = self.model
            features = first(features, task=side)
            for name in ("token_embeddings", "sentence_embedding"):
                if name in features:
                    features[name] = features[name].float()
            for module in rest:
                features = module(features)
            return self._finished(features["sentence_embedding"])

    def _finished(self, vectors: Any) -> Floats:
        import torch

        vectors = vectors.float()
        if self.recipe.truncate_dim:
            vectors = vectors[:, : self.recipe.truncate_dim]
        if self.recipe.normalize:
            vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
        array: Floats = vectors.cpu().numpy()
        return array

    def _encode_by_library(
        self, texts: list[str], prompt: str, side: str, advance: Callable[[int], None] | None
    ) -> Encoded:
        import torch

        parts = []
        # Sorted by characters in blocks, since what the module does with a text is its own.
        for at in range(0, len(texts), 256):
            part = texts[at : at + 256]
            with torch.inference_mode(), quiet():
                vectors = self.model.encode(
                    part, prompt=prompt or None, task=side, convert_to_tensor=True, show_progress_bar=False
                )
                parts.append(self._finished(vectors))
            if advance:
                advance(len(part))
        return Encoded(self._checked(np.concatenate(parts)), None, None)

    def _checked(self, vectors: Floats) -> Floats:
        if not np.isfinite(vectors).all():
            rows = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            raise SeekbenchError(
                f"{self.name} gave vectors that are not finite for {len(rows)} of {len(vectors)} {self.unit} in "
                f"{self.dtype}" + ("; use dtype float32 or bfloat16" if self.dtype == "float16" else "")
            )
        return vectors

    def _prompt_length(self, prompt: str) -> int:
        """Tokens of the prompt without a closing special token, for poolings that leave it out
        (INSTRUCTOR)."""
        tokenizer = self.model[0].tokenizer
        ids = tokenizer(prompt)["input_ids"]
        return len(ids) - (bool(ids) and ids[-1] in tokenizer.all_special_ids)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())


def _load(checkpoint: Checkpoint, dtype: Any, device: str) -> Any:
    """The checkpoint as a sentence-transformers model, from its local folder, safetensors only."""
    import sentence_transformers
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    recipe, trust = checkpoint.recipe, checkpoint.settings.trust_remote_code
    with loading(checkpoint, device):
        if checkpoint.modules:
            model = sentence_transformers.SentenceTransformer(
                str(checkpoint.folder),
                device=device,
                local_files_only=True,
                trust_remote_code=trust,
                model_kwargs=weights_as(dtype),
            )
            if recipe.drop_normalize:
                kept = [m for m in model if not isinstance(m, Normalize)]
                model = sentence_transformers.SentenceTransformer(modules=kept, device=device)
        else:
            transformer = plain_transformer(checkpoint, dtype)
            pooling = Pooling(transformer.get_embedding_dimension(), recipe.pooling)
            model = sentence_transformers.SentenceTransformer(modules=[transformer, pooling], device=device)
    return ready(model)


def weights_as(dtype: Any) -> dict[str, Any]:
    """What transformers is told of the weights: no pickles, and its own choice of attention (sdpa), since a checkpoint
    may not force one that needs more packages."""
    return {"dtype": dtype, "use_safetensors": True}


def plain_transformer(checkpoint: Checkpoint, dtype: Any, **more: Any) -> Any:
    """The first module of sentence-transformers over the files that transformers reads."""
    from sentence_transformers.base.modules import Transformer

    common = {"local_files_only": True, "trust_remote_code": checkpoint.settings.trust_remote_code}
    return Transformer(
        str(checkpoint.folder / checkpoint.transformer_folder),
        model_kwargs=weights_as(dtype) | common,
        processor_kwargs=dict(common),
        config_kwargs=dict(common),
        # Text in, token vectors out: a chat template of the tokenizer must not wrap the texts.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        **more,
    )


def ready(model: Any) -> Any:
    """The model for inference: what comes after the transformer computes in float32."""
    model.eval()
    for module in list(model)[1:]:
        module.float()
    return model


@contextmanager
def loading(checkpoint: Checkpoint, device: str) -> Iterator[None]:
    """Around what loads a checkpoint: errors in a line, and no weights that the files lack."""
    from safetensors import SafetensorError

    folder = str(checkpoint.folder)
    try:
        with quiet() as heard:
            yield
    except (ValueError, OSError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise SeekbenchError(f"{checkpoint.name} does not fit into the memory of {device}") from error
        line = " ".join(str(error).split())
        raise InputError(f"{checkpoint.name} can't be loaded: {line[:300]}", where=folder) from error
    lost = sorted(name for name in heard if not name.startswith("pooler.") and ".pooler." not in name)
    if lost:
        raise InputError(
            f"the weights lack {len(lost)} tensors of the model ({', '.join(lost[:3])}), "
            "which would be random numbers",
            where=folder,
        )


@contextmanager
def quiet() -> Iterator[list[str]]:
    """No progress bars and no chatter of transformers on the terminal; yields names of tensors that it
    reported as missing from the weights."""
    import logging

    from transformers.utils import logging as hf_logging

    missing: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines = record.getMessage().splitlines()
            missing.extend(_plain_text(n.split("|")[0]) for n in lines if "MISSING" in n and "|" in n)

    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    root = logging.getLogger("transformers")
    ear = Ear()
    others, propagate = root.handlers[:], root.propagate
    root.handlers, root.propagate = [ear], False
    library = logging.getLogger("sentence_transformers")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield missing
    finally:
        root.handlers, root.propagate = others, propagate
        library.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()


def _plain_text(cell: str) -> str:
    """A cell of transformers' load report without colours."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", cell).strip()


@contextmanager
def unwarned() -> Iterator[None]:
    """transformers' tokenizers say on stderr that a text is longer than the model's limit; here they are
    cut."""
    import logging

    root = logging.getLogger("transformers.tokenization_utils_base")
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory was too small, in the words of torch or of a driver."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def free_memory(device: str) -> None:
    """Gives memory that torch keeps for later back to the device."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device.startswith("mps"):
        torch.mps.empty_cache()
