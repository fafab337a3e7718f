"""What retrievers with an encoder share: the fields that name its checkpoint, and the checkpoint itself, whose files
are looked for once and whose model is loaded once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import Field, PrivateAttr

from seekbench.errors import SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.checkpoint import Checkpoint, Settings, place, resolve_as
from seekbench.retrievers.dense.encode import Encoder, pick_device
from seekbench.retrievers.protocol import Context

C = TypeVar("C", bound=Checkpoint)
E = TypeVar("E", bound=Encoder)


class ModelParams(protocol.Params):
    """Fields that name a checkpoint."""

    model: str = Field(min_length=1, description="a hub name, or the path of a checkpoint's folder")
    revision: str | None = Field(None, description="branch, tag or (better) commit on the hub")

    #: Folder of the file that names the model. `model` stays as written: a moved folder is the same model.
    _base: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        base = (context or {}).get("base")
        self._base = None if base is None else Path(base).absolute()

    @property
    def place(self) -> str:
        """`model`, a folder's path being relative to the file that names it: whatever begins with ./ or ../,
        and a name that is a folder there."""
        return place(self.model, self._base)


class Model(Generic[C, E]):
    """Checkpoints by their settings, and the one that is loaded. kind, encoder: their classes.

    Where files changed, nothing that is known of them is used again.
    """

    def __init__(self, kind: type[C], encoder: type[E]) -> None:
        self._kind, self._encoder = kind, encoder
        self._files: dict[tuple[Settings, bool], C] = {}
        self._held: tuple[Settings, E] | None = None

    @property
    def loaded(self) -> E | None:
        return None if self._held is None else self._held[1]

    def checkpoint(self, settings: Settings, *, offline: bool, fetch: bool = False) -> C:
        """The resolved files; with `fetch` the weights are on disk. Raises SeekbenchError where they changed since the
        last look."""
        key = (settings, offline)
        known = self._files.get(key)
        if known is None or (fetch and not known.complete):
            found = resolve_as(self._kind, settings, offline=offline, fetch=fetch)
            if known and (found.weights_hash, found.files_hash) != (known.weights_hash, known.files_hash):
                self._files.clear()
                raise SeekbenchError(f"{found.name} changed while it was being read; run again")
            known = self._files[key] = found
        return known

    def encoder(self, settings: Settings, *, context: Context, dtype: str, batch_tokens: int | None) -> E:
        """The loaded model; loaded once for index and search."""
        device = pick_device(context.device)
        if self._held is not None and self._held[0] == settings and self._held[1].device == device:
            return self._held[1]
        self.release()
        checkpoint = self.checkpoint(settings, offline=context.offline, fetch=True)
        for warning in checkpoint.recipe.warnings:
            context.progress.note(warning)
        # Hashed before it is loaded (once), so that what is loaded can be compared with what was hashed.
        _ = checkpoint.weights_hash, checkpoint.files_hash
        try:
            encoder = self._encoder(
                checkpoint, dtype=dtype, device=device, threads=context.threads, batch_tokens=batch_tokens
            )
        finally:
            # A file that was half written gives errors of its own; this one says why.
            self.checked(checkpoint.verify)
        self._held = settings, encoder
        return encoder

    def checked(self, verify: Callable[[], None]) -> None:
        """Where files changed, nothing that is known of them is used again: the next look is a new one."""
        try:
            verify()
        except SeekbenchError:
            self._files.clear()
            self._held = None
            raise

    def release(self) -> None:
        """Lets go of the loaded model; it is loaded again when it is needed."""
        if self._held is not None:
            on_gpu = self._held[1].device != "cpu"
            self._held = None
            gc.collect()
            if on_gpu:
                import torch

                torch.cuda.empty_cache()
