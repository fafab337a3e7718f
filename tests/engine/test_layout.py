"""The layout that makes top-level folders parts of the package, and what must never be added to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKED = ("cli", "retrievers", "datasets", "configs")


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_and_resolve(name: str) -> None:
    link = ROOT / "seekbench" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"
    assert link.is_dir()


def test_datasets_has_no_init() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists(), (
        "it would hide Hugging Face's datasets at the root"
    )


def test_huggingface_datasets_is_found_at_the_root() -> None:
    code = "import datasets; print(datasets.__file__)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "site-packages" in out.stdout


def test_no_module_is_imported_by_its_folder_name() -> None:
    """`import retrievers` would make a second copy of every class."""
    bad = []
    for path in ROOT.rglob("*.py"):
        if any(
            part.startswith(".") or part in ("build", "seekbench")
            for part in path.relative_to(ROOT).parts[:-1]
        ):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip().startswith(
                ("from retrievers", "import retrievers", "from cli", "import cli", "from configs")
            ):
                bad.append(f"{path}:{number}")
    assert not bad
