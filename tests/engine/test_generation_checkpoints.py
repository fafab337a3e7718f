"""Where checkpoints of generators are looked for: as dense ones, but for bare names and pickles in the hub's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from seekbench.errors import InputError, MissingError
from seekbench.generation.checkpoints import GeneratorFiles, resolve
from seekbench.retrievers.dense.checkpoint import Settings
from seekbench.retrievers.dense.checkpoint import resolve as resolve_dense

CONFIG = '{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": true}'


def snapshot(hub: Path, name: str, weights: str) -> Path:
    """A repository in the hub's cache with weights of this name, which hold no tensor."""
    folder = hub / f"models--{name.replace('/', '--')}" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG)
    (folder / weights).write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text("a" * 40)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_bare_name_is_no_sentence_transformer(hub: Path) -> None:
    other = snapshot(hub, "sentence-transformers/t5-small", "model.safetensors")
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(MissingError, match=r"^t5-small is not on this machine"):
        resolve(GeneratorFiles, "t5-small", offline=True)
    assert resolve_dense(Settings("t5-small", pooling="mean"), offline=True).name.startswith("sentence-tr")
    folder = snapshot(hub, "t5-small", "model.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    found = resolve(GeneratorFiles, "t5-small", offline=True)
    assert isinstance(found, GeneratorFiles)
    assert (found.folder, found.source.kind, found.seq2seq) == (folder, "cache", True)


def test_cached_pickles_leave_the_hub_to_be_asked(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old snapshot may be pickled where the hub has safetensors by now."""
    import huggingface_hub

    def unreachable(self: object, name: str, **kwargs: object) -> None:
        raise OSError("no route")

    snapshot(hub, "org/t5", "pytorch_model.bin")
    with pytest.raises(MissingError, match=r"weights missing.*offline"):
        resolve(GeneratorFiles, "org/t5", offline=True)
    with pytest.raises(InputError, match="pickle"):
        resolve_dense(Settings("org/t5", pooling="mean"), offline=True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(MissingError, match="the hub can't be reached"):
        resolve(GeneratorFiles, "org/t5", offline=False)
