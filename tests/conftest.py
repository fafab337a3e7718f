"""What all tests share: the store lies in a temporary folder, the hub is never asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEKBENCH_HOME", str(tmp_path_factory.mktemp("store")))
    monkeypatch.delenv("SEEKBENCH_TRACEBACK", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _speeds_are_not_measured_well() -> Iterator[None]:
    """A search is asked once, and no runtime is warmed up: tests of speeds set what they need."""
    from seekbench import search

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_TIMED_SECONDS", 0.0)
        patch.setattr(search, "_RUNTIME_SECONDS", dict.fromkeys(search._RUNTIME_SECONDS, 0.0))
        yield


@pytest.fixture
def collections() -> Path:
    """The real collections beside the checkout; the test is skipped where they are absent."""
    folder = SHARED / "collections"
    if not folder.is_dir():
        pytest.skip("needs ../shared/collections")
    return folder


@pytest.fixture
def published() -> Path:
    folder = SHARED / "published"
    if not folder.is_dir():
        pytest.skip("needs ../shared/published")
    return folder
