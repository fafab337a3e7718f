"""What the retriever asks of a model that writes docids.

A *family* turns docids into tokens, texts into what its model reads, and makes, saves and loads models. There is one
module a family (`vector`, `encoder`, `checkpoint`); `family.py` names them.

Nothing here imports torch at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

    from seekbench.retrievers.generative.steppers import Stepper

Side = Literal["document", "query"]


@dataclass(frozen=True)
class DocidTokens:
    """Docids as tokens of a model.

    flat: int32 tokens; indptr: int64 [docids + 1], docid i is flat[indptr[i]:indptr[i + 1]], without an end.
    vocabulary: how many tokens the model's output has. end: the token that closes a docid or a list of them;
    separator: stands between the docids of a list, None where no lists are written.
    own: names of the tokens that exist for docids alone, the first of which is token `first_own`: new rows of the
    model's table. A model that goes on with a grown corpus finds its rows by these names.
    """

    flat: npt.NDArray[np.int32]
    indptr: npt.NDArray[np.int64]
    vocabulary: int
    end: int
    separator: int | None
    own: tuple[str, ...]
    first_own: int

    @property
    def longest(self) -> int:
        """Tokens of the longest docid."""
        return int(np.diff(self.indptr).max())

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "flat.npy", self.flat)
        np.save(folder / "indptr.npy", self.indptr)
        head = {name: getattr(self, name) for name in _HEAD}
        write_atomic(folder / "tokens.json", orjson.dumps(head))

    @classmethod
    def load(cls, folder: Path) -> DocidTokens:
        head = orjson.loads((folder / "tokens.json").read_bytes())
        head["own"] = tuple(head["own"])
        return cls(
            np.load(folder / "flat.npy", mmap_mode="r"), np.load(folder / "indptr.npy", mmap_mode="r"), **head
        )


_HEAD = ("vocabulary", "end", "separator", "own", "first_own")


class Inputs(Protocol):
    """Texts as a model reads them, mapped from files or in memory. seconds: what making them took."""

    seconds: float

    def __len__(self) -> int: ...

    def batch(self, rows: npt.NDArray[np.int64]) -> Any:
        """What `Model.loss` and the model's stepper take, for these texts; on the CPU, the model moves it."""


class Model(Protocol):
    """A torch.nn.Module besides."""

    def loss(self, batch: Any, targets: Tensor, smoothing: float) -> Tensor:
        """Cross entropy: the mean over all target tokens of the batch, with gradient.

        batch: of `Inputs.batch`, B texts; targets: int64 [B, T], the tokens to write, the closing one included,
        -100 after it; smoothing: label smoothing over the vocabulary.
        """

    def stepper(self) -> Stepper:
        """For decoding, in evaluation mode. Weights that change later may be seen or not: make a new one."""

    def counts(self) -> dict[str, int]:
        """Parameters: `total`, `docid_table` (rows that exist for docids alone), `embedding` (all tables of tokens and
        positions), `non_embedding`, `trained`."""


class Family(Protocol):
    """A kind of model, made of its parameters (`params`, a pydantic model with `type`); making it touches no file."""

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        """What scores depend on beyond the parameters: content of checkpoints, versions. Cheap."""

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        """JSON facts for the record."""

    def tokens(self, docids: Docids, *, lists: bool, context: Context) -> DocidTokens: ...

    def inputs(self, texts: list[str], side: Side, folder: Path | None, *, context: Context) -> Inputs:
        """Texts made ready. With a folder the work is kept there and continued; without one it stays in memory."""

    def make(self, tokens: DocidTokens, longest: int, *, seed: int, context: Context) -> Any:
        """A new `Model` for targets of at most `longest` tokens, on the device."""

    def grown(
        self,
        model: Any,
        known: DocidTokens,
        tokens: DocidTokens,
        longest: int,
        *,
        seed: int,
        context: Context,
    ) -> Any:
        """A `Model` for more docids (and at most `longest` tokens) with the weights of `model`; docid tokens of the
        same name keep their rows."""

    def save(self, model: Any, folder: Path) -> None: ...

    def load(self, folder: Path, tokens: DocidTokens, longest: int, *, context: Context) -> Any:
        """What `save` wrote, on the device, in evaluation mode."""

    def release(self) -> None:
        """Lets go of loaded checkpoints."""
