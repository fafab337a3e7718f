"""Every module whose code makes an index is in its key: one that is forgotten would leave stale indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seekbench import hashing
from seekbench.retrievers.contrastive import MODULES as CONTRASTIVE
from seekbench.retrievers.generative.retriever import Generative
from seekbench.retrievers.multi_vector.retriever import MultiVector
from seekbench.retrievers.sparse.retriever import Sparse

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


@pytest.mark.parametrize(
    ("retriever", "training"),
    [
        (MultiVector, ("losses", "trained", "training")),
        (Sparse, ("head", "losses", "matches", "trained", "training")),
    ],
)
def test_every_module_is_in_a_key(retriever: type[Any], training: tuple[str, ...]) -> None:
    """Those that only training needs are in the keys of systems that train (`trained.depends_on`), and what explains a
    score in none; vectors, what is derived from them, and the search have lists of their own."""
    package = retriever.__module__.rpartition(".")[0]
    written = names_below(ROOT / "retrievers" / package.rpartition(".")[2], package)
    own = {f"{package}.{name}" for name in training}
    assert own < written
    lists = [retriever.modules, retriever.search_modules, getattr(retriever, "derived_modules", ())]
    listed = [m for names in lists for m in names]
    assert len(listed) == len(set(listed))
    assert {m for m in listed if m.startswith(package)} == written - own


def test_modules_of_training_on_pairs_are_listed() -> None:
    package = "seekbench.retrievers.contrastive"
    assert set(CONTRASTIVE) | {package} == names_below(ROOT / "retrievers/contrastive", package)


@pytest.mark.parametrize("retriever", [Generative, MultiVector, Sparse])
def test_listed_modules_have_source(retriever: type[Any]) -> None:
    assert len(set(retriever.modules)) == len(retriever.modules)
    for module in retriever.modules:
        assert len(hashing.of_code(module)) == 16
