"""What the files of a checkpoint that writes text say: its architecture, and the tokens that begin and end a text.

Nothing here imports torch or transformers at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seekbench.errors import InputError
from seekbench.retrievers.dense import checkpoint as files
from seekbench.retrievers.generative.models.pretrained import (
    Pretrained,
    folder_of,
    loaded,
    read_json,
    resolved,
)
from seekbench.retrievers.generative.models.token_inputs import special_tokens
from seekbench.retrievers.protocol import Context

if TYPE_CHECKING:
    from seekbench.retrievers.generative.models.checkpoint import CheckpointParams


class TextCheckpoint(Pretrained):
    """An encoder-decoder or a decoder-only language model. Raises InputError for files that lack what is asked for."""

    def __init__(self, params: CheckpointParams) -> None:
        super().__init__(self._found)
        self.params = params
        self._config: Any = None

    def _found(self, context: Context, fetch: bool) -> files.Checkpoint:
        found = resolved(self.params.place, self.params.revision, context=context, fetch=fetch)
        if found.modules:
            raise InputError(
                f"{found.name} is a sentence encoder, which writes no text",
                remedy="use model: {type: encoder}",
            )
        return found

    def config(self, context: Context) -> Any:
        """transformers' config."""
        from transformers import AutoConfig

        if self._config is None:
            checkpoint = self.checkpoint(context)
            self._config = loaded(AutoConfig, folder_of(checkpoint), checkpoint.name, context=context)
        return self._config

    def seq2seq(self, context: Context) -> bool:
        """Whether there is an encoder. Raises InputError for models that are no language models."""
        from transformers.models.auto import modeling_auto as auto

        config, name = self.config(context), self.checkpoint(context).name
        kind = config.model_type
        of_its_own = getattr(config, "auto_map", None) or {}
        if config.is_encoder_decoder:
            if (
                kind in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
                or "AutoModelForSeq2SeqLM" in of_its_own
            ):
                return True
            raise InputError(f"{name} is an encoder-decoder ('{kind}') that does not go from text to text")
        # transformers makes decoders of BERT and its like only if their config says that they are some.
        encoder = kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
        if (
            kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not encoder
        ) or "AutoModelForCausalLM" in of_its_own:
            return False
        raise InputError(
            f"{name} ('{kind}') has no language modelling head that writes text",
            remedy="for an encoder use model: {type: encoder}",
        )

    def said(self, name: str, context: Context) -> int | None:
        """A token that the checkpoint's settings of generation name, in their own file or in the config's; the first
        one of several."""
        checkpoint = self.checkpoint(context)
        own = read_json(folder_of(checkpoint) / "generation_config.json")
        value: Any = own.get(name, checkpoint.transformer_config.get(name))
        value = value[0] if isinstance(value, list) and value else value
        return None if value is None else int(value)

    def forced(self, context: Context) -> int | None:
        """The token that is written first at no cost."""
        if self.checkpoint(context).transformer_config.get("force_bos_token_to_be_generated"):  # older BARTs
            return self.said("bos_token_id", context)
        return self.said("forced_bos_token_id", context)

    def first(self, context: Context) -> list[int]:
        """The token that begins each docid, if there is one."""
        if not self.seq2seq(context):
            return []
        forced = self.forced(context)
        if forced is not None:
            return [forced]
        before, _ = special_tokens(self.tokenizer(context), target=True)
        if len(before) > 1:
            raise InputError(
                f"the tokenizer of {self.checkpoint(context).name} puts {len(before)} tokens before a target",
                remedy="name the one to begin with as forced_bos_token_id in its generation_config.json",
            )
        return before

    def end(self, context: Context) -> int:
        """The token that ends a text."""
        end = self.tokenizer(context).eos_token_id
        end = self.said("eos_token_id", context) if end is None else end
        if end is None:
            raise InputError(f"{self.checkpoint(context).name} has no end token (eos)")
        return int(end)

    def pad(self, context: Context) -> int:
        """What fills a row up."""
        pad = self.tokenizer(context).pad_token_id
        # Decoders often have none; what stands there is masked.
        return self.end(context) if pad is None else int(pad)

    def rows(self, context: Context) -> int:
        """Tokens that the model has rows for, `vocab_size`."""
        config = self.config(context)
        return int(getattr(config, "vocab_size", None) or config.get_text_config(decoder=True).vocab_size)

    def release(self) -> None:
        super().release()
        self._config = None
