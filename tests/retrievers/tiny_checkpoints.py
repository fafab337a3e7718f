"""Checkpoints of a few kilobytes, made from a config and a seed: what the tests load instead of downloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = [
    "the",
    "cell",
    "growth",
    "of",
    "a",
    "protein",
    "in",
    "mice",
    "was",
    "studied",
    "with",
    "new",
    "methods",
    "and",
    "data",
    "vaccines",
    "reduce",
    "risk",
    "heart",
    "disease",
    "query",
    "passage",
    "search",
    "document",
    "wing",
    "flow",
    "pressure",
    "heat",
    "transfer",
    "plate",
    "boundary",
    "layer",
    "shock",
    "wave",
    "speed",
    "supersonic",
    "body",
    "laminar",
    "turbulent",
    "solution",
    "theory",
    "experiment",
    "results",
    "theta",
    "alpha",
    "beta",
    "gamma",
    "delta",
]
HIDDEN = 32


def tokenizer_files(folder: Path, *, max_length: int | None = 64) -> None:
    """A BERT tokenizer over WORDS, their letters and marks."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [chr(c) for c in range(97, 123)] + list("0123456789:.,-")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
    vocabulary += [x for x in letters if x not in vocabulary] + ["##" + x for x in letters]
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
        "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }  # fmt: skip
    if max_length:
        config["model_max_length"] = max_length
    write(folder, "tokenizer_config.json", config)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))


def write(folder: Path, name: str, value: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def bert(folder: Path, *, head: str = "BertModel", seed: int = 0, max_length: int | None = 64) -> Path:
    """A plain transformers checkpoint: two layers of BERT, random weights, the given architecture."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer_files(folder, max_length=max_length)
    size = len((folder / "vocab.txt").read_text().splitlines())
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, num_labels=1, initializer_range=0.3,
    )  # fmt: skip
    getattr(transformers, head)(config).eval().save_pretrained(folder)
    return folder


def recipe(
    folder: Path, *, pooling: str | list[str] = "mean", dense: int | None = None, normalize: bool = False,
    max_length: int = 48, prompts: dict[str, str] | None = None, similarity: str | None = None,
    legacy_names: bool = True, include_prompt: bool = True, seed: int = 0,
) -> Path:  # fmt: skip
    """A sentence-transformers checkpoint around `bert`, its files written as the hub's models have them."""
    import torch
    from safetensors.torch import save_file

    bert(folder, seed=seed)
    root = "sentence_transformers.models." if legacy_names else "sentence_transformers.base.modules."
    pooling_root = (
        "sentence_transformers.models."
        if legacy_names
        else "sentence_transformers.sentence_transformer.modules."
    )
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": root + "Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": pooling_root + "Pooling"},
    ]
    write(folder, "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    modes = [pooling] if isinstance(pooling, str) else pooling
    if legacy_names:
        flags = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}
        saved: dict[str, Any] = {f"pooling_mode_{flags[m]}": m in modes for m in flags}
        saved |= {"word_embedding_dimension": HIDDEN, "include_prompt": include_prompt}
    else:
        saved = {"embedding_dimension": HIDDEN, "pooling_mode": pooling, "include_prompt": include_prompt}
    write(folder, "1_Pooling/config.json", saved)
    if dense:
        torch.manual_seed(seed + 1)
        modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": root + "Dense"})
        write(
            folder,
            "2_Dense/config.json",
            {
                "in_features": HIDDEN * len(modes), "out_features": dense, "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )  # fmt: skip
        save_file(
            {
                "linear.weight": torch.randn(dense, HIDDEN * len(modes)) * 0.1,
                "linear.bias": torch.randn(dense),
            },
            folder / "2_Dense" / "model.safetensors",
        )
    if normalize:
        place = len(modules)
        modules.append(
            {"idx": place, "name": str(place), "path": f"{place}_Normalize", "type": root + "Normalize"}
        )
    write(folder, "modules.json", modules)
    st: dict[str, Any] = {"__version__": {"sentence_transformers": "3.0.0"}}
    if prompts is not None:
        st |= {"prompts": prompts, "default_prompt_name": None}
    if similarity:
        st["similarity_fn_name"] = similarity
    write(folder, "config_sentence_transformers.json", st)
    return folder


def texts(count: int, *, seed: int = 0, longest: int = 90) -> list[str]:
    """Texts of 1..longest words (some longer than what the checkpoints read)."""
    import random

    random_ = random.Random(seed)
    return [" ".join(random_.choices(WORDS, k=random_.randint(1, longest))) for _ in range(count)]
