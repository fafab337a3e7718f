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


# -- models that write text ---------------------------------------------------------------------------------


def _pieces_tokenizer(folder: Path) -> int:
    """Word and letter pieces with T5's marks: ▁ at a word's beginning, </s> behind a text. Returns how many."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = [chr(c) for c in range(97, 123)] + list("0123456789:.,-<>/")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [("▁" + word, -4.0) for word in dict.fromkeys(WORDS)]
    pieces += [(letter, -8.0) for letter in letters] + [("▁", -6.0)]
    tokenizer = Tokenizer(models.Unigram(list(dict(pieces).items()), unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(
        folder,
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>",
            "unk_token": "<unk>", "model_max_length": 512,
        },
    )  # fmt: skip
    return int(tokenizer.get_vocab_size())


def _bytes_tokenizer(folder: Path, special: list[str], *, surround: bool) -> int:
    """Byte-level BPE, which tells ` the` from `the`. Returns how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([f"{word} {word} {word}" for word in WORDS], trainer)
    if surround:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    if surround:
        config |= {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    else:
        config |= {"bos_token": special[0], "eos_token": special[0], "unk_token": special[0]}
    write(folder, "tokenizer_config.json", config)
    return int(tokenizer.get_vocab_size())


def t5(folder: Path, *, seed: int = 0, tied: bool = True, dropout: float = 0.0) -> Path:
    """Two layers each; four rows more than its tokenizer has tokens, as T5 has 28. Not `tied`: an output layer of its
    own, as T5 v1.1 and mT5 have."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.T5Config(
        vocab_size=_pieces_tokenizer(folder) + 4, d_model=HIDDEN, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        dropout_rate=dropout, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=tied,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    if not tied:
        # transformers ties the two in a new model, whatever the config says.
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    return folder


def bart(folder: Path, *, seed: int = 0, forced: bool = True, dropout: float = 0.0) -> Path:
    """The decoder starts with </s> and writes <s> first; `forced`: its files say so, as BART's do."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.BartConfig(
        vocab_size=_bytes_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], surround=True),
        d_model=HIDDEN, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128, dropout=dropout, init_std=0.2,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.BartForConditionalGeneration(config).eval()
    model.generation_config.forced_bos_token_id = 0 if forced else None
    model.save_pretrained(folder)
    return folder


def gpt2(
    folder: Path, *, seed: int = 0, dropout: float = 0.0, head: str = "GPT2LMHeadModel", tied: bool = True
) -> Path:
    """Decoder-only, without a padding token."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=_bytes_tokenizer(folder, ["<|endoftext|>"], surround=False), n_positions=160, n_embd=HIDDEN,
        n_layer=2, n_head=4, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, bos_token_id=0,
        eos_token_id=0, initializer_range=0.2, tie_word_embeddings=tied,
    )  # fmt: skip
    getattr(transformers, head)(config).eval().save_pretrained(folder)
    return folder
