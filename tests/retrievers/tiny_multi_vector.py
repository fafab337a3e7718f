"""Multi-vector checkpoints of a few kilobytes in the layouts of their libraries, made from a config and a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.retrievers import tiny_checkpoints as tiny

DIM = 16
MARKERS = ("[unused0]", "[unused1]")


def _with_markers(folder: Path) -> int:
    """Puts the two markers and marks of punctuation into the tokenizer's vocabulary; its new size."""
    import json

    saved = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = saved["model"]["vocab"]
    for token in MARKERS:
        vocabulary.setdefault(token, len(vocabulary))
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(ordered))
    return len(vocabulary)


def colbert(folder: Path, *, seed: int = 0, model: str = "bert", **metadata: Any) -> Path:
    """ColBERT's own layout: `bert.*` and `linear.weight` in one file, artifact.metadata beside it."""
    import torch
    import transformers
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tiny.tokenizer_files(folder)
    size = _with_markers(folder)
    common: dict[str, Any] = {
        "vocab_size": size, "hidden_size": tiny.HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 128, "initializer_range": 0.3,
    }  # fmt: skip
    if model == "xmod":
        config: Any = transformers.XmodConfig(
            **common, languages=["en_XX", "fr_XX", "de_DE"], default_language="en_XX", pad_token_id=0
        )
        encoder, prefix = transformers.XmodModel(config), "roberta."
        for parameter in encoder.encoder.parameters():  # adapters begin at nothing
            torch.nn.init.normal_(parameter, std=0.3)
    else:
        config = transformers.BertConfig(**common)
        encoder, prefix = transformers.BertModel(config), "bert."
    weights = {prefix + name: value.clone() for name, value in encoder.state_dict().items()}
    weights["linear.weight"] = torch.randn(DIM, tiny.HIDDEN) * 0.3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["HF_ColBERT"]
    config.save_pretrained(folder)
    said = {
        "query_maxlen": 12, "doc_maxlen": 40, "dim": DIM, "similarity": "cosine", "mask_punctuation": True,
        "attend_to_mask_tokens": False, "query_token_id": MARKERS[0], "doc_token_id": MARKERS[1],
        "query_token": "[Q]", "doc_token": "[D]",
    }  # fmt: skip
    tiny.write(folder, "artifact.metadata", said | metadata)
    return folder


def pylate(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """PyLate's layout: [Transformer, pylate Dense], settings in config_sentence_transformers.json."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tiny.bert(folder, seed=seed)
    size = _with_markers(folder)
    import transformers

    encoder = transformers.BertModel.from_pretrained(folder)
    encoder.resize_token_embeddings(size, mean_resizing=False)
    encoder.save_pretrained(folder)
    tiny.write(folder, "sentence_bert_config.json", {"max_seq_length": 39, "do_lower_case": False})
    tiny.write(
        folder,
        "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
    )
    tiny.write(
        folder,
        "1_Dense/config.json",
        {
            "in_features": tiny.HIDDEN, "out_features": DIM, "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )  # fmt: skip
    save_file(
        {"linear.weight": torch.randn(DIM, tiny.HIDDEN) * 0.3}, folder / "1_Dense" / "model.safetensors"
    )
    said = {
        "__version__": {"sentence_transformers": "4.0.2", "transformers": "4.48.0", "pytorch": "2.6.0"},
        "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim",
        "query_prefix": MARKERS[0], "document_prefix": MARKERS[1], "query_length": 12, "document_length": 40,
        "attend_to_expansion_tokens": False, "skiplist_words": list(".,:-"), "do_query_expansion": True,
    }  # fmt: skip
    tiny.write(folder, "config_sentence_transformers.json", said | settings)
    return folder


def sentence_transformers(folder: Path, *, seed: int = 0, expansion: dict[str, Any] | None = None) -> Path:
    """As MultiVectorEncoder.save_pretrained writes it."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    base = tiny.bert(folder.with_name(folder.name + "-base"), seed=seed)
    torch.manual_seed(seed)
    transformer = Transformer(str(base), query_expansion=expansion, document_length=40)
    dense = Dense(
        tiny.HIDDEN,
        DIM,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    modules = [
        transformer, dense, MultiVectorMask(skiplist_words=[".", ","]), Normalize(module_input_name="token_embeddings"),
    ]  # fmt: skip
    model = MultiVectorEncoder(
        modules=modules, prompts={"query": "query: ", "document": "passage: "}, device="cpu"
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder
