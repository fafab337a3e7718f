"""Checkpoints of transformers that write docids: encoder-decoders (T5, mT5, BART, mBART) and decoder-only models.

**Text docids** are cut by the checkpoint's own tokenizer, without special tokens. An encoder-decoder writes them as
they are, with no space in front, as GENRE writes titles with BART; a decoder-only model goes on after its prompt, so
where its tokenizer tells ` a` from `a` (byte-level BPE) they get a space in front. **Code docids** are new rows behind
the model's table, from row `vocab_size` on (T5 has 32,128 rows and 32,100 tokens: the spare ones stay unused).
A new row is drawn from the normal distribution that has each column's mean and standard deviation over the
checkpoint's rows, so new tokens look like any others and differ from each other at once; transformers' own resizing
puts all of them next to the mean.

**The first token.** BART was trained to write `<s>` first, mBART a language. Where the checkpoint says so
(`forced_bos_token_id`), or its tokenizer puts one special token before a target, each docid begins with that token,
also within lists. A forced one costs nothing, as in transformers' `generate`: its log-probability counts as 0, and it
counts as a token of the docid's length. So a GENRE checkpoint decodes without training.

torch and transformers are imported where a model or a tokenizer is needed, since the command line imports this module
for its parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field, PrivateAttr, field_validator

from seekbench import hashing
from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import checkpoint as files
from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.generative.models.base import DocidTokens, Side
from seekbench.retrievers.generative.models.pretrained import content, folder_of, quiet, read_json, weights
from seekbench.retrievers.generative.models.text_checkpoint import TextCheckpoint
from seekbench.retrievers.generative.models.token_inputs import Cutter, TokenInputs, plain, tokenised
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.checkpoint_model import CheckpointModel

SEPARATOR = "<sep>"
_HEAD = "docid_model.json"

Cut = Callable[[list[str]], Sequence[Sequence[int]]]


class CheckpointParams(protocol.Params):
    """Fields of `model: {type: checkpoint}`."""

    type: Literal["checkpoint"]
    name: str = Field(min_length=1, description="a hub name, or the path of a checkpoint's folder")
    revision: str | None = Field(None, description="branch, tag or (better) commit on the hub")
    max_length: int = Field(128, ge=2, description="tokens of an input, special ones included")
    template: str | None = Field(
        None,
        description="how a text becomes an input: {text} once, {side} is `document` or `query`; not stated: `{text}`, "
        "for a decoder-only model `{text}`, a new line and `Document:`",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of computing; weights and the loss are float32 always"
    )

    #: Folder of the file that names the checkpoint. `name` stays as written: a moved folder is the same model.
    _base: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._base = (context or {}).get("base")

    @field_validator("template")
    @classmethod
    def _has_text(cls, value: str | None) -> str | None:
        if value is not None and value.count("{text}") != 1:
            raise ValueError("a template holds {text} once")
        return value

    @property
    def place(self) -> str:
        """`name`, a folder's path being relative to the file that names it (as `DenseParams.place`)."""
        return files.place(self.name, self._base)


