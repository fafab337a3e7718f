"""Texts as tokens of a checkpoint: cut by its tokenizer, kept in files, and padded into batches.

Nothing here imports torch at import.
"""

from __future__ import annotations

import io
import shutil
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from seekbench import hashing
from seekbench.errors import InputError
from seekbench.retrievers.generative.models.pretrained import read_json
from seekbench.retrievers.protocol import Context
from seekbench.store import atomic_file, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

#: Texts cut and saved at a time: what an interruption may lose.
_BLOCK = 8192


@dataclass(frozen=True)
class TokenInputs:
    """Texts as tokens, flat. tokens: int32; indptr: int64 [texts + 1]; pad: what fills a row up, on the `left` or the
    right; truncated: texts that were cut to the maximum length; seconds: what cutting them took, over all processes."""

    tokens: npt.NDArray[np.int32]
    indptr: npt.NDArray[np.int64]
    pad: int
    left: bool
    truncated: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def batch(self, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """input_ids and attention_mask: int64 [B, longest of these texts]."""
        import torch

        rows = np.asarray(rows)
        first, length = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        width = int(length.max(initial=1))
        place = np.arange(width) - ((width - length)[:, None] if self.left else 0)
        inside = (place >= 0) & (place < length[:, None])
        ids = np.full(inside.shape, self.pad, dtype=np.int64)
        ids[inside] = self.tokens[(first[:, None] + place)[inside]]
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(inside.astype(np.int64)),
        }


class Cutter:
    """Texts to tokens of at most max_length: special tokens as the tokenizer sets them, and a template around the text.

    before, after: the template's parts; what is too long loses the end of its text, not `after` (whose tokens are
    those that the tokenizer makes of it alone). closed: with the special tokens that close a text. A text that
    gives no token at all becomes the one token `empty`.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        *,
        before: str = "",
        after: str = "",
        closed: bool = True,
        empty: int,
    ) -> None:
        self.tokenizer, self.max_length, self.before, self.after = tokenizer, max_length, before, after
        self.prefix, self.suffix = special_tokens(tokenizer)
        if not closed:
            self.suffix = []
        self.empty = empty
        self.tail = plain(tokenizer, [after])[0] if after else []
        self.room = max_length - len(self.prefix) - len(self.suffix)
        if self.room <= len(self.tail):
            raise InputError(
                f"max_length {max_length} leaves no token for the text beside special tokens and template"
            )

    def __call__(self, texts: list[str]) -> tuple[list[list[int]], int]:
        """(tokens of each text, how many texts were cut)."""
        rows, truncated = [], 0
        for body in plain(self.tokenizer, [f"{self.before}{text}{self.after}" for text in texts]):
            if len(body) > self.room:
                truncated += 1
                body = [*body[: self.room - len(self.tail)], *self.tail]
            rows.append([*self.prefix, *body, *self.suffix] or [self.empty])
        return rows, truncated


def plain(tokenizer: Any, texts: list[str], **more: Any) -> list[list[int]]:
    """Tokens of texts without special ones and of any length."""
    if not texts:
        return []
    found = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False, **more)
    rows: list[list[int]] = found["input_ids"]
    return rows


def special_tokens(tokenizer: Any, *, target: bool = False) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind a text, or a target."""
    probe = "a"
    inner = plain(tokenizer, [probe])[0]
    whole = list((tokenizer(text_target=probe) if target else tokenizer(probe))["input_ids"])
    for at in range(len(whole) - len(inner) + 1):
        if whole[at : at + len(inner)] == inner:
            return whole[:at], whole[at + len(inner) :]
    raise InputError("the tokenizer changes a text's tokens when it adds special tokens to them")


def tokenised(
    texts: list[str], cut: Cutter, folder: Path | None, *, key: str, pad: int, left: bool, context: Context
) -> TokenInputs:
    """Texts cut in blocks. With a folder each block is kept there, and all are joined into files that are mapped; a
    call that was interrupted goes on. key: of what `cut` depends on; work of another key or texts is made anew."""
    if folder is not None:
        column = pa.chunked_array([pa.array(texts, pa.large_string())])
        key = hashing.of_json([key, hashing.of_columns([("text", column)])])
        if read_json(folder / "inputs.json").get("key") == key:
            return _mapped(folder, pad, left)
        if read_json(folder / "layout.json").get("key") != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_atomic(folder / "layout.json", orjson.dumps({"key": key}))
    blocks: list[npt.NDArray[np.int32]] = []
    with context.progress.stage("tokenize", total=len(texts), unit="texts") as stage:
        for at in range(0, len(texts), _BLOCK):
            part = texts[at : at + _BLOCK]
            path = None if folder is None else folder / f"{at:010d}.npy"
            if path is not None and path.exists():
                blocks.append(np.load(path))
            else:
                blocks.append(_block(cut, part))
                if path is not None:
                    buffer = io.BytesIO()
                    np.save(buffer, blocks[-1])
                    write_atomic(path, buffer.getvalue())
            stage.advance(len(part))
    sizes = [min(_BLOCK, len(texts) - at) for at in range(0, len(texts), _BLOCK)]
    none = np.empty(0, dtype=np.int32)
    lengths = np.concatenate([none, *(b[2 : 2 + n] for b, n in zip(blocks, sizes, strict=True))])
    tokens = np.concatenate([none, *(b[2 + n :] for b, n in zip(blocks, sizes, strict=True))])
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    truncated, seconds = sum(int(b[0]) for b in blocks), sum(int(b[1]) for b in blocks) / 1000
    if folder is None:
        return TokenInputs(tokens, indptr, pad, left, truncated, seconds)
    for name, array in (("tokens.npy", tokens), ("indptr.npy", indptr)):
        with atomic_file(folder / name) as unfinished, unfinished.open("wb") as handle:
            np.save(handle, array)
    facts = {"key": key, "tokens": len(tokens), "truncated": truncated, "seconds": seconds}
    write_atomic(folder / "inputs.json", orjson.dumps(facts))
    for path in folder.glob("[0-9]*.npy"):
        path.unlink()
    return _mapped(folder, pad, left)


def _block(cut: Cutter, texts: list[str]) -> npt.NDArray[np.int32]:
    """How many texts were truncated, milliseconds, the length of each text, and all tokens: one file, which is there or
    not."""
    began = time.perf_counter()
    rows, truncated = cut(texts)
    milliseconds = round(1000 * (time.perf_counter() - began))
    head = [truncated, milliseconds, *(len(row) for row in rows)]
    return np.fromiter(chain(head, *rows), np.int32)


def _mapped(folder: Path, pad: int, left: bool) -> TokenInputs:
    indptr = np.load(folder / "indptr.npy")
    tokens = np.load(folder / "tokens.npy", mmap_mode="r" if indptr[-1] else None)
    facts = read_json(folder / "inputs.json")
    return TokenInputs(tokens, indptr, pad, left, facts["truncated"], facts["seconds"])
