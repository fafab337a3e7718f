"""An encoder-decoder of any encoder (MiniLM, BERT, XLM-R) and a small decoder over docid tokens.

The decoder attends to the encoder's last hidden states, one a token of the text, projected to its width. It is much
cheaper than a checkpoint that writes text, since its vocabulary is that of the docids, and it reads more than the
family `vector`, whose memory is one vector. Of an encoder-decoder (T5, BART) the encoder is taken.

torch and transformers are imported where a model or a tokenizer is needed, since the command line imports this module
for its parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson
from pydantic import Field, PrivateAttr, model_validator

from seekbench import hashing
from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import Dense
from seekbench.retrievers.dense import checkpoint as files
from seekbench.retrievers.generative.docids import Docids
from seekbench.retrievers.generative.models.base import DocidTokens, Side
from seekbench.retrievers.generative.models.pretrained import (
    Pretrained,
    content,
    folder_of,
    loaded,
    resolved,
    weights,
)
from seekbench.retrievers.generative.models.token_inputs import Cutter, TokenInputs, plain, tokenised
from seekbench.retrievers.protocol import Context
from seekbench.store import atomic_file, write_atomic

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.encoder_model import EncoderModel

_WEIGHTS = "model.safetensors"
_HEAD = "docid_model.json"
#: Tensors of a checkpoint that are not used.
_UNUSED = ("pooler.", "decoder.", "lm_head.", "cls.")
#: Models whose positions begin behind the padding token's number.
_PADDED = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer")


class EncoderParams(protocol.Params):
    """Fields of `model: {type: encoder}`."""

    type: Literal["encoder"]
    name: str | None = Field(
        None, min_length=1, description="a hub name or a folder's path; the retriever's `encoder` where not stated"
    )  # fmt: skip
    revision: str | None = Field(None, description="of `name`: branch, tag or (better) commit on the hub")
    freeze: bool = Field(False, description="leave the encoder's weights as they are")
    max_length: int = Field(128, ge=3, description="tokens of an input, special ones included")
    width: int = Field(256, ge=8, description="of the decoder")
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1, description="of the decoder; the encoder's is its own")

    #: Folder of the file that names the checkpoint.
    _base: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        self._base = (context or {}).get("base")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        if self.revision and self.name is None:
            raise ValueError("revision belongs to a name")
        return self


class EncoderFamily:
    """See `base.Family`. dense: the retriever's encoder, taken where the parameters name none; its weights are loaded
    here once more, since these are trained."""

    def __init__(self, params: EncoderParams, dense: Dense) -> None:
        self.params, self.dense = params, dense
        self.pretrained = Pretrained(self._find)

    def _find(self, context: Context, fetch: bool) -> files.Checkpoint:
        p = self.params
        if p.name is None:
            place, revision = self.dense.params.place, self.dense.params.revision
        else:
            place, revision = files.place(p.name, p._base), p.revision
        found = resolved(place, revision, context=context, fetch=fetch)
        if found.modules and found.parts[0].kind != "Transformer":
            raise InputError(
                f"{found.name} begins with {found.parts[0].kind}, which is no transformer whose hidden states "
                "could be read"
            )
        return found

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        return content(self.pretrained.checkpoint(context))

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        checkpoint = self.pretrained.checkpoint(context)
        source = checkpoint.source
        return {
            "model": checkpoint.name,
            "source": source.kind,
            "folder": str(checkpoint.folder),
            "revision": source.revision,
            "weights": checkpoint.weights,
            "model_type": str(checkpoint.transformer_config.get("model_type", "")),
            "architecture": "encoder and a small decoder",
            "frozen": self.params.freeze,
            "max_length": self.params.max_length,
        }

    def tokens(self, docids: Docids, *, lists: bool, context: Context) -> DocidTokens:
        """Numbers are cut into digits, other texts into the encoder's word pieces."""
        from seekbench.retrievers.generative.models import decoder

        if docids.kind != "text" or docids.builder in decoder.NUMBERS:
            return decoder.dense_tokens(docids, None, lists=lists)
        tokenizer = self.pretrained.tokenizer(context)
        return decoder.dense_tokens(
            docids, lambda texts: plain(tokenizer, texts, split_special_tokens=True), lists=lists
        )

    def inputs(self, texts: list[str], side: Side, folder: Path | None, *, context: Context) -> TokenInputs:
        tokenizer = self.pretrained.tokenizer(context)
        ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        # What stands in the padding is masked; decoders often have no token for it.
        pad = int(next(i for i in ids if i is not None))
        cut = Cutter(tokenizer, self._length(context), empty=pad)
        key = hashing.of_json([self.pretrained.checkpoint(context).files_hash, self.params.max_length])
        return tokenised(texts, cut, folder, key=key, pad=pad, left=False, context=context)

    def _length(self, context: Context) -> int:
        """max_length. Raises InputError where the encoder has fewer positions."""
        checkpoint, wanted = self.pretrained.checkpoint(context), self.params.max_length
        config = checkpoint.transformer_config
        positions = config.get("max_position_embeddings", config.get("n_positions"))
        # T5's positions are relative: what its config may say of them limits nothing.
        if (
            isinstance(positions, int)
            and positions > 0
            and config.get("model_type") not in ("t5", "mt5", "umt5")
        ):
            offset = config.get("pad_token_id", 1) + 1 if config.get("model_type") in _PADDED else 0
            if wanted > positions - offset:
                raise InputError(
                    f"max_length {wanted} is more than the {positions - offset} positions of {checkpoint.name}"
                )
        return wanted

    def make(self, tokens: DocidTokens, longest: int, *, seed: int, context: Context) -> EncoderModel:
        checkpoint = self.pretrained.checkpoint(context, fetch=True)
        _ = checkpoint.weights_hash, checkpoint.files_hash
        from transformers import AutoModel

        encoder = weights(AutoModel, folder_of(checkpoint), checkpoint.name, unused=_UNUSED, context=context)
        checkpoint.verify()
        return self._around(encoder, tokens, longest, seed, context)

    def _around(
        self, encoder: Any, tokens: DocidTokens, longest: int, seed: int, context: Context
    ) -> EncoderModel:
        import torch

        from seekbench.retrievers.dense.encode import pick_device
        from seekbench.retrievers.generative.models.encoder_model import EncoderModel

        if encoder.config.is_encoder_decoder:
            encoder = encoder.get_encoder()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # it is read by nobody
        torch.manual_seed(seed)
        model = EncoderModel(encoder, self.params, tokens.vocabulary, longest)
        return model.to(pick_device(context.device)).eval()

    def grown(
        self, model: EncoderModel, known: DocidTokens, tokens: DocidTokens, longest: int, *, seed: int,
        context: Context,
    ) -> EncoderModel:  # fmt: skip

        made = self._around(copy.deepcopy(model.encoder), tokens, longest, seed, context)
        made.project.load_state_dict(model.project.state_dict())
        made.norm.load_state_dict(model.norm.state_dict())
        made.decoder.take_over(model.decoder, known, tokens)
        return made

    def save(self, model: EncoderModel, folder: Path) -> None:
        """Safetensors of what was trained (a frozen encoder stays in its checkpoint), and docid_model.json, last."""
        from safetensors.torch import save_model

        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / _WEIGHTS) as part:
            save_model(model.saved(), str(part))
        head = {
            "vocabulary": model.vocabulary,
            "longest": model.decoder.longest,
            "frozen": model.frozen,
        }
        write_atomic(folder / _HEAD, orjson.dumps(head))

    def load(self, folder: Path, tokens: DocidTokens, longest: int, *, context: Context) -> EncoderModel:
        from safetensors.torch import load_model

        try:
            head = orjson.loads((folder / _HEAD).read_bytes())
        except FileNotFoundError:
            raise SeekbenchError(f"{folder} holds no saved model") from None
        if head["vocabulary"] != tokens.vocabulary or head["frozen"] != self.params.freeze:
            raise SeekbenchError(f"the model in {folder} was trained for other docids or parameters")
        longest = head["longest"]
        if self.params.freeze:
            model = self.make(tokens, longest, seed=0, context=context)
        else:
            model = self._around(self._untrained(context), tokens, longest, 0, context)
        load_model(model.saved(), str(folder / _WEIGHTS))
        return model.eval()

    def _untrained(self, context: Context) -> Any:
        """The encoder's modules without its checkpoint's weights."""
        import torch
        from transformers import AutoConfig, AutoModel

        checkpoint = self.pretrained.checkpoint(context)
        config = loaded(AutoConfig, folder_of(checkpoint), checkpoint.name, context=context)
        return AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=context.trust_remote_code)

    def release(self) -> None:
        self.pretrained.release()