class CheckpointFamily:
    """See `base.Family`."""

    def __init__(self, params: CheckpointParams) -> None:
        self.params, self.pretrained = params, TextCheckpoint(params)

    def _template(self, context: Context) -> str:
        if self.params.template is not None:
            return self.params.template
        return "{text}" if self.pretrained.seq2seq(context) else "{text}\nDocument:"

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        pretrained = self.pretrained
        pretrained.seq2seq(context)  # refused before any work
        # These may come from generation_config.json, which is no part of the files' hash.
        named = ("decoder_start_token_id", "bos_token_id", "eos_token_id")
        said = {name: pretrained.said(name, context) for name in named}
        return {**content(pretrained.checkpoint(context)), **said, "forced_bos": pretrained.forced(context)}

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        checkpoint, tokenizer = self.pretrained.checkpoint(context), self.pretrained.tokenizer(context)
        source = checkpoint.source
        first = tokenizer.convert_ids_to_tokens(self.pretrained.first(context))
        return {
            "model": self.params.name if source.kind == "local" else checkpoint.name,
            "source": source.kind,
            "folder": str(checkpoint.folder),
            "revision": source.revision,
            "weights": checkpoint.weights,
            "model_type": self.pretrained.config(context).model_type,
            "architecture": "encoder-decoder" if self.pretrained.seq2seq(context) else "decoder-only",
            "vocabulary": self.pretrained.rows(context),
            "template": self._template(context),
            "max_length": self.params.max_length,
            "dtype": self.params.dtype,
            "docids_begin_with": first[0] if first else None,
            "docids_end_with": tokenizer.convert_ids_to_tokens(self.pretrained.end(context)),
        }

    def tokens(self, docids: Docids, *, lists: bool, context: Context) -> DocidTokens:
        """`own`: the codes that occur, in their order, and a separator where lists are written.

        Raises InputError where a text docid can't be written or holds the end token.
        """
        pretrained = self.pretrained
        base, end, first = pretrained.rows(context), pretrained.end(context), pretrained.first(context)
        own: list[str] = []
        if docids.kind == "text":
            flat, indptr = docids.sequences(self._docid_cut(context))
            self._check(docids, flat, indptr, base, end, context)
        else:
            flat, indptr = docids.sequences()
            known, dense = np.unique(flat, return_inverse=True)
            own = docids.symbol_names(known)
            flat = (dense + base).astype(np.int32)
        if first:
            flat = np.insert(flat, indptr[:-1], first[0])
            indptr = indptr + np.arange(len(indptr))
        separator = base + len(own) if lists else None
        own += [SEPARATOR] if lists else []
        return DocidTokens(flat.astype(np.int32), indptr, base + len(own), end, separator, tuple(own), base)

    def _docid_cut(self, context: Context) -> Cut:
        tokenizer = self.pretrained.tokenizer(context)
        space = ""
        if not self.pretrained.seq2seq(context):
            # SentencePiece marks the beginning of a word by itself.
            marked = tokenizer.convert_ids_to_tokens(plain(tokenizer, ["a"])[0])[0].startswith("▁")
            space = "" if marked else " "
        # A title such as `</s>` is text (to the models of SentencePiece alone it stays the end token: `_check`).
        return lambda texts: plain(tokenizer, [space + t for t in texts], split_special_tokens=True)

    def _check(
        self, docids: Docids, flat: npt.NDArray[np.int32], indptr: npt.NDArray[np.int64], base: int, end: int,
        context: Context,
    ) -> None:  # fmt: skip
        name = self.pretrained.checkpoint(context).name

        def docid(place: int) -> str:
            return repr(docids.names([int(np.searchsorted(indptr, place, side="right")) - 1])[0])

        if (flat == end).any():
            raise InputError(
                f"the docid {docid(int(np.argmax(flat == end)))} holds the end token of {name}",
                remedy="use another docid type, or change that text",
            )
        if len(flat) and flat.max() >= base:
            raise InputError(
                f"the tokenizer of {name} gives token {flat.max()} for the docid {docid(int(flat.argmax()))}, "
                f"its model has {base}"
            )
        unknown = self.pretrained.tokenizer(context).unk_token_id
        if unknown is not None and unknown != end and (flat == unknown).any():
            rows = np.unique(np.searchsorted(indptr, np.flatnonzero(flat == unknown), side="right"))
            context.progress.note(
                f"{len(rows)} docids hold characters that the tokenizer of {name} does not know, the first is "
                f"{docid(int(np.argmax(flat == unknown)))}"
            )

    def inputs(self, texts: list[str], side: Side, folder: Path | None, *, context: Context) -> TokenInputs:
        pretrained, length = self.pretrained, self.params.max_length
        seq2seq, template = pretrained.seq2seq(context), self._template(context)
        before, after = (part.replace("{side}", side) for part in template.split("{text}"))
        end = pretrained.end(context)
        cut = Cutter(
            pretrained.tokenizer(context), length, before=before, after=after, closed=seq2seq, empty=end
        )
        key = hashing.of_json([pretrained.checkpoint(context).files_hash, before, after, length])
        return tokenised(
            texts, cut, folder, key=key, pad=pretrained.pad(context), left=not seq2seq, context=context
        )

    def make(self, tokens: DocidTokens, longest: int, *, seed: int, context: Context) -> CheckpointModel:
        """New rows depend on (seed, how many there are) alone."""
        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.checkpoint_model import CheckpointModel, Head, resize

        pretrained = self.pretrained
        seq2seq, checkpoint = pretrained.seq2seq(context), pretrained.checkpoint(context, fetch=True)
        self._fits(longest, context)
        start = None
        if seq2seq:
            start = pretrained.said("decoder_start_token_id", context)
            if start is None:
                raise InputError(
                    f"{checkpoint.name} names no decoder_start_token_id",
                    remedy="add it to its generation_config.json",
                )
        # Hashed before it is loaded, so that what is loaded can be compared with what was hashed.
        _ = checkpoint.weights_hash, checkpoint.files_hash
        inner = weights(_auto(seq2seq), folder_of(checkpoint), checkpoint.name, context=context)
        checkpoint.verify()
        resize(inner, tokens.vocabulary, tokens.first_own, seed)
        if start is not None:
            inner.config.decoder_start_token_id = start
        head = Head(
            seq2seq, start, pretrained.forced(context) if seq2seq else None, pretrained.pad(context), tokens.own,
            tokens.first_own, self.params.dtype,
        )  # fmt: skip
        return CheckpointModel(inner, head).to(pick_device(context.device)).eval()

    def _fits(self, longest: int, context: Context) -> None:
        """Raises InputError where the model has too few positions."""
        config = self.pretrained.config(context)
        positions = getattr(config, "max_position_embeddings", None)
        if not isinstance(positions, int) or positions <= 0:
            return
        seq2seq, given = self.pretrained.seq2seq(context), self.params.max_length
        wanted = max(given, longest) if seq2seq else given + longest
        if wanted > positions:
            parts = f"max_length {given} {'or' if seq2seq else 'and'} targets of {longest} tokens"
            raise InputError(
                f"{parts} are more than the {positions} positions of {self.pretrained.checkpoint(context).name}",
                remedy="lower max_length, or choose shorter docids",
            )

    def grown(
        self, model: CheckpointModel, known: DocidTokens, tokens: DocidTokens, longest: int, *, seed: int,
        context: Context,
    ) -> CheckpointModel:  # fmt: skip
        import torch

        from seekbench.retrievers.generative.models.checkpoint_model import (
            CheckpointModel,
            Head,
            resize,
            token_tables,
        )

        if known.first_own != tokens.first_own or model.head.own != known.own:
            raise SeekbenchError("a model can grow only for docids of the tokenizer that it was made with")
        self._fits(longest, context)
        inner = copy.deepcopy(model.inner)
        base = known.first_own
        before = [table.detach()[base:].clone() for table in token_tables(inner)]
        resize(inner, tokens.vocabulary, base, seed)
        place = {name: i for i, name in enumerate(known.own)}
        pairs = [(i, place[name]) for i, name in enumerate(tokens.own) if name in place]
        if pairs:
            here, there = (torch.tensor(x, device=model.device) for x in zip(*pairs, strict=True))
            with torch.no_grad():
                for table, rows in zip(token_tables(inner), before, strict=True):
                    table[base + here] = rows[there]
        head = Head(**{**asdict(model.head), "own": tokens.own})
        return CheckpointModel(inner, head).to(model.device).eval()

    def save(self, model: CheckpointModel, folder: Path) -> None:
        """Safetensors and config as transformers writes them, and docid_model.json, which comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            model.inner.save_pretrained(str(folder))
        write_atomic(folder / _HEAD, orjson.dumps(asdict(model.head)))

    def load(self, folder: Path, tokens: DocidTokens, longest: int, *, context: Context) -> CheckpointModel:
        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.checkpoint_model import CheckpointModel, Head

        saved = read_json(folder / _HEAD)
        if not saved:
            raise SeekbenchError(f"{folder} holds no saved model")
        head = Head(**{**saved, "own": tuple(saved["own"])})
        if head.own != tokens.own or head.first_own != tokens.first_own:
            raise SeekbenchError(f"the model in {folder} was trained for other docids")
        inner = weights(_auto(head.seq2seq), folder, str(folder), context=context)
        return CheckpointModel(inner, head).to(pick_device(context.device)).eval()

    def release(self) -> None:
        self.pretrained.release()


def _auto(seq2seq: bool) -> Any:
    import transformers

    return transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
