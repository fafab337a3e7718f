"""Checkpoints that write text or score pairs: where their files are, what they are, and loading them.

The inspection of files (safetensors only, content hashes, no code of the checkpoint's own) is that of dense
checkpoints; what differs is which architectures are taken. No torch here but in `load`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, TypeVar

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense import checkpoint as files
from seekbench.retrievers.dense.checkpoint import Settings


class _Files(files.Checkpoint):
    """Files of a plain transformers checkpoint; subclasses say which architectures they take."""

    endings: ClassVar[tuple[str, ...]]
    wanted: ClassVar[str]
    organisation = None
    conversion = "from_pretrained(name), then save_pretrained(folder)"
    refuses_cached_pickles = False

    def _refuse_other_kinds(self) -> None:
        # Newer sentence-transformers write modules.json beside cross-encoders, too: transformers reads config.json.
        self.modules = []
        if not self.config:
            raise InputError(f"{self.name}: no config.json in {self.folder}, so it is no checkpoint")
        if (self.folder / "adapter_config.json").exists():
            raise InputError(
                f"{self.name} is an adapter, not a model",
                remedy="merge it into its base model (merge_and_unload) and save that",
            )
        self._refuse_code([])
        architectures = [str(a) for a in self.config.get("architectures") or []]
        if not any(a.endswith(self.endings) for a in architectures):
            said = ", ".join(architectures) or "its config names no architecture"
            raise InputError(f"{self.name} is no {self.wanted} ({said})")

    @cached_property
    def generation_hash(self) -> str | None:
        """Content hash of generation_config.json, which names the tokens that begin and end a text."""
        name = "generation_config.json"
        return self._hashed(name, files.content_hash) if (self.folder / name).is_file() else None

    def content(self) -> dict[str, str | None]:
        """JSON for `identity`: hashes of all files that decide what the model computes."""
        return {
            "weights": self.weights_hash,
            "files": self.files_hash,
            "generation_config": self.generation_hash,
        }

    def load(self, dtype: str, device: str) -> tuple[Any, Any]:
        """(model in evaluation mode, tokenizer). Raises InputError for what cannot be loaded or lacks weights,
        SeekbenchError where files changed since they were hashed or memory is too small."""
        import torch
        from transformers import AutoTokenizer

        from seekbench.retrievers.dense.encode import is_out_of_memory, quiet

        arguments: dict[str, Any] = {
            "local_files_only": True,
            "trust_remote_code": self.settings.trust_remote_code,
        }
        self.content()  # hashed before it is loaded, so that what is loaded can be compared with what was hashed
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(str(self.folder), **arguments)
                model, report = self.auto_class().from_pretrained(
                    str(self.folder),
                    dtype="auto" if dtype == "auto" else getattr(torch, dtype),
                    use_safetensors=True,
                    output_loading_info=True,
                    **arguments,
                )
                model = model.to(device).eval()
        except (ValueError, OSError, ImportError, KeyError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise SeekbenchError(f"{self.name} does not fit into the memory of {device}") from error
            line = " ".join(str(error).split())
            raise InputError(f"{self.name} can't be loaded: {line[:300]}", where=str(self.folder)) from error
        finally:
            self.verify()
        lost = sorted(report["missing_keys"])
        if lost:
            raise InputError(
                f"{self.name}: the weights lack {len(lost)} tensors of the model ({', '.join(lost[:3])}), which "
                "would be random numbers",
                where=str(self.folder),
            )
        if not tokenizer.is_fast:
            raise InputError(
                f"{self.name} has no fast tokenizer (tokenizer.json)",
                remedy="save one beside the model: AutoTokenizer.from_pretrained(...).save_pretrained(folder)",
            )
        return model, tokenizer

    def auto_class(self) -> Any:
        raise NotImplementedError

    @property
    def positions(self) -> int | None:
        """Tokens that learned positions allow; None where positions are relative or rotary without a stated limit."""
        for name in ("max_position_embeddings", "n_positions"):
            value = self.config.get(name)
            # T5's `n_positions` is a left-over: its positions are relative.
            if isinstance(value, int) and value > 0 and "relative_attention_num_buckets" not in self.config:
                return value
        return None


class GeneratorFiles(_Files):
    """A checkpoint that writes text: encoder-decoder (T5, mT5, BART, ...) or decoder-only (GPT, Llama, ...)."""

    endings = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel")
    wanted = "model that writes text (*ForConditionalGeneration, *ForCausalLM)"

    @property
    def seq2seq(self) -> bool:
        """Encoder-decoder; what config.json does not state is the model class's default."""
        stated = self.config.get("is_encoder_decoder")
        if stated is not None:
            return bool(stated)
        return any(
            str(a).endswith("ForConditionalGeneration") for a in self.config.get("architectures") or []
        )

    def auto_class(self) -> Any:
        import transformers

        return transformers.AutoModelForSeq2SeqLM if self.seq2seq else transformers.AutoModelForCausalLM


class CrossEncoderFiles(_Files):
    """A checkpoint that scores pairs of texts."""

    endings = ("ForSequenceClassification",)
    wanted = "cross-encoder (*ForSequenceClassification)"

    def auto_class(self) -> Any:
        import transformers

        return transformers.AutoModelForSequenceClassification


F = TypeVar("F", bound=_Files)


def resolve(
    kind: type[F],
    model: str,
    revision: str | None = None,
    *,
    offline: bool,
    trust_remote_code: bool = False,
    max_length: int | None = None,
    fetch: bool = False,
) -> F:
    """The checkpoint of a folder or hub name, by the rules of dense checkpoints: a folder, the hub's cache, the hub.

    fetch: weights that are on the hub only are downloaded; without it their published hashes do.
    Raises MissingError where it can't be had, InputError where it can't be used.
    """
    # A stated pooling is what keeps the inspection of recipes from asking for one.
    settings = Settings(
        model, revision, pooling="mean", max_length=max_length, trust_remote_code=trust_remote_code
    )
    return files.resolve_as(kind, settings, offline=offline, fetch=fetch)
