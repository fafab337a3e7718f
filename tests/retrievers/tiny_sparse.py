"""Learned sparse checkpoints of a few kilobytes in every layout, made from a config and a seed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.retrievers import tiny_checkpoints as tiny


def masked(folder: Path, *, seed: int = 0) -> Path:
    """A plain masked language model: naver/splade's layout."""
    return tiny.bert(folder, head="BertForMaskedLM", seed=seed)


def _modules(folder: Path, seed: int, strategy: str, activation: str) -> list[Any]:
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    base = masked(folder.with_name(folder.name + "-base"), seed=seed)
    transformer = Transformer(str(base), transformer_task="fill-mask", max_seq_length=48)
    return [transformer, SpladePooling(pooling_strategy=strategy, activation_function=activation)]  # type: ignore[arg-type]


def splade(
    folder: Path, *, seed: int = 0, strategy: str = "max", activation: str = "relu", **more: Any
) -> Path:
    """sentence-transformers' layout."""
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(modules=_modules(folder, seed, strategy, activation), device="cpu", **more)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def legacy(folder: Path, *, seed: int = 0) -> Path:
    """The same as saved before version 5.4: MLMTransformer, `word_embedding_dimension`."""
    splade(folder, seed=seed)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.sparse_encoder.models.MLMTransformer"
    modules[1]["type"] = "sentence_transformers.sparse_encoder.models.SpladePooling"
    tiny.write(folder, "modules.json", modules)
    tiny.write(folder, "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    path = folder / modules[1]["path"] / "config.json"
    saved = json.loads(path.read_text())
    saved["word_embedding_dimension"] = saved.pop("embedding_dimension", None)
    path.write_text(json.dumps(saved))
    return folder


def weights_of(folder: Path) -> dict[str, float]:
    """A weight for every token but the special ones."""
    tokens = (folder / "vocab.txt").read_text().splitlines()
    return {token: 0.25 + (7 * i % 13) / 4 for i, token in enumerate(tokens) if not token.startswith("[")}


def inference_free(folder: Path, *, seed: int = 0, activation: str = "relu") -> Path:
    """sentence-transformers' Router: queries by a table, documents by a model (opensearch doc-v2, doc-v3)."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    modules = _modules(folder, seed, "max", activation)
    tokenizer = modules[0].tokenizer
    weight = torch.zeros(len(tokenizer.get_vocab()))
    for token, value in weights_of(folder.with_name(folder.name + "-base")).items():
        weight[tokenizer.convert_tokens_to_ids(token)] = value
    static = SparseStaticEmbedding(tokenizer=tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document(query_modules=[static], document_modules=modules)
    SparseEncoder(modules=[router], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def with_table(folder: Path, *, seed: int = 0, name: str = "idf.json") -> Path:
    """A plain masked language model with a table of query weights beside it (opensearch doc-v1)."""
    masked(folder, seed=seed)
    table = weights_of(folder)
    if name.endswith(".json"):
        tiny.write(folder, name, table)
    else:
        (folder / name).write_text("".join(f"{token}\t{value}\n" for token, value in table.items()))
    return folder


def unicoil(folder: Path, *, seed: int = 0) -> Path:
    """BertModel below `bert.`, and a weight a token: castorini/unicoil's layout."""
    import torch
    from safetensors.torch import load_file, save_file

    tiny.bert(folder, seed=seed)
    torch.manual_seed(seed)
    tensors = {f"bert.{name}": t for name, t in load_file(folder / "model.safetensors").items()}
    tensors["tok_proj.weight"] = torch.randn(1, tiny.HIDDEN)
    tensors["tok_proj.bias"] = torch.randn(1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    tiny.write(folder, "config.json", {**config, "architectures": ["UniCoilEncoder"]})
    return folder


def autoencoder(folder: Path, *, seed: int = 0) -> Path:
    """A dense encoder and a sparse autoencoder (CSR): latent terms, no words."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    base = tiny.bert(folder.with_name(folder.name + "-base"), seed=seed)
    torch.manual_seed(seed)
    modules = [
        Transformer(str(base), max_seq_length=48),
        Pooling(tiny.HIDDEN, "mean"),
        SparseAutoEncoder(input_dim=tiny.HIDDEN, hidden_dim=64, k=8),
    ]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target
