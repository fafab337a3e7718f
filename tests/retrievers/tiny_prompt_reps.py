"""Causal language models of a few kilobytes, made from a config and a seed, with and without a chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.retrievers import tiny_checkpoints as tiny

#: Words of the prompts, so that these are not read letter by letter.
PROMPT = (
    "You are an AI assistant that can understand human language. Passage Query Use one word to represent the passage "
    "query in a retrieval task. Make sure your word is in lowercase. The word is: system user assistant"
)
#: Strips what is said, states the date, and ends what the assistant says, as chat templates do.
CHAT = (
    "<|begin|>{% if strftime_now is defined %}<|system|>Today is {{ strftime_now('%d %b %Y') }}.<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WITHOUT_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT
)
SPECIAL = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"]


def tokenizer_files(
    folder: Path, *, chat: str | None = None, side: str = "right", pad: bool = True, surround: bool = False
) -> int:
    """Byte-level BPE over WORDS and the prompts' words. surround: <|begin|> before and <|end|> behind a text. Returns
    how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    words = [*tiny.WORDS, *PROMPT.split()]
    tokenizer.train_from_iterator([f"{word} {word} {word}" for word in words], trainer)
    if surround:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 100_000, "bos_token": "<|begin|>",
        "eos_token": "<|end|>", "padding_side": side,
    }  # fmt: skip
    if pad:
        config["pad_token"] = "<|pad|>"
    if chat:
        config["chat_template"] = chat
    tiny.write(folder, "tokenizer_config.json", config)
    return int(tokenizer.get_vocab_size())


def llama(folder: Path, *, seed: int = 0, positions: int = 512, **more: Any) -> Path:
    """Rotary positions; three rows more than its tokenizer has tokens. more: of `tokenizer_files`."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer_files(folder, **more) + 3, hidden_size=tiny.HIDDEN, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions,
        initializer_range=0.3, bos_token_id=0, eos_token_id=1, pad_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).eval().save_pretrained(folder)
    return folder


def gpt2(folder: Path, *, seed: int = 0, positions: int = 512, **more: Any) -> Path:
    """Learned positions, tied word embeddings."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=tokenizer_files(folder, **more), n_positions=positions, n_embd=tiny.HIDDEN, n_layer=2, n_head=4,
        initializer_range=0.2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).eval().save_pretrained(folder)
    return folder


def architecture(folder: Path, name: str, **more: Any) -> Path:
    """The same files under another architecture's name."""
    config = json.loads((folder / "config.json").read_text())
    tiny.write(folder, "config.json", {**config, "architectures": [name], **more})
    return folder
