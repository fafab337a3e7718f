"""Every module whose code makes an index is in its key: one that is forgotten would leave stale indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seekbench import hashing
from seekbench.retrievers.generative.retriever import Generative
from seekbench.retrievers.multi_vector.retriever import MultiVector

ROOT = Path(__file__).parents[2]


def names_below(folder: Path, package: str) -> set[str]:
    """Dotted names of all modules in a folder; a package's own is that of its `__init__`."""
    files = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    return {".".join((package, *(part for part in file.parts if part != "__init__"))) for file in files}


@pytest.mark.parametrize(
    ("folder", "package"),
    [
        ("retrievers/generative", "seekbench.retrievers.generative"),
        ("seekbench/generation", "seekbench.generation"),
    ],
)
def test_every_module_is_listed_and_each_once(folder: str, package: str) -> None:
    written = names_below(ROOT / folder, package)
    listed = [m for m in Generative.modules if m == package or m.startswith(f"{package}.")]
    assert package in written
    assert len(written) > 5
    assert set(listed) == written
    assert len(listed) == len(set(listed))


def test_every_module_of_late_interaction_is_listed() -> None:
    """Those that only training needs are part of the keys of systems that train (`trained.depends_on`)."""
    package = "seekbench.retrievers.multi_vector"
    written = names_below(ROOT / "retrievers/multi_vector", package)
    training = {f"{package}.{name}" for name in ("losses", "trained", "training")}
    assert training < written
    assert {m for m in MultiVector.modules if m.startswith(package)} == written - training


@pytest.mark.parametrize("retriever", [Generative, MultiVector])
def test_listed_modules_have_source(retriever: type[Any]) -> None:
    assert len(set(retriever.modules)) == len(retriever.modules)
    for module in retriever.modules:
        assert len(hashing.of_code(module)) == 16
