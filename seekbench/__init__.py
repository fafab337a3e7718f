"""seekbench evaluates retrievers. The public names below are loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["compare", "evaluate", "load_dataset", "load_retriever", "run"]

if TYPE_CHECKING:
    from seekbench.api import compare, evaluate, load_dataset, load_retriever, run

_LAZY = dict.fromkeys(__all__, "seekbench.api")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'seekbench' has no attribute {name!r}")
