"""The store: atomic, keyed by content, shared between processes, surviving kills."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from seekbench import hashing
from seekbench.store import Store, atomic_file, differences


def test_made_once_and_found_again(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def make(folder: Path) -> dict[str, Any]:
        calls.append(1)
        (folder / "data").write_text("x")
        return {"seconds": 1}

    first = store.get("index", {"subject": "s", "k1": 0.9}, make)
    second = store.get("index", {"subject": "s", "k1": 0.9}, make)
    assert (first.reused, second.reused, len(calls)) == (False, True, 1)
    assert first.folder == second.folder
    assert (second.folder / "data").read_text() == "x"


def test_explains_what_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.explain("index", {"subject": "s"}) == "never made"
    store.get("index", {"subject": "s", "params": {"k1": 0.9, "b": 0.4}}, lambda folder: {})
    why = store.explain("index", {"subject": "s", "params": {"k1": 1.2, "b": 0.4}})
    assert why == "changed: params.k1: 0.9 -> 1.2"
    assert store.explain("index", {"subject": "s", "params": {"k1": 0.9, "b": 0.4}}) == "same recipe"


def test_differences_name_what_is_new() -> None:
    assert differences({"a": 1}, {"a": 1, "b": {"c": 2}}) == ['b: null -> {"c":2}']


def test_a_failed_artifact_is_continued(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "shard-0").write_text("done")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        store.get("index", {"subject": "s"}, fail)
    assert store.find("index", {"subject": "s"}) is None
    assert store.explain("index", {"subject": "s"}).startswith("interrupted")
    kept = store.get("index", {"subject": "s"}, lambda folder: {"kept": (folder / "shard-0").exists()})
    assert kept.facts["kept"] is True


def _slow(root: Path, mark: Path) -> None:
    def make(folder: Path) -> dict[str, Any]:
        with mark.open("a") as handle:
            handle.write("made\n")
        time.sleep(0.5)
        return {}

    Store(root).get("index", {"subject": "s"}, make)


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_slow, args=(tmp_path / "store", mark)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert mark.read_text() == "made\n"


def _hang(root: Path, mark: Path) -> None:
    def make(folder: Path) -> dict[str, Any]:
        mark.write_text("started")
        time.sleep(60)
        return {}

    Store(root).get("index", {"subject": "s"}, make)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    process = multiprocessing.get_context("spawn").Process(target=_hang, args=(tmp_path / "store", mark))
    process.start()
    while not mark.exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    start = time.monotonic()
    Store(tmp_path / "store").get("index", {"subject": "s"}, lambda folder: {})
    assert time.monotonic() - start < 30


def test_atomic_file_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with atomic_file(target) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "old"


def test_file_hash_sees_every_change(tmp_path: Path) -> None:
    store, file = Store(tmp_path / "store"), tmp_path / "f"
    file.write_text("one")
    old = time.time() - 100
    os.utime(file, (old, old))
    first = store.file_hash(file)
    assert first == hashing.of_file(file)
    file.write_text("two")  # same size
    os.utime(file, (old, old))  # and the same mtime: ctime tells
    assert store.file_hash(file) == hashing.of_file(file) != first


def test_code_hash_ignores_comments_and_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "same.py").write_text('"""A."""\nx = 1\n')
    hashing.of_code.cache_clear()
    a = hashing.of_code("same")
    (tmp_path / "same.py").write_text("# B\nx = 1\n")
    hashing.of_code.cache_clear()
    assert hashing.of_code("same") == a
    (tmp_path / "same.py").write_text("x = 2\n")
    hashing.of_code.cache_clear()
    assert hashing.of_code("same") != a
    hashing.of_code.cache_clear()
