"""Checkpoints of transformers: their files, what scores depend on of them, and loading them.

Nothing here imports torch or transformers at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense import checkpoint as files
from seekbench.retrievers.protocol import Context


class Pretrained:
    """The files and the tokenizer of one checkpoint; each is looked for once.

    find: (context, whether weights are to be on disk) -> files. Raises InputError for those that the family can't use.
    """

    def __init__(self, find: Callable[[Context, bool], files.Checkpoint]) -> None:
        self._find = find
        self._checkpoints: dict[tuple[bool, bool], files.Checkpoint] = {}
        self._tokenizer: Any = None

    def checkpoint(self, context: Context, *, fetch: bool = False) -> files.Checkpoint:
        """The files; with `fetch` the weights are on disk. Raises SeekbenchError where they changed since the last
        look."""
        key = (context.trust_remote_code, context.offline)
        known = self._checkpoints.get(key)
        if known is None or (fetch and not known.complete):
            found = self._find(context, fetch)
            if known and content(found) != content(known):
                raise SeekbenchError(f"{found.name} changed while it was being read; run again")
            known = self._checkpoints[key] = found
        return known

    def tokenizer(self, context: Context) -> Any:
        """transformers' tokenizer."""
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            checkpoint = self.checkpoint(context)
            self._tokenizer = loaded(
                AutoTokenizer, folder_of(checkpoint), f"the tokenizer of {checkpoint.name}", context=context
            )
        return self._tokenizer

    def release(self) -> None:
        """Forgets both."""
        self._checkpoints.clear()
        self._tokenizer = None


def resolved(place: str, revision: str | None, *, context: Context, fetch: bool = False) -> files.Checkpoint:
    """The files of a name or path, by the rules of dense checkpoints: offline, safetensors, no foreign code.

    A pooling is stated only so that checkpoints without a recipe are taken; nothing is pooled here.
    """

    def found(pooling: str | None) -> files.Checkpoint:
        settings = files.Settings(
            place, revision, pooling=pooling, trust_remote_code=context.trust_remote_code
        )
        return files.resolve(settings, offline=context.offline, fetch=fetch)

    try:
        return found(None)
    except InputError:
        # A language model without a recipe of a sentence encoder; any other defect is found again.
        return found("mean")


def folder_of(checkpoint: files.Checkpoint) -> Path:
    """The folder that transformers reads."""
    return checkpoint.folder / checkpoint.transformer_folder


def content(checkpoint: files.Checkpoint) -> dict[str, Any]:
    """What scores depend on: hashes of the weights, of configs and tokenizer, and versions of what computes."""
    return {
        "weights": checkpoint.weights_hash,
        "files": checkpoint.files_hash,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


@contextmanager
def quiet() -> Iterator[None]:
    """No chatter and no progress bars of transformers; what matters of it is asked for and raised."""
    import warnings

    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def loaded(what: Any, folder: Path, name: str, *, context: Context, **more: Any) -> Any:
    """`what.from_pretrained(folder)` of local files; its errors become one line."""
    try:
        with quiet():
            return what.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=context.trust_remote_code, **more
            )
    except (ValueError, OSError, ImportError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{name} can't be loaded: {line[:300]}", where=str(folder)) from error


def weights(what: Any, folder: Path, name: str, *, unused: tuple[str, ...] = (), context: Context) -> Any:
    """A float32 model in evaluation mode, of safetensors alone. Raises InputError where the weights lack tensors, but
    for those whose names begin with `unused`."""
    import torch

    model, info = loaded(
        what, folder, name, context=context, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )  # fmt: skip
    lacking = sorted(k for k in info["missing_keys"] if not k.startswith(unused or ("\0",)))
    if lacking:
        raise InputError(
            f"{name}: the weights lack {len(lacking)} tensors of {type(model).__name__} "
            f"({', '.join(lacking[:3])}), which would be random numbers",
            where=str(folder),
        )
    return model.eval()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no file."""
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return found
