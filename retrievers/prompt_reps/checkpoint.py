"""Causal language models that are prompted for one word: which checkpoints are taken, and the words of the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seekbench.errors import InputError
from seekbench.retrievers.dense.checkpoint import Checkpoint, Recipe, Settings

#: Where a text stands in a prompt.
TEXT = "{text}"
#: The recipe's wording.
SYSTEM = "You are an AI assistant that can understand human language."
PROMPTS = {
    side: f'{side.capitalize()}: "{TEXT}". Use one word to represent the {side} in a retrieval task. '
    "Make sure your word is in lowercase."
    for side in ("passage", "query")
}
ASSISTANT = 'The word is: "'
#: Tokens that a text is cut to where nothing is stated.
LENGTH = 512

#: Encoders that have a class for the next word, too: what they were trained for is another thing.
_BIDIRECTIONAL = frozenset(
    {
        "bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta",
        "roberta-prelayernorm", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip


@dataclass(frozen=True)
class PromptSettings(Settings):
    """The parameters that change what a checkpoint computes. query_prompt and document_prompt hold TEXT here. Beside
    those of `Settings`: system, assistant: the other messages; chat: whether the chat template is used (None: where
    there is one); length: tokens that a text is cut to."""

    system: str | None = None
    assistant: str | None = None
    chat: bool | None = None
    length: int | None = None


@dataclass(frozen=True)
class PromptRecipe(Recipe):
    """How a text becomes a prompt. Prompts hold TEXT; system is '' where there is none; length: as stated."""

    chat: bool = False
    system: str = ""
    assistant: str = ASSISTANT
    length: int | None = None


class PromptCheckpoint(Checkpoint):
    """The files of a causal language model. Raises InputError where they are of another kind."""

    conversion: ClassVar[str] = "AutoModelForCausalLM.from_pretrained(name).save_pretrained(folder)"
    organisation: ClassVar[str | None] = None
    recipe: PromptRecipe
    settings: PromptSettings

    # -- what it is ---------------------------------------------------------------------------------------------

    def _refuse_other_kinds(self) -> None:
        if (self.folder / "adapter_config.json").exists():
            raise InputError(
                f"{self.name} is an adapter, not a model",
                remedy="merge it into its base model (merge_and_unload) and save that",
            )
        if not self.config and not self.modules:
            raise InputError(
                f"{self.name}: {self.folder} holds neither modules.json nor config.json, so it is no checkpoint"
            )
        if self.modules or self.st_config.get("model_type"):
            self._refuse_encoders()
        self._refuse_code([])
        architectures = [str(a) for a in self.config.get("architectures") or []]
        said = ", ".join(architectures) or "its config names no architecture"
        model_type = str(self.config.get("model_type", ""))
        if any(a.endswith(("ForSequenceClassification", "ForTokenClassification")) for a in architectures):
            raise self._other(f"a cross-encoder or classifier ({said})", "rerank")
        if self.config.get("is_encoder_decoder") or any(
            a.endswith("ForConditionalGeneration") for a in architectures
        ):
            if "vision_config" in self.config or "audio_config" in self.config:
                raise InputError(
                    f"{self.name} reads more than text ({said})", remedy="take its version for text alone"
                )
            raise self._other(f"an encoder-decoder ({said})", "generative")
        if any(a.endswith("ForMaskedLM") for a in architectures):
            raise self._other(f"a masked language model ({said})", "sparse")
        if model_type in _BIDIRECTIONAL or not any(
            a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures
        ):
            raise self._other(f"an encoder, or has no head for the next word ({said})", "dense")

    def _refuse_encoders(self) -> None:
        """What sentence-transformers or PyLate wrote is used by its own recipe."""
        types = [part.type for part in self.parts]
        classes = {part.kind for part in self.parts}
        saved_as = str(self.st_config.get("model_type", ""))
        if saved_as == "CrossEncoder" or "LogitScore" in classes or any("cross_encoder" in t for t in types):
            raise self._other("a cross-encoder", "rerank")
        if saved_as == "SparseEncoder" or any("sparse_encoder" in t for t in types):
            raise self._other("a learned sparse encoder", "sparse")
        if saved_as in ("ColBERT", "MultiVectorEncoder") or any(
            "multi_vector" in t or t.startswith("pylate.") for t in types
        ):
            raise self._other("a multi-vector encoder", "multi_vector")
        if self.modules:
            raise self._other("a dense encoder (it has modules.json)", "dense")

    def _other(self, what: str, kind: str) -> InputError:
        from seekbench.retrievers.registry import known

        later = "" if kind in known() else " (not in this version yet)"
        return InputError(
            f"{self.name} is {what}, not a causal language model", remedy=f"use type: {kind}{later}"
        )

    @property
    def positions(self) -> int | None:
        """Tokens that the model has positions for; None where config.json states no limit."""
        config = self.config.get("text_config") or self.config
        for name in ("max_position_embeddings", "n_positions"):
            most = config.get(name)
            if isinstance(most, int) and most > 0:
                return most
        return None

    @property
    def has_chat(self) -> bool:
        """Whether the tokenizer's files have a chat template."""
        stated = self._json("tokenizer_config.json").get("chat_template")
        return bool(stated) or (self.folder / "chat_template.jinja").is_file()

    # -- recipe -------------------------------------------------------------------------------------------------

    def _recipe(self) -> PromptRecipe:
        s = self.settings
        chat = self.has_chat if s.chat is None else s.chat
        if chat and not self.has_chat:
            raise InputError(f"{self.name} has no chat template", remedy="chat: false, or auto")
        if s.system and not chat:
            raise InputError(
                f"{self.name} is prompted without a chat template, so there is no system message",
                remedy="leave `system` out, or put its words into passage_prompt and query_prompt",
            )
        config = self.config.get("text_config") or self.config
        stated = self.config.get("dtype") or self.config.get("torch_dtype")
        return PromptRecipe(
            modules=(),
            pooling="lasttoken",
            normalize=s.normalize is not False,
            drop_normalize=False,
            similarity="dot",
            query_prompt=PROMPTS["query"] if s.query_prompt is None else s.query_prompt,
            document_prompt=PROMPTS["passage"] if s.document_prompt is None else s.document_prompt,
            prompts={},
            max_length=None,
            truncate_dim=None,
            dim=config.get("hidden_size") or config.get("n_embd"),
            checkpoint_dtype=stated,
            model_type=str(self.config.get("model_type", "")),
            chat=chat,
            system=(SYSTEM if s.system is None else s.system) if chat else "",
            assistant=ASSISTANT if s.assistant is None else s.assistant,
            length=s.length,
        )
